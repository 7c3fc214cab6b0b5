/* classify's pictures (PPM, PGM, pixels, floats) and class names: first byte: which network, then the file. */
#include "fuzz_file.h"

#define main classify_main
#include "classify.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static hq_image images[4] = {
    {.height = 2, .width = 3, .channels = 3, .bgr = 1, .scale = 1, .mean = {0, 0, 0, 0}, .std = {1, 1, 1, 1}},
    {.height = 3, .width = 2, .channels = 1, .channels_first = 1, .scale = 0.1f, .std = {1, 1, 1, 1}},
    {.height = 1, .width = 1, .channels = 4, .scale = 1, .std = {0, 1, 1, 1}},
    {.height = 65536, .width = 65536, .channels = 4, .scale = 1, .std = {1, 1, 1, 1}},
};
static hq_tensor tensor = {.name = "x", .dtype = HQ_FLOAT32};
static const hq_image *chosen;

size_t hq_input_count(const hq_model *model) { return (void)model, 1; }
size_t hq_output_count(const hq_model *model) { return (void)model, 1; }
const hq_tensor *hq_input(const hq_model *model, size_t index) { return (void)model, (void)index, &tensor; }
const hq_tensor *hq_output(const hq_model *model, size_t index) { return (void)model, (void)index, &tensor; }
const hq_image *hq_model_image(const hq_model *model) { return (void)model, chosen; }
const char *hq_model_labels(const hq_model *model) { return (void)model, "labels.txt"; }
void hq_model_close(hq_model *model) { (void)model; }
void hq_runtime_close(hq_runtime *runtime) { (void)runtime; }
hq_status hq_runtime_open(const char *folder, hq_runtime **runtime, hq_error *error) {
    return (void)folder, (void)runtime, hq_fail(error, HQ_LIBRARY, "none");
}
hq_status hq_model_open(hq_runtime *runtime, const char *folder, const hq_options *options, hq_model **model,
                        hq_error *error) {
    return (void)runtime, (void)folder, (void)options, (void)model, hq_fail(error, HQ_LIBRARY, "none");
}
const char *hq_status_name(hq_status status) { return (void)status, ""; }
hq_status hq_model_run(hq_model *model, hq_form form, const hq_buffer *inputs, const hq_buffer *outputs,
                       hq_error *error) {
    return (void)model, (void)form, (void)inputs, (void)outputs, hq_fail(error, HQ_EXECUTE, "none");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    chosen = data[0] % 5 < 4 ? &images[data[0] % 5] : NULL;
    fuzz_file = data + 1, fuzz_bytes = size - 1;
    size_t elements = chosen && data[0] % 5 < 3 ? (size_t)chosen->height * chosen->width * chosen->channels : 6;
    tensor.elements = elements;
    hq_buffer input = {malloc(elements * sizeof(float)), elements * sizeof(float)};
    hq_error error = {HQ_OK, ""};
    read_image("picture", NULL, &input, &error);
    free(input.data);
    char *labels = read_labels(NULL, ".");
    float *scores = calloc(6, sizeof *scores);
    memcpy(scores, fuzz_file, fuzz_bytes < 24 ? fuzz_bytes : 24);
    print_top(scores, 6, 6, labels ? labels : "");
    free(scores);
    free(labels);
    return 0;
}
