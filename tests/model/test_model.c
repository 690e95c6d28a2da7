/*
 * Model loading: what a tiny llama's file says, and each file that isn't a model that can be run, refused
 * with field, value and limit. Every refusal starts from the same sound model, spoiled in one way.
 */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/model/model.h"
#include "tests/support/err_check.h"
#include "tests/support/gguf_build.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))

static const struct gguf_tiny tiny = GGUF_TINY_DEFAULT;

/* How each file differs from the sound one: a line each. */
/* clang-format off */
#define SET_U32(name, key, v) static void name(struct gguf_build *b) { gguf_build_u32(b, key, v); }
#define SET_F32(name, key, v) static void name(struct gguf_build *b) { gguf_build_f32(b, key, v); }
#define SET_STR(name, key, v) static void name(struct gguf_build *b) { gguf_build_str(b, key, v); }
#define DROP(name, key) static void name(struct gguf_build *b) { gguf_build_drop(b, key); }
#define DROP_TENSOR(name, t) static void name(struct gguf_build *b) { gguf_build_drop_tensor(b, t); }
#define ADD_TENSOR(name, t) \
    static void name(struct gguf_build *b) { gguf_build_tensor(b, t, QUANT_F32, 1, (const uint64_t[]){64}, NULL, 256); }

DROP(architecture_absent, "general.architecture")
SET_STR(architecture_unknown, "general.architecture", "mamba\x1b[31m")
SET_STR(architecture_longer, "general.architecture", "llama4")
SET_U32(architecture_number, "general.architecture", 1)
SET_U32(split, "split.count", 2)
SET_U32(experts, "llama.expert_count", 8)
static void not_causal(struct gguf_build *b) { gguf_build_bool(b, "llama.attention.causal", false); }
DROP(block_count_absent, "llama.block_count")
SET_U32(block_count_0, "llama.block_count", 0)
SET_U32(block_count_513, "llama.block_count", 513)
SET_STR(block_count_string, "llama.block_count", "2")
static void block_count_negative(struct gguf_build *b) { gguf_build_i32(b, "llama.block_count", -2); }
SET_U32(block_count_less, "llama.block_count", 1)
SET_U32(block_count_more, "llama.block_count", 3)
DROP(context_absent, "llama.context_length")
SET_U32(context_0, "llama.context_length", 0)
static void context_huge(struct gguf_build *b) { gguf_build_u64(b, "llama.context_length", 1ull << 40); }
DROP(embedding_absent, "llama.embedding_length")
SET_U32(embedding_0, "llama.embedding_length", 0)
SET_U32(embedding_other, "llama.embedding_length", 128)
DROP(feed_forward_absent, "llama.feed_forward_length")
SET_U32(feed_forward_0, "llama.feed_forward_length", 0)
SET_U32(feed_forward_other, "llama.feed_forward_length", 64)
DROP(heads_absent, "llama.attention.head_count")
SET_U32(heads_0, "llama.attention.head_count", 0)
SET_U32(heads_5, "llama.attention.head_count", 5)
SET_U32(heads_128, "llama.attention.head_count", 128)
SET_U32(heads_kv_0, "llama.attention.head_count_kv", 0)
SET_U32(heads_kv_3, "llama.attention.head_count_kv", 3)
SET_U32(heads_kv_8, "llama.attention.head_count_kv", 8)
static void heads_kv_array(struct gguf_build *b)
{
    gguf_build_array(b, "llama.attention.head_count_kv", GGUF_U32, 2, "\2\0\0\0\2\0\0", 8);
}
SET_U32(key_length_0, "llama.attention.key_length", 0)
SET_U32(key_length_15, "llama.attention.key_length", 15)
SET_U32(key_length_2048, "llama.attention.key_length", 2048)
SET_U32(value_length_32, "llama.attention.value_length", 32)
SET_U32(rope_dimension_8, "llama.rope.dimension_count", 8)
SET_U32(rope_dimension_0, "llama.rope.dimension_count", 0)
SET_STR(rope_scaling_yarn, "llama.rope.scaling.type", "yarn")
SET_STR(rope_scaling_unknown, "llama.rope.scaling.type", "bent")
SET_F32(rope_factor_nan, "llama.rope.scaling.factor", NAN)
SET_F32(rope_factor_inf, "llama.rope.scaling.factor", INFINITY)
SET_F32(rope_factor_0, "llama.rope.scaling.factor", 0)
SET_F32(rope_factor_tiny, "llama.rope.scaling.factor", FLT_TRUE_MIN)
SET_F32(rope_scale_linear_nan, "llama.rope.scale_linear", NAN)
SET_F32(rope_base_0, "llama.rope.freq_base", 0)
SET_F32(rope_base_negative, "llama.rope.freq_base", -10000)
SET_F32(rope_base_nan, "llama.rope.freq_base", NAN)
DROP(eps_absent, "llama.attention.layer_norm_rms_epsilon")
SET_F32(eps_0, "llama.attention.layer_norm_rms_epsilon", 0)
SET_F32(eps_negative, "llama.attention.layer_norm_rms_epsilon", -1e-5f)
SET_F32(eps_inf, "llama.attention.layer_norm_rms_epsilon", INFINITY)
SET_U32(eps_integer, "llama.attention.layer_norm_rms_epsilon", 1)
SET_U32(vocab_other, "llama.vocab_size", 321)
static void embedding_rows(struct gguf_build *b)
{
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, "token_embd.weight");
    t->dim[1]--;
    t->data.len -= 68;
}
DROP(tokens_absent, "tokenizer.ggml.tokens")
SET_U32(merges_number, "tokenizer.ggml.merges", 1)
SET_STR(pre_unknown, "tokenizer.ggml.pre", "babel")
SET_U32(name_number, "general.name", 7)
DROP_TENSOR(embedding_tensor_absent, "token_embd.weight")
DROP_TENSOR(output_norm_absent, "output_norm.weight")
DROP_TENSOR(attn_norm_absent, "blk.0.attn_norm.weight")
DROP_TENSOR(attn_q_absent, "blk.0.attn_q.weight")
DROP_TENSOR(attn_k_absent, "blk.1.attn_k.weight")
DROP_TENSOR(attn_v_absent, "blk.0.attn_v.weight")
DROP_TENSOR(attn_output_absent, "blk.1.attn_output.weight")
DROP_TENSOR(ffn_norm_absent, "blk.1.ffn_norm.weight")
DROP_TENSOR(ffn_gate_absent, "blk.0.ffn_gate.weight")
DROP_TENSOR(ffn_up_absent, "blk.1.ffn_up.weight")
DROP_TENSOR(ffn_down_absent, "blk.0.ffn_down.weight")
static void transposed(struct gguf_build *b)
{
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, "blk.1.ffn_down.weight");
    t->dim[0] = 64;
    t->dim[1] = 96;
}
static void third_dimension(struct gguf_build *b)
{
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, "blk.0.attn_q.weight");
    t->n_dims = 3;
    t->dim[1] = 32;
    t->dim[2] = 2;
}
static void change_type(struct gguf_build *b, const char *name, enum quant_type type, uint64_t in, size_t bytes)
{
    struct gguf_build_tensor *t = gguf_build_find_tensor(b, name);
    t->type = type;
    t->dim[0] = in;
    buf_clear(&t->data);
    for (size_t i = 0; i < bytes; i++)
        buf_addc(&t->data, 0);
}
static void norm_f16(struct gguf_build *b) { change_type(b, "output_norm.weight", QUANT_F16, 64, 128); }
static void matrix_q5_1(struct gguf_build *b) { change_type(b, "blk.0.attn_v.weight", QUANT_Q5_1, 64, 64 / 32 * 24 * 32); }
ADD_TENSOR(bias, "blk.0.attn_q.bias")
ADD_TENSOR(output_bias, "output.bias")
ADD_TENSOR(layer_beyond, "blk.2.attn_norm.weight")
ADD_TENSOR(layer_leading_zero, "blk.00.attn_norm.weight")
ADD_TENSOR(layer_signed, "blk.-1.attn_norm.weight")
ADD_TENSOR(tensor_hostile, "blk.0.\x1b[2Jx")
ADD_TENSOR(rope_freqs_long, "rope_freqs.weight")
static void rope_freqs_0(struct gguf_build *b)
{
    gguf_build_tensor(b, "rope_freqs.weight", QUANT_F32, 1, (const uint64_t[]){8}, NULL, 32);
}
/* clang-format on */

