/* hexaquant_run's input list: the bytes up to the first zero are the list, those behind it the content of every file.
 * The model has three inputs: quantized, float16, and integers without an encoding. Nothing is executed. */
#include "fuzz_file.h"

#define main hexaquant_run_main
#include "hexaquant_run.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static hq_tensor tensors[3] = {
    {.name = "x", .dtype = HQ_UINT8, .elements = 4, .quantized = 1, .scale = 0.5f, .offset = -3},
    {.name = "half", .dtype = HQ_FLOAT16, .elements = 2},
    {.name = "ids", .dtype = HQ_INT32, .elements = 1},
};

size_t hq_input_count(const hq_model *model) { return (void)model, 3; }
size_t hq_output_count(const hq_model *model) { return (void)model, 0; }
const hq_tensor *hq_input(const hq_model *model, size_t index) { return (void)model, index < 3 ? &tensors[index] : NULL; }
const hq_tensor *hq_output(const hq_model *model, size_t index) { return (void)model, (void)index, NULL; }
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

/* Encodes every input as the real one does and writes nothing. */
hq_status hq_model_run(hq_model *model, hq_form form, const hq_buffer *inputs, const hq_buffer *outputs,
                       hq_error *error) {
    (void)model, (void)outputs;
    uint8_t stored[16];
    hq_status status = HQ_OK;
    for (size_t index = 0; !status && form == HQ_FLOAT && index < 3; index++)
        status = hq_encode(&tensors[index], inputs[index].data, stored, error);
    return status ? status : hq_fail(error, HQ_EXECUTE, "done");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size;
    char *text = malloc(length + 1);
    memcpy(text, data, length);
    text[length] = 0;
    fuzz_file = end ? end + 1 : data, fuzz_bytes = end ? size - length - 1 : 0;
    for (int form = 0; form < 2; form++) {
        app_session session = {0};
        arguments given = {".", NULL, "list.txt", ".", form ? HQ_STORED : HQ_FLOAT, {HQ_PROFILE_NONE, NULL}};
        hq_error error = {HQ_OK, ""};
        uint8_t room[3][16];
        hq_buffer inputs[3];
        for (size_t index = 0; index < 3; index++)
            inputs[index] = (hq_buffer){room[index], hq_bytes(&tensors[index], given.form)};
        session.buffers.inputs = inputs, session.buffers.input_count = 3;
        char *copy = hq_copy_text(text);
        run_text(&session, &given, copy, &(size_t){0}, &error);
        free(copy);
    }
    free(text);
    return 0;
}
