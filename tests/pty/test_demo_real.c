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

/* The number before "tok/s" in the top line. */
static double rate_shown(void)
{
    const char *row = vt_row(con.pty.vt, 0), *at = strstr(row, " tok/s");
    while (at && at > row && ((at[-1] >= '0' && at[-1] <= '9') || at[-1] == '.'))
        at--;
    return at ? strtod(at, NULL) : 0;
}

/* The best of some seconds: a machine that does other things too is slow at times. */
static double best_rate(double ms)
{
    double best = 0, until = pty_now_ms() + ms;
    while (pty_now_ms() < until) {
        pty_pump(&con.pty, 100);
        if (rate_shown() > best)
            best = rate_shown();
    }
    return best;
}

static void eight_together_make_more_than_one(void **state)
{
    (void)state;
    static const char *const args[] = {"demo", NULL};
    console_start(&con, &(struct console_options){.rows = 36, .cols = 120, .args = args});
    assert_true(pty_wait_text(&con.pty, "One chat, alone", PHASE_MS));
    assert_true(pty_wait_text(&con.pty, "batch 1/8", PHASE_MS));
    assert_true(pty_wait_text(&con.pty, "Once upon a time, by the sea, a weaver", PHASE_MS));
    double alone = best_rate(4000);
    assert_true(alone > 0);
    assert_true(pty_wait_text(&con.pty, "Now eight at once", PHASE_MS));
    assert_true(pty_wait_text(&con.pty, "batch 8/8", PHASE_MS));
    double together = best_rate(8000);
    if (together < 1.2 * alone)
        fail_msg("%.0f tok/s alone, %.0f together", alone, together);
    console_key(&con, KEY_F10);
    console_ends(&con);
}

int main(void)
{
    const struct CMUnitTest tests[] = {CONSOLE_TEST(eight_together_make_more_than_one, &con)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
