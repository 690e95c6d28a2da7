/*
 * The simulated executor: no model, no device, time by a formula. It exists to prove the scheduler: what a
 * slot of a block holds is a value that depends on the token and, as a real model's KV does, on everything
 * before it as read back through the step's block table. The next token is a hash of the whole history so
 * read. So a wrong table entry, copy, park, restore or chunk, or a block taken from the cache after the wrong
 * parent, changes the text; while the company a sequence computes in doesn't.
 *
 * One thread uses it. It reads no clock: exec_out.dur_us is what the step would have taken,
 *
 *     step_us + prefill_us × prefill tokens + decode_us × decodes + context_us × context tokens / 1000
 *             + park_us × (blocks parked + restored)
 *
 * where the context tokens are, summed over the items, the positions up to the last one computed.
 */
#ifndef WEFT_EXEC_EXEC_SIM_H
#define WEFT_EXEC_EXEC_SIM_H

#include "engine/exec/exec.h"

struct exec_sim_config {
    double step_us, prefill_us, decode_us, context_us,
        park_us; /* configuration keys of the same names under sim: */
    uint32_t n_vocab, n_ctx;
    uint32_t block_tokens, n_blocks, n_park_slots;
    uint64_t block_bytes; /* what a block would take, for figures of memory */
};

/* CONFIG_INVALID when a size is 0 or a cost negative; INTERNAL_ERROR when out of memory. Destroy with exec_destroy. */
enum weft_rc exec_sim_create(const struct exec_sim_config *cfg, struct exec **out, struct weft_err *err);

/* For tests. The nth step from now (1: the next) fails with BATCH_FAILED, once, and leaves rubbish in every
 * block and host slot that its plan writes; 0 takes it back. */
void exec_sim_fail_at(struct exec *x, uint64_t nth);
/* For tests. In the nth step from now, in the first item that has more than one block to read, the first two
 * entries of the block table are taken in swapped order. */
void exec_sim_swap_at(struct exec *x, uint64_t nth);

#endif
