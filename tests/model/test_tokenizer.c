/*
 * Encoding and decoding on small vocabularies: merges against a plain implementation, special tokens in each
 * mode, bytes that are no text, threads, and memory that runs out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/model/tok_bpe.h"
#include "tests/support/tok_build.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))
#define NORMAL(text)                                                                                         \
    {                                                                                                        \
        text, TOK_BUILD_NORMAL                                                                               \
    }
#define CONTROL(text)                                                                                        \
    {                                                                                                        \
        text, TOK_BUILD_CONTROL                                                                              \
    }
#define USER(text)                                                                                           \
    {                                                                                                        \
        text, TOK_BUILD_USER                                                                                 \
    }
#define SPACE "\xc4\xa0" /* in the byte alphabet */

/* Ids of extra tokens, as a test writes them. */
enum { X0 = TOK_BUILD_FIRST, X1, X2, X3, X4, X5, X6, X7 };

static void encode(const struct tok *t, const char *text, size_t n, enum tok_mode mode,
                   const uint8_t *foreign, struct tok_ids *ids)
{
    struct weft_err err = {0};
    if (tok_encode(t, text, n, mode, foreign, ids, &err) != WEFT_OK)
        fail_msg("%s", err.message);
}

static void check_n(const struct tok *t, const char *text, size_t n, enum tok_mode mode,
                    const uint8_t *foreign, const uint32_t *want, size_t n_want)
{
    struct tok_ids ids = {0};
    encode(t, text, n, mode, foreign, &ids);
    for (size_t i = 0; i < ids.n || i < n_want; i++)
        if (i >= ids.n || i >= n_want || ids.id[i] != want[i])
            fail_msg("\"%s\": id %zu of %zu is %u, wanted %u of %zu", text, i, ids.n,
                     i < ids.n ? ids.id[i] : 0, i < n_want ? want[i] : 0, n_want);
    tok_ids_free(&ids);
}

/* The ids of a C string in a mode without marks. */
#define CHECK(t, text, mode, ...)                                                                            \
    check_n(t, text, sizeof(text) - 1, mode, NULL, (const uint32_t[]){__VA_ARGS__},                          \
            sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* --- merges --- */

static void lowest_rank_first_then_leftmost(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {NORMAL("bc"), NORMAL("ab"), NORMAL("aa"), NORMAL("abc"),
                                                   NORMAL("aaa")};
    static const char *const merges[] = {"b c", "a b", "a a", "ab c", "aa a"};
    struct tok *t = tok_build_sound("gpt-2", extra, N_OF(extra), merges, N_OF(merges));
    CHECK(t, "abc", TOK_PLAIN, 'a', X0); /* "b c" ranks before "a b", so "ab c" is never reached */
    CHECK(t, "ab", TOK_PLAIN, X1);
    CHECK(t, "aaa", TOK_PLAIN, X4); /* leftmost pair first: aa a */
    CHECK(t, "aaaa", TOK_PLAIN, X2, X2);
    CHECK(t, "aaaaa", TOK_PLAIN, X2, X4);      /* aa aa a: the last two merge then */
    CHECK(t, "ab ab", TOK_PLAIN, X1, ' ', X1); /* no token " a": pieces are "ab", " ab" */
    tok_destroy(t);
}

static void first_of_duplicate_merges_wins(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {NORMAL("ab"), NORMAL("bc")};
    static const char *const merges[] = {"a b", "b c", "a b"};
    static const char *const other[] = {"b c", "a b", "b c", "a b"};
    struct tok *t = tok_build_sound("gpt-2", extra, 2, merges, N_OF(merges));
    CHECK(t, "abc", TOK_PLAIN, X0, 'c');
    tok_destroy(t);
    t = tok_build_sound("gpt-2", extra, 2, other, N_OF(other));
    CHECK(t, "abc", TOK_PLAIN, 'a', X1);
    tok_destroy(t);
}

static void whole_tokens_only_where_the_pre_tokenizer_says_so(void **state)
{
    (void)state;
    /* "xyz" is a token that no merge reaches */
    static const struct tok_build_token extra[] = {NORMAL("xyz"), NORMAL("yz"), NORMAL(SPACE "xyz")};
    static const char *const merges[] = {"y z"};
    struct tok *t = tok_build_sound("llama-bpe", extra, N_OF(extra), merges, 1);
    CHECK(t, "xyz xyz", TOK_PLAIN, X0, X2);
    CHECK(t, "xyzz", TOK_PLAIN, 'x', X1, 'z');
    tok_destroy(t);
    t = tok_build_sound("qwen2", extra, N_OF(extra), merges, 1);
    CHECK(t, "xyz xyz", TOK_PLAIN, 'x', X1, ' ', 'x', X1);
    tok_destroy(t);
}

/* A control token is never made of plain text, not even where its text is one piece. */
static void plain_text_gives_no_control_token(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {CONTROL("stop"), NORMAL("go")};
    struct tok *t = tok_build_sound("llama-bpe", extra, 2, NULL, 0);
    CHECK(t, "stop", TOK_PLAIN, 's', 't', 'o', 'p');
    CHECK(t, "go", TOK_PLAIN, X1);
    CHECK(t, "stop", TOK_SPECIAL, X0);
    tok_destroy(t);
}

/* Nor a token whose text isn't in the byte alphabet, though its bytes be the piece's: the one spelled in it
 * is meant. */
static void whole_tokens_are_those_spelled_in_the_alphabet(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {NORMAL("\xe4\xb8\xad"),
                                                   NORMAL("\xc3\xa4\xc2\xb8\xc5\x83")};
    struct tok *t = tok_build_sound("llama-bpe", extra, 2, NULL, 0);
    CHECK(t, "\xe4\xb8\xad", TOK_PLAIN, X1);
    tok_destroy(t);
}

/* The plain way: look at every pair, merge the best, start again. */
static size_t merge_plainly(uint32_t *id, size_t n, const struct tok_merge *table, uint32_t n_ids)
{
    for (;;) {
        size_t best = n;
        uint32_t rank = TOK_NONE;
        for (size_t i = 0; i + 1 < n; i++)
            if (table[id[i] * n_ids + id[i + 1]].rank < rank) {
                rank = table[id[i] * n_ids + id[i + 1]].rank;
                best = i;
            }
        if (best == n)
            return n;
        id[best] = table[id[best] * n_ids + id[best + 1]].result;
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof *id);
        n--;
    }
}

