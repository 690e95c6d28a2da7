/*
 * Each allocation fails once, in turn, from creating an engine to stopping it: an error that says so, or everything as
 * usual; each accepted request still ends exactly once, with nothing lost of what it made; nothing leaks.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 12, N = 3 };

/* What the reader of one run heard. */
struct heard {
    uint32_t n_ends, n_wrong;
    bool failed; /* the engine */
};

static void listen(struct heard *h, struct engine_inbox *in, const uint32_t *expect)
{
    for (struct engine_event *ev = engine_inbox_take(in), *next; ev; ev = next) {
        next = ev->next;
        h->failed |= ev->type == ENGINE_STATE && ev->state == ENGINE_FAILED;
        h->n_ends += ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT;
        if (ev->type == ENGINE_FINISH) {
            h->n_wrong += ev->reason != FINISH_LENGTH && !ev->error.code;
            for (uint32_t i = 0; i < ev->n_tokens; i++)
                h->n_wrong += ev->tokens[i].id != expect[i];
        }
        engine_event_free(ev);
    }
}

/* One life of an engine with a few requests. Returns whether everything succeeded. */
static bool live(const uint32_t *prompt, const uint32_t *expect)
{
    struct rig r;
    struct weft_err err = {0};
    struct heard h = {0};
    uint32_t accepted = 0;
    static const char *const stops[] = {"no such text"};
    bool all_well = true;
    rig_init(&r);
    r.cfg.warm = true;
    if (engine_create(&r.cfg, &r.engine, &err)) {
        assert_int_equal(err.code, WEFT_INTERNAL_ERROR);
        r.fake->x.v->destroy(&r.fake->x);
        goto out;
    }
    if (engine_inbox_open(r.engine, &r.in, &err)) {
        assert_int_equal(err.code, WEFT_INTERNAL_ERROR);
        all_well = false;
    }
    for (int i = 0; i < N && r.in; i++) {
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rq.stream = i & 1;
        rq.n_logprobs = i == 2 ? 2 : 0;
        rq.stop = stops;
        rq.n_stop = 1;
        enum weft_rc rc = engine_submit(r.engine, r.in, &rq, NULL, &err);
        assert_true(!rc || err.code == WEFT_INTERNAL_ERROR);
        accepted += !rc;
        all_well &= !rc;
    }
    for (int64_t until = clock_now_us() + 10000000; r.in && h.n_ends < accepted;) {
        engine_inbox_wait(r.in, 100);
        listen(&h, r.in, expect);
        assert_true(clock_now_us() < until);
    }
    assert_true(engine_destroy(r.engine));
    if (r.in)
        listen(&h, r.in, expect);
    engine_inbox_close(r.in);
    assert_int_equal(h.n_ends, accepted);
    assert_int_equal(h.n_wrong, 0);
    all_well &= !h.failed;
    free(r.requests);
    pthread_mutex_destroy(&r.lock);
    return all_well;
out:
    free(r.requests);
    pthread_mutex_destroy(&r.lock);
    return false;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    uint32_t prompt[PROMPT], expect[GEN], n_failed = 0;
    rig_ids(1, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    mem_fail_at(SIZE_MAX); /* counts, and never comes to it */
    assert_true(live(prompt, expect));
    size_t n = mem_fail_at(0);
    assert_true(n > 20);
    for (size_t k = 1; k <= n; k++) {
        mem_fail_at(k);
        n_failed += !live(prompt, expect);
        mem_fail_at(0);
    }
    assert_true(n_failed > 0); /* it does hit something */
}

int main(void)
{
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC)); /* what goes wrong is meant to */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
