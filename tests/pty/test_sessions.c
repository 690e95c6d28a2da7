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

static void launch(struct console *c, const char *const *args)
{
    const char *const env[] = {state_home, NULL};
    console_launch(c, &(struct console_options){.args = args, .env = env, .rows = 30});
}

static void start(struct console *c, const char *const *args)
{
    launch(c, args);
    console_sees(c, "READY");
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
    console_does(&con, "first question\r", "tok/s ·");
    console_does(&con, "/prio high\r", "HIGH");
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_key(&con, "/rename the second\r");
    console_does(&con, "second question\r", "tok/s ·");
    console_type(&con, "half a thought");
    quit(&con);

    start(&con, fast);
    console_sees(&con, "SESSIONS 2");
    assert_false(console_shows(&con, "Welcome to weft"));
    console_sees(&con, "2 the second");
    console_sees(&con, "second question");
    console_sees(&con, "half a thought");
    console_does(&con, KEY_CTRL_U KEY_UP,
                 "› second question"); /* what was typed is the input line's history */
    console_does(&con, KEY_CTRL_U KEY_ALT("1"), "▏first question");
    assert_true(console_shows(&con, "HIGH"));
    console_does(&con, "and on\r", "▏and on");
    console_does(&con, "/delete\r", "Delete session 1");
    console_does(&con, "y", "SESSIONS 1");
    quit(&con);

    start(&con, fast);
    console_sees(&con, "SESSIONS 1");
    console_sees(&con, "second question");
    console_does(&con, "/clear\r", "cleared");
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
    console_does(&con, KEY_F2 KEY_F7, "HIGH");
    quit(&con);
    assert_int_equal(store_rig_count(sessions, ".jsonl", NULL), 0);
}

/* A closed terminal window: even what was only typed is there again. */
static void a_hangup_saves(void **state)
{
    (void)state;
    start(&con, slow);
    console_does(&con, "hello\r", "RUNNING");
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
    console_does(&con, "mine\r", "tok/s ·");
    start(&other, fast);
    console_sees(&other, "Welcome to weft"); /* what is open elsewhere isn't opened here */
    console_does(&other, "theirs\r", "tok/s ·");
    console_does(&con, "mine again\r", "▏mine again");
    quit(&other);
    quit(&con);
    assert_int_equal(store_rig_count(sessions, ".jsonl", NULL), 2);
    start(&con, fast);
    console_sees(&con, "SESSIONS 2");
    console_does(&con, KEY_ALT("2"), "▏theirs");
    console_does(&con, KEY_ALT("1"), "▏mine again");
}

/* Both look for last time's session at the same moment: one has it, the other begins anew, and nothing is lost or twice. */
static void two_consoles_started_together(void **state)
{
    (void)state;
    start(&con, fast);
    console_does(&con, "of yesterday\r", "tok/s ·");
    quit(&con);
    for (int i = 0; i < 4; i++) {
        struct console *has, *lacks;
        launch(&con, fast);
        launch(&other, fast);
        console_sees(&con, "READY");
        console_sees(&other, "READY");
        has = console_shows(&con, "1 of yesterday NORMAL") ? &con : &other;
        lacks = has == &con ? &other : &con;
        assert_true(console_shows(has, "1 of yesterday NORMAL"));
        assert_false(console_shows(lacks, "of yesterday"));
        assert_true(console_shows(lacks, "Welcome to weft"));
        char more[32], shown[48];
        snprintf(more, sizeof more, "more of it %d", i);
        snprintf(shown, sizeof shown, "▏%s", more);
        console_say(has, more);
        console_sees(has, shown);
        console_does(lacks, "something else\r", "▏something else");
        console_does(lacks, "/delete\r", "Delete session");
        console_undoes(lacks, "y", "▏something else");
        quit(&con);
        quit(&other);
        assert_int_equal(store_rig_count(sessions, ".jsonl", NULL), 1);
    }
    start(&con, fast);
    console_sees(&con, "SESSIONS 1");
    console_key(&con, KEY_BACKTAB KEY_HOME);
    console_does(&con, "/" KEY_CTRL_U "of yesterday\r", "▏of yesterday");
}

static void a_state_directory_that_cannot_be_written_is_said_once(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/weft", top);
    assert_int_equal(mkdir(path, 0700), 0);
    store_rig_write(sessions, "in the way", 10);
    start(&con, fast);
    console_does(&con, "hello\r", "nothing can be saved");
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
    console_does(&con, "of rivers and boats\r", "tok/s ·");
    snprintf(path, sizeof path, "%s/chat.md", top);
    snprintf(line, sizeof line, "/export md %s\r", path);
    console_does(&con, line, "written:");
    struct buf text = BUF_INIT;
    assert_true(store_rig_read(path, &text));
    assert_non_null(strstr(text.data, "## You\n\nof rivers and boats\n"));
    buf_free(&text);
    console_does(&con, line, "Overwrite it?");
    console_undoes(&con, "n", "Overwrite it?");
    console_does(&con, "/export pdf\r", "isn't one of");
    snprintf(path, sizeof path, "%s/chat.json", top);
    snprintf(line, sizeof line, "/save %s\r", path);
    console_does(&con, line, "chat.json");

    console_does(&con, KEY_F2, "SESSIONS 2");
    console_does(&con, "/search AND BOATS\r", "Found: 2"); /* the message, and the title made from it */
    console_does(&con, KEY_DOWN KEY_ENTER, "1 of rivers and boats NORMAL");
    console_does(&con, "/search no such words\r", "found in no session");
    snprintf(line, sizeof line, "/load %s\r", path);
    console_does(&con, line, "loaded:");
    console_sees(&con, "SESSIONS 3");
    console_does(&con, "/load /no/such/file\r", "No such file");
    console_does(&con, "/load\r", "all sessions there are are open");
    /* Another console finds them all in use, and gets copies. */
    start(&other, fast);
    console_does(&other, "/load\r", "Open a session");
    console_does(&other, KEY_ENTER, "another weft has this session");
    assert_true(console_shows(&other, "▏of rivers and boats"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(sessions_come_back),
        TEST(looking_around_leaves_nothing),
        TEST(a_hangup_saves),
        TEST(two_consoles_at_once),
        TEST(two_consoles_started_together),
        TEST(chats_are_exported_found_and_loaded),
        TEST(a_state_directory_that_cannot_be_written_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
