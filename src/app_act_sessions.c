#include "src/app_actions.h"

#include <stdio.h>
#include <string.h>

size_t act_chosen(const struct app *a)
{
    return a->focus == PANE_SESSIONS && a->sessions_cursor < a->n_sessions ? a->sessions_cursor : a->active;
}

struct session *act_chosen_session(const struct app *a)
{
    return a->sessions[act_chosen(a)];
}

void act_new(struct app *a, const char *args)
{
    if (app_new_session(a) && args && *args) {
        session_set_title(app_session(a), args);
        app_session(a)->titled = true;
    }
}

void act_fork(struct app *a, const char *args)
{
    const struct session *from = act_chosen_session(a);
    const char *question;
    if (!app_new_session(a))
        return;
    struct session *s = app_session(a);
    if (!session_branch(s, from, &question))
        app_toast(a, TOAST_ERROR, "out of memory for session %u: it isn't whole", s->number);
    if (args && *args) {
        session_set_title(s, args);
        s->titled = true;
    }
    app_store_branch(a, s, from);
    app_toast(a, TOAST_INFO, "branched off session %u%s", from->number,
              question                                ? "; its open question is in the input line"
              : session_busy(from) && from->reply.len ? " in mid-reply: /continue goes on with it here"
                                                      : "");
    if (question)
        app_edit_message(question);
}

static void rename_chosen(struct app *a, const char *title)
{
    struct session *s = act_chosen_session(a);
    session_set_title(s, title);
    s->titled = *title != 0;
}

void act_rename(struct app *a, const char *args)
{
    char title[96];
    if (args && *args) {
        rename_chosen(a, args);
        return;
    }
    snprintf(title, sizeof title, "Rename session %u", act_chosen_session(a)->number);
    overlay_prompt(a, title, act_chosen_session(a)->title, rename_chosen);
}

static void delete_chosen(struct app *a, const char *answer)
{
    (void)answer;
    app_delete_session(a, act_chosen(a));
}

void act_delete(struct app *a, const char *args)
{
    (void)args;
    char question[160];
    const struct session *s = act_chosen_session(a);
    snprintf(question, sizeof question, "Delete session %u, \"%s\"%s?", s->number, s->title,
             session_busy(s) ? ", and stop its reply" : "");
    overlay_confirm(a, question, delete_chosen);
}

void act_clear(struct app *a, const char *args)
{
    (void)args;
    struct session *s = app_session(a);
    app_stop(a, s);
    session_clear(s);
    session_note(s, "cleared: the model knows nothing of what was said before");
}

void act_goto(struct app *a, const char *args)
{
    (void)args;
    uint32_t number = (uint32_t)keymap_digit(a->key);
    for (size_t i = 0; number && i < a->n_sessions; i++)
        if (a->sessions[i]->number == number) {
            app_show_session(a, i);
            return;
        }
    app_toast(a, TOAST_WARN, "there is no session %u", number);
}

void act_next(struct app *a, const char *args)
{
    (void)args;
    app_show_session(a, (a->active + 1) % a->n_sessions);
}

void act_previous(struct app *a, const char *args)
{
    (void)args;
    app_show_session(a, (a->active + a->n_sessions - 1) % a->n_sessions);
}

void act_select(struct app *a, const char *args)
{
    (void)args;
    if (a->focus == PANE_SESSIONS)
        app_show_session(a, act_chosen(a));
    app_focus(a, PANE_INPUT);
}

bool act_model_item(struct app *a, size_t i, struct view_item *out)
{
    const struct session *s = app_session(a);
    const char *own = *s->model ? s->model : a->snap->model;
    if (i >= a->snap->n_models)
        return false;
    const struct snap_model *m = &a->snap->models[i];
    *out = (struct view_item){.label = m->name,
                              .detail = strcmp(m->name, own) == 0  ? "in use"
                                        : m->state == ENGINE_READY ? m->precision
                                                                   : engine_state_name(m->state)};
    return true;
}

static void take_model(struct app *a, const char *name)
{
    struct session *s = app_session(a);
    for (size_t i = 0; i < a->snap->n_models; i++)
        if (strcmp(a->snap->models[i].name, name) == 0) {
            /* The default stays what is the default the next time. */
            snprintf(s->model, sizeof s->model, "%s", i ? name : "");
            session_note(s, "%s answers from the next message on", name);
            return;
        }
    app_toast(a, TOAST_ERROR, "/model %.64s: there is no such model; Tab lists those loaded", name);
}

void act_model(struct app *a, const char *args)
{
    if (args && *args)
        take_model(a, args);
    else
        overlay_list(a, "Model", act_model_item, take_model);
}

void act_system(struct app *a, const char *args)
{
    slash_system(a, args ? args : "");
}

void act_set(struct app *a, const char *args)
{
    if (args && *args)
        slash_set(a, args);
    else
        slash_show(a);
}

void act_show(struct app *a, const char *args)
{
    (void)args;
    slash_show(a);
}
