#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/gguf_refuse.h"
#include "engine/model/tok_vocab.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES  "tokenizer.ggml.token_type"
#define KEY_MERGES "tokenizer.ggml.merges"

enum {
    VOCAB_MAX = 1 << 24, /* tokens: far above any vocabulary known (about 260,000) */
    TOKEN_MAX_BYTES = 1 << 16,
};

/* What is needed while reading only. */
struct reading {
    const struct gguf *g;
    const struct gguf_kv *tokens, *merges;
    struct tok_strmap by_text; /* the file's texts → ids */
    bool *spelled;             /* by id: the text is in the byte alphabet, and bytes[id] is what it spells */
    struct tok_vocab *v;
    struct weft_err *err;
};

static enum weft_rc refuse(const struct reading *r, const char *field, const char *value, const char *limit)
{
    return gguf_refuse(r->err, WEFT_FILE_INVALID, r->g->path, field, value, limit);
}

static enum weft_rc refuse_element(const struct reading *r, const char *key, uint64_t i, const char *value,
                                   const char *limit)
{
    return refuse(r, gguf_text("%s[%llu]", key, (unsigned long long)i).s, value, limit);
}

/* --- the byte alphabet --- */

/* Bytes that stand for themselves. */
static bool is_printable_latin1(uint32_t cp)
{
    return (cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff);
}

/* The alphabet both ways: to_char[byte], and to_byte[char] where it is below ALPHABET_END, -1 for none. */
enum { ALPHABET_END = 0x100 + 68 };
struct alphabet {
    uint32_t to_char[256];
    int16_t to_byte[ALPHABET_END];
};

static void alphabet_init(struct alphabet *a)
{
    uint32_t next = 0x100;
    memset(a->to_byte, -1, sizeof a->to_byte);
    for (uint32_t byte = 0; byte < 256; byte++) {
        a->to_char[byte] = is_printable_latin1(byte) ? byte : next++;
        a->to_byte[a->to_char[byte]] = (int16_t)byte;
    }
}

/* Turns a text in the alphabet into its bytes; returns their number, or SIZE_MAX when a character isn't in
 * it. The result is never longer than the text. */
static size_t alphabet_decode(const struct alphabet *a, struct gguf_str text, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp;
        i += utf8_decode(text.s + i, text.n - i, &cp);
        if (cp >= ALPHABET_END || a->to_byte[cp] < 0)
            return SIZE_MAX;
        out[n++] = (char)a->to_byte[cp];
    }
    return n;
}

/* "<0x0A>" → 10; -1 when it isn't of that form. */
static int parse_byte_token(struct gguf_str text)
{
    static const char hex[] = "0123456789ABCDEF";
    if (text.n != 6 || memcmp(text.s, "<0x", 3) != 0 || text.s[5] != '>' || !text.s[3] || !text.s[4])
        return -1;
    const char *high = strchr(hex, text.s[3]), *low = strchr(hex, text.s[4]);
    return high && low ? (int)((high - hex) * 16 + (low - hex)) : -1;
}

/* --- tokens --- */

static enum weft_rc find_strings(const struct reading *r, const char *key, uint64_t max,
                                 const struct gguf_kv **out)
{
    const struct gguf_kv *kv = gguf_find(r->g, key);
    if (!kv)
        return refuse(r, key, "absent", "an array of strings is required");
    if (kv->type != GGUF_ARRAY || kv->elem_type != GGUF_STRING)
        return refuse(r, key, "of another type", "must be an array of strings");
    if (kv->n > max)
        return refuse(r, key, gguf_text("an array of %llu", (unsigned long long)kv->n).s,
                      gguf_text("must have at most %llu elements", (unsigned long long)max).s);
    *out = kv;
    return WEFT_OK;
}

static enum weft_rc read_types(struct reading *r)
{
    struct tok_vocab *v = r->v;
    const struct gguf_kv *kv = gguf_find(r->g, KEY_TYPES);

    v->type = mem_alloc(v->n);
    if (!v->type)
        return weft_err_nomem(r->err, "tok_vocab", v->n);
    memset(v->type, TOK_TYPE_NORMAL, v->n);
    if (!kv)
        return WEFT_OK;
    if (kv->type != GGUF_ARRAY || (kv->elem_type != GGUF_I32 && kv->elem_type != GGUF_U32))
        return refuse(r, KEY_TYPES, "of another type", "must be an array of 32-bit integers");
    if (kv->n != v->n)
        return refuse(r, KEY_TYPES, gguf_text("an array of %llu", (unsigned long long)kv->n).s,
                      gguf_text("must have %u elements, one a token", v->n).s);
    for (uint32_t id = 0; id < v->n; id++) {
        const uint8_t *p = kv->data + 4 * (size_t)id;
        uint32_t type = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (type >= TOK_TYPE_COUNT)
            return refuse_element(r, KEY_TYPES, id, gguf_text("%d", (int32_t)type).s,
                                  gguf_text("must be 0 to %d", TOK_TYPE_COUNT - 1).s);
        v->type[id] = (uint8_t)type;
    }
    return WEFT_OK;
}

