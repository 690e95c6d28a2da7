/* Loops over threads: each turn once, the first failure stops, and everything below it has run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/parallel.h"

enum { N = 10000 };

struct turns {
    atomic_uchar done[N];
    size_t fail_at;
};

static bool turn(void *ctx, size_t i)
{
    struct turns *t = ctx;
    atomic_fetch_add(&t->done[i], 1);
    return i < t->fail_at;
}

static void each_turn_comes_once(void **state)
{
    (void)state;
    static const unsigned threads[] = {0, 1, 2, 7, 1000};
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        static struct turns t;
        t = (struct turns){.fail_at = SIZE_MAX};
        assert_true(parallel_for(threads[k], N, turn, &t));
        for (size_t i = 0; i < N; i++)
            assert_int_equal(atomic_load(&t.done[i]), 1);
        assert_true(parallel_for(threads[k], 0, turn, &t));
    }
}

static void a_failure_stops_and_all_before_it_have_run(void **state)
{
    (void)state;
    static struct turns t;
    t = (struct turns){.fail_at = N / 2};
    assert_false(parallel_for(4, N, turn, &t));
    for (size_t i = 0; i <= N / 2; i++)
        assert_int_equal(atomic_load(&t.done[i]), 1);
    t = (struct turns){.fail_at = 0};
    assert_false(parallel_for(1, N, turn, &t));
    assert_int_equal(atomic_load(&t.done[1]), 0); /* alone it stops at once */
    assert_true(parallel_processors() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_turn_comes_once),
        cmocka_unit_test(a_failure_stops_and_all_before_it_have_run),
    };
    return cmocka_run_group_tests_name("parallel", tests, NULL, NULL);
}
