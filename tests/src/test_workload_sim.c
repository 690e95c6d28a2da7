/*
 * Replaying in virtual time: the event log and the result field by field, the same bytes on each run, and each
 * built-in workload showing what it claims to show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/replay.h"

/* One run: its result and its events. */
struct run {
    json_t *result, *events; /* events: an array of the lines */
    char *log;
    size_t log_len;
};

static json_t *lines_of(const char *log)
{
    json_t *all = json_array();
    for (const char *line = log; *line; line = strchr(line, '\n') + 1) {
        json_error_t why;
        json_t *ev = json_loadb(line, strcspn(line, "\n"), 0, &why);
        if (!ev)
            fail_msg("%s in: %.200s", why.text, line);
        json_array_append_new(all, ev);
    }
    return all;
}

/* Runs a workload's text under the default configuration, its own settings, and `sets` (ended by NULL). */
static struct run simulate(const char *name, const char *text, const char *const *sets)
{
    struct weft_config cfg;
    struct weft_err err = {0};
    struct workload *w = NULL;
    struct replay rp;
    struct run r = {0};
    int signal = 0;
    FILE *events = open_memstream(&r.log, &r.log_len);
    enum weft_rc rc = config_init(&cfg, &err);
    if (!rc)
        rc = workload_parse(name, text, strlen(text), &w, &err);
    if (!rc)
        rc = workload_configure(w, &cfg, &err);
    for (; !rc && sets && *sets; sets++)
        rc = config_set(&cfg, *sets, &err);
    if (!rc)
        rc = config_check(&cfg, &err);
    if (!rc)
        rc = workload_expand(w, 1, &cfg, &err);
    if (rc || replay_init(&rp, w, true, events, &err) || replay_sim(&cfg, &rp, &signal, &err) ||
        replay_flush(&rp, "events", &err))
        fail_msg("%s: %s", name, err.message);
    assert_int_equal(signal, 0);
    r.result = replay_result_json(&rp);
    assert_non_null(r.result);
    replay_deinit(&rp);
    workload_destroy(w);
    config_deinit(&cfg);
    fclose(events);
    r.events = lines_of(r.log);
    return r;
}

static void run_free(struct run *r)
{
    json_decref(r->result);
    json_decref(r->events);
    free(r->log); /* open_memstream's */
}

static struct run builtin_with(const char *name, const char *const *sets)
{
    const char *text = workload_builtin_text(name, NULL);
    assert_non_null(text);
    struct run r = simulate(name, text, sets);
    json_t *leaked = json_object_get(json_object_get(r.result, "totals"), "leaked_blocks");
    assert_int_equal(json_integer_value(leaked), 0);
    return r;
}

static struct run builtin(const char *name)
{
    return builtin_with(name, NULL);
}

/* ---- looking into a result ---- */

static double total(const struct run *r, const char *key)
{
    json_t *v = json_object_get(json_object_get(r->result, "totals"), key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static json_t *request(const struct run *r, const char *id)
{
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r->result, "requests"), i, q)
    {
        if (strcmp(json_string_value(json_object_get(q, "id")), id) == 0)
            return q;
    }
    fail_msg("no request %s", id);
    return NULL;
}

static json_t *request_n(const struct run *r, const char *entry, int n)
{
    char id[REQ_ID_MAX];
    snprintf(id, sizeof id, "%s.%d", entry, n);
    return request(r, id);
}

static double num(const json_t *request, const char *key)
{
    json_t *v = json_object_get(request, key);
    if (!json_is_number(v))
        fail_msg("%s is no number", key);
    return json_number_value(v);
}

static const char *str(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    assert_non_null(s);
    return s;
}

static double itl_max(const json_t *request)
{
    return num(json_object_get(request, "itl_ms"), "max");
}

static const char *code_of(const json_t *request)
{
    return str(json_object_get(request, "error"), "code");
}

static size_t count_events(const struct run *r, const char *ev, const char *id)
{
    size_t i, n = 0;
    json_t *e;
    json_array_foreach(r->events, i, e)
    {
        if (strcmp(str(e, "ev"), ev) == 0 && (!id || strcmp(str(e, "id"), id) == 0))
            n++;
    }
    return n;
}

/* ---- the event log ---- */

enum kind { WORD, COUNT, TIME, REAL, BOOLEAN, LIST, OBJECT };
struct field {
    const char *key;
    enum kind kind;
};
struct event_type {
    const char *ev;
    struct field fields[9];
};

