/*
 * The simulation: schedulers and simulated executors in virtual time, one thread, no clock.
 *
 * A step's end lies where the executor's cost formula puts it. What arrives, is cancelled or reprioritised
 * while a step is under way reaches the scheduler at its own time, as it would reach a real one's queue;
 * the next plan sees it. Nothing here depends on anything but workload and configuration, so the event log
 * is the same, byte for byte, on each run. Only `sched_us` is measured by the real clock.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/exec/exec_sim.h"
#include "engine/sched/resource.h"
#include "src/engine_setup.h"
#include "src/replay.h"
#include "src/replay_stats.h"

enum {
    RETRY_US = 100000, /* pause after a failed step, as the engine makes one */
    SIGNAL_EVERY = 256 /* rounds of the loop between looks for a signal */
};

struct sim;

/* One loaded model: a scheduler and an executor. */
struct sim_model {
    struct sim *sim;
    char name[96];
    struct sched *sched;
    struct exec *exec;
    struct sched_result *results;
    size_t cap_results;
};

/* A request in the scheduler's hands. */
struct sim_request {
    struct request rq; /* first */
    struct sim_model *model;
    uint32_t index; /* into the workload's */
    struct sim_request *dead_next;
};

struct sim {
    const struct weft_config *cfg;
    struct replay *rp;
    const struct workload *w;
    struct sim_model models[CONFIG_MODELS_MAX];
    unsigned n_models, turn; /* whose step is next */
    int64_t now_us;
    size_t next_action, next_memory;
    struct sim_request **live; /* by request; NULL when not, or not any more */
    struct sim_request *dead;  /* ended: freed when the scheduler is done with them */
    struct resource resource;
    double forced_mb; /* the workload's `memory:`; NaN: the simulated process's own */
    int64_t next_check_us;
    int64_t sched_ns; /* scheduling since the last step's end */
    bool timed;
    struct replay_stats *stats;
};

/* ---- measuring scheduling ---- */

/* Around each call whose time is the scheduler's: true, the call, false. */
static void time_sched(struct sim *s, bool on)
{
    int64_t now = clock_now_ns();
    s->sched_ns += on ? -now : now;
    s->timed = on;
}

/* ---- what schedulers tell ---- */

static uint32_t index_of(const struct request *r)
{
    return ((const struct sim_request *)r->user)->index;
}

/* The request is freed when the scheduler is done with it: see bury. */
static void on_finish(struct sim *s, const struct request *r)
{
    struct sim_request *ended = r->user;
    s->live[ended->index] = NULL;
    ended->dead_next = s->dead;
    s->dead = ended;
}

static void on_event(void *ctx, const struct sched_event *ev)
{
    struct sim_model *m = ctx;
    bool timed = m->sim->timed;
    if (timed)
        time_sched(m->sim, false);
    replay_on_sched(m->sim->rp, m->sched, ev);
    replay_stats_note(m->sim->stats, ev);
    if (ev->type == SCHED_FINISH)
        on_finish(m->sim, ev->req);
    if (timed)
        time_sched(m->sim, true);
}

static void request_free(struct sim_request *r)
{
    if (r)
        mem_free(r->rq.ids);
    mem_free(r);
}

static void bury(struct sim *s)
{
    for (struct sim_request *r; (r = s->dead);) {
        s->dead = r->dead_next;
        request_free(r);
    }
}

/* ---- memory ---- */

static double memory_mb(const struct sim *s)
{
    if (!isnan(s->forced_mb))
        return s->forced_mb;
    double blocks = 0;
    for (unsigned i = 0; i < s->n_models; i++) {
        struct sched_counts c;
        sched_counts(s->models[i].sched, &c);
        blocks += (double)c.blocks_used + c.blocks_cached + c.blocks_parked;
    }
    return s->cfg->sim.memory_base_mb + blocks * s->cfg->sim.block_kb / 1024;
}

