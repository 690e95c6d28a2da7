/* The record of a run: what the scheduler tells becomes outcomes and totals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/replay.h"

enum weft_rc replay_init(struct replay *rp, const struct workload *w, bool sim, FILE *events,
                         struct weft_err *err)
{
    *rp = (struct replay){.w = w, .sim = sim, .events = events};
    rp->outcome = mem_calloc(w->n_requests, sizeof *rp->outcome);
    if (!rp->outcome)
        return weft_err_nomem(err, "replay", w->n_requests * sizeof *rp->outcome);
    for (size_t i = 0; i < w->n_requests; i++) {
        struct replay_outcome *o = &rp->outcome[i];
        o->prio = w->requests[i].prio;
        o->submit_us = o->scheduled_us = o->first_token_us = o->finish_us = -1;
        o->itl.mean = o->itl.p50 = o->itl.p99 = o->itl.max = NAN;
        o->ids_hash = FNV1A64_INIT;
        rp->several_models = rp->several_models || w->requests[i].entry->model;
    }
    return WEFT_OK;
}

void replay_deinit(struct replay *rp)
{
    for (size_t i = 0; rp->outcome && i < rp->w->n_requests; i++) {
        json_decref(rp->outcome[i].error);
        mem_free(rp->outcome[i].token_us);
    }
    mem_free(rp->outcome);
    mem_free(rp->sched_ns);
    json_decref(rp->stats);
    buf_free(&rp->line);
    *rp = (struct replay){.w = NULL};
}

/* ---- outcomes ---- */

static int64_t at(const struct replay *rp, int64_t us)
{
    return us < 0 ? -1 : us > rp->epoch_us ? us - rp->epoch_us : 0;
}

long replay_index_of(const struct replay *rp, const struct request *r)
{
    return rp->index_of && r->user ? (long)rp->index_of(r) : workload_find(rp->w, r->id);
}

static struct replay_outcome *outcome_of(struct replay *rp, const struct request *r)
{
    long i = replay_index_of(rp, r);
    return i < 0 ? NULL : &rp->outcome[i];
}

