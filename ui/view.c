#include "ui/view.h"

#include <stdio.h>
#include <string.h>

#include "ui/entry.h"
#include "ui/format.h"
#include "ui/overlay.h"

static const struct pane *const panes[PANE_COUNT] = {
    [PANE_SESSIONS] = &pane_sessions, [PANE_CHAT] = &pane_chat, [PANE_QUEUE] = &pane_queue,
    [PANE_BATCH] = &pane_batch,       [PANE_KV] = &pane_kv,     [PANE_RATES] = &pane_rates,
    [PANE_LATENCY] = &pane_latency,
};

enum { SUMMARY_MAX = 160 };

const struct snap_request *view_request(const struct view *v, uint32_t tag)
{
    const struct snapshot *s = v->snap;
    for (uint32_t i = 0; i < s->n_running; i++)
        if (s->running[i].tag == tag)
            return &s->running[i];
    for (uint32_t i = 0; i < s->n_queue; i++)
        if (s->queue[i].tag == tag)
            return &s->queue[i];
    return NULL;
}

void view_layout(const struct view *v, int w, int h, struct layout *out)
{
    layout_compute(w, h, v->preset, v->focus, v->zoom, 1, out);
    int rows = out->pane[PANE_INPUT].shown ? entry_rows(&v->input, out->pane[PANE_INPUT].body.w) : 1;
    if (rows > 1)
        layout_compute(w, h, v->preset, v->focus, v->zoom, rows, out);
}

/* "terminal too small (20×5, needs 40×12)", over as many lines as it takes. */
static void draw_too_small(struct grid *g)
{
    char text[96];
    snprintf(text, sizeof text, "terminal too small (%d%s%d, needs %d%s%d)", g->w, g->ascii ? "x" : "×", g->h,
             LAYOUT_MIN_W, g->ascii ? "x" : "×", LAYOUT_MIN_H);
    grid_paragraph(g, (struct rect){0, 0, g->w, g->h}, text, ROLE_WARN);
}

/* ── the top line ── */

/* A piece of it; those with the highest rank go first when it gets narrow. */
struct piece {
    char text[160];
    style_t style;
    int rank; /* 0: stays whatever happens */
};

/* The engine's life cycle, in words and colours. */
static const struct {
    const char *name;
    uint8_t role;
} states[] = {
    [ENGINE_INITIALIZING] = {"STARTING", ROLE_WARN}, [ENGINE_LOADING] = {"LOADING", ROLE_WARN},
    [ENGINE_WARMING] = {"WARMING", ROLE_WARN},       [ENGINE_READY] = {"READY", ROLE_OK},
    [ENGINE_STOPPING] = {"STOPPING", ROLE_WARN},     [ENGINE_STOPPED] = {"STOPPED", ROLE_DIM},
    [ENGINE_FAILED] = {"FAILED", ROLE_ERROR},
};

enum { PIECES_MAX = 12, PIECE_GAP = 2 };

struct pieces {
    struct piece p[PIECES_MAX];
    int n;
};

static void piece_add(struct pieces *all, int rank, style_t style, const char *text)
{
    if (!*text || all->n == PIECES_MAX)
        return;
    struct piece *p = &all->p[all->n++];
    snprintf(p->text, sizeof p->text, "%s", text);
    p->style = style;
    p->rank = rank;
}

static int pieces_width(const struct pieces *all)
{
    int w = 0;
    for (int i = 0; i < all->n; i++)
        w += text_width(all->p[i].text, strlen(all->p[i].text)) + (i ? PIECE_GAP : 0);
    return w;
}

/* Takes out the piece of the highest rank from either side. False: nothing may go any more. */
static bool pieces_shrink(struct pieces *a, struct pieces *b)
{
    struct pieces *from = NULL;
    int at = 0, rank = 0;
    for (int side = 0; side < 2; side++) {
        struct pieces *s = side ? b : a;
        for (int i = 0; i < s->n; i++) {
            if (s->p[i].rank > rank) {
                rank = s->p[i].rank;
                from = s;
                at = i;
            }
        }
    }
    if (!from)
        return false;
    memmove(&from->p[at], &from->p[at + 1], (size_t)(from->n - at - 1) * sizeof from->p[0]);
    from->n--;
    return true;
}

static void draw_pieces(struct grid *g, int x, int y, const struct pieces *all)
{
    for (int i = 0; i < all->n; i++)
        x = grid_puts(g, x, y, all->p[i].style, all->p[i].text) + PIECE_GAP;
}

