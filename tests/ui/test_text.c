/* The filter for foreign text, and clusters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/utf8.h"
#include "ui/text.h"

static void check_filter(const char *in, size_t n, const char *want)
{
    /* However the stream is cut into pieces, the result is the same. */
    for (size_t cut = 0; cut <= n; cut++) {
        struct text_filter f = {.n_pending = 0};
        struct buf out = BUF_INIT;
        assert_true(text_filter(&f, in, cut, &out));
        assert_true(text_filter(&f, in + cut, n - cut, &out));
        assert_true(text_filter_end(&f, &out));
        assert_string_equal(buf_str(&out), want);
        buf_free(&out);
    }
    struct text_filter f = {.n_pending = 0};
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        assert_true(text_filter(&f, in + i, 1, &out));
    assert_true(text_filter_end(&f, &out));
    assert_string_equal(buf_str(&out), want);
    buf_free(&out);
}

static void filter_table(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"plain text", "plain text"},
        {"tab\tand\nnewline", "tab\tand\nnewline"},
        {"dos\r\nlines", "dos\nlines"},
        {"\x1b[2J\x1b]0;title\x07", "\uFFFD[2J\uFFFD]0;title\uFFFD"},
        {"del\x7f bell\x07 bs\x08", "del\uFFFD bell\uFFFD bs\uFFFD"},
        {"c1 as a character \xc2\x9b"
         "2J",
         "c1 as a character \uFFFD2J"},
        {"c1 as a byte \x9b"
         "2J",
         "c1 as a byte \uFFFD2J"},
        {"bidi \u202Eevil\u202C \u2066x\u2069 \u200Fy", "bidi evil x y"},
        {"bom\uFEFF tag\U000E0041 note\uFFF9", "bom tag note"},
        {"line\u2028para\u2029", "line\npara\n"},
        {"été 日本語 😀 e\u0301", "été 日本語 😀 e\u0301"},
        {"overlong \xc0\xaf surrogate \xed\xa0\x80", "overlong \uFFFD\uFFFD surrogate \uFFFD\uFFFD\uFFFD"},
        {"cut \xe6\x97", "cut \uFFFD"},
        {"bad lead \xf0\x9f"
         "A",
         "bad lead \uFFFD\uFFFDA"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_filter(rows[i].in, strlen(rows[i].in), rows[i].want);
    check_filter("nul\0byte", 8, "nul\uFFFDbyte");
}

/* Whatever bytes come, what goes out is UTF-8 without controls. */
static void filter_random(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 2000; round++) {
        char in[64];
        size_t n = rng_below(&rng, sizeof in);
        for (size_t i = 0; i < n; i++)
            in[i] = (char)(rng_below(&rng, 3) ? 0x80 + rng_below(&rng, 0x80) : rng_below(&rng, 0x80));
        struct text_filter f = {.n_pending = 0};
        struct buf out = BUF_INIT;
        size_t cut = n ? rng_below(&rng, n) : 0;
        assert_true(text_filter(&f, in, cut, &out) && text_filter(&f, in + cut, n - cut, &out));
        assert_true(text_filter_end(&f, &out));
        assert_true(utf8_valid(buf_str(&out), out.len));
        for (size_t i = 0; i < out.len;) {
            uint32_t cp;
            i += utf8_decode(out.data + i, out.len - i, &cp);
            assert_true(cp == '\n' || cp == '\t' || (cp >= 0x20 && cp < 0x7f) || cp >= 0xa0);
            assert_false((cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069));
        }
        buf_free(&out);
    }
}

static void clusters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
        int width;
        uint32_t first;
    } rows[] = {
        {"abc", 1, 1, 'a'},           {"e\u0301x", 3, 1, 'e'},      {"日本", 3, 2, 0x65e5},
        {"\u0301x", 2, 1, ' '},                                     /* a mark alone stands on a space */
        {"😀x", 4, 2, 0x1f600},        {"👍🏽x", 8, 2, 0x1f44d}, /* the skin tone is left out */
        {"👩\u200D👧x", 7, 2, 0x1f469}, /* the joiner too; the next one is a cluster of its own */
        {"❤\uFE0Fx", 6, 1, 0x2764},   {"\x1b[", 1, 1, 0xfffd},      {"\n", 1, 0, '\n'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct text_cluster c;
        assert_int_equal(text_next(rows[i].text, strlen(rows[i].text), &c), rows[i].bytes);
        assert_int_equal(c.width, rows[i].width);
        assert_int_equal(c.cp[0], rows[i].first);
    }
    /* A pile of marks: no more than fit are kept, and all are consumed. */
    struct text_cluster c;
    static const char pile[] = "a\u0301\u0302\u0303\u0304\u0305\u0306";
    assert_int_equal(text_next(pile, sizeof pile - 1, &c), sizeof pile - 1);
    assert_int_equal(c.cp[3], 0x303);
}

static void widths(void **state)
{
    (void)state;
    int w;
    assert_int_equal(text_width("日本語 ok", strlen("日本語 ok")), 9);
    assert_int_equal(text_fit("日本語", 9, 5, &w), 6);
    assert_int_equal(w, 4);
    assert_int_equal(text_fit("abc", 3, 0, &w), 0);
    assert_int_equal(text_fit("", 0, 4, NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_table),
        cmocka_unit_test(filter_random),
        cmocka_unit_test(clusters),
        cmocka_unit_test(widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
