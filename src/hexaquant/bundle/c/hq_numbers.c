/* Floats to what a tensor stores and back, bit for bit as hexaquant's own run does. */
#include "hexaquant_runtime.h"
#include "hq_platform.h"

#include <math.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#pragma float_control(precise, on)
#pragma fp_contract(off)
#endif

static const size_t ITEM_BYTES[] = {
    [HQ_INT8] = 1,   [HQ_UINT8] = 1,  [HQ_INT16] = 2,  [HQ_UINT16] = 2,  [HQ_INT32] = 4,
    [HQ_UINT32] = 4, [HQ_INT64] = 8,  [HQ_UINT64] = 8, [HQ_FLOAT16] = 2, [HQ_FLOAT32] = 4,
};

static int is_float(const hq_tensor *tensor) { return tensor->dtype == HQ_FLOAT16 || tensor->dtype == HQ_FLOAT32; }

size_t hq_bytes(const hq_tensor *tensor, hq_form form) {
    int as_float = form == HQ_FLOAT && (tensor->quantized || is_float(tensor));
    return tensor->elements * (as_float ? sizeof(float) : ITEM_BYTES[tensor->dtype]);
}

/* IEEE 754 binary32 to binary16, round to nearest even; what is too large becomes infinite. */
static uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x47800000u) /* 65536 and beyond */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: a multiple of 2^-24 */
        float scaled = fabsf(value) * 16777216.0f;
        return (uint16_t)(sign | (uint32_t)rintf(scaled));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

static float from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, mantissa = half & 0x3ffu, bits;
    if (exponent == 0) {
        float value = (float)mantissa * 0x1p-24f;
        return sign ? -value : value;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | mantissa << 13;
    else
        bits = sign | (exponent + 112u) << 23 | mantissa << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* q = clip(round(x / scale) - offset), all in float32 as numpy computes it. */
static int32_t to_grid(float x, const hq_tensor *tensor, float low, float high) {
    float q = rintf(x / tensor->scale) - (float)tensor->offset;
    return (int32_t)(q < low ? low : q > high ? high : q);
}

static void store_grid(const hq_tensor *tensor, const float *values, void *stored) {
    switch (tensor->dtype) {
    case HQ_INT8:
        for (size_t i = 0; i < tensor->elements; i++)
            ((int8_t *)stored)[i] = (int8_t)to_grid(values[i], tensor, -128.0f, 127.0f);
        break;
    case HQ_UINT8:
        for (size_t i = 0; i < tensor->elements; i++)
            ((uint8_t *)stored)[i] = (uint8_t)to_grid(values[i], tensor, 0.0f, 255.0f);
        break;
    case HQ_INT16:
        for (size_t i = 0; i < tensor->elements; i++)
            ((int16_t *)stored)[i] = (int16_t)to_grid(values[i], tensor, -32768.0f, 32767.0f);
        break;
    default: /* HQ_UINT16: hq_model_open admits no others */
        for (size_t i = 0; i < tensor->elements; i++)
            ((uint16_t *)stored)[i] = (uint16_t)to_grid(values[i], tensor, 0.0f, 65535.0f);
    }
}

static int all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

hq_status hq_encode(const hq_tensor *tensor, const void *values, void *stored, hq_error *error) {
    if (!tensor->quantized && !is_float(tensor)) {
        memcpy(stored, values, hq_bytes(tensor, HQ_STORED));
        return HQ_OK;
    }
    const float *floats = values;
    if (!all_finite(floats, tensor->elements))
        return hq_fail(error, HQ_ARGUMENT, "input '%s' holds NaN or infinite values: check the preprocessing",
                       tensor->name);
    if (tensor->quantized)
        store_grid(tensor, floats, stored);
    else if (tensor->dtype == HQ_FLOAT32)
        memcpy(stored, values, hq_bytes(tensor, HQ_STORED));
    else
        for (size_t i = 0; i < tensor->elements; i++)
            ((uint16_t *)stored)[i] = to_half(floats[i]);
    return HQ_OK;
}

static int32_t item(const hq_tensor *tensor, const void *stored, size_t index) {
    switch (tensor->dtype) {
    case HQ_INT8:
        return ((const int8_t *)stored)[index];
    case HQ_UINT8:
        return ((const uint8_t *)stored)[index];
    case HQ_INT16:
        return ((const int16_t *)stored)[index];
    default:
        return ((const uint16_t *)stored)[index];
    }
}

void hq_decode(const hq_tensor *tensor, const void *stored, void *values) {
    float *floats = values;
    if (tensor->quantized)
        for (size_t i = 0; i < tensor->elements; i++)
            floats[i] = ((float)item(tensor, stored, i) + (float)tensor->offset) * tensor->scale;
    else if (tensor->dtype == HQ_FLOAT16)
        for (size_t i = 0; i < tensor->elements; i++)
            floats[i] = from_half(((const uint16_t *)stored)[i]);
    else
        memcpy(values, stored, hq_bytes(tensor, HQ_STORED));
}

void hq_preprocess(const hq_image *image, const uint8_t *pixels, float *values) {
    size_t channels = image->channels, area = (size_t)image->height * image->width;
    for (size_t place = 0; place < area; place++)
        for (size_t c = 0; c < channels; c++) {
            uint8_t pixel = pixels[place * channels + (image->bgr ? channels - 1 - c : c)];
            float scaled = (float)pixel * image->scale;
            float value = (scaled - image->mean[c]) / image->std[c];
            values[image->channels_first ? c * area + place : place * channels + c] = value;
        }
}
