/* Workload files: what they say, what they become, and each way in which they can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "src/workload.h"
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

static struct workload *parse(const char *text)
{
    struct workload *w = NULL;
    if (workload_parse("dir/test.yaml", text, strlen(text), &w, &err))
        fail_msg("%s", err.message);
    return w;
}

static struct workload *expand(const char *text)
{
    struct workload *w = parse(text);
    if (workload_expand(w, 1, &cfg, &err))
        fail_msg("%s", err.message);
    return w;
}

static const struct workload_request *request(const struct workload *w, const char *id)
{
    long i = workload_find(w, id);
    if (i < 0)
        fail_msg("no request %s", id);
    return &w->requests[i];
}

/* ---- what is read ---- */

static void every_key_of_an_entry(void **state)
{
    (void)state;
    struct workload *w =
        parse("name: all\n"
              "seed: 9007199254740991\n"
              "requests:\n"
              "  - id: a\n"
              "    repeat: 3\n"
              "    at_ms: 1.5\n"
              "    every_ms: \"20\"\n"
              "    priority: low\n"
              "    prompt_tokens: {min: 4, max: 8}\n"
              "    max_tokens: 7\n"
              "    prefix: book\n"
              "    prefix_tokens: 32\n"
              "    model: other\n"
              "    salt: mine\n"
              "    stream: false\n"
              "    preemptible: false\n"
              "    timeout_ms: 900\n"
              "    ignore_eos: false\n"
              "    temperature: 0.25\n"
              "    top_p: 0.5\n"
              "    frequency_penalty: -1.5\n"
              "    seed: 9223372036854775807\n"
              "    fork_of: other\n"
              "    cancel_at_ms: 500\n"
              "    set_priority: {at_ms: 100, to: critical}\n"
              "  - {text: \"Hello\"}\n"
              "  - {messages: [{role: system, content: \"\"}, {role: user, content: Hi}]}\n");
    assert_string_equal(w->name, "all");
    assert_true(w->seed == 9007199254740991);
    assert_int_equal(w->n_entries, 3);
    const struct workload_entry *e = &w->entries[0];
    assert_string_equal(e->id, "a");
    assert_int_equal(e->line, 4);
    assert_true(e->numbered);
    assert_int_equal(e->repeat, 3);
    assert_int_equal(e->at_us, 1500);
    assert_int_equal(e->every_us, 20000);
    assert_true(e->weight[PRIO_LOW + 1] > 0 && e->weight[PRIO_NORMAL + 1] <= 0);
    assert_int_equal(e->kind, WORKLOAD_IDS);
    assert_int_equal(e->prompt_tokens.min, 4);
    assert_int_equal(e->prompt_tokens.max, 8);
    assert_int_equal(e->max_tokens.min, 7);
    assert_int_equal(e->max_tokens.max, 7);
    assert_string_equal(e->prefix, "book");
    assert_int_equal(e->prefix_tokens, 32);
    assert_string_equal(e->model, "other");
    assert_string_equal(e->salt, "mine");
    assert_false(e->stream || e->preemptible || e->ignore_eos);
    assert_int_equal(e->timeout_ms, 900);
    const struct sampling base = SAMPLING_DEFAULT;
    struct workload_request r = {.entry = e, .sampling_seed = 17};
    struct sampling sampling = workload_sampling(&r, &base);
    assert_true(sampling.temperature == 0.25 && sampling.top_p == 0.5 && sampling.frequency_penalty == -1.5);
    assert_true(sampling.top_k == base.top_k && sampling.min_p == base.min_p); /* of which it says nothing */
    assert_true(sampling.seed == 17 && e->sampling.seed == INT64_MAX);
    assert_string_equal(e->fork_of, "other");
    assert_int_equal(e->cancel_at_us, 500000);
    assert_int_equal(e->n_priorities, 1);
    assert_int_equal(e->priorities[0].at_us, 100000);
    assert_int_equal(e->priorities[0].to, PRIO_CRITICAL);

    e = &w->entries[1]; /* and what holds where nothing is said */
    assert_string_equal(e->id, "r2");
    assert_int_equal(e->kind, WORKLOAD_TEXT);
    assert_string_equal(e->text, "Hello");
    assert_true(e->stream && e->preemptible && e->ignore_eos && !e->numbered);
    assert_true(e->weight[PRIO_NORMAL + 1] > 0);
    r.entry = e;
    assert_true(workload_sampling(&r, &base).temperature <= 0); /* greedy, whatever the configuration says */
    assert_true(e->sampling.seed == -1 && !e->fork_of);
    assert_true(e->cancel_at_us == -1 && !e->n_priorities && e->at_us == 0 && e->repeat == 1);
    e = &w->entries[2];
    assert_int_equal(e->kind, WORKLOAD_CHAT);
    assert_int_equal(e->n_messages, 2);
    assert_string_equal(e->messages[0].role, "system");
    assert_int_equal(e->messages[0].content_len, 0);
    assert_string_equal(e->messages[1].content, "Hi");
    workload_destroy(w);
}

