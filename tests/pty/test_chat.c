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
    console_start(&con, &(struct console_options){.args = args, .rows = 30});
}

static void regen_makes_another_reply(void **state)
{
    (void)state;
    start(fast);
    console_does(&con, "/regen\r", "nothing has been said");
    console_does(&con, "tell me\r", "8 tokens");
    console_key(&con, "/set max_tokens 3\r");
    console_does(&con, "/regen\r", "3 tokens");
    assert_int_equal(console_count(&con, "8 tokens"), 0);
    assert_int_equal(console_count(&con, "▏tell me"), 1);
}

static void continue_goes_on_with_the_reply(void **state)
{
    (void)state;
    char row[128], more[256];
    start(fast);
    console_does(&con, "tell me\r", "8 tokens");
    int at = vt_find(con.pty.vt, "weft ▏", NULL);
    assert_true(at >= 0);
    snprintf(row, sizeof row, "%.40s", strstr(vt_row(con.pty.vt, at), "weft ▏"));
    console_key(&con, "/set max_tokens 5\r");
    console_does(&con, "/continue\r", "5 tokens");
    snprintf(more, sizeof more, "%s", vt_row(con.pty.vt, vt_find(con.pty.vt, "weft ▏", NULL)));
    size_t n = strlen(row);
    while (n && row[n - 1] == ' ')
        row[--n] = 0;
    assert_non_null(strstr(more, row)); /* what was there is there, in the same message */
    assert_int_equal(console_count(&con, "weft ▏"), 1);
}

static bool has_footer(struct console *c, void *ctx)
{
    (void)ctx;
    return console_shows(c, "8 tokens") && !console_shows(c, "1 busy");
}

static void edit_replaces_what_followed(void **state)
{
    (void)state;
    start(fast);
    console_does(&con, "/edit\r", "nothing has been said");
    console_does(&con, "first version\r", "tok/s ·");
    console_does(&con, "/edit\r", "instead: first version");
    console_undoes(&con, KEY_ESC, "instead:");
    assert_int_equal(console_count(&con, "▏first version"), 1);
    console_does(&con, "/edit\r", "instead: first version");
    console_does(&con, "s differ\r", "▏first versions differ");
    assert_int_equal(console_count(&con, "▏first version"), 1);
    assert_false(console_shows(&con, "instead:"));
    console_wait(&con, has_footer, NULL, "the end of the other reply");
    /* One that begins with a slash stays a message. */
    console_does(&con, "//etc is a place\r", "▏/etc is a place");
}

static void pause_and_resume(void **state)
{
    (void)state;
    start(slow);
    console_does(&con, "/resume\r", "isn't paused");
    console_key(&con, "/set max_tokens 40\r");
    console_does(&con, "count\r", "RUNNING");
    console_does(&con, "/pause\r", "PAUSED");
    console_sees(&con, "stopped");
    console_does(&con, "/pause\r", "paused already");
    console_does(&con, "/regen\r", "is paused: /resume goes on");
    console_does(&con, "and this later\r", "next ▏and this later");
    console_does(&con, "/resume\r", "RUNNING");
    console_loses(&con, "next ▏");
    assert_int_equal(console_count(&con, "▏count"), 1);
    assert_false(console_shows(&con, "stopped")); /* it went on in the same message */
}

static void waiting_messages_are_dropped(void **state)
{
    (void)state;
    start(slow);
    console_does(&con, "hello\r", "RUNNING");
    console_does(&con, "one more\r", "▏one more");
    console_does(&con, "/queue empty\r", "it is /queue clear");
    console_does(&con, "/queue clear\r", "1 waiting message dropped");
    console_loses(&con, "▏one more");
}

