/* labels: unit pty */
/*
 * The console and its terminal, over the simulated executor: how it starts and ends, what signals, sizes, locales and colours
 * do, what it writes and how soon, and that no keys break it. Waits end as soon as what is waited for is on the screen.
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

static void starts_and_quits(void **state)
{
    (void)state;
    start(fast);
    console_sees(&con, "Welcome to weft");
    console_sees(&con, "SIM");
    assert_true(vt_mode(con.pty.vt, 1049));
    assert_true(vt_mode(con.pty.vt, 2004));
    assert_false(vt_mode(con.pty.vt, 1000));
    assert_false(pty_modes_restored(&con.pty));
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(exit_status(), 0);
}

static void every_signal_restores_the_terminal(void **state)
{
    (void)state;
    static const struct {
        int sig;
        bool deadly; /* the signal itself ends the process */
    } signals[] = {{SIGTERM, false}, {SIGHUP, false}, {SIGINT, false}, {SIGSEGV, true},
                   {SIGABRT, true},  {SIGBUS, true},  {SIGFPE, true}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        start(slow);
        console_key(&con, "hello\r");
        console_sees(&con, "RUNNING");
        kill(con.pty.pid, signals[i].sig);
        console_ends(&con);
        if (signals[i].deadly)
            assert_true(exit_status() == -signals[i].sig ||
                        exit_status() > 0); /* a sanitizer exits by itself */
        else
            assert_int_equal(exit_status(), 128 + signals[i].sig);
        console_end(&con);
    }
}

static void resize_and_too_small(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "hello\r");
    console_sees(&con, "64 tokens");
    /* until nothing moves: the graphs run out */
    console_key(&con, "/layout chat\r");
    console_sees(&con, "layout: chat");
    console_loses(&con, "layout: chat");
    char *before = strdup(vt_text(con.pty.vt));
    pty_resize(&con.pty, 5, 20);
    console_sees(&con, "too small");
    pty_resize(&con.pty, 24, 80);
    console_sees(&con, "64 tokens");
    pty_settle(&con.pty, 300, 5000);
    /* The title line has figures that run on; all else is as it was. */
    assert_string_equal(strchr(vt_text(con.pty.vt), '\n'), strchr(before, '\n'));
    free(before);
    pty_resize(&con.pty, 60, 200);
    console_sees(&con, "64 tokens");
    console_sees(&con, "F1");
}

static void resize_storm(void **state)
{
    (void)state;
    unsigned seed = 7;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    for (int i = 0; i < 200; i++) {
        seed = seed * 1103515245u + 12345u;
        int rows = 1 + (int)(seed >> 16) % 100;
        seed = seed * 1103515245u + 12345u;
        int cols = 1 + (int)(seed >> 16) % 300;
        pty_resize(&con.pty, rows, cols);
        pty_pump(&con.pty, 2);
    }
    pty_resize(&con.pty, 24, 80);
    console_sees(&con, "hello");
    console_sees(&con, "F1");
    console_key(&con, KEY_F10);
    console_ends(&con);
}

static void random_keys(void **state)
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
        "\x1bOP",
        "\x1bOQ",
        "\x1bOR",
        "\x1bOS",
        "\x1b[15~",
        "\x1b[18~",
        "\x1b[19~",
        "\x1b[20~",
        KEY_ALT("1"),
        KEY_ALT("2"),
        KEY_ALT_ENTER,
        KEY_CTRL_J,
        KEY_CTRL_L,
        KEY_CTRL_R,
        KEY_CTRL_U,
        "/",
        "?",
        ":",
        "p",
        "+",
        "_",
        "t",
        "r",
        "n",
        "y",
        "\x7f",
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
        "\x1b[1;3A",
        "\x1b[1;3B",
    };
    unsigned seed = 20;
    start(fast);
    for (int i = 0; i < 3000; i++) {
        seed = seed * 1103515245u + 12345u;
        const char *key = keys[(seed >> 16) % (sizeof keys / sizeof *keys)];
        pty_type(&con.pty, key);
        if (i % 16 == 0)
            pty_pump(&con.pty, 5);
        if (pty_wait_exit(&con.pty, 0)) { /* the palette has "quit" too: an ordinary end, then */
            assert_int_equal(exit_status(), 0);
            console_ends(&con);
            console_end(&con);
            start(fast);
        }
    }
    pty_settle(&con.pty, 100, 10000);
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(exit_status(), 0);
}

static void suspend_and_continue(void **state)
{
    (void)state;
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = fast, .shell = true};
    console_start(&con, &options);
    console_type(&con, "a draft");
    console_key(&con, KEY_CTRL_Z);
    /* The shell says so on the ordinary screen, then continues weft at once. */
    bool stopped = false;
    double until = pty_now_ms() + 20000;
    while (!stopped && pty_now_ms() < until) {
        pty_pump(&con.pty, 100);
        stopped = vt_bytes(con.pty.vt) > 0 && console_shows(&con, "stopped");
    }
    /* The screen of before, and so the draft, is there as soon as the alternate screen is; the modes come after it. */
    console_sees(&con, "a draft");
    while (!(vt_mode(con.pty.vt, 1049) && vt_mode(con.pty.vt, 2004)) && pty_now_ms() < until)
        pty_pump(&con.pty, 100);
    assert_true(vt_mode(con.pty.vt, 1049));
    assert_true(vt_mode(con.pty.vt, 2004));
    console_key(&con, KEY_CTRL_U "still alive\r");
    console_sees(&con, "64 tokens");
    console_key(&con, KEY_F10);
    console_ends(&con);
    console_sees(&con, "done");
}

