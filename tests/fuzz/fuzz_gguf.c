/*
 * Fuzzes everything that reads a model file: GGUF, tokenizer, chat template, hyperparameters and tensors.
 *
 *   clang -fsanitize=fuzzer,address,undefined ...; fuzz_gguf -max_len=32768 -timeout=5 -rss_limit_mb=1024
 * CORPUS
 *
 * No seed files are needed: the mutator starts from a whole tiny model, and half of the time changes a single
 * number near the front, where lengths, counts and types are, instead of any byte.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/model/model.h"
#include "tests/support/gguf_build.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* Reads the first and the last byte of all that the parsed file points at: under AddressSanitizer, that it is there. */
static uint64_t touch(const struct gguf *g)
{
    uint64_t h = FNV1A64_INIT;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        h = fnv1a64(h, g->tensors[i].data, 1);
        h = fnv1a64(h, g->tensors[i].data + g->tensors[i].size - 1, 1);
    }
    for (uint64_t i = 0; i < g->n_kv; i++) {
        const struct gguf_kv *kv = &g->kv[i];
        for (uint64_t k = 0; kv->strings && k < kv->n; k++)
            h = fnv1a64(h, kv->strings[k].s, kv->strings[k].n);
    }
    return h;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_set_level(LOG_ERROR); /* warnings about every damaged file would drown what the fuzzer says */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weft_err err = {0};
    struct gguf *g;
    enum weft_rc rc = gguf_parse(data, size, "fuzz.gguf", &g, &err);
    require(rc == err.code && (rc == WEFT_OK || rc == WEFT_FILE_INVALID));
    if (rc != WEFT_OK)
        return 0;
    volatile uint64_t sink = touch(g); /* so that the reads aren't optimised away */
    (void)sink;
    gguf_close(g);
    struct model *m;
    rc = model_parse(data, size, "fuzz.gguf", &m, &err);
    require(rc == err.code && (rc == WEFT_OK || rc == WEFT_MODEL_LOAD_FAILED));
    if (rc != WEFT_OK)
        return 0;
    static const char text[] = "Hello <|im_start|> w\xc3\xb6rld 42\n";
    struct tok_ids ids = {0};
    struct buf back = BUF_INIT;
    require(tok_encode(m->tok, text, sizeof text - 1, TOK_SPECIAL, NULL, &ids, &err) == WEFT_OK);
    require(tok_decode(m->tok, ids.id, ids.n, &back, &err) == WEFT_OK);
    buf_free(&back);
    tok_ids_free(&ids);
    model_close(m);
    return 0;
}

static size_t start_from_a_model(uint8_t *data, size_t max_size)
{
    static const struct gguf_tiny tiny = {.n_layer = 1,
                                          .n_embd = 32,
                                          .n_head = 2,
                                          .n_head_kv = 1,
                                          .n_ff = 32,
                                          .n_vocab = GGUF_TINY_MERGE_0 + 3,
                                          .n_ctx = 64,
                                          .type = QUANT_Q4_0,
                                          .output_type = QUANT_Q4_0,
                                          .tied = true,
                                          .seed = 1};
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    gguf_build_tiny_llama(&b, &tiny);
    gguf_build_write(&b, &bytes);
    size_t n = bytes.len <= max_size ? bytes.len : max_size;
    memcpy(data, bytes.data, n);
    buf_free(&bytes);
    gguf_build_free(&b);
    return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint64_t numbers[] = {0,          1,          2,          8,         13,
                                       31,         32,         64,         255,       1u << 31,
                                       UINT32_MAX, 1ull << 61, 1ull << 62, INT64_MAX, UINT64_MAX - 31,
                                       UINT64_MAX};
    struct rng r;
    rng_seed(&r, seed);
    if (size < 24)
        size = start_from_a_model(data, max_size);
    if (rng_below(&r, 2) || size < 32)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t at = (size_t)rng_below(&r, size - 8);
    uint64_t v = numbers[rng_below(&r, sizeof numbers / sizeof *numbers)];
    for (unsigned i = 0, bytes = rng_below(&r, 2) ? 4 : 8; i < bytes; i++)
        data[at + i] = (uint8_t)(v >> (8 * i) & 0xff);
    return size;
}
