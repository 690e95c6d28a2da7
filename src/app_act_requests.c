#include "src/app_actions.h"

#include "engine/base/clock.h"
#include "ui/term/editor.h"

static void change_priority(struct app *a, int by)
{
    struct session *s = act_chosen_session(a);
    int prio = (int)s->prio + by;
    if (prio < PRIO_CRITICAL || prio > PRIO_LOW) {
        app_toast(a, TOAST_INFO, "session %u is %s already", s->number, prio_name(s->prio));
        return;
    }
    app_set_priority(a, s, (enum prio)prio);
}

void act_prio_up(struct app *a, const char *args)
{
    (void)args;
    change_priority(a, -1);
}

void act_prio_down(struct app *a, const char *args)
{
    (void)args;
    change_priority(a, 1);
}

bool act_prio_item(struct app *a, size_t i, struct view_item *out)
{
    (void)a;
    static const char *const about[PRIO_COUNT] = {"before everything else", "interactive", "the default",
                                                  "background"};
    if (i >= PRIO_COUNT)
        return false;
    *out = (struct view_item){.label = prio_name((enum prio)((int)i - 1)), .detail = about[i]};
    return true;
}

static void take_prio(struct app *a, const char *name)
{
    enum prio prio;
    if (prio_parse(name, &prio))
        app_set_priority(a, act_chosen_session(a), prio);
    else
        app_toast(a, TOAST_ERROR, "/prio %s: it is one of critical, high, normal, low", name);
}

void act_prio(struct app *a, const char *args)
{
    if (args && *args)
        take_prio(a, args);
    else
        overlay_list(a, "Priority", act_prio_item, take_prio);
}

void act_stop(struct app *a, const char *args)
{
    bool stopped = app_stop(a, app_session(a));
    if (!stopped && !args && act_leave_edit(a))
        return;
    if (!stopped && args)
        app_toast(a, TOAST_INFO, "no reply is under way in this session");
    else if (!stopped)
        app_focus(a, PANE_INPUT);
}

void act_cancel(struct app *a, const char *args)
{
    (void)args;
    struct session *s = act_chosen_session(a);
    if (!app_stop(a, s))
        app_toast(a, TOAST_INFO, "session %u has no request to cancel", s->number);
}

/* Ctrl-C: what is under way ends first, then what is typed; then it takes two to quit. */
void act_interrupt(struct app *a, const char *args)
{
    (void)args;
    struct editor_view e;
    int64_t now = clock_now_us();
    bool again = a->interrupt_us && now - a->interrupt_us < APP_INTERRUPT_MS * 1000;
    a->interrupt_us = now;
    editor_get(&e);
    if (again)
        a->quit = true;
    else if (app_stop(a, app_session(a)))
        app_toast(a, TOAST_INFO, "stopped; Ctrl-C again quits");
    else if (editor_busy())
        editor_abort();
    else if (act_leave_edit(a))
        return;
    else if (e.len)
        editor_set("", 0);
    else
        app_toast(a, TOAST_INFO, "Ctrl-C again quits");
}

void act_freeze(struct app *a, const char *args)
{
    (void)args;
    int64_t now = clock_now_us();
    if (a->frozen)
        a->frozen_us += now - a->frozen_since_us;
    a->frozen_since_us = now;
    a->frozen = !a->frozen;
    engine_freeze(a->engine, a->frozen);
    app_toast(a, TOAST_INFO, a->frozen ? "frozen: F5 runs one step, F4 goes on" : "running");
}

void act_step(struct app *a, const char *args)
{
    (void)args;
    if (a->frozen)
        engine_step(a->engine);
    else
        app_toast(a, TOAST_INFO, "F4 freezes the engine first, then F5 runs it step by step");
}

void act_stats(struct app *a, const char *args)
{
    (void)args;
    slash_stats(a);
}
