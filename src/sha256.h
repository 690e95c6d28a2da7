/* SHA-256 (FIPS 180-4): to tell a model file from a damaged or a foreign one. Pure; one owner a state. */
#ifndef WEFT_SHA256_H
#define WEFT_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_HEX = 65 }; /* 64 lowercase digits and a NUL */

struct sha256 {
    uint32_t h[8];
    uint64_t bytes;
    uint8_t block[64]; /* bytes % 64 of it are waiting */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_hex(struct sha256 *s, char out[SHA256_HEX]); /* ends the computation */

#endif
