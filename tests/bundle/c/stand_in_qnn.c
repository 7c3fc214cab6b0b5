/* A STAND-IN for Qualcomm's libQnnHtp and libQnnSystem, for tests of our C runtime only (errors, leaks, threads): its
 * one graph "model" has an input "x", uint8[4], scale 0.5, offset -8, and an output "y", which is 255 - x.
 * STAND_IN_FAIL names a function that fails, STAND_IN_MINOR and STAND_IN_MAJOR are the versions it claims. */
#include "qnn_interface.h"

#include <stdlib.h>
#include <string.h>

static uint32_t number(const char *name, uint32_t otherwise) {
    const char *text = getenv(name);
    return text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static qnn_log_callback callback;

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (callback)
        callback(format, 1, 0, arguments);
    va_end(arguments);
}

static int fails(const char *function) {
    const char *name = getenv("STAND_IN_FAIL");
    if (!name || strcmp(name, function))
        return 0;
    say("%s was told to fail\n", function);
    return 1;
}

static qnn_status make(const char *function, qnn_handle *handle) {
    if (fails(function))
        return 1004;
    *handle = malloc(16);
    return 0;
}

static qnn_status log_create(qnn_log_callback given, uint32_t level, qnn_handle *log) {
    (void)level;
    callback = given;
    return make("logCreate", log);
}
static qnn_status backend_create(qnn_handle log, const void *const *config, qnn_handle *backend) {
    (void)log, (void)config;
    return make("backendCreate", backend);
}
static qnn_status device_create(qnn_handle log, const void *const *config, qnn_handle *device) {
    (void)log, (void)config;
    return make("deviceCreate", device);
}
static qnn_status drop(qnn_handle handle) {
    free(handle);
    return 0;
}
static qnn_status context_free(qnn_handle context, qnn_handle profile) {
    (void)profile;
    return drop(context);
}
static qnn_status from_binary(qnn_handle backend, qnn_handle device, const void *const *config, const void *binary,
                              uint64_t bytes, qnn_handle *context, qnn_handle profile) {
    (void)backend, (void)device, (void)config, (void)binary, (void)bytes, (void)profile;
    return make("contextCreateFromBinary", context);
}
static qnn_status retrieve(qnn_handle context, const char *name, qnn_handle *graph) {
    *graph = context;
    return fails("graphRetrieve") || strcmp(name, "model") ? 6000 : 0;
}
static qnn_status execute(qnn_handle graph, const qnn_tensor *inputs, uint32_t input_count, qnn_tensor *outputs,
                          uint32_t output_count, qnn_handle profile, qnn_handle signal) {
    (void)graph, (void)profile, (void)signal;
    if (fails("graphExecute") || input_count != 1 || output_count != 1)
        return 6031;
    const uint8_t *x = inputs->body.buffer.client.data;
    uint8_t *y = outputs->body.buffer.client.data;
    for (int index = 0; index < 4; index++)
        y[index] = (uint8_t)(255 - x[index]);
    return 0;
}
static qnn_status profile_create(qnn_handle backend, uint32_t level, qnn_handle *profile) {
    (void)backend, (void)level;
    return make("profileCreate", profile);
}
static qnn_status events(qnn_handle profile, const uint64_t **found, uint32_t *count) {
    static const uint64_t ONE[] = {7};
    (void)profile;
    *found = ONE, *count = 1;
    return 0;
}
static qnn_status sub_events(uint64_t event, const uint64_t **found, uint32_t *count) {
    (void)event;
    *found = NULL, *count = 0;
    return 0;
}
static qnn_status event_data(uint64_t event, qnn_event_data *data) {
    *data = (qnn_event_data){(uint32_t)event, 1, 42, "a \"quoted\"\nname"};
    return 0;
}

static uint32_t dims[] = {1, 4};

static qnn_tensor tensor(const char *name, uint32_t type) {
    qnn_tensor made = {.version = 1};
    made.body.id = type + 1;
    made.body.name = name;
    made.body.type = type;
    made.body.data_type = number("STAND_IN_DTYPE", 0x408);
    made.body.quantize.defined = 1;
    made.body.quantize.encoding = number("STAND_IN_ENCODING", QNN_ENCODING_PER_TENSOR);
    made.body.quantize.as.per_tensor = (qnn_scale_offset){0.5f, -8};
    made.body.rank = 2;
    made.body.dimensions = dims;
    return made;
}