static void measure(struct sim *s)
{
    if (resource_update(&s->resource, memory_mb(s)))
        replay_on_pressure(s->rp, !s->resource.under_pressure, s->resource.under_pressure, s->now_us);
}

/* ---- what comes from outside ---- */

static struct sim_model *model_of(struct sim *s, const struct workload_entry *e)
{
    for (unsigned i = 0; i < s->n_models; i++)
        if (!e->model || strcmp(e->model, s->models[i].name) == 0)
            return &s->models[i];
    return NULL;
}

static struct sim_request *make_request(struct sim *s, struct sim_model *m, const struct workload_request *wr)
{
    const struct workload_entry *e = wr->entry;
    struct sim_request *r = mem_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    size_t n_prompt = e->kind == WORKLOAD_IDS ? (size_t)wr->n_prefix + wr->n_ids : workload_pseudo_count(e);
    r->rq.ids = mem_calloc(n_prompt + wr->max_tokens, sizeof *r->rq.ids);
    if (!r->rq.ids) {
        mem_free(r);
        return NULL;
    }
    uint32_t n_vocab = m->exec->info.n_vocab;
    if (e->kind == WORKLOAD_IDS)
        workload_ids(s->w, wr, n_vocab, r->rq.ids);
    else
        workload_pseudo_ids(e, n_vocab, r->rq.ids);
    int64_t timeout_ms = e->timeout_ms ? e->timeout_ms : s->cfg->queue.timeout_ms;
    memcpy(r->rq.id, wr->id, sizeof r->rq.id);
    r->rq.base = wr->prio;
    r->rq.preemptible = e->preemptible;
    r->rq.timeout_us = timeout_ms * 1000;
    r->rq.max_tokens = wr->max_tokens;
    r->rq.salt = e->salt && *e->salt ? fnv1a64(FNV1A64_INIT, e->salt, strlen(e->salt)) : 0;
    r->rq.n_prompt = (uint32_t)n_prompt;
    r->rq.fork_of = e->fork_of;
    r->rq.user = r;
    r->model = m;
    return r;
}

static enum weft_rc submit(struct sim *s, uint32_t index, struct weft_err *err)
{
    const struct workload_request *wr = &s->w->requests[index];
    struct sim_model *m = model_of(s, wr->entry);
    if (!m) {
        struct weft_err why = {0};
        struct sched_counts c;
        weft_err_set(&why, WEFT_MODEL_NOT_LOADED, "model \"%s\" isn't loaded; %s is", wr->entry->model,
                     s->models[0].name);
        weft_err_str(&why, "model", wr->entry->model);
        sched_counts(s->models[0].sched, &c);
        replay_reject(s->rp, index, wr->n_prefix + wr->n_ids, c.depth, &why, s->now_us);
        return WEFT_OK;
    }
    struct sim_request *r = make_request(s, m, wr);
    if (!r)
        return weft_err_nomem(err, "replay", sizeof *r + wr->n_ids * sizeof *r->rq.ids);
    r->index = index;
    time_sched(s, true);
    enum weft_rc refused = sched_submit(m->sched, &r->rq, s->now_us, NULL);
    time_sched(s, false);
    if (refused)
        request_free(r);
    else
        s->live[index] = r;
    return WEFT_OK;
}

static enum weft_rc act(struct sim *s, const struct workload_action *a, struct weft_err *err)
{
    struct sim_request *r = s->live[a->request];
    if (a->type == WORKLOAD_SUBMIT)
        return submit(s, a->request, err);
    if (!r)
        return WEFT_OK; /* it was refused, or has ended: nothing to do, as on the engine */
    if (a->type == WORKLOAD_CANCEL)
        sched_cancel(r->model->sched, &r->rq, s->now_us);
    else
        sched_set_priority(r->model->sched, &r->rq, a->to, s->now_us);
    return WEFT_OK;
}

/* When something next happens from outside; INT64_MAX: never. */
static int64_t next_outside_us(const struct sim *s)
{
    int64_t at = INT64_MAX;
    if (s->next_action < s->w->n_actions)
        at = s->w->actions[s->next_action].at_us;
    if (s->next_memory < s->w->n_memory && s->w->memory[s->next_memory].at_us < at)
        at = s->w->memory[s->next_memory].at_us;
    return at;
}

