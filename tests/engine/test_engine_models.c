/* Several models in one engine: each has its own executor and scheduler, and they take turns at the device. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "tests/support/engine_rig.h"
#include "tests/support/gguf_build.h"

enum { PROMPT = 10, GEN = 20, SHIFT = 7, EACH = 4 };

/* Where a model comes from. */
struct source {
    struct fake_exec *fake;
    struct model *model; /* becomes the engine's; NULL: simulation */
    enum weft_rc fails;
    uint32_t n_loads, n_releases;
};

static enum weft_rc load(void *ctx, struct engine *e, struct model **model, struct exec **exec,
                         struct weft_err *err)
{
    struct source *src = ctx;
    (void)e;
    src->n_loads++;
    if (src->fails)
        return weft_err_set(err, src->fails, "told to fail");
    *model = src->model;
    *exec = &src->fake->x;
    return WEFT_OK;
}

static void release(void *ctx)
{
    ((struct source *)ctx)->n_releases++;
}

/* A rig with two models: "a", the default, and "b", whose tokens are others. */
struct pair {
    struct rig rig;
    struct source a, b;
};

static struct engine_model_config model_of(const char *name, struct source *src)
{
    struct engine_model_config m = {.load = load, .load_ctx = src, .release = release};
    memcpy(m.name, name, strlen(name) + 1);
    return m;
}

static void pair_init(struct pair *p)
{
    *p = (struct pair){0};
    rig_init(&p->rig);
    p->a.fake = p->rig.fake;
    p->b.fake = fake_exec_create(RIG_VOCAB, RIG_CTX, 128, 4);
    p->b.fake->shift = SHIFT;
    p->rig.cfg.n_models = 2;
    p->rig.cfg.models[0] = model_of("a", &p->a);
    p->rig.cfg.models[1] = model_of("b", &p->b);
}

static void pair_start(struct pair *p)
{
    rig_start(&p->rig);
    rig_wait_state(&p->rig, ENGINE_READY);
}

static void pair_free(struct pair *p)
{
    if (p->rig.engine)
        assert_true(rig_stop(&p->rig));
    assert_int_equal(p->a.n_releases, 1);
    assert_int_equal(p->b.n_releases, 1);
    rig_free(&p->rig);
}

static void submit_to(struct pair *p, const char *model, uint64_t seed, uint32_t max_tokens, char *id)
{
    uint32_t prompt[PROMPT];
    rig_ids(seed, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, max_tokens);
    rq.model = model;
    rig_submit(&p->rig, &rq, id);
}

/* The request ended with what the model with that shift says after the prompt of `seed`. */
static void expect_reply(struct pair *p, const char *id, uint64_t seed, uint32_t n, uint32_t shift)
{
    uint32_t prompt[PROMPT], expect[RIG_CTX];
    rig_ids(seed, prompt, PROMPT);
    rig_expect_shifted(prompt, PROMPT, n, shift, expect);
    const struct engine_event *ev = rig_wait_end(&p->rig, id);
    assert_int_equal(ev->type, ENGINE_FINISH);
    assert_int_equal(ev->reason, FINISH_LENGTH);
    assert_int_equal(ev->n_tokens, n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(ev->tokens[i].id, expect[i]);
    assert_string_equal(ev->model, shift ? "b" : "a");
}

static struct snapshot *look(struct pair *p)
{
    struct snapshot *s = calloc(1, sizeof *s);
    engine_snapshot(p->rig.engine, s);
    return s;
}

static void put_away(struct snapshot *s)
{
    snapshot_free(s);
    free(s);
}

/* ---- tokens and turns ---- */

static void test_each_its_own_tokens(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "", "a", "b"}; /* the first two: the default */
    struct pair p;
    char id[EACH][4][REQ_ID_MAX];
    pair_init(&p);
    pair_start(&p);
    for (uint32_t i = 0; i < EACH; i++)
        for (uint32_t k = 0; k < 4; k++)
            submit_to(&p, names[k], i, GEN, id[i][k]); /* the same prompt to all */
    for (uint32_t i = 0; i < EACH; i++)
        for (uint32_t k = 0; k < 4; k++)
            expect_reply(&p, id[i][k], i, GEN, k == 3 ? SHIFT : 0);
    pair_free(&p);
}

