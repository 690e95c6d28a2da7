#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/gguf_refuse.h"
#include "engine/model/tok_pre.h"
#include "engine/model/tok_special.h"
#include "engine/model/tok_vocab.h"
#include "engine/model/tokenizer.h"

#define KEY_MODEL "tokenizer.ggml.model"
#define KEY_PRE   "tokenizer.ggml.pre"

/* Positions are 32 bits wide, and a byte that isn't UTF-8 becomes three. */
#define TEXT_MAX_BYTES ((size_t)1 << 30)

struct tok {
    struct tok_vocab vocab;
    struct tok_special special;
    struct tok_pre *pre;
};

void tok_ids_free(struct tok_ids *ids)
{
    mem_free(ids->id);
    *ids = (struct tok_ids){0};
}

/* --- from a file --- */

static enum weft_rc check_model(const struct gguf *g, struct weft_err *err)
{
    struct gguf_str model;
    enum weft_rc rc = gguf_string(g, KEY_MODEL, &model, err);
    if (rc != WEFT_OK)
        return rc;
    if (!model.s)
        return gguf_refuse(err, WEFT_FILE_INVALID, g->path, KEY_MODEL, "absent", "must be gpt2");
    if (model.n != 4 || memcmp(model.s, "gpt2", 4) != 0)
        return gguf_refuse(err, WEFT_FILE_INVALID, g->path, KEY_MODEL, gguf_quote(model).s, "must be gpt2");
    return WEFT_OK;
}

static enum weft_rc find_pre(const struct gguf *g, const struct tok_pre_traits **out, struct weft_err *err)
{
    struct gguf_str name;
    enum weft_rc rc = gguf_string(g, KEY_PRE, &name, err);
    if (rc != WEFT_OK)
        return rc;
    if (!name.s) {
        log_msg(LOG_WARN,
                "%s: no %s: text is split as for \"default\", which may not be how the model was trained",
                g->path, KEY_PRE);
        name = (struct gguf_str){.s = "default", .n = 7};
    }
    *out = tok_pre_find(name.s, name.n);
    if (*out)
        return WEFT_OK;

    struct buf known = BUF_INIT;
    buf_adds(&known, "must be one of");
    for (size_t i = 0; tok_pre_name(i); i++)
        buf_addf(&known, "%s %s", i ? "," : "", tok_pre_name(i));
    rc = gguf_refuse(err, WEFT_FILE_INVALID, g->path, KEY_PRE, gguf_quote(name).s, buf_str(&known));
    buf_free(&known);
    return rc;
}

/* User-defined tokens written like tags mark structure in a chat (<think>, <|tool|>): a message must not forge them. */
static enum tok_special_kind special_kind(const struct tok_vocab *v, uint32_t id)
{
    const struct gguf_str s = v->bytes[id];
    if (tok_vocab_is_control(v, id))
        return TOK_SPECIAL_CONTROL;
    return s.s[0] == '<' && s.s[s.n - 1] == '>' ? TOK_SPECIAL_MARKUP : TOK_SPECIAL_ORDINARY;
}

static bool is_special(const struct tok_vocab *v, uint32_t id)
{
    return v->bytes[id].n > 0 && (tok_vocab_is_control(v, id) || v->type[id] == TOK_TYPE_USER_DEFINED);
}

static bool collect_special(struct tok *t)
{
    const struct tok_vocab *v = &t->vocab;
    size_t n = 0;
    for (uint32_t id = 0; id < v->n; id++)
        n += is_special(v, id);
    struct tok_special_entry *entry = mem_calloc(n, sizeof *entry);
    if (!entry)
        return false;
    n = 0;
    for (uint32_t id = 0; id < v->n; id++)
        if (is_special(v, id))
            entry[n++] = (struct tok_special_entry){
                .id = id, .len_bytes = (uint32_t)v->bytes[id].n, .kind = special_kind(v, id)};
    return tok_special_init(&t->special, entry, n, v->bytes);
}

