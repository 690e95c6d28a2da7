/* Latency percentiles, and the engine's other figures as far as there is room: memory, requests, batches,
 * prefix cache. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ui/format.h"
#include "ui/view.h"

enum { LABEL_W = 10, FIGURE_W = 9 };

static void row_percentiles(const struct view *v, struct grid *g, struct rect row, const char *name,
                            const struct snap_percentiles *p)
{
    (void)v;
    char a[FORMAT_MAX];
    int end = row.x + row.w, col = row.x + LABEL_W;
    grid_puts(g, row.x, row.y, ROLE_DIM, name);
    grid_right(g, col, col + FIGURE_W < end ? col + FIGURE_W : end, row.y, ROLE_VALUE, format_ms(a, p->p50));
    if (col + 2 * FIGURE_W <= end)
        grid_right(g, col + FIGURE_W, col + 2 * FIGURE_W, row.y, ROLE_VALUE, format_ms(a, p->p99));
}

static void row_head(const struct view *v, struct grid *g, struct rect row)
{
    (void)v;
    int col = row.x + LABEL_W;
    grid_puts(g, row.x, row.y, ROLE_DIM, "last 60 s");
    grid_right(g, col, col + FIGURE_W, row.y, ROLE_DIM, "p50");
    if (LABEL_W + 2 * FIGURE_W <= row.w)
        grid_right(g, col + FIGURE_W, col + 2 * FIGURE_W, row.y, ROLE_DIM, "p99");
}

static void row_ttft(const struct view *v, struct grid *g, struct rect row)
{
    row_percentiles(v, g, row, "TTFT", &v->snap->ttft);
}

static void row_itl(const struct view *v, struct grid *g, struct rect row)
{
    row_percentiles(v, g, row, "ITL", &v->snap->itl);
}

static void row_blank(const struct view *v, struct grid *g, struct rect row)
{
    (void)v, (void)g, (void)row;
}

static void label(struct grid *g, struct rect row, const char *name)
{
    grid_puts(g, row.x, row.y, ROLE_DIM, name);
}

static void row_requests(const struct view *v, struct grid *g, struct rect row)
{
    char a[FORMAT_MAX];
    label(g, row, "requests");
    int x = grid_printf(g, row.x + LABEL_W, row.y, ROLE_VALUE, "%s", format_count(a, v->snap->completed));
    x = grid_puts(g, x, row.y, ROLE_DIM, " done");
    if (v->snap->failed + v->snap->rejected)
        grid_printf(g, x, row.y, ROLE_ERROR, "  %s failed",
                    format_count(a, v->snap->failed + v->snap->rejected));
}

static void row_batches(const struct view *v, struct grid *g, struct rect row)
{
    char a[FORMAT_MAX];
    label(g, row, "steps");
    int x = grid_printf(g, row.x + LABEL_W, row.y, ROLE_VALUE, "%s", format_count(a, v->snap->total_batches));
    grid_printf(g, x, row.y, ROLE_DIM, "  batch %.1f, now %.1f", v->snap->avg_batch_size,
                v->snap->avg_batch_size_10s);
}

static void row_memory(const struct view *v, struct grid *g, struct rect row)
{
    const struct snapshot *s = v->snap;
    char a[FORMAT_MAX], b[FORMAT_MAX];
    label(g, row, "memory");
    style_t style = s->under_pressure ? ROLE_ERROR : ROLE_VALUE;
    int x = grid_puts(g, row.x + LABEL_W, row.y, style, format_megabytes(a, s->memory_mb));
    if (s->max_memory_mb > 0)
        grid_printf(g, x, row.y, ROLE_DIM, " of %s", format_megabytes(b, s->max_memory_mb));
}

static void row_prefix(const struct view *v, struct grid *g, struct rect row)
{
    const struct snapshot *s = v->snap;
    label(g, row, "prefix");
    if (s->prefix_query_tokens == 0) {
        grid_puts(g, row.x + LABEL_W, row.y, ROLE_DIM, "-");
        return;
    }
    int x = grid_printf(g, row.x + LABEL_W, row.y, ROLE_VALUE, "%.0f%%",
                        100.0 * (double)s->prefix_hit_tokens / (double)s->prefix_query_tokens);
    grid_puts(g, x, row.y, ROLE_DIM, " of prompt tokens cached");
}

static void row_preemptions(const struct view *v, struct grid *g, struct rect row)
{
    char a[FORMAT_MAX];
    label(g, row, "preempted");
    grid_puts(g, row.x + LABEL_W, row.y, ROLE_VALUE, format_count(a, v->snap->preemptions));
}

static void row_uptime(const struct view *v, struct grid *g, struct rect row)
{
    char a[FORMAT_MAX];
    label(g, row, "up");
    grid_puts(g, row.x + LABEL_W, row.y, ROLE_VALUE, format_seconds(a, (double)v->snap->uptime_us / 1e6));
}

/* Most wanted first: rows that don't fit are left out from the end. */
static void (*const rows[])(const struct view *v, struct grid *g, struct rect row) = {
    row_head,    row_ttft,   row_itl,    row_blank,       row_requests,
    row_batches, row_memory, row_prefix, row_preemptions, row_uptime,
};

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    int n = (int)(sizeof rows / sizeof rows[0]);
    for (int i = 0; i < n && i < body.h; i++)
        rows[i](v, g, (struct rect){body.x, body.y + i, body.w, 1});
}

const struct pane pane_latency = {PANE_LATENCY, "latency", "LATENCY", 20, 3, NULL, draw};
