#define _CRT_SECURE_NO_WARNINGS
#include "app_io.h"
#include "hq_platform.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <direct.h>
#define MAKE_FOLDER(path) _mkdir(path)
#else
#include <sys/stat.h>
#define MAKE_FOLDER(path) mkdir(path, 0777)
#endif

static hq_buffer *new_side(const hq_model *model, size_t count, hq_form form,
                           const hq_tensor *(*tensor)(const hq_model *, size_t)) {
    hq_buffer *side = calloc(count, sizeof *side);
    for (size_t index = 0; side && index < count; index++) {
        side[index].bytes = hq_bytes(tensor(model, index), form);
        side[index].data = malloc(side[index].bytes);
    }
    return side;
}

static int complete(const hq_buffer *side, size_t count) {
    for (size_t index = 0; side && index < count; index++)
        if (!side[index].data)
            return 0;
    return side != NULL;
}

static hq_status new_buffers(const hq_model *model, hq_form form, app_buffers *buffers, hq_error *error) {
    buffers->input_count = hq_input_count(model);
    buffers->output_count = hq_output_count(model);
    buffers->inputs = new_side(model, buffers->input_count, form, hq_input);
    buffers->outputs = new_side(model, buffers->output_count, form, hq_output);
    if (complete(buffers->inputs, buffers->input_count) && complete(buffers->outputs, buffers->output_count))
        return HQ_OK;
    return hq_fail(error, HQ_MEMORY, "out of memory for inputs and outputs");
}

static void free_side(hq_buffer *side, size_t count) {
    for (size_t index = 0; side && index < count; index++)
        free(side[index].data);
    free(side);
}

hq_status app_open(app_session *session, const char *libraries, const char *bundle, const hq_options *options,
                   hq_form form, hq_error *error) {
    hq_status status = hq_runtime_open(libraries, &session->runtime, error);
    if (!status)
        status = hq_model_open(session->runtime, bundle, options, &session->model, error);
    if (!status)
        status = new_buffers(session->model, form, &session->buffers, error);
    return status;
}

void app_close(app_session *session) {
    free_side(session->buffers.inputs, session->buffers.input_count);
    free_side(session->buffers.outputs, session->buffers.output_count);
    hq_model_close(session->model);
    hq_runtime_close(session->runtime);
}

hq_status app_make_folder(const char *path, hq_error *error) {
    if (MAKE_FOLDER(path) && errno != EEXIST)
        return hq_fail(error, HQ_FILE, "cannot make the folder %s: %s", path, strerror(errno));
    return HQ_OK;
}

/* The file name of an output without suffix; free() it. */
static char *stem(const hq_tensor *tensor) {
    char *name = hq_copy_text(tensor->name);
    for (char *c = name; c && *c; c++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", *c))
            *c = '_';
    return name;
}

hq_status app_check_names(const hq_model *model, hq_error *error) {
    hq_status status = HQ_OK;
    for (size_t first = 0; !status && first < hq_output_count(model); first++)
        for (size_t second = first + 1; !status && second < hq_output_count(model); second++) {
            char *one = stem(hq_output(model, first)), *other = stem(hq_output(model, second));
            if (!one || !other)
                status = hq_fail(error, HQ_MEMORY, "out of memory");
            else if (!strcmp(one, other))
                status = hq_fail(error, HQ_ARGUMENT, "two outputs would both be written as %s.raw", one);
            free(one);
            free(other);
        }
    return status;
}

static hq_status write_file(const char *path, const hq_buffer *buffer, hq_error *error) {
    FILE *file = fopen(path, "wb");
    if (!file)
        return hq_fail(error, HQ_FILE, "cannot write %s: %s", path, strerror(errno));
    size_t written = fwrite(buffer->data, 1, buffer->bytes, file);
    if (fclose(file) || written != buffer->bytes)
        return hq_fail(error, HQ_FILE, "cannot write all of %s: is the disk full?", path);
    return HQ_OK;
}

hq_status app_write_result(const app_session *session, const char *folder, size_t index, hq_error *error) {
    char name[32];
    snprintf(name, sizeof name, "Result_%zu", index);
    char *result = hq_join(folder, name);
    hq_status status = result ? app_make_folder(result, error) : hq_fail(error, HQ_MEMORY, "out of memory");
    for (size_t output = 0; !status && output < session->buffers.output_count; output++) {
        char *file = stem(hq_output(session->model, output)), *path = file ? hq_join(result, file) : NULL;
        char *full = path ? malloc(strlen(path) + 5) : NULL;
        if (full)
            memcpy(full, path, strlen(path) + 1), strcat(full, ".raw");
        status = full ? write_file(full, &session->buffers.outputs[output], error)
                      : hq_fail(error, HQ_MEMORY, "out of memory");
        free(file);
        free(path);
        free(full);
    }
    free(result);
    return status;
}

int app_report(const hq_error *error) {
    fprintf(stderr, "error (%s): %s\n", hq_status_name(error->status), error->message);
    switch (error->status) {
    case HQ_LIBRARY:
    case HQ_VERSION:
    case HQ_MEMORY:
        return 4;
    case HQ_EXECUTE:
        return 70;
    default:
        return 2;
    }
}
