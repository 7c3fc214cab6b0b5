/* Runs a model on the files of an input list, as qnn-net-run does.
 *
 *     hexaquant_run --input-list FILE --output DIR [--bundle DIR] [--libraries DIR] [--stored]
 *                   [--profile FILE] [--level basic|detailed]
 *
 * A line of the list is one inference: NAME:=FILE words, or bare files in the order of the inputs; lines that start
 * with '#' or '%' are skipped. Paths are relative to the current folder or, failing that, to the list's. Files are raw: row-major, little-endian, without header, float32 or with --stored as the
 * binary stores them. A file may hold several samples. Results are DIR/Result_<n>/<output>.raw. */
#define _CRT_SECURE_NO_WARNINGS
#include "app_io.h"
#include "hexaquant_runtime.h"
#include "hq_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LIST_BYTES ((size_t)64 << 20)
#define MOST_FILE_BYTES ((size_t)1 << 34)

typedef struct arguments {
    const char *bundle, *libraries, *list, *output;
    hq_form form;
    hq_options options;
} arguments;

typedef struct inference {
    uint8_t **files; /* the content of each input's file */
    size_t input_count, samples;
} inference;

/* Integers without an encoding come as float32 too, unless as stored. */
static int is_converted(const hq_tensor *tensor, hq_form form) {
    int floating = tensor->dtype == HQ_FLOAT16 || tensor->dtype == HQ_FLOAT32;
    return form == HQ_FLOAT && !tensor->quantized && !floating;
}

static size_t file_bytes(const hq_tensor *tensor, hq_form form) {
    return is_converted(tensor, form) ? tensor->elements * sizeof(float) : hq_bytes(tensor, form);
}

static void convert(const hq_tensor *tensor, const uint8_t *file, void *data) {
    for (size_t index = 0; index < tensor->elements; index++) {
        float value;
        memcpy(&value, file + index * sizeof value, sizeof value);
        int64_t whole = value > -9e18f && value < 9e18f ? (int64_t)value : 0; /* beyond: undefined in C */
        switch (tensor->dtype) {
        case HQ_INT8:
        case HQ_UINT8:
            ((uint8_t *)data)[index] = (uint8_t)whole;
            break;
        case HQ_INT16:
        case HQ_UINT16:
            ((uint16_t *)data)[index] = (uint16_t)whole;
            break;
        case HQ_INT32:
        case HQ_UINT32:
            ((uint32_t *)data)[index] = (uint32_t)whole;
            break;
        default:
            ((int64_t *)data)[index] = whole;
        }
    }
}

static void fill(const hq_model *model, hq_form form, const inference *line, size_t sample, app_buffers *buffers) {
    for (size_t index = 0; index < line->input_count; index++) {
        const hq_tensor *tensor = hq_input(model, index);
        const uint8_t *from = line->files[index] + sample * file_bytes(tensor, form);
        if (is_converted(tensor, form))
            convert(tensor, from, buffers->inputs[index].data);
        else
            memcpy(buffers->inputs[index].data, from, buffers->inputs[index].bytes);
    }
}

/* The file at path or, where there is none, beside the list. */
static hq_status read_listed(const char *path, const char *list, uint8_t **file, size_t *bytes, hq_error *error) {
    hq_error beside = {HQ_OK, ""};
    hq_status status = hq_read_file(path, MOST_FILE_BYTES, file, bytes, error);
    const char *slash = strrchr(list, '/');
    if (!status || !slash || *path == '/')
        return status;
    size_t folder = (size_t)(slash - list) + 1, length = strlen(path) + 1;
    char *whole = malloc(folder + length);
    if (!whole)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    memcpy(whole, list, folder);
    memcpy(whole + folder, path, length);
    if (!hq_read_file(whole, MOST_FILE_BYTES, file, bytes, &beside))
        status = HQ_OK;
    free(whole);
    return status;
}

static int is_npy(const char *path) {
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, ".npy");
}

static hq_status read_word(const hq_model *model, const arguments *given, char *word, size_t place, inference *line,
                           hq_error *error) {
    char *mark = strstr(word, ":="), *path = mark ? mark + 2 : word;
    size_t index = place, bytes;
    if (mark) {
        *mark = 0;
        for (index = 0; index < line->input_count && strcmp(hq_input(model, index)->name, word);)
            index++;
    }
    if (index >= line->input_count || line->files[index])
        return hq_fail(error, HQ_ARGUMENT, "the network has no input for '%s', or it is given twice", word);
    if (is_npy(path))
        return hq_fail(error, HQ_ARGUMENT, "%s is no raw file; use the Python runner, or write it raw", path);
    hq_status status = read_listed(path, given->list, &line->files[index], &bytes, error);
    if (status)
        return status;
    size_t needed = file_bytes(hq_input(model, index), given->form);
    if (!bytes || bytes % needed)
        return hq_fail(error, HQ_ARGUMENT, "%s has %zu bytes, not a multiple of the %zu of input '%s'", path, bytes,
                       needed, hq_input(model, index)->name);
    if (place && bytes / needed != line->samples)
        return hq_fail(error, HQ_ARGUMENT, "%s holds %zu samples, the file before it %zu", path, bytes / needed,
                       line->samples);
    line->samples = bytes / needed;
    return HQ_OK;
}