/* Steps alternate for as long as both have work, however much more one of them has. */
static void test_turns(void **state)
{
    (void)state;
    enum { LONG = 60 };
    struct pair p;
    char id[EACH + 1][REQ_ID_MAX];
    pair_init(&p);
    fake_exec_gate(p.a.fake, true);
    pair_start(&p);
    submit_to(&p, "a", 1, LONG, id[0]);
    assert_true(
        fake_exec_wait_step(p.a.fake, 1)); /* the engine is inside a step: what follows comes together */
    for (uint32_t i = 1; i <= EACH; i++)
        submit_to(&p, "b", i, LONG, id[i]);
    fake_exec_gate(p.a.fake, false);
    for (uint32_t i = 1; i <= EACH; i++)
        expect_reply(&p, id[i], i, LONG, SHIFT);
    expect_reply(&p, id[0], 1, LONG, 0);
    struct snapshot *s = look(&p); /* what has been told is shown as well */
    assert_int_equal(s->n_running, 0);
    assert_int_equal(s->kv_used, 0);
    uint32_t last_of[2] = {0}, both = 0;
    for (uint32_t i = 0; i < s->n_steps; i++)
        last_of[snapshot_step(s, i)->model] = i;
    both = last_of[0] < last_of[1] ? last_of[0] : last_of[1];
    assert_true(both > LONG);
    for (uint32_t i = 1; i <= both; i++)
        assert_int_not_equal(snapshot_step(s, i)->model, snapshot_step(s, i - 1)->model);
    for (uint32_t i = 0; i < s->n_steps; i++)
        assert_int_equal(snapshot_step(s, i)->step, i + 1); /* numbered together */
    assert_int_equal(s->models[0].n_steps + s->models[1].n_steps, s->step);
    put_away(s);
    pair_free(&p);
}

/* ---- many at once ---- */

enum { PRODUCERS = 3, EACH_SENDS = 40 };

struct producer {
    struct pair *p;
    uint64_t seed;
};

static const char *const asked[PRODUCERS] = {"a", "b", "c"};

/* Submits to all models in turn, and takes back some: number i of seed s is "s.i". */
static void *produce(void *arg)
{
    struct producer *me = arg;
    for (uint32_t i = 0; i < EACH_SENDS; i++) {
        char id[REQ_ID_MAX];
        uint32_t prompt[PROMPT];
        rig_ids(me->seed * 1000 + i, prompt, PROMPT);
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        snprintf(id, sizeof id, "%u.%u", (unsigned)me->seed, i);
        rq.id = id;
        rq.model = asked[i % PRODUCERS];
        rq.stream = i & 1;
        engine_submit(me->p->rig.engine, me->p->rig.in, &rq, NULL, NULL);
        if (i % 5 == 4)
            engine_cancel(me->p->rig.engine, id);
        if (i % 7 == 6)
            engine_set_priority(me->p->rig.engine, id, PRIO_CRITICAL);
    }
    return NULL;
}

/* What came of it: the whole reply, or the beginning of it where it was taken back. */
static void expect_produced(struct pair *p, uint64_t seed, uint32_t i)
{
    static const uint32_t shifts[PRODUCERS] = {0, SHIFT, 2 * SHIFT};
    char id[REQ_ID_MAX];
    uint32_t prompt[PROMPT], expect[GEN];
    snprintf(id, sizeof id, "%u.%u", (unsigned)seed, i);
    rig_ids(seed * 1000 + i, prompt, PROMPT);
    rig_expect_shifted(prompt, PROMPT, GEN, shifts[i % PRODUCERS], expect);
    const struct engine_event *ev = rig_wait_end(&p->rig, id);
    assert_int_equal(ev->type, ENGINE_FINISH);
    assert_string_equal(ev->model, asked[i % PRODUCERS]);
    if (i % 5 != 4)
        assert_int_equal(ev->reason, FINISH_LENGTH);
    assert_true(ev->reason == FINISH_CANCELLED || ev->n_tokens == GEN);
    for (uint32_t k = 0; k < ev->n_tokens; k++)
        assert_int_equal(ev->tokens[k].id, expect[k]);
    assert_false(rig_find(&p->rig, id)->bad_order);
}

