/*
 * A model's weights on the device: packed matrices (repack.h), norm vectors, and the table of rotary angles.
 *
 * The output layer of a model with tied embeddings is the embedding's matrix itself. The file is read piece by piece
 * (matrix.h), so that it and the packed weights are never both in memory.
 */
#ifndef WEFT_EXEC_WEIGHTS_H
#define WEFT_EXEC_WEIGHTS_H

#include "engine/exec/ops.h"
#include "engine/model/model.h"

enum { WEIGHTS_QKV_MAX = 3 };

struct weights_layer {
    struct ocl_buf attn_norm, ffn_norm;
    struct matrix qkv[WEIGHTS_QKV_MAX]; /* one matrix where q, k and v have one type, else one each */
    unsigned n_qkv;
    struct matrix attn_output, gate, up, down;
};

struct weights {
    struct matrix embd, output; /* output is zeroed when tied */
    bool tied;
    struct ocl_buf output_norm;
    struct ocl_buf rope; /* [n_ctx][n_rot / 2] of (cos, sin) */
    struct weights_layer *layers;
    uint32_t n_layer;
    uint32_t qkv_rows, k_at, v_at; /* columns of a row of q, k and v: padded */
};

/* Bit set of the weight types that occur (ops_shape.types). */
uint64_t weights_types(const struct model *m);
/* The same of embedding and output layer alone (ops_shape.end_types). */
uint64_t weights_end_types(const struct model *m);
/* The type of all the layers' matrices, or QUANT_TYPE_LIMIT where they differ (ops_shape.layer_type). */
enum quant_type weights_layer_type(const struct model *m);

/* Reads, packs and uploads everything, on as many threads as the device has cores if it is a CPU, else on all; n_ctx
 * positions of rotary angles. FILE_INVALID where the file was shortened or written to since it was opened. On failure
 * *out is zeroed. */
enum weft_rc weights_load(struct ocl *o, const struct model *m, uint32_t n_ctx,
                          void (*progress)(void *ctx, const char *what, double fraction), void *progress_ctx,
                          struct weights *out, struct weft_err *err);
void weights_free(struct ocl *o, struct weights *w); /* zeroed struct allowed */

#endif
