/*
 * What choosing a token costs: processor time for one row of 49,152 logits, for each kind of settings, with the maxima
 * that an executor may hand over and without. Each figure is the median of rounds over 32 different rows, as a batch of
 * 32 requests has them, each with its own sampler; "logprobs" asks for the best five.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "engine/exec/exec.h"
#include "engine/sampler.h"

enum { VOCAB = 49152, ROWS = 32, ROUNDS = 60, WINDOW = 64, CHUNKS = VOCAB / EXEC_CHUNK };

struct rows {
    float logits[ROWS][VOCAB];
    float maxima[ROWS][CHUNKS];
    uint32_t ids[ROWS][WINDOW];
};

static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Rows like a language model's: a bell of width 3, and a few ids far above it. The last ids are among the likely. */
static void fill(struct rows *r)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t i = 0; i < VOCAB; i++) {
            double radius = sqrt(-2 * log(rng_unit(&rng) + 1e-300));
            r->logits[row][i] = (float)(3 * radius * cos(6.283185307179586 * rng_unit(&rng)));
        }
        for (uint32_t i = 0; i < WINDOW; i++) {
            r->ids[row][i] = (uint32_t)rng_below(&rng, VOCAB);
            r->logits[row][r->ids[row][i]] += (float)(12 * rng_unit(&rng));
        }
        for (uint32_t c = 0; c < CHUNKS; c++) {
            r->maxima[row][c] = -INFINITY;
            for (uint32_t i = 0; i < EXEC_CHUNK; i++)
                r->maxima[row][c] = fmaxf(r->maxima[row][c], r->logits[row][c * EXEC_CHUNK + i]);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median µs a row. */
static double measure(const struct rows *r, const struct sampling *settings, uint32_t n_top, bool with_maxima)
{
    struct sampler *s[ROWS];
    struct sampler_out out;
    double us[ROUNDS];
    for (uint32_t row = 0; row < ROWS; row++)
        assert_int_equal(sampler_create(settings, VOCAB, &s[row], NULL), WEFT_OK);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double from = cpu_us();
        for (uint32_t row = 0; row < ROWS; row++) {
            sampler_next(s[row], r->logits[row], with_maxima ? r->maxima[row] : NULL, r->ids[row], WINDOW,
                         n_top, &out);
            assert_true(out.finite);
        }
        us[round] = (cpu_us() - from) / ROWS;
    }
    for (uint32_t row = 0; row < ROWS; row++)
        sampler_destroy(s[row]);
    qsort(us, ROUNDS, sizeof *us, by_size);
    return us[ROUNDS / 2];
}

static void bench(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct sampling settings;
        uint32_t n_top;
    } cases[] = {
        {"greedy", {0, 0, 1, 0, 1, 0, 0, 0, 1}, 0},
        {"greedy, penalties", {0, 0, 1, 0, 1.1, 0, 0, 64, 1}, 0},
        {"a chat's settings", {0.7, 40, 0.95, 0.05, 1.1, 0, 0, 64, 1}, 0},
        {"top_k 1000", {0.7, 1000, 0.95, 0.05, 1.1, 0, 0, 64, 1}, 0},
        {"top_k 0, min_p 0.05", {0.7, 0, 1, 0.05, 1, 0, 0, 0, 1}, 0},
        {"top_k 0, top_p 0.95", {0.7, 0, 0.95, 0, 1, 0, 0, 0, 1}, 0},
        {"top_k 0", {1, 0, 1, 0, 1, 0, 0, 0, 1}, 0},
        {"top_k 0, temperature 2", {2, 0, 1, 0, 1, 0, 0, 0, 1}, 0},
        {"greedy, logprobs", {0, 0, 1, 0, 1, 0, 0, 0, 1}, 5},
    };
    struct rows *r = malloc(sizeof *r);
    assert_non_null(r);
    fill(r);
    printf("%-26s %14s %14s\n", "settings", "maxima given", "not given");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        printf("%-26s %11.1f us %11.1f us\n", cases[i].name,
               measure(r, &cases[i].settings, cases[i].n_top, true),
               measure(r, &cases[i].settings, cases[i].n_top, false));
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bench)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
