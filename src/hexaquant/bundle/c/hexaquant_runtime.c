#include "hexaquant_runtime.h"

#include "hq_backend.h"
#include "hq_manifest.h"
#include "hq_platform.h"
#include "hq_profile.h"
#include "hq_sha256.h"

#include <stdlib.h>
#include <string.h>

#define MOST_RANK 16u
#define MOST_BINARY_BYTES ((size_t)1 << 36)

/* An input or output: what the caller sees, what the library gets, and the buffer between them. */
typedef struct port {
    hq_tensor tensor;
    char *lowered; /* its name in the binary */
    void *stored;
    size_t graph_index; /* its place in the library's order */
} port;

struct hq_model {
    hq_runtime *runtime;
    hq_manifest manifest;
    uint8_t *binary; /* must live as long as the context */
    size_t binary_bytes;
    qnn_handle context, graph;
    port *inputs, *outputs;                    /* in the order of the original network */
    qnn_tensor *input_tensors, *output_tensors; /* in the library's order */
    hq_profile *profile;
    hq_lock *lock;
};

static const char *const STATUS_NAMES[] = {"ok",      "argument", "file",   "manifest", "hash",
                                           "library", "version",  "binary", "execute",  "memory"};

const char *hq_status_name(hq_status status) {
    size_t index = (size_t)status;
    return index < sizeof STATUS_NAMES / sizeof *STATUS_NAMES ? STATUS_NAMES[index] : "unknown";
}

/* QNN's numbers of data types: plain and fixed-point integers, floats, booleans. */
static int find_dtype(uint32_t code, hq_dtype *dtype) {
    static const struct {
        uint32_t code;
        hq_dtype dtype;
    } TYPES[] = {{0x008, HQ_INT8},   {0x016, HQ_INT16},  {0x032, HQ_INT32},  {0x064, HQ_INT64},  {0x108, HQ_UINT8},
                 {0x116, HQ_UINT16}, {0x132, HQ_UINT32}, {0x164, HQ_UINT64}, {0x216, HQ_FLOAT16}, {0x232, HQ_FLOAT32},
                 {0x308, HQ_INT8},   {0x316, HQ_INT16},  {0x332, HQ_INT32},  {0x408, HQ_UINT8},  {0x416, HQ_UINT16},
                 {0x432, HQ_UINT32}, {0x508, HQ_UINT8}};
    for (size_t index = 0; index < sizeof TYPES / sizeof *TYPES; index++)
        if (TYPES[index].code == code) {
            *dtype = TYPES[index].dtype;
            return 1;
        }
    return 0;
}

static hq_status read_encoding(const qnn_tensor_body *body, hq_tensor *tensor, hq_error *error) {
    if (body->quantize.defined != 1)
        return HQ_OK;
    tensor->quantized = 1;
    if (body->quantize.encoding == QNN_ENCODING_PER_TENSOR) {
        tensor->scale = body->quantize.as.per_tensor.scale;
        tensor->offset = body->quantize.as.per_tensor.offset;
    } else if (body->quantize.encoding == QNN_ENCODING_BITWIDTH_PER_TENSOR) {
        tensor->scale = body->quantize.as.bitwidth_per_tensor.scale;
        tensor->offset = body->quantize.as.bitwidth_per_tensor.offset;
    } else
        return hq_fail(error, HQ_BINARY, "'%s' has an encoding of kind %u, which no input or output should have",
                       tensor->name, body->quantize.encoding);
    if (tensor->dtype > HQ_UINT16 || !(tensor->scale > 0))
        return hq_fail(error, HQ_BINARY, "'%s' is quantized in a way that this runtime does not know", tensor->name);
    return HQ_OK;
}

