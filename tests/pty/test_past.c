/* labels: unit pty */
/* Going back through past steps, what the panes then show, and why a session is where it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/console.h"

#define KEY_ALT_RIGHT "\x1b[1;3C"
#define KEY_ALT_LEFT  "\x1b[1;3D"

static struct console con;

/* A token each 25 ms, and one place in the batch. */
static const char *const args[] = {
    "--sim", "--fresh", "--set", "sim.decode_us=25000", "--set", "scheduler.max_batch_size=1", NULL};

static int start(void **state)
{
    (void)state;
    const struct console_options options = {
        .program = CONSOLE_PROGRAM, .args = args, .rows = 36, .cols = 120};
    console_start(&con, &options);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    console_end(&con);
    return 0;
}

/* The number behind "step " in the top line. */
static long step_shown(void)
{
    char digits[32];
    size_t n = 0;
    const char *p = strstr(vt_row(con.pty.vt, 0), "step ");
    assert_non_null(p);
    for (p += 5; *p && n < sizeof digits - 1 &&
                 ((*p >= '0' && *p <= '9') || (*p == ' ' && p[1] >= '0' && p[1] <= '9'));
         p++)
        if (*p != ' ')
            digits[n++] = *p;
    digits[n] = 0;
    return strtol(digits, NULL, 10);
}

static bool has_run(struct pty *p, void *steps)
{
    const char *row = vt_row(p->vt, 0);
    return strstr(row, "step ") && step_shown() >= *(const long *)steps;
}

static void wait_steps(long steps)
{
    assert_true(pty_wait(&con.pty, has_run, &steps, 20000));
}

/* Frozen, each step that was run by hand comes back, and the present at the end. */
static void steps_come_back(void **state)
{
    (void)state;
    char want[64];
    console_key(&con, "tell me something\r");
    console_sees(&con, "RUNNING");
    console_key(&con, KEY_F4);
    console_sees(&con, "FROZEN");
    long at = step_shown();
    for (int i = 1; i <= 3; i++) { /* each is seen before the next is run */
        console_key(&con, KEY_F5);
        snprintf(want, sizeof want, "step %ld ", at + i);
        console_sees(&con, want);
    }
    console_key(&con, KEY_ALT_LEFT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 2);
    console_sees(&con, want);
    console_sees(&con, "End live");
    console_key(&con, KEY_ALT_LEFT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 1);
    console_sees(&con, want);
    console_sees(&con, "ago");
    console_key(&con, KEY_ALT_RIGHT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 2);
    console_sees(&con, want);
    console_key(&con, KEY_ALT_RIGHT);
    console_sees(&con, "FROZEN"); /* the present */
    console_key(&con, KEY_ALT_LEFT);
    console_sees(&con, "◀ step");
    console_key(&con, KEY_END);
    console_sees(&con, "FROZEN");
    console_key(&con, KEY_ALT_RIGHT);
    console_sees(&con, "this is the present");
}

/* A moment before a session's request: nothing runs, and its reply isn't there yet. The engine goes on meanwhile. */
static void panes_show_that_moment(void **state)
{
    (void)state;
    console_key(&con, "the first\r");
    wait_steps(10);
    console_key(&con, KEY_ALT_LEFT);
    console_sees(&con, "◀ step");
    long at = step_shown();
    for (int i = 0; i < 2; i++) { /* one by one, so that it is the last that is read */
        console_key(&con, KEY_ALT_LEFT);
        for (double until = pty_now_ms() + 20000; step_shown() == at && pty_now_ms() < until;)
            pty_pump(&con.pty, 50);
        at--;
        assert_int_equal(step_shown(), at);
    }
    console_key(&con, KEY_F2);
    console_key(&con, "the second\r");
    console_sees(&con, "SESSIONS 2, 1 busy"); /* it hadn't asked for anything then */
    assert_int_equal(step_shown(), at);
    console_loses(&con, "▏the second");
    console_key(&con, KEY_END);
    console_sees(&con, "SESSIONS 2, 2 busy");
    console_sees(&con, "▏the second");
    console_sees(&con, "WAITING");
}

/* Esc, alone: what follows at once would make it Alt. The page's last row comes last, so it is waited for first. */
static void leave_page(void)
{
    console_sees(&con, "Esc close");
    console_key(&con, KEY_ESC);
    console_loses(&con, "Esc close");
}

static void says_why(void **state)
{
    (void)state;
    console_key(&con, "/why\r");
    console_sees(&con, "Session 1 asks for nothing at present.");
    leave_page();
    console_key(&con, "the first\r");
    console_sees(&con, "RUNNING");
    console_key(&con, "/why\r");
    console_sees(&con, "Session 1 is running at");
    leave_page();
    console_key(&con, KEY_F2);
    console_key(&con, "the second\r");
    console_sees(&con, "WAITING");
    console_key(&con, "/why\r");
    console_sees(&con, "number 1 of 1 in the queue");
    leave_page();
    console_key(&con, "/prio high\r");
    console_sees(&con, "HIGH · RUNNING");
    console_key(&con, KEY_ALT("1"));
    console_key(&con, "/why\r");
    console_sees(&con, "Session 1 was preempted by session 2");
    leave_page();
    console_key(&con, "/layout scheduler\r");
    console_sees(&con, "preempted by 2");
    console_key(&con, "/why now\r");
    console_sees(&con, "/why takes nothing behind it");
}

/* The palette finds what isn't spelled out. */
static void palette_is_fuzzy(void **state)
{
    (void)state;
    console_key(&con, KEY_F3);
    console_sees(&con, "choose");
    console_key(&con, "nlay");
    console_sees(&con, "next-layout");
    console_loses(&con, "new-session");
    console_key(&con, KEY_ENTER);
    console_loses(&con, "next-layout");
    console_sees(&con, "EVENTS");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)
    static const struct CMUnitTest tests[] = {TEST(steps_come_back), TEST(panes_show_that_moment),
                                              TEST(says_why), TEST(palette_is_fuzzy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
