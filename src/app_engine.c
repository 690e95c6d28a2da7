#include "src/app_record.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/model/chat_template.h"
#include "engine/model/tokenizer.h"

/* The prompt for a reply, as the engine makes it: rendered with the model's template, in tokens. False when it can't be
 * made, and the engine will say why. */
static bool encode_chat(const struct model *m, const struct chat_message *messages, size_t n,
                        struct tok_ids *ids)
{
    struct chat_rendered text = {0};
    size_t n_bos = 0, n_eos = 0;
    bool made = false;
    const char *bos = tok_bos(m->tok) >= 0 ? tok_bytes(m->tok, (uint32_t)tok_bos(m->tok), &n_bos) : "";
    const char *eos = tok_eos(m->tok) >= 0 ? tok_bytes(m->tok, (uint32_t)tok_eos(m->tok), &n_eos) : "";
    char *bos_token = mem_memdup(bos, n_bos), *eos_token = mem_memdup(eos, n_eos);
    if (bos_token && eos_token && m->chat) {
        struct chat_vars vars = {bos_token, eos_token, true, clock_unix_ms() / 1000};
        made = chat_template_render(m->chat, messages, n, &vars, &text, NULL) == WEFT_OK &&
               tok_encode(m->tok, text.text, text.len, TOK_MARKED, text.foreign, ids, NULL) == WEFT_OK;
    }
    chat_rendered_free(&text);
    mem_free(bos_token);
    mem_free(eos_token);
    return made;
}

/* The prompt of a reply that goes on: the one it began with, then as much as there is of it. In tokens, because in a
 * template every reply is over. */
static bool encode_going_on(const struct model *m, const struct session_prompt *p, struct tok_ids *ids)
{
    const struct chat_message *reply = &p->messages[p->n_messages - 1];
    return encode_chat(m, p->messages, p->n_messages - 1, ids) &&
           tok_encode(m->tok, reply->content, reply->content_len, TOK_PLAIN, NULL, ids, NULL) == WEFT_OK;
}

/* Measures a conversation; 0: it can't be told. */
static size_t count_tokens(void *ctx, const struct chat_message *messages, size_t n)
{
    struct tok_ids ids = {0};
    size_t count = encode_chat(ctx, messages, n, &ids) ? ids.n : 0;
    tok_ids_free(&ids);
    return count;
}

/* Without a model (--sim) a token stands for four bytes, as in the engine. */
static size_t count_simulated(void *ctx, const struct chat_message *messages, size_t n)
{
    (void)ctx;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += messages[i].content_len / 4 + 2;
    return count;
}

/* KV blocks of the model that a session's requests go to, each model having a pool of its own; 0: not known yet. */
static size_t pool_blocks(const struct app *a, const struct session *s)
{
    for (uint32_t i = 0; i < a->snap->n_models; i++)
        if (!*s->model || strcmp(s->model, a->snap->models[i].name) == 0)
            return a->snap->models[i].kv_total;
    return 0;
}

/* The most tokens that prompt and reply may have together: the context of its model, or that one's KV pool where that is
 * smaller. 0: not known yet. */
static size_t context_limit(const struct app *a, const struct session *s, const struct model *m)
{
    size_t limit = m ? m->shape.n_ctx : a->options->sim ? (size_t)a->cfg->sim.context : 0;
    size_t pool = pool_blocks(a, s) * a->snap->block_tokens;
    if (m && a->cfg->model.context > 0 && (size_t)a->cfg->model.context < limit)
        limit = (size_t)a->cfg->model.context;
    return limit && pool && pool < limit ? pool : limit;
}

/* The request that a branch's may share KV blocks with: that of the session that it was branched off, while it is out.
 * NULL: none. What has ended is left to the prefix cache. */
static const char *shared_with(const struct app *a, const struct session *s)
{
    for (size_t i = 0; s->branch_of && i < a->n_sessions; i++)
        if (a->sessions[i]->number == s->branch_of)
            return session_busy(a->sessions[i]) ? a->sessions[i]->request : NULL;
    return NULL;
}

