/* What a snapshot shows, the stats object made from it, and what publishing costs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 30 };

static bool generated_some(const struct snapshot *s, const void *arg)
{
    return s->n_running == 2 && s->running[0].n_generated >= *(const uint32_t *)arg && s->in_flight;
}

/* In the midst of a step: who is in it, who holds which block, who waits. */
static void test_step_in_flight(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT], three = 3;
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    r.cfg.max_batch_size = 2;
    fake_exec_gate(r.fake, true);
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true);
    rig_ids(1, prompt, PROMPT);
    for (uint32_t i = 0; i < 3; i++) {
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rq.tag = 10 + i;
        rig_submit(&r, &rq, NULL);
    }
    engine_freeze(r.engine, false);
    fake_exec_permit(r.fake, 3);
    rig_wait_snapshot(&r, generated_some, &three);
    engine_snapshot(r.engine, s);

    assert_int_equal(s->state, ENGINE_READY);
    assert_string_equal(s->exec_name, "fake");
    assert_string_equal(s->precision, "fp32");
    assert_int_equal(s->step, 4);
    assert_int_equal(s->n_steps, 4);
    const struct snap_step *now = snapshot_step(s, 3);
    assert_true(s->in_flight);
    assert_int_equal(now->dur_us, -1);
    assert_int_equal(now->step, 4);
    assert_int_equal(now->n_decodes, 2);
    assert_int_equal(now->n_prefill_tokens, 0);
    assert_int_equal(now->n_items, 2);
    assert_int_equal(now->items[0].tag, 10);
    assert_int_equal(now->items[1].tag, 11);
    assert_int_equal(now->items[0].n_tokens, 1);
    assert_int_not_equal(now->items[0].slot, now->items[1].slot);
    assert_int_equal(snapshot_step(s, 0)->n_prefill_tokens, 2 * PROMPT);
    assert_true(snapshot_step(s, 0)->items[0].prefill);
    assert_int_equal(snapshot_step(s, 0)->items[0].slot,
                     now->items[0].slot); /* its row, as long as it holds its place */

    assert_int_equal(s->n_queue, 1);
    assert_int_equal(s->queue_total, 1);
    assert_int_equal(s->queue[0].tag, 12);
    assert_int_equal(s->queue[0].state, REQ_WAITING);
    assert_int_equal(s->queue[0].wait_reason, WAIT_SLOTS);
    assert_int_equal(s->waiting_by_reason[WAIT_SLOTS], 1);
    assert_true(s->queue[0].effective < (int)s->queue[0].base); /* it ages */
    assert_int_equal(s->queue[0].ttft_us, -1);
    assert_true(s->running[0].ttft_us >= 0);

    uint32_t of_tag[2] = {0}, n_free = 0;
    assert_int_equal(s->kv_total, 256);
    for (uint32_t i = 0; i < s->kv_total; i++) {
        n_free += s->blocks[i].kind == SNAP_BLOCK_FREE;
        if (s->blocks[i].kind == SNAP_BLOCK_USED)
            of_tag[s->blocks[i].tag - 10]++;
    }
    assert_int_equal(n_free, s->kv_free);
    for (int k = 0; k < 2; k++)
        assert_int_equal(of_tag[k], s->running[k].n_blocks);
    fake_exec_gate(r.fake, false);
    snapshot_free(s);
    free(s);
    rig_free(&r);
}