#define ATTN "llama.attention."
#define ROPE "llama.rope."

static const struct unfit {
    const char *name;
    void (*spoil)(struct gguf_build *b);
    const char *field, *value, *limit; /* what the error must contain */
} unfit[] = {
    {"architecture absent", architecture_absent, "general.architecture", "absent", "llama"},
    {"architecture unknown", architecture_unknown, "general.architecture", "mamba\\x1b[31m", "llama"},
    {"architecture with llama as its beginning", architecture_longer, "general.architecture", "llama4",
     "llama"},
    {"architecture of another type", architecture_number, "general.architecture", "type u32", "string"},
    {"one of several parts", split, "split.count", "2", "join the parts"},
    {"mixture of experts", experts, "llama.expert_count", "8", "not supported"},
    {"not causal", not_causal, ATTN "causal", "false", "true"},
    {"block_count absent", block_count_absent, "llama.block_count", "absent", "required"},
    {"block_count 0", block_count_0, "llama.block_count", "0", "1 to 512"},
    {"block_count 513", block_count_513, "llama.block_count", "513", "1 to 512"},
    {"block_count negative", block_count_negative, "llama.block_count", "-2", "1 to 512"},
    {"block_count of another type", block_count_string, "llama.block_count", "type string", "an integer"},
    {"block_count below the layers", block_count_less, "blk.1.attn_norm.weight", "in the file", "1 layers"},
    {"block_count above the layers", block_count_more, "blk.2.attn_norm.weight", "absent", "required"},
    {"context_length absent", context_absent, "llama.context_length", "absent", "required"},
    {"context_length 0", context_0, "llama.context_length", "0", "1 to 16777216"},
    {"context_length huge", context_huge, "llama.context_length", "1099511627776", "1 to 16777216"},
    {"embedding_length absent", embedding_absent, "llama.embedding_length", "absent", "required"},
    {"embedding_length 0", embedding_0, "llama.embedding_length", "0", "1 to"},
    {"embedding_length not the tensors'", embedding_other, "llama.rope.dimension_count", "16", "32"},
    {"feed_forward_length absent", feed_forward_absent, "llama.feed_forward_length", "absent", "required"},
    {"feed_forward_length 0", feed_forward_0, "llama.feed_forward_length", "0", "1 to"},
    {"feed_forward_length not the tensors'", feed_forward_other, "blk.0.ffn_gate.weight", "[64, 96, 1, 1]",
     "[64, 64]"},
    {"head_count absent", heads_absent, ATTN "head_count", "absent", "required"},
    {"head_count 0", heads_0, ATTN "head_count", "0", "1 to 4096"},
    {"head_count not dividing", heads_5, ATTN "head_count", "2", "divide head_count, 5"},
    {"head_count above the embedding", heads_128, ATTN "head_count", "128", "divide embedding_length, 64"},
    {"head_count_kv 0", heads_kv_0, ATTN "head_count_kv", "0", "1 to 4096"},
    {"head_count_kv not dividing", heads_kv_3, ATTN "head_count_kv", "3", "divide head_count, 4"},
    {"head_count_kv above head_count", heads_kv_8, ATTN "head_count_kv", "8", "divide head_count, 4"},
    {"head_count_kv by layer", heads_kv_array, ATTN "head_count_kv", "type array", "an integer"},
    {"key_length 0", key_length_0, ATTN "key_length", "0", "1 to 1024"},
    {"key_length odd", key_length_15, ATTN "key_length", "15", "even"},
    {"key_length 2048", key_length_2048, ATTN "key_length", "2048", "1 to 1024"},
    {"value_length not key_length", value_length_32, ATTN "value_length", "32", "16"},
    {"rope dimension not the head's", rope_dimension_8, ROPE "dimension_count", "8", "16"},
    {"rope dimension 0", rope_dimension_0, ROPE "dimension_count", "0", "1 to 1024"},
    {"rope scaling yarn", rope_scaling_yarn, ROPE "scaling.type", "yarn", "none or linear"},
    {"rope scaling unknown", rope_scaling_unknown, ROPE "scaling.type", "bent", "none or linear"},
    {"rope scaling factor NaN", rope_factor_nan, ROPE "scaling.factor", "nan", "finite"},
    {"rope scaling factor infinite", rope_factor_inf, ROPE "scaling.factor", "inf", "finite"},
    {"rope scaling factor 0", rope_factor_0, ROPE "scaling.factor", "0", "above 0"},
    {"rope scaling factor without an inverse", rope_factor_tiny, ROPE "scaling.factor", "e-45", "inverse"},
    {"rope scale_linear NaN", rope_scale_linear_nan, ROPE "scale_linear", "nan", "finite"},
    {"rope base 0", rope_base_0, ROPE "freq_base", "0", "above 0"},
    {"rope base negative", rope_base_negative, ROPE "freq_base", "-10000", "above 0"},
    {"rope base NaN", rope_base_nan, ROPE "freq_base", "nan", "finite"},
    {"rope_freqs too long", rope_freqs_long, "rope_freqs.weight", "[64, 1, 1, 1]", "[8, 1]"},
    {"rope_freqs of 0", rope_freqs_0, "rope_freqs.weight", "0 at 0", "above 0"},
    {"eps absent", eps_absent, ATTN "layer_norm_rms_epsilon", "absent", "required"},
    {"eps 0", eps_0, ATTN "layer_norm_rms_epsilon", "0", "above 0"},
    {"eps negative", eps_negative, ATTN "layer_norm_rms_epsilon", "-1e-05", "above 0"},
    {"eps infinite", eps_inf, ATTN "layer_norm_rms_epsilon", "inf", "finite"},
    {"eps of another type", eps_integer, ATTN "layer_norm_rms_epsilon", "type u32", "f32"},
    {"vocab_size not the tokens", vocab_other, "llama.vocab_size", "321", "320"},
    {"vocabulary size not the embedding's rows", embedding_rows, "token_embd.weight", "[64, 319, 1, 1]",
     "[64, 320]"},
    {"tokens absent", tokens_absent, "tokenizer.ggml.tokens", "absent", "required"},
    {"merges of another type", merges_number, "tokenizer.ggml.merges", "type", "strings"},
    {"pre-tokenizer unknown", pre_unknown, "tokenizer.ggml.pre", "babel", "llama-bpe"},
    {"name of another type", name_number, "general.name", "type u32", "string"},
    {"token_embd absent", embedding_tensor_absent, "token_embd.weight", "absent", "required"},
    {"output_norm absent", output_norm_absent, "output_norm.weight", "absent", "required"},
    {"attn_norm absent", attn_norm_absent, "blk.0.attn_norm.weight", "absent", "required"},
    {"attn_q absent", attn_q_absent, "blk.0.attn_q.weight", "absent", "required"},
    {"attn_k absent", attn_k_absent, "blk.1.attn_k.weight", "absent", "required"},
    {"attn_v absent", attn_v_absent, "blk.0.attn_v.weight", "absent", "required"},
    {"attn_output absent", attn_output_absent, "blk.1.attn_output.weight", "absent", "required"},
    {"ffn_norm absent", ffn_norm_absent, "blk.1.ffn_norm.weight", "absent", "required"},
    {"ffn_gate absent", ffn_gate_absent, "blk.0.ffn_gate.weight", "absent", "required"},
    {"ffn_up absent", ffn_up_absent, "blk.1.ffn_up.weight", "absent", "required"},
    {"ffn_down absent", ffn_down_absent, "blk.0.ffn_down.weight", "absent", "required"},
    {"matrix transposed", transposed, "blk.1.ffn_down.weight", "[64, 96, 1, 1]", "[96, 64]"},
    {"matrix of three dimensions", third_dimension, "blk.0.attn_q.weight", "[64, 32, 2, 1]", "[64, 64]"},
    {"norm of type F16", norm_f16, "output_norm.weight", "F16", "F32"},
    {"weight type that weft can't compute with", matrix_q5_1, "blk.0.attn_v.weight", "Q5_1", "Q4_1"},
    {"bias", bias, "blk.0.attn_q.bias", "in the file", "no such tensor"},
    {"bias of the output", output_bias, "output.bias", "in the file", "no such tensor"},
    {"layer beyond the last", layer_beyond, "blk.2.attn_norm.weight", "in the file", "2 layers"},
    {"layer number with a leading zero", layer_leading_zero, "blk.00.attn_norm.weight", "in the file",
     "no such"},
    {"layer number with a sign", layer_signed, "blk.-1.attn_norm.weight", "in the file", "no such tensor"},
    {"tensor with an escape sequence", tensor_hostile, "blk.0.\\x1b[2Jx", "in the file", "no such tensor"},
};

