/* What time brings: timeouts, coalescing, pacing, and the resource manager's thresholds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/pace.h"
#include "tests/support/sim_rig.h"

static void test_timeouts(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *runs = sim_make(&g, "runs", PRIO_NORMAL, 4, 100, 1);
    runs->timeout_us = 20000;
    sim_offer(&g, runs, NULL);
    struct request *waits = sim_make(&g, "waits", PRIO_NORMAL, 4, 100, 2);
    waits->timeout_us = 10000;
    sim_offer(&g, waits, NULL);
    struct request *patient = sim_submit(&g, "patient", PRIO_NORMAL, 4, 10, 3);
    sim_run(&g, 200);
    assert_int_equal(waits->state, REQ_TIMEOUT);
    assert_int_equal(waits->error.code, WEFT_QUEUE_TIMEOUT);
    assert_int_equal(waits->finish, FINISH_TIMEOUT);
    assert_string_equal(waits->error.context[0].key, "waited_ms");
    assert_string_equal(waits->error.context[1].key, "timeout_ms");
    assert_true(waits->error.context[1].number >= 10 && waits->error.context[1].number <= 10);
    assert_in_range(waits->finish_us, 10000, 11100); /* with the first plan after its time */
    assert_int_equal(runs->state, REQ_TIMEOUT);
    assert_int_equal(runs->error.code, WEFT_BATCH_TIMEOUT);
    assert_in_range(runs->finish_us, 20000, 21100);
    assert_in_range(runs->n_ids - runs->n_prompt, 18, 20); /* kept */
    assert_true(sim_when(&g, SCHED_TIMEOUT, runs) < sim_when(&g, SCHED_FINISH, runs));
    assert_int_equal(patient->state, REQ_COMPLETED);
    sim_deinit(&g);
}

static void test_timeout_wakes_an_idle_scheduler(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.min_batch_size = 4;
    g.cfg.batch_timeout_us = 50000;
    sim_start(&g);
    struct request *r = sim_make(&g, "r", PRIO_NORMAL, 4, 4, 1);
    r->timeout_us = 20000;
    sim_offer(&g, r, NULL);
    assert_null(sched_plan(g.s, 0));
    assert_int_equal(sched_wake_us(g.s), 20000);
    assert_null(sched_plan(g.s, 20000));
    assert_int_equal(r->state, REQ_TIMEOUT);
    assert_int_equal(sched_wake_us(g.s), INT64_MAX);
    sim_deinit(&g);
}

static void test_coalescing(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.min_batch_size = 3;
    g.cfg.batch_timeout_us = 50000;
    sim_start(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 4, 4, 1);
    assert_false(sim_step(&g));
    struct sched_counts c;
    sched_counts(g.s, &c);
    assert_int_equal(c.waiting_by_reason[WAIT_COALESCING], 1);
    assert_int_equal(a->wait_reason, WAIT_COALESCING);
    assert_int_equal(sched_wake_us(g.s), 50000);
    g.now_us = 30000;
    sim_submit(&g, "b", PRIO_HIGH, 4, 4, 2); /* comes first, but the time counts from a */
    assert_false(sim_step(&g));
    assert_int_equal(sched_wake_us(g.s), 50000);
    g.now_us = 50000;
    assert_true(sim_step(&g)); /* two of three, but waited enough */
    assert_int_equal(sim_event(&g, SCHED_STEP, NULL, 0)->n_items, 2);
    sim_submit(&g, "c", PRIO_NORMAL, 4, 4, 3); /* a running batch is never delayed */
    assert_true(sim_step(&g));
    assert_int_equal(sim_event(&g, SCHED_STEP, NULL, 1)->n_items, 3);
    sim_run(&g, 20);
    sim_submit(&g, "d", PRIO_NORMAL, 4, 4, 4);
    sim_submit(&g, "e", PRIO_NORMAL, 4, 4, 5);
    assert_false(sim_step(&g));
    sim_submit(&g, "f", PRIO_NORMAL, 4, 4, 6); /* the third: at once */
    assert_true(sim_step(&g));
    sim_run(&g, 20);
    struct request *gone = sim_submit(&g, "gone", PRIO_NORMAL, 4, 4, 7);
    assert_false(sim_step(&g));
    sched_cancel(g.s, gone, g.now_us);
    assert_false(sim_step(&g));
    g.now_us += 1000000;
    int64_t then = g.now_us;
    sim_submit(&g, "h", PRIO_NORMAL, 4, 4, 8); /* a fresh wait, not the cancelled one's */
    assert_false(sim_step(&g));
    assert_int_equal(sched_wake_us(g.s), then + 50000);
    sim_deinit(&g);
}

