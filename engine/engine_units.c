/*
 * The scheduler manager: a unit for each model that is configured, with its executor and its scheduler. The units share
 * one device and one thread, and take turns step by step (engine_run_step): after a step the next unit that has something
 * to run goes, so that none waits for more than one step of each other. Memory is measured for all of them together.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

/* ---- configuring and finding ---- */

static struct unit *find_by_name(struct engine *e, const char *name)
{
    for (uint32_t i = 0; i < e->n_units; i++)
        if (!strcmp(name, e->units[i].name))
            return &e->units[i];
    return NULL;
}

struct unit *unit_configure(struct engine *e, const struct engine_model_config *m)
{
    struct unit *u = m->name[0] ? find_by_name(e, m->name) : NULL;
    if (u || e->n_units == ENGINE_MODELS_MAX) {
        if (!u)
            log_msg(LOG_ERROR, "model %s: there are %u already, no more fit", m->name, e->n_units);
        if (m->release)
            m->release(m->load_ctx);
        return u;
    }
    u = &e->units[e->n_units];
    *u = (struct unit){.engine = e, .cfg = *m, .index = (uint8_t)e->n_units};
    memcpy(u->name, m->name, sizeof u->name);
    e->n_units++;
    return u;
}

struct unit *unit_find(struct engine *e, const char *model)
{
    if (!model || !*model)
        return &e->units[0];
    struct unit *u = find_by_name(e, model);
    for (uint32_t i = 0; i < e->n_units && !u; i++)
        if (e->units[i].model && !strcmp(model, e->units[i].model->name))
            u = &e->units[i];
    return u;
}

static void release_config(struct unit *u)
{
    if (u->cfg.release)
        u->cfg.release(u->cfg.load_ctx);
    u->cfg.release = NULL;
}

void units_release(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++) {
        release_config(&e->units[i]);
        if (e->units[i].model)
            model_close(e->units[i].model);
        e->units[i].model = NULL;
    }
}

void units_publish(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++) {
        struct unit *u = &e->units[i];
        if (u->state != ENGINE_READY)
            continue;
        u->published = u->model != NULL;
        atomic_store(&e->ready_models[i], u->model);
    }
}

/* ---- up and down ---- */

static enum weft_rc load(struct unit *u, struct weft_err *err)
{
    u->engine->loading = u;
    enum weft_rc rc = unit_load(u, err);
    u->engine->loading = NULL;
    release_config(u);
    return rc;
}

static enum weft_rc warm(struct unit *u, struct weft_err *err)
{
    u->engine->loading = u;
    enum weft_rc rc = u->engine->cfg.warm ? unit_warm(u, err) : WEFT_OK;
    u->engine->loading = NULL;
    if (!rc)
        u->state = ENGINE_READY;
    return rc;
}

void units_warn(struct engine *e)
{
    struct buf text = BUF_INIT;
    for (uint32_t i = 1; i < e->n_units; i++)
        if (e->units[i].state == ENGINE_FAILED)
            buf_addf(&text, "%s%s: %s", text.len ? "; " : "", e->units[i].name, e->units[i].failure.message);
    snprintf(e->detail, sizeof e->detail, "%.*s", (int)sizeof e->detail - 1, buf_str(&text));
    buf_free(&text);
}

void unit_fail(struct unit *u, const struct weft_err *why)
{
    struct engine *e = u->engine;
    bool all = u->index == 0; /* without the default there is no engine */
    u->state = ENGINE_FAILED;
    u->failure = *why;
    atomic_store(&e->ready_models[u->index], NULL);
    if (all)
        engine_set_state(e, ENGINE_FAILED, why);
    else
        log_msg(LOG_WARN, "model %s can't be used: %s", u->name, why->message);
    for (struct ticket *t = e->live; t; t = t->next)
        if (t->accepted && (all || t->unit == u))
            sched_fail_request(t->unit->sched, &t->rq, why, engine_now(e));
    engine_reap(e);
    if (!all)
        unit_unload(u);
}

void unit_bring_up(struct unit *u)
{
    struct weft_err err = {0};
    if (load(u, &err) || warm(u, &err))
        unit_fail(u, &err);
    else
        log_msg(LOG_INFO, "model %s is READY", u->name);
    units_publish(u->engine);
    units_warn(u->engine);
}