/* Three models, three threads that submit, cancel and change priorities, and a reader of snapshots. */
static void test_three_under_load(void **state)
{
    (void)state;
    struct pair p;
    struct source c = {0};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    pair_init(&p);
    c.fake = fake_exec_create(RIG_VOCAB, RIG_CTX, 64, 4);
    c.fake->shift = 2 * SHIFT;
    p.rig.cfg.n_models = 3;
    p.rig.cfg.models[2] = model_of("c", &c);
    p.rig.cfg.prefix_cache = true;
    p.rig.cfg.preemption = SCHED_PREEMPT_AUTO;
    p.rig.cfg.max_preemptions = 3;
    pair_start(&p);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&p, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (uint64_t seed = 1; seed <= PRODUCERS; seed++) {
        for (uint32_t i = 0; i < EACH_SENDS; i++) {
            expect_produced(&p, seed, i);
            put_away(look(&p));
        }
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    struct snapshot *s = look(&p);
    assert_int_equal(s->completed + s->failed + s->rejected, s->completed);
    assert_int_equal(s->kv_used, 0);
    uint64_t steps = 0;
    for (uint32_t i = 0; i < s->n_models; i++)
        steps += s->models[i].n_steps;
    assert_int_equal(steps, s->step);
    put_away(s);
    pair_free(&p);
    assert_int_equal(c.n_releases, 1);
}

/* ---- which model ---- */

static void test_unknown_model(void **state)
{
    (void)state;
    struct pair p;
    char id[REQ_ID_MAX], good[REQ_ID_MAX];
    pair_init(&p);
    pair_start(&p);
    submit_to(&p, "c", 1, GEN, id);
    submit_to(&p, "b", 2, GEN, good);
    const struct engine_event *ev = rig_wait_end(&p.rig, id);
    assert_int_equal(ev->type, ENGINE_REJECT);
    assert_int_equal(ev->error.code, WEFT_MODEL_NOT_LOADED);
    assert_string_equal(ev->error.context[0].key, "model");
    assert_string_equal(ev->error.context[0].text, "c");
    assert_non_null(strstr(ev->error.message, "a, b are")); /* what there is instead */
    expect_reply(&p, good, 2, GEN, SHIFT);
    pair_free(&p);
}

static void test_configured_twice(void **state)
{
    (void)state;
    struct pair p;
    struct source again = {0};
    char id[REQ_ID_MAX];
    struct weft_err err;
    pair_init(&p);
    p.rig.cfg.n_models = 3;
    p.rig.cfg.models[2] = model_of("b", &again);
    pair_start(&p);
    struct engine_model_config m = model_of("a", &again);
    assert_int_equal(engine_configure_model(p.rig.engine, &m, &err), WEFT_OK);
    submit_to(&p, "b", 1, GEN, id);
    expect_reply(&p, id, 1, GEN, SHIFT);
    assert_int_equal(p.b.n_loads, 1);
    assert_int_equal(again.n_loads, 0);
    assert_int_equal(again.n_releases, 2);
    struct snapshot *s = look(&p);
    assert_int_equal(s->n_models, 2);
    put_away(s);
    pair_free(&p);
}

/* A model that comes later, and more of them than there is room for. */
static void test_configured_later(void **state)
{
    (void)state;
    struct pair p;
    struct source more[ENGINE_MODELS_MAX] = {0};
    char id[REQ_ID_MAX], name[8];
    struct weft_err err;
    pair_init(&p);
    pair_start(&p);
    for (int i = 0; i < ENGINE_MODELS_MAX; i++) {
        more[i].fake = fake_exec_create(RIG_VOCAB, RIG_CTX, 64, 4);
        more[i].fake->shift = (uint32_t)i;
        snprintf(name, sizeof name, "m%d", i);
        struct engine_model_config m = model_of(name, &more[i]);
        assert_int_equal(engine_configure_model(p.rig.engine, &m, &err), WEFT_OK);
    }
    submit_to(&p, "m3", 1, GEN, id);
    assert_int_equal(rig_wait_end(&p.rig, id)->reason, FINISH_LENGTH);
    submit_to(&p, "m7", 1, GEN, id);
    assert_int_equal(rig_wait_end(&p.rig, id)->error.code, WEFT_MODEL_NOT_LOADED);
    struct engine_model_config nameless = model_of("", &more[0]);
    assert_int_equal(engine_configure_model(p.rig.engine, &nameless, &err), WEFT_INVALID_REQUEST);
    assert_true(rig_stop(&p.rig));
    for (int i = 0; i < ENGINE_MODELS_MAX; i++) {
        bool fits = i + 2 < ENGINE_MODELS_MAX;
        assert_int_equal(more[i].n_loads, fits);
        assert_int_equal(more[i].n_releases, 1);
        if (!fits)
            exec_destroy(&more[i].fake->x); /* never became the engine's */
    }
    pair_free(&p);
}

/* ---- failures ---- */

static void test_second_fails_to_load(void **state)
{
    (void)state;
    struct pair p;
    char id[REQ_ID_MAX], good[REQ_ID_MAX];
    pair_init(&p);
    p.b.fails = WEFT_FILE_INVALID;
    pair_start(&p);
    submit_to(&p, "b", 1, GEN, id);
    submit_to(&p, "a", 1, GEN, good);
    const struct engine_event *ev = rig_wait_end(&p.rig, id);
    assert_int_equal(ev->error.code, WEFT_MODEL_NOT_LOADED);
    assert_string_equal(ev->error.context[0].text, "b");
    assert_non_null(strstr(ev->error.message, "told to fail"));
    expect_reply(&p, good, 1, GEN, 0);
    struct snapshot *s = look(&p);
    assert_int_equal(s->state, ENGINE_READY);
    assert_string_equal(s->state_detail, "b: told to fail");
    assert_int_equal(s->models[1].state, ENGINE_FAILED);
    json_t *stats = snapshot_stats_json(s, NULL), *models = json_object_get(stats, "models");
    assert_int_equal(json_array_size(models), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(models, 0), "state")), "READY");
    assert_string_equal(json_string_value(json_object_get(json_array_get(models, 1), "state")), "FAILED");
    json_decref(stats);
    put_away(s);
    exec_destroy(&p.b.fake->x);
    pair_free(&p);
}

