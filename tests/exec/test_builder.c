/* The child that builds kernels on a second core. This process never uses OpenCL itself, as a child of one that did lacks the
 * runtime's threads. */
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/parallel.h"
#include "engine/exec/builder.h"
#include "engine/exec/kernel_cache.h"
#include "engine/exec/pocl_cache.h"

enum { PATIENCE_US = 240000000 };

static const struct ops_shape shape = {.n_layer = 1,
                                       .n_head = 2,
                                       .n_head_kv = 1,
                                       .head_dim = 16,
                                       .block_tokens = 16,
                                       .types = (uint64_t)1 << QUANT_Q8_0,
                                       .layer_type = QUANT_TYPE_LIMIT};

/* A cache directory, as a process finds it that hasn't used PoCL yet. */
struct place {
    char dir[64];
    int fd;
    struct pocl_cache cache;
};

static int open_place(void **state)
{
    static struct place p;
    p = (struct place){.dir = "/tmp/weft-builder-XXXXXX"};
    unsetenv("POCL_CACHE_DIR");
    if (!mkdtemp(p.dir) || (p.fd = kernel_cache_open(p.dir)) < 0)
        return -1;
    pocl_cache_begin(p.dir, p.fd, &p.cache);
    *state = &p;
    return p.cache.first ? 0 : -1;
}

static int close_place(void **state)
{
    struct place *p = *state;
    char pocl[80];
    bool good = kernel_cache_clear(p->fd, NULL);
    pocl_cache_end(&p->cache, false, 0);
    unsetenv("POCL_CACHE_DIR");
    unlinkat(p->fd, "pocl.lock", 0);
    close(p->fd);
    snprintf(pocl, sizeof pocl, "%s/pocl", p->dir);
    rmdir(pocl);
    return good ? rmdir(p->dir) : -1;
}

/* Files below the directory whose names end so. */
static unsigned count_files(const char *dir, const char *ending)
{
    char path[128];
    char *roots[] = {path, NULL};
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/pocl", dir);
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    assert_non_null(tree);
    for (FTSENT *e; (e = fts_read(tree)) != NULL;) {
        const size_t len = strlen(e->fts_name), tail = strlen(ending);
        n += e->fts_info == FTS_F && len > tail && strcmp(e->fts_name + len - tail, ending) == 0;
    }
    fts_close(tree);
    return n;
}

/* Notes that something was built. */
static unsigned count_notes(const struct place *p)
{
    DIR *d = opendir(p->dir);
    unsigned n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, ".built") != NULL;
    closedir(d);
    return n;
}

/* Until the child has ended by itself, or the deadline, when it is ended. */
static bool ended(struct builder *b, int64_t patience_us, bool built)
{
    const int64_t until = clock_now_us() + patience_us;
    pid_t found = 0;
    while (clock_now_us() < until && (found = waitpid(b->child, NULL, WNOHANG)) == 0)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (found == b->child)
        b->child = 0;
    builder_end(b, built);
    return found > 0;
}

static void a_child_fills_the_cache(void **state)
{
    struct place *p = *state;
    struct builder b;
    struct kernel_cache_size size;
    builder_begin("auto", &shape, p->fd, &b);
    if (parallel_processors() < 2) {
        print_message("one processor: no child is made\n");
        assert_int_equal(b.child, 0);
    } else {
        assert_true(b.child > 0);
        assert_true(ended(&b, PATIENCE_US, true));
        const unsigned programs = count_files(p->dir, ".bc"), kernels = count_files(p->dir, ".so");
        print_message("%u programs, %u kernels\n", programs, kernels);
        assert_true(programs >= 2 &&
                    kernels > 2 * programs); /* from the middle on, and then those before it */
        assert_true(kernel_cache_measure(p->fd, &size));
        assert_int_equal(size.n_programs, programs);
        assert_int_equal(count_notes(p), 1);
    }
    builder_begin("auto", &shape, p->fd, &b); /* it was done */
    assert_int_equal(b.child, 0);
    builder_end(&b, false);
    struct ops_shape other = shape;
    other.head_dim = 32;
    builder_begin("auto", &other, p->fd, &b); /* other kernels weren't */
    assert_int_equal(b.child > 0, parallel_processors() > 1);
    builder_end(&b, false);
}

static void a_child_is_ended_when_it_is_no_longer_needed(void **state)
{
    struct place *p = *state;
    struct builder b;
    builder_begin("auto", &shape, p->fd, &b);
    const pid_t child = b.child;
    builder_end(&b, false);
    assert_int_equal(b.child, 0);
    if (child) {
        assert_int_equal(waitpid(child, NULL, WNOHANG), -1); /* waited for */
        assert_int_equal(errno, ECHILD);
    }
    builder_end(&b, false); /* again: nothing */
    builder_begin("no such device", &shape, p->fd, &b);
    if (b.child)
        assert_true(ended(&b, PATIENCE_US, false)); /* it has nothing to do */
    assert_int_equal(count_notes(p), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_child_fills_the_cache, open_place, close_place),
        cmocka_unit_test_setup_teardown(a_child_is_ended_when_it_is_no_longer_needed, open_place,
                                        close_place),
    };
    return cmocka_run_group_tests_name("builder", tests, NULL, NULL);
}
