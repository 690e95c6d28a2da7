/* The sampler against a naive reference in double precision, and the statistics of its draws. */
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

enum { V = 400 };

static struct sampling plain(void)
{
    return (struct sampling){.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 1};
}

static struct sampler *make(struct sampling c, uint32_t n_vocab)
{
    struct sampler *s;
    struct weft_err err;
    assert_int_equal(sampler_create(&c, n_vocab, &s, &err), WEFT_OK);
    return s;
}

static uint32_t next(struct sampler *s, const float *logits, const uint32_t *ids, uint32_t n_ids)
{
    struct sampler_out out;
    sampler_next(s, logits, NULL, ids, n_ids, 0, &out);
    assert_true(out.finite);
    return out.id;
}

/* Logits like a model's: few high ones, many low ones, and some exactly equal. */
static void make_logits(uint64_t seed, float *logits, uint32_t n)
{
    struct rng r;
    rng_seed(&r, seed);
    for (uint32_t i = 0; i < n; i++) {
        double u = rng_unit(&r);
        logits[i] = (float)(floor(-log(u + 1e-9) * 40) / 20 - 4);
    }
}

/* ---- reference: everything sorted, everything in double, straight from the definitions ---- */

struct ref {
    double logit, p;
    uint32_t id;
};

static int by_rank(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t reference(const struct sampling *c, const float *logits, uint32_t n, struct ref *r)
{
    for (uint32_t i = 0; i < n; i++)
        r[i] = (struct ref){logits[i], 0, i};
    qsort(r, n, sizeof *r, by_rank);
    if (c->top_k && c->top_k < n)
        n = c->top_k;
    double sum = 0, cum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += r[i].p = exp((r[i].logit - r[0].logit) / c->temperature);
    for (uint32_t i = 0; i < n; i++)
        r[i].p /= sum;
    if (c->top_p < 1) {
        uint32_t keep = 0;
        while (keep < n && cum < c->top_p)
            cum += r[keep++].p;
        n = keep;
    }
    uint32_t keep = 0;
    sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if (r[i].p >= c->min_p * r[0].p)
            r[keep++] = r[i];
    for (uint32_t i = 0; i < keep; i++)
        sum += r[i].p;
    for (uint32_t i = 0; i < keep; i++)
        r[i].p /= sum;
    return keep;
}

/* Regularised upper incomplete gamma function Q(k/2, x/2) by the Wilson–Hilferty approximation: the
 * probability that chi-square with k degrees of freedom exceeds x. */
static double chi_square_tail(double x, double k)
{
    double z = (cbrt(x / k) - (1 - 2 / (9 * k))) / sqrt(2 / (9 * k));
    return 0.5 * erfc(z / sqrt(2));
}

/* Draws n times and compares with the reference: nothing outside its set, and frequencies as expected. */
static void check_distribution(struct sampling c, const float *logits, uint32_t draws)
{
    static struct ref r[V];
    static uint32_t count[V];
    uint32_t kept = reference(&c, logits, V, r);
    memset(count, 0, sizeof count);
    struct sampler *s = make(c, V);
    for (uint32_t i = 0; i < draws; i++)
        count[next(s, logits, NULL, 0)]++;
    sampler_destroy(s);

    double chi = 0, rest_expected = 0, rest_seen = 0;
    uint32_t bins = 0, seen = 0;
    for (uint32_t i = 0; i < kept; i++) {
        double expected = r[i].p * draws;
        seen += count[r[i].id];
        if (expected < 5) { /* too few for a bin of their own */
            rest_expected += expected;
            rest_seen += count[r[i].id];
        } else {
            chi += (count[r[i].id] - expected) * (count[r[i].id] - expected) / expected;
            bins++;
        }
    }
    assert_int_equal(seen, draws); /* never an id that was cut */
    if (rest_expected >= 5) {
        chi += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
        bins++;
    }
    if (bins > 1 && chi_square_tail(chi, bins - 1) < 1e-4)
        fail_msg("chi-square %.1f with %u bins (T %g k %u p %g m %g)", chi, bins, c.temperature, c.top_k,
                 c.top_p, c.min_p);
}

static void test_distributions(void **state)
{
    (void)state;
    static const struct {
        double temperature;
        uint32_t top_k;
        double top_p, min_p;
    } cases[] = {
        {1, 0, 1, 0},     {0.7, 40, 0.95, 0.05}, {0.7, 40, 1, 0},   {1.5, 0, 0.9, 0}, {1, 0, 0.3, 0},
        {1, 0, 1, 0.1},   {2, 5, 0.5, 0.2},      {1, 1, 1, 0},      {1, 0, 1e-9, 0},  {100, 0, 0.999, 0},
        {100, 300, 1, 0}, {0.01, 0, 1, 0},       {1, 5000, 0.8, 0}, {1, 0, 1, 1},
    };
    static float logits[V];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sampling c = plain();
        make_logits(i + 1, logits, V);
        c.temperature = cases[i].temperature;
        c.top_k = cases[i].top_k;
        c.top_p = cases[i].top_p;
        c.min_p = cases[i].min_p;
        c.seed = (int64_t)i;
        check_distribution(c, logits, 8000);
    }
}

