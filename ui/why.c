#include "ui/why.h"

#include <stdio.h>

#include "ui/format.h"

enum { NAMED_AHEAD = 3, NAME_SIZE = SNAP_EVENT_ID + 16, NEVER = 3600 };

/* "session 3", or a request's id where it isn't a session's. */
static const char *name_of(char out[NAME_SIZE], uint32_t tag, const char *id)
{
    if (tag)
        snprintf(out, NAME_SIZE, "session %u", (unsigned)tag);
    else
        snprintf(out, NAME_SIZE, "%.*s", SNAP_EVENT_ID, *id ? id : "a request");
    return out;
}

static double seconds(int64_t us)
{
    return (double)us / 1e6;
}

/* The latest event of a request (arrival 0: of any of the session's), or NULL. */
static const struct snap_event *last_event(const struct snapshot *s, uint32_t tag, uint64_t arrival,
                                           enum snap_event_kind kind)
{
    for (uint32_t i = s->n_events; i-- > 0;) {
        const struct snap_event *ev = &s->events[i];
        if (ev->tag == tag && ev->kind == kind && (!arrival || ev->arrival == arrival))
            return ev;
    }
    return NULL;
}

/* ── waiting ── */

static void tell_need(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    uint32_t bt = s->block_tokens ? s->block_tokens : 1;
    switch (rq->wait_reason) {
    case WAIT_SLOTS:
        if (s->n_models > 1)
            buf_adds(out, " All places in the batch of its model are taken.");
        else
            buf_addf(out, " The batch is full: %u of %u places are taken.", (unsigned)s->n_running,
                     (unsigned)s->max_batch_size);
        break;
    case WAIT_BLOCKS:
        buf_addf(out,
                 " KV memory is short: %u of %u blocks are free or only cached, one is kept for each running "
                 "sequence, and "
                 "its %u tokens take up to %u.",
                 (unsigned)(s->kv_free + s->kv_cached), (unsigned)s->kv_total,
                 (unsigned)(rq->n_prompt + rq->n_generated),
                 (unsigned)((rq->n_prompt + rq->n_generated + bt - 1) / bt));
        break;
    case WAIT_PREFIX:
        buf_adds(
            out,
            " A running sequence is just computing the same beginning; it waits for those blocks rather than "
            "compute them again.");
        break;
    case WAIT_COALESCING:
        buf_adds(out,
                 " The engine is idle and waits a moment for others to come, so that they start together.");
        break;
    default: break;
    }
}

/* Who goes before it, and on what grounds: the `ahead` of the same model's that are listed before queue[at]. */
static void tell_ahead(const struct snapshot *s, uint32_t at, uint32_t ahead, struct buf *out)
{
    const struct snap_request *rq = &s->queue[at];
    char name[NAME_SIZE], wait[FORMAT_MAX];
    if (ahead == 0) {
        buf_adds(out, " It is the head of the queue: nobody is admitted before it.");
        return;
    }
    buf_adds(out, " Ahead of it:");
    for (uint32_t i = 0, named = 0; i < at && named < NAMED_AHEAD; i++) {
        const struct snap_request *other = &s->queue[i];
        if (other->model != rq->model)
            continue;
        const char *why = other->base < rq->base                                    ? "better base"
                          : other->base == rq->base && rq->arrival > other->arrival ? "came earlier"
                                                                                    : "waited longer";
        buf_addf(out, "%s %s (%s, %s, now %.1f: %s)", named++ ? "," : "",
                 name_of(name, other->tag, other->id), prio_name(other->base),
                 format_seconds(wait, seconds(other->waited_us)), other->effective, why);
    }
    if (ahead > NAMED_AHEAD)
        buf_addf(out, " and %u more", (unsigned)(ahead - NAMED_AHEAD));
    buf_adds(out, ". The head is never overtaken.");
}

/* What waiting has earned, and will. All waiters age at one rate, so they never pass each other; it is newcomers that
 * come to stand behind. */
