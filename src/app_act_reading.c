#include "src/app_actions.h"

#include <stdio.h>

#include "ui/term/editor.h"

static void find(struct app *a, const char *needle)
{
    struct transcript *t = app_session(a)->transcript;
    snprintf(a->search, sizeof a->search, "%s", needle);
    transcript_search(t, a->search);
    if (*needle && !transcript_search_next(t, -1) && !transcript_search_next(t, 1))
        app_toast(a, TOAST_WARN, "not found: %s", needle);
}

void act_find(struct app *a, const char *args)
{
    (void)args;
    overlay_prompt(a, "Find in this chat", a->search, find);
}

static void find_again(struct app *a, int dir)
{
    struct transcript *t = app_session(a)->transcript;
    transcript_search(t, a->search);
    if (!*a->search)
        act_find(a, NULL);
    else if (!transcript_search_next(t, dir))
        app_toast(a, TOAST_WARN, "no more of: %s", a->search);
}

void act_find_next(struct app *a, const char *args)
{
    (void)args;
    find_again(a, 1);
}

void act_find_previous(struct app *a, const char *args)
{
    (void)args;
    find_again(a, -1);
}

/* How far the rows of a pane can be scrolled at most; its drawing knows exactly. */
static int most_rows(const struct app *a, enum pane_id pane)
{
    return (int)(pane == PANE_QUEUE    ? a->snap->n_queue
                 : pane == PANE_EVENTS ? a->snap->n_events
                                       : a->snap->n_steps);
}

void act_scroll(struct app *a, enum pane_id pane, int lines)
{
    if (pane == PANE_INPUT || pane == PANE_CHAT) {
        transcript_scroll(app_session(a)->transcript, lines);
    } else if (pane == PANE_SESSIONS) {
        int row = (int)a->sessions_cursor + lines, last = (int)a->n_sessions - 1;
        a->sessions_cursor = (size_t)(row < 0 ? 0 : row > last ? last : row);
    } else {
        int row = view_scroll_by(pane, a->scroll[pane], lines), most = most_rows(a, pane);
        a->scroll[pane] = row > most ? most : row;
    }
}

static void move_by(struct app *a, int lines)
{
    act_scroll(a, a->focus, lines);
}

static int page(const struct app *a)
{
    int lines = transcript_page(app_session(a)->transcript);
    return a->focus != PANE_INPUT && a->focus != PANE_CHAT ? 10 : lines > 2 ? lines - 1 : 1;
}

void act_up(struct app *a, const char *args)
{
    (void)args;
    move_by(a, -1);
}

void act_down(struct app *a, const char *args)
{
    (void)args;
    move_by(a, 1);
}

void act_page_up(struct app *a, const char *args)
{
    (void)args;
    move_by(a, -page(a));
}

void act_page_down(struct app *a, const char *args)
{
    (void)args;
    move_by(a, page(a));
}

void act_home(struct app *a, const char *args)
{
    (void)args;
    if (a->focus == PANE_INPUT || a->focus == PANE_CHAT)
        transcript_home(app_session(a)->transcript);
    else
        move_by(a, -(SNAP_STEPS + SNAP_QUEUE));
}

void act_end(struct app *a, const char *args)
{
    (void)args;
    if (a->past_step)
        app_past_leave(a);
    else if (a->focus == PANE_INPUT || a->focus == PANE_CHAT)
        transcript_end_of_chat(app_session(a)->transcript);
    else
        move_by(a, SNAP_STEPS + SNAP_QUEUE);
}

void act_newline(struct app *a, const char *args)
{
    (void)args;
    app_focus(a, PANE_INPUT);
    editor_insert("\n", 1);
}
