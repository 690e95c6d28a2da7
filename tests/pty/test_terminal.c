/* labels: unit pty */
/* The console and its terminal, over the simulated executor: how it starts and ends, suspension, locales and terminals, and
 * that no keys break it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/console.h"

static struct console con;

static void starts_and_quits(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    console_sees(&con, "Welcome to weft");
    assert_true(console_shows(&con, "SIM"));
    assert_true(vt_mode(con.pty.vt, 1049));
    assert_true(vt_mode(con.pty.vt, 2004));
    assert_false(vt_mode(con.pty.vt, 1000));
    assert_false(pty_modes_restored(&con.pty));
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 0);
}

/* Whether drawing the screen afresh shows what is on it: that no frame left anything behind. What moves by itself (graphs, a
 * message on the lowest line) may get in between, so there is more than one try. */
static bool redraw_shows_the_same(void)
{
    enum { TRIES = 30 };
    for (int i = 0; i < TRIES; i++) {
        pty_settle(&con.pty, 100, 2000);
        char *before = strdup(strchr(vt_text(con.pty.vt), '\n')); /* below the title's figures */
        const unsigned clears = vt_clears(con.pty.vt);
        vt_wipe(con.pty.vt);
        pty_type(&con.pty, KEY_CTRL_L);
        for (double until = pty_now_ms() + 30000; vt_clears(con.pty.vt) == clears && pty_now_ms() < until;)
            pty_pump(&con.pty, 50);
        pty_whole_frame(&con.pty, 1000);
        const bool same = strcmp(strchr(vt_text(con.pty.vt), '\n'), before) == 0;
        if (!same && i == TRIES - 1)
            fprintf(stderr, "before:%s\nafter:\n%s\n", before, vt_text(con.pty.vt));
        free(before);
        if (same)
            return true;
    }
    return false;
}

/* 10,000 keys in bursts, and 500 sizes among them: nothing crashes, the screen stays whole, the terminal is restored. */
static void random_keys_and_sizes(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "a",
        "hello ",
        KEY_ENTER,
        KEY_ESC,
        KEY_TAB,
        KEY_BACKTAB,
        KEY_UP,
        KEY_DOWN,
        KEY_HOME,
        KEY_END,
        KEY_PGUP,
        KEY_PGDN,
        KEY_F1,
        KEY_F2,
        KEY_F3,
        KEY_F4,
        KEY_F5,
        KEY_F7,
        KEY_F8,
        KEY_F9,
        KEY_ALT("1"),
        KEY_ALT("2"),
        KEY_ALT_ENTER,
        KEY_CTRL_J,
        KEY_CTRL_L,
        KEY_CTRL_R,
        KEY_CTRL_U,
        KEY_ALT_UP,
        KEY_ALT_DOWN,
        KEY_ALT_LEFT,
        KEY_ALT_RIGHT,
        KEY_DELETE,
        KEY_BACKSPACE,
        "/",
        "?",
        ":",
        "p",
        "P",
        "+",
        "_",
        "t",
        "r",
        "n",
        "N",
        "y",
        "w",
        "j",
        "k",
        "\x16",
        "\x18",
        "\x1f",
        "\x19",
        "\xe4\xb8\xad",
        "\xff",
        "\x1b[200~x\ry\x1b[201~",
        "\x1b[99;99~",
        "/set ",
        "/theme ",
        "/delete\r",
        "/new\r",
        "/clear\r",
        "/stats\r",
        "/why\r",
        "/regen\r",
        "/edit\r",
        "/pause\r",
        "/resume\r",
        "/mouse on\r",
        "\x1b[<0;9;9M",
        "\x1b[<64;9;9M",
    };
    enum { KEYS = 10000, SIZES = 500, BURST = 10, LOOKS = 4 };
    struct rng rng;
    const char *seed = getenv("WEFT_SEED");
    rng_seed(&rng, seed ? strtoull(seed, NULL, 10) : 20);
    console_open(&con, console_fast);
    for (int i = 0; i < KEYS; i++) {
        pty_type(&con.pty, keys[rng_below(&rng, sizeof keys / sizeof *keys)]);
        if (i % (KEYS / SIZES) == 0)
            pty_resize(&con.pty, 1 + (int)rng_below(&rng, 100), 1 + (int)rng_below(&rng, 300));
        if (i % BURST == 0)
            pty_pump(&con.pty, 5);
        if (pty_wait_exit(&con.pty, 0)) { /* the palette has "quit" too: an ordinary end, then */
            console_ends(&con);
            assert_int_equal(console_exit_status(&con), 0);
            console_end(&con);
            console_open(&con, console_fast);
        }
        if (i % (KEYS / LOOKS) == KEYS / LOOKS - 1) {
            console_resize(&con, 24, 80);
            pty_type(&con.pty, "a"); /* what was begun, as Ctrl-V, is over */
            assert_true(redraw_shows_the_same());
        }
    }
    pty_type(&con.pty, KEY_F10);
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 0);
}

static bool is_whole_again(struct console *c, void *ctx)
{
    (void)ctx;
    return vt_mode(c->pty.vt, 1049) && vt_mode(c->pty.vt, 2004) && console_shows(c, "› a draft");
}

static void suspend_and_continue(void **state)
{
    (void)state;
    console_start(&con, &(struct console_options){.args = console_fast, .shell = true});
    console_type(&con, "a draft");
    console_does(&con, KEY_CTRL_Z, "stopped"); /* says the shell, on the ordinary screen */
    assert_false(vt_mode(con.pty.vt, 1049) || vt_mode(con.pty.vt, 2004));
    assert_true(vt_cursor_visible(con.pty.vt));
    assert_true(pty_modes_restored(&con.pty));
    console_key(&con, KEY_ENTER); /* its fg */
    console_wait(&con, is_whole_again, NULL, "the screen again");
    console_does(&con, KEY_CTRL_U "still alive\r", "64 tokens");
    console_does(&con, KEY_F10, "done");
    console_ends(&con);
}

static void plain_locale_gets_ascii(void **state)
{
    (void)state;
    const char *const env[] = {"LC_ALL=C", NULL};
    const struct console_options options = {.args = console_fast, .env = env};
    console_start(&con, &options);
    console_does(&con, "hello\r", "64 tokens");
    for (const char *p = vt_text(con.pty.vt); *p; p++)
        assert_true((unsigned char)*p < 0x80);
}

static void no_terminal_is_said(void **state)
{
    (void)state;
    char command[600], line[300] = "";
    snprintf(command, sizeof command, "%s --sim </dev/null 2>&1", CONSOLE_PROGRAM);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    int status = pclose(f);
    assert_int_equal(WEXITSTATUS(status), 2);
    assert_non_null(strstr(line, "weft: USAGE: "));
    assert_non_null(strstr(line, "terminal"));
}

static void unknown_terminal_is_said(void **state)
{
    (void)state;
    const char *const env[] = {"TERM=no-such-terminal", NULL};
    const struct console_options options = {.args = console_fast, .env = env};
    console_launch(&con, &options);
    assert_true(pty_wait_text(&con.pty, "no-such-terminal", 20000));
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 2);
}

#define TEST(name) CONSOLE_TEST(name, &con)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_and_quits),        TEST(random_keys_and_sizes), TEST(suspend_and_continue),
        TEST(plain_locale_gets_ascii), TEST(no_terminal_is_said),   TEST(unknown_terminal_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
