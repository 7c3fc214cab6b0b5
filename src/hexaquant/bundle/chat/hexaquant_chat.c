/* Talks with a language model through Qualcomm's Genie.
 *
 *     hexaquant_chat [--bundle DIR] [--libraries DIR] [--prompt TEXT] [--tokens N] [--plain]
 *
 * --prompt asks one question and ends; without it every line of the standard input is asked, an empty one ends, and the
 * model remembers what was said. --tokens: of each answer at most; --plain: without the chat template. The answer goes
 * to the standard output as it comes. Exit code 2 for wrong arguments, 1 for everything else that fails.
 *
 * The chat template is in three files of the bundle: what stands before the first question (chat/first.txt), before a
 * later one (chat/next.txt, which also ends the answer before it), and behind each (chat/end.txt). */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#define _CRT_SECURE_NO_WARNINGS
#include "hq_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <direct.h>
#define ENTER_FOLDER(path) _chdir(path)
#else
#include <unistd.h>
#define ENTER_FOLDER(path) chdir(path)
#endif

#define MOST_CONFIG_BYTES ((size_t)16 << 20)
#define MOST_LINE_BYTES 65536

/* The functions of the Genie C API that are used (Qualcomm's reference: docs.qualcomm.com, 80-63442-10); handles are
 * opaque, a status of 0 means success, and sentence code 0 a query that is complete. */
typedef int32_t genie_status;
typedef void genie_heard(const char *text, uint32_t code, const void *user);
typedef genie_status genie_config_create(const char *json, void **config);
typedef genie_status genie_dialog_create(void *config, void **dialog);
typedef genie_status genie_dialog_query(void *dialog, const char *text, uint32_t code, genie_heard *heard,
                                        const void *user);
typedef genie_status genie_dialog_limit(void *dialog, uint32_t tokens);

typedef struct genie {
    genie_config_create *config_create;
    genie_dialog_create *create;
    genie_dialog_query *query;
    genie_dialog_limit *limit;
    void *dialog;
} genie;

typedef struct arguments {
    const char *bundle, *libraries, *prompt;
    uint32_t tokens;
    int plain;
} arguments;

typedef struct turns {
    char *first, *next, *end;
} turns;

static hq_status find_functions(hq_library *library, genie *found, hq_error *error) {
    found->config_create = (genie_config_create *)hq_library_symbol(library, "GenieDialogConfig_createFromJson");
    found->create = (genie_dialog_create *)hq_library_symbol(library, "GenieDialog_create");
    found->query = (genie_dialog_query *)hq_library_symbol(library, "GenieDialog_query");
    found->limit = (genie_dialog_limit *)hq_library_symbol(library, "GenieDialog_setMaxNumTokens");
    if (found->config_create && found->create && found->query && found->limit)
        return HQ_OK;
    return hq_fail(error, HQ_VERSION, "libGenie has not the functions of Genie's C API: take it from the release that "
                                      "README.md names");
}

static hq_status genie_open(const arguments *given, genie *made, hq_error *error) {
    hq_library *library = NULL;
    uint8_t *json = NULL;
    size_t bytes;
    void *config = NULL;
    hq_status status = hq_library_open(given->libraries, "Genie", &library, error);
    if (!status)
        status = find_functions(library, made, error);
    if (!status && ENTER_FOLDER(given->bundle))
        status = hq_fail(error, HQ_FILE, "%s is no folder: give the bundle with --bundle", given->bundle);
    if (!status) /* Genie takes the paths in it from the current folder */
        status = hq_read_file("genie_config.json", MOST_CONFIG_BYTES, &json, &bytes, error);
    if (!status && made->config_create((const char *)json, &config))
        status = hq_fail(error, HQ_MANIFEST, "Genie refuses genie_config.json: it was made for another release, or edited");
    if (!status && made->create(config, &made->dialog))
        status = hq_fail(error, HQ_BINARY, "Genie cannot load the model: are the libraries of this SoC there, and does "
                                           "ADSP_LIBRARY_PATH name the Skel's folder?");
    free(json);
    return status;
}

