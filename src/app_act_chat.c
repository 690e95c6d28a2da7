/* Actions on a chat's last question and reply: make it anew, go on with it, ask something else; pause and resume. */
#include "src/app_actions.h"

#include <stdlib.h>
#include <string.h>

#include "ui/term/editor.h"

/* Whether the chat can be changed at its end; says why not. */
static bool at_rest(struct app *a, const struct session *s)
{
    if (session_busy(s))
        app_toast(a, TOAST_INFO, "a reply is under way: Esc stops it");
    else if (s->paused)
        app_toast(a, TOAST_INFO, "session %u is paused: /resume goes on", s->number);
    else if (!s->n_turns)
        app_toast(a, TOAST_INFO, "nothing has been said in this session");
    else
        return true;
    return false;
}

void act_regen(struct app *a, const char *args)
{
    (void)args;
    struct session *s = app_session(a);
    size_t question = session_question(s, 1);
    if (!at_rest(a, s) || question == SIZE_MAX)
        return;
    s->edits = 0;
    session_rewind(s, question + 1);
    app_ask(a, s);
    transcript_end_of_chat(s->transcript);
}

void act_continue(struct app *a, const char *args)
{
    (void)args;
    struct session *s = app_session(a);
    if (!at_rest(a, s))
        return;
    s->edits = 0;
    app_ask(a, s);
    transcript_end_of_chat(s->transcript);
}

void act_edit(struct app *a, const char *args)
{
    struct session *s = app_session(a);
    size_t nth = act_nth(a, "message", args), question = nth ? session_question(s, nth) : SIZE_MAX;
    if (!nth || !at_rest(a, s))
        return;
    if (question == SIZE_MAX) {
        app_toast(a, TOAST_INFO, "you haven't said as much here");
        return;
    }
    app_focus(a, PANE_INPUT);
    app_edit_message(s->turns[question].text);
    s->edits = question + 1;
    app_toast(a, TOAST_INFO, "Enter asks this instead and forgets what followed; Esc leaves it");
}

bool act_leave_edit(struct app *a)
{
    struct session *s = app_session(a);
    if (!s->edits)
        return false;
    s->edits = 0;
    editor_set("", 0);
    app_toast(a, TOAST_INFO, "left as it was");
    return true;
}

void act_pause(struct app *a, const char *args)
{
    (void)args;
    struct session *s = act_chosen_session(a);
    if (s->paused) {
        app_toast(a, TOAST_INFO, "session %u is paused already: /resume goes on", s->number);
        return;
    }
    s->paused = true;
    s->cut = app_stop(a, s);
    app_toast(a, TOAST_INFO, "session %u is paused: /resume goes on", s->number);
}

void act_resume(struct app *a, const char *args)
{
    (void)args;
    struct session *s = act_chosen_session(a);
    if (s->paused)
        app_resume(a, s);
    else
        app_toast(a, TOAST_INFO, "session %u isn't paused", s->number);
}

bool act_queue_item(struct app *a, size_t i, struct view_item *out)
{
    (void)a;
    *out = (struct view_item){.label = "clear", .detail = "drop the messages that wait"};
    return i == 0;
}

void act_queue(struct app *a, const char *args)
{
    struct session *s = app_session(a);
    size_t n = s->n_queue;
    if (args && strcmp(args, "clear") != 0) {
        app_toast(a, TOAST_ERROR, "/queue %.64s: it is /queue clear", args);
        return;
    }
    session_drop_queue(s);
    app_toast(a, TOAST_INFO, "%zu waiting %s dropped", n, n == 1 ? "message" : "messages");
}
