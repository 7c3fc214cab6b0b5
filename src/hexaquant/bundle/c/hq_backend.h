/* Qualcomm's libraries, loaded and checked. Private to the runtime. */
#ifndef HQ_BACKEND_H
#define HQ_BACKEND_H

#include "hexaquant_runtime.h"
#include "hq_platform.h"
#include "qnn_interface.h"

struct hq_runtime {
    hq_library *htp_library, *system_library;
    const qnn_interface *htp;
    const qnn_system_interface *system;
    qnn_handle log, backend, device;
};

/* The function at `index` of the backend's table as a value of `type`. */
#define HQ_CALL(runtime, index, type) ((type)(runtime)->htp->functions[index])
#define HQ_SYSTEM_CALL(runtime, index, type) ((type)(runtime)->system->functions[index])

/* Forget what the library reported so far; do so before a call whose failure hq_library_failed() shall explain. */
void hq_log_clear(void);
/* Fill *error with `what`, the library's code and the last error that it reported; return `status`. */
hq_status hq_library_failed(hq_error *error, hq_status status, const char *what, qnn_status code);

#endif
