/*
 * The console's state, shared by the files app*.c and slash.c. Not for others: app.h is the way in.
 *
 *   app.c           start, the loop (terminal, engine, signals, timers), end
 *   app_keys.c      keys → actions, the input line or an overlay
 *   app_actions.c   actions → functions: one table; the functions are in app_act_*.c, by what they act on
 *   slash.c         commands typed into the input line → actions
 *   app_overlay.c   what lies over the screen: help, pages, questions, lists
 *   app_engine.c    messages → requests, engine events → sessions
 *   app_view.c      state and snapshot → a frame
 *   app_frames.c    what frames cost
 *   app_files.c     the log, themes
 *   app_mouse.c     clicks and the wheel
 *   app_past.c      moments gone by, and why
 *   app_demo.c      a workload plays, with captions
 *   app_record.c    what happens, as a workload
 *
 * All of it runs on one thread, which never waits for the engine: requests go out through its queue, events
 * and a snapshot come back.
 */
#ifndef WEFT_APP_STATE_H
#define WEFT_APP_STATE_H

#include "engine/engine.h"
#include "src/app.h"
#include "src/config.h"
#include "src/engine_setup.h"
#include "src/session.h"
#include "ui/term/term.h"
#include "ui/view.h"

enum {
    APP_SESSIONS_MAX = 999,
    APP_TOAST_MS = 4000,
    APP_INTERRUPT_MS = 2000, /* a second Ctrl-C within this quits */
    APP_ITEMS_MAX = 256,     /* of a list */
    APP_THEMES_MAX = 64
};

struct app;
struct app_demo;
struct app_frames;
struct app_kept;
struct app_record;
struct store;

/* Where a list's rows come from: row i, or false when there is no such row. Strings live as long as the list
 * is open. */
typedef bool app_item_fn(struct app *a, size_t i, struct view_item *out);
/* What a question, a prompt or a list leads to: the text typed, or the label chosen; NULL for a plain yes. */
typedef void app_accept_fn(struct app *a, const char *answer);

struct app_overlay {
    enum overlay_kind kind; /* OVERLAY_NONE: nothing lies over the screen */
    char title[96];
    char *text; /* CONFIRM, TEXT: mem_free */
    int scroll;
    app_accept_fn *accept;
    app_item_fn *item;
    struct editor_draft *draft; /* PROMPT, LIST: what is typed there */
    struct view_item items[APP_ITEMS_MAX];
    size_t n_items, selected;
};

struct app {
    const struct app_options *options;
    const struct weft_config *cfg;

    struct engine_setup_options setup; /* the engine looks at it while it loads */
    struct engine *engine;
    struct engine_inbox *inbox;
    enum engine_state state;
    struct weft_err failure; /* why the engine FAILED */
    struct snapshot *snap;   /* the latest, copied once a frame */
    bool frozen;
    uint64_t past_step;    /* the step that is shown in place of the present; 0: the present */
    struct snapshot *past; /* its moment */

    struct terminal *term;
    struct grid grid;
    struct theme theme;
    char theme_name[32];
    char themes[APP_THEMES_MAX][32]; /* names known */
    size_t n_themes;

    struct app_kept *kept;     /* app_act_files.c's: lists and searches; NULL: none yet */
    struct store *store;       /* what is saved of them; NULL: nothing */
    struct session **sessions; /* by creation; never empty while the loop runs */
    size_t n_sessions, cap_sessions, active;
    uint32_t next_number;
    struct view_session *rows; /* for the view, as many as cap_sessions */

    enum layout_preset preset;
    enum pane_id focus;
    bool zoom, mouse;
    int scroll[PANE_COUNT];
    size_t sessions_cursor;
    struct app_overlay overlay;
    char palette_keys[ACTION_COUNT][32];
    struct view_item completions[APP_ITEMS_MAX];
    size_t completion;      /* the one chosen with Up and Down, from 1; 0: none */
    bool completion_hidden; /* Esc closed the popup; typing opens it again */
    char search[128];

    enum toast_kind toast;
    char toast_text[512];
    int64_t toast_until_us;

