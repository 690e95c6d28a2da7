/*
 * Replies: the text of what was generated, token by token.
 *
 * A token's text is shown when it can't be taken back any more: its characters are whole, and all of them lie before what
 * may begin a stop string. Else the token waits for the next ones, so that tokens and text always go out together.
 */
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

bool reply_init(struct reply *r)
{
    *r = (struct reply){0};
    return buf_add(&r->text, "", 0); /* so that even an empty reply has a text to hand over */
}

void reply_set_tokenizer(struct reply *r, const struct tok *tok)
{
    r->tok = tok;
    if (tok)
        tok_stream_init(&r->stream, tok);
}

void reply_deinit(struct reply *r)
{
    for (size_t i = 0; i < r->n_tokens; i++)
        mem_free(r->tokens[i].top);
    mem_free(r->tokens);
    buf_free(&r->text);
    stop_deinit(&r->stop);
    *r = (struct reply){0};
}

size_t reply_pseudo_word(uint32_t id, char out[16])
{
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    uint64_t h = mix64(id + 1ull);
    size_t n = 0, syllables = 2 + (h >> 60 & 1);
    out[n++] = ' ';
    for (size_t i = 0; i < syllables; i++) {
        out[n++] = consonants[h % (sizeof consonants - 1)];
        h /= sizeof consonants - 1;
        out[n++] = vowels[h % (sizeof vowels - 1)];
        h /= sizeof vowels - 1;
    }
    out[n] = 0;
    return n;
}

/* The text is fed to the stop strings from `from` on; cut when one is complete. */
static void look_for_stop(struct reply *r, size_t from)
{
    size_t end, len;
    if (r->text.len > from && stop_feed(&r->stop, r->text.data + from, r->text.len - from, &end, &len)) {
        r->stopped = true;
        r->text.len = from + end - len;
        r->text.data[r->text.len] = 0;
        r->n_held = 0;
        for (size_t i = r->n_tokens; i-- > 0 && r->tokens[i].text_end > r->text.len;)
            r->tokens[i].text_end = (uint32_t)r->text.len;
    } else {
        r->n_held = stop_held(&r->stop);
    }
}

enum weft_rc reply_push(struct reply *r, const struct sampler_out *token, struct weft_err *err)
{
    size_t from = r->text.len;
    if (mem_grow(&r->tokens, &r->cap_tokens, r->n_tokens + 1, sizeof *r->tokens))
        return weft_err_nomem(err, "reply_push", (r->n_tokens + 1) * sizeof *r->tokens);
    struct sampler_logprob *top = NULL;
    if (token->n_top && !(top = (void *)mem_memdup(token->top, token->n_top * sizeof *top)))
        return weft_err_nomem(err, "reply_push", token->n_top * sizeof *top);
    if (r->tok) {
        tok_stream_push(&r->stream, token->id, &r->text);
    } else {
        char word[16];
        buf_add(&r->text, word, reply_pseudo_word(token->id, word));
    }
    if (r->text.failed || r->text.len > UINT32_MAX) {
        mem_free(top);
        return weft_err_nomem(err, "reply_push", r->text.len + 16);
    }
    r->tokens[r->n_tokens++] = (struct engine_token){
        .id = token->id,
        .text_end = (uint32_t)r->text.len,
        .logprob = token->logprob,
        .n_top = token->n_top,
        .top = top,
    };
    look_for_stop(r, from);
    return WEFT_OK;
}

void reply_end(struct reply *r)
{
    r->n_held = 0;
    r->ended = true;
    if (r->stopped || !r->tok || !r->n_tokens)
        return;
    size_t from = r->text.len;
    tok_stream_end(&r->stream, &r->text);
    r->tokens[r->n_tokens - 1].text_end = (uint32_t)r->text.len;
    look_for_stop(r, from); /* U+FFFD may be asked for, too */
    r->n_held = 0;
}

size_t reply_n_ready(const struct reply *r)
{
    size_t n = r->n_tokens;
    if (n > r->n_sent && r->tok && r->stream.n_pending && !r->ended)
        n--; /* it began a character; if nothing completes that, its text becomes U+FFFD */
    while (n > r->n_sent && r->tokens[n - 1].text_end > r->text.len - r->n_held)
        n--;
    return n;
}
