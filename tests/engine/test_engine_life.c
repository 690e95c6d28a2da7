/* The engine's life cycle: states, loading, warming, freezing, stopping, failing and hanging. */
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 20 };

static void expect_states(const struct rig *r, const enum engine_state *states, uint32_t n)
{
    /* The first is whatever the engine had reached when the inbox was opened. */
    uint32_t at = 0;
    while (at < n && states[at] != r->states[0])
        at++;
    assert_true(at < n);
    assert_int_equal(r->n_states, n - at);
    for (uint32_t i = 0; i < r->n_states; i++)
        assert_int_equal(r->states[i], states[at + i]);
}

static void test_states_in_order(void **state)
{
    (void)state;
    static const enum engine_state expect[] = {ENGINE_INITIALIZING, ENGINE_LOADING,  ENGINE_WARMING,
                                               ENGINE_READY,        ENGINE_STOPPING, ENGINE_STOPPED};
    struct rig r;
    rig_init(&r);
    r.cfg.warm = true;
    r.cfg.warm_timeout_ms = 10000;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    assert_int_equal(engine_state(r.engine), ENGINE_READY);
    assert_int_equal(fake_exec_steps(r.fake), 3); /* one step of each shape class */
    assert_true(rig_stop(&r));
    expect_states(&r, expect, 6);
    rig_free(&r);
}

static void test_waits_for_ready(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT], expect[GEN];
    char first[REQ_ID_MAX], second[REQ_ID_MAX];
    rig_init(&r);
    r.hold_load = true;
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_submit(&r, &rq, first);
    rig_submit(&r, &rq, second);
    engine_cancel(r.engine, second); /* what waits can be cancelled before anything is loaded */
    const struct engine_event *ev = rig_wait_end(&r, second);
    assert_int_equal(ev->type, ENGINE_FINISH);
    assert_int_equal(ev->reason, FINISH_CANCELLED);
    assert_string_equal(ev->text, "");
    assert_true(isnan(ev->timing.scheduled_ms));
    assert_int_equal(engine_state(r.engine), ENGINE_LOADING);
    assert_null(rig_find(&r, first));

    pthread_mutex_lock(&r.lock);
    r.hold_load = false;
    pthread_mutex_unlock(&r.lock);
    ev = rig_wait_end(&r, first);
    assert_int_equal(ev->reason, FINISH_LENGTH);
    assert_int_equal(ev->n_tokens, GEN);
    for (uint32_t i = 0; i < GEN; i++)
        assert_int_equal(ev->tokens[i].id, expect[i]);
    rig_free(&r);
}

static void test_load_fails(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    rig_init(&r);
    r.hold_load = true;
    r.load_fails = WEFT_MODEL_LOAD_FAILED;
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_submit(&r, &rq, id); /* waits, and is refused when it turns out that nothing comes */
    pthread_mutex_lock(&r.lock);
    r.hold_load = false;
    pthread_mutex_unlock(&r.lock);
    rig_wait_state(&r, ENGINE_FAILED);
    assert_int_equal(r.state_error.code, WEFT_MODEL_LOAD_FAILED);
    assert_true(r.state_error.timestamp_ms > 0);
    assert_int_equal(rig_wait_end(&r, id)->type, ENGINE_REJECT);
    assert_int_equal(rig_wait_end(&r, id)->error.code, WEFT_MODEL_NOT_LOADED);
    rig_submit(&r, &rq, id); /* and so is who comes later */
    assert_int_equal(rig_wait_end(&r, id)->error.code, WEFT_MODEL_NOT_LOADED);
    assert_null(engine_model(r.engine));
    assert_true(rig_stop(&r));
    r.fake->x.v->destroy(&r.fake->x); /* never became the engine's */
    rig_free(&r);
}

static void test_warming_refuses_nan(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.cfg.warm = true;
    r.fake->nan_step = 2;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_FAILED);
    assert_int_equal(r.state_error.code, WEFT_MODEL_LOAD_FAILED);
    assert_string_equal(r.state_error.context[0].text, "logits");
    rig_free(&r);
}

static void test_warming_has_a_limit(void **state)
{
    (void)state;
    struct rig r;
    rig_init(&r);
    r.cfg.warm = true;
    r.cfg.warm_timeout_ms = 5;
    r.fake->step_us = 10000;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_FAILED);
    assert_int_equal(r.state_error.code, WEFT_MODEL_LOAD_FAILED);
    assert_string_equal(r.state_error.context[0].text, "model.warm_timeout_ms");
    assert_true(r.state_error.context[1].number > r.state_error.context[2].number);
    rig_free(&r);
}

static bool is_frozen(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->frozen && !s->in_flight;
}

static bool has_step(const struct snapshot *s, const void *arg)
{
    return s->step == *(const uint64_t *)arg && !s->in_flight;
}

