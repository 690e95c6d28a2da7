#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "tests/support/tok_build.h"

/* The byte alphabet as a list of ranges, apart from the reader's way of working it out. */
static unsigned character_of(unsigned byte)
{
    if (byte <= 0x20)
        return 0x100 + byte;
    if (byte >= 0x7f && byte <= 0xa0)
        return 0x121 + byte - 0x7f;
    return byte == 0xad ? 0x143 : byte;
}

static void put_character(char out[3], unsigned cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        out[1] = 0;
    } else {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        out[2] = 0;
    }
}

void tok_build(struct gguf_build *b, const char *pre, const struct tok_build_token *extra, size_t n_extra,
               const char *const *merges, size_t n_merges)
{
    size_t n = TOK_BUILD_FIRST + n_extra;
    char text[TOK_BUILD_FIRST][3];
    const char **tokens = mem_calloc(n, sizeof *tokens);
    int32_t *types = mem_calloc(n, sizeof *types);
    if (!tokens || !types)
        abort();
    for (unsigned byte = 0; byte < TOK_BUILD_FIRST; byte++) {
        put_character(text[byte], character_of(byte));
        tokens[byte] = text[byte];
        types[byte] = TOK_BUILD_NORMAL;
    }
    for (size_t i = 0; i < n_extra; i++) {
        tokens[TOK_BUILD_FIRST + i] = extra[i].text;
        types[TOK_BUILD_FIRST + i] = extra[i].type;
    }
    gguf_build_init(b);
    gguf_build_str(b, "tokenizer.ggml.model", "gpt2");
    if (pre)
        gguf_build_str(b, "tokenizer.ggml.pre", pre);
    gguf_build_strings(b, "tokenizer.ggml.tokens", tokens, n);
    gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, n, types, n * sizeof *types);
    gguf_build_strings(b, "tokenizer.ggml.merges", merges, n_merges);
    mem_free(tokens);
    mem_free(types);
}

enum weft_rc tok_build_create(const struct gguf_build *b, struct tok **out, struct weft_err *err)
{
    struct buf bytes = BUF_INIT;
    struct gguf *g = NULL;
    *out = NULL;
    gguf_build_write(b, &bytes);
    char *exact = mem_memdup(bytes.data, bytes.len);
    if (!exact)
        abort();
    enum weft_rc rc = gguf_parse(exact, bytes.len, "vocab.gguf", &g, err);
    if (rc == WEFT_OK)
        rc = tok_create(g, out, err);
    gguf_close(g);
    mem_free(exact);
    buf_free(&bytes);
    return rc;
}

struct tok *tok_build_sound(const char *pre, const struct tok_build_token *extra, size_t n_extra,
                            const char *const *merges, size_t n_merges)
{
    struct gguf_build b;
    struct weft_err err = {0};
    struct tok *t = NULL;
    tok_build(&b, pre, extra, n_extra, merges, n_merges);
    if (tok_build_create(&b, &t, &err) != WEFT_OK)
        fail_msg("%s", err.message);
    gguf_build_free(&b);
    return t;
}