static void is_refused(void **state)
{
    const struct unfit *u = *state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    gguf_build_tiny_llama(&b, &tiny);
    u->spoil(&b);
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    struct model *m;
    struct weft_err e = {0};
    assert_int_equal(model_parse(bytes.data, bytes.len, "tiny.gguf", &m, &e), WEFT_MODEL_LOAD_FAILED);
    assert_int_equal(e.code, WEFT_MODEL_LOAD_FAILED);
    assert_null(m);
    assert_string_equal(err_context_text(&e, "path"), "tiny.gguf");
    assert_contains(err_context_text(&e, "field"), u->field);
    assert_contains(err_context_text(&e, "value"), u->value);
    assert_contains(err_context_text(&e, "limit"), u->limit);
    assert_contains(e.message, "tiny.gguf: ");
    assert_int_equal(model_parse(bytes.data, bytes.len, "tiny.gguf", &m, NULL), WEFT_MODEL_LOAD_FAILED);
    buf_free(&bytes);
}

/* The model of *b, whose bytes go to *bytes; *b is freed. */
static struct model *parse_built(struct gguf_build *b, const char *path, struct buf *bytes)
{
    *bytes = (struct buf)BUF_INIT;
    gguf_build_write(b, bytes);
    gguf_build_free(b);
    struct model *m;
    struct weft_err e;
    if (model_parse(bytes->data, bytes->len, path, &m, &e) != WEFT_OK)
        fail_msg("%s", e.message);
    return m;
}