/* Everything from outside up to and with `until`, each at its own time: measurements of memory first, then
 * actions in their order. */
static enum weft_rc let_happen(struct sim *s, int64_t until_us, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    int64_t at;
    while (rc == WEFT_OK && ((at = next_outside_us(s)) <= until_us || s->next_check_us <= until_us)) {
        if (s->next_check_us < at)
            at = s->next_check_us;
        if (at > s->now_us)
            s->now_us = at;
        bool memory = s->next_memory < s->w->n_memory && s->w->memory[s->next_memory].at_us <= at;
        if (memory)
            s->forced_mb = s->w->memory[s->next_memory++].mb;
        if (s->next_check_us <= at)
            s->next_check_us = at + s->cfg->resources.check_interval_ms * 1000;
        else if (!memory) {
            rc = act(s, &s->w->actions[s->next_action++], err);
            continue;
        }
        measure(s);
    }
    bury(s);
    return rc;
}

/* ---- steps ---- */

/* The next model's plan, in turn; NULL when nobody can run. */
static const struct plan *next_plan(struct sim *s, struct sim_model **m)
{
    for (unsigned i = 0; i < s->n_models; i++) {
        *m = &s->models[(s->turn + i) % s->n_models];
        int64_t before_ns = s->sched_ns;
        time_sched(s, true);
        const struct plan *plan = sched_plan((*m)->sched, s->now_us);
        time_sched(s, false);
        bury(s);
        if (plan) {
            s->turn = (s->turn + i + 1) % s->n_models;
            return plan;
        }
        s->sched_ns = before_ns; /* looking up in vain is no step's cost */
    }
    return NULL;
}

static void take_tokens(struct sim_model *m, const struct plan *plan, const struct exec_out *out)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        uint32_t n = plan->items[i].n_logits;
        m->results[i] = (struct sched_result){.has_token = n > 0, .keep_token = true};
        row += n;
        if (n)
            m->results[i].token = out->rows[row - 1].token;
    }
}

/* One step of whoever's turn it is. *ran is false when nothing can run now. */
static enum weft_rc run_step(struct sim *s, bool *ran, struct weft_err *err)
{
    struct sim_model *m;
    struct exec_out out;
    struct weft_err why = {0};
    const struct plan *plan = next_plan(s, &m);
    *ran = plan != NULL;
    if (!plan)
        return WEFT_OK;
    if (mem_grow(&m->results, &m->cap_results, plan->n_items, sizeof *m->results))
        return weft_err_nomem(err, "replay", plan->n_items * sizeof *m->results);
    if (exec_step(m->exec, plan, &out, &why)) {
        sched_fail(m->sched, &why, s->now_us);
        bury(s);
        return let_happen(s, s->now_us + RETRY_US, err);
    }
    take_tokens(m, plan, &out);
    int64_t end_us = s->now_us + out.dur_us;
    enum weft_rc rc = let_happen(s, end_us - 1, err);
    if (rc)
        return rc;
    s->now_us = end_us;
    replay_stats_mark(s->stats, s->now_us);
    time_sched(s, true);
    sched_commit(m->sched, m->results, out.dur_us, s->now_us);
    time_sched(s, false);
    replay_on_scheduled(s->rp, s->sched_ns);
    s->sched_ns = 0;
    bury(s);
    return WEFT_OK;
}

/* ---- the run ---- */

static bool has_work(const struct sim *s)
{
    bool work = false;
    for (unsigned i = 0; i < s->n_models; i++)
        work = work || sched_has_work(s->models[i].sched);
    return work;
}

