/* The configuration: its table, its file, what is refused and how, and the way back to YAML. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/sched/request.h"
#include "src/config.h"
#include "tests/support/err_check.h"

static struct weft_config cfg;
static struct weft_err err;

static int setup(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    return config_init(&cfg, &err);
}

static int teardown(void **state)
{
    (void)state;
    config_deinit(&cfg);
    return 0;
}

static enum weft_rc load(const char *text)
{
    return config_load_text(&cfg, "test.yaml", text, strlen(text), &err);
}

static void assert_refused(const char *text, unsigned line, const char *key, const char *in_message)
{
    assert_int_equal(load(text), WEFT_CONFIG_INVALID);
    assert_int_equal(err.code, WEFT_CONFIG_INVALID);
    if (!strstr(err.message, in_message))
        fail_msg("\"%s\" isn't in: %s", in_message, err.message);
    char place[64];
    snprintf(place, sizeof place, "test.yaml:%u: ", line);
    if (strncmp(err.message, place, strlen(place)) != 0)
        fail_msg("expected \"%s\" at the start of: %s", place, err.message);
    assert_string_equal(err_context(&err, "file")->text, "test.yaml");
    assert_int_equal((int)err_context(&err, "line")->number, line);
    assert_string_equal(err_context(&err, "key")->text, key);
    err_context(&err, "value");
    err_context(&err, "allowed");
    config_deinit(&cfg);
    assert_int_equal(config_init(&cfg, &err), WEFT_OK);
}

static void defaults_are_those_documented(void **state)
{
    (void)state;
    assert_int_equal(cfg.model.path.n, 1);
    assert_string_equal(cfg.model.path.item[0], "smollm2");
    assert_int_equal(cfg.kv.block_tokens, 16);
    assert_true(cfg.scheduler.aging_rate == 0.1);
    assert_int_equal(cfg.scheduler.policy, CONFIG_POLICY_PRIORITY);
    assert_int_equal(cfg.session.priority, PRIO_NORMAL + 1);
    assert_int_equal(cfg.log.level, LOG_INFO);
    assert_int_equal(cfg.sampling.seed, -1);
    assert_true(cfg.queue.reject_when_full);
    assert_string_equal(cfg.session.system, "");
    assert_int_equal(config_check(&cfg, &err), WEFT_OK);
}

/* Each choice's index is the enum that reads it. */
static void choices_match_their_enums(void **state)
{
    (void)state;
    for (int p = PRIO_CRITICAL; p <= PRIO_LOW; p++) {
        static const char *const names[] = {"critical", "high", "normal", "low"};
        assert_string_equal(config_choice("session.priority", p + 1), names[p + 1]);
    }
    for (int l = LOG_ERROR; l <= LOG_DEBUG; l++)
        assert_int_equal(log_level_parse(config_choice("log.level", l)), l);
    assert_string_equal(config_choice("device.precision", CONFIG_PRECISION_INT8), "int8");
    assert_string_equal(config_choice("scheduler.policy", CONFIG_POLICY_FIFO), "fifo");
    assert_string_equal(config_choice("scheduler.preemption", CONFIG_PREEMPTION_OFF), "off");
    assert_string_equal(config_choice("scheduler.preemption", 99), "?");
    assert_string_equal(config_choice("kv.blocks", 0), "?");
}

