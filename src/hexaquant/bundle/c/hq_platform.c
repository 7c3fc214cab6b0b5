#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#endif
#define _CRT_SECURE_NO_WARNINGS
#include "hq_platform.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define HQ_SUFFIX ".dll"
#define HQ_PREFIX ""
#else
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>
#define HQ_SUFFIX ".so"
#define HQ_PREFIX "lib"
#endif

hq_status hq_fail(hq_error *error, hq_status status, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        error->status = status;
    }
    return status;
}

struct hq_library {
#if defined(_WIN32)
    HMODULE handle;
#else
    void *handle;
#endif
};

#if defined(_WIN32)

static hq_status open_handle(hq_library *library, const char *path, int in_folder, hq_error *error) {
    library->handle = LoadLibraryExA(path, NULL, in_folder ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
    if (!library->handle)
        return hq_fail(error, HQ_LIBRARY, "%s does not load (Windows error %lu); README.md says where it comes from",
                       path, GetLastError());
    return HQ_OK;
}

void (*hq_library_symbol(hq_library *library, const char *name))(void) {
    return (void (*)(void))GetProcAddress(library->handle, name);
}

void hq_library_close(hq_library *library) {
    if (library)
        FreeLibrary(library->handle);
    free(library);
}

struct hq_lock {
    SRWLOCK lock;
};

hq_lock *hq_lock_new(void) {
    hq_lock *made = malloc(sizeof *made);
    if (made)
        InitializeSRWLock(&made->lock);
    return made;
}

void hq_lock_free(hq_lock *lock) { free(lock); }
void hq_lock_take(hq_lock *lock) { AcquireSRWLockExclusive(&lock->lock); }
void hq_lock_release(hq_lock *lock) { ReleaseSRWLockExclusive(&lock->lock); }

uint64_t hq_now_us(void) {
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (uint64_t)((double)count.QuadPart * 1e6 / (double)frequency.QuadPart);
}

static int64_t file_size(FILE *file) {
    return _fseeki64(file, 0, SEEK_END) ? -1 : _ftelli64(file);
}

#else

static hq_status open_handle(hq_library *library, const char *path, int in_folder, hq_error *error) {
    (void)in_folder;
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        const char *reason = dlerror();
        return hq_fail(error, HQ_LIBRARY, "%s does not load (%s); README.md says where it comes from", path,
                       reason ? reason : "no reason given");
    }
    return HQ_OK;
}

void (*hq_library_symbol(hq_library *library, const char *name))(void) {
    /* ISO C has no cast from an object pointer to a function pointer; POSIX promises that their bytes agree. */
    void *address = dlsym(library->handle, name);
    void (*function)(void) = NULL;
    memcpy(&function, &address, sizeof function);
    return function;
}

void hq_library_close(hq_library *library) {
    if (library)
        dlclose(library->handle);
    free(library);
}

struct hq_lock {
    pthread_mutex_t mutex;
};

hq_lock *hq_lock_new(void) {
    hq_lock *made = malloc(sizeof *made);
    if (made && pthread_mutex_init(&made->mutex, NULL)) {
        free(made);
        return NULL;
    }
    return made;
}

void hq_lock_free(hq_lock *lock) {
    if (lock)
        pthread_mutex_destroy(&lock->mutex);
    free(lock);
}

void hq_lock_take(hq_lock *lock) { pthread_mutex_lock(&lock->mutex); }
void hq_lock_release(hq_lock *lock) { pthread_mutex_unlock(&lock->mutex); }

uint64_t hq_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static int64_t file_size(FILE *file) {
    return fseeko(file, 0, SEEK_END) ? -1 : (int64_t)ftello(file);
}

#endif

hq_status hq_library_open(const char *folder, const char *name, hq_library **library, hq_error *error) {
    char file[64];
    snprintf(file, sizeof file, HQ_PREFIX "%s" HQ_SUFFIX, name);
    char *path = folder ? hq_join(folder, file) : hq_copy_text(file);
    hq_library *made = calloc(1, sizeof *made);
    hq_status status = HQ_OK;
    if (!path || !made)
        status = hq_fail(error, HQ_MEMORY, "out of memory while loading %s", file);
    else
        status = open_handle(made, path, folder != NULL, error);
    free(path);
    if (status) {
        free(made);
        return status;
    }
    *library = made;
    return HQ_OK;
}

hq_status hq_read_file(const char *path, size_t limit, uint8_t **data, size_t *bytes, hq_error *error) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return hq_fail(error, HQ_FILE, "cannot read %s: %s", path, strerror(errno));
    int64_t size = file_size(file);
    if (size < 0 || (uint64_t)size > limit) {
        fclose(file);
        return hq_fail(error, HQ_FILE, "%s is no readable file of at most %zu bytes", path, limit);
    }
    uint8_t *buffer = malloc((size_t)size + 1);
    if (!buffer) {
        fclose(file);
        return hq_fail(error, HQ_MEMORY, "out of memory while reading %s (%lld bytes)", path, (long long)size);
    }
    rewind(file);
    size_t got = fread(buffer, 1, (size_t)size, file);
    fclose(file);
    if (got != (size_t)size) {
        free(buffer);
        return hq_fail(error, HQ_FILE, "%s could be read only in part (%zu of %lld bytes)", path, got, (long long)size);
    }
    buffer[got] = 0;
    *data = buffer;
    *bytes = got;
    return HQ_OK;
}

char *hq_join(const char *folder, const char *name) {
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(bytes);
    if (path)
        snprintf(path, bytes, "%s/%s", folder, name);
    return path;
}

char *hq_copy_text(const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = malloc(bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}
