/*
 * Which tiles a matrix product takes (kernels/matmul.cl). All give the same bits, so this is a matter of speed alone: what
 * is best depends on the processor, the matrix and the number of tokens. One choice for each product of a pass and each
 * band of token counts; tuner.c makes it, and a file of the kernel cache keeps it. Nothing here uses OpenCL.
 */
#ifndef WEFT_EXEC_TILES_H
#define WEFT_EXEC_TILES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/exec/dot.h"

/* As in kernels/forward.cl. FF: gate and up. */
enum product { PRODUCT_QKV, PRODUCT_OUT, PRODUCT_FF, PRODUCT_DOWN, PRODUCT_LOGITS, PRODUCTS };

/* A variant: bits, as in kernels/matmul.cl. */
enum {
    TILES_RULE = 0, /* what is best as a rule */
    TILES_SHORT =
        1, /* the second largest tile first: 4 tokens instead of 6; in fp32 no panels; in bf16 shorter ones */
    TILES_AMX = 2,    /* AMX for as few tokens as it can take … */
    TILES_NO_AMX = 4, /* … or never */
    TILES_BITS = 3,
    TILES_VARIANTS_MAX = 5
};

/* Bands of token counts: up to 8, 16, 32, 64, 128, and more. */
enum { TILES_BANDS = 6 };

/* Zeroed: TILES_RULE for all. */
struct tiles {
    uint8_t of[PRODUCTS][TILES_BANDS];
};

const char *tiles_product_name(enum product p); /* "qkv" … */
/* The most tokens in a band; of the last, how many stand for it. */
uint32_t tiles_band_tokens(unsigned band);
/* The variant for a product of n tokens. */
uint8_t tiles_for(const struct tiles *t, enum product p, uint32_t n);
/* Those of all products of a pass, TILES_BITS each, the first lowest. */
uint32_t tiles_pack(const struct tiles *t, uint32_t n_tokens, uint32_t n_rows);

/* Variants that differ for this precision and way to sum, TILES_RULE first; returns how many. */
unsigned tiles_variants(enum precision precision, enum dot_path dot, uint8_t out[TILES_VARIANTS_MAX]);
/* Whether a time beats another by enough to be more than noise: 3 %. */
bool tiles_faster(int64_t time, int64_t than);
/* Which of n variants: of those that may be taken and are faster than the first, the fastest; else the first. times: any unit, 0
 * for not measured. */
unsigned tiles_choose(const int64_t *times, const bool *may, unsigned n);

/* Anything but these variants becomes TILES_RULE. */
void tiles_restrict(struct tiles *t, const uint8_t *variants, unsigned n);

/* Reads a file of the directory. False, *out untouched, where there is none, or it is damaged, not ours alone, or has
 * something other than these variants. */
bool tiles_load(int dir_fd, const char *name, const uint8_t *variants, unsigned n, struct tiles *out);
/* Writes it, whole or not at all; false, logged, where it can't be written. */
bool tiles_store(int dir_fd, const char *name, const struct tiles *t);
/* "qkv 0 0 0 0 0 0, out …", for the log. */
void tiles_describe(const struct tiles *t, char *out, size_t size);

#endif
