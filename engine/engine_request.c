/*
 * Tickets: what was asked for, checked and copied on the submitter's thread; made ready for the scheduler and
 * answered on the engine's.
 *
 * Special tokens in a plain prompt are recognised, as it is the whole context and its writer's own business;
 * in a chat only where the template wrote them, or a message could forge turns.
 */
#include <math.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/engine_internal.h"

static const char *const ROLES[] = {"system", "user", "assistant", "tool"};
static const char ROLES_TEXT[] = "system, user, assistant or tool";

/* ---- refusals ---- */

static enum weft_rc invalid_num(struct weft_err *err, const char *field, double value, const char *rule,
                                double limit)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s is %.15g, but must be %s %.15g", field, value, rule, limit);
    weft_err_str(err, "field", field);
    weft_err_num(err, "value", value);
    weft_err_num(err, "limit", limit);
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc invalid_text(struct weft_err *err, const char *field, const char *value,
                                 const char *limit)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s is \"%.100s\", but must be %s", field, value, limit);
    weft_err_str(err, "field", field);
    weft_err_str(err, "value", value);
    weft_err_str(err, "limit", limit);
    return WEFT_INVALID_REQUEST;
}

/* ---- what can be checked without the model ---- */

static enum weft_rc check_messages(const struct engine_request *rq, struct weft_err *err)
{
    for (size_t i = 0; i < rq->n_messages; i++) {
        const char *role = rq->messages[i].role;
        bool known = false;
        for (size_t k = 0; role && k < sizeof ROLES / sizeof *ROLES; k++)
            known |= strcmp(role, ROLES[k]) == 0;
        if (!known)
            return invalid_text(err, "role", role ? role : "", ROLES_TEXT);
    }
    return WEFT_OK;
}

static enum weft_rc check_prompt(const struct engine_request *rq, struct weft_err *err)
{
    int ways = !!rq->prompt + !!rq->messages + !!rq->ids;
    if (ways != 1)
        return invalid_num(err, "prompt, messages or ids", ways, "given, exactly", 1);
    if (rq->prompt && !rq->prompt_len)
        return invalid_num(err, "prompt", 0, "bytes, at least", 1);
    if (rq->messages && !rq->n_messages)
        return invalid_num(err, "messages", 0, "at least", 1);
    if (rq->ids && !rq->n_ids)
        return invalid_num(err, "ids", 0, "at least", 1);
    return check_messages(rq, err);
}

enum weft_rc engine_check(const struct engine_request *rq, struct weft_err *err)
{
    enum weft_rc rc;
    if (rq->id && strlen(rq->id) >= REQ_ID_MAX)
        return invalid_num(err, "id", (double)strlen(rq->id), "bytes, at most", REQ_ID_MAX - 1);
    if (rq->id && !utf8_valid(rq->id, strlen(rq->id)))
        return invalid_text(err, "id", rq->id, "UTF-8");
    if ((rc = check_prompt(rq, err)))
        return rc;
    if (rq->has_priority && (rq->priority < PRIO_CRITICAL || rq->priority > PRIO_LOW))
        return invalid_num(err, "priority", rq->priority, "from -1 to", PRIO_LOW);
    if (rq->score && rq->max_tokens)
        return invalid_num(err, "max_tokens", rq->max_tokens, "with score,", 0);
    if (!rq->score && !rq->max_tokens)
        return invalid_num(err, "max_tokens", 0, "at least", 1);
    if (rq->n_logprobs > SAMPLER_LOGPROBS_MAX)
        return invalid_num(err, "logprobs", rq->n_logprobs, "at most", SAMPLER_LOGPROBS_MAX);
    if (rq->timeout_ms < 0 || rq->timeout_ms > INT64_MAX / 1000)
        return invalid_num(err, "timeout_ms", (double)rq->timeout_ms, "at least", 0);
    if ((rc = sampling_check(&rq->sampling, err)))
        return rc;
    return stop_check(rq->stop, rq->n_stop, err);
}

/* ---- making one ---- */

