/*
 * What users of serving engines have complained about, each as a test: points 11 to 20 of twenty (1 to 10 in
 * test_serving.c), and that nothing starves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/sim_rig.h"

static void point_11_chunks_fit_the_device(void **state)
{
    (void)state;
    static const double prefill_us[] = {
        50, 500, 5000}; /* a fixed chunk of 256 would stall a decode for 13, 128, 1280 ms */
    for (size_t i = 0; i < 3; i++) {
        struct sim g;
        sim_init_server(&g);
        g.cfg.n_blocks = 2000;
        g.cfg.itl_target_us = 50000;
        g.sim.prefill_us = prefill_us[i];
        sim_start(&g);
        struct request *chat = sim_submit(&g, "chat", PRIO_NORMAL, 5, 400, 1);
        for (int k = 0; k < 5; k++)
            sim_step(&g);
        sim_submit_nth(&g, "long", 0, PRIO_NORMAL, 20000, 1);
        for (int k = 0; k < 60; k++) {
            int64_t last = chat->last_token_us;
            sim_step(&g);
            assert_in_range(chat->last_token_us - last, 1, 52000);
        }
        sim_deinit(&g);
    }
}

static void point_12_resumed_requests_do_not_count_as_hits(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.max_batch_size = 1;
    sim_start(&g);
    struct request *low = sim_submit(&g, "low", PRIO_LOW, 100, 50, 1);
    for (int i = 0; i < 5; i++)
        sim_step(&g);
    sim_submit(&g, "vip", PRIO_HIGH, 40, 5, 2);
    sim_run(&g, 200);
    assert_int_equal(low->preemptions, 1);
    assert_int_equal(sim_event(&g, SCHED_RESUME, low, 0)->cached_tokens, 96); /* it did profit … */
    assert_int_equal(low->cached_tokens, 0);
    assert_int_equal(sim_counts(&g).prefix_hit_tokens, 0); /* … but nobody boasts of it */
    assert_int_equal(sim_counts(&g).prefix_query_tokens, 140);
    sim_deinit(&g);
}

static void point_13_heads_outlive_tails(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 64;
    sim_start(&g);
    /* Chats that share 256 tokens and go on for 128 each, one after the other: 16 + 8 blocks. */
    for (uint32_t i = 0; i < 20; i++) {
        char id[32];
        snprintf(id, sizeof id, "chat%u", i);
        struct request *r = sim_make(&g, id, PRIO_NORMAL, 256 + 64, 64, 7);
        for (uint32_t k = 256; k < 320; k++)
            r->ids[k] = i * 17 + k;
        assert_int_equal(sim_offer(&g, r, NULL), WEFT_OK);
        sim_run(&g, 200);
        assert_int_equal(r->cached_tokens, i ? 256 : 0);
    }
    assert_in_range(sim_counts(&g).blocks_free, 0,
                    4); /* the pool did fill: tails were evicted all the time */
    sim_deinit(&g);
}

static void point_14_a_full_pool_ends_nobody(void **state)
{
    (void)state;
    for (int mode = SCHED_PREEMPT_AUTO; mode <= SCHED_PREEMPT_RECOMPUTE; mode++) {
        struct sim g;
        sim_init_server(&g);
        g.cfg.preemption = (enum sched_preemption)mode;
        g.cfg.n_blocks = 40;
        sim_start(&g);
        for (uint32_t i = 0; i < 8; i++)
            sim_submit_nth(&g, "r", i, PRIO_NORMAL, 40, 150); /* 12 blocks each in the end */
        sim_run(&g, 3000);
        assert_true(sim_counts(&g).preemptions > 0);
        for (size_t i = 0; i < g.n_reqs; i++) {
            assert_int_equal(g.reqs[i]->state, REQ_COMPLETED);
            assert_true(sim_same_alone(&g, g.reqs[i], true));
        }
        sim_deinit(&g);
    }
}

