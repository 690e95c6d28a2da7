/* weft replay: files and names, precedence of settings, exit statuses, events; and the real engine. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/cli_rig.h"

static struct cli_rig rig;

static const char *workload(const char *name, const char *text)
{
    return cli_file(&rig, name, text, strlen(text));
}

static json_t *request(json_t *result, const char *id)
{
    return cli_json_by_id(json_object_get(result, "requests"), id);
}

static double total(json_t *result, const char *key)
{
    return json_number_value(json_object_get(json_object_get(result, "totals"), key));
}

static char *slurp(const char *name, size_t *n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", rig.dir, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 22);
    assert_non_null(text);
    *n = fread(text, 1, (1 << 22) - 1, f);
    fclose(f);
    return text;
}

/* ---- simulated ---- */

static void built_in_ones_run_by_name(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "replay", "vip-against-crowd", "--sim", "--json", NULL);
    cli_assert_status(&rig, 0);
    assert_int_equal(rig.r.err_len, 0);
    json_t *result = cli_json(&rig);
    assert_string_equal(cli_json_text(result, "name"), "vip-against-crowd");
    assert_int_equal(json_array_size(json_object_get(result, "requests")), 31);
    json_decref(result);
    cli_run(&rig, NULL, "replay", "--sim", "burst", NULL); /* for people: a table */
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "40 completed"));
    assert_non_null(strstr(rig.r.out, "normal"));
}

