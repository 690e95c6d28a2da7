#include "ui/overlay.h"

#include <stdio.h>
#include <string.h>

#include "ui/entry.h"

enum {
    HELP_W = 92,
    LIST_W = 64,
    LIST_ROWS = 16,
    TEXT_W = 88,
    ASK_W = 60,
    COMPLETE_W = 56,
    COMPLETE_ROWS = 8,
    MARGIN = 2, /* columns left free at each side of the screen */
    KEYS_W = 30 /* of the help's left column */
};

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* ── the help, as lines ── */

/* An action is in the help when there is some way to call it. */
static bool has_way(enum action a)
{
    char keys[64];
    return keymap_action(a)->slash || *keymap_keys(a, keys, sizeof keys);
}

/* Which action, or which heading, stands on a line. */
struct help_line {
    enum action action;
    enum action_group heading; /* GROUP_COUNT: none */
};

/* Fills `out` (may be NULL) with line `at`; returns how many lines there are. */
static int help_lines(int at, struct help_line *out)
{
    int n = 0;
    for (int group = 0; group < GROUP_COUNT; group++) {
        if (n) { /* an empty line before each heading but the first */
            if (n == at && out)
                *out = (struct help_line){ACTION_NONE, GROUP_COUNT};
            n++;
        }
        if (n == at && out)
            *out = (struct help_line){ACTION_NONE, (enum action_group)group};
        n++;
        for (int a = ACTION_NONE + 1; a < ACTION_COUNT; a++) {
            if ((int)keymap_action((enum action)a)->group != group || !has_way((enum action)a))
                continue;
            if (n == at && out)
                *out = (struct help_line){(enum action)a, GROUP_COUNT};
            n++;
        }
    }
    return n;
}

static void draw_help_line(struct grid *g, struct rect row, const struct help_line *line)
{
    if (line->heading != GROUP_COUNT)
        grid_puts(g, row.x, row.y, ROLE_HEADING | STYLE_BOLD, action_group_name(line->heading));
    if (line->action == ACTION_NONE)
        return;
    const struct action_info *a = keymap_action(line->action);
    char keys[64];
    int keys_w = min_int(KEYS_W, row.w / 2);
    int x = row.x + 2, split = row.x + keys_w;
    keymap_keys(line->action, keys, sizeof keys);
    x = grid_text(g, x, row.y, split - x - 1, keys, strlen(keys), ROLE_KEY);
    if (a->slash) {
        char slash[48];
        snprintf(slash, sizeof slash, "%s%s%s", a->slash, a->args ? " " : "", a->args ? a->args : "");
        x += *keys ? 2 : 0;
        grid_ellipsis(g, x, row.y, split - x - 1, slash, strlen(slash), ROLE_CODE);
    }
    grid_ellipsis(g, split, row.y, row.x + row.w - split, a->help, strlen(a->help), ROLE_TEXT);
}

/* ── boxes ── */

/* A box of at most w × h in the middle of the screen, cleared and framed; returns its inside. */
static struct rect open_box(struct grid *g, int w, int h, const char *title)
{
    w = min_int(w, g->w - 2 * MARGIN);
    h = min_int(h, g->h - 2);
    struct rect box = {(g->w - w) / 2, max_int((g->h - h) / 2, 1), w, h};
    grid_fill(g, box, ROLE_POPUP);
    grid_box(g, box, ROLE_BORDER_FOCUS);
    if (title && *title) {
        grid_putc(g, box.x + 1, box.y, ' ', ROLE_BORDER_FOCUS);
        int x = grid_ellipsis(g, box.x + 2, box.y, box.w - 5, title, strlen(title), ROLE_TITLE_FOCUS);
        grid_putc(g, x, box.y, ' ', ROLE_BORDER_FOCUS);
    }
    struct rect in = rect_inset(box, 1);
    return (struct rect){in.x + 1, in.y, max_int(in.w - 2, 0), in.h};
}

