/* model.txt: what is accepted must also be usable, so its image line preprocesses a picture of its size. */
#include "hq_manifest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_PIXELS ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    hq_manifest manifest;
    hq_error error;
    memcpy(text, data, size);
    text[size] = 0;
    if (!hq_manifest_parse(text, size, &manifest, &error) && manifest.has_image) {
        size_t pixels = (size_t)manifest.image.height * manifest.image.width * manifest.image.channels;
        if (pixels && pixels <= MOST_PIXELS) {
            uint8_t *picture = calloc(pixels, 1);
            float *values = calloc(pixels, sizeof *values);
            hq_preprocess(&manifest.image, picture, values);
            free(picture);
            free(values);
        }
    }
    hq_manifest_free(&manifest);
    free(text);
    return 0;
}