static void point_15_no_text_from_another_chat(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 60;
    g.sim.n_vocab = 2; /* prompts of two ids: as alike as can be */
    sim_start(&g);
    for (uint32_t i = 0; i < 60; i++) {
        char id[32];
        snprintf(id, sizeof id, "r%u", i);
        struct request *r = sim_make(&g, id, PRIO_NORMAL, 20 + i % 50, 20, i % 7);
        r->salt = i % 3;
        assert_int_equal(sim_offer(&g, r, NULL), WEFT_OK);
        if (i % 5 == 4)
            sim_run(&g, 2000);
    }
    assert_true(sim_counts(&g).prefix_hit_tokens > 0);
    for (size_t i = 0; i < g.n_reqs; i++)
        assert_true(sim_same_alone(&g, g.reqs[i], true));
    sim_deinit(&g);
}

static void point_16_cancel_works_everywhere(void **state)
{
    (void)state;
    enum { WAITING, PREFILL, DECODE, PARKED, N_WHERE };
    for (int where = 0; where < N_WHERE; where++) {
        struct sim g;
        sim_init_server(&g);
        g.cfg.prefix_cache = false;
        g.cfg.max_batch_size = 2;
        g.cfg.max_batch_tokens = 32;
        g.cfg.preemption = SCHED_PREEMPT_PARK;
        sim_start(&g);
        struct request *other = sim_make(&g, "other", PRIO_HIGH, 10, 60, 1);
        sim_offer(&g, other, NULL);
        struct request *filler = where == WAITING ? sim_submit(&g, "filler", PRIO_HIGH, 10, 60, 2) : NULL;
        struct request *victim = sim_submit(&g, "victim", PRIO_LOW, 80, 60, 3);
        sim_step(&g);
        for (int i = 0; i < 6 && where >= DECODE; i++)
            sim_step(&g);
        if (where == PARKED) {
            filler = sim_submit(&g, "filler", PRIO_HIGH, 10, 60, 2);
            sim_step(&g);
        }
        static const enum req_state expect[] = {REQ_WAITING, REQ_PREFILLING, REQ_RUNNING, REQ_PREEMPTED};
        assert_int_equal(victim->state, expect[where]);
        sched_cancel(g.s, sched_find(g.s, "victim"), g.now_us);
        assert_int_equal(victim->state, REQ_CANCELLED);
        assert_int_equal(sim_counts(&g).blocks_used, other->n_blocks + (filler ? filler->n_blocks : 0));
        sim_run(&g, 200);
        assert_int_equal(sim_counts(&g).blocks_parked, 0);
        assert_true(sim_same_alone(&g, other, true));
        assert_true(!filler || sim_same_alone(&g, filler, true));
        sim_deinit(&g);
    }
}

static void point_17_one_output(void **state)
{
    (void)state;
    enum { ALONE, BATCHED, CHUNKED, PARKED, RECOMPUTED, CACHED, FORKED, N_WAYS };
    uint32_t first[160];
    for (int way = 0; way < N_WAYS; way++) {
        struct sim g;
        sim_init_server(&g);
        g.cfg.prefix_cache = way == CACHED;
        g.cfg.max_batch_tokens = way == CHUNKED ? 17 : 256;
        g.cfg.max_batch_size = way == PARKED || way == RECOMPUTED ? 1 : 16;
        g.cfg.preemption = way == RECOMPUTED ? SCHED_PREEMPT_RECOMPUTE : SCHED_PREEMPT_PARK;
        sim_start(&g);
        for (uint32_t i = 0; i < 9 && way == BATCHED; i++)
            sim_submit_nth(&g, "company", i, PRIO_HIGH, 20 + 30 * i, 50);
        if (way == CACHED || way == FORKED) {
            sim_submit(&g, "parent", PRIO_LOW, 100, 60, 5);
            for (int i = 0; i < 3; i++)
                sim_step(&g);
        }
        struct request *r = sim_make(&g, "r", PRIO_LOW, 100, 60, 5);
        r->fork_of = way == FORKED ? "parent" : NULL;
        assert_int_equal(sim_offer(&g, r, NULL), WEFT_OK);
        for (int i = 0; i < 10; i++)
            sim_step(&g);
        if (way == PARKED || way == RECOMPUTED)
            sim_submit(&g, "vip", PRIO_CRITICAL, 30, 10, 9);
        sim_run(&g, 500);
        assert_int_equal(r->preemptions, way == PARKED || way == RECOMPUTED);
        assert_int_equal(r->cached_tokens > 0, way == CACHED || way == FORKED);
        if (way == ALONE)
            memcpy(first, r->ids, sizeof first);
        assert_int_equal(r->n_ids, 160);
        assert_memory_equal(r->ids, first, sizeof first);
        sim_deinit(&g);
    }
}

