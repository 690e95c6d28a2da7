/*
 * Seats: who leaves the queue.
 *
 *            sched_admit                        sched_preempt (preempt.c)
 *   queue ────────────────► running ────────────────────────────────────────► queue
 *      shares what the prefix cache                KV parked in the host area, or dropped;
 *      or a fork's parent holds, restores          full blocks may stay in the prefix cache
 *      what was parked, takes the rest
 *
 * Nobody can lock another out: a sequence that can't be preempted holds or has reserved every block that it may
 * need, and one that can gives its blocks up when it is in the way.
 */
#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/sched/scheduler_int.h"

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
    f.n_reserve = sched_can_preempt(s, r) ? 0 : sched_blocks_needed(s, r) - n_blocks;
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

/* Blocks that are wanting for what `f` says; negative: so many are to spare. */
static int64_t missing_blocks(const struct sched *s, const struct fit *f)
{
    return (int64_t)f->n_new + f->n_cached + f->n_reserve + headroom(s) - blocks_available(&s->blocks);
}

/* A prefix is waited for before a seat is asked for, so that nobody has to leave for one that still waits. */
static enum wait_reason obstacle(struct sched *s, const struct request *r, const struct fit *f)
{
    s->awaited = computing_next(s, r, f);
    s->awaited_base = r->base;
    if (s->awaited)
        return WAIT_PREFIX;
    if (s->n_running >= sched_max_running(s))
        return WAIT_SLOTS;
    return missing_blocks(s, f) > 0 ? WAIT_BLOCKS : WAIT_NONE;
}

/* Takes what `f` says, as the plan's copies and restores where contents have to move. The table is as large
 * as it may ever become. */
static void take_blocks(struct sched *s, struct request *r, const struct fit *f)
{
    memcpy(r->blocks, s->match, f->n_match * sizeof(*s->match));
    /* Before anything is allocated, which may evict what has no owner. */
    for (uint32_t i = 0; i < f->n_match; i++)
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
    bool resumes = rqueue_depth(&s->queue) < rqueue_count(&s->queue); /* what has once run is never delayed */
    if (s->n_running || resumes || rqueue_count(&s->queue) >= want) {
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
    uint32_t n_victims = sched_candidates(s, r, now_us);
    if (s->n_running >= sched_max_running(s) && !n_victims)
        return WAIT_SLOTS; /* without looking at its tokens: this is the common case, step after step */
    struct fit f = fit_of(s, r);
    enum wait_reason reason = obstacle(s, r, &f);
    bool just_left = r->state == REQ_PREEMPTED && r->moved_step == s->plan.step;
    if (just_left) /* a victim doesn't come back in the plan that sent it away */
        return reason ? reason : WAIT_BLOCKS;
    struct sched_need need = {.blocks = missing_blocks(s, &f), .n_match = f.n_match};
    if ((reason == WAIT_SLOTS || reason == WAIT_BLOCKS) && sched_make_room(s, r, n_victims, need, now_us)) {
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
