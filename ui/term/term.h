/*
 * The terminal: the only user of ncurses. It shows grids, writing just the cells that differ from the last
 * one, and reads keys.
 *
 * One terminal a process (ncurses keeps its state to itself), used by one thread. While open, the alternate
 * screen is on, bracketed paste is on, the mouse is off unless asked for, and the modes are raw: Ctrl-C,
 * Ctrl-Z and the rest are keys. term_close, exit() and fatal signals put everything back (guard.h).
 */
#ifndef WEFT_UI_TERM_TERM_H
#define WEFT_UI_TERM_TERM_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/err.h"
#include "ui/grid.h"
#include "ui/term/decoder.h"
#include "ui/theme.h"

struct terminal;

/* Opens standard input and output as a terminal; setlocale has been called. USAGE when either isn't one, or
 * when terminfo doesn't know TERM or lacks cursor addressing. Nothing has been written then. */
enum weft_rc term_open(struct terminal **out, struct weft_err *err);
/* NULL is allowed. */
void term_close(struct terminal *t);

void term_size(const struct terminal *t, int *w, int *h);
/* Colours to draw with: 256, 16, 8, or 0 (a terminal without, or NO_COLOR set: then no colour sequence is
 * ever written). */
int term_colours(const struct terminal *t);
bool term_utf8(const struct terminal *t); /* the locale's encoding */

/* Shows the grid (of term_size's size; a smaller or larger one is clipped) and places the cursor. Writes
 * nothing when nothing changed. At most one write burst a call, between the marks of synchronized output (mode 2026). The
 * screen is cleared before the first frame, after term_resized, term_redraw and a suspension, and never else. Returns whether
 * anything was written. */
bool term_present(struct terminal *t, const struct grid *g, const struct theme *theme);
/* After SIGWINCH: takes over the new size, and the next term_present draws everything. */
void term_resized(struct terminal *t);
/* The next term_present clears and draws everything (Ctrl-L; something else wrote to the terminal). */
void term_redraw(struct terminal *t);

/* Takes clicks and the wheel (xterm's modes 1000 and 1006), or leaves them to the terminal, as at the start. Suspending
 * keeps it. */
void term_mouse(struct terminal *t, bool on);
/* The most bytes that term_copy takes: 100,000 in all, encoded, is where terminals begin to refuse. */
enum { TERM_COPY_MAX = 74994 };
/* Asks the terminal to put text on the system's clipboard (OSC 52; some ignore it, and none answers). False: too long. */
bool term_copy(struct terminal *t, const char *text, size_t n);

/* Gives the terminal back to the shell and stops the process (SIGTSTP); returns when it is continued, with
 * the screen and modes set up again. */
void term_suspend(struct terminal *t);
/* After SIGCONT that followed a stop by other means: modes and screen again. */
void term_continued(struct terminal *t);

int term_fd(const struct terminal *t); /* to poll for input */
/* Reads what was typed into the decoder that term_decoder hands out. False: the terminal is gone (hung up).
 */
bool term_read(struct terminal *t);
struct decoder *term_decoder(struct terminal *t);

#endif
