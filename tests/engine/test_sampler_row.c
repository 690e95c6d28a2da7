/*
 * The sampler looks at few of a row's logits; here what it chooses is held against a reference that copies, changes,
 * sorts and sums all of them: the same id each time, for random rows of every awkward kind, all settings combined,
 * with maxima from the executor and without.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sampler.h"
#include "engine/sampler_row.h"
#include "engine/sampler_sum.h"

enum { MAX_VOCAB = 4097, MAX_IDS = 80, ROWS_EACH = 4, SAMPLERS = 4000 };

struct entry {
    float logit, weight;
    uint32_t id;
};

static int by_rank(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* ---- reference ---- */

static uint32_t times_seen(const struct sampling *c, const uint32_t *ids, uint32_t n_ids, uint32_t id)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_ids; i++)
        n += i + c->penalty_window >= n_ids && ids[i] == id;
    return n;
}

static float penalised(const struct sampling *c, float logit, uint32_t seen)
{
    if (!seen)
        return logit;
    double v = logit > 0 ? logit / c->repeat_penalty : logit * c->repeat_penalty;
    return (float)(v - (c->presence_penalty + c->frequency_penalty * seen));
}

/* Fills e[0 … n) in the order in which a draw goes through them; returns how many there are. 0: not finite. */
static uint32_t candidates(const struct sampling *c, const float *logits, uint32_t n, const uint32_t *ids,
                           uint32_t n_ids, struct entry *e)
{
    static struct entry sorted[MAX_VOCAB];
    double total = 0, sum = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        float v = penalised(c, logits[i], times_seen(c, ids, n_ids, i));
        if (isnan(v) || v == INFINITY)
            return 0;
        e[i] = sorted[i] = (struct entry){v, 0, i};
    }
    qsort(sorted, n, sizeof *sorted, by_rank);
    const struct entry best = sorted[0];
    if (best.logit == -INFINITY)
        return 0;
    if (c->temperature == 0) {
        e[0] = best;
        return 1;
    }
    const bool all = !c->top_k || c->top_k >= n;
    if (all && c->top_p == 1) { /* by id, but the best one first */
        e[best.id] = e[0];
        e[0] = best;
    } else {
        for (uint32_t i = 0; all && i < n; i++) /* summed by id */
            total += expf((float)(((double)e[i].logit - best.logit) / c->temperature));
        memcpy(e, sorted, n * sizeof *e);
        n = all ? n : c->top_k;
    }
    for (uint32_t i = 0; i < n; i++) {
        e[i].weight = expf((float)(((double)e[i].logit - best.logit) / c->temperature));
        sum += e[i].weight;
    }
    if (c->top_p < 1) {
        total = all ? total : sum;
        sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            if ((sum += e[i].weight) >= c->top_p * total) {
                n = i + 1;
                break;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++)
        if (e[i].weight >= c->min_p)
            e[kept++] = e[i];
    return kept;
}

static uint32_t drawn(const struct sampling *c, const struct entry *e, uint32_t n, uint64_t index)
{
    struct rng r;
    double total = 0, sum = 0;
    rng_seed(&r, mix64((uint64_t)c->seed) + index * 0x9e3779b97f4a7c15ull);
    for (uint32_t i = 0; i < n; i++)
        total += e[i].weight;
    double at = n == 1 ? 0 : rng_unit(&r) * total;
    for (uint32_t i = 0; i < n; i++)
        if (at < (sum += e[i].weight) || n == 1)
            return e[i].id;
    fail_msg("nothing drawn");
    return 0;
}

/* ---- random rows and settings ---- */

static double pick(struct rng *r, const double *from, size_t n)
{
    return from[rng_below(r, n)];
}
#define PICK(r, ...) pick(r, (const double[]){__VA_ARGS__}, sizeof(double[]){__VA_ARGS__} / sizeof(double))

