/* The tiny llama of gguf_build.h: its vocabulary and its random weights. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "tests/support/gguf_build.h"

static const char chat_template[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5, SPACED = 26, PAIRS = 26 * 26 };

/* GPT-2's stand-in character for a byte: printable ones stand for themselves, the others for U+0100 and on,
 * in order. */
static uint32_t byte_character(unsigned byte)
{
    uint32_t shifted = 0x100;
    for (unsigned b = 0; b <= byte; b++) {
        bool itself = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte)
            return itself ? b : shifted;
        shifted += !itself;
    }
    return 0;
}

/* The i-th token after the bytes: a space and a letter, then two letters, then fillers. With `merge`, the
 * pair it is made of; false when it is a filler. */
static bool later_token(uint32_t i, char token[32], char merge[32])
{
    if (i < SPACED) {
        snprintf(token, 32, "\xc4\xa0%c", 'a' + (int)i); /* U+0120 stands for the space */
        snprintf(merge, 32, "\xc4\xa0 %c", 'a' + (int)i);
        return true;
    }
    i -= SPACED;
    if (i < PAIRS) {
        /* 7 and 676 have no common factor: a scattered order, so that a small vocabulary has pairs of many letters. */
        uint32_t p = i * 7 % PAIRS;
        snprintf(token, 32, "%c%c", 'a' + (int)(p / 26), 'a' + (int)(p % 26));
        snprintf(merge, 32, "%c %c", 'a' + (int)(p / 26), 'a' + (int)(p % 26));
        return true;
    }
    snprintf(token, 32, "<|unused_%u|>", i - PAIRS);
    return false;
}

void gguf_build_tiny_vocab(struct gguf_build *b, uint32_t n_vocab)
{
    static const char *const control[GGUF_TINY_BYTE_0] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    assert(n_vocab >= GGUF_TINY_MERGE_0);
    char(*text)[32] = mem_calloc(n_vocab, sizeof *text), (*merge)[32] = mem_calloc(n_vocab, sizeof *merge);
    const char **tokens = mem_calloc(n_vocab, sizeof *tokens), **merges = mem_calloc(n_vocab, sizeof *merges);
    int32_t *types = mem_calloc(n_vocab, sizeof *types);
    if (!text || !merge || !tokens || !merges || !types)
        abort();
    size_t n_merges = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        types[i] = TOKEN_NORMAL;
        if (i < GGUF_TINY_BYTE_0) {
            snprintf(text[i], sizeof *text, "%s", control[i]);
            types[i] = TOKEN_CONTROL;
        } else if (i < GGUF_TINY_MERGE_0) {
            utf8_encode(byte_character(i - GGUF_TINY_BYTE_0), text[i]);
        } else if (later_token(i - GGUF_TINY_MERGE_0, text[i], merge[i])) {
            merges[n_merges++] = merge[i];
        } else {
            types[i] = TOKEN_UNUSED;
        }
        tokens[i] = text[i];
    }
    gguf_build_init(b);
    gguf_build_str(b, "general.architecture", "llama");
    gguf_build_str(b, "tokenizer.ggml.model", "gpt2");
    gguf_build_str(b, "tokenizer.ggml.pre", "gpt-2");
    gguf_build_strings(b, "tokenizer.ggml.tokens", tokens, n_vocab);
    gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, n_vocab, types, n_vocab * sizeof *types);
    gguf_build_strings(b, "tokenizer.ggml.merges", merges, n_merges);
    gguf_build_u32(b, "tokenizer.ggml.bos_token_id", GGUF_TINY_IM_START);
    gguf_build_u32(b, "tokenizer.ggml.eos_token_id", GGUF_TINY_IM_END);
    gguf_build_bool(b, "tokenizer.ggml.add_bos_token", false);
    gguf_build_str(b, "tokenizer.chat_template", chat_template);
    mem_free(text);
    mem_free(merge);
    mem_free(tokens);
    mem_free(merges);
    mem_free(types);
}

static void put_u16(struct buf *b, unsigned v)
{
    buf_addc(b, (char)(v & 0xff));
    buf_addc(b, (char)(v >> 8));
}

/* A random positive f16 of [1, 2) x 2^exponent, as its bits. */
static unsigned random_f16(struct rng *r, int exponent)
{
    return (unsigned)(exponent + 15) << 10 | (unsigned)rng_below(r, 1024);
}

static void put_f32(struct buf *b, float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    put_u16(b, u & 0xffff);
    put_u16(b, u >> 16);
}

static void put_random_bytes(struct buf *b, struct rng *r, int n)
{
    for (int i = 0; i < n; i++)
        buf_addc(b, (char)(rng_u64(r) & 0xff));
}

