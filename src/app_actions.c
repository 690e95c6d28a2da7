#include "src/app_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "ui/term/editor.h"

/* The session that an action is about: the row under the cursor where that is what the keys move, else the
 * one in front. */
static size_t chosen(const struct app *a)
{
    return a->focus == PANE_SESSIONS && a->sessions_cursor < a->n_sessions ? a->sessions_cursor : a->active;
}

static struct session *chosen_session(const struct app *a)
{
    return a->sessions[chosen(a)];
}

/* --- sessions --- */

static void do_new(struct app *a, const char *args)
{
    if (app_new_session(a) && args && *args) {
        session_set_title(app_session(a), args);
        app_session(a)->titled = true;
    }
}

static void rename_chosen(struct app *a, const char *title)
{
    struct session *s = chosen_session(a);
    session_set_title(s, title);
    s->titled = *title != 0;
}

static void do_rename(struct app *a, const char *args)
{
    char title[96];
    if (args && *args) {
        rename_chosen(a, args);
        return;
    }
    snprintf(title, sizeof title, "Rename session %u", chosen_session(a)->number);
    overlay_prompt(a, title, chosen_session(a)->title, rename_chosen);
}

static void delete_chosen(struct app *a, const char *answer)
{
    (void)answer;
    app_delete_session(a, chosen(a));
}

static void do_delete(struct app *a, const char *args)
{
    (void)args;
    char question[160];
    const struct session *s = chosen_session(a);
    snprintf(question, sizeof question, "Delete session %u, \"%s\"%s?", s->number, s->title,
             session_busy(s) ? ", and stop its reply" : "");
    overlay_confirm(a, question, delete_chosen);
}

static void do_clear(struct app *a, const char *args)
{
    (void)args;
    struct session *s = app_session(a);
    app_stop(a, s);
    session_clear(s);
    session_note(s, "cleared: the model knows nothing of what was said before");
}

static void do_goto(struct app *a, const char *args)
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

static void do_next(struct app *a, const char *args)
{
    (void)args;
    app_show_session(a, (a->active + 1) % a->n_sessions);
}

static void do_previous(struct app *a, const char *args)
{
    (void)args;
    app_show_session(a, (a->active + a->n_sessions - 1) % a->n_sessions);
}

static void do_select(struct app *a, const char *args)
{
    (void)args;
    if (a->focus == PANE_SESSIONS)
        app_show_session(a, chosen(a));
    app_focus(a, PANE_INPUT);
}

static void do_system(struct app *a, const char *args)
{
    slash_system(a, args ? args : "");
}

static void do_set(struct app *a, const char *args)
{
    if (args && *args)
        slash_set(a, args);
    else
        slash_show(a);
}

static void do_show(struct app *a, const char *args)
{
    (void)args;
    slash_show(a);
}

/* --- requests and engine --- */

static void change_priority(struct app *a, int by)
{
    struct session *s = chosen_session(a);
    int prio = (int)s->prio + by;
    if (prio < PRIO_CRITICAL || prio > PRIO_LOW) {
        app_toast(a, TOAST_INFO, "session %u is %s already", s->number, prio_name(s->prio));
        return;
    }
    app_set_priority(a, s, (enum prio)prio);
}

static void do_prio_up(struct app *a, const char *args)
{
    (void)args;
    change_priority(a, -1);
}

static void do_prio_down(struct app *a, const char *args)
{
    (void)args;
    change_priority(a, 1);
}

static bool prio_item(struct app *a, size_t i, struct view_item *out)
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
        app_set_priority(a, chosen_session(a), prio);
    else
        app_toast(a, TOAST_ERROR, "/prio %s: it is one of critical, high, normal, low", name);
}

static void do_prio(struct app *a, const char *args)
{
    if (args && *args)
        take_prio(a, args);
    else
        overlay_list(a, "Priority", prio_item, take_prio);
}

static void do_stop(struct app *a, const char *args)
{
    bool stopped = app_stop(a, app_session(a));
    if (!stopped && args)
        app_toast(a, TOAST_INFO, "no reply is under way in this session");
    else if (!stopped)
        app_focus(a, PANE_INPUT);
}

