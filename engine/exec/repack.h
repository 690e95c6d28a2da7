/*
 * Weight matrices as the kernels read them: groups of 16 output rows, interleaved so that a lane of a float16
 * is a row, cut into blocks of 32 inputs (the layout is drawn in kernels/weights.clh). Done once, at load.
 *
 * Rows are padded to a multiple of 16 and inputs to one of 32, with zeros. Only the 16-bit and 32-bit types
 * can have inputs that aren't a multiple of 32. A packed matrix takes the file's bytes, padding aside. Pure; any thread.
 */
#ifndef WEFT_EXEC_REPACK_H
#define WEFT_EXEC_REPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model/gguf.h"

enum { REPACK_ROWS = 16, REPACK_INPUTS = 32 };

/* Bytes that one block of one group takes: weights, and scales (0: none). */
struct repack_size {
    size_t weights, scales;
};
/* False for types that can't be packed. */
bool repack_size(enum quant_type type, struct repack_size *out);

/* The file's bytes of a row of the tensor. */
size_t repack_row_bytes(const struct gguf_tensor *t);
/* Packs group `group` (rows 16 group …) of a tensor [n_rows, n_cols] to `weights` (n_blocks × size.weights
 * bytes) and `scales` (not written for types without); `rows` are the file's bytes of its rows. Returns the first row with a value that isn't finite, or
 * -1. */
int64_t repack_group(const struct gguf_tensor *t, uint32_t group, const uint8_t *rows, void *weights,
                     void *scales);

static inline uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

#endif
