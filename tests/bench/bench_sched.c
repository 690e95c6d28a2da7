/*
 * What the scheduler costs: mean and 99th percentile of one call (submissions, plan, commit) with 64 running and 100 to
 * 1,000,000 waiting, and how it grows against log n. As many come as leave, so that the queue keeps its length. Processor time of this thread, without the executor's. The simulated
 * executor carries out the plans, so that requests end and new ones are admitted as in service.
 *
 * The first argument is the largest number of waiting requests (1000000).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/sim_rig.h"

enum { RUNNING = 64, CALLS = 2000, WARM_UP = 200 };

static uint32_t most_waiting = 1000000;

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void start(struct sim *g, uint32_t waiting)
{
    char id[32];
    sim_init_crowd(g);
    g->cfg.max_batch_size = RUNNING;
    sim_start(g);
    for (uint32_t i = 0; i < waiting + RUNNING; i++, g->now_us += 10) {
        snprintf(id, sizeof id, "r%u", i);
        sim_submit(g, id, (enum prio)(i % 3), 24, 40, i % 1000);
    }
}

/* One call, and its step; what the call took. */
static double call_us(struct sim *g, uint32_t waiting)
{
    struct sched_result results[RUNNING] = {0};
    struct sched_counts counts;
    struct exec_out out;
    double us = 0, from;
    sched_counts(g->s, &counts);
    for (uint32_t i = counts.depth + counts.running; i < waiting + RUNNING; i++) {
        char id[32];
        uint32_t n = (uint32_t)g->n_reqs;
        snprintf(id, sizeof id, "r%u", n);
        struct request *r = sim_make(g, id, (enum prio)((int)(n % 4) - 1), 24, 40, n);
        from = cpu_us();
        sched_submit(g->s, r, g->now_us, NULL);
        us += cpu_us() - from;
    }
    from = cpu_us();
    const struct plan *p = sched_plan(g->s, g->now_us);
    us += cpu_us() - from;
    assert_non_null(p);
    assert_int_equal(exec_step(g->x, p, &out, NULL), WEFT_OK);
    for (uint32_t k = 0, row = 0; k < p->n_items; k++) {
        results[k].has_token = p->items[k].n_logits > 0;
        results[k].token = results[k].has_token ? out.rows[row++].token : 0;
    }
    from = cpu_us();
    sched_commit(g->s, results, out.dur_us, g->now_us += out.dur_us);
    return us + cpu_us() - from;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void cost_of_a_call(void **state)
{
    (void)state;
    static double us[CALLS];
    double first = 0;
    print_message("%d running; µs a call, %d calls\n", RUNNING, CALLS);
    print_message("  waiting     mean      p99   mean against %.0f waiting   log n against it\n", 100.0);
    for (uint32_t waiting = 100; waiting <= most_waiting; waiting *= 10) {
        struct sim g;
        double sum = 0;
        start(&g, waiting);
        for (uint32_t i = 0; i < WARM_UP; i++)
            call_us(&g, waiting);
        for (uint32_t i = 0; i < CALLS; i++)
            sum += us[i] = call_us(&g, waiting);
        sim_deinit(&g);
        qsort(us, CALLS, sizeof *us, ascending);
        double mean = sum / CALLS;
        first = first > 0 ? first : mean;
        print_message("%9u   %6.2f   %6.2f   %26.2f   %16.2f\n", waiting, mean, us[CALLS * 99 / 100],
                      mean / first, log(waiting) / log(100));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        most_waiting = (uint32_t)strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(cost_of_a_call)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
