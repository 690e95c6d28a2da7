/* Files whose tokenizer keys are wrong: each refused with field, value and limit; and memory that runs out
 * while reading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "tests/support/err_check.h"
#include "tests/support/tok_build.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))
#define TOKENS  "tokenizer.ggml.tokens"
#define TYPES   "tokenizer.ggml.token_type"
#define MERGES  "tokenizer.ggml.merges"

static const struct tok_build_token sound_extra[] = {{"ab", TOK_BUILD_NORMAL},
                                                     {"abc", TOK_BUILD_NORMAL},
                                                     {"<|im_end|>", TOK_BUILD_CONTROL},
                                                     {"<x>", TOK_BUILD_USER}};
static const char *const sound_merges[] = {"a b", "ab c"};
enum { N_SOUND = TOK_BUILD_FIRST + N_OF(sound_extra) };

static void build_sound(struct gguf_build *b)
{
    tok_build(b, "gpt-2", sound_extra, N_OF(sound_extra), sound_merges, N_OF(sound_merges));
}

static void set_merges(struct gguf_build *b, const char *second)
{
    const char *const merges[] = {"a b", second};
    gguf_build_strings(b, MERGES, merges, 2);
}

static void set_last_token(struct gguf_build *b, const char *text, int32_t type)
{
    struct tok_build_token extra[N_OF(sound_extra)];
    memcpy(extra, sound_extra, sizeof extra);
    extra[N_OF(extra) - 1] = (struct tok_build_token){text, type};
    gguf_build_free(b);
    tok_build(b, "gpt-2", extra, N_OF(extra), sound_merges, N_OF(sound_merges));
}

static void set_types(struct gguf_build *b, size_t n, int32_t last)
{
    int32_t types[N_SOUND + 1];
    for (size_t i = 0; i < N_OF(types); i++)
        types[i] = TOK_BUILD_NORMAL;
    types[n - 1] = last;
    gguf_build_array(b, TYPES, GGUF_I32, n, types, n * sizeof *types);
}

/* One way to spoil a file each, named after what is wrong. */
static void no_model(struct gguf_build *b)
{
    gguf_build_drop(b, "tokenizer.ggml.model");
}
static void other_model(struct gguf_build *b)
{
    gguf_build_str(b, "tokenizer.ggml.model", "llama\x1b[2J");
}
static void model_is_number(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.model", 2);
}
static void pre_unknown(struct gguf_build *b)
{
    gguf_build_str(b, "tokenizer.ggml.pre", "klingon");
}
static void pre_empty(struct gguf_build *b)
{
    gguf_build_str(b, "tokenizer.ggml.pre", "");
}
static void pre_is_bool(struct gguf_build *b)
{
    gguf_build_bool(b, "tokenizer.ggml.pre", true);
}
static void no_tokens(struct gguf_build *b)
{
    gguf_build_drop(b, TOKENS);
}
static void tokens_empty(struct gguf_build *b)
{
    gguf_build_strings(b, TOKENS, NULL, 0);
}
static void tokens_is_string(struct gguf_build *b)
{
    gguf_build_str(b, TOKENS, "a b c");
}
static void tokens_are_numbers(struct gguf_build *b)
{
    gguf_build_array(b, TOKENS, GGUF_I32, 2, "\1\0\0\0\2\0\0\0", 8);
}
static void token_twice(struct gguf_build *b)
{
    set_last_token(b, "ab", TOK_BUILD_NORMAL);
}
static void token_twice_as_control(struct gguf_build *b)
{
    set_last_token(b, "abc", TOK_BUILD_CONTROL);
}
static void token_not_utf8(struct gguf_build *b)
{
    set_last_token(b, "x\xff\x1b", TOK_BUILD_NORMAL);
}
static void byte_token_no_hex(struct gguf_build *b)
{
    set_last_token(b, "<0xZZ>", TOK_BUILD_BYTE);
}
static void byte_token_short(struct gguf_build *b)
{
    set_last_token(b, "<0xA>", TOK_BUILD_BYTE);
}
static void byte_token_lower_case(struct gguf_build *b)
{
    set_last_token(b, "<0xaf>", TOK_BUILD_BYTE);
}
static void byte_token_is_text(struct gguf_build *b)
{
    set_last_token(b, "hello", TOK_BUILD_BYTE);
}
static void types_shorter(struct gguf_build *b)
{
    set_types(b, N_SOUND - 1, TOK_BUILD_NORMAL);
}
static void types_longer(struct gguf_build *b)
{
    set_types(b, N_SOUND + 1, TOK_BUILD_NORMAL);
}
static void type_too_high(struct gguf_build *b)
{
    set_types(b, N_SOUND, 7);
}
static void type_negative(struct gguf_build *b)
{
    set_types(b, N_SOUND, -1);
}
static void types_is_number(struct gguf_build *b)
{
    gguf_build_u32(b, TYPES, 1);
}
static void types_are_strings(struct gguf_build *b)
{
    gguf_build_strings(b, TYPES, sound_merges, 2);
}
static void types_are_bytes(struct gguf_build *b)
{
    gguf_build_array(b, TYPES, GGUF_U8, 2, "\1\1", 2);
}
static void no_merges(struct gguf_build *b)
{
    gguf_build_drop(b, MERGES);
}
static void merges_is_string(struct gguf_build *b)
{
    gguf_build_str(b, MERGES, "a b");
}
static void merges_are_numbers(struct gguf_build *b)
{
    gguf_build_array(b, MERGES, GGUF_U32, 1, "\1\0\0\0", 4);
}
static void merge_without_space(struct gguf_build *b)
{
    set_merges(b, "abc");
}
static void merge_empty(struct gguf_build *b)
{
    set_merges(b, "");
}
static void merge_is_space(struct gguf_build *b)
{
    set_merges(b, " ");
}
static void merge_without_right(struct gguf_build *b)
{
    set_merges(b, "ab ");
}
static void merge_without_left(struct gguf_build *b)
{
    set_merges(b, " ab");
}
static void merge_of_three(struct gguf_build *b)
{
    set_merges(b, "a b c");
}
static void merge_left_unknown(struct gguf_build *b)
{
    set_merges(b, "zz c");
}
static void merge_right_unknown(struct gguf_build *b)
{
    set_merges(b, "ab zz");
}
static void merge_result_unknown(struct gguf_build *b)
{
    set_merges(b, "c a");
}
static void merge_makes_control(struct gguf_build *b)
{
    set_last_token(b, "zz", TOK_BUILD_CONTROL);
    set_merges(b, "z z");
}
static void bos_out_of_range(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.bos_token_id", N_SOUND);
}
static void eos_out_of_range(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.eos_token_id", UINT32_MAX);
}
static void eos_negative(struct gguf_build *b)
{
    gguf_build_i32(b, "tokenizer.ggml.eos_token_id", -1);
}
static void eot_out_of_range(struct gguf_build *b)
{
    gguf_build_u64(b, "tokenizer.ggml.eot_token_id", 1ull << 40);
}
static void eom_is_string(struct gguf_build *b)
{
    gguf_build_str(b, "tokenizer.ggml.eom_token_id", "2");
}
static void add_bos_is_number(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.add_bos_token", 1);
}

