/*
 * From a sound GGUF file to a model that can be run: hyperparameters, tensors by role, tokenizer, chat template.
 *
 * Everything is refused here that would otherwise show up as wrong text later: a shape that doesn't fit, a
 * rotary scaling that isn't implemented, a tensor that the architecture doesn't have.
 */
#include "engine/model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/model/gguf_refuse.h"

static const char ARCHITECTURE[] = "llama";

enum {
    LAYERS_MAX = 512,
    CONTEXT_MAX = 1 << 24, /* positions are exact in float32 up to here */
    WIDTH_MAX = 1 << 20,
    HEADS_MAX = 4096,
    HEAD_DIM_MAX = 1024,
};

static enum weft_rc refuse(const struct gguf *g, const char *field, const char *value, const char *limit,
                           struct weft_err *err)
{
    return gguf_refuse(err, WEFT_MODEL_LOAD_FAILED, g->path, field, value, limit);
}

/* A key of the wrong type or range, in a file that is sound GGUF: it is the model that can't be loaded. */
static enum weft_rc as_load_failure(enum weft_rc rc, struct weft_err *err)
{
    if (rc != WEFT_FILE_INVALID)
        return rc;
    if (err)
        err->code = WEFT_MODEL_LOAD_FAILED;
    return WEFT_MODEL_LOAD_FAILED;
}

static bool str_is(struct gguf_str s, const char *z)
{
    return s.s && s.n == strlen(z) && memcmp(s.s, z, s.n) == 0;
}

/* What the file is: a whole model of the one architecture. */
static enum weft_rc check_kind(const struct gguf *g, struct weft_err *err)
{
    struct gguf_str arch;
    enum weft_rc rc = gguf_string(g, "general.architecture", &arch, err);
    if (rc != WEFT_OK)
        return as_load_failure(rc, err);
    if (!str_is(arch, ARCHITECTURE))
        return refuse(g, "general.architecture", arch.s ? gguf_quote(arch).s : "absent", "must be llama",
                      err);
    uint32_t splits, experts;
    bool causal;
    if ((rc = gguf_u32(g, "split.count", 1, 0, UINT32_MAX, &splits, err)) != WEFT_OK ||
        (rc = gguf_u32(g, "llama.expert_count", 0, 0, UINT32_MAX, &experts, err)) != WEFT_OK ||
        (rc = gguf_bool(g, "llama.attention.causal", true, &causal, err)) != WEFT_OK)
        return as_load_failure(rc, err);
    if (splits > 1)
        return refuse(g, "split.count", gguf_text("%u", splits).s, "must be 1: join the parts into one file",
                      err);
    if (experts > 0)
        return refuse(g, "llama.expert_count", gguf_text("%u", experts).s,
                      "mixtures of experts are not supported", err);
    if (!causal)
        return refuse(g, "llama.attention.causal", "false", "must be true: the model doesn't generate text",
                      err);
    if (g->n_tensors == 0)
        return refuse(g, "tensor_count", "0", "a file with a vocabulary alone can tokenize, but not be run",
                      err);
    return WEFT_OK;
}

/* A float key that must be finite and above zero; required when `fallback` is 0. */
static enum weft_rc read_positive(const struct gguf *g, const char *key, float fallback, float *out,
                                  struct weft_err *err)
{
    enum weft_rc rc = gguf_f32(g, key, fallback, out, err);
    if (rc != WEFT_OK)
        return as_load_failure(rc, err);
    if (fallback == 0 && !gguf_find(g, key))
        return refuse(g, key, "absent", "required", err);
    if (!isfinite(*out) || *out <= 0)
        return refuse(g, key, gguf_text("%g", (double)*out).s, "must be finite and above 0", err);
    return WEFT_OK;
}

/* An integer key within 1..max; `fallback` 0: required. */
static enum weft_rc read_count(const struct gguf *g, const char *key, uint32_t fallback, uint32_t max,
                               uint32_t *out, struct weft_err *err)
{
    enum weft_rc rc = gguf_u32(g, key, fallback, 1, max, out, err);
    if (rc != WEFT_OK)
        return as_load_failure(rc, err);
    return *out ? WEFT_OK : refuse(g, key, "absent", "required", err);
}

