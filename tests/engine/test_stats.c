/* Windowed statistics against the definitions, over simulated time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/stats.h"

static void test_meter(void **state)
{
    (void)state;
    struct stats_meter m = {0};
    int64_t span;
    assert_true(stats_meter_rate(&m, 1000000, 5) == 0);
    assert_int_equal(stats_meter_since(&m, 1000000, 5, &span), 0);
    assert_int_equal(span, 0);
    for (int64_t t = 0; t <= 20000000; t += 250000) { /* 8 each 250 ms */
        stats_meter_mark(&m, t);
        m.total += 8;
    }
    int64_t now = 20250000;
    assert_int_equal(stats_meter_since(&m, 1000000, now, &span), 4 * 8);
    assert_int_equal(span, 1000000);
    assert_true(fabs(stats_meter_rate(&m, 1000000, now) - 32) < 1e-9);
    assert_int_equal(stats_meter_since(&m, 10000000, now, NULL), 40 * 8);
    assert_int_equal(stats_meter_since(&m, INT64_MAX, now, &span),
                     STATS_MARKS * 8); /* as far as it reaches */
    assert_int_equal(stats_meter_since(&m, 10, now + 5000000, &span),
                     8); /* older than the window: the last mark */
    assert_int_equal(span, 5250000);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void test_histogram_quantiles(void **state)
{
    (void)state;
    enum { N = 5000 };
    static struct stats_histogram h;
    static double v[N];
    struct rng r;
    rng_seed(&r, 11);
    memset(&h, 0, sizeof h);
    assert_true(isnan(stats_histogram_quantile_us(&h, 0.5)));
    assert_true(isnan(stats_histogram_mean_us(&h)));
    double sum = 0;
    for (int i = 0; i < N; i++) {
        v[i] = floor(pow(10, 1 + 6 * rng_unit(&r)));
        sum += v[i];
        stats_histogram_add(&h, (int64_t)v[i], 1000 * i);
    }
    qsort(v, N, sizeof *v, ascending);
    const double qs[] = {0, 0.01, 0.5, 0.9, 0.99, 1};
    for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
        int rank = (int)ceil(qs[i] * N);
        double exact = v[rank > 0 ? rank - 1 : 0];
        assert_true(fabs(stats_histogram_quantile_us(&h, qs[i]) / exact - 1) < 0.05);
    }
    assert_true(fabs(stats_histogram_mean_us(&h) / (sum / N) - 1) < 1e-9);
}

static void test_histogram_forgets(void **state)
{
    (void)state;
    static struct stats_histogram h;
    memset(&h, 0, sizeof h);
    for (int64_t s = 0; s < 200; s++) { /* 1 ms for 100 s, then 100 ms */
        stats_histogram_add(&h, s < 100 ? 1000 : 100000, s * 1000000);
        double p50 = stats_histogram_quantile_us(&h, 0.5), p99 = stats_histogram_quantile_us(&h, 0.99);
        if (s < 100)
            assert_true(p99 < 1100);
        if (s > 101 && s < 155)
            assert_true(p99 > 90000); /* some of the new */
        if (s >= 160)
            assert_true(stats_histogram_quantile_us(&h, 0) > 90000); /* none of the old */
        if (s >= 135)
            assert_true(p50 > 90000);
    }
    stats_histogram_expire(&h, 10000000000);
    assert_true(isnan(stats_histogram_quantile_us(&h, 0.5)));
    stats_histogram_add(&h, 0, 10000000001); /* the ends of the scale */
    assert_true(stats_histogram_quantile_us(&h, 0.5) < 2);
    stats_histogram_add(&h, INT64_MAX, 10000000002);
    assert_true(stats_histogram_quantile_us(&h, 1) > 9e8);
}

static void test_resident(void **state)
{
    (void)state;
    enum { BYTES = 64000000 };
    double before = stats_resident_mb();
    assert_true(before > 0.1 && before < 100000);
    char *p = malloc(BYTES);
    assert_non_null(p);
    memset(p, 1, BYTES);
    double after = stats_resident_mb();
    assert_int_equal(p[BYTES / 2], 1);
    free(p);
    assert_true(after - before > 50 && after - before < 500); /* a sanitizer keeps shadows of it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meter),
        cmocka_unit_test(test_histogram_quantiles),
        cmocka_unit_test(test_histogram_forgets),
        cmocka_unit_test(test_resident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
