/* labels: unit pty */
/* Other ways for a chat to go: /fork, a branch that shares its KV blocks and outlives the console; /edit of an earlier
 * message; a pause that outlives it, too. */
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

static const char *const fast[] = {"--sim", "--set", "sampling.max_tokens=24", NULL};
/* A token every 40 ms, so that a reply is under way for as long as a test looks. */
static const char *const slow[] = {
    "--sim", "--set", "sim.decode_us=40000", "--set", "sampling.max_tokens=2000", NULL};

/* Long enough for some whole blocks of KV, which a branch has in common with its session. */
static const char QUESTION[] =
    "a question that takes a good many words before it comes to its end, so that the prompt "
    "fills more than one block of the KV memory";

static struct console con;
static char top[64], state_home[96];

static int make(void **state)
{
    (void)state;
    store_rig_make(top);
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", top);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    console_end(&con);
    store_rig_remove(top);
    return 0;
}

static void start(const char *const *args)
{
    const char *const env[] = {state_home, NULL};
    const struct console_options options = {.args = args, .env = env, .rows = 36, .cols = 120};
    console_start(&con, &options);
}

static void quit(void)
{
    console_key(&con, KEY_F10);
    console_ends(&con);
    console_end(&con);
}

static void a_branch_has_the_chat_and_goes_its_own_way(void **state)
{
    (void)state;
    start(fast);
    console_say(&con, QUESTION);
    console_sees(&con, "24 tokens");
    console_say(&con, "/prio high");
    console_sees(&con, "HIGH ·");
    console_say(&con, "/fork the other way");
    console_sees(&con, "branched off session 1");
    console_sees(&con, "2↳the other way");
    console_sees(&con, "branch of 1");
    assert_true(console_shows(&con, "24 tokens")); /* what is said under the reply came along */
    assert_true(console_shows(&con, "HIGH"));
    console_say(&con, "only here");
    console_sees(&con, "▏only here");
    console_sees(&con, " cached ·"); /* its prompt begins with blocks that are there already */
    console_undoes(&con, KEY_ALT("1"), "only here");
    assert_true(console_shows(&con, "it comes to its end"));
    quit();

    start(fast);
    console_sees(&con, "2↳the other way");
    console_sees(&con, "branch of 1"); /* the session used last is in front */
    console_sees(&con, "it comes to its end");
    console_sees(&con, "only here");
    console_undoes(&con, KEY_ALT("1"), "only here");
    console_say(&con, "/delete");
    console_does(&con, "y", "SESSIONS 1");
    console_say(&con, "/show");
    console_sees(&con, "branch of          session 1"); /* gone or not, that is what it was */
    console_undoes(&con, KEY_ESC, "branch of          session 1");
    quit();

    start(fast);
    console_sees(&con, "1↳the other way");
    console_say(&con, "/show");
    console_sees(&con, "a session that isn't open");
}

/* In the midst of a reply a branch gets what has come so far; going on with it there shares the blocks of both. */
static void a_branch_of_a_reply_under_way_shares_its_blocks(void **state)
{
    (void)state;
    start(slow);
    console_say(&con, QUESTION);
    console_sees(&con, "RUNNING");
    console_sees(&con, "weft ▏");
    console_say(&con, "/fork");
    console_sees(&con, "in mid-reply");
    console_sees(&con, "stopped");
    assert_true(console_shows(&con, "SESSIONS 2, 1 busy")); /* the session itself goes on */
    console_say(&con, "/continue");
    console_sees(&con, "RUNNING");
    assert_true(console_shows(&con, "SESSIONS 2, 2 busy"));
    console_loses(&con, "▓ shared 0");
    assert_true(console_shows(&con, "▓ shared"));
    console_say(&con, "/why");
    console_sees(&con, "were in KV blocks already, cached or shared");
    console_undoes(&con, KEY_ESC, "were in KV blocks already");
    console_does(&con, KEY_F9, "SESSIONS 2, 1 busy");
    console_sees(&con, "▓ shared 0"); /* only one holds them now */
}