/* Checks every text and enters it into by_text. Empty texts are holes in the numbering, and may be many. */
static enum weft_rc index_texts(struct reading *r)
{
    const struct gguf_str *text = r->tokens->strings;
    if (!tok_strmap_init(&r->by_text, r->v->n))
        return weft_err_nomem(r->err, "tok_vocab", r->v->n);
    for (uint32_t id = 0; id < r->v->n; id++) {
        if (text[id].n > TOKEN_MAX_BYTES)
            return refuse_element(r, KEY_TOKENS, id,
                                  gguf_text("%llu bytes long", (unsigned long long)text[id].n).s,
                                  gguf_text("must be at most %d", TOKEN_MAX_BYTES).s);
        if (!utf8_valid(text[id].s, text[id].n))
            return refuse_element(r, KEY_TOKENS, id, gguf_quote(text[id]).s, "must be UTF-8");
        if (text[id].n == 0)
            continue;
        uint32_t same = tok_strmap_add(&r->by_text, text, id);
        if (same != TOK_NONE)
            return refuse_element(r, KEY_TOKENS, id, gguf_quote(text[id]).s,
                                  gguf_text("must differ from token %u", same).s);
    }
    return WEFT_OK;
}

static uint32_t id_of_text(const struct reading *r, const char *s, size_t n)
{
    return tok_strmap_find(&r->by_text, r->tokens->strings, s, n);
}

static bool in_alphabet(enum tok_type type)
{
    return type == TOK_TYPE_NORMAL || type == TOK_TYPE_UNUSED || type == TOK_TYPE_UNDEFINED;
}

/* Fills v->bytes. A token's bytes are never more than its text's. */
static enum weft_rc decode_texts(struct reading *r, const struct alphabet *alphabet)
{
    struct tok_vocab *v = r->v;
    size_t total = 0;
    for (uint32_t id = 0; id < v->n; id++)
        total += r->tokens->strings[id].n;
    v->arena = mem_alloc(total);
    v->bytes = mem_calloc(v->n, sizeof *v->bytes);
    r->spelled = mem_calloc(v->n, sizeof *r->spelled);
    if (!v->arena || !v->bytes || !r->spelled)
        return weft_err_nomem(r->err, "tok_vocab", total);

    char *at = v->arena;
    for (uint32_t id = 0; id < v->n; id++) {
        struct gguf_str text = r->tokens->strings[id];
        size_t n = SIZE_MAX;
        if (v->type[id] == TOK_TYPE_BYTE) {
            int byte = parse_byte_token(text);
            if (byte < 0)
                return refuse_element(r, KEY_TOKENS, id, gguf_quote(text).s,
                                      "a byte token must be <0x00> to <0xFF>");
            *at = (char)byte;
            n = 1;
        } else if (in_alphabet(v->type[id])) {
            n = alphabet_decode(alphabet, text, at);
            r->spelled[id] = n != SIZE_MAX;
        }
        if (n == SIZE_MAX) {
            n = text.n;
            memcpy(at, text.s, n);
        }
        v->bytes[id] = (struct gguf_str){.s = at, .n = n};
        at += n;
    }
    return WEFT_OK;
}

/* --- merges --- */

static void read_byte_ids(struct reading *r, const struct alphabet *alphabet)
{
    struct tok_vocab *v = r->v;
    for (int byte = 0; byte < 256; byte++) {
        char utf8[4];
        size_t n = utf8_encode(alphabet->to_char[byte], utf8);
        uint32_t id = id_of_text(r, utf8, n);
        v->bpe.byte_id[byte] = id != TOK_NONE && !tok_vocab_is_control(v, id) ? id : TOK_NONE;
    }
    for (uint32_t id = 0; id < v->n; id++)
        if (v->type[id] == TOK_TYPE_BYTE && v->bpe.byte_id[(uint8_t)v->bytes[id].s[0]] == TOK_NONE)
            v->bpe.byte_id[(uint8_t)v->bytes[id].s[0]] = id;
}

/* One line "LEFT RIGHT" of the merges: both, and the two joined, must be tokens. */
static enum weft_rc read_merge(struct reading *r, uint32_t rank, struct buf *joined)
{
    struct gguf_str line = r->merges->strings[rank];
    const char *space = line.n > 1 ? memchr(line.s + 1, ' ', line.n - 1) : NULL;
    if (!space)
        return refuse_element(r, KEY_MERGES, rank, gguf_quote(line).s,
                              "must be two tokens with a space between");

