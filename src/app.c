#include "src/app_demo.h"
#include "src/app_record.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/thread.h"
#include "src/engine_setup.h"
#include "ui/term/editor.h"
#include "ui/term/guard.h"

/* How often the engine's events are taken when they come faster than that; and how fast that is, with the timer's play. */
enum { EVENTS_US = 10000, EVENTS_RAIN_US = 12000 };

/* Signals that come through the loop, so that none of them interrupts anything half done. */
static const int signals[] = {SIGTERM, SIGHUP, SIGINT, SIGWINCH, SIGTSTP, SIGCONT};

/* --- helpers for the other files --- */

void app_toast(struct app *a, enum toast_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(a->toast_text, sizeof a->toast_text, fmt, ap);
    va_end(ap);
    a->toast = kind;
    a->toast_until_us = clock_now_us() + APP_TOAST_MS * 1000;
    a->dirty = true;
}

void app_toast_error(struct app *a, const struct weft_err *err)
{
    app_toast(a, TOAST_ERROR, "%s: %s", weft_rc_name(err->code), err->message);
}

void app_focus(struct app *a, enum pane_id pane)
{
    a->focus = pane;
    if (pane == PANE_SESSIONS)
        a->sessions_cursor = a->active;
}

void app_show_session(struct app *a, size_t i)
{
    if (i >= a->n_sessions)
        return;
    app_store_draft(a);
    a->active = a->sessions_cursor = i;
    a->sessions[i]->unread = false;
    a->completion_hidden = false;
    a->completion = 0;
    editor_edit(a->sessions[i]->draft);
}

bool app_new_session(struct app *a)
{
    const struct weft_config *cfg = a->cfg;
    struct session_defaults defaults = {
        .prio = (enum prio)(cfg->session.priority - 1),
        .system = cfg->session.system,
        .sampling = engine_setup_sampling(cfg),
        .max_tokens = (uint32_t)cfg->sampling.max_tokens,
    };
    if (a->n_sessions >= APP_SESSIONS_MAX) {
        app_toast(a, TOAST_ERROR, "%zu sessions are open; the limit is %d", a->n_sessions, APP_SESSIONS_MAX);
        return false;
    }
    size_t cap = a->cap_sessions;
    struct session *s = session_create(a->next_number, &defaults);
    if (!s || mem_grow(&a->sessions, &a->cap_sessions, a->n_sessions + 1, sizeof *a->sessions) != 0)
        goto out;
    if (a->cap_sessions > cap || !a->rows) {
        struct view_session *rows = mem_realloc(a->rows, a->cap_sessions, sizeof *rows);
        if (!rows)
            goto out;
        a->rows = rows;
    }
    transcript_now(s->transcript, a->snap->now_us);
    app_store_begin(a, s);
    a->next_number++;
    a->sessions[a->n_sessions++] = s;
    app_show_session(a, a->n_sessions - 1);
    a->focus = PANE_INPUT;
    return true;
out:
    session_destroy(s);
    app_toast(a, TOAST_ERROR, "out of memory for another session");
    return false;
}

void app_delete_session(struct app *a, size_t i)
{
    struct session *s = a->sessions[i];
    if (a->n_sessions == 1 && !app_new_session(a))
        return;
    app_stop(a, s);
    editor_edit(NULL);
    memmove(a->sessions + i, a->sessions + i + 1, (--a->n_sessions - i) * sizeof *a->sessions);
    app_store_delete(s);
    session_destroy(s); /* events of its request find no session with this number and are dropped */
    if (a->active > i || a->active == a->n_sessions)
        a->active--;
    app_show_session(a, a->active);
}

/* --- start and end --- */

