#include "tests/support/sim_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"

/* Events are recorded as they come. */
static void on_event(void *ctx, const struct sched_event *ev)
{
    struct sim *g = ctx;
    if (!g->record)
        return;
    if (mem_grow(&g->events, &g->cap_events, g->n_events + 1, sizeof(*g->events)))
        abort();
    struct sim_event *e = &g->events[g->n_events++];
    *e = (struct sim_event){
        .type = ev->type,
        .now_us = ev->now_us,
        .req = ev->req,
        .by = ev->by,
        .depth = ev->depth,
        .blocks = ev->blocks,
        .tokens = ev->tokens,
        .cached_tokens = ev->cached_tokens,
        .effective = ev->effective,
        .parked = ev->parked,
        .code = ev->err ? ev->err->code : WEFT_OK,
    };
    if (ev->plan) {
        e->step = ev->plan->step;
        e->budget = ev->plan->budget;
        e->n_items = ev->plan->n_items;
        e->n_tokens = ev->plan->n_tokens;
        e->n_prefill_tokens = ev->plan->n_prefill_tokens;
        e->n_decodes = ev->plan->n_decodes;
    }
}

void sim_init(struct sim *g)
{
    *g = (struct sim){
        .cfg = {.aging_rate = 0.1,
                .max_batch_size = 8,
                .max_batch_tokens = 64,
                .max_depth = 1000,
                .reject_when_full = true,
                .n_blocks = 64,
                .block_tokens = 4,
                .n_ctx = 100000},
        .sim = {.step_us = 1000, .prefill_us = 10, .decode_us = 20, .n_vocab = 1000},
        .record = true,
        .audit = true,
    };
}

void sim_init_crowd(struct sim *g)
{
    sim_init(g);
    g->record = g->audit = false;
    g->cfg.block_tokens = 16;
    g->cfg.n_blocks = 4096;
    g->cfg.max_batch_size = 64;
    g->cfg.max_batch_tokens = 512;
    g->cfg.max_depth = 10000000;
    g->cfg.preemption = SCHED_PREEMPT_AUTO;
    g->cfg.max_preemptions = 3;
    g->cfg.n_park_slots = 1024;
    g->cfg.prefix_cache = true;
}

void sim_init_server(struct sim *g)
{
    sim_init(g);
    g->cfg.block_tokens = 16;
    g->cfg.n_blocks = 512;
    g->cfg.max_batch_size = 16;
    g->cfg.max_batch_tokens = 256;
    g->cfg.preemption = SCHED_PREEMPT_AUTO;
    g->cfg.max_preemptions = 3;
    g->cfg.n_park_slots = 512;
    g->cfg.prefix_cache = true;
    g->sim.step_us = 300;
    g->sim.prefill_us = 500;
    g->sim.decode_us = 900;
    g->sim.park_us = 20;
}

void sim_start(struct sim *g)
{
    struct weft_err err = {0};
    g->cfg.emit = on_event;
    g->cfg.emit_ctx = g;
    g->sim.n_ctx = g->cfg.n_ctx;
    g->sim.n_blocks = g->cfg.n_blocks;
    g->sim.block_tokens = g->cfg.block_tokens;
    g->sim.n_park_slots = g->cfg.n_park_slots;
    if (sched_create(&g->cfg, &g->s, &err) || exec_sim_create(&g->sim, &g->x, &err))
        fail_msg("%s", err.message);
}

void sim_deinit(struct sim *g)
{
    sched_destroy(g->s);
    exec_destroy(g->x);
    for (size_t i = 0; i < g->n_reqs; i++) {
        mem_free(g->reqs[i]->ids);
        mem_free(g->reqs[i]);
    }
    mem_free(g->reqs);
    mem_free(g->events);
    *g = (struct sim){0};
}

struct request *sim_make(struct sim *g, const char *id, enum prio base, uint32_t n_prompt,
                         uint32_t max_tokens, uint64_t seed)
{
    struct request *r = mem_calloc(1, sizeof(*r));
    if (!r || mem_grow(&g->reqs, &g->cap_reqs, g->n_reqs + 1, sizeof(*g->reqs)))
        abort();
    g->reqs[g->n_reqs++] = r;
    snprintf(r->id, sizeof r->id, "%s", id);
    r->base = base;
    r->preemptible = true;
    r->n_prompt = n_prompt;
    r->max_tokens = max_tokens;
    r->ids = mem_calloc((size_t)n_prompt + max_tokens, sizeof(*r->ids));
    if (!r->ids)
        abort();
    struct rng rng;
    rng_seed(&rng, seed);
    for (uint32_t i = 0; i < n_prompt; i++)
        r->ids[i] = (uint32_t)rng_below(&rng, g->sim.n_vocab);
    return r;
}

enum weft_rc sim_offer(struct sim *g, struct request *r, struct weft_err *err)
{
    return sched_submit(g->s, r, g->now_us, err);
}

struct request *sim_submit(struct sim *g, const char *id, enum prio base, uint32_t n_prompt,
                           uint32_t max_tokens, uint64_t seed)
{
    struct request *r = sim_make(g, id, base, n_prompt, max_tokens, seed);
    struct weft_err err = {0};
    if (sim_offer(g, r, &err))
        fail_msg("%s refused: %s", id, err.message);
    return r;
}

/* A plan must be sound before it is run: within its limits, and covering what it writes. */
struct request *sim_submit_nth(struct sim *g, const char *name, uint32_t i, enum prio base, uint32_t n_prompt,
                               uint32_t max_tokens)
{
    char id[REQ_ID_MAX];
    snprintf(id, sizeof id, "%s%u", name, i);
    return sim_submit(g, id, base, n_prompt, max_tokens, (uint64_t)i * 977 + 13);
}

