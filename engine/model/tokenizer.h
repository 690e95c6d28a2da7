/*
 * Byte-level BPE tokenizers of GGUF files (tokenizer.ggml.model = "gpt2"), with the pre-tokenizers gpt-2, smollm (also
 * starcoder, refact, command-r), llama-bpe, qwen2 and default. Facts about them: docs/tokenizer.md.
 *
 * Only tokenizer.* keys are read: architecture, hyperparameters and tensors aren't looked at.
 * A struct tok is immutable once made: any number of threads may encode and decode at once.
 * Ownership: token bytes are copied, so the file may be closed afterwards.
 */
#ifndef WEFT_MODEL_TOKENIZER_H
#define WEFT_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/model/gguf.h"

struct tok;

/* A growable list of ids; free with tok_ids_free. */
struct tok_ids {
    uint32_t *id;
    size_t n, cap;
};
void tok_ids_free(struct tok_ids *ids);

/* FILE_INVALID when tokens or merges are missing, of a wrong type, inconsistent, or the pre-tokenizer is unknown. */
enum weft_rc tok_create(const struct gguf *g, struct tok **out, struct weft_err *err);
void tok_destroy(struct tok *t);
/* How many tokens tok_create would read, at once and without reading them. Its errors, as far as they show by then. */
enum weft_rc tok_count(const struct gguf *g, uint32_t *n, struct weft_err *err);

enum tok_mode {
    TOK_PLAIN,   /* special tokens in the text are plain text */
    TOK_SPECIAL, /* special tokens are recognised anywhere */
    TOK_MARKED,  /* recognised only where every byte of them is trusted: see tok_encode */
};

/* Appends the ids of text[0..n) to *ids; adds no BOS. Any bytes are accepted: invalid UTF-8 becomes U+FFFD, one byte at
 * a time. `foreign` (TOK_MARKED only): n bytes, non-zero where the byte came from outside the template. INTERNAL_ERROR
 * when out of memory, INVALID_REQUEST (field text, value, limit) above 1 GiB; *ids is then as before. User-defined
 * tokens are found in every mode; those written <like this> count as special in TOK_MARKED. A byte without a token is
 * left out. */
enum weft_rc tok_encode(const struct tok *t, const char *text, size_t n, enum tok_mode mode,
                        const uint8_t *foreign, struct tok_ids *ids, struct weft_err *err);

uint32_t tok_n_vocab(const struct tok *t);
/* The bytes of a token (not NUL-terminated), owned by t; control tokens give their text ("<|im_end|>"). id < n_vocab. */
const char *tok_bytes(const struct tok *t, uint32_t id, size_t *n);
bool tok_is_control(const struct tok *t, uint32_t id); /* control tokens aren't shown in a reply's text */
/* Does it end a generation? A set, from eos, eot, eom and well-known names. */
bool tok_is_eog(const struct tok *t, uint32_t id);
/* The ids of that set, ascending; n out. Owned by t. */
const uint32_t *tok_eog_ids(const struct tok *t, size_t *n);
/* -1 when the file names none. */
int64_t tok_bos(const struct tok *t);
int64_t tok_eos(const struct tok *t);
/* tokenizer.ggml.add_bos_token; absent: true for llama-bpe, else false. */
bool tok_add_bos(const struct tok *t);
/* Appends the bytes of the ids; an id ≥ n_vocab is INVALID_REQUEST (field ids, value, limit). */
enum weft_rc tok_decode(const struct tok *t, const uint32_t *ids, size_t n, struct buf *out,
                        struct weft_err *err);

#endif
