/* labels: unit pty */
/* What can be done with a chat's last question and reply, and with text on its way in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/console.h"

/* A token every 20 ms. */
static const char *const slow[] = {"--sim", "--fresh", "--set", "sim.decode_us=20000", NULL};
static const char *const fast[] = {"--sim", "--fresh", "--set", "sampling.max_tokens=8", NULL};

static struct console con;

static void start(const char *const *args)
{
    const struct console_options options = {.program = CONSOLE_PROGRAM, .args = args, .rows = 30};
    console_start(&con, &options);
}

static int end(void **state)
{
    (void)state;
    console_end(&con);
    return 0;
}

/* How often something is on the screen. */
static int count(const char *text)
{
    int rows, cols, n = 0;
    vt_size(con.pty.vt, &rows, &cols);
    for (int y = 0; y < rows; y++)
        for (const char *p = vt_row(con.pty.vt, y); (p = strstr(p, text)); p += strlen(text))
            n++;
    return n;
}

static void regen_makes_another_reply(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "/regen\r");
    console_sees(&con, "nothing has been said");
    console_key(&con, "tell me\r");
    console_sees(&con, "8 tokens");
    console_key(&con, "/set max_tokens 3\r");
    console_key(&con, "/regen\r");
    console_sees(&con, "3 tokens");
    assert_int_equal(count("8 tokens"), 0);
    assert_int_equal(count("▏tell me"), 1);
}

static void continue_goes_on_with_the_reply(void **state)
{
    (void)state;
    char row[128], more[256];
    start(fast);
    console_key(&con, "tell me\r");
    console_sees(&con, "8 tokens");
    int at = vt_find(con.pty.vt, "weft ▏", NULL);
    assert_true(at >= 0);
    snprintf(row, sizeof row, "%.40s", strstr(vt_row(con.pty.vt, at), "weft ▏"));
    console_key(&con, "/set max_tokens 5\r");
    console_key(&con, "/continue\r");
    console_sees(&con, "5 tokens");
    snprintf(more, sizeof more, "%s", vt_row(con.pty.vt, vt_find(con.pty.vt, "weft ▏", NULL)));
    size_t n = strlen(row);
    while (n && row[n - 1] == ' ')
        row[--n] = 0;
    assert_non_null(strstr(more, row)); /* what was there is there, in the same message */
    assert_int_equal(count("weft ▏"), 1);
}

static void edit_replaces_what_followed(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "/edit\r");
    console_sees(&con, "nothing has been said");
    console_key(&con, "first version\r");
    console_sees(&con, "tok/s ·");
    console_key(&con, "/edit\r");
    console_sees(&con, "instead: first version");
    console_key(&con, KEY_ESC);
    console_loses(&con, "instead:");
    assert_int_equal(count("▏first version"), 1);
    console_key(&con, "/edit\r");
    console_sees(&con, "instead: first version");
    console_key(&con, "s differ\r");
    console_sees(&con, "▏first versions differ");
    console_sees(&con, "tok/s ·");
    assert_int_equal(count("▏first version"), 1);
    console_loses(&con, "instead:");
    /* One that begins with a slash stays a message. */
    console_key(&con, "//etc is a place\r");
    console_sees(&con, "▏/etc is a place");
}

static void pause_and_resume(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "/resume\r");
    console_sees(&con, "isn't paused");
    console_key(&con, "/set max_tokens 40\r");
    console_key(&con, "count\r");
    console_sees(&con, "RUNNING");
    console_key(&con, "/pause\r");
    console_sees(&con, "PAUSED");
    console_sees(&con, "stopped");
    console_key(&con, "/pause\r");
    console_sees(&con, "paused already");
    console_key(&con, "/regen\r");
    console_sees(&con, "/resume goes on");
    console_key(&con, "and this later\r");
    console_sees(&con, "next ▏and this later");
    console_key(&con, "/resume\r");
    console_sees(&con, "RUNNING");
    console_loses(&con, "next ▏");
    assert_int_equal(count("▏count"), 1);
    assert_false(console_shows(&con, "stopped")); /* it went on in the same message */
}

static void waiting_messages_are_dropped(void **state)
{
    (void)state;
    start(slow);
    console_key(&con, "hello\r");
    console_sees(&con, "RUNNING");
    console_key(&con, "one more\r");
    console_sees(&con, "▏one more");
    console_key(&con, "/queue empty\r");
    console_sees(&con, "it is /queue clear");
    console_key(&con, "/queue clear\r");
    console_sees(&con, "1 waiting message dropped");
    console_loses(&con, "▏one more");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, end)
    static const struct CMUnitTest tests[] = {
        TEST(regen_makes_another_reply),    TEST(continue_goes_on_with_the_reply),
        TEST(edit_replaces_what_followed),  TEST(pause_and_resume),
        TEST(waiting_messages_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
