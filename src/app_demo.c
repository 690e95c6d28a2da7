#include "src/app_demo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/app_actions.h"
#include "src/app_record.h"
#include "src/workload_request.h"
#include "ui/term/editor.h"

/* What became of a request of the workload. */
struct demo_request {
    char id[REQ_ID_MAX]; /* the engine's; "": not submitted */
    uint32_t tag;        /* its session's number, whether there is such a session or not */
    size_t n_turns;      /* of its session, with the reply; more: the user has talked on */
};

struct app_demo {
    const struct workload *w;
    struct workload *owned; /* w, or NULL when it is somebody else's */
    int64_t start_us;       /* of app_running_us; -1: the engine isn't ready */
    size_t next_action, next_caption;
    const char *caption;
    struct demo_request *requests; /* as the workload's */
    struct workload_ids_buf ids;
    uint32_t front; /* number of the session that was brought to the front; 0: none was */
};

static size_t index_of(const struct app *a, uint32_t number)
{
    size_t i = 0;
    while (i < a->n_sessions && a->sessions[i]->number != number)
        i++;
    return i;
}

static struct session *session_numbered(const struct app *a, uint32_t number)
{
    size_t i = index_of(a, number);
    return number && i < a->n_sessions ? a->sessions[i] : NULL;
}

void app_demo_close(struct app *a)
{
    struct app_demo *d = a->demo;
    if (!d)
        return;
    for (size_t i = 0; i < d->w->n_requests; i++) {
        const struct demo_request *r = &d->requests[i];
        struct session *s = session_numbered(a, r->tag);
        if (s && strcmp(s->request, r->id) == 0)
            app_stop(a, s);
        else if (!s && *r->id) /* one that is over is no error */
            engine_cancel(a->engine, r->id);
    }
    workload_destroy(d->owned);
    mem_free(d->requests);
    mem_free(d->ids.ids);
    mem_free(d);
    a->demo = NULL;
}

bool app_demo_start(struct app *a, struct workload *w, bool owned)
{
    struct app_demo *d = mem_calloc(1, sizeof *d);
    struct demo_request *requests = mem_calloc(w->n_requests, sizeof *requests);
    if (!d || !requests) {
        mem_free(d);
        mem_free(requests);
        if (owned)
            workload_destroy(w);
        app_toast(a, TOAST_ERROR, "out of memory for a demonstration of %zu requests", w->n_requests);
        return false;
    }
    app_demo_close(a);
    *d = (struct app_demo){.w = w,
                           .owned = owned ? w : NULL,
                           .start_us = -1,
                           .requests = requests,
                           .front = app_session(a)->number};
    a->demo = d;
    return true;
}

/* --- sessions of the demonstration --- */

/* Whether there is a place for one more session: one that is over may have to go. */
static bool make_room(struct app *a, struct app_demo *d)
{
    size_t n = 0, oldest = SIZE_MAX;
    for (size_t i = 0; i < d->w->n_requests; i++) {
        size_t at = index_of(a, d->requests[i].tag);
        if (at == a->n_sessions)
            continue;
        n++;
        const struct session *s = a->sessions[at];
        bool over = !session_busy(s) && !s->n_queue && !s->paused && s->n_turns <= d->requests[i].n_turns;
        if (over && at != a->active && at < oldest)
            oldest = at;
    }
    if (n < APP_DEMO_SESSIONS)
        return true;
    if (oldest == SIZE_MAX)
        return false;
    app_delete_session(a, oldest);
    return true;
}

/* A session for a request, behind the one in front; NULL: the request goes without. */
static struct session *open_session(struct app *a, struct app_demo *d, const struct workload_request *r)
{
    uint32_t front = app_session(a)->number;
    enum pane_id focus = a->focus;
    size_t cursor = a->sessions_cursor;
    if (!make_room(a, d) || !app_new_session(a))
        return NULL;
    struct session *s = app_session(a);
    app_store_delete(s);
    session_set_title(s, r->id);
    s->titled = true;
    s->prio = r->prio;
    s->max_tokens = r->max_tokens;
    s->sampling.temperature = r->entry->sampling.temperature;
    app_show_session(a, index_of(a, front));
    a->focus = focus;
    if (focus == PANE_SESSIONS && cursor < a->n_sessions)
        a->sessions_cursor = cursor;
    return s;
}

