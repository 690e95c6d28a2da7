/*
 * Rule 3 of the design: a request's logits don't depend, bit for bit, on its company, its chunks or where its blocks are
 * and have been; in both precisions. And what a failed step leaves behind.
 */
#include <stdlib.h>

#include "fixture.h"

#include "engine/exec/ocl.h"
#include "tests/support/ways.h"

/* A long sequence, so that attention has several parts, and what it gave alone, token by token. */
enum { LONG = 600 };
struct long_run {
    struct fixture f;
    uint32_t ids[LONG], blocks[LONG / 16 + 1];
    float *want;
    bool by_crew;
};

/* Heads of 16 values in int8 are computed by single launches, heads of 32 by a crew, as is all of fp32 (engine/exec/crew.h). */
static int open_long_as(void **state, const char *precision, uint32_t n_head)
{
    struct long_run *r = calloc(1, sizeof *r);
    struct gguf_tiny tiny = GGUF_TINY_DEFAULT;
    tiny.n_ctx = 1024;
    tiny.n_head = n_head;
    tiny.n_head_kv = n_head / 2;
    open_model(&r->f, &tiny);
    open_exec(&r->f, 16, precision);
    assert_string_equal(r->f.x->info.precision, precision);
    r->by_crew = n_head != 4 || strcmp(precision, "fp32") == 0;
    random_ids(11, tiny.n_vocab, r->ids, LONG);
    table(0, r->blocks, LONG / 16 + 1);
    r->want = calloc((size_t)LONG * tiny.n_vocab, sizeof *r->want);
    run_alone(r->f.x, r->ids, LONG, 1, r->blocks, r->want);
    *state = r;
    return 0;
}

static int open_long_fp32(void **state)
{
    return open_long_as(state, "fp32", 4);
}

static int open_long_int8(void **state)
{
    return open_long_as(state, "int8", 2);
}

static int open_long_bf16(void **state)
{
    return open_long_as(state, "bf16", 2);
}

static int open_long_bf16_launches(void **state)
{
    return open_long_as(state, "bf16", 4);
}

static int open_long_int8_launches(void **state)
{
    return open_long_as(state, "int8", 4);
}

static int close_long(void **state)
{
    struct long_run *r = *state;
    close_all(&r->f);
    free(r->want);
    free(r);
    return 0;
}

static void expect_bits(const struct long_run *r, uint32_t pos, const float *got, const char *what)
{
    const uint32_t v = r->f.x->info.n_vocab;
    for (uint32_t i = 0; i < v; i++)
        if (memcmp(&got[i], &r->want[(size_t)pos * v + i], sizeof *got))
            fail_msg("%s, position %u, id %u: %a, alone %a", what, pos, i, (double)got[i],
                     (double)r->want[(size_t)pos * v + i]);
}

static void chunks_dont_change_a_bit(void **state)
{
    static const uint32_t chunks[] = {2, 3, 4, 5, 8, 13, 16, 64, 300};
    struct long_run *r = *state;
    const uint32_t v = r->f.x->info.n_vocab;
    float *got = calloc((size_t)LONG * v, sizeof *got);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        run_alone(r->f.x, r->ids, LONG, chunks[c], r->blocks, got);
        for (uint32_t i = 0; i < LONG; i++)
            expect_bits(r, i, got + (size_t)i * v, "chunked");
    }
    free(got);
}

/* An executor that keeps times of its kernels launches them one by one: the same functions, so the same bits. */
static void launches_one_by_one_give_the_same_bits(void **state)
{
    struct long_run *r = *state;
    const uint32_t v = r->f.x->info.n_vocab;
    struct exec_cl_config cfg = config(16, r->f.x->info.precision);
    struct exec *timed;
    struct weft_err err = {0};
    const struct exec_cl_profile_row *rows;
    float *got = calloc((size_t)LONG * v, sizeof *got);
    cfg.profile = EXEC_CL_PROFILE_KERNELS;
    if (exec_cl_create(r->f.model, &cfg, &timed, &err))
        fail_msg("%s", err.message);
    run_alone(timed, r->ids, LONG, 64, r->blocks, got);
    for (uint32_t i = 0; i < LONG; i++)
        expect_bits(r, i, got + (size_t)i * v, "launched one by one");
    assert_true(exec_cl_profile(timed, &rows) >= 5); /* so it did launch them */
    exec_destroy(timed);
    free(got);
}

