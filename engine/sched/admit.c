/*
 * Seats: who leaves the queue, and who has to make room.
 *
 *            sched_admit                      sched_grow (no block left), make_room (somebody strictly better
 * waits) queue ────────────────► running ──────────────────────────────────────────────────────────────►
 * queue shares what the prefix cache                 KV parked in the host area, or dropped; or a fork's
 * parent holds, restores           full blocks may stay in the prefix cache what was parked, takes the rest
 *
 * Nobody can lock another out: a sequence that can't be preempted holds or has reserved every block that it
 * may need, and one that can gives its blocks up when it is in the way. A released block is free at once, as
 * a plan's parks are carried out before anything is written; so no second victim is ever taken while a
 * release is under way.
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

/* May it be asked to leave? Rows of logits that were handed out can't be made again, so scoring requests
 * stay. */
static bool can_preempt(const struct sched *s, const struct request *r)
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
        if (v == needy || !(can_preempt(s, v) || !v->holds_all))
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

/* Admission */

/* What a waiter would take if it were seated now. */
struct fit {
    uint32_t n_match;  /* blocks that already hold its first tokens: s->match[0..n_match) */
    uint32_t n_keyed;  /* of these, the leading ones that the prefix cache knows */
    uint32_t n_cached; /* of n_match, how many have no owner, so that taking them leaves fewer available */
    uint32_t n_new;    /* further blocks for its ids so far */
    uint32_t n_reserve;
    uint32_t n_tokens;   /* tokens that need not be computed thanks to match, fork_block and what is parked */
    bool forked;         /* matched against a fork's parent rather than the cache */
    uint32_t fork_block; /* the parent's part-filled block, to be copied; BLOCK_NONE: none */
};

static uint32_t common_prefix(const uint32_t *a, const uint32_t *b, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Looks for tokens of r that a fork's parent has computed. At least one token is left to compute, so it is
 * always the child that writes the shared part-filled block first: the child copies it, and the parent never
 * needs a block for that. */
static void match_fork(struct sched *s, const struct request *r, struct fit *f)
{
    const struct request *parent = r->fork_of ? rindex_find(&s->index, r->fork_of) : NULL;
    if (!parent || !parent->n_blocks || parent->salt != r->salt)
        return;
    uint32_t most = parent->n_computed < r->n_ids - 1 ? parent->n_computed : r->n_ids - 1;
    uint32_t n = common_prefix(parent->ids, r->ids, most), full = n / s->cfg.block_tokens;
    if (full < f->n_match || n <= f->n_tokens)
        return;
    memcpy(s->match, parent->blocks, full * sizeof(*s->match));
    f->n_match = full;
    f->n_keyed = full < parent->n_keyed ? full : parent->n_keyed;
    f->n_tokens = n;
    f->forked = true;
    if (n % s->cfg.block_tokens)
        f->fork_block = parent->blocks[full];
}

static struct fit fit_of(struct sched *s, const struct request *r)
{
    struct fit f = {.fork_block = BLOCK_NONE};
    if (!r->all_logits) { /* scoring wants every position computed */
        if (s->cfg.prefix_cache)
            f.n_match =
                prefix_match(&s->prefix, r->salt, r->ids, (r->n_ids - 1) / s->cfg.block_tokens, s->match);
        f.n_keyed = f.n_match;
        f.n_tokens = f.n_match * s->cfg.block_tokens;
        match_fork(s, r, &f);
        if (r->n_parked && r->n_computed > f.n_tokens) {
            f.n_tokens = r->n_computed;
            f.fork_block = BLOCK_NONE;
        }
    }
    for (uint32_t i = 0; i < f.n_match; i++)
        f.n_cached += s->blocks.refs[s->match[i]] == 0;
    uint32_t n_blocks = sched_blocks_for(s, r->n_ids);
    f.n_new = n_blocks - f.n_match;
    f.n_reserve = can_preempt(s, r) ? 0 : sched_blocks_needed(s, r) - n_blocks;
    return f;
}

/* The running sequence that is just computing the block after r's match, if there is one. */
static const struct request *computing_next(const struct sched *s, const struct request *r,
                                            const struct fit *f)
{
    uint32_t size = s->cfg.block_tokens, from = f->n_match * size, to = from + size;
    if (!s->cfg.prefix_cache || r->all_logits || to > r->n_ids - 1 || f->n_tokens > from)
        return NULL;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct request *v = s->running[i];
        if (v->state == REQ_PREFILLING && v->n_computed < to && v->n_ids >= to && v->salt == r->salt &&
            memcmp(v->blocks, s->match, f->n_match * sizeof(*s->match)) == 0 &&
            memcmp(v->ids + from, r->ids + from, size * sizeof(*r->ids)) == 0)
            return v;
    }
    return NULL;
}

