/* labels: unit */
/* The directory of compiled kernels: what is counted, what is evicted and in which order, clearing, and its lock between
 * processes. */
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
#include "engine/exec/kernel_cache.h"

struct place {
    char dir[64];
    int fd;
};

static int open_place(void **state)
{
    static struct place p;
    strcpy(p.dir, "/tmp/weft-kernels-XXXXXX");
    if (!mkdtemp(p.dir) || (p.fd = kernel_cache_open(p.dir)) < 0)
        return -1;
    *state = &p;
    return 0;
}

static int close_place(void **state)
{
    struct place *p = *state;
    char path[128];
    kernel_cache_clear(p->fd, NULL);
    unlinkat(p->fd, "pocl.lock", 0);
    close(p->fd);
    snprintf(path, sizeof path, "%s/pocl", p->dir);
    rmdir(path);
    return rmdir(p->dir);
}

/* A file of `bytes` bytes, its directories made. */
static void put(struct place *p, const char *name, size_t bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    for (char *slash = strchr(path + strlen(p->dir) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++)
        assert_int_not_equal(fputc('k', f), EOF);
    assert_int_equal(fclose(f), 0);
}

/* Says that the program was last used that many seconds ago. */
static void age(struct place *p, const char *name, int64_t seconds)
{
    const time_t then = (time_t)(kernel_cache_now() / 1000000000 - seconds);
    const struct timespec times[2] = {{.tv_sec = then}, {.tv_sec = then}};
    assert_int_equal(utimensat(p->fd, name, times, 0), 0);
}

static bool exists(struct place *p, const char *name)
{
    return faccessat(p->fd, name, F_OK, 0) == 0;
}

/* Two programs of PoCL's, two of another runtime's, and a note: 100 + 200 + 300 + 400 + 7 bytes. */
static void fill(struct place *p)
{
    put(p, "pocl/AB/CDEF/program.bc", 40);
    put(p, "pocl/AB/CDEF/matmul/1-1-1/matmul.so", 60);
    put(p, "pocl/AB/XYZ/program.bc", 200);
    put(p, "0123456789abcdef.clbin", 300);
    put(p, "fedcba9876543210.clbin", 400);
    put(p, "0123456789abcdef.dot", 7);
    age(p, "pocl/AB/CDEF", 400);
    age(p, "fedcba9876543210.clbin", 300);
    age(p, "pocl/AB/XYZ", 200);
    age(p, "0123456789abcdef.clbin", 100);
}

static void everything_is_counted(void **state)
{
    struct place *p = *state;
    struct kernel_cache_size s = {9, 9};
    assert_true(kernel_cache_measure(p->fd, &s));
    assert_int_equal(s.bytes, 0);
    assert_int_equal(s.n_programs, 0);
    fill(p);
    assert_true(kernel_cache_measure(p->fd, &s));
    assert_int_equal(s.bytes, 1007);
    assert_int_equal(s.n_programs, 4);
}

static void what_is_unused_for_longest_goes_first(void **state)
{
    struct place *p = *state;
    struct kernel_cache_size gone;
    const int64_t now = kernel_cache_now() + INT64_C(1000000000);
    fill(p);
    assert_true(kernel_cache_trim(p->fd, 0, now, &gone)); /* no limit */
    assert_true(kernel_cache_trim(p->fd, 1007, now, &gone));
    assert_int_equal(gone.n_programs, 0);

    assert_true(
        kernel_cache_trim(p->fd, 1006, now, &gone)); /* a byte too much: the oldest program goes, whole */
    assert_int_equal(gone.n_programs, 1);
    assert_int_equal(gone.bytes, 100);
    assert_false(exists(p, "pocl/AB/CDEF"));
    assert_true(exists(p, "pocl/AB/XYZ/program.bc"));

    kernel_cache_touch(p->fd, "fedcba9876543210.clbin"); /* used: it stays, and two younger ones go */
    assert_true(kernel_cache_trim(p->fd, 407, now, &gone));
    assert_int_equal(gone.n_programs, 2);
    assert_int_equal(gone.bytes, 500);
    assert_true(exists(p, "fedcba9876543210.clbin"));
    assert_false(exists(p, "pocl/AB/XYZ"));

    assert_true(kernel_cache_trim(p->fd, 1, now, &gone));
    assert_false(exists(p, "fedcba9876543210.clbin"));
    assert_true(exists(p, "0123456789abcdef.dot")); /* a note */
}

static void what_this_start_uses_stays(void **state)
{
    struct place *p = *state;
    struct kernel_cache_size gone;
    const int64_t since = kernel_cache_now();
    fill(p);
    kernel_cache_touch(p->fd, "pocl/AB/CDEF");
    put(p, "aaaaaaaaaaaaaaaa.clbin", 5);
    assert_true(kernel_cache_trim(p->fd, 1, since, &gone));
    assert_int_equal(gone.n_programs, 3);
    assert_true(exists(p, "pocl/AB/CDEF/matmul/1-1-1/matmul.so"));
    assert_true(exists(p, "aaaaaaaaaaaaaaaa.clbin"));
}

static void clearing_leaves_the_lock_and_what_pocl_writes_to(void **state)
{
    struct place *p = *state;
    struct kernel_cache_size s;
    fill(p);
    put(p, "pocl.seal", 10);
    int lock = kernel_cache_lock(p->fd, 0);
    assert_true(lock >= 0);
    assert_true(kernel_cache_clear(p->fd, &s));
    assert_int_equal(s.bytes, 1017);
    assert_int_equal(s.n_programs, 4);
    close(lock);
    assert_true(exists(p, "pocl.lock"));
    assert_true(exists(p, "pocl"));
    assert_false(exists(p, "pocl/AB"));
    assert_false(exists(p, "pocl.seal"));
    assert_true(kernel_cache_measure(p->fd, &s));
    assert_int_equal(s.bytes, 0);
}

static void links_are_not_followed(void **state)
{
    struct place *p = *state, other;
    char target[128];
    struct kernel_cache_size s;
    strcpy(other.dir, "/tmp/weft-kernels-XXXXXX");
    assert_non_null(mkdtemp(other.dir));
    put(&other, "precious.clbin", 50);
    mkdirat(p->fd, "pocl", 0700);
    mkdirat(p->fd, "pocl/AB", 0700);
    assert_int_equal(symlinkat(other.dir, p->fd, "pocl/AB/link"), 0);
    assert_true(kernel_cache_measure(p->fd, &s));
    assert_int_equal(s.bytes, 0);
    assert_true(kernel_cache_clear(p->fd, NULL));
    assert_false(exists(p, "pocl/AB"));
    snprintf(target, sizeof target, "%s/precious.clbin", other.dir);
    assert_int_equal(unlink(target), 0); /* it is still there */
    assert_int_equal(rmdir(other.dir), 0);
}

/* The other process: it takes the lock, says so, and holds it until it is told to end. */
static pid_t hold_lock(struct place *p, int said[2], int end[2])
{
    char c = 0;
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(end[1]);
        int lock = kernel_cache_lock(p->fd, 0);
        bool good = lock >= 0 && write(said[1], "l", 1) == 1 && read(end[0], &c, 1) == 0;
        _exit(good ? 0 : 1);
    }
    close(end[0]);
    assert_int_equal(read(said[0], &c, 1), 1);
    return child;
}

static void the_lock_is_between_processes(void **state)
{
    enum { A_WHILE_MS = 30, LONG_MS = 30000 };
    struct place *p = *state;
    int said[2], end[2], status = 1;
    pid_t child = hold_lock(p, said, end);
    const int64_t from = clock_now_us();
    assert_int_equal(kernel_cache_lock(p->fd, A_WHILE_MS), -1); /* patience ends */
    assert_true(clock_now_us() - from >= A_WHILE_MS * 1000);
    close(end[1]);
    int lock = kernel_cache_lock(p->fd, LONG_MS); /* it comes when the holder ends */
    assert_true(lock >= 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(lock);
    close(said[0]);
    close(said[1]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(everything_is_counted),      TEST(what_is_unused_for_longest_goes_first),
        TEST(what_this_start_uses_stays), TEST(clearing_leaves_the_lock_and_what_pocl_writes_to),
        TEST(links_are_not_followed),     TEST(the_lock_is_between_processes),
    };
    return cmocka_run_group_tests_name("kernel_cache", tests, NULL, NULL);
}
