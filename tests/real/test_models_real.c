/*
 * Several models on a real device, as the configuration asks for them: the default model's file under two names. Both
 * answer at the same time, each from its own executor and scheduler, and say the same, which is also what one says
 * alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "src/engine_setup.h"
#include "src/models.h"

enum { GEN = 16, EACH = 3, KV_MB = 64 };
enum { PATIENCE_US = 200000000 }; /* of a machine that has much else to do */

static const char *const prompts[EACH] = {"The capital of France is", "Once upon a time", "Water boils at"};
static const char *const names[2] = {"smollm2", "twin"};

struct fixture {
    struct weft_config cfg;
    char directory[64], twin[80];
    struct engine *engine;
    struct engine_inbox *in;
};

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct buf path = BUF_INIT;
    struct weft_err err = {0};
    char memory[32];
    *state = f;
    snprintf(f->directory, sizeof f->directory, "/tmp/weft-models-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->twin, sizeof f->twin, "%s/twin.gguf", f->directory);
    if (models_resolve("smollm2", &path, &err))
        fail_msg("%s", err.message);
    assert_int_equal(symlink(buf_str(&path), f->twin), 0);
    buf_free(&path);
    assert_int_equal(config_init(&f->cfg, &err), WEFT_OK);
    const char *const paths[] = {"smollm2", f->twin, "smollm2"}; /* one of them twice: once is enough */
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(config_set_word(&f->cfg, "model.path", paths[i], "-m", &err), WEFT_OK);
    snprintf(memory, sizeof memory, "kv.memory_mb=%d", KV_MB);
    assert_int_equal(config_set(&f->cfg, memory, &err), WEFT_OK);
    assert_int_equal(config_set(&f->cfg, "device.precision=fp32", &err), WEFT_OK);
    if (engine_setup(&f->cfg, NULL, &f->engine, &err) || engine_inbox_open(f->engine, &f->in, &err))
        fail_msg("%s", err.message);
    for (int64_t until = clock_now_us() + PATIENCE_US; engine_state(f->engine) != ENGINE_READY; usleep(10000))
        if (clock_now_us() > until || engine_state(f->engine) == ENGINE_FAILED)
            fail_msg("the engine is %s", engine_state_name(engine_state(f->engine)));
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    engine_inbox_close(f->in);
    assert_true(engine_destroy(f->engine));
    config_deinit(&f->cfg);
    unlink(f->twin);
    rmdir(f->directory);
    free(f);
    return 0;
}

static void ask(struct fixture *f, const char *id, const char *model, const char *prompt)
{
    struct weft_err err = {0};
    struct engine_request rq = {
        .id = id,
        .model = model,
        .prompt = prompt,
        .prompt_len = strlen(prompt),
        .max_tokens = GEN,
        .ignore_eos = true,
        .sampling = SAMPLING_DEFAULT,
    };
    rq.sampling.temperature = 0;
    if (engine_submit(f->engine, f->in, &rq, NULL, &err))
        fail_msg("%s", err.message);
}

/* Waits for n ends, and puts each in its place: ids are numbers. */
static void wait_for(struct fixture *f, unsigned n, struct engine_event **ends)
{
    for (int64_t until = clock_now_us() + PATIENCE_US; n;) {
        engine_inbox_wait(f->in, 1000);
        for (struct engine_event *ev = engine_inbox_take(f->in), *next; ev; ev = next) {
            next = ev->next;
            if (ev->type != ENGINE_FINISH && ev->type != ENGINE_REJECT) {
                engine_event_free(ev);
                continue;
            }
            ends[atoi(ev->id)] = ev;
            n--;
        }
        if (clock_now_us() > until)
            fail_msg("%u requests don't end", n);
    }
}

static void expect_same(const struct engine_event *a, const struct engine_event *b)
{
    assert_int_equal(a->type, ENGINE_FINISH);
    assert_int_equal(b->type, ENGINE_FINISH);
    assert_int_equal(a->n_tokens, GEN);
    assert_int_equal(b->n_tokens, GEN);
    for (uint32_t i = 0; i < GEN; i++)
        assert_int_equal(a->tokens[i].id, b->tokens[i].id);
    assert_string_equal(a->text, b->text);
}

static void test_same_file_twice(void **state)
{
    struct fixture *f = *state;
    struct engine_event *ends[3 * EACH] = {0};
    struct snapshot *s = calloc(1, sizeof *s);
    char id[16];
    for (unsigned i = 0; i < 2 * EACH; i++) {
        snprintf(id, sizeof id, "%u", i);
        ask(f, id, names[i / EACH], prompts[i % EACH]);
    }
    wait_for(f, 2 * EACH, ends);
    engine_snapshot(f->engine, s);
    for (unsigned i = 0; i < EACH; i++) { /* alone, of the default */
        snprintf(id, sizeof id, "%u", 2 * EACH + i);
        ask(f, id, NULL, prompts[i]);
        wait_for(f, 1, ends);
    }
    for (unsigned i = 0; i < EACH; i++) {
        expect_same(ends[i], ends[EACH + i]);
        expect_same(ends[i], ends[2 * EACH + i]);
        assert_string_equal(ends[i]->model, names[0]);
        assert_string_equal(ends[EACH + i]->model, names[1]);
    }
    unsigned turns = 0; /* they took turns: neither ended before the other began */
    for (uint32_t i = 1; i < s->n_steps; i++)
        turns += snapshot_step(s, i)->model != snapshot_step(s, i - 1)->model;
    assert_in_range(turns, GEN, SNAP_STEPS);
    assert_int_equal(s->n_models, 2);
    for (unsigned i = 0; i < 3 * EACH; i++)
        engine_event_free(ends[i]);
    snapshot_free(s);
    free(s);
}

static void test_each_is_found_by_name(void **state)
{
    struct fixture *f = *state;
    const struct model *first = engine_model_named(f->engine, names[0]),
                       *second = engine_model_named(f->engine, names[1]);
    assert_non_null(first);
    assert_ptr_equal(first, engine_model(f->engine));
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    assert_int_equal(first->shape.n_ctx, second->shape.n_ctx);
    assert_null(engine_model_named(f->engine, "another"));
}

/* Both pools together keep to what kv.memory_mb allows. */
static void test_memory_is_shared(void **state)
{
    struct fixture *f = *state;
    const struct model *m = engine_model(f->engine);
    struct snapshot *s = calloc(1, sizeof *s);
    engine_snapshot(f->engine, s);
    assert_int_equal(s->models[0].kv_total, s->models[1].kv_total);
    assert_int_equal(s->kv_total, 2 * s->models[0].kv_total);
    /* K and V of each layer, in single precision. */
    uint64_t block =
        2ull * m->shape.n_layer * m->shape.n_head_kv * m->shape.head_dim * s->block_tokens * sizeof(float);
    uint64_t limit = (uint64_t)KV_MB << 20;
    assert_in_range(s->kv_total * block, limit - 2 * block, limit);
    snapshot_free(s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_file_twice),
        cmocka_unit_test(test_each_is_found_by_name),
        cmocka_unit_test(test_memory_is_shared),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
