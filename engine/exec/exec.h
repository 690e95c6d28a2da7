/*
 * What runs a plan: one interface, two implementations. exec_cl computes the model on an OpenCL device (forward.c);
 * exec_sim keeps token ids in its blocks and derives the next token from what it reads back through the block tables.
 *
 * An executor owns the KV blocks' storage; who holds which block is the scheduler's business. Blocks are numbered
 * 0 … n_blocks-1, each with block_tokens slots for all layers. One thread (the engine's) uses an executor.
 */
#ifndef WEFT_EXEC_EXEC_H
#define WEFT_EXEC_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/sched/plan.h"

struct exec_info {
    char name[64];           /* "pocl cpu", "sim": for the title */
    char device[128];        /* the device's own name */
    char precision[8];       /* "fp32", "int8", "bf16" */
    uint32_t n_vocab, n_ctx; /* n_ctx: most positions a sequence may have */
    uint32_t block_tokens, n_blocks, n_park_slots;
    uint64_t block_bytes;  /* KV bytes of one block, all layers, K and V */
    uint64_t device_bytes; /* buffers held, KV and weights */
    bool host_memory;      /* device buffers live in host memory (a CPU device) */
};

/* Ids whose logits have one maximum in exec_row.maxima. */
enum { EXEC_CHUNK = 32 };

/* One row for each logits row that the plan asked for: items in plan order, positions ascending. */
struct exec_row {
    const float *logits; /* n_vocab, valid until the next step; NULL when the executor chose `token` */
    /* NULL, or for each chunk of EXEC_CHUNK ids from 0 on the highest of their logits, and NaN when one of those is NaN
     * or +inf; so that who samples need not read them all. The last chunk, when n_vocab cuts it off, is left to the
     * reader: padding may have raised it or made it NaN. Valid as long as logits. */
    const float *maxima;
    uint32_t token; /* meaningful when logits is NULL */
};

struct exec_out {
    const struct exec_row *rows; /* owned by the executor, valid until the next step */
    uint32_t n_rows;
    int64_t dur_us; /* what the step took: measured, or by the simulation's cost model */
};

struct exec;

struct exec_vtab {
    /* Carries out parks, restores, copies and then the forward pass of the plan; waits for the end. On failure
     * (BATCH_FAILED, context step and reason) the contents of blocks written by this plan are undefined, all others
     * stand. */
    enum weft_rc (*step)(struct exec *x, const struct plan *plan, struct exec_out *out, struct weft_err *err);
    /* Rebuilds what a failed step may have poisoned (device context, queue). KV contents are lost when it returns true
     * in *lost. NULL: nothing to do. */
    enum weft_rc (*recover)(struct exec *x, bool *lost, struct weft_err *err);
    void (*destroy)(struct exec *x);
    /* Called while there is no step to run: the executor may do something for itself, for some 5 ms, as long as it changes
     * no step's result. False: nothing (more) to do. NULL: never. */
    bool (*idle)(struct exec *x);
};

/* Implementations embed this as their first member. */
struct exec {
    const struct exec_vtab *v;
    struct exec_info info;
};

static inline enum weft_rc exec_step(struct exec *x, const struct plan *plan, struct exec_out *out,
                                     struct weft_err *err)
{
    return x->v->step(x, plan, out, err);
}

static inline bool exec_idle(struct exec *x)
{
    return x->v->idle && x->v->idle(x);
}

static inline void exec_destroy(struct exec *x)
{
    if (x)
        x->v->destroy(x);
}

#endif