static void test_freeze_and_step(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true);
    rig_wait_snapshot(&r, is_frozen, NULL);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.timeout_ms = 300;
    rig_submit(&r, &rq, id);
    rig_pump(&r, 400); /* longer than its timeout: but the clock stands */
    assert_null(rig_find(&r, id));
    engine_snapshot(r.engine, s);
    assert_int_equal(s->n_queue, 1);
    assert_int_equal(s->queue[0].waited_us, 0);
    assert_string_equal(s->queue[0].id, id);
    int64_t stood_at = s->now_us;

    for (uint64_t k = 1; k <= 3; k++) { /* prefill, then a token at a time */
        engine_step(r.engine);
        rig_wait_snapshot(&r, has_step, &k);
        engine_snapshot(r.engine, s);
        assert_int_equal(s->n_running, 1);
        assert_int_equal(s->running[0].n_generated, k);
        assert_int_equal(s->n_steps, k);
        assert_int_equal(snapshot_step(s, (uint32_t)k - 1)->n_items, 1);
        assert_true(snapshot_step(s, (uint32_t)k - 1)->dur_us >= 0);
        assert_true(s->frozen);
    }
    assert_true(s->now_us - stood_at < 200000); /* the clock ran for the steps alone */
    engine_freeze(r.engine, false);
    assert_int_equal(rig_wait_end(&r, id)->reason, FINISH_LENGTH);
    engine_step(r.engine); /* nothing to a running engine */
    snapshot_free(s);
    free(s);
    rig_free(&r);
}

static void test_stop_drains(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    rig_init(&r);
    r.fake->step_us = 2000;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_submit(&r, &rq, id);
    rig_wait_admit(&r, id);
    assert_true(rig_stop(&r));
    assert_int_equal(rig_find(&r, id)->end->reason, FINISH_LENGTH); /* there was time enough */
    rig_free(&r);
}

static bool all_are_known(const struct snapshot *s, const void *arg)
{
    return s->n_queue + s->n_running == *(const uint32_t *)arg && s->running[0].n_generated > 0;
}

static void test_stop_cancels(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[12][REQ_ID_MAX];
    rig_init(&r);
    r.fake->step_us = 10000;
    r.cfg.stop_ms = 50;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, 400);
    for (int i = 0; i < 12; i++) /* more than run at once */
        rig_submit(&r, &rq, id[i]);
    rig_wait_snapshot(&r, all_are_known, &(uint32_t){12});
    int64_t start = clock_now_us();
    assert_true(rig_stop(&r));
    assert_true(clock_now_us() - start < 1000000);
    for (int i = 0; i < 12; i++) {
        struct rig_request *q = rig_find(&r, id[i]);
        assert_non_null(q);
        assert_int_equal(q->n_finishes + q->n_rejects, 1);
        assert_int_equal(q->end->reason, FINISH_CANCELLED);
    }
    assert_true(rig_find(&r, id[0])->end->n_tokens > 0); /* what was made so far is kept */
    rig_free(&r);
}

/* What the next test's engine is left behind as: known here, so no leak by accident. */
static struct engine *left_behind;

/* A device call that never returns must not keep the process from ending. */
static void test_hung_device_is_left_behind(void **state)
{
    (void)state;
    struct rig *r = calloc(1, sizeof *r); /* outlives the test, as the thread does */
    uint32_t prompt[PROMPT];
    rig_init(r);
    r->cfg.stop_ms = 50;
    fake_exec_gate(r->fake, true);
    rig_start(r);
    rig_wait_state(r, ENGINE_READY);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_submit(r, &rq, NULL);
    assert_true(fake_exec_wait_step(r->fake, 1));
    left_behind = r->engine;
    int64_t start = clock_now_us();
    assert_false(rig_stop(r));
    int64_t took = clock_now_us() - start;
    assert_true(took >= 1000000 && took < 2000000);
    engine_inbox_close(r->in);
    r->in = NULL;
    /* The device comes back after all: the thread ends by itself and hurts nobody. */
    struct fake_exec *fake = r->fake;
    fake_exec_gate(fake, false);
    for (int i = 0; i < 1000 && engine_state(left_behind) != ENGINE_STOPPED; i++)
        poll(NULL, 0, 10);
    assert_int_equal(engine_state(left_behind), ENGINE_STOPPED);
    free(r->requests);
    free(r);
}

static void test_failed_step(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT], expect[GEN];
    char id[3][REQ_ID_MAX];
    rig_init(&r);
    r.cfg.max_batch_size = 2;
    r.fake->fail_step = 4;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true); /* so that all three are there when the first step begins */
    rig_ids(1, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    for (int i = 0; i < 3; i++)
        rig_submit(&r, &rq, id[i]);
    int64_t start = clock_now_us();
    engine_freeze(r.engine, false);
    for (int i = 0; i < 2; i++) { /* in the step */
        const struct engine_event *ev = rig_wait_end(&r, id[i]);
        assert_int_equal(ev->reason, FINISH_ERROR);
        assert_int_equal(ev->error.code, WEFT_BATCH_FAILED);
        assert_string_equal(ev->error.context[0].key, "step");
        assert_string_equal(ev->error.context[1].key, "reason");
        assert_true(ev->error.timestamp_ms > 0);
        assert_int_equal(ev->n_tokens, 3);
    }
    const struct engine_event *ev = rig_wait_end(&r, id[2]); /* not in it */
    assert_true(clock_now_us() - start >= 100000);
    assert_int_equal(ev->reason, FINISH_LENGTH);
    for (uint32_t i = 0; i < GEN; i++)
        assert_int_equal(ev->tokens[i].id, expect[i]);
    assert_int_equal(r.fake->n_recovers, 1);
    rig_free(&r);
}

