/*
 * An executor for tests of the engine: keeps token ids in its blocks and makes logits that are a function of
 * the history as read back through the block table, so that wrong tables, chunks or orders change the output.
 * It can be told to wait at a gate before each step, to fail a step, to compute NaN, and to hang.
 *
 * The controls may be called from any thread; the rest is the engine's.
 */
#ifndef WEFT_TESTS_FAKE_EXEC_H
#define WEFT_TESTS_FAKE_EXEC_H

#include <pthread.h>

#include "engine/exec/exec.h"

struct fake_exec {
    struct exec x; /* first */
    uint32_t *slots;
    float *logits;
    struct exec_row *rows;
    uint32_t cap_rows;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool gated; /* steps wait for permits */
    uint64_t permits;
    uint64_t n_steps;       /* begun */
    uint64_t fail_step;     /* this one fails (counted from 1) */
    uint64_t nan_step;      /* this one computes a NaN in its first row */
    const uint32_t *script; /* not NULL: after n ids, script[n] is far likelier than all else */
    bool lose_kv;           /* recover says that all is lost */
    uint64_t n_recovers;
    int64_t step_us;            /* each takes that long */
    uint32_t shift;             /* another model: its logits are those of ids so much lower */
    bool recover_fails;         /* recover can't help */
    uint64_t idle_left, n_idle; /* how often it has something to do for itself; how often it was let do it */
};

struct fake_exec *fake_exec_create(uint32_t n_vocab, uint32_t n_ctx, uint32_t n_blocks,
                                   uint32_t block_tokens);
/* What the executor computes: logits after a history of n ids. Any thread. */
void fake_exec_logits(const uint32_t *ids, uint32_t n, uint32_t n_vocab, float *logits);

void fake_exec_gate(struct fake_exec *f, bool gated);   /* closed: each step waits for a permit */
void fake_exec_permit(struct fake_exec *f, uint64_t n); /* lets n more steps pass */
/* Waits until step n has begun; false after 10 s. */
bool fake_exec_wait_step(struct fake_exec *f, uint64_t n);
uint64_t fake_exec_steps(struct fake_exec *f);
uint64_t fake_exec_idles(struct fake_exec *f);
/* From now on it has something to do for itself n times. */
void fake_exec_want_idle(struct fake_exec *f, uint64_t n);

#endif