static enum weft_rc read_heads(const struct gguf *g, struct model_shape *s, struct weft_err *err)
{
    uint32_t value_dim;
    enum weft_rc rc = read_count(g, "llama.attention.head_count", 0, HEADS_MAX, &s->n_head, err);
    if (rc == WEFT_OK)
        rc = read_count(g, "llama.attention.head_count_kv", s->n_head, HEADS_MAX, &s->n_head_kv, err);
    if (rc != WEFT_OK)
        return rc;
    if (s->n_head % s->n_head_kv)
        return refuse(g, "llama.attention.head_count_kv", gguf_text("%u", s->n_head_kv).s,
                      gguf_text("must divide head_count, %u", s->n_head).s, err);
    bool own_dim = gguf_find(g, "llama.attention.key_length") != NULL;
    if (!own_dim && s->n_embd % s->n_head)
        return refuse(g, "llama.attention.head_count", gguf_text("%u", s->n_head).s,
                      gguf_text("must divide embedding_length, %u", s->n_embd).s, err);
    rc = read_count(g, "llama.attention.key_length", s->n_embd / s->n_head, HEAD_DIM_MAX, &s->head_dim, err);
    if (rc == WEFT_OK)
        rc = read_count(g, "llama.attention.value_length", s->head_dim, HEAD_DIM_MAX, &value_dim, err);
    if (rc != WEFT_OK)
        return rc;
    if (s->head_dim > HEAD_DIM_MAX || s->head_dim % 2)
        return refuse(g, own_dim ? "llama.attention.key_length" : "llama.attention.head_count",
                      gguf_text("%u values a head", s->head_dim).s,
                      gguf_text("must be even, 2 to %d", HEAD_DIM_MAX).s, err);
    if (value_dim != s->head_dim)
        return refuse(g, "llama.attention.value_length", gguf_text("%u", value_dim).s,
                      gguf_text("must be that of keys, %u", s->head_dim).s, err);
    return WEFT_OK;
}

static enum weft_rc read_rope(const struct gguf *g, struct model_shape *s, struct weft_err *err)
{
    static const char type_key[] = "llama.rope.scaling.type", factor_key[] = "llama.rope.scaling.factor";
    enum weft_rc rc = read_count(g, "llama.rope.dimension_count", s->head_dim, HEAD_DIM_MAX, &s->n_rot, err);
    if (rc == WEFT_OK)
        rc = read_positive(g, "llama.rope.freq_base", 10000.0f, &s->rope_base, err);
    if (rc != WEFT_OK)
        return rc;
    if (s->n_rot != s->head_dim)
        return refuse(g, "llama.rope.dimension_count", gguf_text("%u", s->n_rot).s,
                      gguf_text("must be the head's, %u", s->head_dim).s, err);
    struct gguf_str type;
    if ((rc = gguf_string(g, type_key, &type, err)) != WEFT_OK)
        return as_load_failure(rc, err);
    if (type.s && !str_is(type, "none") && !str_is(type, "linear"))
        return refuse(g, type_key, gguf_quote(type).s, "must be none or linear", err);
    /* Older files have only scale_linear, which means the same as type linear with that factor. */
    float factor = 1, older = 1;
    if ((rc = read_positive(g, factor_key, 1.0f, &factor, err)) != WEFT_OK ||
        (rc = read_positive(g, "llama.rope.scale_linear", 1.0f, &older, err)) != WEFT_OK)
        return rc;
    if (!gguf_find(g, factor_key))
        factor = older;
    s->rope_scale = str_is(type, "none") ? 1.0f : 1.0f / factor;
    if (!isfinite(s->rope_scale) || s->rope_scale <= 0)
        return refuse(g, factor_key, gguf_text("%g", (double)factor).s,
                      "its inverse must be finite and above 0", err);
    return WEFT_OK;
}

static enum weft_rc read_shape(const struct gguf *g, struct model_shape *s, struct weft_err *err)
{
    const struct {
        const char *key;
        uint32_t max;
        uint32_t *out;
    } counts[] = {
        {"llama.block_count", LAYERS_MAX, &s->n_layer},
        {"llama.context_length", CONTEXT_MAX, &s->n_ctx},
        {"llama.embedding_length", WIDTH_MAX, &s->n_embd},
        {"llama.feed_forward_length", WIDTH_MAX, &s->n_ff},
    };
    enum weft_rc rc = WEFT_OK;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && rc == WEFT_OK; i++)
        rc = read_count(g, counts[i].key, 0, counts[i].max, counts[i].out, err);
    if (rc == WEFT_OK)
        rc = read_positive(g, "llama.attention.layer_norm_rms_epsilon", 0, &s->rms_eps, err);
    if (rc == WEFT_OK)
        rc = read_heads(g, s, err);
    return rc == WEFT_OK ? read_rope(g, s, err) : rc;
}