static void a_workload_comes_from_standard_input(void **state)
{
    (void)state;
    cli_run(&rig, "{\"requests\": [{\"id\": \"a\", \"prompt_tokens\": 4, \"max_tokens\": 2}]}", "replay", "-",
            "--sim", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *result = cli_json(&rig);
    assert_string_equal(cli_json_text(request(result, "a"), "state"), "completed");
    json_decref(result);
}

static void the_same_events_byte_for_byte(void **state)
{
    (void)state;
    char one[512], two[512];
    size_t n, m;
    snprintf(one, sizeof one, "%s/one.jsonl", rig.dir);
    snprintf(two, sizeof two, "%s/two.jsonl", rig.dir);
    cli_run(&rig, NULL, "replay", "poisson", "--sim", "--events", one, NULL);
    cli_assert_status(&rig, 0);
    cli_run(&rig, NULL, "replay", "poisson", "--sim", "--json", "--events", two, NULL);
    cli_assert_status(&rig, 0);
    char *a = slurp("one.jsonl", &n), *b = slurp("two.jsonl", &m);
    assert_true(n > 1000);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

/* Defaults, the user's file, the workload, the command line: later ones win. */
static void settings_have_their_order(void **state)
{
    (void)state;
    static const char text[] = "set: {scheduler.max_batch_size: 2, sim.decode_us: 0, sim.prefill_us: 0}\n"
                               "requests: [{id: a, repeat: 12, prompt_tokens: 4, max_tokens: 64}]\n";
    static const char user[] = "scheduler: {max_batch_size: 7}\nsim: {context_us: 0, step_us: 1000}\n";
    char config[600];
    snprintf(config, sizeof config, "%s", cli_file(&rig, "user.yaml", user, strlen(user)));
    cli_run(&rig, NULL, "replay", workload("w.yaml", text), "--sim", "--json", "--config", config, NULL);
    cli_assert_status(&rig, 0);
    json_t *result = cli_json(&rig);
    assert_true(total(result, "avg_batch_size") > 1.9 && total(result, "avg_batch_size") <= 2);
    assert_true(total(result, "duration_ms") >= total(result, "steps")); /* the user's 1 ms a step, no more */
    assert_true(total(result, "duration_ms") <= total(result, "steps"));
    json_decref(result);
    cli_run(&rig, NULL, "replay", workload("w.yaml", text), "--sim", "--json", "--set",
            "scheduler.max_batch_size=4", NULL);
    result = cli_json(&rig);
    assert_true(total(result, "avg_batch_size") > 3.9 && total(result, "avg_batch_size") <= 4);
    json_decref(result);
}

static void times_scale(void **state)
{
    (void)state;
    static const char text[] = "requests: [{id: a, at_ms: 400, prompt_tokens: 4, max_tokens: 2}]\n";
    static const struct {
        const char *scale;
        double submit_ms;
    } cases[] = {{"0.5", 200}, {"0", 0}, {"3", 1200}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cli_run(&rig, NULL, "replay", workload("w.yaml", text), "--sim", "--json", "--time-scale",
                cases[i].scale, NULL);
        json_t *result = cli_json(&rig);
        double at = json_number_value(json_object_get(request(result, "a"), "submit_ms"));
        assert_true(at >= cases[i].submit_ms && at <= cases[i].submit_ms);
        json_decref(result);
    }
}

static void the_status_tells_of_requests_that_failed(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "replay", "memory-pressure", "--sim", "--json", NULL);
    cli_assert_status(&rig, 5);
    json_t *result = cli_json(&rig); /* the errors are inside the results */
    assert_null(json_object_get(result, "error"));
    assert_true(total(result, "rejected") > 0);
    json_decref(result);
    cli_run(&rig, NULL, "replay", "cancel-storm", "--sim", NULL); /* cancelled is not failed */
    cli_assert_status(&rig, 0);
    cli_run(&rig, NULL, "replay",
            workload("w.yaml", "requests: [{prompt_tokens: 4, max_tokens: 999, timeout_ms: 20}]"), "--sim",
            NULL);
    cli_assert_status(&rig, 5);
}

static void bad_input_is_told_with_its_place(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "replay", "--sim", NULL);
    cli_assert_error(&rig, 2, "USAGE", "a workload is needed");
    cli_run(&rig, NULL, "replay", "burst", "poisson", "--sim", NULL);
    cli_assert_error(&rig, 2, "USAGE", "poisson");
    cli_run(&rig, NULL, "replay", "burst", "--sim", "--time-scale", "-1", NULL);
    cli_assert_error(&rig, 2, "USAGE", "--time-scale");
    cli_run(&rig, NULL, "replay", "bursts", "--sim", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "burst, cancel-storm");
    cli_run(&rig, NULL, "replay", "/nonexistent/w.yaml", "--sim", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "/nonexistent/w.yaml");
    cli_run(&rig, NULL, "replay", "burst", "--sim", "--events", "/nonexistent/e.jsonl", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "/nonexistent/e.jsonl");
    cli_run(&rig, NULL, "replay", workload("w.yaml", "requests: [{"), "--sim", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "w.yaml:");
    cli_run(&rig, NULL, "replay", workload("w.yaml", "set: {kv.block: 4}\nrequests: [{prompt_tokens: 4}]\n"),
            "--sim", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "kv.blocks");
    cli_run(&rig, NULL, "replay",
            workload("w.yaml", "set: {resources.max_memory_mb: 9, resources.critical_memory_mb: 8}\n"
                               "requests: [{prompt_tokens: 4}]\n"),
            "--sim", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "max_memory_mb");

    cli_run(&rig, NULL, "replay",
            workload("w.yaml", "name: x\nrequests:\n  - {prompt_tokens: 4, priority: top}\n"), "--sim",
            "--json", NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "w.yaml:3: requests[0].priority");
    json_t *all = cli_json(&rig), *context = json_object_get(json_object_get(all, "error"), "context");
    assert_non_null(strstr(cli_json_text(context, "file"), "w.yaml"));
    assert_int_equal((int)json_number_value(json_object_get(context, "line")), 3);
    assert_string_equal(cli_json_text(context, "key"), "requests[0].priority");
    assert_string_equal(cli_json_text(context, "value"), "top");
    assert_non_null(strstr(cli_json_text(context, "allowed"), "critical|high|normal|low"));
    json_decref(all);
}

static void what_can_never_fit_is_refused_and_the_rest_runs(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "replay",
            workload("w.yaml",
                     "set: {kv.blocks: 4}\nrequests:\n  - {id: big, prompt_tokens: 100, max_tokens: 4}\n"
                     "  - {id: small, prompt_tokens: 10, max_tokens: 4}\n"),
            "--sim", "--json", NULL);
    cli_assert_status(&rig, 5);
    json_t *result = cli_json(&rig);
    assert_string_equal(cli_json_text(request(result, "big"), "state"), "rejected");
    assert_string_equal(cli_json_text(json_object_get(request(result, "big"), "error"), "code"),
                        "INVALID_REQUEST");
    assert_string_equal(cli_json_text(request(result, "small"), "state"), "completed");
    json_decref(result);
}