/* Everything in one block, so that freeing the handle frees all: whoever reads it later is caught. */
typedef struct description {
    qnn_tensor input, output;
    qnn_graph_info graph;
    qnn_binary_info info;
} description;

static qnn_status system_create(qnn_handle *system) {
    *system = fails("systemContextCreate") ? NULL : calloc(1, sizeof(description));
    return *system ? 0 : 1;
}
static qnn_status metadata(qnn_handle system, const void *binary, uint64_t bytes, const qnn_binary_info **info) {
    (void)binary, (void)bytes;
    description *made = system;
    if (fails("systemContextGetMetaData"))
        return 1002;
    made->input = tensor("x", 0), made->output = tensor("y", 1);
    made->graph.version = 1;
    made->graph.body.name = "model";
    made->graph.body.input_count = made->graph.body.output_count = 1;
    made->graph.body.inputs = &made->input, made->graph.body.outputs = &made->output;
    made->info.version = number("STAND_IN_DESCRIPTION", QNN_BINARY_DESCRIPTION);
    made->info.body.graph_count = 1, made->info.body.graphs = &made->graph;
    made->info.body.soc_model = 57;
    *info = &made->info;
    return 0;
}

static qnn_interface interface;
static qnn_system_interface system_interface;

qnn_status QnnInterface_getProviders(const qnn_interface *const **providers, uint32_t *count);
qnn_status QnnInterface_getProviders(const qnn_interface *const **providers, uint32_t *count) {
    static const qnn_interface *const LIST[] = {&interface};
    interface.core_version = (qnn_version){number("STAND_IN_MAJOR", 2), number("STAND_IN_MINOR", 40), 0};
    qnn_function *functions = interface.functions;
    functions[QNN_LOG_CREATE] = (qnn_function)log_create, functions[QNN_LOG_FREE] = (qnn_function)drop;
    functions[QNN_BACKEND_CREATE] = (qnn_function)backend_create, functions[QNN_BACKEND_FREE] = (qnn_function)drop;
    functions[QNN_DEVICE_CREATE] = (qnn_function)device_create, functions[QNN_DEVICE_FREE] = (qnn_function)drop;
    functions[QNN_CONTEXT_CREATE_FROM_BINARY] = (qnn_function)from_binary;
    functions[QNN_CONTEXT_FREE] = (qnn_function)context_free;
    functions[QNN_GRAPH_RETRIEVE] = (qnn_function)retrieve, functions[QNN_GRAPH_EXECUTE] = (qnn_function)execute;
    functions[QNN_PROFILE_CREATE] = (qnn_function)profile_create, functions[QNN_PROFILE_FREE] = (qnn_function)drop;
    functions[QNN_PROFILE_GET_EVENTS] = (qnn_function)events;
    functions[QNN_PROFILE_GET_SUB_EVENTS] = (qnn_function)sub_events;
    functions[QNN_PROFILE_GET_EVENT_DATA] = (qnn_function)event_data;
    *providers = LIST;
    *count = !fails("getProviders");
    return 0;
}

qnn_status QnnSystemInterface_getProviders(const qnn_system_interface *const **providers, uint32_t *count);
qnn_status QnnSystemInterface_getProviders(const qnn_system_interface *const **providers, uint32_t *count) {
    static const qnn_system_interface *const LIST[] = {&system_interface};
    system_interface.version = (qnn_version){1, number("STAND_IN_SYSTEM_MINOR", 15), 0};
    qnn_function *functions = system_interface.functions;
    functions[QNN_SYSTEM_CONTEXT_CREATE] = (qnn_function)system_create;
    functions[QNN_SYSTEM_CONTEXT_GET_METADATA] = (qnn_function)metadata;
    functions[QNN_SYSTEM_CONTEXT_FREE] = (qnn_function)drop;
    *providers = LIST;
    *count = 1;
    return 0;
}
