/* The scheduler is pure: its library calls no clock, no thread, no device and no I/O, nor anything random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Names of undefined symbols that would give it away; a trailing * stands for anything. */
static const char *const forbidden[] = {
    "clock*",  "time",      "gettimeofday", "nanosleep", "usleep", "sleep",   "pthread_*", "mtx_*",
    "cnd_*",   "sem_*",     "cl[A-Z]",      "open*",     "fopen*", "read",    "write",     "printf",
    "fprintf", "puts",      "fputs",        "fwrite",    "socket", "poll",    "select",    "getenv",
    "rand*",   "random",    "getrandom",    "malloc",    "calloc", "realloc", "free",      "exit",
    "log_*",   "weft_log*", "chan_*",       "signal",    "raise",
};

static bool matches(const char *symbol, const char *pattern)
{
    if (strcmp(pattern, "cl[A-Z]") == 0)
        return strncmp(symbol, "cl", 2) == 0 && symbol[2] >= 'A' && symbol[2] <= 'Z';
    size_t n = strlen(pattern);
    return pattern[n - 1] == '*' ? strncmp(symbol, pattern, n - 1) == 0 : strcmp(symbol, pattern) == 0;
}

static void test_no_impure_symbols(void **state)
{
    (void)state;
    FILE *nm = popen("nm -u '" TEST_BINARY_DIR "/libweft_sched.a' 2>/dev/null", "r");
    assert_non_null(nm);
    char line[512], symbol[256];
    unsigned seen = 0, bad = 0;
    while (fgets(line, sizeof line, nm)) {
        if (sscanf(line, " U %255s", symbol) != 1)
            continue;
        seen++;
        symbol[strcspn(symbol, "@")] = 0;
        for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
            if (matches(symbol, forbidden[i])) {
                print_error("the scheduler's library uses %s\n", symbol);
                bad++;
            }
        }
    }
    assert_int_equal(pclose(nm), 0);
    assert_true(seen > 20); /* it did list something */
    assert_int_equal(bad, 0);
}

/* The test itself can fail. */
static void test_the_patterns_match(void **state)
{
    (void)state;
    assert_true(matches("clock_gettime", "clock*"));
    assert_true(matches("clFinish", "cl[A-Z]"));
    assert_false(matches("close", "cl[A-Z]"));
    assert_false(matches("timer", "time"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_impure_symbols),
        cmocka_unit_test(test_the_patterns_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