static void point_18_the_cap_is_exact(void **state)
{
    (void)state;
    struct sim g;
    struct rng rng;
    sim_init_server(&g);
    rng_seed(&rng, 18);
    g.cfg.max_depth = 10;
    g.cfg.max_batch_size = 2;
    g.cfg.n_blocks = 20;
    sim_start(&g);
    for (uint32_t i = 0; i < 400; i++) { /* in and out in every way; the depth that counts stays what it is */
        char id[32];
        snprintf(id, sizeof id, "r%u", i);
        struct request *r = sim_make(&g, id, (enum prio)((int)rng_below(&rng, 4) - 1), 20, 30, i);
        r->timeout_us = rng_below(&rng, 3) ? 0 : 30000;
        uint32_t depth = sim_counts(&g).depth;
        assert_int_equal(sim_offer(&g, r, NULL), depth >= 10 ? WEFT_QUEUE_FULL : WEFT_OK);
        assert_in_range(sim_counts(&g).depth, 0, 10);
        if (rng_below(&rng, 3) == 0)
            sim_step(&g);
        struct request *list[16];
        uint32_t n = sched_waiters(g.s, list, 16);
        if (n && rng_below(&rng, 8) == 0)
            sched_cancel(g.s, list[rng_below(&rng, n)], g.now_us);
    }
    sim_run(&g, 5000);
    assert_int_equal(sim_counts(&g).depth, 0);
    for (uint32_t i = 0; i < 10; i++)
        sim_submit_nth(&g, "last", i, PRIO_NORMAL, 20, 30);
    assert_int_equal(sim_offer(&g, sim_make(&g, "over", PRIO_CRITICAL, 20, 30, 1), NULL), WEFT_QUEUE_FULL);
    sim_run(&g, 1000);
    sim_deinit(&g);
}

static void point_19_the_step_in_flight_can_be_seen(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    sim_start(&g);
    struct request *a = sim_submit(&g, "a", PRIO_NORMAL, 500, 5, 1);
    const struct plan *p = sched_plan(g.s, g.now_us);
    /* Everything that a screen shows is there before the step has run. */
    assert_int_equal(p->step, 1);
    assert_int_equal(p->n_prefill_tokens, 256);
    assert_ptr_equal(p->items[0].req, a);
    struct request *list[4];
    assert_int_equal(sched_running(g.s, list, 4), 1);
    assert_int_equal(a->state, REQ_PREFILLING);
    assert_int_equal(sim_counts(&g).running, 1);
    assert_int_equal(sim_counts(&g).blocks_used, 32);
    struct sched_result res = {0};
    sched_commit(g.s, &res, 1000, g.now_us += 1000);
    sim_deinit(&g);
}

/* Endless HIGH traffic at 90 % load: every LOW starts within 40 s, and those that are preempted come back. */
static void point_20_nothing_starves(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.prefix_cache = false;
    g.cfg.max_batch_size = 4;
    g.cfg.n_blocks = 200;
    g.audit = false;
    sim_start(&g);
    /* A HIGH of 100 + 100 tokens: 50 ms of prefill, and 100 decodes; with 4 seats full a step takes 3.9 ms. */
    double seat_us = 100 * 500 + 100 * (300 / 4.0 + 900);
    struct rng rng;
    rng_seed(&rng, 20);
    int64_t next_high = 0, next_low = 0;
    uint32_t n_high = 0, n_low = 0;
    while (g.now_us < INT64_C(400000000)) {
        while (next_high <= g.now_us) {
            sim_submit_nth(&g, "high", n_high++, PRIO_HIGH, 50 + (uint32_t)rng_below(&rng, 100),
                           50 + (uint32_t)rng_below(&rng, 100));
            next_high += (int64_t)(seat_us / 0.9 * (0.5 + rng_unit(&rng)));
        }
        while (next_low <= g.now_us) {
            sim_submit_nth(&g, "low", n_low++, PRIO_LOW, 200, 200);
            next_low += 3000000;
        }
        if (!sim_step(&g))
            g.now_us = next_high < next_low ? next_high : next_low;
    }
    int64_t worst = 0;
    uint32_t most_preempted = 0;
    for (size_t i = 0; i < g.n_reqs; i++) {
        const struct request *r = g.reqs[i];
        if (r->base != PRIO_LOW || r->arrival_us > 340000000)
            continue;
        assert_true(r->scheduled_us >= 0);
        worst = r->scheduled_us - r->arrival_us > worst ? r->scheduled_us - r->arrival_us : worst;
        most_preempted = r->preemptions > most_preempted ? r->preemptions : most_preempted;
    }
    print_message(
        "under %u HIGH: the longest that one of %u LOW waited was %.1f s; preempted at most %u times\n",
        n_high, n_low, (double)worst * 1e-6, most_preempted);
    assert_in_range(worst, 0, 40000000);
    assert_in_range(most_preempted, 0, 3);
    sim_deinit(&g);
}

