/*
 * Making room: who has to leave, and what becomes of its KV.
 *
 *   sched_grow       a decode needs a block and there is none: preemption for memory
 * sched_make_room  somebody strictly better waits: preemption for urgency
 *
 * Victims in both cases: worst base, then least computed, then latest arrival; only blocks that a victim
 * alone owns count, and it stops when the need is met. A released block is free at once, as a plan's parks
 * are carried out before anything is written; so no second victim is ever taken while a release is under way.
 */
#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/sched/scheduler_int.h"

/* Leaving */

void sched_leave(struct sched *s, struct request *r)
{
    for (uint32_t i = 0; i < s->n_running; i++) {
        if (s->running[i] != r)
            continue;
        s->n_running--;
        memmove(s->running + i, s->running + i + 1, (s->n_running - i) * sizeof(struct request *));
        break;
    }
    if (s->awaited == r)
        s->awaited = NULL;
}

void sched_drop_parked(struct sched *s, struct request *r)
{
    if (!r->park_slots)
        return;
    for (uint32_t i = 0; i < r->n_parked; i++)
        s->slots_left[s->n_slots_left++] = r->park_slots[i];
    mem_free(r->park_slots);
    r->park_slots = NULL;
    r->n_parked = 0;
    if (r->state == REQ_PREEMPTED) {
        r->n_lost = r->n_computed;
        r->n_computed = 0;
    }
}

/* Gives back what it holds on the device. Tail first: see prefix.h. */
static void release_blocks(struct sched *s, struct request *r)
{
    while (r->n_blocks > 0)
        blocks_unref(&s->blocks, r->blocks[--r->n_blocks]);
    blocks_unreserve(&s->blocks, r->n_reserved);
    r->n_reserved = 0;
    r->n_keyed = 0;
    mem_free(r->blocks);
    r->blocks = NULL;
    r->cap_blocks = 0;
}

void sched_release(struct sched *s, struct request *r)
{
    release_blocks(s, r);
    sched_drop_parked(s, r);
}

/* Preemption */

bool sched_can_preempt(const struct sched *s, const struct request *r)
{
    return s->cfg.preemption != SCHED_PREEMPT_OFF && r->preemptible && !r->all_logits &&
           r->preemptions < s->cfg.max_preemptions;
}

/* Would `a` be sent away before `b`? Worst base, then least work lost, then latest arrival. */
static bool rather(const struct sched *s, const struct request *a, const struct request *b)
{
    if (sched_base(s, a) != sched_base(s, b))
        return sched_base(s, a) > sched_base(s, b);
    if (a->n_computed != b->n_computed)
        return a->n_computed < b->n_computed;
    return a->arrival > b->arrival;
}

/* Blocks that become available when `v` leaves, apart from the first n_match blocks of `match`, which the one
 * who asks would take over anyway. */
static uint32_t gain(const struct sched *s, const struct request *v, const uint32_t *match, uint32_t n_match)
{
    uint32_t n = v->n_reserved;
    for (uint32_t i = 0; i < v->n_blocks; i++)
        n += s->blocks.refs[v->blocks[i]] == 1 && !(i < n_match && match[i] == v->blocks[i]);
    return n;
}

/* Is parking r's first n blocks possible, and cheaper than computing them again? */
static bool worth_parking(const struct sched *s, const struct request *r, uint32_t n)
{
    if (!n || n > s->n_slots || s->cfg.preemption == SCHED_PREEMPT_RECOMPUTE)
        return false;
    double per_token = s->prefill_us > 0 ? s->prefill_us : s->pace.prefill_us;
    double per_block = s->park_us > 0 ? s->park_us : s->pace.move_us;
    return s->cfg.preemption == SCHED_PREEMPT_PARK || 2 * per_block * n <= per_token * r->n_computed;
}

/* Copies its computed blocks to host slots. False: dropped instead. */
static bool park(struct sched *s, struct request *r)
{
    uint32_t n = sched_blocks_for(s, r->n_computed);
    if (!worth_parking(s, r, n) || !(r->park_slots = mem_alloc(n * sizeof(*r->park_slots))))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        r->park_slots[i] = s->slots[--s->n_slots];
        s->plan.parks[s->plan.n_parks++] = (struct plan_copy){.src = r->blocks[i], .dst = r->park_slots[i]};
    }
    r->n_parked = n;
    return true;
}

