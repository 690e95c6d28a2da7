/*
 * The kernel cache as users meet it, on a cold cache of its own: two starts at once, what a warm start writes (nothing),
 * damage, the limit, and clearing. Kernels are compiled some times over, so this takes a while.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "tests/support/cli_rig.h"

static struct cli_rig rig;

enum { PATIENCE_MS = 240000 };

/* An empty cache in the rig's directory. */
static int set_up(void **state)
{
    cli_rig_set_up(state);
    snprintf(rig.env_text[2], sizeof rig.env_text[2], "XDG_CACHE_HOME=%s/cache", rig.dir);
    return 0;
}

static void generate(struct cli_rig *r, const char *precision, const char *setting)
{
    const char *const arguments[] = {"generate", "-p",     "Hi",          "-n",      "4",     "--temp", "0",
                                     "-q",       "--json", "--precision", precision, "--set", setting,  NULL};
    cli_run_with(r, &(struct proc_options){.timeout_ms = PATIENCE_MS}, arguments);
    cli_assert_status(r, 0);
}

/* What it generates is the same with whatever cache. */
static char *text_of_last_run(void)
{
    json_t *result = cli_json(&rig);
    char *text = strdup(cli_json_text(result, "text"));
    json_decref(result);
    return text;
}

struct usage {
    long long bytes, programs;
};

static struct usage usage_of(json_t *o)
{
    return (struct usage){json_integer_value(json_object_get(o, "bytes")),
                          json_integer_value(json_object_get(o, "programs"))};
}

static struct usage measure(void)
{
    cli_run(&rig, NULL, "cache", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *o = cli_json(&rig);
    struct usage u = usage_of(o);
    json_decref(o);
    return u;
}

static void in_cache(const char *name, char path[256])
{
    snprintf(path, 256, "%s/cache/weft/kernels/%s", rig.dir, name);
}

static struct stat seal(void)
{
    char path[256];
    struct stat st;
    in_cache("pocl.seal", path);
    assert_int_equal(stat(path, &st), 0);
    return st;
}

/* Two processes on one cold cache: one compiles, the other waits for it, both say the same. */
static void start_two_at_once(void)
{
    int status = 1;
    fflush(NULL);
    pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0) {
        struct cli_rig second = rig;
        second.r = (struct proc_result){0};
        generate(&second, "fp32", "device.cache_mb=1");
        _exit(0);
    }
    generate(&rig, "fp32", "device.cache_mb=1");
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
}

static void a_life_of_the_cache(void **state)
{
    char path[256];
    (void)state;
    struct usage u = measure(); /* before the first start: nothing, and no directory is made */
    assert_true(u.bytes == 0 && u.programs == 0);
    in_cache("", path);
    assert_int_equal(access(path, F_OK), -1);

    start_two_at_once();
    char *text = text_of_last_run();
    const struct usage fp32 = measure();
    print_message("fp32: %lld bytes in %lld programs\n", fp32.bytes, fp32.programs);
    assert_true(fp32.programs >= 2 && fp32.bytes > 0);

    const struct stat before = seal(); /* a warm start compiles nothing and writes nothing */
    generate(&rig, "fp32", "device.cache_mb=0");
    const struct stat after = seal();
    assert_true(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    assert_int_equal(measure().bytes, fp32.bytes);

    /* Kernels cut off, which PoCL by itself would load and end the process by. */
    char command[400];
    snprintf(command, sizeof command, "find '%s' -name '*.so' -size +4k -exec truncate -s 4000 {} +",
             rig.dir);
    assert_int_equal(system(command), 0);
    assert_true(measure().bytes < fp32.bytes);
    generate(&rig, "fp32", "device.cache_mb=0");
    char *rebuilt = text_of_last_run();
    assert_string_equal(rebuilt, text);
    free(rebuilt);
    assert_int_equal(measure().bytes, fp32.bytes);

    generate(&rig, "int8", "device.cache_mb=0"); /* no limit: both are kept */
    assert_true(measure().programs > fp32.programs);

    /* Above the limit what a start doesn't use goes, and what it uses stays. */
    generate(&rig, "fp32", "device.cache_mb=1");
    char *again = text_of_last_run();
    assert_string_equal(again, text);
    const struct usage trimmed = measure();
    print_message("with a limit of 1 MiB: %lld bytes in %lld programs\n", trimmed.bytes, trimmed.programs);
    assert_true(trimmed.bytes <= (fp32.bytes > 1 << 20 ? fp32.bytes : 1 << 20) + 4096);
    generate(&rig, "fp32", "device.cache_mb=1");
    assert_int_equal(measure().bytes, trimmed.bytes);

    /* Cleared: the next start is a cold one, with the self-check of the int8 instructions in it. */
    cli_run(&rig, NULL, "cache", "--clear", NULL);
    cli_assert_status(&rig, 0);
    assert_int_equal(measure().programs, 0);
    const int64_t from_us = clock_now_us();
    generate(&rig, "int8", "device.cache_mb=128");
    print_message("a cold start at int8, its reply included: %.1f s, %.1f s of processor time\n",
                  (double)(clock_now_us() - from_us) / 1e6, rig.r.cpu_s);
    assert_true(rig.r.cpu_s < 2 * 10); /* the promise is 10 s; how long it takes depends on what else runs */
    free(text);
    free(again);
}

static void clearing(void **state)
{
    (void)state;
    char path[256];
    cli_run(&rig, NULL, "cache", "--clear", NULL); /* nothing there yet */
    cli_assert_status(&rig, 0);
    snprintf(path, sizeof path, "%s/cache/weft/kernels/pocl/AB/CDEF", rig.dir);
    for (char *slash = strchr(path + strlen(rig.dir) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    assert_int_equal(mkdir(path, 0700), 0);
    strcat(path, "/kernel.so");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("12345", f);
    fclose(f);
    struct usage u = measure();
    assert_true(u.bytes == 5 && u.programs == 1);
    cli_run(&rig, NULL, "cache", NULL);
    cli_assert_status(&rig, 0);
    assert_non_null(strstr(rig.r.out, "in 1 programs; at most 128 MiB"));
    cli_run(&rig, NULL, "cache", "--clear", "--json", NULL);
    cli_assert_status(&rig, 0);
    json_t *o = cli_json(&rig);
    u = usage_of(json_object_get(o, "removed"));
    assert_true(u.bytes == 5 && u.programs == 1);
    u = usage_of(o);
    assert_true(u.bytes == 0 && u.programs == 0);
    json_decref(o);
    assert_int_equal(access(path, F_OK), -1);
    in_cache("", path);
    assert_int_equal(chmod(path, 0777), 0); /* not ours alone: left as it is, and said */
    cli_run(&rig, NULL, "cache", "--clear", NULL);
    cli_assert_error(&rig, 1, "INTERNAL_ERROR", "others can't write to");
}

#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, set_up, cli_rig_tear_down, &rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clearing),
        TEST(a_life_of_the_cache),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
