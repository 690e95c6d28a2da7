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

static struct console con;

/* A token each 25 ms, and one place in the batch. */
static const char *const args[] = {
    "--sim", "--fresh", "--set", "sim.decode_us=25000", "--set", "scheduler.max_batch_size=1", NULL};

static int start(void **state)
{
    (void)state;
    console_start(&con, &(struct console_options){.args = args, .rows = 36, .cols = 120});
    return 0;
}

/* Frozen, each step that was run by hand comes back, and the present at the end. */
static void steps_come_back(void **state)
{
    (void)state;
    char want[64];
    console_does(&con, "tell me something\r", "RUNNING");
    console_does(&con, KEY_F4, "FROZEN");
    long at = console_step(&con);
    for (int i = 1; i <= 3; i++) { /* each is seen before the next is run */
        console_key(&con, KEY_F5);
        snprintf(want, sizeof want, "step %ld ", at + i);
        console_sees(&con, want);
    }
    console_key(&con, KEY_ALT_LEFT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 2);
    console_sees(&con, want);
    assert_true(console_shows(&con, "End live"));
    assert_true(console_shows(&con, "ago"));
    console_key(&con, KEY_ALT_LEFT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 1);
    console_sees(&con, want);
    console_key(&con, KEY_ALT_RIGHT);
    snprintf(want, sizeof want, "◀ step %ld ", at + 2);
    console_sees(&con, want);
    console_does(&con, KEY_ALT_RIGHT, "FROZEN"); /* the present */
    console_does(&con, KEY_ALT_LEFT, "◀ step");
    console_does(&con, KEY_END, "FROZEN");
    console_does(&con, KEY_ALT_RIGHT, "this is the present");
}

/* A moment before a session's request: nothing runs, and its reply isn't there yet. The engine goes on meanwhile. */
static void panes_show_that_moment(void **state)
{
    (void)state;
    console_key(&con, "the first\r");
    console_wait_step(&con, 10);
    console_does(&con, KEY_ALT_LEFT, "◀ step");
    long at = console_step(&con);
    for (int i = 0; i < 2; i++) { /* one by one, so that it is the last that is read */
        char want[64];
        snprintf(want, sizeof want, "◀ step %ld ", --at);
        console_does(&con, KEY_ALT_LEFT, want);
    }
    console_does(&con, KEY_F2, "SESSIONS 2, 1 busy");
    console_does(&con, "the second\r", "2 the second");
    assert_true(console_shows(&con, "SESSIONS 2, 1 busy")); /* it hadn't asked for anything then */
    assert_int_equal(console_step(&con), at);
    assert_false(console_shows(&con, "▏the second"));
    console_does(&con, KEY_END, "SESSIONS 2, 2 busy");
    assert_true(console_shows(&con, "▏the second"));
    console_sees(&con, "WAITING"); /* the scheduler has it */
}

static void leave_page(void)
{
    console_undoes(&con, KEY_ESC, "Esc close");
}

static void says_why(void **state)
{
    (void)state;
    console_does(&con, "/why\r", "Session 1 asks for nothing at present.");
    leave_page();
    console_does(&con, "the first\r", "RUNNING");
    console_does(&con, "/why\r", "Session 1 is running at");
    leave_page();
    console_key(&con, KEY_F2);
    console_does(&con, "the second\r", "WAITING");
    console_does(&con, "/why\r", "number 1 of 1 in the queue");
    leave_page();
    console_does(&con, "/prio high\r", "HIGH · RUNNING");
    console_key(&con, KEY_ALT("1"));
    console_does(&con, "/why\r", "Session 1 was preempted by session 2");
    leave_page();
    console_does(&con, "/layout scheduler\r", "preempted by 2");
    console_does(&con, "/why now\r", "/why takes nothing behind it");
}

/* The palette finds what isn't spelled out. */
static void palette_is_fuzzy(void **state)
{
    (void)state;
    console_does(&con, KEY_F3, "choose");
    console_does(&con, "nlay", "next-layout");
    console_loses(&con, "new-session");
    console_undoes(&con, KEY_ENTER, "next-layout");
    console_sees(&con, "EVENTS");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, start, console_tear_down, &con)
    static const struct CMUnitTest tests[] = {TEST(steps_come_back), TEST(panes_show_that_moment),
                                              TEST(says_why), TEST(palette_is_fuzzy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