static void do_cancel(struct app *a, const char *args)
{
    (void)args;
    struct session *s = chosen_session(a);
    if (!app_stop(a, s))
        app_toast(a, TOAST_INFO, "session %u has no request to cancel", s->number);
}

/* Ctrl-C: what is under way ends first, then what is typed; then it takes two to quit. */
static void do_interrupt(struct app *a, const char *args)
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
    else if (e.len)
        editor_set("", 0);
    else
        app_toast(a, TOAST_INFO, "Ctrl-C again quits");
}

static void do_freeze(struct app *a, const char *args)
{
    (void)args;
    a->frozen = !a->frozen;
    engine_freeze(a->engine, a->frozen);
    app_toast(a, TOAST_INFO, a->frozen ? "frozen: F5 runs one step, F4 goes on" : "running");
}

static void do_step(struct app *a, const char *args)
{
    (void)args;
    if (a->frozen)
        engine_step(a->engine);
    else
        app_toast(a, TOAST_INFO, "F4 freezes the engine first, then F5 runs it step by step");
}

static void do_stats(struct app *a, const char *args)
{
    (void)args;
    slash_stats(a);
}

/* --- reading --- */

static void find(struct app *a, const char *needle)
{
    struct transcript *t = app_session(a)->transcript;
    snprintf(a->search, sizeof a->search, "%s", needle);
    transcript_search(t, a->search);
    if (*needle && !transcript_search_next(t, -1) && !transcript_search_next(t, 1))
        app_toast(a, TOAST_WARN, "not found: %s", needle);
}

static void do_find(struct app *a, const char *args)
{
    (void)args;
    overlay_prompt(a, "Find in this chat", a->search, find);
}

static void find_again(struct app *a, int dir)
{
    struct transcript *t = app_session(a)->transcript;
    transcript_search(t, a->search);
    if (!*a->search)
        do_find(a, NULL);
    else if (!transcript_search_next(t, dir))
        app_toast(a, TOAST_WARN, "no more of: %s", a->search);
}

static void do_find_next(struct app *a, const char *args)
{
    (void)args;
    find_again(a, 1);
}

static void do_find_previous(struct app *a, const char *args)
{
    (void)args;
    find_again(a, -1);
}

/* Moves in the focused pane: lines of the chat, the cursor of the sessions, the first row of the others. */
static void move_by(struct app *a, int lines)
{
    enum pane_id pane = a->focus;
    if (pane == PANE_INPUT || pane == PANE_CHAT) {
        transcript_scroll(app_session(a)->transcript, lines);
    } else if (pane == PANE_SESSIONS) {
        int row = (int)a->sessions_cursor + lines, last = (int)a->n_sessions - 1;
        a->sessions_cursor = (size_t)(row < 0 ? 0 : row > last ? last : row);
    } else {
        int row = a->scroll[pane] + lines, most = SNAP_STEPS + SNAP_QUEUE;
        a->scroll[pane] = row < 0 ? 0 : row > most ? most : row;
    }
}

static int page(const struct app *a)
{
    int lines = transcript_page(app_session(a)->transcript);
    return a->focus != PANE_INPUT && a->focus != PANE_CHAT ? 10 : lines > 2 ? lines - 1 : 1;
}

static void do_up(struct app *a, const char *args)
{
    (void)args;
    move_by(a, -1);
}

static void do_down(struct app *a, const char *args)
{
    (void)args;
    move_by(a, 1);
}

static void do_page_up(struct app *a, const char *args)
{
    (void)args;
    move_by(a, -page(a));
}

static void do_page_down(struct app *a, const char *args)
{
    (void)args;
    move_by(a, page(a));
}

static void do_home(struct app *a, const char *args)
{
    (void)args;
    if (a->focus == PANE_INPUT || a->focus == PANE_CHAT)
        transcript_home(app_session(a)->transcript);
    else
        move_by(a, -(SNAP_STEPS + SNAP_QUEUE));
}

static void do_end(struct app *a, const char *args)
{
    (void)args;
    if (a->focus == PANE_INPUT || a->focus == PANE_CHAT)
        transcript_end_of_chat(app_session(a)->transcript);
    else
        move_by(a, SNAP_STEPS + SNAP_QUEUE);
}

