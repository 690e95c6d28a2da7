/*
 * Small vocabularies for tests of the tokenizer: a token per byte (id = the byte), then whatever a test wants.
 *
 * Texts and merges are in the file's form, GPT-2's byte alphabet: a space is "\xc4\xa0" (G with a dot). One thread.
 */
#ifndef TESTS_SUPPORT_TOK_BUILD_H
#define TESTS_SUPPORT_TOK_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "engine/model/tokenizer.h"
#include "tests/support/gguf_build.h"

enum {
    TOK_BUILD_NORMAL = 1,
    TOK_BUILD_UNKNOWN,
    TOK_BUILD_CONTROL,
    TOK_BUILD_USER,
    TOK_BUILD_UNUSED,
    TOK_BUILD_BYTE
};
enum { TOK_BUILD_FIRST = 256 }; /* id of extra[0] */

struct tok_build_token {
    const char *text;
    int32_t type;
};

/* Initialises *b with the tokenizer keys of such a vocabulary; `pre` NULL leaves that key out. */
void tok_build(struct gguf_build *b, const char *pre, const struct tok_build_token *extra, size_t n_extra,
               const char *const *merges, size_t n_merges);

/* Parses what the builder writes and makes a tokenizer of it; everything else is freed before this returns,
 * so that a tokenizer that kept a pointer into the file is caught by the sanitizers. */
enum weft_rc tok_build_create(const struct gguf_build *b, struct tok **out, struct weft_err *err);

/* tok_build, tok_build_create and gguf_build_free in one, for a vocabulary that must be accepted. */
struct tok *tok_build_sound(const char *pre, const struct tok_build_token *extra, size_t n_extra,
                            const char *const *merges, size_t n_merges);

#endif