static void test_default_fails_to_load(void **state)
{
    (void)state;
    struct pair p;
    char id[REQ_ID_MAX];
    pair_init(&p);
    p.a.fails = WEFT_FILE_INVALID;
    rig_start(&p.rig);
    rig_wait_state(&p.rig, ENGINE_FAILED);
    submit_to(&p, "b", 1, GEN, id);
    assert_int_equal(rig_wait_end(&p.rig, id)->error.code, WEFT_MODEL_NOT_LOADED);
    assert_int_equal(p.b.n_loads, 0);
    exec_destroy(&p.a.fake->x);
    exec_destroy(&p.b.fake->x);
    pair_free(&p);
}

/* A step of one model fails: the other doesn't even pause. */
static void test_failed_step_is_its_own(void **state)
{
    (void)state;
    struct pair p;
    char bad[REQ_ID_MAX], good[REQ_ID_MAX], after[REQ_ID_MAX];
    pair_init(&p);
    p.b.fake->fail_step = 3;
    pair_start(&p);
    submit_to(&p, "b", 1, GEN, bad);
    submit_to(&p, "a", 1, GEN, good);
    assert_int_equal(rig_wait_end(&p.rig, bad)->error.code, WEFT_BATCH_FAILED);
    expect_reply(&p, good, 1, GEN, 0);
    submit_to(&p, "b", 2, GEN, after);
    expect_reply(&p, after, 2, GEN, SHIFT);
    pair_free(&p);
}

