/* Moments gone by: what comes back is what was there, over wrap-around, gaps, and lack of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "ui/history.h"

enum { BLOCKS = 64, STEP_US = 20000 };

/* The engine as it is made up here: everything follows from the step's number. */
static struct snapshot present, shown;
static struct snap_block blocks[BLOCKS];
static struct snap_step all_steps[4096];

static void make_step(uint64_t step)
{
    struct snap_step *s = &all_steps[step];
    *s = (struct snap_step){
        .step = step, .start_us = (int64_t)step * STEP_US, .dur_us = STEP_US - 1000, .n_items = 2};
    s->items[0] = (struct snap_step_item){.arrival = step, .tag = 1, .n_tokens = 1};
    s->items[1] =
        (struct snap_step_item){.arrival = step + 1, .tag = 2, .n_tokens = 9, .prefill = true, .slot = 1};
}

static void make_present(uint64_t step)
{
    for (uint64_t k = 1; k <= step; k++)
        if (!all_steps[k].step)
            make_step(k);
    present.state = ENGINE_READY;
    present.step = step;
    present.now_us = (int64_t)(step + 1) * STEP_US;
    present.n_steps = step < SNAP_STEPS ? (uint32_t)step : SNAP_STEPS;
    for (uint32_t i = 0; i < present.n_steps; i++)
        present.steps[i] = all_steps[step - present.n_steps + 1 + i];
    present.n_queue = (uint32_t)(step % 100);
    present.queue_total = present.n_queue + 3;
    for (uint32_t i = 0; i < present.n_queue; i++)
        present.queue[i] = (struct snap_request){.tag = i, .arrival = step + i, .state = REQ_WAITING};
    present.n_running = 1 + (uint32_t)(step % 7);
    for (uint32_t i = 0; i < present.n_running; i++)
        present.running[i] =
            (struct snap_request){.tag = i, .n_generated = (uint32_t)step, .state = REQ_RUNNING};
    present.n_rates = SNAP_RATES;
    present.rates[SNAP_RATES - 1].decode_tps = (float)step;
    present.n_events = (uint32_t)(step % SNAP_EVENTS);
    for (uint32_t i = 0; i < present.n_events; i++)
        present.events[i] = (struct snap_event){.step = step, .arrival = i};
    for (uint32_t i = 0; i < BLOCKS; i++)
        blocks[i] =
            (struct snap_block){.kind = (i + step) / 8 % 4, .tag = (uint32_t)(i / 5), .arrival = step};
    present.blocks = blocks;
    present.cap_blocks = present.kv_total = BLOCKS;
    present.kv_used = (uint32_t)step;
    present.total_requests = step;
    present.memory_mb = (double)step;
}

/* That `shown` is the moment of the step that `present` is at. */
static void expect_present(void)
{
    assert_int_equal(shown.step, present.step);
    assert_int_equal(shown.now_us, present.now_us);
    assert_int_equal(shown.n_steps, present.n_steps);
    for (uint32_t i = 0; i < shown.n_steps; i++)
        assert_memory_equal(&shown.steps[i], &present.steps[i], offsetof(struct snap_step, items[2]));
    uint32_t queue = present.n_queue < HISTORY_QUEUE ? present.n_queue : HISTORY_QUEUE;
    assert_int_equal(shown.n_queue, queue);
    assert_int_equal(shown.queue_total, present.queue_total);
    assert_memory_equal(shown.queue, present.queue, queue * sizeof shown.queue[0]);
    assert_int_equal(shown.n_running, present.n_running);
    assert_memory_equal(shown.running, present.running, shown.n_running * sizeof shown.running[0]);
    assert_int_equal(shown.n_rates, SNAP_RATES);
    assert_memory_equal(shown.rates, present.rates, sizeof shown.rates);
    uint32_t events = present.n_events < HISTORY_EVENTS ? present.n_events : HISTORY_EVENTS;
    assert_int_equal(shown.n_events, events);
    assert_memory_equal(shown.events, present.events + present.n_events - events,
                        events * sizeof shown.events[0]);
    assert_int_equal(shown.kv_total, BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        assert_int_equal(shown.blocks[i].kind, blocks[i].kind);
        assert_int_equal(shown.blocks[i].tag, blocks[i].tag);
        assert_int_equal(shown.blocks[i].arrival, blocks[i].arrival);
    }
    assert_int_equal(shown.kv_used, present.kv_used);
    assert_int_equal(shown.total_requests, present.total_requests);
    assert_true(shown.memory_mb == present.memory_mb);
    assert_int_equal(shown.state, ENGINE_READY);
}

