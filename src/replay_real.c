/*
 * A workload on the real engine: what it says happens by the wall clock, counted from READY.
 *
 * Two threads write the record: the engine's, through its observer, and this one, for what is refused before
 * the engine's thread sees it; so it is written under a lock, held for one event. Times of the record are
 * engine time from READY on.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "src/cli_engine.h"
#include "src/replay.h"
#include "src/workload_request.h"

struct real {
    const struct cli *cli;
    struct replay *rp;
    const struct workload *w;
    pthread_mutex_t lock; /* of *rp */
    struct cli_engine ce;
    int64_t start_us; /* of this thread's clock */
    size_t next_action;
    size_t n_open; /* submitted, and their end not seen */
    struct workload_ids_buf ids;
};

/* ---- the observer: on the engine thread ---- */

static void on_sched(void *ctx, const struct sched *s, const struct sched_event *ev)
{
    struct real *r = ctx;
    pthread_mutex_lock(&r->lock);
    replay_on_sched(r->rp, s, ev);
    pthread_mutex_unlock(&r->lock);
}

static void on_state(void *ctx, enum engine_state from, enum engine_state to, int64_t now_us)
{
    struct real *r = ctx;
    pthread_mutex_lock(&r->lock);
    if (to <= ENGINE_READY)
        r->rp->epoch_us = now_us; /* the last of these is READY; what was before shows as 0 */
    replay_on_state(r->rp, from, to, now_us);
    pthread_mutex_unlock(&r->lock);
}

static void on_pressure(void *ctx, bool from, bool to, int64_t now_us)
{
    struct real *r = ctx;
    pthread_mutex_lock(&r->lock);
    replay_on_pressure(r->rp, from, to, now_us);
    pthread_mutex_unlock(&r->lock);
}

static void on_scheduled(void *ctx, int64_t ns)
{
    struct real *r = ctx;
    pthread_mutex_lock(&r->lock);
    replay_on_scheduled(r->rp, ns);
    pthread_mutex_unlock(&r->lock);
}

static void on_closing(void *ctx, const struct sched *s)
{
    struct real *r = ctx;
    pthread_mutex_lock(&r->lock);
    replay_on_closing(r->rp, s);
    pthread_mutex_unlock(&r->lock);
}

/* ---- what the workload does ---- */

static void refused(struct real *r, uint32_t index, const struct engine_request *rq,
                    const struct weft_err *why)
{
    int64_t now_us = clock_now_us() - r->start_us;
    pthread_mutex_lock(&r->lock);
    replay_reject(r->rp, index, (uint32_t)rq->n_ids, (uint32_t)r->n_open, why, r->rp->epoch_us + now_us);
    pthread_mutex_unlock(&r->lock);
}

static enum weft_rc submit(struct real *r, uint32_t index, struct weft_err *err)
{
    const struct workload_request *wr = &r->w->requests[index];
    const struct model *m = engine_model_named(r->ce.engine, wr->entry->model);
    uint32_t n_vocab = m ? m->shape.n_vocab : 1; /* one that isn't there is refused by the engine */
    struct engine_request rq;
    struct weft_err why = {0};
    enum weft_rc rc = workload_ask(r->w, wr, &r->cli->cfg, n_vocab, &r->ids, &rq, err);
    if (rc)
        return rc;
    rq.id = wr->id;
    rc = engine_submit(r->ce.engine, r->ce.inbox, &rq, NULL, &why);
    if (rc == WEFT_OK)
        r->n_open++;
    else if (rc == WEFT_INVALID_REQUEST)
        refused(r, index, &rq, &why);
    else if (err)
        *err = why;
    return rc == WEFT_INVALID_REQUEST ? WEFT_OK : rc;
}

static enum weft_rc act(struct real *r, const struct workload_action *a, struct weft_err *err)
{
    const struct workload_request *wr = &r->w->requests[a->request];
    switch (a->type) {
    case WORKLOAD_SUBMIT: return submit(r, a->request, err);
    case WORKLOAD_CANCEL: engine_cancel(r->ce.engine, wr->id); break;
    case WORKLOAD_SET_PRIORITY: engine_set_priority(r->ce.engine, wr->id, a->to); break;
    }
    return WEFT_OK;
}

