#include "ui/status.h"

#include <stdio.h>
#include <string.h>

static const struct {
    enum glyph glyph;
    uint8_t role;
    const char *name;
} states[REQ_STATE_COUNT] = {
    [REQ_WAITING] = {GLYPH_WAITING, ROLE_STATE_WAITING, "WAITING"},
    [REQ_PREFILLING] = {GLYPH_PREFILL, ROLE_STATE_PREFILL, "PREFILL"},
    [REQ_RUNNING] = {GLYPH_RUNNING, ROLE_STATE_RUNNING, "RUNNING"},
    [REQ_PREEMPTED] = {GLYPH_PREEMPTED, ROLE_STATE_PREEMPTED, "PREEMPTED"},
    [REQ_COMPLETED] = {GLYPH_IDLE, ROLE_DIM, ""},
    [REQ_CANCELLED] = {GLYPH_IDLE, ROLE_DIM, ""},
    [REQ_FAILED] = {GLYPH_FAILED, ROLE_ERROR, "FAILED"},
    [REQ_TIMEOUT] = {GLYPH_FAILED, ROLE_ERROR, "TIMEOUT"},
};

style_t status_prio_role(enum prio p)
{
    static const uint8_t roles[PRIO_COUNT] = {ROLE_PRIO_CRITICAL, ROLE_PRIO_HIGH, ROLE_PRIO_NORMAL,
                                              ROLE_PRIO_LOW};
    unsigned i = (unsigned)((int)p + 1);
    return i < PRIO_COUNT ? roles[i] : ROLE_TEXT;
}

const char *status_title(const struct view_session *s, bool *given)
{
    char numbered[32];
    snprintf(numbered, sizeof numbered, "session %u", (unsigned)s->number);
    *given = s->title && *s->title && strcmp(s->title, numbered) != 0;
    return *given ? s->title : "new";
}

static void metric_of(const struct snap_request *rq, char out[FORMAT_MAX])
{
    char figure[FORMAT_MAX];
    switch (rq->state) {
    case REQ_RUNNING:
        if (rq->tps > 0)
            snprintf(out, FORMAT_MAX, "%s/s", format_rate(figure, rq->tps));
        break;
    case REQ_PREFILLING:
        if (rq->n_prompt)
            snprintf(out, FORMAT_MAX, "%u%%", (unsigned)(100ull * rq->n_computed / rq->n_prompt));
        break;
    case REQ_WAITING:
    case REQ_PREEMPTED: format_seconds(out, (double)rq->waited_us / 1e6); break;
    default: break;
    }
}

void status_of(const struct view *v, const struct view_session *s, struct status *out)
{
    const struct snap_request *rq = s->busy || v->past ? view_request(v, s->number) : NULL;
    out->metric[0] = 0;
    if (rq && (unsigned)rq->state < REQ_STATE_COUNT) {
        out->glyph = states[rq->state].glyph;
        out->style = states[rq->state].role;
        out->name = states[rq->state].name;
        metric_of(rq, out->metric);
    } else if (v->past) {
        *out = (struct status){GLYPH_IDLE, ROLE_DIM, "", ""}; /* it asked for nothing then */
    } else if (s->paused) {
        *out = (struct status){GLYPH_PAUSED, ROLE_STATE_WAITING, "PAUSED", ""};
    } else if (s->busy) { /* sent, and not in a snapshot yet */
        *out = (struct status){GLYPH_SENT, ROLE_STATE_WAITING, "SENT", ""};
    } else if (s->failed) {
        *out = (struct status){GLYPH_FAILED, ROLE_ERROR, "FAILED", ""};
    } else if (s->unread) {
        *out = (struct status){GLYPH_UNREAD, ROLE_WARN, "", "new"};
        if (s->n_unread)
            snprintf(out->metric, sizeof out->metric, "%u",
                     (unsigned)(s->n_unread < 9999 ? s->n_unread : 9999));
    } else {
        *out = (struct status){GLYPH_IDLE, ROLE_DIM, "", ""};
    }
}