static int tear_down(void **state)
{
    (void)state;
    snapshot_free(&shown);
    memset(&shown, 0, sizeof shown);
    memset(&present, 0, sizeof present);
    memset(all_steps, 0, sizeof all_steps);
    return 0;
}

static void comes_back_as_it_was(void **state)
{
    (void)state;
    enum { STEPS = 2500 };
    struct history *h = history_create();
    uint64_t first = 0, last = 0;
    assert_non_null(h);
    assert_false(history_range(h, &first, &last));
    assert_false(history_at(h, 0, &shown));
    assert_false(history_at(h, 1, &shown));
    for (uint64_t step = 1; step <= STEPS; step++) {
        make_present(step);
        assert_true(history_add(h, &present));
    }
    assert_true(history_range(h, &first, &last));
    assert_int_equal(last, STEPS);
    assert_int_equal(first, STEPS - HISTORY_STEPS + 1);
    for (uint64_t step = last; step >= first; step -= step % 13 + 1) {
        assert_true(history_at(h, step, &shown));
        make_present(step);
        expect_present();
    }
    assert_true(history_at(h, first, &shown)); /* with all of its timeline */
    assert_int_equal(shown.n_steps, SNAP_STEPS);
    assert_false(history_at(h, first - 1, &shown));
    assert_false(history_at(h, last + 1, &shown));
    history_destroy(h);
}

/* A frame each few steps: the timeline knows them all, the rest is of the moment before. */
static void steps_between_frames(void **state)
{
    (void)state;
    struct history *h = history_create();
    uint64_t first, last;
    for (uint64_t step = 5; step <= 100; step += 5) {
        make_present(step);
        assert_true(history_add(h, &present));
    }
    assert_true(history_range(h, &first, &last));
    assert_int_equal(first, 5);
    assert_true(history_at(h, 98, &shown));
    assert_int_equal(shown.step, 98);
    assert_int_equal(shown.n_steps, 98);
    assert_int_equal(shown.steps[97].step, 98);
    assert_int_equal(shown.kv_used, 95);
    assert_int_equal(shown.now_us, 98 * STEP_US + STEP_US - 1000);
    history_destroy(h);
}

/* The step in flight is seen again when it has ended. */
static void later_looks_count(void **state)
{
    (void)state;
    struct history *h = history_create();
    make_present(10);
    present.steps[9].dur_us = -1;
    present.in_flight = true;
    present.kv_used = 1;
    assert_true(history_add(h, &present));
    assert_true(history_at(h, 10, &shown));
    assert_true(shown.in_flight);
    present.steps[9].dur_us = 777;
    present.in_flight = false;
    present.kv_used = 2;
    assert_true(history_add(h, &present));
    assert_true(history_at(h, 10, &shown));
    assert_false(shown.in_flight);
    assert_int_equal(shown.steps[9].dur_us, 777);
    assert_int_equal(shown.kv_used, 2);
    history_destroy(h);
}

static void out_of_memory(void **state)
{
    (void)state;
    mem_fail_at(1);
    assert_null(history_create());
    mem_fail_at(0);
    struct history *h = history_create();
    make_present(1);
    assert_true(history_add(h, &present));
    make_present(2);
    mem_fail_at(1);
    assert_false(history_add(h, &present));
    mem_fail_at(1);
    assert_false(history_at(h, 1, &shown)); /* no room for its map */
    mem_fail_at(0);
    assert_true(history_at(h, 2, &shown)); /* as it was in step 1 */
    assert_int_equal(shown.kv_used, 1);
    assert_true(history_add(h, &present));
    assert_true(history_at(h, 2, &shown));
    expect_present();
    history_destroy(h);
    history_destroy(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(comes_back_as_it_was, tear_down),
        cmocka_unit_test_teardown(steps_between_frames, tear_down),
        cmocka_unit_test_teardown(later_looks_count, tear_down),
        cmocka_unit_test_teardown(out_of_memory, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
