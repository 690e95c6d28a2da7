/* labels: unit */
/* weft demo without its screen: the list, and what is refused before a terminal is touched. */
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

static int setup(void **state)
{
    (void)state;
    cli_rig_init(&rig, TEST_BINARY_DIR);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cli_rig_deinit(&rig);
    return 0;
}

static void list_names_every_workload(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "demo", "--list", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "tour "));
    assert_non_null(strstr(rig.r.out, "vip-against-crowd "));
    assert_int_equal(rig.r.err_len, 0);
    cli_run(&rig, NULL, "demo", "--list", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *all = cli_json(&rig), *one;
    size_t i;
    assert_int_equal(json_array_size(all), 12);
    json_array_foreach(all, i, one)
    {
        assert_true(json_string_length(json_object_get(one, "name")) > 0);
        assert_true(json_string_length(json_object_get(one, "shows")) > 0);
    }
    json_decref(all);
}

static void a_terminal_is_needed(void **state)
{
    (void)state;
    cli_run(&rig, NULL, "demo", NULL);
    cli_assert_error(&rig, 2, "USAGE", "needs a terminal");
    cli_run(&rig, NULL, "demo", "--sim", "poisson", NULL);
    cli_assert_error(&rig, 2, "USAGE", "weft replay");
}

static void wrong_workloads_are_refused(void **state)
{
    (void)state;
    static const char unknown[] = "requests: [{text: a}]\ncaption: b\n",
                      setting[] = "set: {kv.blocks: -1}\nrequests: [{text: a}]\n";
    cli_run(&rig, NULL, "demo", "nonsense", NULL);
    cli_assert_error(&rig, 3, "FILE_INVALID", "nonsense: no such file, nor a built-in workload");
    cli_run(&rig, NULL, "demo", "a", "b", NULL);
    cli_assert_error(&rig, 2, "USAGE", "unexpected argument");
    cli_run(&rig, NULL, "demo", cli_file(&rig, "unknown.yaml", unknown, strlen(unknown)), NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "unknown.yaml:2: caption");
    cli_run(&rig, NULL, "demo", cli_file(&rig, "setting.yaml", setting, strlen(setting)), NULL);
    cli_assert_error(&rig, 2, "CONFIG_INVALID", "kv.blocks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(list_names_every_workload, setup, teardown),
        cmocka_unit_test_setup_teardown(a_terminal_is_needed, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_workloads_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