/* Whatever has run before goes on at once, however few there are. */
static void test_coalescing_never_delays_what_ran(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.min_batch_size = 2;
    g.cfg.batch_timeout_us = 50000;
    sim_start(&g);
    sim_submit(&g, "a", PRIO_NORMAL, 4, 9, 1);
    struct request *b = sim_submit(&g, "b", PRIO_NORMAL, 4, 9, 1);
    assert_true(sim_step(&g));
    sched_cancel(g.s, b, g.now_us);
    sched_kv_lost(g.s, g.now_us); /* a is back in the queue, alone */
    assert_true(sim_step(&g));
    sim_deinit(&g);
}

/* Requests that come singly stop being waited for; those that come in fours are waited for again. */
static void test_adaptive_timeout(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.min_batch_size = 4;
    g.cfg.batch_timeout_us = 50000;
    g.cfg.adaptive_timeout = true;
    sim_start(&g);
    char id[32];
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "single%d", i);
        struct request *r = sim_submit(&g, id, PRIO_NORMAL, 4, 4, 1);
        sim_run(&g, 20);
        if (i == 0)
            assert_in_range(r->scheduled_us - r->arrival_us, 30000,
                            50000); /* little known yet: most of the time */
        if (i >= 25)
            assert_in_range(r->scheduled_us - r->arrival_us, 0, 500);
        g.now_us += 1000000;
    }
    int64_t waited = 0;
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 3; k++) {
            snprintf(id, sizeof id, "three%d.%d", i, k);
            sim_submit(&g, id, PRIO_NORMAL, 4, 4, 1);
        }
        sim_run(&g, 20);
        waited = g.reqs[g.n_reqs - 1]->scheduled_us - g.reqs[g.n_reqs - 1]->arrival_us;
        g.now_us += 1000000;
    }
    assert_in_range(waited, 10000, 49999); /* in part, as they never come in fours */
    sim_deinit(&g);
}

static void test_pace(void **state)
{
    (void)state;
    struct pace p = {0};
    assert_int_equal(pace_prefill_tokens(&p, 1000, 256), 256); /* nothing known */
    pace_step(&p, 0, 4, 0, 1000);
    pace_step(&p, 100, 4, 0, 2000); /* 10 µs a token */
    pace_step(&p, 20, 4, 8, 1600);  /* 50 µs a block; what a token takes stays */
    assert_true(p.move_us > 49.9 && p.move_us < 50.1);
    assert_int_equal(pace_prefill_tokens(&p, 1500, 256), 50);
    assert_int_equal(pace_prefill_tokens(&p, 100000, 256), 256);
    assert_int_equal(pace_prefill_tokens(&p, 500, 256), 1); /* hopeless, but prompts go on */
    assert_int_equal(pace_prefill_tokens(&p, 500, 0), 0);
    pace_step(&p, 10, 4, 0, 1); /* faster than its decodes ever were: no negative cost */
    assert_true(p.prefill_us >= 0);
}

