/* Preemption: for urgency and for memory, who has to go, what is kept, and that it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sim_rig.h"

static void setup(struct sim *g, enum sched_preemption mode)
{
    sim_init(g);
    g->cfg.preemption = mode;
    g->cfg.max_preemptions = 3;
    g->cfg.n_park_slots = mode == SCHED_PREEMPT_RECOMPUTE ? 0 : 64;
    g->sim.park_us = 20;
}

static struct request *submit_n(struct sim *g, const char *name, int i, enum prio base, uint32_t n_prompt,
                                uint32_t max_tokens)
{
    char id[32];
    snprintf(id, sizeof id, "%s%d", name, i);
    return sim_submit(g, id, base, n_prompt, max_tokens, (uint64_t)i + 100);
}

static void check_all_alone(const struct sim *g)
{
    for (size_t i = 0; i < g->n_reqs; i++)
        assert_true(sim_same_alone(g, g->reqs[i], true));
}

/* A seat is taken from the worst base, there from the one with least computed, among equals from the latest.
 */
static void test_victim_for_a_seat(void **state)
{
    (void)state;
    static const struct {
        enum prio base[3];
        uint32_t n_prompt[3];
        int victim;
    } cases[] = {
        {{PRIO_NORMAL, PRIO_LOW, PRIO_HIGH}, {8, 12, 4}, 1},
        {{PRIO_LOW, PRIO_LOW, PRIO_LOW}, {8, 4, 12}, 1},
        {{PRIO_LOW, PRIO_LOW, PRIO_LOW}, {8, 8, 8}, 2},
        {{PRIO_LOW, PRIO_NORMAL, PRIO_NORMAL}, {20, 4, 4}, 0},
        {{PRIO_CRITICAL, PRIO_CRITICAL, PRIO_CRITICAL}, {4, 4, 4}, -1}, /* equals never preempt each other */
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct sim g;
        setup(&g, SCHED_PREEMPT_PARK);
        g.cfg.max_batch_size = 3;
        sim_start(&g);
        struct request *r[3];
        for (int i = 0; i < 3; i++)
            r[i] = submit_n(&g, "r", i, cases[c].base[i], cases[c].n_prompt[i], 10);
        sim_step(&g);
        sim_step(&g);
        struct request *vip = sim_submit(&g, "vip", PRIO_CRITICAL, 4, 3, 1);
        sim_step(&g);
        const struct sim_event *e = sim_event(&g, SCHED_PREEMPT, NULL, 0);
        if (cases[c].victim < 0) {
            assert_null(e);
        } else {
            assert_ptr_equal(e->req, r[cases[c].victim]);
            assert_ptr_equal(e->by, vip);
            assert_true(e->parked);
            assert_int_equal(sim_count(&g, SCHED_PREEMPT, NULL), 1);
            assert_int_equal(vip->n_ids, 5); /* served in that very step */
        }
        sim_run(&g, 200);
        check_all_alone(&g);
        sim_deinit(&g);
    }
}

/* What keeps a seat safe. */
static void test_who_is_never_sent_away(void **state)
{
    (void)state;
    enum { NOT_PREEMPTIBLE, CAP, OFF, FIFO, ONE, AGED, SCORING, N_CASES };
    for (int c = 0; c < N_CASES; c++) {
        struct sim g;
        setup(&g, c == OFF ? SCHED_PREEMPT_OFF : SCHED_PREEMPT_AUTO);
        g.cfg.max_batch_size = 1;
        g.cfg.max_preemptions = c == CAP ? 0 : 3;
        g.cfg.fifo = c == FIFO;
        g.cfg.one_at_a_time = c == ONE;
        g.cfg.max_batch_tokens = 4;
        sim_start(&g);
        struct request *low = sim_make(&g, "low", PRIO_LOW, 12, c == SCORING ? 0 : 10, 1);
        low->preemptible = c != NOT_PREEMPTIBLE;
        low->all_logits = c == SCORING;
        assert_int_equal(sim_offer(&g, low, NULL), WEFT_OK);
        if (c == AGED)
            g.now_us += 40000000; /* admitted at an effective −2: better than a fresh CRITICAL for 10 s */
        sim_step(&g);
        struct request *vip = sim_submit(&g, "vip", PRIO_CRITICAL, 4, 3, 1);
        sim_run(&g, 100);
        assert_int_equal(low->preemptions, 0);
        assert_true(sim_when(&g, SCHED_FINISH, low) < sim_when(&g, SCHED_ADMIT, vip));
        sim_deinit(&g);
    }
}