static void weights_are_found_by_role(void **state)
{
    (void)state;
    static const enum quant_type types[] = {QUANT_F32,  QUANT_F16,  QUANT_BF16,
                                            QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0};
    for (size_t i = 0; i < N_OF(types); i++) {
        struct gguf_tiny t = tiny;
        t.type = t.output_type = types[i];
        t.tied = i % 2;
        struct gguf_build b;
        struct buf bytes;
        gguf_build_tiny_llama(&b, &t);
        struct model *m = parse_built(&b, "tiny.gguf", &bytes);
        const struct model_shape *s = &m->shape;
        assert_int_equal(s->n_vocab, 320);
        assert_int_equal(s->n_ctx, 512);
        assert_int_equal(s->n_embd, 64);
        assert_int_equal(s->n_layer, 2);
        assert_int_equal(s->n_head, 4);
        assert_int_equal(s->n_head_kv, 2);
        assert_int_equal(s->head_dim, 16);
        assert_int_equal(s->n_rot, 16);
        assert_int_equal(s->n_ff, 96);
        assert_true(s->rms_eps == 1e-5f && s->rope_base == 10000 && s->rope_scale == 1);
        assert_string_equal(m->token_embd->name_z, "token_embd.weight");
        assert_string_equal(m->output_norm->name_z, "output_norm.weight");
        assert_string_equal(m->output->name_z, t.tied ? "token_embd.weight" : "output.weight");
        assert_null(m->rope_freqs);
        const struct model_layer *l = &m->layers[1];
        const struct gguf_tensor *found[] = {l->attn_norm, l->attn_q,   l->attn_k, l->attn_v,  l->attn_output,
                                             l->ffn_norm,  l->ffn_gate, l->ffn_up, l->ffn_down};
        static const char *const names[] = {"attn_norm", "attn_q",   "attn_k", "attn_v",  "attn_output",
                                            "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down"};
        for (size_t k = 0; k < N_OF(found); k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.1.%s.weight", names[k]);
            assert_string_equal(found[k]->name_z, name);
            assert_int_equal(found[k]->type, found[k]->dim[1] == 1 ? QUANT_F32 : types[i]);
        }
        assert_int_equal(tok_n_vocab(m->tok), 320);
        assert_int_equal(tok_bos(m->tok), GGUF_TINY_IM_START);
        assert_non_null(m->chat);
        assert_string_equal(m->name, "Tiny");
        model_close(m);
        buf_free(&bytes);
    }
}