/* A remark in the lower edge of the box around `in`. */
static void box_note(struct grid *g, struct rect in, const char *note)
{
    int y = in.y + in.h, end = in.x + in.w - 1;
    int x = grid_right(g, in.x, end, y, ROLE_DIM, note);
    grid_putc(g, x - 1, y, ' ', ROLE_BORDER_FOCUS);
    grid_putc(g, end, y, ' ', ROLE_BORDER_FOCUS);
}

static void note_scroll(struct grid *g, struct rect in, int top, int lines)
{
    char note[80];
    if (lines <= in.h)
        snprintf(note, sizeof note, "Esc close");
    else
        snprintf(note, sizeof note, "%d-%d of %d  PgUp/PgDn  Esc close", top + 1, min_int(top + in.h, lines),
                 lines);
    box_note(g, in, note);
}

static int clamp_scroll(int scroll, int lines, int page)
{
    return max_int(min_int(scroll, lines - page), 0);
}

/* Columns inside a page of text on a screen `w` wide. */
static int page_columns(int w)
{
    return max_int(min_int(TEXT_W, w - 2 * MARGIN) - 4, 1);
}

/* Lines of a page: long ones are broken. */
static int count_lines(const char *text, int w)
{
    return text ? grid_paragraph(NULL, (struct rect){0, 0, page_columns(w), 0}, text, ROLE_POPUP) : 0;
}

static void draw_help(const struct view *v, struct grid *g)
{
    int lines = help_lines(-1, NULL);
    struct rect in = open_box(g, HELP_W, lines + 2, "HELP");
    int top = clamp_scroll(v->overlay.scroll, lines, in.h);
    struct rect old = grid_clip(g, in);
    for (int i = 0; i < in.h && top + i < lines; i++) {
        struct help_line line = {ACTION_NONE, GROUP_COUNT};
        help_lines(top + i, &line);
        draw_help_line(g, (struct rect){in.x, in.y + i, in.w, 1}, &line);
    }
    grid_unclip(g, old);
    note_scroll(g, in, top, lines);
}

static void draw_text(const struct view *v, struct grid *g)
{
    const struct view_overlay *o = &v->overlay;
    int lines = count_lines(o->text, g->w);
    struct rect in = open_box(g, TEXT_W, lines + 2, o->title);
    int top = clamp_scroll(o->scroll, lines, in.h);
    struct rect old = grid_clip(g, in);
    if (o->text)
        grid_paragraph(g, (struct rect){in.x, in.y - top, in.w, lines}, o->text, ROLE_POPUP);
    grid_unclip(g, old);
    note_scroll(g, in, top, lines);
}

/* Items from `top` on into r, the chosen one marked. */
static void draw_items(struct grid *g, struct rect r, const struct view_overlay *o, int top)
{
    int label_w = 0;
    for (size_t i = 0; i < o->n_items; i++)
        label_w = max_int(label_w, text_width(o->items[i].label, strlen(o->items[i].label)));
    label_w = min_int(label_w, r.w * 3 / 5);
    for (int i = 0; i < r.h && (size_t)(top + i) < o->n_items; i++) {
        const struct view_item *item = &o->items[top + i];
        int y = r.y + i, end = r.x + r.w;
        if (item->key)
            end = grid_right(g, r.x + label_w, end, y, ROLE_KEY, item->key) - 1;
        grid_ellipsis(g, r.x, y, label_w, item->label, strlen(item->label), ROLE_POPUP);
        int x = r.x + label_w + 2;
        if (item->detail && x < end)
            grid_ellipsis(g, x, y, end - x, item->detail, strlen(item->detail), ROLE_DIM);
        if ((size_t)(top + i) == o->selected)
            grid_add_flags(g, (struct rect){r.x - 1, y, r.w + 2, 1}, STYLE_SELECTED);
    }
}

static int list_top(const struct view_overlay *o, int page)
{
    return o->selected == SIZE_MAX || (int)o->selected < page ? 0 : (int)o->selected - page + 1;
}

