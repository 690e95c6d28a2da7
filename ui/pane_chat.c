/* The chat in front: its transcript, or what the engine is doing while there is none. */
#include <stdio.h>
#include <string.h>

#include "ui/status.h"
#include "ui/view.h"

/* How far a step of loading has come, which its detail tells in its last words ("building kernels 40 %"); negative:
 * it doesn't. */
static double progress_of(const char *detail)
{
    size_t n = strlen(detail), at = n;
    if (n < 3 || strcmp(detail + n - 2, " %") != 0)
        return -1;
    double value = 0, unit = 0.01;
    for (at = n - 2; at > 0 && detail[at - 1] >= '0' && detail[at - 1] <= '9'; at--, unit *= 10)
        value += unit * (detail[at - 1] - '0');
    return at < n - 2 && value <= 1 ? value : -1;
}

/* While there is no engine to talk to: what is going on, in the middle of the pane. */
static void draw_engine_state(const struct view *v, struct grid *g, struct rect body)
{
    enum { WIDE = 56, PROGRESS_W = 32 };
    bool failed = v->snap->state == ENGINE_FAILED;
    const char *what = v->snap->state_detail[0] ? v->snap->state_detail : failed ? "failed" : "starting";
    const char *model = v->snap->model;
    int w = body.w < WIDE ? body.w : WIDE, text_w = text_width(what, strlen(what));
    w = text_w < w ? text_w : w;
    struct rect box = {body.x + (body.w - w) / 2, body.y + body.h / 2, w, body.h - body.h / 2};
    grid_paragraph(g, box, what, failed ? ROLE_ERROR : ROLE_DIM);
    int model_w = text_width(model, strlen(model));
    int x = body.x + (body.w > model_w ? (body.w - model_w) / 2 : 0);
    grid_ellipsis(g, x, box.y - 1, body.w, model, strlen(model), ROLE_TITLE);
    double progress = progress_of(what);
    if (failed || progress < 0)
        return;
    int bar_w = body.w < PROGRESS_W ? body.w : PROGRESS_W;
    int bar_x = body.x + (body.w - bar_w) / 2;
    for (int i = 0; i < bar_w; i++)
        grid_puts(g, bar_x + i, box.y + 2, ROLE_KV_FREE, glyph(g, GLYPH_FREE));
    grid_bar(g, bar_x, box.y + 2, bar_w, progress, ROLE_BAR);
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    const struct view_session *s = v->active < v->n_sessions ? &v->sessions[v->active] : NULL;
    enum { STATE_MIN_H = 4 };
    int used = 0; /* rows of the chat */
    if (s && s->transcript) {
        transcript_show_at(s->transcript, v->past ? v->past->now_us : INT64_MAX);
        transcript_draw(s->transcript, g, body, s->busy);
        used = transcript_count(s->transcript) ? transcript_lines(s->transcript) : 0;
    }
    struct rect below = {body.x, body.y + used, body.w, body.h - used};
    /* A failure is in the chat, once there is one. */
    if (v->snap->state < ENGINE_READY || (v->snap->state != ENGINE_READY && !used))
        if (below.h >= STATE_MIN_H || !used)
            draw_engine_state(v, g, below);
}

/* "HIGH · RUNNING · 41 tok/s · TTFT 82 ms · 318/2048". */
static void summary(const struct view *v, char *out, size_t size)
{
    enum { WIDE = 1000 }; /* view.c cuts it to the room there is */
    out[0] = 0;
    if (v->active >= v->n_sessions)
        return;
    const struct view_session *s = &v->sessions[v->active];
    const struct snap_request *rq = s->busy || v->past ? view_request(v, s->number) : NULL;
    bool waits = rq && (rq->state == REQ_WAITING || rq->state == REQ_PREEMPTED);
    double tps = rq ? rq->tps : s->last_tps;
    double ttft = rq ? (double)rq->ttft_us / 1000 : s->last_ttft_ms;
    char prio[16], a[FORMAT_MAX];
    struct status st;
    struct figures f = {.out = out, .size = size, .columns = WIDE, .dot = v->ascii ? " - " : " · "};

    status_of(v, s, &st);
    snprintf(prio, sizeof prio, "%s", prio_name(s->prio));
    for (char *p = prio; *p; p++)
        *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    figures_add(&f, "%s", prio);
    if (waits || (rq && rq->state == REQ_PREFILLING))
        figures_add(&f, "%s %s", st.name, st.metric);
    else if (*st.name)
        figures_add(&f, "%s", st.name);
    if (waits && rq->wait_reason != WAIT_NONE)
        figures_add(&f, "needs %s", wait_reason_name(rq->wait_reason));
    if (tps > 0)
        figures_add(&f, "%s tok/s", format_rate(a, tps));
    if (ttft > 0)
        figures_add(&f, "TTFT %s", format_ms(a, ttft));
    if (rq && rq->n_generated)
        figures_add(&f, "%u/%u", (unsigned)rq->n_generated, (unsigned)rq->max_tokens);
    if (rq && rq->model > 0 && rq->model < v->snap->n_models && rq->model < SNAP_MODELS)
        figures_add(&f, "%s", v->snap->models[rq->model].name); /* not the one that the top line names */
    if (s->n_queued)
        figures_add(&f, "%u next", (unsigned)s->n_queued);
    if (s->branch_of)
        figures_add(&f, "branch of %u", (unsigned)s->branch_of);
}

const struct pane pane_chat = {PANE_CHAT, "CHAT", 8, 1, summary, draw};
