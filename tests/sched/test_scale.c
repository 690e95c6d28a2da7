/*
 * Scale: what a scheduler call costs with many waiting, how it grows, and how fast a large trace is
 * simulated. Prints a table; WEFT_BENCH=1 in the environment takes it to a million. Processor time is what
 * counts, as other programs run too. Limits are those of an optimised build; a build with sanitizers or
 * without optimisation only checks that the work is done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "tests/support/sim_rig.h"

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static const bool timed = true;
#else
static const bool timed = false;
#endif

/* The aim at 10,000 waiting. On a machine with nothing else to do it is met more than twice over; the test
 * allows for one whose caches are full of other programs. */
#define GOAL_US 20

/* Processor time of this thread, in µs. */
static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Mean time in µs of one scheduler call (a submission, plan, commit) with 64 running and `waiting` queued. */
static double call_cost_us(uint32_t waiting, uint32_t n_steps)
{
    struct sim g;
    sim_init_crowd(&g);
    sim_start(&g);
    char id[32];
    for (uint32_t i = 0; i < waiting + 64; i++) {
        snprintf(id, sizeof id, "r%u", i);
        sim_submit(&g, id, (enum prio)(i % 3), 24, 40, i % 1000);
        g.now_us += 10;
    }
    for (int i = 0; i < 10; i++)
        sim_step(&g);
    double spent = 0;
    struct sched_result res[64] = {0};
    struct exec_out out;
    for (uint32_t i = 0; i < n_steps; i++) {
        snprintf(id, sizeof id, "new%u", i);
        struct request *r = sim_make(&g, id, (enum prio)(i % 4 - 1), 24, 40, i);
        double from = cpu_us();
        sched_submit(g.s, r, g.now_us, NULL);
        const struct plan *p = sched_plan(g.s, g.now_us);
        spent += cpu_us() - from;
        assert_non_null(p);
        assert_true(waiting < 64 || p->n_items > 32);
        assert_int_equal(exec_step(g.x, p, &out, NULL), WEFT_OK);
        for (uint32_t k = 0, row = 0; k < p->n_items; k++) {
            res[k].has_token = p->items[k].n_logits > 0;
            res[k].token = res[k].has_token ? out.rows[row++].token : 0;
        }
        from = cpu_us();
        sched_commit(g.s, res, out.dur_us, g.now_us += out.dur_us);
        spent += cpu_us() - from;
    }
    sim_deinit(&g);
    return spent / n_steps;
}

static void test_cost_of_a_call(void **state)
{
    (void)state;
    uint32_t most = getenv("WEFT_BENCH") ? 1000000 : timed ? 100000 : 1000;
    print_message("waiting   µs a call (64 running)\n");
    for (uint32_t waiting = 100; waiting <= most; waiting *= 10) {
        double us = call_cost_us(waiting, 300);
        for (int again = 0; again < 3 && us > GOAL_US && waiting <= 10000; again++) {
            double once_more = call_cost_us(waiting, 300);
            us = once_more < us ? once_more : us;
        }
        print_message("%7u   %6.2f\n", waiting, us);
        assert_true(!timed || waiting > 10000 || us <= 5 * GOAL_US);
    }
}

static void test_large_trace(void **state)
{
    (void)state;
    uint32_t n = timed ? 100000 : 3000, made = 0, done = 0;
    struct sim g;
    struct rng rng;
    sim_init_crowd(&g);
    rng_seed(&rng, 5);
    sim_start(&g);
    double from = cpu_us();
    int64_t next = 0;
    while (made < n || sched_has_work(g.s)) {
        while (made < n && next <= g.now_us) {
            char id[32];
            snprintf(id, sizeof id, "r%u", made++);
            sim_submit(&g, id, (enum prio)((int)rng_below(&rng, 4) - 1), 16 + (uint32_t)rng_below(&rng, 112),
                       8 + (uint32_t)rng_below(&rng, 56), rng_below(&rng, 500));
            next += (int64_t)rng_below(&rng, 4000);
        }
        if (!sim_step(&g))
            g.now_us = next;
    }
    double seconds = (cpu_us() - from) * 1e-6;
    struct sched_counts c;
    sched_counts(g.s, &c);
    for (size_t i = 0; i < g.n_reqs; i++)
        done += g.reqs[i]->state == REQ_COMPLETED;
    print_message("%u requests in %.2f s: %llu steps, batch %.1f on average, %llu preemptions, %.0f %% of "
                  "prompts cached\n",
                  n, seconds, (unsigned long long)c.steps, (double)c.scheduled_items / (double)c.steps,
                  (unsigned long long)c.preemptions,
                  100.0 * (double)c.prefix_hit_tokens / (double)c.prefix_query_tokens);
    assert_int_equal(done, n);
    assert_int_equal(c.blocks_used, 0);
    if (timed)
        assert_true(seconds < 10);
    sim_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_of_a_call),
        cmocka_unit_test(test_large_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
