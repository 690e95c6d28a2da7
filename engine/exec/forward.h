/*
 * The llama forward pass: what is launched for one batch, in which order (docs/performance.md has the list).
 *
 *   x = embed(tokens)                                   [tokens][n_embd]
 *   each layer:
 *     h   = rmsnorm(x)
 *     qkv = matmul(h)                                   q, k, v side by side, each padded to 16 columns
 *     q, K, V = rope_store(qkv)                         K and V into their blocks
 *     att = attention(q, K, V)
 *     x  += matmul(att)
 *     h   = rmsnorm(x)
 *     ff  = matmul(h) by gate;  ff = silu(ff) × matmul(h) by up
 *     x  += matmul(ff)
 *   logits = matmul(rmsnorm(x[wanted rows]))            [rows][vocabulary]
 *
 * In int8 and bf16, what a matrix multiplies is coded first (once where several share it).
 */
#ifndef WEFT_EXEC_FORWARD_H
#define WEFT_EXEC_FORWARD_H

#include "engine/exec/batch.h"
#include "engine/exec/tiles.h"
#include "engine/exec/weights.h"

struct forward {
    struct ocl *o;
    struct ops *ops;
    const struct weights *w;
    const struct model_shape *shape;
    struct tiles tiles; /* of the products: speed alone, and may change between passes */
    /* Activations, a row a token (OPS_SPARE_ROWS more). */
    struct ocl_buf x, h, qkv, q, att, ff, picked, logits;
    struct ocl_buf codes, factors;       /* one matrix's coded input; empty in fp32 */
    struct ocl_buf ff_codes, ff_factors; /* the last matrix's, when another's must stand beside it (crew.h) */
    uint32_t embd_stride, heads_stride, ff_stride, logits_stride; /* floats */
    uint32_t maxima_at; /* column of a row of logits from which on exec_row.maxima are */
    /* What batch_build made. */
    struct ocl_buf tokens, tables, decode, prefill, merges, rows, partials;
};

/* Makes the buffers for batches within b's limits. ops, w and shape must outlive it. On failure *out is zeroed. */
enum weft_rc forward_init(struct ocl *o, struct ops *ops, const struct weights *w,
                          const struct model_shape *shape, const struct batch *b, struct forward *out,
                          struct weft_err *err);
void forward_deinit(struct forward *f); /* zeroed struct allowed */

struct crew;
/* Queues uploads and kernels for a batch, by the crew if it isn't NULL; the logits are in f->logits, row by row, once the
 * queue is finished. The batch must stand until then. */
enum weft_rc forward_run(struct forward *f, const struct crew *crew, const struct batch *b,
                         const struct ocl_buf *kv, struct weft_err *err);

#endif
