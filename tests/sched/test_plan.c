/* What a step holds: decodes first, the budget shared as it should be, chunks that don't matter to the text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/sim_rig.h"

/* Budget sharing: prompts of the given lengths and bases, all submitted at once, in one step of `budget` tokens. */
static const struct {
    const char *what;
    uint32_t budget, n;
    enum prio base[5];
    uint32_t prompt[5], expect[5];
} shares[] = {
    {"alone", 64, 1, {PRIO_LOW}, {100}, {64}},
    {"alone and short", 64, 1, {PRIO_LOW}, {10}, {10}},
    {"equals share equally", 60, 3, {1, 1, 1}, {90, 90, 90}, {20, 20, 20}},
    {"tokens left over go to the earliest", 64, 3, {1, 1, 1}, {90, 90, 90}, {22, 21, 21}},
    {"what a short one leaves goes to the rest", 64, 3, {1, 1, 1}, {4, 90, 90}, {4, 30, 30}},
    {"again and again", 64, 4, {1, 1, 1, 1}, {4, 12, 90, 90}, {4, 12, 24, 24}},
    {"all short", 64, 3, {1, 1, 1}, {4, 5, 6}, {4, 5, 6}},
    {"a better base takes what it can use", 64, 3, {PRIO_LOW, PRIO_HIGH, PRIO_LOW}, {90, 50, 90}, {7, 50, 7}},
    {"all of it, if it can", 64, 2, {PRIO_NORMAL, PRIO_CRITICAL}, {90, 90}, {0, 64}},
    {"base by base", 64, 4, {2, 1, 0, -1}, {90, 30, 20, 10}, {4, 30, 20, 10}},
    {"fewer tokens than sequences", 5, 5, {1, 1, 1, 1, 1}, {9, 9, 9, 9, 9}, {1, 1, 1, 1, 1}},
    {"odd ends", 7, 5, {1, 1, 1, 1, 1}, {9, 1, 9, 1, 9}, {2, 1, 2, 1, 1}},
};

static void test_budget_sharing(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof shares / sizeof shares[0]; t++) {
        struct sim g;
        sim_init(&g);
        g.cfg.max_batch_tokens = shares[t].budget;
        g.cfg.max_batch_size = 5;
        g.cfg.n_blocks = 200;
        sim_start(&g);
        struct request *r[5];
        for (uint32_t i = 0; i < shares[t].n; i++) {
            char id[2] = {(char)('a' + i), 0};
            r[i] = sim_submit(&g, id, shares[t].base[i], shares[t].prompt[i], 1, i);
        }
        assert_true(sim_step(&g));
        for (uint32_t i = 0; i < shares[t].n; i++) {
            if (r[i]->n_computed != shares[t].expect[i])
                fail_msg("%s: request %u got %u tokens, expected %u", shares[t].what, i, r[i]->n_computed,
                         shares[t].expect[i]);
        }
        sim_run(&g, 200);
        sim_deinit(&g);
    }
}

static void test_decodes_first(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_size = 6;
    g.cfg.max_batch_tokens = 6;
    g.cfg.n_blocks = 100;
    sim_start(&g);
    struct request *decoders[5];
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        decoders[i] = sim_submit(&g, id, PRIO_LOW, 1, 40, (uint64_t)i);
    }
    sim_step(&g);
    struct request *late = sim_submit(&g, "late", PRIO_CRITICAL, 20, 4, 9);
    for (uint32_t step = 2; step <= 21; step++) {
        assert_true(sim_step(&g));
        for (int i = 0; i < 5; i++) /* whatever comes, each decode advances in every step */
            assert_int_equal(decoders[i]->n_ids, 1 + step);
        assert_int_equal(late->n_computed, step - 1); /* the one token that they leave */
        assert_int_equal(sim_event(&g, SCHED_STEP, NULL, step - 1)->n_decodes, 5);
    }
    assert_int_equal(late->n_ids, 21); /* its first token */
    sim_run(&g, 100);
    sim_deinit(&g);
}

/* The same request in every company and every chunking: the same ids. */
static void test_chunks_do_not_matter(void **state)
{
    (void)state;
    static const uint32_t budgets[] = {16, 64, 256}, companies[] = {1, 2, 5, 16};
    for (size_t b = 0; b < 3; b++) {
        for (size_t c = 0; c < 4; c++) {
            struct sim g;
            sim_init(&g);
            g.cfg.max_batch_size = 16;
            g.cfg.max_batch_tokens = budgets[b];
            g.cfg.n_blocks = 1000;
            g.cfg.block_tokens = 16;
            sim_start(&g);
            for (uint32_t i = 0; i < companies[c]; i++) {
                char id[16];
                snprintf(id, sizeof id, "r%u", i);
                sim_submit(&g, id, (enum prio)(i % 4 - 1), 5 + 37 * i % 300, 20 + i, i);
            }
            sim_run(&g, 2000);
            for (size_t i = 0; i < g.n_reqs; i++)
                assert_true(sim_same_alone(&g, g.reqs[i], true));
            sim_deinit(&g);
        }
    }
}

