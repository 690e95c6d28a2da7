/* device.threads decides how many cores work (test_devices.c), and no bit of what they compute. */
#include <stdlib.h>

#include "tests/exec/fixture.h"
#include "tests/support/ways.h"

enum { N_IDS = 60, CHUNK = 16 };

static void run_on(const struct fixture *f, const char *precision, uint32_t threads, const uint32_t *ids,
                   float *out)
{
    struct exec_cl_config cfg = config(16, precision);
    struct exec *x;
    struct weft_err err = {0};
    uint32_t blocks[(N_IDS + 15) / 16];
    cfg.threads = threads;
    if (exec_cl_create(f->model, &cfg, &x, &err))
        fail_msg("%s", err.message);
    table(3, blocks, (N_IDS + 15) / 16);
    run_alone(x, ids, N_IDS, CHUNK, blocks, out);
    exec_destroy(x);
}

static void the_number_of_cores_changes_no_bit(void **state)
{
    const char *precision = *state;
    static const uint32_t threads[] = {1, 2, 1000};
    const struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    struct fixture f;
    uint32_t ids[N_IDS];
    open_model(&f, &tiny);
    const size_t n = (size_t)N_IDS * tiny.n_vocab;
    float *all = calloc(n, sizeof *all), *some = calloc(n, sizeof *some);
    assert_true(all && some);
    random_ids(1, tiny.n_vocab, ids, N_IDS);
    run_on(&f, precision, 0, ids, all);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        run_on(&f, precision, threads[i], ids, some);
        assert_memory_equal(all, some, n * sizeof *all);
    }
    free(all);
    free(some);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(the_number_of_cores_changes_no_bit, (void *)"int8"),
        cmocka_unit_test_prestate(the_number_of_cores_changes_no_bit, (void *)"bf16"),
        cmocka_unit_test_prestate(the_number_of_cores_changes_no_bit, (void *)"fp32"),
    };
    return cmocka_run_group_tests_name("threads", tests, choose_ways, NULL);
}