/* Before the first token there is no reply to take along: the question is asked in the branch when the user says so. */
static void a_branch_of_a_question_has_it_in_the_input_line(void **state)
{
    (void)state;
    start(slow);
    console_does(&con, KEY_F4, "frozen");
    console_say(&con, "unanswered so far");
    console_say(&con, "/fork");
    console_sees(&con, "is in the input line");
    console_sees(&con, "› unanswered so far");
    console_does(&con, KEY_ENTER, "SESSIONS 2, 2 busy");
    console_does(&con, KEY_F4, "RUNNING");
}

static bool replies(struct console *c, void *n)
{
    return console_count(c, "24 tokens") == *(const int *)n;
}

/* Any question of the chat can be asked differently; what followed it is forgotten. */
static void an_earlier_question_is_asked_anew(void **state)
{
    (void)state;
    int one = 1, two = 2;
    start(fast);
    console_say(&con, "the first of two");
    console_wait(&con, replies, &one, "a reply");
    console_say(&con, "the second of two");
    console_wait(&con, replies, &two, "two replies");
    console_does(&con, "/edit 3\r", "you haven't said as much");
    console_does(&con, "/edit last\r", "it is 1 for the last");
    console_does(&con, "/edit 2\r", "instead: the first of two");
    console_undoes(&con, ", changed\r", "you  ▏the second of two");
    console_sees(&con, "you  ▏the first of two, changed");
    console_wait(&con, replies, &one, "a reply");
    quit();

    start(fast);
    console_sees(&con, "you  ▏the first of two, changed");
    assert_false(console_shows(&con, "the second of two"));
}

static void a_pause_outlives_the_console(void **state)
{
    (void)state;
    start(slow);
    console_say(&con, QUESTION);
    console_sees(&con, "RUNNING");
    console_sees(&con, "weft ▏");
    console_say(&con, "/pause");
    console_sees(&con, "PAUSED");
    console_sees(&con, "stopped");
    quit();

    start(slow);
    console_sees(&con, "PAUSED");
    console_sees(&con, "paused: what you send waits");
    console_say(&con, "/resume");
    console_sees(&con, "RUNNING"); /* with the reply that the pause cut off */
    console_loses(&con, "stopped");
    console_does(&con, KEY_ESC, "stopped");
    quit();

    start(slow);
    console_sees(&con, "stopped");
    assert_false(console_shows(&con, "PAUSED"));
    console_say(&con, "/pause");
    console_sees(&con, "PAUSED");
    quit();

    start(slow);
    console_sees(&con, "PAUSED");
    console_say(&con, "/resume"); /* nothing was cut off: there is nothing to go on with */
    console_loses(&con, "PAUSED");
    assert_false(console_shows(&con, "busy"));
}

/* Killed while messages wait for a reply: they wait still, and go nowhere unasked. */
static void what_waits_outlives_the_console(void **state)
{
    (void)state;
    start(slow);
    console_say(&con, QUESTION);
    console_sees(&con, "RUNNING");
    console_say(&con, "the first to follow");
    console_sees(&con, "next ▏the first to follow");
    console_say(&con, "the second to follow");
    console_sees(&con, "next ▏the second to follow");
    console_say(&con, "thought better of");
    console_sees(&con, "next ▏thought better of");
    console_undoes(&con, KEY_UP, "next ▏thought better of");
    pty_read_for(&con.pty, 2000); /* what is older than a second is on disk */
    kill(con.pty.pid, SIGKILL);
    assert_true(pty_wait_exit(&con.pty, 20000));
    console_end(&con);

    start(slow);
    console_sees(&con, "PAUSED");
    console_sees(&con, "next ▏the first to follow");
    console_sees(&con, "next ▏the second to follow");
    assert_false(console_shows(&con, "next ▏thought better of"));
    console_say(&con, "/resume");
    console_sees(&con, "you  ▏the first to follow");
    assert_true(console_shows(&con, "next ▏the second to follow"));
    console_does(&con, "/queue clear\r", "1 waiting message dropped");
    quit();

    start(slow);
    console_sees(&con, "you  ▏the first to follow");
    assert_false(console_shows(&con, "the second to follow"));
    assert_false(console_shows(&con, "PAUSED"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(a_branch_has_the_chat_and_goes_its_own_way),
        TEST(a_branch_of_a_reply_under_way_shares_its_blocks),
        TEST(a_branch_of_a_question_has_it_in_the_input_line),
        TEST(an_earlier_question_is_asked_anew),
        TEST(a_pause_outlives_the_console),
        TEST(what_waits_outlives_the_console),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
