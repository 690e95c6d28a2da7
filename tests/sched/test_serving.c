/*
 * What users of serving engines have complained about, each as a test: points 1 to 10 of twenty (11 to 20 in
 * test_serving_more.c). The simulated executor gives the times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/sim_rig.h"

static uint32_t steps(const struct sim *g)
{
    return (uint32_t)sim_counts(g).steps;
}

/* How long a HIGH request takes among n LOW ones, and after how many steps its first token is there. */
static int64_t vip_latency(uint32_t n_low, uint32_t *first_token_steps)
{
    struct sim g;
    sim_init_server(&g);
    sim_start(&g);
    for (uint32_t i = 0; i < n_low; i++)
        sim_submit_nth(&g, "low", i, PRIO_LOW, 64, 400);
    for (int i = 0; i < 20; i++)
        sim_step(&g);
    struct request *vip = sim_submit(&g, "vip", PRIO_HIGH, 64, 64, 1);
    uint32_t before = steps(&g);
    while (vip->first_token_us < 0)
        sim_step(&g);
    *first_token_steps = steps(&g) - before;
    while (!req_is_over(vip))
        sim_step(&g);
    int64_t latency = vip->finish_us - vip->arrival_us;
    sim_deinit(&g);
    return latency;
}

static void point_01_priority_reaches_running_requests(void **state)
{
    (void)state;
    uint32_t crowded_steps, calm_steps;
    int64_t crowded = vip_latency(30, &crowded_steps), calm = vip_latency(15, &calm_steps);
    assert_in_range(crowded_steps, 1, 3);
    assert_true((double)crowded <= 1.25 * (double)calm);
}

/* Decode tokens a second while four prompts nearly fill the pool, with or without a fifth that doesn't fit.
 */
static double decode_rate(bool fifth, uint64_t *preemptions)
{
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 100;
    sim_start(&g);
    for (uint32_t i = 0; i < 4; i++)
        sim_submit_nth(&g, "r", i, PRIO_NORMAL, 22 * 16, 100); /* 88 blocks of 100, 116 at the end */
    for (int i = 0; i < 8; i++)
        sim_step(&g);
    if (fifth)
        sim_submit_nth(&g, "fifth", 0, PRIO_NORMAL, 22 * 16, 100);
    int64_t from = g.now_us;
    uint32_t tokens = 0;
    while (sched_has_work(g.s)) {
        uint32_t at = steps(&g);
        sim_step(&g);
        tokens += sim_event(&g, SCHED_STEP, NULL, at)->n_decodes;
    }
    *preemptions = sim_counts(&g).preemptions;
    double rate = (double)tokens / (double)(g.now_us - from);
    sim_deinit(&g);
    return rate;
}

static void point_02_no_preempt_and_readmit_loop(void **state)
{
    (void)state;
    uint64_t without, with;
    double four = decode_rate(false, &without), five = decode_rate(true, &with);
    assert_true(five >= 0.8 * four);
    assert_true(with <= without + 2);
}

static void point_03_victims_lose_little_work(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.preemption = SCHED_PREEMPT_RECOMPUTE;
    g.cfg.prefix_cache = false;
    g.cfg.n_blocks = 48;
    sim_start(&g);
    struct rng rng;
    rng_seed(&rng, 3);
    uint64_t total = 0, recomputed = 0;
    for (uint32_t i = 0; i < 60; i++) {
        sim_submit_nth(&g, "r", i, (enum prio)(i % 3), 32 + (uint32_t)rng_below(&rng, 200),
                       20 + (uint32_t)rng_below(&rng, 60));
        for (int k = 0; k < 6; k++)
            sim_step(&g);
    }
    sim_run(&g, 20000);
    for (size_t i = 0; i < g.n_reqs; i++) {
        total += g.reqs[i]->n_ids;
        recomputed += g.reqs[i]->recomputed_tokens;
    }
    struct sched_counts c;
    sched_counts(g.s, &c);
    print_message("recomputed %llu of %llu tokens, %llu preemptions of 60 requests\n",
                  (unsigned long long)recomputed, (unsigned long long)total,
                  (unsigned long long)c.preemptions);
    assert_true(c.preemptions > 0);
    assert_true(recomputed * 10 <
                total * 3); /* overloaded, and without parking or cache: the worst that there is */
    sim_deinit(&g);

    sim_init_server(&g); /* of several, the one goes whose loss costs least */
    g.cfg.preemption = SCHED_PREEMPT_RECOMPUTE;
    g.cfg.prefix_cache = false;
    g.cfg.max_batch_size = 5;
    sim_start(&g);
    for (uint32_t i = 0; i < 5; i++)
        sim_submit_nth(&g, "low", i, PRIO_LOW, 30 + (i * 3 + 1) % 5 * 10, 50);
    for (int i = 0; i < 8; i++)
        sim_step(&g);
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < g.n_reqs; i++)
        least = g.reqs[i]->n_computed < least ? g.reqs[i]->n_computed : least;
    sim_submit(&g, "vip", PRIO_HIGH, 30, 5, 1);
    sim_run(&g, 200);
    recomputed = 0;
    for (size_t i = 0; i < g.n_reqs; i++)
        recomputed += g.reqs[i]->recomputed_tokens;
    assert_int_equal(recomputed, least);
    sim_deinit(&g);
}

