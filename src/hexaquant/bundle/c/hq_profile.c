#define _CRT_SECURE_NO_WARNINGS
#include "hq_profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 8

struct hq_profile {
    hq_runtime *runtime;
    FILE *file;
    qnn_handle handle;
    int stages;
};

static const char *unit_name(uint32_t unit) {
    static const char *const NAMES[] = {"", "us", "bytes", "cycles", "count"};
    return unit < sizeof NAMES / sizeof *NAMES ? NAMES[unit] : "";
}

static void write_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; text && *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

static void write_events(hq_profile *profile, const uint64_t *events, uint32_t count, int depth);

static void write_event(hq_profile *profile, uint64_t event, int depth) {
    qnn_event_data data = {0};
    const uint64_t *parts = NULL;
    uint32_t count = 0;
    HQ_CALL(profile->runtime, QNN_PROFILE_GET_EVENT_DATA, qnn_profile_event_data)(event, &data);
    if (HQ_CALL(profile->runtime, QNN_PROFILE_GET_SUB_EVENTS, qnn_profile_sub_events)(event, &parts, &count))
        count = 0;
    fprintf(profile->file, "{\"type\": %" PRIu32 ", \"unit\": \"%s\", \"value\": %" PRIu64 ", \"name\": ", data.type,
            unit_name(data.unit), data.value);
    write_text(profile->file, data.identifier);
    fputs(", \"parts\": ", profile->file);
    write_events(profile, parts, count, depth + 1);
    fputc('}', profile->file);
}

static void write_events(hq_profile *profile, const uint64_t *events, uint32_t count, int depth) {
    fputc('[', profile->file);
    for (uint32_t index = 0; depth < DEEPEST && index < count; index++) {
        fputs(index ? ", " : "", profile->file);
        write_event(profile, events[index], depth);
    }
    fputc(']', profile->file);
}

hq_status hq_profile_open(hq_runtime *runtime, const hq_options *options, uint32_t soc, hq_profile **profile,
                          hq_error *error) {
    hq_profile *made = calloc(1, sizeof *made);
    if (!made)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    made->runtime = runtime;
    made->file = fopen(options->profile_path, "wb");
    if (!made->file) {
        free(made);
        return hq_fail(error, HQ_FILE, "cannot write %s: %s", options->profile_path, strerror(errno));
    }
    hq_log_clear();
    qnn_status code = HQ_CALL(runtime, QNN_PROFILE_CREATE, qnn_profile_create)(
        runtime->backend, (uint32_t)options->profiling, &made->handle);
    fprintf(made->file, "{\"format\": \"hexaquant-profile-1\", \"program\": \"hexaquant_runtime\", \"level\": \"%s\", "
            "\"soc_model\": %" PRIu32 ", \"stages\": [",
            options->profiling == HQ_PROFILE_DETAILED ? "detailed" : "basic", soc);
    if (code) {
        made->handle = NULL;
        hq_profile_close(made);
        return hq_library_failed(error, HQ_LIBRARY, "the library cannot profile", code);
    }
    *profile = made;
    return HQ_OK;
}

qnn_handle hq_profile_handle(const hq_profile *profile) { return profile ? profile->handle : NULL; }

void hq_profile_add(hq_profile *profile, const char *kind, const char *graph, uint64_t us) {
    if (!profile)
        return;
    const uint64_t *events = NULL;
    uint32_t count = 0;
    if (HQ_CALL(profile->runtime, QNN_PROFILE_GET_EVENTS, qnn_profile_events)(profile->handle, &events, &count))
        count = 0;
    fprintf(profile->file, "%s\n{\"kind\": \"%s\", \"graph\": ", profile->stages++ ? "," : "", kind);
    write_text(profile->file, graph);
    fprintf(profile->file, ", \"us\": %" PRIu64 ", \"events\": ", us);
    write_events(profile, events, count, 0);
    fputc('}', profile->file);
}

void hq_profile_close(hq_profile *profile) {
    if (!profile)
        return;
    if (profile->handle)
        HQ_CALL(profile->runtime, QNN_PROFILE_FREE, qnn_free)(profile->handle);
    fputs("\n]}\n", profile->file);
    fclose(profile->file);
    free(profile);
}