static void yaml_and_json_set_keys(void **state)
{
    (void)state;
    assert_int_equal(
        load("# a comment\nkv:\n  blocks: 12\n  prefix_cache: false\nsampling: {temperature: 0, top_p: 1}\n"
             "model:\n  path: [a, \"b c\"]\nsession:\n  system: |\n    two\n    lines\nui:\n"),
        WEFT_OK);
    assert_int_equal(cfg.kv.blocks, 12);
    assert_false(cfg.kv.prefix_cache);
    assert_true(cfg.sampling.temperature == 0);
    assert_int_equal(cfg.model.path.n, 2);
    assert_string_equal(cfg.model.path.item[1], "b c");
    assert_string_equal(cfg.session.system, "two\nlines\n");
    assert_int_equal(cfg.origin[0].line, 7);
    assert_string_equal(cfg.sources[cfg.origin[0].source], "test.yaml");

    assert_int_equal(
        load("{\"kv\": {\"blocks\": 13}, \"ui\": {\"mouse\": true}, \"model\": {\"path\": \"x\"}}"), WEFT_OK);
    assert_int_equal(cfg.kv.blocks, 13);
    assert_true(cfg.ui.mouse);
    assert_int_equal(cfg.model.path.n, 1);
    assert_int_equal(load("scheduler.policy: fifo\nkv.blocks: 14\n"), WEFT_OK);
    assert_int_equal(cfg.scheduler.policy, CONFIG_POLICY_FIFO);
    assert_int_equal(cfg.kv.blocks, 14);
    assert_int_equal(load(""), WEFT_OK);
    assert_int_equal(load("# nothing\n---\n"), WEFT_OK);
}

static void quoted_and_plain_words_are_equal(void **state)
{
    (void)state;
    assert_int_equal(load("kv: {blocks: \"12\", prefix_cache: 'false'}\n\"ui\": {'fps': '7'}"), WEFT_OK);
    assert_int_equal(cfg.kv.blocks, 12);
    assert_false(cfg.kv.prefix_cache);
    assert_int_equal(cfg.ui.fps, 7);
    assert_int_equal(load("device: {select: 0}\nsession: {system: true}"), WEFT_OK);
    assert_string_equal(cfg.device.select, "0");
    assert_string_equal(cfg.session.system, "true");
}

static void only_true_and_false_are_booleans(void **state)
{
    (void)state;
    static const char *const words[] = {"yes", "no", "on", "off", "True", "FALSE", "1", "0", "~", "\"\""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "\nkv:\n  prefix_cache: %s\n", words[i]);
        assert_refused(text, 3, "kv.prefix_cache", "allowed: true or false");
    }
}

static void refusals_name_file_line_key_and_range(void **state)
{
    (void)state;
    assert_refused("kv:\n  blocks: many\n", 2, "kv.blocks",
                   "\"many\" is not a whole number; allowed: 0 … 16777216");
    assert_refused("kv:\n\n  block_tokens: 257\n", 3, "kv.block_tokens", "out of range; allowed: 1 … 256");
    assert_refused("kv: {blocks: -1}", 1, "kv.blocks", "out of range");
    assert_refused("kv: {blocks: 99999999999999999999}", 1, "kv.blocks", "out of range");
    assert_refused("kv: {blocks: 1.5}", 1, "kv.blocks", "not a whole number");
    assert_refused("kv: {blocks: 0x10}", 1, "kv.blocks", "not a whole number");
    assert_refused("kv: {blocks: }", 1, "kv.blocks", "not a whole number");
    assert_refused("kv: {blocks: [1]}", 1, "kv.blocks", "a list where one value is needed");
    assert_refused("kv: {blocks: {a: 1}}", 1, "kv.blocks", "a mapping where one value");
    assert_refused("sampling:\n  top_p: 0", 2, "sampling.top_p", "allowed: above 0 … 1");
    assert_refused("sampling: {temperature: .nan}", 1, "sampling.temperature", "not a number");
    assert_refused("sampling: {temperature: inf}", 1, "sampling.temperature", "not a number");
    assert_refused("sampling: {temperature: 1e999}", 1, "sampling.temperature", "out of range");
    assert_refused("scheduler: {policy: lifo}", 1, "scheduler.policy", "allowed: priority|fifo");
    assert_refused("queue: {max_depth: 10000001}", 1, "queue.max_depth", "1 … 10000000");
    assert_refused("queue: {max_depth: 0}", 1, "queue.max_depth", "1 … 10000000");
    assert_refused("device:\n  select: \"\"", 2, "device.select", "is empty");
    assert_refused("model: {path: []}", 1, "model.path", "empty list");
    assert_refused("model: {path: [a, [b]]}", 1, "model.path", "a word is needed");
    assert_refused("model: {path: [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", 1, "model.path",
                   "one too many");
    assert_refused("session: {system: \"a\\0b\"}", 1, "session.system", "NUL");
}