static struct sampling random_settings(struct rng *r, uint32_t n)
{
    return (struct sampling){
        .temperature = PICK(r, 0, 0, 0.01, 0.3, 0.7, 1, 2, 100, 1e-300),
        .top_k = (uint32_t)PICK(r, 0, 0, 1, 2, 5, 40, 40, 300, 1000, n, n + 5.0),
        .top_p = PICK(r, 1, 1, 0.999, 0.95, 0.5, 1e-9),
        .min_p = PICK(r, 0, 0, 0.05, 1, 1e-6),
        .repeat_penalty = PICK(r, 1, 1.1, 0.5, 10, 1e-30),
        .presence_penalty = PICK(r, 0, 0, -2, 2, 0.3),
        .frequency_penalty = PICK(r, 0, 0, -2, 0.5),
        .penalty_window = (uint32_t)PICK(r, 0, 1, 7, 64, 1000),
        .seed = (int64_t)(rng_u64(r) >> 1),
    };
}

static float bell(struct rng *r, double width)
{
    return (float)(width * sqrt(-2 * log(rng_unit(r) + 1e-300)) * cos(6.283185307179586 * rng_unit(r)));
}

enum kind {
    BELL,
    LEVELS,
    EQUAL,
    MASKED,
    ALONE,
    BROKEN,
    INFINITE,
    ZEROS,
    HUGE_ONES,
    RISING,
    FALLING,
    N_KINDS
};

static void random_row(struct rng *r, enum kind kind, float *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        switch (kind) {
        case LEVELS: v[i] = (float)rng_below(r, 7) - 3; break;
        case EQUAL: v[i] = 1.5f; break;
        case MASKED: v[i] = rng_below(r, 3) ? -INFINITY : bell(r, 4); break;
        case ALONE: v[i] = -INFINITY; break;
        case ZEROS: v[i] = rng_below(r, 2) ? 0.0f : -0.0f; break;
        case HUGE_ONES: v[i] = rng_below(r, 2) ? FLT_MAX : (float)((rng_unit(r) - 0.5) * 6e38); break;
        case RISING: v[i] = (float)i * 0.01f; break;
        case FALLING: v[i] = (float)i * -0.01f; break;
        default: v[i] = bell(r, 4); break;
        }
    }
    uint32_t at = (uint32_t)rng_below(r, n);
    if (kind == ALONE && rng_below(r, 4))
        v[at] = -4;
    if (kind == BROKEN)
        v[at] = rng_below(r, 2) ? NAN : -NAN;
    if (kind == INFINITE)
        v[at] = INFINITY;
}

/* As an executor gives them; where the vocabulary cuts off the last chunk, padding spoils it. */
static void executor_maxima(struct rng *r, const float *logits, uint32_t n, float *maxima)
{
    for (uint32_t c = 0; c * EXEC_CHUNK < n; c++) {
        maxima[c] = -INFINITY;
        if (n - c * EXEC_CHUNK < EXEC_CHUNK) {
            maxima[c] = rng_below(r, 2) ? NAN : 1e30f;
            continue;
        }
        for (uint32_t i = c * EXEC_CHUNK; i < (c + 1) * EXEC_CHUNK; i++) {
            if (!(logits[i] < INFINITY))
                maxima[c] = NAN;
            else if (logits[i] > maxima[c])
                maxima[c] = logits[i];
        }
    }
}

/* ---- tests ---- */

static float logits[MAX_VOCAB];
static float maxima[MAX_VOCAB / EXEC_CHUNK + 1];
static struct entry entries[MAX_VOCAB];

static void check_row(struct sampler *s, const struct sampling *c, bool given, uint32_t n,
                      const uint32_t *ids, uint32_t n_ids, uint64_t index, uint32_t n_top)
{
    struct sampler_out out;
    uint32_t kept = candidates(c, logits, n, ids, n_ids, entries);
    sampler_next(s, logits, given ? maxima : NULL, ids, n_ids, n_top, &out);
    assert_int_equal(out.finite, kept > 0);
    if (!kept)
        return;
    assert_int_equal(out.id, drawn(c, entries, kept, index));
    if (!n_top)
        return;
    for (uint32_t i = 0; i < n; i++)
        entries[i] = (struct entry){logits[i], 0, i};
    qsort(entries, n, sizeof *entries, by_rank);
    assert_int_equal(out.n_top, n_top < n ? n_top : n);
    for (uint32_t i = 0; i < out.n_top; i++) {
        assert_int_equal(out.top[i].id, entries[i].id);
        double want = entries[i].logit - log_sum_exp(logits, n);
        assert_true(out.top[i].logprob == (float)want);
    }
}