/* One block is left free for each running sequence that may yet ask for more. */
static uint32_t headroom(const struct sched *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running; i++)
        n += !s->running[i]->holds_all;
    return n;
}

static enum wait_reason obstacle(struct sched *s, const struct request *r, const struct fit *f)
{
    if (s->n_running >= sched_max_running(s))
        return WAIT_SLOTS;
    if ((s->awaited = computing_next(s, r, f))) {
        s->awaited_base = r->base;
        return WAIT_PREFIX;
    }
    if (blocks_available(&s->blocks) < f->n_new + f->n_cached + f->n_reserve + headroom(s))
        return WAIT_BLOCKS;
    return WAIT_NONE;
}

/* Preemption for urgency: who may be sent away for r? Sequences of strictly worse base, worse also by their
 * effective priority as they were admitted. Listed in s->victims; returns how many. */
static uint32_t candidates(struct sched *s, const struct request *r, int64_t now_us)
{
    if (s->cfg.fifo || s->cfg.one_at_a_time)
        return 0;
    double effective = req_effective(r, s->cfg.aging_rate, now_us);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        struct request *v = s->running[i];
        if (v->base > r->base && v->admitted_effective > effective && can_preempt(s, v))
            s->victims[n++] = v;
    }
    return n;
}

/* Sends away as many of the first n of s->victims as it takes to seat r; if all of them together don't suffice,
 * none. True when some were sent away. */
