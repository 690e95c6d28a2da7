/* The tour's first half minute on the real model: one chat, then eight together, which make more tokens than one did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/console.h"

enum { PHASE_MS = 40000 };

static struct console con;

/* Tokens for each second of a processor's time, over some steps of so many sequences: what batching gives whatever else the
 * machine does. */
static double tokens_per_cpu_second(int batch)
{
    enum { STEPS = 20 };
    char full[32];
    snprintf(full, sizeof full, "batch %d/8", batch);
    if (!console_shows(&con, full))
        console_sees(&con, full);
    const long from = console_step(&con);
    const double cpu = pty_cpu_seconds(&con.pty, false);
    console_wait_step(&con, from + STEPS);
    const double used = pty_cpu_seconds(&con.pty, false) - cpu;
    assert_true(console_shows(&con, full)); /* all the time */
    return (double)(console_step(&con) - from) * batch / used;
}

static void eight_together_make_more_than_one(void **state)
{
    (void)state;
    static const char *const args[] = {"demo", NULL};
    console_start(&con, &(struct console_options){.rows = 36, .cols = 120, .args = args});
    assert_true(pty_wait_text(&con.pty, "One chat, alone", PHASE_MS));
    assert_true(pty_wait_text(&con.pty, "Once upon a time, by the sea, a weaver", PHASE_MS));
    double alone = tokens_per_cpu_second(1);
    assert_true(pty_wait_text(&con.pty, "Now eight at once", PHASE_MS));
    double together = tokens_per_cpu_second(8);
    print_message("tokens in a second of a processor: %.0f alone, %.0f of eight together\n", alone, together);
    assert_true(together > 1.2 * alone);
    console_key(&con, KEY_F10);
    console_ends(&con);
}

int main(void)
{
    const struct CMUnitTest tests[] = {CONSOLE_TEST(eight_together_make_more_than_one, &con)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
