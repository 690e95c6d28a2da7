/* What came of a run: one JSON document (INTERFACES "Result"), or a table to read. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "src/replay.h"

static const char *const state_names[] = {
    [REPLAY_PENDING] = "pending",     [REPLAY_LIVE] = "live",     [REPLAY_COMPLETED] = "completed",
    [REPLAY_CANCELLED] = "cancelled", [REPLAY_FAILED] = "failed", [REPLAY_REJECTED] = "rejected",
    [REPLAY_TIMEOUT] = "timeout",
};
enum { N_STATES = sizeof state_names / sizeof state_names[0] };

static double ms(int64_t us)
{
    return us < 0 ? NAN : (double)us / 1e3;
}

/* Between two moments; NaN when either never came. */
static double between_ms(int64_t from_us, int64_t to_us)
{
    return from_us < 0 || to_us < 0 ? NAN : (double)(to_us - from_us) / 1e3;
}

static double queue_ms(const struct replay_outcome *o)
{
    return between_ms(o->submit_us, o->scheduled_us);
}

static double ttft_ms(const struct replay_outcome *o)
{
    return between_ms(o->submit_us, o->first_token_us);
}

static json_t *number(double v)
{
    return cli_json_number(v);
}

/* ---- spreads over requests ---- */

struct spread {
    double p50, p99, max; /* NaN without values */
    size_t n;
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of the requests of one priority that have the value; `scratch` has room for all. */
static struct spread spread_of(const struct replay *rp, enum prio p,
                               double (*value)(const struct replay_outcome *o), double *scratch)
{
    struct spread s = {.n = 0};
    for (size_t i = 0; i < rp->w->n_requests; i++) {
        const struct replay_outcome *o = &rp->outcome[i];
        double v = o->prio == p ? value(o) : NAN;
        if (!isnan(v))
            scratch[s.n++] = v;
    }
    qsort(scratch, s.n, sizeof *scratch, by_value);
    s.p50 = replay_percentile(scratch, s.n, 0.5);
    s.p99 = replay_percentile(scratch, s.n, 0.99);
    s.max = replay_percentile(scratch, s.n, 1);
    return s;
}

struct class_figures {
    size_t n; /* requests submitted */
    struct spread ttft, queue;
};

/* False when out of memory. */
static bool figures_of(const struct replay *rp, struct class_figures out[PRIO_COUNT])
{
    double *scratch = mem_calloc(rp->w->n_requests, sizeof *scratch);
    if (!scratch)
        return false;
    for (int i = 0; i < PRIO_COUNT; i++) {
        enum prio p = (enum prio)(i - 1);
        out[i] = (struct class_figures){.ttft = spread_of(rp, p, ttft_ms, scratch),
                                        .queue = spread_of(rp, p, queue_ms, scratch)};
        for (size_t k = 0; k < rp->w->n_requests; k++)
            out[i].n += rp->outcome[k].prio == p && rp->outcome[k].state != REPLAY_PENDING;
    }
    mem_free(scratch);
    return true;
}

/* ---- totals ---- */

struct totals {
    size_t by_state[N_STATES];
    uint64_t tokens, cached_tokens, recomputed_tokens;
    double sched_mean_us, sched_p99_us;
};

static int by_ns(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool totals_of(const struct replay *rp, struct totals *t)
{
    *t = (struct totals){.sched_mean_us = NAN, .sched_p99_us = NAN};
    for (size_t i = 0; i < rp->w->n_requests; i++) {
        const struct replay_outcome *o = &rp->outcome[i];
        t->by_state[o->state]++;
        t->tokens += o->n_tokens;
        t->cached_tokens += o->cached_tokens;
        t->recomputed_tokens += o->recomputed_tokens;
    }
    size_t n = rp->n_sched;
    uint32_t *sorted = n ? (void *)mem_memdup(rp->sched_ns, n * sizeof *sorted) : NULL;
    if (!sorted)
        return n == 0;
    double sum = 0;
    qsort(sorted, n, sizeof *sorted, by_ns);
    for (size_t i = 0; i < n; i++)
        sum += sorted[i];
    t->sched_mean_us = sum / (double)n / 1e3;
    t->sched_p99_us = sorted[(size_t)ceil(0.99 * (double)n) - 1] / 1e3;
    mem_free(sorted);
    return true;
}

static double per_second(uint64_t n, int64_t us)
{
    return us > 0 ? (double)n * 1e6 / (double)us : 0;
}

static double avg_batch_size(const struct replay *rp)
{
    return rp->n_steps ? (double)rp->n_items / (double)rp->n_steps : 0;
}

/* ---- JSON ---- */

static json_t *request_json(const struct replay *rp, size_t i)
{
    const struct replay_outcome *o = &rp->outcome[i];
    const struct workload_request *r = &rp->w->requests[i];
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, o->ids_hash);
    json_t *v = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:{s:o, s:o, s:o, s:o}, s:I, s:I, s:I, s:I, "
        "s:I, s:s}",
        "id", r->id, "model", r->entry->model ? r->entry->model : rp->model, "priority", prio_name(o->prio),
        "state", state_names[o->state], "submit_ms", number(ms(o->submit_us)), "scheduled_ms",
        number(ms(o->scheduled_us)), "first_token_ms", number(ms(o->first_token_us)), "finish_ms",
        number(ms(o->finish_us)), "queue_ms", number(queue_ms(o)), "preempted_ms",
        (double)o->preempted_us / 1e3, "ttft_ms", number(ttft_ms(o)), "itl_ms", "mean", number(o->itl.mean),
        "p50", number(o->itl.p50), "p99", number(o->itl.p99), "max", number(o->itl.max), "prompt_tokens",
        (json_int_t)o->n_prompt, "tokens", (json_int_t)o->n_tokens, "cached_tokens",
        (json_int_t)o->cached_tokens, "recomputed_tokens", (json_int_t)o->recomputed_tokens, "preemptions",
        (json_int_t)o->preemptions, "ids_hash", hash);
    if (v && o->error && json_object_set(v, "error", o->error)) {
        json_decref(v);
        return NULL;
    }
    return v;
}

