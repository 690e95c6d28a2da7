/*
 * A binary min-heap of 64-bit keys. Users pack an order into the high half and a position into the low one,
 * so that equal orders come out from left to right. One owner, no locks.
 */
#ifndef WEFT_MODEL_TOK_HEAP_H
#define WEFT_MODEL_TOK_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/mem.h"

struct tok_heap {
    uint64_t *key;
    size_t n, cap;
};

static inline uint64_t tok_heap_key(uint32_t order, uint32_t pos)
{
    return (uint64_t)order << 32 | pos;
}

/* False when out of memory; the heap is then as before. */
static inline bool tok_heap_push(struct tok_heap *h, uint64_t key)
{
    if (h->n == h->cap && mem_grow(&h->key, &h->cap, h->n + 1, sizeof *h->key))
        return false;
    size_t i = h->n++;
    for (; i > 0 && key < h->key[(i - 1) / 2]; i = (i - 1) / 2)
        h->key[i] = h->key[(i - 1) / 2];
    h->key[i] = key;
    return true;
}

/* Removes and returns the smallest key; the heap must not be empty. */
static inline uint64_t tok_heap_pop(struct tok_heap *h)
{
    uint64_t top = h->key[0], last = h->key[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->key[child + 1] < h->key[child])
            child++;
        if (last <= h->key[child])
            break;
        h->key[i] = h->key[child];
    }
    h->key[i] = last;
    return top;
}

#endif
