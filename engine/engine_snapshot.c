/*
 * Publishing snapshots, and copying them out.
 *
 * Three buffers go round by atomic exchange: the engine fills one and swaps it for `latest`; a reader swaps
 * its own for `latest` when that is fresh. So the engine never waits for a reader, and a reader only for
 * other readers. Steps, which are the bulk of a snapshot, are a ring in each of them: whoever fills one brings it up to
 * date by the steps that it hasn't yet. All else is written anew, and only as far as it is filled.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

enum {
    SAMPLE_US = 250000,       /* pace of rates */
    MEMORY_MS = 1000,         /* pace of the memory figure, when none is configured */
    RATE_WINDOW_US = 1050000, /* "over the last second": four samples, and some play */
    BATCH_WINDOW_US = 10050000,
    QUEUE_EAGER = 128,     /* waiters up to which the list is renewed at each publication … */
    QUEUE_PACE_US = 100000 /* … and how often beyond */
};

enum weft_rc engine_pub_init(struct engine *e, struct weft_err *err)
{
    pthread_mutex_init(&e->reader_lock, NULL);
    e->pub = mem_calloc(PUB_BUFFERS, sizeof *e->pub);
    if (!e->pub)
        return weft_err_nomem(err, "engine_create", PUB_BUFFERS * sizeof *e->pub);
    enum weft_rc rc = engine_history_create(&e->history, err);
    if (rc)
        return rc;
    e->filling = 0;
    atomic_init(&e->latest, 1);
    e->reading = 2;
    e->memory_mb = stats_resident_mb();
    e->ttft_shown = e->itl_shown = (struct snap_percentiles){NAN, NAN};
    engine_publish(e); /* so that there is one from the start */
    return WEFT_OK;
}

void engine_pub_deinit(struct engine *e)
{
    for (unsigned i = 0; e->pub && i < PUB_BUFFERS; i++)
        snapshot_free(&e->pub[i].s);
    mem_free(e->pub);
    e->pub = NULL;
    engine_history_destroy(e->history);
    pthread_mutex_destroy(&e->reader_lock);
}

/* ---- steps ---- */

struct snap_step *engine_step_begin(struct unit *u, const struct plan *plan, int64_t now_us)
{
    struct engine *e = u->engine;
    struct snap_step *s = &e->steps[engine_step_slot(++e->step)];
    s->step = e->step;
    s->model = u->index;
    s->start_us = now_us;
    s->dur_us = -1;
    s->budget = plan->budget;
    s->n_prefill_tokens = plan->n_prefill_tokens;
    s->n_decodes = plan->n_decodes;
    s->n_items = plan->n_items;
    for (uint32_t i = 0; i < plan->n_items && i < SNAP_STEP_ITEMS; i++) {
        const struct plan_item *item = &plan->items[i];
        const struct ticket *t = item->req->user;
        s->items[i] = (struct snap_step_item){
            .arrival = t->arrival,
            .tag = t->tag,
            .n_tokens = item->n_tokens < UINT16_MAX ? (uint16_t)item->n_tokens : UINT16_MAX,
            .slot = t->slot < 0 ? UINT8_MAX : (uint8_t)t->slot,
            .prefill = item->prefill,
        };
    }
    s->n_preempted = e->n_preempted;
    memcpy(s->preempted, e->preempted, sizeof s->preempted);
    e->n_preempted = 0;
    e->in_flight = true;
    return s;
}

static void copy_step(struct snap_step *dst, const struct snap_step *src)
{
    uint32_t n = src->n_items < SNAP_STEP_ITEMS ? src->n_items : SNAP_STEP_ITEMS;
    memcpy(dst, src, offsetof(struct snap_step, items) + n * sizeof *src->items);
}

/* Brings the steps of a snapshot up to `last`, from a ring that has them. A snapshot that is ahead is another engine's. */
static void update_steps(struct snapshot *s, const struct snap_step ring[SNAP_STEPS], uint64_t last,
                         bool in_flight)
{
    uint64_t have = s->steps_ended <= last ? s->steps_ended : 0;
    uint64_t oldest = last > SNAP_STEPS ? last - SNAP_STEPS : 0; /* not kept any more, nor all before it */
    for (uint64_t k = (have > oldest ? have : oldest) + 1; k <= last; k++)
        copy_step(&s->step_ring[engine_step_slot(k)], &ring[engine_step_slot(k)]);
    s->steps_ended = in_flight ? last - 1 : last;
    s->step = last;
    s->in_flight = in_flight;
    s->n_steps = (uint32_t)(last - oldest);
    s->first_step = (uint32_t)engine_step_slot(oldest + 1);
}