static void note_error(struct replay *rp, struct replay_outcome *o, const struct weft_err *why,
                       int64_t now_us)
{
    struct weft_err stamped = *why;
    if (!stamped.timestamp_ms)
        stamped.timestamp_ms = rp->sim ? at(rp, now_us) / 1000 : clock_unix_ms();
    json_decref(o->error);
    o->error = weft_err_json(&stamped);
    rp->failed = rp->failed || !o->error;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

double replay_percentile(const double *sorted, size_t n, double q)
{
    if (!n)
        return NAN;
    size_t rank = (size_t)ceil(q * (double)n);
    return sorted[rank ? rank - 1 : 0];
}

/* Times between the tokens that were kept. */
static void measure_itl(struct replay *rp, struct replay_outcome *o)
{
    if (o->n_tokens < 2 || o->n_times < o->n_tokens)
        return;
    size_t n = o->n_tokens - 1;
    double sum = 0, *gap = mem_alloc(n * sizeof *gap);
    if (!gap) {
        rp->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        gap[i] = (double)(o->token_us[i + 1] - o->token_us[i]) / 1e3;
        sum += gap[i];
    }
    qsort(gap, n, sizeof *gap, by_value);
    o->itl.mean = sum / (double)n;
    o->itl.p50 = replay_percentile(gap, n, 0.5);
    o->itl.p99 = replay_percentile(gap, n, 0.99);
    o->itl.max = gap[n - 1];
    mem_free(gap);
}

static enum replay_state state_of(const struct request *r)
{
    switch (r->state) {
    case REQ_COMPLETED: return REPLAY_COMPLETED;
    case REQ_CANCELLED: return REPLAY_CANCELLED;
    case REQ_TIMEOUT: return REPLAY_TIMEOUT;
    default: return REPLAY_FAILED;
    }
}

static void on_submit(struct replay *rp, struct replay_outcome *o, const struct sched_event *ev)
{
    o->state = REPLAY_LIVE;
    o->submit_us = at(rp, ev->req->arrival_us);
    o->n_prompt = ev->req->n_prompt;
}

static void on_reject(struct replay *rp, struct replay_outcome *o, const struct sched_event *ev)
{
    o->state = REPLAY_REJECTED;
    o->submit_us = at(rp, ev->now_us);
    o->n_prompt = ev->req->n_prompt;
    note_error(rp, o, ev->err, ev->now_us);
}

static void on_finish(struct replay *rp, struct replay_outcome *o, const struct sched_event *ev)
{
    const struct request *r = ev->req;
    o->state = state_of(r);
    o->prio = r->base;
    o->scheduled_us = at(rp, r->scheduled_us);
    o->first_token_us = at(rp, r->first_token_us);
    o->finish_us = at(rp, r->finish_us);
    o->preempted_us = r->preempted_us;
    o->n_tokens = r->n_ids - r->n_prompt;
    o->cached_tokens = r->cached_tokens;
    o->recomputed_tokens = r->recomputed_tokens;
    o->preemptions = r->preemptions;
    for (uint32_t i = r->n_prompt; i < r->n_ids; i++)
        o->ids_hash = fnv1a64_u32(o->ids_hash, r->ids[i]);
    if (r->error.code)
        note_error(rp, o, &r->error, ev->now_us);
    measure_itl(rp, o);
    mem_free(o->token_us);
    o->token_us = NULL;
    o->n_times = o->cap_times = 0;
    if (o->finish_us > rp->end_us)
        rp->end_us = o->finish_us;
}

/* A step's tokens come at its end. One too many is noted when the last isn't kept (end of generation);
 * measure_itl counts those that were. */
static void on_step(struct replay *rp, const struct sched_event *ev)
{
    rp->n_prefill_tokens += ev->plan->n_prefill_tokens;
    for (uint32_t i = 0; i < ev->plan->n_items; i++) {
        const struct plan_item *item = &ev->plan->items[i];
        struct replay_outcome *o = item->n_logits ? outcome_of(rp, item->req) : NULL;
        if (!o)
            continue;
        if (mem_grow(&o->token_us, &o->cap_times, o->n_times + 1, sizeof *o->token_us))
            rp->failed = true;
        else
            o->token_us[o->n_times++] = ev->now_us;
    }
}

void replay_on_sched(void *ctx, const struct sched *s, const struct sched_event *ev)
{
    static void (*const handlers[])(struct replay *, struct replay_outcome *, const struct sched_event *) = {
        [SCHED_SUBMIT] = on_submit,
        [SCHED_REJECT] = on_reject,
        [SCHED_FINISH] = on_finish,
    };
    struct replay *rp = ctx;
    unsigned type = (unsigned)ev->type;
    replay_write_sched(rp, s, ev);
    if (ev->type == SCHED_STEP) {
        on_step(rp, ev);
        return;
    }
    struct replay_outcome *o = outcome_of(rp, ev->req);
    if (o && type < sizeof handlers / sizeof handlers[0] && handlers[type])
        handlers[type](rp, o, ev);
}

void replay_reject(struct replay *rp, uint32_t request, uint32_t n_prompt, uint32_t depth,
                   const struct weft_err *why, int64_t now_us)
{
    const struct workload_request *wr = &rp->w->requests[request];
    struct request *r = mem_calloc(1, sizeof *r); /* as if a scheduler had refused it */
    if (!r) {
        rp->failed = true;
        return;
    }
    memcpy(r->id, wr->id, sizeof r->id);
    r->base = wr->prio;
    r->n_prompt = n_prompt;
    struct sched_event ev = {.type = SCHED_REJECT, .now_us = now_us, .req = r, .depth = depth, .err = why};
    replay_on_sched(rp, NULL, &ev);
    mem_free(r);
}

/* ---- the engine around the scheduler ---- */

void replay_on_state(void *ctx, enum engine_state from, enum engine_state to, int64_t now_us)
{
    char a[32], b[32];
    snprintf(a, sizeof a, "\"%s\"", engine_state_name(from));
    snprintf(b, sizeof b, "\"%s\"", engine_state_name(to));
    replay_write_change(ctx, "state", a, b, now_us);
}

void replay_on_pressure(void *ctx, bool from, bool to, int64_t now_us)
{
    replay_write_change(ctx, "pressure", from ? "true" : "false", to ? "true" : "false", now_us);
}

void replay_on_scheduled(void *ctx, int64_t ns)
{
    struct replay *rp = ctx;
    if (mem_grow(&rp->sched_ns, &rp->cap_sched, rp->n_sched + 1, sizeof *rp->sched_ns))
        rp->failed = true;
    else
        rp->sched_ns[rp->n_sched++] = ns < 0 ? 0 : ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

void replay_on_closing(void *ctx, const struct sched *s)
{
    struct replay *rp = ctx;
    struct sched_counts c;
    char why[256];
    sched_counts(s, &c);
    rp->n_steps += c.steps;
    rp->n_items += c.scheduled_items;
    rp->n_preemptions += c.preemptions;
    rp->kv_peak_blocks += c.peak_blocks_used;
    if (c.max_depth_seen > rp->max_queue_depth)
        rp->max_queue_depth = c.max_depth_seen;
    rp->leaked_blocks += sched_audit(s, why, sizeof why);
}
