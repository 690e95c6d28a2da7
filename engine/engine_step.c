/*
 * One step: plan, execute, sample, commit; and what the scheduler tells while it goes on.
 *
 * The scheduler's callback must not call back, and the scheduler may look at a request until the callback has
 * returned; so what has ended is only listed there, and answered by engine_reap.
 */
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

enum { RETRY_US = 100000 }; /* pause after a failed step */

static struct ticket *ticket_of(const struct request *r)
{
    return r->user;
}

/* ---- what the scheduler tells ---- */

static void take_slot(struct engine *e, struct ticket *t)
{
    for (int i = 0; i < 64 && t->slot < 0; i++) {
        if (!(e->slots_used >> i & 1)) {
            e->slots_used |= 1ull << i;
            t->slot = i;
        }
    }
}

static void release_slot(struct engine *e, struct ticket *t)
{
    if (t->slot >= 0)
        e->slots_used &= ~(1ull << t->slot);
    t->slot = -1;
}

static void on_submit(struct engine *e, const struct sched_event *ev)
{
    ticket_of(ev->req)->arrival = ++e->arrivals;
}

static void on_admit(struct engine *e, const struct sched_event *ev)
{
    struct ticket *t = ticket_of(ev->req);
    take_slot(e, t);
    struct engine_event *out = inbox_event_create(ENGINE_ADMIT);
    if (!out) {
        log_msg(LOG_ERROR, "out of memory: nobody is told that %s was admitted", t->rq.id);
        return;
    }
    memcpy(out->id, t->rq.id, sizeof out->id);
    out->tag = t->tag;
    out->now_us = ev->now_us;
    out->priority = t->rq.base;
    out->n_prompt = t->rq.n_prompt;
    out->cached_tokens = t->rq.cached_tokens;
    inbox_push(t->inbox, out);
}

static void on_resume(struct engine *e, const struct sched_event *ev)
{
    take_slot(e, ticket_of(ev->req));
}

static void on_preempt(struct engine *e, const struct sched_event *ev)
{
    release_slot(e, ticket_of(ev->req));
}

static void on_first_token(struct engine *e, const struct sched_event *ev)
{
    const struct ticket *t = ticket_of(ev->req);
    stats_histogram_add(&e->ttft, ev->now_us - t->arrival_us, ev->now_us);
}

static void on_finish(struct engine *e, const struct sched_event *ev)
{
    struct ticket *t = ticket_of(ev->req);
    release_slot(e, t);
    if (t->rq.state == REQ_COMPLETED) {
        e->completed++;
        stats_histogram_add(&e->latency, ev->now_us - t->arrival_us, ev->now_us);
    } else if (t->rq.state != REQ_CANCELLED) {
        e->failed++;
    }
    t->ended_next = NULL;
    *e->ended_tail = t;
    e->ended_tail = &t->ended_next;
}

void engine_on_sched_event(void *ctx, const struct sched_event *ev)
{
    static void (*const handlers[])(struct engine *, const struct sched_event *) = {
        [SCHED_SUBMIT] = on_submit,           [SCHED_ADMIT] = on_admit,
        [SCHED_RESUME] = on_resume,           [SCHED_PREEMPT] = on_preempt,
        [SCHED_FIRST_TOKEN] = on_first_token, [SCHED_FINISH] = on_finish,
    };
    const struct unit *u = ctx;
    struct engine *e = u->engine;
    unsigned type = (unsigned)ev->type;
    bool timed = e->sched_timed;
    if (timed)
        engine_time_sched(e, false);
    engine_trace(e, ev); /* first: handlers give slots away */
    if (type < sizeof handlers / sizeof *handlers && handlers[type])
        handlers[type](e, ev);
    if (e->cfg.observer && e->cfg.observer->sched)
        e->cfg.observer->sched(e->cfg.observer->ctx, u->sched, ev);
    if (timed)
        engine_time_sched(e, true);
}

void engine_time_sched(struct engine *e, bool on)
{
    int64_t now = clock_now_ns();
    e->sched_ns += on ? -now : now;
    e->sched_timed = on;
}

