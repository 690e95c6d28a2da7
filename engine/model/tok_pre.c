#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/model/tok_pre.h"

/*
 * White space as Unicode's property White_Space has it. PCRE2's own \s counts U+180E too, which left that
 * property with Unicode 6.3, and so would cut Mongolian text where the tokenizers' authors don't.
 */
#define SPACE_CHARS                                                                                          \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"   \
    "\\x{3000}"
#define SPACE     "[" SPACE_CHARS "]"
#define NOT_SPACE "[^" SPACE_CHARS "]"
#define SYMBOL    "[^" SPACE_CHARS "\\p{L}\\p{N}]"

/* As GPT-2 was published (openai/gpt-2, encoder.py), without its last alternative:
 * white space that nothing matches is a piece of its own anyway. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?" SYMBOL "+|" SPACE "+(?!" NOT_SPACE ")"

/* Llama 3 and what follows it: `digits` is how many digits a piece may hold. */
#define LLAMA3(digits)                                                                                       \
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits  \
    "| ?" SYMBOL "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+"

enum { PASSES_MAX = 4 };

static const char *const passes_gpt2[PASSES_MAX] = {GPT2};
static const char *const passes_smollm[PASSES_MAX] = {"\\p{N}", GPT2};
static const char *const passes_llama3[PASSES_MAX] = {LLAMA3("{1,3}")};
static const char *const passes_qwen2[PASSES_MAX] = {LLAMA3("")};
static const char *const passes_default[PASSES_MAX] = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+",
                                                       "[0-9][0-9][0-9]"};

/* clang-format off */
static const struct pre_entry {
    struct tok_pre_traits traits;
    const char *const *passes;
} pre_table[] = {
    /* name, whole tokens, BOS by default */
    {{"default", false, false}, passes_default},
    {{"gpt-2", false, false}, passes_gpt2},
    {{"phi-2", false, false}, passes_gpt2},
    {{"smollm", false, false}, passes_smollm},
    {{"starcoder", false, false}, passes_smollm},
    {{"refact", false, false}, passes_smollm},
    {{"command-r", false, false}, passes_smollm},
    {{"llama-bpe", true, true}, passes_llama3},
    {{"llama3", true, true}, passes_llama3},
    {{"llama-v3", true, true}, passes_llama3},
    {{"qwen2", false, false}, passes_qwen2},
    {{"deepseek-r1-qwen", false, false}, passes_qwen2},
};
/* clang-format on */

enum { N_PRE = sizeof pre_table / sizeof pre_table[0] };

struct tok_pre {
    size_t n;
    pcre2_code *pass[PASSES_MAX];
};

const struct tok_pre_traits *tok_pre_find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_PRE; i++)
        if (strlen(pre_table[i].traits.name) == n && memcmp(pre_table[i].traits.name, name, n) == 0)
            return &pre_table[i].traits;
    return NULL;
}

const char *tok_pre_name(size_t i)
{
    return i < N_PRE ? pre_table[i].traits.name : NULL;
}

static const char *const *passes_of(const struct tok_pre_traits *traits)
{
    for (size_t i = 0; i < N_PRE; i++)
        if (&pre_table[i].traits == traits)
            return pre_table[i].passes;
    return NULL;
}

/* PCRE2's memory comes from the same seam as ours, so that tests can make it fail. */
static void *pcre_malloc(size_t n, void *unused)
{
    (void)unused;
    return mem_alloc(n);
}

static void pcre_free(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

static enum weft_rc pcre_failed(struct weft_err *err, const char *what, int code)
{
    char text[128];
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT)
        return weft_err_nomem(err, "tok_pre", 0);
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text) < 0)
        strcpy(text, "unknown error");
    weft_err_set(err, WEFT_INTERNAL_ERROR, "pre-tokenizer: %s failed: PCRE2 error %d, %s", what, code, text);
    weft_err_str(err, "where", "tok_pre");
    return WEFT_INTERNAL_ERROR;
}

