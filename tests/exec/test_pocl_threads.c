/* labels: unit */
/* When PoCL's threads are pinned: with all cores for ourselves, and no word of the user's. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/exec/pocl_threads.h"

static int forget(void **state)
{
    (void)state;
    return unsetenv("POCL_AFFINITY");
}

static void all_cores_are_taken_one_by_one(void **state)
{
    cpu_set_t mine;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    pocl_threads_pin(0);
    if (CPU_COUNT(&mine) == sysconf(_SC_NPROCESSORS_CONF))
        assert_string_equal(getenv("POCL_AFFINITY"), "1");
    else
        assert_null(getenv("POCL_AFFINITY"));
}

static void some_cores_are_left_to_the_system(void **state)
{
    (void)state;
    pocl_threads_pin(1);
    assert_null(getenv("POCL_AFFINITY"));
}

static void a_process_held_to_one_core_stays_there(void **state)
{
    cpu_set_t mine, one;
    (void)state;
    if (sysconf(_SC_NPROCESSORS_CONF) < 2)
        skip();
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    CPU_ZERO(&one);
    for (int i = 0; !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &mine))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pocl_threads_pin(0);
    assert_int_equal(sched_setaffinity(0, sizeof mine, &mine), 0);
    assert_null(getenv("POCL_AFFINITY"));
}

static void the_users_word_stands(void **state)
{
    (void)state;
    setenv("POCL_AFFINITY", "0", 1);
    pocl_threads_pin(0);
    assert_string_equal(getenv("POCL_AFFINITY"), "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(all_cores_are_taken_one_by_one, forget),
        cmocka_unit_test_setup(some_cores_are_left_to_the_system, forget),
        cmocka_unit_test_setup(a_process_held_to_one_core_stays_there, forget),
        cmocka_unit_test_setup(the_users_word_stands, forget),
    };
    return cmocka_run_group_tests_name("PoCL's threads", tests, NULL, NULL);
}