/* What INTERFACES says of each type, besides ev and t_ms. */
static const struct event_type event_types[] = {
    {"submit", {{"id", WORD}, {"priority", WORD}, {"prompt_tokens", COUNT}, {"depth", COUNT}}},
    {"reject",
     {{"id", WORD}, {"priority", WORD}, {"prompt_tokens", COUNT}, {"depth", COUNT}, {"code", WORD}}},
    {"admit", {{"id", WORD}, {"effective", REAL}, {"cached_tokens", COUNT}}},
    {"resume",
     {{"id", WORD},
      {"effective", REAL},
      {"cached_tokens", COUNT},
      {"restored_blocks", COUNT},
      {"recompute_tokens", COUNT}}},
    {"step",
     {{"step", COUNT},
      {"dur_ms", TIME},
      {"budget", COUNT},
      {"prefill", LIST},
      {"decode", LIST},
      {"waiting", COUNT},
      {"running", COUNT},
      {"blocks", OBJECT}}},
    {"first_token", {{"id", WORD}}},
    {"finish", {{"id", WORD}, {"reason", WORD}, {"tokens", COUNT}}},
    {"preempt", {{"id", WORD}, {"by", WORD}, {"mode", WORD}, {"blocks", COUNT}}},
    {"cancel", {{"id", WORD}}},
    {"timeout", {{"id", WORD}}},
    {"priority", {{"id", WORD}, {"from", WORD}, {"to", WORD}}},
    {"state", {{"from", WORD}, {"to", WORD}}},
    {"pressure", {{"from", BOOLEAN}, {"to", BOOLEAN}}},
};
enum { N_EVENT_TYPES = sizeof event_types / sizeof event_types[0] };

static bool is_kind(const json_t *v, enum kind kind)
{
    switch (kind) {
    case WORD: return json_is_string(v) && *json_string_value(v);
    case COUNT: return json_is_integer(v) && json_integer_value(v) >= 0;
    case TIME: return json_is_number(v) && json_number_value(v) >= 0;
    case REAL: return json_is_number(v);
    case BOOLEAN: return json_is_boolean(v);
    case LIST: return json_is_array(v);
    case OBJECT: return json_is_object(v);
    }
    return false;
}

static size_t check_event(const json_t *e)
{
    for (size_t t = 0; t < N_EVENT_TYPES; t++) {
        const struct event_type *type = &event_types[t];
        if (strcmp(type->ev, str(e, "ev")) != 0)
            continue;
        size_t n = 2;
        for (const struct field *f = type->fields; f->key; f++, n++)
            if (!is_kind(json_object_get(e, f->key), f->kind))
                fail_msg("%s: %s is missing or of another type", type->ev, f->key);
        if (json_object_size(e) != n + (json_object_get(e, "model") != NULL))
            fail_msg("%s has %zu fields, not %zu", type->ev, json_object_size(e), n);
        return t;
    }
    fail_msg("unknown event %s", str(e, "ev"));
    return 0;
}

static void check_step(const json_t *e)
{
    json_t *blocks = json_object_get(e, "blocks"), *item;
    double tokens = (double)json_array_size(json_object_get(e, "decode"));
    size_t i;
    json_array_foreach(json_object_get(e, "prefill"), i, item)
    {
        assert_true(strlen(str(item, "id")) > 0);
        assert_true(num(item, "tokens") >= 1);
        tokens += num(item, "tokens");
    }
    json_array_foreach(json_object_get(e, "decode"), i, item)
    {
        assert_true(json_is_string(item));
    }
    assert_true(tokens >= 1 && tokens <= num(e, "budget"));
    assert_true(num(blocks, "used") + num(blocks, "cached") + num(blocks, "free") <= num(blocks, "total"));
    assert_true(num(blocks, "used") + num(blocks, "cached") + num(blocks, "free") >= num(blocks, "total"));
}

/* The life of each request, as the log tells it. */
static void check_lives(const struct run *r)
{
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r->result, "requests"), i, q)
    {
        const char *id = str(q, "id"), *state = str(q, "state");
        bool rejected = strcmp(state, "rejected") == 0;
        assert_int_equal(count_events(r, "submit", id), !rejected);
        assert_int_equal(count_events(r, "finish", id), !rejected);
        assert_int_equal(count_events(r, "reject", id), rejected);
        assert_int_equal(count_events(r, "first_token", id),
                         json_integer_value(json_object_get(q, "tokens")) > 0);
        assert_int_equal(count_events(r, "admit", id), json_is_number(json_object_get(q, "scheduled_ms")));
        assert_int_equal(count_events(r, "preempt", id),
                         json_integer_value(json_object_get(q, "preemptions")));
        assert_int_equal(count_events(r, "cancel", id), strcmp(state, "cancelled") == 0);
        assert_int_equal(count_events(r, "timeout", id), strcmp(state, "timeout") == 0);
    }
}

