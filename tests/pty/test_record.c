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

static struct console_file own;

static void start(const char *const *args)
{
    console_start(&own.con, &(struct console_options){.args = args, .rows = 50, .cols = 120});
}

/* The beginning of the last reply on the screen. */
static void reply(char out[80])
{
    int rows, cols;
    vt_size(own.con.pty.vt, &rows, &cols);
    *out = 0;
    for (int y = 0; y < rows; y++) {
        const char *at = strstr(vt_row(own.con.pty.vt, y), "weft ▏");
        if (at)
            snprintf(out, 60, "%s", at + strlen("weft ▏"));
    }
    assert_true(strlen(out) > 20);
}

static void a_recording_says_the_same_again(void **state)
{
    (void)state;
    static const char *const live[] = {"--fresh", "--set", "sampling.max_tokens=24", NULL};
    const char *const again[] = {"demo", own.file, NULL};
    char command[128], first[80], second[80];
    start(live);
    snprintf(command, sizeof command, "/record %s\r", own.file);
    console_does(&own.con, command, "recording; /record again");
    console_does(&own.con, "/set temperature 1.7\r", "temperature = 1.7");
    console_does(&own.con, "/set top_p 0.99\r", "top_p = 0.99");
    console_does(&own.con, "Tell me something that nobody has told before.\r", "length ·");
    reply(first);
    console_does(&own.con, KEY_F2, "SESSIONS 2"); /* with the settings of the configuration */
    console_does(&own.con, "And now about the sea.\r", "length ·");
    reply(second);
    console_undoes(&own.con, "/continue\r", "length ·");
    console_sees(&own.con, "length ·");
    console_does(&own.con, "/record\r", "3 requests recorded");
    console_key(&own.con, KEY_F10);
    console_ends(&own.con);
    console_end(&own.con);

    start(again);
    console_sees(&own.con, "s1-");
    console_sees(&own.con, "s2-");
    console_does(&own.con, KEY_ALT("2"), first); /* the first session is the console's own */
    console_does(&own.con, KEY_ALT("3"), second);
    console_sees(&own.con, "4 s2-");
    console_does(&own.con, KEY_ALT("4"), "given tokens)"); /* the reply that went on */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CONSOLE_FILE_TEST(a_recording_says_the_same_again, &own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