enum weft_rc tok_pre_create(const struct tok_pre_traits *traits, bool jit, struct tok_pre **out,
                            struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    pcre2_general_context *memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
    pcre2_compile_context *compile = memory ? pcre2_compile_context_create(memory) : NULL;
    struct tok_pre *p = mem_calloc(1, sizeof *p);

    *out = NULL;
    if (!compile || !p) {
        rc = weft_err_nomem(err, "tok_pre_create", sizeof *p);
        goto out;
    }
    const char *const *passes = passes_of(traits);
    for (; p->n < PASSES_MAX && passes[p->n]; p->n++) {
        int code;
        PCRE2_SIZE at;
        pcre2_code *re = pcre2_compile((PCRE2_SPTR)passes[p->n], PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                       &code, &at, compile);
        if (!re) {
            /* the patterns are our own: only memory can be short */
            rc = code == PCRE2_ERROR_HEAP_FAILED ? weft_err_nomem(err, "tok_pre_create", 0)
                                                 : pcre_failed(err, "a pattern's compilation", code);
            goto out;
        }
        p->pass[p->n] = re;
        /* Where memory can't be made executable, or PCRE2 has no JIT here, the interpreter does the same work. */
        if (jit)
            (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    }
    *out = p;
    p = NULL;
out:
    tok_pre_destroy(p);
    pcre2_compile_context_free(compile);
    pcre2_general_context_free(memory);
    return rc;
}

void tok_pre_destroy(struct tok_pre *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->pass[i]);
    mem_free(p);
}

void tok_pre_scratch_free(struct tok_pre_scratch *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    *s = (struct tok_pre_scratch)TOK_PRE_SCRATCH_INIT;
}

/*
 * The patterns backtrack over at most one run of characters, so the work of a match is linear in the
 * fragment. The limit says so: it turns a mistake in a pattern into an error instead of a hang. PCRE2's own
 * default would refuse a run of ten million spaces.
 */
static uint32_t match_limit(size_t n)
{
    return n < (UINT32_MAX - 10000) / 8 ? (uint32_t)(8 * n) + 10000 : UINT32_MAX;
}

static enum weft_rc scratch_prepare(struct tok_pre_scratch *s, size_t n, struct weft_err *err)
{
    if (!s->match || !s->limits) {
        tok_pre_scratch_free(s);
        pcre2_general_context *memory = pcre2_general_context_create(pcre_malloc, pcre_free, NULL);
        if (memory) {
            s->match = pcre2_match_data_create(1, memory);
            s->limits = pcre2_match_context_create(memory);
            pcre2_general_context_free(memory);
        }
        if (!s->match || !s->limits) {
            tok_pre_scratch_free(s);
            return weft_err_nomem(err, "tok_pre_split", 0);
        }
    }
    pcre2_set_match_limit(s->limits, match_limit(n));
    return WEFT_OK;
}

struct split {
    const struct tok_pre *pre;
    struct tok_pre_scratch *scratch;
    tok_piece_fn piece;
    void *ctx;
    struct weft_err *err;
};

/* Cuts text[0..n) by the passes from `pass` on. All passes share one match data: what a match found is read
 * before the next pass overwrites it. */
static enum weft_rc split_from(const struct split *s, size_t pass, const char *text, size_t n)
{
    if (pass >= PASSES_MAX || pass >= s->pre->n)
        return s->piece(s->ctx, text, n);

    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(s->scratch->match);
    for (size_t at = 0; at < n;) {
        size_t start = n, end = n;
        int got = pcre2_match(s->pre->pass[pass], (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK,
                              s->scratch->match, s->scratch->limits);
        if (got == PCRE2_ERROR_JIT_STACKLIMIT)
            got = pcre2_match(s->pre->pass[pass], (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                              s->scratch->match, s->scratch->limits);
        if (got > 0) {
            start = found[0];
            end = found[1];
        } else if (got != PCRE2_ERROR_NOMATCH) {
            return pcre_failed(s->err, "a match", got);
        }
        enum weft_rc rc = WEFT_OK;
        if (start > at) /* what the pattern doesn't match is a fragment of its own */
            rc = split_from(s, pass + 1, text + at, start - at);
        if (rc == WEFT_OK && end > start)
            rc = split_from(s, pass + 1, text + start, end - start);
        if (rc != WEFT_OK)
            return rc;
        at = end;
    }
    return WEFT_OK;
}

enum weft_rc tok_pre_split(const struct tok_pre *p, const char *text, size_t n, struct tok_pre_scratch *s,
                           tok_piece_fn piece, void *ctx, struct weft_err *err)
{
    if (n == 0)
        return WEFT_OK;
    enum weft_rc rc = scratch_prepare(s, n, err);
    if (rc != WEFT_OK)
        return rc;
    const struct split split = {.pre = p, .scratch = s, .piece = piece, .ctx = ctx, .err = err};
    return split_from(&split, 0, text, n);
}
