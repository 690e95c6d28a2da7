/* labels: real */
/* A chat with a model that isn't the default one: it may outgrow the context, and be gone on with, like any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "src/models.h"
#include "tests/support/console.h"

static struct console con;
static char directory[64], twin[80];

/* The default model's file has a second name, under which it is another model. */
static int make(void **state)
{
    (void)state;
    struct buf path = BUF_INIT;
    struct weft_err err = {0};
    snprintf(directory, sizeof directory, "/tmp/weft-models-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(twin, sizeof twin, "%s/twin.gguf", directory);
    if (models_resolve("smollm2", &path, &err))
        fail_msg("%s", err.message);
    assert_int_equal(symlink(buf_str(&path), twin), 0);
    buf_free(&path);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    console_end(&con);
    unlink(twin);
    rmdir(directory);
    return 0;
}

static void another_model_is_no_second_class(void **state)
{
    (void)state;
    const char *const args[] = {"-m",    "smollm2",
                                "-m",    twin,
                                "--set", "model.context=160",
                                "--set", "sampling.max_tokens=40",
                                "--set", "sampling.temperature=0",
                                "--set", "kv.memory_mb=64",
                                NULL};
    const struct console_options options = {.args = args, .rows = 40, .cols = 120};
    console_start(&con, &options);
    console_say(&con, "/model twin");
    console_sees(&con, "twin answers from the next message on");
    console_say(&con, "Tell me a long story about a fox and a very old river.");
    console_sees(&con, "length ·");
    console_say(&con, "/continue");
    console_loses(&con, "length ·"); /* it goes on in the same message */
    console_sees(&con, "length ·");
    console_say(&con, "/clear");
    console_sees(&con, "cleared");
    console_say(&con, "First, say something about the winds of the sea.");
    console_sees(&con, "40 tokens");
    console_say(&con, "Now say something about the mountains and their snow.");
    console_sees(&con, "1 busy"); /* this fits still */
    console_loses(&con, "1 busy");
    assert_false(console_shows(&con, "outgrown the context"));
    console_say(&con, "And at last say something about the deserts and their sand.");
    console_sees(&con, "outgrown the context");
    console_loses(&con, "1 busy");
    assert_false(console_shows(&con, "INVALID_REQUEST"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_model_is_no_second_class, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
