/* Calls single parts of the C runtime for the tests: sha FILE | numbers DTYPE SCALE_BITS OFFSET IN OUT |
 * manifest FILE | threads BUNDLE LIBRARIES | layout. */
#define _POSIX_C_SOURCE 200809L
#include "hexaquant_runtime.h"
#include "hq_backend.h"
#include "hq_manifest.h"
#include "hq_platform.h"
#include "hq_sha256.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *load(const char *path, size_t *bytes) {
    uint8_t *data = NULL;
    if (hq_read_file(path, (size_t)1 << 30, &data, bytes, NULL))
        exit(3);
    return data;
}

static void save(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file))
        exit(3);
}

static int sha(const char *path) {
    size_t bytes;
    uint8_t *data = load(path, &bytes);
    char digest[65];
    for (size_t length = 0; length <= bytes; length += length < 200 ? 1 : bytes - length ? bytes - length : 1) {
        hq_sha256(data, length, digest);
        printf("%zu %s\n", length, digest);
    }
    free(data);
    return 0;
}

/* Encodes the floats of IN, decodes the result; OUT holds the stored numbers and then the floats. */
static int numbers(char **words) {
    size_t bytes;
    uint8_t *data = load(words[3], &bytes);
    hq_tensor tensor = {.name = words[3], .dtype = (hq_dtype)atoi(words[0]), .elements = bytes / sizeof(float)};
    uint32_t bits = (uint32_t)strtoul(words[1], NULL, 16);
    memcpy(&tensor.scale, &bits, sizeof bits);
    tensor.quantized = bits != 0, tensor.offset = atoi(words[2]);
    size_t stored = hq_bytes(&tensor, HQ_STORED), floats = hq_bytes(&tensor, HQ_FLOAT);
    uint8_t *result = calloc(1, stored + floats);
    hq_error error;
    if (!result || hq_encode(&tensor, data, result, &error))
        return result ? (free(data), free(result), puts(error.message), 1) : 3;
    float *back = malloc(floats);
    hq_decode(&tensor, result, back);
    memcpy(result + stored, back, floats);
    save(words[4], result, stored + floats);
    free(back), free(result), free(data);
    return 0;
}

static int manifest(const char *path) {
    size_t bytes;
    uint8_t *text = load(path, &bytes);
    hq_manifest found;
    hq_error error;
    /* every beginning of the file, and every file with one byte changed */
    for (size_t length = 0; length <= 2 * bytes; length++) {
        size_t kept = length < bytes ? length : bytes;
        char *copy = malloc(kept + 1);
        memcpy(copy, text, kept);
        copy[kept] = 0;
        if (length > bytes)
            copy[length - bytes - 1] ^= 0x11;
        int fine = !hq_manifest_parse(copy, kept, &found, &error);
        if (length < bytes && fine)
            printf("accepted %zu\n", length);
        if (length == bytes && fine)
            printf("%s %s %u %zu %zu\n", found.binary, found.graph, found.soc, found.input_count, found.output_count);
        for (size_t index = 0; length == bytes && fine && index < found.input_count; index++)
            printf("input %s %s\n", found.inputs[index].name, found.inputs[index].lowered);
        hq_manifest_free(&found);
        free(copy);
    }
    free(text);
    return 0;
}

typedef struct job {
    hq_model *model;
    uint8_t seed;
    int wrong;
} job;

static void *work(void *argument) {
    job *own = argument;
    for (int round = 0; round < 200; round++) {
        uint8_t x[4] = {own->seed, (uint8_t)round, 3, 4}, y[4];
        hq_buffer input = {x, sizeof x}, output = {y, sizeof y};
        hq_error error;
        if (hq_model_run(own->model, HQ_STORED, &input, &output, &error))
            own->wrong++;
        for (int index = 0; index < 4; index++)
            own->wrong += y[index] != 255 - x[index];
    }
    return NULL;
}

static int threads(const char *bundle, const char *libraries) {
    hq_runtime *runtime = NULL;
    hq_model *models[2] = {NULL, NULL};
    hq_error error;
    if (hq_runtime_open(libraries, &runtime, &error))
        return puts(error.message), 3;
    for (int index = 0; index < 2; index++)
        if (hq_model_open(runtime, bundle, NULL, &models[index], &error))
            return puts(error.message), 3;
    pthread_t ids[8];
    job jobs[8];
    int wrong = 0;
    for (uint8_t index = 0; index < 8; index++) {
        jobs[index] = (job){models[index % 2], index, 0};
        pthread_create(&ids[index], NULL, work, &jobs[index]);
    }
    for (int index = 0; index < 8; index++) {
        pthread_join(ids[index], NULL);
        wrong += jobs[index].wrong;
    }
    hq_model_close(models[0]);
    hq_model_close(models[1]);
    hq_runtime_close(runtime);
    printf("%d\n", wrong);
    return 0;
}

#define SHOW(name, value) printf("%s %zu\n", name, (size_t)(value))

static int layout(void) {
    SHOW("Tensor", sizeof(qnn_tensor));
    SHOW("QuantizeParams", sizeof(qnn_quantize));
    SHOW("GraphInfo", sizeof(qnn_graph_info));
    SHOW("BinaryDescription", sizeof(qnn_binary_info));
    SHOW("EventData", sizeof(qnn_event_data));
    SHOW("TensorBody.name", offsetof(qnn_tensor_body, name));
    SHOW("TensorBody.data_type", offsetof(qnn_tensor_body, data_type));
    SHOW("TensorBody.quantize", offsetof(qnn_tensor_body, quantize));
    SHOW("TensorBody.dimensions", offsetof(qnn_tensor_body, dimensions));
    SHOW("TensorBody.memory_type", offsetof(qnn_tensor_body, memory_type));
    SHOW("TensorBody.buffer", offsetof(qnn_tensor_body, buffer));
    SHOW("TensorBody.is_dynamic", offsetof(qnn_tensor_body, is_dynamic));
    SHOW("TensorBody.is_produced", offsetof(qnn_tensor_body, is_produced));
    SHOW("GraphBody.inputs", offsetof(qnn_graph_info, body.inputs) - offsetof(qnn_graph_info, body));
    SHOW("GraphBody.outputs", offsetof(qnn_graph_info, body.outputs) - offsetof(qnn_graph_info, body));
    SHOW("BinaryBody3.graph_count", offsetof(qnn_binary_info, body.graph_count) - offsetof(qnn_binary_info, body));
    SHOW("BinaryBody3.graphs", offsetof(qnn_binary_info, body.graphs) - offsetof(qnn_binary_info, body));
    SHOW("BinaryBody3.soc_model", offsetof(qnn_binary_info, body.soc_model) - offsetof(qnn_binary_info, body));
    SHOW("EventData.identifier", offsetof(qnn_event_data, identifier));
    return 0;
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "sha"))
        return sha(words[2]);
    if (count == 7 && !strcmp(words[1], "numbers"))
        return numbers(words + 2);
    if (count == 3 && !strcmp(words[1], "manifest"))
        return manifest(words[2]);
    if (count == 4 && !strcmp(words[1], "threads"))
        return threads(words[2], words[3]);
    return count == 2 && !strcmp(words[1], "layout") ? layout() : 2;
}
