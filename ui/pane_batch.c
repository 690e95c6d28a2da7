/*
 * The batch timeline: a row for each slot, a column for each step, the newest at the right. What a slot did
 * in a step is a cell in the colour of its session: a prompt's chunk is shaded, a decoded token solid,
 * nothing a gap. Without colours a decode is its session's digit. A sequence that was preempted leaves a mark of
 * its own in the step that took its place, over whatever stands there. Below, where there is room, a key to the
 * signs, and how long the steps took.
 */
#include <stdio.h>
#include <string.h>

#include "ui/format.h"
#include "ui/view.h"

enum { LABEL_W = 3, TIMES_MIN_H = 4, TIMES_MAX_H = 7, LEGEND_MIN_H = 2 };

/* The steps on show: `columns` of them, from the snapshot's step `first` on. */
struct window {
    int first, columns;
};

static const struct snap_step *step_at(const struct view *v, int i)
{
    return snapshot_step(v->snap, (uint32_t)i);
}

/* How many steps back from the newest the pane is scrolled. */
static int steps_back(const struct view *v)
{
    int last = (int)v->snap->n_steps - 1, back = v->scroll[PANE_BATCH];
    return back < 0 || last < 0 ? 0 : back < last ? back : last;
}

static struct window window_of(const struct view *v, int columns)
{
    int end = (int)v->snap->n_steps - steps_back(v);
    int shown = end < columns ? end : columns;
    return (struct window){end - shown, shown};
}

static uint32_t items_of(const struct snap_step *s)
{
    return s->n_items < SNAP_STEP_ITEMS ? s->n_items : SNAP_STEP_ITEMS;
}

static uint32_t preempted_of(const struct snap_step *s)
{
    return s->n_preempted < SNAP_STEP_PREEMPTED ? s->n_preempted : SNAP_STEP_PREEMPTED;
}

/* Rows that the steps on show need. */
static int slots_of(const struct view *v, const struct window *w)
{
    int slots = 0;
    for (int i = 0; i < w->columns; i++) {
        const struct snap_step *s = step_at(v, w->first + i);
        for (uint32_t k = 0; k < items_of(s); k++)
            slots = s->items[k].slot + 1 > slots ? s->items[k].slot + 1 : slots;
        for (uint32_t k = 0; k < preempted_of(s); k++)
            if (s->preempted[k].slot != UINT8_MAX && s->preempted[k].slot + 1 > slots)
                slots = s->preempted[k].slot + 1;
    }
    return slots;
}

static void draw_item(const struct view *v, struct grid *g, int x, int y, const struct snap_step_item *item)
{
    style_t style = theme_session_role(item->tag);
    if (item->prefill)
        grid_puts(g, x, y, style, glyph(g, GLYPH_SHADE_MEDIUM));
    else if (v->mono || g->ascii)
        grid_putc(g, x, y, (uint32_t)theme_session_char(item->tag), style);
    else
        grid_puts(g, x, y, style, glyph(g, GLYPH_FULL));
}

/* A column: what each slot did in the step, and over it who lost its place. */
static void draw_step(const struct view *v, struct grid *g, int x, int y, int rows, const struct snap_step *s)
{
    for (uint32_t k = 0; k < items_of(s); k++)
        if (s->items[k].slot < rows)
            draw_item(v, g, x, y + s->items[k].slot, &s->items[k]);
    for (uint32_t k = 0; k < preempted_of(s); k++) {
        const struct snap_preemption *lost = &s->preempted[k];
        if (lost->slot < rows)
            grid_puts(g, x, y + lost->slot, theme_session_role(lost->tag) | STYLE_BOLD,
                      glyph(g, GLYPH_PREEMPTED));
    }
}

/* "▒ prefill  █ decode  ◁ preempted": whole items, as many as fit. */
static void draw_legend(const struct view *v, struct grid *g, struct rect row)
{
    const struct {
        const char *sign, *name;
        uint8_t role;
    } items[] = {
        {glyph(g, GLYPH_SHADE_MEDIUM), "prefill", ROLE_VALUE},
        {v->mono || g->ascii ? "1" : glyph(g, GLYPH_FULL), "decode", ROLE_VALUE},
        {glyph(g, GLYPH_PREEMPTED), "preempted", ROLE_STATE_PREEMPTED},
    };
    int x = row.x + LABEL_W, end = row.x + row.w;
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        if (x + 2 + (int)strlen(items[i].name) > end)
            return;
        grid_puts(g, x, row.y, items[i].role, items[i].sign);
        x = grid_puts(g, x + 2, row.y, ROLE_DIM, items[i].name) + 2;
    }
}