static void what_is_absent_has_its_default(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes;
    struct gguf_tiny t = tiny;
    t.n_head_kv = t.n_head;
    gguf_build_tiny_llama(&b, &t);
    gguf_build_drop(&b, "llama.attention.head_count_kv");
    gguf_build_drop(&b, "llama.rope.dimension_count");
    gguf_build_drop(&b, "llama.rope.freq_base");
    gguf_build_drop(&b, "llama.vocab_size");
    gguf_build_drop(&b, "general.name");
    gguf_build_drop(&b, "tokenizer.chat_template");
    struct model *m = parse_built(&b, "/some/where/my-model.gguf", &bytes);
    assert_int_equal(m->shape.n_head_kv, 4);
    assert_int_equal(m->shape.n_rot, 16);
    assert_true(m->shape.rope_base == 10000);
    assert_int_equal(m->shape.n_vocab, 320);
    assert_string_equal(m->name, "my-model");
    assert_null(m->chat);
    assert_int_equal(m->chat_error.code, WEFT_OK);
    model_close(m);
    buf_free(&bytes);
}

static void rotary_settings_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *type; /* NULL: absent */
        const char *key;
        float factor, scale;
    } cases[] = {{"none", ROPE "scaling.factor", 4, 1},
                 {"linear", ROPE "scaling.factor", 4, 0.25f},
                 {NULL, ROPE "scaling.factor", 4, 0.25f},
                 {NULL, ROPE "scale_linear", 2, 0.5f}};
    for (size_t i = 0; i < N_OF(cases); i++) {
        struct gguf_build b;
        struct buf bytes;
        float freqs[8] = {1, 1, 1, 2, 4, 8, 8, 8};
        gguf_build_tiny_llama(&b, &tiny);
        if (cases[i].type)
            gguf_build_str(&b, ROPE "scaling.type", cases[i].type);
        gguf_build_f32(&b, cases[i].key, cases[i].factor);
        gguf_build_f32(&b, ROPE "freq_base", 500000);
        gguf_build_tensor(&b, "rope_freqs.weight", QUANT_F32, 1, (const uint64_t[]){8}, freqs, sizeof freqs);
        /* A table that older converters wrote and nothing needs. */
        gguf_build_tensor(&b, "blk.0.attn_rot_embd.weight", QUANT_F32, 1, (const uint64_t[]){8}, NULL, 32);
        struct model *m = parse_built(&b, "tiny.gguf", &bytes);
        assert_true(m->shape.rope_scale == cases[i].scale);
        assert_true(m->shape.rope_base == 500000);
        assert_int_equal(m->rope_freqs->dim[0], 8);
        model_close(m);
        buf_free(&bytes);
    }
}

