/*
 * The last steps as they were: for going back through them. A moment is kept for each step that a snapshot was seen
 * of, packed: figures, waiters, running sequences, events, rates, the KV map as runs of equal blocks; the steps
 * themselves once for all moments. About 15 KB a moment, whose memory the moment of HISTORY_STEPS steps later takes
 * over, so that in the long run nothing is allocated. One owner; pure but for memory.
 */
#ifndef WEFT_UI_HISTORY_H
#define WEFT_UI_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/snapshot.h"

enum {
    HISTORY_STEPS = 1000,
    HISTORY_QUEUE = 64, /* waiters and events kept of a moment: what a screen shows */
    HISTORY_EVENTS = 64
};

struct history;

struct history *history_create(void);    /* NULL: out of memory */
void history_destroy(struct history *h); /* NULL allowed */

/* Looks at the present: to be called with each new snapshot. A later one of the same step replaces the earlier. False:
 * out of memory, and there is no moment of this step. */
bool history_add(struct history *h, const struct snapshot *now);

/* The steps that can be shown again, HISTORY_STEPS at most; *last is the present one. False: none yet. */
bool history_range(const struct history *h, uint64_t *first, uint64_t *last);

/*
 * Fills *out (as engine_snapshot does: zeroed before its first use, freed by snapshot_free) with the moment of `step`:
 * its timeline ends with that step. Of a step that went by between two snapshots, the rest is as it was in the moment
 * before, and the time that at which the step ended. False: there is nothing to show, or out of memory; *out is then
 * not to be used.
 */
bool history_at(const struct history *h, uint64_t step, struct snapshot *out);

#endif
