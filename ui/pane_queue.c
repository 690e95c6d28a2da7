/* Who waits, in the order of admission: base priority, what waiting has made of it, for how long, and why. */
#include <stdio.h>
#include <string.h>

#include "ui/status.h"
#include "ui/view.h"

/* Columns: "12  L 2.0→1.4 ██████ 6.1s  blocks"; where it's narrow, "12  L 1.4 ██████ 6.1s". */
enum {
    TAG_W = 4,
    PRIO_W = 2,
    RANGE_W = 10,
    NOW_W = 5,
    WAIT_W = 6,
    REASON_W = 12,
    BAR_MIN = 4,
    BAR_MAX = 24,
    HEADER_MIN_H = 5
};

/* How urgent a priority is: LOW 0, CRITICAL (and whatever aging puts above it) 1. */
static double urgency(double priority)
{
    double u = (PRIO_LOW - priority) / (PRIO_LOW - PRIO_CRITICAL);
    return u < 0 ? 0 : u > 1 ? 1 : u;
}

struct columns {
    bool base; /* the base priority, too, and not only what it has come to */
    int prio_x, range_x, bar_x, bar_w, wait_end, reason_x, reason_w;
};

static struct columns columns_of(struct rect body)
{
    struct columns c = {.prio_x = body.x + TAG_W, .range_x = body.x + TAG_W + PRIO_W};
    c.base = body.w >= TAG_W + PRIO_W + RANGE_W + BAR_MIN + WAIT_W;
    c.bar_x = c.range_x + (c.base ? RANGE_W : NOW_W);
    int rest = body.x + body.w - c.bar_x - WAIT_W;
    bool reason = rest >= BAR_MIN + REASON_W;
    int bar = rest - (reason ? REASON_W : 0);
    c.bar_w = bar < BAR_MIN ? 0 : bar > BAR_MAX ? BAR_MAX : bar;
    c.wait_end = c.bar_x + c.bar_w + WAIT_W;
    c.reason_x = c.wait_end + 2;
    c.reason_w = reason ? body.x + body.w - c.reason_x : 0;
    return c;
}

static void draw_header(struct grid *g, struct rect row, const struct columns *c)
{
    enum { URGENT_MIN = 8 };
    grid_puts(g, row.x, row.y, ROLE_DIM, "#");
    grid_puts(g, c->prio_x, row.y, ROLE_DIM, "P");
    grid_puts(g, c->range_x, row.y, ROLE_DIM, c->base ? "base now" : "now");
    if (c->bar_w >= URGENT_MIN)
        grid_right(g, c->bar_x, c->bar_x + c->bar_w, row.y, ROLE_DIM, "urgent");
    grid_right(g, c->bar_x, c->wait_end, row.y, ROLE_DIM, "wait");
    if (c->reason_w)
        grid_puts(g, c->reason_x, row.y, ROLE_DIM, "needs");
}

static void draw_bar(struct grid *g, int y, const struct snap_request *rq, const struct columns *c)
{
    if (!c->bar_w)
        return;
    grid_bar(g, c->bar_x, y, c->bar_w, urgency(rq->effective), ROLE_BAR_AGED);
    int base = (int)(urgency((double)rq->base) * c->bar_w + 0.5);
    grid_bar(g, c->bar_x, y, base, 1, ROLE_BAR);
}

static void draw_row(struct grid *g, struct rect row, const struct snap_request *rq, const struct columns *c)
{
    int y = row.y;
    char tag[FORMAT_MAX], wait[FORMAT_MAX];
    if (rq->tag)
        snprintf(tag, sizeof tag, "%u", (unsigned)rq->tag);
    else
        snprintf(tag, sizeof tag, "%.3s", rq->id); /* not a session's */
    grid_text(g, row.x, y, TAG_W - 1, tag, strlen(tag), theme_session_role(rq->tag) | STYLE_BOLD);
    grid_putc(g, c->prio_x, y, (uint32_t)format_prio(rq->base), status_prio_role(rq->base));

    int x = c->range_x;
    if (c->base)
        x = grid_printf(g, x, y, ROLE_DIM, "%.1f%s", (double)rq->base, glyph(g, GLYPH_ARROW_RIGHT));
    bool aged = rq->effective < (double)rq->base - 0.05;
    grid_printf(g, x, y, aged ? ROLE_BAR_AGED : ROLE_TEXT, "%.1f", rq->effective);
    draw_bar(g, y, rq, c);
    grid_right(g, c->bar_x, c->wait_end, y, ROLE_TEXT, format_seconds(wait, (double)rq->waited_us / 1e6));
    bool preempted = rq->state == REQ_PREEMPTED;
    const char *why = preempted                      ? "preempted"
                      : rq->wait_reason != WAIT_NONE ? wait_reason_name(rq->wait_reason)
                                                     : "";
    if (c->reason_w)
        grid_ellipsis(g, c->reason_x, y, c->reason_w, why, strlen(why),
                      preempted ? ROLE_STATE_PREEMPTED : ROLE_DIM);
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    const struct snapshot *s = v->snap;
    int n = (int)s->n_queue, total = (int)s->queue_total;
    if (total == 0) {
        grid_puts(g, body.x, body.y, ROLE_DIM, "no one waits");
        return;
    }
    struct columns c = columns_of(body);
    if (body.h >= HEADER_MIN_H) {
        draw_header(g, body, &c);
        body.y++;
        body.h--;
    }
    int last = total > body.h ? total - body.h + 1 : 0; /* one row says how many more there are */
    int top = v->scroll[PANE_QUEUE] < last ? v->scroll[PANE_QUEUE] : last;
    top = top > 0 ? top : 0;
    int rows = total - top > body.h ? body.h - 1 : body.h;
    int drawn = 0;
    for (; drawn < rows && top + drawn < n; drawn++)
        draw_row(g, (struct rect){body.x, body.y + drawn, body.w, 1}, &s->queue[top + drawn], &c);
    if (top + drawn < total && drawn < body.h)
        grid_printf(g, body.x, body.y + drawn, ROLE_DIM, "%s %d more", glyph(g, GLYPH_ELLIPSIS),
                    total - top - drawn);
}

/* "6 · 3 blocks · 2 slots · 1 prefix": how many wait, and what for. */
static void summary(const struct view *v, char *out, size_t size)
{
    enum { WIDE = 1000 }; /* view.c cuts it to the room there is */
    const struct snapshot *s = v->snap;
    struct figures f = {.out = out, .size = size, .columns = WIDE, .dot = v->ascii ? " - " : " · "};
    out[0] = 0;
    figures_add(&f, "%u", (unsigned)s->queue_total);
    for (int why = WAIT_NONE + 1; why < WAIT_REASON_COUNT; why++)
        if (s->waiting_by_reason[why])
            figures_add(&f, "%u %s", (unsigned)s->waiting_by_reason[why],
                        wait_reason_name((enum wait_reason)why));
}

const struct pane pane_queue = {PANE_QUEUE, "QUEUE", 20, 1, summary, draw};