/* A bit of everything, so that every type of event appears. */
static const char everything[] =
    "name: everything\nseed: 1\n"
    "set: {scheduler.max_batch_size: 4, kv.blocks: 64, queue.max_depth: 12, resources.max_memory_mb: 1000, "
    "resources.critical_memory_mb: 2000}\n"
    "memory: [{at_ms: 4000, mb: 1500}, {at_ms: 5000, mb: 500}]\n"
    "requests:\n"
    "  - {id: batch, repeat: 4, priority: low, prompt_tokens: 100, max_tokens: 150}\n"
    "  - {id: 'q\"uote\\', at_ms: 10, prompt_tokens: 30, max_tokens: 4}\n"
    "  - {id: up, at_ms: 20, priority: low, prompt_tokens: 30, max_tokens: 4, set_priority: {at_ms: 30, to: "
    "high}}\n"
    "  - {id: gone, at_ms: 40, prompt_tokens: 30, max_tokens: 400, cancel_at_ms: 700}\n"
    "  - {id: slow, at_ms: 50, prompt_tokens: 30, max_tokens: 900, timeout_ms: 500}\n"
    "  - {id: flood, repeat: 20, at_ms: 60, priority: low, prompt_tokens: 40, max_tokens: 5}\n"
    "  - {id: impossible, at_ms: 70, prompt_tokens: 2000, max_tokens: 5}\n"
    "  - {id: nowhere, at_ms: 80, model: other, prompt_tokens: 20, max_tokens: 5}\n"
    "  - {id: pressed, at_ms: 4500, priority: low, prompt_tokens: 20, max_tokens: 5}\n"
    "  - {id: chat, at_ms: 5500, messages: [{role: user, content: Hello there}], max_tokens: 5}\n";

static void events_have_the_fields_of_their_type(void **state)
{
    (void)state;
    struct run r = simulate("everything", everything, NULL);
    size_t i, seen[N_EVENT_TYPES] = {0};
    json_t *e;
    double t_ms = 0;
    json_array_foreach(r.events, i, e)
    {
        size_t t = check_event(e);
        seen[t]++;
        assert_true(num(e, "t_ms") >= t_ms); /* in order */
        t_ms = num(e, "t_ms");
        if (strcmp(event_types[t].ev, "step") == 0)
            check_step(e);
    }
    for (size_t t = 0; t < N_EVENT_TYPES; t++)
        if (!seen[t])
            fail_msg("no %s event", event_types[t].ev);
    check_lives(&r);
    run_free(&r);
}

/* `step` comes at its end, then first_token and finish in the plan's order. */
static void what_a_step_brings_follows_it(void **state)
{
    (void)state;
    struct run r = simulate("everything", everything, NULL);
    size_t i, n_steps = 0;
    json_t *e, *step = NULL;
    json_array_foreach(r.events, i, e)
    {
        const char *ev = str(e, "ev");
        if (strcmp(ev, "step") == 0) {
            step = e;
            assert_true(num(e, "step") > (double)n_steps && num(e, "step") < (double)n_steps + 2);
            n_steps++;
        } else if (strcmp(ev, "first_token") == 0) {
            assert_non_null(step);
            assert_true(num(e, "t_ms") <= num(step, "t_ms") && num(e, "t_ms") >= num(step, "t_ms"));
        }
    }
    assert_true(total(&r, "steps") >= (double)n_steps && total(&r, "steps") <= (double)n_steps);
    run_free(&r);
}

static void the_same_file_gives_the_same_bytes(void **state)
{
    (void)state;
    struct run a = simulate("everything", everything, NULL), b = simulate("everything", everything, NULL);
    assert_int_equal(a.log_len, b.log_len);
    assert_memory_equal(a.log, b.log, a.log_len);
    run_free(&a);
    run_free(&b);
    for (const struct workload_builtin *w = workload_builtins; w->name; w++) {
        a = builtin(w->name);
        b = builtin(w->name);
        assert_int_equal(a.log_len, b.log_len);
        assert_memory_equal(a.log, b.log, a.log_len);
        run_free(&a);
        run_free(&b);
    }
}

/* ---- the result ---- */

static void assert_keys(const json_t *object, const char *where, const char *const *keys)
{
    for (; *keys; keys++)
        if (!json_object_get(object, *keys))
            fail_msg("%s has no %s", where, *keys);
}

#define KEYS(...)                                                                                            \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