static bool check_plan(const struct sim *g, const struct plan *p)
{
    uint32_t n_tokens = 0;
    bool ok = p->n_items <= g->cfg.max_batch_size && p->budget <= g->cfg.max_batch_tokens;
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *it = &p->items[i];
        n_tokens += it->n_tokens;
        ok = ok && it->n_tokens > 0 && it->n_blocks * g->cfg.block_tokens >= it->pos + it->n_tokens;
        ok = ok && (it->prefill || it->n_tokens == 1) && (!i || p->items[i - 1].prefill <= it->prefill);
        for (uint32_t j = 0; j < i; j++)
            ok = ok && p->items[j].req != it->req;
    }
    ok = ok && n_tokens == p->n_tokens && n_tokens <= p->budget;
    if (!ok)
        print_error("plan %llu: %u items, %u tokens (%u counted), budget %u\n", (unsigned long long)p->step,
                    p->n_items, p->n_tokens, n_tokens, p->budget);
    return ok;
}

bool sim_step(struct sim *g)
{
    const struct plan *p = sched_plan(g->s, g->now_us);
    if (!p)
        return false;
    struct exec_out out;
    struct weft_err err = {0};
    struct sched_result results[256] = {0};
    if (g->audit)
        assert_true(check_plan(g, p) && p->n_items <= 256);
    if (g->mid_step)
        g->mid_step(g->mid_ctx);
    if (exec_step(g->x, p, &out, &err)) {
        g->now_us += 1000;
        g->steps_failed++;
        sched_fail(g->s, &err, g->now_us);
    } else {
        for (uint32_t i = 0, row = 0; i < p->n_items; row += p->items[i++].n_logits) {
            if (!p->items[i].n_logits || !p->items[i].req->max_tokens)
                continue;
            results[i].has_token = true;
            results[i].token = out.rows[row + p->items[i].n_logits - 1].token;
        }
        g->now_us += out.dur_us;
        sched_commit(g->s, results, out.dur_us, g->now_us);
    }
    if (g->audit)
        assert_true(sim_check(g));
    return true;
}

void sim_run(struct sim *g, uint32_t limit)
{
    for (uint32_t i = 0; sched_has_work(g->s); i++) {
        assert_true(i < limit);
        if (sim_step(g))
            continue;
        int64_t wake = sched_wake_us(g->s);
        if (!sched_has_work(g->s))
            break;
        assert_true(wake > g->now_us && wake < INT64_MAX); /* else it would wait for ever */
        g->now_us = wake;
    }
}

const struct sim_event *sim_event(const struct sim *g, enum sched_event_type type, const struct request *r,
                                  uint32_t nth)
{
    for (size_t i = 0; i < g->n_events; i++)
        if (g->events[i].type == type && (!r || g->events[i].req == r) && !nth--)
            return &g->events[i];
    return NULL;
}

struct sched_counts sim_counts(const struct sim *g)
{
    struct sched_counts c;
    sched_counts(g->s, &c);
    return c;
}

uint32_t sim_count(const struct sim *g, enum sched_event_type type, const struct request *r)
{
    uint32_t n = 0;
    while (sim_event(g, type, r, n))
        n++;
    return n;
}

long sim_when(const struct sim *g, enum sched_event_type type, const struct request *r)
{
    const struct sim_event *e = sim_event(g, type, r, 0);
    return e ? (long)(e - g->events) : -1;
}

bool sim_check(const struct sim *g)
{
    char why[256];
    struct sched_counts c;
    sched_counts(g->s, &c);
    bool ok = sched_audit(g->s, why, sizeof why) == 0;
    if (!ok)
        print_error("audit: %s\n", why);
    if (c.blocks_free + c.blocks_used + c.blocks_cached != c.blocks_total) {
        print_error("blocks: %u free + %u used + %u cached of %u\n", c.blocks_free, c.blocks_used,
                    c.blocks_cached, c.blocks_total);
        ok = false;
    }
    uint32_t live = 0;
    for (size_t i = 0; i < g->n_reqs; i++)
        live += g->reqs[i]->arrival && !req_is_over(g->reqs[i]);
    if (live != c.waiting + c.running) {
        print_error("%u requests live, %u waiting and %u running\n", live, c.waiting, c.running);
        ok = false;
    }
    return ok;
}

bool sim_same_alone(const struct sim *g, const struct request *r, bool whole)
{
    struct sim alone;
    sim_init(&alone);
    alone.record = alone.audit = false;
    alone.cfg.block_tokens = g->cfg.block_tokens;
    alone.cfg.n_blocks = (r->n_prompt + r->max_tokens) / g->cfg.block_tokens + 1;
    alone.sim.n_vocab = g->sim.n_vocab;
    sim_start(&alone);
    struct request *ref = sim_make(&alone, r->id, r->base, r->n_prompt, r->max_tokens, 0);
    ref->all_logits = r->all_logits;
    memcpy(ref->ids, r->ids, r->n_prompt * sizeof(*r->ids));
    assert_int_equal(sim_offer(&alone, ref, NULL), WEFT_OK);
    sim_run(&alone, UINT32_MAX);
    bool ok = !whole || r->n_ids == ref->n_ids;
    for (uint32_t i = 0; i < r->n_ids && ok; i++)
        ok = r->ids[i] == ref->ids[i];
    if (!ok) {
        print_error("request %s (%u prompt + %u ids):", r->id, r->n_prompt, r->n_ids - r->n_prompt);
        for (uint32_t i = r->n_prompt; i < r->n_ids; i++)
            print_error(" %u", r->ids[i]);
        print_error("; alone:");
        for (uint32_t i = ref->n_prompt; i < ref->n_ids; i++)
            print_error(" %u", ref->ids[i]);
        print_error("\n");
    }
    sim_deinit(&alone);
    return ok;
}