static void draw_list(const struct view *v, struct grid *g)
{
    const struct view_overlay *o = &v->overlay;
    int rows = min_int(LIST_ROWS, g->h - 8);
    struct rect in = open_box(g, LIST_W, rows + 4, o->title);
    entry_draw(&o->input, g, (struct rect){in.x, in.y, in.w, 1}, true);
    grid_hline(g, in.x - 2, in.y + 1, in.w + 4, ROLE_BORDER_FOCUS);
    struct rect list = {in.x, in.y + 2, in.w, max_int(in.h - 2, 0)};
    if (o->n_items == 0)
        grid_puts(g, list.x, list.y, ROLE_DIM, "nothing matches");
    int top = list_top(o, list.h);
    char note[64] = "Enter choose  Esc close";
    draw_items(g, list, o, top);
    if ((int)o->n_items > list.h)
        snprintf(note, sizeof note, "%d-%d of %d  Enter choose  Esc close", top + 1, top + list.h,
                 (int)o->n_items);
    box_note(g, in, note);
}

static void draw_ask(const struct view *v, struct grid *g)
{
    const struct view_overlay *o = &v->overlay;
    bool prompt = o->kind == OVERLAY_PROMPT;
    const char *text = o->text ? o->text : "";
    int inside = min_int(ASK_W, g->w - 2 * MARGIN) - 4;
    int lines = *text ? grid_paragraph(NULL, (struct rect){0, 0, inside, g->h}, text, ROLE_POPUP) : 0;
    struct rect in = open_box(g, ASK_W, lines + (prompt ? 1 : 0) + 2, o->title);
    grid_paragraph(g, in, text, ROLE_POPUP);
    if (prompt)
        entry_draw(&o->input, g, (struct rect){in.x, in.y + in.h - 1, in.w, 1}, true);
    box_note(g, in, o->keys && *o->keys ? o->keys : "Enter ok  Esc cancel");
}

/* Completions stand above the input line, which keeps the cursor. */
static void draw_complete(const struct view *v, struct grid *g, const struct layout *l)
{
    const struct view_overlay *o = &v->overlay;
    struct rect input = l->pane[PANE_INPUT].body;
    if (!l->pane[PANE_INPUT].shown || o->n_items == 0)
        return;
    int rows = min_int(min_int((int)o->n_items, COMPLETE_ROWS), input.y - 3);
    if (rows < 1)
        return;
    struct rect box = {input.x, input.y - rows - 2, min_int(COMPLETE_W, input.w), rows + 2};
    grid_fill(g, box, ROLE_POPUP);
    grid_box(g, box, ROLE_BORDER_FOCUS);
    struct rect in = {box.x + 2, box.y + 1, max_int(box.w - 4, 0), rows};
    int top = list_top(o, rows);
    char note[64];
    draw_items(g, in, o, top);
    if ((int)o->n_items > rows) {
        snprintf(note, sizeof note, "%d-%d of %d  Up/Down Tab", top + 1, top + rows, (int)o->n_items);
        box_note(g, in, note);
    }
}

void overlay_draw(const struct view *v, struct grid *g, const struct layout *l)
{
    static void (*const draw[])(const struct view *, struct grid *) = {
        [OVERLAY_NONE] = NULL,        [OVERLAY_HELP] = draw_help,  [OVERLAY_LIST] = draw_list,
        [OVERLAY_CONFIRM] = draw_ask, [OVERLAY_PROMPT] = draw_ask, [OVERLAY_COMPLETE] = NULL,
        [OVERLAY_TEXT] = draw_text,
    };
    unsigned kind = v->overlay.kind;
    if (kind >= sizeof draw / sizeof draw[0] || l->too_small)
        return;
    if (kind == OVERLAY_COMPLETE)
        draw_complete(v, g, l);
    else if (draw[kind]) {
        g->cursor_x = g->cursor_y = -1; /* the box has the keys now, and the screen behind it steps back */
        grid_restyle(g, (struct rect){0, 0, g->w, g->h}, ROLE_DIM);
        draw[kind](v, g);
    }
}

void view_overlay_lines(const struct view *v, int w, int h, int *lines, int *page)
{
    *lines = v->overlay.kind == OVERLAY_HELP ? help_lines(-1, NULL) : count_lines(v->overlay.text, w);
    *page = max_int(min_int(*lines, h - 4), 0);
}