/* A reply that the workload brings along, as one that has been made. */
static void given_reply(struct session *s, const struct chat_message *m)
{
    const struct engine_event end = {
        .type = ENGINE_FINISH,
        .reason = FINISH_STOP,
        .timing = {.queue_ms = NAN, .ttft_ms = NAN, .total_ms = NAN, .prefill_tps = NAN, .decode_tps = NAN},
    };
    if (!session_ask(s, "given"))
        return;
    session_reply(s, m->content, m->content_len);
    session_end(s, &end);
}

/* A system prompt isn't part of the transcript; its beginning is. */
static void note_system(struct session *s, const struct chat_message *m)
{
    enum { SHOWN_BYTES = 240 };
    size_t n = m->content_len > SHOWN_BYTES ? utf8_whole(m->content, SHOWN_BYTES) : m->content_len;
    session_note(s, "system prompt: %.*s%s", (int)n, m->content, n < m->content_len ? " …" : "");
}

/* What the session shows as asked. */
static void show_prompt(struct session *s, const struct workload_request *r)
{
    const struct workload_entry *e = r->entry;
    char text[96];
    switch (e->kind) {
    case WORKLOAD_TEXT: session_say(s, e->text, e->text_len); break;
    case WORKLOAD_IDS:
        snprintf(text, sizeof text, "(a prompt of %u %s tokens)", r->n_prefix + r->n_ids,
                 e->ids ? "given" : "pseudo-random");
        session_say(s, text, strlen(text));
        break;
    case WORKLOAD_CHAT:
        for (size_t i = 0; i < e->n_messages; i++) {
            const struct chat_message *m = &e->messages[i];
            if (strcmp(m->role, "system") == 0) {
                session_set_system(s, m->content);
                note_system(s, m);
            } else if (strcmp(m->role, "assistant") == 0) {
                given_reply(s, m);
            } else {
                session_say(s, m->content, m->content_len);
            }
        }
        break;
    }
}

/* --- its requests --- */

/* What the engine is to do for request `index`, whose session has number `tag`. */
static enum weft_rc engine_request_of(struct app *a, struct app_demo *d, size_t index, uint32_t tag,
                                      struct engine_request *rq, struct weft_err *err)
{
    const struct workload_request *r = &d->w->requests[index];
    const struct model *m = engine_model_named(a->engine, r->entry->model);
    uint32_t n_vocab = m ? m->shape.n_vocab : (uint32_t)a->cfg->sim.vocab;
    enum weft_rc rc = workload_ask(d->w, r, a->cfg, n_vocab, &d->ids, rq, err);
    long forked = rq->fork_of ? workload_find(d->w, rq->fork_of) : -1;
    rq->fork_of = forked < 0 ? NULL : d->requests[forked].id; /* ids are the engine's here */
    rq->tag = tag;
    return rc;
}

static void submit(struct app *a, struct app_demo *d, size_t index)
{
    const struct workload_request *r = &d->w->requests[index];
    struct demo_request *known = &d->requests[index];
    struct session *s = open_session(a, d, r);
    struct weft_err err = {.code = WEFT_OK};
    struct engine_request rq;
    known->tag = s ? s->number : a->next_number++; /* a colour of its own in any case */
    if (s) {
        show_prompt(s, r);
        known->n_turns = s->n_turns + 1;
    }
    if (engine_request_of(a, d, index, known->tag, &rq, &err) == WEFT_OK &&
        engine_submit(a->engine, a->inbox, &rq, known->id, &err) == WEFT_OK)
        app_record_submit(a, &rq, known->id);
    if (err.code == WEFT_OK && (!s || session_ask(s, known->id)))
        return;
    if (err.code == WEFT_OK) {
        engine_cancel(a->engine, known->id);
        weft_err_nomem(&err, "demo", 0);
    }
    if (s)
        session_fail(s, &err);
    else
        log_msg(LOG_WARN, "demonstration: %s: %s", r->id, err.message);
}

