#include "engine/sched/rindex.h"

#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"

static struct request **bucket_of(const struct rindex *t, const char *id)
{
    return &t->bucket[fnv1a64(FNV1A64_INIT, id, strlen(id)) & (t->n_buckets - 1)];
}

void rindex_deinit(struct rindex *t)
{
    mem_free(t->bucket);
    *t = (struct rindex){0};
}

bool rindex_reserve(struct rindex *t, uint32_t n)
{
    if (n <= t->n_buckets)
        return true;
    struct rindex grown = {.n_buckets = t->n_buckets ? t->n_buckets : 64, .n = t->n};
    while (grown.n_buckets < n) {
        if (grown.n_buckets > UINT32_MAX / 2)
            return false;
        grown.n_buckets *= 2;
    }
    grown.bucket = mem_calloc(grown.n_buckets, sizeof(struct request *));
    if (!grown.bucket)
        return false;
    for (uint32_t i = 0; i < t->n_buckets; i++) {
        for (struct request *r = t->bucket[i], *next; r; r = next) {
            next = r->hash_next;
            struct request **b = bucket_of(&grown, r->id);
            r->hash_next = *b;
            *b = r;
        }
    }
    mem_free(t->bucket);
    *t = grown;
    return true;
}

struct request *rindex_find(const struct rindex *t, const char *id)
{
    if (!t->n)
        return NULL;
    struct request *r = *bucket_of(t, id);
    while (r && strcmp(r->id, id) != 0)
        r = r->hash_next;
    return r;
}

void rindex_add(struct rindex *t, struct request *r)
{
    struct request **b = bucket_of(t, r->id);
    r->hash_next = *b;
    *b = r;
    t->n++;
}

void rindex_remove(struct rindex *t, struct request *r)
{
    for (struct request **p = bucket_of(t, r->id); *p; p = &(*p)->hash_next) {
        if (*p == r) {
            *p = r->hash_next;
            t->n--;
            return;
        }
    }
}
