#include "src/app_actions.h"

#include <string.h>

static void move_focus(struct app *a, int dir)
{
    struct layout layout;
    app_layout(a, &layout);
    app_focus(a, layout_next(&layout, a->focus, dir));
}

void act_focus_next(struct app *a, const char *args)
{
    (void)args;
    move_focus(a, 1);
}

void act_focus_previous(struct app *a, const char *args)
{
    (void)args;
    move_focus(a, -1);
}

void act_zoom(struct app *a, const char *args)
{
    (void)args;
    a->zoom = true;
}

void act_unzoom(struct app *a, const char *args)
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

void act_layout_next(struct app *a, const char *args)
{
    (void)args;
    set_layout(a, (enum layout_preset)((a->preset + 1) % LAYOUT_PRESET_COUNT));
}

void act_layout_previous(struct app *a, const char *args)
{
    (void)args;
    set_layout(a, (enum layout_preset)((a->preset + LAYOUT_PRESET_COUNT - 1) % LAYOUT_PRESET_COUNT));
}

bool act_layout_item(struct app *a, size_t i, struct view_item *out)
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

void act_layout(struct app *a, const char *args)
{
    if (args && *args)
        take_layout(a, args);
    else
        overlay_list(a, "Layout", act_layout_item, take_layout);
}

bool act_theme_item(struct app *a, size_t i, struct view_item *out)
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

void act_theme(struct app *a, const char *args)
{
    if (args && *args)
        take_theme(a, args);
    else
        overlay_list(a, "Theme", act_theme_item, take_theme);
}

void act_redraw(struct app *a, const char *args)
{
    (void)args;
    term_redraw(a->term);
}