    size_t n_left = (size_t)(space - line.s), n_right = line.n - n_left - 1;
    buf_clear(joined);
    buf_add(joined, line.s, n_left);
    buf_add(joined, space + 1, n_right);
    if (joined->failed)
        return weft_err_nomem(r->err, "tok_vocab", line.n);
    uint32_t left = id_of_text(r, line.s, n_left), right = id_of_text(r, space + 1, n_right);
    uint32_t result = id_of_text(r, joined->data, joined->len);
    if (left == TOK_NONE || right == TOK_NONE)
        return refuse_element(r, KEY_MERGES, rank, gguf_quote(line).s,
                              "must join two tokens of the vocabulary");
    if (result == TOK_NONE)
        return refuse_element(r, KEY_MERGES, rank, gguf_quote(line).s,
                              "must result in a token of the vocabulary");
    if (tok_vocab_is_control(r->v, result))
        return refuse_element(r, KEY_MERGES, rank, gguf_quote(line).s, "must not result in a control token");
    tok_pairmap_add(&r->v->bpe.merges, left, right, (struct tok_merge){.rank = rank, .result = result});
    return WEFT_OK;
}

static enum weft_rc read_merges(struct reading *r)
{
    struct buf joined = BUF_INIT;
    enum weft_rc rc = find_strings(r, KEY_MERGES, TOK_NONE - 1, &r->merges);
    if (rc == WEFT_OK && !tok_pairmap_init(&r->v->bpe.merges, r->merges->n))
        rc = weft_err_nomem(r->err, "tok_vocab", r->merges->n);
    for (uint32_t rank = 0; rc == WEFT_OK && rank < r->merges->n; rank++)
        rc = read_merge(r, rank, &joined);
    buf_free(&joined);
    return rc;
}

/*
 * Fills v->whole with each token that encoding its own bytes gives back: for such a piece the merges need not
 * be walked. That isn't every token, since merges of lower rank may lead elsewhere. With `whole_tokens` it
 * is, by the pre-tokenizer's rule.
 */
static enum weft_rc index_whole_tokens(struct reading *r, bool whole_tokens)
{
    struct tok_vocab *v = r->v;
    struct tok_bpe_scratch scratch = {0};
    struct tok_ids ids = {0};
    bool ok = tok_strmap_init(&v->whole, v->n);

    for (uint32_t id = 0; ok && id < v->n; id++) {
        struct gguf_str bytes = v->bytes[id];
        if (!r->spelled[id] || bytes.n == 0)
            continue;
        if (!whole_tokens) {
            ids.n = 0;
            ok = tok_bpe_encode(&v->bpe, &scratch, bytes.s, bytes.n, &ids);
            if (!ok || ids.n != 1 || ids.id[0] != id)
                continue;
        }
        (void)tok_strmap_add(&v->whole, v->bytes, id);
    }
    tok_bpe_scratch_free(&scratch);
    tok_ids_free(&ids);
    return ok ? WEFT_OK : weft_err_nomem(r->err, "tok_vocab", v->n);
}

/* --- single ids --- */

/*
 * Names by which chat models end a turn or a text. Files often fail to give these ids in a key, and some give
 * them a wrong type; so a token of such a name is a control token and ends a generation, whatever the file
 * says. Those with `if_control` could be plain text, and count only when the file calls them control tokens.
 */
/* clang-format off */
static const struct eog_name {
    const char *text;
    bool if_control;
} eog_names[] = {
    {"<|im_end|>", false},       /* ChatML: SmolLM2, Qwen */
    {"<|endoftext|>", false},    /* GPT-2 and many */
    {"<|eot_id|>", false},       /* Llama 3 */
    {"<|eom_id|>", false},       /* Llama 3.1, before a tool runs */
    {"<|end_of_text|>", false},  /* Llama 3, Granite */
    {"<|end|>", false},          /* Phi 3 */
    {"<|eot|>", false},          /* Llama 4 */
    {"<|end_of_turn|>", false},
    {"<|return|>", false},       /* gpt-oss, with the next */
    {"<|call|>", false},
    {"<end_of_turn>", false},    /* Gemma */
    {"<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", false}, /* DeepSeek */
    {"<EOT>", true},
    {"</s>", true},              /* Llama 2, Mistral, Zephyr */
    {"<eos>", true},
};
/* clang-format on */
enum { N_EOG_NAMES = sizeof eog_names / sizeof eog_names[0] };