/* Between two plans at most as many leave for memory as have to: none while enough blocks were just given back. */
static void point_04_no_cascade(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 40;
    sim_start(&g);
    for (uint32_t i = 0; i < 8; i++)
        sim_submit_nth(&g, "r", i, PRIO_NORMAL, 63, 80); /* all need their next block in the same step */
    while (sched_has_work(g.s)) {
        size_t from = g.n_events;
        assert_true(sim_step(&g));
        uint32_t freed = 0, victims = 0, decodes = 0;
        for (size_t i = from; i < g.n_events; i++) {
            if (g.events[i].type == SCHED_PREEMPT) {
                assert_true(freed < 8); /* whoever left before had not freed enough for all */
                freed += g.events[i].blocks;
                victims++;
            } else if (g.events[i].type == SCHED_STEP) {
                decodes = g.events[i].n_decodes;
            }
        }
        assert_true(!victims || decodes > 0);
        assert_in_range(victims, 0, 3);
    }
    sim_deinit(&g);
}

static void point_05_stops_when_the_need_is_met(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 57;
    sim_start(&g);
    for (uint32_t i = 0; i < 8; i++)
        sim_submit_nth(&g, "low", i, PRIO_LOW, 100, 10); /* 7 blocks each: one is left */
    sim_step(&g);
    sim_step(&g);
    sim_step(&g);
    sim_step(&g);
    sim_submit(&g, "vip", PRIO_CRITICAL, 20, 10, 1); /* 2 blocks: one victim's are plenty */
    sim_step(&g);
    assert_int_equal(sim_count(&g, SCHED_PREEMPT, NULL), 1);
    sim_run(&g, 200);
    sim_deinit(&g);
}

/* Is each live request part of the step, or kept out for a reason? */
static void check_reasons(const struct sim *g, const struct plan *p)
{
    for (size_t i = 0; i < g->n_reqs; i++) {
        const struct request *r = g->reqs[i];
        if (!r->arrival || req_is_over(r))
            continue;
        bool in_plan = false;
        for (uint32_t k = 0; k < p->n_items; k++)
            in_plan |= p->items[k].req == r;
        if (r->state == REQ_WAITING || r->state == REQ_PREEMPTED) {
            struct request *list[64];
            uint32_t n = sched_waiters(g->s, list, 64);
            bool listed = false;
            for (uint32_t k = 0; k < n; k++)
                listed |= list[k] == r;
            assert_true(!in_plan && listed && r->wait_reason != WAIT_NONE);
        } else if (!in_plan) { /* no token of the budget was left for it */
            assert_int_equal(r->state, REQ_PREFILLING);
            assert_int_equal(p->n_tokens, p->budget);
        }
    }
}

static void point_06_nobody_is_victim_and_beneficiary(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim g;
        struct rng rng;
        rng_seed(&rng, seed);
        sim_init(&g);
        g.cfg.preemption = SCHED_PREEMPT_AUTO;
        g.cfg.max_preemptions = 3;
        g.cfg.n_park_slots = 16;
        g.cfg.prefix_cache = seed % 2;
        g.cfg.n_blocks = 16;
        g.cfg.max_batch_size = 4;
        g.cfg.max_batch_tokens = 4 + (uint32_t)rng_below(&rng, 20);
        sim_start(&g);
        for (uint32_t i = 0; i < 30; i++) {
            sim_submit_nth(&g, "r", i, (enum prio)((int)rng_below(&rng, 4) - 1),
                           1 + (uint32_t)rng_below(&rng, 40), 1 + (uint32_t)rng_below(&rng, 20));
            size_t from = g.n_events;
            const struct plan *p = sched_plan(g.s, g.now_us);
            assert_non_null(p);
            check_reasons(&g, p);
            for (size_t k = from; k < g.n_events;
                 k++) { /* who was sent away isn't in the plan, and doesn't come back with it */
                for (uint32_t j = 0; j < p->n_items && g.events[k].type == SCHED_PREEMPT; j++)
                    assert_ptr_not_equal(p->items[j].req, g.events[k].req);
            }
            struct sched_result res[8] = {0};
            for (uint32_t k = 0; k < p->n_items; k++)
                res[k] = (struct sched_result){.has_token = p->items[k].n_logits > 0, .token = 1};
            sched_commit(g.s, res, 1000, g.now_us += 1000);
            assert_true(sim_check(&g));
        }
        sim_run(&g, 3000);
        sim_deinit(&g);
    }
}