static void do_newline(struct app *a, const char *args)
{
    (void)args;
    app_focus(a, PANE_INPUT);
    editor_insert("\n", 1);
}

/* --- screen --- */

static void move_focus(struct app *a, int dir)
{
    struct layout layout;
    app_layout(a, &layout);
    app_focus(a, layout_next(&layout, a->focus, dir));
}

static void do_focus_next(struct app *a, const char *args)
{
    (void)args;
    move_focus(a, 1);
}

static void do_focus_previous(struct app *a, const char *args)
{
    (void)args;
    move_focus(a, -1);
}

static void do_zoom(struct app *a, const char *args)
{
    (void)args;
    a->zoom = true;
}

static void do_unzoom(struct app *a, const char *args)
{
    (void)args;
    a->zoom = false;
}

static void set_layout(struct app *a, enum layout_preset preset)
{
    struct layout layout;
    a->preset = preset;
    a->zoom = false;
    app_layout(a, &layout);
    if (!layout.pane[a->focus].shown)
        app_focus(a, PANE_INPUT);
    app_toast(a, TOAST_INFO, "layout: %s", layout_preset_name(preset));
}

static void do_layout_next(struct app *a, const char *args)
{
    (void)args;
    set_layout(a, (enum layout_preset)((a->preset + 1) % LAYOUT_PRESET_COUNT));
}

static void do_layout_previous(struct app *a, const char *args)
{
    (void)args;
    set_layout(a, (enum layout_preset)((a->preset + LAYOUT_PRESET_COUNT - 1) % LAYOUT_PRESET_COUNT));
}

static bool layout_item(struct app *a, size_t i, struct view_item *out)
{
    (void)a;
    static const char *const about[LAYOUT_PRESET_COUNT] = {
        [LAYOUT_CHAT] = "sessions and chat",
        [LAYOUT_BALANCED] = "a bit of everything",
        [LAYOUT_SCHEDULER] = "queue and batch",
        [LAYOUT_KV] = "the KV blocks",
    };
    if (i >= LAYOUT_PRESET_COUNT)
        return false;
    *out = (struct view_item){.label = layout_preset_name((enum layout_preset)i), .detail = about[i]};
    return true;
}

static void take_layout(struct app *a, const char *name)
{
    enum layout_preset preset;
    if (layout_preset_parse(name, &preset))
        set_layout(a, preset);
    else
        app_toast(a, TOAST_ERROR, "/layout %s: it is one of chat, balanced, scheduler, kv", name);
}

static void do_layout(struct app *a, const char *args)
{
    if (args && *args)
        take_layout(a, args);
    else
        overlay_list(a, "Layout", layout_item, take_layout);
}

static bool theme_item(struct app *a, size_t i, struct view_item *out)
{
    if (i >= a->n_themes)
        return false;
    *out = (struct view_item){.label = a->themes[i],
                              .detail = strcmp(a->themes[i], a->theme_name) == 0 ? "in use" : NULL};
    return true;
}

static void take_theme(struct app *a, const char *name)
{
    struct weft_err err;
    if (app_load_theme(a, name, &err) == WEFT_OK)
        app_toast(a, TOAST_INFO,
                  term_colours(a->term) ? "theme: %s" : "theme: %s (this terminal has no colours)",
                  a->theme_name);
    else
        app_toast_error(a, &err);
}

static void do_theme(struct app *a, const char *args)
{
    if (args && *args)
        take_theme(a, args);
    else
        overlay_list(a, "Theme", theme_item, take_theme);
}

static void do_redraw(struct app *a, const char *args)
{
    (void)args;
    term_redraw(a->term);
}

/* --- program --- */

static void do_help(struct app *a, const char *args)
{
    (void)args;
    overlay_help(a);
}

/* Those that only a key can mean are left out. */
static bool in_palette(enum action action)
{
    return action != ACTION_PALETTE && action != ACTION_SESSION_GOTO && action != ACTION_SEND &&
           action != ACTION_SELECT && action != ACTION_INTERRUPT;
}

