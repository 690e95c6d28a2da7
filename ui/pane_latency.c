/*
 * Latency percentiles, and the engine's other figures as far as there is room: requests, steps, memory, prefix cache.
 */
#include <stdio.h>

#include "ui/format.h"
#include "ui/view.h"

enum { LABEL_W = 10, FIGURE_W = 9 };

/* Two figures, right-aligned in columns; the second is left out where it's narrow. */
static void two_figures(struct grid *g, struct rect r, style_t style, const char *p50, const char *p99)
{
    int end = r.x + r.w, first = r.x + FIGURE_W < end ? r.x + FIGURE_W : end;
    grid_right(g, r.x, first, r.y, style, p50);
    if (first + FIGURE_W <= end)
        grid_right(g, first, first + FIGURE_W, r.y, style, p99);
}

static void percentiles(struct grid *g, struct rect r, const struct snap_percentiles *p)
{
    char a[FORMAT_MAX], b[FORMAT_MAX];
    two_figures(g, r, ROLE_VALUE, format_ms(a, p->p50), format_ms(b, p->p99));
}

static void draw_head(const struct snapshot *s, struct grid *g, struct rect r)
{
    (void)s;
    two_figures(g, r, ROLE_DIM, "p50", "p99");
}

static void draw_ttft(const struct snapshot *s, struct grid *g, struct rect r)
{
    percentiles(g, r, &s->ttft);
}

static void draw_itl(const struct snapshot *s, struct grid *g, struct rect r)
{
    percentiles(g, r, &s->itl);
}

static void draw_requests(const struct snapshot *s, struct grid *g, struct rect r)
{
    char a[FORMAT_MAX];
    int x = grid_puts(g, r.x, r.y, ROLE_VALUE, format_count(a, s->completed));
    x = grid_puts(g, x, r.y, ROLE_DIM, " done");
    if (s->failed + s->rejected)
        grid_printf(g, x, r.y, ROLE_ERROR, "  %s failed", format_count(a, s->failed + s->rejected));
}

static void draw_steps(const struct snapshot *s, struct grid *g, struct rect r)
{
    char a[FORMAT_MAX], now[FORMAT_MAX];
    int x = grid_puts(g, r.x, r.y, ROLE_VALUE, format_count(a, s->total_batches));
    x = grid_printf(g, x, r.y, ROLE_DIM, "  batch %.1f", s->avg_batch_size);
    int n = snprintf(now, sizeof now, ", now %.1f", s->avg_batch_size_10s);
    if (x + n <= r.x + r.w)
        grid_puts(g, x, r.y, ROLE_DIM, now);
}

/* "412 MB  soft 5.6 GB  hard 6.8 GB". */
static void draw_memory(const struct snapshot *s, struct grid *g, struct rect r)
{
    char a[FORMAT_MAX];
    style_t style = s->under_pressure ? ROLE_ERROR : ROLE_VALUE;
    int x = grid_puts(g, r.x, r.y, style, format_megabytes(a, s->memory_mb));
    if (s->max_memory_mb > 0)
        x = grid_printf(g, x, r.y, ROLE_DIM, "  soft %s", format_megabytes(a, s->max_memory_mb));
    if (s->critical_memory_mb > 0 && x + 14 <= r.x + r.w)
        grid_printf(g, x, r.y, ROLE_DIM, "  hard %s", format_megabytes(a, s->critical_memory_mb));
}

/* The same as a bar: up to the hard limit, at which everything is refused, with a mark at the soft one, from which on
 * background work is. */
static void draw_memory_bar(const struct snapshot *s, struct grid *g, struct rect r)
{
    enum { BAR_MAX = 32 };
    int w = r.w < BAR_MAX ? r.w : BAR_MAX;
    if (!(s->critical_memory_mb > 0) || w < 3)
        return;
    for (int x = 0; x < w; x++)
        grid_puts(g, r.x + x, r.y, ROLE_KV_FREE, glyph(g, GLYPH_FREE));
    bool critical = s->memory_mb >= s->critical_memory_mb;
    grid_bar(g, r.x, r.y, w, s->memory_mb / s->critical_memory_mb,
             critical            ? ROLE_ERROR
             : s->under_pressure ? ROLE_WARN
                                 : ROLE_BAR);
    int soft = (int)(s->max_memory_mb / s->critical_memory_mb * w);
    if (s->max_memory_mb > 0 && soft < w - 1)
        grid_puts(g, r.x + soft, r.y, ROLE_WARN, g->ascii ? "|" : "┊");
    grid_puts(g, r.x + w - 1, r.y, ROLE_ERROR, g->ascii ? "|" : "┊");
    if (s->under_pressure && w + 2 + 8 <= r.w)
        grid_puts(g, r.x + w + 2, r.y, ROLE_ERROR, critical ? "CRITICAL" : "PRESSURE");
}

static void draw_prefix(const struct snapshot *s, struct grid *g, struct rect r)
{
    if (s->prefix_query_tokens == 0) {
        grid_puts(g, r.x, r.y, ROLE_DIM, "-");
        return;
    }
    double hits = 100.0 * (double)s->prefix_hit_tokens / (double)s->prefix_query_tokens;
    int x = grid_printf(g, r.x, r.y, ROLE_VALUE, "%.0f%%", hits);
    grid_puts(g, x, r.y, ROLE_DIM, " of prompts cached");
}

static void draw_preemptions(const struct snapshot *s, struct grid *g, struct rect r)
{
    char a[FORMAT_MAX];
    grid_puts(g, r.x, r.y, ROLE_VALUE, format_count(a, s->preemptions));
}

static void draw_uptime(const struct snapshot *s, struct grid *g, struct rect r)
{
    char a[FORMAT_MAX];
    grid_puts(g, r.x, r.y, ROLE_VALUE, format_seconds(a, (double)s->uptime_us / 1e6));
}

/* Most wanted first: rows that don't fit are left out from the end. A row without a way to draw is empty. */
static const struct {
    const char *label;
    void (*draw)(const struct snapshot *s, struct grid *g, struct rect r); /* r: the row behind its label */
} rows[] = {
    {"last 60 s", draw_head},    {"TTFT", draw_ttft},
    {"ITL", draw_itl},           {"", NULL},
    {"requests", draw_requests}, {"steps", draw_steps},
    {"memory", draw_memory},     {"", draw_memory_bar},
    {"prefix", draw_prefix},     {"preempted", draw_preemptions},
    {"up", draw_uptime},
};

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    int n = (int)(sizeof rows / sizeof rows[0]);
    for (int i = 0; i < n && i < body.h; i++) {
        grid_puts(g, body.x, body.y + i, ROLE_DIM, rows[i].label);
        if (rows[i].draw)
            rows[i].draw(v->snap, g, (struct rect){body.x + LABEL_W, body.y + i, body.w - LABEL_W, 1});
    }
}

const struct pane pane_latency = {PANE_LATENCY, "LATENCY", 20, 3, NULL, draw};
