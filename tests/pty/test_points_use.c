/* labels: unit pty */
/*
 * What annoys people about terminal programs, points 6 to 12 (docs/testing.md): pastes, views that move, long replies, the
 * mouse, a terminal left broken, keys that lag, and lost work. A test a point, each with the number that the point states;
 * points 1 to 5 are in test_points_screen.c.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/console.h"
#include "tests/support/store_rig.h"

static struct console con;

/* Three pasted lines are text, whatever is in them, and can be edited; Enter sends them as one message. */
static void pain_06_paste_stays_editable(void **state)
{
    (void)state;
    console_start(&con, &(struct console_options){.rows = 40, .args = console_fast});
    console_key(&con, "\x1b[200~one\rtwo\rthr\x1b[A\x07"
                      "ee\x1b[201~");
    /* The escape and the bell are neither keys nor controls any more. */
    console_sees(&con, "thr\xef\xbf\xbd[A\xef\xbf\xbd"
                       "ee");
    assert_true(console_shows(&con, "› one"));
    assert_true(console_shows(&con, "two"));
    assert_false(console_shows(&con, "you  ▏"));
    console_does(&con, KEY_BACKSPACE KEY_BACKSPACE "EE", "EE");
    console_does(&con, KEY_ENTER, "64 tokens");
    assert_int_equal(console_count(&con, "you  ▏"), 1); /* one message, and one reply to it */
    assert_int_equal(console_count(&con, "weft ▏"), 1);
    assert_true(console_shows(&con, "you  ▏one"));
    console_does(&con, KEY_UP, "› one"); /* all of it is one entry of history */
    assert_true(console_shows(&con, "EE"));
}

static void pain_06_new_lines_by_alt_enter_and_ctrl_j(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_does(&con, "alpha" KEY_ALT_ENTER "beta" KEY_CTRL_J "gamma", "gamma");
    int row = vt_find(con.pty.vt, "› alpha", NULL);
    assert_true(row >= 0);
    assert_int_equal(vt_find(con.pty.vt, "beta", NULL), row + 1);
    assert_int_equal(vt_find(con.pty.vt, "gamma", NULL), row + 2);
}

static void pain_07_scrolled_up_it_stays(void **state)
{
    (void)state;
    char before[4096];
    console_start(&con, &(struct console_options){.rows = 18, .args = console_slow});
    console_does(&con, "/layout chat\r", "layout: chat");
    assert_true(console_shows(&con, "Welcome to weft"));
    console_undoes(&con, "hello\r", "Welcome to weft"); /* enough lines to scroll */
    console_does(&con, KEY_BACKTAB KEY_HOME, "Welcome to weft");
    int row = vt_find(con.pty.vt, "Welcome", NULL);
    snprintf(before, sizeof before, "%s", vt_row(con.pty.vt, row + 3));
    console_wait_step(&con, console_step(&con) + 100); /* more than a screen of text */
    assert_int_equal(vt_find(con.pty.vt, "Welcome", NULL), row);
    assert_string_equal(vt_row(con.pty.vt, row + 3), before);
    console_undoes(&con, KEY_END, "Welcome to weft");
    snprintf(before, sizeof before, "%s", vt_row(con.pty.vt, row + 3));
    console_wait_step(&con, console_step(&con) + 50);
    assert_string_not_equal(vt_row(con.pty.vt, row + 3), before); /* it follows again */
}

/* A reply grows by a token a step. Waited for bit by bit, as a busy machine takes long for all of it. */
static void grow_to(long step)
{
    enum { BIT = 1000 };
    for (long at = console_step(&con); at < step; at = console_step(&con))
        console_wait_step(&con, at + BIT < step ? at + BIT : step);
}

/* CPU time of the thread that draws, in µs for each of the tokens `from` to `to`. */
static double cost_of_tokens(long from, long to)
{
    grow_to(from);
    const double cpu = pty_cpu_seconds(&con.pty, true);
    from = console_step(&con);
    grow_to(to);
    return (pty_cpu_seconds(&con.pty, true) - cpu) * 1e6 / (double)(console_step(&con) - from);
}

/* The best of three, as frames are shared by fewer tokens while the engine is kept from the processor. */
static double least_cost_from(long from)
{
    enum { TRIES = 3, TOKENS = 700 };
    double least = cost_of_tokens(from, from + TOKENS);
    for (int i = 1; i < TRIES; i++) {
        from += TOKENS;
        const double cost = cost_of_tokens(from, from + TOKENS);
        least = cost < least ? cost : least;
    }
    return least;
}

