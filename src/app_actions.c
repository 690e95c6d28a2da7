#include "src/app_actions.h"

#include <stddef.h>
#include <string.h>

static void act_help(struct app *a, const char *args)
{
    (void)args;
    overlay_help(a);
}

static app_action_fn *const actions[ACTION_COUNT];

/* Those that only a key can mean are left out. */
static bool in_palette(enum action action)
{
    return actions[action] && action != ACTION_PALETTE && action != ACTION_SESSION_GOTO &&
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

static void act_palette(struct app *a, const char *args)
{
    (void)args;
    overlay_list(a, "Actions", palette_item, take_palette);
}

static void act_quit(struct app *a, const char *args)
{
    (void)args;
    a->quit = true;
}

static void act_suspend(struct app *a, const char *args)
{
    (void)args;
    term_suspend(a->term);
}

/* --- the table --- */

static app_action_fn *const actions[ACTION_COUNT] = {
    [ACTION_HELP] = act_help,
    [ACTION_NEW] = act_new,
    [ACTION_PALETTE] = act_palette,
    [ACTION_FREEZE] = act_freeze,
    [ACTION_STEP] = act_step,
    [ACTION_PRIO_UP] = act_prio_up,
    [ACTION_PRIO_DOWN] = act_prio_down,
    [ACTION_PRIO] = act_prio,
    [ACTION_STOP] = act_stop,
    [ACTION_CANCEL] = act_cancel,
    [ACTION_INTERRUPT] = act_interrupt,
    [ACTION_QUIT] = act_quit,
    [ACTION_SUSPEND] = act_suspend,
    [ACTION_FOCUS_NEXT] = act_focus_next,
    [ACTION_FOCUS_PREV] = act_focus_previous,
    [ACTION_SESSION_GOTO] = act_goto,
    [ACTION_SESSION_NEXT] = act_next,
    [ACTION_SESSION_PREV] = act_previous,
    [ACTION_RENAME] = act_rename,
    [ACTION_DELETE] = act_delete,
    [ACTION_CLEAR] = act_clear,
    [ACTION_EXPORT] = act_export,
    [ACTION_SAVE] = act_save,
    [ACTION_LOAD] = act_load,
    [ACTION_SEARCH] = act_search,
    [ACTION_ZOOM_IN] = act_zoom,
    [ACTION_ZOOM_OUT] = act_unzoom,
    [ACTION_LAYOUT_NEXT] = act_layout_next,
    [ACTION_LAYOUT_PREV] = act_layout_previous,
    [ACTION_LAYOUT] = act_layout,
    [ACTION_THEME] = act_theme,
    [ACTION_SYSTEM] = act_system,
    [ACTION_SET] = act_set,
    [ACTION_SHOW] = act_show,
    [ACTION_STATS] = act_stats,
    [ACTION_FIND] = act_find,
    [ACTION_FIND_NEXT] = act_find_next,
    [ACTION_FIND_PREV] = act_find_previous,
    [ACTION_UP] = act_up,
    [ACTION_DOWN] = act_down,
    [ACTION_PAGE_UP] = act_page_up,
    [ACTION_PAGE_DOWN] = act_page_down,
    [ACTION_HOME] = act_home,
    [ACTION_END] = act_end,
    [ACTION_SELECT] = act_select,
    [ACTION_NEWLINE] = act_newline,
    [ACTION_SEND] = NULL, /* readline's Enter */
    [ACTION_REDRAW] = act_redraw,
    [ACTION_PAST_BACK] = act_past_back,
    [ACTION_PAST_FORWARD] = act_past_forward,
    [ACTION_WHY] = act_why,
    [ACTION_REGEN] = act_regen,
    [ACTION_CONTINUE] = act_continue,
    [ACTION_EDIT] = act_edit,
    [ACTION_PAUSE] = act_pause,
    [ACTION_RESUME] = act_resume,
    [ACTION_QUEUE] = act_queue,
    [ACTION_READ] = act_read,
    [ACTION_COPY] = act_copy,
    [ACTION_MOUSE] = act_mouse,
    [ACTION_MODEL] = act_model,
    [ACTION_DEMO] = act_demo,
    [ACTION_RECORD] = act_record,
    [ACTION_FORK] = act_fork,
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
    case ACTION_THEME: found = act_theme_item(a, i, &item); break;
    case ACTION_LAYOUT: found = act_layout_item(a, i, &item); break;
    case ACTION_DEMO: found = act_demo_item(a, i, &item); break;
    case ACTION_PRIO: found = act_prio_item(a, i, &item); break;
    case ACTION_MOUSE: found = act_mouse_item(a, i, &item); break;
    case ACTION_MODEL: found = act_model_item(a, i, &item); break;
    case ACTION_QUEUE: found = act_queue_item(a, i, &item); break;
    case ACTION_SET:
        item.label = slash_setting(i, &item.detail);
        found = true;
        break;
    default: break;
    }
    *detail = item.detail;
    return found ? item.label : NULL;
}
