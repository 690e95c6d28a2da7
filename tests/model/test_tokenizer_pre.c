/* Pre-tokenizers: the pieces of tricky strings, with and without JIT, and time linear in the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/tok_pre.h"
#include "tests/model/test_tokenizer_splits.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))

/* A name for each set of patterns. */
static const char *const distinct[] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"};

struct pieces {
    const char *next; /* where the next piece must begin */
    size_t n;
    size_t len[4096];
};

static enum weft_rc collect(void *ctx, const char *piece, size_t n)
{
    struct pieces *p = ctx;
    assert_ptr_equal(piece, p->next);
    assert_true(n > 0);
    assert_true(p->n < N_OF(p->len));
    p->next += n;
    p->len[p->n++] = n;
    return WEFT_OK;
}

static struct tok_pre *compile(const char *name, bool jit)
{
    struct tok_pre *pre = NULL;
    const struct tok_pre_traits *traits = tok_pre_find(name, strlen(name));
    assert_non_null(traits);
    assert_int_equal(tok_pre_create(traits, jit, &pre, NULL), WEFT_OK);
    return pre;
}

static void split(const struct tok_pre *pre, const char *text, size_t n, struct pieces *out)
{
    struct tok_pre_scratch scratch = TOK_PRE_SCRATCH_INIT;
    out->next = text;
    out->n = 0;
    assert_int_equal(tok_pre_split(pre, text, n, &scratch, collect, out, NULL), WEFT_OK);
    assert_ptr_equal(out->next, text + n);
    tok_pre_scratch_free(&scratch);
}

static void pieces_are_those_of_two_other_engines(void **state)
{
    bool jit = *(const bool *)*state;
    for (size_t i = 0; i < N_OF(split_cases); i++) {
        const struct split_case *c = &split_cases[i];
        struct tok_pre *pre = compile(c->pre, jit);
        struct pieces got;
        struct buf text = BUF_INIT;
        size_t n = 0;
        for (; c->pieces[n]; n++)
            assert_true(buf_adds(&text, c->pieces[n]));
        split(pre, text.data, text.len, &got);
        for (size_t k = 0; k < n && k < got.n; k++)
            if (got.len[k] != strlen(c->pieces[k]))
                fail_msg("%s: \"%s\": piece %zu is %zu bytes long, not \"%s\"", c->pre, text.data, k,
                         got.len[k], c->pieces[k]);
        assert_int_equal(got.n, n);
        buf_free(&text);
        tok_pre_destroy(pre);
    }
}

/* The table's edges once more by hand, so that an error in its maker shows. */
static void facts(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *text;
        size_t n, len[8];
    } cases[] = {
        {"smollm", "a12 b", 4, {1, 1, 1, 2}},   /* every digit apart */
        {"smollm", "a  1", 3, {1, 2, 1}},       /* the look-ahead ends where the digit's fragment begins */
        {"gpt-2", "a  1", 3, {1, 1, 2}},        /* here it sees the digit */
        {"gpt-2", "a\nb", 3, {1, 1, 1}},        /* a line feed before a letter matches nothing */
        {"llama-bpe", "1234567", 3, {3, 3, 1}}, /* digits by three from the left */
        {"qwen2", "123", 3, {1, 1, 1}},         /* digits one by one */
        {"llama-bpe", "x\n\n y", 3, {1, 2, 2}}, /* line feeds together */
        {"llama-bpe", "I'LL", 2, {1, 3}},       /* contractions in either case */
        {"gpt-2", "I'LL", 3, {1, 1, 2}},        /* only in lower case */
        {"default", "12345", 2, {3, 2}},        /* the fourth pass cuts three, and leaves two */
        {"default", "a$b", 3, {1, 1, 1}},       /* the first pass cuts symbols out */
    };
    for (size_t i = 0; i < N_OF(cases); i++) {
        struct tok_pre *pre = compile(cases[i].pre, true);
        struct pieces got;
        split(pre, cases[i].text, strlen(cases[i].text), &got);
        assert_int_equal(got.n, cases[i].n);
        for (size_t k = 0; k < got.n; k++)
            assert_int_equal(got.len[k], cases[i].len[k]);
        tok_pre_destroy(pre);
    }
}

static void append_random_character(struct rng *r, struct buf *text)
{
    static const char common[] = "ab 's1\n\r\t.";
    uint32_t cp = (uint32_t)common[rng_below(r, sizeof common - 1)];
    char utf8[4];
    if (rng_below(r, 4) == 0)
        do
            cp = (uint32_t)rng_below(r, rng_below(r, 2) ? 0x110000 : 0x3100);
        while (cp >= 0xd800 && cp < 0xe000);
    buf_add(text, utf8, utf8_encode(cp, utf8));
}

static void interpreter_and_jit_agree(void **state)
{
    (void)state;
    for (size_t name = 0; tok_pre_name(name); name++) {
        struct tok_pre *with = compile(tok_pre_name(name), true),
                       *without = compile(tok_pre_name(name), false);
        struct rng r;
        rng_seed(&r, 7 + name);
        for (int round = 0; round < 200; round++) {
            struct buf text = BUF_INIT;
            struct pieces a, b;
            for (uint64_t n = 1 + rng_below(&r, 80); n > 0; n--)
                append_random_character(&r, &text);
            assert_false(text.failed);
            split(with, text.data, text.len, &a);
            split(without, text.data, text.len, &b);
            assert_int_equal(a.n, b.n);
            assert_memory_equal(a.len, b.len, a.n * sizeof a.len[0]);
            buf_free(&text);
        }
        tok_pre_destroy(with);
        tok_pre_destroy(without);
    }
}