static void no_colour_when_asked(void **state)
{
    (void)state;
    const char *const env[] = {"NO_COLOR=1", NULL};
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = fast, .env = env};
    console_start(&con, &options);
    console_key(&con, "hello\r");
    console_sees(&con, "64 tokens");
    console_key(&con, KEY_F1);
    console_sees(&con, "Alt-1 ... 9");
    assert_int_equal(vt_colours(con.pty.vt), 0);
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(vt_colours(con.pty.vt), 0);
    console_end(&con);
    start(fast);
    assert_true(vt_colours(con.pty.vt) > 0);
}

static void plain_locale_gets_ascii(void **state)
{
    (void)state;
    const char *const env[] = {"LC_ALL=C", NULL};
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = fast, .env = env};
    console_start(&con, &options);
    console_key(&con, "hello\r");
    console_sees(&con, "64 tokens");
    for (const char *p = vt_text(con.pty.vt); *p; p++)
        assert_true((unsigned char)*p < 0x80);
}

static void one_clear_and_no_more(void **state)
{
    (void)state;
    start(slow);
    unsigned first = vt_clears(con.pty.vt);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    double until = pty_now_ms() + 1500;
    while (pty_now_ms() < until)
        pty_pump(&con.pty, 100);
    assert_int_equal(vt_clears(con.pty.vt), first);
    console_key(&con, KEY_CTRL_L);
    until = pty_now_ms() + 20000;
    while (vt_clears(con.pty.vt) == first && pty_now_ms() < until)
        pty_pump(&con.pty, 100);
    assert_true(vt_clears(con.pty.vt) > first);
}

static void idle_writes_nothing(void **state)
{
    (void)state;
    start(fast);
    pty_settle(&con.pty, 500, 20000);
    size_t bytes = vt_bytes(con.pty.vt);
    double all = pty_cpu_seconds(&con.pty, false), own = pty_cpu_seconds(&con.pty, true),
           until = pty_now_ms() + 4000;
    while (pty_now_ms() < until)
        pty_pump(&con.pty, 200);
    all = (pty_cpu_seconds(&con.pty, false) - all) / 4 * 100;
    own = (pty_cpu_seconds(&con.pty, true) - own) / 4 * 100;
    print_message("idle: %zu bytes in 4 s, %.2f %% of a core, of which the console %.2f %%\n",
                  vt_bytes(con.pty.vt) - bytes, all, own);
    assert_int_equal(vt_bytes(con.pty.vt), bytes);
    assert_true(own <= 0.5);
}

static void streaming_writes_little(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    size_t bytes = vt_bytes(con.pty.vt);
    double from = pty_now_ms();
    while (pty_now_ms() < from + 3000)
        pty_pump(&con.pty, 100);
    double a_frame = (double)(vt_bytes(con.pty.vt) - bytes) / (3 * 30);
    print_message("streaming at 80x24: %.0f bytes a frame\n", a_frame);
    assert_true(a_frame > 0 && a_frame <= 2048);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void keys_show_at_once(void **state)
{
    (void)state;
    enum { KEYS = 60 };
    double ms[KEYS];
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    for (int i = 0; i < KEYS; i++) {
        char typed[] = {(char)('a' + i % 26), 0}, seen[16];
        snprintf(seen, sizeof seen, "\xe2\x80\xba %s", typed);
        double from = pty_now_ms();
        console_key(&con, typed);
        while (!console_shows(&con, seen) && pty_now_ms() < from + 5000)
            pty_pump(&con.pty, 10);
        ms[i] = pty_now_ms() - from;
        console_key(&con, "\x7f");
        console_loses(&con, seen);
    }
    qsort(ms, KEYS, sizeof *ms, compare);
    print_message("key to screen while streaming: p50 %.2f ms, p99 %.2f ms\n", ms[KEYS / 2], ms[KEYS - 1]);
    assert_true(ms[KEYS / 2] < 100); /* a busy machine, a sanitizer: the figure itself is the benchmark's */
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
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = fast, .env = env};
    console_launch(&con, &options);
    assert_true(pty_wait_text(&con.pty, "no-such-terminal", 20000));
    console_ends(&con);
    assert_int_equal(exit_status(), 2);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_and_quits),
        TEST(every_signal_restores_the_terminal),
        TEST(resize_and_too_small),
        TEST(resize_storm),
        TEST(random_keys),
        TEST(suspend_and_continue),
        TEST(no_colour_when_asked),
        TEST(plain_locale_gets_ascii),
        TEST(one_clear_and_no_more),
        TEST(idle_writes_nothing),
        TEST(streaming_writes_little),
        TEST(keys_show_at_once),
        TEST(no_terminal_is_said),
        TEST(unknown_terminal_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
