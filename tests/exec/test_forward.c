/*
 * The forward pass on the device against plain C in double precision, for every weight type, shape and precision; and
 * creation, with each call in it failing once.
 */
#include <math.h>
#include <stdlib.h>

#include "fixture.h"

#include "engine/base/mem.h"
#include "engine/exec/dot.h"
#include "engine/exec/ocl.h"
#include "tests/support/ref_forward.h"
#include "tests/support/ways.h"

/* tolerance: of the largest logit. */
static void against_reference(const struct gguf_tiny *tiny, uint32_t block_tokens, uint32_t n,
                              const char *precision, double tolerance)
{
    struct fixture f;
    uint32_t ids[64], blocks[64];
    open_model(&f, tiny);
    open_exec(&f, block_tokens, precision);
    random_ids(5, tiny->n_vocab, ids, n);
    table(3, blocks, 64);
    double *want = calloc((size_t)n * tiny->n_vocab, sizeof *want), top = 0;
    float *got = calloc((size_t)n * tiny->n_vocab, sizeof *got);
    ref_forward(f.model, ids, n, want);
    run_alone(f.x, ids, n, 24, blocks, got);
    for (size_t i = 0; i < (size_t)n * tiny->n_vocab; i++)
        top = fmax(top, fabs(want[i]));
    assert_true(top > 0.01);
    for (size_t i = 0; i < (size_t)n * tiny->n_vocab; i++)
        if (!(fabs(want[i] - (double)got[i]) <= tolerance * top))
            fail_msg("%s, blocks of %u, position %zu, id %zu: %.9g, want %.9g (largest %.3g)",
                     quant_info(tiny->type)->name, block_tokens, i / tiny->n_vocab, i % tiny->n_vocab,
                     (double)got[i], want[i], top);
    free(want);
    free(got);
    close_all(&f);
}

static void every_weight_type_agrees_with_plain_c(void **state)
{
    static const enum quant_type types[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0,
                                            QUANT_F16,  QUANT_BF16, QUANT_F32};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
        tiny.type = types[i];
        tiny.output_type = types[(i + 1) % (sizeof types / sizeof *types)];
        tiny.tied = i % 2 == 0;
        against_reference(&tiny, 16, 40, "int8", 0.05);
        against_reference(&tiny, 16, 40, "bf16", 0.03);
        against_reference(&tiny, 16, 40, "fp32", 2e-5);
    }
}

/* Widths that are no multiple of a vector or block, heads shared unequally, other block sizes. */
static void odd_shapes_agree_with_plain_c(void **state)
{
    static const struct {
        uint32_t n_embd, n_head, n_head_kv, n_ff, block_tokens;
    } shapes[] = {
        {36, 6, 2, 50, 16}, {40, 4, 1, 33, 32}, {60, 3, 3, 100, 4}, {72, 3, 1, 17, 7}, {34, 1, 1, 48, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
        tiny.type = tiny.output_type = i % 2 ? QUANT_F16 : QUANT_F32;
        tiny.tied = i % 2 == 0;
        tiny.n_embd = shapes[i].n_embd;
        tiny.n_head = shapes[i].n_head;
        tiny.n_head_kv = shapes[i].n_head_kv;
        tiny.n_ff = shapes[i].n_ff;
        tiny.n_vocab = 261 + (uint32_t)i;
        against_reference(&tiny, shapes[i].block_tokens, 33, "fp32", 2e-5);
    }
}

/* How many tokens a block has says where K and V lie, and nothing else: as codes, in groups of four where they fit. */
static void block_size_doesnt_change_a_bit(void **state)
{
    static const char *const precisions[] = {"fp32", "int8", "bf16"};
    static const uint32_t sizes[] = {16, 1, 4, 7, 32};
    enum { TOKENS = 60 };
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    struct fixture f;
    uint32_t ids[64], blocks[64];
    (void)state;
    const size_t n = (size_t)TOKENS * tiny.n_vocab;
    float *got[2] = {calloc(n, sizeof **got), calloc(n, sizeof **got)};
    random_ids(7, tiny.n_vocab, ids, TOKENS);
    table(3, blocks, 64);
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            open_model(&f, &tiny);
            open_exec(&f, sizes[i], precisions[p]);
            run_alone(f.x, ids, TOKENS, 5, blocks, got[i > 0]);
            for (size_t j = 0; i > 0 && j < n; j++)
                if (memcmp(&got[0][j], &got[1][j], sizeof **got))
                    fail_msg("%s, blocks of %u, position %zu: %a, of 16 %a", precisions[p], sizes[i],
                             j / tiny.n_vocab, (double)got[1][j], (double)got[0][j]);
            close_all(&f);
        }
    free(got[0]);
    free(got[1]);
}

