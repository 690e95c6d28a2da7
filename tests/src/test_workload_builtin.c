/* Each built-in workload, replayed in virtual time, shows what it claims to show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "src/workload.h"
#include "tests/support/replay_run.h"
#include "ui/grid.h"
#include "ui/theme.h"

static void aging_lets_the_low_one_pass(void **state)
{
    (void)state;
    struct run r = run_builtin("aging");
    json_t *low = run_request(&r, "low");
    int later = 0;
    for (int i = 0; i < 20; i++) {
        json_t *high = run_request_n(&r, "high", i);
        bool passed = run_num(high, "submit_ms") > run_num(low, "submit_ms") + 2000;
        if (passed)
            assert_true(run_num(high, "scheduled_ms") > run_num(low, "scheduled_ms"));
        else
            assert_true(run_num(high, "scheduled_ms") < run_num(low, "scheduled_ms"));
        /* It passed some that were there already when it started. */
        later += passed && run_num(high, "submit_ms") < run_num(low, "scheduled_ms");
    }
    assert_true(later > 0);
    run_free(&r);
}

static void a_burst_fills_the_batch(void **state)
{
    (void)state;
    struct run batch = run_builtin("burst"), single = run_builtin("one-at-a-time-against-batch");
    assert_true(run_total(&batch, "avg_batch_size") > 10);
    assert_true(run_total(&single, "avg_batch_size") <= 1);
    assert_true(run_total(&batch, "tokens_per_s") > 3 * run_total(&single, "tokens_per_s"));
    for (int i = 0; i < 40; i++) /* the same tokens in either company */
        assert_string_equal(run_str(run_request_n(&batch, "chat", i), "ids_hash"),
                            run_str(run_request_n(&single, "chat", i), "ids_hash"));
    run_free(&batch);
    run_free(&single);
}

static void the_vip_is_served_at_once(void **state)
{
    (void)state;
    struct run r = run_builtin("vip-against-crowd");
    struct run fifo = run_builtin("fifo-against-priority");
    json_t *crowd = json_object_get(json_object_get(r.result, "by_priority"), "low");
    double p50 = run_num(json_object_get(crowd, "ttft_ms"), "p50"),
           vip = run_num(run_request(&r, "vip"), "ttft_ms");
    assert_true(vip * 10 < p50);
    assert_true(vip * 20 < run_num(run_request(&fifo, "vip"), "ttft_ms"));
    assert_true(run_total(&r, "preemptions") > 0 && run_total(&fifo, "preemptions") <= 0);
    assert_true(run_total(&r, "tokens_per_s") >
                0.95 * run_total(&fifo, "tokens_per_s")); /* and costs nearly nothing */
    for (int i = 0; i < 30; i++)
        assert_string_equal(run_str(run_request_n(&r, "crowd", i), "ids_hash"),
                            run_str(run_request_n(&fifo, "crowd", i), "ids_hash"));
    run_free(&r);
    run_free(&fifo);
}

static void a_long_prompt_stops_nobody(void **state)
{
    (void)state;
    struct run r = run_builtin("long-prompt");
    const double whole_ms = 1500 * 0.5; /* what the prompt costs in one piece */
    for (int i = 0; i < 6; i++)
        assert_true(run_itl_max(run_request_n(&r, "chat", i)) < whole_ms / 8);
    assert_true(run_num(run_request(&r, "short"), "ttft_ms") < 3 * 70); /* three steps of 128 tokens */
    assert_true(run_num(run_request(&r, "short"), "first_token_ms") <
                run_num(run_request(&r, "long"), "first_token_ms"));
    run_free(&r);
}