static void an_interrupt_prints_what_was_made(void **state)
{
    (void)state;
    const char *path = workload("w.yaml", "set: {queue.max_depth: 1000000}\n"
                                          "requests: [{id: a, repeat: 300000, every_ms: 1, prompt_tokens: 4, "
                                          "max_tokens: 60}]\n");
    const char *const arguments[] = {"replay", path, "--sim", "--events", "/dev/stdout", NULL};
    const struct proc_options options = {.signal = SIGINT, .signal_when = "\"step\""};
    cli_run_with(&rig, &options, arguments);
    cli_assert_status(&rig, 130);
    assert_non_null(strstr(rig.r.out, "cancelled"));
    assert_non_null(strstr(rig.r.out, "never submitted"));
}

/* ---- the real engine ---- */

static uint64_t hash_of(const json_t *ids)
{
    uint64_t h = FNV1A64_INIT;
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id)
    {
        h = fnv1a64_u32(h, (uint32_t)json_integer_value(id));
    }
    return h;
}

static const char on_the_engine[] =
    "name: engine\nseed: 4\nset: {scheduler.max_batch_size: 3, kv.memory_mb: 64}\nrequests:\n"
    "  - {id: ids, repeat: 4, priority: low, prompt_tokens: 24, max_tokens: 6}\n"
    "  - {id: text, at_ms: 20, priority: critical, text: The capital of Portugal is, max_tokens: 6}\n"
    "  - {id: chat, at_ms: 30, messages: [{role: user, content: Say hello.}], max_tokens: 4,\n"
    "     set_priority: {at_ms: 40, to: high}}\n"
    "  - {id: gone, priority: low, prompt_tokens: 64, max_tokens: 900, cancel_at_ms: 400}\n"
    "  - {id: nowhere, model: other, prompt_tokens: 20, max_tokens: 4}\n";

static json_t *replay_on_engine(const char *setting)
{
    char events[512];
    snprintf(events, sizeof events, "%s/events.jsonl", rig.dir);
    const char *const arguments[] = {
        "replay", workload("w.yaml", on_the_engine), "--json", "--events", events, "--set", setting,
        "--set",  "device.precision=fp32",           NULL};
    const struct proc_options options = {.timeout_ms = 120000};
    cli_run_with(&rig, &options, arguments);
    cli_assert_status(&rig, 5); /* `nowhere` */
    return cli_json(&rig);
}