/* Random tables, of which a result need not be longer than its parts: a harder test than any real file. */
static void merges_equal_those_made_plainly(void **state)
{
    (void)state;
    enum { IDS = 12, TEXT = 64 };
    struct rng r;
    rng_seed(&r, 20);
    for (int round = 0; round < 2000; round++) {
        struct tok_merge table[IDS * IDS];
        struct tok_bpe bpe = {0};
        struct tok_bpe_scratch scratch = {0};
        struct tok_ids got = {0};
        char text[TEXT];
        uint32_t want[TEXT];
        size_t n = 1 + rng_below(&r, TEXT), n_want = 0;

        for (uint32_t i = 0; i < 256; i++)
            bpe.byte_id[i] = i < IDS ? i : TOK_NONE;
        assert_true(tok_pairmap_init(&bpe.merges, N_OF(table)));
        for (size_t i = 0; i < N_OF(table); i++)
            table[i] = (struct tok_merge){TOK_NONE, TOK_NONE};
        for (uint32_t rank = 0; rank < 40; rank++) {
            uint32_t left = (uint32_t)rng_below(&r, IDS), right = (uint32_t)rng_below(&r, IDS);
            struct tok_merge merge = {rank, (uint32_t)rng_below(&r, IDS)};
            tok_pairmap_add(&bpe.merges, left, right, merge);
            if (table[left * IDS + right].rank == TOK_NONE)
                table[left * IDS + right] = merge;
        }
        for (size_t i = 0; i < n; i++) {
            text[i] = (char)rng_below(&r, 4);
            want[i] = (uint32_t)text[i];
        }
        n_want = merge_plainly(want, n, table, IDS);
        assert_true(tok_bpe_encode(&bpe, &scratch, text, n, &got));
        assert_int_equal(got.n, n_want);
        assert_memory_equal(got.id, want, n_want * sizeof *want);
        tok_pairmap_deinit(&bpe.merges);
        tok_bpe_scratch_free(&scratch);
        tok_ids_free(&got);
    }
}