/* The executor comes back without its KV: what the prefix cache remembers of it must not be used again. */
static void test_recovery_without_kv(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT], expect[GEN];
    char id[REQ_ID_MAX];
    rig_init(&r);
    r.cfg.prefix_cache = true;
    r.fake->fail_step = 2 * GEN + 1; /* the third request's first step */
    r.fake->lose_kv = true;
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    for (int k = 0; k < 4; k++) {
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rig_submit(&r, &rq, id);
        const struct engine_event *ev = rig_wait_end(&r, id);
        if (k == 2) {
            assert_int_equal(ev->error.code, WEFT_BATCH_FAILED);
            continue;
        }
        assert_int_equal(ev->cached_tokens, k == 1 ? 8 : 0); /* of 10, in blocks of 4 */
        assert_int_equal(ev->reason, FINISH_LENGTH);
        for (uint32_t i = 0; i < GEN; i++)
            assert_int_equal(ev->tokens[i].id, expect[i]);
    }
    assert_int_equal(r.fake->n_recovers, 1);
    rig_free(&r);
}

static void test_logits_not_finite(void **state)
{
    (void)state;
    struct rig r;
    uint32_t a[PROMPT], b[PROMPT];
    char id[2][REQ_ID_MAX];
    rig_init(&r);
    r.fake->nan_step = 3; /* its first row: that of the request that came first */
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true);
    rig_ids(1, a, PROMPT);
    rig_ids(2, b, PROMPT);
    struct engine_request ra = rig_request(a, PROMPT, GEN), rb = rig_request(b, PROMPT, GEN);
    rig_submit(&r, &ra, id[0]);
    rig_submit(&r, &rb, id[1]);
    engine_freeze(r.engine, false);
    const struct engine_event *ev = rig_wait_end(&r, id[0]);
    assert_int_equal(ev->reason, FINISH_ERROR);
    assert_int_equal(ev->error.code, WEFT_BATCH_FAILED);
    assert_int_equal(ev->n_tokens, 2);
    assert_int_equal(rig_wait_end(&r, id[1])->reason, FINISH_LENGTH);
    rig_free(&r);
}

/* What an executor does for itself begins when nothing was asked of the engine for 3 s, and a request ends it. */
static void test_quiet_is_for_the_executor(void **state)
{
    (void)state;
    enum { QUIET_US = 3000000, PATIENCE_US = 30000000, ENOUGH = 20 };
    struct rig r;
    uint32_t prompt[PROMPT], expect[GEN];
    char id[REQ_ID_MAX];
    rig_init(&r);
    rig_ids(1, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    fake_exec_want_idle(r.fake, UINT64_MAX);
    const struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    for (int round = 0; round < 2; round++) { /* from READY, and again from a request in the midst of it */
        const uint64_t before = fake_exec_idles(r.fake);
        const int64_t asked = clock_now_us();
        rig_submit(&r, &rq, id);
        const struct engine_event *ev = rig_wait_end(&r, id);
        const uint64_t ended = fake_exec_idles(r.fake);
        assert_int_equal(ev->reason, FINISH_LENGTH);
        for (uint32_t i = 0; i < GEN; i++)
            assert_int_equal(ev->tokens[i].id, expect[i]);
        assert_true(round || !before);
        while (fake_exec_idles(r.fake) == ended && clock_now_us() - asked < PATIENCE_US)
            rig_pump(&r, 10);
        assert_true(clock_now_us() - asked >= QUIET_US);
        while (fake_exec_idles(r.fake) < ended + ENOUGH && clock_now_us() - asked < PATIENCE_US)
            rig_pump(&r, 10);
        assert_true(fake_exec_idles(r.fake) >= ended + ENOUGH); /* one after the other, then */
    }
    rig_free(&r);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states_in_order),
        cmocka_unit_test(test_waits_for_ready),
        cmocka_unit_test(test_load_fails),
        cmocka_unit_test(test_warming_refuses_nan),
        cmocka_unit_test(test_warming_has_a_limit),
        cmocka_unit_test(test_freeze_and_step),
        cmocka_unit_test(test_stop_drains),
        cmocka_unit_test(test_stop_cancels),
        cmocka_unit_test(test_hung_device_is_left_behind),
        cmocka_unit_test(test_failed_step),
        cmocka_unit_test(test_recovery_without_kv),
        cmocka_unit_test(test_logits_not_finite),
        cmocka_unit_test(test_quiet_is_for_the_executor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
