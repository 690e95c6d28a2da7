/*
 * Inboxes: lists of events under a short lock, with an eventfd to poll.
 *
 * An inbox is shared by its reader, the engine and the tickets submitted with it, and goes when the last lets
 * go; so closing it never has to wait for the engine, nor the engine for its reader.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

struct engine_event *inbox_event_create(enum engine_event_type type)
{
    struct inbox_event *ie = mem_calloc(1, sizeof *ie);
    if (!ie)
        return NULL;
    ie->ev.type = type;
    return &ie->ev;
}

void engine_event_free(struct engine_event *ev)
{
    if (!ev)
        return;
    for (uint32_t i = 0; i < ev->n_tokens && ev->tokens; i++)
        mem_free(ev->tokens[i].top);
    mem_free(ev->tokens);
    mem_free(ev->text);
    mem_free(ev->prompt_ids);
    mem_free(ev->nll);
    mem_free(ev); /* the first member of a struct inbox_event */
}

void inbox_ref(struct engine_inbox *in)
{
    atomic_fetch_add(&in->refs, 1);
}

static void free_list(struct engine_event *ev)
{
    while (ev) {
        struct engine_event *next = ev->next;
        engine_event_free(ev);
        ev = next;
    }
}

void inbox_unref(struct engine_inbox *in)
{
    if (!in || atomic_fetch_sub(&in->refs, 1) != 1)
        return;
    free_list(in->head);
    engine_event_free(in->spare);
    mem_free(in->close);
    close(in->fd);
    pthread_mutex_destroy(&in->lock);
    mem_free(in);
}

