/* SHA-256 (FIPS 180-4). Private to the runtime. */
#ifndef HQ_SHA256_H
#define HQ_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* 64 lower-case hexadecimal digits and a zero byte. */
void hq_sha256(const uint8_t *data, size_t bytes, char digest[65]);

#endif