static double number_at(json_t *stats, const char *a, const char *b)
{
    json_t *v = json_object_get(json_object_get(stats, a), b);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static bool has_completed(const struct snapshot *s, const void *arg)
{
    return s->completed == *(const uint32_t *)arg && s->n_rates > 1 && !isnan(s->ttft.p50) &&
           s->decode_tps > 0;
}

static void test_stats_object(void **state)
{
    (void)state;
    enum { N = 5 };
    struct rig r;
    uint32_t prompt[PROMPT], n = N;
    char id[REQ_ID_MAX];
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    r.cfg.limit_memory = true;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);

    engine_snapshot(r.engine, s);
    json_t *stats = snapshot_stats_json(s, "me"); /* before anything: no division by zero, nothing left out */
    assert_non_null(stats);
    assert_true(number_at(stats, "requests", "success_rate") >= 1);
    assert_true(
        json_is_null(json_object_get(json_object_get(json_object_get(stats, "latency"), "ttft_ms"), "p50")));
    json_decref(stats);

    rig_ids(1, prompt, PROMPT);
    pthread_mutex_lock(&r.fake->lock);
    r.fake->step_us = 1000;
    pthread_mutex_unlock(&r.fake->lock);
    for (uint32_t i = 0; i < N; i++) {
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rig_submit(&r, &rq, id);
        rig_wait_end(&r, id);
    }
    rig_wait_snapshot(&r, has_completed, &n);
    engine_snapshot(r.engine, s);
    stats = snapshot_stats_json(s, "me");
    assert_string_equal(json_string_value(json_object_get(stats, "id")), "me");
    assert_string_equal(json_string_value(json_object_get(stats, "state")), "READY");
    assert_int_equal(json_array_size(json_object_get(stats, "models")), 1);
    assert_true(json_number_value(json_object_get(stats, "uptime_ms")) > 0);
    static const struct {
        const char *a, *b;
        double min, max;
    } figures[] = {
        {"requests", "total", N, N},
        {"requests", "completed", N, N},
        {"requests", "failed", 0, 0},
        {"requests", "success_rate", 1, 1},
        {"requests", "avg_latency_ms", GEN, 10000},
        {"resources", "memory_mb", 1, 1e5},
        {"resources", "max_memory_mb", 100, 1e9},
        {"resources", "critical_memory_mb", 100, 1e9},
        {"queue", "depth", 0, 0},
        {"queue", "pending", 0, 0},
        {"queue", "max_depth", 1000, 1000},
        {"batch", "total_batches", N * GEN, N * GEN},
        {"batch", "total_requests", N * GEN, N * GEN},
        {"batch", "avg_batch_size", 1, 1},
        {"batch", "avg_batch_size_10s", 0, 1},
        {"batch", "running", 0, 0},
        {"kv", "total", 256, 256},
        {"kv", "used", 0, 0},
        {"kv", "cached", 0, 0},
        {"kv", "free", 256, 256},
        {"kv", "parked", 0, 0},
        {"kv", "usage", 0, 0},
        {"throughput", "prefill_tps", 0, 1e6},
        {"throughput", "decode_tps", 1, 1e6},
        {"prefix", "query_tokens", 0, 1e6},
        {"prefix", "hit_tokens", 0, 0},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        double v = number_at(stats, figures[i].a, figures[i].b);
        if (!(v >= figures[i].min && v <= figures[i].max))
            fail_msg("%s.%s is %g", figures[i].a, figures[i].b, v);
    }
    json_t *itl = json_object_get(json_object_get(stats, "latency"), "itl_ms");
    assert_true(json_number_value(json_object_get(itl, "p50")) >= 0.9);
    json_t *reasons = json_object_get(json_object_get(stats, "queue"), "waiting_by_reason");
    assert_int_equal(json_object_size(reasons), 4);
    assert_non_null(json_object_get(reasons, "coalescing"));
    assert_true(json_is_false(json_object_get(json_object_get(stats, "queue"), "is_full")));
    assert_true(json_is_true(json_object_get(json_object_get(stats, "resources"), "can_accept")));
    assert_true(json_is_integer(json_object_get(stats, "preemptions")));
    json_decref(stats);
    snapshot_free(s);
    free(s);
    rig_free(&r);
}

/* More steps than the ring holds, with a reader that looks now and then: the steps it sees are the last ones, complete. */
static void test_ring_of_steps(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    for (int round = 0; round < 3; round++) {
        struct engine_request rq = rig_request(prompt, PROMPT, 400);
        rig_submit(&r, &rq, id);
        rig_wait_end(&r, id);
        rig_wait_snapshot(&r, has_completed, &(uint32_t){(uint32_t)round + 1});
        engine_snapshot(r.engine, s);
        assert_int_equal(s->step, 400 * (round + 1));
        assert_int_equal(s->n_steps, SNAP_STEPS);
        for (uint32_t i = 0; i < s->n_steps; i++) {
            const struct snap_step *k = snapshot_step(s, i);
            assert_int_equal(k->step, s->step - s->n_steps + 1 + i);
            assert_int_equal(k->n_items, 1);
            assert_true(k->dur_us >= 0);
            assert_true(i == 0 || k->start_us >= snapshot_step(s, i - 1)->start_us);
        }
    }
    snapshot_free(s);
    free(s);
    rig_free(&r);
}

