#include "src/cli_engine.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"

enum { POLL_MS = 100, GRACE_MS = 1000 };

static enum weft_rc refuse_system(const char *where, struct weft_err *err)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s: %s", where, strerror(errno));
    weft_err_str(err, "where", where);
    return WEFT_INTERNAL_ERROR;
}

enum weft_rc cli_engine_start(const struct cli *cli, const struct engine_setup_options *options,
                              struct cli_engine *ce, struct weft_err *err)
{
    *ce = (struct cli_engine){
        .signal_fd = -1,
        .stop_ms = cli->cfg.batching.stop_ms,
        .left_behind = cli->left_behind,
        .show_progress = !cli->opt.quiet && isatty(STDERR_FILENO),
    };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    /* Before the engine's threads exist: they inherit the mask, so no signal is delivered to one of them. */
    sigprocmask(SIG_BLOCK, &set, &ce->old_mask);
    enum weft_rc rc = WEFT_OK;
    ce->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ce->signal_fd < 0)
        rc = refuse_system("signalfd", err);
    if (rc == WEFT_OK)
        rc = engine_setup(&cli->cfg, options, &ce->engine, err);
    if (rc == WEFT_OK)
        rc = engine_inbox_open(ce->engine, &ce->inbox, err);
    if (rc)
        cli_engine_stop(ce);
    return rc;
}

static void clear_progress(struct cli_engine *ce)
{
    if (*ce->progress)
        fputs("\r\033[K", stderr);
    ce->progress[0] = 0;
}

void cli_engine_stop(struct cli_engine *ce)
{
    if (!ce->engine && ce->signal_fd <= 0)
        return;
    clear_progress(ce);
    if (ce->inbox)
        engine_inbox_close(ce->inbox);
    bool leave = ce->leave_loading && ce->engine && engine_state(ce->engine) < ENGINE_READY;
    if (leave || (ce->engine && !engine_destroy(ce->engine)))
        *ce->left_behind = true;
    if (ce->signal_fd >= 0)
        close(ce->signal_fd);
    sigprocmask(SIG_SETMASK, &ce->old_mask, NULL);
    *ce = (struct cli_engine){.signal_fd = -1};
}

static void show_progress(struct cli_engine *ce)
{
    if (!ce->show_progress)
        return;
    struct snapshot *s = mem_calloc(1, sizeof *s); /* too large for the stack */
    if (!s)
        return;
    engine_snapshot(ce->engine, s);
    char text[sizeof ce->progress];
    snprintf(text, sizeof text, "%s %.60s", engine_state_name(s->state), s->state_detail);
    if (s->state >= ENGINE_READY) {
        clear_progress(ce);
    } else if (strcmp(text, ce->progress) != 0) {
        fprintf(stderr, "\r\033[K%s", text);
        memcpy(ce->progress, text, sizeof text);
    }
    snapshot_free(s);
    mem_free(s);
}

static void take_signal(struct cli_engine *ce)
{
    struct signalfd_siginfo info;
    if (read(ce->signal_fd, &info, sizeof info) != sizeof info)
        return;
    if (ce->signal)
        _exit(CLI_SIGNALLED + (int)info.ssi_signo); /* asked twice: no more waiting */
    ce->signal = (int)info.ssi_signo;
    ce->give_up_us = clock_now_us() + (ce->stop_ms + GRACE_MS) * 1000;
}

/* Takes the ENGINE_STATE events out of the list. */
static enum weft_rc take_states(struct cli_engine *ce, struct engine_event **events, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    for (struct engine_event **p = events; *p;) {
        struct engine_event *ev = *p;
        if (ev->type != ENGINE_STATE) {
            p = &ev->next;
            continue;
        }
        if (ev->state == ENGINE_READY)
            clear_progress(ce);
        if (ev->state == ENGINE_FAILED && rc == WEFT_OK) {
            clear_progress(ce);
            rc = ev->error.code;
            if (err)
                *err = ev->error;
        }
        *p = ev->next;
        engine_event_free(ev);
    }
    return rc;
}

static void free_events(struct engine_event *ev)
{
    while (ev) {
        struct engine_event *next = ev->next;
        engine_event_free(ev);
        ev = next;
    }
}

/* For poll, until there is something to look at by itself. */
static int wait_ms(const struct cli_engine *ce, bool loading)
{
    int wait = loading || ce->signal ? POLL_MS : -1;
    if (!ce->wake_us)
        return wait;
    int64_t left_ms = (ce->wake_us - clock_now_us() + 999) / 1000;
    left_ms = left_ms < 0 ? 0 : left_ms;
    return wait >= 0 && wait < left_ms ? wait : left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

enum weft_rc cli_engine_wait(struct cli_engine *ce, struct engine_event **events, bool *gave_up,
                             struct weft_err *err)
{
    *gave_up = false;
    *events = NULL;
    bool loading = ce->show_progress && engine_state(ce->engine) < ENGINE_READY;
    if (loading)
        show_progress(ce);
    struct pollfd fds[] = {{.fd = engine_inbox_fd(ce->inbox), .events = POLLIN},
                           {.fd = ce->signal_fd, .events = POLLIN}};
    if (poll(fds, 2, wait_ms(ce, loading)) < 0 && errno != EINTR)
        return refuse_system("poll", err);
    if (fds[1].revents)
        take_signal(ce);
    *events = engine_inbox_take(ce->inbox);
    enum weft_rc rc = take_states(ce, events, err);
    if (rc) {
        free_events(*events);
        *events = NULL;
    }
    *gave_up = ce->signal && clock_now_us() > ce->give_up_us;
    return rc;
}

enum weft_rc cli_engine_wait_ready(struct cli_engine *ce, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    bool gave_up = false;
    while (rc == WEFT_OK && !ce->signal && !gave_up && engine_state(ce->engine) != ENGINE_READY) {
        struct engine_event *events;
        rc = cli_engine_wait(ce, &events, &gave_up, err);
        free_events(events);
    }
    return rc;
}

enum weft_rc cli_engine_ask(struct cli_engine *ce, struct engine_request *rq, struct engine_event **end,
                            struct weft_err *err)
{
    char id[REQ_ID_MAX];
    bool cancelled = false, gave_up = false;
    *end = NULL;
    enum weft_rc rc = engine_submit(ce->engine, ce->inbox, rq, id, err);
    while (rc == WEFT_OK && !*end && !gave_up) {
        struct engine_event *events, *next;
        rc = cli_engine_wait(ce, &events, &gave_up, err);
        for (struct engine_event *ev = events; ev; ev = next) {
            next = ev->next;
            if (ev->type == ENGINE_REJECT && rc == WEFT_OK) {
                rc = ev->error.code;
                if (err)
                    *err = ev->error;
            }
            if (ev->type == ENGINE_FINISH && !*end) {
                ev->next = NULL;
                *end = ev;
            } else {
                engine_event_free(ev);
            }
        }
        if (ce->signal && !cancelled) {
            engine_cancel(ce->engine, id);
            cancelled = true;
        }
    }
    return rc;
}
