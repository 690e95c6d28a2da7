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
static json_t *reference;

static int setup(void **state)
{
    (void)state;
    cli_rig_init(&rig, TEST_BINARY_DIR);
    reference = json_load_file(TEST_SOURCE_DIR "/../shared/reference/smollm2-chats.json", 0, NULL);
    return reference ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(reference);
    cli_rig_deinit(&rig);
    return 0;
}

static void special_tokens_count_only_when_asked(void **state)
{
    (void)state;
    json_t *chat = json_array_get(json_object_get(reference, "chats"), 0);
    const char *rendered = json_string_value(json_object_get(chat, "rendered"));
    cli_run(&rig, rendered, "tokenize", "--special", NULL);
    cli_assert_status(&rig, 0);
    json_t *ids = cli_json(&rig);
    assert_true(json_equal(ids, json_object_get(chat, "prompt_ids")));
    json_decref(ids);
    cli_run(&rig, rendered, "tokenize", NULL);
    ids = cli_json(&rig);
    assert_false(json_equal(ids, json_object_get(chat, "prompt_ids")));
    json_decref(ids);
    /* There and back. */
    cli_run(&rig, rendered, "tokenize", "--special", NULL);
    char *array = strdup(rig.r.out);
    cli_run(&rig, array, "detokenize", NULL);
    cli_assert_status(&rig, 0);
    assert_string_equal(rig.r.out, rendered);
    free(array);
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

static void score_matches_the_reference(void **state)
{
    (void)state;
    json_t *text = json_object_get(reference, "text");
    const char *words = json_string_value(json_object_get(text, "text"));
    assert_non_null(words);
    cli_run(&rig, words, "score", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *score = cli_json(&rig), *nll = json_object_get(score, "nll"),
           *ids = json_object_get(score, "ids");
    double mean = json_real_value(json_object_get(score, "mean_nll")), sum = 0;
    assert_true(distance(mean, json_number_value(json_object_get(text, "mean_nll"))) < 0.0005);
    assert_int_equal(json_array_size(nll) + 1, json_array_size(ids));
    for (size_t i = 0; i < json_array_size(nll); i++)
        sum += json_number_value(json_array_get(nll, i));
    assert_true(distance(sum / (double)json_array_size(nll), mean) < 1e-6);
    assert_true(distance(json_number_value(json_object_get(score, "perplexity")) / exponential(mean), 1) <
                1e-6);
    /* The same tokens, given as ids. */
    char *array = json_dumps(ids, JSON_COMPACT);
    cli_run(&rig, NULL, "score", "--ids", array, "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *again = cli_json(&rig);
    assert_true(json_equal(again, score));
    free(array);
    json_decref(again);
    json_decref(score);
    cli_run(&rig, "a", "score", "--json", NULL);
    cli_assert_error(&rig, 1, "INVALID_REQUEST", "at least 2");
    cli_run(&rig, "two words", "score", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "perplexity"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(special_tokens_count_only_when_asked),
        TEST(input_is_taken_byte_for_byte),
        TEST(score_matches_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
