/*
 * A plan: what one step computes, as plain data. Made by the scheduler, carried out by an executor (exec.h),
 * shown by the panes. Pure; the arrays belong to the scheduler and stand until the plan is committed.
 */
#ifndef WEFT_SCHED_PLAN_H
#define WEFT_SCHED_PLAN_H

#include <stdbool.h>
#include <stdint.h>

struct request;

struct plan_item {
    struct request *req;    /* whose tokens; executors don't look into it */
    const uint32_t *tokens; /* n_tokens ids, to be computed at positions pos, pos+1, … */
    uint32_t n_tokens;
    uint32_t pos;
    const uint32_t *blocks; /* block table: blocks[i] holds positions [i*block_tokens, (i+1)*block_tokens) */
    uint32_t n_blocks;      /* covers pos + n_tokens */
    /* Logits are wanted for the last n_logits tokens: 0 in the midst of a prompt, else 1; more for scoring. */
    uint32_t n_logits;
    bool prefill; /* a prompt's chunk (also when it is one token long) rather than a decode */
};

/* Block to block; in parks from block to host slot, in restores from host slot to block. */
struct plan_copy {
    uint32_t src, dst;
};

struct plan {
    uint64_t step;   /* 1, 2, … */
    uint32_t budget; /* the token limit that this plan was made under */
    uint32_t n_tokens, n_prefill_tokens, n_prefills, n_decodes;
    struct plan_item *items;
    uint32_t n_items;
    /* Carried out in this order before anything is computed. */
    struct plan_copy *parks, *restores, *copies;
    uint32_t n_parks, n_restores, n_copies;
};

#endif
