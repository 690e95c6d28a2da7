/* tokenize, detokenize, score on the default model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;

/* A short chat as the default model's template renders it, and its ids by the tokenizer's own library. */
static const char rendered[] =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
static const char rendered_ids[] =
    "[1,9690,198,2683,359,253,5356,5646,11173,3365,3511,308,34519,28,7018,411,407,19712,8182,2,198,1,4093,"
    "198,1780,314,260,3575,282,4649,47,2,198,1,520,9531,198]\n";

static void special_tokens_count_only_when_asked(void **state)
{
    (void)state;
    cli_run(&rig, rendered, "tokenize", "--special", NULL);
    cli_assert_status(&rig, 0);
    assert_string_equal(rig.r.out, rendered_ids);
    cli_run(&rig, rendered, "tokenize", NULL);
    cli_assert_status(&rig, 0);
    assert_string_not_equal(rig.r.out, rendered_ids);
    cli_run(&rig, rendered_ids, "detokenize", NULL);
    cli_assert_status(&rig, 0);
    assert_string_equal(rig.r.out, rendered);
}

static void input_is_taken_byte_for_byte(void **state)
{
    (void)state;
    cli_run(&rig, "", "tokenize", NULL);
    cli_assert_status(&rig, 0);
    assert_string_equal(rig.r.out, "[]\n");
    static const char text[] = "a\0b\r\n\n \xf0\x9f\x98\x80 end\n";
    const char *path = cli_file(&rig, "text", text, sizeof text - 1);
    cli_run(&rig, NULL, "tokenize", "-f", path, NULL);
    cli_assert_status(&rig, 0);
    char *array = strdup(rig.r.out);
    cli_run(&rig, array, "detokenize", "--json", NULL);
    cli_assert_status(&rig, 0);
    assert_int_equal(rig.r.out_len, sizeof text - 1);
    assert_memory_equal(rig.r.out, text, sizeof text - 1);
    free(array);
    cli_run(&rig, "[99999999]", "detokenize", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "99999999");
}

/* e^x by its series: the C library's would need another library for one number. */
static double exponential(double x)
{
    double sum = 1, term = 1;
    for (int i = 1; i < 100; i++)
        sum += term *= x / i;
    return sum;
}

static double distance(double a, double b)
{
    return a > b ? a - b : b - a;
}

/* What generating says of its tokens and what scoring them says are the same numbers. */
static void score_agrees_with_generate(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "generate", "-p", "The harbour woke before the town did.", "-n", "8", "--seed", "3",
            "--ignore-eos", "--logprobs", "1", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *made = cli_json(&rig), *ids = json_copy(json_object_get(made, "prompt_ids"));
    size_t n_prompt = json_array_size(ids);
    json_array_extend(ids, json_object_get(made, "ids"));
    char *array = json_dumps(ids, JSON_COMPACT);
    cli_run(&rig, NULL, "score", "--ids", array, "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *score = cli_json(&rig), *nll = json_object_get(score, "nll");
    assert_true(json_equal(json_object_get(score, "ids"), ids));
    assert_int_equal(json_array_size(nll), n_prompt + 8 - 1);
    for (size_t i = 0; i < 8; i++) {
        json_t *row = json_array_get(json_object_get(made, "logprobs"), i);
        double logprob = json_number_value(json_object_get(row, "logprob"));
        assert_true(distance(json_number_value(json_array_get(nll, n_prompt - 1 + i)), -logprob) < 1e-4);
    }
    double mean = json_number_value(json_object_get(score, "mean_nll")), sum = 0;
    for (size_t i = 0; i < json_array_size(nll); i++)
        sum += json_number_value(json_array_get(nll, i));
    assert_true(distance(sum / (double)json_array_size(nll), mean) < 1e-6);
    double perplexity = json_number_value(json_object_get(score, "perplexity"));
    assert_true(distance(perplexity / exponential(mean), 1) < 1e-6);
    free(array);
    json_decref(ids);
    json_decref(score);
    json_decref(made);
}

static void score_takes_text(void **state)
{
    (void)state;
    cli_run(&rig, "two words", "score", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "perplexity"));
    cli_run(&rig, "a", "score", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "at least 2");
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(special_tokens_count_only_when_asked),
        TEST(input_is_taken_byte_for_byte),
        TEST(score_agrees_with_generate),
        TEST(score_takes_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
