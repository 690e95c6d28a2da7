/*
 * The engine thread: its states, its clock and its loop.
 *
 *   INITIALIZING ──► LOADING ──► WARMING ──► READY ──► STOPPING ──► STOPPED
 *                       │           │          │          ▲
 *                       └───────────┴──────────┴► FAILED ─┘
 *
 * The loop takes commands between steps only, so nothing changes under a plan. With nothing to run it waits
 * for a command, and looks up now and then so that rates and clocks on the screen go on.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "engine/engine_internal.h"

enum {
    WAIT_US = 50000,    /* how often an engine publishes while requests wait, so that their ageing is seen */
    IDLE_US = 250000,   /* the same with nothing to do: each sample of the rates, for next to no time */
    LOOK_US = 200,      /* the shortest it sleeps for something that happens by itself */
    QUIET_US = 3000000, /* with nothing to do, before executors may do something for themselves */
    GIVE_UP_MS = 1000   /* beyond stop_ms, before a device is taken to hang */
};

/* ---- clock ---- */

int64_t engine_time_of(const struct engine *e, int64_t real_us)
{
    int64_t stopped = e->clock_stopped ? e->stopped_at_real_us : INT64_MAX;
    int64_t shown = (real_us < stopped ? real_us : stopped) - e->start_real_us - e->frozen_total_us;
    return shown > 0 ? shown : 0;
}

int64_t engine_now(const struct engine *e)
{
    return engine_time_of(e, clock_now_us());
}

static void stop_clock(struct engine *e, bool stop)
{
    if (stop == e->clock_stopped)
        return;
    int64_t now = clock_now_us();
    if (stop)
        e->stopped_at_real_us = now;
    else
        e->frozen_total_us += now - e->stopped_at_real_us;
    e->clock_stopped = stop;
}

void engine_set_frozen(struct engine *e, bool frozen)
{
    e->frozen = frozen;
    e->steps_due = 0;
    stop_clock(e, frozen);
}

/* ---- states ---- */

void engine_set_state(struct engine *e, enum engine_state s, const struct weft_err *why)
{
    enum engine_state from = engine_state(e);
    engine_trace_state(e, from, s);
    if (e->cfg.observer && e->cfg.observer->state)
        e->cfg.observer->state(e->cfg.observer->ctx, from, s, engine_now(e));
    pthread_mutex_lock(&e->inboxes_lock);
    atomic_store(&e->state, (int)s);
    if (why) {
        e->failure = *why;
        if (!e->failure.timestamp_ms)
            e->failure.timestamp_ms = clock_unix_ms();
        snprintf(e->detail, sizeof e->detail, "%.*s", (int)sizeof e->detail - 1, why->message);
    } else {
        e->detail[0] = 0;
    }
    for (struct engine_inbox *in = e->inboxes; in; in = in->next) {
        struct engine_event *ev = inbox_event_create(ENGINE_STATE);
        if (!ev) { /* nothing else tells a reader that it may stop waiting */
            ev = in->spare;
            in->spare = NULL;
        }
        if (!ev) {
            log_msg(LOG_ERROR, "out of memory: an inbox isn't told of state %s", engine_state_name(s));
            continue;
        }
        ev->state = s;
        ev->now_us = engine_now(e);
        ev->text = mem_strdup(e->detail);
        ev->text_len = ev->text ? strlen(ev->text) : 0;
        if (s == ENGINE_FAILED)
            ev->error = e->failure;
        inbox_push(in, ev);
    }
    pthread_mutex_unlock(&e->inboxes_lock);
    log_msg(s == ENGINE_FAILED ? LOG_ERROR : LOG_INFO, "engine %s%s%s", engine_state_name(s), why ? ": " : "",
            why ? why->message : "");
    engine_publish(e);
}

enum engine_state engine_state(struct engine *e)
{
    return (enum engine_state)atomic_load(&e->state);
}

