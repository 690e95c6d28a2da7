/*
 * The prefix cache: which full block holds which tokens after which other block.
 *
 * A block is known by (parent block, tokens), a chain's first block by (salt, tokens). Lookups hash these and
 * then compare them, parent, salt and tokens alike, so a hit is never a matter of chance. A block's number
 * can stand for its whole history because a parent is never evicted before its children: who holds a child
 * holds its parent (insert hands out the known block instead of a second one with the same content), and
 * sequences leave their blocks tail first, so in the order of eviction (blocks.h: left longest ago) a child
 * always comes before its parent.
 *
 * Pure; one owner. Owns its tables, not the blocks.
 */
#ifndef WEFT_SCHED_PREFIX_H
#define WEFT_SCHED_PREFIX_H

#include "engine/sched/blocks.h"

struct prefix {
    struct blocks *pool;
    uint32_t block_tokens;
    uint32_t n_buckets; /* a power of two */
    uint32_t *bucket;   /* first block of each chain of equal hash */
    uint32_t *next;     /* following block of that chain */
    uint32_t *parent;   /* BLOCK_NONE: first of its chain */
    uint32_t *children; /* known blocks that follow this one */
    uint64_t *salt;
    uint64_t *hash;
    uint32_t *tokens; /* block_tokens for each block */
};

/* Connects itself to the pool as its evictor. False: out of memory; deinit is allowed then. */
bool prefix_init(struct prefix *p, struct blocks *pool, uint32_t block_tokens);
void prefix_deinit(struct prefix *p);
/* The known block that holds `tokens` after `parent` (BLOCK_NONE: at the start, under `salt`), or BLOCK_NONE.
 */
uint32_t prefix_find(const struct prefix *p, uint32_t parent, uint64_t salt, const uint32_t *tokens);
/* The longest known chain of full blocks along `tokens`, at most n_full blocks, written to out. Returns how many. */
uint32_t prefix_match(const struct prefix *p, uint64_t salt, const uint32_t *tokens, uint32_t n_full,
                      uint32_t *out);
/* Makes a used, full block known. Returns it, or the block already known for that content, which the caller
 * then uses in its place. `parent` is known, and held by the caller. */
uint32_t prefix_insert(struct prefix *p, uint32_t parent, uint64_t salt, const uint32_t *tokens,
                       uint32_t block);
/* Forgets everything; cached blocks become free. */
void prefix_clear(struct prefix *p);

#endif
