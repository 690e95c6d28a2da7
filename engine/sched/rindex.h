/*
 * Requests by id: a hash table chained through the requests themselves (hash_next). Pure; one owner.
 */
#ifndef WEFT_SCHED_RINDEX_H
#define WEFT_SCHED_RINDEX_H

#include "engine/sched/request.h"

struct rindex {
    struct request **bucket;
    uint32_t n_buckets; /* a power of two; 0 before the first reserve */
    uint32_t n;
};

void rindex_deinit(struct rindex *t);
/* Makes room for n requests at an average chain of at most one. False: out of memory, the table stands. */
bool rindex_reserve(struct rindex *t, uint32_t n);
/* The request with that id, or NULL. */
struct request *rindex_find(const struct rindex *t, const char *id);
/* Adds a request whose id isn't there yet; room was reserved. */
void rindex_add(struct rindex *t, struct request *r);
void rindex_remove(struct rindex *t, struct request *r);

#endif
