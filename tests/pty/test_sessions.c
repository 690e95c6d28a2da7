/* labels: unit pty */
/* Sessions that outlive the console: quit, killed, two at once, and a disk that can't be written to. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/console.h"
#include "tests/support/store_rig.h"

static const char *const fast[] = {"--sim", "--set", "sampling.max_tokens=24", NULL};
static const char *const fresh[] = {"--sim", "--fresh", NULL};
/* A token every 20 ms. */
static const char *const slow[] = {"--sim", "--set", "sim.decode_us=20000", NULL};

static struct console con, other;
static char top[64], state_home[96], sessions[128];

static int make(void **state)
{
    (void)state;
    store_rig_make(top);
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", top);
    snprintf(sessions, sizeof sessions, "%s/weft/sessions", top);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    console_end(&con);
    console_end(&other);
    store_rig_remove(top);
    return 0;
}

static void start(struct console *c, const char *const *args)
{
    const char *const env[] = {state_home, NULL};
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = args, .env = env, .rows = 30};
    console_start(c, &options);
}

static void quit(struct console *c)
{
    console_key(c, KEY_F10);
    console_ends(c);
    console_end(c);
}

static void sessions_come_back(void **state)
{
    (void)state;
    start(&con, fast);
    console_sees(&con, "Welcome to weft");
    console_key(&con, "first question\r");
    console_sees(&con, "tok/s ·");
    console_key(&con, "/prio high\r");
    console_sees(&con, "HIGH");
    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, "/rename the second\r");
    console_key(&con, "second question\r");
    console_sees(&con, "tok/s ·");
    console_type(&con, "half a thought");
    quit(&con);

    start(&con, fast);
    console_sees(&con, "SESSIONS 2");
    assert_false(console_shows(&con, "Welcome to weft"));
    console_sees(&con, "2 the second");
    console_sees(&con, "second question");
    console_sees(&con, "half a thought");
    console_key(&con, KEY_CTRL_U KEY_UP); /* what was typed is the input line's history */
    console_sees(&con, "› second question");
    console_key(&con, KEY_CTRL_U KEY_ALT("1"));
    console_sees(&con, "first question");
    console_sees(&con, "HIGH");
    console_key(&con, "and on\r");
    console_sees(&con, "and on");
    console_key(&con, "/delete\r");
    console_key(&con, "y");
    console_sees(&con, "SESSIONS 1");
    quit(&con);

    start(&con, fast);
    console_sees(&con, "SESSIONS 1");
    console_sees(&con, "second question");
    console_key(&con, "/clear\r");
    console_sees(&con, "cleared");
    quit(&con);
    start(&con, fast);
    console_sees(&con, "the second");
    assert_false(console_shows(&con, "second question"));
    quit(&con);
    start(&con, fresh);
    console_sees(&con, "Welcome to weft");
    console_sees(&con, "SESSIONS 1");
}

static void looking_around_leaves_nothing(void **state)
{
    (void)state;
    start(&con, fast);
    console_key(&con, KEY_F2 KEY_F7);
    console_sees(&con, "HIGH");
    quit(&con);
    assert_int_equal(store_rig_count(sessions, ".jsonl", NULL), 0);
}

/* The second row of the reply, once the third has begun. */
static bool reply_row(struct pty *p, void *ctx)
{
    char *row = ctx;
    int rows, cols, at = vt_find(p->vt, "weft ▏", NULL) + 1;
    vt_size(p->vt, &rows, &cols);
    if (at < 1 || at + 1 >= rows)
        return false;
    const char *third = strstr(vt_row(p->vt, at + 1), "     ▏");
    if (!third || third[strlen("     ▏")] == ' ')
        return false;
    const char *second = strstr(vt_row(p->vt, at), "▏");
    snprintf(row, 64, "%.30s", second + strlen("▏"));
    return true;
}

static bool some_time_has_passed(struct pty *p, void *ctx)
{
    (void)p;
    return pty_now_ms() > *(const double *)ctx;
}

static void kill_9_costs_less_than_a_second(void **state)
{
    (void)state;
    char row[64] = "";
    start(&con, slow);
    console_key(&con, "/set max_tokens 2000\rcount for me\r");
    assert_true(pty_wait(&con.pty, reply_row, row, 20000));
    double until = pty_now_ms() + 1000;
    assert_true(pty_wait(&con.pty, some_time_has_passed, &until, 5000));
    kill(con.pty.pid, SIGKILL);
    assert_true(pty_wait_exit(&con.pty, 5000));
    console_end(&con);
    start(&con, slow);
    console_sees(&con, "count for me");
    console_key(&con, KEY_BACKTAB KEY_HOME); /* to the beginning of what may have scrolled */
    console_key(&con, KEY_TAB);
    console_sees(&con, "cut off");
    if (!console_shows(&con, row)) {
        console_key(&con, KEY_PGUP);
        console_sees(&con, row);
    }
}

