/* The console's pure half is pure: its library calls no clock, no thread, no terminal, no file and no environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Undefined symbols that would give it away; a trailing * stands for anything. */
static const char *const forbidden[] = {
    "clock*", "time",    "gettimeofday", "nanosleep", "localtime*", "pthread_*", "wadd*",
    "mvadd*", "initscr", "newterm",      "doupdate",  "tiget*",     "rl_*",      "open*",
    "fopen*", "read",    "write",        "printf",    "fputs",      "puts",      "fwrite",
    "ioctl",  "getenv",  "setlocale",    "wcwidth",   "rand*",      "exit",      "log_msg",
    "chan_*", "malloc",  "calloc",       "realloc",   "free",       "engine_*",
};

static bool matches(const char *symbol, const char *pattern)
{
    size_t n = strlen(pattern);
    return pattern[n - 1] == '*' ? strncmp(symbol, pattern, n - 1) == 0 : strcmp(symbol, pattern) == 0;
}

static void no_impure_symbols(void **state)
{
    (void)state;
    FILE *nm = popen("nm -u '" TEST_BINARY_DIR "/libweft_uimodel.a' 2>/dev/null", "r");
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
                print_error("the console's pure half uses %s\n", symbol);
                bad++;
            }
        }
    }
    assert_int_equal(pclose(nm), 0);
    assert_true(seen > 50); /* it did list something */
    assert_int_equal(bad, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(no_impure_symbols)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
