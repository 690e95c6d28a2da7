#include "engine/sched/request.h"

#include <string.h>

/* Names, indexed by enumerator (priorities by prio + 1). */
static const char *const prio_names[PRIO_COUNT] = {"critical", "high", "normal", "low"};

static const char *const state_names[REQ_STATE_COUNT] = {
    [REQ_WAITING] = "waiting",     [REQ_PREFILLING] = "prefilling", [REQ_RUNNING] = "running",
    [REQ_PREEMPTED] = "preempted", [REQ_COMPLETED] = "completed",   [REQ_CANCELLED] = "cancelled",
    [REQ_FAILED] = "failed",       [REQ_TIMEOUT] = "timeout",
};

static const char *const finish_names[] = {
    [FINISH_NONE] = "none",           [FINISH_STOP] = "stop",       [FINISH_LENGTH] = "length",
    [FINISH_CANCELLED] = "cancelled", [FINISH_TIMEOUT] = "timeout", [FINISH_ERROR] = "error",
};

static const char *const wait_names[WAIT_REASON_COUNT] = {
    [WAIT_NONE] = "none",     [WAIT_SLOTS] = "slots",           [WAIT_BLOCKS] = "blocks",
    [WAIT_PREFIX] = "prefix", [WAIT_COALESCING] = "coalescing",
};

#define BIT(state) (1u << (state))

/* For each state, the states that may follow it: the diagram in request.h as a table. */
static const unsigned edges[REQ_STATE_COUNT] = {
    [REQ_WAITING] = BIT(REQ_PREFILLING) | BIT(REQ_CANCELLED) | BIT(REQ_FAILED) | BIT(REQ_TIMEOUT),
    [REQ_PREFILLING] = BIT(REQ_RUNNING) | BIT(REQ_PREEMPTED) | BIT(REQ_COMPLETED) | BIT(REQ_CANCELLED) |
                       BIT(REQ_FAILED) | BIT(REQ_TIMEOUT),
    [REQ_RUNNING] =
        BIT(REQ_PREEMPTED) | BIT(REQ_COMPLETED) | BIT(REQ_CANCELLED) | BIT(REQ_FAILED) | BIT(REQ_TIMEOUT),
    [REQ_PREEMPTED] = BIT(REQ_PREFILLING) | BIT(REQ_CANCELLED) | BIT(REQ_FAILED) | BIT(REQ_TIMEOUT),
};

static const char *name_at(const char *const *names, int count, int i)
{
    return i >= 0 && i < count ? names[i] : "?";
}

const char *prio_name(enum prio p)
{
    return name_at(prio_names, PRIO_COUNT, (int)p + 1);
}

bool prio_parse(const char *name, enum prio *out)
{
    for (int i = 0; i < PRIO_COUNT; i++) {
        if (strcmp(name, prio_names[i]) == 0) {
            *out = (enum prio)(i - 1);
            return true;
        }
    }
    return false;
}

const char *req_state_name(enum req_state s)
{
    return name_at(state_names, REQ_STATE_COUNT, (int)s);
}

const char *finish_reason_name(enum finish_reason r)
{
    return name_at(finish_names, FINISH_ERROR + 1, (int)r);
}

const char *wait_reason_name(enum wait_reason r)
{
    return name_at(wait_names, WAIT_REASON_COUNT, (int)r);
}

static bool is_queued(enum req_state s)
{
    return s == REQ_WAITING || s == REQ_PREEMPTED;
}

void req_begin(struct request *r, uint64_t arrival, int64_t now_us)
{
    r->n_ids = r->n_prompt;
    r->n_computed = 0;
    r->state = REQ_WAITING;
    r->wait_reason = WAIT_NONE;
    r->arrival = arrival;
    r->arrival_us = r->state_since_us = now_us;
    r->waited_us = r->preempted_us = 0;
    memset(r->state_us, 0, sizeof r->state_us);
    r->scheduled_us = r->first_token_us = r->last_token_us = r->finish_us = -1;
    r->key = r->admitted_effective = 0;
    r->heap_pos = r->drop_pos = r->deadline_pos = 0;
    r->hash_next = NULL;
    r->blocks = NULL;
    r->n_blocks = r->cap_blocks = r->n_reserved = r->n_keyed = 0;
    r->holds_all = false;
    r->park_slots = NULL;
    r->n_parked = r->n_lost = 0;
    r->moved_step = 0;
    r->in_plan = r->cancelled = false;
    r->cached_tokens = r->recomputed_tokens = r->preemptions = 0;
    r->finish = FINISH_NONE;
    memset(&r->error, 0, sizeof r->error);
}

/* Takes the edge to `to`, booking the time spent in the state left. */
static bool move(struct request *r, enum req_state to, int64_t now_us)
{
    if (!(edges[r->state] & BIT(to)))
        return false;
    int64_t spent = now_us - r->state_since_us;
    r->state_us[r->state] += spent;
    if (is_queued(r->state))
        r->waited_us += spent;
    if (r->state == REQ_PREEMPTED)
        r->preempted_us += spent;
    r->state = to;
    r->state_since_us = now_us;
    r->wait_reason = WAIT_NONE;
    return true;
}

bool req_admit(struct request *r, int64_t now_us)
{
    if (r->state != REQ_WAITING || !move(r, REQ_PREFILLING, now_us))
        return false;
    r->scheduled_us = now_us;
    return true;
}

bool req_run(struct request *r, int64_t now_us)
{
    return r->state == REQ_PREFILLING && move(r, REQ_RUNNING, now_us);
}

bool req_preempt(struct request *r, int64_t now_us)
{
    if (!move(r, REQ_PREEMPTED, now_us))
        return false;
    r->preemptions++;
    return true;
}

bool req_resume(struct request *r, int64_t now_us)
{
    return r->state == REQ_PREEMPTED && move(r, REQ_PREFILLING, now_us);
}

bool req_end(struct request *r, enum req_state end, int64_t now_us)
{
    bool is_end = end == REQ_COMPLETED || end == REQ_CANCELLED || end == REQ_FAILED || end == REQ_TIMEOUT;
    if (!is_end || !move(r, end, now_us))
        return false;
    r->finish_us = now_us;
    return true;
}

bool req_is_over(const struct request *r)
{
    return edges[r->state] == 0;
}

double req_waited_s(const struct request *r, int64_t now_us)
{
    int64_t waited = r->waited_us + (is_queued(r->state) ? now_us - r->state_since_us : 0);
    return (double)waited * 1e-6;
}

double req_effective(const struct request *r, double aging_rate, int64_t now_us)
{
    return (int)r->base - req_waited_s(r, now_us) * aging_rate;
}
