#include "ui/bars.h"

#include <stdio.h>
#include <string.h>

#include "ui/format.h"

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

/* "◀ step 17 912 · 8.1s ago", and which keys lead on. */
static void add_moment(const struct view *v, struct pieces *left, bool ascii)
{
    char text[128], a[FORMAT_MAX], b[FORMAT_MAX];
    const char *dot = ascii ? "-" : "·";
    double ago = (double)(v->snap->now_us - v->past->now_us) / 1e6;
    snprintf(text, sizeof text, "%s step %s %s %s ago", ascii ? "<" : "◀", format_count(a, v->past->step),
             dot, format_seconds(b, ago));
    piece_add(left, 0, ROLE_WARN | STYLE_BOLD, text);
    piece_add(left, 9, ROLE_DIM, ascii ? "(Alt-Right forward, End live)" : "(Alt-→ forward, End live)");
}

static void add_state(const struct snapshot *s, struct pieces *left)
{
    char models[128];
    if (s->n_models > 1)
        snprintf(models, sizeof models, "%s +%u", s->model, (unsigned)(s->n_models - 1));
    else
        snprintf(models, sizeof models, "%s", s->model);
    piece_add(left, 3, ROLE_TEXT, models);
    piece_add(left, 8, ROLE_DIM, s->device);
    piece_add(left, 7, ROLE_DIM, s->sim ? "" : s->precision);
    if ((unsigned)s->state < sizeof states / sizeof states[0])
        piece_add(left, s->frozen ? 4 : 0, states[s->state].role | STYLE_BOLD, states[s->state].name);
    if (s->frozen) {
        piece_add(left, 0, ROLE_WARN | STYLE_BOLD, "FROZEN");
        piece_add(left, 9, ROLE_DIM, "(F5 one step, F4 go on)");
    }
}

static void add_figures(const struct snapshot *s, struct pieces *right)
{
    char text[128], a[FORMAT_MAX];
    snprintf(text, sizeof text, "step %s", format_count(a, s->step));
    piece_add(right, 5, ROLE_DIM, text);
    snprintf(text, sizeof text, "%s tok/s", format_rate(a, s->decode_tps + s->prefill_tps));
    piece_add(right, 1, ROLE_VALUE, text);
    snprintf(text, sizeof text, "batch %u/%u", (unsigned)s->n_running, (unsigned)s->max_batch_size);
    piece_add(right, 2, ROLE_VALUE, text);
    snprintf(text, sizeof text, "kv %u%%", s->kv_total ? (unsigned)(100ull * s->kv_used / s->kv_total) : 0);
    piece_add(right, 4, ROLE_VALUE, text);
}

void bars_title(const struct view *v, struct grid *g, struct rect r)
{
    const struct snapshot *s = v->past ? v->past : v->snap;
    struct pieces left = {.n = 0}, right = {.n = 0};
    piece_add(&left, 0, ROLE_BRAND | STYLE_BOLD, s->sim ? "weft SIM" : "weft");
    if (v->recording)
        piece_add(&left, 0, ROLE_ERROR | STYLE_BOLD, g->ascii ? "* REC" : "● REC");
    if (v->past)
        add_moment(v, &left, g->ascii);
    else
        add_state(s, &left);
    if (s->under_pressure)
        piece_add(&left, 0, ROLE_ERROR | STYLE_BOLD, "MEMORY");
    if (s->state == ENGINE_READY)
        add_figures(s, &right);
    else
        piece_add(&right, 6, ROLE_DIM, s->state_detail);
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
    {ACTION_PAST_BACK, ACTION_PAST_FORWARD, "past", true, true},
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

void bars_keys(const struct view *v, struct grid *g, struct rect r)
{
    if (v->toast.kind != TOAST_NONE)
        draw_toast(v, g, r);
    else
        draw_keys(v, g, r);
}