static void the_result_has_every_field(void **state)
{
    (void)state;
    struct run r = simulate("everything", everything, NULL);
    assert_keys(r.result, "result",
                KEYS("schema", "name", "sim", "requests", "totals", "by_priority", "stats"));
    assert_int_equal(json_integer_value(json_object_get(r.result, "schema")), 1);
    assert_string_equal(str(r.result, "name"), "everything");
    assert_true(json_is_true(json_object_get(r.result, "sim")));
    json_t *requests = json_object_get(r.result, "requests"), *q;
    assert_int_equal(json_array_size(requests), 32);
    size_t i;
    double tokens = 0;
    json_array_foreach(requests, i, q)
    {
        assert_keys(q, str(q, "id"),
                    KEYS("id", "model", "priority", "state", "submit_ms", "scheduled_ms", "first_token_ms",
                         "finish_ms", "queue_ms", "preempted_ms", "ttft_ms", "itl_ms", "prompt_tokens",
                         "tokens", "cached_tokens", "recomputed_tokens", "preemptions", "ids_hash"));
        assert_keys(json_object_get(q, "itl_ms"), "itl_ms", KEYS("mean", "p50", "p99", "max"));
        assert_int_equal(strlen(str(q, "ids_hash")), 16);
        bool fine = !strcmp(str(q, "state"), "completed") || !strcmp(str(q, "state"), "cancelled");
        assert_int_equal(json_object_get(q, "error") == NULL, fine);
        tokens += num(q, "tokens");
    }
    assert_keys(json_object_get(r.result, "totals"), "totals",
                KEYS("duration_ms", "steps", "avg_batch_size", "tokens", "tokens_per_s", "prefill_tokens",
                     "preemptions", "cached_tokens", "recomputed_tokens", "rejected", "max_queue_depth",
                     "kv_peak_blocks", "leaked_blocks", "sched_us"));
    assert_true(total(&r, "tokens") >= tokens && total(&r, "tokens") <= tokens);
    assert_keys(json_object_get(json_object_get(r.result, "totals"), "sched_us"), "sched_us",
                KEYS("mean", "p99"));
    assert_true(total(&r, "max_queue_depth") >= 12 && total(&r, "max_queue_depth") <= 12);
    assert_true(total(&r, "kv_peak_blocks") <= 64);
    json_t *classes = json_object_get(r.result, "by_priority");
    assert_keys(classes, "by_priority", KEYS("high", "normal", "low"));
    assert_null(json_object_get(classes, "critical"));
    assert_keys(json_object_get(json_object_get(classes, "low"), "ttft_ms"), "ttft_ms",
                KEYS("p50", "p99", "max"));
    assert_keys(json_object_get(json_object_get(classes, "low"), "queue_ms"), "queue_ms",
                KEYS("p50", "p99", "max"));
    json_t *stats = json_object_get(r.result, "stats");
    assert_keys(stats, "stats",
                KEYS("id", "state", "uptime_ms", "models", "requests", "resources", "queue", "batch", "kv",
                     "throughput", "latency", "preemptions", "prefix"));
    run_free(&r);
}

static void outcomes_are_what_happened(void **state)
{
    (void)state;
    struct run r = simulate("everything", everything, NULL);
    assert_string_equal(str(request(&r, "q\"uote\\"), "state"), "completed");
    assert_string_equal(str(request(&r, "up"), "priority"), "high");
    assert_string_equal(str(request(&r, "gone"), "state"), "cancelled");
    assert_string_equal(str(request(&r, "slow"), "state"), "timeout");
    assert_string_equal(code_of(request(&r, "slow")), "BATCH_TIMEOUT");
    assert_true(num(request(&r, "slow"), "tokens") > 0); /* what was made so far is kept */
    assert_string_equal(code_of(request(&r, "flood.19")), "QUEUE_FULL");
    assert_string_equal(code_of(request(&r, "impossible")), "INVALID_REQUEST");
    assert_string_equal(code_of(request(&r, "nowhere")), "MODEL_NOT_LOADED");
    assert_string_equal(code_of(request(&r, "pressed")), "RESOURCE_LIMIT_EXCEEDED");
    json_t *error = json_object_get(request(&r, "pressed"), "error");
    assert_int_equal(json_integer_value(json_object_get(error, "timestamp")), 4500); /* virtual */
    assert_true(num(json_object_get(error, "context"), "memory_mb") > 1499);
    json_t *chat = request(&r, "chat");
    assert_true(num(chat, "prompt_tokens") > 3.5 && num(chat, "prompt_tokens") < 4.5); /* user, Hello there */
    assert_true(num(chat, "submit_ms") >= 5500 && num(chat, "submit_ms") <= 5500);
    run_free(&r);
}

