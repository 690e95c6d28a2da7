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
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/console.h"

static struct console con;

static void ctrl_c_twice_quits(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_type(&con, "half a line");
    console_undoes(&con, KEY_CTRL_C, "half a line"); /* clears the line first */
    console_key(&con, KEY_CTRL_C);
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 0);
}

static void q_and_slash_quit_end_it(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_type(&con, "q"); /* in the input line it is a letter */
    console_key(&con, KEY_CTRL_U KEY_BACKTAB "q");
    console_ends(&con);
    console_end(&con);
    console_open(&con, console_fast);
    console_key(&con, "/quit\r");
    console_ends(&con);
}

static void two_sessions_stream_at_once(void **state)
{
    (void)state;
    console_open(&con, console_slow);
    console_does(&con, "to the first\r", "RUNNING");
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_does(&con, "to the second\r", "batch 2/16");
    console_does(&con, KEY_ALT("1"), "1 to the first NORMAL");
    console_does(&con, KEY_ALT("2"), "2 to the second NORMAL");
    console_does(&con, KEY_ALT("7"), "there is no session 7");
}

static void priority_acts_at_once(void **state)
{
    (void)state;
    console_open(&con, console_slow);
    console_does(&con, "hello\r", "NORMAL · RUNNING");
    console_does(&con, KEY_F7, "HIGH · RUNNING");
    assert_true(console_shows(&con, "also of its request"));
    console_does(&con, KEY_F8 KEY_F8, "LOW · RUNNING");
    console_does(&con, KEY_F8, "is low already");
    console_does(&con, "/prio critical\r", "CRITICAL · RUNNING");
    console_does(&con, "/prio urgent\r", "one of critical, high, normal, low");
}

static void stop_keeps_what_was_made(void **state)
{
    (void)state;
    console_open(&con, console_slow);
    console_does(&con, "hello\r", "RUNNING");
    console_does(&con, KEY_ESC, "stopped · TTFT");
    console_does(&con, "again\r", "RUNNING");
    console_undoes(&con, "/stop\r", "RUNNING");
    console_does(&con, "/stop\r", "no reply is under way");
    console_does(&con, "more\r", "RUNNING");
    console_undoes(&con, KEY_F9, "RUNNING");
}

/* Esc is told from the start of a sequence by time, which the engine's events mustn't stretch. */
static void escape_is_heard_while_tokens_rain(void **state)
{
    (void)state;
    const char *const args[] = {"--sim", "--set", "sim.decode_us=2000", "--set", "sampling.max_tokens=100000",
                                NULL};
    console_open(&con, args);
    console_does(&con, "hello\r", "RUNNING");
    double from = pty_now_ms();
    console_does(&con, KEY_ESC, "stopped");
    print_message("Esc acts after %.0f ms\n", pty_now_ms() - from);
    assert_true(pty_now_ms() - from < 2000);
}

static void history_and_search_of_readline(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_does(&con, "apples\r", "64 tokens");
    console_does(&con, "pears\r", "you  ▏pears");
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_does(&con, KEY_UP "nothing", "› nothing"); /* history is the session's own */
    console_undoes(&con, KEY_ALT("1"), "› nothing");
    console_does(&con, KEY_CTRL_R "pp", "i-search");
    console_undoes(&con, KEY_ESC, "i-search");
    assert_true(console_shows(&con, "› apples")); /* Esc keeps what was found */
    console_does(&con, KEY_DOWN, "› pears");
    console_does(&con, KEY_UP, "› apples");
    console_does(&con, KEY_ALT("2"), "› nothing"); /* its draft waited */
}