/* 64 KB are some 11,000 tokens. */
static void pain_08_long_replies_cost_no_more(void **state)
{
    (void)state;
    static const char *const args[] = {"--sim",
                                       "--set",
                                       "sim.decode_us=300",
                                       "--set",
                                       "sim.step_us=0",
                                       "--set",
                                       "sim.context_us=0",
                                       "--set",
                                       "sampling.max_tokens=20000",
                                       "--set",
                                       "sim.blocks=2048",
                                       NULL};
    console_open(&con, args);
    console_does(&con, "/layout chat\r", "layout: chat");
    console_does(&con, "hello\r", "RUNNING");
    const double small = least_cost_from(100), large = least_cost_from(11500);
    print_message("a token costs the console %.1f us within 14 KB, %.1f us beyond 64 KB\n", small, large);
    assert_true(large <= 2 * small);
}

static void pain_09_the_mouse_is_off_until_asked_for(void **state)
{
    (void)state;
    static const int modes[] = {1000, 1002, 1003, 1006};
    char click[64];
    console_open(&con, console_fast);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        assert_false(vt_mode(con.pty.vt, modes[i]));
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_does(&con, "/mouse on\r", "mouse on");
    assert_true(vt_mode(con.pty.vt, 1000) && vt_mode(con.pty.vt, 1006));
    int row = vt_find(con.pty.vt, "1 new", NULL);
    snprintf(click, sizeof click, "\x1b[<0;5;%dM\x1b[<0;5;%dm", row + 1, row + 1);
    console_does(&con, click, "▸ 1");
    row = vt_find(con.pty.vt, "QUEUE", NULL);
    snprintf(click, sizeof click, "\x1b[<0;5;%dM", row + 2);
    console_key(&con, click); /* the pane takes the keys */
    console_does(&con, "\x1b[<64;40;5M\x1b[<65;40;5M?", "HELP");
    console_does(&con, "\x1b[<65;40;5M", "2-");
    console_undoes(&con, "q", "HELP");
    console_key(&con, KEY_BACKTAB KEY_BACKTAB);
    console_key(&con, "q");
    console_ends(&con); /* modes are as before */
    console_end(&con);
    console_open(&con, console_fast);
    console_does(&con, "/mouse on\r", "mouse on");
    console_does(&con, "/mouse off\r", "mouse off");
    assert_false(vt_mode(con.pty.vt, 1000) || vt_mode(con.pty.vt, 1006));
}

static void pain_10_every_signal_restores_the_terminal(void **state)
{
    (void)state;
    static const struct {
        int sig;
        bool deadly; /* the signal itself ends the process */
    } signals[] = {{SIGTERM, false}, {SIGHUP, false}, {SIGINT, false}, {SIGSEGV, true},
                   {SIGABRT, true},  {SIGBUS, true},  {SIGFPE, true}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        console_open(&con, console_slow);
        console_does(&con, "/mouse on\r", "mouse on");
        console_does(&con, "hello\r", "RUNNING");
        assert_true(vt_mode(con.pty.vt, 1049) && vt_mode(con.pty.vt, 2004) && vt_mode(con.pty.vt, 1000));
        con.killed = signals[i].deadly;
        kill(con.pty.pid, signals[i].sig);
        console_ends(&con);
        const int status = console_exit_status(&con);
        if (!signals[i].deadly)
            assert_int_equal(status, 128 + signals[i].sig);
        else if (status != -signals[i].sig && status <= 0) /* a sanitizer exits by itself */
            fail_msg("signal %d: status %d", signals[i].sig, status);
        console_end(&con);
    }
}

/* The engine's thread never rests, and tokens rain. Time that the machine, busy with other things, kept program and test
 * waiting for a processor is taken off. */
static void pain_11_keys_show_at_once(void **state)
{
    (void)state;
    static const char *const saturated[] = {"--sim",
                                            "--set",
                                            "sim.step_us=0",
                                            "--set",
                                            "sim.decode_us=0",
                                            "--set",
                                            "sim.context_us=0",
                                            "--set",
                                            "sim.blocks=100000",
                                            "--set",
                                            "sampling.max_tokens=1500000",
                                            NULL};
    struct console_key_times times;
    console_open(&con, saturated);
    console_does(&con, "hello\r", "RUNNING");
    const double from = pty_now_ms(), cpu = pty_cpu_seconds(&con.pty, false);
    console_time_keys(&con, &times);
    print_message("meanwhile %.0f %% of a core was used\n",
                  (pty_cpu_seconds(&con.pty, false) - cpu) * 1e5 / (pty_now_ms() - from));
    assert_true(console_shows(&con, "RUNNING"));
    assert_true(times.own_p99 <= 10 * CONSOLE_SLACK);
}

