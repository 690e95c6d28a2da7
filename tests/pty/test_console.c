/* labels: unit pty */
/*
 * The console over the simulated executor, in a pseudo-terminal: sessions, messages, keys and commands. Waits end as
 * soon as what is waited for is on the screen.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/console.h"

/* A token every 20 ms and session: slow enough to watch, quick enough to wait for. */
static const char *const slow[] = {"--sim", "--set", "sim.decode_us=20000", NULL};
/* Replies of some hundred tokens in a moment. */
static const char *const fast[] = {"--sim", "--set", "sampling.max_tokens=64", NULL};

static struct console con;

static void start(const char *const *args)
{
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = args};
    console_start(&con, &options);
}

static int end(void **state)
{
    (void)state;
    console_end(&con);
    return 0;
}

static int exit_status(void)
{
    return WIFEXITED(con.pty.status) ? WEXITSTATUS(con.pty.status) : -WTERMSIG(con.pty.status);
}

static void ctrl_c_twice_quits(void **state)
{
    (void)state;
    start(fast);
    console_type(&con, "half a line");
    console_key(&con, KEY_CTRL_C); /* clears the line first */
    console_loses(&con, "half a line");
    console_key(&con, KEY_CTRL_C);
    console_ends(&con);
    assert_int_equal(exit_status(), 0);
}

static void q_and_slash_quit_end_it(void **state)
{
    (void)state;
    start(fast);
    console_type(&con, "q"); /* in the input line it is a letter */
    console_key(&con, KEY_CTRL_U KEY_BACKTAB "q");
    console_ends(&con);
    console_end(&con);
    start(fast);
    console_key(&con, "/quit\r");
    console_ends(&con);
}

/* How many tokens each session's reply has: by the words in the chat being shown one after the other. */
static bool two_are_running(struct pty *p, void *ctx)
{
    (void)ctx;
    return vt_find(p->vt, "batch 2/16", NULL) >= 0;
}

static void two_sessions_stream_at_once(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "to the first\r");
    console_sees(&con, "RUNNING");
    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, "to the second\r");
    assert_true(pty_wait(&con.pty, two_are_running, NULL, 10000));
    console_sees(&con, "to the second");
    console_key(&con, KEY_ALT("1"));
    console_sees(&con, "1 to the first");
    console_key(&con, KEY_ALT("2"));
    console_sees(&con, "2 to the second");
    console_key(&con, KEY_ALT("7"));
    console_sees(&con, "there is no session 7");
}

static void priority_acts_at_once(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "NORMAL");
    console_key(&con, KEY_F7);
    console_sees(&con, "HIGH");
    console_sees(&con, "also of its request");
    console_key(&con, KEY_F8 KEY_F8);
    console_sees(&con, "LOW");
    console_key(&con, KEY_F8);
    console_sees(&con, "is low already");
    console_key(&con, "/prio critical\r");
    console_sees(&con, "CRITICAL");
    console_key(&con, "/prio urgent\r");
    console_sees(&con, "one of critical, high, normal, low");
}

static void stop_keeps_what_was_made(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    console_key(&con, KEY_ESC);
    console_sees(&con, "stopped");
    console_sees(&con, "tok/s");
    console_key(&con, "again\r");
    console_sees(&con, "RUNNING");
    console_key(&con, "/stop\r");
    console_loses(&con, "RUNNING");
    console_key(&con, "/stop\r");
    console_sees(&con, "no reply is under way");
    console_key(&con, "more\r");
    console_sees(&con, "RUNNING");
    console_key(&con, KEY_F9);
    console_loses(&con, "RUNNING");
}

/* Esc is told from the start of a sequence by time, which the engine's events mustn't stretch. */
static void escape_is_heard_while_tokens_rain(void **state)
{
    (void)state;
    const char *const args[] = {"--sim", "--set", "sim.decode_us=2000", "--set", "sampling.max_tokens=100000",
                                NULL};
    start(args);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    double from = pty_now_ms();
    console_key(&con, KEY_ESC);
    console_sees(&con, "stopped");
    print_message("Esc acts after %.0f ms\n", pty_now_ms() - from);
    assert_true(pty_now_ms() - from < 2000);
}

static void typing_goes_on_while_a_reply_streams(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    console_type(&con, "next question");
    assert_true(console_shows(&con, "RUNNING"));
    console_key(&con, KEY_ENTER);
    console_sees(&con, "sent when the reply");
    console_type(&con, "third");
    console_key(&con, KEY_ENTER);
    console_key(&con, KEY_UP); /* takes the last one back */
    console_sees(&con, "taken back");
    console_key(&con, KEY_CTRL_U "changed\r");
    console_sees(&con, "changed");
    console_key(&con, KEY_ESC); /* the first reply ends, and the queued message is sent */
    console_sees(&con, "stopped");
    console_sees(&con, "RUNNING");
}

