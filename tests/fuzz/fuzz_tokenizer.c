/*
 * libFuzzer target for the tokenizer. The first byte chooses what the others are:
 *   even: a GGUF file; if it has a sound vocabulary, a fixed text is encoded with it
 *   odd:  a pre-tokenizer's number, then a text, encoded in each mode with a fixed vocabulary that has every
 * byte
 *
 *   clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_tokenizer.c \
 *     tests/support/gguf_build.c tests/support/gguf_tiny.c engine/base/[a-z]*.c engine/model/gguf*.c \
 *     engine/model/quant.c engine/model/tok*.c -lpcre2-8 -ljansson -lutf8proc -lm -o fuzz_tokenizer
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/tok_pre.h"
#include "engine/model/tok_stream.h"
#include "tests/support/gguf_build.h"

enum { PRE_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static enum weft_rc create_from(const void *bytes, size_t n, struct tok **out)
{
    struct gguf *g = NULL;
    struct weft_err err = {0};
    enum weft_rc rc = gguf_parse(bytes, n, "fuzz", &g, &err);
    if (rc == WEFT_OK)
        rc = tok_create(g, out, &err);
    require(rc == WEFT_OK || (err.code == rc && err.message[0] != 0));
    gguf_close(g);
    return rc;
}

static void fuzz_file(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello <|im_start|> w\xc3\xb6rld 123\n\n  it's \xff!";
    struct tok *t = NULL;
    struct tok_ids ids = {0};
    struct buf back = BUF_INIT;
    char *exact = mem_memdup(data, size); /* of its own size, so that a read beyond it shows */
    require(exact != NULL);
    if (create_from(exact, size, &t) == WEFT_OK) {
        mem_free(exact);
        exact = NULL;
        require(tok_encode(t, text, sizeof text - 1, TOK_SPECIAL, NULL, &ids, NULL) == WEFT_OK);
        require(tok_decode(t, ids.id, ids.n, &back, NULL) == WEFT_OK);
    }
    mem_free(exact);
    buf_free(&back);
    tok_ids_free(&ids);
    tok_destroy(t);
}

/* The fixed vocabulary with the i-th pre-tokenizer; made once each. */
static const struct tok *fixed_vocabulary(size_t i)
{
    static struct tok *made[PRE_MAX];
    if (!made[i]) {
        struct gguf_build b;
        struct buf bytes = BUF_INIT;
        gguf_build_tiny_vocab(&b, 400);
        gguf_build_str(&b, "tokenizer.ggml.pre", tok_pre_name(i));
        gguf_build_write(&b, &bytes);
        require(create_from(bytes.data, bytes.len, &made[i]) == WEFT_OK);
        buf_free(&bytes);
        gguf_build_free(&b);
    }
    return made[i];
}

static void make_valid(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        uint32_t cp;
        char utf8[4];
        len = utf8_decode(s + i, n - i, &cp);
        buf_add(out, utf8, utf8_encode(len ? cp : 0xfffd, utf8));
    }
}

/* Whatever the mode, the ids spell the text; and none is a control token where none may be. */
static void check_mode(const struct tok *t, const char *text, size_t n, enum tok_mode mode,
                       const uint8_t *foreign, const struct buf *want)
{
    struct tok_ids ids = {0};
    struct buf back = BUF_INIT, streamed = BUF_INIT;
    struct tok_stream stream;
    size_t controls = 0;
    require(tok_encode(t, text, n, mode, foreign, &ids, NULL) == WEFT_OK);
    require(tok_decode(t, ids.id, ids.n, &back, NULL) == WEFT_OK);
    require(back.len == want->len && memcmp(buf_str(&back), buf_str(want), want->len) == 0);
    tok_stream_init(&stream, t);
    for (size_t i = 0; i < ids.n; i++) {
        controls += tok_is_control(t, ids.id[i]);
        size_t before = streamed.len;
        require(tok_stream_push(&stream, ids.id[i], &streamed));
        require(utf8_valid(buf_str(&streamed) + before, streamed.len - before));
    }
    require(tok_stream_end(&stream, &streamed));
    if (mode == TOK_PLAIN || foreign) {
        require(controls == 0);
        require(streamed.len == want->len && memcmp(buf_str(&streamed), buf_str(want), want->len) == 0);
    }
    buf_free(&streamed);
    buf_free(&back);
    tok_ids_free(&ids);
}

static void fuzz_text(const uint8_t *data, size_t size)
{
    size_t n_pre = 0;
    while (n_pre < PRE_MAX && tok_pre_name(n_pre))
        n_pre++;
    if (size < 1)
        return;
    const struct tok *t = fixed_vocabulary(data[0] % n_pre);
    struct buf want = BUF_INIT;
    size_t n = size - 1;
    char *text = mem_memdup(data + 1, n);
    uint8_t *foreign = mem_alloc(n);
    require(text && foreign);
    memset(foreign, 1, n);
    make_valid(text, n, &want);
    check_mode(t, text, n, TOK_PLAIN, NULL, &want);
    check_mode(t, text, n, TOK_SPECIAL, NULL, &want);
    check_mode(t, text, n, TOK_MARKED, foreign, &want);
    buf_free(&want);
    mem_free(foreign);
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    log_set_level(LOG_ERROR); /* a file without a pre-tokenizer's name is worth a warning, not thousands */
    if (data[0] % 2)
        fuzz_text(data + 1, size - 1);
    else
        fuzz_file(data + 1, size - 1);
    return 0;
}