static void defaults_of_the_file(void **state)
{
    (void)state;
    struct workload *w = parse("requests: [{prompt_tokens: 4, stream: false}]");
    assert_string_equal(w->name, "test"); /* dir/test.yaml */
    assert_int_equal(w->seed, 0);
    assert_true(w->entries[0].weight[PRIO_HIGH + 1] > 0); /* buffered: high */
    assert_int_equal(workload_configure(w, &cfg, &err), WEFT_OK);
    assert_int_equal(workload_expand(w, 1, &cfg, &err), WEFT_OK);
    assert_int_equal(w->requests[0].max_tokens, cfg.sampling.max_tokens);
    workload_destroy(w);
}

static void json_is_valid_input(void **state)
{
    (void)state;
    struct workload *w = parse(
        "{\n\t\"name\": \"j\", \"requests\": [{\"id\": \"a\", \"prompt_tokens\": 3, \"stream\": true},\n"
        "  {\"id\": \"b\", \"text\": \"\\ud83d\\ude00 \\u00e9 \\\\ud83d \\/\"}]}");
    assert_int_equal(w->n_entries, 2);
    assert_string_equal(w->entries[1].text, "\xf0\x9f\x98\x80 \xc3\xa9 \\ud83d /");
    workload_destroy(w);
}

static void settings_go_to_the_configuration(void **state)
{
    (void)state;
    struct workload *w = parse("set: {scheduler.max_batch_size: 8, kv: {blocks: 256}}\n"
                               "requests: [{prompt_tokens: 4}]\n");
    assert_int_equal(workload_configure(w, &cfg, &err), WEFT_OK);
    assert_int_equal(cfg.scheduler.max_batch_size, 8);
    assert_int_equal(cfg.kv.blocks, 256);
    workload_destroy(w);
}

static void wrong_settings_are_refused_with_their_line(void **state)
{
    (void)state;
    struct workload *w = parse("requests: [{prompt_tokens: 4}]\n"
                               "set:\n"
                               "  kv.blocks: 256\n"
                               "  scheduler.max_batch_size: many\n");
    assert_int_equal(workload_configure(w, &cfg, &err), WEFT_CONFIG_INVALID);
    assert_string_equal(err_context(&err, "file")->text, "dir/test.yaml");
    assert_int_equal((int)err_context(&err, "line")->number, 4);
    assert_string_equal(err_context(&err, "key")->text, "scheduler.max_batch_size");
    assert_string_equal(err_context(&err, "value")->text, "many");
    workload_destroy(w);
}

static void memory_is_kept_in_order_of_time(void **state)
{
    (void)state;
    struct workload *w = parse("memory: [{at_ms: 50, mb: 1}, {at_ms: 10, mb: 2}, {at_ms: 50, mb: 3}]\n"
                               "requests: [{prompt_tokens: 4}]\n");
    assert_int_equal(w->n_memory, 3);
    assert_int_equal(w->memory[0].at_us, 10000);
    assert_true(w->memory[1].mb < 1.5 && w->memory[2].mb > 2.5);
    workload_destroy(w);
}

static void captions_are_kept_in_order_of_time(void **state)
{
    (void)state;
    struct workload *w = NULL;
    const char text[] = "captions: [{at_ms: 400, text: last, show: r1}, {at_ms: 100, text: ''}, {at_ms: 400, "
                        "text: \"a\\nb\"}]\n"
                        "requests: [{prompt_tokens: 4}]\n";
    assert_int_equal(workload_parse("test.yaml", text, strlen(text), &w, &err), WEFT_OK);
    assert_int_equal(workload_expand(w, 0.5, &cfg, &err), WEFT_OK);
    assert_int_equal(w->n_captions, 3);
    assert_int_equal(w->captions[0].at_us, 50000);
    assert_string_equal(w->captions[0].text, "");
    assert_null(w->captions[0].show);
    assert_string_equal(w->captions[1].text, "last");
    assert_string_equal(w->captions[1].show, "r1");
    assert_int_equal(w->captions[2].at_us, 200000);
    assert_string_equal(w->captions[2].text, "a\nb");
    workload_destroy(w);
}

/* ---- what is refused ---- */