static void tell_aging(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    char wait[FORMAT_MAX];
    if (!(s->aging_rate > 0)) {
        buf_adds(out, " Aging is off: waiting changes nothing.");
        return;
    }
    buf_addf(out, " From %s (%.1f), %s of waiting at %.2g/s have brought it to %.1f.", prio_name(rq->base),
             (double)rq->base, format_seconds(wait, seconds(rq->waited_us)), s->aging_rate, rq->effective);
    enum prio next = rq->base; /* the worst level whose newcomers still go first */
    while (next >= PRIO_CRITICAL && rq->effective <= (double)next)
        next = (enum prio)((int)next - 1);
    if (next < PRIO_CRITICAL) {
        buf_adds(out, " No newcomer of any priority goes before it any more.");
        return;
    }
    double in_s = (rq->effective - (double)next) / s->aging_rate;
    if (in_s < NEVER)
        buf_addf(
            out,
            " All who wait age alike, so it passes none of them, but in %s it goes before newcomers of %s.",
            format_seconds(wait, in_s), prio_name(next));
}

/* Whether somebody may have to make room for it: a strictly worse base, and a worse effective priority. */
static void tell_seats(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    char name[NAME_SIZE];
    if (rq->wait_reason != WAIT_SLOTS && rq->wait_reason != WAIT_BLOCKS)
        return;
    for (uint32_t i = s->n_running; i-- > 0;) {
        const struct snap_request *victim = &s->running[i];
        if (victim->model == rq->model && victim->base > rq->base && victim->effective > rq->effective) {
            buf_addf(out, " It may take the place of %s (%s) if that one can still be preempted.",
                     name_of(name, victim->tag, victim->id), prio_name(victim->base));
            return;
        }
    }
    buf_adds(out,
             " Nobody who runs has a worse base priority and a worse rank, so nobody is preempted for it.");
}

/* Each model has a queue of its own; a snapshot lists them one after the other. */
static void tell_place(const struct snapshot *s, uint32_t at, struct buf *out)
{
    const struct snap_request *rq = &s->queue[at];
    uint32_t ahead = 0, all = s->n_models > 1 ? 0 : s->queue_total;
    for (uint32_t i = 0; i < s->n_queue; i++) {
        bool same = s->queue[i].model == rq->model;
        ahead += same && i < at;
        all += same && s->n_models > 1;
    }
    buf_addf(out, " It is number %u of %u in the queue.", (unsigned)(ahead + 1), (unsigned)all);
    tell_need(s, rq, out);
    tell_ahead(s, at, ahead, out);
    tell_aging(s, rq, out);
    if (ahead == 0)
        tell_seats(s, rq, out);
}

static void tell_waiting(const struct snapshot *s, uint32_t at, struct buf *out)
{
    const struct snap_request *rq = &s->queue[at];
    char wait[FORMAT_MAX];
    format_seconds(wait, seconds(rq->waited_us));
    if (s->state != ENGINE_READY) {
        buf_addf(out, "Session %u has waited %s: the engine is %s, and begins with it when it is READY.",
                 (unsigned)rq->tag, wait, engine_state_name(s->state));
        return;
    }
    buf_addf(out, "Session %u has waited %s.", (unsigned)rq->tag, wait);
    tell_place(s, at, out);
}

static void tell_preempted(const struct snapshot *s, uint32_t at, struct buf *out)
{
    const struct snap_request *rq = &s->queue[at];
    const struct snap_event *ev = last_event(s, rq->tag, rq->arrival, SNAP_EVENT_PREEMPT);
    char name[NAME_SIZE], ago[FORMAT_MAX], step[FORMAT_MAX];
    buf_addf(out, "Session %u was preempted", (unsigned)rq->tag);
    if (ev) {
        if (ev->by_arrival == ev->arrival)
            buf_adds(out, ": it needed another block, none was free, and nobody else could give one up");
        else
            buf_addf(out, " by %s", name_of(name, ev->by_tag, "another request"));
        buf_addf(out, ", %s ago, after step %s. Its %u blocks were %s.",
                 format_seconds(ago, seconds(s->now_us - ev->t_us)), format_count(step, ev->step),
                 (unsigned)ev->blocks,
                 ev->parked ? "parked in host memory, to be copied back" : "dropped, to be computed again");
    } else {
        buf_adds(out, ".");
    }
    buf_addf(out, " The %u tokens made so far stay, and it goes on as if nothing had happened.",
             (unsigned)rq->n_generated);
    tell_place(s, at, out);
}

/* ── in the batch ── */

/* Its part in the last step, or NULL. */
static const struct snap_step_item *part_of(const struct snap_step *step, uint64_t arrival)
{
    for (uint32_t i = 0; i < step->n_items && i < SNAP_STEP_ITEMS; i++)
        if (step->items[i].arrival == arrival)
            return &step->items[i];
    return NULL;
}