static bool is_in_step(const struct snapshot *s, const void *arg)
{
    return s->in_flight && s->step == *(const uint64_t *)arg;
}

static void assert_same_steps(const struct snapshot *a, const struct snapshot *b)
{
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->n_steps, b->n_steps);
    for (uint32_t i = 0; i < a->n_steps; i++) {
        const struct snap_step *x = snapshot_step(a, i), *y = snapshot_step(b, i);
        assert_int_equal(x->step, y->step);
        assert_int_equal(x->start_us, y->start_us);
        assert_int_equal(x->dur_us, y->dur_us);
        assert_int_equal(x->n_items, y->n_items);
        assert_memory_equal(x->items, y->items, x->n_items * sizeof *x->items);
    }
}

/* A reader's own snapshot is only brought up to date; it says the same as one that is taken anew. */
static void test_updates(void **state)
{
    (void)state;
    enum { PACE = 7, LOOKS = 60 };
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    struct snapshot *kept = calloc(1, sizeof *kept);
    rig_init(&r);
    fake_exec_gate(r.fake, true);
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, PACE * LOOKS + 1);
    rig_submit(&r, &rq, id);
    for (uint64_t step = 1; step <= PACE * LOOKS; step += PACE) { /* past SNAP_STEPS */
        struct snapshot *fresh = calloc(1, sizeof *fresh);
        rig_wait_snapshot(&r, is_in_step,
                          &step); /* which waits for a permit: nothing is published meanwhile */
        assert_true(engine_snapshot_update(r.engine, kept));
        engine_snapshot(r.engine, fresh);
        assert_same_steps(kept, fresh);
        assert_int_equal(kept->seq, fresh->seq);
        assert_false(engine_snapshot_update(r.engine, kept));
        assert_false(engine_snapshot_update(r.engine, fresh));
        snapshot_free(fresh);
        free(fresh);
        fake_exec_permit(r.fake, PACE);
    }
    assert_true(kept->step > SNAP_STEPS);
    assert_true(
        engine_snapshot_at(r.engine, PACE, kept)); /* what it held is gone, and it must not trust it */
    struct snapshot *fresh = calloc(1, sizeof *fresh);
    uint64_t last = PACE * LOOKS + 1;
    rig_wait_snapshot(&r, is_in_step, &last);
    assert_true(engine_snapshot_update(r.engine, kept));
    engine_snapshot(r.engine, fresh);
    assert_same_steps(kept, fresh);
    fake_exec_gate(r.fake, false);
    snapshot_free(fresh);
    free(fresh);
    snapshot_free(kept);
    free(kept);
    rig_free(&r);
}

/* Sixteen at once on an executor that takes no time: what is left is scheduling, sampling, events and publishing. */
static void test_overhead(void **state)
{
    (void)state;
    enum { SEATS = 16, STEPS = 400 };
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[SEATS][REQ_ID_MAX];
    rig_init(&r);
    r.fake->x.v->destroy(&r.fake->x);
    r.fake = fake_exec_create(RIG_VOCAB, 512, 2048, 4);
    r.cfg.max_batch_size = SEATS;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true);
    for (int i = 0; i < SEATS; i++) {
        rig_ids((uint64_t)i, prompt, PROMPT);
        struct engine_request rq = rig_request(prompt, PROMPT, STEPS);
        rq.stream = true;
        rig_submit(&r, &rq, id[i]);
    }
    int64_t start = clock_now_us();
    engine_freeze(r.engine, false);
    for (int i = 0; i < SEATS; i++)
        assert_int_equal(rig_wait_end(&r, id[i])->n_tokens, STEPS);
    double each = (double)(clock_now_us() - start) / STEPS;
    print_message("with %d sequences %.0f us a step, the fake executor and %d tokens' events included\n",
                  SEATS, each, SEATS);
    assert_true(each < 20000); /* of any build on any machine */
    rig_free(&r);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_in_flight), cmocka_unit_test(test_stats_object),
        cmocka_unit_test(test_ring_of_steps),  cmocka_unit_test(test_updates),
        cmocka_unit_test(test_overhead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
