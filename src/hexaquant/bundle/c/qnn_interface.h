/* The part of Qualcomm's public QNN C interface (core API 2, system API 1) that this runtime uses, declared in our own
 * words from the public documentation. Layouts hold on 64-bit platforms; the assertions below refuse any other. */
#ifndef HQ_QNN_INTERFACE_H
#define HQ_QNN_INTERFACE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define QNN_CORE_MAJOR 2
#define QNN_CORE_MINOR 40 /* oldest that binaries of this release and the declarations below fit */
#define QNN_SYSTEM_MAJOR 1
#define QNN_SYSTEM_MINOR 15
#define QNN_BINARY_DESCRIPTION 3 /* version of the description of a context binary that is understood */

typedef void *qnn_handle;
typedef uint64_t qnn_status; /* 0 is success; the number of an error is in the low 16 bits */

typedef struct qnn_version {
    uint32_t major, minor, patch;
} qnn_version;

/* x = (q + offset) * scale */
typedef struct qnn_scale_offset {
    float scale;
    int32_t offset;
} qnn_scale_offset;

typedef struct qnn_bitwidth_scale_offset {
    uint32_t bitwidth;
    float scale;
    int32_t offset;
} qnn_bitwidth_scale_offset;

enum { QNN_ENCODING_PER_TENSOR = 0, QNN_ENCODING_BITWIDTH_PER_TENSOR = 2 };

typedef struct qnn_quantize {
    uint32_t defined; /* 1: the encoding below applies */
    uint32_t encoding;
    union {
        qnn_scale_offset per_tensor;
        qnn_bitwidth_scale_offset bitwidth_per_tensor;
        uint64_t space[4]; /* the kinds of encodings that inputs and outputs never have */
    } as;
} qnn_quantize;

typedef struct qnn_client_buffer {
    void *data;
    uint32_t bytes;
} qnn_client_buffer;

typedef struct qnn_tensor_body {
    uint32_t id;
    const char *name;
    uint32_t type;
    uint32_t data_format;
    uint32_t data_type;
    qnn_quantize quantize;
    uint32_t rank;
    uint32_t *dimensions;
    uint32_t memory_type; /* 0: the client buffer below */
    union {
        qnn_client_buffer client;
        qnn_handle memory;
    } buffer;
    uint8_t *is_dynamic; /* version 2 from here on */
    struct {
        uint32_t type, specified, ordering;
    } sparse;
    uint8_t is_produced;
} qnn_tensor_body;

/* Versions 1 and 2 share the beginning of the body and the size of the whole. */
typedef struct qnn_tensor {
    uint32_t version;
    qnn_tensor_body body;
} qnn_tensor;

typedef struct qnn_graph_info {
    uint32_t version;
    struct {
        const char *name;
        uint32_t input_count;
        qnn_tensor *inputs;
        uint32_t output_count;
        qnn_tensor *outputs;
        uint32_t updateable_count;
        qnn_tensor *updateable;
        uint32_t blob_size;
        void *blob;
        uint32_t start_op, end_op;
    } body;
} qnn_graph_info;

typedef struct qnn_binary_info {
    uint32_t version;
    struct {
        uint32_t backend_id;
        const char *build_id;
        qnn_version core_version, backend_version;
        const char *soc_version;
        qnn_version blob_version;
        uint64_t blob_size;
        uint32_t context_tensor_count;
        qnn_tensor *context_tensors;
        uint32_t graph_count;
        qnn_graph_info *graphs;
        void *platform;
        uint32_t metadata_size;
        void *metadata;
        uint32_t soc_model;
    } body;
} qnn_binary_info;

/* One figure of a profile. */
typedef struct qnn_event_data {
    uint32_t type, unit;
    uint64_t value;
    const char *identifier;
} qnn_event_data;