void engine_reap(struct engine *e)
{
    struct ticket *t = e->ended;
    if (!t)
        return;
    engine_publish(e); /* first: who hears of the end finds it in the snapshot */
    e->ended = NULL;
    e->ended_tail = &e->ended;
    for (struct ticket *next; t; t = next) {
        next = t->ended_next;
        engine_forget(e, t); /* first: who reads the event may use the id again */
        ticket_send_finish(t, t->unit->name, engine_now(e));
        ticket_destroy(t);
    }
}

/* ---- sampling ---- */

/* A request that can't go on. */
static void give_up(struct engine *e, struct ticket *t, const struct weft_err *why)
{
    sched_fail_request(t->unit->sched, &t->rq, why, engine_now(e));
}

static void score_rows(struct ticket *t, const struct plan_item *item, const struct exec_row *rows,
                       uint32_t n_vocab)
{
    uint32_t first = item->pos + item->n_tokens - item->n_logits;
    for (uint32_t i = 0; i < item->n_logits; i++) {
        uint32_t next = first + i + 1; /* the position that this row foretells */
        if (next < t->rq.n_prompt)
            t->nll[next - 1] = sampler_nll(rows[i].logits, n_vocab, t->rq.ids[next]);
    }
}

static enum weft_rc choose_token(struct engine *e, struct ticket *t, const struct exec_row *row,
                                 struct sampler_out *out, struct weft_err *err)
{
    if (!row->logits) { /* the simulated executor chose, and was certain */
        *out = (struct sampler_out){.id = row->token, .finite = true};
        return WEFT_OK;
    }
    if (!t->sampler) {
        enum weft_rc rc = sampler_create(&t->sampling, t->unit->exec->info.n_vocab, &t->sampler, err);
        if (rc)
            return rc;
    }
    sampler_next(t->sampler, row->logits, row->maxima, t->rq.ids, t->rq.n_ids, t->n_logprobs, out);
    if (out->finite)
        return WEFT_OK;
    weft_err_set(err, WEFT_BATCH_FAILED, "the model computed logits that aren't finite after %u tokens",
                 t->rq.n_ids);
    weft_err_num(err, "step", (double)e->step);
    weft_err_str(err, "reason", "logits not finite");
    return WEFT_BATCH_FAILED;
}

/* Samples the row of an item that generates; fills its result. */
static void generate(struct engine *e, struct ticket *t, const struct exec_row *row,
                     struct sched_result *result, int64_t now_us)
{
    struct sampler_out token;
    struct weft_err err = {0};
    if (choose_token(e, t, row, &token, &err)) {
        give_up(e, t, &err);
        return;
    }
    result->has_token = true;
    result->token = token.id;
    const struct model *m = t->unit->model;
    if (m && !t->ignore_eos && tok_is_eog(m->tok, token.id)) {
        result->finish = FINISH_STOP; /* not part of the output */
        return;
    }
    if (reply_push(&t->reply, &token, &err)) {
        result->has_token = false;
        give_up(e, t, &err);
        return;
    }
    result->keep_token = true;
    if (t->reply.stopped)
        result->finish = FINISH_STOP;
    t->rate.total++;
    e->decode.total++;
    if (t->last_token_us >= 0)
        stats_histogram_add(&e->itl, now_us - t->last_token_us, now_us);
    t->last_token_us = now_us;
    ticket_send_tokens(t, now_us);
}

static void sample_all(struct engine *e, const struct plan *plan, const struct exec_out *out, int64_t now_us)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        const struct plan_item *item = &plan->items[i];
        struct ticket *t = ticket_of(item->req);
        e->results[i] = (struct sched_result){0};
        if (t->score)
            score_rows(t, item, out->rows + row, t->unit->exec->info.n_vocab);
        else if (item->n_logits)
            generate(e, t, &out->rows[row + item->n_logits - 1], &e->results[i], now_us);
        row += item->n_logits;
    }
    for (uint32_t i = 0; i < plan->n_items; i++)
        inbox_tell(ticket_of(plan->items[i].req)->inbox);
}

/* ---- failure ---- */

/* After the pause: the executor is made usable again. If it can't be, all that is under way with it ends with
 * the reason. */
static void recover(struct unit *u)
{
    struct engine *e = u->engine;
    struct weft_err err = {0};
    bool lost = false;
    u->retry_at_us = 0;
    if (!u->exec->v->recover)
        return;
    if (u->exec->v->recover(u->exec, &lost, &err)) {
        unit_fail(u, &err);
    } else if (lost) {
        log_msg(LOG_WARN, "the device was reset: what it held is computed again");
        sched_kv_lost(u->sched, engine_now(e));
    }
}