/* The cost formula, by hand: one request of 10 prompt tokens that generates 3, alone. */
static void virtual_time_follows_the_formula(void **state)
{
    (void)state;
    struct run r =
        simulate("one",
                 "set: {sim.step_us: 100, sim.prefill_us: 10, sim.decode_us: 50, sim.context_us: 1000}\n"
                 "requests: [{id: a, at_ms: 2, prompt_tokens: 10, max_tokens: 3}]\n",
                 NULL);
    json_t *a = request(&r, "a");
    /* prefill: 100 + 10·10 + 1000·10/1000 = 210; decodes: 100 + 50 + 11 and 100 + 50 + 12 */
    assert_true(num(a, "submit_ms") >= 2 && num(a, "submit_ms") <= 2);
    assert_int_equal((int)(num(a, "first_token_ms") * 1000 + 0.5), 2210);
    assert_int_equal((int)(num(a, "ttft_ms") * 1000 + 0.5), 210);
    assert_int_equal((int)(num(a, "finish_ms") * 1000 + 0.5), 2210 + 161 + 162);
    json_t *itl = json_object_get(a, "itl_ms");
    assert_int_equal((int)(num(itl, "mean") * 10000 + 0.5), 1615);
    assert_int_equal((int)(num(itl, "p50") * 1000 + 0.5), 161);
    assert_int_equal((int)(num(itl, "max") * 1000 + 0.5), 162);
    assert_true(total(&r, "steps") > 2.5 && total(&r, "steps") < 3.5);
    run_free(&r);
}

/* What comes while a step is under way comes at its own time, and takes part from the next step on. */
static void arrivals_within_a_step_keep_their_time(void **state)
{
    (void)state;
    struct run r =
        simulate("mid",
                 "set: {sim.step_us: 100000, sim.prefill_us: 0, sim.decode_us: 0, sim.context_us: 0}\n"
                 "requests:\n  - {id: a, prompt_tokens: 4, max_tokens: 3}\n"
                 "  - {id: b, at_ms: 130, prompt_tokens: 4, max_tokens: 1}\n"
                 "  - {id: c, at_ms: 110, prompt_tokens: 4, max_tokens: 1, cancel_at_ms: 150}\n",
                 NULL);
    assert_true(num(request(&r, "b"), "submit_ms") >= 130 && num(request(&r, "b"), "submit_ms") <= 130);
    assert_true(num(request(&r, "b"), "scheduled_ms") >= 200 && num(request(&r, "b"), "scheduled_ms") <= 200);
    assert_true(num(request(&r, "b"), "first_token_ms") >= 300 &&
                num(request(&r, "b"), "first_token_ms") <= 300);
    assert_string_equal(str(request(&r, "c"), "state"), "cancelled");
    assert_true(num(request(&r, "c"), "finish_ms") >= 150 && num(request(&r, "c"), "finish_ms") <= 150);
    run_free(&r);
}

static void two_models_share_the_device(void **state)
{
    (void)state;
    struct run r = simulate("models",
                            "set: {model.path: [one, two]}\nrequests:\n"
                            "  - {id: a, model: one, prompt_tokens: 16, max_tokens: 40}\n"
                            "  - {id: b, model: two, prompt_tokens: 16, max_tokens: 40}\n"
                            "  - {id: c, prompt_tokens: 16, max_tokens: 1}\n",
                            NULL);
    assert_string_equal(str(request(&r, "b"), "model"), "two");
    assert_string_equal(str(request(&r, "c"), "model"), "one");
    size_t i, steps[2] = {0};
    json_t *e;
    json_array_foreach(r.events, i, e)
    {
        if (strcmp(str(e, "ev"), "step") == 0) {
            const char *model = str(e, "model");
            assert_true(strcmp(model, "one") == 0 || strcmp(model, "two") == 0);
            steps[strcmp(model, "two") == 0]++;
        }
    }
    assert_int_equal(steps[0], 40);
    assert_int_equal(steps[1], 40);
    double gap = num(request(&r, "b"), "finish_ms") - num(request(&r, "a"), "finish_ms");
    assert_true(gap > 0 && gap < 3); /* step by step in turn: they end together */
    run_free(&r);
}

static void zero_costs_are_legal(void **state)
{
    (void)state;
    struct run r = simulate("zero",
                            "set: {sim.step_us: 0, sim.prefill_us: 0, sim.decode_us: 0, sim.context_us: 0}\n"
                            "requests: [{id: a, repeat: 30, prompt_tokens: 100, max_tokens: 10}]\n",
                            NULL);
    assert_true(total(&r, "tokens") > 299.5 && total(&r, "duration_ms") <= 0);
    run_free(&r);
}

/* ---- what the built-in workloads show ---- */

static void aging_lets_the_low_one_pass(void **state)
{
    (void)state;
    struct run r = builtin("aging");
    json_t *low = request(&r, "low");
    int later = 0;
    for (int i = 0; i < 20; i++) {
        json_t *high = request_n(&r, "high", i);
        bool passed = num(high, "submit_ms") > num(low, "submit_ms") + 2000;
        if (passed)
            assert_true(num(high, "scheduled_ms") > num(low, "scheduled_ms"));
        else
            assert_true(num(high, "scheduled_ms") < num(low, "scheduled_ms"));
        /* It passed some that were there already when it started. */
        later += passed && num(high, "submit_ms") < num(low, "scheduled_ms");
    }
    assert_true(later > 0);
    run_free(&r);
}