static void a_prefix_is_computed_once(void **state)
{
    (void)state;
    struct run r = run_builtin("prefix-sharing");
    double cached = 0;
    for (int i = 0; i < 4; i++)
        cached += run_num(run_request_n(&r, "ask", i), "cached_tokens");
    assert_true(cached >= 3 * 512 && cached <= 3 * 512);
    assert_true(run_num(run_request(&r, "again.0"), "cached_tokens") >= 512);
    assert_true(run_num(run_request(&r, "apart"), "cached_tokens") <= 0);
    assert_true(run_num(run_request(&r, "apart"), "prompt_tokens") >
                535.5); /* the prefix counts in results */
    double prompts = 4 * 552 + 3 * 536;
    assert_true(run_total(&r, "prefill_tokens") + run_total(&r, "cached_tokens") >= prompts);
    assert_true(run_total(&r, "prefill_tokens") < prompts / 2);
    run_free(&r);
}

/* Each says what to look at, in the two lines that the smallest usual screen has for it (80 columns, of which the chat has
 * 54). */
static void captions_fit_the_screen(void **state)
{
    (void)state;
    enum { COLUMNS = 50, LINES = 2 };
    for (const struct workload_builtin *b = workload_builtins; b->name; b++) {
        struct weft_err err = {0};
        struct workload *w;
        size_t n, said = 0;
        const char *text = workload_builtin_text(b->name, &n);
        if (workload_parse(b->name, text, n, &w, &err))
            fail_msg("%s", err.message);
        for (size_t i = 0; i < w->n_captions; i++) {
            const struct workload_caption *c = &w->captions[i];
            said += *c->text != 0;
            if (grid_paragraph(NULL, (struct rect){0, 0, COLUMNS, LINES}, c->text, ROLE_TEXT) > LINES)
                fail_msg("%s: \"%s\" takes more than %d lines", b->name, c->text, LINES);
            if (i && c->at_us < w->captions[i - 1].at_us + 2000000)
                fail_msg("%s: there is no time to read what comes before \"%s\"", b->name, c->text);
        }
        if (said < 3 || w->captions[0].at_us != 0)
            fail_msg("%s has %zu captions", b->name, said);
        workload_destroy(w);
    }
}

/* What its captions promise, at a pace near a real model's: some 9 ms a token alone. */
static void the_tour_keeps_its_promises(void **state)
{
    (void)state;
    static const char *const paced[] = {"sim.step_us=8000", NULL};
    struct run r = run_builtin_with("tour", paced);
    double cached = 0;
    static const char *const readers[] = {"hero", "rule", "chalk", "first-page"};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        cached += run_num(run_request(&r, readers[i]), "cached_tokens");
    assert_true(cached > 2.5 * run_num(run_request(&r, "hero"), "prompt_tokens"));
    assert_true(run_num(run_request(&r, "alone"), "finish_ms") <
                run_num(run_request(&r, "poem"), "submit_ms"));
    assert_true(run_total(&r, "preemptions") > 0);
    assert_true(run_num(run_request(&r, "alarm"), "queue_ms") < 100);
    assert_true(run_num(run_request(&r, "vital"), "scheduled_ms") <
                run_num(run_request_n(&r, "crowd", 0), "scheduled_ms"));
    assert_true(run_total(&r, "max_queue_depth") >= 3);
    run_free(&r);
}

static void victims_lose_nothing(void **state)
{
    (void)state;
    static const char *const off[] = {"scheduler.preemption=off", NULL}, *const dropped[] = {
                                                                             "scheduler.preemption=recompute",
                                                                             NULL};
    struct run parked = run_builtin("preemption"), recomputed = run_builtin_with("preemption", dropped),
               never = run_builtin_with("preemption", off);
    assert_true(run_total(&parked, "preemptions") >= 3 && run_total(&never, "preemptions") <= 0);
    assert_true(run_total(&recomputed, "recomputed_tokens") > 0);
    for (int i = 0; i < 4; i++) {
        const char *hash = run_str(run_request_n(&never, "batch", i), "ids_hash");
        assert_string_equal(run_str(run_request_n(&parked, "batch", i), "ids_hash"), hash);
        assert_string_equal(run_str(run_request_n(&recomputed, "batch", i), "ids_hash"), hash);
        assert_string_equal(run_str(run_request_n(&parked, "batch", i), "state"), "completed");
    }
    for (int i = 0; i < 3; i++) /* all four seats were taken: one was made free within a step */
        assert_true(run_num(run_request_n(&parked, "urgent", i), "queue_ms") < 10);
    run_free(&parked);
    run_free(&recomputed);
    run_free(&never);
}

