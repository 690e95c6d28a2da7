#include <assert.h>

#include "engine/model/tok_bpe.h"

#define NO_SYMBOL UINT32_MAX

/* One symbol of the piece. Symbol i starts as byte i, and lives until the symbol on its left absorbs it. */
struct tok_symbol {
    uint32_t id;
    uint32_t prev, next;    /* indices of the living neighbours, or NO_SYMBOL */
    struct tok_merge merge; /* of this symbol with the next one; a heap entry of another rank is stale */
};

void tok_bpe_scratch_free(struct tok_bpe_scratch *s)
{
    mem_free(s->symbol);
    mem_free(s->heap.key);
    *s = (struct tok_bpe_scratch){0};
}

/* Looks up the merge of symbol i with its right neighbour and queues it. */
static bool consider(const struct tok_bpe *b, struct tok_bpe_scratch *s, uint32_t i)
{
    struct tok_symbol *left = &s->symbol[i];
    left->merge = (struct tok_merge){TOK_NONE, TOK_NONE};
    if (left->next == NO_SYMBOL)
        return true;
    left->merge = tok_pairmap_find(&b->merges, left->id, s->symbol[left->next].id);
    return left->merge.rank == TOK_NONE || tok_heap_push(&s->heap, tok_heap_key(left->merge.rank, i));
}

/* Merges symbol i with its right neighbour. */
static bool merge(const struct tok_bpe *b, struct tok_bpe_scratch *s, uint32_t i)
{
    struct tok_symbol *left = &s->symbol[i], *right = &s->symbol[left->next];
    left->id = left->merge.result;
    left->next = right->next;
    right->merge.rank = TOK_NONE; /* dead: what the heap still holds of it is stale */
    if (left->next != NO_SYMBOL)
        s->symbol[left->next].prev = i;
    return consider(b, s, i) && (left->prev == NO_SYMBOL || consider(b, s, left->prev));
}

bool tok_bpe_encode(const struct tok_bpe *b, struct tok_bpe_scratch *s, const char *piece, size_t n,
                    struct tok_ids *out)
{
    assert(n > 0 && n < NO_SYMBOL);
    if (n > s->cap && mem_grow(&s->symbol, &s->cap, n, sizeof *s->symbol))
        return false;

    uint32_t last = (uint32_t)n - 1;
    for (uint32_t i = 0; i <= last; i++)
        s->symbol[i] = (struct tok_symbol){.id = b->byte_id[(uint8_t)piece[i]],
                                           .prev = i ? i - 1 : NO_SYMBOL,
                                           .next = i < last ? i + 1 : NO_SYMBOL};
    s->heap.n = 0;
    for (uint32_t i = 0; i <= last; i++)
        if (!consider(b, s, i))
            return false;
    while (s->heap.n > 0) {
        uint64_t key = tok_heap_pop(&s->heap);
        uint32_t i = (uint32_t)key;
        if (s->symbol[i].merge.rank == key >> 32 && !merge(b, s, i))
            return false;
    }

    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbol[i].next)
        if (s->symbol[i].id != TOK_NONE && !tok_ids_push(out, s->symbol[i].id))
            return false;
    return true;
}
