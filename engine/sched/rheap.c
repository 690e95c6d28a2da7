#include "engine/sched/rheap.h"

#include <string.h>

#include "engine/base/mem.h"

static uint32_t *place(const struct rheap *h, struct request *r)
{
    return (uint32_t *)(void *)((char *)r + h->order->pos);
}

static void put(struct rheap *h, uint32_t i, struct request *r)
{
    h->at[i] = r;
    *place(h, r) = i + 1;
}

/* Moves `r` from the hole at i towards the root until its parent comes before it. */
static void sift_up(struct rheap *h, uint32_t i, struct request *r)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;
        if (!h->order->before(r, h->at[parent]))
            break;
        put(h, i, h->at[parent]);
        i = parent;
    }
    put(h, i, r);
}

/* Moves `r` from the hole at i towards the leaves until it comes before its children. */
static void sift_down(struct rheap *h, uint32_t i, struct request *r)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->order->before(h->at[child + 1], h->at[child]))
            child++;
        if (!h->order->before(h->at[child], r))
            break;
        put(h, i, h->at[child]);
        i = child;
    }
    put(h, i, r);
}

void rheap_init(struct rheap *h, const struct rheap_order *order)
{
    *h = (struct rheap){.order = order};
}

void rheap_deinit(struct rheap *h)
{
    mem_free(h->at);
    h->at = NULL;
    h->n = 0;
    h->cap = 0;
}

bool rheap_reserve(struct rheap *h, uint32_t n)
{
    return mem_grow(&h->at, &h->cap, n, sizeof(*h->at)) == 0;
}

void rheap_push(struct rheap *h, struct request *r)
{
    sift_up(h, h->n++, r);
}

bool rheap_remove(struct rheap *h, struct request *r)
{
    uint32_t *p = place(h, r);
    if (!*p)
        return false;
    uint32_t i = *p - 1;
    *p = 0;
    struct request *last = h->at[--h->n];
    if (last == r)
        return true;
    if (i > 0 && h->order->before(last, h->at[(i - 1) / 2]))
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
    return true;
}

void rheap_rebuild(struct rheap *h)
{
    for (uint32_t i = h->n / 2; i-- > 0;)
        sift_down(h, i, h->at[i]);
}

/* Inserts `r` in the sorted run out[from..*end), which may grow to `max`; the last falls off a full one. */
static void insert_sorted(const struct rheap *h, struct request **out, uint32_t from, uint32_t *end,
                          uint32_t max, struct request *r)
{
    uint32_t lo = from, hi = *end;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (h->order->before(out[mid], r))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == max)
        return;
    uint32_t tail = (*end < max ? *end : max - 1) - lo;
    memmove(out + lo + 1, out + lo, tail * sizeof(*out));
    out[lo] = r;
    if (*end < max)
        ++*end;
}

/* The next in order is always a child of one already listed. So out[0..done) is the answer so far,
 * out[done..end) the sorted frontier of their children, and taking the frontier's first is moving a border.
 */
uint32_t rheap_list(const struct rheap *h, struct request **out, uint32_t max)
{
    if (!h->n || !max)
        return 0;
    uint32_t done = 0, end = 1;
    out[0] = h->at[0];
    while (done < end) {
        uint32_t i = *place(h, out[done++]) - 1;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->n; child++)
            insert_sorted(h, out, done, &end, max, h->at[child]);
    }
    return done;
}
