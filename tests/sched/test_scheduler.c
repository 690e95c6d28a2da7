/* Submission, order, the full queue, cancelling, priorities, limits, and looking in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/scheduler_int.h"
#include "tests/support/err_check.h"
#include "tests/support/sim_rig.h"

static void test_config_checked(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    struct {
        const char *key;
        struct sched_config c;
    } bad[] = {
        {"kv.blocks", g.cfg},
        {"kv.block_tokens", g.cfg},
        {"scheduler.max_batch_size", g.cfg},
        {"scheduler.max_batch_tokens", g.cfg},
        {"queue.max_depth", g.cfg},
        {"scheduler.aging_rate", g.cfg},
        {"model.context", g.cfg},
    };
    bad[0].c.n_blocks = 0;
    bad[1].c.block_tokens = 0;
    bad[2].c.max_batch_size = 0;
    bad[3].c.max_batch_tokens = 7; /* below the batch size, 8 */
    bad[4].c.max_depth = 0;
    bad[5].c.aging_rate = -1;
    bad[6].c.n_ctx = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sched *s = NULL;
        struct weft_err err = {0};
        assert_int_equal(sched_create(&bad[i].c, &s, &err), WEFT_CONFIG_INVALID);
        assert_null(s);
        assert_string_equal(err_context_text(&err, "key"), bad[i].key);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.n_ctx = 100; /* pool: 256 positions */
    sim_start(&g);
    struct sim small = g;
    sim_init(&small);
    small.cfg.n_blocks = 5; /* 20 positions */
    sim_start(&small);
    struct {
        struct sim *g;
        uint32_t n_prompt, max_tokens;
        double limit;
    } cases[] = {{&g, 0, 5, 1}, {&g, 5, 0, 1}, {&g, 96, 5, 100}, {&g, 200, 5, 100}, {&small, 16, 5, 20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weft_err err = {0};
        struct request *r = sim_make(cases[i].g, "r", PRIO_NORMAL, cases[i].n_prompt, cases[i].max_tokens, 1);
        assert_int_equal(sim_offer(cases[i].g, r, &err), WEFT_INVALID_REQUEST);
        err_context(&err, "field");
        err_context(&err, "value");
        assert_float_equal(err_context(&err, "limit")->number, cases[i].limit, 0);
        assert_null(sched_find(cases[i].g->s, "r"));
        assert_int_equal(sim_count(cases[i].g, SCHED_REJECT, r), 1);
    }
    sim_submit(&g, "fits", PRIO_NORMAL, 95, 5, 1); /* exactly */
    sim_submit(&small, "fits", PRIO_NORMAL, 15, 5, 1);
    struct weft_err err = {0};
    struct request *twin = sim_make(&g, "fits", PRIO_NORMAL, 5, 5, 1),
                   *nameless = sim_make(&g, "", PRIO_NORMAL, 5, 5, 1);
    assert_int_equal(sim_offer(&g, twin, &err), WEFT_INVALID_REQUEST);
    assert_int_equal(sim_offer(&g, nameless, &err), WEFT_INVALID_REQUEST);
    sim_run(&g, 20);
    sim_run(&small, 20);
    assert_int_equal(sim_offer(&g, twin, &err), WEFT_OK); /* the name is free again */
    sim_deinit(&g);
    sim_deinit(&small);
}