static void point_07_what_never_fits_is_refused(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 16;
    sim_start(&g);
    struct request *big = sim_make(&g, "big", PRIO_CRITICAL, 250, 10, 1);
    struct weft_err err = {0};
    assert_int_equal(sim_offer(&g, big, &err), WEFT_INVALID_REQUEST);
    struct request *next = sim_submit(&g, "next", PRIO_LOW, 10, 5, 2);
    sim_step(&g);
    assert_int_equal(next->state, REQ_RUNNING);
    sim_run(&g, 10);
    sim_deinit(&g);
}

static void point_08_never_idle_while_the_head_fits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct sim g;
        struct rng rng;
        rng_seed(&rng, seed);
        sim_init(&g);
        g.cfg.n_blocks = 1 + (uint32_t)rng_below(&rng, 12);
        g.cfg.preemption = (enum sched_preemption)rng_below(&rng, 4);
        g.cfg.max_preemptions = 2;
        g.cfg.prefix_cache = true;
        sim_start(&g);
        uint32_t pool = g.cfg.n_blocks * g.cfg.block_tokens;
        for (uint32_t i = 0; i < 25; i++) {
            uint32_t n = 1 + (uint32_t)rng_below(&rng, pool - 1);
            sim_submit_nth(&g, "r", i, (enum prio)((int)rng_below(&rng, 4) - 1), n,
                           1 + (uint32_t)rng_below(&rng, pool - n));
            assert_true(sim_step(&g)); /* something can always run */
        }
        while (sched_has_work(g.s))
            assert_true(sim_step(&g));
        sim_deinit(&g);
    }
}

static void point_09_a_long_prompt_stalls_nobody(void **state)
{
    (void)state;
    int64_t worst[2];
    for (int k = 0; k < 2; k++) {
        struct sim g;
        sim_init_server(&g);
        g.cfg.n_blocks = 4000;
        sim_start(&g);
        struct request *chat = sim_submit(&g, "chat", PRIO_NORMAL, 20, 500, 1);
        for (int i = 0; i < 5; i++)
            sim_step(&g);
        sim_submit_nth(&g, "book", 0, PRIO_NORMAL, k ? 40000 : 4000, 5);
        sim_step(&g);
        struct request *brief = sim_submit_nth(&g, "short", 1, PRIO_NORMAL, 64, 5);
        uint32_t before = steps(&g);
        worst[k] = 0;
        for (int i = 0; i < 12; i++) {
            int64_t last = chat->last_token_us;
            sim_step(&g);
            int64_t gap = chat->last_token_us - last;
            worst[k] = gap > worst[k] ? gap : worst[k];
            if (brief->first_token_us >= 0 && before) {
                assert_in_range(steps(&g) - before, 1, 3);
                before = 0;
            }
        }
        assert_int_equal(before, 0);
        sim_deinit(&g);
    }
    assert_int_equal(worst[0], worst[1]); /* ten times the prompt, the same gap: a step of the budget */
    assert_in_range(worst[0], 1, 300 + 256 * 500 + 16 * 900);
}

static void point_10_prompts_do_not_starve_decodes(void **state)
{
    (void)state;
    struct sim g;
    sim_init_server(&g);
    g.cfg.n_blocks = 2000;
    sim_start(&g);
    struct request *decoders[4];
    for (uint32_t i = 0; i < 4; i++)
        decoders[i] = sim_submit_nth(&g, "d", i, PRIO_LOW, 10, 1000);
    sim_step(&g);
    for (uint32_t k = 0; k < 100; k++) {
        sim_submit_nth(&g, "flood", k, PRIO_NORMAL, 300,
                       1); /* equals of none: better than the decoders, but seats are left */
        uint32_t before[4];
        for (int i = 0; i < 4; i++)
            before[i] = decoders[i]->n_ids;
        sim_step(&g);
        uint32_t running = 0;
        for (int i = 0; i < 4; i++) {
            if (decoders[i]->state != REQ_RUNNING)
                continue; /* sent away for a better one's seat: priority, not starvation by a step */
            running++;
            assert_int_equal(decoders[i]->n_ids, before[i] + 1);
        }
        assert_true(k > 11 || running == 4);
    }
    sim_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point_01_priority_reaches_running_requests),
        cmocka_unit_test(point_02_no_preempt_and_readmit_loop),
        cmocka_unit_test(point_03_victims_lose_little_work),
        cmocka_unit_test(point_04_no_cascade),
        cmocka_unit_test(point_05_stops_when_the_need_is_met),
        cmocka_unit_test(point_06_nobody_is_victim_and_beneficiary),
        cmocka_unit_test(point_07_what_never_fits_is_refused),
        cmocka_unit_test(point_08_never_idle_while_the_head_fits),
        cmocka_unit_test(point_09_a_long_prompt_stalls_nobody),
        cmocka_unit_test(point_10_prompts_do_not_starve_decodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