static enum weft_rc open_all(struct app *a, sigset_t *mask, struct weft_err *err)
{
    struct weft_err unlogged = {.code = WEFT_OK};
    const struct editor_hooks hooks = {app_complete, a};
    a->snap = mem_calloc(1, sizeof *a->snap);
    if (!a->snap || !app_past_open(a) || !app_frames_open(a))
        return weft_err_nomem(err, "snapshot", sizeof *a->snap);
    a->signal_fd = signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (a->signal_fd < 0)
        return weft_err_set(err, WEFT_INTERNAL_ERROR, "signalfd: %s", strerror(errno));
    app_log_open(a->cfg, &unlogged);
    enum weft_rc rc = term_open(&a->term, err);
    if (rc == WEFT_OK)
        rc = engine_setup(a->cfg, &a->setup, &a->engine, err);
    if (rc == WEFT_OK)
        rc = engine_inbox_open(a->engine, &a->inbox, err);
    if (rc == WEFT_OK)
        rc = editor_open(&hooks, err);
    if (rc != WEFT_OK)
        return rc;
    app_find_themes(a);
    a->mouse = a->cfg->ui.mouse;
    term_mouse(a->term, a->mouse);
    int w, h;
    term_size(a->term, &w, &h);
    editor_resized(h, w);
    a->preset = (enum layout_preset)a->cfg->ui.layout;
    if (!a->options->demo) /* nothing of a demonstration is kept */
        app_store_open(a);
    if (!a->n_sessions) {
        if (!app_new_session(a))
            return weft_err_nomem(err, "session", sizeof(struct session));
        app_welcome(a);
    }
    if (a->options->demo && !app_demo_start(a, a->options->demo, false))
        return weft_err_nomem(err, "demonstration", 0);
    struct weft_err theme_err;
    if (app_load_theme(a, a->cfg->ui.theme, &theme_err) != WEFT_OK)
        app_toast_error(a, &theme_err);
    if (unlogged.code != WEFT_OK)
        app_toast(a, TOAST_WARN, "no log: %s", unlogged.message);
    return WEFT_OK;
}

/* Frees everything; false when the engine hangs in the device and had to be left behind. */
static bool close_all(struct app *a)
{
    bool stopped = true;
    overlay_close(a);
    app_store_draft(a);
    editor_edit(NULL);
    editor_close();
    term_close(a->term);
    guard_stderr_back();
    app_record_close(a); /* before what the end itself cancels */
    app_demo_close(a);
    app_store_close(a);
    for (size_t i = 0; i < a->n_sessions; i++) /* so that stopping takes no longer than a step */
        app_stop(a, a->sessions[i]);
    if (a->engine)
        stopped = engine_destroy(a->engine);
    if (a->inbox && stopped)
        engine_inbox_close(a->inbox);
    for (size_t i = 0; i < a->n_sessions; i++)
        session_destroy(a->sessions[i]);
    mem_free(a->sessions);
    mem_free(a->rows);
    grid_free(&a->grid);
    if (a->snap)
        snapshot_free(a->snap);
    mem_free(a->snap);
    app_past_close(a);
    app_frames_close(a);
    if (a->signal_fd >= 0)
        close(a->signal_fd);
    return stopped;
}

/* --- the loop --- */

static void on_resize(struct app *a)
{
    int w, h;
    term_resized(a->term);
    term_size(a->term, &w, &h);
    editor_resized(h, w);
    a->urgent = true;
}