static void test_greedy_ties(void **state)
{
    (void)state;
    float logits[V];
    struct sampling c = plain();
    c.temperature = 0;
    struct sampler *s = make(c, V);
    for (uint32_t i = 0; i < V; i++)
        logits[i] = -3;
    assert_int_equal(next(s, logits, NULL, 0), 0);
    logits[370] = logits[300] = logits[V - 1] = 2;
    assert_int_equal(next(s, logits, NULL, 0), 300);
    logits[V - 1] = nextafterf(2, 3);
    assert_int_equal(next(s, logits, NULL, 0), V - 1);
    sampler_destroy(s);

    /* The same order of ties cuts top-k. */
    logits[V - 1] = 2;
    c.temperature = 1;
    c.top_k = 2;
    s = make(c, V);
    for (int i = 0; i < 200; i++) {
        uint32_t id = next(s, logits, NULL, 0);
        assert_true(id == 300 || id == 370);
    }
    sampler_destroy(s);
}

static void test_reproducible(void **state)
{
    (void)state;
    static float logits[V];
    uint32_t first[64], differ = 0;
    make_logits(5, logits, V);
    struct sampling c = plain();
    c.temperature = 4;
    c.seed = 42;
    struct sampler *a = make(c, V), *b = make(c, V);
    c.seed = 43;
    struct sampler *other = make(c, V);
    for (uint32_t i = 0; i < 64; i++)
        first[i] = next(a, logits, NULL, 0);
    for (uint32_t i = 0; i < 64; i++) {
        assert_int_equal(next(b, logits, NULL, 0), first[i]);
        differ += next(other, logits, NULL, 0) != first[i];
    }
    assert_true(differ > 16);
    sampler_destroy(a);
    sampler_destroy(b);
    sampler_destroy(other);
}

/* The draw with index i is the same whatever was drawn before it. */
static void test_draw_depends_on_index_alone(void **state)
{
    (void)state;
    static float flat[V], peaked[V];
    for (uint32_t i = 0; i < V; i++)
        peaked[i] = -50;
    peaked[7] = 50;
    struct sampler *a = make(plain(), V), *b = make(plain(), V);
    for (int i = 0; i < 10; i++) {
        next(a, flat, NULL, 0);
        assert_int_equal(next(b, peaked, NULL, 0), 7);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(next(a, flat, NULL, 0), next(b, flat, NULL, 0));
    sampler_destroy(a);
    sampler_destroy(b);
}

static void test_penalties(void **state)
{
    (void)state;
    float logits[8] = {4, 3.9f, -1, -2, 0, 0, 0, 0};
    struct sampling c = plain();
    c.temperature = 0;
    c.repeat_penalty = 1.1;
    c.penalty_window = 3;
    struct sampler *s = make(c, 8);
    const uint32_t once[] = {0}, gone[] = {0, 5, 5, 5};
    assert_int_equal(next(s, logits, NULL, 0), 0);
    assert_int_equal(next(s, logits, once, 1), 1); /* 4/1.1 < 3.9 */
    assert_int_equal(next(s, logits, gone, 4), 0); /* out of the window */
    assert_int_equal(next(s, logits, NULL, 0), 0); /* nothing is left behind */
    sampler_destroy(s);

    float negative[2] = {-1, -1.05f}; /* a negative one is multiplied: -1.1 < -1.05 */
    s = make(c, 2);
    assert_int_equal(next(s, negative, once, 1), 1);
    sampler_destroy(s);

    c.repeat_penalty = 1;
    c.presence_penalty = 0.05;
    c.penalty_window = 64;
    s = make(c, 8);
    const uint32_t many[] = {0, 0, 0, 0, 9999}; /* an id outside the vocabulary is ignored */
    assert_int_equal(next(s, logits, many, 5), 0);
    sampler_destroy(s);
    c.presence_penalty = 0;
    c.frequency_penalty = 0.05; /* 4 × 0.05 > 0.1 */
    s = make(c, 8);
    assert_int_equal(next(s, logits, once, 1), 0);
    assert_int_equal(next(s, logits, many, 5), 1);
    sampler_destroy(s);
}

static void test_not_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY};
    float logits[16] = {0};
    struct sampler_out out;
    struct sampling c = plain();
    for (int greedy = 0; greedy < 2; greedy++) {
        c.temperature = greedy ? 0 : 1;
        struct sampler *s = make(c, 16);
        for (size_t i = 0; i < 2; i++) {
            logits[11] = bad[i];
            sampler_next(s, logits, NULL, NULL, 0, 3, &out);
            assert_false(out.finite);
        }
        logits[11] = -INFINITY; /* a masked token is no fault */
        for (int i = 0; i < 300; i++)
            assert_int_not_equal(next(s, logits, NULL, 0), 11);
        for (int i = 0; i < 16; i++)
            logits[i] = -INFINITY;
        sampler_next(s, logits, NULL, NULL, 0, 0, &out);
        assert_false(out.finite);
        memset(logits, 0, sizeof logits);
        sampler_destroy(s);
    }
}