static void test_equal_to_reference(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1,  2,   3,   5,   31,  32,  33,   63,   64,   65,
                                     95, 400, 511, 512, 513, 999, 1024, 2048, 4095, 4097};
    for (uint32_t seed = 0; seed < SAMPLERS; seed++) {
        struct rng r;
        rng_seed(&r, seed);
        const uint32_t n = sizes[rng_below(&r, sizeof sizes / sizeof *sizes)];
        const struct sampling c = random_settings(&r, n);
        struct sampler *given, *found;
        uint32_t ids[MAX_IDS];
        assert_int_equal(sampler_create(&c, n, &given, NULL), WEFT_OK);
        assert_int_equal(sampler_create(&c, n, &found, NULL), WEFT_OK);
        for (uint64_t row = 0; row < ROWS_EACH; row++) {
            const uint32_t n_ids = (uint32_t)rng_below(&r, MAX_IDS + 1);
            const uint32_t n_top = rng_below(&r, 4) ? 0 : (uint32_t)rng_below(&r, SAMPLER_LOGPROBS_MAX + 1);
            random_row(&r, (enum kind)rng_below(&r, N_KINDS), logits, n);
            executor_maxima(&r, logits, n, maxima);
            for (uint32_t i = 0; i < n_ids; i++) { /* some often, the last, one outside */
                ids[i] = (uint32_t)rng_below(&r, rng_below(&r, 2) ? 8 : n + 1);
                if (!rng_below(&r, 10))
                    ids[i] = n - 1;
            }
            check_row(given, &c, true, n, ids, n_ids, row, n_top);
            check_row(found, &c, false, n, ids, n_ids, row, n_top);
        }
        sampler_destroy(given);
        sampler_destroy(found);
    }
}

/* Draws from all of a flat row, where many lie too near to the next for the quick sums. */
static void test_draws_near_an_edge(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    struct sampling c = {.temperature = 30, .top_p = 1, .repeat_penalty = 1, .seed = 5};
    struct sampler *s;
    struct sampler_out out;
    struct rng r;
    rng_seed(&r, 11);
    random_row(&r, BELL, logits, MAX_VOCAB);
    executor_maxima(&r, logits, MAX_VOCAB, maxima);
    assert_int_equal(candidates(&c, logits, MAX_VOCAB, NULL, 0, entries), MAX_VOCAB);
    assert_int_equal(sampler_create(&c, MAX_VOCAB, &s, NULL), WEFT_OK);
    for (uint64_t i = 0; i < DRAWS; i++) {
        sampler_next(s, logits, maxima, NULL, 0, 0, &out);
        assert_int_equal(out.id, drawn(&c, entries, MAX_VOCAB, i));
    }
    sampler_destroy(s);
}

/* The edge of a nucleus on a sum that only the exact total tells from its neighbours: all weigh the same, and top_p
 * asks for a whole number of them. */
static void test_nucleus_at_an_edge(void **state)
{
    (void)state;
    enum { N = 1024 };
    random_row(&(struct rng){1}, EQUAL, logits, N);
    for (uint32_t kept = 1; kept < N; kept += 7) {
        struct sampling c = {.temperature = 1, .top_p = kept / (double)N, .repeat_penalty = 1, .seed = 9};
        struct sampler *s;
        struct sampler_out out;
        assert_int_equal(candidates(&c, logits, N, NULL, 0, entries), kept);
        assert_int_equal(sampler_create(&c, N, &s, NULL), WEFT_OK);
        for (uint64_t i = 0; i < 10; i++) {
            sampler_next(s, logits, NULL, NULL, 0, 0, &out);
            assert_int_equal(out.id, drawn(&c, entries, kept, i));
        }
        sampler_destroy(s);
    }
}

