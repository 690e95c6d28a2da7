/* The stats of a simulated run, as the engine would publish them: fed with the scheduler's events. One thread. */
#ifndef WEFT_REPLAY_STATS_H
#define WEFT_REPLAY_STATS_H

#include <stdint.h>

#include "engine/sched/scheduler.h"
#include "engine/snapshot.h"
#include "engine/stats.h"

/* Zeroed is empty. */
struct replay_stats {
    struct stats_meter prefill, decode, batches, items;
    struct stats_histogram ttft, itl, latency;
    int64_t next_mark_us;
};

void replay_stats_note(struct replay_stats *st, const struct sched_event *ev);
/* To be called as time goes on: what the sliding windows are made of. */
void replay_stats_mark(struct replay_stats *st, int64_t now_us);

/* Adds one scheduler's counts to a snapshot. */
void replay_stats_add(const struct sched_counts *c, struct snapshot *out);
/* Fills in what is measured over windows, and the averages; after replay_stats_add. */
void replay_stats_fill(struct replay_stats *st, int64_t now_us, struct snapshot *out);

#endif