/* ---- what is sampled at a steady pace ---- */

/* Who holds a place with any model, into e->listed; at most SNAP_STEP_ITEMS. */
static uint32_t list_running(struct engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_units; i++)
        if (e->units[i].sched)
            n += sched_running(e->units[i].sched, e->listed + n, SNAP_STEP_ITEMS - n);
    return n;
}

static void measure_memory(struct engine *e, int64_t real_us)
{
    e->next_memory_real_us = real_us + (e->cfg.memory_check_ms ? e->cfg.memory_check_ms : MEMORY_MS) * 1000;
    e->memory_mb = stats_resident_mb();
    for (uint32_t i = 0; i < e->n_units; i++) {
        const struct exec *x = e->units[i].exec;
        if (x && !x->info.host_memory)
            e->memory_mb += (double)x->info.device_bytes / 1e6;
    }
    if (!e->cfg.limit_memory || !resource_update(&e->resource, e->memory_mb))
        return;
    bool pressure = e->resource.under_pressure;
    engine_trace_pressure(e, pressure);
    if (e->cfg.observer && e->cfg.observer->pressure)
        e->cfg.observer->pressure(e->cfg.observer->ctx, !pressure, pressure, engine_now(e));
    log_msg(LOG_WARN, "memory is %s its limit: %.0f MB of %.0f MB",
            e->resource.under_pressure ? "above" : "back below", e->memory_mb, e->resource.max_memory_mb);
}

void engine_sample_stats(struct engine *e)
{
    int64_t now = engine_now(e), real = clock_now_us();
    if (real >= e->next_memory_real_us)
        measure_memory(e, real);
    if (now < e->next_sample_us)
        return;
    int64_t span, since_last = now - (e->next_sample_us - SAMPLE_US);
    e->next_sample_us = now + SAMPLE_US;

    struct snap_rate rate = {0};
    uint64_t prefill = stats_meter_since(&e->prefill, since_last, now, &span);
    if (span > 0) {
        rate.prefill_tps = (float)((double)prefill * 1e6 / (double)span);
        rate.decode_tps =
            (float)((double)stats_meter_since(&e->decode, since_last, now, NULL) * 1e6 / (double)span);
    }
    struct sched_counts c;
    units_counts(e, &c);
    rate.depth = c.depth < UINT16_MAX ? (uint16_t)c.depth : UINT16_MAX;
    rate.running = c.running < UINT16_MAX ? (uint16_t)c.running : UINT16_MAX;
    uint32_t n = list_running(e);
    for (uint32_t i = 0; i < n; i++)
        stats_meter_mark(&((struct ticket *)e->listed[i]->user)->rate, now);
    if (e->n_rates == SNAP_RATES)
        memmove(e->rates, e->rates + 1, --e->n_rates * sizeof *e->rates);
    e->rates[e->n_rates++] = rate;
    e->rates_seen++;
    stats_meter_mark(&e->prefill, now);
    stats_meter_mark(&e->decode, now);
    stats_meter_mark(&e->batches, now);
    stats_meter_mark(&e->batch_items, now);
    stats_histogram_expire(&e->ttft, now);
    stats_histogram_expire(&e->itl, now);
    stats_histogram_expire(&e->latency, now);
    e->ttft_shown = (struct snap_percentiles){stats_histogram_quantile_us(&e->ttft, 0.5) / 1e3,
                                              stats_histogram_quantile_us(&e->ttft, 0.99) / 1e3};
    e->itl_shown = (struct snap_percentiles){stats_histogram_quantile_us(&e->itl, 0.5) / 1e3,
                                             stats_histogram_quantile_us(&e->itl, 0.99) / 1e3};
    double latency = stats_histogram_mean_us(&e->latency);
    e->latency_shown_ms = isnan(latency) ? 0 : latency / 1e3;
}

/* ---- filling a buffer ---- */

