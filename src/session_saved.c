/* A session and its file: what is saved of it, and how it comes back. */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "src/session.h"
#include "src/store.h"

void session_settings(const struct session *s, struct store_settings *out)
{
    *out = (struct store_settings){
        .title = s->title,
        .system = s->system,
        .titled = s->titled,
        .prio = s->prio,
        .sampling = s->sampling,
        .max_tokens = s->max_tokens,
        .paused = s->paused,
        .cut = s->paused && s->cut,
    };
    snprintf(out->model, sizeof out->model, "%s", s->model);
    snprintf(out->fork_of, sizeof out->fork_of, "%s", s->fork_of);
}

void session_save(struct session *s)
{
    struct store_settings settings;
    session_settings(s, &settings);
    if (s->saved)
        store_set(s->saved, &settings);
}

void session_save_end(struct session *s, const struct reply_stats *stats, enum finish_reason reason)
{
    struct store_footer footer = {
        .ttft_ms = stats->ttft_ms,
        .tps = stats->tps,
        .queue_ms = stats->queue_ms,
        .tokens = stats->tokens,
        .cached_tokens = stats->cached_tokens,
        .preemptions = stats->preemptions,
    };
    snprintf(footer.reason, sizeof footer.reason, "%s", finish_reason_name(reason));
    if (s->saved)
        store_reply_end(s->saved, &footer);
}

/* How a reply ended, as the screen says it; NULL for an ordinary end. */
static const char *ended(const char *reason)
{
    for (enum finish_reason r = FINISH_STOP; r <= FINISH_ERROR; r++)
        if (strcmp(reason, finish_reason_name(r)) == 0)
            return session_ended(r);
    return "cut off"; /* weft was killed while it streamed */
}

static bool restore_message(struct session *s, const struct store_message *m)
{
    const char *text = buf_str(&m->text);
    bool reply = m->role == STORE_ASSISTANT;
    struct reply_stats stats = {
        .ttft_ms = m->footer.ttft_ms,
        .tps = m->footer.tps,
        .queue_ms = m->footer.queue_ms,
        .tokens = m->footer.tokens,
        .cached_tokens = m->footer.cached_tokens,
        .preemptions = m->footer.preemptions,
        .ended = ended(m->footer.reason),
    };
    size_t shown = transcript_add(s->transcript, reply ? MSG_ASSISTANT : MSG_USER, text, m->text.len);
    if (shown == SIZE_MAX ||
        !session_add_turn(s, reply ? SESSION_ASSISTANT : SESSION_USER, text, m->text.len, shown))
        return false;
    if (reply)
        transcript_end(s->transcript, shown, &stats);
    return true;
}

bool session_restore(struct session *s, const struct store_chat *c)
{
    session_set_title(s, c->settings.title);
    s->titled = c->settings.titled;
    s->prio = c->settings.prio;
    s->sampling = c->settings.sampling;
    s->max_tokens = c->settings.max_tokens;
    snprintf(s->model, sizeof s->model, "%s", c->settings.model);
    snprintf(s->fork_of, sizeof s->fork_of, "%s", c->settings.fork_of);
    s->paused = c->settings.paused;
    s->cut = s->paused && c->settings.cut;
    if (!session_set_system(s, c->settings.system))
        return false;
    for (size_t i = 0; i < c->n_messages; i++)
        if (!restore_message(s, &c->messages[i]))
            return false;
    if (s->n_turns && s->turns[s->n_turns - 1].role == SESSION_USER)
        session_note(s, "weft ended before this was answered");
    if (c->n_waiting)
        session_note(s, "what follows was waiting to be sent: /resume sends it");
    for (size_t i = 0; i < c->n_waiting; i++)
        if (!session_wait(s, buf_str(&c->waiting[i]), c->waiting[i].len))
            return false;
    s->paused = s->paused || c->n_waiting;
    return true;
}
