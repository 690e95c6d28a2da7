#include "src/app_state.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "ui/match.h"
#include "ui/term/editor.h"

void overlay_close(struct app *a)
{
    struct app_overlay *o = &a->overlay;
    if (o->draft) {
        editor_keep_history(true);
        editor_edit(a->n_sessions ? app_session(a)->draft : NULL);
        editor_draft_free(o->draft);
    }
    mem_free(o->text);
    memset(o, 0, sizeof *o);
}

static struct app_overlay *open_overlay(struct app *a, enum overlay_kind kind, const char *title)
{
    overlay_close(a);
    a->overlay.kind = kind;
    snprintf(a->overlay.title, sizeof a->overlay.title, "%s", title);
    return &a->overlay;
}

void overlay_help(struct app *a)
{
    open_overlay(a, OVERLAY_HELP, "Help");
}

void overlay_text(struct app *a, const char *title, const char *text)
{
    char *copy = mem_strdup(text);
    if (copy)
        open_overlay(a, OVERLAY_TEXT, title)->text = copy;
}

void overlay_confirm(struct app *a, const char *question, app_accept_fn *accept)
{
    char *copy = mem_strdup(question);
    if (!copy)
        return;
    struct app_overlay *o = open_overlay(a, OVERLAY_CONFIRM, "Sure?");
    o->text = copy;
    o->accept = accept;
}

/* Gives the keys to a line of the overlay's own. */
static bool take_line(struct app_overlay *o, const char *text)
{
    o->draft = editor_draft_create();
    if (!o->draft)
        return false;
    editor_edit(o->draft);
    editor_keep_history(false);
    editor_set(text, strlen(text));
    return true;
}

void overlay_prompt(struct app *a, const char *title, const char *text, app_accept_fn *accept)
{
    struct app_overlay *o = open_overlay(a, OVERLAY_PROMPT, title);
    o->accept = accept;
    if (!take_line(o, text))
        overlay_close(a);
}

void overlay_list(struct app *a, const char *title, app_item_fn *item, app_accept_fn *accept)
{
    struct app_overlay *o = open_overlay(a, OVERLAY_LIST, title);
    o->accept = accept;
    o->item = item;
    if (!take_line(o, ""))
        overlay_close(a);
    else
        overlay_filter(a);
}

void overlay_filter(struct app *a)
{
    struct app_overlay *o = &a->overlay;
    if (o->kind != OVERLAY_LIST)
        return;
    struct editor_view e;
    struct view_item item;
    editor_get(&e);
    o->n_items = 0;
    while (o->n_items < APP_ITEMS_MAX && o->item(a, o->n_items, &item))
        o->items[o->n_items++] = item;
    o->n_items = match_items(e.text, e.len, o->items, o->n_items);
    if (o->selected >= o->n_items)
        o->selected = o->n_items ? o->n_items - 1 : 0;
}

/* Closes first: what is accepted may open the next overlay. The answer is a copy for the same reason. */
static void accept(struct app *a, const char *answer)
{
    char copy[1024];
    app_accept_fn *then = a->overlay.accept;
    snprintf(copy, sizeof copy, "%s", answer ? answer : "");
    overlay_close(a);
    if (then)
        then(a, answer ? copy : NULL);
}

static void confirm_key(struct app *a, ui_key key)
{
    if (key == 'y' || key == 'Y')
        accept(a, NULL);
    else if (key == 'n' || key == 'N' || key == UI_KEY_ESC || key == ('c' | UI_MOD_CTRL))
        overlay_close(a);
}

/* Help and pages: scroll, or close. */
static void page_key(struct app *a, ui_key key)
{
    struct app_overlay *o = &a->overlay;
    int lines = 0, page = 0, w, h;
    struct view_overlay shown;
    term_size(a->term, &w, &h);
    overlay_view(a, &shown);
    const struct view v = {.snap = a->snap, .overlay = shown};
    view_overlay_lines(&v, w, h, &lines, &page);
    int most = lines > page ? lines - page : 0;
    switch (key) {
    case UI_KEY_UP:
    case 'k': o->scroll--; break;
    case UI_KEY_DOWN:
    case 'j': o->scroll++; break;
    case UI_KEY_PGUP: o->scroll -= page; break;
    case UI_KEY_PGDN:
    case ' ': o->scroll += page; break;
    case UI_KEY_HOME: o->scroll = 0; break;
    case UI_KEY_END: o->scroll = most; break;
    default: overlay_close(a); return;
    }
    o->scroll = o->scroll < 0 ? 0 : o->scroll > most ? most : o->scroll;
}

/* The line of a prompt or list; Enter answers. */
static void line_key(struct app *a, const struct decoder_event *ev)
{
    size_t used;
    char *line = NULL;
    if (!editor_feed(ev->bytes, ev->n, &used, &line)) {
        overlay_filter(a);
        return;
    }
    struct app_overlay *o = &a->overlay;
    if (o->kind == OVERLAY_PROMPT)
        accept(a, line);
    else if (o->n_items)
        accept(a, o->items[o->selected].label);
    mem_free(line);
}

static void list_key(struct app *a, const struct decoder_event *ev)
{
    struct app_overlay *o = &a->overlay;
    size_t last = o->n_items ? o->n_items - 1 : 0;
    enum { PAGE = 10 };
    switch (ev->key) {
    case UI_KEY_UP:
    case UI_KEY_BACKTAB: o->selected = o->selected ? o->selected - 1 : last; break;
    case UI_KEY_DOWN:
    case UI_KEY_TAB: o->selected = o->selected < last ? o->selected + 1 : 0; break;
    case UI_KEY_PGUP: o->selected = o->selected > PAGE ? o->selected - PAGE : 0; break;
    case UI_KEY_PGDN: o->selected = o->selected + PAGE < last ? o->selected + PAGE : last; break;
    default: line_key(a, ev); break;
    }
}

void overlay_key(struct app *a, const struct decoder_event *ev)
{
    enum overlay_kind kind = a->overlay.kind;
    /* What ends the program, redraws or stops it works everywhere. */
    enum action action = keymap_lookup(ev->key, true);
    if (action == ACTION_QUIT || action == ACTION_SUSPEND || action == ACTION_REDRAW) {
        app_act(a, action, NULL);
        return;
    }
    bool escape =
        (ev->key == UI_KEY_ESC && !(a->overlay.draft && editor_vi())) || ev->key == ('c' | UI_MOD_CTRL);
    if (kind == OVERLAY_CONFIRM)
        confirm_key(a, ev->key);
    else if (escape)
        overlay_close(a);
    else if (kind == OVERLAY_LIST)
        list_key(a, ev);
    else if (kind == OVERLAY_PROMPT)
        line_key(a, ev);
    else
        page_key(a, ev->key);
}

void overlay_view(struct app *a, struct view_overlay *out)
{
    static const char *const keys[] = {
        [OVERLAY_CONFIRM] = "y yes · n no",
        [OVERLAY_PROMPT] = "Enter take · Esc leave",
        [OVERLAY_COMPLETE] = NULL,
    };
    struct app_overlay *o = &a->overlay;
    *out = (struct view_overlay){
        .kind = o->kind,
        .title = o->title,
        .text = o->text,
        .keys = o->kind < sizeof keys / sizeof *keys ? keys[o->kind] : NULL,
        .items = o->items,
        .n_items = o->n_items,
        .selected = o->selected,
        .scroll = o->scroll,
    };
    if (o->draft) {
        struct editor_view e;
        editor_get(&e);
        out->input = (struct view_input){.prompt = e.prompt, .text = e.text, .len = e.len, .cursor = e.point};
    }
}
