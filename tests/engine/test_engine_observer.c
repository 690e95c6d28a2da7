/* What an observer is told: everything that the scheduler says, in order, and what is around it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 6, NOTES_MAX = 256 };

struct note {
    enum sched_event_type type;
    char id[REQ_ID_MAX]; /* "" for steps */
    int64_t now_us;
    uint32_t n_prompt;
    enum weft_rc code;
};

/* Written on the engine's thread, read when that has ended. */
struct notes {
    struct note note[NOTES_MAX];
    size_t n;
    enum engine_state to[RIG_STATES_MAX];
    size_t n_states;
    bool broken_chain; /* a state came from another than the last one led to */
    uint32_t n_scheduled, n_closing, n_steps, leaked;
    int64_t ns;
};

static void on_sched(void *ctx, const struct sched *s, const struct sched_event *ev)
{
    struct notes *n = ctx;
    struct sched_counts c;
    sched_counts(s, &c); /* reading is allowed */
    if (n->n == NOTES_MAX)
        return;
    struct note *note = &n->note[n->n++];
    *note = (struct note){.type = ev->type, .now_us = ev->now_us, .code = ev->err ? ev->err->code : WEFT_OK};
    if (ev->req) {
        memcpy(note->id, ev->req->id, sizeof note->id);
        note->n_prompt = ev->req->n_prompt;
    }
}

static void on_state(void *ctx, enum engine_state from, enum engine_state to, int64_t now_us)
{
    struct notes *n = ctx;
    (void)now_us;
    n->broken_chain = n->broken_chain || from != (n->n_states ? n->to[n->n_states - 1] : ENGINE_INITIALIZING);
    if (n->n_states < RIG_STATES_MAX)
        n->to[n->n_states++] = to;
}

static void on_scheduled(void *ctx, int64_t ns)
{
    struct notes *n = ctx;
    n->n_scheduled++;
    n->ns += ns;
}

static void on_closing(void *ctx, const struct sched *s)
{
    struct notes *n = ctx;
    struct sched_counts c;
    char why[128];
    sched_counts(s, &c);
    n->n_closing++;
    n->n_steps += (uint32_t)c.steps;
    n->leaked += sched_audit(s, why, sizeof why);
}

static long position(const struct notes *n, enum sched_event_type type, const char *id)
{
    for (size_t i = 0; i < n->n; i++)
        if (n->note[i].type == type && strcmp(n->note[i].id, id) == 0)
            return (long)i;
    return -1;
}

static void everything_is_told_in_order(void **state)
{
    (void)state;
    struct notes *n = calloc(1, sizeof *n);
    assert_non_null(n);
    const struct engine_observer observer = {
        .sched = on_sched, .state = on_state, .scheduled = on_scheduled, .closing = on_closing, .ctx = n};
    struct rig r;
    uint32_t prompt[PROMPT];
    char done[REQ_ID_MAX], other[REQ_ID_MAX], gone[REQ_ID_MAX];
    rig_init(&r);
    r.cfg.observer = &observer;
    rig_start(&r);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rig_submit(&r, &rq, done);
    rig_wait_end(&r, done);
    rq.model = "other";
    rig_submit(&r, &rq, other);
    rig_wait_end(&r, other);
    rq.model = NULL;
    engine_freeze(r.engine, true); /* so that it is still there to be cancelled */
    rig_submit(&r, &rq, gone);
    engine_cancel(r.engine, gone);
    rig_wait_end(&r, gone);
    assert_true(rig_stop(&r));

    assert_false(n->broken_chain);
    assert_int_equal(n->to[n->n_states - 1], ENGINE_STOPPED);
    assert_int_equal(n->n_closing, 1);
    assert_int_equal(n->leaked, 0);
    assert_int_equal(n->n_scheduled, n->n_steps);
    assert_true(n->n_steps >= GEN && n->ns > 0);
    assert_true(position(n, SCHED_SUBMIT, done) == 0);
    assert_true(position(n, SCHED_SUBMIT, done) < position(n, SCHED_ADMIT, done));
    assert_true(position(n, SCHED_ADMIT, done) < position(n, SCHED_STEP, ""));
    assert_true(position(n, SCHED_STEP, "") < position(n, SCHED_FIRST_TOKEN, done));
    assert_true(position(n, SCHED_FIRST_TOKEN, done) < position(n, SCHED_FINISH, done));
    assert_true(position(n, SCHED_CANCEL, gone) < position(n, SCHED_FINISH, gone));
    long reject = position(n, SCHED_REJECT, other); /* which no scheduler has seen */
    assert_true(reject > position(n, SCHED_FINISH, done));
    assert_int_equal(n->note[reject].code, WEFT_MODEL_NOT_LOADED);
    assert_int_equal(n->note[reject].n_prompt, PROMPT);
    assert_int_equal(position(n, SCHED_SUBMIT, other), -1);
    for (size_t i = 1; i < n->n; i++)
        assert_true(n->note[i].now_us >= n->note[i - 1].now_us);
    rig_free(&r);
    free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_told_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