/* Blocks, not seats, keep a better one out: as many leave as are needed, and no more. */
static void test_urgency_for_blocks(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_RECOMPUTE);
    g.cfg.n_blocks = 20;
    sim_start(&g);
    for (int i = 0; i < 4; i++)
        submit_n(&g, "low", i, PRIO_LOW, 15, 9); /* 4 blocks now, 6 at the end */
    sim_step(&g);
    struct request *vip =
        sim_submit(&g, "vip", PRIO_HIGH, 28, 4, 1); /* 7 blocks, and a free one for each other */
    sim_step(&g);
    assert_int_equal(vip->state, REQ_RUNNING);
    /* 4 were free of 20. One leaves: 8 free, 7 + 3 wanted. Two leave: 12 free, 7 + 2 wanted. */
    assert_int_equal(sim_count(&g, SCHED_PREEMPT, NULL), 2);
    assert_int_equal(sim_event(&g, SCHED_PREEMPT, NULL, 0)->blocks, 4);
    sim_run(&g, 300);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* If even all who may be sent away don't make enough room, nobody is. */
static void test_nobody_leaves_in_vain(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_AUTO);
    g.cfg.n_blocks = 12;
    sim_start(&g);
    struct request *kept = sim_make(&g, "kept", PRIO_LOW, 15, 9, 1);
    kept->preemptible = false;
    sim_offer(&g, kept, NULL);
    sim_submit(&g, "low", PRIO_LOW, 15, 5, 2);
    sim_step(&g);
    sim_submit(&g, "vip", PRIO_CRITICAL, 30, 4, 3); /* 8 blocks: more than 12 − 6 */
    for (int i = 0; i < 4; i++)
        sim_step(&g);
    assert_int_equal(sim_count(&g, SCHED_PREEMPT, NULL), 0);
    sim_run(&g, 200);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* Several decode until no block is left: somebody leaves, comes back, and all end with the tokens that they
 * make alone. */
static void test_memory(void **state)
{
    (void)state;
    for (int mode = SCHED_PREEMPT_AUTO; mode <= SCHED_PREEMPT_RECOMPUTE; mode++) {
        struct sim g;
        setup(&g, (enum sched_preemption)mode);
        g.cfg.n_blocks = 12;
        sim_start(&g);
        struct request *high = submit_n(&g, "high", 0, PRIO_HIGH, 8, 24);
        struct request *low = submit_n(&g, "low", 1, PRIO_LOW, 8, 24);
        struct request *normal = submit_n(&g, "normal", 2, PRIO_NORMAL, 8, 24);
        sim_run(&g, 400);
        assert_true(sim_count(&g, SCHED_PREEMPT, NULL) > 0);
        assert_ptr_equal(sim_event(&g, SCHED_PREEMPT, NULL, 0)->req, low);
        assert_int_equal(high->preemptions, 0);
        assert_true(low->preemptions <= 3 && normal->preemptions <= 3);
        assert_true(sim_when(&g, SCHED_FINISH, high) < sim_when(&g, SCHED_FINISH, normal));
        check_all_alone(&g);
        sim_deinit(&g);
    }
}

static void test_preempts_itself(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_PARK);
    g.cfg.n_blocks = 8;
    sim_start(&g);
    struct request *high = sim_submit(&g, "high", PRIO_HIGH, 8, 20, 1);
    struct request *low = sim_make(&g, "low", PRIO_LOW, 8, 20, 2);
    sim_offer(&g, low, NULL);
    sim_run(&g, 200);
    const struct sim_event *e = sim_event(&g, SCHED_PREEMPT, NULL, 0);
    assert_ptr_equal(e->req, low);
    assert_int_equal(high->preemptions, 0);
    /* Whoever's need it was, the better one ran through, and the other came back after it. */
    assert_true(sim_when(&g, SCHED_FINISH, high) < sim_when(&g, SCHED_RESUME, low));
    check_all_alone(&g);
    sim_deinit(&g);
}