static void test_logprobs(void **state)
{
    (void)state;
    static float logits[V];
    static struct ref r[V];
    make_logits(9, logits, V);
    struct sampling c = plain(), raw = plain();
    c.temperature = 0.3;
    c.repeat_penalty = 5;
    c.penalty_window = 64;
    reference(&raw, logits, V, r); /* logprobs are before penalties and temperature */
    const uint32_t ids[] = {r[0].id};
    struct sampler *s = make(c, V);
    struct sampler_out out;
    sampler_next(s, logits, NULL, ids, 1, SAMPLER_LOGPROBS_MAX, &out);
    assert_int_equal(out.n_top, SAMPLER_LOGPROBS_MAX);
    for (uint32_t i = 0; i < out.n_top; i++) {
        assert_int_equal(out.top[i].id, r[i].id);
        assert_true(fabs(out.top[i].logprob - log(r[i].p)) < 1e-5);
    }
    for (uint32_t i = 0; i < V; i++)
        if (r[i].id == out.id)
            assert_true(fabs(out.logprob - log(r[i].p)) < 1e-5);
    assert_true(fabs(sampler_nll(logits, V, r[17].id) + log(r[17].p)) < 1e-9);
    sampler_destroy(s);

    s = make(raw, 3); /* fewer ids than asked for */
    sampler_next(s, logits, NULL, NULL, 0, 20, &out);
    assert_int_equal(out.n_top, 3);
    sampler_destroy(s);
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        struct sampling s;
    } bad[] = {
        {"temperature", {-0.1, 0, 1, 0, 1, 0, 0, 0, 0}},
        {"temperature", {100.5, 0, 1, 0, 1, 0, 0, 0, 0}},
        {"temperature", {NAN, 0, 1, 0, 1, 0, 0, 0, 0}},
        {"top_p", {1, 0, 0, 0, 1, 0, 0, 0, 0}},
        {"top_p", {1, 0, 1.01, 0, 1, 0, 0, 0, 0}},
        {"min_p", {1, 0, 1, -0.1, 1, 0, 0, 0, 0}},
        {"min_p", {1, 0, 1, INFINITY, 1, 0, 0, 0, 0}},
        {"repeat_penalty", {1, 0, 1, 0, 0, 0, 0, 0, 0}},
        {"repeat_penalty", {1, 0, 1, 0, 11, 0, 0, 0, 0}},
        {"presence_penalty", {1, 0, 1, 0, 1, 3, 0, 0, 0}},
        {"frequency_penalty", {1, 0, 1, 0, 1, 0, -2.5, 0, 0}},
        {"seed", {1, 0, 1, 0, 1, 0, 0, 0, -2}},
    };
    struct weft_err err;
    struct sampler *s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(&err, 0, sizeof err);
        assert_int_equal(sampling_check(&bad[i].s, &err), WEFT_INVALID_REQUEST);
        assert_string_equal(err.context[0].key, "field");
        assert_string_equal(err.context[0].text, bad[i].field);
        assert_string_equal(err.context[1].key, "value");
        assert_string_equal(err.context[2].key, "limit");
        assert_int_equal(sampler_create(&bad[i].s, 4, &s, NULL), WEFT_INVALID_REQUEST);
        assert_null(s);
    }
    struct sampling fine = SAMPLING_DEFAULT;
    assert_int_equal(sampling_check(&fine, &err), WEFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distributions), cmocka_unit_test(test_greedy_ties),
        cmocka_unit_test(test_reproducible),  cmocka_unit_test(test_draw_depends_on_index_alone),
        cmocka_unit_test(test_penalties),     cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_logprobs),      cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