static void fill_request(const struct engine *e, const struct request *r, int64_t now,
                         struct snap_request *out)
{
    const struct ticket *t = r->user;
    memcpy(out->id, r->id, sizeof out->id);
    out->tag = t->tag;
    out->arrival = t->arrival;
    out->model = t->unit ? t->unit->index : 0;
    out->base = r->base;
    out->state = r->state;
    out->wait_reason = r->wait_reason;
    out->max_tokens = r->max_tokens;
    out->n_prompt = r->n_prompt;
    if (t->accepted) {
        out->effective = req_effective(r, e->cfg.aging_rate, now);
        out->waited_us = (int64_t)(req_waited_s(r, now) * 1e6);
        out->n_computed = r->n_computed;
        out->n_generated = r->n_ids - r->n_prompt;
        out->cached_tokens = r->cached_tokens;
        out->n_blocks = r->n_blocks;
        out->preemptions = r->preemptions;
        out->ttft_us = r->first_token_us < 0 ? -1 : r->first_token_us - t->arrival_us;
    } else { /* waits for READY, which ages nobody */
        out->effective = r->base;
        out->waited_us = now - t->arrival_us;
        out->n_computed = out->n_generated = out->cached_tokens = out->n_blocks = out->preemptions = 0;
        out->ttft_us = -1;
    }
    out->tps = r->state == REQ_RUNNING ? stats_meter_rate(&t->rate, RATE_WINDOW_US, now) : 0;
}

/* Requests that came before READY. */
static void list_early(struct engine *e, int64_t now)
{
    for (const struct ticket *t = e->live; t && e->n_queue < SNAP_QUEUE; t = t->next)
        if (!t->accepted)
            fill_request(e, &t->rq, now, &e->queue[e->n_queue++]);
}

/* The list of waiters, renewed when that is cheap or due. A scheduler orders only as many as are asked for,
 * but does it anew each time. Several share the room: none gets less than its part because another has many. */
static void look_at_queue(struct engine *e, const struct sched_counts *c, int64_t now)
{
    int64_t real = clock_now_us();
    if (c->waiting > QUEUE_EAGER && real - e->queue_seen_real_us < QUEUE_PACE_US)
        return;
    e->queue_seen_real_us = real;
    e->n_queue = 0;
    if (atomic_load(&e->state) < ENGINE_READY) {
        list_early(e, now);
        return;
    }
    for (uint32_t k = 0; k < e->n_units; k++) {
        uint32_t room = (SNAP_QUEUE - e->n_queue) / (e->n_units - k);
        uint32_t n = e->units[k].sched ? sched_waiters(e->units[k].sched, e->listed, room) : 0;
        for (uint32_t i = 0; i < n; i++)
            fill_request(e, e->listed[i], now, &e->queue[e->n_queue++]);
    }
}

static void fill_running(struct engine *e, struct snapshot *s, int64_t now)
{
    s->n_running = list_running(e);
    for (uint32_t i = 0; i < s->n_running; i++)
        fill_request(e, e->listed[i], now, &s->running[i]);
}

/* The blocks of one model; whose they are is filled in afterwards. */
static void fill_pool(struct engine *e, const struct unit *u, struct snap_block *blocks, uint32_t n)
{
    sched_block_owners(u->sched, e->owners, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t o = e->owners[i];
        uint8_t kind = o == 0                    ? SNAP_BLOCK_FREE
                       : o == SCHED_OWNER_CACHED ? SNAP_BLOCK_CACHED
                       : o == SCHED_OWNER_SHARED ? SNAP_BLOCK_SHARED
                                                 : SNAP_BLOCK_USED;
        blocks[i] = (struct snap_block){.kind = kind};
    }
}

/* After fill_models and fill_running: e->listed holds the running ones. */
static void fill_blocks(struct engine *e, struct snapshot *s, struct pub_buffer *b)
{
    if (mem_grow(&s->blocks, &b->cap_blocks, s->kv_total, sizeof *s->blocks)) {
        s->kv_total = 0; /* out of memory: a snapshot without the map of blocks */
        return;
    }
    for (uint32_t i = 0; i < s->n_models; i++)
        if (e->units[i].sched)
            fill_pool(e, &e->units[i], s->blocks + s->models[i].kv_first, s->models[i].kv_total);
    for (uint32_t k = 0; k < s->n_running; k++) {
        const struct request *r = e->listed[k];
        const struct snap_model *m = &s->models[s->running[k].model];
        for (uint32_t i = 0; i < r->n_blocks; i++) {
            struct snap_block *at = &s->blocks[m->kv_first + r->blocks[i]];
            if (at->kind != SNAP_BLOCK_USED)
                continue;
            at->tag = s->running[k].tag;
            at->arrival = s->running[k].arrival;
        }
    }
}

