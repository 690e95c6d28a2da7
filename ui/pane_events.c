/*
 * What the scheduler did, a line each, the newest last: who was let in, pushed out and by whom, who ended and how.
 * "61:02.4   3 ◁ preempted by 2, 14 blocks parked": engine time, the session in its colour, and a sign for those who
 * only glance.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ui/format.h"
#include "ui/view.h"

enum {
    TIME_W = 8,
    TAG_W = 4,
    TEXT_X = TIME_W + 1 + TAG_W + 1,
    LINE_MAX = 160,
    NAME_MAX_W = 32,
    TIME_MIN_W = 44
};

static const char *name_of(char out[NAME_MAX_W], uint32_t tag, const char *id)
{
    if (tag)
        snprintf(out, NAME_MAX_W, "%u", (unsigned)tag);
    else
        snprintf(out, NAME_MAX_W, "%.*s", NAME_MAX_W - 1, id);
    return out;
}

static void tell_admit(const struct snap_event *ev, char *out, size_t size)
{
    int n = snprintf(out, size, "admitted at %.1f", (double)ev->effective);
    if (ev->tokens && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", %u tokens cached", (unsigned)ev->tokens);
}

static void tell_resume(const struct snap_event *ev, char *out, size_t size)
{
    int n = snprintf(out, size, "resumed");
    if (ev->blocks && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", %u blocks restored", (unsigned)ev->blocks);
    if (ev->tokens && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", %u tokens to recompute", (unsigned)ev->tokens);
}

static void tell_preempt(const struct snap_event *ev, char *out, size_t size)
{
    char by[48] = "another request";
    if (ev->by_arrival && ev->by_arrival == ev->arrival)
        snprintf(by, sizeof by, "its own growth");
    else if (ev->by_tag)
        snprintf(by, sizeof by, "%u", (unsigned)ev->by_tag);
    snprintf(out, size, "preempted by %s, %u blocks %s", by, (unsigned)ev->blocks,
             ev->parked ? "parked" : "dropped");
}

static void tell_priority(const struct snap_event *ev, char *out, size_t size)
{
    snprintf(out, size, "priority %s to %s", prio_name((enum prio)ev->from), prio_name((enum prio)ev->to));
}

static void tell_finish(const struct snap_event *ev, char *out, size_t size)
{
    static const char *const how[] = {
        [FINISH_NONE] = "ended",
        [FINISH_STOP] = "done",
        [FINISH_LENGTH] = "done at limit",
        [FINISH_CANCELLED] = "cancelled",
        [FINISH_TIMEOUT] = "timed out",
        [FINISH_ERROR] = "failed",
    };
    snprintf(out, size, "%s, %u tokens", ev->code < sizeof how / sizeof how[0] ? how[ev->code] : "ended",
             (unsigned)ev->tokens);
}

static void tell_reject(const struct snap_event *ev, char *out, size_t size)
{
    snprintf(out, size, "refused: %s", weft_rc_name((enum weft_rc)ev->code));
}

static void tell_pressure(const struct snap_event *ev, char *out, size_t size)
{
    snprintf(out, size, "%s", ev->to ? "memory pressure, LOW is refused" : "memory pressure is over");
}

static void tell_state(const struct snap_event *ev, char *out, size_t size)
{
    snprintf(out, size, "engine %s", engine_state_name((enum engine_state)ev->to));
}

static const struct {
    enum glyph glyph;
    uint8_t role;
    void (*tell)(const struct snap_event *ev, char *out, size_t size);
} kinds[SNAP_EVENT_KINDS] = {
    [SNAP_EVENT_ADMIT] = {GLYPH_RUNNING, ROLE_STATE_RUNNING, tell_admit},
    [SNAP_EVENT_RESUME] = {GLYPH_RUNNING, ROLE_STATE_RUNNING, tell_resume},
    [SNAP_EVENT_PREEMPT] = {GLYPH_PREEMPTED, ROLE_STATE_PREEMPTED, tell_preempt},
    [SNAP_EVENT_PRIORITY] = {GLYPH_POINTER, ROLE_VALUE, tell_priority},
    [SNAP_EVENT_FINISH] = {GLYPH_IDLE, ROLE_OK, tell_finish},
    [SNAP_EVENT_REJECT] = {GLYPH_FAILED, ROLE_ERROR, tell_reject},
    [SNAP_EVENT_PRESSURE] = {GLYPH_UNREAD, ROLE_WARN, tell_pressure},
    [SNAP_EVENT_STATE] = {GLYPH_BULLET, ROLE_DIM, tell_state},
};

/* An end that nobody wished for is marked like a refusal. */
static bool went_wrong(const struct snap_event *ev)
{
    return ev->kind == SNAP_EVENT_FINISH && (ev->code == FINISH_ERROR || ev->code == FINISH_TIMEOUT);
}

/* "61:02.4": minutes and seconds of engine time. */
static void format_moment(char out[FORMAT_MAX], int64_t us)
{
    double s = (double)us / 1e6;
    snprintf(out, FORMAT_MAX, "%.0f:%04.1f", floor(s / 60), floor(fmod(s, 60) * 10) / 10);
}

static void draw_row(struct grid *g, struct rect row, const struct snap_event *ev)
{
    char moment[FORMAT_MAX], name[NAME_MAX_W], text[LINE_MAX];
    if (ev->kind >= SNAP_EVENT_KINDS)
        return;
    int x = row.x, y = row.y, end = row.x + row.w;
    if (row.w >= TIME_MIN_W) {
        format_moment(moment, ev->t_us);
        grid_right(g, x, x + TIME_W, y, ROLE_DIM, moment);
        x += TIME_W + 1;
    }
    name_of(name, ev->tag, ev->id);
    size_t fits = text_fit(name, strlen(name), TAG_W - 1, NULL);
    grid_text(g, x, y, TAG_W - 1, name, fits, theme_session_role(ev->tag) | STYLE_BOLD);
    x += TAG_W;
    enum glyph sign = went_wrong(ev) ? GLYPH_FAILED : kinds[ev->kind].glyph;
    style_t role = went_wrong(ev) ? ROLE_ERROR : kinds[ev->kind].role;
    grid_puts(g, x, y, role, glyph(g, sign));
    x += 2;
    kinds[ev->kind].tell(ev, text, sizeof text);
    grid_ellipsis(g, x, y, end - x, text, strlen(text), role == ROLE_ERROR ? role : ROLE_TEXT);
}

/* How many lines back from the newest the pane is scrolled, when `shown` fit. */
static int lines_back(const struct view *v, int shown)
{
    int n = (int)v->snap->n_events, most = n > shown ? n - shown : 0, back = v->scroll[PANE_EVENTS];
    return back < 0 ? 0 : back < most ? back : most;
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    int n = (int)v->snap->n_events;
    if (n == 0) {
        grid_puts(g, body.x, body.y, ROLE_DIM, "nothing happened yet");
        return;
    }
    int end = n - lines_back(v, body.h), first = end > body.h ? end - body.h : 0;
    for (int i = first; i < end; i++)
        draw_row(g, (struct rect){body.x, body.y + i - first, body.w, 1}, &v->snap->events[i]);
}

/* "12 back" when it is scrolled. */
static void summary(const struct view *v, char *out, size_t size)
{
    int back = lines_back(v, 1);
    out[0] = 0;
    if (back > 0)
        snprintf(out, size, "%d back", back);
}

const struct pane pane_events = {PANE_EVENTS, "EVENTS", 20, 1, summary, draw};