    ui_key key;               /* being handled: which Alt-digit it was */
    int64_t interrupt_us;     /* the last Ctrl-C, for the second one */
    struct text_filter paste; /* of a paste that comes in pieces */
    bool paste_cr;            /* its last piece ended in CR */

    struct app_demo *demo;     /* the workload that plays; NULL: none */
    struct app_record *record; /* what has happened, when that is recorded; NULL: it isn't */
    int64_t frozen_us;         /* how long the engine was frozen in all, but for the time since… */
    int64_t frozen_since_us;   /* … while it is */

    int signal_fd;
    int64_t typed_us;   /* when the last bytes came from the terminal */
    int64_t events_us;  /* when the engine's events were taken last … */
    bool events_rain;   /* … and whether that was soon after the time before */
    bool dirty, urgent; /* something to draw: at the next frame's time, or at once */
    int64_t frame_us;   /* when the last frame was drawn */
    struct app_frames *frames;
    bool quit;
    int end_signal; /* the signal that ended it, or 0 */
};

static inline struct session *app_session(const struct app *a)
{
    return a->sessions[a->active];
}

/* The console's clock without the times in which the engine was frozen: what workloads go by. */
static inline int64_t app_running_us(const struct app *a, int64_t now_us)
{
    return (a->frozen ? a->frozen_since_us : now_us) - a->frozen_us;
}