static void test_order_of_checks(void **state)
{
    (void)state;
    struct resource mem;
    assert_int_equal(resource_init(&mem, 1000, 2000, 0, NULL), WEFT_OK);
    struct sim g;
    sim_init(&g);
    g.cfg.max_depth = 1;
    g.cfg.resource = &mem;
    sim_start(&g);
    sim_submit(&g, "first", PRIO_LOW, 5, 5, 1);
    const struct {
        double mb;
        enum prio base;
        uint32_t n_prompt;
        enum weft_rc expect;
    } cases[] = {
        {2500, PRIO_LOW, 0, WEFT_INVALID_REQUEST},
        {2500, PRIO_CRITICAL, 5, WEFT_MEMORY_LIMIT_EXCEEDED},
        {2000, PRIO_LOW, 5, WEFT_MEMORY_LIMIT_EXCEEDED},
        {1999, PRIO_LOW, 5, WEFT_RESOURCE_LIMIT_EXCEEDED},
        {1999, PRIO_NORMAL, 5, WEFT_QUEUE_FULL},
        {1000, PRIO_LOW, 5, WEFT_RESOURCE_LIMIT_EXCEEDED},
        {999, PRIO_LOW, 5, WEFT_QUEUE_FULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weft_err err = {0};
        resource_update(&mem, cases[i].mb);
        struct request *r = sim_make(&g, "r", cases[i].base, cases[i].n_prompt, 5, 1);
        assert_int_equal(sim_offer(&g, r, &err), cases[i].expect);
        assert_int_equal(err.code, cases[i].expect);
    }
    sim_deinit(&g);
}

static void test_full_queue_refuses(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_depth = 3;
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *running = sim_submit(&g, "running", PRIO_LOW, 4, 50, 1);
    sim_step(&g);
    for (int round = 0; round < 20; round++) { /* exactly the cap, however often (a cap that leaks shrinks) */
        char id[32];
        struct request *in[3];
        for (int i = 0; i < 3; i++) {
            snprintf(id, sizeof id, "r%d.%d", round, i);
            in[i] = sim_submit(&g, id, PRIO_LOW, 4, 4, 1);
        }
        struct weft_err err = {0};
        struct request *r = sim_make(&g, "more", PRIO_CRITICAL, 4, 4, 1);
        assert_int_equal(sim_offer(&g, r, &err), WEFT_QUEUE_FULL);
        assert_float_equal(err_context(&err, "depth")->number, 3, 0);
        assert_float_equal(err_context(&err, "max_depth")->number, 3, 0);
        for (int i = 0; i < 3; i++)
            sched_cancel(g.s, in[(i + round) % 3], g.now_us);
    }
    assert_int_equal(running->state, REQ_RUNNING);
    sim_deinit(&g);
}

static void test_full_queue_drops(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_depth = 3;
    g.cfg.reject_when_full = false;
    sim_start(&g);
    struct request *n = sim_submit(&g, "n", PRIO_NORMAL, 4, 4, 1);
    struct request *l1 = sim_submit(&g, "l1", PRIO_LOW, 4, 4, 1);
    struct request *l2 = sim_submit(&g, "l2", PRIO_LOW, 4, 4, 1);
    struct request *l3 =
        sim_submit(&g, "l3", PRIO_LOW, 4, 4, 1); /* as bad as the worst: the oldest of these goes */
    assert_int_equal(l1->state, REQ_FAILED);
    assert_int_equal(l1->error.code, WEFT_QUEUE_FULL);
    assert_int_equal(sim_count(&g, SCHED_FINISH, l1), 1);
    struct request *h = sim_submit(&g, "h", PRIO_HIGH, 4, 4, 1);
    assert_int_equal(l2->state, REQ_FAILED);
    struct request *c = sim_submit(&g, "c", PRIO_CRITICAL, 4, 4, 1);
    assert_int_equal(l3->state, REQ_FAILED);
    struct weft_err err = {0};
    struct request *worse = sim_make(&g, "worse", PRIO_LOW, 4, 4, 1);
    assert_int_equal(sim_offer(&g, worse, &err), WEFT_QUEUE_FULL); /* the newcomer is the worst itself */
    struct request *h2 = sim_submit(&g, "h2", PRIO_HIGH, 4, 4, 1);
    assert_int_equal(n->state, REQ_FAILED);
    sim_run(&g, 20);
    assert_int_equal(h->state, REQ_COMPLETED);
    assert_int_equal(c->state, REQ_COMPLETED);
    assert_int_equal(h2->state, REQ_COMPLETED);
    sim_deinit(&g);
}

/* Requests of each base, one seat: in which order do they run? */
static void run_order(bool fifo, const char *expect)
{
    static const enum prio bases[] = {PRIO_LOW,      PRIO_NORMAL, PRIO_HIGH,
                                      PRIO_CRITICAL, PRIO_LOW,    PRIO_CRITICAL};
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_size = 1;
    g.cfg.fifo = fifo;
    sim_start(&g);
    for (uint32_t i = 0; i < 6; i++) {
        char id[2] = {(char)('a' + i), 0};
        sim_submit(&g, id, bases[i], 4, 2, i);
    }
    sim_run(&g, 50);
    char order[8] = "";
    for (uint32_t i = 0; i < 6; i++)
        strcat(order, sim_event(&g, SCHED_ADMIT, NULL, i)->req->id);
    assert_string_equal(order, expect);
    sim_deinit(&g);
}

static void test_priority_and_fifo_order(void **state)
{
    (void)state;
    run_order(false, "dfcbae");
    run_order(true, "abcdef");
}

/* Aging end to end: a LOW has waited behind a long run; who is admitted next? */
static void test_aging_in_the_scheduler(void **state)
{
    (void)state;
    for (int base = PRIO_CRITICAL; base < PRIO_LOW; base++) {
        int64_t passes_at = INT64_C(10000000) * (PRIO_LOW - base);
        for (int late = 0; late <= 1; late++) {
            struct sim g;
            sim_init(&g);
            g.cfg.max_batch_size = 1;
            sim_start(&g);
            struct request *running = sim_submit(&g, "running", PRIO_LOW, 4, 200, 1);
            sim_step(&g);
            struct request *low = sim_submit(&g, "low", PRIO_LOW, 4, 2, 1);
            g.now_us += passes_at - 1 + late;
            struct request *other = sim_submit(&g, "other", (enum prio)base, 4, 2, 1);
            sched_cancel(g.s, running, g.now_us);
            sim_run(&g, 50);
            assert_int_equal(sim_when(&g, SCHED_ADMIT, low) < sim_when(&g, SCHED_ADMIT, other), late);
            sim_deinit(&g);
        }
    }
}

static void test_head_is_never_overtaken(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.n_blocks = 10;
    sim_start(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 20, 4, 1); /* 6 blocks */
    struct request *b = sim_submit(&g, "b", PRIO_NORMAL, 20, 4, 2); /* 6 blocks: must wait for a */
    struct request *c = sim_submit(&g, "c", PRIO_NORMAL, 4, 1, 3);  /* would fit, but is behind b */
    sim_step(&g);
    struct sched_counts n;
    sched_counts(g.s, &n);
    assert_int_equal(n.running, 1);
    assert_int_equal(n.waiting_by_reason[WAIT_BLOCKS], 2);
    struct request *list[3];
    assert_int_equal(sched_waiters(g.s, list, 3), 2);
    assert_ptr_equal(list[0], b);
    assert_int_equal(list[1]->wait_reason, WAIT_BLOCKS);
    sim_run(&g, 50);
    assert_true(sim_when(&g, SCHED_FINISH, a) < sim_when(&g, SCHED_ADMIT, b));
    assert_true(sim_when(&g, SCHED_ADMIT, b) < sim_when(&g, SCHED_ADMIT, c));
    sim_deinit(&g);
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.one_at_a_time = true;
    sim_start(&g);
    for (uint32_t i = 0; i < 5; i++) {
        char id[2] = {(char)('a' + i), 0};
        sim_submit(&g, id, PRIO_NORMAL, 4, 3, i);
    }
    sim_run(&g, 50);
    for (uint32_t i = 0; sim_event(&g, SCHED_STEP, NULL, i); i++)
        assert_int_equal(sim_event(&g, SCHED_STEP, NULL, i)->n_items, 1);
    for (uint32_t i = 1; i < 5; i++)
        assert_true(sim_when(&g, SCHED_FINISH, g.reqs[i - 1]) < sim_when(&g, SCHED_ADMIT, g.reqs[i]));
    sim_deinit(&g);
}

static void test_cancel_in_every_state(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_tokens = 8;
    g.cfg.n_blocks = 20;
    sim_start(&g);
    struct request *other = sim_submit(&g, "other", PRIO_HIGH, 3, 30, 9);
    sim_step(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 30, 5, 1);
    sched_cancel(g.s, a, g.now_us); /* waiting */
    struct request *b = sim_submit(&g, "b", PRIO_NORMAL, 30, 5, 1);
    sim_step(&g);
    assert_int_equal(b->state, REQ_PREFILLING);
    sched_cancel(g.s, b, g.now_us);
    struct request *c = sim_submit(&g, "c", PRIO_NORMAL, 3, 5, 1);
    sim_step(&g);
    assert_int_equal(c->state, REQ_RUNNING);
    sched_cancel(g.s, c, g.now_us);
    struct request *d = sim_submit(&g, "d", PRIO_NORMAL, 3, 5, 1);
    assert_non_null(sched_plan(g.s, g.now_us)); /* in the step under way: it ends with it */
    sched_cancel(g.s, d, g.now_us);
    sched_cancel(g.s, d, g.now_us); /* twice is once */
    assert_int_equal(d->state, REQ_PREFILLING);
    struct sched_result res[2] = {{.has_token = true, .token = 1}, {.has_token = true, .token = 2}};
    sched_commit(g.s, res, 10, g.now_us += 10);
    struct request *all[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(all[i]->state, REQ_CANCELLED);
        assert_int_equal(all[i]->finish, FINISH_CANCELLED);
        assert_int_equal(sim_count(&g, SCHED_CANCEL, all[i]), 1);
        assert_int_equal(sim_count(&g, SCHED_FINISH, all[i]), 1);
        assert_null(sched_find(g.s, all[i]->id));
    }
    struct sched_counts n;
    sched_counts(g.s, &n);
    assert_int_equal(n.running, 1);
    assert_int_equal(n.blocks_used, other->n_blocks);
    assert_ptr_equal(sched_find(g.s, "other"), other);
    assert_null(sched_find(g.s, "nobody"));
    sim_submit(&g, "e", PRIO_LOW, 3, 5, 1);
    assert_int_equal(sched_cancel_all(g.s, g.now_us), 2);
    assert_false(sched_has_work(g.s));
    assert_true(sim_check(&g));
    sim_deinit(&g);
}

static void test_reprioritise(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *running = sim_submit(&g, "running", PRIO_NORMAL, 4, 100, 1);
    sim_step(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 4, 1, 1);
    g.now_us += 3000000;
    struct request *b = sim_submit(&g, "b", PRIO_LOW, 4, 1, 1);
    struct request *list[2];
    sched_waiters(g.s, list, 2);
    assert_ptr_equal(list[0], a);
    sched_set_priority(g.s, b, PRIO_HIGH, g.now_us);
    sched_waiters(g.s, list, 2);
    assert_ptr_equal(list[0], b);
    sched_set_priority(g.s, a, PRIO_HIGH, g.now_us); /* keeps the 3 s that it waited */
    sched_waiters(g.s, list, 2);
    assert_ptr_equal(list[0], a);
    double kept = running->admitted_effective;
    sched_set_priority(g.s, running, PRIO_LOW, g.now_us);
    assert_float_equal(running->admitted_effective, kept + 1, 1e-12);
    assert_int_equal(running->base, PRIO_LOW);
    assert_int_equal(sim_count(&g, SCHED_PRIORITY, NULL), 3);
    sched_set_priority(g.s, running, PRIO_LOW, g.now_us); /* no change, no event */
    sched_set_priority(g.s, running, (enum prio)9, g.now_us);
    assert_int_equal(sim_count(&g, SCHED_PRIORITY, NULL), 3);
    sim_deinit(&g);
}

static void test_counts_start_at_zero(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    sim_start(&g);
    struct sched_counts c, zero = {.blocks_total = 64, .blocks_free = 64};
    sched_counts(g.s, &c);
    assert_memory_equal(&c, &zero, sizeof c);
    assert_null(sched_plan(g.s, 0));
    assert_int_equal(sched_wake_us(g.s), INT64_MAX);
    sim_submit(&g, "a", PRIO_NORMAL, 9, 3, 1);
    sim_submit(&g, "b", PRIO_NORMAL, 9, 3, 2);
    sim_step(&g);
    uint64_t owner[64];
    sched_block_owners(g.s, owner, 64);
    uint32_t of_a = 0, of_b = 0;
    for (int i = 0; i < 64; i++) {
        of_a += owner[i] == 1;
        of_b += owner[i] == 2;
    }
    assert_int_equal(of_a, 3);
    assert_int_equal(of_b, 3);
    sim_run(&g, 10);
    sched_counts(g.s, &c);
    assert_int_equal(c.steps, 3);
    assert_int_equal(c.scheduled_items, 6);
    assert_int_equal(c.total_requests, 2);
    assert_int_equal(c.completed, 2);
    assert_int_equal(c.max_depth_seen, 2);
    assert_int_equal(c.peak_blocks_used, 6);
    assert_int_equal(c.blocks_used, 0);
    sim_deinit(&g);
}

/* The audit sees what it is there to see. */
static void test_audit_finds_faults(void **state)
{
    (void)state;
    struct sim g;
    char why[256];
    sim_init(&g);
    sim_start(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 9, 3, 1),
                   *b = sim_submit(&g, "b", PRIO_NORMAL, 9, 3, 2);
    sim_step(&g);
    assert_int_equal(sched_audit(g.s, why, sizeof why), 0);
    assert_string_equal(why, "");
    g.s->blocks.refs[a->blocks[0]]++; /* a leak */
    assert_int_equal(sched_audit(g.s, why, sizeof why), 1);
    assert_non_null(strstr(why, "counts 2 owners, has 1"));
    g.s->blocks.refs[a->blocks[0]]--;
    uint32_t own = b->blocks[2];
    b->blocks[2] = a->blocks[2]; /* an overlap, and a leak */
    assert_int_equal(sched_audit(g.s, why, sizeof why), 2);
    b->blocks[2] = own;
    g.s->blocks.n_reserved += 3;
    assert_int_equal(sched_audit(g.s, why, sizeof why), 1);
    g.s->blocks.n_reserved -= 3;
    assert_int_equal(sched_audit(g.s, why, sizeof why), 0);
    sim_run(&g, 10);
    sim_deinit(&g);
}

static void test_limits_change_live(void **state)
{
    (void)state;
    struct sim g;
    sim_init(&g);
    g.cfg.max_batch_size = 2;
    sim_start(&g);
    for (uint32_t i = 0; i < 6; i++) {
        char id[2] = {(char)('a' + i), 0};
        sim_submit(&g, id, PRIO_NORMAL, 4, 20, i);
    }
    sim_step(&g);
    assert_int_equal(sim_event(&g, SCHED_STEP, NULL, 0)->n_items, 2);
    g.cfg.max_batch_size = 5;
    sched_configure(g.s, &g.cfg, g.now_us);
    sim_step(&g);
    assert_int_equal(sim_event(&g, SCHED_STEP, NULL, 1)->n_items, 5);
    g.cfg.max_batch_size = 3;
    sched_configure(g.s, &g.cfg, g.now_us);
    sim_step(&g);
    assert_int_equal(sim_event(&g, SCHED_STEP, NULL, 2)->n_items, 3);
    struct sched_config wrong = g.cfg;
    wrong.max_batch_tokens = 0;
    sched_configure(g.s, &wrong, g.now_us); /* impossible: stays as it was */
    sim_run(&g, 100);
    for (size_t i = 0; i < g.n_reqs; i++)
        assert_true(sim_same_alone(&g, g.reqs[i], true));
    sim_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_checked),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_order_of_checks),        cmocka_unit_test(test_full_queue_refuses),
        cmocka_unit_test(test_full_queue_drops),       cmocka_unit_test(test_priority_and_fifo_order),
        cmocka_unit_test(test_aging_in_the_scheduler), cmocka_unit_test(test_head_is_never_overtaken),
        cmocka_unit_test(test_one_at_a_time),          cmocka_unit_test(test_cancel_in_every_state),
        cmocka_unit_test(test_reprioritise),           cmocka_unit_test(test_counts_start_at_zero),
        cmocka_unit_test(test_audit_finds_faults),     cmocka_unit_test(test_limits_change_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