/* Each with the line, the key that is named, and a word of the message. */
static const struct refusal {
    const char *text;
    unsigned line;
    const char *key, *says;
} refusals[] = {
    {"requests: []", 1, "requests", "empty list"},
    {"name: x\n", 1, "requests", "is missing"},
    {"[1, 2]", 1, "", "no mapping"},
    {"just words", 1, "", "no mapping"},
    {"requests: 5", 1, "requests", "no list"},
    {"requests: [5]", 1, "requests[0]", "no mapping"},
    {"sed: 1\nrequests: [{prompt_tokens: 4}]", 1, "sed", "unknown key"},
    {"seed: -1\nrequests: [{prompt_tokens: 4}]", 1, "seed", "out of range"},
    {"seed: 1.5\nrequests: [{prompt_tokens: 4}]", 1, "seed", "not a whole number"},
    {"seed: 1\nseed: 2\nrequests: [{prompt_tokens: 4}]", 2, "seed", "twice"},
    {"name: [a]\nrequests: [{prompt_tokens: 4}]", 1, "name", "a list where one value"},
    {"memory: {at_ms: 1, mb: 2}\nrequests: [{prompt_tokens: 4}]", 1, "memory", "no list"},
    {"memory: [{at_ms: 1}]\nrequests: [{prompt_tokens: 4}]", 1, "memory[0].mb", "is missing"},
    {"memory: [{at_ms: 1, mb: -2}]\nrequests: [{prompt_tokens: 4}]", 1, "memory[0].mb", "out of range"},
    {"captions: 4\nrequests: [{prompt_tokens: 4}]", 1, "captions", "no list"},
    {"captions: [{text: a}]\nrequests: [{prompt_tokens: 4}]", 1, "captions[0].at_ms", "is missing"},
    {"captions: [{at_ms: 1}]\nrequests: [{prompt_tokens: 4}]", 1, "captions[0].text", "is missing"},
    {"captions: [{at_ms: 1, txt: a}]\nrequests: [{prompt_tokens: 4}]", 1, "captions[0].txt", "unknown key"},
    {"requests:\n  - prompt_tokens: 4\n    promt: 4\n", 3, "requests[0].promt", "unknown key"},
    {"requests:\n  - {prompt_tokens: 4}\n  - {prompt_tokens: 4, id: \"\"}\n", 3, "requests[1].id",
     "is empty"},
    {"requests: [{prompt_tokens: 4, id: a b}]", 1, "requests[0].id", "spaces"},
    {"requests: [{prompt_tokens: 4, id: \"a\\nb\"}]", 1, "requests[0].id", "control"},
    {"requests: [{prompt_tokens: 4, id: 0123456789012345678901234567890123456789012345678901234567890}]", 1,
     "requests[0].id", "too long"},
    {"requests: [{id: a}]", 1, "requests[0]", "no prompt"},
    {"requests: [{prompt_tokens: 0}]", 1, "requests[0].prompt_tokens", "no prompt"},
    {"requests: [{prompt_tokens: 99999999}]", 1, "requests[0].prompt_tokens", "out of range"},
    {"requests: [{prompt_tokens: four}]", 1, "requests[0].prompt_tokens", "not a whole number"},
    {"requests: [{prompt_tokens: 0x10}]", 1, "requests[0].prompt_tokens", "not a whole number"},
    {"requests: [{prompt_tokens: {min: 9, max: 4}}]", 1, "requests[0].prompt_tokens", "min is above"},
    {"requests: [{prompt_tokens: {min: 9}}]", 1, "requests[0].prompt_tokens.max", "is missing"},
    {"requests: [{prompt_tokens: {min: 1, max: 2, mean: 3}}]", 1, "requests[0].prompt_tokens.mean",
     "unknown"},
    {"requests: [{prompt_tokens: 4, max_tokens: 0}]", 1, "requests[0].max_tokens", "out of range"},
    {"requests: [{prompt_tokens: 4, text: x}]", 1, "requests[0].text", "both given"},
    {"requests: [{prompt_tokens: 4, messages: [{role: user, content: x}]}]", 1, "requests[0].messages",
     "both given"},
    {"requests: [{text: x, messages: [{role: user, content: x}]}]", 1, "requests[0].messages", "both given"},
    {"requests: [{text: \"\"}]", 1, "requests[0].text", "is empty"},
    {"requests: [{messages: []}]", 1, "requests[0].messages", "empty list"},
    {"requests: [{messages: [{role: boss, content: x}]}]", 1, "requests[0].messages[0].role", "no role"},
    {"requests: [{messages: [{role: user}]}]", 1, "requests[0].messages[0].content", "is missing"},
    {"requests: [{prompt_tokens: 4, priority: urgent}]", 1, "requests[0].priority", "no priority"},
    {"requests: [{prompt_tokens: 4, priority: {high: 0}}]", 1, "requests[0].priority", "weights are 0"},
    {"requests: [{prompt_tokens: 4, priority: {top: 1}}]", 1, "requests[0].priority.top", "unknown"},
    {"requests: [{prompt_tokens: 4, priority: {high: -1}}]", 1, "requests[0].priority.high", "out of range"},
    {"requests: [{prompt_tokens: 4, stream: yes}]", 1, "requests[0].stream", "neither true nor false"},
    {"requests: [{prompt_tokens: 4, stream: 1}]", 1, "requests[0].stream", "neither true nor false"},
    {"requests: [{prompt_tokens: 4, at_ms: -1}]", 1, "requests[0].at_ms", "out of range"},
    {"requests: [{prompt_tokens: 4, at_ms: nan}]", 1, "requests[0].at_ms", "not a number"},
    {"requests: [{prompt_tokens: 4, at_ms: 1 s}]", 1, "requests[0].at_ms", "not a number"},
    {"requests: [{prompt_tokens: 4, every_ms: 5}]", 1, "requests[0].every_ms", "without repeat"},
    {"requests: [{prompt_tokens: 4, repeat: 0}]", 1, "requests[0].repeat", "out of range"},
    {"requests: [{prompt_tokens: 4, repeat: 2, arrivals: {rate_per_s: 1, until_ms: 5}}]", 1,
     "requests[0].arrivals", "not with both"},
    {"requests: [{prompt_tokens: 4, arrivals: {rate_per_s: 0, until_ms: 5}}]", 1,
     "requests[0].arrivals.rate_per_s", "out of range"},
    {"requests: [{prompt_tokens: 4, arrivals: {rate_per_s: 1}}]", 1, "requests[0].arrivals.until_ms",
     "is missing"},
    {"requests: [{prompt_tokens: 4, at_ms: 9, arrivals: {rate_per_s: 1, until_ms: 5}}]", 1,
     "requests[0].arrivals.until_ms", "before the request"},
    {"requests: [{prompt_tokens: 4, at_ms: 9, cancel_at_ms: 5}]", 1, "requests[0].cancel_at_ms",
     "before the request"},
    {"requests: [{prompt_tokens: 4, set_priority: {at_ms: 5}}]", 1, "requests[0].set_priority.to",
     "is missing"},
    {"requests: [{prompt_tokens: 4, set_priority: high}]", 1, "requests[0].set_priority", "no mapping"},
    {"requests: [{prompt_tokens: 4, set_priority: []}]", 1, "requests[0].set_priority", "empty list"},
    {"requests: [{prompt_tokens: 4, set_priority: [{at_ms: 5, to: low}, {at_ms: 6, to: 3}]}]", 1,
     "requests[0].set_priority[1].to", "no priority"},
    {"requests: [{prompt_tokens: 4, at_ms: 9, set_priority: [{at_ms: 9, to: low}, {at_ms: 8, to: low}]}]", 1,
     "requests[0].set_priority.at_ms", "before the request"},
    {"requests: [{ids: []}]", 1, "requests[0].ids", "empty list"},
    {"requests: [{ids: 4}]", 1, "requests[0].ids", "no list"},
    {"requests: [{ids: [4, -1]}]", 1, "requests[0].ids[1]", "out of range"},
    {"requests: [{ids: [4], prompt_tokens: 4}]", 1, "requests[0].ids", "both given"},
    {"requests: [{ids: [4], text: x}]", 1, "requests[0].text", "both given"},
    {"requests: [{ids: [4], messages: [{role: user, content: x}]}]", 1, "requests[0].messages", "both given"},
    {"requests: [{ids: [4], prefix: a, prefix_tokens: 4}]", 1, "requests[0].prefix", "before prompt_tokens"},
    {"requests: [{prompt_tokens: 4, seed: -1}]", 1, "requests[0].seed", "no seed"},
    {"requests: [{prompt_tokens: 4, seed: 9223372036854775808}]", 1, "requests[0].seed", "no seed"},
    {"requests: [{prompt_tokens: 4, top_p: 0}]", 1, "requests[0].top_p", "out of range"},
    {"requests: [{prompt_tokens: 4, presence_penalty: 3}]", 1, "requests[0].presence_penalty",
     "out of range"},
    {"requests: [{prompt_tokens: 4, fork_of: \"\"}]", 1, "requests[0].fork_of", "is empty"},
    {"requests: [{prompt_tokens: 4, prefix: a}]", 1, "requests[0].prefix", "without prefix_tokens"},
    {"requests: [{prompt_tokens: 4, prefix_tokens: 4}]", 1, "requests[0].prefix_tokens", "without prefix"},
    {"requests: [{text: x, prefix: a, prefix_tokens: 4}]", 1, "requests[0].prefix", "before prompt_tokens"},
    {"requests: [{prompt_tokens: 4, temperature: hot}]", 1, "requests[0].temperature", "not a number"},
    {"requests: [{prompt_tokens: 4, timeout_ms: 1.5}]", 1, "requests[0].timeout_ms", "not a whole number"},
    {"requests: [{prompt_tokens: 4, model: \"\"}]", 1, "requests[0].model", "is empty"},
    {"requests: [{prompt_tokens: 4, preemptible: [true]}]", 1, "requests[0].preemptible", "a list where"},
    {"requests: [{prompt_tokens: 4, [a]: 1}]", 1, "requests[0].?", "unknown key"},
};

