#include "engine/sched/blocks.h"

#include <assert.h>

#include "engine/base/mem.h"

static void push_free(struct blocks *b, uint32_t block)
{
    b->next[block] = b->free_head;
    b->free_head = block;
    b->n_free++;
}

static void push_cached(struct blocks *b, uint32_t block)
{
    b->prev[block] = b->newest;
    b->next[block] = BLOCK_NONE;
    if (b->newest != BLOCK_NONE)
        b->next[b->newest] = block;
    else
        b->oldest = block;
    b->newest = block;
    b->n_cached++;
}

static void remove_cached(struct blocks *b, uint32_t block)
{
    uint32_t prev = b->prev[block], next = b->next[block];
    if (prev != BLOCK_NONE)
        b->next[prev] = next;
    else
        b->oldest = next;
    if (next != BLOCK_NONE)
        b->prev[next] = prev;
    else
        b->newest = prev;
    b->n_cached--;
}

bool blocks_init(struct blocks *b, uint32_t n)
{
    *b = (struct blocks){.n = n, .free_head = BLOCK_NONE, .oldest = BLOCK_NONE, .newest = BLOCK_NONE};
    b->refs = mem_calloc(n, sizeof(*b->refs));
    b->prev = mem_calloc(n, sizeof(*b->prev));
    b->next = mem_calloc(n, sizeof(*b->next));
    b->kept = mem_calloc(n, sizeof(*b->kept));
    if (!b->refs || !b->prev || !b->next || !b->kept)
        return false;
    for (uint32_t i = n; i-- > 0;) /* so that block 0 is handed out first */
        push_free(b, i);
    return true;
}

void blocks_deinit(struct blocks *b)
{
    mem_free(b->refs);
    mem_free(b->prev);
    mem_free(b->next);
    mem_free(b->kept);
    *b = (struct blocks){0};
}

/* Takes any block that isn't used; the caller knows that there is one. */
static uint32_t take(struct blocks *b)
{
    if (!b->n_free) {
        assert(b->n_cached);
        uint32_t victim = b->oldest;
        if (b->evict)
            b->evict(b->evict_ctx, victim);
        blocks_drop(b, victim);
    }
    uint32_t block = b->free_head;
    b->free_head = b->next[block];
    b->n_free--;
    b->refs[block] = 1;
    if (blocks_used(b) > b->peak_used)
        b->peak_used = blocks_used(b);
    return block;
}

bool blocks_alloc(struct blocks *b, uint32_t n, uint32_t *out)
{
    if (n > blocks_available(b))
        return false;
    for (uint32_t i = 0; i < n; i++)
        out[i] = take(b);
    return true;
}

bool blocks_reserve(struct blocks *b, uint32_t n)
{
    if (n > blocks_available(b))
        return false;
    b->n_reserved += n;
    return true;
}

void blocks_unreserve(struct blocks *b, uint32_t n)
{
    assert(n <= b->n_reserved);
    b->n_reserved -= n;
}

uint32_t blocks_take_reserved(struct blocks *b)
{
    blocks_unreserve(b, 1);
    return take(b);
}

void blocks_ref(struct blocks *b, uint32_t block)
{
    if (b->refs[block]++ == 0) {
        assert(b->kept[block]);
        remove_cached(b, block);
        if (blocks_used(b) > b->peak_used)
            b->peak_used = blocks_used(b);
    }
}

bool blocks_unref(struct blocks *b, uint32_t block)
{
    assert(b->refs[block]);
    if (--b->refs[block])
        return false;
    if (b->kept[block])
        push_cached(b, block);
    else
        push_free(b, block);
    return true;
}

void blocks_keep(struct blocks *b, uint32_t block)
{
    assert(b->refs[block]);
    b->kept[block] = true;
}

void blocks_drop(struct blocks *b, uint32_t block)
{
    if (!b->kept[block])
        return;
    b->kept[block] = false;
    if (!b->refs[block]) {
        remove_cached(b, block);
        push_free(b, block);
    }
}
