/*
 * What batching gives. Other work on the machine slows it, so the figures are printed and the assertions leave slack: the
 * promises are 3 times and 2 times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/cli_rig.h"

static struct cli_rig rig;

static double row_figure(json_t *bench, size_t row, const char *key)
{
    return json_number_value(json_object_get(json_array_get(json_object_get(bench, "rows"), row), key));
}

static void eight_streams_make_more_than_one(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "bench", "--prompt", "128", "--gen", "32", "--batch", "1,8", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *b = cli_json(&rig);
    double one = row_figure(b, 0, "decode_tps"), eight = row_figure(b, 1, "decode_tps");
    double prefill = row_figure(b, 0, "prefill_tps");
    print_message(
        "decode: 8 streams make %.1f times the tokens of one; prefill is %.1f times as fast as decode\n",
        eight / one, prefill / one);
    assert_true(eight > 3 * 0.6 * one);
    assert_true(prefill > 2 * 0.6 * one);
    json_decref(b);
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, cli_rig_set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(eight_streams_make_more_than_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