/* One model's device is gone for good: its requests fail, then and later, and the other goes on. */
static void test_lost_device_is_its_own(void **state)
{
    (void)state;
    struct pair p;
    char bad[REQ_ID_MAX], waits[REQ_ID_MAX], good[REQ_ID_MAX];
    pair_init(&p);
    p.rig.cfg.max_batch_size = 1; /* so that the second only waits while the first fails */
    p.b.fake->fail_step = 3;
    p.b.fake->recover_fails = true;
    pair_start(&p);
    submit_to(&p, "b", 1, GEN, bad);
    submit_to(&p, "b", 2, GEN, waits);
    assert_int_equal(rig_wait_end(&p.rig, bad)->error.code, WEFT_BATCH_FAILED);
    const struct engine_event *ev = rig_wait_end(&p.rig, waits);
    assert_int_equal(ev->reason, FINISH_ERROR);
    assert_int_equal(ev->error.code, WEFT_NO_DEVICE);
    submit_to(&p, "b", 3, GEN, bad);
    assert_int_equal(rig_wait_end(&p.rig, bad)->error.code, WEFT_MODEL_NOT_LOADED);
    submit_to(&p, "a", 1, GEN, good);
    expect_reply(&p, good, 1, GEN, 0);
    assert_int_equal(engine_state(p.rig.engine), ENGINE_READY);
    pair_free(&p);
}

/* A model is found by either of its names while it can be used, and what was found stays until the end. */
static void test_models_are_found_by_name(void **state)
{
    (void)state;
    struct pair p;
    struct gguf_build file = {0};
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    struct buf bytes = BUF_INIT;
    struct weft_err err = {0};
    char bad[REQ_ID_MAX];
    gguf_build_tiny_llama(&file, &tiny);
    gguf_build_write(&file, &bytes);
    pair_init(&p);
    if (model_parse(bytes.data, bytes.len, "tiny.gguf", &p.b.model, &err))
        fail_msg("%s", err.message);
    p.b.fake->fail_step = 1;
    p.b.fake->recover_fails = true;
    pair_start(&p);
    struct engine *e = p.rig.engine;
    const struct model *b = engine_model_named(e, "b");
    assert_ptr_equal(b, p.b.model);
    assert_ptr_equal(engine_model_named(e, b->name), b);
    assert_null(engine_model_named(e, "c"));
    assert_null(engine_model_named(e, "a")); /* simulated */
    assert_null(engine_model_named(e, ""));
    assert_null(engine_model(e));
    submit_to(&p, "b", 1, GEN, bad);
    assert_int_equal(rig_wait_end(&p.rig, bad)->error.code, WEFT_BATCH_FAILED);
    submit_to(&p, "b", 2, GEN, bad); /* ends when the device is given up, or finds it so */
    rig_wait_end(&p.rig, bad);
    assert_null(engine_model_named(e, "b"));
    assert_true(b->shape.n_vocab > 0);
    pair_free(&p);
    gguf_build_free(&file);
    buf_free(&bytes);
}

/* ---- commands ---- */

static bool runs_two(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_running == 2;
}

static void test_cancel_and_priority_find_it(void **state)
{
    (void)state;
    struct pair p;
    char id[2][REQ_ID_MAX], other[REQ_ID_MAX];
    pair_init(&p);
    p.a.fake->step_us = p.b.fake->step_us = 1000;
    pair_start(&p);
    submit_to(&p, "a", 1, 400, id[0]);
    submit_to(&p, "b", 1, 400, id[1]);
    rig_wait_snapshot(&p.rig, runs_two, NULL);
    engine_set_priority(p.rig.engine, id[1], PRIO_LOW);
    engine_cancel(p.rig.engine, id[1]);
    const struct engine_event *ev = rig_wait_end(&p.rig, id[1]);
    assert_int_equal(ev->reason, FINISH_CANCELLED);
    assert_int_equal(ev->priority, PRIO_LOW);
    assert_null(rig_find(&p.rig, id[0])->end); /* the other one wasn't meant */
    engine_cancel(p.rig.engine, id[0]);
    assert_int_equal(rig_wait_end(&p.rig, id[0])->reason, FINISH_CANCELLED);
    submit_to(&p, "b", 2, GEN, other);
    expect_reply(&p, other, 2, GEN, SHIFT);
    pair_free(&p);
}

