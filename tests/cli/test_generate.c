/* generate on the default model: results, streams, batches, refusals, interrupts. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;

static void assert_is_result(json_t *r)
{
    static const char *const keys[] = {
        "id", "model", "text", "ids", "prompt_ids", "finish_reason", "seed", "cached_tokens", "preemptions"};
    static const char *const times[] = {"queue_ms", "ttft_ms", "total_ms", "prefill_tps", "decode_tps"};
    assert_int_equal(json_integer_value(json_object_get(r, "schema")), 1);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!json_object_get(r, keys[i]))
            fail_msg("no %s in the result", keys[i]);
    json_t *timing = json_object_get(r, "timing");
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (!json_object_get(timing, times[i]))
            fail_msg("no timing.%s in the result", times[i]);
}

static void a_chat_gives_the_reference_answer(void **state)
{
    (void)state;
    static const char messages[] = "[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]";
    const char *path = cli_file(&rig, "chat.json", messages, sizeof messages - 1);
    cli_run(&rig, NULL, "generate", "--chat", path, "--temp", "0", "--repeat-penalty", "1", "-n", "32",
            "--json", "--precision", "fp32", NULL);
    cli_assert_status(&rig, 0);
    json_t *r = cli_json(&rig);
    assert_is_result(r);
    assert_int_equal(json_array_size(json_object_get(r, "prompt_ids")), 37);
    assert_string_equal(cli_json_text(r, "text"), "The capital of France is Paris.");
    assert_string_equal(cli_json_text(r, "finish_reason"), "stop");
    /* The reference's greedy ids; the end-of-generation token that follows isn't part of ids. */
    char *ids = json_dumps(json_object_get(r, "ids"), JSON_COMPACT);
    assert_string_equal(ids, "[504,3575,282,4649,314,7042,30]");
    free(ids);
    json_decref(r);
    /* Plain text is the reply alone. */
    cli_run(&rig, messages, "generate", "--chat", "-", "--temp", "0", "--repeat-penalty", "1", "-n", "32",
            "--precision", "fp32", NULL);
    cli_assert_status(&rig, 0);
    assert_string_equal(rig.r.out, "The capital of France is Paris.\n");
}

static void a_stream_is_the_result_in_pieces(void **state)
{
    (void)state;
    cli_run(&rig, "Once upon a time", "generate", "-", "--json", "--stream", "-n", "12", "--seed", "5",
            "--logprobs", "3", NULL);
    cli_assert_status(&rig, 0);
    json_t *lines = cli_json_lines(&rig);
    size_t n = json_array_size(lines) - 1;
    json_t *r = json_array_get(lines, n), *ids = json_object_get(r, "ids");
    assert_is_result(r);
    assert_int_equal(json_array_size(ids), n);
    char text[1000] = "";
    for (size_t i = 0; i < n; i++) {
        json_t *token = json_array_get(lines, i);
        assert_int_equal(json_integer_value(json_object_get(token, "index")), i);
        assert_true(json_equal(json_object_get(token, "token"), json_array_get(ids, i)));
        assert_string_equal(cli_json_text(token, "id"), cli_json_text(r, "id"));
        strcat(text, cli_json_text(token, "text"));
    }
    assert_string_equal(text, cli_json_text(r, "text"));
    assert_int_equal(json_integer_value(json_object_get(r, "seed")), 5);
    json_t *logprobs = json_object_get(r, "logprobs");
    assert_int_equal(json_array_size(logprobs), n);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array_get(logprobs, i), *top = json_object_get(row, "top");
        assert_true(json_equal(json_object_get(row, "id"), json_array_get(ids, i)));
        assert_int_equal(json_array_size(top), 3);
        double best = json_number_value(json_object_get(json_array_get(top, 0), "logprob"));
        assert_true(best <= 0 &&
                    best >= json_number_value(json_object_get(json_array_get(top, 1), "logprob")));
        assert_true(json_number_value(json_object_get(row, "logprob")) <= best);
    }
    /* Buffered, the same seed gives the same ids. */
    cli_run(&rig, NULL, "generate", "-p", "Once upon a time", "--json", "-n", "12", "--seed", "5", NULL);
    cli_assert_status(&rig, 0);
    json_t *buffered = cli_json(&rig);
    assert_true(json_equal(json_object_get(buffered, "ids"), ids));
    assert_null(json_object_get(buffered, "logprobs"));
    json_decref(buffered);
    json_decref(lines);
}

static void stop_strings_and_limits_end_it(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "generate", "-p", "One, two, three, four, five,", "--temp", "0", "-n", "40", "--json",
            "--stop", "eight", "--stop", "\n", NULL);
    cli_assert_status(&rig, 0);
    json_t *r = cli_json(&rig);
    assert_string_equal(cli_json_text(r, "finish_reason"), "stop");
    assert_null(strstr(cli_json_text(r, "text"), "eight"));
    assert_non_null(strstr(cli_json_text(r, "text"), "seven"));
    json_decref(r);
    cli_run(&rig, NULL, "generate", "--ids", "1,2,3", "--ignore-eos", "-n", "5", "--json", NULL);
    cli_assert_status(&rig, 0);
    r = cli_json(&rig);
    assert_string_equal(cli_json_text(r, "finish_reason"), "length");
    assert_int_equal(json_array_size(json_object_get(r, "ids")), 5);
    assert_int_equal(json_array_size(json_object_get(r, "prompt_ids")), 3);
    json_decref(r);
}