/* Asks the engine for a reply to the session's last turn; or, when that is a reply, to go on with it. */
static void ask(struct app *a, struct session *s)
{
    struct weft_err err;
    struct session_prompt prompt;
    struct tok_ids ids = {0};
    char id[REQ_ID_MAX];
    const struct model *m = engine_model_named(a->engine, s->model);
    bool on = session_can_go_on(s);
    bool sim = a->options->sim;
    if (!session_prompt(s,
                        sim ? count_simulated
                        : m ? count_tokens
                            : NULL,
                        (void *)(size_t)m, context_limit(a, s, m), &prompt)) {
        weft_err_nomem(&err, "session_prompt", s->n_turns * sizeof(struct chat_message));
        session_fail(s, &err);
        return;
    }
    struct engine_request request = {
        .model = s->model,
        .messages = prompt.messages,
        .n_messages = prompt.n_messages,
        .stream = true,
        .has_priority = true,
        .priority = s->prio,
        .max_tokens = prompt.max_tokens,
        .sampling = s->sampling,
        .fork_of = shared_with(a, s),
        .tag = s->number,
    };
    if (request.sampling.seed < 0)
        request.sampling.seed = engine_new_seed(); /* here, so that a recording has it */
    if (prompt.left_out)
        session_note(s, "the chat has outgrown the context: %zu of its oldest turns %s left out from here on",
                     prompt.left_out, prompt.left_out == 1 ? "is" : "are");
    if (on && m) {
        request.messages = NULL;
        request.n_messages = 0;
        if (!encode_going_on(m, &prompt, &ids)) {
            weft_err_set(&err, WEFT_INVALID_REQUEST, "%s: the chat doesn't fit the model's template",
                         m->name);
            session_fail(s, &err);
            goto out;
        }
        request.ids = ids.id;
        request.n_ids = ids.n;
    }
    if (engine_submit(a->engine, a->inbox, &request, id, &err) != WEFT_OK) {
        session_fail(s, &err);
        goto out;
    }
    app_record_submit(a, &request,
                      id); /* before the session moves on: the prompt's texts are those of its turns */
    if (!(on ? session_ask_on(s, id) : session_ask(s, id))) {
        engine_cancel(a->engine, id);
        app_record_cancel(a, id);
        weft_err_nomem(&err, "session_ask", 0);
        session_fail(s, &err);
    }
out:
    tok_ids_free(&ids);
    mem_free(prompt.messages);
}

/* Sends what was queued, one after the other; messages that are refused at once don't hold up those behind.
 */
static void ask_next(struct app *a, struct session *s)
{
    while (!session_busy(s) && !s->paused && session_next(s))
        ask(a, s);
}

bool app_ask(struct app *a, struct session *s)
{
    bool on = session_can_go_on(s);
    if (session_busy(s) || !s->n_turns)
        return false;
    if (on && !a->options->sim && !engine_model_named(a->engine, s->model)) {
        if (a->state == ENGINE_READY)
            app_toast(a, TOAST_ERROR, "%s isn't loaded: /model chooses one that is",
                      *s->model ? s->model : "the model");
        else
            app_toast(a, TOAST_ERROR, "the model isn't ready yet: it can't go on with a reply");
        return false;
    }
    ask(a, s);
    return session_busy(s);
}

void app_resume(struct app *a, struct session *s)
{
    s->paused = false;
    if (session_busy(s)) /* it is being cut off: what follows then, goes on */
        return;
    if (s->cut) {
        s->cut = false;
        app_ask(a, s);
    }
    ask_next(a, s);
}

void app_say(struct app *a, const char *text, size_t n)
{
    struct session *s = app_session(a);
    if (s->edits && !session_busy(s))
        session_rewind(s, s->edits - 1);
    s->edits = 0;
    if (!session_say(s, text, n))
        app_toast(a, TOAST_ERROR, "out of memory for a message of %zu bytes", n);
    else if (!session_busy(s) && !s->n_queue)
        ask(a, s);
    transcript_end_of_chat(s->transcript);
}

