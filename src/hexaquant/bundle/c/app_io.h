/* What the two programs share: buffers for a model, result files. An application will have its own. */
#ifndef HQ_APP_IO_H
#define HQ_APP_IO_H

#include "hexaquant_runtime.h"

typedef struct app_buffers {
    hq_buffer *inputs, *outputs;
    size_t input_count, output_count;
} app_buffers;

hq_status app_buffers_new(const hq_model *model, hq_form form, app_buffers *buffers, hq_error *error);
void app_buffers_free(app_buffers *buffers);

hq_status app_make_folder(const char *path, hq_error *error);
/* Write the outputs as folder/Result_<index>/<output>.raw: row-major, little-endian, no header. */
hq_status app_write_result(const hq_model *model, const app_buffers *buffers, const char *folder, size_t index,
                           hq_error *error);
/* Refuses outputs whose file names would be the same: all but letters, digits, '_', '.' and '-' become '_'. */
hq_status app_check_names(const hq_model *model, hq_error *error);

/* Print "error (hash): ..." to stderr and return the exit code: 2 for what is wrong with files and arguments, 4 for
 * libraries, 70 for failed executions. */
int app_report(const hq_error *error);

#endif
