/* The list of devices and the choice among them, the device's measured limits, and times per kernel. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/exec/exec_cl.h"
#include "engine/exec/ocl.h"
#include "tests/support/gguf_build.h"

static unsigned chosen(const char *selection, struct exec_cl_device *which, unsigned *n)
{
    struct exec_cl_device *list;
    struct weft_err err = {0};
    unsigned found = 0;
    if (exec_cl_devices(selection, &list, n, &err))
        fail_msg("%s", err.message);
    for (unsigned i = 0; i < *n; i++) {
        assert_true(strlen(list[i].name) > 0 && strlen(list[i].platform) > 0 && strlen(list[i].why) > 0);
        assert_true(list[i].compute_units > 0 && list[i].max_alloc_bytes <= list[i].memory_bytes);
        if (list[i].chosen) {
            *which = list[i];
            found++;
        }
    }
    mem_free(list);
    return found;
}

static void one_device_is_chosen(void **state)
{
    struct exec_cl_device a, b;
    unsigned n = 0;
    char part[12] = "";
    (void)state;
    assert_int_equal(chosen("auto", &a, &n), 1);
    assert_true(a.usable && n >= 1);
    assert_int_equal(chosen("0", &b, &n), 1);
    assert_non_null(strstr(b.why, "number"));
    assert_true(strlen(a.name) > sizeof part);
    memcpy(part, a.name + 2, sizeof part - 1); /* from the middle of its name */
    assert_int_equal(chosen(part, &b, &n), 1);
    assert_non_null(strstr(b.why, part));
    assert_int_equal(chosen("PORTABLE computing", &b, &n) <= 1, 1); /* a platform's name, any case */
    assert_int_equal(chosen("no such device", &b, &n), 0);
    assert_int_equal(chosen("99", &b, &n), 0);
}

static void failing_calls_are_no_device(void **state)
{
    struct exec_cl_device *list;
    struct weft_err err = {0};
    unsigned n = 7;
    (void)state;
    ocl_fail_at(1);
    assert_int_equal(exec_cl_devices("auto", &list, &n, &err), WEFT_NO_DEVICE);
    ocl_fail_at(0);
    assert_null(list);
    assert_int_equal(n, 0);
    assert_string_equal(err.context[0].key, "hint");
}

/* A tiny model on its executor. */
struct tiny {
    struct buf bytes;
    struct model *m;
    struct exec *x;
};

enum { N_TOKENS = 20 };

static void open_tiny(struct tiny *t, uint32_t threads, enum exec_cl_profile_mode profile)
{
    struct gguf_build b;
    const struct gguf_tiny shape = GGUF_TINY_DEFAULT;
    struct weft_err err = {0};
    const struct exec_cl_config cfg = {.device = "auto",
                                       .precision = "fp32",
                                       .cache_dir = TEST_BINARY_DIR "/kernel-cache",
                                       .threads = threads,
                                       .block_tokens = 16,
                                       .n_blocks = 4,
                                       .max_tokens = N_TOKENS,
                                       .max_seqs = 1,
                                       .max_logits = 1,
                                       .profile = profile};
    *t = (struct tiny){.bytes = BUF_INIT};
    gguf_build_tiny_llama(&b, &shape);
    gguf_build_write(&b, &t->bytes);
    gguf_build_free(&b);
    if (model_parse(t->bytes.data, t->bytes.len, "tiny", &t->m, &err) ||
        exec_cl_create(t->m, &cfg, &t->x, &err))
        fail_msg("%s", err.message);
}

static void close_tiny(struct tiny *t)
{
    exec_destroy(t->x);
    model_close(t->m);
    buf_free(&t->bytes);
}

/* ---- how many cores are used ---- */

enum { TASKS_MAX = 256 };

struct task {
    long id;
    double cpu_ns;
};

/* Processor time of each of this process's threads but the calling one, which compiles. */
static size_t read_tasks(struct task *out)
{
    DIR *d = opendir("/proc/self/task");
    size_t n = 0;
    assert_non_null(d);
    for (struct dirent *e; n < TASKS_MAX && (e = readdir(d)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!f)
            continue;
        out[n].id = strtol(e->d_name, NULL, 10);
        n += out[n].id != gettid() && fscanf(f, "%lf", &out[n].cpu_ns) == 1;
        fclose(f);
    }
    closedir(d);
    return n;
}

/* Threads that did at least a tenth of what all together did while the device was measured. */
static unsigned busy_threads(struct exec *x)
{
    static struct task before[TASKS_MAX], after[TASKS_MAX];
    struct exec_cl_peaks peaks;
    struct weft_err err = {0};
    double total = 0;
    unsigned n_busy = 0;
    const size_t n_before = read_tasks(before);
    if (exec_cl_peaks(x, &peaks, &err))
        fail_msg("%s", err.message);
    const size_t n = read_tasks(after);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n_before; j++)
            if (after[i].id == before[j].id)
                after[i].cpu_ns -= before[j].cpu_ns;
        total += after[i].cpu_ns;
    }
    for (size_t i = 0; i < n; i++)
        n_busy += after[i].cpu_ns > total / 10;
    return n_busy;
}

