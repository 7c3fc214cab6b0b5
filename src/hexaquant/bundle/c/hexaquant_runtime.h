/* Runs a context binary of hexaquant on Qualcomm's NPU (on x86: on its emulator). C11; needs libdl or Win32 only.
 *
 *     hq_error error;
 *     hq_runtime *runtime = NULL;
 *     hq_model *model = NULL;
 *     if (hq_runtime_open(NULL, &runtime, &error) || hq_model_open(runtime, ".", NULL, &model, &error)) ...
 *     hq_model_run(model, HQ_FLOAT, &input, &output, &error);
 *     hq_model_close(model);
 *     hq_runtime_close(runtime);
 *
 * One runtime a process holds the vendor's libraries; it may hold several models. Calls for one model wait for each
 * other, calls for different models do not: every function may be called from any thread, except that nothing may use
 * what is being closed, and models are closed before their runtime. Functions that can fail return a status, 0 when all
 * went well, and describe a failure in *error (which may be NULL). */
#ifndef HEXAQUANT_RUNTIME_H
#define HEXAQUANT_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hq_status {
    HQ_OK = 0,
    HQ_ARGUMENT, /* an argument is wrong: number or size of buffers, NaN among the inputs */
    HQ_FILE,     /* a file cannot be read or written */
    HQ_MANIFEST, /* model.txt is damaged or does not belong to the binary */
    HQ_HASH,     /* the binary is not the one that model.txt records */
    HQ_LIBRARY,  /* a library of Qualcomm's is missing or does not load */
    HQ_VERSION,  /* ... or has an interface that this runtime does not know */
    HQ_BINARY,   /* the library refuses the binary, or it holds what this runtime does not know */
    HQ_EXECUTE,  /* the execution failed */
    HQ_MEMORY    /* out of memory */
} hq_status;

typedef struct hq_error {
    hq_status status;
    char message[1024]; /* one sentence, always terminated */
} hq_error;

typedef enum hq_dtype {
    HQ_INT8,
    HQ_UINT8,
    HQ_INT16,
    HQ_UINT16,
    HQ_INT32,
    HQ_UINT32,
    HQ_INT64,
    HQ_UINT64,
    HQ_FLOAT16,
    HQ_FLOAT32
} hq_dtype;

/* An input or output as the binary stores it; where `quantized`, a value is (stored + offset) * scale. */
typedef struct hq_tensor {
    char *name;
    hq_dtype dtype;
    uint32_t rank;
    uint32_t *dims;
    size_t elements;
    int quantized;
    float scale;
    int32_t offset;
} hq_tensor;

/* HQ_FLOAT: float32 for quantized and floating tensors, the stored integers for others. HQ_STORED: all as stored. */
typedef enum hq_form { HQ_FLOAT, HQ_STORED } hq_form;

typedef struct hq_buffer {
    void *data;
    size_t bytes; /* must be hq_bytes() of the tensor */
} hq_buffer;

/* How pixels 0..255 become the network's input: (pixel * scale - mean[c]) / std[c]. */
typedef struct hq_image {
    uint32_t height, width, channels;
    int bgr;            /* channels of the network in the order blue, green, red; pixels come as red, green, blue */
    int channels_first; /* NCHW, else NHWC */
    float scale, mean[4], std[4];
} hq_image;

typedef enum hq_profiling { HQ_PROFILE_NONE = 0, HQ_PROFILE_BASIC = 1, HQ_PROFILE_DETAILED = 2 } hq_profiling;

typedef struct hq_options {
    hq_profiling profiling;
    const char *profile_path; /* written while the model runs, complete when it is closed */
} hq_options;

typedef struct hq_runtime hq_runtime;
typedef struct hq_model hq_model;

/* Load libQnnHtp and libQnnSystem from `folder` (NULL: from where the system's loader looks). */
hq_status hq_runtime_open(const char *folder, hq_runtime **runtime, hq_error *error);
void hq_runtime_close(hq_runtime *runtime);

/* Load the binary that `folder`/model.txt names, after checking its SHA-256. `options` may be NULL. */
hq_status hq_model_open(hq_runtime *runtime, const char *folder, const hq_options *options, hq_model **model,
                        hq_error *error);
void hq_model_close(hq_model *model);

/* Inputs and outputs in the order of the original network; they live as long as the model. NULL beyond the last. */
size_t hq_input_count(const hq_model *model);
size_t hq_output_count(const hq_model *model);
const hq_tensor *hq_input(const hq_model *model, size_t index);
const hq_tensor *hq_output(const hq_model *model, size_t index);
const hq_image *hq_model_image(const hq_model *model);   /* NULL where the preprocessing is not known */
const char *hq_model_labels(const hq_model *model);      /* file name of the class names, NULL where there is none */

/* Bytes that a buffer for `tensor` has in `form`. */
size_t hq_bytes(const hq_tensor *tensor, hq_form form);

/* Execute once: hq_input_count() input buffers are read, hq_output_count() output buffers are written. */
hq_status hq_model_run(hq_model *model, hq_form form, const hq_buffer *inputs, const hq_buffer *outputs,
                       hq_error *error);

/* What hq_model_run does to each tensor: `values` (HQ_FLOAT) to `stored` and back. Rounds half to even, then clips.
 * NaN and infinite values are refused. */
hq_status hq_encode(const hq_tensor *tensor, const void *values, void *stored, hq_error *error);
void hq_decode(const hq_tensor *tensor, const void *stored, void *values);

/* height * width * channels pixels, row by row, channels last, to as many floats in the network's layout. */
void hq_preprocess(const hq_image *image, const uint8_t *pixels, float *values);

/* A word for a status, such as "hash". */
const char *hq_status_name(hq_status status);

#ifdef __cplusplus
}
#endif

#endif
