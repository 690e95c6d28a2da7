/* What needs no engine: help, usage, configuration, models, devices; and each bad input with its message and status. */
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

static const char *const verbs[] = {"generate", "replay", "demo",    "tokenize", "detokenize", "score",
                                    "bench",    "models", "devices", "cache",    "config"};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

/* The error object that --json prints with statuses 1 to 4. */
static json_t *error_of(void)
{
    json_t *all = cli_json(&rig), *error = json_incref(json_object_get(all, "error"));
    assert_non_null(error);
    assert_true(json_is_string(json_object_get(error, "code")));
    assert_true(json_is_string(json_object_get(error, "message")));
    assert_true(json_is_object(json_object_get(error, "context")));
    assert_true(json_integer_value(json_object_get(error, "timestamp")) > 1600000000000);
    json_decref(all);
    return error;
}

static void assert_context(const char *key, const char *value)
{
    json_t *error = error_of();
    const char *text = json_string_value(json_object_get(json_object_get(error, "context"), key));
    assert_non_null(text);
    assert_string_equal(text, value);
    json_decref(error);
}

static void version_and_help_go_to_standard_output(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "--version", NULL);
    cli_assert_status(&rig, 0);
    assert_memory_equal(rig.r.out, "weft ", 5);
    assert_int_equal(rig.r.err_len, 0);
    cli_run(&rig, NULL, "--help", NULL);
    cli_assert_status(&rig, 0);
    for (int i = 0; i < N_VERBS; i++)
        assert_non_null(strstr(rig.r.out, verbs[i]));
    cli_run(&rig, NULL, "-h", NULL);
    cli_assert_status(&rig, 0);
}

/* Help fits a terminal of 80 columns, and completion and manual know every option that it lists. */
static void every_option_is_in_help_manual_and_completion(void **state)
{
    (void)state;
    static const char *const paths[] = {"docs/weft.1", "scripts/completion/weft.bash",
                                        "scripts/completion/_weft"};
    char *texts[3];
    for (int i = 0; i < 3; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", TEST_SOURCE_DIR, paths[i]);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        texts[i] = calloc(1, 1 << 16);
        assert_true(fread(texts[i], 1, (1 << 16) - 1, f) > 0);
        fclose(f);
    }
    for (int v = -1; v < N_VERBS; v++) {
        if (v < 0)
            cli_run(&rig, NULL, "--help", NULL);
        else
            cli_run(&rig, NULL, verbs[v], "--help", NULL);
        cli_assert_status(&rig, 0);
        for (char *line = strtok(rig.r.out, "\n"); line; line = strtok(NULL, "\n")) {
            size_t columns = 0;
            for (const char *p = line; *p; p++)
                columns += (*p & 0xc0) != 0x80;
            if (columns > 80)
                fail_msg("%zu columns: %s", columns, line);
            char *option =
                strncmp(line, "  -", 3) == 0 || strncmp(line, "      --", 8) == 0 ? strstr(line, "--") : NULL;
            if (!option)
                continue;
            char name[40], escaped[80] = "";
            snprintf(name, sizeof name, "%.*s", (int)strcspn(option, " "), option);
            for (const char *p = name; *p; p++) /* as troff has it */
                strcat(escaped, *p == '-' ? "\\-" : (char[]){*p, 0});
            for (int i = 0; i < 3; i++)
                if (!strstr(texts[i], i == 0 ? escaped : name))
                    fail_msg("%s isn't in %s", name, paths[i]);
        }
    }
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

static void wrong_usage_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[6];
        const char *text;
    } cases[] = {
        {{"frobnicate"}, "unknown command \"frobnicate\""},
        {{"--frobnicate"}, "unknown option --frobnicate"},
        {{"generate", "-z"}, "unknown option -z"},
        {{"generate", "-p"}, "-p needs TEXT"},
        {{"generate", "--temp"}, "--temp needs X"},
        {{"generate", "--json=yes", "-p", "x"}, "--json takes no value"},
        {{"generate"}, "exactly one of"},
        {{"generate", "-p", "a", "--ids", "1"}, "exactly one of"},
        {{"generate", "word"}, "unexpected argument \"word\""},
        {{"generate", "-", "word"}, "unexpected argument \"word\""},
        {{"generate", "-p", "x", "--temp", "hot"}, "\"hot\" is not a number; allowed: 0 … 100"},
        {{"generate", "-p", "x", "--top-p", "0"}, "allowed: above 0 … 1"},
        {{"generate", "-p", "x", "-n", "0"}, "allowed: 1 … 16777216"},
        {{"generate", "-p", "x", "--logprobs", "21"}, "0 … 20"},
        {{"generate", "-p", "x", "--priority", "urgent"}, "critical, high, normal, low"},
        {{"generate", "--batch", "x", "-p", "y"}, "--batch doesn't go with"},
        {{"bench", "--batch", "1,0"}, "batch sizes in 1 … 1024"},
        {{"bench", "--batch", "many"}, "batch sizes in 1 … 1024"},
        {{"bench", "--gen", "1"}, "2 … 1048576"},
        {{"models", "extra"}, "unexpected argument"},
        {{"--sim", "models"}, "don't go with a command"},
        {{"--log-level", "loud", "models"}, "error|warn|info|debug"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_run_with(&rig, &(struct proc_options){0}, cases[i].arguments);
        cli_assert_error(&rig, 2, "USAGE", cases[i].text);
        assert_int_equal(rig.r.out_len, 0);
    }
    cli_run(&rig, NULL, "generate", "--json", NULL);
    cli_assert_error(&rig, 2, "USAGE", "exactly one of");
    json_decref(error_of());
}

