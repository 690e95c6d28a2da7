#include <stdlib.h>
#include <string.h>

#include "engine/model/tok_map.h"
#include "engine/model/tok_special.h"

/* A trie in one array; node 0 is the root, and as an index 0 means none. */
struct tok_special_node {
    uint32_t child, sibling; /* first child; next child of the same parent */
    uint32_t rank;           /* of the token that ends here, or TOK_NONE */
    uint8_t byte;
};

static uint32_t node_child(const struct tok_special *sp, uint32_t node, uint8_t byte)
{
    uint32_t child = sp->node[node].child;
    while (child && sp->node[child].byte != byte)
        child = sp->node[child].sibling;
    return child;
}

static bool trie_add(struct tok_special *sp, const char *s, size_t n, uint32_t rank)
{
    if (mem_grow(&sp->node, &sp->cap_nodes, sp->n_nodes + n, sizeof *sp->node))
        return false;
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)s[i];
        uint32_t next = node_child(sp, at, byte);
        if (!next) {
            next = (uint32_t)sp->n_nodes++;
            sp->node[next] =
                (struct tok_special_node){.sibling = sp->node[at].child, .rank = TOK_NONE, .byte = byte};
            sp->node[at].child = next;
        }
        at = next;
    }
    sp->node[at].rank = rank;
    return true;
}

static int longest_first(const void *a, const void *b)
{
    const struct tok_special_entry *x = a, *y = b;
    if (x->len_bytes != y->len_bytes)
        return x->len_bytes > y->len_bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

bool tok_special_init(struct tok_special *sp, struct tok_special_entry *entry, size_t n,
                      const struct gguf_str *bytes)
{
    *sp = (struct tok_special){.entry = entry, .n = n};
    if (n > 1)
        qsort(entry, n, sizeof *entry, longest_first);
    if (mem_grow(&sp->node, &sp->cap_nodes, 1, sizeof *sp->node))
        goto fail;
    sp->node[0] = (struct tok_special_node){.rank = TOK_NONE};
    sp->n_nodes = 1;
    for (size_t rank = 0; rank < n; rank++) {
        if (!trie_add(sp, bytes[entry[rank].id].s, entry[rank].len_bytes, (uint32_t)rank))
            goto fail;
        sp->in_plain = sp->in_plain || entry[rank].kind != TOK_SPECIAL_CONTROL;
    }
    return true;
fail:
    tok_special_deinit(sp);
    return false;
}

void tok_special_deinit(struct tok_special *sp)
{
    mem_free(sp->entry);
    mem_free(sp->node);
    *sp = (struct tok_special){0};
}

void tok_special_scratch_free(struct tok_special_scratch *s)
{
    mem_free(s->candidates.key);
    mem_free(s->found.key);
    mem_free(s->taken);
    *s = (struct tok_special_scratch){0};
}

static bool allowed(enum tok_special_kind kind, enum tok_mode mode, bool trusted)
{
    switch (mode) {
    case TOK_PLAIN: return kind != TOK_SPECIAL_CONTROL;
    case TOK_SPECIAL: return true;
    case TOK_MARKED: return kind == TOK_SPECIAL_ORDINARY || trusted;
    }
    return false;
}

/* The rank of the longest token allowed at the start of text[0..n), or TOK_NONE. */
static uint32_t longest_at(const struct tok_special *sp, const char *text, size_t n, enum tok_mode mode,
                           const uint8_t *foreign)
{
    uint32_t best = TOK_NONE;
    bool trusted = true;
    for (size_t i = 0, node = 0; i < n; i++) {
        node = node_child(sp, (uint32_t)node, (uint8_t)text[i]);
        if (!node)
            break;
        trusted = trusted && !(foreign && foreign[i]);
        uint32_t rank = sp->node[node].rank;
        if (rank != TOK_NONE && allowed(sp->entry[rank].kind, mode, trusted))
            best = rank;
    }
    return best;
}

/* Queues the longest token that starts at `at` and ends before `end`. */
static bool queue_candidate(const struct tok_special *sp, const char *text, size_t at, size_t end,
                            enum tok_mode mode, const uint8_t *foreign, struct tok_special_scratch *s)
{
    uint32_t rank = longest_at(sp, text + at, end - at, mode, foreign ? foreign + at : NULL);
    return rank == TOK_NONE || tok_heap_push(&s->candidates, tok_heap_key(rank, (uint32_t)at));
}

bool tok_special_find(const struct tok_special *sp, const char *text, size_t n, enum tok_mode mode,
                      const uint8_t *foreign, struct tok_special_scratch *s)
{
    s->candidates.n = s->found.n = 0;
    if (sp->n == 0 || (mode == TOK_PLAIN && !sp->in_plain))
        return true;
    if (mode != TOK_MARKED)
        foreign = NULL;

    bool starts[256] = {false};
    for (uint32_t child = sp->node[0].child; child; child = sp->node[child].sibling)
        starts[sp->node[child].byte] = true;
    for (size_t i = 0; i < n; i++)
        if (starts[(uint8_t)text[i]] && !queue_candidate(sp, text, i, n, mode, foreign, s))
            return false;
    if (s->candidates.n == 0)
        return true;

    if (n > s->cap_taken && mem_grow(&s->taken, &s->cap_taken, n, 1))
        return false;
    memset(s->taken, 0, n);
    while (s->candidates.n > 0) {
        uint64_t key = tok_heap_pop(&s->candidates);
        uint32_t rank = (uint32_t)(key >> 32), at = (uint32_t)key, len = sp->entry[rank].len_bytes;
        const uint8_t *clash = memchr(s->taken + at, 1, len);
        if (!clash) {
            memset(s->taken + at, 1, len);
            if (!tok_heap_push(&s->found, tok_heap_key(at, rank)))
                return false;
        } else if (!queue_candidate(sp, text, at, (size_t)(clash - s->taken), mode, foreign, s)) {
            return false; /* (a shorter token may fit where this one didn't) */
        }
    }
    return true;
}