static void paste_stays_editable(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "\x1b[200~one\rtwo\rthr\x1b[A\x07"
                      "ee\x1b[201~");
    /* The escape and the bell are neither keys nor controls any more. */
    console_sees(&con, "thr\xef\xbf\xbd[A\xef\xbf\xbd"
                       "ee");
    console_sees(&con, "two");
    assert_false(console_shows(&con, "RUNNING"));
    console_key(&con, "\x7f\x7f"
                      "EE\r");
    console_sees(&con, "tok/s ·"); /* one reply to one message of three lines */
    int one = vt_find(con.pty.vt, "one", NULL);
    assert_true(one >= 0);
    console_key(&con, KEY_UP);
    console_sees(&con, "\xe2\x80\xba one"); /* the prompt sign: all of it is one entry of history */
}

static void new_lines_by_alt_enter_and_ctrl_j(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "alpha" KEY_ALT_ENTER "beta" KEY_CTRL_J "gamma");
    console_sees(&con, "gamma");
    int row = vt_find(con.pty.vt, "alpha", NULL);
    assert_int_equal(vt_find(con.pty.vt, "beta", NULL), row + 1);
    assert_int_equal(vt_find(con.pty.vt, "gamma", NULL), row + 2);
}

static void history_and_search_of_readline(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "apples\r");
    console_sees(&con, "64 tokens");
    console_key(&con, "pears\r");
    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, KEY_UP "nothing"); /* history is the session's own */
    console_sees(&con, "\xe2\x80\xba nothing");
    console_key(&con, KEY_ALT("1"));
    console_loses(&con, "\xe2\x80\xba nothing");
    console_key(&con, KEY_CTRL_R "pp");
    console_sees(&con, "i-search");
    console_key(&con, KEY_ESC);
    console_loses(&con, "i-search");
    console_key(&con, KEY_UP KEY_UP);
    console_sees(&con, "\xe2\x80\xba apples");
    console_key(&con, KEY_ALT("2"));
    console_sees(&con, "\xe2\x80\xba nothing"); /* its draft waited */
}

static void slash_commands(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "/");
    console_sees(&con, "/rename"); /* the popup */
    console_key(&con, KEY_ESC);
    console_loses(&con, "/rename");
    console_key(&con, KEY_CTRL_U "/ren\t");
    console_sees(&con, "\xe2\x80\xba /rename ");
    console_key(&con, "the poet\r");
    console_sees(&con, "1 the poet");
    console_key(&con, "/nonsense\r");
    console_sees(&con, "unknown command /nonsense");
    console_key(&con, "/set temperature 0.25\r");
    console_sees(&con, "temperature = 0.25");
    console_key(&con, "/set temperature hot\r");
    console_sees(&con, "no value for it");
    console_key(&con, "/set top_p 7\r");
    console_sees(&con, "INVALID_REQUEST");
    console_key(&con, "/set warmth 1\r");
    console_sees(&con, "no setting warmth");
    console_key(&con, "/system You speak like a pirate.\r");
    console_sees(&con, "speak like a pirate.");
    console_key(&con, "/show\r");
    console_sees(&con, "0.25");
    console_sees(&con, "pirate");
    console_sees(&con, "repeat_penalty");
    console_key(&con, KEY_ESC);
    console_loses(&con, "repeat_penalty");
    console_key(&con, "/stats\r");
    console_sees(&con, "time to first token");
    console_key(&con, "q");
    console_loses(&con, "time to first token");
    console_key(&con, "/set max_tokens 8\r");
    console_sees(&con, "max_tokens = 8");
    console_key(&con, "//not a command\r");
    console_sees(&con, " 8 tokens");
    console_sees(&con, "/not a command");
    console_key(&con, "/clear\r");
    console_sees(&con, "the model knows nothing");
    console_loses(&con, " 8 tokens");
    console_key(&con, "/new second\r");
    console_sees(&con, "2 second");
    console_key(&con, "/delete\r");
    console_sees(&con, "Delete session 2");
    console_key(&con, "n");
    console_loses(&con, "Delete session 2");
    console_key(&con, "/delete\r");
    console_sees(&con, "Delete session 2");
    console_key(&con, "y");
    console_sees(&con, "SESSIONS 1");
    console_key(&con, "/theme light\r");
    console_sees(&con, "theme: light");
    console_key(&con, "/theme nosuch\r");
    console_sees(&con, "there is no theme nosuch");
    console_key(&con, "/layout kv\r");
    console_sees(&con, "layout: kv");
    console_key(&con, "/layout sideways\r");
    console_sees(&con, "one of chat, balanced, scheduler, kv");
    console_key(&con, "/help\r");
    console_sees(&con, "Alt-1 ... 9");
    console_key(&con, KEY_ESC);
    console_loses(&con, "Alt-1 ... 9");
    console_key(&con, "/quit\r");
    console_ends(&con);
}

