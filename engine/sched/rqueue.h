/*
 * The waiting requests (WAITING and PREEMPTED) in the order in which they are to be admitted.
 *
 * Effective priority falls while a request waits: base − rate × waited. As all waiters age at one rate, their
 * order never changes by itself, so a request gets a constant key when it is queued, and nothing is ever
 * re-sorted:
 *
 *     effective(t) = base − rate × (waited + t − queued) = [base + rate × (queued − waited)] − rate × t
 *
 * The bracket is the key. It is kept divided by the rate, in whole microseconds, so that comparisons are
 * exact whatever the time is: a LOW ties with a NORMAL that came exactly 1/rate seconds later, and the
 * earlier arrival number wins. Under FIFO all keys are 0 and arrival numbers alone decide; with a rate of 0
 * the key is the base.
 *
 * Depth counts the requests never yet scheduled; for the full queue's policy these are also kept in the order
 * in which it drops them: worst base first, then oldest. Pure; one owner; requests are the submitter's. All
 * operations O(log n) unless noted.
 */
#ifndef WEFT_SCHED_RQUEUE_H
#define WEFT_SCHED_RQUEUE_H

#include "engine/sched/rheap.h"

struct rqueue {
    struct rheap by_key;  /* all */
    struct rheap by_drop; /* never scheduled; first whom a full queue would drop first */
    bool fifo;
    double level_us; /* waiting time that makes up for one priority level; 0: no aging */
};

void rqueue_init(struct rqueue *q, bool fifo, double aging_rate);
void rqueue_deinit(struct rqueue *q);
/* Makes room for n requests, so that pushes can't fail. False: out of memory. */
bool rqueue_reserve(struct rqueue *q, uint32_t n);
/* Queues a request that is WAITING or PREEMPTED since `now_us` or before. */
void rqueue_push(struct rqueue *q, struct request *r, int64_t now_us);
/* The one to be admitted next, or NULL; `next` also removes it. */
struct request *rqueue_peek(const struct rqueue *q);
struct request *rqueue_next(struct rqueue *q);
/* Removes a request; returns it, or NULL when it isn't queued. */
struct request *rqueue_cancel(struct rqueue *q, struct request *r);
/* Changes a queued request's base and so its place; waited time and arrival number stay. */
void rqueue_set_base(struct rqueue *q, struct request *r, enum prio base, int64_t now_us);
/* The oldest never-scheduled request of the worst base present (under FIFO: the oldest of all), or NULL. O(1). */
struct request *rqueue_oldest_of_worst(const struct rqueue *q);
/* Changes policy and rate. O(n). */
void rqueue_configure(struct rqueue *q, bool fifo, double aging_rate, int64_t now_us);

static inline uint32_t rqueue_count(const struct rqueue *q)
{
    return q->by_key.n;
}

/* Requests never yet scheduled. */
static inline uint32_t rqueue_depth(const struct rqueue *q)
{
    return q->by_drop.n;
}

#endif