static void write_file(const char *name, const char *bytes, size_t n, char path[128])
{
    snprintf(path, 128, "%s/%s", con.dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void read_puts_a_file_into_the_message(void **state)
{
    (void)state;
    static const char text[] = "\x1b[31mred\x1b[0m and\nof two lines";
    static char large[300 * 1024];
    char path[128], line[192];
    start(fast);
    write_file("notes.txt", text, sizeof text - 1, path);
    console_type(&con, "Sum this up: ");
    console_key(&con, KEY_CTRL_U);
    snprintf(line, sizeof line, "/read %s\r", path);
    console_does(&con, line, "of two lines");
    console_sees(&con, "Enter sends them");
    assert_true(console_shows(&con, "red")); /* and its escapes are harmless */
    console_does(&con, KEY_ENTER, "tok/s ·");
    console_sees(&con, "▏of two lines");
    snprintf(line, sizeof line, "/read %s\r", con.dir);
    console_does(&con, line, "no regular file");
    console_does(&con, "/read /no/such\r", "No such file");
    write_file("binary", "a\0b", 3, path);
    snprintf(line, sizeof line, "/read %s\r", path);
    console_does(&con, line, "it is no text");
    memset(large, 'x', sizeof large);
    write_file("large", large, sizeof large, path);
    snprintf(line, sizeof line, "/read %s\r", path);
    console_does(&con, line, "307200 bytes, the limit is 262144");
}

/* The bytes of the last OSC 52 that was written to `path`, decoded; false: there is none, or it isn't whole. */
static bool copied(const char *path, char *out, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char all[1 << 20];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(all, 1, sizeof all - 1, f) : 0, used = 0;
    unsigned bits = 0, have = 0;
    if (f)
        fclose(f);
    all[n] = 0;
    const char *p = memmem(all, n, "\x1b]52;c;", 7), *digit;
    for (p = p ? p + 7 : NULL; p && *p && (digit = strchr(digits, *p)) && used < size - 1; p++) {
        bits = bits << 6 | (unsigned)(digit - digits);
        have += 6;
        if (have >= 8)
            out[used++] = (char)(bits >> (have -= 8) & 0xff);
    }
    out[used] = 0;
    return p && strchr(p, '\a') && used;
}

static void copy_gives_a_reply_to_the_terminal(void **state)
{
    (void)state;
    char path[128], text[512], shown[128];
    start(fast);
    console_does(&con, "/copy\r", "no reply to copy");
    console_does(&con, "tell me\r", "8 tokens");
    snprintf(path, sizeof path, "%s/bytes", con.dir);
    con.pty.record = path;
    console_does(&con, "/copy\r", "terminal's clipboard");
    assert_true(copied(path, text, sizeof text));
    const char *row = strstr(vt_row(con.pty.vt, vt_find(con.pty.vt, "weft ▏", NULL)), "weft ▏");
    snprintf(shown, sizeof shown, "%.20s", row + strlen("weft ▏")); /* the beginning of its first line */
    assert_int_equal(strncmp(text, shown, strlen(shown)), 0);
    con.pty.record = NULL;
    console_does(&con, "/copy 2\r", "aren't as many");
    console_does(&con, "/copy it\r", "1 for the last reply");
}

static void the_model_is_chosen(void **state)
{
    (void)state;
    start(fast);
    console_does(&con, "/model other\r", "there is no such model");
    console_does(&con, "/model sim\r", "sim answers from the next message on");
    console_does(&con, "hello\r", "8 tokens");
    console_does(&con, "/model\r", "in use");
}

/* Up and Down in the list over the input line; what is chosen goes into the line, where it can still be changed. */
static void commands_are_chosen_from_the_list(void **state)
{
    (void)state;
    start(fast);
    console_type(&con, "/the");
    console_does(&con, KEY_DOWN KEY_ENTER,
                 "unknown command /the"); /* the only one: nothing to choose, so the line is entered */
    console_type(&con, "/s");
    console_key(&con, KEY_DOWN KEY_DOWN KEY_UP KEY_UP KEY_DOWN); /* round the end */
    console_does(&con, KEY_ENTER, "› /stop");
    console_key(&con, KEY_CTRL_U);
    console_type(&con, "/theme ");
    console_undoes(&con, KEY_DOWN KEY_TAB, "in use");
    console_does(&con, KEY_ENTER, "theme:");
    console_does(&con, KEY_UP, "› /theme "); /* without a list it is history's */
}

int main(void)
{
#define TEST(f) CONSOLE_TEST(f, &con)
    static const struct CMUnitTest tests[] = {
        TEST(regen_makes_another_reply),          TEST(continue_goes_on_with_the_reply),
        TEST(edit_replaces_what_followed),        TEST(pause_and_resume),
        TEST(waiting_messages_are_dropped),       TEST(read_puts_a_file_into_the_message),
        TEST(copy_gives_a_reply_to_the_terminal), TEST(the_model_is_chosen),
        TEST(commands_are_chosen_from_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
