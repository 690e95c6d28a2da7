/*
 * A test rig: a scheduler and the simulated executor under a virtual clock, with everything that was told
 * recorded. Requests are the rig's and stay readable after their end, until rig_deinit.
 */
#ifndef WEFT_TESTS_SIM_RIG_H
#define WEFT_TESTS_SIM_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/exec/exec_sim.h"
#include "engine/sched/scheduler.h"

struct rig_event {
    enum sched_event_type type;
    int64_t now_us;
    struct request *req;      /* NULL for SCHED_STEP */
    const struct request *by; /* PREEMPT */
    uint32_t depth, blocks, tokens, cached_tokens;
    double effective;
    bool parked;
    enum weft_rc code; /* REJECT */
    /* STEP */
    uint64_t step;
    uint32_t budget, n_items, n_tokens, n_prefill_tokens, n_decodes;
};

struct rig {
    struct sched_config cfg; /* what rig_init makes of it may be changed before rig_start */
    struct exec_sim_config sim;
    struct sched *s;
    struct exec *x;
    int64_t now_us;
    struct request **reqs; /* all ever submitted, in order */
    size_t n_reqs, cap_reqs;
    struct rig_event *events;
    size_t n_events, cap_events;
    uint64_t steps_failed;
    bool record; /* keep events (default); off for long runs */
    bool audit;  /* check every invariant after every step (default) */
};

/* Defaults: 64 blocks of 4 tokens, 8 sequences, 64 tokens a step, aging 0.1, depth 1000, no preemption, no
 * cache; a step takes 1000 µs, 10 µs more a prefill token, 20 µs a decode. */
void rig_init(struct rig *g);
/* Makes scheduler and executor from cfg and sim (pool sizes are taken from cfg). Fails the test when refused.
 */
void rig_start(struct rig *g);
void rig_deinit(struct rig *g);

/* A request with prompt ids made from (seed), n_prompt of them; not yet submitted. */
struct request *rig_make(struct rig *g, const char *id, enum prio base, uint32_t n_prompt,
                         uint32_t max_tokens, uint64_t seed);
enum weft_rc rig_offer(struct rig *g, struct request *r, struct weft_err *err);
/* Makes and submits; a refusal fails the test. */
struct request *rig_submit(struct rig *g, const char *id, enum prio base, uint32_t n_prompt,
                           uint32_t max_tokens, uint64_t seed);
/* One step: plan, execute, commit or fail, check the invariants; the clock goes on by the step's duration.
 * False when there was nothing to run (the clock stands). */
bool rig_step(struct rig *g);
/* Steps until nothing is left to do, going on to sched_wake_us where only time helps; at most `limit` steps,
 * or the test fails. */
void rig_run(struct rig *g, uint32_t limit);
/* The event of that type about that request (any if NULL), the `nth` (from 0), or NULL. */
const struct rig_event *rig_event(const struct rig *g, enum sched_event_type type, const struct request *r,
                                  uint32_t nth);
uint32_t rig_count(const struct rig *g, enum sched_event_type type, const struct request *r);
/* Position in the log of the first such event, or -1. */
long rig_when(const struct rig *g, enum sched_event_type type, const struct request *r);

/* The invariants of any moment between steps: audit, block counts, budget. Prints what is wrong and returns
 * false. */
bool rig_check(const struct rig *g);
/* Are r's generated ids a prefix (all of max_tokens if `whole`) of what it generates alone? Prints the
 * difference. */
bool rig_same_alone(const struct rig *g, const struct request *r, bool whole);

#endif
