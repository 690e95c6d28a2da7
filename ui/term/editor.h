/*
 * The input line: readline in callback mode, fed byte by byte and never allowed to touch the terminal.
 *
 * There is one readline in a process, so there is one editor; its line, point and history are swapped as the
 * user moves between sessions (struct editor_draft). Keys go in as the bytes that were typed, so inputrc, vi
 * mode, Ctrl-R, kill ring and undo work as everywhere else. Enter hands the line to the owner; Alt-Enter and
 * Ctrl-J put a newline into it, and Up and Down move between the lines of a longer text before they go
 * through history.
 *
 * One thread.
 */
#ifndef WEFT_UI_TERM_EDITOR_H
#define WEFT_UI_TERM_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/err.h"

enum { EDITOR_HISTORY_MAX = 1000, EDITOR_TEXT_MAX = 1 << 20 };

/* A line that isn't being edited now, with its history. */
struct editor_draft;

struct editor_hooks {
    /* Candidates for the word that starts at byte `start` of `line` (n bytes, up to the point): index 0, 1, …
     * until NULL. Strings are the owner's and only looked at until the next call. NULL: no completion. */
    const char *(*complete)(void *ctx, const char *line, size_t n, size_t start, size_t index);
    void *ctx;
};

/* What to show. Valid until the next call of a function here. */
struct editor_view {
    const char *text;  /* may hold newlines and, quoted by the user, control characters: filter it */
    size_t len, point; /* bytes */
    const char *
        prompt; /* NULL, or what readline shows instead of a prompt: "(reverse-i-search)`x': ", "(arg: 3) " */
    bool listing; /* the user asked for the completions (Tab), and the line hasn't changed since */
};

/* Starts readline, reading the user's inputrc (application name "weft"). INTERNAL_ERROR when out of memory,
 * or when an editor is open. */
enum weft_rc editor_open(const struct editor_hooks *hooks, struct weft_err *err);
void editor_close(void);

/* A new, empty line and history; NULL when out of memory. Free one that isn't being edited with
 * editor_draft_free. */
struct editor_draft *editor_draft_create(void);
void editor_draft_free(struct editor_draft *d);
/* Puts the present line away into the draft it came from and takes up `d` (NULL: none; keys are then
 * dropped). What was unfinished (a search, an argument) is given up. */
void editor_edit(struct editor_draft *d);
/* The draft being edited, or NULL. */
struct editor_draft *editor_draft(void);

/*
 * Bytes of whole keys. Returns true when Enter was typed: the line is then in *line (mem_free), has been
 * added to the history if `history` says so, and the editor is empty; bytes after that key are still to be
 * fed (*used tells how many were taken).
 */
bool editor_feed(const char *bytes, size_t n, size_t *used, char **line);
/* Whether lines that Enter ends go into the history (true at the start): off for prompts. */
void editor_keep_history(bool keep);
/* Adds a line to the history of the draft being edited, as if it had been entered: one from an earlier run. */
void editor_remember(const char *line);
/* Inserts text; beyond EDITOR_TEXT_MAX bytes the line grows no further. Returns what went in. All pieces from editor_paste_begin to
 * editor_paste_end are one undoable change. */
size_t editor_insert(const char *text, size_t n);
void editor_paste_begin(void); /* harmless when one has begun */
void editor_paste_end(void);
/* Replaces the line; the point goes to its end. */
void editor_set(const char *text, size_t n);

void editor_get(struct editor_view *out);
/* In the middle of something that Esc should end rather than stop a reply: a search, a numeric argument, a
 * key sequence. */
bool editor_busy(void);
/* Ends that, keeping the line, or what a search has found. */
void editor_abort(void);
/* vi mode, where Esc is readline's. */
bool editor_vi(void);
/* The width that readline believes in: for its own commands that move by screen lines. */
void editor_resized(int rows, int cols);

#endif