static void draw_title(const struct view *v, struct grid *g, struct rect r)
{
    const struct snapshot *s = v->snap;
    char text[128], a[FORMAT_MAX];
    struct pieces left = {.n = 0}, right = {.n = 0};
    piece_add(&left, 0, ROLE_BRAND | STYLE_BOLD, s->sim ? "weft SIM" : "weft");
    piece_add(&left, 3, ROLE_TEXT, s->model);
    piece_add(&left, 8, ROLE_DIM, s->device);
    piece_add(&left, 7, ROLE_DIM, s->sim ? "" : s->precision);
    if ((unsigned)s->state < sizeof states / sizeof states[0])
        piece_add(&left, 0, states[s->state].role | STYLE_BOLD, states[s->state].name);
    if (s->frozen)
        piece_add(&left, 0, ROLE_WARN | STYLE_BOLD, "FROZEN");
    if (s->under_pressure)
        piece_add(&left, 0, ROLE_ERROR | STYLE_BOLD, "MEMORY");
    if (s->state == ENGINE_READY) {
        snprintf(text, sizeof text, "step %s", format_count(a, s->step));
        piece_add(&right, 5, ROLE_DIM, text);
        snprintf(text, sizeof text, "%s tok/s", format_rate(a, s->decode_tps + s->prefill_tps));
        piece_add(&right, 1, ROLE_VALUE, text);
        snprintf(text, sizeof text, "batch %u/%u", (unsigned)s->n_running, (unsigned)s->max_batch_size);
        piece_add(&right, 2, ROLE_VALUE, text);
        snprintf(text, sizeof text, "kv %u%%",
                 s->kv_total ? (unsigned)(100ull * s->kv_used / s->kv_total) : 0);
        piece_add(&right, 4, ROLE_VALUE, text);
    } else {
        piece_add(&right, 6, ROLE_DIM, s->state_detail);
    }
    int room = r.w - 2; /* a column free at each side */
    while (pieces_width(&left) + (right.n ? PIECE_GAP : 0) + pieces_width(&right) > room)
        if (!pieces_shrink(&left, &right))
            break;
    draw_pieces(g, r.x + 1, r.y, &left);
    draw_pieces(g, r.x + r.w - 1 - pieces_width(&right), r.y, &right);
}

/* ── the bottom line ── */

/* What the key bar offers, most useful first: one action, or two whose keys share a label. */
static const struct bar_item {
    enum action a, b;
    const char *label; /* NULL: the action's own */
    bool input, panes; /* shown while the input line, while a pane is focused */
} bar_items[] = {
    {ACTION_HELP, ACTION_NONE, NULL, true, true},
    {ACTION_NEW, ACTION_NONE, NULL, true, true},
    {ACTION_PALETTE, ACTION_NONE, NULL, true, true},
    {ACTION_FOCUS_NEXT, ACTION_NONE, NULL, true, true},
    {ACTION_PRIO_UP, ACTION_PRIO_DOWN, "priority", true, true},
    {ACTION_STOP, ACTION_NONE, NULL, true, false},
    {ACTION_QUIT, ACTION_NONE, NULL, true, true},
    {ACTION_ZOOM_IN, ACTION_ZOOM_OUT, "zoom", false, true},
    {ACTION_LAYOUT_NEXT, ACTION_NONE, NULL, false, true},
    {ACTION_FREEZE, ACTION_NONE, NULL, true, true},
    {ACTION_STEP, ACTION_NONE, NULL, true, true},
    {ACTION_FIND, ACTION_NONE, NULL, false, true},
    {ACTION_PAGE_UP, ACTION_PAGE_DOWN, "scroll", true, false},
};

/* The first key of an action that acts here: "F1". "" when there is none. */
static void first_key(enum action a, bool in_input, char out[KEY_NAME_MAX])
{
    out[0] = 0;
    for (size_t i = 0; i < keymap_n_bindings; i++) {
        const struct key_binding *b = &keymap_bindings[i];
        if (b->action == a && b->scope != (in_input ? SCOPE_PANES : SCOPE_INPUT)) {
            key_name(b->key, out);
            return;
        }
    }
}

static void draw_keys(const struct view *v, struct grid *g, struct rect r)
{
    bool in_input = v->focus == PANE_INPUT;
    int x = r.x + 2, end = r.x + r.w - 2;
    for (size_t i = 0; i < sizeof bar_items / sizeof bar_items[0]; i++) {
        const struct bar_item *item = &bar_items[i];
        if (in_input ? !item->input : !item->panes)
            continue;
        char key[KEY_NAME_MAX], second[KEY_NAME_MAX], both[2 * KEY_NAME_MAX];
        first_key(item->a, in_input, key);
        first_key(item->b, in_input, second);
        if (!*key)
            continue;
        snprintf(both, sizeof both, "%s%s%s", key, *second ? "/" : "", second);
        const char *label = item->label ? item->label : keymap_action(item->a)->brief;
        int need = (int)(strlen(both) + 1 + strlen(label));
        if (x + need + 2 > end)
            break;
        grid_putc(g, x - 1, r.y, ' ', ROLE_BORDER);
        x = grid_puts(g, x, r.y, ROLE_KEY, both);
        x = grid_printf(g, x, r.y, ROLE_KEY_LABEL, " %s ", label) + 1;
    }
}

