/*
 * Measuring tiles: no variant and no choice changes a bit, a start does nothing for it, it comes to an end, and the next
 * start has the answer.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fixture.h"
#include "tests/support/ways.h"

#include "engine/base/clock.h"
#include "engine/exec/exec_cl_impl.h"
#include "engine/exec/kernel_cache.h"
#include "engine/exec/ocl.h"

enum { N_IDS = 64, PATIENCE_US = 120000000 };

/* A model as the executor computes it: by a crew, or with heads of 16 in int8 by single launches; `want` is what it gives
 * before anything was measured. */
struct tuned {
    struct fixture f;
    const char *precision;
    uint32_t ids[N_IDS], blocks[N_IDS / 16];
    size_t n;
    float *want, *got;
};

/* Other tests' answers aside: the kernels are shared with them. */
static void forget_answers(void)
{
    if (system("rm -f '" TEST_BINARY_DIR "'/kernel-cache/*.tune"))
        fail_msg("the answers of earlier runs can't be removed");
}

static unsigned count_answers(void)
{
    FILE *list = popen("ls '" TEST_BINARY_DIR "'/kernel-cache/ | grep -c '\\.tune$'", "r");
    unsigned n = 0;
    assert_non_null(list);
    assert_int_equal(fscanf(list, "%u", &n), 1);
    pclose(list);
    return n;
}

static void compute(struct tuned *t, float *out, uint32_t chunk)
{
    run_alone(t->f.x, t->ids, N_IDS, chunk, t->blocks, out);
}

static struct exec_cl *inside(struct tuned *t)
{
    return (struct exec_cl *)t->f.x;
}

static int open_as(void **state, const char *precision, uint32_t n_head)
{
    struct tuned *t = calloc(1, sizeof *t);
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    tiny.n_head = n_head;
    tiny.n_head_kv = n_head / 2;
    t->precision = precision;
    open_model(&t->f, &tiny);
    forget_answers();
    open_exec(&t->f, 16, precision);
    assert_string_equal(t->f.x->info.precision, precision);
    random_ids(3, tiny.n_vocab, t->ids, N_IDS);
    table(0, t->blocks, N_IDS / 16);
    t->n = (size_t)N_IDS * tiny.n_vocab;
    t->want = calloc(t->n, sizeof *t->want);
    t->got = calloc(t->n, sizeof *t->got);
    assert_true(t->want && t->got);
    compute(t, t->want, N_IDS);
    *state = t;
    return 0;
}

static int open_int8(void **state)
{
    return open_as(state, "int8", 2);
}

static int open_bf16(void **state)
{
    return open_as(state, "bf16", 2);
}

static int open_int8_launches(void **state)
{
    return open_as(state, "int8", 4);
}

static int open_fp32(void **state)
{
    return open_as(state, "fp32", 4);
}

static int close_tuned(void **state)
{
    struct tuned *t = *state;
    close_all(&t->f);
    free(t->want);
    free(t->got);
    free(t);
    forget_answers();
    return 0;
}

static void reopen(struct tuned *t)
{
    exec_destroy(t->f.x);
    open_exec(&t->f, 16, t->precision);
}

/* Slices until nothing is left to find out. */
static unsigned tune(struct tuned *t)
{
    const int64_t until = clock_now_us() + PATIENCE_US;
    unsigned n = 0;
    while (exec_idle(t->f.x)) {
        n++;
        assert_true(clock_now_us() < until);
    }
    return n;
}

static void no_variant_changes_a_bit(void **state)
{
    static const uint32_t chunks[] = {64, 49, 24, 15, 6, 1};
    struct tuned *t = *state;
    struct tiles *tiles = &inside(t)->device.forward.tiles;
    const struct tiles before = *tiles;
    for (uint8_t variant = 0; variant < 1 << TILES_BITS; variant++) { /* also those that can't be chosen */
        memset(tiles->of, variant, sizeof tiles->of);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            memset(t->got, 0, t->n * sizeof *t->got);
            compute(t, t->got, chunks[i]);
            assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);
        }
    }
    *tiles = before;
}

static void measuring_changes_no_bit_and_ends(void **state)
{
    struct tuned *t = *state;
    reopen(t);
    assert_non_null(inside(t)->device.tuner);
    assert_int_equal(count_answers(), 0);
    compute(t, t->got, N_IDS);
    assert_true(exec_idle(t->f.x));
    compute(t, t->got, N_IDS); /* a request in the midst of it */
    assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);
    const uint64_t bytes = inside(t)->device.ocl.allocated;
    tune(t);
    assert_null(inside(t)->device.tuner);
    assert_true(inside(t)->device.ocl.allocated < bytes); /* what it took is given back */
    assert_false(exec_idle(t->f.x));
    compute(t, t->got, N_IDS);
    assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);
    assert_int_equal(count_answers(), 1);
}

static void the_next_start_knows(void **state)
{
    struct tuned *t = *state;
    reopen(t);
    tune(t);
    const struct tiles found = inside(t)->device.forward.tiles;
    reopen(t);
    assert_null(inside(t)->device.tuner);
    assert_false(exec_idle(t->f.x));
    assert_memory_equal(&inside(t)->device.forward.tiles, &found, sizeof found);
    compute(t, t->got, N_IDS);
    assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);

    if (system("for f in '" TEST_BINARY_DIR "'/kernel-cache/*.tune; do echo 7 >> \"$f\"; done"))
        fail_msg("the answer can't be damaged");
    reopen(t); /* a damaged answer is none */
    assert_non_null(inside(t)->device.tuner);
    compute(t, t->got, N_IDS);
    assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);
}

/* READY is as soon: with nothing known, a start makes the OpenCL calls of one that knows. */
static void a_start_measures_nothing(void **state)
{
    struct tuned *t = *state;
    forget_answers();
    ocl_fail_at(0);
    reopen(t);
    const size_t ignorant = ocl_fail_at(0);
    const uint64_t bytes = inside(t)->device.ocl.allocated;
    assert_non_null(inside(t)->device.tuner);
    tune(t);
    ocl_fail_at(0);
    reopen(t);
    assert_int_equal(ocl_fail_at(0), ignorant);
    assert_int_equal(inside(t)->device.ocl.allocated, bytes);
    assert_null(inside(t)->device.tuner);
}

/* Each call of the first slices fails once: it is given up, and steps go on as they were. */
static void failures_end_it_and_nothing_else(void **state)
{
    struct tuned *t = *state;
    for (size_t n = 1; n < 30; n += 3) {
        forget_answers();
        reopen(t);
        ocl_fail_at(n);
        tune(t);
        assert_true(ocl_fail_at(0) >= n); /* so one did fail */
        assert_null(inside(t)->device.tuner);
        assert_int_equal(count_answers(), 0);
        compute(t, t->got, N_IDS);
        assert_memory_equal(t->got, t->want, t->n * sizeof *t->got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_variant_changes_a_bit),
        cmocka_unit_test(measuring_changes_no_bit_and_ends),
        cmocka_unit_test(the_next_start_knows),
        cmocka_unit_test(a_start_measures_nothing),
        cmocka_unit_test(failures_end_it_and_nothing_else),
    };
    choose_ways(NULL);
    return cmocka_run_group_tests_name("tuner, bf16", tests, open_bf16, close_tuned) +
           cmocka_run_group_tests_name("tuner, int8", tests, open_int8, close_tuned) +
           cmocka_run_group_tests_name("tuner, int8, single launches", tests, open_int8_launches,
                                       close_tuned) +
           cmocka_run_group_tests_name("tuner, fp32", tests, open_fp32, close_tuned);
}