static void unknown_keys_are_refused_with_a_hint(void **state)
{
    (void)state;
    assert_refused("ui:\n  fps: 3\nkv:\n  blcks: 3\n", 4, "kv.blcks", "did you mean kv.blocks?");
    assert_refused("kvv: {blocks: 3}", 1, "kvv", "unknown key; allowed: model, device, kv,");
    assert_refused("kv:\n  zebra: 3\n", 2, "kv.zebra", "allowed: blocks, block_tokens, memory_mb");
    assert_refused("? [a]\n: 3\n", 1, "", "not a key");
    assert_refused("kv: 3", 1, "kv", "a section needs keys");
    assert_refused("- kv\n", 1, "", "a configuration is a mapping");
    char deep[700] = "a";
    for (int i = 0; i < 150; i++)
        strcat(deep, "bcd.");
    strcat(deep, ": 1");
    assert_int_equal(load(deep), WEFT_CONFIG_INVALID);
}

static void duplicates_are_refused(void **state)
{
    (void)state;
    assert_refused("kv:\n  blocks: 1\n  blocks: 1\n", 3, "kv.blocks", "set twice; first in line 2");
    assert_refused("kv: {blocks: 1}\nui: {fps: 3}\nkv: {park_mb: 1}\n", 3, "kv",
                   "set twice; first in line 1");
    assert_refused("kv: {blocks: 1}\nkv.blocks: 2\n", 2, "kv.blocks", "set twice");
}

static void what_is_not_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    assert_refused("kv:\n  blocks: 1\n bad\n", 3, "", "not YAML");
    assert_refused("kv: {blocks: 1\n", 2, "", "not YAML");
    assert_refused("kv: {blocks: 1}\n---\nkv: {blocks: 2}\n", 3, "", "a second document");
    assert_refused("kv: *nothing\n", 1, "", "not YAML");
    assert_int_equal(config_load_text(&cfg, "x", "\xff\xfe\xfd", 3, &err), WEFT_CONFIG_INVALID);
    assert_int_equal(config_load_text(&cfg, "x", "kv:\0", 4, &err), WEFT_CONFIG_INVALID);
}

/* Whatever bytes come, parsing ends with a verdict (run under the sanitizers). */
static void hostile_bytes_end_with_a_verdict(void **state)
{
    (void)state;
    static const char alphabet[] = "kv: blocks\n{}[],&*!|>'\"%@`#-?12 \t\x80\xc3\xa9~";
    uint64_t x = 88172645463325252ull;
    for (int round = 0; round < 3000; round++) {
        char text[64];
        size_t n = 0;
        for (; n < sizeof text; n++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            text[n] = alphabet[x % (sizeof alphabet - 1)];
        }
        enum weft_rc rc = config_load_text(&cfg, "fuzz", text, n, &err);
        assert_true(rc == WEFT_OK || rc == WEFT_CONFIG_INVALID);
    }
    char *deep = malloc(200000);
    memset(deep, '[', 200000);
    assert_int_equal(config_load_text(&cfg, "deep", deep, 200000, &err), WEFT_CONFIG_INVALID);
    free(deep);
}

static void set_takes_inline_yaml(void **state)
{
    (void)state;
    assert_int_equal(config_set(&cfg, "scheduler.max_batch_size=4", &err), WEFT_OK);
    assert_int_equal(cfg.scheduler.max_batch_size, 4);
    assert_int_equal(config_set(&cfg, "model.path=[a, 'b=c']", &err), WEFT_OK);
    assert_string_equal(cfg.model.path.item[1], "b=c");
    assert_int_equal(config_set(&cfg, "kv={blocks: 3, park_mb: 0}", &err), WEFT_OK);
    assert_int_equal(cfg.kv.blocks, 3);
    assert_int_equal(config_set(&cfg, "session.system=", &err), WEFT_OK);
    assert_int_equal(config_set(&cfg, "kv.prefix_cache='false'", &err), WEFT_OK);
    assert_false(cfg.kv.prefix_cache);
    static const char *const bad[] = {
        "kv.blocks", "=3",          "kv.blocks=x",     "kv.blocks=",          "kv=3", "kv=",
        "zebra.a=3", "kv.blocks=[", "kv={blocks: -1}", "kv.prefix_cache=yes", "",     "kv={a: b: c}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (config_set(&cfg, bad[i], &err) != WEFT_CONFIG_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_string_equal(err_context(&err, "file")->text, "--set");
        assert_int_equal((int)err_context(&err, "line")->number, 0);
        assert_ptr_equal(strstr(err.message, "--set: "), err.message);
    }
}

