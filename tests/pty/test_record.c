/* labels: real */
/* What /record writes of a live chat makes the model say the same again. */
#include <setjmp.h>
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
static char dir[64], file[96];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weft-record-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/w.yaml", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    console_end(&con);
    unlink(file);
    rmdir(dir);
    return 0;
}

static void start(const char *const *args)
{
    console_start(&con, &(struct console_options){.args = args, .rows = 50, .cols = 120});
}

/* The beginning of the last reply on the screen. */
static void reply(char out[80])
{
    int rows, cols;
    vt_size(con.pty.vt, &rows, &cols);
    *out = 0;
    for (int y = 0; y < rows; y++) {
        const char *at = strstr(vt_row(con.pty.vt, y), "weft ▏");
        if (at)
            snprintf(out, 60, "%s", at + strlen("weft ▏"));
    }
    assert_true(strlen(out) > 20);
}

static void a_recording_says_the_same_again(void **state)
{
    (void)state;
    static const char *const live[] = {"--fresh", "--set", "sampling.max_tokens=24", NULL};
    const char *const again[] = {"demo", file, NULL};
    char command[128], first[80], second[80];
    start(live);
    snprintf(command, sizeof command, "/record %s\r", file);
    console_does(&con, command, "recording; /record again");
    console_does(&con, "/set temperature 1.7\r", "temperature = 1.7");
    console_does(&con, "/set top_p 0.99\r", "top_p = 0.99");
    console_does(&con, "Tell me something that nobody has told before.\r", "length ·");
    reply(first);
    console_does(&con, KEY_F2, "SESSIONS 2"); /* with the settings of the configuration */
    console_does(&con, "And now about the sea.\r", "length ·");
    reply(second);
    console_undoes(&con, "/continue\r", "length ·");
    console_sees(&con, "length ·");
    console_does(&con, "/record\r", "3 requests recorded");
    console_key(&con, KEY_F10);
    console_ends(&con);
    console_end(&con);

    start(again);
    console_sees(&con, "s1-");
    console_sees(&con, "s2-");
    console_does(&con, KEY_ALT("2"), first); /* the first session is the console's own */
    console_does(&con, KEY_ALT("3"), second);
    console_sees(&con, "4 s2-");
    console_does(&con, KEY_ALT("4"), "given tokens)"); /* the reply that went on */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_recording_says_the_same_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