static bool make_room(struct sched *s, struct request *r, const struct fit *f, uint32_t n, int64_t now_us)
{
    int64_t blocks =
        (int64_t)f->n_new + f->n_cached + f->n_reserve + headroom(s) - blocks_available(&s->blocks);
    int64_t seats = (int64_t)s->n_running + 1 - sched_max_running(s);
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < n && (blocks > 0 || seats > 0); i++) {
        uint32_t first = i;
        for (uint32_t j = i + 1; j < n; j++)
            if (rather(s, s->victims[j], s->victims[first]))
                first = j;
        struct request *v = s->victims[first];
        s->victims[first] = s->victims[i];
        s->victims[i] = v;
        uint32_t freed = gain(s, v, s->match, f->n_match) + !v->holds_all;
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

/* Takes what `f` says, as the plan's copies and restores where contents have to move. The table is as large
 * as it may ever become. */
static void take_blocks(struct sched *s, struct request *r, const struct fit *f)
{
    memcpy(r->blocks, s->match, f->n_match * sizeof(*s->match));
    for (uint32_t i = 0; i < f->n_match;
         i++) /* before anything is allocated, which may evict what has no owner */
        blocks_ref(&s->blocks, r->blocks[i]);
    r->n_blocks = f->n_match;
    if (f->fork_block != BLOCK_NONE) {
        blocks_ref(&s->blocks, f->fork_block);
        s->pins[s->n_pins++] = f->fork_block;
    }
    bool ok = blocks_alloc(&s->blocks, f->n_new, r->blocks + f->n_match) &&
              blocks_reserve(&s->blocks, f->n_reserve);
    assert(ok);
    (void)ok;
    r->n_blocks += f->n_new;
    r->n_reserved = f->n_reserve;
    r->holds_all = r->n_blocks + r->n_reserved == r->cap_blocks;
    r->n_keyed = f->n_keyed;
    if (f->forked)
        r->moved_step = s->plan.step;
    if (f->fork_block != BLOCK_NONE)
        s->plan.copies[s->plan.n_copies++] =
            (struct plan_copy){.src = f->fork_block, .dst = r->blocks[f->n_match]};
}

/* Brings back what was parked beyond the match; returns how many blocks. */
static uint32_t restore(struct sched *s, struct request *r, const struct fit *f)
{
    uint32_t n = 0;
    for (uint32_t i = f->n_match; i < r->n_parked; i++, n++)
        s->plan.restores[s->plan.n_restores++] =
            (struct plan_copy){.src = r->park_slots[i], .dst = r->blocks[i]};
    if (n)
        r->moved_step = s->plan.step;
    return n;
}

static void seat(struct sched *s, struct request *r, const struct fit *f, int64_t now_us)
{
    uint32_t cap = sched_blocks_needed(s, r);
    r->blocks = mem_alloc(cap * sizeof(*r->blocks));
    if (!r->blocks) {
        struct weft_err why = {0};
        weft_err_nomem(&why, "block table", cap * sizeof(*r->blocks));
        sched_end_failed(s, r, &why, now_us);
        return;
    }
    r->cap_blocks = cap;
    bool first = r->state == REQ_WAITING;
    uint32_t cached = f->n_match * s->cfg.block_tokens;
    if (f->fork_block != BLOCK_NONE)
        cached = f->n_tokens;
    rqueue_cancel(&s->queue, r);
    r->admitted_effective = req_effective(r, s->cfg.aging_rate, now_us);
    s->running[s->n_running++] = r;
    take_blocks(s, r, f);
    struct sched_event ev = {
        .now_us = now_us, .req = r, .effective = r->admitted_effective, .cached_tokens = cached};
    if (first) {
        req_admit(r, now_us);
        r->n_computed = f->n_tokens;
        r->cached_tokens = cached;
        if (s->cfg.prefix_cache) { /* resumed requests would only flatter the rate */
            s->totals.prefix_query_tokens += r->n_prompt;
            s->totals.prefix_hit_tokens += cached;
        }
        ev.type = SCHED_ADMIT;
    } else {
        req_resume(r, now_us);
        ev.type = SCHED_RESUME;
        ev.blocks = restore(s, r, f);
        ev.tokens = r->n_lost > f->n_tokens ? r->n_lost - f->n_tokens : 0;
        r->recomputed_tokens += ev.tokens;
        r->n_lost = 0;
        r->n_computed = f->n_tokens;
        sched_drop_parked(s, r);
    }
    sched_emit(s, ev);
    if (r->n_ids > r->n_prompt && r->n_computed == r->n_ids - 1)
        req_run(r, now_us); /* everything is back: it goes on decoding */
}

/* Does an idle scheduler still wait for requests to come together? */
static bool coalescing(struct sched *s, int64_t now_us)
{
    uint32_t want =
        s->cfg.min_batch_size < sched_max_running(s) ? s->cfg.min_batch_size : sched_max_running(s);
    if (s->n_running || rqueue_count(&s->queue) >= want) {
        s->idle_since_us = -1;
        return false;
    }
    if (s->idle_since_us < 0)
        s->idle_since_us = rqueue_peek(&s->queue)->state_since_us;
    double part = s->cfg.adaptive_timeout ? pace_coalescing(&s->pace, want) : 1;
    s->coalescing_until_us = s->idle_since_us + (int64_t)(part * (double)s->cfg.batch_timeout_us);
    if (now_us < s->coalescing_until_us)
        return true;
    s->idle_since_us = -1;
    return false;
}

/* Seats r if it can be, by preemption if need be. Else the reason why not. */
static enum wait_reason try_seat(struct sched *s, struct request *r, int64_t now_us)
{
    uint32_t n_victims = candidates(s, r, now_us);
    if (s->n_running >= sched_max_running(s) && !n_victims)
        return WAIT_SLOTS; /* without looking at its tokens: this is the common case, step after step */
    struct fit f = fit_of(s, r);
    enum wait_reason reason = obstacle(s, r, &f);
    bool just_left = r->state == REQ_PREEMPTED && r->moved_step == s->plan.step;
    if (just_left) /* a victim doesn't come back in the plan that sent it away */
        return reason ? reason : WAIT_BLOCKS;
    if ((reason == WAIT_SLOTS || reason == WAIT_BLOCKS) && make_room(s, r, &f, n_victims, now_us)) {
        f = fit_of(s, r);
        reason = obstacle(s, r, &f);
    }
    if (!reason)
        seat(s, r, &f, now_us);
    return reason;
}

void sched_admit(struct sched *s, int64_t now_us)
{
    struct request *r = rqueue_peek(&s->queue);
    s->reason = WAIT_NONE;
    s->awaited = NULL;
    if (!r)
        s->idle_since_us = -1;
    else if (coalescing(s, now_us))
        s->reason = WAIT_COALESCING;
    while (!s->reason && (r = rqueue_peek(&s->queue)))
        s->reason = try_seat(s, r, now_us);
    if (r)
        r->wait_reason = s->reason;
}