bool app_stop(struct app *a, struct session *s)
{
    if (!session_busy(s) || s->stopping)
        return false;
    s->stopping = true;
    engine_cancel(a->engine, s->request);
    app_record_cancel(a, s->request);
    return true;
}

void app_set_priority(struct app *a, struct session *s, enum prio prio)
{
    s->prio = prio;
    if (session_busy(s)) {
        engine_set_priority(a->engine, s->request, prio);
        app_record_priority(a, s->request, prio);
    }
    app_toast(a, TOAST_INFO, "session %u: priority %s%s", s->number, prio_name(prio),
              session_busy(s) ? ", also of its request" : "");
}

/* --- events --- */

static const char WELCOME[] =
    "Welcome to weft. Type a message and press Enter. F2 opens another session: all of them run "
    "at once, in one batch. F1 shows the keys, / the commands.";

void app_welcome(struct app *a)
{
    session_note(app_session(a), "%s", WELCOME);
}

/* The session that begins with the welcome; NULL: none does, or does any more. */
static struct session *welcomed(const struct app *a)
{
    for (size_t i = 0; i < a->n_sessions; i++) {
        size_t n;
        const char *first = transcript_text(a->sessions[i]->transcript, 0, &n);
        if (first && n == sizeof WELCOME - 1 && memcmp(first, WELCOME, n) == 0)
            return a->sessions[i];
    }
    return NULL;
}

/* READY: the welcome says what answers here; within itself, so that it stays above what was sent meanwhile. */
static void introduce(struct app *a)
{
    const struct snapshot *s = a->snap;
    struct session *first = welcomed(a);
    struct buf text = BUF_INIT;
    engine_snapshot(a->engine, a->snap);
    if (!first)
        return;
    buf_addf(&text,
             "%s\n%s answers, in %s on %s (%s). The KV pool holds %u tokens for all sessions together.",
             WELCOME, s->model, s->precision, s->device, s->exec_name, s->kv_total * s->block_tokens);
    transcript_set_text(first->transcript, 0, buf_str(&text), text.len);
    buf_free(&text);
}

static void on_state(struct app *a, const struct engine_event *ev)
{
    a->state = ev->state;
    log_msg(LOG_INFO, "engine: %s", engine_state_name(ev->state));
    if (ev->state == ENGINE_READY)
        introduce(a);
    if (ev->state == ENGINE_FAILED) {
        a->failure = ev->error;
        session_error(app_session(a), &ev->error);
        app_toast_error(a, &ev->error);
    }
}

/* The session whose request an event is about; NULL when it was deleted or cleared, or the request is over.
 */
static struct session *session_of(const struct app *a, const struct engine_event *ev)
{
    for (size_t i = 0; i < a->n_sessions; i++)
        if (a->sessions[i]->number == ev->tag)
            return strcmp(a->sessions[i]->request, ev->id) == 0 ? a->sessions[i] : NULL;
    return NULL;
}

static void on_request(struct app *a, const struct engine_event *ev)
{
    struct session *s = session_of(a, ev);
    if (!s) {
        log_msg(LOG_DEBUG, "event %d of request %s, which no session waits for", (int)ev->type, ev->id);
        return;
    }
    transcript_now(s->transcript, ev->now_us);
    switch (ev->type) {
    case ENGINE_REJECT:
        session_fail(s, &ev->error);
        ask_next(a, s);
        break;
    case ENGINE_TOKENS: session_reply(s, ev->text, ev->text_len); break;
    case ENGINE_FINISH:
        session_end(s, ev);
        if (!s->paused)
            app_resume(a, s);
        break;
    default: return;
    }
    if (s != app_session(a)) {
        s->unread = true;
        s->n_unread += ev->type == ENGINE_FINISH;
    }
}

void app_engine_events(struct app *a)
{
    struct engine_event *ev = engine_inbox_take(a->inbox);
    while (ev) {
        struct engine_event *next = ev->next;
        if (ev->type == ENGINE_STATE)
            on_state(a, ev);
        else
            on_request(a, ev);
        engine_event_free(ev);
        ev = next;
        a->dirty = true;
    }
}