/* All that is due; the next wait ends when something else is. */
static enum weft_rc act_due(struct real *r, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    int64_t now_us = clock_now_us() - r->start_us;
    const struct workload_action *a = r->w->actions;
    while (rc == WEFT_OK && r->next_action < r->w->n_actions && a[r->next_action].at_us <= now_us)
        rc = act(r, &a[r->next_action++], err);
    r->ce.wake_us = r->next_action < r->w->n_actions ? r->start_us + a[r->next_action].at_us : 0;
    return rc;
}

/* ---- what the engine answers ---- */

/* What only the engine knows: when the request was really submitted, and why the engine itself ended it. */
static void complete(struct real *r, const struct engine_event *ev)
{
    long index = workload_find(r->w, ev->id);
    if (index < 0)
        return;
    pthread_mutex_lock(&r->lock);
    struct replay_outcome *o = &r->rp->outcome[index];
    int64_t arrival_us = (int64_t)llround(ev->timing.arrival_ms * 1e3) - r->rp->epoch_us;
    o->submit_us = arrival_us > 0 ? arrival_us : 0;
    if (ev->reason == FINISH_ERROR && ev->error.code) {
        o->state = REPLAY_FAILED;
        if (!o->error && !(o->error = weft_err_json(&ev->error)))
            r->rp->failed = true;
    }
    pthread_mutex_unlock(&r->lock);
}

static void take_events(struct real *r, struct engine_event *ev)
{
    for (struct engine_event *next; ev; ev = next) {
        next = ev->next;
        if (ev->type == ENGINE_FINISH)
            complete(r, ev);
        if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT)
            r->n_open--;
        engine_event_free(ev);
    }
}

static enum weft_rc wait_ready(struct real *r, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    bool gave_up = false;
    while (rc == WEFT_OK && !r->ce.signal && engine_state(r->ce.engine) != ENGINE_READY) {
        struct engine_event *ev;
        rc = cli_engine_wait(&r->ce, &ev, &gave_up, err);
        take_events(r, ev);
    }
    return rc;
}

static void cancel_all(struct real *r)
{
    for (size_t i = 0; i < r->next_action; i++)
        if (r->w->actions[i].type == WORKLOAD_SUBMIT)
            engine_cancel(r->ce.engine, r->w->requests[r->w->actions[i].request].id);
    r->next_action = r->w->n_actions;
    r->ce.wake_us = 0;
}

static enum weft_rc run(struct real *r, struct weft_err *err)
{
    bool gave_up = false, cancelled = false;
    enum weft_rc rc = wait_ready(r, err);
    r->start_us = clock_now_us();
    while (rc == WEFT_OK && !gave_up) {
        if (r->ce.signal && !cancelled) {
            cancel_all(r);
            cancelled = true;
        }
        rc = act_due(r, err);
        if (rc || (r->next_action == r->w->n_actions && !r->n_open))
            break;
        struct engine_event *ev;
        rc = cli_engine_wait(&r->ce, &ev, &gave_up, err);
        take_events(r, ev);
    }
    return rc;
}

/* While the engine still is. */
static enum weft_rc take_stats(struct real *r, struct weft_err *err)
{
    struct snapshot *s = mem_calloc(1, sizeof *s);
    if (!s)
        return weft_err_nomem(err, "replay", sizeof *s);
    engine_snapshot(r->ce.engine, s);
    r->rp->stats = snapshot_stats_json(s, "weft");
    snapshot_free(s);
    mem_free(s);
    return r->rp->stats ? WEFT_OK : weft_err_nomem(err, "replay", 0);
}

enum weft_rc replay_real(const struct cli *cli, struct replay *rp, int *signal, struct weft_err *err)
{
    struct real r = {.cli = cli, .rp = rp, .w = rp->w, .ce = {.signal_fd = -1}};
    const struct engine_observer observer = {.sched = on_sched,
                                             .state = on_state,
                                             .pressure = on_pressure,
                                             .scheduled = on_scheduled,
                                             .closing = on_closing,
                                             .ctx = &r};
    const struct engine_setup_options options = {.observer = &observer};
    pthread_mutex_init(&r.lock, NULL);
    engine_setup_model_name(cli->cfg.model.path.item[0], rp->model, sizeof rp->model);
    enum weft_rc rc = cli_engine_start(cli, &options, &r.ce, err);
    if (rc == WEFT_OK) {
        rc = run(&r, err);
        if (rc == WEFT_OK)
            rc = take_stats(&r, err);
        *signal = r.ce.signal;
        cli_engine_stop(&r.ce); /* joins the engine's thread: from here on the record is this one's alone */
    }
    mem_free(r.ids.ids);
    pthread_mutex_destroy(&r.lock);
    return rc;
}
