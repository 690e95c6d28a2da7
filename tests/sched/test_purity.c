/* The scheduler is pure: its library calls no clock, no thread, no device and no I/O, nor anything random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>

#include <cmocka.h>

#include "tests/support/purity.h"

/* Names of undefined symbols that would give it away; patterns of purity_matches. */
static const char *const forbidden[] = {
    "clock*",  "time",      "gettimeofday", "nanosleep", "usleep", "sleep",   "pthread_*", "mtx_*",
    "cnd_*",   "sem_*",     "cl[A-Z]",      "open*",     "fopen*", "read",    "write",     "printf",
    "fprintf", "puts",      "fputs",        "fwrite",    "socket", "poll",    "select",    "getenv",
    "rand*",   "random",    "getrandom",    "malloc",    "calloc", "realloc", "free",      "exit",
    "log_*",   "weft_log*", "chan_*",       "signal",    "raise",
};

static void test_no_impure_symbols(void **state)
{
    (void)state;
    purity_check("weft_sched", forbidden, sizeof forbidden / sizeof forbidden[0], 20);
}

/* The test itself can fail. */
static void test_the_patterns_match(void **state)
{
    (void)state;
    assert_true(purity_matches("clock_gettime", "clock*"));
    assert_true(purity_matches("clFinish", "cl[A-Z]"));
    assert_false(purity_matches("close", "cl[A-Z]"));
    assert_false(purity_matches("timer", "time"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_impure_symbols),
        cmocka_unit_test(test_the_patterns_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
