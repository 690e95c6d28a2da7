/* What the tests of the forward pass share: a tiny model, an executor for it, and steps that must succeed. */
#ifndef TESTS_EXEC_FIXTURE_H
#define TESTS_EXEC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/exec/exec_cl.h"
#include "tests/support/gguf_build.h"

enum { MAX_TOKENS = 320, MAX_SEQS = 20, MAX_LOGITS = 320, N_BLOCKS = 128 };

struct fixture {
    struct buf bytes;
    struct model *model;
    struct exec *x;
};

static inline struct exec_cl_config config(uint32_t block_tokens, const char *precision)
{
    return (struct exec_cl_config){.device = "auto",
                                   .precision = precision,
                                   .cache_dir = TEST_BINARY_DIR "/kernel-cache",
                                   .block_tokens = block_tokens,
                                   .n_blocks = N_BLOCKS,
                                   .park_bytes = 1 << 20,
                                   .max_tokens = MAX_TOKENS,
                                   .max_seqs = MAX_SEQS,
                                   .max_logits = MAX_LOGITS};
}

static inline void open_model(struct fixture *f, const struct gguf_tiny *tiny)
{
    struct gguf_build b;
    struct weft_err err = {0};
    *f = (struct fixture){.bytes = BUF_INIT};
    gguf_build_tiny_llama(&b, tiny);
    gguf_build_write(&b, &f->bytes);
    gguf_build_free(&b);
    if (model_parse(f->bytes.data, f->bytes.len, "tiny", &f->model, &err))
        fail_msg("%s", err.message);
}

static inline void open_exec(struct fixture *f, uint32_t block_tokens, const char *precision)
{
    struct weft_err err = {0};
    const struct exec_cl_config cfg = config(block_tokens, precision);
    if (exec_cl_create(f->model, &cfg, &f->x, &err))
        fail_msg("%s", err.message);
}

static inline void close_all(struct fixture *f)
{
    exec_destroy(f->x);
    model_close(f->model);
    buf_free(&f->bytes);
}

/* One step, which must succeed. */
static inline struct exec_out step(struct exec *x, struct plan_item *items, uint32_t n)
{
    static uint64_t number;
    struct plan plan = {.step = ++number, .items = items, .n_items = n};
    struct exec_out out;
    struct weft_err err = {0};
    if (exec_step(x, &plan, &out, &err))
        fail_msg("%s", err.message);
    return out;
}

static inline void random_ids(uint64_t seed, uint32_t n_vocab, uint32_t *ids, size_t n)
{
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)rng_below(&r, n_vocab);
}

/* Computes ids in chunks, alone; out: n × n_vocab. blocks: the sequence's table. */
static inline void run_alone(struct exec *x, const uint32_t *ids, uint32_t n, uint32_t chunk,
                             const uint32_t *blocks, float *out)
{
    const uint32_t v = x->info.n_vocab, bt = x->info.block_tokens;
    for (uint32_t at = 0; at < n; at += chunk) {
        const uint32_t take = n - at < chunk ? n - at : chunk;
        struct plan_item it = {.tokens = ids + at,
                               .n_tokens = take,
                               .pos = at,
                               .blocks = blocks,
                               .n_blocks = (n + bt - 1) / bt,
                               .n_logits = take,
                               .prefill = take > 1};
        const struct exec_out o = step(x, &it, 1);
        assert_int_equal(o.n_rows, take);
        for (uint32_t i = 0; i < take; i++)
            memcpy(out + (size_t)(at + i) * v, o.rows[i].logits, v * sizeof *out);
    }
}

static inline void table(uint32_t first, uint32_t *blocks, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        blocks[i] = first + i;
}

#endif
