/* bench: its figures are there and make sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;

static double number(json_t *object, const char *key)
{
    json_t *n = json_object_get(object, key);
    if (!json_is_number(n))
        fail_msg("%s is no number", key);
    return json_number_value(n);
}

static void figures_are_complete_and_consistent(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "bench", "--prompt", "32", "--gen", "8", "--batch", "1,4", "--profile", "--json",
            NULL);
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig), *peaks = json_object_get(b, "peaks"), *rows = json_object_get(b, "rows");
    assert_true(json_is_string(json_object_get(b, "device")));
    assert_true(json_is_string(json_object_get(b, "model")));
    assert_non_null(strstr("fp32 int8", json_string_value(json_object_get(b, "precision"))));
    assert_true(number(peaks, "fma_gflops") > 0.1);
    assert_true(number(peaks, "read_gbs") > 0.1);
    number(peaks, "int8_gops");
    assert_int_equal(json_array_size(rows), 2);
    for (size_t i = 0; i < 2; i++) {
        json_t *r = json_array_get(rows, i);
        double batch = number(r, "batch"), decode = number(r, "decode_tps"), step = number(r, "step_ms");
        assert_true(batch == (i ? 4 : 1));
        assert_true(number(r, "prefill_tps") > 0);
        double product = decode * step / 1000; /* tokens a step */
        assert_true(product > batch * 0.999 && product < batch * 1.001);
        double roofline = number(r, "roofline");
        /* A fraction of peaks that are measured too: on a machine busy with other work it may come out above 1. */
        assert_true(roofline > 0 && roofline < 100);
    }
    assert_true(json_array_size(json_object_get(b, "profile")) > 0);
    json_decref(b);
}

static void people_get_a_table(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "bench", "--prompt", "16", "--gen", "4", "--batch", "2", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "roofline"));
    assert_non_null(strstr(rig.r.out, "\n    2 "));
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(figures_are_complete_and_consistent), TEST(people_get_a_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
