/*
 * The vocabulary of a tokenizer as a GGUF file gives it, checked, in the form that encoding and decoding use.
 *
 * Token texts in the file are UTF-8 in GPT-2's byte alphabet: a printable Latin-1 character stands for its
 * own byte, the characters from U+0100 on for the others in order (encoder.py, bytes_to_unicode). They are
 * turned into bytes once, here. Control and user-defined tokens are written as they are, and so is a normal
 * token with a character outside the alphabet.
 *
 * Immutable once made. Owns everything that it points to; the file may be closed.
 */
#ifndef WEFT_MODEL_TOK_VOCAB_H
#define WEFT_MODEL_TOK_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/model/gguf.h"
#include "engine/model/tok_bpe.h"
#include "engine/model/tok_map.h"

/* Numbered as in tokenizer.ggml.token_type. */
enum tok_type {
    TOK_TYPE_UNDEFINED,
    TOK_TYPE_NORMAL,
    TOK_TYPE_UNKNOWN,
    TOK_TYPE_CONTROL,
    TOK_TYPE_USER_DEFINED,
    TOK_TYPE_UNUSED,
    TOK_TYPE_BYTE,
    TOK_TYPE_COUNT
};

struct tok_vocab {
    uint32_t n;
    struct gguf_str *bytes; /* n strings in `arena` */
    uint8_t *type;          /* n of enum tok_type */
    char *arena;
    struct tok_bpe bpe;
    struct tok_strmap
        whole;        /* the tokens that their own bytes, as a piece, encode to: most pieces end here */
    int64_t bos, eos; /* -1: none */
    bool add_bos;
    uint32_t *eog; /* ascending */
    size_t n_eog;
};

/* How many tokens there are, 1 or more, without reading them. FILE_INVALID. */
enum weft_rc tok_vocab_count(const struct gguf *g, uint32_t *n, struct weft_err *err);
/* Reads the tokenizer.ggml.* keys. `whole_tokens`, `add_bos`: the pre-tokenizer's traits. FILE_INVALID, or
 * INTERNAL_ERROR when out of memory; *v is then empty. */
enum weft_rc tok_vocab_init(struct tok_vocab *v, const struct gguf *g, bool whole_tokens, bool add_bos,
                            struct weft_err *err);
void tok_vocab_deinit(struct tok_vocab *v);

/* Control and unknown tokens: not part of any text, and recognised only where special tokens are asked for.
 */
static inline bool tok_vocab_is_control(const struct tok_vocab *v, uint32_t id)
{
    return v->type[id] == TOK_TYPE_CONTROL || v->type[id] == TOK_TYPE_UNKNOWN;
}

#endif