/* The vocabulary counted three ways: tokens, rows of the embedding, and (where given) the hyperparameter. */
static enum weft_rc count_vocab(struct model *m, struct weft_err *err)
{
    enum weft_rc rc = as_load_failure(tok_count(m->file, &m->shape.n_vocab, err), err);
    if (rc != WEFT_OK)
        return rc;
    uint32_t told;
    rc = read_count(m->file, "llama.vocab_size", m->shape.n_vocab, UINT32_MAX, &told, err);
    if (rc == WEFT_OK && told != m->shape.n_vocab)
        rc = refuse(m->file, "llama.vocab_size", gguf_text("%u", told).s,
                    gguf_text("must be the number of tokens, %u", m->shape.n_vocab).s, err);
    return rc;
}

/* The lengths that tensors are made of. */
enum length { ONE, EMBD, HEADS, HEADS_KV, FF, VOCAB, ROT_HALF, LENGTHS };

enum { REQUIRED = 1, VECTOR = 2 };

struct role {
    const char *name;
    size_t at;           /* offset of the pointer in struct model or struct model_layer */
    enum length in, out; /* dim[0], dim[1] */
    unsigned flags;
};

static const struct role model_roles[] = {
    {"token_embd.weight", offsetof(struct model, token_embd), EMBD, VOCAB, REQUIRED},
    {"output_norm.weight", offsetof(struct model, output_norm), EMBD, ONE, REQUIRED | VECTOR},
    {"output.weight", offsetof(struct model, output), EMBD, VOCAB, 0},
    {"rope_freqs.weight", offsetof(struct model, rope_freqs), ROT_HALF, ONE, VECTOR},
};

/* Named blk.N.… in the file. */
static const struct role layer_roles[] = {
    {"attn_norm.weight", offsetof(struct model_layer, attn_norm), EMBD, ONE, REQUIRED | VECTOR},
    {"attn_q.weight", offsetof(struct model_layer, attn_q), EMBD, HEADS, REQUIRED},
    {"attn_k.weight", offsetof(struct model_layer, attn_k), EMBD, HEADS_KV, REQUIRED},
    {"attn_v.weight", offsetof(struct model_layer, attn_v), EMBD, HEADS_KV, REQUIRED},
    {"attn_output.weight", offsetof(struct model_layer, attn_output), HEADS, EMBD, REQUIRED},
    {"ffn_norm.weight", offsetof(struct model_layer, ffn_norm), EMBD, ONE, REQUIRED | VECTOR},
    {"ffn_gate.weight", offsetof(struct model_layer, ffn_gate), EMBD, FF, REQUIRED},
    {"ffn_up.weight", offsetof(struct model_layer, ffn_up), EMBD, FF, REQUIRED},
    {"ffn_down.weight", offsetof(struct model_layer, ffn_down), FF, EMBD, REQUIRED},
};

enum {
    N_MODEL_ROLES = sizeof model_roles / sizeof *model_roles,
    N_LAYER_ROLES = sizeof layer_roles / sizeof *layer_roles
};

static enum weft_rc check_tensor(const struct gguf *g, const struct role *role, const struct gguf_tensor *t,
                                 const uint64_t length[LENGTHS], struct weft_err *err)
{
    const struct quant_info *q = quant_info(t->type);
    if (role->flags & VECTOR ? t->type != QUANT_F32 : !q->supported)
        return refuse(g, t->name_z, gguf_text("of type %s", q->name).s,
                      role->flags & VECTOR ? "must be F32" : "must be F32, F16, BF16, Q4_0, Q4_1 or Q8_0",
                      err);
    uint64_t in = length[role->in], out = length[role->out];
    if (t->dim[0] != in || t->dim[1] != out || t->dim[2] != 1 || t->dim[3] != 1)
        return refuse(g, t->name_z,
                      gguf_text("[%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", t->dim[0], t->dim[1],
                                t->dim[2], t->dim[3])
                          .s,
                      gguf_text("must be [%" PRIu64 ", %" PRIu64 "]", in, out).s, err);
    return WEFT_OK;
}