static void on_signals(struct app *a)
{
    struct signalfd_siginfo info;
    bool resized = false; /* a storm of them is one resize */
    while (read(a->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch ((int)info.ssi_signo) {
        case SIGWINCH: resized = true; break;
        case SIGTSTP:
            term_suspend(a->term);
            resized = true;
            break;
        case SIGCONT:
            term_continued(a->term);
            resized = true;
            break;
        default:
            a->end_signal = (int)info.ssi_signo;
            a->quit = true;
            break;
        }
    }
    if (resized)
        on_resize(a);
}

/* When to hear of the engine again. Its events are heard at once, unless they come so fast that each would cost a turn of the
 * loop: then those of EVENTS_US are taken together, for which the inbox merges them. */
static int64_t events_due(const struct app *a)
{
    return a->events_rain ? a->events_us + EVENTS_US : 0;
}

static void on_engine(struct app *a, int64_t now)
{
    a->events_rain = now - a->events_us < EVENTS_RAIN_US;
    a->events_us = now;
    app_engine_events(a);
}

/* How long poll may wait: until a frame or a piece of a reply to be saved or
 * of a demonstration is due, a key sequence counts as complete, or a toast goes. -1: no
 * limit. */
static int wait_ms(struct app *a, int64_t now)
{
    int64_t save = app_store_tick(a, now),
            play = app_demo_tick(a, now); /* first: they may have something to draw */
    int64_t until = INT64_MAX, interval = app_frame_interval(a);
    int sequence = decoder_wait_ms(term_decoder(a->term));
    if (a->urgent)
        return 0;
    if (a->dirty)
        until = a->frame_us + 1000000 / a->cfg->ui.fps;
    else if (interval)
        until = a->frame_us + interval;
    if (sequence >= 0 && a->typed_us + sequence * 1000 < until)
        until = a->typed_us + sequence * 1000;
    if (a->toast != TOAST_NONE && a->toast_until_us < until)
        until = a->toast_until_us;
    if (play >= 0 && now + play < until)
        until = now + play;
    if (save >= 0 && now + save < until)
        until = now + save;
    if (events_due(a) > now && events_due(a) < until)
        until = events_due(a);
    if (until == INT64_MAX)
        return -1;
    return until <= now ? 0 : (int)((until - now + 999) / 1000);
}

static void draw_if_due(struct app *a, int64_t now)
{
    int64_t interval = app_frame_interval(a);
    if (a->toast != TOAST_NONE && now >= a->toast_until_us) {
        a->toast = TOAST_NONE;
        a->urgent = true;
    }
    bool asked = a->urgent || (a->dirty && now - a->frame_us >= 1000000 / a->cfg->ui.fps);
    bool looked = interval && now - a->frame_us >= interval; /* something may have moved by itself */
    if (!asked && !looked)
        return;
    a->frame_us = now;
    if (app_frames_draw(a, asked || a->dirty))
        a->urgent = a->dirty = false;
}

/* Whether a key sequence was begun and its rest has had time enough to come; however often the engine wakes us meanwhile. */
static bool sequence_is_over(const struct app *a)
{
    int wait = decoder_wait_ms(term_decoder(a->term));
    return wait >= 0 && clock_now_us() - a->typed_us >= wait * 1000;
}

/* Takes what was typed; a paste comes in many pieces, and they share a frame. False when the terminal is gone. */
static bool on_terminal(struct app *a)
{
    enum { PIECES = 64 };
    struct pollfd more = {term_fd(a->term), POLLIN, 0};
    for (int i = 0; i < PIECES && !a->quit; i++) {
        if (!term_read(a->term))
            return false;
        a->typed_us = clock_now_us();
        app_input(a, false);
        if (poll(&more, 1, 0) <= 0)
            break;
    }
    return true;
}

static void loop(struct app *a)
{
    enum { TERMINAL, ENGINE, SIGNALS, STORE, N_FDS };
    struct pollfd fds[N_FDS] = {
        [TERMINAL] = {term_fd(a->term), POLLIN, 0},
        [ENGINE] = {engine_inbox_fd(a->inbox), POLLIN, 0},
        [SIGNALS] = {a->signal_fd, POLLIN, 0},
        [STORE] = {app_store_fd(a), POLLIN, 0},
    };
    a->urgent = true;
    thread_be_prompt();
    while (!a->quit) {
        int64_t now = clock_now_us();
        draw_if_due(a, now);
        fds[ENGINE].fd = events_due(a) > now ? -1 : engine_inbox_fd(a->inbox);
        int timeout = wait_ms(a, now), ready = poll(fds, N_FDS, timeout);
        if (ready < 0 && errno != EINTR)
            break;
        if (fds[SIGNALS].revents)
            on_signals(a);
        if (fds[ENGINE].revents)
            on_engine(a, clock_now_us());
        if (fds[STORE].revents)
            app_store_news(a);
        if (fds[TERMINAL].revents) {
            if (!on_terminal(a)) { /* hung up */
                a->end_signal = SIGHUP;
                break;
            }
        } else if (sequence_is_over(a)) {
            app_input(a, true);
        }
    }
}

int app_main(const struct app_options *options, struct weft_err *err)
{
    struct app a = {.options = options,
                    .setup = {.sim = options->sim, .nice = (int)options->cfg->ui.nice},
                    .cfg = options->cfg,
                    .signal_fd = -1,
                    .next_number = 1};
    sigset_t mask, before;
    setlocale(LC_ALL, "");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        weft_err_set(err, WEFT_USAGE,
                     "the console needs a terminal on standard input and output; `weft generate` works "
                     "without one");
        return weft_rc_exit_status(WEFT_USAGE);
    }
    /* Before any thread is made, so that all of them leave these signals to the loop. */
    sigemptyset(&mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&mask, signals[i]);
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    enum weft_rc rc = open_all(&a, &mask, err);
    if (rc == WEFT_OK)
        loop(&a);
    int status = rc != WEFT_OK ? weft_rc_exit_status(rc) : a.end_signal ? 128 + a.end_signal : 0;
    if (!close_all(&a)) {
        log_msg(LOG_ERROR, "the engine didn't stop within %lld ms; its device call is left behind",
                (long long)options->cfg->batching.stop_ms + 1000);
        _exit(status); /* exit handlers of the OpenCL library would wait for that call */
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
