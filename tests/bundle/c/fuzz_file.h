/* For fuzz targets that read files: every file is a part of the fuzzer's bytes, so that no path leads anywhere. Include
 * it before the program under test. */
#ifndef FUZZ_FILE_H
#define FUZZ_FILE_H

#include "hexaquant_runtime.h"
#include "hq_platform.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t *fuzz_file;
static size_t fuzz_bytes;

/* As hq_read_file: a copy of its exact size, so that the sanitizer sees a read beyond the zero behind it. */
static hq_status fuzz_read_file(const char *path, size_t limit, uint8_t **data, size_t *bytes, hq_error *error) {
    if (fuzz_bytes > limit || !*path)
        return hq_fail(error, HQ_FILE, "%s cannot be read", path);
    *data = malloc(fuzz_bytes + 1);
    if (!*data)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    if (fuzz_bytes)
        memcpy(*data, fuzz_file, fuzz_bytes);
    (*data)[fuzz_bytes] = 0;
    *bytes = fuzz_bytes;
    return HQ_OK;
}

#define hq_read_file fuzz_read_file

#endif
