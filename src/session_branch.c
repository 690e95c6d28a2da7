/* A session branched off another: what is copied, and where the copy of a reply under way ends. */
#include <stdio.h>
#include <string.h>

#include "src/session.h"

static bool copy_settings(struct session *s, const struct session *from)
{
    char unnamed[SESSION_TITLE_MAX];
    snprintf(unnamed, sizeof unnamed, "session %u", from->number);
    if (strcmp(from->title, unnamed) != 0)
        session_set_title(s, from->title);
    s->titled = from->titled;
    s->prio = from->prio;
    s->sampling = from->sampling;
    s->max_tokens = from->max_tokens;
    snprintf(s->model, sizeof s->model, "%s", from->model);
    return session_set_system(s, from->system);
}

/* As it stands on the screen of `from`, at `shown` of its transcript. */
static bool copy_turn(struct session *s, const struct session *from, enum session_role role, const char *text,
                      size_t n, size_t shown)
{
    static const struct reply_stats stopped = {.ttft_ms = -1, .tps = -1, .queue_ms = -1, .ended = "stopped"};
    return session_add_turn(s, role, text, n,
                            transcript_copy(s->transcript, from->transcript, shown, &stopped));
}

bool session_branch(struct session *s, const struct session *from, const char **question)
{
    size_t n = from->n_turns;
    bool reply = session_busy(from) && from->reply.len;
    *question = NULL;
    if (!reply && n && from->turns[n - 1].role == SESSION_USER)
        *question = from->turns[--n].text;
    bool done = copy_settings(s, from);
    for (size_t i = 0; i < n && done; i++) {
        const struct session_turn *t = &from->turns[i];
        done = copy_turn(s, from, t->role, t->text, t->len, t->shown);
    }
    if (reply && done)
        done = copy_turn(s, from, SESSION_ASSISTANT, from->reply.data, from->reply.len, from->reply_shown);
    s->first_turn = from->first_turn < s->n_turns ? from->first_turn : 0;
    s->branch_of = from->number;
    return done;
}
