/*
 * Going back: one of the engine's last steps shown in place of the present. And why a session is where it is, of whichever
 * moment is shown.
 */
#include "src/app_actions.h"

#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/engine_history.h"
#include "ui/why.h"

bool app_past_open(struct app *a)
{
    a->past = mem_calloc(1, sizeof *a->past);
    return a->past != NULL;
}

void app_past_close(struct app *a)
{
    if (a->past)
        snapshot_free(a->past);
    mem_free(a->past);
}

void app_past_tick(struct app *a)
{
    for (size_t i = 0; i < a->n_sessions; i++)
        transcript_now(a->sessions[i]->transcript, a->snap->now_us);
}

const struct snapshot *app_past(const struct app *a)
{
    return a->past_step ? a->past : NULL;
}

void app_past_leave(struct app *a)
{
    a->past_step = 0;
}

/* Shows a step. What is shown stays, however long it is looked at and whatever the engine forgets meanwhile. */
static bool show_step(struct app *a, uint64_t step)
{
    if (!engine_snapshot_at(a->engine, step, a->past))
        return false;
    a->past_step = step;
    return true;
}

void act_past_back(struct app *a, const char *args)
{
    (void)args;
    uint64_t from = a->past_step ? a->past_step : a->snap->step;
    uint64_t last = from > ENGINE_HISTORY_STEPS ? from - ENGINE_HISTORY_STEPS : 1;
    for (uint64_t step = from; step-- > last;) /* one may be missing, when memory was short */
        if (show_step(a, step))
            return;
    app_toast(a, TOAST_INFO,
              a->past_step ? "that is as far back as weft remembers" : "no step before this one");
}

void act_past_forward(struct app *a, const char *args)
{
    (void)args;
    if (!a->past_step) {
        app_toast(a, TOAST_INFO, "this is the present; Alt-Left goes back");
        return;
    }
    for (uint64_t step = a->past_step + 1; step < a->snap->step; step++)
        if (show_step(a, step))
            return;
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