static void test_resource_limits(void **state)
{
    (void)state;
    struct resource m;
    struct weft_err err = {0};
    assert_int_equal(resource_init(&m, 0, 0, 10000, &err), WEFT_OK);
    assert_true(m.max_memory_mb > 6999 && m.max_memory_mb < 7001);
    assert_true(m.critical_memory_mb > 8499 && m.critical_memory_mb < 8501);
    assert_int_equal(resource_init(&m, 9000, 0, 10000, &err), WEFT_CONFIG_INVALID); /* 9000 over 8500 */
    assert_int_equal(resource_init(&m, 100, 100, 0, &err), WEFT_OK);
    assert_int_equal(resource_init(&m, 1000, 2000, 0, &err), WEFT_OK);
    static const struct {
        double mb;
        bool changed, pressure;
        enum weft_rc low, high;
    } steps[] = {
        {500, false, false, WEFT_OK, WEFT_OK},
        {1000, true, true, WEFT_RESOURCE_LIMIT_EXCEEDED, WEFT_OK},
        {2100, false, true, WEFT_MEMORY_LIMIT_EXCEEDED, WEFT_MEMORY_LIMIT_EXCEEDED},
        {980, false, true, WEFT_OK, WEFT_OK}, /* below the limit again, but pressure ends only at 950 */
        {950, false, true, WEFT_OK, WEFT_OK},
        {949, true, false, WEFT_OK, WEFT_OK},
        {999, false, false, WEFT_OK, WEFT_OK},
        {3000, true, true, WEFT_MEMORY_LIMIT_EXCEEDED, WEFT_MEMORY_LIMIT_EXCEEDED},
        {0, true, false, WEFT_OK, WEFT_OK},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_int_equal(resource_update(&m, steps[i].mb), steps[i].changed);
        assert_int_equal(m.under_pressure, steps[i].pressure);
        assert_int_equal(resource_accepts(&m, PRIO_LOW, &err), steps[i].low);
        for (int p = PRIO_CRITICAL; p < PRIO_LOW; p++)
            assert_int_equal(resource_accepts(&m, (enum prio)p, &err), steps[i].high);
    }
    resource_update(&m, 2500);
    resource_accepts(&m, PRIO_HIGH, &err);
    assert_string_equal(err.context[0].key, "memory_mb");
    assert_string_equal(err.context[1].key, "limit_mb");
    assert_true(err.context[1].number > 1999 && err.context[1].number < 2001);
}

/* The simulated executor by itself: its clock, its refusals. */
static void test_simulated_costs(void **state)
{
    (void)state;
    struct exec_sim_config cfg = {.step_us = 300,
                                  .prefill_us = 500,
                                  .decode_us = 900,
                                  .context_us = 40,
                                  .park_us = 20,
                                  .n_vocab = 100,
                                  .n_ctx = 1000,
                                  .block_tokens = 4,
                                  .n_blocks = 8,
                                  .n_park_slots = 2};
    struct exec *x;
    struct exec_out out;
    assert_int_equal(exec_sim_create(&cfg, &x, NULL), WEFT_OK);
    uint32_t ids[40] = {0}, table[2][3] = {{0, 1, 2}, {3, 4, 5}};
    struct plan_item items[2] = {
        {.tokens = ids,
         .n_tokens = 10,
         .pos = 0,
         .blocks = table[0],
         .n_blocks = 3,
         .n_logits = 3,
         .prefill = true},
        {.tokens = ids, .n_tokens = 1, .pos = 5, .blocks = table[1], .n_blocks = 3, .n_logits = 1}};
    struct plan_copy park = {6, 0}, restore = {0, 7};
    struct plan p = {.step = 1,
                     .n_tokens = 11,
                     .n_prefill_tokens = 10,
                     .n_prefills = 1,
                     .n_decodes = 1,
                     .items = items,
                     .n_items = 2,
                     .parks = &park,
                     .n_parks = 1,
                     .restores = &restore,
                     .n_restores = 1};
    assert_int_equal(exec_step(x, &p, &out, NULL), WEFT_OK);
    assert_int_equal(out.n_rows, 4);
    assert_null(out.rows[0].logits);
    assert_int_equal(out.dur_us, 300 + 10 * 500 + 900 + 1 + 40); /* 16 context tokens: 0.64 µs */
    exec_destroy(x);
    cfg.step_us = cfg.prefill_us = cfg.decode_us = cfg.context_us = cfg.park_us =
        0; /* zero costs are legal */
    assert_int_equal(exec_sim_create(&cfg, &x, NULL), WEFT_OK);
    assert_int_equal(exec_step(x, &p, &out, NULL), WEFT_OK);
    assert_int_equal(out.dur_us, 0);
    exec_destroy(x);
    struct weft_err err = {0};
    cfg.n_blocks = 0;
    assert_int_equal(exec_sim_create(&cfg, &x, &err), WEFT_CONFIG_INVALID);
    cfg.n_blocks = 8;
    cfg.park_us = -1;
    assert_int_equal(exec_sim_create(&cfg, &x, &err), WEFT_CONFIG_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeouts),         cmocka_unit_test(test_timeout_wakes_an_idle_scheduler),
        cmocka_unit_test(test_coalescing),       cmocka_unit_test(test_coalescing_never_delays_what_ran),
        cmocka_unit_test(test_adaptive_timeout), cmocka_unit_test(test_pace),
        cmocka_unit_test(test_resource_limits),  cmocka_unit_test(test_simulated_costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