static void fill_models(const struct engine *e, struct snapshot *s)
{
    uint32_t first = 0;
    s->n_models = e->n_units;
    for (uint32_t i = 0; i < e->n_units; i++) {
        const struct unit *u = &e->units[i];
        struct snap_model *m = &s->models[i];
        *m = (struct snap_model){.state = u->state, .kv_first = first, .n_steps = u->n_steps};
        memcpy(m->name, u->name, sizeof m->name);
        snprintf(m->detail, sizeof m->detail, "%.*s", (int)sizeof m->detail - 1, u->failure.message);
        if (!u->sched)
            continue;
        struct sched_counts c;
        sched_counts(u->sched, &c);
        memcpy(m->precision, u->exec->info.precision, sizeof m->precision);
        m->kv_total = c.blocks_total;
        m->kv_used = c.blocks_used;
        m->waiting = c.waiting;
        m->running = c.running;
        first += c.blocks_total;
    }
}

static void fill_counts(const struct engine *e, struct snapshot *s, const struct sched_counts *c, int64_t now)
{
    s->queue_depth = c->depth;
    memcpy(s->waiting_by_reason, c->waiting_by_reason, sizeof s->waiting_by_reason);
    s->kv_total = c->blocks_total;
    s->kv_used = c->blocks_used;
    s->kv_cached = c->blocks_cached;
    s->kv_free = c->blocks_free;
    s->kv_parked = c->blocks_parked;
    s->prefill_tps = stats_meter_rate(&e->prefill, RATE_WINDOW_US, now);
    s->decode_tps = stats_meter_rate(&e->decode, RATE_WINDOW_US, now);
    s->ttft = e->ttft_shown;
    s->itl = e->itl_shown;
    s->avg_latency_ms = e->latency_shown_ms;
    s->total_requests = c->total_requests;
    s->completed = e->completed;
    s->failed = e->failed;
    s->rejected = e->rejected;
    s->total_batches = e->batches.total;
    s->total_scheduled = e->batch_items.total;
    s->preemptions = c->preemptions;
    s->prefix_query_tokens = c->prefix_query_tokens;
    s->prefix_hit_tokens = c->prefix_hit_tokens;
    s->avg_batch_size = e->batches.total ? (double)e->batch_items.total / (double)e->batches.total : 0;
    uint64_t batches = stats_meter_since(&e->batches, BATCH_WINDOW_US, now, NULL);
    uint64_t items = stats_meter_since(&e->batch_items, BATCH_WINDOW_US, now, NULL);
    s->avg_batch_size_10s = batches ? (double)items / (double)batches : 0;
}

/* Models that have a scheduler; 1 before there is any. */
static uint32_t count_loaded(const struct engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_units; i++)
        n += e->units[i].sched != NULL;
    return n ? n : 1;
}

static void fill_identity(const struct engine *e, struct snapshot *s)
{
    const struct unit *first = &e->units[0];
    uint32_t n = count_loaded(e); /* the limits are each one's */
    s->state = (enum engine_state)atomic_load(&e->state);
    memcpy(s->state_detail, e->detail, sizeof s->state_detail);
    memcpy(s->model, first->name, sizeof s->model);
    if (first->exec) {
        memcpy(s->device, first->exec->info.device, sizeof s->device);
        memcpy(s->exec_name, first->exec->info.name, sizeof s->exec_name);
        memcpy(s->precision, first->exec->info.precision, sizeof s->precision);
        s->block_tokens = first->exec->info.block_tokens;
    }
    s->sim = e->cfg.sim;
    s->frozen = e->frozen;
    s->max_batch_size = e->cfg.max_batch_size * n;
    s->max_batch_tokens = e->cfg.max_batch_tokens;
    s->max_depth = e->cfg.max_depth * n;
    s->aging_rate = e->cfg.aging_rate;
    s->memory_mb = e->memory_mb;
    s->max_memory_mb = e->resource.max_memory_mb;
    s->critical_memory_mb = e->resource.critical_memory_mb;
    s->under_pressure = e->resource.under_pressure;
    s->can_accept = s->state == ENGINE_READY &&
                    (!e->cfg.limit_memory || !resource_accepts(&e->resource, PRIO_NORMAL, NULL));
}

