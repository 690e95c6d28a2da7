/*
 * Many threads at one engine: each submits, cancels, changes priorities, freezes, opens and closes inboxes
 * and takes snapshots. Each request must end exactly once, with the text that it has alone. Worth most under
 * the thread sanitizer.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/log.h"
#include "engine/exec/exec_sim.h"
#include "tests/support/engine_rig.h"

enum { PRODUCERS = 4, EACH = 60, GEN = 12, PROMPT = 8 };

struct producer {
    struct rig *rig;
    unsigned number;
    uint32_t n_submitted, n_ended, n_wrong;
    pthread_t thread;
};

static void check_end(struct producer *p, const struct engine_event *ev)
{
    uint32_t prompt[PROMPT], expect[GEN];
    p->n_ended++;
    if (ev->type == ENGINE_REJECT)
        return;
    rig_ids(ev->tag, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    p->n_wrong += ev->reason == FINISH_LENGTH && ev->n_tokens != GEN;
    p->n_wrong += ev->reason != FINISH_LENGTH && ev->reason != FINISH_CANCELLED;
    for (uint32_t i = 0; i < ev->n_tokens && i < GEN; i++)
        p->n_wrong += ev->tokens[i].id != expect[i];
}

static void take(struct producer *p, struct engine_inbox *in)
{
    for (struct engine_event *ev = engine_inbox_take(in), *next; ev; ev = next) {
        next = ev->next;
        if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT)
            check_end(p, ev);
        engine_event_free(ev);
    }
}

static void *produce(void *arg)
{
    struct producer *p = arg;
    struct engine *e = p->rig->engine;
    struct engine_inbox *in;
    struct rng r;
    rng_seed(&r, p->number);
    if (engine_inbox_open(e, &in, NULL))
        return NULL;
    for (unsigned k = 0; k < EACH; k++) {
        char id[REQ_ID_MAX], own[REQ_ID_MAX];
        uint32_t prompt[PROMPT];
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rq.tag = p->number * EACH + k;
        rig_ids(rq.tag, prompt, PROMPT);
        rq.stream = rng_below(&r, 2);
        rq.has_priority = true;
        rq.priority = (enum prio)((int)rng_below(&r, 4) - 1);
        if (rng_below(&r, 2)) {
            snprintf(own, sizeof own, "p%u-%u", p->number, k);
            rq.id = own;
        }
        if (engine_submit(e, in, &rq, id, NULL))
            continue;
        p->n_submitted++;
        if (rng_below(&r, 4) == 0)
            engine_cancel(e, id);
        if (rng_below(&r, 4) == 0)
            engine_set_priority(e, id, (enum prio)((int)rng_below(&r, 4) - 1));
        if (rng_below(&r, 8) == 0) {
            engine_freeze(e, true);
            engine_step(e);
            engine_freeze(e, false);
        }
        take(p, in);
    }
    while (p->n_ended < p->n_submitted) {
        engine_inbox_wait(in, 1000);
        take(p, in);
    }
    engine_inbox_close(in);
    return NULL;
}

static atomic_bool watching;

static void *watch(void *arg)
{
    struct rig *r = arg;
    struct snapshot *s = calloc(1, sizeof *s);
    uint64_t last_seq = 0, wrong = 0;
    while (atomic_load(&watching)) {
        engine_snapshot(r->engine, s);
        wrong += s->seq < last_seq; /* never goes back */
        wrong += s->kv_used + s->kv_cached + s->kv_free != s->kv_total;
        for (uint32_t i = 1; i < s->n_steps; i++)
            wrong += snapshot_step(s, i)->step != snapshot_step(s, i - 1)->step + 1;
        wrong += s->in_flight != (s->n_steps && snapshot_step(s, s->n_steps - 1)->dur_us < 0);
        json_t *j = snapshot_stats_json(s, "test");
        wrong += !j;
        json_decref(j);
        last_seq = s->seq;
    }
    snapshot_free(s);
    free(s);
    return wrong ? r : NULL;
}