static hq_status read_shape(const qnn_tensor_body *body, hq_tensor *tensor, hq_error *error) {
    size_t elements = 1;
    if (body->rank > MOST_RANK)
        return hq_fail(error, HQ_BINARY, "'%s' has %u dimensions", tensor->name, body->rank);
    tensor->rank = body->rank;
    tensor->dims = calloc(body->rank ? body->rank : 1, sizeof *tensor->dims);
    if (!tensor->dims)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    for (uint32_t axis = 0; axis < body->rank; axis++) {
        tensor->dims[axis] = body->dimensions[axis];
        if (!tensor->dims[axis] || elements > UINT32_MAX / 8 / tensor->dims[axis])
            return hq_fail(error, HQ_BINARY, "'%s' has an impossible shape", tensor->name);
        elements *= tensor->dims[axis];
    }
    tensor->elements = elements;
    return HQ_OK;
}

/* Fill `to` from the library's description; `given` becomes a copy of it that owns nothing and carries the buffer. */
static hq_status read_port(const qnn_tensor *tensor, const hq_name *names, port *to, qnn_tensor *given,
                           hq_error *error) {
    const qnn_tensor_body *body = &tensor->body;
    if (tensor->version != 1 && tensor->version != 2)
        return hq_fail(error, HQ_BINARY, "tensor '%s' has version %u, which is unknown", names->name, tensor->version);
    to->tensor.name = hq_copy_text(names->name);
    to->lowered = hq_copy_text(names->lowered);
    if (!to->tensor.name || !to->lowered)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    if (!find_dtype(body->data_type, &to->tensor.dtype))
        return hq_fail(error, HQ_BINARY, "'%s' has data type 0x%x, which this runtime does not know", names->name,
                       body->data_type);
    hq_status status = read_shape(body, &to->tensor, error);
    if (!status)
        status = read_encoding(body, &to->tensor, error);
    if (status)
        return status;
    size_t bytes = hq_bytes(&to->tensor, HQ_STORED);
    to->stored = calloc(1, bytes);
    if (!to->stored)
        return hq_fail(error, HQ_MEMORY, "out of memory for '%s' (%zu bytes)", names->name, bytes);
    *given = *tensor;
    given->body.name = to->lowered;
    given->body.dimensions = to->tensor.dims;
    given->body.memory_type = 0;
    given->body.buffer.client = (qnn_client_buffer){to->stored, (uint32_t)bytes};
    given->body.is_dynamic = NULL;
    return HQ_OK;
}

/* The ports of one side, each under the name and at the place that model.txt gives it. */
static hq_status read_ports(const qnn_tensor *tensors, uint32_t count, const hq_name *names, size_t name_count,
                            port **ports, qnn_tensor **given, hq_error *error) {
    if (count != name_count)
        return hq_fail(error, HQ_MANIFEST, "the binary has %u inputs or outputs where model.txt lists %zu", count,
                       name_count);
    *ports = calloc(count, sizeof **ports);
    *given = calloc(count, sizeof **given);
    if (!*ports || !*given)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    for (size_t index = 0; index < name_count; index++) {
        uint32_t found = 0;
        while (found < count && strcmp(tensors[found].body.name ? tensors[found].body.name : "", names[index].lowered))
            found++;
        if (found == count || (*given)[found].body.name)
            return hq_fail(error, HQ_MANIFEST, "the binary has no '%s', which model.txt lists", names[index].lowered);
        (*ports)[index].graph_index = found;
        hq_status status = read_port(&tensors[found], &names[index], &(*ports)[index], &(*given)[found], error);
        if (status)
            return status;
    }
    return HQ_OK;
}

static hq_status read_graph(hq_model *model, const qnn_binary_info *info, hq_error *error) {
    if (info->version != QNN_BINARY_DESCRIPTION)
        return hq_fail(error, HQ_VERSION, "the binary's description has version %u, this runtime knows %d",
                       info->version, QNN_BINARY_DESCRIPTION);
    const hq_manifest *manifest = &model->manifest;
    if (manifest->soc && info->body.soc_model != manifest->soc)
        return hq_fail(error, HQ_MANIFEST, "the binary is for SoC model %u, model.txt says %u", info->body.soc_model,
                       manifest->soc);
    for (uint32_t index = 0; index < info->body.graph_count; index++) {
        const qnn_graph_info *graph = &info->body.graphs[index];
        if (!graph->body.name || strcmp(graph->body.name, manifest->graph))
            continue;
        hq_status status = read_ports(graph->body.inputs, graph->body.input_count, manifest->inputs,
                                      manifest->input_count, &model->inputs, &model->input_tensors, error);
        if (status)
            return status;
        return read_ports(graph->body.outputs, graph->body.output_count, manifest->outputs, manifest->output_count,
                          &model->outputs, &model->output_tensors, error);
    }
    return hq_fail(error, HQ_MANIFEST, "the binary holds no graph '%s'", manifest->graph);
}

