/*
 * The console: sessions on a screen, over an engine. It owns the terminal from app_main's start to its end,
 * and the one thread that calls it; the engine runs on its own.
 */
#ifndef WEFT_APP_H
#define WEFT_APP_H

#include <stdbool.h>

#include "engine/base/err.h"

struct weft_config;
struct workload;

struct app_options {
    const struct weft_config *cfg; /* borrowed: outlives the call */
    bool sim;                      /* the simulated executor: no model, no device; the title says SIM */
    bool fresh;                    /* none of the sessions of last time */
    /* A workload, expanded, that plays from READY on; then no session is opened or kept. Borrowed; NULL: none. */
    struct workload *demo;
};

/* Opens the console and runs it until the user quits or a signal ends it. Returns the process's exit status:
 * 0, or that of the error in *err (USAGE when standard input or output is no terminal). The terminal is as it
 * was before, on every path. An engine that fails to load doesn't end the console: it says why on the screen.
 */
int app_main(const struct app_options *options, struct weft_err *err);

#endif