/* 64 KiB and more in one piece. A quadratic merge would look at some 10^11 pairs here. */
static void a_long_piece_takes_no_quadratic_time(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20, LEVELS = 10 };
    struct tok_build_token extra[LEVELS];
    char text[LEVELS][(1 << LEVELS) + 1], merge[LEVELS][(1 << LEVELS) + 2];
    const char *merges[LEVELS];
    for (int i = 0; i < LEVELS; i++) { /* "aa", "aaaa", …, each of two of the one before */
        size_t half = (size_t)1 << i;
        memset(text[i], 'a', 2 * half);
        text[i][2 * half] = 0;
        memset(merge[i], 'a', 2 * half + 1);
        merge[i][half] = ' ';
        merge[i][2 * half + 1] = 0;
        extra[i] = (struct tok_build_token){text[i], TOK_BUILD_NORMAL};
        merges[i] = merge[i];
    }
    struct tok *t = tok_build_sound("gpt-2", extra, LEVELS, merges, LEVELS);
    struct tok_ids ids = {0};
    char *run = mem_alloc(BYTES);
    assert_non_null(run);
    memset(run, 'a', BYTES);
    encode(t, run, BYTES, TOK_PLAIN, NULL, &ids);
    assert_int_equal(ids.n, BYTES >> LEVELS);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(ids.id[i], TOK_BUILD_FIRST + LEVELS - 1);
    mem_free(run);
    tok_ids_free(&ids);
    tok_destroy(t);
}

/* --- bytes --- */

static void every_byte_has_its_token(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", NULL, 0, NULL, 0);
    struct buf back = BUF_INIT;
    for (uint32_t id = 0; id < 256; id++) {
        size_t n;
        const char *bytes = tok_bytes(t, id, &n);
        assert_int_equal(n, 1);
        assert_int_equal((uint8_t)bytes[0], id);
    }
    CHECK(t, "\xc3\xa9 \n", TOK_PLAIN, 0xc3, 0xa9, ' ', '\n');
    assert_int_equal(tok_decode(t, (const uint32_t[]){0xe2, 0x82, 0xac, 0}, 4, &back, NULL), WEFT_OK);
    assert_int_equal(back.len, 4);
    assert_memory_equal(back.data, "\xe2\x82\xac\0", 4);
    buf_free(&back);
    tok_destroy(t);
}

static void invalid_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", NULL, 0, NULL, 0);
#define FFFD 0xef, 0xbf, 0xbd
    CHECK(t,
          "a\xff"
          "b",
          TOK_PLAIN, 'a', FFFD, 'b');
    CHECK(t, "\xe2\x82", TOK_PLAIN, FFFD, FFFD); /* cut short: each byte */
    CHECK(t,
          "\xe2\x82"
          "a",
          TOK_PLAIN, FFFD, FFFD, 'a');
    CHECK(t, "\xc0\x80", TOK_PLAIN, FFFD, FFFD);           /* overlong */
    CHECK(t, "\xed\xa0\x80", TOK_PLAIN, FFFD, FFFD, FFFD); /* a surrogate */
    CHECK(t, "\xf4\x90\x80\x80", TOK_PLAIN, FFFD, FFFD, FFFD, FFFD);
    CHECK(t, "a\0b", TOK_PLAIN, 'a', 0, 'b'); /* NUL is a character like others */
    tok_destroy(t);
}

/* As in llama.cpp: what has no token is left out, and what is left on its sides stays apart. */
static void bytes_without_a_token_are_left_out(void **state)
{
    (void)state;
    struct gguf_build b;
    struct tok *t = NULL;
    static const char *const tokens[] = {"a", "b", "ab", "<0x63>"};
    static const int32_t types[] = {TOK_BUILD_NORMAL, TOK_BUILD_NORMAL, TOK_BUILD_NORMAL, TOK_BUILD_BYTE};
    static const char *const merges[] = {"a b"};
    tok_build(&b, "gpt-2", NULL, 0, merges, 1);
    gguf_build_strings(&b, "tokenizer.ggml.tokens", tokens, 4);
    gguf_build_array(&b, "tokenizer.ggml.token_type", GGUF_I32, 4, types, sizeof types);
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    gguf_build_free(&b);
    CHECK(t, "ab", TOK_PLAIN, 2);
    CHECK(t, "azb", TOK_PLAIN, 0, 1);
    CHECK(t, "zzabz", TOK_PLAIN, 2);
    CHECK(t, "acb", TOK_PLAIN, 0, 3, 1); /* a byte token stands in where no other is */
    check_n(t, "z", 1, TOK_PLAIN, NULL, NULL, 0);
    size_t n;
    assert_memory_equal(tok_bytes(t, 3, &n), "c", 1);
    tok_destroy(t);
}