static hq_status read_line(const hq_model *model, const arguments *given, char *text, inference *line,
                           hq_error *error) {
    size_t words = 0;
    hq_status status = HQ_OK;
    for (char *word = text + strspn(text, " \t\r"); !status && *word; words++) {
        char *end = word + strcspn(word, " \t\r"), *next = end + strspn(end, " \t\r");
        *end = 0;
        status = read_word(model, given, word, words, line, error);
        word = next;
    }
    if (!status && words != line->input_count)
        status = hq_fail(error, HQ_ARGUMENT, "a line of %s has %zu files, the network has %zu inputs", given->list,
                         words, line->input_count);
    return status;
}

static hq_status run_line(app_session *session, const arguments *given, char *text, size_t *count, hq_error *error) {
    hq_model *model = session->model;
    app_buffers *buffers = &session->buffers;
    inference line = {calloc(hq_input_count(model), sizeof(uint8_t *)), hq_input_count(model), 0};
    hq_status status = line.files ? read_line(model, given, text, &line, error)
                                  : hq_fail(error, HQ_MEMORY, "out of memory");
    for (size_t sample = 0; !status && sample < line.samples; sample++) {
        fill(model, given->form, &line, sample, buffers);
        status = hq_model_run(model, given->form, buffers->inputs, buffers->outputs, error);
        if (!status)
            status = app_write_result(session, given->output, (*count)++, error);
    }
    for (size_t index = 0; line.files && index < line.input_count; index++)
        free(line.files[index]);
    free(line.files);
    return status;
}

/* The lines of `text`, which is changed while it is read; `count` results are written. */
static hq_status run_text(app_session *session, const arguments *given, char *text, size_t *count, hq_error *error) {
    hq_status status = HQ_OK;
    for (char *line = text, *next; !status && line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        if (*line == '#' || *line == '%' || !line[strspn(line, " \t\r")])
            continue;
        status = run_line(session, given, line, count, error);
    }
    return status;
}

static hq_status run_list(app_session *session, const arguments *given, hq_error *error) {
    uint8_t *text = NULL;
    size_t bytes, count = 0;
    hq_status status = hq_read_file(given->list, MOST_LIST_BYTES, &text, &bytes, error);
    if (!status)
        status = app_make_folder(given->output, error);
    if (!status)
        status = app_check_names(session->model, error);
    if (!status)
        status = run_text(session, given, (char *)text, &count, error);
    free(text);
    if (!status)
        printf("%zu\n", count);
    return status;
}

static hq_status run(const arguments *given, hq_error *error) {
    app_session session = {0};
    hq_status status = app_open(&session, given->libraries, given->bundle, &given->options, given->form, error);
    if (!status)
        status = run_list(&session, given, error);
    app_close(&session);
    return status;
}

static int take_option(arguments *given, const char *name, const char *value) {
    if (!strcmp(name, "--bundle"))
        given->bundle = value;
    else if (!strcmp(name, "--libraries"))
        given->libraries = value;
    else if (!strcmp(name, "--input-list"))
        given->list = value;
    else if (!strcmp(name, "--output"))
        given->output = value;
    else if (!strcmp(name, "--profile"))
        given->options.profile_path = value;
    else if (!strcmp(name, "--level") && !strcmp(value, "detailed"))
        given->options.profiling = HQ_PROFILE_DETAILED;
    else
        return !strcmp(name, "--level") && !strcmp(value, "basic");
    return 1;
}

int main(int count, char **words) {
    arguments given = {".", NULL, NULL, NULL, HQ_FLOAT, {HQ_PROFILE_BASIC, NULL}};
    int fine = 1;
    for (int next = 1; fine && next < count; next++) {
        if (!strcmp(words[next], "--stored"))
            given.form = HQ_STORED;
        else if (next + 1 < count)
            fine = take_option(&given, words[next], words[next + 1]), next++;
        else
            fine = 0;
    }
    if (!fine || !given.list || !given.output) {
        fprintf(stderr, "usage: hexaquant_run --input-list FILE --output DIR [--bundle DIR] [--libraries DIR] "
                        "[--stored] [--profile FILE] [--level basic|detailed]\n");
        return 2;
    }
    hq_error error = {HQ_OK, ""};
    return run(&given, &error) ? app_report(&error) : 0;
}
