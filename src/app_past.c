/*
 * Going back: the moments of the last steps, one of them shown in place of the present. And why a session is where it
 * is, of whichever moment is shown.
 */
#include "src/app_actions.h"

#include <stdio.h>

#include "engine/base/mem.h"
#include "ui/history.h"
#include "ui/why.h"

bool app_past_open(struct app *a)
{
    a->history = history_create();
    a->past = mem_calloc(1, sizeof *a->past);
    return a->history && a->past;
}

void app_past_close(struct app *a)
{
    history_destroy(a->history);
    if (a->past)
        snapshot_free(a->past);
    mem_free(a->past);
}

void app_past_note(struct app *a)
{
    uint64_t first, last;
    for (size_t i = 0; i < a->n_sessions; i++)
        transcript_now(a->sessions[i]->transcript, a->snap->now_us);
    history_add(a->history, a->snap); /* out of memory: a step that can't be gone back to */
    if (a->past_step && history_range(a->history, &first, &last) && a->past_step < first)
        a->past_step = first; /* time has caught up with it */
}

const struct snapshot *app_past(struct app *a)
{
    if (a->past_step && !history_at(a->history, a->past_step, a->past))
        a->past_step = 0;
    return a->past_step ? a->past : NULL;
}

void app_past_leave(struct app *a)
{
    a->past_step = 0;
}

void act_past_back(struct app *a, const char *args)
{
    (void)args;
    uint64_t first, last, from;
    if (!history_range(a->history, &first, &last) || first == last) {
        app_toast(a, TOAST_INFO, "there is no step before this one");
        return;
    }
    from = a->past_step ? a->past_step : last;
    if (from <= first)
        app_toast(a, TOAST_INFO, "that is as far back as weft remembers: %d steps", HISTORY_STEPS);
    a->past_step = from > first ? from - 1 : first;
}

void act_past_forward(struct app *a, const char *args)
{
    (void)args;
    uint64_t first, last;
    if (!a->past_step)
        app_toast(a, TOAST_INFO, "this is the present; Alt-Left goes back");
    else if (!history_range(a->history, &first, &last) || ++a->past_step >= last)
        app_past_leave(a);
}

void act_why(struct app *a, const char *args)
{
    (void)args;
    const struct session *s = act_chosen_session(a);
    const struct snapshot *past = app_past(a);
    struct buf text = BUF_INIT;
    char title[48];
    if (why_explain(past ? past : a->snap, s->number, &text)) {
        snprintf(title, sizeof title, "Session %u%s", (unsigned)s->number, past ? ", at that step" : "");
        overlay_text(a, title, buf_str(&text));
    } else {
        app_toast(a, TOAST_ERROR, "out of memory for an answer");
    }
    buf_free(&text);
}