static void texts_outside_the_alphabet_are_kept(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {NORMAL("\xe4\xb8\xad"),
                                                   CONTROL(SPACE "x"),
                                                   USER("\xc3\xa9!"),
                                                   {"", TOK_BUILD_UNUSED},
                                                   {"", TOK_BUILD_UNUSED}};
    static const struct gguf_str want[] = {
        {"\xe4\xb8\xad", 3}, {SPACE "x", 3}, {"\xc3\xa9!", 3}, {"", 0}, {"", 0}};
    struct tok *t = tok_build_sound("gpt-2", extra, N_OF(extra), NULL, 0);
    for (uint32_t i = 0; i < N_OF(want); i++) {
        size_t n;
        const char *bytes = tok_bytes(t, X0 + i, &n);
        assert_int_equal(n, want[i].n);
        assert_memory_equal(bytes, want[i].s, n);
    }
    tok_destroy(t);
}

static void decode_refuses_unknown_ids(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", NULL, 0, NULL, 0);
    struct buf out = BUF_INIT;
    struct weft_err err = {0};
    assert_true(buf_adds(&out, "before"));
    assert_int_equal(tok_decode(t, (const uint32_t[]){'a', 256}, 2, &out, &err), WEFT_INVALID_REQUEST);
    assert_string_equal(buf_str(&out), "before");
    assert_non_null(strstr(err.message, "256"));
    assert_non_null(strstr(err.message, "255"));
    assert_string_equal(err.context[0].text, "ids");
    assert_int_equal(tok_decode(t, NULL, 0, &out, &err), WEFT_OK);
    buf_free(&out);
    tok_destroy(t);
}

static void a_text_too_long_is_refused_unread(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", NULL, 0, NULL, 0);
    struct tok_ids ids = {0};
    struct weft_err err = {0};
    assert_int_equal(tok_encode(t, "x", ((size_t)1 << 30) + 1, TOK_PLAIN, NULL, &ids, &err),
                     WEFT_INVALID_REQUEST);
    assert_non_null(strstr(err.message, "1073741825"));
    assert_non_null(strstr(err.message, "1073741824"));
    assert_int_equal(ids.n, 0);
    tok_destroy(t);
}

/* --- special tokens --- */

static const struct tok_build_token chat[] = {
    CONTROL("<|im_start|>"), CONTROL("<|im_end|>"), CONTROL("<|im_end|>>"), CONTROL("|>>>>>"),
    USER("<think>"),         USER("\t\t"),          CONTROL("ab"),          CONTROL("bc"),
};