static hq_status describe(hq_model *model, hq_error *error) {
    qnn_handle system = NULL;
    const qnn_binary_info *info = NULL;
    qnn_status code = HQ_SYSTEM_CALL(model->runtime, QNN_SYSTEM_CONTEXT_CREATE, qnn_system_create)(&system);
    if (code)
        return hq_library_failed(error, HQ_LIBRARY, "QnnSystem cannot start", code);
    hq_log_clear();
    code = HQ_SYSTEM_CALL(model->runtime, QNN_SYSTEM_CONTEXT_GET_METADATA, qnn_system_metadata)(
        system, model->binary, model->binary_bytes, &info);
    hq_status status = code || !info ? hq_library_failed(error, HQ_BINARY, "the binary cannot be read", code)
                                     : read_graph(model, info, error);
    HQ_SYSTEM_CALL(model->runtime, QNN_SYSTEM_CONTEXT_FREE, qnn_free)(system);
    return status;
}

static hq_status read_binary(hq_model *model, const char *folder, hq_error *error) {
    char digest[65], *path = hq_join(folder, model->manifest.binary);
    if (!path)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    hq_status status = hq_read_file(path, MOST_BINARY_BYTES, &model->binary, &model->binary_bytes, error);
    free(path);
    if (status)
        return status;
    if (model->binary_bytes == model->manifest.bytes) {
        hq_sha256(model->binary, model->binary_bytes, digest);
        if (!strcmp(digest, model->manifest.sha256))
            return HQ_OK;
    }
    return hq_fail(error, HQ_HASH, "%s is damaged or another one: its SHA-256 is not the one in model.txt; copy it again",
                   model->manifest.binary);
}

static hq_status create_context(hq_model *model, hq_error *error) {
    hq_runtime *runtime = model->runtime;
    hq_log_clear();
    uint64_t start = hq_now_us();
    qnn_status code = HQ_CALL(runtime, QNN_CONTEXT_CREATE_FROM_BINARY, qnn_context_from_binary)(
        runtime->backend, runtime->device, NULL, model->binary, model->binary_bytes, &model->context,
        hq_profile_handle(model->profile));
    if (code)
        return hq_library_failed(error, HQ_BINARY, "the library does not load the binary", code);
    hq_profile_add(model->profile, "init", model->manifest.graph, hq_now_us() - start);
    code = HQ_CALL(runtime, QNN_GRAPH_RETRIEVE, qnn_graph_retrieve)(model->context, model->manifest.graph,
                                                                    &model->graph);
    if (code)
        return hq_library_failed(error, HQ_BINARY, "the binary's graph cannot be retrieved", code);
    return HQ_OK;
}

hq_status hq_model_open(hq_runtime *runtime, const char *folder, const hq_options *options, hq_model **model,
                        hq_error *error) {
    hq_model *made = calloc(1, sizeof *made);
    if (!made)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    made->runtime = runtime;
    made->lock = hq_lock_new();
    hq_status status = made->lock ? HQ_OK : hq_fail(error, HQ_MEMORY, "no lock could be made");
    if (!status)
        status = hq_manifest_read(folder, &made->manifest, error);
    if (!status)
        status = read_binary(made, folder, error);
    if (!status)
        status = describe(made, error);
    if (!status && options && options->profiling && options->profile_path)
        status = hq_profile_open(runtime, options, made->manifest.soc, &made->profile, error);
    if (!status)
        status = create_context(made, error);
    if (status) {
        hq_model_close(made);
        return status;
    }
    *model = made;
    return HQ_OK;
}

