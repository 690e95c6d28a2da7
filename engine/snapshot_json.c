/* The stats object of INTERFACES, made from a snapshot alone. */
#include <math.h>

#include "engine/engine.h"

/* NaN, which JSON lacks, becomes null: there is no data yet. */
static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *percentiles(struct snap_percentiles p)
{
    return json_pack("{s:o, s:o}", "p50", number(p.p50), "p99", number(p.p99));
}

static json_t *models(const struct snapshot *s)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->n_models; i++) {
        const struct snap_model *m = &s->models[i];
        /* One that is still to be loaded is where the engine is. */
        enum engine_state state = m->state == ENGINE_INITIALIZING ? s->state : m->state;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:{s:I, s:I}, s:I, s:I, s:I}", "name", m->name,
                                        "state", engine_state_name(state), "device", s->device, "precision",
                                        m->precision, "kv", "total", (json_int_t)m->kv_total, "used",
                                        (json_int_t)m->kv_used, "waiting", (json_int_t)m->waiting, "running",
                                        (json_int_t)m->running, "steps", (json_int_t)m->n_steps));
    }
    return list;
}

static json_t *requests(const struct snapshot *s)
{
    uint64_t ended = s->completed + s->failed;
    return json_pack("{s:I, s:I, s:I, s:f, s:o}", "total", (json_int_t)s->total_requests, "completed",
                     (json_int_t)s->completed, "failed", (json_int_t)s->failed, "success_rate",
                     ended ? (double)s->completed / (double)ended : 1.0, "avg_latency_ms",
                     number(s->avg_latency_ms));
}

static json_t *resources(const struct snapshot *s)
{
    return json_pack("{s:o, s:f, s:f, s:b, s:b}", "memory_mb", number(s->memory_mb), "max_memory_mb",
                     s->max_memory_mb, "critical_memory_mb", s->critical_memory_mb, "can_accept",
                     s->can_accept, "under_pressure", s->under_pressure);
}

static json_t *queue(const struct snapshot *s)
{
    json_t *reasons = json_object();
    for (int r = WAIT_SLOTS; r < WAIT_REASON_COUNT; r++)
        json_object_set_new(reasons, wait_reason_name((enum wait_reason)r),
                            json_integer((json_int_t)s->waiting_by_reason[r]));
    return json_pack("{s:I, s:b, s:I, s:I, s:o}", "depth", (json_int_t)s->queue_depth, "is_full",
                     s->max_depth && s->queue_depth >= s->max_depth, "pending", (json_int_t)s->queue_total,
                     "max_depth", (json_int_t)s->max_depth, "waiting_by_reason", reasons);
}

static json_t *batch(const struct snapshot *s)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:I}", "total_batches", (json_int_t)s->total_batches,
                     "total_requests", (json_int_t)s->total_scheduled, "avg_batch_size", s->avg_batch_size,
                     "avg_batch_size_10s", s->avg_batch_size_10s, "running", (json_int_t)s->n_running);
}

static json_t *kv(const struct snapshot *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "total", (json_int_t)s->kv_total, "used",
                     (json_int_t)s->kv_used, "cached", (json_int_t)s->kv_cached, "free",
                     (json_int_t)s->kv_free, "parked", (json_int_t)s->kv_parked, "usage",
                     s->kv_total ? (double)s->kv_used / s->kv_total : 0.0);
}

json_t *snapshot_stats_json(const struct snapshot *s, const char *id)
{
    return json_pack(
        "{s:s, s:s, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:f, s:f}, s:{s:o, s:o}, s:I, s:{s:I, s:I}}", "id",
        id ? id : "", "state", engine_state_name(s->state), "uptime_ms", (double)s->uptime_us / 1e3, "models",
        models(s), "requests", requests(s), "resources", resources(s), "queue", queue(s), "batch", batch(s),
        "kv", kv(s), "throughput", "prefill_tps", s->prefill_tps, "decode_tps", s->decode_tps, "latency",
        "ttft_ms", percentiles(s->ttft), "itl_ms", percentiles(s->itl), "preemptions",
        (json_int_t)s->preemptions, "prefix", "query_tokens", (json_int_t)s->prefix_query_tokens,
        "hit_tokens", (json_int_t)s->prefix_hit_tokens);
}
