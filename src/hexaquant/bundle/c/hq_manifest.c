#include "hq_manifest.h"
#include "hq_platform.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_WORDS 9
#define MOST_BYTES (1u << 20)

static hq_status damaged(hq_error *error, size_t line) {
    return hq_fail(error, HQ_MANIFEST, "model.txt is damaged at line %zu: copy the bundle again", line);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `word` with its %XX undone; NULL for a malformed one or without memory. */
static char *decoded(const char *word) {
    char *name = malloc(strlen(word) + 1), *end = name;
    for (; name && *word; word++) {
        if (*word != '%') {
            *end++ = *word;
            continue;
        }
        int high = hex_digit(word[1]), low = high < 0 ? -1 : hex_digit(word[2]);
        if (low < 0 || high + low == 0) {
            free(name);
            return NULL;
        }
        *end++ = (char)(high * 16 + low);
        word += 2;
    }
    if (name)
        *end = 0;
    return name;
}

/* A whole number without sign of at most `most`; 0 when `word` is none. */
static int number(const char *word, uint64_t most, uint64_t *value) {
    *value = 0;
    if (!*word)
        return 0;
    for (; *word; word++) {
        if (*word < '0' || *word > '9')
            return 0;
        uint64_t digit = (uint64_t)(*word - '0');
        if (digit > most || *value > (most - digit) / 10)
            return 0;
        *value = *value * 10 + digit;
    }
    return 1;
}

/* `count` floats of 8 hexadecimal digits with commas between them. One may stand for all. Only finite ones. */
static int floats(const char *word, size_t count, float *values) {
    for (size_t index = 0; index < count; index++) {
        uint32_t bits = 0;
        for (int digit = 0; digit < 8; digit++, word++) {
            if (hex_digit(*word) < 0)
                return 0;
            bits = bits << 4 | (uint32_t)hex_digit(*word);
        }
        memcpy(&values[index], &bits, sizeof bits);
        if (!isfinite(values[index]))
            return 0;
        if (index == 0 && !*word && count > 1) {
            for (size_t other = 1; other < count; other++)
                values[other] = values[0];
            return 1;
        }
        if (index + 1 < count && *word++ != ',')
            return 0;
    }
    return !*word;
}

/* A name that stays inside the folder. */
static char *file_name(const char *word) {
    char *name = decoded(word);
    if (name && (!*name || strpbrk(name, "/\\:") || !strcmp(name, "..") || !strcmp(name, "."))) {
        free(name);
        return NULL;
    }
    return name;
}

static int set_text(char **place, char *text) {
    if (*place || !text) {
        free(text);
        return 0;
    }
    *place = text;
    return 1;
}

static int add_name(hq_name **list, size_t *count, char **words) {
    if (*count >= HQ_MOST_TENSORS || !words[1][0] || !words[2][0])
        return 0;
    hq_name *grown = realloc(*list, (*count + 1) * sizeof *grown);
    if (!grown)
        return 0;
    *list = grown;
    hq_name *added = &grown[(*count)++];
    *added = (hq_name){decoded(words[1]), decoded(words[2])};
    if (!added->name || !added->lowered)
        return 0;
    for (hq_name *other = grown; other < added; other++)
        if (!strcmp(other->name, added->name) || !strcmp(other->lowered, added->lowered))
            return 0;
    return 1;
}

static int set_binary(hq_manifest *manifest, char **words) {
    if (strlen(words[2]) != 64 || !number(words[3], UINT64_MAX, &manifest->bytes))
        return 0;
    for (const char *digit = words[2]; *digit; digit++)
        if (hex_digit(*digit) < 0)
            return 0;
    memcpy(manifest->sha256, words[2], 65);
    return set_text(&manifest->binary, file_name(words[1]));
}

static int set_image(hq_manifest *manifest, char **words) {
    hq_image *image = &manifest->image;
    uint64_t height, width, channels;
    int fine = number(words[1], 65536, &height) && number(words[2], 65536, &width) && number(words[3], 4, &channels);
    if (!fine || !height || !width || !channels)
        return 0;
    image->height = (uint32_t)height, image->width = (uint32_t)width, image->channels = (uint32_t)channels;
    image->bgr = !strcmp(words[4], "BGR");
    image->channels_first = !strcmp(words[5], "NCHW");
    manifest->has_image = 1;
    if (!image->bgr && strcmp(words[4], "RGB"))
        return 0;
    if (!image->channels_first && strcmp(words[5], "NHWC"))
        return 0;
    return floats(words[6], 1, &image->scale) && floats(words[7], image->channels, image->mean) &&
           floats(words[8], image->channels, image->std);
}

/* One line, split into words. 0 when it is not as it should be. */
static int take_line(hq_manifest *manifest, char **words, size_t count) {
    uint64_t soc;
    if (!strcmp(words[0], "binary"))
        return count == 4 && set_binary(manifest, words);
    if (!strcmp(words[0], "graph"))
        return count == 2 && set_text(&manifest->graph, decoded(words[1]));
    if (!strcmp(words[0], "labels"))
        return count == 2 && set_text(&manifest->labels, file_name(words[1]));
    if (!strcmp(words[0], "input"))
        return count == 3 && add_name(&manifest->inputs, &manifest->input_count, words);
    if (!strcmp(words[0], "output"))
        return count == 3 && add_name(&manifest->outputs, &manifest->output_count, words);
    if (!strcmp(words[0], "image"))
        return count == 9 && !manifest->has_image && set_image(manifest, words);
    if (strcmp(words[0], "soc") || count != 2 || manifest->soc || !number(words[1], UINT32_MAX, &soc))
        return 0;
    manifest->soc = (uint32_t)soc;
    return 1;
}

static size_t split(char *line, char **words) {
    size_t count = 0;
    for (char *word = line; word && count < MOST_WORDS; count++) {
        words[count] = word;
        word = strchr(word, '\t');
        if (word)
            *word++ = 0;
        if (word && count + 1 == MOST_WORDS)
            return 0;
    }
    return count;
}

hq_status hq_manifest_parse(char *text, size_t bytes, hq_manifest *manifest, hq_error *error) {
    memset(manifest, 0, sizeof *manifest);
    if (strlen(text) != bytes)
        return damaged(error, 1);
    size_t number_of_line = 0;
    for (char *line = text, *next; line && *line; line = next) {
        char *words[MOST_WORDS], *end = strchr(line, '\n');
        number_of_line++;
        if (!end) /* a truncated file ends in the middle of a line */
            return damaged(error, number_of_line);
        *end = 0;
        if (end > line && end[-1] == '\r')
            end[-1] = 0;
        next = end + 1;
        size_t count = split(line, words);
        int fine = number_of_line == 1 ? count == 2 && !strcmp(words[0], "hexaquant-model") && !strcmp(words[1], "1")
                                       : count >= 2 && take_line(manifest, words, count);
        if (!fine)
            return damaged(error, number_of_line);
    }
    if (!manifest->binary || !manifest->graph || !manifest->input_count || !manifest->output_count)
        return damaged(error, number_of_line);
    return HQ_OK;
}

hq_status hq_manifest_read(const char *folder, hq_manifest *manifest, hq_error *error) {
    memset(manifest, 0, sizeof *manifest);
    char *path = hq_join(folder, "model.txt");
    if (!path)
        return hq_fail(error, HQ_MEMORY, "out of memory while reading model.txt");
    uint8_t *text = NULL;
    size_t bytes = 0;
    hq_status status = hq_read_file(path, MOST_BYTES, &text, &bytes, error);
    free(path);
    if (!status)
        status = hq_manifest_parse((char *)text, bytes, manifest, error);
    free(text);
    return status;
}

static void free_names(hq_name *names, size_t count) {
    for (size_t index = 0; index < count; index++) {
        free(names[index].name);
        free(names[index].lowered);
    }
    free(names);
}

void hq_manifest_free(hq_manifest *manifest) {
    free(manifest->binary);
    free(manifest->graph);
    free(manifest->labels);
    free_names(manifest->inputs, manifest->input_count);
    free_names(manifest->outputs, manifest->output_count);
    memset(manifest, 0, sizeof *manifest);
}