static void keys_outside_the_input_line(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "hello\r");
    console_sees(&con, "64 tokens");
    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, KEY_TAB); /* to the sessions */
    console_key(&con, "k\r");
    console_sees(&con, "1 hello");
    console_sees(&con, "64 tokens");
    console_key(&con, KEY_TAB "r");
    console_sees(&con, "Rename session 1");
    console_key(&con, KEY_CTRL_U "greeting\r");
    console_sees(&con, "1 greeting");
    console_key(&con, "p");
    console_sees(&con, "layout: scheduler");
    console_key(&con, "P");
    console_sees(&con, "layout: balanced");
    console_key(&con, "?");
    console_sees(&con, "Alt-1 ... 9");
    console_key(&con, KEY_ESC); /* by itself: with a key right behind it, it would be Alt */
    console_loses(&con, "Alt-1 ... 9");
    console_key(&con, ":");
    console_sees(&con, "new-session");
    console_key(&con, "unzoo");
    console_loses(&con, "new-session");
    console_key(&con, KEY_ESC);
    console_loses(&con, "unzoo");
    console_key(&con, "+");
    console_loses(&con, "QUEUE");
    console_key(&con, "_");
    console_sees(&con, "QUEUE");
    console_key(&con, "t");
    console_sees(&con, "in use");
    console_key(&con, KEY_ESC);
    console_loses(&con, "in use");
    console_key(&con, "/");
    console_sees(&con, "Find in this chat");
    console_key(&con, "hello\r");
    console_loses(&con, "Find in this chat");
    console_key(&con, "/" KEY_CTRL_U "notthere\r");
    console_sees(&con, "not found: notthere");
    console_key(&con, "d");
    console_sees(&con, "Delete session 1");
    console_key(&con, KEY_ESC);
    console_loses(&con, "Delete session 1");
    console_key(&con, "q");
    console_ends(&con);
}

static void freeze_and_step(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, KEY_F5);
    console_sees(&con, "F4 freezes");
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    console_key(&con, KEY_F4);
    console_sees(&con, "frozen");
    pty_settle(&con.pty, 200, 5000);
    char before[4096], after[4096];
    int row = vt_find(con.pty.vt, "step ", NULL);
    assert_true(row >= 0);
    snprintf(before, sizeof before, "%s", vt_row(con.pty.vt, row));
    console_key(&con, KEY_F5);
    for (int i = 0; i < 100; i++) {
        pty_pump(&con.pty, 50);
        snprintf(after, sizeof after, "%s", vt_row(con.pty.vt, row));
        if (strcmp(before, after) != 0)
            break;
    }
    assert_string_not_equal(before, after);
    console_key(&con, KEY_F4);
    console_sees(&con, "RUNNING");
}

static void scrolled_up_it_stays(void **state)
{
    (void)state;
    start(slow);
    pty_resize(&con.pty, 14, 60);
    console_key(&con, "/layout chat\r");
    console_sees(&con, "layout: chat");
    console_key(&con, "hello\r");
    console_loses(&con, "Welcome to weft"); /* enough lines to scroll */
    console_key(&con, KEY_BACKTAB KEY_HOME);
    console_sees(&con, "Welcome to weft");
    char before[4096];
    int row = vt_find(con.pty.vt, "Welcome", NULL);
    snprintf(before, sizeof before, "%s", vt_row(con.pty.vt, row + 3));
    double until = pty_now_ms() + 1000;
    while (pty_now_ms() < until)
        pty_pump(&con.pty, 100);
    assert_int_equal(vt_find(con.pty.vt, "Welcome", NULL), row);
    assert_string_equal(vt_row(con.pty.vt, row + 3), before);
    console_key(&con, KEY_END);
    console_loses(&con, "Welcome to weft");
}

static void outgrown_context_drops_the_oldest(void **state)
{
    (void)state;
    const char *const args[] = {"--sim", "--set", "sim.context=200", "--set", "sampling.max_tokens=64", NULL};
    start(args);
    for (int i = 1; i <= 5; i++) {
        char message[32], title[32];
        snprintf(message, sizeof message, "message number %d\r", i);
        console_key(&con, message);
        snprintf(title, sizeof title, "number %d", i);
        console_sees(&con, title);
        console_sees(&con, "64 tokens");
        pty_settle(&con.pty, 300, 5000);
    }
    console_key(&con, "/show\r");
    console_sees(&con, "no longer fit the context");
    assert_false(console_shows(&con, "INVALID_REQUEST"));
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ctrl_c_twice_quits),
        TEST(q_and_slash_quit_end_it),
        TEST(two_sessions_stream_at_once),
        TEST(priority_acts_at_once),
        TEST(stop_keeps_what_was_made),
        TEST(escape_is_heard_while_tokens_rain),
        TEST(typing_goes_on_while_a_reply_streams),
        TEST(paste_stays_editable),
        TEST(new_lines_by_alt_enter_and_ctrl_j),
        TEST(history_and_search_of_readline),
        TEST(slash_commands),
        TEST(keys_outside_the_input_line),
        TEST(freeze_and_step),
        TEST(scrolled_up_it_stays),
        TEST(outgrown_context_drops_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