static void test_ids_are_unique_across_models(void **state)
{
    (void)state;
    struct pair p;
    uint32_t prompt[PROMPT];
    struct weft_err err;
    pair_init(&p);
    p.a.fake->step_us = 1000;
    pair_start(&p);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, 400);
    rq.id = "same";
    rig_submit(&p.rig, &rq, NULL);
    rq.model = "b";
    assert_int_equal(engine_submit(p.rig.engine, p.rig.in, &rq, NULL, &err), WEFT_INVALID_REQUEST);
    assert_string_equal(err.context[0].text, "id");
    pair_free(&p);
}

static bool shows_frozen(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->frozen;
}

static bool shows_step(const struct snapshot *s, const void *step)
{
    return s->step == *(const uint64_t *)step && !s->in_flight;
}

/* Frozen, each step asked for is one step of whichever model is next. */
static void test_freeze_and_step(void **state)
{
    (void)state;
    struct pair p;
    char id[2][REQ_ID_MAX];
    pair_init(&p);
    pair_start(&p);
    engine_freeze(p.rig.engine, true);
    rig_wait_snapshot(&p.rig, shows_frozen, NULL);
    submit_to(&p, "a", 1, GEN, id[0]);
    submit_to(&p, "b", 1, GEN, id[1]);
    for (uint64_t k = 1; k <= 4; k++) {
        engine_step(p.rig.engine);
        rig_wait_snapshot(&p.rig, shows_step, &k);
    }
    assert_int_equal(fake_exec_steps(p.a.fake), 2);
    assert_int_equal(fake_exec_steps(p.b.fake), 2);
    engine_freeze(p.rig.engine, false);
    expect_reply(&p, id[0], 1, GEN, 0);
    expect_reply(&p, id[1], 1, GEN, SHIFT);
    pair_free(&p);
}

/* Stopping lets both models' requests end, and cancels what doesn't in time. */
static void test_stop(void **state)
{
    (void)state;
    struct pair p;
    char id[2][REQ_ID_MAX], endless[2][REQ_ID_MAX];
    pair_init(&p);
    p.rig.cfg.stop_ms = 150;
    p.a.fake->step_us = p.b.fake->step_us = 1000;
    pair_start(&p);
    submit_to(&p, "a", 1, GEN, id[0]);
    submit_to(&p, "b", 1, GEN, id[1]);
    submit_to(&p, "a", 2, 400, endless[0]);
    submit_to(&p, "b", 2, 400, endless[1]);
    rig_wait_admit(&p.rig, endless[0]);
    rig_wait_admit(&p.rig, endless[1]);
    assert_true(rig_stop(&p.rig));
    for (uint32_t i = 0; i < 2; i++) {
        expect_reply(&p, id[i], 1, GEN, i ? SHIFT : 0);
        assert_int_equal(rig_wait_end(&p.rig, endless[i])->reason, FINISH_CANCELLED);
    }
    pair_free(&p);
}

/* ---- what is shown ---- */

