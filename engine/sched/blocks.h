/*
 * The pool of KV blocks: who owns which is counted here; what is in them is the executor's business.
 *
 *              alloc (1 owner)                    last owner leaves
 *     FREE ───────────────────► USED (refs ≥ 1) ───────────────────► FREE     not known to the prefix cache
 *      ▲                          ▲        │
 *      │ evict, drop         ref  │        │ last owner leaves
 *      └──────────────────── CACHED ◄──────┘                         known to the prefix cache ("kept")
 *
 * free + used + cached = total at all times. Cached blocks are as good as free: an allocation that finds no
 * free block evicts the cached one that was left longest ago. Reserved blocks are a number, not particular
 * blocks: `available` is what is free or cached and not promised to a sequence. Allocation is all or nothing;
 * running out is an answer, not an error. Pure; one owner.
 */
#ifndef WEFT_SCHED_BLOCKS_H
#define WEFT_SCHED_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_NONE UINT32_MAX

struct blocks {
    uint32_t n, n_free, n_cached, n_reserved;
    uint32_t peak_used;
    uint32_t *refs;        /* owners of each block */
    uint32_t *prev, *next; /* the free list (next only) or the list of cached blocks */
    bool *kept;            /* known to the prefix cache */
    uint32_t free_head;
    uint32_t oldest, newest; /* cached blocks, in the order in which they were left */
    /* Told before a cached block is taken for something else; the block is no longer kept after it. May be NULL. */
    void (*evict)(void *ctx, uint32_t block);
    void *evict_ctx;
};

/* False: out of memory; deinit is allowed then. */
bool blocks_init(struct blocks *b, uint32_t n);
void blocks_deinit(struct blocks *b);

static inline uint32_t blocks_used(const struct blocks *b)
{
    return b->n - b->n_free - b->n_cached;
}

/* Blocks that may be handed out or reserved. */
static inline uint32_t blocks_available(const struct blocks *b)
{
    return b->n_free + b->n_cached - b->n_reserved;
}

/* Hands out n blocks with one owner each: all of them (true), or none when fewer are available. */
bool blocks_alloc(struct blocks *b, uint32_t n, uint32_t *out);
/* Sets n aside: all or nothing. */
bool blocks_reserve(struct blocks *b, uint32_t n);
void blocks_unreserve(struct blocks *b, uint32_t n);
/* Hands out one that was reserved. */
uint32_t blocks_take_reserved(struct blocks *b);
/* One owner more; a cached block becomes used (the caller saw to it that one is available). */
void blocks_ref(struct blocks *b, uint32_t block);
/* One owner less; true when it was the last. */
bool blocks_unref(struct blocks *b, uint32_t block);
/* The prefix cache knows the block: it is to stay cached when its last owner leaves. */
void blocks_keep(struct blocks *b, uint32_t block);
/* The prefix cache no longer knows it; a cached block becomes free. */
void blocks_drop(struct blocks *b, uint32_t block);

#endif