static void malformed_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        struct workload *w = NULL;
        memset(&err, 0, sizeof err);
        enum weft_rc rc = workload_parse("test.yaml", r->text, strlen(r->text), &w, &err);
        if (rc != WEFT_CONFIG_INVALID || err.code != rc || w)
            fail_msg("%s: %s %s", r->text, weft_rc_name(rc), err.message);
        if (!strstr(err.message, r->says))
            fail_msg("%s: \"%s\" isn't in: %s", r->text, r->says, err.message);
        if (strcmp(err_context(&err, "key")->text, r->key) != 0 ||
            (unsigned)err_context(&err, "line")->number != r->line)
            fail_msg("%s: key %s, line %g", r->text, err_context(&err, "key")->text,
                     err_context(&err, "line")->number);
        assert_string_equal(err_context(&err, "file")->text, "test.yaml");
        assert_false(err_context(&err, "value")->key == NULL);
        assert_true(strlen(err_context(&err, "allowed")->text) > 0);
        assert_memory_equal(err.message, "test.yaml:", 10);
    }
}

static void what_is_no_yaml_is_an_invalid_file(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n; /* 0: strlen */
        unsigned line;
    } cases[] = {
        {"requests: [", 0, 2}, /* where it ends */
        {"name: x\n  bad: indent\n", 0, 2},
        {"", 0, 1},
        {"# only a comment\n", 0, 1},
        {"requests: [{prompt_tokens: 4}]\n---\nname: second\n", 0, 3},
        {"requests: *nowhere\n", 0, 1},
        {"name: \"a\0b\"\n", 11, 1},
        {"\xff\xfe\xff", 0, 1},
        {"name: x\nrequests: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0,
         2}, /* too deep to be read safely */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct workload *w = NULL;
        size_t n = cases[i].n ? cases[i].n : strlen(cases[i].text);
        enum weft_rc rc = workload_parse("test.yaml", cases[i].text, n, &w, &err);
        if (rc != WEFT_FILE_INVALID || w)
            fail_msg("case %zu: %s", i, err.message);
        assert_string_equal(err_context(&err, "path")->text, "test.yaml");
        assert_true(strlen(err_context(&err, "field")->text) > 0);
        assert_true(strlen(err_context(&err, "value")->text) > 0);
        assert_true(strlen(err_context(&err, "limit")->text) > 0);
        if ((unsigned)err_context(&err, "line")->number != cases[i].line)
            fail_msg("case %zu: line %g in: %s", i, err_context(&err, "line")->number, err.message);
    }
}