static bool palette_item(struct app *a, size_t i, struct view_item *out)
{
    for (enum action id = ACTION_NONE + 1; id < ACTION_COUNT; id++) {
        if (!in_palette(id) || i--)
            continue;
        const struct action_info *info = keymap_action(id);
        keymap_keys(id, a->palette_keys[id], sizeof a->palette_keys[id]);
        *out = (struct view_item){.label = info->name, .detail = info->help, .key = a->palette_keys[id]};
        return true;
    }
    return false;
}

static void take_palette(struct app *a, const char *name)
{
    for (enum action id = ACTION_NONE + 1; id < ACTION_COUNT; id++)
        if (strcmp(keymap_action(id)->name, name) == 0) {
            app_act(a, id, NULL);
            return;
        }
}

static void do_palette(struct app *a, const char *args)
{
    (void)args;
    overlay_list(a, "Actions", palette_item, take_palette);
}

static void do_quit(struct app *a, const char *args)
{
    (void)args;
    a->quit = true;
}

static void do_suspend(struct app *a, const char *args)
{
    (void)args;
    term_suspend(a->term);
}

/* --- the table --- */

static void (*const actions[ACTION_COUNT])(struct app *a, const char *args) = {
    [ACTION_HELP] = do_help,
    [ACTION_NEW] = do_new,
    [ACTION_PALETTE] = do_palette,
    [ACTION_FREEZE] = do_freeze,
    [ACTION_STEP] = do_step,
    [ACTION_PRIO_UP] = do_prio_up,
    [ACTION_PRIO_DOWN] = do_prio_down,
    [ACTION_PRIO] = do_prio,
    [ACTION_STOP] = do_stop,
    [ACTION_CANCEL] = do_cancel,
    [ACTION_INTERRUPT] = do_interrupt,
    [ACTION_QUIT] = do_quit,
    [ACTION_SUSPEND] = do_suspend,
    [ACTION_FOCUS_NEXT] = do_focus_next,
    [ACTION_FOCUS_PREV] = do_focus_previous,
    [ACTION_SESSION_GOTO] = do_goto,
    [ACTION_SESSION_NEXT] = do_next,
    [ACTION_SESSION_PREV] = do_previous,
    [ACTION_RENAME] = do_rename,
    [ACTION_DELETE] = do_delete,
    [ACTION_CLEAR] = do_clear,
    [ACTION_ZOOM_IN] = do_zoom,
    [ACTION_ZOOM_OUT] = do_unzoom,
    [ACTION_LAYOUT_NEXT] = do_layout_next,
    [ACTION_LAYOUT_PREV] = do_layout_previous,
    [ACTION_LAYOUT] = do_layout,
    [ACTION_THEME] = do_theme,
    [ACTION_SYSTEM] = do_system,
    [ACTION_SET] = do_set,
    [ACTION_SHOW] = do_show,
    [ACTION_STATS] = do_stats,
    [ACTION_FIND] = do_find,
    [ACTION_FIND_NEXT] = do_find_next,
    [ACTION_FIND_PREV] = do_find_previous,
    [ACTION_UP] = do_up,
    [ACTION_DOWN] = do_down,
    [ACTION_PAGE_UP] = do_page_up,
    [ACTION_PAGE_DOWN] = do_page_down,
    [ACTION_HOME] = do_home,
    [ACTION_END] = do_end,
    [ACTION_SELECT] = do_select,
    [ACTION_NEWLINE] = do_newline,
    [ACTION_SEND] = NULL, /* readline's Enter */
    [ACTION_REDRAW] = do_redraw,
};

void app_act(struct app *a, enum action action, const char *args)
{
    if ((unsigned)action < ACTION_COUNT && actions[action])
        actions[action](a, args);
    a->urgent = true;
}

const char *app_argument(struct app *a, enum action action, size_t i, const char **detail)
{
    struct view_item item = {.label = NULL};
    bool found = false;
    switch (action) {
    case ACTION_THEME: found = theme_item(a, i, &item); break;
    case ACTION_LAYOUT: found = layout_item(a, i, &item); break;
    case ACTION_PRIO: found = prio_item(a, i, &item); break;
    case ACTION_SET:
        item.label = slash_setting(i, &item.detail);
        found = true;
        break;
    default: break;
    }
    *detail = item.detail;
    return found ? item.label : NULL;
}
