#include "engine/sched/prefix.h"

#include <assert.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"

static uint64_t hash_of(const struct prefix *p, uint32_t parent, uint64_t salt, const uint32_t *tokens)
{
    /* A parent's own hash would do as well; its number is as unique, see the header. */
    uint64_t h = parent == BLOCK_NONE ? mix64(salt) : mix64(~(uint64_t)parent);
    for (uint32_t i = 0; i < p->block_tokens; i++)
        h = mix64(h ^ tokens[i]);
    return h;
}

static uint32_t *known_tokens(const struct prefix *p, uint32_t block)
{
    return p->tokens + (size_t)block * p->block_tokens;
}

static bool holds(const struct prefix *p, uint32_t block, uint32_t parent, uint64_t salt,
                  const uint32_t *tokens)
{
    return p->parent[block] == parent && (parent != BLOCK_NONE || p->salt[block] == salt) &&
           memcmp(known_tokens(p, block), tokens, p->block_tokens * sizeof(*tokens)) == 0;
}

static uint32_t find_hashed(const struct prefix *p, uint64_t hash, uint32_t parent, uint64_t salt,
                            const uint32_t *tokens)
{
    uint32_t block = p->bucket[hash & (p->n_buckets - 1)];
    while (block != BLOCK_NONE && (p->hash[block] != hash || !holds(p, block, parent, salt, tokens)))
        block = p->next[block];
    return block;
}

/* The pool is about to use a cached block for something else. */
static void forget(void *ctx, uint32_t block)
{
    struct prefix *p = ctx;
    assert(!p->children[block]);
    uint32_t *link = &p->bucket[p->hash[block] & (p->n_buckets - 1)];
    while (*link != block)
        link = &p->next[*link];
    *link = p->next[block];
    if (p->parent[block] != BLOCK_NONE)
        p->children[p->parent[block]]--;
}

bool prefix_init(struct prefix *p, struct blocks *pool, uint32_t block_tokens)
{
    *p = (struct prefix){.pool = pool, .block_tokens = block_tokens, .n_buckets = 64};
    while (p->n_buckets < pool->n && p->n_buckets < UINT32_MAX / 2)
        p->n_buckets *= 2;
    p->bucket = mem_calloc(p->n_buckets, sizeof(*p->bucket));
    p->next = mem_calloc(pool->n, sizeof(*p->next));
    p->parent = mem_calloc(pool->n, sizeof(*p->parent));
    p->children = mem_calloc(pool->n, sizeof(*p->children));
    p->salt = mem_calloc(pool->n, sizeof(*p->salt));
    p->hash = mem_calloc(pool->n, sizeof(*p->hash));
    p->tokens = mem_calloc(pool->n, sizeof(*p->tokens) * block_tokens);
    if (!p->bucket || !p->next || !p->parent || !p->children || !p->salt || !p->hash || !p->tokens)
        return false;
    memset(p->bucket, 0xff, p->n_buckets * sizeof(*p->bucket)); /* BLOCK_NONE */
    pool->evict = forget;
    pool->evict_ctx = p;
    return true;
}

void prefix_deinit(struct prefix *p)
{
    mem_free(p->bucket);
    mem_free(p->next);
    mem_free(p->parent);
    mem_free(p->children);
    mem_free(p->salt);
    mem_free(p->hash);
    mem_free(p->tokens);
    *p = (struct prefix){0};
}

uint32_t prefix_find(const struct prefix *p, uint32_t parent, uint64_t salt, const uint32_t *tokens)
{
    return find_hashed(p, hash_of(p, parent, salt, tokens), parent, salt, tokens);
}

uint32_t prefix_match(const struct prefix *p, uint64_t salt, const uint32_t *tokens, uint32_t n_full,
                      uint32_t *out)
{
    uint32_t n = 0, parent = BLOCK_NONE;
    while (n < n_full) {
        parent = prefix_find(p, parent, salt, tokens + (size_t)n * p->block_tokens);
        if (parent == BLOCK_NONE)
            break;
        out[n++] = parent;
    }
    return n;
}

uint32_t prefix_insert(struct prefix *p, uint32_t parent, uint64_t salt, const uint32_t *tokens,
                       uint32_t block)
{
    uint64_t hash = hash_of(p, parent, salt, tokens);
    uint32_t known = find_hashed(p, hash, parent, salt, tokens);
    if (known != BLOCK_NONE)
        return known;
    uint32_t *head = &p->bucket[hash & (p->n_buckets - 1)];
    p->next[block] = *head;
    *head = block;
    p->hash[block] = hash;
    p->parent[block] = parent;
    p->children[block] = 0;
    p->salt[block] = salt;
    memcpy(known_tokens(p, block), tokens, p->block_tokens * sizeof(*tokens));
    if (parent != BLOCK_NONE)
        p->children[parent]++;
    blocks_keep(p->pool, block);
    return block;
}

void prefix_clear(struct prefix *p)
{
    memset(p->bucket, 0xff, p->n_buckets * sizeof(*p->bucket));
    for (uint32_t i = 0; i < p->pool->n; i++)
        blocks_drop(p->pool, i);
}
