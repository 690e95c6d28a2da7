/*
 * /record: what happens in the console from now on, as a workload file that `weft replay` plays again: each request with
 * its time, prompt, priority, lengths, sampling settings and seed, and what was done to it. The scheduler's settings stand
 * in the file's `set:` where they aren't the defaults. On the console's thread.
 */
#ifndef WEFT_APP_RECORD_H
#define WEFT_APP_RECORD_H

#include "src/app_state.h"

/* For whoever submits, with a seed, cancels or reprioritises; nothing when nothing is recorded. `id`: the engine's. */
void app_record_submit(struct app *a, const struct engine_request *rq, const char *id);
void app_record_cancel(struct app *a, const char *id);
void app_record_priority(struct app *a, const char *id, enum prio to);

static inline bool app_recording(const struct app *a)
{
    return a->record != NULL;
}
/* At the end: writes what has been recorded; what goes wrong is said on standard error. */
void app_record_close(struct app *a);

#endif