/* Fills the pointers of `roles` in the structure at `base`; names begin with `prefix`. Adds to *found. */
static enum weft_rc bind_roles(const struct gguf *g, const struct role *roles, size_t n, const char *prefix,
                               void *base, const uint64_t length[LENGTHS], uint64_t *found,
                               struct weft_err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct gguf_text name = gguf_text("%s%s", prefix, roles[i].name);
        const struct gguf_tensor *t = gguf_tensor(g, name.s);
        if (!t && (roles[i].flags & REQUIRED))
            return refuse(g, name.s, "absent", "required", err);
        if (!t)
            continue;
        enum weft_rc rc = check_tensor(g, &roles[i], t, length, err);
        if (rc != WEFT_OK)
            return rc;
        memcpy((char *)base + roles[i].at, &t, sizeof t);
        ++*found;
    }
    return WEFT_OK;
}

/* blk.N.NAME, N below n_layer written without leading zeros? Sets *rest to NAME. */
static bool layer_tensor(const char *name, uint32_t n_layer, const char **rest)
{
    unsigned layer;
    int used = 0;
    if (sscanf(name, "blk.%4u.%n", &layer, &used) != 1 || !used || layer >= n_layer)
        return false;
    *rest = name + used;
    return strncmp(name, gguf_text("blk.%u.", layer).s, (size_t)used) == 0;
}

static bool has_role(const struct role *roles, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(roles[i].name, name) == 0)
            return true;
    return false;
}

/* A tensor that nothing reads, such as a bias, means that the results would be wrong. Only rotary tables that
 * older converters wrote, which repeat what the hyperparameters say, are passed over. */
static enum weft_rc refuse_unknown(const struct gguf *g, uint32_t n_layer, struct weft_err *err)
{
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const char *name = g->tensors[i].name_z, *rest = NULL;
        bool known = layer_tensor(name, n_layer, &rest) ? has_role(layer_roles, N_LAYER_ROLES, rest) ||
                                                              strcmp(rest, "attn_rot_embd.weight") == 0
                                                        : has_role(model_roles, N_MODEL_ROLES, name);
        if (!known)
            return refuse(g, gguf_quote(g->tensors[i].name).s, "in the file",
                          gguf_text("a llama of %u layers has no such tensor", n_layer).s, err);
    }
    return WEFT_OK;
}

static enum weft_rc check_rope_freqs(const struct model *m, struct weft_err *err)
{
    for (uint64_t i = 0; m->rope_freqs && i < m->rope_freqs->dim[0]; i++) {
        uint8_t bytes[4];
        float f;
        enum weft_rc rc = gguf_read(m->file, m->rope_freqs, 4 * i, sizeof bytes, bytes, err);
        if (rc != WEFT_OK)
            return rc;
        quant_dequantize(QUANT_F32, bytes, &f, 1);
        if (!isfinite(f) || f <= 0)
            return refuse(m->file, m->rope_freqs->name_z, gguf_text("%g at %" PRIu64, (double)f, i).s,
                          "must be finite and above 0", err);
    }
    return WEFT_OK;
}

static enum weft_rc bind_tensors(struct model *m, struct weft_err *err)
{
    const struct model_shape *s = &m->shape;
    const uint64_t length[LENGTHS] = {
        [ONE] = 1,
        [EMBD] = s->n_embd,
        [HEADS] = (uint64_t)s->n_head * s->head_dim,
        [FF] = s->n_ff,
        [VOCAB] = s->n_vocab,
        [HEADS_KV] = (uint64_t)s->n_head_kv * s->head_dim,
        [ROT_HALF] = s->n_rot / 2,
    };
    m->layers = mem_calloc(s->n_layer, sizeof *m->layers); /* at most LAYERS_MAX */
    if (!m->layers)
        return weft_err_nomem(err, "model_open", s->n_layer * sizeof *m->layers);
    uint64_t found = 0;
    enum weft_rc rc = bind_roles(m->file, model_roles, N_MODEL_ROLES, "", m, length, &found, err);
    for (uint32_t i = 0; i < s->n_layer && rc == WEFT_OK; i++)
        rc = bind_roles(m->file, layer_roles, N_LAYER_ROLES, gguf_text("blk.%u.", i).s, &m->layers[i], length,
                        &found, err);
    if (rc == WEFT_OK && found != m->file->n_tensors)
        rc = refuse_unknown(m->file, s->n_layer, err);
    if (rc == WEFT_OK)
        rc = check_rope_freqs(m, err);
    if (!m->output)
        m->output = m->token_embd; /* tied */
    return rc;
}