/* Each row's maxima are those of its logits, by tiles of any size. */
static void maxima_are_those_of_the_logits(void **state)
{
    static const uint32_t counts[] = {1, 7, 16, 64, 320};
    struct long_run *r = *state;
    const uint32_t v = r->f.x->info.n_vocab;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct plan_item it = {.tokens = r->ids,
                               .n_tokens = counts[c],
                               .blocks = r->blocks,
                               .n_blocks = (counts[c] + 15) / 16,
                               .n_logits = counts[c],
                               .prefill = counts[c] > 1};
        const struct exec_out out = step(r->f.x, &it, 1);
        for (uint32_t i = 0; i < out.n_rows; i++) {
            for (uint32_t at = 0; at < v; at += EXEC_CHUNK) {
                float max = out.rows[i].logits[at];
                for (uint32_t j = at; j < at + EXEC_CHUNK && j < v; j++)
                    max = out.rows[i].logits[j] > max ? out.rows[i].logits[j] : max;
                assert_memory_equal(&out.rows[i].maxima[at / EXEC_CHUNK], &max, sizeof max);
            }
        }
    }
}

static void order_of_blocks_doesnt_change_a_bit(void **state)
{
    struct long_run *r = *state;
    const uint32_t v = r->f.x->info.n_vocab;
    uint32_t blocks[LONG / 16 + 1];
    float *got = calloc((size_t)LONG * v, sizeof *got);
    for (uint32_t i = 0; i < LONG / 16 + 1; i++)
        blocks[i] = (i * 37 + 5) % N_BLOCKS; /* 37 and 128 have no common factor */
    run_alone(r->f.x, r->ids, LONG, 64, blocks, got);
    for (uint32_t i = 0; i < LONG; i++)
        expect_bits(r, i, got + (size_t)i * v, "blocks permuted");
    free(got);
}

/* The sequence's own steps, each shared with n - 1 others at other positions, decoding and in chunks. */
static void company_doesnt_change_a_bit(void **state)
{
    static const uint32_t companies[] = {2, 5, 16, 20};
    struct long_run *r = *state;
    const uint32_t v = r->f.x->info.n_vocab;
    for (size_t c = 0; c < sizeof companies / sizeof *companies; c++) {
        const uint32_t n = companies[c];
        uint32_t others[MAX_SEQS][4], their_blocks[MAX_SEQS][4];
        for (uint32_t s = 0; s < n; s++) {
            random_ids(100 + s, v, others[s], 4);
            table(LONG / 16 + 1 + s * 4, their_blocks[s], 4);
        }
        for (uint32_t pos = 0; pos < LONG; pos++) {
            struct plan_item items[MAX_SEQS];
            const uint32_t mine = pos % n;
            for (uint32_t s = 0; s < n; s++)
                items[s] = (struct plan_item){.tokens = others[s],
                                              .n_tokens = 1 + (pos + s) % 4,
                                              .pos = s * 3 % 32,
                                              .blocks = their_blocks[s],
                                              .n_blocks = 4,
                                              .n_logits = s % 2};
            items[mine] = (struct plan_item){.tokens = r->ids + pos,
                                             .n_tokens = 1,
                                             .pos = pos,
                                             .blocks = r->blocks,
                                             .n_blocks = LONG / 16 + 1,
                                             .n_logits = 1};
            const struct exec_out out = step(r->f.x, items, n);
            uint32_t row = 0;
            for (uint32_t s = 0; s < mine; s++)
                row += items[s].n_logits;
            expect_bits(r, pos, out.rows[row].logits, "in company");
        }
    }
}

/* Parks the sequence's blocks, overwrites them, restores them elsewhere; then copies them to a third place.
 */