static void every_cut_and_changed_byte_ends_well(void **state)
{
    (void)state;
    static const char text[] = "name: a\nseed: 3\nset: {kv.blocks: 9}\nmemory: [{at_ms: 1, mb: 2}]\n"
                               "captions: [{at_ms: 1, text: a, show: b}]\n"
                               "requests:\n  - {id: x, repeat: 2, prompt_tokens: {min: 1, max: 3}, text: ~}\n"
                               "  - {messages: [{role: user, content: \"h\\u00e9\"}], priority: {low: 1}}\n";
    static const char bytes[] = {0, '"', '{', '\t', (char)0x80, '-'};
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        struct workload *w = NULL;
        char *copy = malloc(sizeof text - 1); /* exactly, so that reading on is noticed */
        assert_non_null(copy);
        memcpy(copy, text, sizeof text - 1);
        for (size_t k = 0; k < sizeof bytes; k++) {
            copy[i] = bytes[k];
            w = NULL;
            if (workload_parse("t", copy, sizeof text - 1, &w, NULL) == WEFT_OK)
                workload_destroy(w);
        }
        free(copy);
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy + 1, text, i);
        w = NULL;
        if (workload_parse("t", copy + 1, i, &w, NULL) == WEFT_OK)
            workload_destroy(w);
        free(copy);
    }
}

static void every_failed_allocation_is_an_error(void **state)
{
    (void)state;
    static const char text[] = "requests:\n  - {id: a, repeat: 3, prompt_tokens: 2, prefix: p, "
                               "prefix_tokens: 1, model: m, salt: s}\n"
                               "  - {messages: [{role: user, content: x}], cancel_at_ms: 5}\n";
    for (size_t nth = 1;; nth++) {
        struct workload *w = NULL;
        mem_fail_at(nth);
        enum weft_rc rc = workload_parse("t", text, sizeof text - 1, &w, &err);
        if (rc == WEFT_OK)
            rc = workload_expand(w, 1, &cfg, &err);
        workload_destroy(w);
        if (mem_fail_at(0) < nth) {
            assert_int_equal(rc, WEFT_OK);
            assert_true(nth > 10);
            break;
        }
        assert_int_equal(rc, WEFT_INTERNAL_ERROR);
    }
}

/* ---- what it becomes ---- */

