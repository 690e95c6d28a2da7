/*
 * What happened lately, for whoever looks at a snapshot: the last SNAP_EVENTS of the scheduler's and the engine's own
 * events, and who was preempted since the last step began. Tokens and steps aren't among them: those are in the
 * snapshot as figures and as the ring of steps.
 */
#include <stdio.h>
#include <string.h>

#include "engine/engine_internal.h"

/* A new event at the end; the oldest gives way. */
static struct snap_event *next_event(struct engine *e, enum snap_event_kind kind, int64_t now_us)
{
    if (e->n_events == SNAP_EVENTS)
        memmove(e->events, e->events + 1, --e->n_events * sizeof *e->events);
    struct snap_event *ev = &e->events[e->n_events++];
    e->events_seen++;
    *ev = (struct snap_event){.kind = (uint8_t)kind, .t_us = now_us, .step = e->step};
    return ev;
}

static void note_admission(struct snap_event *out, const struct sched_event *ev)
{
    out->effective = (float)ev->effective;
    out->tokens = ev->cached_tokens;
}

static void note_resumption(struct snap_event *out, const struct sched_event *ev)
{
    out->effective = (float)ev->effective;
    out->blocks = ev->blocks;
    out->tokens = ev->tokens;
}

static void note_preemption(struct snap_event *out, const struct sched_event *ev)
{
    const struct ticket *by = ev->by ? ev->by->user : NULL;
    out->by_tag = by ? by->tag : 0;
    out->by_arrival = by ? by->arrival : 0;
    out->parked = ev->parked;
    out->blocks = ev->blocks;
}

static void note_priority(struct snap_event *out, const struct sched_event *ev)
{
    out->from = (int8_t)ev->from;
    out->to = (int8_t)ev->to;
}

static void note_finish(struct snap_event *out, const struct sched_event *ev)
{
    out->code = (uint8_t)ev->req->finish;
    out->tokens = ev->req->n_ids - ev->req->n_prompt;
}

static void note_rejection(struct snap_event *out, const struct sched_event *ev)
{
    out->code = (uint8_t)(ev->err ? ev->err->code : WEFT_INTERNAL_ERROR);
}

/* What is kept of which; types that aren't here (SUBMIT, STEP, and CANCEL and TIMEOUT, whose FINISH tells) aren't. */
static const struct {
    bool kept;
    enum snap_event_kind kind;
    void (*note)(struct snap_event *out, const struct sched_event *ev);
} kinds[] = {
    [SCHED_ADMIT] = {true, SNAP_EVENT_ADMIT, note_admission},
    [SCHED_RESUME] = {true, SNAP_EVENT_RESUME, note_resumption},
    [SCHED_PREEMPT] = {true, SNAP_EVENT_PREEMPT, note_preemption},
    [SCHED_PRIORITY] = {true, SNAP_EVENT_PRIORITY, note_priority},
    [SCHED_FINISH] = {true, SNAP_EVENT_FINISH, note_finish},
    [SCHED_REJECT] = {true, SNAP_EVENT_REJECT, note_rejection},
};

/* For the timeline: which row is lost with the step to come. */
static void mark_preempted(struct engine *e, const struct sched_event *ev)
{
    const struct ticket *t = ev->req->user;
    if (e->n_preempted < SNAP_STEP_PREEMPTED)
        e->preempted[e->n_preempted] = (struct snap_preemption){
            .arrival = t->arrival,
            .tag = t->tag,
            .slot = t->slot < 0 ? UINT8_MAX : (uint8_t)t->slot,
            .parked = ev->parked,
        };
    e->n_preempted++;
}

void engine_trace(struct engine *e, const struct sched_event *ev)
{
    unsigned type = (unsigned)ev->type;
    if (type >= sizeof kinds / sizeof *kinds || !kinds[type].kept)
        return;
    const struct ticket *t = ev->req->user;
    struct snap_event *out = next_event(e, kinds[type].kind, ev->now_us);
    out->tag = t->tag;
    out->arrival = t->arrival;
    snprintf(out->id, sizeof out->id, "%.*s", (int)sizeof out->id - 1, ev->req->id);
    kinds[type].note(out, ev);
    if (ev->type == SCHED_PREEMPT)
        mark_preempted(e, ev);
}

void engine_trace_state(struct engine *e, enum engine_state from, enum engine_state to)
{
    struct snap_event *out = next_event(e, SNAP_EVENT_STATE, engine_now(e));
    out->from = (int8_t)from;
    out->to = (int8_t)to;
}

void engine_trace_pressure(struct engine *e, bool under_pressure)
{
    struct snap_event *out = next_event(e, SNAP_EVENT_PRESSURE, engine_now(e));
    out->from = !under_pressure;
    out->to = under_pressure;
}