/* What is left unread isn't: only chunks whose maximum says so are. */
static void test_reads_what_may_matter(void **state)
{
    (void)state;
    enum { N = 1024 };
    static const struct sampling settings[] = {{0, 0, 1, 0, 1, 0, 0, 0, 1},
                                               {0.7, 4, 0.95, 0.05, 1.1, 0, 0, 64, 1},
                                               {0.7, 0, 1, 0.05, 1, 0, 0, 0, 1}};
    const uint32_t ids[] = {40};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct sampler *s;
        struct sampler_out out;
        for (uint32_t c = 0; c < N / EXEC_CHUNK; c++)
            maxima[c] = c < 5 ? 9 : 0;
        for (uint32_t id = 0; id < N; id++)
            logits[id] = id < 5 * EXEC_CHUNK ? 9 : NAN; /* a read would show */
        assert_int_equal(sampler_create(&settings[i], N, &s, NULL), WEFT_OK);
        for (int k = 0; k < 20; k++) {
            sampler_next(s, logits, maxima, ids, 1, 0, &out);
            assert_true(out.finite);
            assert_in_range(out.id, 0, 5 * EXEC_CHUNK - 1);
        }
        sampler_destroy(s);
    }
}

static void test_sums(void **state)
{
    (void)state;
    static double sums[MAX_VOCAB / ROW_CHUNK + 1];
    static const double temperatures[] = {0.05, 0.7, 1, 3, 100};
    struct rng r;
    rng_seed(&r, 3);
    for (uint32_t n = 1; n < MAX_VOCAB; n += 97) {
        struct row row;
        assert_int_equal(row_init(&row, n, 0, NULL), WEFT_OK);
        random_row(&r, BELL, logits, n);
        assert_true(row_open(&row, logits, NULL));
        const float best = logits[row_best(&row)];
        long double exact = 0;
        for (uint32_t i = 0; i < n; i++)
            exact += expl((long double)logits[i] - best);
        assert_true(fabs(log_sum_exp(logits, n) - (double)(best + logl(exact))) < 1e-13);
        for (size_t t = 0; t < sizeof temperatures / sizeof *temperatures; t++) {
            double total = 0;
            for (uint32_t i = 0; i < n; i++)
                total += sample_weight(logits[i], best, temperatures[t]);
            double quick = weight_sums(&row, best, temperatures[t], sums);
            assert_true(fabs(quick - total) <= WEIGHT_SUM_ERROR * total);
        }
        row_deinit(&row);
    }
    const float wide[] = {-1e30f, 0, -INFINITY}, broken[] = {0, NAN}, above[] = {0, INFINITY};
    assert_true(log_sum_exp(wide, 3) == 0);
    assert_true(isnan(log_sum_exp(broken, 2)));
    assert_true(isnan(log_sum_exp(above, 2)));
}

static void test_ranks(void **state)
{
    (void)state;
    static const float rising[] = {-INFINITY, -FLT_MAX, -1, -1e-40f, 0, 1e-40f, 1, FLT_MAX};
    static row_rank top[MAX_VOCAB + 2 * ROW_CHUNK], spare[MAX_VOCAB + 2 * ROW_CHUNK];
    struct row row;
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++)
        logits[i] = rising[i];
    logits[8] = -0.0f; /* equals the 0 before it */
    assert_int_equal(row_init(&row, 9, 0, NULL), WEFT_OK);
    assert_true(row_open(&row, logits, NULL));
    row_top(&row, 9, top, spare);
    static const uint32_t order[] = {7, 6, 5, 4, 8, 3, 2, 1, 0};
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(row_rank_id(top[i]), order[i]);
        assert_true(row_rank_logit(top[i]) == logits[order[i]]);
    }
    row_deinit(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_reference),
        cmocka_unit_test(test_draws_near_an_edge),
        cmocka_unit_test(test_nucleus_at_an_edge),
        cmocka_unit_test(test_reads_what_may_matter),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