const struct model *engine_model_named(struct engine *e, const char *name)
{
    for (uint32_t i = 0; i < ENGINE_MODELS_MAX; i++) {
        const struct model *m = atomic_load(&e->ready_models[i]);
        if (!name || !*name)
            return m;
        if (m && (strcmp(name, e->units[i].name) == 0 || strcmp(name, m->name) == 0))
            return m;
    }
    return NULL;
}

const struct model *engine_model(struct engine *e)
{
    return engine_model_named(e, NULL);
}

/* ---- the thread ---- */

/* FAILED: what waits or runs ends with the reason. */
static void fail(struct engine *e, const struct weft_err *why)
{
    struct weft_err refusal;
    engine_set_state(e, ENGINE_FAILED, why);
    weft_err_set(&refusal, WEFT_MODEL_NOT_LOADED, "%s", why->message);
    weft_err_str(&refusal, "model", e->units[0].name);
    engine_refuse_waiting(e, &refusal);
    engine_publish(e);
}

static bool bring_up(struct engine *e)
{
    struct weft_err err = {0};
    if (units_bring_up(e, &err)) {
        fail(e, &err);
        return false;
    }
    units_publish(e);
    engine_set_state(e, ENGINE_READY, NULL);
    units_warn(e);
    engine_accept_waiting(e);
    return true;
}

/* One step, unless frozen; then only as many as were asked for, each with the clock running for its length.
 */
static bool step_if_allowed(struct engine *e)
{
    if (atomic_load(&e->state) != ENGINE_READY)
        return false;
    if (!e->frozen)
        return engine_run_step(e);
    if (!e->steps_due)
        return false;
    e->steps_due--;
    stop_clock(e, false);
    bool ran = engine_run_step(e);
    stop_clock(e, true);
    if (!ran)
        e->steps_due = 0;
    return ran;
}

/* How long to wait for a command when no step can run: until a timeout, the end of coalescing or of the pause
 * after a failed step, if that comes before it is time to publish again. */
static int64_t idle_us(const struct engine *e)
{
    int64_t wait = units_have_work(e) ? WAIT_US : IDLE_US;
    if (e->frozen)
        return wait;
    int64_t until = units_idle_us(e);
    if (until < wait)
        wait = until;
    return wait > LOOK_US ? wait : LOOK_US;
}

/* When nothing has been asked of it for a while: whether an executor has something to do for itself, of which it then did
 * some ms' worth. A command that comes in that time waits for no more than that. */
static bool use_quiet(struct engine *e)
{
    const int64_t now = clock_now_us();
    if (atomic_load(&e->state) != ENGINE_READY || e->frozen || units_have_work(e))
        e->quiet_real_us = now;
    return now - e->quiet_real_us >= QUIET_US && units_idle(e);
}

static void serve(struct engine *e)
{
    e->quiet_real_us = clock_now_us();
    while (!atomic_load(&e->stop)) {
        engine_take_commands(e);
        bool ran = step_if_allowed(e);
        engine_sample_stats(e);
        if (ran) {
            e->quiet_real_us = clock_now_us();
            continue;
        }
        engine_publish(e);
        chan_wait(&e->commands, use_quiet(e) ? LOOK_US : idle_us(e));
    }
}

/* STOPPING: what the schedulers have may end by itself for stop_ms; then it is cancelled. */
static void drain(struct engine *e)
{
    struct weft_err stopping;
    int64_t deadline = clock_now_us() + e->cfg.stop_ms * 1000;
    bool can_run = atomic_load(&e->state) == ENGINE_READY;
    engine_set_frozen(e, false);
    engine_set_state(e, ENGINE_STOPPING, NULL);
    weft_err_set(&stopping, WEFT_MODEL_NOT_LOADED, "the engine is stopping");
    weft_err_str(&stopping, "model", e->units[0].name);
    engine_refuse_waiting(e, &stopping);
    while (can_run && units_have_work(e) && clock_now_us() < deadline) {
        engine_take_commands(e);
        if (!engine_run_step(e))
            chan_wait(&e->commands, idle_us(e));
    }
    units_cancel_all(e);
    engine_reap(e);
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    pthread_setname_np(pthread_self(), "weft-engine");
    thread_give_way(e->cfg.nice); /* before there is a device, whose threads inherit it */
    bring_up(e);
    serve(e);
    drain(e);
    for (uint32_t i = 0; i < e->n_units; i++)
        unit_unload(&e->units[i]);
    engine_set_state(e, ENGINE_STOPPED, NULL);
    pthread_mutex_lock(&e->exit_lock);
    e->exited = true;
    pthread_cond_signal(&e->exit_cond);
    pthread_mutex_unlock(&e->exit_lock);
    return NULL;
}