static bool is_empty(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_queue == 0 && s->n_running == 0 && s->kv_free == s->kv_total;
}

static void test_many_producers(void **state)
{
    (void)state;
    struct rig r;
    struct producer p[PRODUCERS] = {0};
    pthread_t watcher;
    void *wrong;
    rig_init(&r);
    rig_start(&r); /* some come before READY */
    atomic_store(&watching, true);
    pthread_create(&watcher, NULL, watch, &r);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        p[i].rig = &r;
        p[i].number = i;
        pthread_create(&p[i].thread, NULL, produce, &p[i]);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        pthread_join(p[i].thread, NULL);
        assert_int_equal(p[i].n_submitted, EACH);
        assert_int_equal(p[i].n_ended, EACH);
        assert_int_equal(p[i].n_wrong, 0);
    }
    atomic_store(&watching, false);
    pthread_join(watcher, &wrong);
    assert_null(wrong);
    rig_wait_snapshot(&r, is_empty, NULL);
    assert_true(rig_stop(&r));
    rig_free(&r);
}

/* Producers that go on while the engine is stopped under them by another thread's inbox being closed. */
static void test_stop_under_load(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    rig_init(&r);
    r.cfg.stop_ms = 20;
    r.fake->step_us = 1000;
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, 400);
    rq.stream = true;
    for (int i = 0; i < 200; i++)
        rig_submit(&r, &rq, NULL);
    assert_true(rig_stop(&r));
    assert_int_equal(r.n_requests, 200);
    for (uint32_t i = 0; i < r.n_requests; i++) {
        assert_int_equal(r.requests[i].n_finishes + r.requests[i].n_rejects, 1);
        assert_false(r.requests[i].bad_order);
    }
    rig_free(&r);
}

/* ---- over the simulated executor, which paces itself ---- */

static enum weft_rc load_sim(void *ctx, struct engine *e, struct model **model, struct exec **exec,
                             struct weft_err *err)
{
    const struct exec_sim_config *cfg = ctx;
    (void)e;
    *model = NULL;
    return exec_sim_create(cfg, exec, err);
}

static void test_simulated_executor(void **state)
{
    (void)state;
    struct exec_sim_config sim = {.step_us = 2000,
                                  .n_vocab = 1000,
                                  .n_ctx = 512,
                                  .block_tokens = 16,
                                  .n_blocks = 64,
                                  .block_bytes = 1000};
    struct rig r;
    char id[REQ_ID_MAX];
    rig_init(&r);
    r.fake->x.v->destroy(&r.fake->x);
    r.cfg.load = load_sim;
    r.cfg.load_ctx = &sim;
    r.cfg.sim = true;
    r.cfg.warm = true;
    rig_start(&r);
    static const char text[] = "A prompt of a few words";
    struct engine_request rq = rig_request(NULL, 0, 50);
    rq.prompt = text;
    rq.prompt_len = sizeof text - 1;
    rq.stream = true;
    rig_submit(&r, &rq, id);
    const struct engine_event *ev = rig_wait_end(&r, id);
    assert_int_equal(ev->reason, FINISH_LENGTH);
    assert_int_equal(ev->n_prompt, (sizeof text - 1 + 3) / 4); /* an id for each four bytes */
    assert_int_equal(ev->n_tokens, 50);
    assert_int_equal(ev->text[0], ' ');
    assert_true(strspn(ev->text, " abcdefghijklmnopqrstuvwxyz") == ev->text_len);
    assert_true(ev->timing.total_ms >= 50 * 2.0); /* a step lasts as long as it says */
    assert_string_equal(rig_find(&r, id)->streamed, ev->text);
    rig_free(&r);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_producers),
        cmocka_unit_test(test_stop_under_load),
        cmocka_unit_test(test_simulated_executor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