static void tell_step(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    const struct snap_step *step = s->n_steps ? snapshot_step(s, s->n_steps - 1) : NULL;
    const struct snap_step_item *item = step ? part_of(step, rq->arrival) : NULL;
    char figure[FORMAT_MAX];
    if (!item) {
        buf_adds(out, " It has no part in the present step.");
        return;
    }
    buf_addf(out, " Of step %s it has %u of %u tokens", format_count(figure, step->step),
             (unsigned)item->n_tokens, (unsigned)(step->n_prefill_tokens + step->n_decodes));
    buf_addf(out, " (budget %u), beside %u other sequences: %u decode, %u tokens are prefill.",
             (unsigned)step->budget, (unsigned)(step->n_items - 1), (unsigned)step->n_decodes,
             (unsigned)step->n_prefill_tokens);
}

static void tell_prefilling(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    unsigned percent = rq->n_prompt ? (unsigned)(100ull * rq->n_computed / rq->n_prompt) : 0;
    buf_addf(out, "Session %u is reading its prompt: %u of %u tokens are computed (%u%%)", (unsigned)rq->tag,
             (unsigned)rq->n_computed, (unsigned)rq->n_prompt, percent);
    if (rq->cached_tokens)
        buf_addf(out, ", %u of them from blocks that were cached or shared", (unsigned)rq->cached_tokens);
    buf_adds(out, ".");
    tell_step(s, rq, out);
    buf_adds(out, " Decodes come first in every step; prompts share what is left of the budget.");
}

/* What of its prompt was there already: in the cache, or with the session that it was branched off. */
static void tell_cached(const struct snap_request *rq, struct buf *out)
{
    if (rq->cached_tokens)
        buf_addf(out, " Of its prompt's %u tokens %u were in KV blocks already, cached or shared.",
                 (unsigned)rq->n_prompt, (unsigned)rq->cached_tokens);
}

static void tell_running(const struct snapshot *s, const struct snap_request *rq, struct buf *out)
{
    char rate[FORMAT_MAX], wait[FORMAT_MAX];
    buf_addf(out, "Session %u is running at %s tok/s, a token each step: %u of at most %u.",
             (unsigned)rq->tag, format_rate(rate, rq->tps), (unsigned)rq->n_generated,
             (unsigned)rq->max_tokens);
    tell_step(s, rq, out);
    tell_cached(rq, out);
    if (rq->waited_us >= 100000)
        buf_addf(out, " It waited %s in all", format_seconds(wait, seconds(rq->waited_us)));
    if (rq->preemptions)
        buf_addf(out, "%s preempted %u times", rq->waited_us >= 100000 ? ", and was" : " It was",
                 (unsigned)rq->preemptions);
    if (rq->waited_us >= 100000 || rq->preemptions)
        buf_adds(out, ".");
    if (s->frozen)
        buf_adds(out, " The engine is frozen: nothing moves until it goes on.");
}

/* ── neither ── */

static void tell_idle(const struct snapshot *s, uint32_t tag, struct buf *out)
{
    const struct snap_event *done = last_event(s, tag, 0, SNAP_EVENT_FINISH);
    const struct snap_event *refused = last_event(s, tag, 0, SNAP_EVENT_REJECT);
    char ago[FORMAT_MAX];
    buf_addf(out, "Session %u asks for nothing at present.", (unsigned)tag);
    if (refused && (!done || refused > done))
        buf_addf(out, " Its last request was refused %s ago: %s.",
                 format_seconds(ago, seconds(s->now_us - refused->t_us)),
                 weft_rc_name((enum weft_rc)refused->code));
    else if (done)
        buf_addf(out, " Its last request ended %s ago (%s) with %u tokens.",
                 format_seconds(ago, seconds(s->now_us - done->t_us)),
                 finish_reason_name((enum finish_reason)done->code), (unsigned)done->tokens);
}

bool why_explain(const struct snapshot *s, uint32_t tag, struct buf *out)
{
    for (uint32_t i = 0; i < s->n_running; i++) {
        if (s->running[i].tag == tag) {
            bool prefilling = s->running[i].state == REQ_PREFILLING;
            (prefilling ? tell_prefilling : tell_running)(s, &s->running[i], out);
            return !out->failed;
        }
    }
    for (uint32_t i = 0; i < s->n_queue; i++) {
        if (s->queue[i].tag == tag) {
            bool preempted = s->queue[i].state == REQ_PREEMPTED;
            (preempted ? tell_preempted : tell_waiting)(s, i, out);
            return !out->failed;
        }
    }
    tell_idle(s, tag, out);
    return !out->failed;
}