/* Where `eog` is set the id ends a generation. */
static const struct id_key {
    const char *key;
    bool eog;
} id_keys[] = {
    {"tokenizer.ggml.bos_token_id", false},
    {"tokenizer.ggml.eos_token_id", true},
    {"tokenizer.ggml.eot_token_id", true},
    {"tokenizer.ggml.eom_token_id", true},
};
enum { ID_BOS, ID_EOS, N_ID_KEYS = sizeof id_keys / sizeof id_keys[0] };

/* Inserts into the ascending set; its memory holds every possible member. */
static void eog_insert(struct tok_vocab *v, uint32_t id)
{
    size_t i = v->n_eog;
    while (i > 0 && v->eog[i - 1] > id)
        i--;
    if (i > 0 && v->eog[i - 1] == id)
        return;
    memmove(v->eog + i + 1, v->eog + i, (v->n_eog - i) * sizeof *v->eog);
    v->eog[i] = id;
    v->n_eog++;
}

/* Reads bos, eos and the set of tokens that end a generation; corrects the types of those known by name. */
static enum weft_rc read_ids(struct reading *r, bool add_bos)
{
    struct tok_vocab *v = r->v;
    int64_t id[N_ID_KEYS];

    v->eog = mem_calloc(N_EOG_NAMES + N_ID_KEYS, sizeof *v->eog);
    if (!v->eog)
        return weft_err_nomem(r->err, "tok_vocab", N_EOG_NAMES);
    for (size_t i = 0; i < N_ID_KEYS; i++) {
        uint32_t value;
        enum weft_rc rc = gguf_u32(r->g, id_keys[i].key, TOK_NONE, 0, v->n - 1, &value, r->err);
        if (rc != WEFT_OK)
            return rc;
        id[i] = value == TOK_NONE ? -1 : (int64_t)value;
        if (id_keys[i].eog && id[i] >= 0)
            eog_insert(v, value);
    }
    v->bos = id[ID_BOS];
    v->eos = id[ID_EOS];

    for (size_t i = 0; i < N_EOG_NAMES; i++) {
        uint32_t named = id_of_text(r, eog_names[i].text, strlen(eog_names[i].text));
        if (named == TOK_NONE || (eog_names[i].if_control && !tok_vocab_is_control(v, named)))
            continue;
        v->type[named] = TOK_TYPE_CONTROL;
        eog_insert(v, named);
    }
    return gguf_bool(r->g, "tokenizer.ggml.add_bos_token", add_bos, &v->add_bos, r->err);
}

/* --- all of it --- */

static enum weft_rc find_tokens(struct reading *r)
{
    enum weft_rc rc = find_strings(r, KEY_TOKENS, VOCAB_MAX, &r->tokens);
    if (rc == WEFT_OK && r->tokens->n == 0)
        rc = refuse(r, KEY_TOKENS, "empty", "at least one token is required");
    return rc;
}

enum weft_rc tok_vocab_count(const struct gguf *g, uint32_t *n, struct weft_err *err)
{
    struct reading r = {.g = g, .err = err};
    enum weft_rc rc = find_tokens(&r);
    *n = rc == WEFT_OK ? (uint32_t)r.tokens->n : 0;
    return rc;
}

static enum weft_rc read_vocab(struct reading *r, bool whole_tokens, bool add_bos)
{
    struct alphabet alphabet;
    enum weft_rc rc = find_tokens(r);
    if (rc != WEFT_OK)
        return rc;
    r->v->n = (uint32_t)r->tokens->n;
    alphabet_init(&alphabet);
    if ((rc = read_types(r)) != WEFT_OK || (rc = index_texts(r)) != WEFT_OK ||
        (rc = read_ids(r, add_bos)) != WEFT_OK || (rc = decode_texts(r, &alphabet)) != WEFT_OK)
        return rc;
    read_byte_ids(r, &alphabet);
    if ((rc = read_merges(r)) != WEFT_OK)
        return rc;
    return index_whole_tokens(r, whole_tokens);
}

enum weft_rc tok_vocab_init(struct tok_vocab *v, const struct gguf *g, bool whole_tokens, bool add_bos,
                            struct weft_err *err)
{
    struct reading r = {.g = g, .v = v, .err = err};
    *v = (struct tok_vocab){0};
    enum weft_rc rc = read_vocab(&r, whole_tokens, add_bos);
    tok_strmap_deinit(&r.by_text);
    mem_free(r.spelled);
    if (rc != WEFT_OK)
        tok_vocab_deinit(v);
    return rc;
}

void tok_vocab_deinit(struct tok_vocab *v)
{
    tok_pairmap_deinit(&v->bpe.merges);
    tok_strmap_deinit(&v->whole);
    mem_free(v->bytes);
    mem_free(v->type);
    mem_free(v->arena);
    mem_free(v->eog);
    *v = (struct tok_vocab){0};
}
