/* Fault injection: each step in turn fails; each allocation in turn fails. Only who is concerned ends, and
 * nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "tests/support/sim_rig.h"

static void load(struct sim *g, uint32_t *accepted)
{
    *accepted = 0;
    for (uint32_t i = 0; i < 6; i++) {
        char id[2] = {(char)('a' + i), 0};
        struct request *r = sim_make(g, id, (enum prio)(i % 3), 10 + i, 8, i);
        *accepted += sim_offer(g, r, NULL) == WEFT_OK;
    }
}

static void features(struct sim *g)
{
    sim_init(g);
    g->cfg.n_blocks = 14;
    g->cfg.preemption = SCHED_PREEMPT_PARK;
    g->cfg.max_preemptions = 3;
    g->cfg.n_park_slots = 8;
    g->cfg.prefix_cache = true;
}

static void test_each_step_fails(void **state)
{
    (void)state;
    for (uint64_t k = 1; k <= 40; k++) {
        struct sim g;
        uint32_t accepted;
        features(&g);
        sim_start(&g);
        load(&g, &accepted);
        exec_sim_fail_at(g.x, k);
        sim_run(&g, 400);
        for (size_t i = 0; i < g.n_reqs; i++) {
            struct request *r = g.reqs[i];
            assert_true(r->state == REQ_COMPLETED ||
                        (r->state == REQ_FAILED && r->error.code == WEFT_BATCH_FAILED));
            assert_true(sim_same_alone(&g, r, r->state == REQ_COMPLETED));
        }
        struct sched_counts c;
        sched_counts(g.s, &c);
        assert_int_equal(c.failed > 0, g.steps_failed > 0);
        assert_int_equal(c.completed + c.failed, 6);
        assert_int_equal(c.blocks_used, 0);
        sim_deinit(&g);
    }
}

static void test_each_allocation_of_creation_fails(void **state)
{
    (void)state;
    struct sim g;
    features(&g);
    enum weft_rc rc = WEFT_INTERNAL_ERROR;
    size_t k = 0;
    while (rc) {
        struct weft_err err = {0};
        struct sched *s = NULL;
        mem_fail_at(++k);
        rc = sched_create(&g.cfg, &s, &err);
        mem_fail_at(0);
        assert_int_equal(rc, s ? WEFT_OK : WEFT_INTERNAL_ERROR);
        sched_destroy(s);
    }
    assert_in_range(k, 15, 40); /* it went through all of them */
}

static void test_each_allocation_of_a_run_fails(void **state)
{
    (void)state;
    uint32_t unharmed = 0;
    for (size_t k = 1; k <= 40; k++) {
        struct sim g;
        struct request *r[6];
        features(&g);
        sim_start(&g);
        g.record = g.audit = false; /* these allocate too */
        for (uint32_t i = 0; i < 6; i++) {
            char id[2] = {(char)('a' + i), 0};
            r[i] = sim_make(&g, id, (enum prio)(i % 3), 10 + i, 8, i);
        }
        mem_fail_at(k);
        for (uint32_t i = 0; i < 6; i++)
            sim_offer(&g, r[i], NULL);
        sim_run(&g, 400);
        mem_fail_at(0);
        uint32_t completed = 0;
        for (uint32_t i = 0; i < 6; i++) {
            if (!r[i]->arrival)
                continue; /* refused */
            completed += r[i]->state == REQ_COMPLETED;
            assert_true(r[i]->state == REQ_COMPLETED || r[i]->error.code == WEFT_INTERNAL_ERROR);
            assert_true(sim_same_alone(&g, r[i], r[i]->state == REQ_COMPLETED));
        }
        unharmed += completed == 6;
        assert_true(sim_check(&g));
        sim_deinit(&g);
    }
    assert_in_range(unharmed, 1, 30); /* some ks are past the last allocation, and others did harm */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_step_fails),
        cmocka_unit_test(test_each_allocation_of_creation_fails),
        cmocka_unit_test(test_each_allocation_of_a_run_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