/* When nothing can run: on to what changes that. */
static enum weft_rc skip_idle(struct sim *s, struct weft_err *err)
{
    int64_t at = next_outside_us(s);
    for (unsigned i = 0; i < s->n_models; i++) {
        int64_t wake = sched_wake_us(s->models[i].sched);
        at = wake < at ? wake : at;
    }
    if (at == INT64_MAX || at <= s->now_us) { /* what is due by now has happened */
        weft_err_set(err, WEFT_INTERNAL_ERROR,
                     "requests wait at %.3f ms of the simulation, and nothing will ever run",
                     (double)s->now_us / 1e3);
        weft_err_str(err, "where", "replay");
        return WEFT_INTERNAL_ERROR;
    }
    /* Memory doesn't change meanwhile: one look is as good as one each interval. */
    int64_t interval = s->cfg->resources.check_interval_ms * 1000;
    if (s->next_check_us + interval < at) {
        measure(s);
        s->next_check_us += (at - s->next_check_us) / interval * interval;
    }
    s->now_us = at;
    return WEFT_OK;
}

static int take_signal(const sigset_t *set)
{
    const struct timespec now = {0};
    int got = sigtimedwait(set, NULL, &now);
    return got > 0 ? got : 0;
}

static enum weft_rc run(struct sim *s, const sigset_t *signals, int *signal, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    *signal = 0;
    for (uint64_t round = 1; rc == WEFT_OK && !*signal; round++) {
        bool ran;
        rc = let_happen(s, s->now_us, err);
        if (rc == WEFT_OK)
            rc = run_step(s, &ran, err);
        if (rc == WEFT_OK && !ran) {
            if (s->next_action == s->w->n_actions && !has_work(s))
                break;
            rc = skip_idle(s, err);
        }
        if (round % SIGNAL_EVERY == 0)
            *signal = take_signal(signals);
    }
    for (unsigned i = 0; *signal && i < s->n_models; i++)
        sched_cancel_all(s->models[i].sched, s->now_us);
    bury(s);
    return rc;
}

/* ---- stats ---- */

/* As the engine would publish them. */
static json_t *stats_json(struct sim *s)
{
    struct snapshot *p = mem_calloc(1, sizeof *p); /* too large for the stack */
    if (!p)
        return NULL;
    const struct exec_info *x = &s->models[0].exec->info;
    memcpy(p->model, s->models[0].name, sizeof p->model);
    memcpy(p->device, x->device, sizeof p->device);
    memcpy(p->precision, x->precision, sizeof p->precision);
    p->state = ENGINE_READY;
    p->sim = true;
    p->uptime_us = s->now_us;
    for (unsigned i = 0; i < s->n_models; i++) {
        struct sched_counts c;
        sched_counts(s->models[i].sched, &c);
        replay_stats_add(&c, p);
        if (i >= SNAP_MODELS)
            continue; /* a snapshot lists no more; the sums have it */
        struct snap_model *m = &p->models[p->n_models++];
        memcpy(m->name, s->models[i].name, sizeof m->name);
        memcpy(m->precision, x->precision, sizeof m->precision);
        m->state = ENGINE_READY;
        m->kv_total = c.blocks_total;
        m->kv_used = c.blocks_used;
        m->waiting = c.waiting;
        m->running = c.running;
        m->n_steps = c.steps;
    }
    replay_stats_fill(s->stats, s->now_us, p);
    p->max_depth = (uint32_t)s->cfg->queue.max_depth;
    p->memory_mb = memory_mb(s);
    p->max_memory_mb = s->resource.max_memory_mb;
    p->critical_memory_mb = s->resource.critical_memory_mb;
    p->under_pressure = s->resource.under_pressure;
    p->can_accept = !resource_accepts(&s->resource, PRIO_NORMAL, NULL);
    json_t *json = snapshot_stats_json(p, "weft");
    mem_free(p);
    return json;
}

/* ---- setting up ---- */

