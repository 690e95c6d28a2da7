/*
 * The snapshot: all that a viewer may know of the engine, copied out as a plain structure. Published by the engine
 * thread when a step starts (with its plan), when it ends, and while no step can run about every 50 ms, or 250 ms with
 * nothing to do; read by any thread through engine_snapshot. Panes are pure functions of it. Times are engine time in µs
 * (frozen while the engine is frozen).
 */
#ifndef WEFT_SNAPSHOT_H
#define WEFT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/mem.h"
#include "engine/sched/request.h"

enum engine_state {
    ENGINE_INITIALIZING,
    ENGINE_LOADING,
    ENGINE_WARMING,
    ENGINE_READY,
    ENGINE_STOPPING,
    ENGINE_STOPPED,
    ENGINE_FAILED
};
/* "INITIALIZING" …; "?" when out of range. Inline, as are all helpers here: a viewer needs no engine to link with. */
static inline const char *engine_state_name(enum engine_state s)
{
    static const char *const names[] = {"INITIALIZING", "LOADING", "WARMING", "READY",
                                        "STOPPING",     "STOPPED", "FAILED"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "?";
}

/* One request, as queue and session panes show it. */
struct snap_request {
    char id[REQ_ID_MAX];
    /* The submitter's mark (the console: session number, which also gives the colour); 0: none. */
    uint32_t tag;
    uint64_t arrival;
    enum prio base;
    double effective; /* aged priority now */
    enum req_state state;
    enum wait_reason wait_reason;
    int64_t waited_us;
    uint32_t n_prompt, n_computed, n_generated, max_tokens, cached_tokens, n_blocks, preemptions;
    int64_t ttft_us; /* -1 before the first token */
    double tps;      /* decode tokens/s over the last second */
    uint8_t model;   /* index in the snapshot's models */
};

/* One sequence's part in a step. */
struct snap_step_item {
    uint64_t arrival;
    uint32_t tag;
    uint16_t n_tokens;
    uint8_t slot; /* row in the timeline: kept by a sequence while it holds its place */
    bool prefill;
};
/* A sequence that lost its place before a step began. */
struct snap_preemption {
    uint64_t arrival;
    uint32_t tag;
    uint8_t slot; /* the row that it held; UINT8_MAX: none of those shown */
    bool parked;  /* its KV went to host memory; else it will be recomputed */
};
enum {
    SNAP_STEP_ITEMS = 64,
    SNAP_STEP_PREEMPTED = 8,
    SNAP_STEPS = 256,
    SNAP_RATES = 240,
    SNAP_QUEUE = 256,
    SNAP_EVENTS = 256,
    SNAP_MODELS = 8
};
struct snap_step {
    uint64_t step;
    int64_t start_us, dur_us;                              /* dur_us -1: in flight */
    uint32_t budget, n_prefill_tokens, n_decodes, n_items; /* n_items may exceed what `items` holds */
    uint32_t n_preempted;                                  /* may exceed what `preempted` holds */
    uint8_t model;                                         /* whose step: index in the snapshot's models */
    struct snap_preemption preempted[SNAP_STEP_PREEMPTED];
    struct snap_step_item items[SNAP_STEP_ITEMS];
};

/* What one KV block is. */
enum snap_block_kind { SNAP_BLOCK_FREE, SNAP_BLOCK_USED, SNAP_BLOCK_SHARED, SNAP_BLOCK_CACHED };
struct snap_block {
    uint8_t kind; /* enum snap_block_kind */
    uint32_t tag; /* of its owner, when USED */
    uint64_t arrival;
};

struct snap_percentiles {
    double p50, p99; /* ms; NaN before there is data */
};

/* A sample each 250 ms. */
struct snap_rate {
    float prefill_tps, decode_tps;
    uint16_t depth, running;
};

/* What the scheduler and the engine did to a request, or to themselves. */
enum snap_event_kind {
    SNAP_EVENT_ADMIT,    /* effective, tokens: cached */
    SNAP_EVENT_RESUME,   /* effective, blocks: restored, tokens: to recompute */
    SNAP_EVENT_PREEMPT,  /* by_tag, by_arrival, parked, blocks: freed */
    SNAP_EVENT_PRIORITY, /* from, to: enum prio */
    SNAP_EVENT_FINISH,   /* code: enum finish_reason; tokens: generated */
    SNAP_EVENT_REJECT,   /* code: enum weft_rc */
    SNAP_EVENT_PRESSURE, /* of memory; to: 1 it began, 0 it is over */
    SNAP_EVENT_STATE,    /* from, to: enum engine_state */
    SNAP_EVENT_KINDS
};
enum { SNAP_EVENT_ID = 24 }; /* of a request's id; a longer one is cut */
struct snap_event {
    int64_t t_us;
    uint64_t step; /* the last one begun */
    uint64_t arrival, by_arrival;
    uint32_t tag, by_tag;   /* 0: none, or not a session's */
    char id[SNAP_EVENT_ID]; /* of the request; "" where there is none */
    uint32_t tokens, blocks;
    float effective;
    uint8_t kind; /* enum snap_event_kind */
    uint8_t code;
    int8_t from, to;
    bool parked;
};

/* One of the models, each with an executor, a scheduler and KV blocks of its own. */
struct snap_model {
    char name[96], precision[8];
    enum engine_state state;              /* INITIALIZING until it is loaded; READY; FAILED */
    char detail[96];                      /* why it FAILED */
    uint32_t kv_first, kv_total, kv_used; /* its blocks are blocks[kv_first …] of the snapshot */
    uint32_t waiting, running;
    uint64_t n_steps;
};

/* Of several models queue, running and blocks are listed one after the other, and counts are sums. */
struct snapshot {
    uint64_t seq; /* counts publications */
    int64_t now_us, uptime_us;
    enum engine_state state;
    char state_detail[160];                                   /* "building kernels 40 %", or why it failed */
    char model[96], device[128], exec_name[64], precision[8]; /* of the default model */
    bool sim, frozen;
    uint32_t n_models;
    struct snap_model models[SNAP_MODELS]; /* the default first */

    uint64_t step;                          /* steps ended or in flight */
    bool in_flight;                         /* the last of the steps is under way */
    uint32_t n_steps, first_step;           /* how many are kept, and where the oldest is */
    struct snap_step step_ring[SNAP_STEPS]; /* snapshot_step finds them */
    uint64_t steps_ended; /* engine_snapshot's: up to this one they are here as they ended */

    uint32_t n_queue, queue_total; /* n_queue of queue_total are listed, in admission order */
    struct snap_request queue[SNAP_QUEUE];
    uint32_t n_running;
    struct snap_request running[SNAP_STEP_ITEMS];
    /* max_batch_tokens: in a step; the others of all models together. */
    uint32_t max_batch_size, max_batch_tokens, queue_depth, max_depth;
    uint32_t waiting_by_reason[WAIT_REASON_COUNT];
    double aging_rate;

    uint32_t kv_total, kv_used, kv_cached, kv_free, kv_parked, block_tokens;
    /* kv_total entries; owned by the snapshot's holder, grown by engine_snapshot. */
    struct snap_block *blocks;
    uint32_t cap_blocks;

    uint32_t n_rates;
    struct snap_rate rates[SNAP_RATES]; /* oldest first */
    double prefill_tps, decode_tps;     /* over the last second */
    struct snap_percentiles ttft, itl;  /* over the last 60 s */

    uint64_t total_requests, completed, failed, rejected, total_batches, preemptions, total_scheduled;
    double avg_latency_ms, avg_batch_size, avg_batch_size_10s;
    uint64_t prefix_query_tokens, prefix_hit_tokens;
    double memory_mb, max_memory_mb, critical_memory_mb; /* limits 0: not set */
    bool under_pressure, can_accept;

    uint32_t n_events;                     /* the latest, of all there ever were */
    struct snap_event events[SNAP_EVENTS]; /* oldest first */
};

/* The i-th of its n_steps steps, oldest first. */
static inline const struct snap_step *snapshot_step(const struct snapshot *s, uint32_t i)
{
    return &s->step_ring[(s->first_step + i) % SNAP_STEPS];
}

/* Frees what the snapshot holds (not the struct itself). */
static inline void snapshot_free(struct snapshot *s)
{
    mem_free(s->blocks);
    s->blocks = NULL;
    s->cap_blocks = s->kv_total = 0;
}

#endif