/* Sixteen LOW fill the batch, a CRITICAL comes: it is served at once, and they lose little by it. */
static void urgency_costs_the_others_little(void **state)
{
    (void)state;
    int64_t took[2];
    for (int with = 0; with <= 1; with++) {
        struct sim g;
        sim_init_server(&g);
        sim_start(&g);
        for (uint32_t i = 0; i < 16; i++)
            sim_submit_nth(&g, "low", i, PRIO_LOW, 128, 200);
        for (int i = 0; i < 40; i++)
            sim_step(&g);
        if (with) {
            struct request *vip = sim_submit(&g, "vip", PRIO_CRITICAL, 64, 32, 1);
            uint64_t before = sim_counts(&g).steps;
            while (vip->first_token_us < 0)
                sim_step(&g);
            assert_in_range(sim_counts(&g).steps - before, 1, 3);
        }
        sim_run(&g, 2000);
        took[with] = g.now_us;
        assert_int_equal(sim_counts(&g).preemptions, with);
        sim_deinit(&g);
    }
    assert_true((double)took[1] < 1.15 * (double)took[0]);
}

/* Under a healthy mix hardly anybody is preempted. */
static void healthy_trace_preempts_few(void **state)
{
    (void)state;
    struct sim g;
    struct rng rng;
    sim_init_server(&g);
    g.audit = false;
    rng_seed(&rng, 99);
    sim_start(&g);
    int64_t next = 0;
    uint32_t n = 0;
    while (n < 500) {
        while (next <= g.now_us && n < 500) {
            double u = rng_unit(&rng);
            enum prio base = u < 0.1 ? PRIO_HIGH : u < 0.7 ? PRIO_NORMAL : PRIO_LOW;
            sim_submit_nth(&g, "r", n++, base, 16 + (uint32_t)rng_below(&rng, 300),
                           8 + (uint32_t)rng_below(&rng, 120));
            next += (int64_t)(250000 * 2 * rng_unit(&rng));
        }
        if (!sim_step(&g))
            g.now_us = next;
    }
    sim_run(&g, 100000);
    struct sched_counts c = sim_counts(&g);
    print_message("%llu preemptions of 500 requests\n", (unsigned long long)c.preemptions);
    assert_in_range(c.preemptions, 0, 49);
    sim_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point_11_chunks_fit_the_device),
        cmocka_unit_test(point_12_resumed_requests_do_not_count_as_hits),
        cmocka_unit_test(point_13_heads_outlive_tails),
        cmocka_unit_test(point_14_a_full_pool_ends_nobody),
        cmocka_unit_test(point_15_no_text_from_another_chat),
        cmocka_unit_test(point_16_cancel_works_everywhere),
        cmocka_unit_test(point_17_one_output),
        cmocka_unit_test(point_18_the_cap_is_exact),
        cmocka_unit_test(point_19_the_step_in_flight_can_be_seen),
        cmocka_unit_test(point_20_nothing_starves),
        cmocka_unit_test(urgency_costs_the_others_little),
        cmocka_unit_test(healthy_trace_preempts_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
