/* What the two programs share: a model ready to run, result files. An application will have its own. */
#ifndef HQ_APP_IO_H
#define HQ_APP_IO_H

#include "hexaquant_runtime.h"

typedef struct app_buffers {
    hq_buffer *inputs, *outputs;
    size_t input_count, output_count;
} app_buffers;

/* A model ready to run, with a buffer for each input and output; zeros before app_open. */
typedef struct app_session {
    hq_runtime *runtime;
    hq_model *model;
    app_buffers buffers;
} app_session;

/* As hq_runtime_open and hq_model_open. After a failure too app_close frees what there is. */
hq_status app_open(app_session *session, const char *libraries, const char *bundle, const hq_options *options,
                   hq_form form, hq_error *error);
void app_close(app_session *session);

hq_status app_make_folder(const char *path, hq_error *error);
/* Write the outputs as folder/Result_<index>/<output>.raw: row-major, little-endian, no header. */
hq_status app_write_result(const app_session *session, const char *folder, size_t index, hq_error *error);
/* Refuses outputs whose file names would be the same: all but letters, digits, '_', '.' and '-' become '_'. */
hq_status app_check_names(const hq_model *model, hq_error *error);

/* Print "error (hash): ..." to stderr and return the exit code: 2 for what is wrong with files and arguments, 4 for
 * libraries, 70 for failed executions. */
int app_report(const hq_error *error);

#endif