void engine_publish(struct engine *e)
{
    struct pub_buffer *b = &e->pub[e->filling];
    struct snapshot *s = &b->s;
    struct sched_counts c;
    int64_t now = engine_now(e);
    units_counts(e, &c);
    s->seq = ++e->seq;
    s->now_us = now;
    s->uptime_us = clock_now_us() - e->start_real_us;
    fill_identity(e, s);
    update_steps(s, e->steps, e->step, e->in_flight);
    look_at_queue(e, &c, now);
    s->n_queue = e->n_queue;
    memcpy(s->queue, e->queue, e->n_queue * sizeof *e->queue);
    s->queue_total = c.waiting; /* the preempted among them */
    if (s->queue_total < s->n_queue)
        s->queue_total = s->n_queue; /* the list may be a little older than the count */
    fill_counts(e, s, &c, now);
    fill_models(e, s);
    fill_running(e, s, now);
    fill_blocks(e, s, b);
    s->n_rates = e->n_rates;
    memcpy(s->rates, e->rates, e->n_rates * sizeof *e->rates);
    s->n_events = e->n_events;
    memcpy(s->events, e->events, e->n_events * sizeof *e->events);
    if (!e->in_flight && e->step > e->kept_step)
        engine_history_add(e->history, s, &e->steps[engine_step_slot(e->step)], e->events_seen,
                           e->rates_seen);
    e->kept_step = e->in_flight ? e->kept_step : e->step;
    e->filling = atomic_exchange(&e->latest, e->filling | PUB_FRESH) & ~(unsigned)PUB_FRESH;
}

/* ---- reading ---- */

/* All but the arrays whose length is known, which are copied as far as they are filled. */
static void copy_out(const struct snapshot *s, struct snapshot *out)
{
    struct snap_block *blocks = out->blocks;
    size_t cap = out->cap_blocks;
    memcpy(out, s, offsetof(struct snapshot, step));
    update_steps(out, s->step_ring, s->step, s->in_flight);
    out->n_queue = s->n_queue;
    out->queue_total = s->queue_total;
    memcpy(out->queue, s->queue, s->n_queue * sizeof *s->queue);
    out->n_running = s->n_running;
    memcpy(out->running, s->running, s->n_running * sizeof *s->running);
    size_t from = offsetof(struct snapshot, max_batch_size), to = offsetof(struct snapshot, rates);
    memcpy((char *)out + from, (const char *)s + from, to - from);
    memcpy(out->rates, s->rates, s->n_rates * sizeof *s->rates);
    from = offsetof(struct snapshot, prefill_tps);
    memcpy((char *)out + from, (const char *)s + from, sizeof *s - from);

    out->blocks = blocks;
    if (mem_grow(&out->blocks, &cap, s->kv_total, sizeof *out->blocks))
        out->kv_total = 0; /* out of memory: without the map of blocks */
    else if (s->kv_total)
        memcpy(out->blocks, s->blocks, s->kv_total * sizeof *s->blocks);
    out->cap_blocks = (uint32_t)cap;
}

/* The readers' buffer, with the latest in it. Under reader_lock. */
static const struct snapshot *latest(struct engine *e)
{
    if (atomic_load(&e->latest) & PUB_FRESH)
        e->reading = atomic_exchange(&e->latest, e->reading) & ~(unsigned)PUB_FRESH;
    return &e->pub[e->reading].s;
}

void engine_snapshot(struct engine *e, struct snapshot *out)
{
    pthread_mutex_lock(&e->reader_lock);
    copy_out(latest(e), out);
    pthread_mutex_unlock(&e->reader_lock);
}

bool engine_snapshot_update(struct engine *e, struct snapshot *s)
{
    pthread_mutex_lock(&e->reader_lock);
    const struct snapshot *now = latest(e);
    bool newer = now->seq != s->seq;
    if (newer)
        copy_out(now, s);
    pthread_mutex_unlock(&e->reader_lock);
    return newer;
}

bool engine_snapshot_at(struct engine *e, uint64_t step, struct snapshot *out)
{
    return engine_history_get(e->history, step, out);
}