static void test_scoring(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_tokens = 16;
    g.cfg.max_logits = 10;
    sim_start(&g);
    struct request *r = sim_make(&g, "score", PRIO_NORMAL, 33, 0, 1);
    r->all_logits = true;
    assert_int_equal(sim_offer(&g, r, NULL), WEFT_OK);
    uint32_t seen = 0;
    while (sched_has_work(g.s)) {
        const struct plan *p = sched_plan(g.s, g.now_us);
        assert_non_null(p);
        assert_int_equal(p->items[0].n_logits,
                         p->items[0].n_tokens); /* a row for every position, within max_logits */
        assert_true(p->items[0].n_tokens <= 10);
        assert_int_equal(p->items[0].pos, seen);
        seen += p->items[0].n_tokens;
        struct sched_result res = {0};
        sched_commit(g.s, &res, 100, g.now_us += 100);
    }
    assert_int_equal(seen, 33);
    assert_int_equal(r->state, REQ_COMPLETED);
    assert_int_equal(r->finish, FINISH_LENGTH);
    assert_int_equal(r->n_ids, 33);
    sim_deinit(&g);
}

/* Ends that the submitter decides on, with and without the token. */
static void test_finish_by_result(void **state)
{
    (void)state;
    static const struct {
        struct sched_result last;
        uint32_t n_generated;
        enum finish_reason finish;
    } cases[] = {
        {{.has_token = true, .token = 7, .finish = FINISH_STOP, .keep_token = true}, 2, FINISH_STOP},
        {{.has_token = true, .token = 7, .finish = FINISH_STOP}, 1, FINISH_STOP},
        {{.has_token = true, .token = 7, .finish = FINISH_LENGTH, .keep_token = true}, 2, FINISH_LENGTH},
        {{.finish = FINISH_STOP}, 1, FINISH_STOP},
        {{.has_token = false}, 1, FINISH_ERROR}, /* the caller's fault, but it must not hang */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim g;
        sim_init(&g);
        sim_start(&g);
        struct request *r = sim_submit(&g, "r", PRIO_NORMAL, 3, 10, 1);
        sim_step(&g);
        assert_non_null(sched_plan(g.s, g.now_us));
        sched_commit(g.s, &cases[i].last, 10, g.now_us += 10);
        assert_int_equal(r->n_ids - r->n_prompt, cases[i].n_generated);
        assert_int_equal(r->finish, cases[i].finish);
        assert_int_equal(r->state, cases[i].finish == FINISH_ERROR ? REQ_FAILED : REQ_COMPLETED);
        assert_false(sched_has_work(g.s));
        sim_deinit(&g);
    }
}

static void test_events_in_order(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    sim_start(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 3, 1, 1);
    struct request *b = sim_submit(&g, "b", PRIO_NORMAL, 3, 2, 2);
    sim_run(&g, 10);
    const struct {
        enum sched_event_type type;
        struct request *req;
    } expect[] = {
        {SCHED_SUBMIT, a},  {SCHED_SUBMIT, b},      {SCHED_ADMIT, a},  {SCHED_ADMIT, b},
        {SCHED_STEP, NULL}, {SCHED_FIRST_TOKEN, a}, {SCHED_FINISH, a}, {SCHED_FIRST_TOKEN, b},
        {SCHED_STEP, NULL}, {SCHED_FINISH, b},
    };
    assert_int_equal(g.n_events, sizeof expect / sizeof expect[0]);
    for (size_t i = 0; i < g.n_events; i++) {
        assert_int_equal(g.events[i].type, expect[i].type);
        assert_ptr_equal(g.events[i].req, expect[i].req);
    }
    assert_int_equal(g.events[0].depth, 1);
    assert_int_equal(g.events[1].depth, 2);
    assert_int_equal(g.events[4].budget, 64);
    assert_int_equal(g.events[4].n_prefill_tokens, 6);
    assert_int_equal(a->first_token_us, 1060); /* at the step's end: 1000 + 6 × 10 µs */
    assert_int_equal(b->finish_us, 2080);      /* + 1000 + one decode, 20 µs */
    sim_deinit(&g);
}

/* The chunk that holds itl_target: found from measured steps, on any speed of device. */
static void test_itl_target(void **state)
{
    (void)state;
    static const double prefill_us[] = {10, 400,
                                        30000}; /* the last one: a single token is already too much */
    for (size_t i = 0; i < 3; i++) {
        struct sim g;
        sim_init(&g);
        g.cfg.itl_target_us = 20000;
        g.cfg.max_batch_tokens = 256;
        g.cfg.n_blocks = 2000;
        g.sim.prefill_us = prefill_us[i];
        sim_start(&g);
        sim_submit(&g, "decoder", PRIO_NORMAL, 1, 1000, 1);
        for (int k = 0; k < 5; k++)
            sim_step(&g);
        struct request *big = sim_submit(&g, "big", PRIO_NORMAL, 3000, 1, 2);
        for (int k = 0; big->n_computed < 3000 && k < 500; k++) {
            int64_t before = g.now_us;
            sim_step(&g);
            if (k < 4) /* learning */
                continue;
            int64_t most = prefill_us[i] > 19000 ? 32000 : 20500; /* one token is the least */
            assert_in_range(g.now_us - before, 1, most);
        }
        assert_true(big->n_computed > 490);
        sim_deinit(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_sharing),       cmocka_unit_test(test_decodes_first),
        cmocka_unit_test(test_chunks_do_not_matter), cmocka_unit_test(test_scoring),
        cmocka_unit_test(test_finish_by_result),     cmocka_unit_test(test_events_in_order),
        cmocka_unit_test(test_itl_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
