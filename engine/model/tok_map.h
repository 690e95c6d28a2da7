/*
 * The vocabulary's two hash tables: byte string → token id, and pair of ids → merge. Open addressing, linear
 * probing.
 *
 * A file's author chooses the keys, so the hashes are seeded at random for each table: nobody can prepare a
 * file whose keys all meet in one slot. What a lookup finds doesn't depend on the seed.
 *
 * Filled by one thread; afterwards any number of threads may look up.
 */
#ifndef WEFT_MODEL_TOK_MAP_H
#define WEFT_MODEL_TOK_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/hash.h"
#include "engine/model/gguf.h"

#define TOK_NONE UINT32_MAX /* no id, no rank */

/* Byte strings → ids. The strings themselves stay with the caller: key[id] is the string of an id. */
struct tok_strmap {
    uint64_t seed;
    size_t mask; /* slots - 1 */
    struct tok_strslot {
        uint32_t tag; /* high half of the hash: most misses end here */
        uint32_t id;  /* TOK_NONE: empty */
    } * slot;
};

/* Room for n strings. False when out of memory. */
bool tok_strmap_init(struct tok_strmap *m, size_t n);
void tok_strmap_deinit(struct tok_strmap *m);
/* Adds key[id]; at most as many as init made room for. Returns TOK_NONE, or the id that has this string
 * already (and nothing is added). */
uint32_t tok_strmap_add(struct tok_strmap *m, const struct gguf_str *key, uint32_t id);
/* The id of s[0..n), or TOK_NONE. */
uint32_t tok_strmap_find(const struct tok_strmap *m, const struct gguf_str *key, const char *s, size_t n);

struct tok_merge {
    uint32_t rank;   /* lower goes first; TOK_NONE: the pair doesn't merge */
    uint32_t result; /* the id that the pair becomes */
};

/* Pairs of ids → merges. */
struct tok_pairmap {
    uint64_t seed;
    size_t mask;
    struct tok_pairslot {
        uint64_t pair; /* left << 32 | right; UINT64_MAX: empty (TOK_NONE is no id) */
        struct tok_merge merge;
    } * slot;
};

bool tok_pairmap_init(struct tok_pairmap *m, size_t n);
void tok_pairmap_deinit(struct tok_pairmap *m);
/* Adds a merge; of two for one pair the first stays. */
void tok_pairmap_add(struct tok_pairmap *m, uint32_t left, uint32_t right, struct tok_merge merge);

/* The merge of two ids; rank TOK_NONE when there is none (also when an id is TOK_NONE). */
static inline struct tok_merge tok_pairmap_find(const struct tok_pairmap *m, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    for (size_t i = mix64(pair ^ m->seed) & m->mask;; i = (i + 1) & m->mask) {
        const struct tok_pairslot *slot = &m->slot[i];
        if (slot->pair == UINT64_MAX)
            return (struct tok_merge){TOK_NONE, TOK_NONE};
        if (slot->pair == pair)
            return slot->merge;
    }
}

#endif