static void the_console_needs_a_terminal(void **state)
{
    (void)state;
    cli_run(&rig, NULL, NULL);
    cli_assert_error(&rig, 2, "USAGE", "needs a terminal");
    assert_int_equal(rig.r.out_len, 0);
    cli_run(&rig, NULL, "--sim", "--fresh", NULL);
    cli_assert_error(&rig, 2, "USAGE", "needs a terminal");
    cli_run(&rig, NULL, "--sim", "--resume", NULL);
    cli_assert_error(&rig, 2, "USAGE", "needs a terminal");
    cli_run(&rig, NULL, "--resume", "--fresh", NULL);
    cli_assert_error(&rig, 2, "USAGE", "only one of the two");
}

static void bad_configuration_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char user[] = "kv:\n  blocks: many\n";
    const char *path = cli_file(&rig, "config/weft/weft.yaml", user, sizeof user - 1);
    char place[300];
    snprintf(place, sizeof place, "%s:2: kv.blocks: \"many\" is not a whole number; allowed: 0 … 16777216",
             path);
    cli_run(&rig, NULL, "models", "--json", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", place);
    assert_context("file", path);
    assert_context("key", "kv.blocks");
    assert_context("value", "many");
    assert_context("allowed", "0 … 16777216");
    /* --config is read in its place. */
    static const char other[] = "ui: {fps: 31}\n";
    path = cli_file(&rig, "other.yaml", other, sizeof other - 1);
    cli_run(&rig, NULL, "config", "--print", "--config", path, NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "  fps: 31\n"));
    cli_run(&rig, NULL, "models", "--config", "/nonexistent.yaml", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "/nonexistent.yaml: No such file");
}

