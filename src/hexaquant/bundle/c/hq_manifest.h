/* model.txt: what the binary beside it is. Private to the runtime.
 *
 * Lines of words with tabs between them; names have bytes other than '!'..'~' and '%' itself written as %XX.
 *     hexaquant-model 1
 *     binary   FILE  SHA256  BYTES
 *     soc      NUMBER               Qualcomm's number of the SoC
 *     graph    NAME
 *     input    NAME  NAME_IN_BINARY     one line an input, in the order of the original network
 *     output   NAME  NAME_IN_BINARY
 *     image    HEIGHT WIDTH CHANNELS RGB|BGR NCHW|NHWC SCALE MEAN,.. STD,..   optional; floats as 8 hex digits (IEEE)
 *     labels   FILE                                                           optional; a class name a line
 */
#ifndef HQ_MANIFEST_H
#define HQ_MANIFEST_H

#include "hexaquant_runtime.h"

#define HQ_MOST_TENSORS 1024u

typedef struct hq_name {
    char *name, *lowered;
} hq_name;

typedef struct hq_manifest {
    char *binary, *graph, *labels;
    char sha256[65];
    uint64_t bytes;
    uint32_t soc;
    hq_name *inputs, *outputs;
    size_t input_count, output_count;
    int has_image;
    hq_image image;
} hq_manifest;

/* Parse `text` (zero-terminated, `bytes` long, changed while it is read). hq_manifest_free() even after a failure. */
hq_status hq_manifest_parse(char *text, size_t bytes, hq_manifest *manifest, hq_error *error);
hq_status hq_manifest_read(const char *folder, hq_manifest *manifest, hq_error *error);
void hq_manifest_free(hq_manifest *manifest);

#endif
