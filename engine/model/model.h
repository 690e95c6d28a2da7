/*
 * A model as the engine sees it: a GGUF file whose architecture is known, with checked shapes, its tokenizer, its chat
 * template, and the weight tensors by role. Nothing is computed or repacked here (engine/exec does that once).
 *
 * Immutable once opened: any number of threads may read. model_open fails with MODEL_LOAD_FAILED, or FILE_INVALID when
 * the file isn't sound GGUF; context path, field, value, limit.
 */
#ifndef WEFT_MODEL_MODEL_H
#define WEFT_MODEL_MODEL_H

#include <stdint.h>

#include "engine/base/err.h"
#include "engine/model/chat_template.h"
#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"

struct model_shape {
    uint32_t n_vocab, n_ctx; /* n_ctx: positions the model was trained for */
    uint32_t n_embd, n_layer, n_head, n_head_kv, head_dim, n_rot, n_ff;
    float rms_eps;
    float rope_base;
    float rope_scale; /* positions are multiplied by this (linear scaling); 1 when none */
};

struct model_layer {
    const struct gguf_tensor *attn_norm;   /* F32 [n_embd] */
    const struct gguf_tensor *attn_q;      /* [n_head*head_dim, n_embd] (out, in) */
    const struct gguf_tensor *attn_k;      /* [n_head_kv*head_dim, n_embd] */
    const struct gguf_tensor *attn_v;      /* [n_head_kv*head_dim, n_embd] */
    const struct gguf_tensor *attn_output; /* [n_embd, n_head*head_dim] */
    const struct gguf_tensor *ffn_norm;    /* F32 [n_embd] */
    const struct gguf_tensor *ffn_gate;    /* [n_ff, n_embd] */
    const struct gguf_tensor *ffn_up;      /* [n_ff, n_embd] */
    const struct gguf_tensor *ffn_down;    /* [n_embd, n_ff] */
};

struct model {
    struct gguf *file;
    char *name; /* general.name, else the file's base name; filtered to printable UTF-8 */
    struct model_shape shape;
    struct tok *tok;
    struct chat_template *chat; /* NULL when the file has none or it can't be interpreted */
    struct weft_err chat_error; /* why chat is NULL; code WEFT_OK when the file simply has no template */
    const struct gguf_tensor *token_embd;  /* [n_vocab, n_embd] */
    const struct gguf_tensor *output_norm; /* F32 [n_embd] */
    const struct gguf_tensor *output;      /* [n_vocab, n_embd]; == token_embd when tied */
    const struct gguf_tensor *rope_freqs;  /* F32 [n_rot/2] divisors of the rotary frequencies, or NULL */
    struct model_layer *layers;
};

enum weft_rc model_open(const char *path, struct model **out, struct weft_err *err);
/* model_open in two steps, as the second takes as long as the weights do: file, shapes and tensors; then tokenizer and
 * chat template, which may be read by one thread while others read tensors. Neither tok nor chat may be used before. */
enum weft_rc model_open_tensors(const char *path, struct model **out, struct weft_err *err);
enum weft_rc model_read_text(struct model *m, struct weft_err *err);
/* The same from bytes that outlive the model (tests, fuzzing). */
enum weft_rc model_parse(const void *bytes, size_t n, const char *path, struct model **out,
                         struct weft_err *err);
void model_close(struct model *m);

#endif