static void set_wins_and_is_checked(void **state)
{
    (void)state;
    static const char user[] = "ui: {fps: 31}\nkv: {blocks: 7}\n";
    cli_file(&rig, "config/weft/weft.yaml", user, sizeof user - 1);
    cli_run(&rig, NULL, "--set", "ui.fps=32", "config", "--json", "--device", "gpu", NULL);
    cli_assert_status(&rig, 0);
    json_t *all = cli_json(&rig), *values = json_object_get(all, "values");
    const struct {
        const char *key, *source;
        int line;
    } rows[] = {{"ui.fps", "--set", 0},
                {"kv.blocks", NULL, 2},
                {"device.select", "--device", 0},
                {"ui.mouse", "default", 0}};
    for (size_t i = 0; i < 4; i++) {
        json_t *row = json_object_get(values, rows[i].key);
        if (rows[i].source)
            assert_string_equal(json_string_value(json_object_get(row, "source")), rows[i].source);
        assert_int_equal(json_integer_value(json_object_get(row, "line")), rows[i].line);
    }
    assert_int_equal(json_integer_value(json_object_get(json_object_get(values, "ui.fps"), "value")), 32);
    json_decref(all);
    cli_run(&rig, NULL, "config", "--set", "kv.blcks=1", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "--set: kv.blcks: unknown key; did you mean kv.blocks?");
    cli_run(&rig, NULL, "config", "--set", "scheduler.max_batch_tokens=2", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "2 is below scheduler.max_batch_size, which is 16");
}

static void printed_configuration_can_be_used(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "config", "--set", "session.system='Say: \"yes\"'", "-m", "other one", NULL);
    cli_assert_status(&rig, 0);
    const char *path = cli_file(&rig, "printed.yaml", rig.r.out, rig.r.out_len);
    cli_run(&rig, NULL, "config", "--print", "--config", path, NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "  system: \"Say: \\\"yes\\\"\"\n"));
    assert_non_null(strstr(rig.r.out, "  path: \"other one\"\n"));
    cli_run(&rig, NULL, "config", "--defaults", NULL);
    cli_assert_status(&rig, 0);
    assert_memory_equal(rig.r.out, "# weft", 6);
}

static void models_are_listed(void **state)
{
    (void)state;
    char data[100];
    snprintf(data, sizeof data, "XDG_DATA_HOME=%s/data", rig.dir);
    rig.env[CLI_RIG_ENV] = data;
    cli_file(&rig, "data/weft/models/mine.gguf", "GGUF", 4);
    cli_run(&rig, NULL, "models", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *all = cli_json(&rig), *list = json_object_get(all, "models");
    assert_int_equal(json_array_size(list), 2);
    json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "smollm2");
    assert_string_equal(json_string_value(json_object_get(first, "state")), "missing");
    assert_non_null(strstr(json_string_value(json_object_get(first, "note")), "scripts/setup"));
    assert_string_equal(json_string_value(json_object_get(second, "name")), "mine");
    assert_int_equal(json_integer_value(json_object_get(second, "bytes")), 4);
    json_decref(all);
    cli_run(&rig, NULL, "models", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "missing"));
}

static void missing_and_wrong_models_are_refused(void **state)
{
    (void)state;
    char data[100];
    snprintf(data, sizeof data, "XDG_DATA_HOME=%s/data", rig.dir);
    rig.env[CLI_RIG_ENV] = data;
    cli_run(&rig, "x", "tokenize", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "run scripts/setup");
    cli_run(&rig, "x", "generate", "-p", "x", "-m", "nosuch", "--json", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "unknown model nosuch: neither a known name (smollm2)");
    json_decref(error_of());
    cli_run(&rig, "x", "generate", "-p", "x", "-m", "./none.gguf", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "./none.gguf: No such file");
    cli_run(&rig, "x", "tokenize", "-m", "/tmp", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "directory");

    /* A file of another size, then one of the right size and another hash. */
    const char *path = cli_file(&rig, "data/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf", "GGUF", 4);
    cli_run(&rig, "x", "tokenize", "--json", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "bytes is 4, must be 98362432");
    assert_context("field", "bytes");
    assert_context("path", path);
    assert_int_equal(truncate(path, 98362432), 0);
    cli_run(&rig, "x", "generate", "-p", "x", "--json", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID",
                     "must be b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    assert_context("field", "sha256");
    cli_run(&rig, NULL, "models", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "damaged"));
}