/* On one processor the second half shows nothing, and says so. */
static void threads_are_the_cores_that_work(void **state)
{
    struct exec_cl_device all;
    unsigned n;
    struct tiny t;
    (void)state;
    assert_int_equal(chosen("auto", &all, &n), 1);
    if (strcmp(all.type, "cpu") != 0) {
        print_message("%s isn't a CPU: it isn't parted\n", all.name);
        return;
    }
    open_tiny(&t, 1, EXEC_CL_PROFILE_OFF);
    assert_int_equal(busy_threads(t.x), 1);
    close_tiny(&t);
    open_tiny(&t, 0, EXEC_CL_PROFILE_OFF); /* in the same process: all again */
    const unsigned busy = busy_threads(t.x);
    close_tiny(&t);
    print_message("of %u cores %u worked\n", (unsigned)all.compute_units, busy);
    /* The calling thread, which isn't counted, may work too: not on PoCL. */
    const bool pocl = strcmp(all.platform, "Portable Computing Language") == 0;
    assert_true(all.compute_units > 8
                    ? busy > 1
                    : busy == all.compute_units || (!pocl && busy + 1 == all.compute_units));
}

static void a_part_has_as_many_cores_as_asked_for(void **state)
{
    struct ocl o, whole;
    struct weft_err err = {0};
    (void)state;
    if (ocl_open("auto", 0, false, &whole, &err))
        fail_msg("%s", err.message);
    const uint32_t all = whole.info.compute_units;
    const uint32_t asked[] = {1, all, all + 1, 1000};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        cl_uint units = 0;
        if (ocl_open("auto", asked[i], false, &o, &err))
            fail_msg("%s", err.message);
        clGetDeviceInfo(o.device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
        assert_int_equal(units, o.info.compute_units);
        if (strcmp(o.info.type, "cpu") == 0)
            assert_int_equal(units, asked[i] < all ? asked[i] : all);
        ocl_close(&o);
    }
    ocl_close(&whole);
}

/* Of one step over a prompt: the launches of each kernel by their times' rows; *matmuls: those of the matrix product. */
static uint64_t timed_launches(struct tiny *t, uint64_t *matmuls)
{
    struct weft_err err = {0};
    struct exec_out out;
    const struct exec_cl_profile_row *rows;
    uint32_t ids[N_TOKENS], blocks[2] = {1, 0};
    uint64_t calls = 0;
    exec_cl_profile(t->x, &rows); /* what came before */
    for (uint32_t i = 0; i < N_TOKENS; i++)
        ids[i] = i;
    struct plan_item it = {
        .tokens = ids, .n_tokens = N_TOKENS, .blocks = blocks, .n_blocks = 2, .n_logits = 1};
    struct plan plan = {.step = 1, .items = &it, .n_items = 1};
    assert_int_equal(exec_step(t->x, &plan, &out, &err), WEFT_OK);
    unsigned n = exec_cl_profile(t->x, &rows);
    *matmuls = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_true(rows[i].calls > 0 && rows[i].total_us >= 0);
        calls += rows[i].calls;
        if (strcmp(rows[i].kernel, "matmul") == 0)
            *matmuls = rows[i].calls;
    }
    assert_int_equal(exec_cl_profile(t->x, &rows), 0);
    return calls;
}

static void peaks_and_profile(void **state)
{
    struct tiny t;
    const struct gguf_tiny shape = GGUF_TINY_DEFAULT;
    struct weft_err err = {0};
    struct exec_cl_peaks peaks;
    uint64_t matmuls;
    (void)state;
    open_tiny(&t, 0, EXEC_CL_PROFILE_KERNELS);
    assert_int_equal(exec_cl_peaks(t.x, &peaks, &err), WEFT_OK);
    assert_true(peaks.fma_gflops > 1 && peaks.read_gbs > 0.1);
    const uint64_t one_by_one = timed_launches(&t, &matmuls);
    assert_int_equal(matmuls, shape.n_layer * 5 + 1); /* docs/performance.md */
    close_tiny(&t);
    open_tiny(&t, 0, EXEC_CL_PROFILE_LAUNCHES);
    const uint64_t as_made = timed_launches(&t, &matmuls);
    assert_true(as_made > 0 && as_made <= one_by_one);
    close_tiny(&t);
    open_tiny(&t, 0, EXEC_CL_PROFILE_OFF);
    assert_int_equal(timed_launches(&t, &matmuls), 0);
    close_tiny(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_device_is_chosen),
        cmocka_unit_test(failing_calls_are_no_device),
        cmocka_unit_test(a_part_has_as_many_cores_as_asked_for),
        cmocka_unit_test(threads_are_the_cores_that_work),
        cmocka_unit_test(peaks_and_profile),
    };
    return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
