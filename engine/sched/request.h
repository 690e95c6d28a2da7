/*
 * A request: one generation asked of the engine, from submission to its single end.
 *
 *                    ┌──────────────── PREEMPTED ◄─────────────────┐
 *                    │ resume              ▲ preempt                │ preempt
 *                    ▼                     │                        │
 *   WAITING ──► PREFILLING ────────────────┴───────────────────► RUNNING ──► COMPLETED
 *      │ admit       │            last prompt chunk done            │
 *      └─────────────┴──────────────┬───────────────────────────────┘
 *                                   ├──► CANCELLED
 *                                   ├──► FAILED
 *                                   └──► TIMEOUT          (these three also from PREEMPTED)
 *
 * Each edge is one function in request.c, which refuses any other and books the time spent in the state left.
 * Pure: the time is an argument.
 *
 * Ownership: the submitter owns the struct and keeps it in place until the scheduler has emitted its `finish`
 * event (or refused it); the scheduler owns the fields below "scheduler's". Prompt and output ids are one
 * array, `ids`: n_prompt ids, then what was generated.
 */
#ifndef WEFT_SCHED_REQUEST_H
#define WEFT_SCHED_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

enum prio { PRIO_CRITICAL = -1, PRIO_HIGH = 0, PRIO_NORMAL = 1, PRIO_LOW = 2 };
enum { PRIO_COUNT = 4 }; /* index a table with prio + 1 */

/* "critical" …; "?" when out of range. */
const char *prio_name(enum prio p);
/* Accepts the four names. False: *out unchanged. */
bool prio_parse(const char *name, enum prio *out);

enum req_state {
    REQ_WAITING,
    REQ_PREFILLING,
    REQ_RUNNING,
    REQ_PREEMPTED,
    REQ_COMPLETED,
    REQ_CANCELLED,
    REQ_FAILED,
    REQ_TIMEOUT,
    REQ_STATE_COUNT
};
const char *req_state_name(enum req_state s); /* "waiting" … */

enum finish_reason {
    FINISH_NONE,
    FINISH_STOP,
    FINISH_LENGTH,
    FINISH_CANCELLED,
    FINISH_TIMEOUT,
    FINISH_ERROR
};
const char *finish_reason_name(enum finish_reason r); /* "stop" …, as in INTERFACES */

/* Why a waiter waits, as the last plan saw it. */
enum wait_reason { WAIT_NONE, WAIT_SLOTS, WAIT_BLOCKS, WAIT_PREFIX, WAIT_COALESCING, WAIT_REASON_COUNT };
const char *wait_reason_name(enum wait_reason r);

enum { REQ_ID_MAX = 64 };

struct request {
    /* Submitter's: set before submission, then constant (base by the scheduler's own call). */
    char id[REQ_ID_MAX];
    enum prio base;
    bool preemptible;
    int64_t timeout_us;  /* from arrival; 0: none */
    uint32_t max_tokens; /* generated ids at most; ≥ 1, or 0 for a request that only scores its prompt */
    bool all_logits;     /* logits of every prompt position are wanted (scoring) */
    uint64_t salt;       /* separates prefix caches */
    /* Id of a live request whose blocks may be shared as far as the ids agree, or NULL; stays in place until
     * admission. */
    const char *fork_of;
    uint32_t *ids; /* capacity n_prompt + max_tokens; submitter's memory */
    uint32_t n_prompt;
    void *user; /* submitter's */

    /* Scheduler's. */
    uint32_t n_ids;      /* n_prompt + generated so far */
    uint32_t n_computed; /* ids whose KV is in blocks */
    enum req_state state;
    enum wait_reason wait_reason;
    uint64_t arrival; /* arrival number, from 1; kept for life */
    int64_t arrival_us, state_since_us;
    int64_t waited_us;                 /* in WAITING or PREEMPTED, summed up to state_since_us */
    int64_t preempted_us;              /* in PREEMPTED, likewise */
    int64_t state_us[REQ_STATE_COUNT]; /* time spent in each state that was left */
    int64_t scheduled_us;              /* first admission; -1 before */
    int64_t first_token_us;            /* -1 before */
    int64_t last_token_us;
    int64_t finish_us;         /* -1 before */
    double key;                /* queue order: see rqueue.h */
    double admitted_effective; /* effective priority when last admitted */
    uint32_t heap_pos;         /* 1 + handle in the queue; 0 when not queued */
    uint32_t drop_pos;         /* likewise among the never scheduled */
    uint32_t deadline_pos;     /* likewise among those with a timeout */
    struct request *hash_next; /* chain of the id table */
    uint32_t *blocks;          /* block table; scheduler's memory */
    uint32_t n_blocks, cap_blocks;
    uint32_t n_reserved;  /* blocks set aside for its further growth */
    bool holds_all;       /* every block that it may come to need is held or reserved */
    uint32_t n_keyed;     /* leading blocks that the prefix cache knows */
    uint32_t *park_slots; /* while parked: host slot of each computed block; scheduler's memory */
    uint32_t n_parked;
    uint32_t n_lost;        /* while preempted: ids whose KV was dropped */
    uint64_t moved_step;    /* last step whose plan parked, dropped, restored or copied its blocks */
    bool in_plan;           /* part of the plan under way */
    bool cancelled;         /* cancelled, or failed, while in the plan: ends with the step */
    uint32_t cached_tokens; /* prompt tokens served from the prefix cache at the first admission */
    uint32_t recomputed_tokens;
    uint32_t preemptions;
    enum finish_reason finish;
    struct weft_err error; /* when FAILED or TIMEOUT */
};

/* Sets the scheduler's fields of a request that is being submitted at `now_us`: WAITING. */
void req_begin(struct request *r, uint64_t arrival, int64_t now_us);
/* The transitions. False, and nothing changed, when the edge doesn't exist. */
bool req_admit(struct request *r, int64_t now_us);   /* WAITING → PREFILLING */
bool req_run(struct request *r, int64_t now_us);     /* PREFILLING → RUNNING */
bool req_preempt(struct request *r, int64_t now_us); /* PREFILLING, RUNNING → PREEMPTED */
bool req_resume(struct request *r, int64_t now_us);  /* PREEMPTED → PREFILLING */
bool req_end(struct request *r, enum req_state end,
             int64_t now_us); /* → one of the four ends; COMPLETED from PREFILLING or RUNNING only */

bool req_is_over(const struct request *r);
/* Seconds spent WAITING or PREEMPTED until now. */
double req_waited_s(const struct request *r, int64_t now_us);
/* base − waited_s × rate: what it would be ranked by at `now_us`. */
double req_effective(const struct request *r, double aging_rate, int64_t now_us);

#endif