static void act(struct app *a, struct app_demo *d, const struct workload_action *action)
{
    const struct demo_request *r = &d->requests[action->request];
    struct session *s = session_numbered(a, r->tag);
    switch (action->type) {
    case WORKLOAD_SUBMIT: submit(a, d, action->request); break;
    case WORKLOAD_CANCEL:
        if (s)
            s->stopping = true;
        engine_cancel(a->engine, r->id);
        app_record_cancel(a, r->id);
        break;
    case WORKLOAD_SET_PRIORITY:
        if (s)
            s->prio = action->to;
        engine_set_priority(a->engine, r->id, action->to);
        app_record_priority(a, r->id, action->to);
        break;
    }
}

/* --- captions --- */

/* Brings a request's chat to the front, unless the user has looked elsewhere, or types. */
static void show(struct app *a, struct app_demo *d, const char *id)
{
    struct editor_view e;
    long index = workload_find(d->w, id);
    size_t at = index < 0 ? a->n_sessions : index_of(a, d->requests[index].tag);
    editor_get(&e);
    if (at == a->n_sessions || app_session(a)->number != d->front || e.len || a->overlay.kind != OVERLAY_NONE)
        return;
    app_show_session(a, at);
    d->front = app_session(a)->number;
}

/* The caption that counts now. Its chat may come later than it does. */
static void show_caption(struct app *a, struct app_demo *d)
{
    const struct workload_caption *c = d->next_caption ? &d->w->captions[d->next_caption - 1] : NULL;
    if (!c)
        return;
    d->caption = *c->text ? c->text : NULL;
    if (c->show)
        show(a, d, c->show);
}

int64_t app_demo_tick(struct app *a, int64_t now_us)
{
    struct app_demo *d = a->demo;
    if (!d || a->state != ENGINE_READY)
        return -1;
    if (d->start_us < 0)
        d->start_us = app_running_us(a, now_us);
    if (a->frozen)
        return -1;
    int64_t at = app_running_us(a, now_us) - d->start_us, next = INT64_MAX;
    bool changed = false;
    for (; d->next_action < d->w->n_actions && d->w->actions[d->next_action].at_us <= at; changed = true)
        act(a, d, &d->w->actions[d->next_action++]);
    for (; d->next_caption < d->w->n_captions && d->w->captions[d->next_caption].at_us <= at; changed = true)
        d->next_caption++;
    if (changed)
        show_caption(a, d);
    a->dirty = a->dirty || changed;
    if (d->next_action < d->w->n_actions)
        next = d->w->actions[d->next_action].at_us;
    if (d->next_caption < d->w->n_captions && d->w->captions[d->next_caption].at_us < next)
        next = d->w->captions[d->next_caption].at_us;
    return next == INT64_MAX ? -1 : next - at;
}

const char *app_demo_caption(const struct app *a)
{
    return a->demo ? a->demo->caption : NULL;
}

bool app_demo_moves(const struct app *a)
{
    return a->demo && (a->snap->n_running || a->snap->n_queue);
}

/* --- /demo --- */

bool act_demo_item(struct app *a, size_t i, struct view_item *out)
{
    (void)a;
    *out = (struct view_item){.label = workload_builtins[i].name, .detail = workload_builtins[i].what};
    return out->label != NULL;
}

static void play(struct app *a, const char *name)
{
    struct workload *w = NULL;
    struct weft_err err = {.code = WEFT_OK};
    size_t n = 0;
    const char *text = workload_builtin_text(name, &n);
    if (!text) {
        app_toast(a, TOAST_ERROR, "/demo %.64s: there is no such workload; /demo alone lists them", name);
    } else if (workload_parse(name, text, n, &w, &err) != WEFT_OK ||
               workload_expand(w, 1, a->cfg, &err) != WEFT_OK) {
        workload_destroy(w);
        app_toast_error(a, &err);
    } else if (app_demo_start(a, w, true)) {
        app_toast(a, TOAST_INFO, "%s plays, with this engine's settings; weft demo %s has its own", name,
                  name);
    }
}

void act_demo(struct app *a, const char *args)
{
    if (args && *args)
        play(a, args);
    else
        overlay_list(a, "Demonstrations", act_demo_item, play);
}
