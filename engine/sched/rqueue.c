#include "engine/sched/rqueue.h"

#include <math.h>

/* Above this many µs a level, sums of keys and times would leave the integers that a double holds exactly. */
#define LEVEL_US_MAX 1e15

static double level_of(double aging_rate)
{
    return aging_rate > 0 ? fmin(round(1e6 / aging_rate), LEVEL_US_MAX) : 0;
}

static double key_of(const struct rqueue *q, const struct request *r, int64_t now_us)
{
    if (q->fifo)
        return 0;
    if (q->level_us <= 0)
        return (int)r->base;
    int64_t waited_us = r->waited_us + now_us - r->state_since_us;
    return (int)r->base * q->level_us + (double)(now_us - waited_us);
}

/* The worst base first; by_drop breaks ties by arrival number. */
static double drop_key(const struct rqueue *q, const struct request *r)
{
    return q->fifo ? 0 : -(int)r->base;
}

void rqueue_init(struct rqueue *q, bool fifo, double aging_rate)
{
    rheap_init(&q->by_key, offsetof(struct request, heap_pos));
    rheap_init(&q->by_drop, offsetof(struct request, drop_pos));
    q->fifo = fifo;
    q->level_us = level_of(aging_rate);
}

void rqueue_deinit(struct rqueue *q)
{
    rheap_deinit(&q->by_key);
    rheap_deinit(&q->by_drop);
}

bool rqueue_reserve(struct rqueue *q, uint32_t n)
{
    return rheap_reserve(&q->by_key, n) && rheap_reserve(&q->by_drop, n);
}

void rqueue_push(struct rqueue *q, struct request *r, int64_t now_us)
{
    r->key = key_of(q, r, now_us);
    rheap_push(&q->by_key, r, r->key);
    if (r->scheduled_us < 0)
        rheap_push(&q->by_drop, r, drop_key(q, r));
}

struct request *rqueue_peek(const struct rqueue *q)
{
    return rheap_first(&q->by_key);
}

struct request *rqueue_next(struct rqueue *q)
{
    struct request *r = rqueue_peek(q);
    return r ? rqueue_cancel(q, r) : NULL;
}

struct request *rqueue_cancel(struct rqueue *q, struct request *r)
{
    if (!rheap_remove(&q->by_key, r))
        return NULL;
    rheap_remove(&q->by_drop, r);
    return r;
}

void rqueue_set_base(struct rqueue *q, struct request *r, enum prio base, int64_t now_us)
{
    rqueue_cancel(q, r);
    r->base = base;
    rqueue_push(q, r, now_us);
}

struct request *rqueue_oldest_of_worst(const struct rqueue *q)
{
    return rheap_first(&q->by_drop);
}

void rqueue_configure(struct rqueue *q, bool fifo, double aging_rate, int64_t now_us)
{
    q->fifo = fifo;
    q->level_us = level_of(aging_rate);
    for (uint32_t i = 0; i < q->by_key.n; i++) {
        struct rheap_entry *e = &q->by_key.at[i];
        e->key = e->req->key = key_of(q, e->req, now_us);
    }
    for (uint32_t i = 0; i < q->by_drop.n; i++)
        q->by_drop.at[i].key = drop_key(q, q->by_drop.at[i].req);
    rheap_rebuild(&q->by_key);
    rheap_rebuild(&q->by_drop);
}
