#include "ui/view.h"

#include <stdio.h>
#include <string.h>

#include "ui/bars.h"
#include "ui/entry.h"
#include "ui/overlay.h"
#include "ui/status.h"

static const struct pane *const panes[PANE_COUNT] = {
    [PANE_SESSIONS] = &pane_sessions, [PANE_CHAT] = &pane_chat,     [PANE_QUEUE] = &pane_queue,
    [PANE_BATCH] = &pane_batch,       [PANE_KV] = &pane_kv,         [PANE_RATES] = &pane_rates,
    [PANE_LATENCY] = &pane_latency,   [PANE_EVENTS] = &pane_events,
};

enum { SUMMARY_MAX = 160 };

const struct snap_request *view_request(const struct view *v, uint32_t tag)
{
    const struct snapshot *s = v->past ? v->past : v->snap;
    for (uint32_t i = 0; i < s->n_running; i++)
        if (s->running[i].tag == tag)
            return &s->running[i];
    for (uint32_t i = 0; i < s->n_queue; i++)
        if (s->queue[i].tag == tag)
            return &s->queue[i];
    return NULL;
}

static bool inside(struct rect r, int x, int y)
{
    return x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h;
}

struct view_hit view_hit(const struct view *v, int w, int h, int x, int y)
{
    struct view_hit hit = {PANE_COUNT, SIZE_MAX};
    struct layout l;
    view_layout(v, w, h, &l);
    for (int p = 0; p < PANE_COUNT; p++)
        if (l.pane[p].shown && inside(l.pane[p].body, x, y))
            hit.pane = (enum pane_id)p;
    struct rect list = l.pane[PANE_SESSIONS].body;
    if (hit.pane == PANE_SESSIONS) {
        size_t at = view_sessions_top(v, list.h) + (size_t)(y - list.y);
        hit.session = at < v->n_sessions ? at : SIZE_MAX;
    }
    return hit;
}

int view_scroll_by(enum pane_id pane, int scroll, int lines)
{
    enum { MOST = SNAP_STEPS + SNAP_QUEUE }; /* more rows than any pane has */
    bool backwards = pane == PANE_BATCH || pane == PANE_EVENTS;
    int to = backwards ? scroll - lines : scroll + lines;
    return to < 0 ? 0 : to > MOST ? MOST : to;
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
        bool given;
        snprintf(title, sizeof title, "%u %s", (unsigned)s->number, status_title(s, &given));
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

/* ── the caption of a demonstration ── */

enum { CAPTION_LINES = 2, CAPTION_H = CAPTION_LINES + 1, CAPTION_MIN_BODY = CAPTION_H + 4 };

/* Takes the caption's rows from the top of the chat or, where that isn't shown, of the focused pane. */
static struct rect take_caption(const struct view *v, struct layout *l)
{
    struct layout_pane *host = &l->pane[l->pane[PANE_CHAT].shown ? PANE_CHAT : v->focus];
    struct rect r = {host->body.x, host->body.y, host->body.w, CAPTION_H};
    if (!v->caption || !host->shown || host->body.h < CAPTION_MIN_BODY)
        return (struct rect){0};
    host->body.y += CAPTION_H;
    host->body.h -= CAPTION_H;
    return r;
}

static void draw_caption(const struct view *v, struct grid *g, struct rect r)
{
    if (!r.h)
        return;
    for (int i = 0; i < CAPTION_LINES; i++)
        grid_puts(g, r.x + 1, r.y + i, ROLE_KEY, glyph(g, GLYPH_QUOTE));
    grid_paragraph(g, (struct rect){r.x + 3, r.y, r.w - 4, CAPTION_LINES}, v->caption, ROLE_HEADING);
    grid_hline(g, r.x - 1, r.y + CAPTION_LINES, r.w + 2, ROLE_BORDER);
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
    struct view shown = *v; /* the panes know one moment, whichever it is */
    shown.snap = v->past ? v->past : v->snap;
    struct rect caption = take_caption(v, &l);
    bars_title(v, g, l.title);
    draw_panes(&shown, g, &l);
    draw_caption(v, g, caption);
    if (l.pane[PANE_INPUT].shown)
        entry_draw(&v->input, g, l.pane[PANE_INPUT].body, v->focus == PANE_INPUT);
    bars_keys(v, g, l.keys);
    overlay_draw(&shown, g, &l);
}