static hq_status read_turns(turns *found, hq_error *error) {
    const char *names[] = {"chat/first.txt", "chat/next.txt", "chat/end.txt"};
    char **texts[] = {&found->first, &found->next, &found->end};
    hq_status status = HQ_OK;
    for (size_t index = 0; !status && index < 3; index++) {
        size_t bytes;
        status = hq_read_file(names[index], MOST_CONFIG_BYTES, (uint8_t **)texts[index], &bytes, error);
    }
    return status;
}

static void heard(const char *text, uint32_t code, const void *user) {
    (void)code;
    (void)user;
    if (text)
        fputs(text, stdout);
    fflush(stdout);
}

static hq_status ask(const genie *model, const char *before, const char *text, const char *behind, hq_error *error) {
    size_t lengths[] = {strlen(before), strlen(text), strlen(behind) + 1};
    char *whole = malloc(lengths[0] + lengths[1] + lengths[2]);
    if (!whole)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    memcpy(whole, before, lengths[0]);
    memcpy(whole + lengths[0], text, lengths[1]);
    memcpy(whole + lengths[0] + lengths[1], behind, lengths[2]);
    genie_status failed = model->query(model->dialog, whole, 0, heard, NULL);
    free(whole);
    putchar('\n');
    fflush(stdout);
    if (failed)
        return hq_fail(error, HQ_EXECUTE, "Genie ended the query with status %d: is the conversation longer than the "
                                          "context?", (int)failed);
    return HQ_OK;
}

static hq_status talk(const genie *model, const arguments *given, const turns *chat, hq_error *error) {
    if (given->prompt)
        return ask(model, chat->first, given->prompt, chat->end, error);
    char *line = malloc(MOST_LINE_BYTES);
    hq_status status = line ? HQ_OK : hq_fail(error, HQ_MEMORY, "out of memory");
    for (int turn = 0; !status && fgets(line, MOST_LINE_BYTES, stdin); turn++) {
        line[strcspn(line, "\r\n")] = 0;
        if (!*line)
            break;
        status = ask(model, turn ? chat->next : chat->first, line, chat->end, error);
    }
    free(line);
    return status;
}

static hq_status run(const arguments *given, hq_error *error) {
    static char empty[] = "";
    genie model = {0};
    turns chat = {empty, empty, empty};
    hq_status status = genie_open(given, &model, error);
    if (!status && !given->plain)
        status = read_turns(&chat, error);
    if (!status && model.limit(model.dialog, given->tokens))
        status = hq_fail(error, HQ_ARGUMENT, "Genie takes no answers of %u tokens", (unsigned)given->tokens);
    if (!status)
        status = talk(&model, given, &chat, error);
    return status;
}

static int take_option(arguments *given, const char *name, const char *value) {
    if (!strcmp(name, "--bundle"))
        given->bundle = value;
    else if (!strcmp(name, "--libraries"))
        given->libraries = value;
    else if (!strcmp(name, "--prompt"))
        given->prompt = value;
    else if (!strcmp(name, "--tokens")) {
        char *end;
        unsigned long count = strtoul(value, &end, 10);
        given->tokens = (uint32_t)count;
        return *value >= '0' && *value <= '9' && !*end && count > 0 && count <= UINT32_MAX;
    } else
        return 0;
    return 1;
}

int main(int count, char **words) {
    arguments given = {".", NULL, NULL, 128, 0};
    int fine = 1;
    for (int next = 1; fine && next < count; next++) {
        if (!strcmp(words[next], "--plain"))
            given.plain = 1;
        else if (next + 1 < count)
            fine = take_option(&given, words[next], words[next + 1]), next++;
        else
            fine = 0;
    }
    if (!fine) {
        fprintf(stderr, "usage: hexaquant_chat [--bundle DIR] [--libraries DIR] [--prompt TEXT] [--tokens N] [--plain]\n");
        return 2;
    }
    hq_error error = {HQ_OK, ""};
    hq_status status = run(&given, &error);
    if (status)
        fprintf(stderr, "error: %s\n", error.message);
    fflush(stdout);
    _Exit(status != HQ_OK); /* the destructors of Qualcomm's libraries crash at times */
}
