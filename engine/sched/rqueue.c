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
        return r->base;
    int64_t waited_us = r->waited_us + now_us - r->state_since_us;
    return r->base * q->level_us + (double)(now_us - waited_us);
}

static struct rheap *age_heap(struct rqueue *q, const struct request *r)
{
    return &q->by_age[r->base + 1];
}

void rqueue_init(struct rqueue *q, bool fifo, double aging_rate)
{
    rheap_init(&q->by_key, offsetof(struct request, heap_pos));
    for (int i = 0; i < PRIO_COUNT; i++)
        rheap_init(&q->by_age[i], offsetof(struct request, age_pos));
    q->fifo = fifo;
    q->level_us = level_of(aging_rate);
}

void rqueue_deinit(struct rqueue *q)
{
    rheap_deinit(&q->by_key);
    for (int i = 0; i < PRIO_COUNT; i++)
        rheap_deinit(&q->by_age[i]);
}

bool rqueue_reserve(struct rqueue *q, uint32_t n)
{
    bool ok = rheap_reserve(&q->by_key, n);
    for (int i = 0; i < PRIO_COUNT; i++)
        ok = ok && rheap_reserve(&q->by_age[i], n);
    return ok;
}

void rqueue_push(struct rqueue *q, struct request *r, int64_t now_us)
{
    r->key = key_of(q, r, now_us);
    rheap_push(&q->by_key, r, r->key);
    if (r->scheduled_us < 0)
        rheap_push(age_heap(q, r), r, 0); /* by arrival number alone */
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
    rheap_remove(age_heap(q, r), r);
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
    struct request *found = NULL;
    for (int i = PRIO_COUNT; i-- > 0;) {
        struct request *r = rheap_first(&q->by_age[i]);
        if (!r)
            continue;
        if (!q->fifo)
            return r;
        if (!found || r->arrival < found->arrival)
            found = r;
    }
    return found;
}

void rqueue_configure(struct rqueue *q, bool fifo, double aging_rate, int64_t now_us)
{
    q->fifo = fifo;
    q->level_us = level_of(aging_rate);
    for (uint32_t i = 0; i < q->by_key.n; i++) {
        struct rheap_entry *e = &q->by_key.at[i];
        e->key = e->req->key = key_of(q, e->req, now_us);
    }
    rheap_rebuild(&q->by_key);
}