static json_t *requests_json(const struct replay *rp)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rp->w->n_requests; i++) {
        if (rp->outcome[i].state == REPLAY_PENDING)
            continue;
        if (json_array_append_new(list, request_json(rp, i))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *totals_json(const struct replay *rp, const struct totals *t)
{
    return json_pack(
        "{s:o, s:I, s:f, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:o, s:o}}", "duration_ms",
        number(ms(rp->end_us)), "steps", (json_int_t)rp->n_steps, "avg_batch_size", avg_batch_size(rp),
        "tokens", (json_int_t)t->tokens, "tokens_per_s", per_second(t->tokens, rp->end_us), "prefill_tokens",
        (json_int_t)rp->n_prefill_tokens, "preemptions", (json_int_t)rp->n_preemptions, "cached_tokens",
        (json_int_t)t->cached_tokens, "recomputed_tokens", (json_int_t)t->recomputed_tokens, "rejected",
        (json_int_t)t->by_state[REPLAY_REJECTED], "max_queue_depth", (json_int_t)rp->max_queue_depth,
        "kv_peak_blocks", (json_int_t)rp->kv_peak_blocks, "leaked_blocks", (json_int_t)rp->leaked_blocks,
        "sched_us", "mean", number(t->sched_mean_us), "p99", number(t->sched_p99_us));
}

static json_t *spread_json(const struct spread *s)
{
    return json_pack("{s:o, s:o, s:o}", "p50", number(s->p50), "p99", number(s->p99), "max", number(s->max));
}

static json_t *classes_json(const struct class_figures figures[PRIO_COUNT])
{
    json_t *classes = json_object();
    for (int i = 0; i < PRIO_COUNT; i++) {
        if (!figures[i].n)
            continue;
        json_t *one = json_pack("{s:o, s:o}", "ttft_ms", spread_json(&figures[i].ttft), "queue_ms",
                                spread_json(&figures[i].queue));
        if (json_object_set_new(classes, prio_name((enum prio)(i - 1)), one)) {
            json_decref(classes);
            return NULL;
        }
    }
    return classes;
}

json_t *replay_result_json(const struct replay *rp)
{
    struct totals t;
    struct class_figures figures[PRIO_COUNT];
    if (!totals_of(rp, &t) || !figures_of(rp, figures))
        return NULL;
    return json_pack("{s:i, s:s, s:b, s:o, s:o, s:o, s:O?}", "schema", 1, "name", rp->w->name, "sim", rp->sim,
                     "requests", requests_json(rp), "totals", totals_json(rp, &t), "by_priority",
                     classes_json(figures), "stats", rp->stats);
}

bool replay_some_failed(const struct replay *rp)
{
    bool failed = false;
    for (size_t i = 0; i < rp->w->n_requests; i++) {
        enum replay_state s = rp->outcome[i].state;
        failed = failed || s == REPLAY_FAILED || s == REPLAY_REJECTED || s == REPLAY_TIMEOUT;
    }
    return failed;
}

/* ---- text ---- */

static void add_states(const struct totals *t, struct buf *out)
{
    const char *comma = "";
    for (int s = REPLAY_COMPLETED; s < N_STATES; s++) {
        if (t->by_state[s])
            buf_addf(out, "%s%zu %s", comma, t->by_state[s], state_names[s]);
        if (t->by_state[s])
            comma = ", ";
    }
    if (t->by_state[REPLAY_PENDING])
        buf_addf(out, "%s%zu never submitted", comma, t->by_state[REPLAY_PENDING]);
}

/* How many requests ended with which error. */
static void add_errors(const struct replay *rp, struct buf *out)
{
    const char *label = "  errors         ";
    for (int rc = WEFT_OK + 1; rc < WEFT_RC_COUNT; rc++) {
        const char *name = weft_rc_name((enum weft_rc)rc);
        size_t n = 0;
        for (size_t i = 0; i < rp->w->n_requests; i++) {
            const char *code = json_string_value(json_object_get(rp->outcome[i].error, "code"));
            n += code && strcmp(code, name) == 0;
        }
        if (!n)
            continue;
        buf_addf(out, "%s%zu %s", label, n, name);
        label = ", ";
    }
    if (label[0] == ',')
        buf_addc(out, '\n');
}

/* A cell of 10 columns: milliseconds, or a dash. */
static void add_cell(double v, struct buf *out)
{
    if (isnan(v))
        buf_addf(out, "%10s", "-");
    else
        buf_addf(out, v < 1e6 ? "%10.1f" : "%10.0f", v);
}

static void add_spread(const struct spread *s, struct buf *out)
{
    add_cell(s->p50, out);
    add_cell(s->p99, out);
    add_cell(s->max, out);
}

void replay_result_text(const struct replay *rp, struct buf *out)
{
    struct totals t;
    struct class_figures figures[PRIO_COUNT];
    if (!totals_of(rp, &t) || !figures_of(rp, figures)) {
        out->failed = true;
        return;
    }
    buf_addf(out, "%s%s: ", rp->w->name, rp->sim ? " (simulated)" : "");
    add_states(&t, out);
    buf_addf(out, " in %.2f s\n\n", (double)rp->end_us / 1e6);
    add_errors(rp, out);
    buf_addf(out, "  generated      %" PRIu64 " tokens, %.1f tok/s\n", t.tokens,
             per_second(t.tokens, rp->end_us));
    buf_addf(out,
             "  prefill        %" PRIu64 " tokens computed, %" PRIu64 " cached, %" PRIu64 " recomputed\n",
             rp->n_prefill_tokens, t.cached_tokens, t.recomputed_tokens);
    buf_addf(out, "  steps          %" PRIu64 " of %.2f requests on average\n", rp->n_steps,
             avg_batch_size(rp));
    buf_addf(out, "  preemptions    %" PRIu64 "\n", rp->n_preemptions);
    buf_addf(out, "  queue          up to %" PRIu32 " requests\n", rp->max_queue_depth);
    buf_addf(out, "  KV blocks      up to %" PRIu32 ", %" PRIu32 " leaked\n", rp->kv_peak_blocks,
             rp->leaked_blocks);
    if (!isnan(t.sched_mean_us))
        buf_addf(out, "  scheduling     %.1f µs a step, p99 %.1f µs\n", t.sched_mean_us, t.sched_p99_us);
    buf_addf(out, "\n  %-9s%9s%30s%30s\n  %-18s%10s%10s%10s%10s%10s%10s\n", "priority", "requests",
             "time to first token, ms", "time in queue, ms", "", "p50", "p99", "max", "p50", "p99", "max");
    for (int i = 0; i < PRIO_COUNT; i++) {
        if (!figures[i].n)
            continue;
        buf_addf(out, "  %-9s%9zu", prio_name((enum prio)(i - 1)), figures[i].n);
        add_spread(&figures[i].ttft, out);
        add_spread(&figures[i].queue, out);
        buf_addc(out, '\n');
    }
}