static void a_burst_fills_the_batch(void **state)
{
    (void)state;
    struct run batch = builtin("burst"), single = builtin("one-at-a-time-against-batch");
    assert_true(total(&batch, "avg_batch_size") > 10);
    assert_true(total(&single, "avg_batch_size") <= 1);
    assert_true(total(&batch, "tokens_per_s") > 3 * total(&single, "tokens_per_s"));
    for (int i = 0; i < 40; i++) /* the same tokens in either company */
        assert_string_equal(str(request_n(&batch, "chat", i), "ids_hash"),
                            str(request_n(&single, "chat", i), "ids_hash"));
    run_free(&batch);
    run_free(&single);
}

static void the_vip_is_served_at_once(void **state)
{
    (void)state;
    struct run r = builtin("vip-against-crowd");
    struct run fifo = builtin("fifo-against-priority");
    json_t *crowd = json_object_get(json_object_get(r.result, "by_priority"), "low");
    double p50 = num(json_object_get(crowd, "ttft_ms"), "p50"), vip = num(request(&r, "vip"), "ttft_ms");
    assert_true(vip * 10 < p50);
    assert_true(vip * 20 < num(request(&fifo, "vip"), "ttft_ms"));
    assert_true(total(&r, "preemptions") > 0 && total(&fifo, "preemptions") <= 0);
    assert_true(total(&r, "tokens_per_s") >
                0.95 * total(&fifo, "tokens_per_s")); /* and costs nearly nothing */
    for (int i = 0; i < 30; i++)
        assert_string_equal(str(request_n(&r, "crowd", i), "ids_hash"),
                            str(request_n(&fifo, "crowd", i), "ids_hash"));
    run_free(&r);
    run_free(&fifo);
}

static void a_long_prompt_stops_nobody(void **state)
{
    (void)state;
    struct run r = builtin("long-prompt");
    const double whole_ms = 1500 * 0.5; /* what the prompt costs in one piece */
    for (int i = 0; i < 6; i++)
        assert_true(itl_max(request_n(&r, "chat", i)) < whole_ms / 8);
    assert_true(num(request(&r, "short"), "ttft_ms") < 3 * 70); /* three steps of 128 tokens */
    assert_true(num(request(&r, "short"), "first_token_ms") < num(request(&r, "long"), "first_token_ms"));
    run_free(&r);
}

static void a_prefix_is_computed_once(void **state)
{
    (void)state;
    struct run r = builtin("prefix-sharing");
    double cached = 0;
    for (int i = 0; i < 4; i++)
        cached += num(request_n(&r, "ask", i), "cached_tokens");
    assert_true(cached >= 3 * 512 && cached <= 3 * 512);
    assert_true(num(request(&r, "again.0"), "cached_tokens") >= 512);
    assert_true(num(request(&r, "apart"), "cached_tokens") <= 0);
    assert_true(num(request(&r, "apart"), "prompt_tokens") > 535.5); /* the prefix counts in results */
    double prompts = 4 * 552 + 3 * 536;
    assert_true(total(&r, "prefill_tokens") + total(&r, "cached_tokens") >= prompts);
    assert_true(total(&r, "prefill_tokens") < prompts / 2);
    run_free(&r);
}

/* What its captions promise, at a pace near a real model's: some 9 ms a token alone. */
static void the_tour_keeps_its_promises(void **state)
{
    (void)state;
    static const char *const paced[] = {"sim.step_us=8000", NULL};
    struct run r = builtin_with("tour", paced);
    double cached = 0;
    static const char *const readers[] = {"hero", "rule", "chalk", "first-page"};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        cached += num(request(&r, readers[i]), "cached_tokens");
    assert_true(cached > 2.5 * num(request(&r, "hero"), "prompt_tokens"));
    assert_true(num(request(&r, "alone"), "finish_ms") < num(request(&r, "poem"), "submit_ms"));
    assert_true(total(&r, "preemptions") > 0);
    assert_true(num(request(&r, "alarm"), "queue_ms") < 100);
    assert_true(num(request(&r, "vital"), "scheduled_ms") < num(request_n(&r, "crowd", 0), "scheduled_ms"));
    assert_true(total(&r, "max_queue_depth") >= 3);
    run_free(&r);
}

