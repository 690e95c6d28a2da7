/* Throughput over time: decode and prefill tokens/s, and the queue's depth where there is room for a third graph. */
#include <stdio.h>
#include <string.h>

#include "ui/format.h"
#include "ui/view.h"

enum {
    GRAPH_MIN_H = 3,
    GRAPHS = 3,
    NARROW_W = 30,
    LATENCY_MIN_H = 8,
    LATENCY_H = 2
}; /* a graph has its line of text */

struct series {
    const char *name;
    const char *unit; /* NULL: of max_depth, which it is measured against */
    uint8_t role;
    float (*value)(const struct snap_rate *r);
    double (*now)(const struct snapshot *s);
};

static float decode_value(const struct snap_rate *r)
{
    return r->decode_tps;
}

static float prefill_value(const struct snap_rate *r)
{
    return r->prefill_tps;
}

static float depth_value(const struct snap_rate *r)
{
    return r->depth;
}

static double decode_now(const struct snapshot *s)
{
    return s->decode_tps;
}

static double prefill_now(const struct snapshot *s)
{
    return s->prefill_tps;
}

static double depth_now(const struct snapshot *s)
{
    return s->queue_depth;
}

static const struct series all_series[GRAPHS] = {
    {"decode", "tok/s", ROLE_GRAPH_DECODE, decode_value, decode_now},
    {"prefill", "tok/s", ROLE_GRAPH_PREFILL, prefill_value, prefill_now},
    {"queue", NULL, ROLE_GRAPH_QUEUE, depth_value, depth_now},
};

/* A queue that is nearly full is worth a look. */
static bool nearly_full(const struct snapshot *s)
{
    enum { PERCENT = 80 };
    return s->max_depth && 100ull * s->queue_depth >= (uint64_t)PERCENT * s->max_depth;
}

/* "decode 580 tok/s     top 1000", or "queue 6 of 1000     top 15", over a graph. */
static void draw_series(const struct view *v, struct grid *g, struct rect r, const struct series *series)
{
    const struct snapshot *s = v->snap;
    float values[SNAP_RATES];
    float most = 0;
    int n = (int)(s->n_rates < SNAP_RATES ? s->n_rates : SNAP_RATES);
    int shown = graph_samples(g->ascii ? GRAPH_ASCII : v->graph, r.w);
    for (int i = 0; i < n; i++) {
        values[i] = series->value(&s->rates[i]);
        if (i >= n - shown && values[i] > most) /* the scale is that of what is seen */
            most = values[i];
    }
    double scale = format_scale((double)most);
    char now[FORMAT_MAX], top[FORMAT_MAX], label[2 * FORMAT_MAX];
    style_t value = !series->unit && nearly_full(s) ? ROLE_ERROR : ROLE_VALUE;
    int x = grid_printf(g, r.x, r.y, series->role, "%s ", series->name);
    x = grid_puts(g, x, r.y, value | STYLE_BOLD, format_rate(now, series->now(s)));
    if (series->unit)
        x = grid_printf(g, x, r.y, ROLE_DIM, " %s", series->unit);
    else
        x = grid_printf(g, x, r.y, ROLE_DIM, " of %u", (unsigned)s->max_depth);
    snprintf(label, sizeof label, "top %s", format_rate(top, scale));
    if (x + 2 + (int)strlen(label) <= r.x + r.w)
        grid_right(g, x, r.x + r.w, r.y, ROLE_DIM, label);
    grid_graph(g, (struct rect){r.x, r.y + 1, r.w, r.h - 1}, v->graph, values, n, scale, series->role);
}

/* "TTFT  82 ms  1.3 s": p50, and p99 where it fits. */
static void draw_percentiles(struct grid *g, struct rect row, const char *name,
                             const struct snap_percentiles *p)
{
    char a[FORMAT_MAX], b[FORMAT_MAX];
    int x = grid_puts(g, row.x, row.y, ROLE_DIM, name);
    format_ms(a, p->p50);
    format_ms(b, p->p99);
    int end = row.x + row.w, p99_x = end;
    if (x + 3 + (int)(strlen(a) + strlen(b)) <= end)
        p99_x = grid_right(g, x, end, row.y, ROLE_DIM, b) - 2;
    grid_right(g, x + 1, p99_x, row.y, ROLE_VALUE, a);
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    if (body.w < NARROW_W && body.h >= LATENCY_MIN_H) {
        body.h -= LATENCY_H;
        draw_percentiles(g, (struct rect){body.x, body.y + body.h, body.w, 1}, "TTFT", &v->snap->ttft);
        draw_percentiles(g, (struct rect){body.x, body.y + body.h + 1, body.w, 1}, "ITL", &v->snap->itl);
    }
    int graphs = body.h / GRAPH_MIN_H;
    graphs = graphs < 1 ? 1 : graphs > GRAPHS ? GRAPHS : graphs;
    int y = body.y;
    for (int i = 0; i < graphs; i++) {
        int h = (body.y + body.h - y) / (graphs - i);
        draw_series(v, g, (struct rect){body.x, y, body.w, h}, &all_series[i]);
        y += h;
    }
}

static void summary(const struct view *v, char *out, size_t size)
{
    char a[FORMAT_MAX];
    snprintf(out, size, "%s", format_rate(a, v->snap->decode_tps + v->snap->prefill_tps));
}

const struct pane pane_rates = {PANE_RATES, "TOK/S", 14, 2, summary, draw};
