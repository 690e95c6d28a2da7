/* The mouse: a click goes to a pane or opens a session, the wheel scrolls what is under it. */
#include "src/app_actions.h"

#include <string.h>

enum { WHEEL_LINES = 3 };

void app_mouse(struct app *a, const struct decoder_event *ev)
{
    int by = ev->button == DECODER_WHEEL_UP ? -1 : ev->button == DECODER_WHEEL_DOWN ? 1 : 0;
    if (a->overlay.kind != OVERLAY_NONE) { /* which has all keys, and the wheel */
        struct decoder_event key = {.key = by < 0 ? UI_KEY_UP : UI_KEY_DOWN, .bytes = ""};
        if (by && a->overlay.kind != OVERLAY_PROMPT)
            overlay_key(a, &key);
        return;
    }
    struct view_hit hit = app_hit(a, ev->x, ev->y);
    if (hit.pane == PANE_COUNT)
        return;
    if (by) {
        act_scroll(a, hit.pane, by * WHEEL_LINES);
    } else if (ev->button == DECODER_PRESS) {
        if (hit.session != SIZE_MAX)
            app_show_session(a, hit.session);
        app_focus(a, hit.session != SIZE_MAX ? PANE_INPUT : hit.pane);
    }
}

bool act_mouse_item(struct app *a, size_t i, struct view_item *out)
{
    (void)a;
    static const struct view_item items[] = {
        {.label = "on", .detail = "clicks and wheel are weft's; Shift selects text"},
        {.label = "off", .detail = "they are the terminal's"},
    };
    if (i >= sizeof items / sizeof *items)
        return false;
    *out = items[i];
    return true;
}

void act_mouse(struct app *a, const char *args)
{
    a->mouse = args && *args ? strcmp(args, "on") == 0 : !a->mouse;
    term_mouse(a->term, a->mouse);
    app_toast(a, TOAST_INFO, a->mouse ? "mouse on: with Shift it still selects text" : "mouse off");
}
