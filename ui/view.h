/*
 * The view: everything a frame shows, and view_draw, which turns it into cells. The console fills a struct
 * view from its own state and the engine's snapshot; nothing here knows ncurses, a clock or a file. Strings
 * and arrays are the caller's and only looked at. Pure, but for the wrapping cached in transcripts.
 */
#ifndef WEFT_UI_VIEW_H
#define WEFT_UI_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/snapshot.h"
#include "ui/grid.h"
#include "ui/keymap.h"
#include "ui/layout.h"
#include "ui/theme.h"
#include "ui/transcript.h"

/* A session, as the list and the chat show it. What its request is doing is looked up in the snapshot: the
 * one whose tag is `number`. */
struct view_session {
    uint32_t number; /* 1, 2, …: shown, and the tag of its requests */
    const char *title;
    enum prio prio;
    bool busy;          /* a request is out: submitted and not finished */
    bool paused;        /* what is sent is held back until it is resumed */
    bool failed;        /* the last one failed */
    bool unread;        /* text came while another session was in front */
    uint32_t n_unread;  /* replies among it that are complete; 0: one that is still growing */
    uint32_t n_queued;  /* messages that wait for the reply under way to end */
    bool branch;        /* it was branched off another session … */
    uint32_t branch_of; /* … of this number; 0: one that isn't open */
    struct transcript *transcript;
    /* The last reply, for the chat's title line once it is over; negative: none. */
    double last_ttft_ms, last_tps;
};

/* A line being edited. */
struct view_input {
    const char *prompt; /* NULL: the usual sign; else what readline shows instead ("(reverse-i-search)`':") */
    const char *text;   /* may hold newlines; NULL is empty */
    size_t len;
    size_t cursor;    /* bytes from the start of text */
    const char *hint; /* shown dimmed while text is empty; NULL: none */
};

enum overlay_kind {
    OVERLAY_NONE,
    OVERLAY_HELP,     /* the help screen, made from the keymap */
    OVERLAY_LIST,     /* a list to choose from, with a line to filter it: palette, themes, sessions */
    OVERLAY_CONFIRM,  /* a question, and the keys that answer it */
    OVERLAY_PROMPT,   /* a line to type: rename, find */
    OVERLAY_COMPLETE, /* completions, above the input line, which keeps the cursor */
    OVERLAY_TEXT      /* a page of text: /show, /stats */
};

struct view_item {
    const char *label;
    const char *detail; /* dimmed, to the right; may be NULL */
    const char *key;    /* right-aligned; may be NULL */
};

struct view_overlay {
    enum overlay_kind kind;
    const char *title;
    const char *text;        /* CONFIRM: the question; TEXT: the page; lines end in newlines */
    const char *keys;        /* CONFIRM, PROMPT: "y delete · n keep" */
    struct view_input input; /* LIST, PROMPT */
    const struct view_item *items;
    size_t n_items, selected; /* LIST, COMPLETE; selected == SIZE_MAX: none */
    int scroll;               /* HELP, TEXT: first line; drawn no further than the end (view_overlay_lines) */
};

enum toast_kind { TOAST_NONE, TOAST_INFO, TOAST_WARN, TOAST_ERROR };
struct view_toast {
    enum toast_kind kind;
    const char *text;
};

struct view {
    const struct snapshot *snap; /* the present; never NULL */
    /* A moment gone by, which all panes show in place of the present, and the top line says so; NULL: none. Transcripts
     * show it as far as they were told the time (transcript_now). */
    const struct snapshot *past;
    const struct theme *theme; /* drawing is by role, without it; here so that a frame is in one place */
    enum graph_mode graph;
    bool ascii; /* no UTF-8 */
    bool mono;  /* no colours: sessions are told apart by their digit */

    const struct view_session *sessions;
    size_t n_sessions, active; /* active < n_sessions, or n_sessions == 0 */

    enum layout_preset preset;
    enum pane_id focus;
    bool zoom;
    struct view_input input;
    /* Lists and help: first row shown. Batch and events: steps, or lines, back from the newest. Clamped when drawn.
     * PANE_CHAT's is its transcript's. */
    int scroll[PANE_COUNT];
    size_t sessions_cursor; /* the row that the sessions pane's cursor is on, when focused */
    struct view_overlay overlay;
    struct view_toast toast;
    const char *caption; /* what a demonstration says of what is seen: two lines above the chat; NULL: none */
    bool recording;      /* what happens is being written down as a workload */
};

/* A pane: a title and a way to draw it (its name: pane_name). */
struct pane {
    enum pane_id id;
    const char *title; /* "QUEUE" */
    int min_w, min_h;  /* of the body; a smaller one is left empty */
    /* What stands in the frame behind the title ("3 waiting"); may be NULL. Writes at most `size` bytes. */
    void (*summary)(const struct view *v, char *out, size_t size);
    void (*draw)(const struct view *v, struct grid *g, struct rect body);
};
extern const struct pane pane_sessions, pane_chat, pane_queue, pane_batch, pane_kv, pane_rates, pane_latency,
    pane_events;

/* What scroll[pane] becomes when the view is to move `lines` down (negative: up). Panes whose newest is at the end
 * (batch, events) count backwards. Never negative, never absurd; the rest is clamped when drawn. */
int view_scroll_by(enum pane_id pane, int scroll, int lines);

/* Draws the whole screen into g (which has its size already) and places the cursor. g->ascii is set from the view. */
void view_draw(const struct view *v, struct grid *g);
/* The layout that view_draw uses, for focus moves and mouse hits. */
void view_layout(const struct view *v, int w, int h, struct layout *out);

/* What is at a cell of a w × h screen: for the mouse. */
struct view_hit {
    enum pane_id pane; /* PANE_COUNT: none */
    size_t session;    /* index in `sessions` of the row in the list of sessions; SIZE_MAX: none */
};
struct view_hit view_hit(const struct view *v, int w, int h, int x, int y);

/* The session at the top of a list of `rows` rows. */
size_t view_sessions_top(const struct view *v, int rows);

/* The request of a session (or any tag) in the snapshot that is shown, running before waiting; NULL when there is none. */
const struct snap_request *view_request(const struct view *v, uint32_t tag);
/* Lines of the overlay's content and how many fit on a w × h screen: for scrolling it. */
void view_overlay_lines(const struct view *v, int w, int h, int *lines, int *page);

#endif
