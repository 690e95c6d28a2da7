/*
 * A plan flattened to what the kernels read: a row for each token, block tables end to end, attention jobs,
 * and the rows whose logits are wanted. Pure but for its memory; the arrays stand until the next batch_build.
 */
#ifndef WEFT_EXEC_BATCH_H
#define WEFT_EXEC_BATCH_H

#include "engine/exec/ops.h"
#include "engine/sched/plan.h"

struct batch_limits {
    uint32_t n_vocab, n_ctx, block_tokens, n_blocks;
    uint32_t max_tokens, max_items, max_logits;
    uint32_t
        split_jobs; /* a step with fewer decode jobs than this spreads a sequence's parts over work-items */
};

struct batch {
    struct batch_limits limits;
    uint32_t max_tables, max_jobs, max_partials; /* what the limits allow for */
    struct ops_token *tokens;
    cl_int *tables;
    struct ops_job *decode, *prefill;
    struct ops_merge *merges;
    cl_int *rows;
    uint32_t n_tokens, n_tables, n_decode, n_prefill, n_merges, n_partials, n_rows;
};

enum weft_rc batch_init(struct batch *b, const struct batch_limits *limits, struct weft_err *err);
void batch_deinit(struct batch *b); /* zeroed struct allowed */

/* Checks the plan against the limits and flattens it. BATCH_FAILED names the value and the limit. */
enum weft_rc batch_build(struct batch *b, const struct plan *plan, struct weft_err *err);

#endif
