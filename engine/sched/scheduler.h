/*
 * The scheduler of one model: queue, blocks and plans behind one interface. Pure: no clock, no locks, no I/O,
 * no OpenCL; time is an argument and must not go backwards. One thread owns a scheduler.
 *
 *   loop:  sched_submit / sched_cancel / sched_set_priority …      (any number)
 *          plan = sched_plan(now)                                   NULL: nothing to run
 *          execute it, sample
 *          sched_commit(now, results)   or   sched_fail(now, err)
 *
 * Everything that happens is told through `emit` as it happens, in a fixed order, so that an event log is
 * reproducible. The callback must not call back into the scheduler, but for sched_counts and sched_audit,
 * which only read.
 */
#ifndef WEFT_SCHED_SCHEDULER_H
#define WEFT_SCHED_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/sched/plan.h"
#include "engine/sched/request.h"
#include "engine/sched/resource.h"

enum sched_event_type {
    SCHED_SUBMIT, /* request accepted; depth after it */
    SCHED_REJECT, /* error in `err`; the request was never the scheduler's */
    SCHED_ADMIT,  /* first admission; effective priority */
    SCHED_RESUME,
    SCHED_PREEMPT, /* `by`: whose need took its place (may be itself) */
    SCHED_FIRST_TOKEN,
    SCHED_FINISH,   /* the scheduler forgets the request when the callback returns */
    SCHED_CANCEL,   /* before its FINISH */
    SCHED_TIMEOUT,  /* before its FINISH */
    SCHED_PRIORITY, /* from → to */
    SCHED_STEP      /* the plan just committed; before its FIRST_TOKEN and FINISH events */
};

struct sched_event {
    enum sched_event_type type;
    int64_t now_us;
    struct request *req;        /* NULL for SCHED_STEP */
    uint32_t depth;             /* SUBMIT, REJECT */
    double effective;           /* ADMIT, RESUME */
    enum prio from, to;         /* PRIORITY */
    const struct request *by;   /* PREEMPT */
    bool parked;                /* PREEMPT: park rather than recompute */
    uint32_t blocks;            /* PREEMPT: blocks freed; RESUME: blocks restored */
    uint32_t cached_tokens;     /* ADMIT, RESUME: tokens found in the prefix cache (or shared by a fork) */
    uint32_t tokens;            /* RESUME: tokens to recompute */
    const struct weft_err *err; /* REJECT */
    const struct plan *plan;    /* STEP */
    int64_t dur_us;             /* STEP */
};

/* What becomes of a preempted sequence's KV. */
enum sched_preemption {
    SCHED_PREEMPT_OFF, /* nothing is ever preempted; every block that may be needed is reserved at admission */
    SCHED_PREEMPT_AUTO,     /* parked or recomputed, whichever costs less: see sched_set_costs */
    SCHED_PREEMPT_PARK,     /* parked in host memory, recomputed only where the host area is full */
    SCHED_PREEMPT_RECOMPUTE /* dropped */
};

struct sched_config {
    bool fifo;                 /* ignore priorities */
    bool one_at_a_time;        /* batching.enabled: false */
    double aging_rate;         /* priority levels per second */
    uint32_t max_batch_size;   /* sequences in a step */
    uint32_t max_batch_tokens; /* tokens in a step; ≥ max_batch_size */
    uint32_t max_depth;        /* requests never yet scheduled */
    bool reject_when_full;
    uint32_t n_blocks, block_tokens;
    uint32_t n_ctx; /* most positions a sequence may have */
    /* 0 (false, NULL) in the following: without it. */
    enum sched_preemption preemption;
    uint32_t max_preemptions; /* after so many a request can't be preempted again */
    uint32_t n_park_slots;    /* blocks that the host area holds */
    bool prefix_cache;
    uint32_t min_batch_size;         /* an idle scheduler waits for so many requests … */
    int64_t batch_timeout_us;        /* … at most so long */
    bool adaptive_timeout;           /* … and less, the more rarely requests come together */
    int64_t itl_target_us;           /* prefill is cut so that a step with decodes takes at most this long */
    uint32_t max_logits;             /* logits rows in a step */
    const struct resource *resource; /* memory limits that submissions are checked against; may be shared */
    void (*emit)(void *ctx, const struct sched_event *ev); /* may be NULL */
    void *emit_ctx;
};

struct sched;

/* CONFIG_INVALID names the value that makes no sense. */
enum weft_rc sched_create(const struct sched_config *cfg, struct sched **out, struct weft_err *err);
/* Requests still known are forgotten without events. */
void sched_destroy(struct sched *s);

