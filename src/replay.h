/*
 * Replaying a workload without a screen: the record of a run, and the two drivers that make one.
 *
 *   replay_sim.c    scheduler and simulated executor driven directly, in virtual time
 *   replay_real.c   the engine, by the wall clock
 *   replay_record.c what both tell: the scheduler's events, which become lines of the event log
 *                   (replay_events.c) and, for each request, an outcome
 *   replay_result.c the outcomes as one JSON document, or as a table to read
 *
 * A record belongs to its driver, which calls it from one thread at a time. Its times are µs from the
 * workload's start; what comes in is shifted by `epoch_us`.
 */
#ifndef WEFT_REPLAY_H
#define WEFT_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "src/cli.h"
#include "src/workload.h"

enum replay_state {
    REPLAY_PENDING, /* never submitted: the run was interrupted before */
    REPLAY_LIVE,
    REPLAY_COMPLETED,
    REPLAY_CANCELLED,
    REPLAY_FAILED,
    REPLAY_REJECTED,
    REPLAY_TIMEOUT
};

/* What became of one request. Times that never came are -1. */
struct replay_outcome {
    enum replay_state state;
    enum prio prio; /* the last one */
    int64_t submit_us, scheduled_us, first_token_us, finish_us, preempted_us;
    uint32_t n_prompt, n_tokens, cached_tokens, recomputed_tokens, preemptions;
    uint64_t ids_hash;
    struct {
        double mean, p50, p99, max; /* ms; NaN with fewer than two tokens */
    } itl;
    json_t *error;     /* NULL: none */
    int64_t *token_us; /* when each token came, while the request lives */
    size_t n_times, cap_times;
};

struct replay {
    const struct workload *w;
    bool sim;
    /* Index of a request that has `user` set; NULL: it is looked up by its id. */
    uint32_t (*index_of)(const struct request *r);
    int64_t epoch_us;               /* subtracted from all times that come in */
    char model[96];                 /* name of the default model */
    bool several_models;            /* some request names one: then steps say whose they are */
    struct replay_outcome *outcome; /* one for each of w->requests */

    FILE *events; /* NULL: no event log */
    struct buf line;
    bool failed; /* out of memory: the record isn't whole */

    uint64_t n_steps, n_items, n_prefill_tokens, n_preemptions;
    uint32_t max_queue_depth, kv_peak_blocks, leaked_blocks;
    int64_t end_us;     /* of the last request */
    uint32_t *sched_ns; /* of each step */
    size_t n_sched, cap_sched;
    json_t *stats; /* INTERFACES "Stats", as the run ended */
};

/* The workload must be expanded, and outlive the record. `events`: borrowed; NULL for none. */
enum weft_rc replay_init(struct replay *rp, const struct workload *w, bool sim, FILE *events,
                         struct weft_err *err);
void replay_deinit(struct replay *rp); /* a zeroed struct is allowed */

/* Index of a scheduler's request in the workload, or -1. */
long replay_index_of(const struct replay *rp, const struct request *r);

/* ---- what drivers tell: the functions of struct engine_observer, with the record as ctx ---- */

void replay_on_sched(void *ctx, const struct sched *s, const struct sched_event *ev);
void replay_on_state(void *ctx, enum engine_state from, enum engine_state to, int64_t now_us);
void replay_on_pressure(void *ctx, bool from, bool to, int64_t now_us);
void replay_on_scheduled(void *ctx, int64_t ns);
void replay_on_closing(void *ctx, const struct sched *s); /* once for each scheduler */

/* A request was refused where no scheduler saw it. */
void replay_reject(struct replay *rp, uint32_t request, uint32_t n_prompt, uint32_t depth,
                   const struct weft_err *why, int64_t now_us);

/* ---- the event log (replay_events.c) ---- */

/* Appends the event's line; what is out of the table (replay_events.c) has none. */
void replay_write_sched(struct replay *rp, const struct sched *s, const struct sched_event *ev);
void replay_write_change(struct replay *rp, const char *name, const char *from, const char *to,
                         int64_t now_us);
/* Are all lines out? INTERNAL_ERROR when the file couldn't be written. */
enum weft_rc replay_flush(struct replay *rp, const char *path, struct weft_err *err);

/* ---- results (replay_result.c) ---- */

/* Nearest rank: the smallest of n ascending values that at least the fraction q of them doesn't exceed. NaN when n is 0. */
double replay_percentile(const double *sorted, size_t n, double q);
/* INTERFACES "Result"; NULL when out of memory. */
json_t *replay_result_json(const struct replay *rp);
void replay_result_text(const struct replay *rp, struct buf *out);
/* Did a request end as rejected, failed or timed out? */
bool replay_some_failed(const struct replay *rp);

/* ---- drivers ---- */

/* Both run the workload to its end, or until a signal (SIGINT, SIGTERM, SIGHUP) cancels what is left: *signal
 * is its number then, else 0. */
enum weft_rc replay_sim(const struct weft_config *cfg, struct replay *rp, int *signal, struct weft_err *err);
enum weft_rc replay_real(const struct cli *cli, struct replay *rp, int *signal, struct weft_err *err);

#endif