static void victims_lose_nothing(void **state)
{
    (void)state;
    static const char *const off[] = {"scheduler.preemption=off", NULL}, *const dropped[] = {
                                                                             "scheduler.preemption=recompute",
                                                                             NULL};
    struct run parked = builtin("preemption"), recomputed = builtin_with("preemption", dropped),
               never = builtin_with("preemption", off);
    assert_true(total(&parked, "preemptions") >= 3 && total(&never, "preemptions") <= 0);
    assert_true(total(&recomputed, "recomputed_tokens") > 0);
    for (int i = 0; i < 4; i++) {
        const char *hash = str(request_n(&never, "batch", i), "ids_hash");
        assert_string_equal(str(request_n(&parked, "batch", i), "ids_hash"), hash);
        assert_string_equal(str(request_n(&recomputed, "batch", i), "ids_hash"), hash);
        assert_string_equal(str(request_n(&parked, "batch", i), "state"), "completed");
    }
    for (int i = 0; i < 3; i++) /* all four seats were taken: one was made free within a step */
        assert_true(num(request_n(&parked, "urgent", i), "queue_ms") < 10);
    run_free(&parked);
    run_free(&recomputed);
    run_free(&never);
}

static void memory_limits_refuse_by_priority(void **state)
{
    (void)state;
    struct run r = builtin("memory-pressure");
    for (int i = 0; i < 16; i++) {
        json_t *pair[] = {request_n(&r, "low", i), request_n(&r, "normal", i)};
        for (int low = 1, k = 0; k < 2; k++, low = 0) {
            double at = num(pair[k], "submit_ms");
            const char *expected = at >= 2000 && at < 3000          ? "MEMORY_LIMIT_EXCEEDED"
                                   : low && at >= 1000 && at < 2000 ? "RESOURCE_LIMIT_EXCEEDED"
                                                                    : NULL;
            assert_string_equal(str(pair[k], "state"), expected ? "rejected" : "completed");
            if (expected)
                assert_string_equal(code_of(pair[k]), expected);
        }
    }
    assert_int_equal(count_events(&r, "pressure", NULL), 2);
    run_free(&r);
}

static void random_traffic_prefers_the_urgent(void **state)
{
    (void)state;
    struct run r = builtin("poisson");
    json_t *by = json_object_get(r.result, "by_priority");
    double high = num(json_object_get(json_object_get(by, "high"), "queue_ms"), "max");
    double low = num(json_object_get(json_object_get(by, "low"), "queue_ms"), "max");
    assert_true(high < low);
    assert_true(json_array_size(json_object_get(r.result, "requests")) > 60);
    run_free(&r);
}

static void cancelled_requests_leave_no_trace(void **state)
{
    (void)state;
    struct run r = builtin("cancel-storm");
    static const char calm[] =
        "seed: 9\nrequests: [{id: stay, repeat: 4, at_ms: 0, prompt_tokens: 96, max_tokens: 96}]\n";
    struct run alone = simulate("calm", calm, NULL);
    for (int i = 0; i < 4; i++)
        assert_string_equal(str(request_n(&r, "stay", i), "ids_hash"),
                            str(request_n(&alone, "stay", i), "ids_hash"));
    /* Some were in each state that its name says. */
    assert_true(num(request(&r, "generating.0"), "tokens") > 0);
    assert_true(json_is_number(json_object_get(request(&r, "prefilling.0"), "scheduled_ms")) &&
                num(request(&r, "prefilling.0"), "tokens") <= 0);
    assert_true(json_is_null(json_object_get(request(&r, "waiting.29"), "scheduled_ms")));
    size_t parked = 0;
    for (int i = 0; i < 4; i++)
        parked += num(request_n(&r, "parked", i), "preempted_ms") > 0;
    assert_true(parked > 0);
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r.result, "requests"), i, q)
    {
        bool stays = !strncmp(str(q, "id"), "stay", 4) || !strncmp(str(q, "id"), "urgent", 6);
        assert_string_equal(str(q, "state"), stays ? "completed" : "cancelled");
    }
    run_free(&r);
    run_free(&alone);
}

/* ---- the end ---- */

static void every_failed_allocation_ends_well(void **state)
{
    (void)state;
    static const char text[] = "set: {sim.blocks: 16, model.path: one}\nrequests:\n"
                               "  - {id: a, repeat: 3, prompt_tokens: 20, max_tokens: 4}\n"
                               "  - {id: b, at_ms: 3, priority: high, prompt_tokens: 20, max_tokens: 2}\n";
    struct weft_config cfg;
    struct weft_err err = {0};
    assert_int_equal(config_init(&cfg, &err), WEFT_OK);
    for (size_t nth = 1;; nth++) {
        struct workload *w = NULL;
        struct replay rp = {0};
        int signal = 0;
        assert_int_equal(workload_parse("t", text, sizeof text - 1, &w, &err), WEFT_OK);
        assert_int_equal(workload_configure(w, &cfg, &err), WEFT_OK);
        assert_int_equal(workload_expand(w, 1, &cfg, &err), WEFT_OK);
        mem_fail_at(nth);
        enum weft_rc rc = replay_init(&rp, w, true, NULL, &err);
        if (rc == WEFT_OK)
            rc = replay_sim(&cfg, &rp, &signal, &err);
        if (rc == WEFT_OK)
            rc = replay_flush(&rp, NULL, &err);
        bool failed = mem_fail_at(0) >= nth;
        replay_deinit(&rp);
        workload_destroy(w);
        if (!failed) {
            assert_int_equal(rc, WEFT_OK);
            assert_true(nth > 20);
            break;
        }
        if (rc) /* a request whose table has no room fails by itself: then the run goes on */
            assert_int_equal(rc, WEFT_INTERNAL_ERROR);
    }
    config_deinit(&cfg);
}