void sched_preempt(struct sched *s, struct request *r, const struct request *by, bool may_park,
                   int64_t now_us)
{
    uint32_t freed = gain(s, r, NULL, 0) - r->n_reserved;
    bool parked = may_park && park(s, r);
    if (!parked) {
        r->n_lost = r->n_computed;
        r->n_computed = 0;
    }
    release_blocks(s, r);
    sched_leave(s, r);
    req_preempt(r, now_us);
    r->moved_step = s->plan.step;
    rqueue_push(&s->queue, r, now_us);
    s->totals.preemptions++;
    sched_emit(
        s,
        (struct sched_event){
            .type = SCHED_PREEMPT, .now_us = now_us, .req = r, .by = by, .parked = parked, .blocks = freed});
}

/* Preemption for memory */

/* Who leaves so that `needy` gets a block: the first in order that would free one, or `needy` itself. */
static struct request *memory_victim(const struct sched *s, struct request *needy)
{
    struct request *victim = needy;
    for (uint32_t i = 0; i < s->n_running; i++) {
        struct request *v = s->running[i];
        if (v == needy || !(sched_can_preempt(s, v) || !v->holds_all))
            continue;
        if (rather(s, v, victim) && gain(s, v, NULL, 0))
            victim = v;
    }
    return victim;
}

/* Gives r one more block. False: there is none. */
static bool grow(struct sched *s, struct request *r)
{
    assert(r->n_blocks < r->cap_blocks);
    if (r->n_reserved) {
        r->n_reserved--;
        r->blocks[r->n_blocks++] = blocks_take_reserved(&s->blocks);
        return true;
    }
    if (!blocks_alloc(&s->blocks, 1, &r->blocks[r->n_blocks]))
        return false;
    r->n_blocks++;
    return true;
}

static struct request *next_to_grow(const struct sched *s)
{
    for (uint32_t i = 0; i < s->n_running; i++) {
        struct request *r = s->running[i];
        if (r->state == REQ_RUNNING && r->n_blocks < sched_blocks_for(s, r->n_ids))
            return r;
    }
    return NULL;
}

void sched_grow(struct sched *s, int64_t now_us)
{
    for (struct request *r; (r = next_to_grow(s));)
        if (!grow(s, r))
            sched_preempt(s, memory_victim(s, r), r, true, now_us);
}

/* Preemption for urgency */

uint32_t sched_candidates(struct sched *s, const struct request *r, int64_t now_us)
{
    if (s->cfg.fifo || s->cfg.one_at_a_time)
        return 0;
    double effective = req_effective(r, s->cfg.aging_rate, now_us);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        struct request *v = s->running[i];
        if (v->base > r->base && v->admitted_effective > effective && sched_can_preempt(s, v))
            s->victims[n++] = v;
    }
    return n;
}

bool sched_make_room(struct sched *s, struct request *r, uint32_t n, struct sched_need need, int64_t now_us)
{
    int64_t blocks = need.blocks, seats = (int64_t)s->n_running + 1 - sched_max_running(s);
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < n && (blocks > 0 || seats > 0); i++) {
        uint32_t first = i;
        for (uint32_t j = i + 1; j < n; j++)
            if (rather(s, s->victims[j], s->victims[first]))
                first = j;
        struct request *v = s->victims[first];
        s->victims[first] = s->victims[i];
        s->victims[i] = v;
        uint32_t freed = gain(s, v, s->match, need.n_match) + !v->holds_all;
        if (seats <= 0 && !freed)
            continue;
        blocks -= freed;
        seats--;
        s->victims[chosen++] = v; /* chosen ≤ i: nothing still to be looked at is overwritten */
    }
    if (blocks > 0 || seats > 0)
        return false;
    for (uint32_t i = 0; i < chosen; i++)
        sched_preempt(s, s->victims[i], r, true, now_us);
    return chosen > 0;
}