static enum weft_rc start_model(struct sim *s, struct sim_model *m, const char *name, struct weft_err *err)
{
    const struct weft_config *cfg = s->cfg;
    m->sim = s;
    engine_setup_model_name(name, m->name, sizeof m->name);
    enum weft_rc rc = engine_setup_sim(cfg, &m->exec, err);
    if (rc)
        return rc;
    struct sched_config sc = {
        .fifo = cfg->scheduler.policy == CONFIG_POLICY_FIFO,
        .one_at_a_time = !cfg->batching.enabled,
        .aging_rate = cfg->scheduler.aging_rate,
        .max_batch_size = (uint32_t)cfg->scheduler.max_batch_size,
        .max_batch_tokens = (uint32_t)cfg->scheduler.max_batch_tokens,
        .max_depth = (uint32_t)cfg->queue.max_depth,
        .reject_when_full = cfg->queue.reject_when_full,
        .n_blocks = m->exec->info.n_blocks,
        .block_tokens = m->exec->info.block_tokens,
        .n_ctx = m->exec->info.n_ctx,
        .preemption = engine_setup_preemption(cfg),
        .max_preemptions = (uint32_t)cfg->scheduler.max_preemptions,
        .n_park_slots = m->exec->info.n_park_slots,
        .prefix_cache = cfg->kv.prefix_cache,
        .min_batch_size = (uint32_t)cfg->batching.min_batch_size,
        .batch_timeout_us = (int64_t)(cfg->batching.batch_timeout_ms * 1e3),
        .adaptive_timeout = cfg->batching.adaptive_timeout,
        .itl_target_us = (int64_t)(cfg->scheduler.itl_target_ms * 1e3),
        .max_logits = (uint32_t)cfg->scheduler.max_batch_size,
        .resource = &s->resource,
        .emit = on_event,
        .emit_ctx = m,
    };
    rc = sched_create(&sc, &m->sched, err);
    if (rc == WEFT_OK)
        sched_set_costs(m->sched, cfg->sim.park_us, 0);
    return rc;
}

static enum weft_rc start(struct sim *s, struct weft_err *err)
{
    const struct weft_config *cfg = s->cfg;
    enum weft_rc rc = resource_init(&s->resource, (double)cfg->resources.max_memory_mb,
                                    (double)cfg->resources.critical_memory_mb, stats_machine_mb(), err);
    if (rc)
        return rc;
    s->live = mem_calloc(s->w->n_requests, sizeof *s->live);
    s->stats = mem_calloc(1, sizeof *s->stats);
    if (!s->live || !s->stats)
        return weft_err_nomem(err, "replay", s->w->n_requests * sizeof *s->live);
    for (unsigned i = 0; i < cfg->model.path.n && rc == WEFT_OK; i++) {
        s->n_models = i + 1;
        rc = start_model(s, &s->models[i], cfg->model.path.item[i], err);
    }
    return rc;
}

static void stop(struct sim *s)
{
    for (unsigned i = 0; i < s->n_models; i++) {
        sched_destroy(s->models[i].sched);
        exec_destroy(s->models[i].exec);
        mem_free(s->models[i].results);
    }
    bury(s);
    for (size_t i = 0; s->live && i < s->w->n_requests; i++)
        request_free(s->live[i]); /* only after an error */
    mem_free(s->live);
    mem_free(s->stats);
}

enum weft_rc replay_sim(const struct weft_config *cfg, struct replay *rp, int *signal, struct weft_err *err)
{
    struct sim s = {.cfg = cfg, .rp = rp, .w = rp->w, .forced_mb = NAN};
    sigset_t signals, old;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, &old);
    enum weft_rc rc = start(&s, err);
    if (rc == WEFT_OK) {
        rp->index_of = index_of;
        memcpy(rp->model, s.models[0].name, sizeof rp->model);
        replay_on_state(rp, ENGINE_INITIALIZING, ENGINE_READY, 0);
        rc = run(&s, &signals, signal, err);
    }
    if (rc == WEFT_OK) {
        for (unsigned i = 0; i < s.n_models; i++)
            replay_on_closing(rp, s.models[i].sched);
        rp->stats = stats_json(&s);
        rp->failed = rp->failed || !rp->stats;
    }
    stop(&s);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return rc;
}
