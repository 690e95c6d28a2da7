/*
 * A grid of cells: what the screen is to show, before any terminal is involved. Panes draw into it, tests
 * print it, and ui/term writes the difference between two of them.
 *
 * Every primitive clips against the grid's clip rectangle, so a pane can't draw outside its own. A wide
 * character that would straddle the clip's edge is replaced by a space, and overwriting one half of a wide
 * character blanks the other: no row is ever wider or narrower than the grid. Not thread-safe; pure but for
 * memory.
 */
#ifndef WEFT_UI_GRID_H
#define WEFT_UI_GRID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "ui/text.h"

/* A role of the theme (theme.h) and flags that modify it. */
typedef uint16_t style_t;
#define STYLE_ROLE_MASK ((style_t)0x00ff)
#define STYLE_BOLD      ((style_t)0x0100)
#define STYLE_ITALIC    ((style_t)0x0200)
#define STYLE_UNDERLINE ((style_t)0x0400)
#define STYLE_REVERSE   ((style_t)0x0800)
#define STYLE_SELECTED  ((style_t)0x1000) /* on the background of ROLE_SELECTED */

struct cell {
    uint32_t
        cp[TEXT_CLUSTER_CPS]; /* cp[0] the character, then combining marks, 0 where unused; a blank is ' ' */
    style_t style;
    uint8_t width; /* 1 or 2; 0: the right half of the wide character to the left (cp all 0) */
    uint8_t lines; /* GRID_N… when the cell is part of a frame: the arms that meet here; else 0 */
};

struct rect {
    int x, y, w, h;
};

struct grid {
    int w, h;
    struct cell *cells; /* w × h, by rows; memory of the grid */
    size_t cap_cells;
    struct rect clip;       /* always inside the grid */
    bool ascii;             /* draw with ASCII alone: the locale isn't UTF-8 */
    int cursor_x, cursor_y; /* where the terminal's cursor belongs; -1: hidden */
};

/* The arms of a frame cell. */
enum { GRID_N = 1, GRID_E = 2, GRID_S = 4, GRID_W = 8 };

/* Makes a zeroed or used grid w × h (each ≥ 0) and blanks it: style 0 (ROLE_TEXT), no cursor, clip = all of
 * it. False when out of memory: the grid is then 0 × 0. */
bool grid_resize(struct grid *g, int w, int h);
void grid_free(struct grid *g);
/* The cell at x, y; NULL outside. */
const struct cell *grid_at(const struct grid *g, int x, int y);

/* The part of `r` inside `within`; w and h never negative. */
struct rect rect_clip(struct rect r, struct rect within);
/* `r` without `n` cells on each side. */
struct rect rect_inset(struct rect r, int n);
/* Narrows the clip to its intersection with r; returns the old one, for grid_unclip. */
struct rect grid_clip(struct grid *g, struct rect r);
void grid_unclip(struct grid *g, struct rect old);

/* Puts one cluster at x, y. Returns its width, also when clipped away. */
int grid_put(struct grid *g, int x, int y, const struct text_cluster *c, style_t style);
/* Puts the single character cp (width by utf8_width). */
int grid_putc(struct grid *g, int x, int y, uint32_t cp, style_t style);
/* Text on one line from x on, at most `max_w` columns (negative: up to the clip's edge). What doesn't fit is
 * cut. Returns the column after the last one drawn. */
int grid_text(struct grid *g, int x, int y, int max_w, const char *s, size_t n, style_t style);
int grid_puts(struct grid *g, int x, int y, style_t style, const char *s);
int grid_printf(struct grid *g, int x, int y, style_t style, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* As grid_text, but text that is cut ends in … (ASCII: ~). */
int grid_ellipsis(struct grid *g, int x, int y, int max_w, const char *s, size_t n, style_t style);
/* A paragraph broken at spaces (and newlines) into the lines of r. Returns how many there are, drawn or not;
 * g may be NULL, to measure. */
int grid_paragraph(struct grid *g, struct rect r, const char *s, style_t style);
/* Ends at column x_end (exclusive), never starting left of x_min. Returns the column where it starts. */
int grid_right(struct grid *g, int x_min, int x_end, int y, style_t style, const char *s);

/* Blanks a rectangle in one style. */
void grid_fill(struct grid *g, struct rect r, style_t style);
/* Changes the style of what is there, keeping the text. */
void grid_restyle(struct grid *g, struct rect r, style_t style);
/* Adds flags to the style of what is there. */
void grid_add_flags(struct grid *g, struct rect r, style_t flags);
/* Frame lines. Arms are merged with those already there, so frames that share an edge join in the right junctions. */
void grid_hline(struct grid *g, int x, int y, int w, style_t style);
void grid_vline(struct grid *g, int x, int y, int h, style_t style);
void grid_box(struct grid *g, struct rect r, style_t style);

/* A bar of `w` columns filled to `fraction` (clamped to 0..1; NaN: empty), to an eighth of a column; ASCII:
 * '#'. Columns beyond the fill are left as they are. */
void grid_bar(struct grid *g, int x, int y, int w, double fraction, style_t style);

enum graph_mode { GRAPH_BRAILLE, GRAPH_BLOCK, GRAPH_ASCII, GRAPH_MODE_COUNT };
/* "braille", "block", "ascii"; false: *out unchanged. */
bool graph_mode_parse(const char *name, enum graph_mode *out);
const char *graph_mode_name(enum graph_mode m);

/* Samples that fit across `w` columns: 2 a column in braille, else 1. */
int graph_samples(enum graph_mode m, int w);
/* An area graph, newest sample at the right edge: value i of n at height values[i]/max of r. An ASCII grid
 * draws in ASCII whatever the mode. NaN and negative values count as 0; max ≤ 0 draws the base line alone. */
void grid_graph(struct grid *g, struct rect r, enum graph_mode mode, const float *values, int n, double max,
                style_t style);

/* Special characters with an ASCII stand-in, so that panes never spell either. */
enum glyph {
    GLYPH_ELLIPSIS,
    GLYPH_DOT,
    GLYPH_PROMPT,
    GLYPH_GUTTER,
    GLYPH_ARROW_RIGHT,
    GLYPH_POINTER,
    GLYPH_BULLET,
    GLYPH_WAITING,
    GLYPH_PREFILL,
    GLYPH_RUNNING,
    GLYPH_PREEMPTED,
    GLYPH_IDLE,
    GLYPH_SENT,
    GLYPH_FAILED,
    GLYPH_UNREAD,
    GLYPH_FULL,
    GLYPH_SHADE_LIGHT,
    GLYPH_SHADE_MEDIUM,
    GLYPH_SHADE_DARK,
    GLYPH_FREE,
    GLYPH_SCROLL_THUMB,
    GLYPH_RULE,
    GLYPH_QUOTE,
    GLYPH_PAUSED,
    GLYPH_BRANCH,
    GLYPH_COUNT
};
/* UTF-8 of a glyph, one column wide in either form. */
const char *glyph(const struct grid *g, enum glyph id);

/* The text of the grid, a line a row, trailing blanks kept, right halves of wide characters left out: for
 * tests and dumps. */
bool grid_dump(const struct grid *g, struct buf *out);

#endif
