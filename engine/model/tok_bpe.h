/*
 * Byte-pair encoding of one piece: starting from a token per byte, the adjacent pair of lowest rank is
 * merged, the leftmost of equals first, until no pair has a merge (Sennrich, Haddow and Birch 2016; on bytes
 * as in GPT-2).
 *
 * O(n log n) for a piece of n bytes: a linked list of symbols, and a heap of the pairs that may merge.
 */
#ifndef WEFT_MODEL_TOK_BPE_H
#define WEFT_MODEL_TOK_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model/tok_heap.h"
#include "engine/model/tok_map.h"
#include "engine/model/tokenizer.h"

/* The tables to merge by; they belong to the vocabulary. */
struct tok_bpe {
    uint32_t byte_id[256]; /* the token of a single byte; TOK_NONE: the vocabulary lacks it */
    struct tok_pairmap merges;
};

/* Working memory, kept from piece to piece; one a thread. */
struct tok_bpe_scratch {
    struct tok_symbol *symbol;
    size_t cap;
    struct tok_heap heap;
};
void tok_bpe_scratch_free(struct tok_bpe_scratch *s);

/* Appends the ids of piece[0..n), n > 0, to *out. Bytes without a token are left out, and nothing merges
 * across them. False when out of memory; *out then holds what it held before, and maybe more behind it. */
bool tok_bpe_encode(const struct tok_bpe *b, struct tok_bpe_scratch *s, const char *piece, size_t n,
                    struct tok_ids *out);

/* Appends one id. False when out of memory. */
static inline bool tok_ids_push(struct tok_ids *ids, uint32_t id)
{
    if (ids->n == ids->cap && mem_grow(&ids->id, &ids->cap, ids->n + 1, sizeof *ids->id))
        return false;
    ids->id[ids->n++] = id;
    return true;
}

#endif