static void free_ports(port *ports, size_t count) {
    for (size_t index = 0; ports && index < count; index++) {
        free(ports[index].tensor.name);
        free(ports[index].tensor.dims);
        free(ports[index].lowered);
        free(ports[index].stored);
    }
    free(ports);
}

void hq_model_close(hq_model *model) {
    if (!model)
        return;
    if (model->context)
        HQ_CALL(model->runtime, QNN_CONTEXT_FREE, qnn_context_free)(model->context, NULL);
    hq_profile_close(model->profile);
    free_ports(model->inputs, model->manifest.input_count);
    free_ports(model->outputs, model->manifest.output_count);
    free(model->input_tensors);
    free(model->output_tensors);
    free(model->binary);
    hq_manifest_free(&model->manifest);
    hq_lock_free(model->lock);
    free(model);
}

size_t hq_input_count(const hq_model *model) { return model->manifest.input_count; }
size_t hq_output_count(const hq_model *model) { return model->manifest.output_count; }

const hq_tensor *hq_input(const hq_model *model, size_t index) {
    return index < model->manifest.input_count ? &model->inputs[index].tensor : NULL;
}

const hq_tensor *hq_output(const hq_model *model, size_t index) {
    return index < model->manifest.output_count ? &model->outputs[index].tensor : NULL;
}

const hq_image *hq_model_image(const hq_model *model) {
    return model->manifest.has_image ? &model->manifest.image : NULL;
}

const char *hq_model_labels(const hq_model *model) { return model->manifest.labels; }

static hq_status check_buffers(const port *ports, size_t count, hq_form form, const hq_buffer *buffers,
                               const char *what, hq_error *error) {
    for (size_t index = 0; index < count; index++) {
        size_t needed = hq_bytes(&ports[index].tensor, form);
        if (!buffers || !buffers[index].data || buffers[index].bytes != needed)
            return hq_fail(error, HQ_ARGUMENT, "%s '%s' takes %zu bytes, not %zu", what, ports[index].tensor.name,
                           needed, buffers && buffers[index].data ? buffers[index].bytes : 0);
    }
    return HQ_OK;
}

static hq_status execute(hq_model *model, hq_error *error) {
    hq_log_clear();
    uint64_t start = hq_now_us();
    qnn_status code = HQ_CALL(model->runtime, QNN_GRAPH_EXECUTE, qnn_graph_execute)(
        model->graph, model->input_tensors, (uint32_t)model->manifest.input_count, model->output_tensors,
        (uint32_t)model->manifest.output_count, hq_profile_handle(model->profile), NULL);
    if (code)
        return hq_library_failed(error, HQ_EXECUTE, "the execution failed", code);
    hq_profile_add(model->profile, "execute", model->manifest.graph, hq_now_us() - start);
    return HQ_OK;
}

static hq_status run_locked(hq_model *model, hq_form form, const hq_buffer *inputs, const hq_buffer *outputs,
                            hq_error *error) {
    for (size_t index = 0; index < model->manifest.input_count; index++) {
        port *to = &model->inputs[index];
        if (form == HQ_STORED) {
            memcpy(to->stored, inputs[index].data, inputs[index].bytes);
            continue;
        }
        hq_status status = hq_encode(&to->tensor, inputs[index].data, to->stored, error);
        if (status)
            return status;
    }
    hq_status status = execute(model, error);
    for (size_t index = 0; !status && index < model->manifest.output_count; index++) {
        const port *from = &model->outputs[index];
        if (form == HQ_STORED)
            memcpy(outputs[index].data, from->stored, outputs[index].bytes);
        else
            hq_decode(&from->tensor, from->stored, outputs[index].data);
    }
    return status;
}

hq_status hq_model_run(hq_model *model, hq_form form, const hq_buffer *inputs, const hq_buffer *outputs,
                       hq_error *error) {
    hq_status status = check_buffers(model->inputs, model->manifest.input_count, form, inputs, "input", error);
    if (!status)
        status = check_buffers(model->outputs, model->manifest.output_count, form, outputs, "output", error);
    if (status)
        return status;
    hq_lock_take(model->lock);
    status = run_locked(model, form, inputs, outputs, error);
    hq_lock_release(model->lock);
    return status;
}