static enum weft_rc count(void *ctx, const char *piece, size_t n)
{
    (void)piece;
    (void)n;
    ++*(size_t *)ctx;
    return WEFT_OK;
}

/* Runs that backtracking could make quadratic: each would then take minutes. */
static void long_runs_are_linear(void **state)
{
    bool jit = *(const bool *)*state;
    static const char *const runs[] = {" ",  "\n",      " \n",          "a",  "1", "'",
                                       "a1", "\r \n\t", "\xe4\xb8\xad", "'s "};
    enum { BYTES = 1 << 18 };
    for (size_t name = 0; name < N_OF(distinct); name++) {
        struct tok_pre *pre = compile(distinct[name], jit);
        struct tok_pre_scratch scratch = TOK_PRE_SCRATCH_INIT;
        for (size_t run = 0; run < N_OF(runs); run++) {
            struct buf text = BUF_INIT;
            size_t n = 0;
            while (text.len < BYTES)
                assert_true(buf_adds(&text, runs[run]));
            assert_true(buf_adds(&text, "x"));
            assert_int_equal(tok_pre_split(pre, text.data, text.len, &scratch, count, &n, NULL), WEFT_OK);
            assert_in_range(n, 1, text.len);
            buf_free(&text);
        }
        tok_pre_scratch_free(&scratch);
        tok_pre_destroy(pre);
    }
}

static enum weft_rc refuse_third(void *ctx, const char *piece, size_t n)
{
    count(ctx, piece, n);
    return *(size_t *)ctx == 3 ? WEFT_QUEUE_FULL : WEFT_OK;
}

static void callback_ends_the_split(void **state)
{
    (void)state;
    struct tok_pre *pre = compile("smollm", true);
    struct tok_pre_scratch scratch = TOK_PRE_SCRATCH_INIT;
    size_t n = 0;
    assert_int_equal(tok_pre_split(pre, "a b c d e", 9, &scratch, refuse_third, &n, NULL), WEFT_QUEUE_FULL);
    assert_int_equal(n, 3);
    n = 0;
    assert_int_equal(tok_pre_split(pre, "", 0, &scratch, count, &n, NULL), WEFT_OK);
    assert_int_equal(n, 0);
    tok_pre_scratch_free(&scratch);
    tok_pre_destroy(pre);
}

static void names_are_exact(void **state)
{
    (void)state;
    static const char *const unknown[] = {"", "gpt-", "gpt-22", "GPT-2", "llama-bpe ", "qwen", "smollm\n"};
    for (size_t i = 0; i < N_OF(unknown); i++)
        assert_null(tok_pre_find(unknown[i], strlen(unknown[i])));
    assert_null(tok_pre_find("gpt-2\0", 6));
    static const char *const known[] = {"default", "gpt-2",     "smollm",    "starcoder",
                                        "refact",  "command-r", "llama-bpe", "qwen2"};
    for (size_t i = 0; i < N_OF(known); i++)
        assert_string_equal(tok_pre_find(known[i], strlen(known[i]))->name, known[i]);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    size_t failures = 0;
    for (size_t nth = 1;; nth++) {
        struct tok_pre *pre = NULL;
        struct tok_pre_scratch scratch = TOK_PRE_SCRATCH_INIT;
        struct weft_err err = {0};
        size_t n = 0;
        mem_fail_at(nth);
        enum weft_rc rc = tok_pre_create(tok_pre_find("default", 7), false, &pre, &err);
        if (rc == WEFT_OK)
            rc = tok_pre_split(pre, "some text, 12345", 16, &scratch, count, &n, &err);
        bool reached = mem_fail_at(0) >= nth;
        tok_pre_scratch_free(&scratch);
        tok_pre_destroy(pre);
        if (!reached) {
            assert_int_equal(rc, WEFT_OK);
            break;
        }
        if (rc == WEFT_OK) /* PCRE2 could do without that piece of memory */
            continue;
        failures++;
        assert_int_equal(rc, WEFT_INTERNAL_ERROR);
        assert_int_equal(err.code, WEFT_INTERNAL_ERROR);
    }
    assert_true(failures > 5);
}

int main(void)
{
    static bool jit = true, interpreter = false;
    const struct CMUnitTest tests[] = {
        {"pieces, JIT", pieces_are_those_of_two_other_engines, NULL, NULL, &jit},
        {"pieces, interpreter", pieces_are_those_of_two_other_engines, NULL, NULL, &interpreter},
        cmocka_unit_test(facts),
        cmocka_unit_test(interpreter_and_jit_agree),
        {"long runs, JIT", long_runs_are_linear, NULL, NULL, &jit},
        {"long runs, interpreter", long_runs_are_linear, NULL, NULL, &interpreter},
        cmocka_unit_test(callback_ends_the_split),
        cmocka_unit_test(names_are_exact),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
