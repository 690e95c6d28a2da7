/*
 * Steps: what each computes, and booking what came of it.
 *
 * A plan first serves every decoding sequence with its one token; what they leave of the token budget is
 * shared by the prefilling ones. So no decode ever waits for a prompt, and a long prompt takes as many steps
 * as it takes.
 */
#include <assert.h>
#include <string.h>

#include "engine/sched/scheduler_int.h"

/* Planning */

/* For each running sequence how many tokens it could use in this step; returns how many sequences decode. */
static uint32_t demands(const struct sched *s, uint32_t *demand)
{
    uint32_t n_decodes = 0, seats = sched_max_running(s);
    for (uint32_t i = 0; i < s->n_running; i++) {
        /* After the limit was lowered more may be running than fit a step: the latest wait. */
        const struct request *r = s->running[i];
        demand[i] = i < seats ? r->n_ids - r->n_computed : 0;
        n_decodes += i < seats && r->state == REQ_RUNNING;
    }
    return n_decodes;
}

/* The base by which a prefilling sequence gets its share: its own, or that of the waiter it holds up. */
static int share_base(const struct sched *s, const struct request *r)
{
    if (r == s->awaited && !s->cfg.fifo && s->awaited_base < r->base)
        return s->awaited_base;
    return sched_base(s, r);
}

static bool takes_part(const struct sched *s, uint32_t i, int base)
{
    return s->running[i]->state == REQ_PREFILLING && share_base(s, s->running[i]) == base;
}

/* Shares `tokens` equally among the prefilling sequences of one base; what those that need less don't use
 * goes to the others, single tokens left over to the earliest. On entry shares[i] is what i could use, on
 * return what it gets. Returns the rest. */
static uint32_t share_equally(struct sched *s, int base, uint32_t tokens)
{
    uint32_t n = 0, level = 0, extra;
    for (uint32_t i = 0; i < s->n_running; i++)
        n += takes_part(s, i, base);
    if (!n)
        return tokens;
    /* Raise a common level: whose need is not above it is served, until it holds for all others. */
    for (;;) {
        uint32_t served = 0, used = 0;
        for (uint32_t i = 0; i < s->n_running; i++) {
            if (takes_part(s, i, base) && s->shares[i] <= level) {
                served++;
                used += s->shares[i];
            }
        }
        if (served == n)
            return tokens - used;
        uint32_t next = (tokens - used) / (n - served);
        extra = (tokens - used) % (n - served);
        if (next == level)
            break;
        level = next;
    }
    for (uint32_t i = 0; i < s->n_running; i++) {
        if (!takes_part(s, i, base) || s->shares[i] <= level)
            continue;
        s->shares[i] = level + (extra > 0);
        extra -= extra > 0;
    }
    return 0;
}

/* Chunks of scoring requests want a row of logits for each token, and a step has only so many. */
static void limit_logits(struct sched *s)
{
    if (!s->cfg.max_logits)
        return;
    uint32_t rows = s->cfg.max_logits;
    for (uint32_t i = 0; i < s->n_running; i++)
        rows -= rows > 0 && s->shares[i] && !s->running[i]->all_logits;
    for (uint32_t i = 0; i < s->n_running; i++) {
        if (!s->running[i]->all_logits)
            continue;
        if (s->shares[i] > rows)
            s->shares[i] = rows;
        rows -= s->shares[i];
    }
}

static void add_item(struct sched *s, struct request *r, uint32_t n_tokens)
{
    bool prefill = r->state == REQ_PREFILLING, last = r->n_computed + n_tokens == r->n_ids;
    struct plan *p = &s->plan;
    p->items[p->n_items++] = (struct plan_item){
        .req = r,
        .tokens = r->ids + r->n_computed,
        .n_tokens = n_tokens,
        .pos = r->n_computed,
        .blocks = r->blocks,
        .n_blocks = r->n_blocks,
        .n_logits = r->all_logits && prefill ? n_tokens : last,
        .prefill = prefill,
    };
    p->n_tokens += n_tokens;
    p->n_prefill_tokens += prefill ? n_tokens : 0;
    p->n_prefills += prefill;
    p->n_decodes += !prefill;
    r->in_plan = true;
}