static void repeated_entries_are_numbered(void **state)
{
    (void)state;
    struct workload *w =
        expand("requests:\n"
               "  - {id: a, repeat: 3, at_ms: 10, every_ms: 5, prompt_tokens: 4, max_tokens: 2}\n"
               "  - {id: b, prompt_tokens: 4}\n"
               "  - {id: c, repeat: 1, prompt_tokens: 4}\n");
    assert_int_equal(w->n_requests, 5);
    assert_int_equal(request(w, "a.0")->at_us, 10000);
    assert_int_equal(request(w, "a.2")->at_us, 20000);
    assert_int_equal(request(w, "b")->at_us, 0);
    assert_int_equal(request(w, "c.0")->at_us, 0);
    assert_int_equal(workload_find(w, "a"), -1);
    assert_int_equal(workload_find(w, "a.3"), -1);
    workload_destroy(w);
}

static void actions_follow_time_and_then_the_file(void **state)
{
    (void)state;
    struct workload *w = expand(
        "requests:\n"
        "  - {id: late, at_ms: 20, prompt_tokens: 4}\n"
        "  - {id: b, repeat: 2, at_ms: 10, prompt_tokens: 4, cancel_at_ms: 20}\n"
        "  - {id: a, at_ms: 10, prompt_tokens: 4,\n"
        "     set_priority: [{at_ms: 30, to: low}, {at_ms: 10, to: high}, {at_ms: 10, to: normal}]}\n");
    static const struct {
        const char *id;
        enum workload_action_type type;
        enum prio to;
    } expected[] = {
        {.id = "b.0", WORKLOAD_SUBMIT},
        {.id = "b.1", WORKLOAD_SUBMIT},
        {.id = "a", WORKLOAD_SUBMIT},
        {"a", WORKLOAD_SET_PRIORITY, PRIO_HIGH},
        {"a", WORKLOAD_SET_PRIORITY, PRIO_NORMAL},
        {.id = "late", WORKLOAD_SUBMIT},
        {.id = "b.0", WORKLOAD_CANCEL},
        {.id = "b.1", WORKLOAD_CANCEL},
        {"a", WORKLOAD_SET_PRIORITY, PRIO_LOW},
    };
    assert_int_equal(w->n_actions, sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < w->n_actions; i++) {
        assert_string_equal(w->requests[w->actions[i].request].id, expected[i].id);
        assert_int_equal(w->actions[i].type, expected[i].type);
        if (expected[i].type == WORKLOAD_SET_PRIORITY)
            assert_int_equal(w->actions[i].to, expected[i].to);
    }
    workload_destroy(w);
}

static void ids_must_differ_after_expansion(void **state)
{
    (void)state;
    struct workload *w =
        parse("requests:\n  - {id: a, repeat: 2, prompt_tokens: 4}\n  - {id: a.1, prompt_tokens: 4}\n");
    assert_int_equal(workload_expand(w, 1, &cfg, &err), WEFT_CONFIG_INVALID);
    assert_int_equal((int)err_context(&err, "line")->number, 3);
    assert_string_equal(err_context(&err, "value")->text, "a.1");
    workload_destroy(w);
}

static void times_are_scaled(void **state)
{
    (void)state;
    struct workload *w = parse("memory: [{at_ms: 100, mb: 1}]\n"
                               "requests: [{id: a, at_ms: 40, prompt_tokens: 4, cancel_at_ms: 80}]\n");
    assert_int_equal(workload_expand(w, 0.5, &cfg, &err), WEFT_OK);
    assert_int_equal(w->actions[0].at_us, 20000);
    assert_int_equal(w->actions[1].at_us, 40000);
    assert_int_equal(w->memory[0].at_us, 50000);
    workload_destroy(w);
}

/* ---- what is random ---- */

static bool same_request(const struct workload *v, const struct workload *w, const char *id)
{
    const struct workload_request *a = request(v, id), *b = request(w, id);
    uint32_t x[4096], y[4096];
    size_t n = (size_t)a->n_prefix + a->n_ids;
    if (a->prio != b->prio || a->n_ids != b->n_ids || a->max_tokens != b->max_tokens ||
        a->sampling_seed != b->sampling_seed)
        return false;
    assert_true(n <= 4096);
    workload_ids(v, a, 1000, x);
    workload_ids(w, b, 1000, y);
    return memcmp(x, y, n * sizeof *x) == 0;
}

#define MIX                                                                                                  \
    "prompt_tokens: {min: 10, max: 300}, max_tokens: {min: 1, max: 200}, "                                   \
    "priority: {critical: 1, high: 1, normal: 1, low: 1}"