/* 32 bits from the system: enough to be new each time, and short enough to be typed in again. */
int64_t engine_new_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint32_t)mix64((uint64_t)clock_now_us());
    return seed;
}

static bool copy_messages(struct ticket *t, const struct engine_request *rq)
{
    t->messages = mem_calloc(rq->n_messages, sizeof *t->messages);
    if (!t->messages)
        return false;
    for (; t->n_messages < rq->n_messages; t->n_messages++) {
        const struct chat_message *src = &rq->messages[t->n_messages];
        struct chat_message *dst = &t->messages[t->n_messages];
        dst->role = mem_strdup(src->role);
        dst->content = mem_memdup(src->content, src->content_len);
        dst->content_len = src->content_len;
        if (!dst->role || !dst->content) {
            t->n_messages++; /* so that the one that worked is freed */
            return false;
        }
    }
    return true;
}

static bool copy_prompt(struct ticket *t, const struct engine_request *rq)
{
    if (rq->messages) {
        t->kind = PROMPT_CHAT;
        return copy_messages(t, rq);
    }
    if (rq->ids) {
        t->kind = PROMPT_IDS;
        t->n_raw_ids = rq->n_ids;
        return (t->raw_ids = (void *)mem_memdup(rq->ids, rq->n_ids * sizeof *rq->ids)) != NULL;
    }
    t->kind = PROMPT_TEXT;
    t->prompt_len = rq->prompt_len;
    return (t->prompt = mem_memdup(rq->prompt, rq->prompt_len)) != NULL;
}

enum weft_rc ticket_create(const struct engine_request *rq, struct engine_inbox *in, struct ticket **out,
                           struct weft_err *err)
{
    *out = NULL;
    enum weft_rc rc = engine_check(rq, err);
    if (rc)
        return rc;
    struct ticket *t = mem_calloc(1, sizeof *t);
    if (!t)
        return weft_err_nomem(err, "engine_submit", sizeof *t);
    t->submitted_real_us = clock_now_us();
    if (rq->id)
        memcpy(t->rq.id, rq->id, strlen(rq->id) + 1);
    t->rq.base = rq->has_priority ? rq->priority : rq->stream ? PRIO_NORMAL : PRIO_HIGH;
    t->rq.preemptible = !rq->not_preemptible;
    t->rq.timeout_us = rq->timeout_ms * 1000;
    t->rq.max_tokens = rq->max_tokens;
    t->rq.all_logits = rq->score;
    t->rq.salt = rq->salt && *rq->salt ? fnv1a64(FNV1A64_INIT, rq->salt, strlen(rq->salt)) : 0;
    t->rq.user = t;
    t->stream = rq->stream;
    t->score = rq->score;
    t->ignore_eos = rq->ignore_eos;
    t->sampling = rq->sampling;
    if (t->sampling.seed == -1)
        t->sampling.seed = engine_new_seed();
    t->n_logprobs = rq->n_logprobs;
    t->tag = rq->tag;
    t->last_token_us = -1;
    t->slot = -1;
    t->last = inbox_event_create(ENGINE_FINISH);
    if (!t->last || !reply_init(&t->reply) || !copy_prompt(t, rq) ||
        (rq->model && !(t->model = mem_strdup(rq->model))) ||
        (rq->fork_of && !(t->fork_of = mem_strdup(rq->fork_of)))) {
        rc = weft_err_nomem(err, "engine_submit", rq->prompt_len + rq->n_ids * sizeof *rq->ids);
        goto out;
    }
    t->rq.fork_of = t->fork_of;
    rc = stop_init(&t->reply.stop, rq->stop, rq->n_stop, err);
out:
    if (rc) {
        ticket_destroy(t);
        return rc;
    }
    if (in)
        inbox_ref(in);
    t->inbox = in;
    *out = t;
    return WEFT_OK;
}

