/* bench: its figures are there and make sense; --compare runs the script that measures peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;

/* Measuring takes its time on a machine that is busy otherwise. */
static const struct proc_options patient = {.timeout_ms = 240000};
#define RUN(...) cli_run_with(&rig, &patient, (const char *const[]){__VA_ARGS__, NULL})

static double number(json_t *object, const char *key)
{
    json_t *n = json_object_get(object, key);
    if (!json_is_number(n))
        fail_msg("%s is no number", key);
    return json_number_value(n);
}

/* A fraction that is part of a whole, whatever else the machine does. */
static double share(json_t *object, const char *key)
{
    double value = number(object, key);
    if (!(value >= 0 && value < 1))
        fail_msg("%s is %g", key, value);
    return value;
}

static void figures_are_complete_and_consistent(void **state)
{
    (void)state;
    RUN("bench", "--prompt", "32", "--gen", "8", "--batch", "1,4", "--json");
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig), *peaks = json_object_get(b, "peaks"), *rows = json_object_get(b, "rows");
    assert_true(json_is_string(json_object_get(b, "device")));
    assert_true(json_is_string(json_object_get(b, "model")));
    assert_non_null(strstr("fp32 int8 bf16", json_string_value(json_object_get(b, "precision"))));
    assert_true(number(peaks, "fma_gflops") > 0.1);
    assert_true(number(peaks, "read_gbs") > 0.1);
    number(peaks, "int8_gops");
    number(peaks, "bf16_gflops");
    assert_int_equal(json_array_size(rows), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *r = json_array_get(rows, i);
        double batch = number(r, "batch"), decode = number(r, "decode_tps"), step = number(r, "step_ms");
        assert_true(batch == (i ? 4 : 1));
        assert_true(number(r, "prompt") == 32);
        assert_true(number(r, "prefill_tps") > 0);
        double product = decode * step / 1000; /* tokens a step */
        assert_true(product > batch * 0.999 && product < batch * 1.001);
        assert_true(number(r, "decode_steps") == 7); /* the prompt's last step makes the first token */
        assert_true(share(r, "between_steps") <= share(r, "outside_kernels"));
        /* Fractions of peaks that are measured too: on a machine busy with other work they may come out above 1. */
        double roofline = number(r, "roofline"), weights = number(r, "weights_read");
        assert_true(weights > 0 && weights <= roofline * 1.001 && roofline < 100);
        assert_true(number(json_object_get(r, "peaks"), "read_gbs") <= number(peaks, "read_gbs"));
        assert_true(json_is_null(json_object_get(r, "kept_rate")));
    }
    assert_null(json_object_get(b, "profile"));
    json_decref(b);
}

static double kernel_ms(json_t *phase)
{
    size_t i;
    json_t *kernel;
    double sum = 0;
    bool matrix = false;
    json_array_foreach(json_object_get(phase, "kernels"), i, kernel)
    {
        matrix |= strncmp(json_string_value(json_object_get(kernel, "kernel")), "matmul", 6) == 0;
        assert_true(number(kernel, "calls") > 0);
        sum += number(kernel, "total_ms");
    }
    assert_true(matrix);
    return sum;
}

static void a_profile_tells_where_time_goes(void **state)
{
    (void)state;
    RUN("bench", "--prompt", "32", "--gen", "8", "--batch", "2", "--profile", "--json");
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig), *profile = json_object_get(b, "profile");
    static const struct {
        const char *name;
        double steps;
    } expected[] = {{"prefill", 1}, {"decode", 7}};
    assert_int_equal(json_array_size(profile), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *p = json_array_get(profile, i);
        assert_string_equal(json_string_value(json_object_get(p, "phase")), expected[i].name);
        assert_true(number(p, "steps") == expected[i].steps);
        assert_true(number(p, "batch") == 2 && number(p, "prompt") == 32);
        double kernels = kernel_ms(p), outside = share(p, "outside_kernels");
        double whole = number(p, "total_ms");
        assert_true(kernels > 0.999 * number(p, "kernels_ms") && kernels < 1.001 * number(p, "kernels_ms"));
        assert_true(kernels / whole > (1 - outside) * 0.999 && kernels / whole < (1 - outside) * 1.001);
        assert_true(number(p, "matrix_gops") > 0 && number(p, "matrix_peak") > 0);
    }
    json_decref(b);
}

static void longer_prompts_are_held_against_the_shortest(void **state)
{
    (void)state;
    RUN("bench", "--prompt", "64,16", "--gen", "4", "--batch", "2", "--json");
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig), *rows = json_object_get(b, "rows");
    assert_int_equal(json_array_size(rows), 2);
    json_t *longer = json_array_get(rows, 0), *shortest = json_array_get(rows, 1);
    double kept = number(longer, "decode_tps") / number(shortest, "decode_tps");
    assert_true(number(longer, "kept_rate") > kept * 0.999 && number(longer, "kept_rate") < kept * 1.001);
    assert_true(json_is_null(json_object_get(shortest, "kept_rate")));
    json_decref(b);
    RUN("bench", "--prompt", "0");
    cli_assert_error(&rig, 2, "USAGE", "is not a list of 1 … 32 lengths in 1 … 1048576");
}

