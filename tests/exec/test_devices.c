/* The list of devices and the choice among them, the device's measured limits, and times per kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static void peaks_and_profile(void **state)
{
    enum { N = 20 };
    struct gguf_build b;
    const struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    struct buf bytes = BUF_INIT;
    struct model *m = NULL;
    struct exec *x = NULL;
    struct weft_err err = {0};
    struct exec_cl_peaks peaks;
    struct exec_out out;
    const struct exec_cl_profile_row *rows;
    uint32_t ids[N], blocks[2] = {1, 0};
    const struct exec_cl_config cfg = {.device = "auto",
                                       .precision = "fp32",
                                       .cache_dir = TEST_BINARY_DIR "/kernel-cache",
                                       .block_tokens = 16,
                                       .n_blocks = 4,
                                       .max_tokens = N,
                                       .max_seqs = 1,
                                       .max_logits = 1,
                                       .profile = true};
    (void)state;
    gguf_build_tiny_llama(&b, &tiny);
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    if (model_parse(bytes.data, bytes.len, "tiny", &m, &err) || exec_cl_create(m, &cfg, &x, &err))
        fail_msg("%s", err.message);
    assert_int_equal(exec_cl_peaks(x, &peaks, &err), WEFT_OK);
    assert_true(peaks.fma_gflops > 1 && peaks.read_gbs > 0.1);

    exec_cl_profile(x, &rows); /* what came before */
    for (uint32_t i = 0; i < N; i++)
        ids[i] = i;
    struct plan_item it = {.tokens = ids, .n_tokens = N, .blocks = blocks, .n_blocks = 2, .n_logits = 1};
    struct plan plan = {.step = 1, .items = &it, .n_items = 1};
    assert_int_equal(exec_step(x, &plan, &out, &err), WEFT_OK);
    unsigned n = exec_cl_profile(x, &rows);
    uint64_t matmuls = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_true(rows[i].calls > 0 && rows[i].total_us >= 0);
        if (strcmp(rows[i].kernel, "matmul") == 0)
            matmuls = rows[i].calls;
    }
    assert_int_equal(matmuls, tiny.n_layer * 5 + 1); /* docs/performance.md */
    assert_int_equal(exec_cl_profile(x, &rows), 0);
    exec_destroy(x);
    model_close(m);
    buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_device_is_chosen),
        cmocka_unit_test(failing_calls_are_no_device),
        cmocka_unit_test(peaks_and_profile),
    };
    return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
