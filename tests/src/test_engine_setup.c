/* From a configuration with several models to an engine that has them, under simulation; and what is refused. */
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
#include "src/engine_setup.h"

enum { PATIENCE_US = 10000000, GEN = 5 };

static void config_with(struct weft_config *cfg, const char *const *models, size_t n)
{
    struct weft_err err = {0};
    assert_int_equal(config_init(cfg, &err), WEFT_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(config_set_word(cfg, "model.path", models[i], "-m", &err), WEFT_OK);
    assert_int_equal(config_set(cfg, "sim.step_us=10", &err), WEFT_OK);
}

/* Submits a request for that model, and waits for its last event. */
static struct engine_event *ask(struct engine *e, struct engine_inbox *in, const char *model)
{
    static const uint32_t ids[] = {1, 2, 3};
    struct weft_err err = {0};
    struct engine_request rq = {
        .model = model, .ids = ids, .n_ids = 3, .max_tokens = GEN, .sampling = SAMPLING_DEFAULT};
    assert_int_equal(engine_submit(e, in, &rq, NULL, &err), WEFT_OK);
    for (int64_t until = clock_now_us() + PATIENCE_US; clock_now_us() < until;) {
        engine_inbox_wait(in, 100);
        struct engine_event *end = NULL;
        for (struct engine_event *ev = engine_inbox_take(in), *next; ev; ev = next) {
            next = ev->next;
            if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT)
                end = ev;
            else
                engine_event_free(ev);
        }
        if (end)
            return end;
    }
    fail_msg("the request doesn't end");
    return NULL;
}

static void test_several(void **state)
{
    (void)state;
    static const char *const models[] = {"one", "dir/two.gguf", "one"}; /* the first again: it is there */
    static const char *const asked[] = {NULL, "one", "two"}, *const answers[] = {"one", "one", "two"};
    struct weft_config cfg;
    struct engine *e;
    struct engine_inbox *in;
    struct weft_err err = {0};
    struct snapshot *s = calloc(1, sizeof *s);
    config_with(&cfg, models, 3);
    assert_int_equal(engine_setup(&cfg, &(struct engine_setup_options){.sim = true}, &e, &err), WEFT_OK);
    assert_int_equal(engine_inbox_open(e, &in, &err), WEFT_OK);
    for (int i = 0; i < 3; i++) {
        struct engine_event *ev = ask(e, in, asked[i]);
        assert_int_equal(ev->type, ENGINE_FINISH);
        assert_int_equal(ev->n_tokens, GEN);
        assert_string_equal(ev->model, answers[i]);
        engine_event_free(ev);
    }
    struct engine_event *ev = ask(e, in, "three");
    assert_int_equal(ev->type, ENGINE_REJECT);
    assert_int_equal(ev->error.code, WEFT_MODEL_NOT_LOADED);
    engine_event_free(ev);
    engine_snapshot(e, s);
    assert_int_equal(s->n_models, 2);
    assert_string_equal(s->models[0].name, "one");
    assert_string_equal(s->models[1].name, "two");
    engine_inbox_close(in);
    assert_true(engine_destroy(e));
    snapshot_free(s);
    free(s);
    config_deinit(&cfg);
}

/* A file that is there, whatever is in it: it isn't read before the engine loads it. */
static void make_file(const char *directory, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void test_one_name_two_files(void **state)
{
    (void)state;
    char directory[] = "/tmp/weft-setup-XXXXXX", below[64], first[96], second[96];
    assert_non_null(mkdtemp(directory));
    snprintf(below, sizeof below, "%s/below", directory);
    assert_int_equal(mkdir(below, 0700), 0);
    make_file(directory, "same.gguf", first, sizeof first);
    make_file(below, "same.gguf", second, sizeof second);
    const char *const models[] = {first, second};
    struct weft_config cfg;
    struct engine *e;
    struct weft_err err = {0};
    config_with(&cfg, models, 2);
    assert_int_equal(engine_setup(&cfg, NULL, &e, &err), WEFT_CONFIG_INVALID);
    assert_null(e);
    assert_string_equal(err.context[0].text, "model.path");
    assert_string_equal(err.context[1].text, second);
    config_deinit(&cfg);
    unlink(first);
    unlink(second);
    rmdir(below);
    rmdir(directory);
}

/* One of several isn't there: said at once, before anything is loaded. */
static void test_second_is_missing(void **state)
{
    (void)state;
    char directory[] = "/tmp/weft-setup-XXXXXX", first[96];
    assert_non_null(mkdtemp(directory));
    make_file(directory, "first.gguf", first, sizeof first);
    const char *const models[] = {first, "./no-such-file.gguf"};
    struct weft_config cfg;
    struct engine *e;
    struct weft_err err = {0};
    config_with(&cfg, models, 2);
    assert_int_equal(engine_setup(&cfg, NULL, &e, &err), WEFT_FILE_INVALID);
    assert_null(e);
    config_deinit(&cfg);
    unlink(first);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_one_name_two_files),
        cmocka_unit_test(test_second_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