static void signal_reader(const struct engine_inbox *in)
{
    uint64_t one = 1;
    while (write(in->fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* Under the lock. */
static void append(struct engine_inbox *in, struct engine_event *ev)
{
    in->untold |= !in->head;
    ev->next = NULL;
    if (in->tail)
        in->tail->next = ev;
    else
        in->head = ev;
    in->tail = ev;
}

/* Under the lock: whether the reader is to be told now, which is then said to be done. */
static bool take_untold(struct engine_inbox *in)
{
    bool untold = in->untold;
    in->untold = false;
    return untold;
}

void inbox_tell(struct engine_inbox *in)
{
    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    bool tell = take_untold(in);
    pthread_mutex_unlock(&in->lock);
    if (tell)
        signal_reader(in);
}

void inbox_push(struct engine_inbox *in, struct engine_event *ev)
{
    if (!in) {
        log_msg(LOG_DEBUG, "event %d of request %s dropped: nobody waits for it", (int)ev->type, ev->id);
        engine_event_free(ev);
        return;
    }
    bool tell = false;
    pthread_mutex_lock(&in->lock);
    bool keep = !in->closed;
    if (keep) {
        append(in, ev);
        tell = take_untold(in);
    }
    pthread_mutex_unlock(&in->lock);
    if (tell)
        signal_reader(in);
    if (!keep)
        engine_event_free(ev);
}

/* ---- TOKENS ---- */

/* Appends tokens [from, to) of the reply and their text. False when out of memory; the event is then as before. */
static bool extend(struct inbox_event *ie, const struct reply *r, size_t from, size_t to)
{
    struct engine_event *ev = &ie->ev;
    size_t text_from = from ? r->tokens[from - 1].text_end : 0;
    size_t text_n = r->tokens[to - 1].text_end - text_from;
    size_t n = to - from;
    if (mem_grow(&ev->text, &ie->cap_text, ev->text_len + text_n + 1, 1) ||
        mem_grow(&ev->tokens, &ie->cap_tokens, ev->n_tokens + n, sizeof *ev->tokens))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct engine_token *src = &r->tokens[from + i];
        struct engine_token *dst = &ev->tokens[ev->n_tokens + i];
        *dst = *src;
        dst->text_end = (uint32_t)(ev->text_len + src->text_end - text_from);
        if (src->top && !(dst->top = (void *)mem_memdup(src->top, src->n_top * sizeof *src->top))) {
            while (i-- > 0)
                mem_free(ev->tokens[ev->n_tokens + i].top);
            return false;
        }
    }
    if (text_n)
        memcpy(ev->text + ev->text_len, r->text.data + text_from, text_n);
    ev->text_len += text_n;
    ev->text[ev->text_len] = 0;
    ev->n_tokens += (uint32_t)n;
    return true;
}

void ticket_send_tokens(struct ticket *t, int64_t now_us)
{
    struct reply *r = &t->reply;
    struct engine_inbox *in = t->inbox;
    size_t ready = reply_n_ready(r);
    if (!t->stream || !in || ready <= r->n_sent)
        return;
    pthread_mutex_lock(&in->lock);
    struct inbox_event *ie = t->open && t->open_take == in->n_takes ? t->open : NULL;
    bool merge = ie != NULL;
    if (!merge && !in->closed)
        ie = (struct inbox_event *)inbox_event_create(ENGINE_TOKENS);
    /* Out of memory: nothing is marked as sent, so the next call tries again with more; FINISH has all of it anyway. */
    if (ie && extend(ie, r, r->n_sent, ready)) {
        ie->ev.now_us = now_us;
        if (!merge) {
            memcpy(ie->ev.id, t->rq.id, sizeof ie->ev.id);
            ie->ev.tag = t->tag;
            ie->ev.first_index = (uint32_t)r->n_sent;
            append(in, &ie->ev);
            t->open = ie;
            t->open_take = in->n_takes;
        }
        r->n_sent = ready;
    } else if (ie && !merge) {
        engine_event_free(&ie->ev);
    }
    pthread_mutex_unlock(&in->lock);
}

/* ---- the reader's side ---- */

/* All that an inbox needs, so that later neither a change of state nor closing it can fail. NULL: out of memory, or
 * errno says why there is no descriptor. */
static struct engine_inbox *inbox_create(struct engine *e)
{
    errno = ENOMEM;
    struct engine_inbox *in = mem_calloc(1, sizeof *in);
    if (!in)
        return NULL;
    in->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    in->spare = in->fd < 0 ? NULL : inbox_event_create(ENGINE_STATE);
    in->close = in->spare ? command_create_close(in) : NULL;
    if (!in->close) {
        engine_event_free(in->spare);
        if (in->fd >= 0)
            close(in->fd);
        mem_free(in);
        return NULL;
    }
    pthread_mutex_init(&in->lock, NULL);
    atomic_init(&in->refs, 2);
    in->engine = e;
    return in;
}

enum weft_rc engine_inbox_open(struct engine *e, struct engine_inbox **out, struct weft_err *err)
{
    struct engine_inbox *in = *out = NULL;
    struct engine_event *first = inbox_event_create(ENGINE_STATE);
    if (!first || !(in = inbox_create(e))) {
        weft_err_set(err, WEFT_INTERNAL_ERROR, "an inbox can't be opened: %s",
                     strerror(first ? errno : ENOMEM));
        weft_err_str(err, "where", "engine_inbox_open");
        engine_event_free(first);
        return WEFT_INTERNAL_ERROR;
    }
    pthread_mutex_lock(&e->inboxes_lock);
    in->next = e->inboxes;
    if (in->next)
        in->next->prev = in;
    e->inboxes = in;
    first->state = (enum engine_state)atomic_load(&e->state);
    first->error = e->failure; /* written under this lock */
    inbox_push(in, first);
    pthread_mutex_unlock(&e->inboxes_lock);
    *out = in;
    return WEFT_OK;
}

int engine_inbox_fd(const struct engine_inbox *in)
{
    return in->fd;
}

struct engine_event *engine_inbox_take(struct engine_inbox *in)
{
    uint64_t n;
    while (read(in->fd, &n, sizeof n) < 0 &&
           errno == EINTR) /* before the list is taken: a push after this re-arms it */
        ;
    pthread_mutex_lock(&in->lock);
    struct engine_event *list = in->head;
    in->head = in->tail = NULL;
    in->untold = false;
    in->n_takes++;
    pthread_mutex_unlock(&in->lock);
    return list;
}

void engine_inbox_wait(struct engine_inbox *in, int timeout_ms)
{
    struct pollfd p = {.fd = in->fd, .events = POLLIN};
    poll(&p, 1, timeout_ms);
}