static void heads_may_have_a_length_of_their_own(void **state)
{
    (void)state;
    struct gguf_tiny t = tiny;
    t.n_embd = 96; /* 3 heads of 32 ... */
    t.n_head = t.n_head_kv = 3;
    struct gguf_build b;
    struct buf bytes;
    gguf_build_tiny_llama(&b, &t);
    gguf_build_u32(&b, ATTN "head_count", 6); /* ... are as many values as 6 of 16 */
    gguf_build_u32(&b, ATTN "head_count_kv", 6);
    gguf_build_u32(&b, ATTN "key_length", 16);
    gguf_build_u32(&b, ATTN "value_length", 16);
    gguf_build_u32(&b, ROPE "dimension_count", 16);
    struct model *m = parse_built(&b, "tiny.gguf", &bytes);
    assert_int_equal(m->shape.head_dim, 16);
    model_close(m);
    buf_free(&bytes);
}

static void names_are_made_printable(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes;
    gguf_build_tiny_llama(&b, &tiny);
    gguf_build_str(&b, "general.name", "Caf\xc3\xa9\x1b]0;pwned\x07");
    struct model *m = parse_built(&b, "tiny.gguf", &bytes);
    assert_string_equal(m->name, "Caf\xc3\xa9\\x1b]0;pwned\\x07");
    model_close(m);
    buf_free(&bytes);
}

