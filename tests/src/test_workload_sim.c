/*
 * Replaying in virtual time: the event log and the result field by field, the same bytes on each run, and what time it is
 * when. What the built-in workloads show is in test_workload_builtin.c.
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

#include "engine/base/mem.h"
#include "src/replay.h"
#include "tests/support/replay_run.h"

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
        if (strcmp(type->ev, run_str(e, "ev")) != 0)
            continue;
        size_t n = 2;
        for (const struct field *f = type->fields; f->key; f++, n++)
            if (!is_kind(json_object_get(e, f->key), f->kind))
                fail_msg("%s: %s is missing or of another type", type->ev, f->key);
        if (json_object_size(e) != n + (json_object_get(e, "model") != NULL))
            fail_msg("%s has %zu fields, not %zu", type->ev, json_object_size(e), n);
        return t;
    }
    fail_msg("unknown event %s", run_str(e, "ev"));
    return 0;
}

static void check_step(const json_t *e)
{
    json_t *blocks = json_object_get(e, "blocks"), *item;
    double tokens = (double)json_array_size(json_object_get(e, "decode"));
    size_t i;
    json_array_foreach(json_object_get(e, "prefill"), i, item)
    {
        assert_true(strlen(run_str(item, "id")) > 0);
        assert_true(run_num(item, "tokens") >= 1);
        tokens += run_num(item, "tokens");
    }
    json_array_foreach(json_object_get(e, "decode"), i, item)
    {
        assert_true(json_is_string(item));
    }
    assert_true(tokens >= 1 && tokens <= run_num(e, "budget"));
    assert_true(run_num(blocks, "used") + run_num(blocks, "cached") + run_num(blocks, "free") <=
                run_num(blocks, "total"));
    assert_true(run_num(blocks, "used") + run_num(blocks, "cached") + run_num(blocks, "free") >=
                run_num(blocks, "total"));
}

/* The life of each request, as the log tells it. */
static void check_lives(const struct run *r)
{
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r->result, "requests"), i, q)
    {
        const char *id = run_str(q, "id"), *state = run_str(q, "state");
        bool rejected = strcmp(state, "rejected") == 0;
        assert_int_equal(run_count_events(r, "submit", id), !rejected);
        assert_int_equal(run_count_events(r, "finish", id), !rejected);
        assert_int_equal(run_count_events(r, "reject", id), rejected);
        assert_int_equal(run_count_events(r, "first_token", id),
                         json_integer_value(json_object_get(q, "tokens")) > 0);
        assert_int_equal(run_count_events(r, "admit", id),
                         json_is_number(json_object_get(q, "scheduled_ms")));
        assert_int_equal(run_count_events(r, "preempt", id),
                         json_integer_value(json_object_get(q, "preemptions")));
        assert_int_equal(run_count_events(r, "cancel", id), strcmp(state, "cancelled") == 0);
        assert_int_equal(run_count_events(r, "timeout", id), strcmp(state, "timeout") == 0);
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
    struct run r = run_text("everything", everything, NULL);
    size_t i, seen[N_EVENT_TYPES] = {0};
    json_t *e;
    double t_ms = 0;
    json_array_foreach(r.events, i, e)
    {
        size_t t = check_event(e);
        seen[t]++;
        assert_true(run_num(e, "t_ms") >= t_ms); /* in order */
        t_ms = run_num(e, "t_ms");
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
    struct run r = run_text("everything", everything, NULL);
    size_t i, n_steps = 0;
    json_t *e, *step = NULL;
    json_array_foreach(r.events, i, e)
    {
        const char *ev = run_str(e, "ev");
        if (strcmp(ev, "step") == 0) {
            step = e;
            assert_true(run_num(e, "step") > (double)n_steps && run_num(e, "step") < (double)n_steps + 2);
            n_steps++;
        } else if (strcmp(ev, "first_token") == 0) {
            assert_non_null(step);
            assert_true(run_num(e, "t_ms") <= run_num(step, "t_ms") &&
                        run_num(e, "t_ms") >= run_num(step, "t_ms"));
        }
    }
    assert_true(run_total(&r, "steps") >= (double)n_steps && run_total(&r, "steps") <= (double)n_steps);
    run_free(&r);
}

static void the_same_file_gives_the_same_bytes(void **state)
{
    (void)state;
    struct run a = run_text("everything", everything, NULL), b = run_text("everything", everything, NULL);
    assert_int_equal(a.log_len, b.log_len);
    assert_memory_equal(a.log, b.log, a.log_len);
    run_free(&a);
    run_free(&b);
    for (const struct workload_builtin *w = workload_builtins; w->name; w++) {
        a = run_builtin(w->name);
        b = run_builtin(w->name);
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
    struct run r = run_text("everything", everything, NULL);
    assert_keys(r.result, "result",
                KEYS("schema", "name", "sim", "requests", "totals", "by_priority", "stats"));
    assert_int_equal(json_integer_value(json_object_get(r.result, "schema")), 1);
    assert_string_equal(run_str(r.result, "name"), "everything");
    assert_true(json_is_true(json_object_get(r.result, "sim")));
    json_t *requests = json_object_get(r.result, "requests"), *q;
    assert_int_equal(json_array_size(requests), 32);
    size_t i;
    double tokens = 0;
    json_array_foreach(requests, i, q)
    {
        assert_keys(q, run_str(q, "id"),
                    KEYS("id", "model", "priority", "state", "submit_ms", "scheduled_ms", "first_token_ms",
                         "finish_ms", "queue_ms", "preempted_ms", "ttft_ms", "itl_ms", "prompt_tokens",
                         "tokens", "cached_tokens", "recomputed_tokens", "preemptions", "ids_hash"));
        assert_keys(json_object_get(q, "itl_ms"), "itl_ms", KEYS("mean", "p50", "p99", "max"));
        assert_int_equal(strlen(run_str(q, "ids_hash")), 16);
        bool fine = !strcmp(run_str(q, "state"), "completed") || !strcmp(run_str(q, "state"), "cancelled");
        assert_int_equal(json_object_get(q, "error") == NULL, fine);
        tokens += run_num(q, "tokens");
    }
    assert_keys(json_object_get(r.result, "totals"), "totals",
                KEYS("duration_ms", "steps", "avg_batch_size", "tokens", "tokens_per_s", "prefill_tokens",
                     "preemptions", "cached_tokens", "recomputed_tokens", "rejected", "max_queue_depth",
                     "kv_peak_blocks", "leaked_blocks", "sched_us"));
    assert_true(run_total(&r, "tokens") >= tokens && run_total(&r, "tokens") <= tokens);
    assert_keys(json_object_get(json_object_get(r.result, "totals"), "sched_us"), "sched_us",
                KEYS("mean", "p99"));
    assert_true(run_total(&r, "max_queue_depth") >= 12 && run_total(&r, "max_queue_depth") <= 12);
    assert_true(run_total(&r, "kv_peak_blocks") <= 64);
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
    struct run r = run_text("everything", everything, NULL);
    assert_string_equal(run_str(run_request(&r, "q\"uote\\"), "state"), "completed");
    assert_string_equal(run_str(run_request(&r, "up"), "priority"), "high");
    assert_string_equal(run_str(run_request(&r, "gone"), "state"), "cancelled");
    assert_string_equal(run_str(run_request(&r, "slow"), "state"), "timeout");
    assert_string_equal(run_error_code(run_request(&r, "slow")), "BATCH_TIMEOUT");
    assert_true(run_num(run_request(&r, "slow"), "tokens") > 0); /* what was made so far is kept */
    assert_string_equal(run_error_code(run_request(&r, "flood.19")), "QUEUE_FULL");
    assert_string_equal(run_error_code(run_request(&r, "impossible")), "INVALID_REQUEST");
    assert_string_equal(run_error_code(run_request(&r, "nowhere")), "MODEL_NOT_LOADED");
    assert_string_equal(run_error_code(run_request(&r, "pressed")), "RESOURCE_LIMIT_EXCEEDED");
    json_t *error = json_object_get(run_request(&r, "pressed"), "error");
    assert_int_equal(json_integer_value(json_object_get(error, "timestamp")), 4500); /* virtual */
    assert_true(run_num(json_object_get(error, "context"), "memory_mb") > 1499);
    json_t *chat = run_request(&r, "chat");
    assert_true(run_num(chat, "prompt_tokens") > 3.5 &&
                run_num(chat, "prompt_tokens") < 4.5); /* user, Hello there */
    assert_true(run_num(chat, "submit_ms") >= 5500 && run_num(chat, "submit_ms") <= 5500);
    run_free(&r);
}

/* The cost formula, by hand: one request of 10 prompt tokens that generates 3, alone. */
static void virtual_time_follows_the_formula(void **state)
{
    (void)state;
    struct run r =
        run_text("one",
                 "set: {sim.step_us: 100, sim.prefill_us: 10, sim.decode_us: 50, sim.context_us: 1000}\n"
                 "requests: [{id: a, at_ms: 2, prompt_tokens: 10, max_tokens: 3}]\n",
                 NULL);
    json_t *a = run_request(&r, "a");
    /* prefill: 100 + 10·10 + 1000·10/1000 = 210; decodes: 100 + 50 + 11 and 100 + 50 + 12 */
    assert_true(run_num(a, "submit_ms") >= 2 && run_num(a, "submit_ms") <= 2);
    assert_int_equal((int)(run_num(a, "first_token_ms") * 1000 + 0.5), 2210);
    assert_int_equal((int)(run_num(a, "ttft_ms") * 1000 + 0.5), 210);
    assert_int_equal((int)(run_num(a, "finish_ms") * 1000 + 0.5), 2210 + 161 + 162);
    json_t *itl = json_object_get(a, "itl_ms");
    assert_int_equal((int)(run_num(itl, "mean") * 10000 + 0.5), 1615);
    assert_int_equal((int)(run_num(itl, "p50") * 1000 + 0.5), 161);
    assert_int_equal((int)(run_num(itl, "max") * 1000 + 0.5), 162);
    assert_true(run_total(&r, "steps") > 2.5 && run_total(&r, "steps") < 3.5);
    run_free(&r);
}

/* What comes while a step is under way comes at its own time, and takes part from the next step on. */
static void arrivals_within_a_step_keep_their_time(void **state)
{
    (void)state;
    struct run r =
        run_text("mid",
                 "set: {sim.step_us: 100000, sim.prefill_us: 0, sim.decode_us: 0, sim.context_us: 0}\n"
                 "requests:\n  - {id: a, prompt_tokens: 4, max_tokens: 3}\n"
                 "  - {id: b, at_ms: 130, prompt_tokens: 4, max_tokens: 1}\n"
                 "  - {id: c, at_ms: 110, prompt_tokens: 4, max_tokens: 1, cancel_at_ms: 150}\n",
                 NULL);
    assert_true(run_num(run_request(&r, "b"), "submit_ms") >= 130 &&
                run_num(run_request(&r, "b"), "submit_ms") <= 130);
    assert_true(run_num(run_request(&r, "b"), "scheduled_ms") >= 200 &&
                run_num(run_request(&r, "b"), "scheduled_ms") <= 200);
    assert_true(run_num(run_request(&r, "b"), "first_token_ms") >= 300 &&
                run_num(run_request(&r, "b"), "first_token_ms") <= 300);
    assert_string_equal(run_str(run_request(&r, "c"), "state"), "cancelled");
    assert_true(run_num(run_request(&r, "c"), "finish_ms") >= 150 &&
                run_num(run_request(&r, "c"), "finish_ms") <= 150);
    run_free(&r);
}

static void two_models_share_the_device(void **state)
{
    (void)state;
    struct run r = run_text("models",
                            "set: {model.path: [one, two]}\nrequests:\n"
                            "  - {id: a, model: one, prompt_tokens: 16, max_tokens: 40}\n"
                            "  - {id: b, model: two, prompt_tokens: 16, max_tokens: 40}\n"
                            "  - {id: c, prompt_tokens: 16, max_tokens: 1}\n",
                            NULL);
    assert_string_equal(run_str(run_request(&r, "b"), "model"), "two");
    assert_string_equal(run_str(run_request(&r, "c"), "model"), "one");
    size_t i, steps[2] = {0};
    json_t *e;
    json_array_foreach(r.events, i, e)
    {
        if (strcmp(run_str(e, "ev"), "step") == 0) {
            const char *model = run_str(e, "model");
            assert_true(strcmp(model, "one") == 0 || strcmp(model, "two") == 0);
            steps[strcmp(model, "two") == 0]++;
        }
    }
    assert_int_equal(steps[0], 40);
    assert_int_equal(steps[1], 40);
    double gap = run_num(run_request(&r, "b"), "finish_ms") - run_num(run_request(&r, "a"), "finish_ms");
    assert_true(gap > 0 && gap < 3); /* step by step in turn: they end together */
    run_free(&r);
}

/* A fork takes its parent's blocks while that one holds them, also a part-filled one, and without any prefix cache. */
static void forks_share_their_parents_blocks(void **state)
{
    (void)state;
    static const char text[] =
        "set: {kv.prefix_cache: false, kv.blocks: 64}\n"
        "requests:\n"
        "  - {id: parent, ids: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], "
        "max_tokens: 200}\n"
        "  - {id: child, at_ms: 50, fork_of: parent, max_tokens: 20,\n"
        "     ids: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 99, 98]}\n"
        "  - {id: twin, at_ms: 50, fork_of: nobody, max_tokens: 20,\n"
        "     ids: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 99, 98]}\n";
    struct run r = run_text("forks", text, NULL);
    json_t *child = run_request(&r, "child"), *twin = run_request(&r, "twin");
    assert_int_equal(run_num(child, "cached_tokens"), 19);
    assert_int_equal(run_num(twin, "cached_tokens"), 0);
    assert_string_equal(run_str(child, "ids_hash"), run_str(twin, "ids_hash"));
    assert_int_equal(run_total(&r, "leaked_blocks"), 0);
    run_free(&r);
}

static void each_change_of_priority_happens(void **state)
{
    (void)state;
    static const char text[] =
        "set: {scheduler.max_batch_size: 1}\n"
        "requests:\n"
        "  - {id: first, prompt_tokens: 20, max_tokens: 100, preemptible: false}\n"
        "  - {id: moved, at_ms: 1, priority: low, prompt_tokens: 20, max_tokens: 4,\n"
        "     set_priority: [{at_ms: 10, to: high}, {at_ms: 20, to: normal}, {at_ms: 30, to: critical}]}\n";
    struct run r = run_text("moved", text, NULL);
    assert_int_equal(run_count_events(&r, "priority", "moved"), 3);
    assert_string_equal(run_str(run_request(&r, "moved"), "priority"), "critical");
    run_free(&r);
}

static void zero_costs_are_legal(void **state)
{
    (void)state;
    struct run r = run_text("zero",
                            "set: {sim.step_us: 0, sim.prefill_us: 0, sim.decode_us: 0, sim.context_us: 0}\n"
                            "requests: [{id: a, repeat: 30, prompt_tokens: 100, max_tokens: 10}]\n",
                            NULL);
    assert_true(run_total(&r, "tokens") > 299.5 && run_total(&r, "duration_ms") <= 0);
    run_free(&r);
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
        cmocka_unit_test(forks_share_their_parents_blocks),
        cmocka_unit_test(each_change_of_priority_happens),
        cmocka_unit_test(zero_costs_are_legal),
        cmocka_unit_test(every_failed_allocation_ends_well),
        cmocka_unit_test(a_hundred_thousand_requests_take_seconds),
        cmocka_unit_test(percentiles_are_nearest_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