static void draw_toast(const struct view *v, struct grid *g, struct rect r)
{
    static const uint8_t roles[] = {
        [TOAST_INFO] = ROLE_TEXT, [TOAST_WARN] = ROLE_WARN, [TOAST_ERROR] = ROLE_ERROR};
    const char *text = v->toast.text ? v->toast.text : "";
    int w = text_width(text, strlen(text)), room = r.w - 6;
    w = w < room ? w : room;
    grid_fill(g, (struct rect){r.x + 1, r.y, w + 4 < r.w - 2 ? w + 4 : r.w - 2, 1}, ROLE_TEXT);
    style_t style = roles[v->toast.kind];
    grid_puts(g, r.x + 2, r.y, style | STYLE_BOLD, v->toast.kind == TOAST_INFO ? glyph(g, GLYPH_DOT) : "!");
    grid_ellipsis(g, r.x + 4, r.y, room, text, strlen(text), style);
}

/* ── frames ── */

/* Shortens "HIGH · RUNNING · 41 tok/s" by whole figures until it fits; what can't be is cut when drawn. */
static void drop_last_figures(const struct view *v, char *about, int room)
{
    const char *dot = v->ascii ? " - " : " · ";
    while (text_width(about, strlen(about)) > room) {
        char *last = NULL;
        for (char *p = strstr(about, dot); p; p = strstr(p + 1, dot))
            last = p;
        if (!last)
            return;
        *last = 0;
    }
}

/* The name of a pane in its upper edge, and what it says of itself. */
static void draw_pane_title(const struct view *v, struct grid *g, const struct pane *p, struct rect frame,
                            bool focused)
{
    int x = frame.x + 2, end = frame.x + frame.w - 2;
    char title[SUMMARY_MAX], about[SUMMARY_MAX] = "";
    style_t style = focused ? ROLE_TITLE_FOCUS : ROLE_TITLE;
    snprintf(title, sizeof title, "%s", p->title);
    if (p->id == PANE_CHAT && v->active < v->n_sessions) {
        const struct view_session *s = &v->sessions[v->active];
        snprintf(title, sizeof title, "%u %s", (unsigned)s->number, s->title && *s->title ? s->title : "new");
        style = theme_session_role(s->number) | STYLE_BOLD;
    }
    if (p->summary)
        p->summary(v, about, sizeof about);
    /* The title gives way to the figures, but keeps a third of the room. */
    int room = end - x - 1, about_w = text_width(about, strlen(about));
    int title_w = text_width(title, strlen(title));
    int title_room = room - (about_w ? about_w + 1 : 0);
    title_room = title_room < room / 3 ? room / 3 : title_room;
    title_w = title_w < title_room ? title_w : title_room;
    if (room < 3)
        return;
    grid_putc(g, x - 1, frame.y, ' ', ROLE_BORDER);
    x = grid_ellipsis(g, x, frame.y, title_w, title, strlen(title), style);
    grid_putc(g, x++, frame.y, ' ', ROLE_BORDER);
    int about_room = end - x - 1;
    if (about_w > about_room)
        drop_last_figures(v, about, about_room);
    if (*about && about_room > 2) {
        x = grid_ellipsis(g, x, frame.y, about_room, about, strlen(about), ROLE_DIM);
        grid_putc(g, x, frame.y, ' ', ROLE_BORDER);
    }
}

static void draw_panes(const struct view *v, struct grid *g, const struct layout *l)
{
    for (int i = 0; i < PANE_COUNT; i++)
        if (l->pane[i].shown && panes[i])
            grid_box(g, l->pane[i].frame, ROLE_BORDER);
    /* Again, over the edges shared with others. With the keys in the input line, its cursor tells, and frames stay quiet. */
    if (l->pane[v->focus].shown && panes[v->focus])
        grid_box(g, l->pane[v->focus].frame, ROLE_BORDER_FOCUS);
    for (int i = 0; i < PANE_COUNT; i++) {
        const struct layout_pane *p = &l->pane[i];
        if (!p->shown || !panes[i])
            continue;
        draw_pane_title(v, g, panes[i], p->frame, v->focus == (enum pane_id)i);
        if (p->body.w < panes[i]->min_w || p->body.h < panes[i]->min_h)
            continue;
        struct rect old = grid_clip(g, p->body);
        panes[i]->draw(v, g, p->body);
        grid_unclip(g, old);
    }
}

void view_draw(const struct view *v, struct grid *g)
{
    struct layout l;
    g->ascii = v->ascii;
    g->cursor_x = g->cursor_y = -1;
    grid_fill(g, (struct rect){0, 0, g->w, g->h}, ROLE_TEXT);
    view_layout(v, g->w, g->h, &l);
    if (l.too_small) {
        draw_too_small(g);
        return;
    }
    draw_title(v, g, l.title);
    draw_panes(v, g, &l);
    if (l.pane[PANE_INPUT].shown)
        entry_draw(&v->input, g, l.pane[PANE_INPUT].body, v->focus == PANE_INPUT);
    if (v->toast.kind != TOAST_NONE)
        draw_toast(v, g, l.keys);
    else
        draw_keys(v, g, l.keys);
    overlay_draw(v, g, &l);
}