static void parked_and_copied_blocks_give_the_same_bits(void **state)
{
    enum { N = 300, BLOCKS = (N + 15) / 16, MOVED = 60, COPIED = 90 };
    struct long_run *r = *state;
    struct exec *x = r->f.x;
    struct weft_err err = {0};
    struct exec_out out;
    struct plan_copy parks[BLOCKS], restores[BLOCKS], copies[BLOCKS];
    uint32_t moved[BLOCKS], copied[BLOCKS], junk[16];
    float *got = calloc((size_t)N * x->info.n_vocab, sizeof *got);
    assert_true(x->info.n_park_slots >= BLOCKS);
    run_alone(x, r->ids, N - 1, 64, r->blocks, got);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        parks[i] = (struct plan_copy){r->blocks[i], BLOCKS - 1 - i};
        restores[i] = (struct plan_copy){BLOCKS - 1 - i, MOVED + i};
        copies[i] = (struct plan_copy){MOVED + i, COPIED + i};
        moved[i] = MOVED + i;
        copied[i] = COPIED + i;
    }
    struct plan park = {.step = 1, .parks = parks, .n_parks = BLOCKS};
    assert_int_equal(exec_step(x, &park, &out, &err), WEFT_OK);
    for (uint32_t i = 0; i < BLOCKS; i++) { /* somebody else writes to the old blocks */
        random_ids(i, x->info.n_vocab, junk, 16);
        struct plan_item it = {.tokens = junk, .n_tokens = 16, .blocks = &r->blocks[i], .n_blocks = 1};
        step(x, &it, 1);
    }
    struct plan_item it = {.tokens = r->ids + N - 1,
                           .n_tokens = 1,
                           .pos = N - 1,
                           .blocks = moved,
                           .n_blocks = BLOCKS,
                           .n_logits = 1};
    struct plan resume = {.step = 2, .items = &it, .n_items = 1, .restores = restores, .n_restores = BLOCKS};
    assert_int_equal(exec_step(x, &resume, &out, &err), WEFT_OK);
    expect_bits(r, N - 1, out.rows[0].logits, "restored");
    it.blocks = copied;
    struct plan fork = {.step = 3, .items = &it, .n_items = 1, .copies = copies, .n_copies = BLOCKS};
    assert_int_equal(exec_step(x, &fork, &out, &err), WEFT_OK);
    expect_bits(r, N - 1, out.rows[0].logits, "copied");
    copied[3] = copied[4]; /* and a wrong table shows */
    out = step(x, &it, 1);
    assert_memory_not_equal(out.rows[0].logits, r->want + (size_t)(N - 1) * x->info.n_vocab,
                            x->info.n_vocab * sizeof(float));
    free(got);
}

static void bad_plans_are_refused(void **state)
{
    struct long_run *r = *state;
    struct exec *x = r->f.x;
    uint32_t id = 0, far = x->info.n_vocab, blocks[1] = {0}, no_block[1] = {N_BLOCKS};
    struct plan_item many[MAX_SEQS + 1];
    const struct plan_item good = {
        .tokens = &id, .n_tokens = 1, .blocks = blocks, .n_blocks = 1, .n_logits = 1};
    struct plan_item bad[6] = {good, good, good, good, good, good};
    bad[0].tokens = &far;
    bad[1].blocks = no_block;
    bad[2].pos = 16; /* beyond its block */
    bad[3].pos = x->info.n_ctx;
    bad[4].n_tokens = MAX_TOKENS + 1;
    bad[5].n_logits = 2;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct plan plan = {.step = 9, .items = &bad[i], .n_items = 1};
        struct exec_out out;
        struct weft_err err = {0};
        assert_int_equal(exec_step(x, &plan, &out, &err), WEFT_BATCH_FAILED);
        assert_int_equal(err.code, WEFT_BATCH_FAILED);
        assert_string_equal(err.context[0].key, "step");
        assert_string_equal(err.context[1].key, "reason");
    }
    for (size_t i = 0; i < MAX_SEQS + 1; i++)
        many[i] = good;
    struct plan crowd = {.step = 9, .items = many, .n_items = MAX_SEQS + 1};
    struct plan_copy out_of_range = {0, x->info.n_park_slots};
    struct plan park = {.step = 9, .parks = &out_of_range, .n_parks = 1};
    struct exec_out out;
    struct weft_err err = {0};
    assert_int_equal(exec_step(x, &crowd, &out, &err), WEFT_BATCH_FAILED);
    assert_int_equal(exec_step(x, &park, &out, NULL), WEFT_BATCH_FAILED);
    struct plan_item it = good;
    assert_int_equal(step(x, &it, 1).n_rows, 1); /* and the executor still works */
}

