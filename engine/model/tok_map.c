#include <string.h>
#include <sys/random.h>

#include "engine/base/mem.h"
#include "engine/model/tok_map.h"

/* Slots for n keys: a power of two, at most two thirds full, so that a probe always ends. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots / 3 * 2 < n)
        slots *= 2;
    return slots;
}

static uint64_t random_seed(const void *fallback)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = mix64(
            (uintptr_t)fallback); /* early in a machine's life: where the table lies is better than nothing */
    return seed;
}

bool tok_strmap_init(struct tok_strmap *m, size_t n)
{
    size_t slots = slots_for(n);
    m->slot = mem_calloc(slots, sizeof *m->slot);
    if (!m->slot)
        return false;
    for (size_t i = 0; i < slots; i++)
        m->slot[i].id = TOK_NONE;
    m->mask = slots - 1;
    m->seed = random_seed(m->slot);
    return true;
}

void tok_strmap_deinit(struct tok_strmap *m)
{
    mem_free(m->slot);
    m->slot = NULL;
}

static uint64_t string_hash(const struct tok_strmap *m, const char *s, size_t n)
{
    return mix64(fnv1a64(FNV1A64_INIT ^ m->seed, s, n));
}

/* The slot that holds s[0..n), or the empty one where it would go. */
static struct tok_strslot *string_slot(const struct tok_strmap *m, const struct gguf_str *key, const char *s,
                                       size_t n)
{
    uint64_t hash = string_hash(m, s, n);
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct tok_strslot *slot = &m->slot[i];
        if (slot->id == TOK_NONE)
            return slot;
        if (slot->tag == tag && key[slot->id].n == n && memcmp(key[slot->id].s, s, n) == 0)
            return slot;
    }
}

uint32_t tok_strmap_add(struct tok_strmap *m, const struct gguf_str *key, uint32_t id)
{
    const char *s = key[id].s;
    size_t n = key[id].n;
    struct tok_strslot *slot = string_slot(m, key, s, n);
    if (slot->id != TOK_NONE)
        return slot->id;
    *slot = (struct tok_strslot){.tag = (uint32_t)(string_hash(m, s, n) >> 32), .id = id};
    return TOK_NONE;
}

uint32_t tok_strmap_find(const struct tok_strmap *m, const struct gguf_str *key, const char *s, size_t n)
{
    return string_slot(m, key, s, n)->id;
}

bool tok_pairmap_init(struct tok_pairmap *m, size_t n)
{
    size_t slots = slots_for(n);
    m->slot = mem_calloc(slots, sizeof *m->slot);
    if (!m->slot)
        return false;
    for (size_t i = 0; i < slots; i++)
        m->slot[i].pair = UINT64_MAX;
    m->mask = slots - 1;
    m->seed = random_seed(m->slot);
    return true;
}

void tok_pairmap_deinit(struct tok_pairmap *m)
{
    mem_free(m->slot);
    m->slot = NULL;
}

void tok_pairmap_add(struct tok_pairmap *m, uint32_t left, uint32_t right, struct tok_merge merge)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = mix64(pair ^ m->seed) & m->mask;
    for (; m->slot[i].pair != UINT64_MAX; i = (i + 1) & m->mask)
        if (m->slot[i].pair == pair)
            return;
    m->slot[i] = (struct tok_pairslot){.pair = pair, .merge = merge};
}