/* Takes a request in, or refuses it: INVALID_REQUEST (empty prompt, prompt + max_tokens over the context or
 * the pool, an id that is empty or in use), MEMORY_LIMIT_EXCEEDED, RESOURCE_LIMIT_EXCEEDED, QUEUE_FULL
 * (context depth, max_depth), checked in that order; INTERNAL_ERROR when out of memory. With
 * reject_when_full off a full queue drops its oldest request of the worst base instead (it FAILs with
 * QUEUE_FULL), unless the newcomer is worse. On refusal SCHED_REJECT is emitted and the request is the
 * caller's again. */
enum weft_rc sched_submit(struct sched *s, struct request *r, int64_t now_us, struct weft_err *err);
/* Looks a request up by id, whatever its state; NULL when there is none. O(1). */
struct request *sched_find(struct sched *s, const char *id);
/* Ends a request (CANCELLED) and frees its blocks at once, or when its step ends if it is in the plan under way. */
void sched_cancel(struct sched *s, struct request *r, int64_t now_us);
/* The same, but it FAILs with `why`: for what befalls one request alone. */
void sched_fail_request(struct sched *s, struct request *r, const struct weft_err *why, int64_t now_us);
/* Cancels everything. Returns how many. */
uint32_t sched_cancel_all(struct sched *s, int64_t now_us);
/* Changes the base priority; keeps the waited time. */
void sched_set_priority(struct sched *s, struct request *r, enum prio base, int64_t now_us);
/* Changes limits while running: batch size, tokens, aging rate, policy (live configuration). n_blocks can't change. */
void sched_configure(struct sched *s, const struct sched_config *cfg, int64_t now_us);

/* Costs that `auto` preemption weighs, in µs: parking or restoring one block, computing one prompt token.
 * 0: the scheduler's own estimate from the steps so far. */
void sched_set_costs(struct sched *s, double park_us_per_block, double prefill_us_per_token);
/* The device's KV contents are gone (exec_recover said so); no plan is under way. The prefix cache is
 * emptied, and whatever held KV is preempted, to be recomputed. */
void sched_kv_lost(struct sched *s, int64_t now_us);

/* The next step, or NULL when nothing can run: ask again after the next command, or at sched_wake_us.
 * Between a plan and its commit or failure no second plan is made. */
const struct plan *sched_plan(struct sched *s, int64_t now_us);

/* The time at which something happens by itself though no step can run (a timeout, the end of coalescing),
 * as known after sched_plan returned NULL; INT64_MAX when nothing will. */
int64_t sched_wake_us(const struct sched *s);

/* What became of one item of the plan, in plan order. */
struct sched_result {
    bool has_token; /* a token was sampled (items whose n_logits > 0 and that generate) */
    uint32_t token;
    /* FINISH_STOP or FINISH_LENGTH when the submitter ends it here. The token is then appended only with
     * `keep_token`: an end-of-generation token isn't part of the output. */
    enum finish_reason finish;
    bool keep_token;
};
/* Books the step: computed tokens, new tokens, finishes. `dur_us` is the step's duration. A request that
 * reaches max_tokens is finished with LENGTH by the scheduler itself. */
void sched_commit(struct sched *s, const struct sched_result *results, int64_t dur_us, int64_t now_us);
/* The step failed: its requests FAIL with `why`, the others go on. */
void sched_fail(struct sched *s, const struct weft_err *why, int64_t now_us);

struct sched_counts {
    uint32_t waiting, depth, running, preempted;
    uint32_t waiting_by_reason[WAIT_REASON_COUNT];
    uint32_t blocks_total, blocks_used, blocks_cached, blocks_free, blocks_parked;
    uint64_t steps, scheduled_items; /* batches; sum of items over all steps */
    uint64_t total_requests, completed, failed, rejected;
    uint64_t preemptions;
    uint64_t prefix_query_tokens, prefix_hit_tokens;
    uint32_t max_depth_seen, peak_blocks_used;
};
void sched_counts(const struct sched *s, struct sched_counts *out);
bool sched_has_work(const struct sched *s);

/* For the screen. Waiters in the order in which they would be admitted, at most `max` and 1024; returns how many. */
uint32_t sched_waiters(const struct sched *s, struct request **out, uint32_t max);
/* Sequences that hold a slot, in admission order. */
uint32_t sched_running(const struct sched *s, struct request **out, uint32_t max);
/* owner[i] = arrival number of the block's owner; 0 free, SCHED_OWNER_CACHED, SCHED_OWNER_SHARED. n = blocks_total. */
#define SCHED_OWNER_CACHED (UINT64_MAX)
#define SCHED_OWNER_SHARED (UINT64_MAX - 1)
void sched_block_owners(const struct sched *s, uint64_t *owner, uint32_t n);
/* Walks pool against owners: blocks whose count doesn't match, i.e. leaks and overlaps. 0 when all is well. */
uint32_t sched_audit(const struct sched *s, char *why, size_t size);

#endif
