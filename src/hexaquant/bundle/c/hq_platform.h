/* What differs between operating systems: libraries, locks, time, files. Private to the runtime. */
#ifndef HQ_PLATFORM_H
#define HQ_PLATFORM_H

#include "hexaquant_runtime.h"

#if defined(__GNUC__)
#define HQ_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define HQ_PRINTF(text, first)
#endif

/* Fill *error (where it is not NULL) and return `status`. */
hq_status hq_fail(hq_error *error, hq_status status, const char *format, ...) HQ_PRINTF(3, 4);

typedef struct hq_library hq_library;

/* `name` without prefix and suffix, such as "QnnHtp". */
hq_status hq_library_open(const char *folder, const char *name, hq_library **library, hq_error *error);
/* The address of a function as a generic function pointer, NULL where there is none. */
void (*hq_library_symbol(hq_library *library, const char *name))(void);
void hq_library_close(hq_library *library);

typedef struct hq_lock hq_lock;
hq_lock *hq_lock_new(void);
void hq_lock_free(hq_lock *lock);
void hq_lock_take(hq_lock *lock);
void hq_lock_release(hq_lock *lock);

/* Microseconds of a clock that only goes forward. */
uint64_t hq_now_us(void);

/* The whole file, followed by a zero byte; free() it. More than `limit` bytes are refused. */
hq_status hq_read_file(const char *path, size_t limit, uint8_t **data, size_t *bytes, hq_error *error);
/* "folder/name"; free() it. NULL when memory is out. */
char *hq_join(const char *folder, const char *name);
char *hq_copy_text(const char *text);

#endif