/* Faster than the clock by far: 100,000 requests in under 10 s of this processor, ten times as many as can be
 * served, so that the queue is long too. Without optimisation, or with sanitizers, a tenth of them. */
static void a_hundred_thousand_requests_take_seconds(void **state)
{
    (void)state;
#ifdef WEFT_RELEASE
    const int n = 100000;
#else
    const int n = 10000;
#endif
    char text[512];
    snprintf(
        text, sizeof text,
        "set: {queue.max_depth: 1000000, scheduler.max_batch_size: 64, scheduler.max_batch_tokens: 512}\n"
        "requests: [{id: r, repeat: %d, every_ms: 10, prompt_tokens: {min: 16, max: 256}, "
        "max_tokens: {min: 8, max: 64}, priority: {high: 0.1, normal: 0.6, low: 0.3}}]",
        n);
    struct weft_config cfg;
    struct weft_err err = {0};
    struct workload *w = NULL;
    struct replay rp;
    int signal = 0;
    clock_t start = clock();
    assert_int_equal(config_init(&cfg, &err), WEFT_OK);
    assert_int_equal(workload_parse("many", text, strlen(text), &w, &err), WEFT_OK);
    assert_int_equal(workload_configure(w, &cfg, &err), WEFT_OK);
    assert_int_equal(workload_expand(w, 1, &cfg, &err), WEFT_OK);
    assert_int_equal(replay_init(&rp, w, true, NULL, &err), WEFT_OK);
    assert_int_equal(replay_sim(&cfg, &rp, &signal, &err), WEFT_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    for (int i = 0; i < n; i++)
        assert_int_equal(rp.outcome[i].state, REPLAY_COMPLETED);
    assert_int_equal(rp.leaked_blocks, 0);
    print_message("%d requests, %.1f s\n", n, seconds);
    assert_true(seconds < 10);
    replay_deinit(&rp);
    workload_destroy(w);
    config_deinit(&cfg);
}

static void percentiles_are_nearest_rank(void **state)
{
    (void)state;
    const double v[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    assert_true(replay_percentile(v, 10, 0.5) < 5.5 && replay_percentile(v, 10, 0.5) > 4.5);
    assert_true(replay_percentile(v, 10, 0.51) > 5.5);
    assert_true(replay_percentile(v, 10, 0.99) > 9.5);
    assert_true(replay_percentile(v, 1, 0.5) < 1.5);
    assert_true(replay_percentile(v, 10, 0) < 1.5);
    assert_true(replay_percentile(v, 0, 0.5) != replay_percentile(v, 0, 0.5)); /* NaN */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_have_the_fields_of_their_type),
        cmocka_unit_test(what_a_step_brings_follows_it),
        cmocka_unit_test(the_same_file_gives_the_same_bytes),
        cmocka_unit_test(the_result_has_every_field),
        cmocka_unit_test(outcomes_are_what_happened),
        cmocka_unit_test(virtual_time_follows_the_formula),
        cmocka_unit_test(arrivals_within_a_step_keep_their_time),
        cmocka_unit_test(two_models_share_the_device),
        cmocka_unit_test(zero_costs_are_legal),
        cmocka_unit_test(aging_lets_the_low_one_pass),
        cmocka_unit_test(a_burst_fills_the_batch),
        cmocka_unit_test(the_vip_is_served_at_once),
        cmocka_unit_test(a_long_prompt_stops_nobody),
        cmocka_unit_test(a_prefix_is_computed_once),
        cmocka_unit_test(victims_lose_nothing),
        cmocka_unit_test(the_tour_keeps_its_promises),
        cmocka_unit_test(memory_limits_refuse_by_priority),
        cmocka_unit_test(random_traffic_prefers_the_urgent),
        cmocka_unit_test(cancelled_requests_leave_no_trace),
        cmocka_unit_test(every_failed_allocation_ends_well),
        cmocka_unit_test(a_hundred_thousand_requests_take_seconds),
        cmocka_unit_test(percentiles_are_nearest_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
