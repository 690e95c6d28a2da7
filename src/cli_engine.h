/*
 * A command's engine: started, waited for, interrupted and stopped in one way. One thread; the signals
 * SIGINT, SIGTERM and SIGHUP are blocked while it lives and come through a descriptor, so that what was made
 * so far can be printed.
 */
#ifndef WEFT_CLI_ENGINE_H
#define WEFT_CLI_ENGINE_H

#include <signal.h>

#include "engine/engine.h"
#include "src/cli.h"
#include "src/engine_setup.h"

struct cli_engine {
    struct engine *engine;
    struct engine_inbox *inbox;
    int signal_fd;
    sigset_t old_mask;
    int signal;         /* which one came; 0: none */
    int64_t give_up_us; /* after a signal: when to stop waiting for the engine */
    int64_t
        wake_us; /* the caller's: when cli_engine_wait returns at the latest (clock_now_us); 0: no limit */
    int64_t stop_ms;
    bool show_progress; /* loading is told on standard error, a terminal */
    char progress[96];  /* what stands there; "": nothing */
    bool
        leave_loading; /* the command's to set: an engine that is still loading needn't be waited for at the end */
    bool *left_behind; /* struct cli's */
};

/* Starts the engine. On failure nothing is left to stop. */
enum weft_rc cli_engine_start(const struct cli *cli, const struct engine_setup_options *options,
                              struct cli_engine *ce, struct weft_err *err);
/* Stops it; a zeroed struct is allowed. When a device call hangs, or the engine is still loading and leave_loading is
 * set, the thread is left behind with all it uses, and *left_behind set. */
void cli_engine_stop(struct cli_engine *ce);

/*
 * Waits for events or a signal and takes them: *events (engine_event_free each) may be NULL. States are dealt
 * with here: a failure to load is returned as the error. After the first signal ce->signal is set; a second
 * one ends the process; when the engine doesn't answer in time after the first, *gave_up is set.
 */
enum weft_rc cli_engine_wait(struct cli_engine *ce, struct engine_event **events, bool *gave_up,
                             struct weft_err *err);

/* Waits until the engine is READY, or a signal came (ce->signal), so that the time of a request sent after this
 * is its own and not that of loading. Failure to load is returned. */
enum weft_rc cli_engine_wait_ready(struct cli_engine *ce, struct weft_err *err);

/* Submits one request, with tag 1, and waits for its end: *end is its FINISH (engine_event_free), NULL when a
 * signal came first. A refusal is returned as the error. */
enum weft_rc cli_engine_ask(struct cli_engine *ce, struct engine_request *rq, struct engine_event **end,
                            struct weft_err *err);

#endif