enum weft_rc tok_count(const struct gguf *g, uint32_t *n, struct weft_err *err)
{
    const struct tok_pre_traits *traits;
    enum weft_rc rc;
    *n = 0;
    if ((rc = check_model(g, err)) != WEFT_OK || (rc = find_pre(g, &traits, err)) != WEFT_OK)
        return rc;
    return tok_vocab_count(g, n, err);
}

enum weft_rc tok_create(const struct gguf *g, struct tok **out, struct weft_err *err)
{
    const struct tok_pre_traits *traits = NULL;
    struct tok *t = NULL;
    enum weft_rc rc;

    *out = NULL;
    if ((rc = check_model(g, err)) != WEFT_OK || (rc = find_pre(g, &traits, err)) != WEFT_OK)
        goto out;
    t = mem_calloc(1, sizeof *t);
    if (!t) {
        rc = weft_err_nomem(err, "tok_create", sizeof *t);
        goto out;
    }
    if ((rc = tok_vocab_init(&t->vocab, g, traits->whole_tokens, traits->add_bos, err)) != WEFT_OK ||
        (rc = tok_pre_create(traits, true, &t->pre, err)) != WEFT_OK)
        goto out;
    if (!collect_special(t)) {
        rc = weft_err_nomem(err, "tok_create", 0);
        goto out;
    }
    *out = t;
    t = NULL;
out:
    tok_destroy(t);
    return rc;
}

void tok_destroy(struct tok *t)
{
    if (!t)
        return;
    tok_vocab_deinit(&t->vocab);
    tok_special_deinit(&t->special);
    tok_pre_destroy(t->pre);
    mem_free(t);
}

/* --- encoding --- */

/* One call of tok_encode. */
struct encoding {
    const struct tok *t;
    struct tok_ids *ids;
    struct weft_err *err;
    struct tok_pre_scratch pre;
    struct tok_bpe_scratch bpe;
    struct tok_special_scratch special;
};

/* A text made valid: the caller's own memory where it was, else copies. */
struct clean_text {
    const char *text;
    const uint8_t *foreign;
    size_t n;
    char *own_text;
    uint8_t *own_foreign;
};

/* Replaces each byte that is part of no character by U+FFFD; the marks follow. */
static bool clean_init(struct clean_text *c, const char *text, size_t n, const uint8_t *foreign)
{
    *c = (struct clean_text){.text = text, .foreign = foreign, .n = n};
    if (utf8_valid(text, n))
        return true;
    c->text = c->own_text = mem_alloc(3 * n);
    if (foreign)
        c->foreign = c->own_foreign = mem_alloc(3 * n);
    if (!c->own_text || (foreign && !c->own_foreign))
        return false;
    c->n = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_decode(text + i, n - i, &cp);
        size_t out_len = len;
        if (len == 0 || (len == 1 && cp == 0xfffd)) {
            len = 1;
            out_len = utf8_encode(0xfffd, c->own_text + c->n);
        } else {
            memcpy(c->own_text + c->n, text + i, len);
        }
        if (foreign && out_len == len)
            memcpy(c->own_foreign + c->n, foreign + i, len);
        else if (foreign)
            memset(c->own_foreign + c->n, foreign[i], out_len);
        c->n += out_len;
    }
    return true;
}

static void clean_deinit(struct clean_text *c)
{
    mem_free(c->own_text);
    mem_free(c->own_foreign);
}

static enum weft_rc encode_piece(void *ctx, const char *piece, size_t n)
{
    struct encoding *e = ctx;
    const struct tok_vocab *v = &e->t->vocab;
    uint32_t id = tok_strmap_find(&v->whole, v->bytes, piece, n);
    bool ok = id != TOK_NONE ? tok_ids_push(e->ids, id) : tok_bpe_encode(&v->bpe, &e->bpe, piece, n, e->ids);
    return ok ? WEFT_OK : weft_err_nomem(e->err, "tok_encode", n);
}

static enum weft_rc encode_clean(struct encoding *e, const struct clean_text *c, enum tok_mode mode)
{
    const struct tok_special *sp = &e->t->special;
    size_t at = 0;

