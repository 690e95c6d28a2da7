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
    console_key(&con, line);
    console_sees(&con, "of two lines");
    console_sees(&con, "Enter sends them");
    assert_true(console_shows(&con, "red")); /* and its escapes are harmless */
    console_key(&con, KEY_ENTER);
    console_sees(&con, "tok/s ·");
    console_sees(&con, "▏of two lines");
    snprintf(line, sizeof line, "/read %s\r", con.dir);
    console_key(&con, line);
    console_sees(&con, "no regular file");
    console_key(&con, "/read /no/such\r");
    console_sees(&con, "No such file");
    write_file("binary", "a\0b", 3, path);
    snprintf(line, sizeof line, "/read %s\r", path);
    console_key(&con, line);
    console_sees(&con, "it is no text");
    memset(large, 'x', sizeof large);
    write_file("large", large, sizeof large, path);
    snprintf(line, sizeof line, "/read %s\r", path);
    console_key(&con, line);
    console_sees(&con, "307200 bytes, the limit is 262144");
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
    console_key(&con, "/copy\r");
    console_sees(&con, "no reply to copy");
    console_key(&con, "tell me\r");
    console_sees(&con, "8 tokens");
    snprintf(path, sizeof path, "%s/bytes", con.dir);
    con.pty.record = path;
    console_key(&con, "/copy\r");
    console_sees(&con, "terminal's clipboard");
    assert_true(copied(path, text, sizeof text));
    const char *row = strstr(vt_row(con.pty.vt, vt_find(con.pty.vt, "weft ▏", NULL)), "weft ▏");
    snprintf(shown, sizeof shown, "%.20s", row + strlen("weft ▏")); /* the beginning of its first line */
    assert_int_equal(strncmp(text, shown, strlen(shown)), 0);
    con.pty.record = NULL;
    console_key(&con, "/copy 2\r");
    console_sees(&con, "aren't as many");
    console_key(&con, "/copy it\r");
    console_sees(&con, "1 for the last reply");
}

static void the_mouse_is_off_until_asked_for(void **state)
{
    (void)state;
    start(fast);
    assert_false(vt_mode(con.pty.vt, 1000));
    console_key(&con, KEY_F2);
    console_sees(&con, "SESSIONS 2");
    console_key(&con, "/mouse on\r");
    console_sees(&con, "mouse on");
    assert_true(vt_mode(con.pty.vt, 1000) && vt_mode(con.pty.vt, 1006));
    int row = vt_find(con.pty.vt, "1 new", NULL);
    char click[64];
    snprintf(click, sizeof click, "\x1b[<0;5;%dM\x1b[<0;5;%dm", row + 1, row + 1);
    console_key(&con, click);
    console_sees(&con, "▸ 1");
    row = vt_find(con.pty.vt, "QUEUE", NULL);
    snprintf(click, sizeof click, "\x1b[<0;5;%dM", row + 2);
    console_key(&con, click); /* the pane takes the keys */
    console_key(&con, "\x1b[<64;40;5M\x1b[<65;40;5M?");
    console_sees(&con, "HELP");
    console_key(&con, "\x1b[<65;40;5M");
    console_sees(&con, "2-");
    console_key(&con, "q");
    console_loses(&con, "HELP");
    console_key(&con, "\x1b[Z\x1b[Z");
    console_key(&con, "q");
    console_ends(&con); /* modes are as before */
}

static void the_model_is_chosen(void **state)
{
    (void)state;
    start(fast);
    console_key(&con, "/model other\r");
    console_sees(&con, "there is no such model");
    console_key(&con, "/model sim\r");
    console_sees(&con, "sim answers from the next message on");
    console_key(&con, "hello\r");
    console_sees(&con, "8 tokens");
    console_key(&con, "/model\r");
    console_sees(&con, "in use");
}

/* Up and Down in the list over the input line; what is chosen goes into the line, where it can still be changed. */
static void commands_are_chosen_from_the_list(void **state)
{
    (void)state;
    start(fast);
    console_type(&con, "/the");
    console_key(&con, KEY_DOWN KEY_ENTER); /* the only one: nothing to choose, so the line is entered */
    console_sees(&con, "unknown command /the");
    console_type(&con, "/s");
    console_key(&con, KEY_DOWN KEY_DOWN KEY_UP KEY_UP KEY_DOWN); /* round the end */
    console_key(&con, KEY_ENTER);
    console_sees(&con, "› /stop");
    console_key(&con, KEY_CTRL_U);
    console_type(&con, "/theme ");
    console_key(&con, KEY_DOWN KEY_TAB);
    console_loses(&con, "in use");
    console_key(&con, KEY_ENTER);
    console_sees(&con, "theme:");
    console_key(&con, KEY_UP); /* without a list it is history's */
    console_sees(&con, "› /theme ");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, end)
    static const struct CMUnitTest tests[] = {
        TEST(regen_makes_another_reply),
        TEST(continue_goes_on_with_the_reply),
        TEST(edit_replaces_what_followed),
        TEST(pause_and_resume),
        TEST(waiting_messages_are_dropped),
        TEST(read_puts_a_file_into_the_message),
        TEST(copy_gives_a_reply_to_the_terminal),
        TEST(the_mouse_is_off_until_asked_for),
        TEST(the_model_is_chosen),
        TEST(commands_are_chosen_from_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