/* What is sent meanwhile waits in sight, and can be edited or dropped. */
static void pain_11_messages_wait_in_sight(void **state)
{
    (void)state;
    console_open(&con, console_slow);
    console_does(&con, "hello\r", "RUNNING");
    console_type(&con, "next question");
    assert_true(console_shows(&con, "RUNNING"));
    console_does(&con, KEY_ENTER, "sent when the reply");
    console_does(&con, "third\r", "next ▏third");
    console_undoes(&con, KEY_UP, "next ▏third"); /* takes it back */
    assert_true(console_shows(&con, "› third"));
    console_does(&con, KEY_CTRL_U "changed\r", "next ▏changed");
    console_does(&con, "dropped\r", "next ▏dropped");
    console_undoes(&con, KEY_UP KEY_CTRL_U, "dropped");
    console_does(&con, KEY_ESC, "you  ▏next question"); /* the first reply ends: the next is asked */
    assert_true(console_shows(&con, "stopped · "));
    assert_true(console_shows(&con, "next ▏changed"));
    console_does(&con, "/queue clear\r", "1 waiting message dropped");
    console_loses(&con, "next ▏changed");
}

/* The reply on the screen: its rows, one behind the other. */
static void reply_text(char *to, size_t size)
{
    int rows, cols, row = vt_find(con.pty.vt, "weft ▏", NULL);
    size_t n = 0;
    vt_size(con.pty.vt, &rows, &cols);
    for (to[0] = 0; row >= 0 && row < rows && n < size; row++) {
        const char *line = strstr(vt_row(con.pty.vt, row), "▏");
        if (!line)
            return;
        size_t len = strcspn(line += strlen("▏"), "┃│");
        while (len && (line[len - 1] == ' ' ||
                       (line[len - 1] & 0x80))) /* blanks, and the cursor behind the newest */
            len--;
        n += (size_t)snprintf(to + n, size - n, "%.*s ", (int)len, line);
    }
}

static void pain_12_kill_9_costs_less_than_a_second(void **state)
{
    (void)state;
    static char saved[8192], after[8192];
    char top[64], home[96];
    store_rig_make(top);
    snprintf(home, sizeof home, "XDG_STATE_HOME=%s", top);
    const char *const env[] = {home, NULL};
    const struct console_options options = {.rows = 50, .cols = 160, .args = console_slow, .env = env};
    console_start(&con, &options);
    console_does(&con, "/layout chat\r", "layout: chat");
    console_does(&con, "count for me\r", "RUNNING");
    console_wait_step(&con, 100);
    reply_text(saved, sizeof saved); /* what must be there: all that is a second old */
    pty_read_for(&con.pty, 1000);
    kill(con.pty.pid, SIGKILL);
    assert_true(pty_wait_exit(&con.pty, 5000));
    console_end(&con);

    console_start(&con, &options);
    console_sees(&con, "▏count for me");
    console_sees(&con, "cut off");
    console_does(&con, "/layout chat\r", "layout: chat");
    reply_text(after, sizeof after);
    print_message("%zu bytes were there a second before, %zu are there again\n", strlen(saved),
                  strlen(after));
    assert_true(strlen(saved) > 300);
    if (strncmp(after, saved, strlen(saved) - 1) != 0)
        fail_msg("saved: %s\nthere: %s", saved, after);
    console_end(&con);
    store_rig_remove(top);
}

int main(void)
{
#define TEST(f) CONSOLE_TEST(f, &con)
    static const struct CMUnitTest tests[] = {
        TEST(pain_06_paste_stays_editable),
        TEST(pain_06_new_lines_by_alt_enter_and_ctrl_j),
        TEST(pain_07_scrolled_up_it_stays),
        TEST(pain_08_long_replies_cost_no_more),
        TEST(pain_09_the_mouse_is_off_until_asked_for),
        TEST(pain_10_every_signal_restores_the_terminal),
        TEST(pain_11_keys_show_at_once),
        TEST(pain_11_messages_wait_in_sight),
        TEST(pain_12_kill_9_costs_less_than_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