static void slash_commands(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_does(&con, "/", "/rename"); /* the popup */
    console_undoes(&con, KEY_ESC, "/rename");
    console_does(&con, KEY_CTRL_U "/ren\t", "› /rename ");
    console_does(&con, "the poet\r", "1 the poet");
    console_does(&con, "/nonsense\r", "unknown command /nonsense");
    console_does(&con, "/set temperature 0.25\r", "temperature = 0.25");
    console_does(&con, "/set temperature hot\r", "no value for it");
    console_does(&con, "/set top_p 7\r", "INVALID_REQUEST");
    console_does(&con, "/set warmth 1\r", "no setting warmth");
    console_does(&con, "/system You speak like a pirate.\r", "speak like a pirate.");
    console_does(&con, "/show\r", "repeat_penalty");
    assert_true(console_shows(&con, "0.25"));
    assert_true(console_shows(&con, "system prompt      You speak like a pirate."));
    console_undoes(&con, KEY_ESC, "repeat_penalty");
    console_does(&con, "/stats\r", "time to first token");
    console_undoes(&con, "q", "time to first token");
    console_does(&con, "/set max_tokens 8\r", "max_tokens = 8");
    console_does(&con, "//not a command\r", " 8 tokens");
    assert_true(console_shows(&con, "▏/not a command"));
    console_does(&con, "/clear\r", "the model knows nothing");
    console_loses(&con, " 8 tokens");
    console_does(&con, "/new second\r", "2 second");
    console_does(&con, "/delete\r", "Delete session 2");
    console_undoes(&con, "n", "Delete session 2");
    console_does(&con, "/delete\r", "Delete session 2");
    console_does(&con, "y", "SESSIONS 1");
    console_does(&con, "/theme light\r", "theme: light");
    console_does(&con, "/theme nosuch\r", "there is no theme nosuch");
    console_does(&con, "/layout kv\r", "layout: kv");
    console_does(&con, "/layout sideways\r", "one of chat, balanced, scheduler, kv");
    console_does(&con, "/help\r", "Alt-1 ... 9");
    console_undoes(&con, KEY_ESC, "Alt-1 ... 9");
    console_key(&con, "/quit\r");
    console_ends(&con);
}

static void keys_outside_the_input_line(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_does(&con, "hello\r", "64 tokens");
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_key(&con, KEY_TAB); /* to the sessions */
    console_does(&con, "k\r", "1 hello NORMAL");
    assert_true(console_shows(&con, "64 tokens"));
    console_does(&con, KEY_TAB "r", "Rename session 1");
    console_does(&con, KEY_CTRL_U "greeting\r", "1 greeting");
    console_does(&con, "p", "layout: scheduler");
    console_does(&con, "P", "layout: balanced");
    console_does(&con, "?", "Alt-1 ... 9");
    console_undoes(&con, KEY_ESC, "Alt-1 ... 9");
    console_does(&con, ":", "new-session");
    console_undoes(&con, "unzoo", "new-session");
    console_undoes(&con, KEY_ESC, "unzoo");
    console_undoes(&con, "+", "QUEUE");
    console_does(&con, "_", "QUEUE");
    console_does(&con, "t", "in use");
    console_undoes(&con, KEY_ESC, "in use");
    console_does(&con, "/", "Find in this chat");
    console_undoes(&con, "hello\r", "Find in this chat");
    console_does(&con, "/" KEY_CTRL_U "notthere\r", "not found: notthere");
    console_does(&con, "d", "Delete session 1");
    console_undoes(&con, KEY_ESC, "Delete session 1");
    console_key(&con, "q");
    console_ends(&con);
}

static void freeze_and_step(void **state)
{
    (void)state;
    console_open(&con, console_slow);
    console_does(&con, KEY_F5, "F4 freezes");
    console_does(&con, "hello\r", "RUNNING");
    console_does(&con, KEY_F4, "FROZEN");
    const long at = console_step(&con);
    console_key(&con, KEY_F5);
    console_wait_step(&con, at + 1);
    assert_int_equal(console_step(&con), at + 1);
    console_undoes(&con, KEY_F4, "FROZEN");
    console_wait_step(&con, at + 5);
}

static bool is_idle(struct console *c, void *ctx)
{
    (void)ctx;
    return !console_shows(c, "1 busy");
}

static void outgrown_context_drops_the_oldest(void **state)
{
    (void)state;
    const char *const args[] = {"--sim", "--set", "sim.context=200", "--set", "sampling.max_tokens=64", NULL};
    console_open(&con, args);
    for (int i = 1; i <= 5; i++) {
        char message[32], shown[64];
        snprintf(message, sizeof message, "message number %d\r", i);
        snprintf(shown, sizeof shown, "▏message number %d", i);
        console_does(&con, message, shown);
        console_wait(&con, is_idle, NULL, "the end of the reply");
        assert_true(console_shows(&con, "64 tokens"));
    }
    console_does(&con, "/show\r", "no longer fit the context");
    assert_false(console_shows(&con, "INVALID_REQUEST"));
}

#define TEST(name) CONSOLE_TEST(name, &con)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ctrl_c_twice_quits),
        TEST(q_and_slash_quit_end_it),
        TEST(two_sessions_stream_at_once),
        TEST(priority_acts_at_once),
        TEST(stop_keeps_what_was_made),
        TEST(escape_is_heard_while_tokens_rain),
        TEST(history_and_search_of_readline),
        TEST(slash_commands),
        TEST(keys_outside_the_input_line),
        TEST(freeze_and_step),
        TEST(outgrown_context_drops_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
