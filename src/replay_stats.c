#include "src/replay_stats.h"

#include <math.h>

enum {
    MARK_US = 250000,         /* pace of the sliding windows, as in the engine */
    LAST_SECOND_US = 1050000, /* four marks, and some play */
    LAST_TEN_US = 10050000
};

static void note_step(struct replay_stats *st, const struct sched_event *ev)
{
    const struct plan *plan = ev->plan;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        const struct request *r = plan->items[i].req;
        if (!plan->items[i].n_logits)
            continue;
        st->decode.total++;
        if (r->n_ids > r->n_prompt) /* the step's own token isn't booked yet */
            stats_histogram_add(&st->itl, ev->now_us - r->last_token_us, ev->now_us);
    }
    st->prefill.total += plan->n_prefill_tokens;
    st->batches.total++;
    st->items.total += plan->n_items;
}

void replay_stats_note(struct replay_stats *st, const struct sched_event *ev)
{
    if (ev->type == SCHED_STEP)
        note_step(st, ev);
    else if (ev->type == SCHED_FIRST_TOKEN)
        stats_histogram_add(&st->ttft, ev->now_us - ev->req->arrival_us, ev->now_us);
    else if (ev->type == SCHED_FINISH && ev->req->state == REQ_COMPLETED)
        stats_histogram_add(&st->latency, ev->now_us - ev->req->arrival_us, ev->now_us);
}

void replay_stats_mark(struct replay_stats *st, int64_t now_us)
{
    struct stats_meter *const meters[] = {&st->prefill, &st->decode, &st->batches, &st->items};
    if (now_us < st->next_mark_us)
        return;
    st->next_mark_us = now_us + MARK_US;
    for (size_t i = 0; i < sizeof meters / sizeof meters[0]; i++)
        stats_meter_mark(meters[i], now_us);
}

void replay_stats_add(const struct sched_counts *c, struct snapshot *out)
{
    out->total_requests += c->total_requests;
    out->completed += c->completed;
    out->failed += c->failed;
    out->rejected += c->rejected;
    out->total_batches += c->steps;
    out->total_scheduled += c->scheduled_items;
    out->preemptions += c->preemptions;
    out->prefix_query_tokens += c->prefix_query_tokens;
    out->prefix_hit_tokens += c->prefix_hit_tokens;
    out->queue_depth += c->depth;
    out->queue_total += c->waiting;
    out->n_running += c->running;
    for (int i = 0; i < WAIT_REASON_COUNT; i++)
        out->waiting_by_reason[i] += c->waiting_by_reason[i];
    out->kv_total += c->blocks_total;
    out->kv_used += c->blocks_used;
    out->kv_cached += c->blocks_cached;
    out->kv_free += c->blocks_free;
    out->kv_parked += c->blocks_parked;
}

static struct snap_percentiles percentiles_ms(struct stats_histogram *h, int64_t now_us)
{
    stats_histogram_expire(h, now_us);
    return (struct snap_percentiles){stats_histogram_quantile_us(h, 0.5) / 1e3,
                                     stats_histogram_quantile_us(h, 0.99) / 1e3};
}

void replay_stats_fill(struct replay_stats *st, int64_t now_us, struct snapshot *out)
{
    stats_histogram_expire(&st->latency, now_us);
    double latency_us = stats_histogram_mean_us(&st->latency);
    uint64_t batches = stats_meter_since(&st->batches, LAST_TEN_US, now_us, NULL);
    uint64_t items = stats_meter_since(&st->items, LAST_TEN_US, now_us, NULL);
    out->avg_latency_ms = isnan(latency_us) ? 0 : latency_us / 1e3;
    out->avg_batch_size = out->total_batches ? (double)out->total_scheduled / (double)out->total_batches : 0;
    out->avg_batch_size_10s = batches ? (double)items / (double)batches : 0;
    out->prefill_tps = stats_meter_rate(&st->prefill, LAST_SECOND_US, now_us);
    out->decode_tps = stats_meter_rate(&st->decode, LAST_SECOND_US, now_us);
    out->ttft = percentiles_ms(&st->ttft, now_us);
    out->itl = percentiles_ms(&st->itl, now_us);
}