static void failed_creation_leaves_nothing(void **state)
{
    struct fixture f;
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    (void)state;
    tiny.n_layer = 1;
    open_model(&f, &tiny);
    struct exec_cl_config cfg = config(16, "fp32");
    cfg.cache_dir = NULL; /* PoCL goes on with the directory it has; sealing it has a test of its own */
    for (size_t n = 1;; n += 1 + n / 8) {
        struct weft_err err = {0};
        ocl_fail_at(n);
        enum weft_rc rc = exec_cl_create(f.model, &cfg, &f.x, &err);
        size_t calls = ocl_fail_at(0);
        if (!rc && calls < n)
            break;
        assert_true(rc == WEFT_INTERNAL_ERROR || rc == WEFT_NO_DEVICE);
        assert_null(f.x);
        assert_true(strlen(err.message) > 10);
    }
    exec_destroy(f.x);
    f.x = NULL;
    for (size_t n = 1;; n++) {
        struct weft_err err = {0};
        mem_fail_at(n);
        enum weft_rc rc = exec_cl_create(f.model, &cfg, &f.x, &err);
        size_t calls = mem_fail_at(0);
        if (calls < n)
            break;
        if (!rc) { /* an allocation that can be done without */
            exec_destroy(f.x);
            f.x = NULL;
        }
    }
    close_all(&f);
}

static void wrong_settings_are_refused(void **state)
{
    struct fixture f;
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    struct weft_err err = {0};
    (void)state;
    open_model(&f, &tiny);
    struct exec_cl_config cfg = config(16, "fp32");
    cfg.device = "no such device";
    assert_int_equal(exec_cl_create(f.model, &cfg, &f.x, &err), WEFT_NO_DEVICE);
    assert_string_equal(err.context[0].key, "hint");
    assert_non_null(strstr(err.message, "pocl-opencl-icd"));
    cfg = config(16, "fp32");
    cfg.precision = "fp8";
    assert_int_equal(exec_cl_create(f.model, &cfg, &f.x, &err), WEFT_CONFIG_INVALID);
    cfg = config(16, "fp32");
    cfg.n_blocks = 0;
    cfg.kv_bytes = 1000; /* less than one block */
    assert_int_equal(exec_cl_create(f.model, &cfg, &f.x, &err), WEFT_CONFIG_INVALID);
    close_all(&f);
}

/* Every way to sum coded products that may be used here gives the plain way's bits. */
static void ways_to_sum_agree(void **state)
{
    struct weft_err err = {0};
    struct ocl o;
    (void)state;
    if (ocl_open("auto", 0, false, &o, &err))
        fail_msg("%s", err.message);
    for (unsigned precision = PRECISION_FP32 + 1; precision < PRECISIONS; precision++) {
        const enum precision name = (enum precision)precision;
        for (int p = dot_path_choose("auto", name, -1); p >= DOT_PLAIN; p--)
            if (dot_path_supported(name, (enum dot_path)p))
                assert_true(dot_path_agrees(&o, name, (enum dot_path)p));
    }
    ocl_close(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_type_agrees_with_plain_c),
        cmocka_unit_test(odd_shapes_agree_with_plain_c),
        cmocka_unit_test(block_size_doesnt_change_a_bit),
        cmocka_unit_test(ways_to_sum_agree),
        cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(failed_creation_leaves_nothing),
    };
    return cmocka_run_group_tests_name("forward", tests, choose_ways, NULL);
}