static void requests_that_cannot_run_are_refused(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "generate", "-p", "x", "-n", "100000", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "8192");
    json_t *all = cli_json(&rig), *error = json_object_get(all, "error");
    assert_string_equal(cli_json_text(error, "code"), "INVALID_REQUEST");
    assert_non_null(json_object_get(json_object_get(error, "context"), "limit"));
    json_decref(all);
    cli_run(&rig, NULL, "generate", "-p", "", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "prompt");
    cli_run(&rig, NULL, "generate", "--ids", "99999999", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "99999999");
    cli_run(&rig, NULL, "generate", "--ids", "1,x", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "token ids");
}

/* Bad lines are told with their number; the others run. */
static void a_batch_runs_what_can_run(void **state)
{
    (void)state;
    static const char batch[] =
        "{\"id\":\"a\",\"prompt\":\"Once upon\",\"max_tokens\":4,\"temperature\":0}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":4,\"priority\":\"low\"}\n"
        "\n"
        "{\"id\":\"a\",\"prompt\":\"twice\"}\n"
        "this is no JSON\n"
        "{\"id\":\"field\",\"prompt\":\"x\",\"zebra\":1}\n"
        "{\"id\":\"type\",\"prompt\":\"x\",\"max_tokens\":\"4\"}\n"
        "{\"id\":\"none\",\"max_tokens\":4}\n"
        "{\"id\":\"both\",\"prompt\":\"x\",\"ids\":[1]}\n"
        "{\"id\":\"hot\",\"prompt\":\"x\",\"temperature\":101}\n"
        "{\"id\":\"long\",\"ids\":[1],\"max_tokens\":100000}\n"
        "{\"id\":\"b\",\"ids\":[1,2],\"max_tokens\":3,\"ignore_eos\":true,\"logprobs\":1,\"stream\":true}";
    const char *path = cli_file(&rig, "batch.jsonl", batch, sizeof batch - 1);
    cli_run(&rig, NULL, "generate", "--batch", path, NULL);
    cli_assert_status(&rig, 5);
    json_t *lines = cli_json_lines(&rig), *line;
    size_t i, results = 0, bad = 0, tokens = 0;
    bool seen_lines[16] = {0};
    json_array_foreach(lines, i, line)
    {
        json_t *error = json_object_get(line, "error");
        if (error) {
            assert_string_equal(cli_json_text(error, "code"), "INVALID_REQUEST");
            json_t *context = json_object_get(error, "context");
            assert_non_null(json_object_get(context, "field"));
            assert_non_null(json_object_get(context, "limit"));
            json_int_t at = json_integer_value(json_object_get(context, "line"));
            assert_in_range(at, 4, 11);
            assert_false(seen_lines[at]);
            seen_lines[at] = true;
            bad++;
        } else if (json_object_get(line, "schema")) {
            assert_is_result(line);
            results++;
        } else {
            tokens++;
        }
    }
    assert_int_equal(bad, 8);
    assert_int_equal(results, 3);
    assert_int_equal(tokens, 3);
    assert_int_equal(json_array_size(json_object_get(cli_json_by_id(lines, "r2"), "ids")), 4);
    json_decref(lines);
}

/* More requests than the queue may hold: it waits, and none is refused. */
static void a_batch_waits_while_the_queue_is_full(void **state)
{
    (void)state;
    char batch[4000] = "";
    for (int i = 0; i < 24; i++)
        sprintf(batch + strlen(batch), "{\"ids\":[%d,7],\"max_tokens\":3,\"ignore_eos\":true}\n", i + 10);
    cli_run(&rig, batch, "generate", "--batch", "-", "--set", "queue.max_depth=2", "--set",
            "scheduler.max_batch_size=4", NULL);
    cli_assert_status(&rig, 0);
    json_t *lines = cli_json_lines(&rig), *line;
    size_t i;
    assert_int_equal(json_array_size(lines), 24);
    json_array_foreach(lines, i, line) assert_int_equal(json_array_size(json_object_get(line, "ids")), 3);
    json_decref(lines);
}

static void a_timeout_is_told(void **state)
{
    (void)state;
    static const char batch[] =
        "{\"id\":\"t\",\"prompt\":\"x\",\"max_tokens\":4000,\"ignore_eos\":true,\"timeout_ms\":300}";
    cli_run(&rig, batch, "generate", "--batch", "-", NULL);
    cli_assert_status(&rig, 5);
    json_t *r = cli_json(&rig);
    assert_string_equal(cli_json_text(r, "finish_reason"), "timeout");
    json_t *error = json_object_get(r, "error");
    assert_non_null(strstr(cli_json_text(error, "code"), "_TIMEOUT"));
    assert_int_equal(json_number_value(json_object_get(json_object_get(error, "context"), "timeout_ms")),
                     300);
    json_decref(r);
}

static void an_interrupt_prints_what_was_made(void **state)
{
    (void)state;
    static const char *const stream[] = {"generate",     "-p",     "Once",     "-n", "4000",
                                         "--ignore-eos", "--json", "--stream", NULL};
    cli_run_with(&rig, &(struct proc_options){.signal = SIGINT, .signal_when = "\"index\":3"}, stream);
    cli_assert_status(&rig, 130);
    json_t *lines = cli_json_lines(&rig);
    json_t *last = json_array_get(lines, json_array_size(lines) - 1);
    assert_is_result(last);
    assert_string_equal(cli_json_text(last, "finish_reason"), "cancelled");
    size_t n = json_array_size(json_object_get(last, "ids"));
    assert_in_range(n, 4, 3999);
    assert_int_equal(json_array_size(lines), n + 1);
    json_decref(lines);
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_chat_gives_the_reference_answer),
        TEST(a_stream_is_the_result_in_pieces),
        TEST(stop_strings_and_limits_end_it),
        TEST(requests_that_cannot_run_are_refused),
        TEST(a_batch_runs_what_can_run),
        TEST(a_batch_waits_while_the_queue_is_full),
        TEST(a_timeout_is_told),
        TEST(an_interrupt_prints_what_was_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
