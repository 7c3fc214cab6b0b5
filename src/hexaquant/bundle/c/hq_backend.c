#include "hq_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_MSC_VER) && !defined(__clang__)
#define HQ_THREAD __declspec(thread)
#else
#define HQ_THREAD _Thread_local
#endif

/* The library's log callback carries no pointer of ours, but it is called by the thread whose call fails. */
static HQ_THREAD char last_error[512];

static void receive_log(const char *format, uint32_t level, uint64_t time, va_list arguments) {
    (void)time;
    if (level == 1)
        vsnprintf(last_error, sizeof last_error, format, arguments);
}

void hq_log_clear(void) { last_error[0] = 0; }

hq_status hq_library_failed(hq_error *error, hq_status status, const char *what, qnn_status code) {
    last_error[strcspn(last_error, "\r\n")] = 0;
    return hq_fail(error, status, "%s (QNN error %u%s%s)", what, (unsigned)(code & 0xffffu), *last_error ? ": " : "",
                   last_error);
}

static hq_status check_version(const char *library, qnn_version found, uint32_t major, uint32_t minor,
                               hq_error *error) {
    if (found.major == major && found.minor >= minor)
        return HQ_OK;
    return hq_fail(error, HQ_VERSION, "%s has interface %u.%u, this runtime needs %u.%u or a later %u.x: take it from "
                   "the release that README.md names", library, found.major, found.minor, major, minor, major);
}

static hq_status no_interface(hq_error *error, const char *library) {
    return hq_fail(error, HQ_LIBRARY, "%s offers no QNN interface: it is not Qualcomm's library", library);
}

static hq_status find_backend(hq_runtime *runtime, hq_error *error) {
    qnn_get_providers get = (qnn_get_providers)hq_library_symbol(runtime->htp_library, "QnnInterface_getProviders");
    const qnn_interface *const *providers = NULL;
    uint32_t count = 0;
    if (!get || get(&providers, &count) || !count)
        return no_interface(error, "QnnHtp");
    runtime->htp = providers[0];
    return check_version("QnnHtp", runtime->htp->core_version, QNN_CORE_MAJOR, QNN_CORE_MINOR, error);
}

static hq_status find_system(hq_runtime *runtime, hq_error *error) {
    qnn_system_get_providers get =
        (qnn_system_get_providers)hq_library_symbol(runtime->system_library, "QnnSystemInterface_getProviders");
    const qnn_system_interface *const *providers = NULL;
    uint32_t count = 0;
    if (!get || get(&providers, &count) || !count)
        return no_interface(error, "QnnSystem");
    runtime->system = providers[0];
    return check_version("QnnSystem", runtime->system->version, QNN_SYSTEM_MAJOR, QNN_SYSTEM_MINOR, error);
}

static hq_status create_device(hq_runtime *runtime, hq_error *error) {
    hq_log_clear();
    qnn_status code = HQ_CALL(runtime, QNN_LOG_CREATE, qnn_log_create)(receive_log, 1, &runtime->log);
    if (!code)
        code = HQ_CALL(runtime, QNN_BACKEND_CREATE, qnn_backend_create)(runtime->log, NULL, &runtime->backend);
    if (!code)
        code = HQ_CALL(runtime, QNN_DEVICE_CREATE, qnn_device_create)(runtime->log, NULL, &runtime->device);
    if (!code)
        return HQ_OK;
    return hq_library_failed(error, HQ_LIBRARY,
                             "the NPU cannot be opened: are the Stub and Skel libraries of its version there and does "
                             "ADSP_LIBRARY_PATH name their folder?", code);
}

hq_status hq_runtime_open(const char *folder, hq_runtime **runtime, hq_error *error) {
    hq_runtime *made = calloc(1, sizeof *made);
    if (!made)
        return hq_fail(error, HQ_MEMORY, "out of memory");
    hq_status status = hq_library_open(folder, "QnnSystem", &made->system_library, error);
    if (!status)
        status = find_system(made, error);
    if (!status)
        status = hq_library_open(folder, "QnnHtp", &made->htp_library, error);
    if (!status)
        status = find_backend(made, error);
    if (!status)
        status = create_device(made, error);
    if (status) {
        hq_runtime_close(made);
        return status;
    }
    *runtime = made;
    return HQ_OK;
}

void hq_runtime_close(hq_runtime *runtime) {
    if (!runtime)
        return;
    if (runtime->device)
        HQ_CALL(runtime, QNN_DEVICE_FREE, qnn_free)(runtime->device);
    if (runtime->backend)
        HQ_CALL(runtime, QNN_BACKEND_FREE, qnn_free)(runtime->backend);
    if (runtime->log)
        HQ_CALL(runtime, QNN_LOG_FREE, qnn_free)(runtime->log);
    hq_library_close(runtime->htp_library);
    hq_library_close(runtime->system_library);
    free(runtime);
}