static void a_request_depends_on_seed_and_id_alone(void **state)
{
    (void)state;
    struct workload *v =
        expand("name: one\nseed: 5\nrequests: [{id: x, " MIX "}, {id: m, repeat: 20, " MIX "}]");
    struct workload *w =
        expand("name: two\nseed: 5\nrequests:\n  - {id: m, repeat: 30, at_ms: 7, every_ms: 3, " MIX
               "}\n  - {id: other, prompt_tokens: 9}\n  - {id: x, at_ms: 99, " MIX "}\n");
    assert_true(same_request(v, w, "x"));
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "m.%d", i);
        assert_true(same_request(v, w, id));
    }
    struct workload *other_seed =
        expand("seed: 6\nrequests: [{id: x, " MIX "}, {id: m, repeat: 20, " MIX "}]");
    assert_false(same_request(v, other_seed, "x"));
    assert_false(same_request(v, other_seed, "m.3"));
    /* A length that is given doesn't change what is drawn besides. */
    struct workload *fixed = expand("seed: 5\nrequests: [{id: x, prompt_tokens: {min: 10, max: 300}, "
                                    "max_tokens: 7, priority: high}]");
    assert_int_equal(request(fixed, "x")->n_ids, request(v, "x")->n_ids);
    uint32_t a[512], b[512];
    workload_ids(v, request(v, "x"), 1000, a);
    workload_ids(fixed, request(fixed, "x"), 1000, b);
    assert_memory_equal(a, b, request(v, "x")->n_ids * sizeof *a);
    workload_destroy(v);
    workload_destroy(w);
    workload_destroy(other_seed);
    workload_destroy(fixed);
}

static void draws_keep_to_their_ranges(void **state)
{
    (void)state;
    struct workload *w = expand("requests: [{id: m, repeat: 4000, prompt_tokens: {min: 3, max: 6}, "
                                "max_tokens: {min: 1, max: 2}, priority: {high: 1, low: 3}}]");
    unsigned by_length[8] = {0}, by_prio[PRIO_COUNT] = {0}, by_max[4] = {0};
    uint32_t ids[8], seen = 0;
    for (size_t i = 0; i < w->n_requests; i++) {
        const struct workload_request *r = &w->requests[i];
        assert_in_range(r->n_ids, 3, 6);
        assert_in_range(r->max_tokens, 1, 2);
        by_length[r->n_ids]++;
        by_max[r->max_tokens]++;
        by_prio[r->prio + 1]++;
        workload_ids(w, r, 4, ids);
        for (uint32_t k = 0; k < r->n_ids; k++) {
            assert_true(ids[k] < 4);
            seen |= 1u << ids[k];
        }
    }
    /* Four standard deviations around what is expected. */
    for (int n = 3; n <= 6; n++)
        assert_in_range(by_length[n], 890, 1110);
    assert_in_range(by_max[1], 1873, 2127);
    assert_in_range(by_prio[PRIO_HIGH + 1], 890, 1110);
    assert_int_equal(by_prio[PRIO_HIGH + 1] + by_prio[PRIO_LOW + 1], 4000);
    assert_int_equal(seen, 15);
    workload_destroy(w);
}

static void ids_and_seeds_that_are_given_count(void **state)
{
    (void)state;
    struct workload *w = expand("requests:\n  - {id: a, repeat: 2, ids: [5, 4000000000, 0], seed: 11}\n"
                                "  - {id: b, prompt_tokens: 3}\n");
    uint32_t ids[3];
    for (size_t i = 0; i < 2; i++) {
        const struct workload_request *r = &w->requests[i];
        assert_int_equal(r->n_prefix + r->n_ids, 3);
        assert_int_equal(r->sampling_seed, 11);
        workload_ids(w, r, 100, ids);
        assert_true(ids[0] == 5 && ids[1] == 4000000000 &&
                    ids[2] == 0); /* the engine says which are too large */
    }
    assert_int_not_equal(w->requests[2].sampling_seed, 11);
    workload_destroy(w);
}

static void a_prefix_is_shared_by_name(void **state)
{
    (void)state;
    struct workload *w =
        expand("seed: 3\nrequests:\n  - {id: a, prefix: book, prefix_tokens: 40, prompt_tokens: 5}\n"
               "  - {id: b, prefix: book, prefix_tokens: 20, prompt_tokens: 5}\n"
               "  - {id: c, prefix: other, prefix_tokens: 20, prompt_tokens: 5}\n"
               "  - {id: book, prompt_tokens: 20}\n");
    uint32_t a[64], b[64], c[64], book[64];
    workload_ids(w, request(w, "a"), 49152, a);
    workload_ids(w, request(w, "b"), 49152, b);
    workload_ids(w, request(w, "c"), 49152, c);
    workload_ids(w, request(w, "book"), 49152, book);
    assert_memory_equal(a, b, 20 * sizeof *a);
    assert_memory_not_equal(a, c, 20 * sizeof *a);
    assert_memory_not_equal(a, book, 20 * sizeof *a); /* a name means nothing across purposes */
    assert_memory_not_equal(a + 40, b + 20, 5 * sizeof *a);
    workload_destroy(w);
}

