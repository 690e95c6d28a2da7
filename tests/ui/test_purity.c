/* The console's pure half is pure: its library calls no clock, no thread, no terminal, no file and no environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/purity.h"

/* Undefined symbols that would give it away; patterns of purity_matches. */
static const char *const forbidden[] = {
    "clock*", "time",    "gettimeofday", "nanosleep", "localtime*", "pthread_*", "wadd*",
    "mvadd*", "initscr", "newterm",      "doupdate",  "tiget*",     "rl_*",      "open*",
    "fopen*", "read",    "write",        "printf",    "fputs",      "puts",      "fwrite",
    "ioctl",  "getenv",  "setlocale",    "wcwidth",   "rand*",      "exit",      "log_msg",
    "chan_*", "malloc",  "calloc",       "realloc",   "free",       "engine_*",
};

static void no_impure_symbols(void **state)
{
    (void)state;
    purity_check("weft_uimodel", forbidden, sizeof forbidden / sizeof forbidden[0], 50);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(no_impure_symbols)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