static void free_prompt(struct ticket *t)
{
    for (size_t i = 0; i < t->n_messages; i++) {
        mem_free((char *)t->messages[i].role);
        mem_free((char *)t->messages[i].content);
    }
    mem_free(t->messages);
    mem_free(t->prompt);
    mem_free(t->raw_ids);
    t->messages = NULL;
    t->n_messages = 0;
    t->prompt = NULL;
    t->raw_ids = NULL;
}

void ticket_destroy(struct ticket *t)
{
    if (!t)
        return;
    free_prompt(t);
    mem_free(t->model);
    mem_free(t->fork_of);
    mem_free(t->rq.ids);
    mem_free(t->nll);
    reply_deinit(&t->reply);
    sampler_destroy(t->sampler);
    engine_event_free(t->last);
    inbox_unref(t->inbox);
    mem_free(t);
}

/* ---- prompt → ids ---- */

/* Simulation: an id for each four bytes, from their hash. So equal beginnings give equal ids, as a tokenizer would. */
static enum weft_rc pseudo_ids(const char *text, size_t n, uint32_t n_vocab, struct tok_ids *ids,
                               struct weft_err *err)
{
    size_t need = ids->n + (n + 3) / 4;
    if (mem_grow(&ids->id, &ids->cap, need, sizeof *ids->id))
        return weft_err_nomem(err, "pseudo_ids", need * sizeof *ids->id);
    for (size_t i = 0; i < n; i += 4)
        ids->id[ids->n++] = (uint32_t)(fnv1a64(FNV1A64_INIT, text + i, n - i < 4 ? n - i : 4) % n_vocab);
    return WEFT_OK;
}

static enum weft_rc pseudo_prompt(const struct ticket *t, uint32_t n_vocab, struct tok_ids *ids,
                                  struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    if (t->kind == PROMPT_TEXT)
        return pseudo_ids(t->prompt, t->prompt_len, n_vocab, ids, err);
    for (size_t i = 0; i < t->n_messages && !rc; i++) {
        const struct chat_message *m = &t->messages[i];
        if (!(rc = pseudo_ids(m->role, strlen(m->role), n_vocab, ids, err)))
            rc = pseudo_ids(m->content, m->content_len, n_vocab, ids, err);
    }
    return rc;
}

/* The text of a special token, as a template's variable; "" when the model has none. */
static enum weft_rc special_text(const struct tok *tok, int64_t id, struct buf *out, struct weft_err *err)
{
    if (id >= 0) {
        size_t n;
        const char *bytes = tok_bytes(tok, (uint32_t)id, &n);
        buf_add(out, bytes, n);
    }
    return out->failed ? weft_err_nomem(err, "special_text", 64) : WEFT_OK;
}