/* ---- create and destroy ---- */

static void free_engine(struct engine *e)
{
    engine_pub_deinit(e);
    engine_registry_free(e);
    chan_deinit(&e->commands);
    pthread_mutex_destroy(&e->registry_lock);
    pthread_mutex_destroy(&e->inboxes_lock);
    pthread_mutex_destroy(&e->exit_lock);
    pthread_cond_destroy(&e->exit_cond);
    mem_free(e->results);
    mem_free(e->owners);
    mem_free(e);
}

/* One unit for each model that is configured. */
static void configure(struct engine *e)
{
    struct engine_model_config only = {.load = e->cfg.load, .load_ctx = e->cfg.load_ctx};
    memcpy(only.name, e->cfg.model_name, sizeof only.name);
    if (!e->cfg.n_models)
        unit_configure(e, &only);
    for (uint32_t i = 0; i < e->cfg.n_models && i < ENGINE_MODELS_MAX; i++)
        unit_configure(e, &e->cfg.models[i]);
}

enum weft_rc engine_create(const struct engine_config *cfg, struct engine **out, struct weft_err *err)
{
    enum weft_rc rc;
    pthread_condattr_t attr;
    *out = NULL;
    struct engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return weft_err_nomem(err, "engine_create", sizeof *e);
    e->cfg = *cfg;
    e->start_real_us = clock_now_us();
    e->ended_tail = &e->ended;
    configure(e);
    pthread_mutex_init(&e->registry_lock, NULL);
    pthread_mutex_init(&e->inboxes_lock, NULL);
    pthread_mutex_init(&e->exit_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->exit_cond, &attr);
    pthread_condattr_destroy(&attr);
    chan_init(&e->commands, false); /* without an eventfd it can't fail */
    if ((rc = engine_pub_init(e, err)))
        goto out;
    int failed = pthread_create(&e->thread, NULL, engine_main, e);
    if (failed) {
        rc = weft_err_set(err, WEFT_INTERNAL_ERROR, "the engine thread can't be started: %s",
                          strerror(failed));
        weft_err_str(err, "where", "engine_create");
        goto out;
    }
    *out = e;
out:
    if (rc)
        free_engine(e);
    return rc;
}

/* True when the thread has ended in time. */
static bool wait_for_exit(struct engine *e)
{
    struct timespec until;
    int64_t ms = e->cfg.stop_ms + GIVE_UP_MS;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&e->exit_lock);
    while (!e->exited && pthread_cond_timedwait(&e->exit_cond, &e->exit_lock, &until) != ETIMEDOUT)
        ;
    bool exited = e->exited;
    pthread_mutex_unlock(&e->exit_lock);
    return exited;
}

bool engine_destroy(struct engine *e)
{
    if (!e)
        return true;
    atomic_store(&e->stop, true);
    chan_wake(&e->commands);
    if (!wait_for_exit(e)) {
        /* It is inside a call that doesn't return. All that it may still touch is left to it. */
        log_msg(LOG_ERROR, "the engine doesn't stop: left behind in state %s",
                engine_state_name(engine_state(e)));
        pthread_detach(e->thread);
        return false;
    }
    pthread_join(e->thread, NULL);
    engine_take_commands(e); /* what came after the thread's last look: refused, as for any stopped engine */
    units_release(e);
    while (e->inboxes) {
        struct engine_inbox *in = e->inboxes;
        e->inboxes = in->next;
        pthread_mutex_lock(&in->lock);
        in->engine = NULL;
        pthread_mutex_unlock(&in->lock);
        inbox_unref(in);
    }
    free_engine(e);
    return true;
}
