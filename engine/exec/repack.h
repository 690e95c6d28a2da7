/*
 * Weight matrices as the kernels read them: groups of 16 output rows, interleaved so that a lane of a float16
 * is a row, cut into blocks of 32 inputs (the layout is drawn in kernels/weights.clh). Done once, at load.
 *
 * Rows are padded to a multiple of 16 and inputs to one of 32, with zeros. Only the 16-bit and 32-bit types
 * can have inputs that aren't a multiple of 32. A packed matrix takes the file's bytes, padding aside.
 * Errors: MODEL_LOAD_FAILED where a weight or scale isn't finite (context path, field, value, limit).
 */
#ifndef WEFT_EXEC_REPACK_H
#define WEFT_EXEC_REPACK_H

#include "engine/exec/ocl.h"
#include "engine/model/gguf.h"

enum { REPACK_ROWS = 16, REPACK_INPUTS = 32, MATRIX_PARTS_MAX = 3 };

/* Bytes that one block of one group takes: weights, and scales (0: none). */
struct repack_size {
    size_t weights, scales;
};
/* False for types that can't be packed. */
bool repack_size(enum quant_type type, struct repack_size *out);

/* Packs group `group` (rows 16 group …) of a tensor [n_rows, n_cols] to `weights` (n_blocks × size.weights
 * bytes) and `scales`. Returns the first row with a value that isn't finite, or -1. Pure. */
int64_t repack_group(const struct gguf_tensor *t, uint32_t group, void *weights, void *scales);

/* Several tensors of one type and one number of inputs, one below the other. */
struct matrix {
    enum quant_type type;
    uint32_t n_parts;
    uint32_t row_at[MATRIX_PARTS_MAX]; /* first row of each part: a multiple of 16 */
    uint32_t n_groups, n_blocks;       /* rows and inputs, in 16s and 32s */
    struct ocl_buf weights, scales;    /* the device's; `scales` is `weights` again for types without */
    bool has_scales;
};

/* True when the tensors can be parts of one matrix. */
bool matrix_joinable(const struct gguf_tensor *const *parts, unsigned n);
/* Packs into device memory. `path` is only named in messages. On failure *out is zeroed. */
enum weft_rc matrix_create(struct ocl *o, const struct gguf_tensor *const *parts, unsigned n,
                           const char *path, struct matrix *out, struct weft_err *err);
void matrix_free(struct ocl *o, struct matrix *m); /* zeroed struct allowed */

static inline uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

#endif