/* Each OpenCL call of a step fails once: the step says so, recovery brings it back, and the same bits come out. */
static void failed_calls_are_reported_and_recovered(void **state)
{
    struct long_run *r = *state;
    struct exec *x = r->f.x;
    struct plan_item it = {
        .tokens = r->ids, .n_tokens = 40, .blocks = r->blocks, .n_blocks = 3, .n_logits = 1};
    struct plan plan = {.step = 77, .items = &it, .n_items = 1};
    struct exec_out out;
    unsigned failures = 0;
    for (size_t n = 1;; n++) {
        struct weft_err err = {0};
        bool lost = false;
        ocl_fail_at(n);
        enum weft_rc rc = exec_step(x, &plan, &out, &err);
        size_t calls = ocl_fail_at(0);
        if (!rc && calls < n)
            break;
        failures++;
        assert_int_equal(rc, WEFT_BATCH_FAILED);
        assert_non_null(strstr(err.message, "CL_OUT_OF_RESOURCES"));
        assert_int_equal(x->v->recover(x, &lost, &err), WEFT_OK);
        assert_false(lost);
    }
    /* Uploads, launches and the mapping of the logits; by a crew, which works in place, launches and the wait for them. */
    assert_true(failures >= (r->by_crew ? 4u : 35u));
    it = (struct plan_item){
        .tokens = r->ids, .n_tokens = 40, .blocks = r->blocks, .n_blocks = 3, .n_logits = 1};
    out = step(x, &it, 1);
    expect_bits(r, 39, out.rows[0].logits, "after failures");
}

/* A queue that doesn't finish: everything is made anew, and computes the same. */
static void a_lost_device_is_made_anew(void **state)
{
    struct long_run *r = *state;
    struct exec *x = r->f.x;
    struct weft_err err = {0};
    bool lost = false;
    ocl_fail_at(1);
    assert_int_equal(x->v->recover(x, &lost, &err), WEFT_OK);
    ocl_fail_at(0);
    assert_true(lost);
    struct plan_item it = {
        .tokens = r->ids, .n_tokens = 40, .blocks = r->blocks, .n_blocks = 3, .n_logits = 1};
    const struct exec_out out = step(x, &it, 1);
    expect_bits(r, 39, out.rows[0].logits, "after recovery");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_dont_change_a_bit),
        cmocka_unit_test(launches_one_by_one_give_the_same_bits),
        cmocka_unit_test(maxima_are_those_of_the_logits),
        cmocka_unit_test(order_of_blocks_doesnt_change_a_bit),
        cmocka_unit_test(company_doesnt_change_a_bit),
        cmocka_unit_test(parked_and_copied_blocks_give_the_same_bits),
        cmocka_unit_test(bad_plans_are_refused),
        cmocka_unit_test(failed_calls_are_reported_and_recovered),
        cmocka_unit_test(a_lost_device_is_made_anew),
    };
    choose_ways(NULL);
    return cmocka_run_group_tests_name("invariance, bf16", tests, open_long_bf16, close_long) +
           cmocka_run_group_tests_name("invariance, bf16, single launches", tests, open_long_bf16_launches,
                                       close_long) +
           cmocka_run_group_tests_name("invariance, int8", tests, open_long_int8, close_long) +
           cmocka_run_group_tests_name("invariance, int8, single launches", tests, open_long_int8_launches,
                                       close_long) +
           cmocka_run_group_tests_name("invariance, fp32", tests, open_long_fp32, close_long);
}