/* Who holds each slot now: the label of its row, in the session's colour. */
static void draw_labels(const struct view *v, struct grid *g, struct rect body, int rows,
                        const struct window *w)
{
    const struct snap_step *last = step_at(v, w->first + w->columns - 1);
    for (int slot = 0; slot < rows; slot++)
        grid_puts(g, body.x, body.y + slot, ROLE_DIM, glyph(g, GLYPH_DOT));
    for (uint32_t k = 0; k < items_of(last); k++) {
        const struct snap_step_item *item = &last->items[k];
        if (item->slot < rows && item->tag)
            grid_printf(g, body.x, body.y + item->slot, theme_session_role(item->tag) | STYLE_BOLD, "%-2u",
                        (unsigned)(item->tag % 100));
    }
}

/* Step times as a graph under the timeline, column under column. */
static void draw_times(const struct view *v, struct grid *g, struct rect r, const struct window *w)
{
    float ms[SNAP_STEPS];
    float most = 0;
    for (int i = 0; i < w->columns; i++) {
        int64_t us = step_at(v, w->first + i)->dur_us;
        ms[i] = us > 0 ? (float)us / 1000 : 0;
        most = ms[i] > most ? ms[i] : most;
    }
    const struct snap_step *last = step_at(v, w->first + w->columns - 1);
    bool no_time_yet = last->dur_us < 0 && w->columns > 1; /* in flight */
    int shown = no_time_yet ? w->columns - 2 : w->columns - 1;
    char a[FORMAT_MAX], b[FORMAT_MAX];
    double scale = format_scale((double)most);
    int x = grid_puts(g, r.x, r.y, ROLE_DIM, "step ");
    x = grid_puts(g, x, r.y, ROLE_VALUE, format_ms(a, (double)ms[shown]));
    char top[2 * FORMAT_MAX];
    snprintf(top, sizeof top, "top %s", format_ms(b, scale));
    grid_right(g, x + 2, r.x + r.w, r.y, ROLE_DIM, top);
    enum graph_mode mode = v->graph == GRAPH_BRAILLE ? GRAPH_BLOCK : v->graph; /* a column a step, as above */
    struct rect area = {r.x + LABEL_W, r.y + 1, r.w - LABEL_W, r.h - 1};
    grid_graph(g, area, mode, ms, w->columns, scale, ROLE_BAR);
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    if (v->snap->n_steps == 0) {
        grid_puts(g, body.x, body.y, ROLE_DIM, "no step yet");
        return;
    }
    int columns = body.w - LABEL_W;
    struct window w = window_of(v, columns < SNAP_STEPS ? columns : SNAP_STEPS);
    int x0 = body.x + body.w - w.columns;
    int slots = slots_of(v, &w);
    int rows = slots < body.h ? slots : body.h;
    bool legend = body.h - rows >= LEGEND_MIN_H;
    int times_h = body.h - rows - 1 - legend;
    times_h = times_h > TIMES_MAX_H ? TIMES_MAX_H : times_h;

    draw_labels(v, g, body, rows, &w);
    for (int i = 0; i < w.columns; i++)
        draw_step(v, g, x0 + i, body.y, rows, step_at(v, w.first + i));
    if (legend)
        draw_legend(v, g, (struct rect){body.x, body.y + rows, body.w, 1});
    if (times_h >= TIMES_MIN_H)
        draw_times(v, g, (struct rect){body.x, body.y + body.h - times_h, body.w, times_h}, &w);
}

/* "7/16"; back in time: "step 18 140, 64 back". */
static void summary(const struct view *v, char *out, size_t size)
{
    const struct snapshot *s = v->snap;
    char a[FORMAT_MAX];
    int back = steps_back(v);
    if (back > 0)
        snprintf(out, size, "step %s, %d back", format_count(a, step_at(v, (int)s->n_steps - 1 - back)->step),
                 back);
    else
        snprintf(out, size, "%u/%u", (unsigned)s->n_running, (unsigned)s->max_batch_size);
}

const struct pane pane_batch = {PANE_BATCH, "BATCH", 12, 1, summary, draw};
