/*
 * A heap of requests, ordered by a key given at the push, ties by arrival number. A request can be in several
 * heaps at once: each names the field in which a request keeps its handle there (1 + handle; 0: not in the
 * heap), by which any member is found and removed in O(log n). Pure; one owner. The heap owns its arrays,
 * never the requests.
 *
 * With a million waiting, time goes into cache misses. So keys lie in the heap's own array, which is all that
 * comparisons read; each node has four children, which halves the levels of a binary heap; and where a member
 * has moved to is noted in a dense array by handle, not in the requests, which lie all over memory.
 */
#ifndef WEFT_SCHED_RHEAP_H
#define WEFT_SCHED_RHEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/sched/request.h"

struct rheap_entry {
    double key;
    uint64_t arrival;
    struct request *req;
    uint32_t handle;
};

struct rheap {
    size_t field;           /* offset of the handle's uint32_t in struct request */
    struct rheap_entry *at; /* at[0] comes first; the children of i are 4i+1 … 4i+4 */
    uint32_t n;
    size_t cap;
    uint32_t *place;    /* place[handle]: index in at; of a handle that is free: the next free one */
    uint32_t n_handles; /* ever given out */
    uint32_t free;      /* the first free handle, or RHEAP_NO_HANDLE */
    size_t cap_place;
};
#define RHEAP_NO_HANDLE UINT32_MAX

void rheap_init(struct rheap *h, size_t field);
void rheap_deinit(struct rheap *h);
/* Makes room for `n` members, so that pushes up to there can't fail. False: out of memory, nothing changed. */
bool rheap_reserve(struct rheap *h, uint32_t n);
/* Adds a request that isn't in the heap; room was reserved. O(log n). */
void rheap_push(struct rheap *h, struct request *r, double key);
/* Removes it if it is there; true when it was. O(log n). */
bool rheap_remove(struct rheap *h, struct request *r);
/* The first, or NULL. */
static inline struct request *rheap_first(const struct rheap *h)
{
    return h->n ? h->at[0].req : NULL;
}
/* Restores the order after many of at[].key were changed. O(n). */
void rheap_rebuild(struct rheap *h);
/* The first in order, at most `max` and RHEAP_LIST_MAX, without changing the heap; returns how many. Looks at
 * about four times as many members. */
enum { RHEAP_LIST_MAX = 1024 };
uint32_t rheap_list(const struct rheap *h, struct request **out, uint32_t max);

#endif
