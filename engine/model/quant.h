/*
 * Weight types: how many values a block holds, how many bytes it takes, and the exact float32 value of each weight.
 *
 * The formats are those of the ggml project (ggml-common.h). Blocks are along a row (dim[0]). All little-endian.
 *   F32, F16, BF16   one value
 *   Q4_0   32 values: f16 d; 16 bytes, value i in the low nibble of byte i, value i+16 in the high:  d × (q − 8)
 *   Q4_1   32 values: f16 d, f16 m; 16 bytes as above:                                               d × q + m
 *   Q8_0   32 values: f16 d; 32 signed bytes:                                                        d × q
 * Pure; any thread.
 */
#ifndef WEFT_MODEL_QUANT_H
#define WEFT_MODEL_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbered as in GGUF files. Types known by size only (so that a file can be checked) have no `supported`. */
enum quant_type {
    QUANT_F32 = 0,
    QUANT_F16 = 1,
    QUANT_Q4_0 = 2,
    QUANT_Q4_1 = 3,
    QUANT_Q5_0 = 6,
    QUANT_Q5_1 = 7,
    QUANT_Q8_0 = 8,
    QUANT_Q8_1 = 9,
    QUANT_Q2_K = 10,
    QUANT_Q3_K = 11,
    QUANT_Q4_K = 12,
    QUANT_Q5_K = 13,
    QUANT_Q6_K = 14,
    QUANT_Q8_K = 15,
    QUANT_BF16 = 30,
    QUANT_TYPE_LIMIT = 64
};

struct quant_info {
    const char *name;      /* "Q4_1"; NULL: unknown or removed from the format */
    uint32_t block_values; /* values a block */
    uint32_t block_bytes;
    bool supported; /* weft can compute with it */
};

/* Never NULL; for an unknown number the entry has a NULL name. */
const struct quant_info *quant_info(uint32_t type);

/* Dequantises n values (a multiple of the block) from src, which may be unaligned. Supported types only. */
void quant_dequantize(enum quant_type type, const void *src, float *dst, size_t n);

float quant_f16_to_f32(uint16_t h);
uint16_t quant_f32_to_f16(float f); /* round to nearest even */
static inline float quant_bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)h << 16};
    return v.f;
}

#endif