static const struct refusal {
    const char *name;
    void (*spoil)(struct gguf_build *b);
    const char *field; /* in the context, and with value and limit in the message */
    const char *value; /* part of it */
} refusals[] = {
#define R(name, field, value)                                                                                \
    {                                                                                                        \
#name, name, field, value                                                                            \
    }
    R(no_model, "tokenizer.ggml.model", "absent"),
    R(other_model, "tokenizer.ggml.model", "llama\\x1b"),
    R(model_is_number, "tokenizer.ggml.model", ""),
    R(pre_unknown, "tokenizer.ggml.pre", "klingon"),
    R(pre_empty, "tokenizer.ggml.pre", ""),
    R(pre_is_bool, "tokenizer.ggml.pre", ""),
    R(no_tokens, TOKENS, "absent"),
    R(tokens_empty, TOKENS, "empty"),
    R(tokens_is_string, TOKENS, "another type"),
    R(tokens_are_numbers, TOKENS, "another type"),
    R(token_twice, TOKENS "[259]", "ab"),
    R(token_twice_as_control, TOKENS "[259]", "abc"),
    R(token_not_utf8, TOKENS "[259]", "x\\xff\\x1b"),
    R(byte_token_no_hex, TOKENS "[259]", "<0xZZ>"),
    R(byte_token_short, TOKENS "[259]", "<0xA>"),
    R(byte_token_lower_case, TOKENS "[259]", "<0xaf>"),
    R(byte_token_is_text, TOKENS "[259]", "hello"),
    R(types_shorter, TYPES, "259"),
    R(types_longer, TYPES, "261"),
    R(type_too_high, TYPES "[259]", "7"),
    R(type_negative, TYPES "[259]", "-1"),
    R(types_is_number, TYPES, "another type"),
    R(types_are_strings, TYPES, "another type"),
    R(types_are_bytes, TYPES, "another type"),
    R(no_merges, MERGES, "absent"),
    R(merges_is_string, MERGES, "another type"),
    R(merges_are_numbers, MERGES, "another type"),
    R(merge_without_space, MERGES "[1]", "abc"),
    R(merge_empty, MERGES "[1]", ""),
    R(merge_is_space, MERGES "[1]", ""),
    R(merge_without_right, MERGES "[1]", "ab "),
    R(merge_without_left, MERGES "[1]", " ab"),
    R(merge_of_three, MERGES "[1]", "a b c"),
    R(merge_left_unknown, MERGES "[1]", "zz c"),
    R(merge_right_unknown, MERGES "[1]", "ab zz"),
    R(merge_result_unknown, MERGES "[1]", "c a"),
    R(merge_makes_control, MERGES "[1]", "z z"),
    R(bos_out_of_range, "tokenizer.ggml.bos_token_id", "260"),
    R(eos_out_of_range, "tokenizer.ggml.eos_token_id", "4294967295"),
    R(eos_negative, "tokenizer.ggml.eos_token_id", "-1"),
    R(eot_out_of_range, "tokenizer.ggml.eot_token_id", "1099511627776"),
    R(eom_is_string, "tokenizer.ggml.eom_token_id", ""),
    R(add_bos_is_number, "tokenizer.ggml.add_bos_token", ""),
#undef R
};

