/*
 * A test rig: a scheduler and the simulated executor under a virtual clock, with everything that was told
 * recorded. Requests are the rig's and stay readable after their end, until sim_deinit.
 */
#ifndef WEFT_TESTS_SIM_RIG_H
#define WEFT_TESTS_SIM_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/exec/exec_sim.h"
#include "engine/sched/scheduler.h"

struct sim_event {
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

struct sim {
    struct sched_config cfg; /* what sim_init makes of it may be changed before sim_start */
    struct exec_sim_config sim;
    struct sched *s;
    struct exec *x;
    int64_t now_us;
    struct request **reqs; /* all ever submitted, in order */
    size_t n_reqs, cap_reqs;
    struct sim_event *events;
    size_t n_events, cap_events;
    uint64_t steps_failed;
    bool record;                 /* keep events (default); off for long runs */
    bool audit;                  /* check every invariant after every step (default) */
    void (*mid_step)(void *ctx); /* called while a plan is under way; NULL: nothing */
    void *mid_ctx;
};

/* Defaults: 64 blocks of 4 tokens, 8 sequences, 64 tokens a step, aging 0.1, depth 1000, no preemption, no
 * cache; a step takes 1000 µs, 10 µs more a prefill token, 20 µs a decode. */
void sim_init(struct sim *g);
/* Instead of sim_init: a server of ordinary size with everything on. 512 blocks of 16 tokens, 16 sequences, 256 tokens a
 * step, preemption with room to park all, prefix cache; 300 µs a step, 500 µs more a prefill token, 900 µs a decode. */
void sim_init_server(struct sim *g);
/* Instead of sim_init: room for millions that wait, 64 sequences, 512 tokens a step, 4096 blocks of 16 tokens, everything on;
 * nothing is recorded or audited, so that the scheduler's own time can be measured. */
void sim_init_crowd(struct sim *g);
/* Makes scheduler and executor from cfg and sim (pool sizes are taken from cfg). Fails the test when refused.
 */
void sim_start(struct sim *g);
void sim_deinit(struct sim *g);

/* A request with prompt ids made from (seed), n_prompt of them; not yet submitted. */
struct request *sim_make(struct sim *g, const char *id, enum prio base, uint32_t n_prompt,
                         uint32_t max_tokens, uint64_t seed);
enum weft_rc sim_offer(struct sim *g, struct request *r, struct weft_err *err);
/* Makes and submits; a refusal fails the test. */
struct request *sim_submit(struct sim *g, const char *id, enum prio base, uint32_t n_prompt,
                           uint32_t max_tokens, uint64_t seed);
/* The same with the id "name" and i, and a prompt that depends on i. */
struct request *sim_submit_nth(struct sim *g, const char *name, uint32_t i, enum prio base, uint32_t n_prompt,
                               uint32_t max_tokens);
/* One step: plan, execute, commit or fail, check the invariants; the clock goes on by the step's duration.
 * False when there was nothing to run (the clock stands). */
bool sim_step(struct sim *g);
/* Steps until nothing is left to do, going on to sched_wake_us where only time helps; at most `limit` steps,
 * or the test fails. */
void sim_run(struct sim *g, uint32_t limit);
/* The event of that type about that request (any if NULL), the `nth` (from 0), or NULL. */
const struct sim_event *sim_event(const struct sim *g, enum sched_event_type type, const struct request *r,
                                  uint32_t nth);
struct sched_counts sim_counts(const struct sim *g);
uint32_t sim_count(const struct sim *g, enum sched_event_type type, const struct request *r);
/* Position in the log of the first such event, or -1. */
long sim_when(const struct sim *g, enum sched_event_type type, const struct request *r);

/* The invariants of any moment between steps: audit, block counts, budget. Prints what is wrong and returns false. */
bool sim_check(const struct sim *g);
/* Are r's generated ids a prefix (all of max_tokens if `whole`) of what it generates alone? Prints the difference. */
bool sim_same_alone(const struct sim *g, const struct request *r, bool whole);

#endif
