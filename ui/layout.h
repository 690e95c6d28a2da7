/*
 * Layout: which pane is where. A pure function of the screen's size, the preset, the focus and the zoom.
 * Frames of neighbouring panes share their edge (grid_box joins them); a pane draws inside its body.
 */
#ifndef WEFT_UI_LAYOUT_H
#define WEFT_UI_LAYOUT_H

#include <stdbool.h>

#include "ui/grid.h"

/* In focus order. PANE_INPUT is the input line under the chat; it has no frame of its own. */
enum pane_id {
    PANE_INPUT,
    PANE_SESSIONS,
    PANE_CHAT,
    PANE_QUEUE,
    PANE_BATCH,
    PANE_KV,
    PANE_RATES,
    PANE_LATENCY,
    PANE_EVENTS,
    PANE_COUNT
};
/* "chat" …; NULL when out of range. */
const char *pane_name(enum pane_id p);

enum layout_preset { LAYOUT_CHAT, LAYOUT_BALANCED, LAYOUT_SCHEDULER, LAYOUT_KV, LAYOUT_PRESET_COUNT };
const char *layout_preset_name(enum layout_preset p);
/* False: *out unchanged. */
bool layout_preset_parse(const char *name, enum layout_preset *out);

/* Below this a notice takes the place of the panes. */
enum { LAYOUT_MIN_W = 40, LAYOUT_MIN_H = 12 };

struct layout_pane {
    bool shown;
    struct rect frame; /* with its border */
    struct rect body;
};

struct layout {
    bool too_small;
    struct rect title;  /* top line, above the frames */
    struct rect keys;   /* bottom line: the lower edge of the frames */
    struct rect screen; /* what the frames fill */
    struct layout_pane pane[PANE_COUNT];
};

/* input_rows: how many rows the input line would like (≥ 1); it gets at most a third of the chat. `zoom`:
 * `focus` takes the whole screen (chat and input together). */
void layout_compute(int w, int h, enum layout_preset preset, enum pane_id focus, bool zoom, int input_rows,
                    struct layout *out);
/* The pane that Tab (dir 1) or Shift-Tab (-1) leads to from `from`: the next one shown. */
enum pane_id layout_next(const struct layout *l, enum pane_id from, int dir);

#endif