static void a_broken_template_leaves_completion(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct gguf_build b;
        struct buf bytes;
        gguf_build_tiny_llama(&b, &tiny);
        if (i == 0)
            gguf_build_str(&b, "tokenizer.chat_template", "{% for message in %}");
        else
            gguf_build_u32(&b, "tokenizer.chat_template", 1);
        struct model *m = parse_built(&b, "tiny.gguf", &bytes);
        assert_null(m->chat);
        assert_int_equal(m->chat_error.code, WEFT_FILE_INVALID);
        assert_true(strlen(m->chat_error.message) > 0);
        model_close(m);
        buf_free(&bytes);
    }
}

static void a_vocabulary_alone_tokenizes(void **state)
{
    (void)state;
    struct gguf_build b;
    gguf_build_tiny_vocab(&b, 320);
    char path[] = "/tmp/weft-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_build_save(&b, path), 0);
    gguf_build_free(&b);
    struct gguf *g;
    struct tok *tok;
    struct weft_err e;
    assert_int_equal(gguf_open(path, &g, &e), WEFT_OK);
    assert_int_equal(tok_create(g, &tok, &e), WEFT_OK);
    gguf_close(g);
    struct tok_ids ids = {0};
    assert_int_equal(tok_encode(tok, "hi!", 3, TOK_PLAIN, NULL, &ids, &e), WEFT_OK);
    assert_true(ids.n >= 2 && ids.id[ids.n - 1] == GGUF_TINY_BYTE_0 + '!');
    tok_ids_free(&ids);
    tok_destroy(tok);
    struct model *m;
    assert_int_equal(model_open(path, &m, &e), WEFT_MODEL_LOAD_FAILED);
    assert_null(m);
    assert_string_equal(err_context_text(&e, "field"), "tensor_count");
    unlink(path);
    assert_int_equal(model_open(path, &m, &e), WEFT_FILE_INVALID);
}

static void *read_text(void *model)
{
    return model_read_text(model, NULL) ? model : NULL;
}

/* As the engine loads: one thread reads the text's side while another reads tensors. */
static void text_and_tensors_are_read_at_once(void **state)
{
    (void)state;
    struct gguf_build b;
    struct gguf_tiny big = GGUF_TINY_DEFAULT;
    big.n_vocab = 40000; /* with more data than are read when the file is opened */
    gguf_build_tiny_llama(&b, &big);
    char path[] = "/tmp/weft-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(gguf_build_save(&b, path), 0);
    gguf_build_free(&b);
    struct model *m;
    assert_int_equal(model_open_tensors(path, &m, NULL), WEFT_OK);
    assert_int_equal(m->shape.n_vocab, 40000);
    assert_null(m->tok);
    pthread_t thread;
    void *failed;
    assert_int_equal(pthread_create(&thread, NULL, read_text, m), 0);
    for (uint64_t i = 0; i < m->file->n_tensors; i++) {
        const struct gguf_tensor *t = &m->file->tensors[i];
        void *bytes = malloc(t->size);
        assert_non_null(bytes);
        assert_int_equal(gguf_read(m->file, t, 0, t->size, bytes, NULL), WEFT_OK);
        free(bytes);
    }
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_int_equal(tok_n_vocab(m->tok), 40000);
    model_close(m);
    unlink(path);
}