static void spoiled_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct gguf_build b;
        struct weft_err err = {0};
        struct tok *t = NULL;
        build_sound(&b);
        r->spoil(&b);
        enum weft_rc rc = tok_build_create(&b, &t, &err);
        if (rc != WEFT_FILE_INVALID || err.code != rc || t)
            fail_msg("%s: %s, %s", r->name, weft_rc_name(rc), err.message);
        if (strcmp(err_context_text(&err, "field"), r->field) != 0 ||
            !strstr(err_context_text(&err, "value"), r->value) || !strstr(err.message, r->field) ||
            !strstr(err.message, "vocab.gguf"))
            fail_msg("%s: %s", r->name, err.message);
        assert_string_equal(err_context_text(&err, "path"), "vocab.gguf");
        assert_true(strlen(err_context_text(&err, "limit")) > 0);
        for (const char *c = err.message; *c; c++)
            assert_true((unsigned char)*c >= 0x20);
        gguf_build_free(&b);
    }
}

static void sound_file_is_accepted(void **state)
{
    (void)state;
    struct gguf_build b;
    struct tok *t = NULL;
    build_sound(&b);
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    tok_destroy(t);
    gguf_build_drop(&b, TYPES); /* all normal then, but for names that everybody knows */
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    assert_true(tok_is_control(t, TOK_BUILD_FIRST + 2));
    assert_false(tok_is_control(t, TOK_BUILD_FIRST + 3));
    tok_destroy(t);
    gguf_build_free(&b);
}

/* Architecture, hyperparameters and tensors aren't looked at. */
static void other_keys_do_not_matter(void **state)
{
    (void)state;
    struct gguf_build b;
    struct tok *t = NULL;
    build_sound(&b);
    gguf_build_str(&b, "general.architecture", "mamba");
    gguf_build_u32(&b, "mamba.vocab_size", 3);
    assert_int_equal(tok_build_create(&b, &t, NULL), WEFT_OK);
    tok_destroy(t);
    gguf_build_free(&b);
}

static void a_token_may_be_long_but_not_endless(void **state)
{
    (void)state;
    static char text[(1 << 16) + 2];
    for (size_t over = 0; over < 2; over++) {
        struct gguf_build b;
        struct weft_err err = {0};
        struct tok *t = NULL;
        memset(text, 'x', sizeof text);
        text[(1 << 16) + over] = 0;
        build_sound(&b);
        set_last_token(&b, text, TOK_BUILD_NORMAL);
        assert_int_equal(tok_build_create(&b, &t, &err), over ? WEFT_FILE_INVALID : WEFT_OK);
        if (over)
            assert_string_equal(err_context_text(&err, "value"), "65537 bytes long");
        tok_destroy(t);
        gguf_build_free(&b);
    }
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    struct gguf_build b;
    struct buf bytes = BUF_INIT;
    struct gguf *g = NULL;
    size_t failures = 0;
    build_sound(&b);
    gguf_build_write(&b, &bytes);
    assert_int_equal(gguf_parse(bytes.data, bytes.len, "vocab.gguf", &g, NULL), WEFT_OK);
    for (size_t nth = 1;; nth++) {
        struct tok *t = NULL;
        struct weft_err err = {0};
        mem_fail_at(nth);
        enum weft_rc rc = tok_create(g, &t, &err);
        bool reached = mem_fail_at(0) >= nth;
        if (rc != WEFT_OK) {
            failures++;
            assert_int_equal(rc, WEFT_INTERNAL_ERROR);
            assert_int_equal(err.code, WEFT_INTERNAL_ERROR);
            assert_null(t);
        }
        tok_destroy(t);
        if (!reached) {
            assert_int_equal(rc, WEFT_OK);
            break;
        }
    }
    assert_true(failures > 15);
    gguf_close(g);
    buf_free(&bytes);
    gguf_build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_file_is_accepted),      cmocka_unit_test(spoiled_files_are_refused),
        cmocka_unit_test(other_keys_do_not_matter),    cmocka_unit_test(a_token_may_be_long_but_not_endless),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