static enum weft_rc no_template(const struct model *m, struct weft_err *err)
{
    const char *why = m->chat_error.code ? m->chat_error.message : "it has none";
    weft_err_set(err, WEFT_INVALID_REQUEST, "messages need a chat template that can be used; %s: %s", m->name,
                 why);
    weft_err_str(err, "field", "messages");
    weft_err_str(err, "value", why);
    weft_err_str(err, "limit", "a model with a chat template");
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc chat_prompt(const struct ticket *t, const struct model *m, struct tok_ids *ids,
                                struct weft_err *err)
{
    enum weft_rc rc;
    struct chat_rendered r = {0};
    struct buf bos = BUF_INIT, eos = BUF_INIT;
    if (!m->chat)
        return no_template(m, err);
    if ((rc = special_text(m->tok, tok_bos(m->tok), &bos, err)) ||
        (rc = special_text(m->tok, tok_eos(m->tok), &eos, err)))
        goto out;
    struct chat_vars vars = {.bos_token = buf_str(&bos),
                             .eos_token = buf_str(&eos),
                             .add_generation_prompt = true,
                             .now_unix_s = clock_unix_ms() / 1000};
    if ((rc = chat_template_render(m->chat, t->messages, t->n_messages, &vars, &r, err)))
        goto out;
    rc = tok_encode(m->tok, r.text, r.len, TOK_MARKED, r.foreign, ids, err);
out:
    chat_rendered_free(&r);
    buf_free(&bos);
    buf_free(&eos);
    return rc;
}

static enum weft_rc text_prompt(const struct ticket *t, const struct model *m, struct tok_ids *ids,
                                struct weft_err *err)
{
    if (tok_add_bos(m->tok) && tok_bos(m->tok) >= 0) {
        if (mem_grow(&ids->id, &ids->cap, 1, sizeof *ids->id))
            return weft_err_nomem(err, "text_prompt", sizeof *ids->id);
        ids->id[ids->n++] = (uint32_t)tok_bos(m->tok);
    }
    return tok_encode(m->tok, t->prompt, t->prompt_len, TOK_SPECIAL, NULL, ids, err);
}

static enum weft_rc raw_prompt(const struct ticket *t, uint32_t n_vocab, struct tok_ids *ids,
                               struct weft_err *err)
{
    for (size_t i = 0; i < t->n_raw_ids; i++)
        if (t->raw_ids[i] >= n_vocab)
            return invalid_num(err, "ids", t->raw_ids[i], "below", n_vocab);
    if (mem_grow(&ids->id, &ids->cap, t->n_raw_ids, sizeof *ids->id))
        return weft_err_nomem(err, "raw_prompt", t->n_raw_ids * sizeof *ids->id);
    memcpy(ids->id, t->raw_ids, t->n_raw_ids * sizeof *ids->id);
    ids->n = t->n_raw_ids;
    return WEFT_OK;
}

/* Bytes of text that could still fit: no token is longer than this. Tokenizing more than that would only keep
 * the others waiting. */
static enum weft_rc check_text_size(const struct ticket *t, uint32_t n_ctx, struct weft_err *err)
{
    enum { LONGEST_TOKEN = 1024 };
    size_t n = t->kind == PROMPT_TEXT ? t->prompt_len : 0;
    for (size_t i = 0; i < t->n_messages; i++)
        n += t->messages[i].content_len;
    size_t limit = (size_t)n_ctx * LONGEST_TOKEN;
    return n > limit ? invalid_num(err, "prompt", (double)n, "bytes, at most", (double)limit) : WEFT_OK;
}

enum weft_rc ticket_prepare(struct ticket *t, const struct model *m, const struct exec_info *x,
                            struct weft_err *err)
{
    struct tok_ids ids = {0};
    enum weft_rc rc = check_text_size(t, x->n_ctx, err);
    if (!rc && t->score && !m)
        rc = invalid_text(err, "score", "true", "false under simulation, which has no probabilities");
    if (rc)
        goto out;
    if (t->kind == PROMPT_IDS)
        rc = raw_prompt(t, x->n_vocab, &ids, err);
    else if (!m)
        rc = pseudo_prompt(t, x->n_vocab, &ids, err);
    else if (t->kind == PROMPT_CHAT)
        rc = chat_prompt(t, m, &ids, err);
    else
        rc = text_prompt(t, m, &ids, err);
    if (rc)
        goto out;
    if (!ids.n)
        rc = invalid_num(err, "prompt", 0, "tokens, at least", 1);
    else if (ids.n > x->n_ctx || t->rq.max_tokens > x->n_ctx - ids.n)
        rc = invalid_num(err, "prompt and max_tokens", (double)ids.n + t->rq.max_tokens, "together at most",
                         x->n_ctx);
    if (rc)
        goto out;