static void arrivals_are_a_poisson_process(void **state)
{
    (void)state;
    struct workload *w = expand("seed: 11\nrequests: [{id: p, at_ms: 1000, arrivals: {rate_per_s: 50, "
                                "until_ms: 81000}, prompt_tokens: 1}]");
    size_t n = w->n_requests;
    assert_in_range(n, 4000 - 4 * 64, 4000 + 4 * 64); /* mean 4000, standard deviation √4000 */
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        const struct workload_request *r = &w->requests[i];
        char id[32];
        snprintf(id, sizeof id, "p.%zu", i);
        assert_string_equal(r->id, id);
        assert_true(r->at_us >= 1000000 && r->at_us < 81000000);
        double gap = (double)(r->at_us - (i ? w->requests[i - 1].at_us : 1000000));
        assert_true(gap >= 0);
        sum += gap;
        squares += gap * gap;
    }
    /* Gaps are exponential: their standard deviation equals their mean. */
    double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    assert_true(mean > 18500 && mean < 21500);
    assert_true(variance / (mean * mean) > 0.85 && variance / (mean * mean) < 1.15);
    /* The same times in another file, from the entry's id. */
    struct workload *v =
        expand("seed: 11\nname: z\nrequests:\n  - {id: q, prompt_tokens: 1}\n  - {id: p, at_ms: 1000, "
               "arrivals: {rate_per_s: 50, until_ms: 81000}, prompt_tokens: 2}\n");
    assert_int_equal(v->n_requests, n + 1);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(v->requests[i + 1].at_us, w->requests[i].at_us);
    workload_destroy(v);
    workload_destroy(w);
}

static void texts_have_pseudo_ids(void **state)
{
    (void)state;
    struct workload *w = parse("requests:\n  - {text: abcdefgh}\n  - {text: abcdefgij}\n"
                               "  - {messages: [{role: user, content: abcdefgh}]}\n");
    uint32_t a[8], b[8], c[8];
    assert_int_equal(workload_pseudo_count(&w->entries[0]), 2);
    assert_int_equal(workload_pseudo_count(&w->entries[1]), 3);
    assert_int_equal(workload_pseudo_count(&w->entries[2]), 3); /* "user" is one of them */
    workload_pseudo_ids(&w->entries[0], 49152, a);
    workload_pseudo_ids(&w->entries[1], 49152, b);
    workload_pseudo_ids(&w->entries[2], 49152, c);
    assert_int_equal(a[0], b[0]);
    assert_int_not_equal(a[1], b[1]);
    assert_memory_equal(a, c + 1, 2 * sizeof *a);
    workload_destroy(w);
}

/* ---- built-in ones ---- */

static void every_built_in_workload_is_sound(void **state)
{
    (void)state;
    size_t n_built_in = 0;
    for (const struct workload_builtin *b = workload_builtins; b->name; b++, n_built_in++) {
        size_t n = 0;
        const char *text = workload_builtin_text(b->name, &n);
        assert_non_null(text);
        assert_int_equal(n, strlen(text));
        assert_int_equal(text[0], '#'); /* what it shows comes first */
        struct workload *w = expand(text);
        assert_string_equal(w->name, b->name);
        assert_true(w->n_requests > 0 && strlen(b->what) > 0);
        for (size_t i = 0; i < w->n_captions; i++) /* what is to be shown is there */
            assert_true(!w->captions[i].show || workload_find(w, w->captions[i].show) >= 0);
        assert_int_equal(workload_configure(w, &cfg, &err), WEFT_OK);
        assert_int_equal(config_check(&cfg, &err), WEFT_OK);
        config_deinit(&cfg);
        assert_int_equal(config_init(&cfg, &err), WEFT_OK);
        workload_destroy(w);
    }
    assert_int_equal(n_built_in, 12);
    assert_null(workload_builtin_text("dark", NULL)); /* a theme, not a workload */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_key_of_an_entry),
        TEST(defaults_of_the_file),
        TEST(json_is_valid_input),
        TEST(settings_go_to_the_configuration),
        TEST(wrong_settings_are_refused_with_their_line),
        TEST(memory_is_kept_in_order_of_time),
        TEST(captions_are_kept_in_order_of_time),
        TEST(malformed_files_are_refused),
        TEST(what_is_no_yaml_is_an_invalid_file),
        TEST(every_cut_and_changed_byte_ends_well),
        TEST(every_failed_allocation_is_an_error),
        TEST(repeated_entries_are_numbered),
        TEST(actions_follow_time_and_then_the_file),
        TEST(ids_must_differ_after_expansion),
        TEST(times_are_scaled),
        TEST(a_request_depends_on_seed_and_id_alone),
        TEST(draws_keep_to_their_ranges),
        TEST(ids_and_seeds_that_are_given_count),
        TEST(a_prefix_is_shared_by_name),
        TEST(arrivals_are_a_poisson_process),
        TEST(texts_have_pseudo_ids),
        TEST(every_built_in_workload_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
