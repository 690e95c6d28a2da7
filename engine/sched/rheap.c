#include "engine/sched/rheap.h"

#include <string.h>

#include "engine/base/mem.h"

enum { ARITY = 4 };

/* Where r keeps 1 + its handle in h. */
static uint32_t *handle_of(const struct rheap *h, struct request *r)
{
    return (uint32_t *)(void *)((char *)r + h->field);
}

/* Room for it was reserved: there are never more handles than there once were members. */
static uint32_t take_handle(struct rheap *h)
{
    uint32_t handle = h->free;
    if (handle == RHEAP_NO_HANDLE)
        return h->n_handles++;
    h->free = h->place[handle];
    return handle;
}

static bool before(const struct rheap_entry *a, const struct rheap_entry *b)
{
    if (a->key < b->key || a->key > b->key)
        return a->key < b->key;
    return a->arrival < b->arrival;
}

static void put(struct rheap *h, uint32_t i, const struct rheap_entry *e)
{
    h->at[i] = *e;
    h->place[e->handle] = i;
}

/* Moves `e` from the hole at i towards the root until its parent comes before it. */
static void sift_up(struct rheap *h, uint32_t i, struct rheap_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (!before(&e, &h->at[parent]))
            break;
        put(h, i, &h->at[parent]);
        i = parent;
    }
    put(h, i, &e);
}

/* Moves `e` from the hole at i towards the leaves until it comes before its children. */
static void sift_down(struct rheap *h, uint32_t i, struct rheap_entry e)
{
    for (;;) {
        uint32_t child = ARITY * i + 1, first = child;
        if (child >= h->n)
            break;
        for (uint32_t k = 1; k < ARITY && child + k < h->n; k++)
            if (before(&h->at[child + k], &h->at[first]))
                first = child + k;
        if (!before(&h->at[first], &e))
            break;
        put(h, i, &h->at[first]);
        i = first;
    }
    put(h, i, &e);
}

void rheap_init(struct rheap *h, size_t field)
{
    *h = (struct rheap){.field = field, .free = RHEAP_NO_HANDLE};
}

void rheap_deinit(struct rheap *h)
{
    mem_free(h->at);
    mem_free(h->place);
    rheap_init(h, h->field);
}

bool rheap_reserve(struct rheap *h, uint32_t n)
{
    return mem_grow(&h->at, &h->cap, n, sizeof(*h->at)) == 0 &&
           mem_grow(&h->place, &h->cap_place, n, sizeof(*h->place)) == 0;
}

void rheap_push(struct rheap *h, struct request *r, double key)
{
    struct rheap_entry e = {.key = key, .arrival = r->arrival, .req = r, .handle = take_handle(h)};
    *handle_of(h, r) = e.handle + 1;
    sift_up(h, h->n++, e);
}

bool rheap_remove(struct rheap *h, struct request *r)
{
    uint32_t *field = handle_of(h, r);
    if (!*field)
        return false;
    uint32_t handle = *field - 1, i = h->place[handle];
    *field = 0;
    h->place[handle] = h->free;
    h->free = handle;
    struct rheap_entry last = h->at[--h->n];
    if (last.req == r)
        return true;
    if (i > 0 && before(&last, &h->at[(i - 1) / ARITY]))
        sift_up(h, i, last);
    else
        sift_down(h, i, last);
    return true;
}

void rheap_rebuild(struct rheap *h)
{
    for (uint32_t i = h->n; i-- > 0;)
        sift_down(h, i, h->at[i]);
}

/* Inserts heap index `e` in the run list[from..*end), sorted by what it stands for, which may grow to
 * `max`; the last falls off a full one. */
static void insert_sorted(const struct rheap *h, uint32_t *list, uint32_t from, uint32_t *end, uint32_t max,
                          uint32_t e)
{
    uint32_t lo = from, hi = *end;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (before(&h->at[list[mid]], &h->at[e]))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == max)
        return;
    uint32_t tail = (*end < max ? *end : max - 1) - lo;
    memmove(list + lo + 1, list + lo, tail * sizeof(*list));
    list[lo] = e;
    if (*end < max)
        ++*end;
}

/* The next in order is always a child of one already listed. So list[0..done) is the answer so far,
 * list[done..end) the sorted frontier of their children, and taking the frontier's first is moving a border. */
uint32_t rheap_list(const struct rheap *h, struct request **out, uint32_t max)
{
    uint32_t list[RHEAP_LIST_MAX], done = 0, end = 1;
    if (!h->n || !max)
        return 0;
    if (max > RHEAP_LIST_MAX)
        max = RHEAP_LIST_MAX;
    list[0] = 0;
    while (done < end) {
        uint32_t first = ARITY * list[done] + 1;
        out[done] = h->at[list[done]].req;
        done++;
        for (uint32_t child = first; child < first + ARITY && child < h->n; child++)
            insert_sorted(h, list, done, &end, max, child);
    }
    return done;
}