    t->rq.n_prompt = (uint32_t)ids.n;
    t->rq.ids = mem_calloc(ids.n + t->rq.max_tokens, sizeof *t->rq.ids);
    if (t->score)
        t->nll = mem_calloc(ids.n, sizeof *t->nll);
    if (!t->rq.ids || (t->score && !t->nll)) {
        rc = weft_err_nomem(err, "ticket_prepare", (ids.n + t->rq.max_tokens) * sizeof *t->rq.ids);
        goto out;
    }
    memcpy(t->rq.ids, ids.id, ids.n * sizeof *ids.id);
    reply_set_tokenizer(&t->reply, m ? m->tok : NULL);
    free_prompt(t); /* the ids are all that is needed from here on */
out:
    tok_ids_free(&ids);
    return rc;
}

/* ---- the end ---- */

static struct engine_event *take_last(struct ticket *t, enum engine_event_type type, int64_t now_us)
{
    struct engine_event *ev = t->last;
    t->last = NULL;
    ev->type = type;
    ev->now_us = now_us;
    ev->tag = t->tag;
    ev->priority = t->rq.base;
    memcpy(ev->id, t->rq.id, sizeof ev->id);
    return ev;
}

static void stamp(struct weft_err *err)
{
    if (err->code && !err->timestamp_ms)
        err->timestamp_ms = clock_unix_ms();
}

void ticket_send_reject(struct ticket *t, const struct weft_err *why, const char *model, int64_t now_us)
{
    struct engine_event *ev = take_last(t, ENGINE_REJECT, now_us);
    ev->error = *why;
    ev->seed = t->sampling.seed;
    snprintf(ev->model, sizeof ev->model, "%s", model);
    stamp(&ev->error);
    inbox_push(t->inbox, ev);
}

static double ms_or_nan(int64_t at_us)
{
    return at_us < 0 ? NAN : (double)at_us / 1e3;
}

/* Tokens a second; 0 where there were none, or no time passed. */
static double per_second(uint32_t tokens, double ms)
{
    return tokens && ms > 0 ? tokens * 1e3 / ms : 0;
}

static void fill_timing(const struct ticket *t, struct engine_timing *m)
{
    const struct request *r = &t->rq;
    uint32_t n = (uint32_t)t->reply.n_tokens;
    m->arrival_ms = (double)t->arrival_us / 1e3;
    m->scheduled_ms = ms_or_nan(t->accepted ? r->scheduled_us : -1);
    m->first_token_ms = ms_or_nan(t->accepted ? r->first_token_us : -1);
    m->finish_ms = (double)r->finish_us / 1e3;
    m->queue_ms = m->scheduled_ms - m->arrival_ms;
    m->ttft_ms = m->first_token_ms - m->arrival_ms;
    m->total_ms = m->finish_ms - m->arrival_ms;
    m->preempted_ms = (double)r->preempted_us / 1e3;
    m->prefill_tps = per_second(r->n_prompt, m->first_token_ms - m->scheduled_ms);
    m->decode_tps = per_second(n > 1 ? n - 1 : 0, m->finish_ms - m->first_token_ms);
}

void ticket_send_finish(struct ticket *t, const char *model, int64_t now_us)
{
    struct request *r = &t->rq;
    reply_end(&t->reply);
    ticket_send_tokens(t, now_us);
    struct engine_event *ev = take_last(t, ENGINE_FINISH, now_us);
    if (!t->accepted)
        r->finish_us = now_us; /* it never got as far as the scheduler */
    fill_timing(t, &ev->timing);
    ev->reason = t->accepted ? r->finish : FINISH_CANCELLED;
    ev->error = r->error;
    stamp(&ev->error);
    ev->seed = t->sampling.seed;
    ev->cached_tokens = r->cached_tokens;
    ev->recomputed_tokens = r->recomputed_tokens;
    ev->preemptions = r->preemptions;
    snprintf(ev->model, sizeof ev->model, "%s", model);

    /* The output moves over: nothing is copied, so nothing can fail. */
    ev->n_tokens = (uint32_t)t->reply.n_tokens;
    ev->tokens = t->reply.tokens;
    t->reply.tokens = NULL;
    t->reply.n_tokens = 0;
    ev->text_len = t->reply.text.len;
    ev->text = t->reply.text.data;
    t->reply.text = (struct buf)BUF_INIT;
    ev->n_prompt = r->n_prompt;
    ev->prompt_ids = r->ids; /* followed by the output, which `tokens` has as well */
    r->ids = NULL;
    ev->nll = t->nll;
    t->nll = NULL;
    inbox_push(t->inbox, ev);
}