static void people_get_a_table(void **state)
{
    (void)state;
    RUN("bench", "--prompt", "16", "--gen", "4", "--batch", "2", "--profile");
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "roofline"));
    assert_non_null(strstr(rig.r.out, "\n    16      2 "));
    assert_non_null(strstr(rig.r.out, "\ndecode, batch 2, prompt 16: a step of "));
    assert_non_null(strstr(rig.r.out, "calls/step"));
}

/* ---- with peers ---- */

/* A data directory in which `python` stands where the peers' environment has its Python; the default model's path. */
static void with_python(const char *python, char model[600])
{
    static char data[200];
    char command[512];
    snprintf(model, 600, "%s/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf",
             strchr(rig.env_text[3], '=') + 1); /* XDG_DATA_HOME */
    snprintf(data, sizeof data, "XDG_DATA_HOME=%s/data", rig.dir);
    rig.env[CLI_RIG_ENV] = data;
    snprintf(command, sizeof command, "mkdir -p '%s/data/weft/peers/bin'", rig.dir);
    assert_int_equal(system(command), 0);
    if (!python)
        return;
    snprintf(command, sizeof command, "ln -s '%s' '%s/data/weft/peers/bin/python'", python, rig.dir);
    assert_int_equal(system(command), 0);
}

static void comparing_without_peers_says_how_to_get_them(void **state)
{
    (void)state;
    char model[600];
    with_python(NULL, model);
    RUN("bench", "--compare", "-m", model);
    cli_assert_error(&rig, 3, "FILE_INVALID", "tests/bench/peers.py --setup");
    RUN("bench", "--compare", "-m", model, "--prompt", "16,32");
    cli_assert_error(&rig, 2, "USAGE", "one length for --prompt, not \"16,32\"");
}

static void comparing_runs_the_script_in_their_environment(void **state)
{
    (void)state;
    static const char fake[] = "#!/bin/sh\nfor a; do echo \"<$a>\"; done\nhead -n 2\nexit 7\n";
    char model[600], expected[2048];
    const char *python = cli_file(&rig, "fake-python", fake, sizeof fake - 1);
    assert_int_equal(chmod(python, 0700), 0);
    with_python(python, model);
    RUN("bench", "--compare", "-m", model, "--batch", "1,2", "--rounds", "3", "--precision", "int8",
        "--json");
    assert_int_equal(rig.r.status, 7);
    snprintf(
        expected, sizeof expected,
        "<->\n<--weft>\n<%s>\n<--model>\n<%s>\n<--precision>\n<int8>\n<--batch>\n<1,2>\n<--gen>\n<64>\n"
        "<--rounds>\n<3>\n<--json>\n<->\n#!/usr/bin/env python3\n\"\"\"Measures weft, OpenVINO GenAI and",
        rig.binary, model);
    assert_true(rig.r.out_len > strlen(expected));
    rig.r.out[strlen(expected)] = '\0';
    assert_string_equal(rig.r.out, expected);
}

/* weft's own part by the whole script; the system's Python has no peers, or has them, and then they are measured too. */
static void the_script_measures_weft(void **state)
{
    (void)state;
    char model[600];
    with_python("/usr/bin/python3", model);
    RUN("bench", "--compare", "-m", model, "--batch", "2", "--prompt", "16", "--gen", "4", "--rounds", "2",
        "--precision", "fp32", "--json");
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig), *rows = json_object_get(b, "rows"), *skipped = json_object_get(b, "skipped");
    assert_int_equal(json_array_size(rows), 2); /* prefill, decode */
    for (size_t i = 0; i < 2; i++) {
        json_t *speeds = json_object_get(json_array_get(rows, i), "tok_per_s");
        json_t *own = json_object_get(json_object_get(speeds, "weft"), "fp32");
        assert_int_equal(json_array_size(own), 2);
        for (size_t round = 0; round < 2; round++)
            assert_true(json_number_value(json_array_get(own, round)) > 0);
        assert_int_equal(json_object_size(speeds) + json_object_size(skipped), 3);
    }
    json_decref(b);
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(figures_are_complete_and_consistent),
        TEST(a_profile_tells_where_time_goes),
        TEST(longer_prompts_are_held_against_the_shortest),
        TEST(people_get_a_table),
        TEST(comparing_without_peers_says_how_to_get_them),
        TEST(comparing_runs_the_script_in_their_environment),
        TEST(the_script_measures_weft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
