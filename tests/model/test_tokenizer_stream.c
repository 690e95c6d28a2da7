/* Streaming text: whole characters only, valid at every moment, and in sum what decoding at once gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/tok_stream.h"
#include "tests/support/tok_build.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))
#define FFFD    "\xef\xbf\xbd"

enum { CONTROL = TOK_BUILD_FIRST, HALF_EURO, LONG, EMPTY };

static struct tok *make(void)
{
    static const struct tok_build_token extra[] = {
        {"<|im_end|>", TOK_BUILD_CONTROL},
        {"\xc3\xa2\xc4\xa4", TOK_BUILD_NORMAL}, /* bytes e2 82 */
        {"a\xc3\xa2\xc4\xa4\xc2\xac"
         "b\xc3\xb0\xc5\x81",
         TOK_BUILD_NORMAL}, /* a, e2 82 ac, b, f0 9f */
        {"", TOK_BUILD_NORMAL},
    };
    return tok_build_sound("gpt-2", extra, N_OF(extra), NULL, 0);
}

/* Pushes the ids one by one; `want` has the text after each, then that of the end. */
static void check(const struct tok *t, const uint32_t *id, size_t n, const char *const *want)
{
    struct tok_stream s;
    struct buf out = BUF_INIT;
    tok_stream_init(&s, t);
    for (size_t i = 0; i <= n; i++) {
        buf_clear(&out);
        assert_true(i < n ? tok_stream_push(&s, id[i], &out) : tok_stream_end(&s, &out));
        assert_string_equal(buf_str(&out), want[i]);
    }
    buf_clear(&out);
    assert_true(tok_stream_push(&s, 'x', &out)); /* ready for the next text */
    assert_string_equal(buf_str(&out), "x");
    buf_free(&out);
}
#define IDS(...) (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)
#define TEXTS(...)                                                                                           \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static void characters_come_whole(void **state)
{
    (void)state;
    struct tok *t = make();
    check(t, IDS('a', 'b'), TEXTS("a", "b", ""));
    check(t, IDS(0xe2, 0x82, 0xac), TEXTS("", "", "\xe2\x82\xac", ""));
    check(t, IDS(HALF_EURO, 0xac, 'x'), TEXTS("", "\xe2\x82\xac", "x", ""));
    check(t, IDS(LONG, 0x98, 0x80),
          TEXTS("a\xe2\x82\xac"
                "b",
                "", "\xf0\x9f\x98\x80", ""));
    check(t, IDS(EMPTY, 'a'), TEXTS("", "a", ""));
    tok_destroy(t);
}

static void what_is_no_character_becomes_fffd(void **state)
{
    (void)state;
    struct tok *t = make();
    check(t, IDS(0xe2, 0x82), TEXTS("", "", FFFD FFFD));
    check(t, IDS(0xff, 'a'), TEXTS(FFFD, "a", ""));
    check(t, IDS(0x80), TEXTS(FFFD, ""));
    check(t, IDS(HALF_EURO, 'a'), TEXTS("", FFFD FFFD "a", ""));
    check(t, IDS(HALF_EURO, HALF_EURO, 0xac), TEXTS("", FFFD FFFD, "\xe2\x82\xac", ""));
    check(t, IDS(0xf0, LONG),
          TEXTS("",
                FFFD "a\xe2\x82\xac"
                     "b",
                FFFD FFFD));
    check(t, IDS(0xed, 0xa0, 0x80),
          TEXTS("", FFFD FFFD, FFFD, "")); /* a surrogate: refused as soon as it shows */
    tok_destroy(t);
}

static void control_tokens_give_no_text(void **state)
{
    (void)state;
    struct tok *t = make();
    check(t, IDS('a', CONTROL, 'b'), TEXTS("a", "", "b", ""));
    check(t, IDS(HALF_EURO, CONTROL, 0xac), TEXTS("", "", "\xe2\x82\xac", ""));
    check(t, IDS(4000000000u, 'a'), TEXTS("", "a", "")); /* no such id */
    tok_destroy(t);
}

/* The same made valid in one go. */
static void add_valid(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        uint32_t cp;
        char utf8[4];
        len = utf8_decode(s + i, n - i, &cp);
        buf_add(out, utf8, utf8_encode(len ? cp : 0xfffd, utf8));
    }
}

static void any_ids_give_the_decoded_bytes_made_valid(void **state)
{
    (void)state;
    static const uint8_t lively[] = {'a',  0x80, 0xac, 0x82, 0xe2, 0xf0, 0x9f,
                                     0xc3, 0xed, 0xa0, 0xf4, 0x90, 0xff};
    struct tok *t = make();
    struct rng r;
    rng_seed(&r, 11);
    for (int round = 0; round < 20000; round++) {
        struct tok_stream s;
        struct buf bytes = BUF_INIT, want = BUF_INIT, got = BUF_INIT;
        tok_stream_init(&s, t);
        for (uint64_t n = rng_below(&r, 24); n > 0; n--) {
            uint32_t id = rng_below(&r, 4) ? lively[rng_below(&r, sizeof lively)]
                                           : (uint32_t)(CONTROL + rng_below(&r, 4));
            assert_true(tok_stream_push(&s, id, &got));
            assert_true(utf8_valid(buf_str(&got), got.len));
            if (!tok_is_control(t, id))
                assert_int_equal(tok_decode(t, &id, 1, &bytes, NULL), WEFT_OK);
        }
        assert_true(tok_stream_end(&s, &got));
        add_valid(buf_str(&bytes), bytes.len, &want);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(buf_str(&got), buf_str(&want), want.len);
        buf_free(&bytes);
        buf_free(&want);
        buf_free(&got);
    }
    tok_destroy(t);
}

static void lack_of_memory_shows(void **state)
{
    (void)state;
    struct tok *t = make();
    struct tok_stream s;
    struct buf out = BUF_INIT;
    tok_stream_init(&s, t);
    mem_fail_at(1);
    assert_false(tok_stream_push(&s, 'a', &out));
    mem_fail_at(0);
    assert_true(out.failed);
    assert_false(tok_stream_end(&s, &out));
    buf_free(&out);
    tok_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(what_is_no_character_becomes_fffd),
        cmocka_unit_test(control_tokens_give_no_text),
        cmocka_unit_test(any_ids_give_the_decoded_bytes_made_valid),
        cmocka_unit_test(lack_of_memory_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
