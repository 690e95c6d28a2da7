/* Several -m: requests of a batch choose by name, and what can't be loaded costs only who asked for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;
static char twin[128], broken[128];

/* Two more models: the default one's file under another name, and one that isn't a model. */
static int setup(void **state)
{
    (void)state;
    char file[700];
    cli_rig_init(&rig, TEST_BINARY_DIR);
    const char *data = strchr(rig.env_text[3], '=') + 1; /* XDG_DATA_HOME */
    snprintf(file, sizeof file, "%s/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf", data);
    snprintf(twin, sizeof twin, "%s/twin.gguf", rig.dir);
    assert_int_equal(symlink(file, twin), 0);
    snprintf(broken, sizeof broken, "%s", cli_file(&rig, "broken.gguf", "GGUF, but no more", 17));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cli_rig_deinit(&rig);
    return 0;
}

static json_t *find(json_t *lines, const char *id)
{
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line)
    {
        if (strcmp(json_string_value(json_object_get(line, "id")), id) == 0)
            return line;
    }
    fail_msg("no result for %s", id);
    return NULL;
}

static const char *error_code(json_t *line)
{
    return json_string_value(json_object_get(json_object_get(line, "error"), "code"));
}

static void requests_choose(void **state)
{
    (void)state;
    static const char batch[] =
        "{\"id\":\"first\",\"prompt\":\"The sea\",\"max_tokens\":6,\"temperature\":0}\n"
        "{\"id\":\"named\",\"prompt\":\"The sea\",\"max_tokens\":6,\"temperature\":0,\"model\":\"smollm2\"}\n"
        "{\"id\":\"second\",\"prompt\":\"The sea\",\"max_tokens\":6,\"temperature\":0,\"model\":\"twin\"}\n"
        "{\"id\":\"broken\",\"prompt\":\"The sea\",\"max_tokens\":6,\"model\":\"broken\"}\n"
        "{\"id\":\"none\",\"prompt\":\"The sea\",\"max_tokens\":6,\"model\":\"none\"}\n";
    static const char *const models[][2] = {{"first", "smollm2"}, {"named", "smollm2"}, {"second", "twin"}};
    cli_run(&rig, batch, "generate", "-m", "smollm2", "-m", twin, "-m", broken, "--batch", "-", NULL);
    cli_assert_status(&rig, 5);
    json_t *lines = cli_json_lines(&rig), *ids = json_object_get(find(lines, "first"), "ids");
    assert_int_equal(json_array_size(lines), 5);
    assert_int_equal(json_array_size(ids), 6);
    for (size_t i = 0; i < 3; i++) {
        json_t *line = find(lines, models[i][0]);
        assert_string_equal(json_string_value(json_object_get(line, "model")), models[i][1]);
        assert_true(json_equal(json_object_get(line, "ids"), ids));
    }
    assert_string_equal(error_code(find(lines, "broken")), "MODEL_NOT_LOADED");
    assert_string_equal(error_code(find(lines, "none")), "MODEL_NOT_LOADED");
    json_t *context = json_object_get(json_object_get(find(lines, "none"), "error"), "context");
    assert_string_equal(json_string_value(json_object_get(context, "model")), "none");
    json_decref(lines);
}

/* The default can't be loaded: then there is no engine. */
static void the_first_must_load(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "generate", "-m", broken, "-m", "smollm2", "-p", "The sea", "-n", "2", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "broken.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_choose),
        cmocka_unit_test(the_first_must_load),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
