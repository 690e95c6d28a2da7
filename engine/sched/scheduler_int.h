/*
 * The scheduler's inside, shared by its source files and by nobody else:
 *
 *   scheduler.c  life and death of requests: submit, cancel, timeouts, priorities, configuration
 *   admit.c      who gets a seat
 *   preempt.c    who has to give it up: victims, parking
 *   step.c       what a step computes, and booking what came of it
 *   view.c       looking in: counts, listings, audit
 */
#ifndef WEFT_SCHED_SCHEDULER_INT_H
#define WEFT_SCHED_SCHEDULER_INT_H

#include "engine/sched/blocks.h"
#include "engine/sched/pace.h"
#include "engine/sched/prefix.h"
#include "engine/sched/rindex.h"
#include "engine/sched/rqueue.h"
#include "engine/sched/scheduler.h"

struct sched {
    struct sched_config cfg;
    struct rindex index;    /* every request known */
    struct rqueue queue;    /* WAITING and PREEMPTED */
    struct rheap deadlines; /* those with a timeout, the next to expire first */
    struct blocks blocks;
    struct prefix prefix; /* when cfg.prefix_cache */
    struct pace pace;
    double park_us, prefill_us; /* see sched_set_costs */

    struct request **running; /* PREFILLING and RUNNING, in order of admission */
    uint32_t n_running;
    uint32_t max_seqs;        /* capacity of running, victims, shares and the plan's items */
    struct request **victims; /* scratch of admit.c */
    uint32_t *shares;         /* scratch of step.c: the tokens that each of `running` gets */
    uint32_t *match;          /* scratch of admit.c: one request's known blocks; blocks.n entries */

    struct plan plan;
    bool in_flight;
    uint32_t *slots; /* free slots of the host area */
    uint32_t n_slots;
    uint32_t *slots_left; /* slots left since the last plan: free from the next on, as this one may still read
                             them */
    uint32_t n_slots_left;
    uint32_t *pins; /* blocks that the plan copies from: held until it is done */
    uint32_t n_pins;

    enum wait_reason reason;       /* what kept the head out of the last plan, and with it all behind it */
    const struct request *awaited; /* whose prefix the head waits for: it shares the budget … */
    enum prio awaited_base;        /* … as if it had the head's base */
    int64_t coalescing_until_us;   /* when reason is WAIT_COALESCING */
    int64_t idle_since_us;         /* when the waiting began that coalescing limits; -1: not waiting */

    uint64_t arrivals;
    struct sched_counts totals; /* only the members that count up */
};

static inline uint32_t sched_blocks_for(const struct sched *s, uint32_t tokens)
{
    return tokens / s->cfg.block_tokens + (tokens % s->cfg.block_tokens != 0);
}

/* Blocks that the request may come to hold. The last generated token is never computed. */
static inline uint32_t sched_blocks_needed(const struct sched *s, const struct request *r)
{
    return sched_blocks_for(s, r->n_prompt + (r->max_tokens ? r->max_tokens - 1 : 0));
}

/* Priorities compare as equal under FIFO. */
static inline int sched_base(const struct sched *s, const struct request *r)
{
    return s->cfg.fifo ? 0 : (int)r->base;
}

/* Sequences that may run at once. */
static inline uint32_t sched_max_running(const struct sched *s)
{
    if (s->cfg.one_at_a_time)
        return 1;
    return s->cfg.max_batch_size < s->max_seqs ? s->cfg.max_batch_size : s->max_seqs;
}

/* scheduler.c */
/* Room for n sequences at once; no plan is under way. False: out of memory, the old room stands. */
bool sched_reserve_seqs(struct sched *s, uint32_t n);
void sched_emit(struct sched *s, struct sched_event ev);
/* Ends a request in whatever state it is; after that it is the submitter's. */
void sched_end(struct sched *s, struct request *r, enum req_state end, enum finish_reason why,
               int64_t now_us);
/* FAILED with r->error = *why. */
void sched_end_failed(struct sched *s, struct request *r, const struct weft_err *why, int64_t now_us);
/* Ends one that was cancelled, or failed, while it was in the plan. */
void sched_end_asked(struct sched *s, struct request *r, int64_t now_us);
/* Ends those whose time is over. */
void sched_expire(struct sched *s, int64_t now_us);

/* admit.c */
/* Seats waiters in key order until one doesn't fit, and notes why. */
void sched_admit(struct sched *s, int64_t now_us);

/* preempt.c */
/* Frees blocks, reservation and host slots. */
void sched_release(struct sched *s, struct request *r);
/* Takes out of `running`, if it is there. */
void sched_leave(struct sched *s, struct request *r);
/* Forgets what a preempted request has parked; it will be recomputed. */
void sched_drop_parked(struct sched *s, struct request *r);
/* May it be asked to leave? Rows of logits that were handed out can't be made again, so scoring requests stay. */
bool sched_can_preempt(const struct sched *s, const struct request *r);
/* Sends a sequence back to the queue; `by` is whose need it was. Its KV is kept if it may be and that is worth it. */
void sched_preempt(struct sched *s, struct request *r, const struct request *by, bool may_park,
                   int64_t now_us);
/* Gives every decoding sequence the block that it is about to write, preempting where there is none. */
void sched_grow(struct sched *s, int64_t now_us);
/* Who may be sent away for r? Sequences of strictly worse base, worse also by their effective priority as they
 * were admitted. Listed in s->victims; returns how many. */
uint32_t sched_candidates(struct sched *s, const struct request *r, int64_t now_us);
/* What keeps a waiter out, beside a seat. */
struct sched_need {
    int64_t blocks;   /* as many more must become available */
    uint32_t n_match; /* the first n_match of s->match it would take over from whoever holds them */
};
/* Sends away as many of the first n of s->victims as it takes to seat r; if all of them together don't suffice,
 * none. True when some were sent away. */
bool sched_make_room(struct sched *s, struct request *r, uint32_t n, struct sched_need need, int64_t now_us);

#endif
