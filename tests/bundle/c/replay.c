/* Feeds a file of cases to a fuzz target without a fuzzer: each case is its length (4 bytes, little-endian) and bytes. */
#include "hq_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **words) {
    uint8_t *data = NULL;
    size_t bytes = 0, cases = 0;
    if (count != 2 || hq_read_file(words[1], (size_t)1 << 30, &data, &bytes, NULL))
        return 3;
    if (!freopen("/dev/null", "w", stdout)) /* what the programs print is bytes of the cases */
        return 3;
    for (size_t start = 0; start + 4 <= bytes; cases++) {
        size_t length = data[start] | (size_t)data[start + 1] << 8 | (size_t)data[start + 2] << 16;
        uint8_t *copy = malloc(length ? length : 1); /* of its exact size, for the sanitizer */
        memcpy(copy, data + start + 4, length);
        LLVMFuzzerTestOneInput(copy, length);
        free(copy);
        start += 4 + length;
    }
    free(data);
    fprintf(stderr, "%zu cases\n", cases);
    return 0;
}
