/* Looking into a scheduler: counts, listings for the screen, and an audit of every block. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/sched/scheduler_int.h"

void sched_counts(const struct sched *s, struct sched_counts *out)
{
    *out = s->totals;
    out->waiting = rqueue_count(&s->queue);
    out->depth = rqueue_depth(&s->queue);
    out->preempted = out->waiting - out->depth;
    out->running = s->n_running;
    /* The head is never overtaken, so what keeps it out keeps out all behind it. */
    out->waiting_by_reason[s->reason] = out->waiting;
    out->blocks_total = s->blocks.n;
    out->blocks_used = blocks_used(&s->blocks);
    out->blocks_cached = s->blocks.n_cached;
    out->blocks_free = s->blocks.n_free;
    out->blocks_parked = s->cfg.n_park_slots - s->n_slots - s->n_slots_left;
    out->peak_blocks_used = s->blocks.peak_used;
}

uint32_t sched_waiters(const struct sched *s, struct request **out, uint32_t max)
{
    uint32_t n = rheap_list(&s->queue.by_key, out, max);
    for (uint32_t i = 0; i < n; i++)
        out[i]->wait_reason = s->reason;
    return n;
}

uint32_t sched_running(const struct sched *s, struct request **out, uint32_t max)
{
    uint32_t n = s->n_running < max ? s->n_running : max;
    memcpy(out, s->running, n * sizeof(struct request *));
    return n;
}

void sched_block_owners(const struct sched *s, uint64_t *owner, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < s->blocks.n; i++)
        owner[i] = !s->blocks.refs[i] && s->blocks.kept[i] ? SCHED_OWNER_CACHED : 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct request *r = s->running[i];
        for (uint32_t j = 0; j < r->n_blocks; j++)
            if (r->blocks[j] < n)
                owner[r->blocks[j]] = s->blocks.refs[r->blocks[j]] > 1 ? SCHED_OWNER_SHARED : r->arrival;
    }
}

/* The audit: everything that the pool believes, counted again from the owners' side. */

struct audit {
    char *why;
    size_t size;
    uint32_t n_wrong;
};

/* Notes a fault; the text of the first is kept. */
__attribute__((format(printf, 2, 3))) static void wrong(struct audit *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!a->n_wrong++ && a->size)
        vsnprintf(a->why, a->size, fmt, ap);
    va_end(ap);
}

/* Owners, reservations, and that what is shared is never written: a block with several owners lies wholly in
 * the computed, full part of each. */
static void audit_owners(const struct sched *s, struct audit *a, uint32_t *owners)
{
    uint32_t reserved = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct request *r = s->running[i];
        reserved += r->n_reserved;
        for (uint32_t j = 0; j < r->n_blocks; j++) {
            if (r->blocks[j] >= s->blocks.n) {
                wrong(a, "request %s: block %u of %u", r->id, r->blocks[j], s->blocks.n);
                continue;
            }
            owners[r->blocks[j]]++;
            if (s->blocks.refs[r->blocks[j]] > 1 && !s->n_pins && j >= r->n_computed / s->cfg.block_tokens)
                wrong(a, "request %s: block %u is shared, and it may be written", r->id, r->blocks[j]);
        }
    }
    for (uint32_t i = 0; i < s->n_pins; i++)
        owners[s->pins[i]]++;
    if (reserved != s->blocks.n_reserved)
        wrong(a, "%u blocks are reserved, sequences have %u", s->blocks.n_reserved, reserved);
    if (s->blocks.n_reserved > s->blocks.n_free + s->blocks.n_cached)
        wrong(a, "%u blocks are reserved, %u are there", s->blocks.n_reserved,
              s->blocks.n_free + s->blocks.n_cached);
}

static void audit_blocks(const struct sched *s, struct audit *a, const uint32_t *owners)
{
    uint32_t n_free = 0, n_cached = 0;
    for (uint32_t i = 0; i < s->blocks.n; i++) {
        if (s->blocks.refs[i] != owners[i])
            wrong(a, "block %u counts %u owners, has %u", i, s->blocks.refs[i], owners[i]);
        n_cached += !s->blocks.refs[i] && s->blocks.kept[i];
        n_free += !s->blocks.refs[i] && !s->blocks.kept[i];
    }
    if (n_free != s->blocks.n_free || n_cached != s->blocks.n_cached)
        wrong(a, "%u blocks are free and %u cached, counted %u and %u", s->blocks.n_free, s->blocks.n_cached,
              n_free, n_cached);
}

/* Known blocks are exactly the full computed ones, under the tokens that their holders have there. */
static void audit_prefix(const struct sched *s, struct audit *a)
{
    uint32_t size = s->cfg.block_tokens;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct request *r = s->running[i];
        for (uint32_t j = 0; j < r->n_blocks; j++) {
            uint32_t b = r->blocks[j], parent = j ? r->blocks[j - 1] : BLOCK_NONE;
            if (s->blocks.kept[b] != (j < r->n_keyed) && !r->moved_step)
                wrong(a, "request %s: block %u is %sknown, position %u of %u", r->id, b,
                      s->blocks.kept[b] ? "" : "not ", j, r->n_keyed);
            if (j < r->n_keyed && prefix_find(&s->prefix, parent, r->salt, r->ids + (size_t)j * size) != b)
                wrong(a, "request %s: block %u isn't known by its tokens", r->id, b);
        }
    }
    for (uint32_t b = s->blocks.oldest, n = 0; b != BLOCK_NONE && n <= s->blocks.n;
         b = s->blocks.next[b], n++) {
        uint32_t parent = s->prefix.parent[b];
        if (parent != BLOCK_NONE && !s->blocks.kept[parent])
            wrong(a, "block %u is cached, but its parent %u isn't known", b, parent);
    }
}

static void audit_slots(const struct sched *s, struct audit *a)
{
    uint32_t parked = 0;
    for (uint32_t i = 0; i < rqueue_count(&s->queue); i++) {
        const struct request *r = s->queue.by_key.at[i].req;
        parked += r->n_parked;
        if (r->n_blocks || r->n_reserved)
            wrong(a, "request %s waits and holds %u blocks, %u reserved", r->id, r->n_blocks, r->n_reserved);
    }
    if (s->n_slots + s->n_slots_left + parked != s->cfg.n_park_slots)
        wrong(a, "%u host slots: %u free, %u parked", s->cfg.n_park_slots, s->n_slots + s->n_slots_left,
              parked);
}

uint32_t sched_audit(const struct sched *s, char *why, size_t size)
{
    struct audit a = {.why = why, .size = size};
    uint32_t *owners = mem_calloc(s->blocks.n, sizeof(*owners));
    if (size)
        why[0] = 0;
    if (!owners) {
        wrong(&a, "out of memory for the audit of %u blocks", s->blocks.n);
        return a.n_wrong;
    }
    audit_owners(s, &a, owners);
    audit_blocks(s, &a, owners);
    if (s->cfg.prefix_cache)
        audit_prefix(s, &a);
    audit_slots(s, &a);
    mem_free(owners);
    return a.n_wrong;
}
