/*
 * A demonstration: a workload that plays in the console, with captions that say what to look at.
 *
 * Each of its requests becomes a session of its own, titled by the request's id, which is kept nowhere on disk. There are
 * at most APP_DEMO_SESSIONS of these: the oldest whose reply is over, and in which nobody talked on, makes room for the
 * next; while there is none such, a request runs without a session and is seen in the batch, the queue and the KV map
 * only. Times count from READY, and stand still while the engine is frozen. On the console's thread.
 */
#ifndef WEFT_APP_DEMO_H
#define WEFT_APP_DEMO_H

#include "src/app_state.h"
#include "src/workload.h"

enum { APP_DEMO_SESSIONS = 16 };

/* Plays a workload from now on, in place of the one that plays. It has been expanded; it becomes the demonstration's if `owned`, on
 * failure too, else it must outlive the console. False (and a toast) when out of memory. */
bool app_demo_start(struct app *a, struct workload *w, bool owned);
/* Cancels what of it still runs, and forgets it; its sessions stay. */
void app_demo_close(struct app *a);

/* Does what is due; in how many µs to come back, -1: need not. */
int64_t app_demo_tick(struct app *a, int64_t now_us);
/* What to say now; NULL: nothing. */
const char *app_demo_caption(const struct app *a);
/* Whether there may be something to see that is no session's. */
bool app_demo_moves(const struct app *a);

#endif