static void memory_limits_refuse_by_priority(void **state)
{
    (void)state;
    struct run r = run_builtin("memory-pressure");
    for (int i = 0; i < 16; i++) {
        json_t *pair[] = {run_request_n(&r, "low", i), run_request_n(&r, "normal", i)};
        for (int low = 1, k = 0; k < 2; k++, low = 0) {
            double at = run_num(pair[k], "submit_ms");
            const char *expected = at >= 2000 && at < 3000          ? "MEMORY_LIMIT_EXCEEDED"
                                   : low && at >= 1000 && at < 2000 ? "RESOURCE_LIMIT_EXCEEDED"
                                                                    : NULL;
            assert_string_equal(run_str(pair[k], "state"), expected ? "rejected" : "completed");
            if (expected)
                assert_string_equal(run_error_code(pair[k]), expected);
        }
    }
    assert_int_equal(run_count_events(&r, "pressure", NULL), 2);
    run_free(&r);
}

static void random_traffic_prefers_the_urgent(void **state)
{
    (void)state;
    struct run r = run_builtin("poisson");
    json_t *by = json_object_get(r.result, "by_priority");
    double high = run_num(json_object_get(json_object_get(by, "high"), "queue_ms"), "max");
    double low = run_num(json_object_get(json_object_get(by, "low"), "queue_ms"), "max");
    assert_true(high < low);
    assert_true(json_array_size(json_object_get(r.result, "requests")) > 60);
    run_free(&r);
}

static void cancelled_requests_leave_no_trace(void **state)
{
    (void)state;
    struct run r = run_builtin("cancel-storm");
    static const char calm[] =
        "seed: 9\nrequests: [{id: stay, repeat: 4, at_ms: 0, prompt_tokens: 96, max_tokens: 96}]\n";
    struct run alone = run_text("calm", calm, NULL);
    for (int i = 0; i < 4; i++)
        assert_string_equal(run_str(run_request_n(&r, "stay", i), "ids_hash"),
                            run_str(run_request_n(&alone, "stay", i), "ids_hash"));
    /* Some were in each state that its name says. */
    assert_true(run_num(run_request(&r, "generating.0"), "tokens") > 0);
    assert_true(json_is_number(json_object_get(run_request(&r, "prefilling.0"), "scheduled_ms")) &&
                run_num(run_request(&r, "prefilling.0"), "tokens") <= 0);
    assert_true(json_is_null(json_object_get(run_request(&r, "waiting.29"), "scheduled_ms")));
    size_t parked = 0;
    for (int i = 0; i < 4; i++)
        parked += run_num(run_request_n(&r, "parked", i), "preempted_ms") > 0;
    assert_true(parked > 0);
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r.result, "requests"), i, q)
    {
        bool stays = !strncmp(run_str(q, "id"), "stay", 4) || !strncmp(run_str(q, "id"), "urgent", 6);
        assert_string_equal(run_str(q, "state"), stays ? "completed" : "cancelled");
    }
    run_free(&r);
    run_free(&alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aging_lets_the_low_one_pass),
        cmocka_unit_test(a_burst_fills_the_batch),
        cmocka_unit_test(the_vip_is_served_at_once),
        cmocka_unit_test(a_long_prompt_stops_nobody),
        cmocka_unit_test(a_prefix_is_computed_once),
        cmocka_unit_test(victims_lose_nothing),
        cmocka_unit_test(captions_fit_the_screen),
        cmocka_unit_test(the_tour_keeps_its_promises),
        cmocka_unit_test(memory_limits_refuse_by_priority),
        cmocka_unit_test(random_traffic_prefers_the_urgent),
        cmocka_unit_test(cancelled_requests_leave_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