static void test_place_and_waited_time_are_kept(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_PARK);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *low = sim_submit(&g, "low", PRIO_LOW, 8, 20, 1);
    g.now_us += 4000000;
    sim_step(&g);
    sim_step(&g);
    struct request *vip = sim_submit(&g, "vip", PRIO_HIGH, 4, 4, 2);
    struct request *later = sim_submit(&g, "later", PRIO_LOW, 4, 4, 3);
    sim_run(&g, 200);
    assert_int_equal(low->arrival, 1);
    assert_true(sim_when(&g, SCHED_RESUME, low) < sim_when(&g, SCHED_ADMIT, later));
    assert_int_equal(low->preempted_us, vip->finish_us - sim_event(&g, SCHED_PREEMPT, low, 0)->now_us);
    assert_int_equal(low->waited_us, 4000000 + low->preempted_us);
    double effective = sim_event(&g, SCHED_RESUME, low, 0)->effective;
    double expect = 2 - 0.1e-6 * (double)low->waited_us;
    assert_true(effective > expect - 1e-9 && effective < expect + 1e-9);
    sim_deinit(&g);
}

static void test_parked_comes_back_as_it_was(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_PARK);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *low = sim_submit(&g, "low", PRIO_LOW, 10, 20, 1);
    for (int i = 0; i < 4; i++)
        sim_step(&g); /* 4 tokens generated, 13 computed: 4 blocks */
    sim_submit(&g, "vip", PRIO_HIGH, 4, 4, 2);
    sim_step(&g);
    struct sched_counts c;
    sched_counts(g.s, &c);
    assert_int_equal(c.blocks_parked, 4);
    assert_int_equal(c.preempted, 1);
    assert_int_equal(c.depth, 0);
    assert_int_equal(low->n_computed, 13);
    sim_run(&g, 100);
    const struct sim_event *e = sim_event(&g, SCHED_RESUME, low, 0);
    assert_int_equal(e->blocks, 4);
    assert_int_equal(e->tokens, 0);
    assert_int_equal(low->recomputed_tokens, 0);
    check_all_alone(&g);
    sim_deinit(&g);
}

static void test_recomputed(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_RECOMPUTE);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *low = sim_submit(&g, "low", PRIO_LOW, 10, 20, 1);
    for (int i = 0; i < 4; i++)
        sim_step(&g);
    sim_submit(&g, "vip", PRIO_HIGH, 4, 4, 2);
    sim_run(&g, 100);
    const struct sim_event *e = sim_event(&g, SCHED_RESUME, low, 0);
    assert_int_equal(e->blocks, 0);
    assert_int_equal(e->tokens, 13);
    assert_int_equal(low->recomputed_tokens, 13);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* auto takes what costs less, by the costs that it was told or has measured; and where the host area is full,
 * it drops. */
static void test_auto_weighs_costs(void **state)
{
    (void)state;
    static const struct {
        double park_us, prefill_us;
        uint32_t slots;
        bool parked;
    } cases[] = {
        {20, 100, 64, true},   /* 4 blocks there and back: 160 against 1300 */
        {500, 100, 64, false}, /* 4000 against 1300 */
        {162, 100, 64, true},  /* 1296 against 1300 */
        {163, 100, 64, false}, /* 1304 */
        {20, 100, 3, false},   /* no room for 4 */
        {20, 0, 64, false},    /* prefill measured: about 100 + 10 µs a token, so 160 < 1300 … */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim g;
        setup(&g, SCHED_PREEMPT_AUTO);
        g.cfg.max_batch_size = 1;
        g.cfg.n_park_slots = cases[i].slots;
        sim_start(&g);
        sched_set_costs(g.s, cases[i].park_us, cases[i].prefill_us);
        struct request *low = sim_submit(&g, "low", PRIO_LOW, 10, 20, 1);
        for (int k = 0; k < 4; k++)
            sim_step(&g);
        sim_submit(&g, "vip", PRIO_HIGH, 4, 4, 2);
        sim_run(&g, 100);
        bool expect = cases[i].parked || cases[i].prefill_us <= 0;
        assert_int_equal(sim_event(&g, SCHED_PREEMPT, low, 0)->parked, expect);
        check_all_alone(&g);
        sim_deinit(&g);
    }
}