static void build_items(struct sched *s)
{
    uint32_t n_decodes = demands(s, s->shares), budget = s->cfg.max_batch_tokens, left = budget - n_decodes;
    if (s->cfg.itl_target_us > 0 && n_decodes > 0 && left > 0) {
        left = pace_prefill_tokens(&s->pace, s->cfg.itl_target_us, left);
        budget = n_decodes + left;
    }
    s->plan.budget = budget;
    for (int base = PRIO_CRITICAL; base <= PRIO_LOW; base++)
        left = share_equally(s, base, left);
    limit_logits(s);
    for (int prefill = 0; prefill <= 1; prefill++)
        for (uint32_t i = 0; i < s->n_running; i++)
            if (s->shares[i] && (s->running[i]->state == REQ_PREFILLING) == prefill)
                add_item(s, s->running[i], s->shares[i]);
    /* Those whose blocks it only moves are part of the step too. */
    for (uint32_t i = 0; i < s->n_running; i++)
        s->running[i]->in_plan |= s->running[i]->moved_step == s->plan.step;
}

/* The step is over, and with it the copying. To be called before any of its requests ends: a block has to
 * be left before its parents are (see prefix.h), and until then a fork's child holds these. */
static void release_pins(struct sched *s)
{
    while (s->n_pins > 0)
        blocks_unref(&s->blocks, s->pins[--s->n_pins]);
}

/* The last plan is done with: what it only borrowed is free now. */
static void clear_plan(struct sched *s)
{
    struct plan *p = &s->plan;
    while (s->n_slots_left > 0)
        s->slots[s->n_slots++] = s->slots_left[--s->n_slots_left];
    p->n_items = p->n_parks = p->n_restores = p->n_copies = 0;
    p->n_tokens = p->n_prefill_tokens = p->n_prefills = p->n_decodes = 0;
    s->in_flight = false;
}

const struct plan *sched_plan(struct sched *s, int64_t now_us)
{
    assert(!s->in_flight);
    clear_plan(s);
    sched_reserve_seqs(s, s->cfg.max_batch_size); /* if that fails, sched_max_running keeps to the old room */
    s->plan.step = s->totals.steps + 1;
    sched_expire(s, now_us);
    sched_grow(s, now_us);
    sched_admit(s, now_us);
    if (!s->n_running)
        return NULL;
    build_items(s);
    s->in_flight = s->plan.n_items > 0;
    return s->in_flight ? &s->plan : NULL;
}

/* Booking */

/* Tells the prefix cache of blocks that have become full. One that turns out to be known already is used
 * instead of r's own. */
static void key_full_blocks(struct sched *s, struct request *r)
{
    uint32_t size = s->cfg.block_tokens;
    for (; r->n_keyed < r->n_computed / size; r->n_keyed++) {
        uint32_t i = r->n_keyed, own = r->blocks[i], parent = i ? r->blocks[i - 1] : BLOCK_NONE;
        uint32_t known = prefix_insert(&s->prefix, parent, r->salt, r->ids + (size_t)i * size, own);
        if (known == own)
            continue;
        blocks_ref(&s->blocks, known);
        blocks_unref(&s->blocks, own);
        r->blocks[i] = known;
    }
}

static void append_token(struct sched *s, struct request *r, uint32_t token, int64_t now_us)
{
    r->ids[r->n_ids++] = token;
    r->last_token_us = now_us;
    if (r->first_token_us >= 0)
        return;
    r->first_token_us = now_us;
    sched_emit(s, (struct sched_event){.type = SCHED_FIRST_TOKEN, .now_us = now_us, .req = r});
}