static void corrupt_files_are_refused(void **state)
{
    (void)state;
    static const char *const beginnings[] = {
        "", "GG", "GGUF", "GGUF\3\0\0\0", "not a model at all", "FUGG\0\0\0\3"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        const char *path = cli_file(&rig, "bad.gguf", beginnings[i], i == 3 ? 8 : strlen(beginnings[i]));
        cli_run(&rig, "x", "tokenize", "-m", path, NULL);
        cli_assert_error(&rig, 3, "FILE_INVALID", "bad.gguf");
        cli_run(&rig, "x", "generate", "-p", "x", "-m", path, "--json", NULL);
        cli_assert_status(&rig, 3);
        json_decref(error_of());
    }
}

static void no_opencl_platform_names_the_package(void **state)
{
    (void)state;
    rig.env[CLI_RIG_ENV] = "OCL_ICD_VENDORS=/nonexistent";
    cli_run(&rig, NULL, "devices", "--json", NULL);
    cli_assert_error(&rig, 4, "NO_DEVICE", "pocl-opencl-icd");
    json_t *error = error_of();
    assert_non_null(json_object_get(json_object_get(error, "context"), "hint"));
    json_decref(error);
    cli_run(&rig, NULL, "generate", "-p", "x", NULL);
    cli_assert_error(&rig, 4, "NO_DEVICE", "pocl-opencl-icd");
    /* Text needs no device. */
    cli_run(&rig, "Hello", "tokenize", NULL);
    cli_assert_status(&rig, 0);
}

static void devices_are_listed_with_the_choice(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "devices", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *all = cli_json(&rig), *list = json_object_get(all, "devices"), *d;
    size_t i, chosen = 0;
    assert_true(json_array_size(list) > 0);
    json_array_foreach(list, i, d)
    {
        chosen += json_is_true(json_object_get(d, "chosen"));
        assert_true(json_is_string(json_object_get(d, "name")));
        assert_true(json_is_string(json_object_get(d, "why")));
    }
    assert_int_equal(chosen, 1);
    json_decref(all);
    cli_run(&rig, NULL, "generate", "-p", "x", "--device", "no such device", NULL);
    cli_assert_error(&rig, 4, "NO_DEVICE", "no such device");
}

static void bad_input_files_are_refused(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "tokenize", "-f", "/nonexistent", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "/nonexistent: No such file");
    cli_run(&rig, NULL, "generate", "--batch", "/nonexistent", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "/nonexistent: No such file");
    static const char *const chats[] = {
        "{", "{}", "[]", "[1]", "[{\"role\":\"user\"}]", "[{\"role\":\"user\",\"content\":1}]"};
    for (size_t i = 0; i < sizeof chats / sizeof chats[0]; i++) {
        const char *path = cli_file(&rig, "chat.json", chats[i], strlen(chats[i]));
        cli_run(&rig, NULL, "generate", "--chat", path, "--json", NULL);
        cli_assert_error(&rig, 3, "FILE_INVALID", "chat.json");
        assert_context("path", path);
    }
    cli_run(&rig, "[1,", "detokenize", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "token ids");
    assert_context("field", "ids");
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(version_and_help_go_to_standard_output),
        TEST(every_option_is_in_help_manual_and_completion),
        TEST(wrong_usage_is_refused),
        TEST(the_console_needs_a_terminal),
        TEST(bad_configuration_is_refused_with_its_place),
        TEST(set_wins_and_is_checked),
        TEST(printed_configuration_can_be_used),
        TEST(models_are_listed),
        TEST(missing_and_wrong_models_are_refused),
        TEST(corrupt_files_are_refused),
        TEST(no_opencl_platform_names_the_package),
        TEST(devices_are_listed_with_the_choice),
        TEST(bad_input_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
