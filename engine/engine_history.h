/*
 * What the engine looked like at each of its last steps: a record a step, from which a full snapshot of that moment is
 * made again. A record holds what changes (queue, running sequences, KV map as runs, rates, counters, the step itself)
 * and the events and rate samples that came since the record before it.
 *
 * The engine thread adds and never waits: while somebody reads, a new record stays aside until the next one comes. Any
 * thread reads.
 */
#ifndef WEFT_ENGINE_HISTORY_H
#define WEFT_ENGINE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/snapshot.h"

enum {
    ENGINE_HISTORY_STEPS = 1000,
    ENGINE_HISTORY_BYTES = 32 << 20 /* beyond this the oldest go, though they be fewer than that */
};

struct engine_history;

enum weft_rc engine_history_create(struct engine_history **out, struct weft_err *err);
void engine_history_destroy(struct engine_history *h); /* NULL allowed */

/*
 * Keeps `now`, which was taken when `step` had ended; steps come in order. now->step_ring isn't looked at. events_seen and
 * rates_seen count all there ever were: so many of now's as are new since the last call are kept. Out of memory: this
 * step is missing. The engine thread.
 */
void engine_history_add(struct engine_history *h, const struct snapshot *now, const struct snap_step *step,
                        uint64_t events_seen, uint64_t rates_seen);
/*
 * The snapshot as it was when that step had ended, with the steps, events and rates that led to it as far back as they are
 * kept. *out as in engine_snapshot. False, and *out as it was: the step isn't kept (any more, or yet). Any thread.
 */
bool engine_history_get(struct engine_history *h, uint64_t step, struct snapshot *out);
/* Memory that the records take. */
size_t engine_history_bytes(struct engine_history *h);

#endif