/* Every id that r had is computed: what comes next? */
static void advance(struct sched *s, struct request *r, const struct sched_result *res, int64_t now_us)
{
    if (!r->max_tokens) { /* its prompt was all that it wanted */
        sched_end(s, r, REQ_COMPLETED, FINISH_LENGTH, now_us);
        return;
    }
    if (r->state == REQ_PREFILLING)
        req_run(r, now_us);
    if (res->has_token && (!res->finish || res->keep_token))
        append_token(s, r, res->token, now_us);
    if (res->finish) {
        sched_end(s, r, REQ_COMPLETED, res->finish, now_us);
    } else if (r->n_ids == r->n_prompt + r->max_tokens) {
        sched_end(s, r, REQ_COMPLETED, FINISH_LENGTH, now_us);
    } else if (!res->has_token) {
        struct weft_err why = {0};
        weft_err_set(&why, WEFT_INTERNAL_ERROR, "step %llu gave request %s no token",
                     (unsigned long long)s->plan.step, r->id);
        weft_err_str(&why, "where", "sched_commit");
        sched_end_failed(s, r, &why, now_us);
    }
}

void sched_commit(struct sched *s, const struct sched_result *results, int64_t dur_us, int64_t now_us)
{
    assert(s->in_flight);
    struct plan *p = &s->plan;
    s->totals.steps++;
    s->totals.scheduled_items += p->n_items;
    release_pins(s);
    pace_step(&s->pace, p->n_prefill_tokens, p->n_decodes, p->n_parks + p->n_restores, dur_us);
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct request *r = p->items[i].req;
        r->n_computed += p->items[i].n_tokens;
        if (s->cfg.prefix_cache)
            key_full_blocks(s, r);
    }
    sched_emit(s, (struct sched_event){.type = SCHED_STEP, .now_us = now_us, .plan = p, .dur_us = dur_us});
    for (uint32_t i = 0; i < p->n_items; i++) {
        struct request *r = p->items[i].req;
        r->in_plan = false;
        if (r->cancelled)
            sched_end_asked(s, r, now_us);
        else if (r->n_computed == r->n_ids)
            advance(s, r, &results[i], now_us);
    }
    for (uint32_t i = s->n_running; i-- > 0;) { /* whose blocks were only moved */
        struct request *r = s->running[i];
        r->in_plan = false;
        if (r->cancelled)
            sched_end_asked(s, r, now_us);
    }
    s->in_flight = false;
    clear_plan(s);
}

/* Whatever the failed plan moved is undefined: parked KV is dropped, and sequences that got theirs back, or a
 * copy, without being computed in this step, start over. */
static void undo_moves(struct sched *s, int64_t now_us)
{
    for (uint32_t i = 0; i < rqueue_count(&s->queue); i++) {
        struct request *r = s->queue.by_key.at[i].req;
        if (r->moved_step == s->plan.step)
            sched_drop_parked(s, r);
    }
    for (uint32_t i = s->n_running; i-- > 0;) {
        struct request *r = s->running[i];
        r->in_plan = false;
        if (r->cancelled)
            sched_end_asked(s, r, now_us);
        else if (r->moved_step == s->plan.step)
            sched_preempt(s, r, r, false, now_us);
    }
}

void sched_fail(struct sched *s, const struct weft_err *why, int64_t now_us)
{
    assert(s->in_flight);
    release_pins(s);
    for (uint32_t i = 0; i < s->plan.n_items; i++) {
        struct request *r = s->plan.items[i].req;
        r->in_plan = false;
        if (r->cancelled)
            sched_end_asked(s, r, now_us);
        else
            sched_end_failed(s, r, why, now_us);
    }
    undo_moves(s, now_us);
    s->totals.steps++;
    s->in_flight = false;
    clear_plan(s);
}

void sched_kv_lost(struct sched *s, int64_t now_us)
{
    assert(!s->in_flight);
    for (uint32_t i = 0; i < rqueue_count(&s->queue); i++)
        sched_drop_parked(s, s->queue.by_key.at[i].req);
    while (s->n_running > 0) {
        struct request *last = s->running[s->n_running - 1];
        sched_preempt(s, last, last, false, now_us);
    }
    if (s->cfg.prefix_cache)
        prefix_clear(&s->prefix);
}

bool sched_has_work(const struct sched *s)
{
    return s->index.n > 0;
}

int64_t sched_wake_us(const struct sched *s)
{
    const struct request *r = rheap_first(&s->deadlines);
    int64_t at = r ? r->arrival_us + r->timeout_us : INT64_MAX;
    if (s->reason == WAIT_COALESCING && s->coalescing_until_us < at)
        at = s->coalescing_until_us;
    return at;
}