/* One block of random weights of the order of 2^exponent. */
static void put_block(struct buf *b, struct rng *r, enum quant_type type, int exponent)
{
    unsigned sign = (unsigned)(rng_u64(r) & 0x8000);
    float value = ldexpf((float)(2 * rng_unit(r) - 1), exponent + 1);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    switch (type) {
    case QUANT_F32: put_f32(b, value); return;
    case QUANT_F16: put_u16(b, random_f16(r, exponent - 1) | sign); return;
    case QUANT_BF16: put_u16(b, bits >> 16); return;
    case QUANT_Q4_0: /* -8..7 steps */
        put_u16(b, random_f16(r, exponent - 3));
        put_random_bytes(b, r, 16);
        return;
    case QUANT_Q4_1: /* 0..15 steps up from a minimum */
        put_u16(b, random_f16(r, exponent - 3));
        put_u16(b, random_f16(r, exponent) | 0x8000);
        put_random_bytes(b, r, 16);
        return;
    case QUANT_Q8_0: /* -128..127 steps */
        put_u16(b, random_f16(r, exponent - 7));
        put_random_bytes(b, r, 32);
        return;
    default: abort();
    }
}

static void add_matrix(struct gguf_build *b, struct rng *r, const char *name, enum quant_type type,
                       uint32_t in, uint32_t out)
{
    const struct {
        enum quant_type type;
        uint32_t values;
    } blocks[] = {{QUANT_F32, 1},   {QUANT_F16, 1},   {QUANT_BF16, 1},
                  {QUANT_Q4_0, 32}, {QUANT_Q4_1, 32}, {QUANT_Q8_0, 32}};
    uint32_t values = 0;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i].type == type)
            values = blocks[i].values;
    if (!values || in % values)
        abort();
    int exponent =
        (int)lrint(-log2((double)in) / 2); /* keeps the length of what passes through about the same */
    struct buf data = BUF_INIT;
    for (uint64_t i = 0; i < (uint64_t)in * out; i += values)
        put_block(&data, r, type, exponent);
    if (data.failed)
        abort();
    gguf_build_tensor(b, name, type, 2, (const uint64_t[]){in, out}, data.data, data.len);
    buf_free(&data);
}

static void add_norm(struct gguf_build *b, struct rng *r, const char *name, uint32_t n)
{
    struct buf data = BUF_INIT;
    for (uint32_t i = 0; i < n; i++)
        put_f32(&data, 0.75f + 0.5f * (float)rng_unit(r));
    if (data.failed)
        abort();
    gguf_build_tensor(b, name, QUANT_F32, 1, (const uint64_t[]){n}, data.data, data.len);
    buf_free(&data);
}

void gguf_build_tiny_llama(struct gguf_build *b, const struct gguf_tiny *t)
{
    uint32_t head_dim = t->n_embd / t->n_head, kv = head_dim * t->n_head_kv;
    const struct {
        const char *name;
        uint32_t in, out; /* out 0: a norm */
    } layer[] = {{"attn_norm", t->n_embd, 0},
                 {"attn_q", t->n_embd, t->n_embd},
                 {"attn_k", t->n_embd, kv},
                 {"attn_v", t->n_embd, kv},
                 {"attn_output", t->n_embd, t->n_embd},
                 {"ffn_norm", t->n_embd, 0},
                 {"ffn_gate", t->n_embd, t->n_ff},
                 {"ffn_up", t->n_embd, t->n_ff},
                 {"ffn_down", t->n_ff, t->n_embd}};
    struct rng r;
    rng_seed(&r, t->seed);
    gguf_build_tiny_vocab(b, t->n_vocab);
    gguf_build_str(b, "general.name", "Tiny");
    gguf_build_u32(b, "llama.block_count", t->n_layer);
    gguf_build_u32(b, "llama.context_length", t->n_ctx);
    gguf_build_u32(b, "llama.embedding_length", t->n_embd);
    gguf_build_u32(b, "llama.feed_forward_length", t->n_ff);
    gguf_build_u32(b, "llama.attention.head_count", t->n_head);
    gguf_build_u32(b, "llama.attention.head_count_kv", t->n_head_kv);
    gguf_build_u32(b, "llama.rope.dimension_count", head_dim);
    gguf_build_f32(b, "llama.rope.freq_base", 10000.0f);
    gguf_build_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_build_u32(b, "llama.vocab_size", t->n_vocab);
    add_matrix(b, &r, "token_embd.weight", t->output_type, t->n_embd, t->n_vocab);
    for (uint32_t i = 0; i < t->n_layer; i++)
        for (size_t k = 0; k < sizeof layer / sizeof *layer; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.%s.weight", i, layer[k].name);
            if (layer[k].out)
                add_matrix(b, &r, name, t->type, layer[k].in, layer[k].out);
            else
                add_norm(b, &r, name, layer[k].in);
        }
    add_norm(b, &r, "output_norm.weight", t->n_embd);
    if (!t->tied)
        add_matrix(b, &r, "output.weight", t->output_type, t->n_embd, t->n_vocab);
}
