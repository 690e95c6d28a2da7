/*
 * What the prefix cache costs where it finds nothing: the same load of distinct prompts on the default model, with the cache
 * and without in turn, so that whatever else the machine does meets both alike. The median of the pairs' ratios counts.
 *
 * The first argument is the number of pairs (7).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/real_rig.h"

enum { REQUESTS = 16, PROMPT = 64, GEN = 16, PAIRS_MAX = 1000 };

static uint32_t n_pairs = 7;

struct cost {
    double seconds, sched_us; /* of all steps; scheduling, a step */
};

static struct cost run(bool prefix_cache, uint64_t seed)
{
    struct real *g = real_init();
    struct cost cost = {0};
    char id[REQ_ID_MAX];
    g->cfg.prefix_cache = prefix_cache;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        snprintf(id, sizeof id, "r%u", i);
        real_ask(g, id, PRIO_NORMAL, seed * REQUESTS + i, PROMPT, GEN);
    }
    real_freeze(g, false);
    real_wait(g, REQUESTS);
    uint32_t n = real_n_steps(g);
    for (uint32_t i = 0; i < n; i++)
        cost.seconds += (double)g->steps[i].dur_us * 1e-6;
    cost.sched_us = (double)g->sched_ns * 1e-3 / n;
    cost.seconds += (double)g->sched_ns * 1e-9;
    real_stop(g);
    return cost;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void cost_without_hits(void **state)
{
    (void)state;
    static double ratio[PAIRS_MAX];
    double tokens = REQUESTS * (PROMPT + GEN), sched_on = 0, sched_off = 0, seconds = 0;
    run(true, 1000); /* warm caches */
    print_message("tokens a second    off       on    off/on time\n");
    for (uint32_t i = 0; i < n_pairs; i++) {
        struct cost on, off;
        if (i % 2) { /* neither is always first */
            on = run(true, i);
            off = run(false, i);
        } else {
            off = run(false, i);
            on = run(true, i);
        }
        ratio[i] = off.seconds / on.seconds;
        sched_on += on.sched_us / n_pairs;
        sched_off += off.sched_us / n_pairs;
        seconds += off.seconds / n_pairs;
        print_message("            %8.1f %8.1f %10.4f\n", tokens / off.seconds, tokens / on.seconds,
                      ratio[i]);
    }
    qsort(ratio, n_pairs, sizeof *ratio, ascending);
    print_message("median ratio %.4f; scheduling %.1f µs a step with the cache, %.1f without: a difference "
                  "of %.4f %% of "
                  "a step\n",
                  ratio[n_pairs / 2], sched_on, sched_off,
                  100 * (sched_on - sched_off) * 1e-6 * (GEN + REQUESTS * PROMPT / REAL_BATCH_TOKENS) /
                      seconds);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        n_pairs = (uint32_t)strtoul(argv[1], NULL, 10);
    if (!n_pairs || n_pairs > PAIRS_MAX)
        n_pairs = 7;
    const struct CMUnitTest tests[] = {cmocka_unit_test(cost_without_hits)};
    return cmocka_run_group_tests(tests, real_open_device, real_close_device);
}