/* One round through all units. The first failure of the default ends it. */
static enum weft_rc bring_up_round(struct engine *e, bool warming, struct weft_err *err)
{
    for (uint32_t i = 0; i < e->n_units; i++) { /* commands may add to them as it goes */
        struct unit *u = &e->units[i];
        if (u->state == ENGINE_FAILED || (i > 0 && atomic_load(&e->stop)))
            continue;
        enum weft_rc rc = u->sched ? WEFT_OK : load(u, err); /* when warming: one that was added just now */
        if (!rc && warming)
            rc = warm(u, err);
        if (rc && i == 0)
            return rc;
        if (rc)
            unit_fail(u, err);
    }
    return WEFT_OK;
}

enum weft_rc units_bring_up(struct engine *e, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    engine_set_state(e, ENGINE_LOADING, NULL);
    if (e->cfg.limit_memory)
        rc = resource_init(&e->resource, e->cfg.max_memory_mb, e->cfg.critical_memory_mb, stats_machine_mb(),
                           err);
    if (!rc)
        rc = bring_up_round(e, false, err);
    if (!rc && e->cfg.warm)
        engine_set_state(e, ENGINE_WARMING, NULL);
    if (!rc)
        rc = bring_up_round(e, true, err);
    if (rc) {
        e->units[0].state = ENGINE_FAILED;
        e->units[0].failure = *err;
    }
    return rc;
}

void unit_unload(struct unit *u)
{
    const struct engine_observer *watch = u->engine->cfg.observer;
    if (u->sched && watch && watch->closing)
        watch->closing(watch->ctx, u->sched);
    atomic_store(&u->engine->ready_models[u->index], NULL);
    sched_destroy(u->sched);
    exec_destroy(u->exec);
    u->sched = NULL;
    u->exec = NULL;
    if (u->published)
        return;
    if (u->model)
        model_close(u->model);
    u->model = NULL;
}

/* ---- all of them together ---- */

void units_counts(const struct engine *e, struct sched_counts *out)
{
    *out = (struct sched_counts){0};
    for (uint32_t i = 0; i < e->n_units; i++) {
        struct sched_counts c;
        if (!e->units[i].sched)
            continue;
        sched_counts(e->units[i].sched, &c);
        out->waiting += c.waiting;
        out->depth += c.depth;
        out->running += c.running;
        out->preempted += c.preempted;
        for (int r = 0; r < WAIT_REASON_COUNT; r++)
            out->waiting_by_reason[r] += c.waiting_by_reason[r];
        out->blocks_total += c.blocks_total;
        out->blocks_used += c.blocks_used;
        out->blocks_cached += c.blocks_cached;
        out->blocks_free += c.blocks_free;
        out->blocks_parked += c.blocks_parked;
        out->total_requests += c.total_requests;
        out->preemptions += c.preemptions;
        out->prefix_query_tokens += c.prefix_query_tokens;
        out->prefix_hit_tokens += c.prefix_hit_tokens;
    }
}

bool units_have_work(const struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++)
        if (e->units[i].sched && sched_has_work(e->units[i].sched))
            return true;
    return false;
}

bool units_idle(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++)
        if (e->units[i].state == ENGINE_READY && exec_idle(e->units[i].exec))
            return true;
    return false;
}

void units_cancel_all(struct engine *e)
{
    for (uint32_t i = 0; i < e->n_units; i++)
        if (e->units[i].sched)
            sched_cancel_all(e->units[i].sched, engine_now(e));
}

int64_t units_idle_us(const struct engine *e)
{
    int64_t least = INT64_MAX, now = engine_now(e), real = clock_now_us();
    for (uint32_t i = 0; i < e->n_units; i++) {
        const struct unit *u = &e->units[i];
        if (!u->sched)
            continue;
        int64_t wake = sched_wake_us(u->sched);
        if (wake != INT64_MAX && wake - now < least)
            least = wake - now;
        if (u->retry_at_us && u->retry_at_us - real < least)
            least = u->retry_at_us - real;
    }
    return least;
}