/* --- app.c: shared helpers --- */
void app_toast(struct app *a, enum toast_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void app_toast_error(struct app *a, const struct weft_err *err);
/* A new session in front; false (and a toast) when there are too many or no memory. */
bool app_new_session(struct app *a);
/* Brings session i of a->sessions to the front. */
void app_show_session(struct app *a, size_t i);
/* Ends its request, forgets it; a new one takes its place if it was the only one. */
void app_delete_session(struct app *a, size_t i);
void app_focus(struct app *a, enum pane_id pane);

/* --- app_keys.c --- */
/* Everything that has been typed so far; `timed_out`: the rest of an escape sequence didn't come. */
void app_input(struct app *a, bool timed_out);
/* Puts a message into the input line, such that Enter sends it. */
void app_edit_message(const char *text);
/* For readline: candidates for a command and its arguments. */
const char *app_complete(void *app, const char *line, size_t n, size_t start, size_t index);

/* --- app_actions.c --- */
/* Does it. `args`: what stood behind the slash command, or NULL for a key. */
void app_act(struct app *a, enum action action, const char *args);
/* The candidates for an action's arguments: row i, and what it is about in *detail (NULL: nothing to say); NULL behind the
 * last one. */
const char *app_argument(struct app *a, enum action action, size_t i, const char **detail);

/* --- slash.c --- */
/* A line that began with a slash. An unknown command is an error, and isn't sent. */
void slash_run(struct app *a, const char *line);
void slash_set(struct app *a, const char *args);
void slash_show(struct app *a);
void slash_stats(struct app *a);
void slash_system(struct app *a, const char *args);
/* The settings that /set knows, and what they do; NULL behind the last. */
const char *slash_setting(size_t i, const char **help);

/* --- app_overlay.c --- */
void overlay_close(struct app *a);
void overlay_help(struct app *a);
void overlay_text(struct app *a, const char *title, const char *text);
/* `accept` runs after a yes. */
void overlay_confirm(struct app *a, const char *question, app_accept_fn *accept);
void overlay_prompt(struct app *a, const char *title, const char *text, app_accept_fn *accept);
void overlay_list(struct app *a, const char *title, app_item_fn *item, app_accept_fn *accept);
/* A key while an overlay is open; every key is its own then. */
void overlay_key(struct app *a, const struct decoder_event *ev);
/* Rows that contain what was typed; after each change. */
void overlay_filter(struct app *a);
void overlay_view(struct app *a, struct view_overlay *out);

/* --- app_engine.c --- */
/* What a newcomer reads first, in the session in front; at READY the model and its device join it. */
void app_welcome(struct app *a);
void app_engine_events(struct app *a);
/* What the user typed as a message to the session in front. */
void app_say(struct app *a, const char *text, size_t n);
/* Asks for a reply to its last question or, where the chat ends in a reply, to go on with that. False: none is under way
 * now, and if there is a reason the screen says it. */
bool app_ask(struct app *a, struct session *s);
/* Goes on with what a pause cut off or held back. */
void app_resume(struct app *a, struct session *s);
/* Cancels the session's request; false when there is none. */
bool app_stop(struct app *a, struct session *s);
/* Sets a session's priority, acting on its request whether it waits or runs. */
void app_set_priority(struct app *a, struct session *s, enum prio prio);

/* --- app_view.c --- */
/* Takes the latest snapshot and shows a frame; writes nothing when nothing changed. Unless `always`, only when there is a
 * newer snapshot than that of the last frame. Whether there was a frame. */
bool app_draw(struct app *a, bool always);
/* Where the panes are now. */
void app_layout(struct app *a, struct layout *out);
/* How often frames are due by themselves, in µs; 0: not at all, since nothing moves. */
int64_t app_frame_interval(const struct app *a);

/* Finds the commands, or what may stand behind one, that fit what is typed: rows of a->completions. 0 where no popup is
 * shown. */
size_t app_find_completions(struct app *a);
/* What is at a cell of the screen. */
struct view_hit app_hit(struct app *a, int x, int y);

/* --- app_frames.c --- */
bool app_frames_open(struct app *a); /* false: out of memory */
/* app_draw, measured. */
bool app_frames_draw(struct app *a, bool always);
/* Tells the log what frames took. */
void app_frames_close(struct app *a);

/* --- app_mouse.c --- */
void app_mouse(struct app *a, const struct decoder_event *ev);

/* --- app_store.c: sessions on disk --- */
/* Opens the store, and (but for --fresh) the sessions of last time: none, if there are none. What goes wrong is
 * said on the screen. */
void app_store_open(struct app *a);
/* Saves what there is, waiting for the disk some seconds at most; says on standard error what couldn't be. */
void app_store_close(struct app *a);
/* A new session is to be saved; one that is deleted leaves the disk too. */
void app_store_begin(struct app *a, struct session *s);
void app_store_delete(struct session *s);
/* Saves what the session in front has in its input line; a line that was entered; all settings that changed. */
void app_store_draft(struct app *a);
void app_store_input(struct app *a, const char *line);
void app_store_settings(struct app *a);
/* Once a turn of the loop: writes what has waited long enough, and tells in how many µs to come back (-1: need
 * not). */
int64_t app_store_tick(struct app *a, int64_t now_us);
/* What a session is that nothing was saved about. The string is the configuration's. */
void app_store_defaults(const struct app *a, struct store_settings *out);
/* Opens a session on disk and shows it; one that another weft has becomes a copy. False, said on the screen, when
 * it can't be. */
bool app_store_show(struct app *a, const char *id);
/* A branch of `from`, which has its content already, gets a file if that one has one. */
void app_store_branch(struct app *a, struct session *s, const struct session *from);
/* A new session gets a chat's content, and a file. */
void app_store_import(struct app *a, struct session *s, const struct store_chat *chat);
/* To poll for news of the disk (-1: none to expect), and to say it. */
int app_store_fd(const struct app *a);
void app_store_news(struct app *a);

/* --- app_past.c --- */
bool app_past_open(struct app *a); /* false: out of memory */
void app_past_close(struct app *a);
/* Tells the transcripts the time of the snapshot just taken. */
void app_past_tick(struct app *a);
/* The moment to show, or NULL for the present. */
const struct snapshot *app_past(const struct app *a);
void app_past_leave(struct app *a);

/* --- app_act_files.c --- */
/* Goes on with a search over all sessions; true: there is more to do at once. */
bool app_search_step(struct app *a);
void app_kept_free(struct app *a);

/* --- app_files.c --- */
/* Opens the log and sends standard error there (to nowhere, when there is no log). A log that can't be opened
 * is said in *err and otherwise done without. */
void app_log_open(const struct weft_config *cfg, struct weft_err *err);
/* Finds the themes there are: built in, and *.yaml in the configuration directory's themes/. */
void app_find_themes(struct app *a);
/* Loads one by name (or path), for this terminal; on an error the present theme stays. */
enum weft_rc app_load_theme(struct app *a, const char *name, struct weft_err *err);

#endif