/* A closed terminal window: even what was only typed is there again. */
static void a_hangup_saves(void **state)
{
    (void)state;
    start(&con, slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    console_type(&con, "typed meanwhile");
    kill(con.pty.pid, SIGHUP);
    console_ends(&con);
    console_end(&con);
    start(&con, slow);
    console_sees(&con, "hello");
    console_sees(&con, "typed meanwhile");
}

static void two_consoles_at_once(void **state)
{
    (void)state;
    start(&con, fast);
    console_key(&con, "mine\r");
    console_sees(&con, "tok/s ·");
    start(&other, fast);
    console_sees(&other, "Welcome to weft"); /* what is open elsewhere isn't opened here */
    console_key(&other, "theirs\r");
    console_sees(&other, "tok/s ·");
    console_key(&con, "mine again\r");
    console_sees(&con, "mine again");
    quit(&other);
    quit(&con);
    assert_int_equal(store_rig_count(sessions, ".jsonl", NULL), 2);
    start(&con, fast);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, KEY_ALT("1"));
    console_sees(&con, "mine again");
    console_key(&con, KEY_ALT("2"));
    console_sees(&con, "theirs");
}

static void a_state_directory_that_cannot_be_written_is_said_once(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/weft", top);
    assert_int_equal(mkdir(path, 0700), 0);
    store_rig_write(sessions, "in the way", 10);
    start(&con, fast);
    console_key(&con, "hello\r");
    console_sees(&con, "nothing can be saved");
    console_sees(&con, "tok/s ·");
    assert_int_equal(unlink(sessions), 0);
    console_sees(&con, "everything is saved again");
    quit(&con);
    start(&con, fast);
    console_sees(&con, "hello");
}

static void chats_are_exported_found_and_loaded(void **state)
{
    (void)state;
    char line[192], path[128];
    start(&con, fast);
    console_key(&con, "of rivers and boats\r");
    console_sees(&con, "tok/s ·");
    snprintf(path, sizeof path, "%s/chat.md", top);
    snprintf(line, sizeof line, "/export md %s\r", path);
    console_key(&con, line);
    console_sees(&con, "written:");
    struct buf text = BUF_INIT;
    assert_true(store_rig_read(path, &text));
    assert_non_null(strstr(text.data, "## You\n\nof rivers and boats\n"));
    buf_free(&text);
    console_key(&con, line);
    console_sees(&con, "Overwrite it?");
    console_key(&con, "n");
    console_loses(&con, "Overwrite it?");
    console_key(&con, "/export pdf\r");
    console_sees(&con, "isn't one of");
    snprintf(path, sizeof path, "%s/chat.json", top);
    snprintf(line, sizeof line, "/save %s\r", path);
    console_key(&con, line);
    console_sees(&con, "chat.json");

    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, "/search AND BOATS\r");
    console_sees(&con, "Found: 2"); /* the message, and the title made from it */
    console_key(&con, KEY_DOWN KEY_ENTER);
    console_sees(&con, "1 of rivers");
    console_key(&con, "/search no such words\r");
    console_sees(&con, "found in no session");
    snprintf(line, sizeof line, "/load %s\r", path);
    console_key(&con, line);
    console_sees(&con, "loaded:");
    console_sees(&con, "SESSIONS 3");
    console_key(&con, "/load /no/such/file\r");
    console_sees(&con, "No such file");
    console_key(&con, "/load\r");
    console_sees(&con, "all sessions there are are open");
    /* Another console finds them all in use, and gets copies. */
    start(&other, fast);
    console_key(&other, "/load\r");
    console_sees(&other, "Open a session");
    console_key(&other, KEY_ENTER);
    console_sees(&other, "another weft has this session");
    console_sees(&other, "of rivers and boats");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(sessions_come_back),
        TEST(looking_around_leaves_nothing),
        TEST(kill_9_costs_less_than_a_second),
        TEST(a_hangup_saves),
        TEST(two_consoles_at_once),
        TEST(chats_are_exported_found_and_loaded),
        TEST(a_state_directory_that_cannot_be_written_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
