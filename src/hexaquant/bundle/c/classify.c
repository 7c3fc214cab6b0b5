/* Example: classify raw images.
 *
 *     classify [--bundle DIR] [--libraries DIR] [--top N] [--output DIR] IMAGE...
 *
 * IMAGE has the network's size and is one of
 *     a PPM or PGM file (P6, P5; 255 levels)      where model.txt has an image line
 *     height*width*channels bytes of pixels       likewise; row by row, channels last, red first
 *     float32 numbers, preprocessed               always
 * Prints the N most probable classes of each image; with --output also writes DIR/Result_<i>/<output>.raw. */
#define _CRT_SECURE_NO_WARNINGS
#include "app_io.h"
#include "hexaquant_runtime.h"
#include "hq_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_IMAGE_BYTES ((size_t)1 << 30)

typedef struct arguments {
    const char *bundle, *libraries, *output;
    size_t top;
    char **images;
    int image_count;
} arguments;

/* The pixels behind the header of a PPM or PGM file of the size in `image`; NULL when it is none. */
static const uint8_t *netpbm_pixels(const uint8_t *data, size_t bytes, const hq_image *image) {
    unsigned width, height;
    int header = 0;
    char kind = 0;
    /* at most 9 digits: what an unsigned cannot hold is undefined in C */
    if (sscanf((const char *)data, "P%c %9u %9u 255%n", &kind, &width, &height, &header) != 3 || !header)
        return NULL;
    if (!strchr(" \t\r\n", data[header]))
        return NULL;
    size_t pixels = (size_t)image->height * image->width * image->channels;
    int fits = width == image->width && height == image->height && kind == (image->channels == 1 ? '5' : '6');
    return fits && (size_t)header + 1 + pixels == bytes ? data + header + 1 : NULL;
}

static hq_status read_image(const char *path, const hq_model *model, hq_buffer *input, hq_error *error) {
    const hq_image *image = hq_model_image(model);
    const hq_tensor *tensor = hq_input(model, 0);
    uint8_t *data;
    size_t bytes;
    hq_status status = hq_read_file(path, MOST_IMAGE_BYTES, &data, &bytes, error);
    if (status)
        return status;
    size_t pixels = image ? (size_t)image->height * image->width * image->channels : 0;
    const uint8_t *found = image ? netpbm_pixels(data, bytes, image) : NULL;
    if (!found && image && bytes == pixels)
        found = data;
    if (found && pixels == tensor->elements && input->bytes == pixels * sizeof(float))
        hq_preprocess(image, found, input->data);
    else if (bytes == input->bytes)
        memcpy(input->data, data, bytes);
    else
        status = hq_fail(error, HQ_ARGUMENT, "%s has %zu bytes: it is neither an image of the network's size nor the "
                         "%zu bytes of its input '%s'", path, bytes, input->bytes, tensor->name);
    free(data);
    return status;
}

/* The `number`th line of the labels; its end is cut off by a zero. */
static void print_label(const char *labels, size_t number) {
    const char *line = labels;
    while (line && number--) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    printf("  %.*s", line ? (int)strcspn(line, "\r\n") : 1, line ? line : "-");
}

static void print_top(const float *scores, size_t classes, size_t top, const char *labels) {
    size_t last = classes;
    for (size_t place = 0; place < top && place < classes; place++) {
        size_t best = classes;
        for (size_t c = 0; c < classes; c++) {
            /* after the one before it: a lower score, or the same score and a higher number */
            int open = last == classes || scores[c] < scores[last] || (scores[c] == scores[last] && c > last);
            if (open && (best == classes || scores[c] > scores[best]))
                best = c;
        }
        if (best == classes)
            return;
        printf("    %5zu  %12.6g", best, (double)scores[best]);
        print_label(labels, best);
        printf("\n");
        last = best;
    }
}

static char *read_labels(const hq_model *model, const char *bundle) {
    const char *name = hq_model_labels(model);
    char *path = name ? hq_join(bundle, name) : NULL;
    uint8_t *text = NULL;
    size_t bytes;
    if (path && hq_read_file(path, MOST_IMAGE_BYTES, &text, &bytes, NULL))
        text = NULL;
    free(path);
    return (char *)text;
}

static hq_status classify(app_session *session, const arguments *given, hq_error *error) {
    hq_model *model = session->model;
    app_buffers *buffers = &session->buffers;
    const hq_tensor *output = hq_output(model, 0);
    if (hq_input_count(model) != 1)
        return hq_fail(error, HQ_ARGUMENT, "the network has %zu inputs; use hexaquant_run", hq_input_count(model));
    hq_status status = given->output ? app_make_folder(given->output, error) : HQ_OK;
    if (!status && given->output)
        status = app_check_names(model, error);
    char *labels = read_labels(model, given->bundle);
    for (int index = 0; !status && index < given->image_count; index++) {
        status = read_image(given->images[index], model, &buffers->inputs[0], error);
        if (!status)
            status = hq_model_run(model, HQ_FLOAT, buffers->inputs, buffers->outputs, error);
        if (!status && given->output)
            status = app_write_result(session, given->output, (size_t)index, error);
        if (status)
            break;
        printf("%s\n", given->images[index]);
        if (hq_bytes(output, HQ_FLOAT) == output->elements * sizeof(float))
            print_top(buffers->outputs[0].data, output->elements, given->top, labels);
    }
    free(labels);
    return status;
}

static hq_status run(const arguments *given, hq_error *error) {
    app_session session = {0};
    hq_status status = app_open(&session, given->libraries, given->bundle, NULL, HQ_FLOAT, error);
    if (!status)
        status = classify(&session, given, error);
    app_close(&session);
    return status;
}

int main(int count, char **words) {
    arguments given = {".", NULL, NULL, 1, NULL, 0};
    int next = 1;
    for (; next + 1 < count && !strncmp(words[next], "--", 2); next += 2) {
        if (!strcmp(words[next], "--bundle"))
            given.bundle = words[next + 1];
        else if (!strcmp(words[next], "--libraries"))
            given.libraries = words[next + 1];
        else if (!strcmp(words[next], "--output"))
            given.output = words[next + 1];
        else if (!strcmp(words[next], "--top"))
            given.top = (size_t)strtoul(words[next + 1], NULL, 10);
        else
            break;
    }
    given.images = words + next, given.image_count = count - next;
    if (next >= count || !strncmp(words[next], "--", 2)) {
        fprintf(stderr, "usage: classify [--bundle DIR] [--libraries DIR] [--top N] [--output DIR] IMAGE...\n");
        return 2;
    }
    hq_error error = {HQ_OK, ""};
    return run(&given, &error) ? app_report(&error) : 0;
}