static void the_engine_runs_the_same_file(void **state)
{
    (void)state;
    json_t *batch = replay_on_engine("batching.enabled=true");
    assert_true(json_is_false(json_object_get(batch, "sim")));
    assert_true(total(batch, "leaked_blocks") <= 0 && total(batch, "steps") > 6);
    assert_true(json_number_value(json_object_get(
                    json_object_get(json_object_get(batch, "totals"), "sched_us"), "mean")) > 0);
    static const struct {
        const char *id, *state;
    } ends[] = {{"ids.3", "completed"},
                {"text", "completed"},
                {"chat", "completed"},
                {"gone", "cancelled"},
                {"nowhere", "rejected"}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        assert_string_equal(cli_json_text(request(batch, ends[i].id), "state"), ends[i].state);
    json_t *error = json_object_get(request(batch, "nowhere"), "error");
    assert_string_equal(cli_json_text(error, "code"), "MODEL_NOT_LOADED");
    assert_true(json_number_value(json_object_get(request(batch, "text"), "submit_ms")) >= 20);

    /* The log has each request's life, in order of time. */
    size_t n;
    char *log = slurp("events.jsonl", &n);
    double t_ms = 0;
    unsigned n_finish = 0, n_reject = 0;
    for (const char *line = log; *line; line = strchr(line, '\n') + 1) {
        json_t *ev = json_loadb(line, strcspn(line, "\n"), 0, NULL);
        assert_non_null(ev);
        assert_true(json_number_value(json_object_get(ev, "t_ms")) >= t_ms);
        t_ms = json_number_value(json_object_get(ev, "t_ms"));
        n_finish += strcmp(cli_json_text(ev, "ev"), "finish") == 0;
        n_reject += strcmp(cli_json_text(ev, "ev"), "reject") == 0;
        json_decref(ev);
    }
    free(log);
    assert_int_equal(n_finish, 7);
    assert_int_equal(n_reject, 1);

    /* One at a time, and asked for by `generate`: the same tokens. */
    json_t *single = replay_on_engine("batching.enabled=false");
    assert_true(total(single, "avg_batch_size") <= 1);
    static const char *const same[] = {"ids.0", "ids.1", "ids.2", "ids.3", "text", "chat"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_string_equal(cli_json_text(request(batch, same[i]), "ids_hash"),
                            cli_json_text(request(single, same[i]), "ids_hash"));
    cli_run(&rig, NULL, "generate", "-p", "The capital of Portugal is", "-n", "6", "--temp", "0",
            "--ignore-eos", "--json", "--precision", "fp32", NULL);
    cli_assert_status(&rig, 0);
    json_t *alone = cli_json(&rig);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_of(json_object_get(alone, "ids")));
    assert_string_equal(cli_json_text(request(batch, "text"), "ids_hash"), hash);
    json_decref(alone);
    json_decref(single);
    json_decref(batch);
}

/* The default model twice, under two names: each with a scheduler of its own, taking steps in turn. */
static void two_models_take_turns(void **state)
{
    (void)state;
    static const char text[] = "set: {kv.memory_mb: 24, kv.park_mb: 0}\nrequests:\n  - {id: a, text: One and "
                               "two are, max_tokens: 5}\n"
                               "  - {id: b, model: twin, text: One and two are, max_tokens: 5}\n";
    char file[700], twin[128], events[128];
    snprintf(file, sizeof file, "%.500s/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf",
             rig.env_text[3] + strlen("XDG_DATA_HOME="));
    snprintf(twin, sizeof twin, "%s/twin.gguf", rig.dir);
    snprintf(events, sizeof events, "%s/events.jsonl", rig.dir);
    assert_int_equal(symlink(file, twin), 0);
    const char *const arguments[] = {
        "replay", workload("w.yaml", text), "--json", "--events", events, "-m", "smollm2", "-m", twin, NULL};
    const struct proc_options options = {.timeout_ms = 120000};
    cli_run_with(&rig, &options, arguments);
    cli_assert_status(&rig, 0);
    json_t *result = cli_json(&rig);
    assert_string_equal(cli_json_text(request(result, "a"), "ids_hash"),
                        cli_json_text(request(result, "b"), "ids_hash"));
    assert_string_equal(cli_json_text(request(result, "a"), "model"), "smollm2");
    assert_string_equal(cli_json_text(request(result, "b"), "model"), "twin");
    assert_int_equal(json_array_size(json_object_get(json_object_get(result, "stats"), "models")), 2);
    json_decref(result);
    size_t n, runs = 0;
    char *log = slurp("events.jsonl", &n);
    const char *last = "";
    for (const char *p = log; (p = strstr(p, "\"model\":\"")); p++) { /* of steps */
        const char *name = p + strlen("\"model\":\"");
        runs += strncmp(name, last, 4) != 0;
        last = name;
    }
    free(log);
    assert_true(runs >= 8); /* of ten steps, each of another model than the one before, or nearly */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)
    const struct CMUnitTest tests[] = {
        TEST(built_in_ones_run_by_name),
        TEST(a_workload_comes_from_standard_input),
        TEST(the_same_events_byte_for_byte),
        TEST(settings_have_their_order),
        TEST(times_scale),
        TEST(the_status_tells_of_requests_that_failed),
        TEST(bad_input_is_told_with_its_place),
        TEST(what_can_never_fit_is_refused_and_the_rest_runs),
        TEST(an_interrupt_prints_what_was_made),
        TEST(the_engine_runs_the_same_file),
        TEST(two_models_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