    if (!tok_special_find(sp, c->text, c->n, mode, c->foreign, &e->special))
        return weft_err_nomem(e->err, "tok_encode", c->n);
    while (e->special.found.n > 0) {
        uint64_t key = tok_heap_pop(&e->special.found);
        size_t pos = key >> 32;
        const struct tok_special_entry *entry = &sp->entry[(uint32_t)key];
        enum weft_rc rc = tok_pre_split(e->t->pre, c->text + at, pos - at, &e->pre, encode_piece, e, e->err);
        if (rc != WEFT_OK)
            return rc;
        if (!tok_ids_push(e->ids, entry->id))
            return weft_err_nomem(e->err, "tok_encode", sizeof entry->id);
        at = pos + entry->len_bytes;
    }
    return tok_pre_split(e->t->pre, c->text + at, c->n - at, &e->pre, encode_piece, e, e->err);
}

enum weft_rc tok_encode(const struct tok *t, const char *text, size_t n, enum tok_mode mode,
                        const uint8_t *foreign, struct tok_ids *ids, struct weft_err *err)
{
    struct encoding e = {.t = t, .ids = ids, .err = err, .pre = TOK_PRE_SCRATCH_INIT};
    struct clean_text clean = {0};
    size_t before = ids->n;
    enum weft_rc rc;

    if (n > TEXT_MAX_BYTES) {
        rc =
            weft_err_set(err, WEFT_INVALID_REQUEST, "text of %zu bytes; the limit is %zu", n, TEXT_MAX_BYTES);
        weft_err_str(err, "field", "text");
        weft_err_num(err, "value", (double)n);
        weft_err_num(err, "limit", (double)TEXT_MAX_BYTES);
        return rc;
    }
    if (clean_init(&clean, text, n, mode == TOK_MARKED ? foreign : NULL))
        rc = encode_clean(&e, &clean, mode);
    else
        rc = weft_err_nomem(err, "tok_encode", 3 * n);
    if (rc != WEFT_OK)
        ids->n = before;
    clean_deinit(&clean);
    tok_pre_scratch_free(&e.pre);
    tok_bpe_scratch_free(&e.bpe);
    tok_special_scratch_free(&e.special);
    return rc;
}

/* --- the vocabulary, and decoding --- */

uint32_t tok_n_vocab(const struct tok *t)
{
    return t->vocab.n;
}

const char *tok_bytes(const struct tok *t, uint32_t id, size_t *n)
{
    *n = t->vocab.bytes[id].n;
    return t->vocab.bytes[id].s;
}

bool tok_is_control(const struct tok *t, uint32_t id)
{
    return tok_vocab_is_control(&t->vocab, id);
}

bool tok_is_eog(const struct tok *t, uint32_t id)
{
    for (size_t i = 0; i < t->vocab.n_eog; i++)
        if (t->vocab.eog[i] == id)
            return true;
    return false;
}

const uint32_t *tok_eog_ids(const struct tok *t, size_t *n)
{
    *n = t->vocab.n_eog;
    return t->vocab.eog;
}

int64_t tok_bos(const struct tok *t)
{
    return t->vocab.bos;
}

int64_t tok_eos(const struct tok *t)
{
    return t->vocab.eos;
}

bool tok_add_bos(const struct tok *t)
{
    return t->vocab.add_bos;
}

enum weft_rc tok_decode(const struct tok *t, const uint32_t *ids, size_t n, struct buf *out,
                        struct weft_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= t->vocab.n) {
            weft_err_set(err, WEFT_INVALID_REQUEST, "ids[%zu] is %u; the highest id is %u", i, ids[i],
                         t->vocab.n - 1);
            weft_err_str(err, "field", "ids");
            weft_err_num(err, "value", ids[i]);
            weft_err_num(err, "limit", t->vocab.n - 1);
            return WEFT_INVALID_REQUEST;
        }
    for (size_t i = 0; i < n; i++)
        buf_add(out, t->vocab.bytes[ids[i]].s, t->vocab.bytes[ids[i]].n);
    return out->failed ? weft_err_nomem(err, "tok_decode", out->len) : WEFT_OK;
}