static void options_append_to_lists_and_replace_what_files_said(void **state)
{
    (void)state;
    assert_int_equal(load("model: {path: [x, y]}"), WEFT_OK);
    assert_int_equal(config_set_word(&cfg, "model.path", "a: b", "--model", &err), WEFT_OK);
    assert_int_equal(config_set_word(&cfg, "model.path", "c", "--model", &err), WEFT_OK);
    assert_int_equal(cfg.model.path.n, 2);
    assert_string_equal(cfg.model.path.item[0], "a: b");
    assert_int_equal(config_set_word(&cfg, "sampling.temperature", "hot", "--temp", &err),
                     WEFT_CONFIG_INVALID);
    assert_string_equal(err.message,
                        "--temp: sampling.temperature: \"hot\" is not a number; allowed: 0 … 100");
}

static void limits_between_keys_hold(void **state)
{
    (void)state;
    assert_int_equal(load("scheduler:\n  max_batch_size: 300\n"), WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_CONFIG_INVALID);
    assert_string_equal(err_context(&err, "key")->text, "scheduler.max_batch_size");
    assert_int_equal((int)err_context(&err, "line")->number, 2);
    assert_string_equal(err_context(&err, "allowed")->text, "at most scheduler.max_batch_tokens");
    assert_int_equal(config_set(&cfg, "scheduler.max_batch_tokens=300", &err), WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_OK);
    assert_int_equal(config_set(&cfg, "scheduler.max_batch_tokens=299", &err), WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_CONFIG_INVALID);
    assert_string_equal(err_context(&err, "key")->text, "scheduler.max_batch_tokens");
    assert_int_equal(config_set(&cfg, "scheduler={max_batch_tokens: 300, max_batch_size: 2}", &err), WEFT_OK);
    assert_int_equal(config_set(&cfg, "batching.min_batch_size=3", &err), WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_CONFIG_INVALID);
    assert_int_equal(config_set(&cfg, "batching.min_batch_size=1", &err), WEFT_OK);
    assert_int_equal(config_set(&cfg, "resources={max_memory_mb: 2000, critical_memory_mb: 1000}", &err),
                     WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_CONFIG_INVALID);
    assert_int_equal(config_set(&cfg, "resources.critical_memory_mb=0", &err), WEFT_OK);
    assert_int_equal(config_check(&cfg, &err), WEFT_OK);
}

static void printed_configuration_reads_back(void **state)
{
    (void)state;
    assert_int_equal(
        load("model: {path: [\"a b\", 'c: d', \"# e\"]}\nsampling: {temperature: 0.1234567890123456789}\n"
             "session: {system: \"tab\\t \\\"quote\\\" back\\\\slash\\nline \\u2028 \\x9b \\U0001F600 "
             "true\"}\n"
             "kv: {blocks: 16777216}\nsim: {step_us: 1e-7}\n"),
        WEFT_OK);
    for (int origins = 0; origins < 2; origins++) {
        struct buf first = BUF_INIT, second = BUF_INIT;
        config_print(&cfg, origins, &first);
        assert_false(first.failed);
        struct weft_config copy;
        assert_int_equal(config_init(&copy, &err), WEFT_OK);
        if (config_load_text(&copy, "printed", first.data, first.len, &err))
            fail_msg("%s in:\n%s", err.message, first.data);
        assert_string_equal(copy.session.system, cfg.session.system);
        assert_true(copy.sampling.temperature == cfg.sampling.temperature);
        assert_true(copy.sim.step_us == cfg.sim.step_us);
        buf_clear(&first);
        config_print(&cfg, false, &first);
        config_print(&copy, false, &second);
        assert_string_equal(first.data, second.data);
        config_deinit(&copy);
        buf_free(&first);
        buf_free(&second);
    }
}