/* After max_preemptions it holds every block that it may need, and stays. */
static void test_cap(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_PARK);
    g.cfg.max_batch_size = 1;
    g.cfg.max_preemptions = 2;
    g.cfg.n_blocks = 20;
    sim_start(&g);
    struct request *low = sim_submit(&g, "low", PRIO_LOW, 10, 30, 1);
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 3; k++)
            sim_step(&g);
        submit_n(&g, "vip", i, PRIO_CRITICAL, 4, 2);
    }
    sim_run(&g, 200);
    assert_int_equal(low->preemptions, 2);
    check_all_alone(&g);
    sim_deinit(&g);
}

static void test_cancel_and_timeout_while_preempted(void **state)
{
    (void)state;
    for (int parked = 0; parked <= 1; parked++) {
        struct sim g;
        setup(&g, parked ? SCHED_PREEMPT_PARK : SCHED_PREEMPT_RECOMPUTE);
        g.cfg.max_batch_size = 2;
        sim_start(&g);
        struct request *a = sim_submit(&g, "a", PRIO_LOW, 8, 20, 1);
        struct request *b = sim_make(&g, "b", PRIO_LOW, 8, 20, 2);
        b->timeout_us = 9000;
        sim_offer(&g, b, NULL);
        sim_step(&g);
        submit_n(&g, "vip", 0, PRIO_HIGH, 4, 20);
        submit_n(&g, "vip", 1, PRIO_HIGH, 4, 20);
        sim_step(&g);
        assert_int_equal(a->state, REQ_PREEMPTED);
        assert_int_equal(b->state, REQ_PREEMPTED);
        sched_cancel(g.s, a, g.now_us);
        sim_run(&g, 100);
        assert_int_equal(a->state, REQ_CANCELLED);
        assert_int_equal(b->state, REQ_TIMEOUT);
        assert_int_equal(b->error.code, WEFT_BATCH_TIMEOUT);
        assert_int_equal(b->n_ids - b->n_prompt, 1); /* what was made is kept */
        struct sched_counts c;
        sched_counts(g.s, &c);
        assert_int_equal(c.blocks_parked + c.blocks_used, 0);
        sim_deinit(&g);
    }
}

static void test_device_contents_lost(void **state)
{
    (void)state;
    struct sim g;
    setup(&g, SCHED_PREEMPT_PARK);
    g.cfg.max_batch_size = 2;
    g.cfg.prefix_cache = true;
    sim_start(&g);
    submit_n(&g, "low", 0, PRIO_LOW, 12, 20);
    submit_n(&g, "low", 1, PRIO_LOW, 12, 20);
    for (int i = 0; i < 3; i++)
        sim_step(&g);
    submit_n(&g, "vip", 0, PRIO_HIGH, 8, 9);
    for (int i = 0; i < 3; i++)
        sim_step(&g);
    exec_destroy(g.x); /* a new device that remembers nothing */
    assert_int_equal(exec_sim_create(&g.sim, &g.x, NULL), WEFT_OK);
    sched_kv_lost(g.s, g.now_us);
    assert_true(sim_check(&g));
    sim_run(&g, 200);
    check_all_alone(&g);
    sim_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_victim_for_a_seat),
        cmocka_unit_test(test_who_is_never_sent_away),
        cmocka_unit_test(test_urgency_for_blocks),
        cmocka_unit_test(test_nobody_leaves_in_vain),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_preempts_itself),
        cmocka_unit_test(test_place_and_waited_time_are_kept),
        cmocka_unit_test(test_parked_comes_back_as_it_was),
        cmocka_unit_test(test_recomputed),
        cmocka_unit_test(test_auto_weighs_costs),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_cancel_and_timeout_while_preempted),
        cmocka_unit_test(test_device_contents_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
