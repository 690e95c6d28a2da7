/*
 * The forward pass as one launch (kernels/forward.cl), on devices where that may be done: CPUs, whose work-groups are
 * threads that go on running and whose buffers lie where the host's pointers say. It computes what the kernels one by
 * one compute, bit for bit, without their launches and without a core that sleeps between them.
 *
 * Only models whose layers' matrices have one type that can be packed side by side; the embedding and the output layer
 * may have another (they are launched then). One thread.
 */
#ifndef WEFT_EXEC_CREW_H
#define WEFT_EXEC_CREW_H

#include "engine/exec/forward.h"

struct crew {
    uint32_t n;                   /* work-groups; 0: not used here */
    struct ocl_buf table, layers; /* kernels/forward.cl has their structs */
    struct ocl_buf counters;
    bool embeds, makes_logits; /* whether those are in the launch */
};

/* Makes the tables. Where a crew can't be used, *out is zeroed and all is well. `f` and its buffers must outlive it. */
enum weft_rc crew_create(const struct forward *f, const struct ocl_buf *kv, struct crew *out,
                         struct weft_err *err);
/* Queues the pass. What isn't embedded or made logits of is left to the caller. */
enum weft_rc crew_run(const struct crew *c, const struct forward *f, const struct batch *b,
                      struct weft_err *err);
/* One product, as the pass does it; for tuner.c. */
struct crew_product {
    const struct matrix *m;
    const struct ocl_buf *x, *codes, *factors; /* n rows, as kernels/norm.cl and quantize.cl leave them */
    const struct ocl_buf *y;                   /* each row: its values, then its maxima (OPS_LOGITS) */
    uint32_t y_stride, n, tiles;
    struct ocl_buf table; /* zeroed at first; the caller frees it */
};
/* Queues it when all before it is done. */
enum weft_rc crew_product(const struct crew *c, const struct forward *f, struct crew_product *p,
                          struct weft_err *err);
void crew_destroy(struct ocl *o, struct crew *c); /* zeroed struct allowed */

#endif