/* Tables of functions only grow at their end; the numbers are positions in them. */
enum {
    QNN_BACKEND_CREATE = 1,
    QNN_BACKEND_FREE = 8,
    QNN_CONTEXT_CREATE_FROM_BINARY = 13,
    QNN_CONTEXT_FREE = 14,
    QNN_GRAPH_RETRIEVE = 20,
    QNN_GRAPH_EXECUTE = 21,
    QNN_LOG_CREATE = 25,
    QNN_LOG_FREE = 27,
    QNN_PROFILE_CREATE = 28,
    QNN_PROFILE_GET_EVENTS = 30,
    QNN_PROFILE_GET_SUB_EVENTS = 31,
    QNN_PROFILE_GET_EVENT_DATA = 32,
    QNN_PROFILE_FREE = 34,
    QNN_DEVICE_CREATE = 40,
    QNN_DEVICE_FREE = 43,
    QNN_FUNCTION_COUNT = 51
};
enum {
    QNN_SYSTEM_CONTEXT_CREATE = 0,
    QNN_SYSTEM_CONTEXT_GET_METADATA = 2,
    QNN_SYSTEM_CONTEXT_FREE = 3,
    QNN_SYSTEM_FUNCTION_COUNT = 4
};

typedef void (*qnn_function)(void); /* cast to one of the types below before it is called */

typedef struct qnn_interface {
    uint32_t backend_id;
    const char *provider;
    qnn_version core_version, backend_version;
    qnn_function functions[QNN_FUNCTION_COUNT];
} qnn_interface;

typedef struct qnn_system_interface {
    uint32_t backend_id;
    const char *provider;
    qnn_version version;
    qnn_function functions[QNN_SYSTEM_FUNCTION_COUNT];
} qnn_system_interface;

typedef qnn_status (*qnn_get_providers)(const qnn_interface *const **providers, uint32_t *count);
typedef qnn_status (*qnn_system_get_providers)(const qnn_system_interface *const **providers, uint32_t *count);

typedef void (*qnn_log_callback)(const char *format, uint32_t level, uint64_t time, va_list arguments);
typedef qnn_status (*qnn_log_create)(qnn_log_callback callback, uint32_t max_level, qnn_handle *log);
typedef qnn_status (*qnn_backend_create)(qnn_handle log, const void *const *config, qnn_handle *backend);
typedef qnn_status (*qnn_device_create)(qnn_handle log, const void *const *config, qnn_handle *device);
typedef qnn_status (*qnn_free)(qnn_handle handle);
typedef qnn_status (*qnn_context_from_binary)(qnn_handle backend, qnn_handle device, const void *const *config,
                                              const void *binary, uint64_t bytes, qnn_handle *context,
                                              qnn_handle profile);
typedef qnn_status (*qnn_context_free)(qnn_handle context, qnn_handle profile);
typedef qnn_status (*qnn_graph_retrieve)(qnn_handle context, const char *name, qnn_handle *graph);
typedef qnn_status (*qnn_graph_execute)(qnn_handle graph, const qnn_tensor *inputs, uint32_t input_count,
                                        qnn_tensor *outputs, uint32_t output_count, qnn_handle profile,
                                        qnn_handle signal);
typedef qnn_status (*qnn_profile_create)(qnn_handle backend, uint32_t level, qnn_handle *profile);
typedef qnn_status (*qnn_profile_events)(qnn_handle profile, const uint64_t **events, uint32_t *count);
typedef qnn_status (*qnn_profile_sub_events)(uint64_t event, const uint64_t **events, uint32_t *count);
typedef qnn_status (*qnn_profile_event_data)(uint64_t event, qnn_event_data *data);
typedef qnn_status (*qnn_system_create)(qnn_handle *system);
typedef qnn_status (*qnn_system_metadata)(qnn_handle system, const void *binary, uint64_t bytes,
                                          const qnn_binary_info **info);

#define QNN_LAYOUT(condition) _Static_assert(condition, "QNN's structures need a 64-bit platform")
QNN_LAYOUT(sizeof(void *) == 8);
QNN_LAYOUT(sizeof(qnn_quantize) == 40);
QNN_LAYOUT(sizeof(qnn_tensor) == 144);
QNN_LAYOUT(offsetof(qnn_tensor, body.quantize) == 40);
QNN_LAYOUT(offsetof(qnn_tensor, body.buffer) == 104);
QNN_LAYOUT(sizeof(qnn_graph_info) == 88);
QNN_LAYOUT(sizeof(qnn_binary_info) == 144);
QNN_LAYOUT(offsetof(qnn_binary_info, body.graphs) == 104);
QNN_LAYOUT(offsetof(qnn_binary_info, body.soc_model) == 136);
QNN_LAYOUT(sizeof(qnn_event_data) == 24);
QNN_LAYOUT(offsetof(qnn_interface, functions) == 40);
QNN_LAYOUT(offsetof(qnn_system_interface, functions) == 32);

#endif