static void step_failed(struct unit *u, struct weft_err *why)
{
    struct engine *e = u->engine;
    if (why->code != WEFT_BATCH_FAILED) { /* whatever it was, to its requests it is this */
        weft_err_str(why, "reason", weft_rc_name(why->code));
        why->code = WEFT_BATCH_FAILED;
    }
    log_msg(LOG_ERROR, "step %llu failed: %s", (unsigned long long)e->step, why->message);
    sched_fail(u->sched, why, engine_now(e));
    u->retry_at_us = clock_now_us() + RETRY_US;
}

/* ---- the step ---- */

/* The simulated executor returns at once and says how long it would have taken. */
static void let_pass(int64_t start_real_us, int64_t dur_us)
{
    int64_t rest = start_real_us + dur_us - clock_now_us();
    if (rest <= 0)
        return;
    struct timespec ts = {.tv_sec = rest / 1000000, .tv_nsec = rest % 1000000 * 1000};
    nanosleep(&ts, NULL);
}

static uint32_t count_rows(const struct plan *plan)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->n_items; i++)
        n += plan->items[i].n_logits;
    return n;
}

static enum weft_rc execute(struct unit *u, const struct plan *plan, struct exec_out *out,
                            struct weft_err *err)
{
    struct engine *e = u->engine;
    int64_t start = clock_now_us();
    if (mem_grow(&e->results, &e->cap_results, plan->n_items, sizeof *e->results))
        return weft_err_nomem(err, "engine_run_step", plan->n_items * sizeof *e->results);
    enum weft_rc rc = exec_step(u->exec, plan, out, err);
    if (!rc && out->n_rows != count_rows(plan)) {
        rc = weft_err_set(err, WEFT_BATCH_FAILED, "the executor returned %u rows of logits instead of %u",
                          out->n_rows, count_rows(plan));
        weft_err_num(err, "step", (double)e->step);
        weft_err_str(err, "reason", "rows");
    }
    if (e->cfg.sim && !rc)
        let_pass(start, out->dur_us);
    return rc;
}

/* False: nothing to run. */
static bool run_step(struct unit *u)
{
    struct engine *e = u->engine;
    struct weft_err err = {0};
    struct exec_out out = {0};
    if (u->state != ENGINE_READY || clock_now_us() < u->retry_at_us)
        return false;
    if (u->retry_at_us)
        recover(u);
    if (u->state != ENGINE_READY)
        return false;
    int64_t start = engine_now(e), before_ns = e->sched_ns;
    engine_time_sched(e, true);
    const struct plan *plan = sched_plan(u->sched, start);
    engine_time_sched(e, false);
    engine_reap(e); /* timeouts */
    if (!plan) {
        e->sched_ns = before_ns; /* looking up in vain is no step's cost */
        return false;
    }

    struct snap_step *shown = engine_step_begin(u, plan, start);
    engine_publish(e);
    enum weft_rc rc = execute(u, plan, &out, &err);
    int64_t now = engine_now(e);
    shown->dur_us = rc ? now - start : out.dur_us;
    e->in_flight = false;
    u->n_steps++;
    e->batches.total++;
    e->batch_items.total += plan->n_items;
    if (rc) {
        step_failed(u, &err);
    } else {
        e->prefill.total += plan->n_prefill_tokens;
        sample_all(e, plan, &out, now);
        engine_time_sched(e, true);
        sched_commit(u->sched, e->results, out.dur_us, now);
        engine_time_sched(e, false);
    }
    if (e->cfg.observer && e->cfg.observer->scheduled)
        e->cfg.observer->scheduled(e->cfg.observer->ctx, e->sched_ns);
    e->sched_ns = 0;
    if (e->ended)
        engine_reap(e);
    else
        engine_publish(e);
    return true;
}

bool engine_run_step(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++) {
        struct unit *u = &e->units[(e->turn + i) % e->n_units];
        if (!run_step(u))
            continue;
        e->turn = u->index + 1u; /* whoever comes after it has waited longest */
        return true;
    }
    return false;
}