static void special_tokens_by_mode(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", chat, N_OF(chat), NULL, 0);
    CHECK(t, "<|im_start|>x<|im_end|>", TOK_SPECIAL, X0, 'x', X1);
    CHECK(t, "<|im_end|>", TOK_PLAIN, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>');
    CHECK(t, "<|im_end|", TOK_SPECIAL, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|');
    CHECK(t, "<think>\t\t", TOK_PLAIN, X4, X5); /* user-defined tokens are part of plain text */
    CHECK(t, "<think>\t\t", TOK_SPECIAL, X4, X5);
    check_n(t, "", 0, TOK_SPECIAL, NULL, NULL, 0);
    tok_destroy(t);
}

static void special_tokens_longest_first(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("gpt-2", chat, N_OF(chat), NULL, 0);
    CHECK(t, "<|im_end|>>", TOK_SPECIAL, X2);
    CHECK(t, "<|im_end|>>>>>", TOK_SPECIAL, X2, '>', '>', '>'); /* the longer one wins what both want */
    CHECK(t, "x|>>>>>", TOK_SPECIAL, 'x', X3);
    CHECK(t, "abc", TOK_SPECIAL, X6, 'c');     /* equally long: the lower id */
    CHECK(t, "\t\t\t", TOK_SPECIAL, X5, '\t'); /* the same token: from the left */
    tok_destroy(t);

    /* a longer token that begins later goes first; what it leaves may hold a shorter one */
    static const struct tok_build_token nested[] = {CONTROL("abcd"), CONTROL("cdefg"), CONTROL("ab"),
                                                    CONTROL("bc")};
    t = tok_build_sound("gpt-2", nested, N_OF(nested), NULL, 0);
    CHECK(t, "abcdefg", TOK_SPECIAL, X2, X1);
    CHECK(t, "abcdef", TOK_SPECIAL, X0, 'e', 'f');
    CHECK(t, "abc", TOK_SPECIAL, X2, 'c');
    tok_destroy(t);
}

/* The plain way, as the header says it: token by token, longest first, each from left to right in what is free. */
static size_t find_plainly(const char *const *token, size_t n_tokens, const char *text, size_t n,
                           uint32_t *out)
{
    uint32_t at[256];
    bool taken[256] = {false};
    for (size_t i = 0; i < n; i++)
        at[i] = TOK_NONE;
    for (size_t k = 0; k < n_tokens; k++) {
        size_t len = strlen(token[k]);
        for (size_t i = 0; i + len <= n; i++) {
            bool is_free = memcmp(text + i, token[k], len) == 0;
            for (size_t j = 0; is_free && j < len; j++)
                is_free = !taken[i + j];
            if (is_free) {
                memset(taken + i, true, len);
                at[i] = (uint32_t)k;
            }
        }
    }
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if (at[i] != TOK_NONE)
            out[n_out++] = TOK_BUILD_FIRST + at[i];
        else if (!taken[i])
            out[n_out++] = (uint8_t)text[i];
    }
    return n_out;
}

static void special_tokens_equal_those_found_plainly(void **state)
{
    (void)state;
    static const char *const token[] = {"abcab", "bbbb", "abab", "baa", "abc", "aab", "ca", "bb", "ab", "cx"};
    struct tok_build_token extra[N_OF(token)];
    for (size_t i = 0; i < N_OF(token); i++)
        extra[i] = (struct tok_build_token)CONTROL(token[i]);
    struct tok *t = tok_build_sound("gpt-2", extra, N_OF(extra), NULL, 0);
    struct rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 5000; round++) {
        char text[40];
        uint32_t want[40];
        size_t n = rng_below(&r, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = "abcx"[rng_below(&r, 4)];
        size_t n_want = find_plainly(token, N_OF(token), text, n, want);
        check_n(t, text, n, TOK_SPECIAL, NULL, want, n_want);
    }
    tok_destroy(t);
}

/* '.' trusted, '#' foreign, one mark a byte. */
static void check_marked(const struct tok *t, const char *text, const char *marks, const uint32_t *want,
                         size_t n_want)
{
    uint8_t foreign[64];
    size_t n = strlen(text);
    assert_int_equal(strlen(marks), n);
    for (size_t i = 0; i < n; i++)
        foreign[i] = marks[i] == '#' ? (uint8_t)(1 + i) : 0; /* any value but zero counts */
    check_n(t, text, n, TOK_MARKED, foreign, want, n_want);
}
#define CHECK_MARKED(t, text, marks, ...)                                                                    \
    check_marked(t, text, marks, (const uint32_t[]){__VA_ARGS__},                                            \
                 sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void messages_cannot_forge_turns(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {CONTROL("<|a|>"), CONTROL("<|a|>>"), USER("<t>"),
                                                   USER("--"), CONTROL("\xef\xbf\xbd!")};
    struct tok *t = tok_build_sound("gpt-2", extra, N_OF(extra), NULL, 0);
    CHECK_MARKED(t, "<|a|>x", ".....#", X0, 'x');
    CHECK_MARKED(t, "<|a|>", "#####", '<', '|', 'a', '|', '>');
    CHECK_MARKED(t, "<|a|>", "....#", '<', '|', 'a', '|', '>'); /* half of it */
    CHECK_MARKED(t, "<|a|>", "#....", '<', '|', 'a', '|', '>');
    CHECK_MARKED(t, "<|a|>", "..#..", '<', '|', 'a', '|', '>');
    CHECK_MARKED(t, "<|a|><|a|>", ".....#####", X0, '<', '|', 'a', '|', '>');
    CHECK_MARKED(t, "<|a|>>", ".....#", X0, '>'); /* what is left of a longer one may be a shorter */
    CHECK_MARKED(t, "<|a|>>", "......", X1);
    CHECK_MARKED(t, "<t>", "###", '<', 't', '>'); /* user-defined markup is no different */
    CHECK_MARKED(t, "<t>", "...", X2);
    CHECK_MARKED(t, "--", "#.", X3);                       /* other user-defined tokens are plain text */
    CHECK_MARKED(t, "\xff!", "#.", 0xef, 0xbf, 0xbd, '!'); /* marks follow a byte that becomes three */
    CHECK_MARKED(t, "\xff!", "..", X4);
    CHECK_MARKED(t, "\xff<|a|>", "#.....", 0xef, 0xbf, 0xbd, X0);
    CHECK_MARKED(t, "\xff<|a|>", "..#...", 0xef, 0xbf, 0xbd, '<', '|', 'a', '|', '>');
    CHECK(t, "<|a|>", TOK_MARKED, X0); /* no marks: all trusted */
    tok_destroy(t);
}

static void merges_cross_the_border_of_message_and_template(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {NORMAL("ab")};
    static const char *const merges[] = {"a b"};
    struct tok *t = tok_build_sound("gpt-2", extra, 1, merges, 1);
    CHECK_MARKED(t, "ab", "#.", X0);
    tok_destroy(t);
}

/* --- which tokens end a generation --- */

static void check_eog(const struct tok *t, const uint32_t *want, size_t n_want)
{
    size_t n;
    const uint32_t *eog = tok_eog_ids(t, &n);
    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(eog[i], want[i]);
        assert_true(tok_is_eog(t, want[i]));
    }
    assert_false(tok_is_eog(t, 'a'));
}

static void ends_of_generation(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {
        CONTROL("<|endoftext|>"), CONTROL("<s>"),      NORMAL("<|im_end|>"), USER("<end_of_turn>"),
        NORMAL("</s>"),           CONTROL("<finish>"), CONTROL("<turn>"),    CONTROL("<message>"),
    };
    struct gguf_build b;
    struct tok *t = NULL;
    tok_build(&b, "gpt-2", extra, N_OF(extra), NULL, 0);
    gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", X1);
    gguf_build_u32(&b, "tokenizer.ggml.eos_token_id", X5);
    gguf_build_i32(&b, "tokenizer.ggml.eot_token_id", X6);
    gguf_build_u64(&b, "tokenizer.ggml.eom_token_id", X7);
    gguf_build_bool(&b, "tokenizer.ggml.add_bos_token", true);
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    check_eog(t, (const uint32_t[]){X0, X2, X3, X5, X6, X7}, 6); /* not "</s>", which is plain text here */
    assert_int_equal(tok_bos(t), X1);
    assert_int_equal(tok_eos(t), X5);
    assert_true(tok_add_bos(t));
    assert_true(tok_is_control(t, X2)); /* known by name, whatever the file calls it */
    assert_true(tok_is_control(t, X3));
    assert_false(tok_is_control(t, X4));
    assert_int_equal(tok_n_vocab(t), TOK_BUILD_FIRST + N_OF(extra));
    tok_destroy(t);

    gguf_build_u32(&b, "tokenizer.ggml.eot_token_id", X0); /* a set: named twice, in it once */
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    check_eog(t, (const uint32_t[]){X0, X2, X3, X5, X7}, 5);
    tok_destroy(t);
    gguf_build_free(&b);
}

static void keys_may_be_absent(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound(NULL, NULL, 0, NULL, 0); /* no pre-tokenizer either: "default" */
    check_eog(t, NULL, 0);
    assert_int_equal(tok_bos(t), -1);
    assert_int_equal(tok_eos(t), -1);
    assert_false(tok_add_bos(t));
    tok_destroy(t);
    t = tok_build_sound("llama-bpe", NULL, 0, NULL, 0); /* these files mean it without saying so */
    assert_true(tok_add_bos(t));
    tok_destroy(t);
}

/* --- threads and memory --- */

struct worker {
    pthread_t thread;
    const struct tok *t;
    const struct tok_ids *want;
    const char *text;
    size_t n;
    bool equal;
};

static void *encode_often(void *arg)
{
    struct worker *w = arg;
    w->equal = true;
    for (int i = 0; i < 50; i++) {
        struct tok_ids ids = {0};
        if (tok_encode(w->t, w->text, w->n, TOK_SPECIAL, NULL, &ids, NULL) != WEFT_OK ||
            ids.n != w->want->n || memcmp(ids.id, w->want->id, ids.n * sizeof *ids.id) != 0)
            w->equal = false;
        tok_ids_free(&ids);
    }
    return NULL;
}

static void threads_get_the_same_ids(void **state)
{
    (void)state;
    static const struct tok_build_token extra[] = {CONTROL("<|im_end|>"), NORMAL("th"), NORMAL("the"),
                                                   NORMAL(SPACE "the")};
    static const char *const merges[] = {"t h", "th e", SPACE " the"};
    struct tok *t = tok_build_sound("smollm", extra, N_OF(extra), merges, N_OF(merges));
    struct buf text = BUF_INIT;
    struct tok_ids want = {0};
    for (int i = 0; i < 200; i++)
        assert_true(buf_addf(&text, "the thing %d is\n the other<|im_end|>\xff", i));
    encode(t, text.data, text.len, TOK_SPECIAL, NULL, &want);
    struct worker worker[4];
    for (size_t i = 0; i < N_OF(worker); i++) {
        worker[i] = (struct worker){.t = t, .want = &want, .text = text.data, .n = text.len};
        assert_int_equal(pthread_create(&worker[i].thread, NULL, encode_often, &worker[i]), 0);
    }
    for (size_t i = 0; i < N_OF(worker); i++) {
        assert_int_equal(pthread_join(worker[i].thread, NULL), 0);
        assert_true(worker[i].equal);
    }
    tok_ids_free(&want);
    buf_free(&text);
    tok_destroy(t);
}

static void memory_may_run_out_while_encoding(void **state)
{
    (void)state;
    struct tok *t = tok_build_sound("default", chat, N_OF(chat), NULL, 0);
    static const char text[] = "<|im_start|>some \xff text 12345<|im_end|>";
    static const uint8_t foreign[sizeof text] = {0};
    size_t failures = 0;
    for (size_t nth = 1;; nth++) {
        struct tok_ids ids = {0};
        struct weft_err err = {0};
        encode(t, "ab", 2, TOK_PLAIN, NULL, &ids);
        mem_fail_at(nth);
        enum weft_rc rc = tok_encode(t, text, sizeof text - 1, TOK_MARKED, foreign, &ids, &err);
        bool reached = mem_fail_at(0) >= nth;
        if (rc != WEFT_OK) {
            failures++;
            assert_int_equal(rc, WEFT_INTERNAL_ERROR);
            assert_int_equal(err.code, WEFT_INTERNAL_ERROR);
            assert_int_equal(ids.n, 2); /* as before */
            assert_int_equal(ids.id[0], 'a');
        }
        tok_ids_free(&ids);
        if (!reached) {
            assert_int_equal(rc, WEFT_OK);
            break;
        }
    }
    assert_true(failures > 8);
    tok_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowest_rank_first_then_leftmost),
        cmocka_unit_test(first_of_duplicate_merges_wins),
        cmocka_unit_test(whole_tokens_only_where_the_pre_tokenizer_says_so),
        cmocka_unit_test(plain_text_gives_no_control_token),
        cmocka_unit_test(whole_tokens_are_those_spelled_in_the_alphabet),
        cmocka_unit_test(merges_equal_those_made_plainly),
        cmocka_unit_test(a_long_piece_takes_no_quadratic_time),
        cmocka_unit_test(every_byte_has_its_token),
        cmocka_unit_test(invalid_utf8_becomes_replacement_characters),
        cmocka_unit_test(bytes_without_a_token_are_left_out),
        cmocka_unit_test(texts_outside_the_alphabet_are_kept),
        cmocka_unit_test(decode_refuses_unknown_ids),
        cmocka_unit_test(a_text_too_long_is_refused_unread),
        cmocka_unit_test(special_tokens_by_mode),
        cmocka_unit_test(special_tokens_longest_first),
        cmocka_unit_test(special_tokens_equal_those_found_plainly),
        cmocka_unit_test(messages_cannot_forge_turns),
        cmocka_unit_test(merges_cross_the_border_of_message_and_template),
        cmocka_unit_test(ends_of_generation),
        cmocka_unit_test(keys_may_be_absent),
        cmocka_unit_test(threads_get_the_same_ids),
        cmocka_unit_test(memory_may_run_out_while_encoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