static void test_snapshot_of_both(void **state)
{
    (void)state;
    struct pair p;
    char id[6][REQ_ID_MAX];
    pair_init(&p);
    p.rig.cfg.max_batch_size = 2;
    fake_exec_gate(p.a.fake, true);
    pair_start(&p);
    for (uint32_t i = 0; i < 6; i++) /* two of each run, one of each waits */
        submit_to(&p, i % 2 ? "b" : "a", i, GEN, id[i]);
    assert_true(fake_exec_wait_step(p.a.fake, 1));
    fake_exec_permit(p.a.fake, 2); /* the third step of a stands still at the gate, with all of b before it */
    assert_true(fake_exec_wait_step(p.a.fake, 3));
    struct snapshot *s = look(&p);
    assert_string_equal(s->model, "a");
    assert_int_equal(s->n_models, 2);
    assert_string_equal(s->models[1].name, "b");
    assert_int_equal(s->models[1].state, ENGINE_READY);
    assert_int_equal(s->max_batch_size, 4);
    assert_int_equal(s->n_running, 4);
    assert_int_equal(s->n_queue, 2);
    assert_int_equal(s->queue_total, 2);
    assert_int_equal(s->models[0].running, 2);
    assert_int_equal(s->models[1].waiting, 1);
    assert_int_equal(s->kv_total, 256 + 128);
    assert_int_equal(s->models[1].kv_first, 256);
    assert_int_equal(s->models[1].kv_total, 128);
    assert_int_equal(s->kv_used, s->models[0].kv_used + s->models[1].kv_used);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct snap_request *q = &s->running[i];
        const struct snap_model *m = &s->models[q->model];
        uint32_t held = 0;
        assert_int_equal(q->model, i / 2);
        assert_int_equal(seen >> q->arrival & 1, 0); /* arrival numbers are of all together */
        seen |= 1ull << q->arrival;
        for (uint32_t b = 0; b < s->kv_total; b++) {
            if (s->blocks[b].kind != SNAP_BLOCK_USED || s->blocks[b].arrival != q->arrival)
                continue;
            held++;
            assert_in_range(b, m->kv_first, m->kv_first + m->kv_total - 1);
        }
        assert_int_equal(held, q->n_blocks);
    }
    put_away(s);
    fake_exec_gate(p.a.fake, false);
    for (uint32_t i = 0; i < 6; i++)
        expect_reply(&p, id[i], i, GEN, i % 2 ? SHIFT : 0);
    pair_free(&p);
}

/* What an observer of the scheduler is told when the engine itself ends a request. */
static void note_end(void *ctx, const struct sched *s, const struct sched_event *ev)
{
    enum req_state *end = ctx;
    (void)s;
    if (ev->type == SCHED_FINISH)
        *end = ev->req->state;
    if (ev->type == SCHED_CANCEL)
        *end = REQ_CANCELLED;
}

static void test_nan_is_a_failure(void **state)
{
    (void)state;
    struct pair p;
    char id[REQ_ID_MAX];
    enum req_state end = REQ_WAITING;
    const struct engine_observer watch = {.sched = note_end, .ctx = &end};
    pair_init(&p);
    p.rig.cfg.observer = &watch;
    p.b.fake->nan_step = 3;
    pair_start(&p);
    submit_to(&p, "b", 1, GEN, id);
    const struct engine_event *ev = rig_wait_end(&p.rig, id);
    assert_int_equal(ev->reason, FINISH_ERROR);
    assert_int_equal(ev->error.code, WEFT_BATCH_FAILED);
    assert_true(rig_stop(&p.rig));
    assert_int_equal(end, REQ_FAILED);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_its_own_tokens),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_three_under_load),
        cmocka_unit_test(test_unknown_model),
        cmocka_unit_test(test_configured_twice),
        cmocka_unit_test(test_configured_later),
        cmocka_unit_test(test_second_fails_to_load),
        cmocka_unit_test(test_default_fails_to_load),
        cmocka_unit_test(test_failed_step_is_its_own),
        cmocka_unit_test(test_lost_device_is_its_own),
        cmocka_unit_test(test_models_are_found_by_name),
        cmocka_unit_test(test_cancel_and_priority_find_it),
        cmocka_unit_test(test_ids_are_unique_across_models),
        cmocka_unit_test(test_freeze_and_step),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_snapshot_of_both),
        cmocka_unit_test(test_nan_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