static void damage_to_the_file_is_not_a_model_fault(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    gguf_build_tiny_llama(&b, &tiny);
    b.cut = 1;
    gguf_build_write(&b, &bytes);
    struct model *m;
    struct weft_err e;
    assert_int_equal(model_parse(bytes.data, bytes.len, "tiny.gguf", &m, &e), WEFT_FILE_INVALID);
    assert_int_equal(e.code, WEFT_FILE_INVALID);
    gguf_build_free(&b);
    buf_free(&bytes);
}

static void random_damage_is_loaded_or_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    gguf_build_tiny_llama(&b, &tiny);
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    struct rng r;
    rng_seed(&r, 11);
    size_t refused = 0, rounds = 400;
    for (size_t i = 0; i < rounds; i++) {
        /* Mostly in the hyperparameters and the tensor table, which lie before the weights. */
        size_t at = (size_t)rng_below(&r, i % 4 ? 16000 : bytes.len);
        char before = bytes.data[at];
        bytes.data[at] = (char)(rng_u64(&r) & 0xff);
        struct model *m;
        enum weft_rc rc = model_parse(bytes.data, bytes.len, "tiny.gguf", &m, NULL);
        assert_true(rc == WEFT_OK || rc == WEFT_FILE_INVALID || rc == WEFT_MODEL_LOAD_FAILED);
        refused += rc != WEFT_OK;
        model_close(m);
        bytes.data[at] = before;
    }
    assert_in_range(refused, rounds / 10, rounds - 1);
    buf_free(&bytes);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    struct gguf_tiny t = tiny;
    t.n_vocab = GGUF_TINY_MERGE_0 + 1;
    gguf_build_tiny_llama(&b, &t);
    gguf_build_write(&b, &bytes);
    gguf_build_free(&b);
    struct model *m = NULL;
    size_t n = 1;
    for (enum weft_rc rc = WEFT_INTERNAL_ERROR; rc != WEFT_OK; n++) {
        struct weft_err e;
        mem_fail_at(n);
        rc = model_parse(bytes.data, bytes.len, "tiny.gguf", &m, &e);
        if (rc != WEFT_OK && (rc != WEFT_INTERNAL_ERROR || m))
            fail_msg("allocation %zu: %s", n, e.message);
    }
    mem_fail_at(0);
    assert_true(n > 20);
    assert_non_null(m->chat);
    model_close(m);
    buf_free(&bytes);
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(weights_are_found_by_role),
        cmocka_unit_test(what_is_absent_has_its_default),
        cmocka_unit_test(rotary_settings_are_read),
        cmocka_unit_test(heads_may_have_a_length_of_their_own),
        cmocka_unit_test(names_are_made_printable),
        cmocka_unit_test(a_broken_template_leaves_completion),
        cmocka_unit_test(a_vocabulary_alone_tokenizes),
        cmocka_unit_test(text_and_tensors_are_read_at_once),
        cmocka_unit_test(damage_to_the_file_is_not_a_model_fault),
        cmocka_unit_test(random_damage_is_loaded_or_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    struct CMUnitTest refusals[N_OF(unfit)];
    for (size_t i = 0; i < N_OF(unfit); i++)
        refusals[i] = (struct CMUnitTest){unfit[i].name, is_refused, NULL, NULL, (void *)&unfit[i]};
    int failed = cmocka_run_group_tests_name("sound models", others, NULL, NULL);
    return failed + cmocka_run_group_tests_name("files that aren't models", refusals, NULL, NULL);
}