/* A template that can't be interpreted leaves a model that completes plain text: chat_error says why. */
static enum weft_rc read_chat(struct model *m, struct weft_err *err)
{
    struct gguf_str source;
    enum weft_rc rc = gguf_string(m->file, "tokenizer.chat_template", &source, &m->chat_error);
    if (rc == WEFT_OK && source.s)
        rc = chat_template_parse(source.s, source.n, &m->chat, &m->chat_error);
    if (rc != WEFT_INTERNAL_ERROR)
        return WEFT_OK;
    if (err)
        *err = m->chat_error;
    return rc;
}

/* general.name, else the file's name without directory and ending. */
static enum weft_rc read_name(struct model *m, const char *path, struct weft_err *err)
{
    struct gguf_str name;
    enum weft_rc rc = gguf_string(m->file, "general.name", &name, err);
    if (rc != WEFT_OK)
        return as_load_failure(rc, err);
    if (!name.s || !name.n) {
        static const char ending[] = ".gguf";
        const char *slash = strrchr(path, '/');
        name.s = slash ? slash + 1 : path;
        name.n = strlen(name.s);
        if (name.n > strlen(ending) && strcmp(name.s + name.n - strlen(ending), ending) == 0)
            name.n -= strlen(ending);
    }
    m->name = mem_strdup(gguf_quote(name).s);
    return m->name ? WEFT_OK : weft_err_nomem(err, "model_open", sizeof(struct gguf_text));
}

/* Takes the file over, also when it fails. */
static enum weft_rc from_gguf(struct gguf *g, struct model **out, struct weft_err *err)
{
    struct model *m = mem_calloc(1, sizeof *m);
    if (!m) {
        gguf_close(g);
        return weft_err_nomem(err, "model_open", sizeof *m);
    }
    m->file = g;
    enum weft_rc rc;
    if ((rc = check_kind(g, err)) == WEFT_OK && (rc = read_shape(g, &m->shape, err)) == WEFT_OK &&
        (rc = count_vocab(m, err)) == WEFT_OK && (rc = bind_tensors(m, err)) == WEFT_OK &&
        (rc = read_name(m, g->path, err)) == WEFT_OK)
        *out = m;
    else
        model_close(m);
    return rc;
}

enum weft_rc model_open_tensors(const char *path, struct model **out, struct weft_err *err)
{
    *out = NULL;
    struct gguf *g;
    enum weft_rc rc = gguf_open(path, &g, err);
    return rc == WEFT_OK ? from_gguf(g, out, err) : rc;
}

enum weft_rc model_read_text(struct model *m, struct weft_err *err)
{
    enum weft_rc rc = as_load_failure(tok_create(m->file, &m->tok, err), err);
    return rc == WEFT_OK ? read_chat(m, err) : rc;
}

/* Completes what from_gguf began, or drops it. */
static enum weft_rc with_text(enum weft_rc rc, struct model **out, struct weft_err *err)
{
    if (rc == WEFT_OK)
        rc = model_read_text(*out, err);
    if (rc != WEFT_OK) {
        model_close(*out);
        *out = NULL;
    }
    return rc;
}

enum weft_rc model_open(const char *path, struct model **out, struct weft_err *err)
{
    return with_text(model_open_tensors(path, out, err), out, err);
}

enum weft_rc model_parse(const void *bytes, size_t n, const char *path, struct model **out,
                         struct weft_err *err)
{
    *out = NULL;
    struct gguf *g;
    enum weft_rc rc = gguf_parse(bytes, n, path, &g, err);
    return with_text(rc == WEFT_OK ? from_gguf(g, out, err) : rc, out, err);
}

void model_close(struct model *m)
{
    if (!m)
        return;
    tok_destroy(m->tok);
    chat_template_destroy(m->chat);
    mem_free(m->layers);
    mem_free(m->name);
    gguf_close(m->file);
    mem_free(m);
}