/* The file says what the table says: every key, its value, its range, and when a change acts. */
static void default_file_agrees_with_the_table(void **state)
{
    (void)state;
    const char *text = config_default_text();
    assert_int_equal(config_load_text(&cfg, "weft.yaml", text, strlen(text), &err), WEFT_OK);
    size_t n;
    const struct config_key *keys = config_keys(&n);
    struct weft_config plain;
    assert_int_equal(config_init(&plain, &err), WEFT_OK);
    struct buf from_file = BUF_INIT, from_table = BUF_INIT;
    config_print(&cfg, false, &from_file);
    config_print(&plain, false, &from_table);
    assert_string_equal(from_file.data, from_table.data);
    buf_free(&from_file);
    buf_free(&from_table);
    config_deinit(&plain);

    unsigned last = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned line = cfg.origin[i].line;
        assert_true(line > last); /* each key is there, in the table's order */
        const char *from = text, *to;
        for (unsigned l = 1; l <= last; l++)
            from = strchr(from, '\n') + 1;
        to = from;
        for (unsigned l = last + 1; l < line; l++)
            to = strchr(to, '\n') + 1;
        char *comment = mem_memdup(from, (size_t)(to - from)), allowed[256], range[300];
        config_allowed(&keys[i], allowed, sizeof allowed);
        snprintf(range, sizeof range, "[%s] %s\n", allowed, keys[i].live ? "live" : "restart");
        if (!strstr(comment, range))
            fail_msg("%s: \"%s\" isn't in its comment:\n%s", keys[i].path, range, comment);
        mem_free(comment);
        last = line;
    }
}

static void files_are_read_or_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/weft-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "kv: {blocks: 5}\n", 16), 16);
    assert_int_equal(config_load_file(&cfg, path, &err), WEFT_OK);
    assert_int_equal(cfg.kv.blocks, 5);
    assert_int_equal(ftruncate(fd, CONFIG_FILE_LIMIT + 1), 0);
    assert_int_equal(config_load_file(&cfg, path, &err), WEFT_CONFIG_INVALID);
    assert_non_null(strstr(err.message, "1 MiB"));
    close(fd);
    unlink(path);
    assert_int_equal(config_load_file(&cfg, path, &err), WEFT_CONFIG_INVALID);
    assert_string_equal(err_context(&err, "file")->text, path);
    assert_non_null(strstr(err.message, "No such file"));
    assert_int_equal(config_load_file(&cfg, "/", &err), WEFT_CONFIG_INVALID);
    assert_non_null(strstr(err.message, "directory"));
}

/* Each allocation fails once: an error, no leak (run under the address sanitizer). */
static void failed_allocations_are_reported(void **state)
{
    (void)state;
    config_deinit(&cfg);
    for (size_t n = 1; n < 60; n++) {
        mem_fail_at(n);
        enum weft_rc rc = config_init(&cfg, &err);
        if (rc == WEFT_OK)
            rc = load("model: {path: [a, b]}\nsession: {system: c}");
        mem_fail_at(0);
        assert_true(rc == WEFT_OK || rc == WEFT_INTERNAL_ERROR);
        config_deinit(&cfg);
    }
    assert_int_equal(config_init(&cfg, &err), WEFT_OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_documented),
        TEST(choices_match_their_enums),
        TEST(yaml_and_json_set_keys),
        TEST(quoted_and_plain_words_are_equal),
        TEST(only_true_and_false_are_booleans),
        TEST(refusals_name_file_line_key_and_range),
        TEST(unknown_keys_are_refused_with_a_hint),
        TEST(duplicates_are_refused),
        TEST(what_is_not_yaml_is_refused_with_its_line),
        TEST(hostile_bytes_end_with_a_verdict),
        TEST(set_takes_inline_yaml),
        TEST(options_append_to_lists_and_replace_what_files_said),
        TEST(limits_between_keys_hold),
        TEST(printed_configuration_reads_back),
        TEST(default_file_agrees_with_the_table),
        TEST(files_are_read_or_refused),
        TEST(failed_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
