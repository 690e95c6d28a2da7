#include "ui/layout.h"

#include <string.h>

static const char *const pane_names[PANE_COUNT] = {
    [PANE_INPUT] = "input", [PANE_SESSIONS] = "sessions", [PANE_CHAT] = "chat",
    [PANE_QUEUE] = "queue", [PANE_BATCH] = "batch",       [PANE_KV] = "kv",
    [PANE_RATES] = "rates", [PANE_LATENCY] = "latency",   [PANE_EVENTS] = "events",
};

const char *pane_name(enum pane_id p)
{
    return (unsigned)p < PANE_COUNT ? pane_names[p] : NULL;
}

static const char *const preset_names[LAYOUT_PRESET_COUNT] = {[LAYOUT_CHAT] = "chat",
                                                              [LAYOUT_BALANCED] = "balanced",
                                                              [LAYOUT_SCHEDULER] = "scheduler",
                                                              [LAYOUT_KV] = "kv"};

const char *layout_preset_name(enum layout_preset p)
{
    return (unsigned)p < LAYOUT_PRESET_COUNT ? preset_names[p] : NULL;
}

bool layout_preset_parse(const char *name, enum layout_preset *out)
{
    for (int i = 0; i < LAYOUT_PRESET_COUNT; i++) {
        if (strcmp(name, preset_names[i]) == 0) {
            *out = (enum layout_preset)i;
            return true;
        }
    }
    return false;
}

/*
 * A preset is the share of the height that the chat keeps, and one or two rows of panes below it. A pane is
 * left out where its row isn't wide enough; a row where the screen isn't high enough.
 */
enum { ROW_PANES = 6, ROW_END = PANE_INPUT }; /* the input line is never in a row: entries not given end it */

struct preset_pane {
    int id;     /* enum pane_id, or ROW_END */
    int weight; /* share of the row's width beyond the minima */
    int min_w;  /* with its border; below, the pane is left out */
    int from_w; /* screens narrower than this have no such pane, so that the others aren't crammed */
};

struct preset {
    int chat_percent; /* of the height; 100: no panes below */
    int min_chat;     /* rows of the chat's frame */
    struct preset_pane rows[2][ROW_PANES];
};

/* clang-format off */
static const struct preset presets[LAYOUT_PRESET_COUNT] = {
    [LAYOUT_CHAT] = {.chat_percent = 100},
    [LAYOUT_BALANCED] = {62, 9, {
        {{PANE_QUEUE, 30, 24, 0}, {PANE_BATCH, 34, 20, 0}, {PANE_KV, 20, 18, 0}, {PANE_RATES, 22, 18, 0},
         {PANE_LATENCY, 22, 34, 136}},
    }},
    [LAYOUT_SCHEDULER] = {36, 9, {
        {{PANE_QUEUE, 38, 30, 0}, {PANE_BATCH, 62, 30, 0}},
        {{PANE_EVENTS, 60, 34, 0}, {PANE_LATENCY, 8, 34, 0}, {PANE_RATES, 16, 24, 0}, {PANE_KV, 16, 20, 0}},
    }},
    [LAYOUT_KV] = {36, 9, {
        {{PANE_KV, 64, 34, 0}, {PANE_QUEUE, 36, 30, 0}},
        {{PANE_BATCH, 40, 28, 0}, {PANE_RATES, 32, 26, 0}, {PANE_LATENCY, 28, 28, 0}},
    }},
};
/* clang-format on */

enum {
    SECOND_ROW_MIN_H = 30, /* screens lower than this have one row of panes */
    ROW_MIN_H = 6,         /* of a row of panes, with its border */
    ROW_MAX_H = 22,        /* a row of a pane needs no more, however tall the screen; the chat does */
    SESSIONS_MIN_SCREEN_W = 60
};

static void show(struct layout *l, enum pane_id id, struct rect frame)
{
    l->pane[id].shown = true;
    l->pane[id].frame = frame;
    l->pane[id].body = rect_inset(frame, 1);
}

/* The chat's frame holds transcript and input line: the body is cut in two. */
static void show_chat(struct layout *l, struct rect frame, int input_rows)
{
    show(l, PANE_CHAT, frame);
    struct rect body = l->pane[PANE_CHAT].body;
    int limit = body.h / 3 > 1 ? body.h / 3 : 1;
    int rows = input_rows < 1 ? 1 : input_rows > limit ? limit : input_rows;
    if (rows > body.h)
        rows = body.h;
    l->pane[PANE_INPUT].shown = true;
    l->pane[PANE_INPUT].body = (struct rect){body.x, body.y + body.h - rows, body.w, rows};
    l->pane[PANE_INPUT].frame = l->pane[PANE_INPUT].body;
    l->pane[PANE_CHAT].body.h -= rows;
}

/* Shares a row's width among its panes; neighbours overlap by their common edge. */
static void show_row(struct layout *l, const struct preset_pane *panes, struct rect row)
{
    int n = 0, weights = 0, need = 1;
    for (int i = 0; i < ROW_PANES && panes[i].id != ROW_END; i++) {
        if (need + panes[i].min_w - 1 > row.w || row.w < panes[i].from_w)
            break;
        need += panes[i].min_w - 1;
        weights += panes[i].weight;
        n++;
    }
    /* What is over the panes' minimum widths is shared by weight. */
    int spare = row.w - need, given = 0, shared = 0, x = row.x;
    for (int i = 0; i < n; i++) {
        shared += panes[i].weight;
        int extra = spare * shared / weights - given;
        given += extra;
        int w = panes[i].min_w + extra;
        show(l, (enum pane_id)panes[i].id, (struct rect){x, row.y, w, row.h});
        x += w - 1;
    }
}

static int clamp(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

void layout_compute(int w, int h, enum layout_preset preset, enum pane_id focus, bool zoom, int input_rows,
                    struct layout *out)
{
    memset(out, 0, sizeof *out);
    if (w < LAYOUT_MIN_W || h < LAYOUT_MIN_H) {
        out->too_small = true;
        return;
    }
    out->title = (struct rect){0, 0, w, 1};
    out->keys = (struct rect){0, h - 1, w, 1};
    out->screen = (struct rect){0, 1, w, h - 1};
    struct rect s = out->screen;
    if (zoom) {
        if (focus == PANE_INPUT || focus == PANE_CHAT)
            show_chat(out, s, input_rows);
        else
            show(out, focus, s);
        return;
    }

    const struct preset *p = &presets[(unsigned)preset < LAYOUT_PRESET_COUNT ? preset : LAYOUT_BALANCED];
    int n_rows = 0;
    int chat_h = s.h;
    int row_h[2] = {0, 0};
    if (p->rows[0][0].id != ROW_END) {
        n_rows = p->rows[1][0].id != ROW_END && h >= SECOND_ROW_MIN_H ? 2 : 1;
        /* Frames overlap by one line, hence s.h + n_rows lines to share. */
        int below = s.h + n_rows - clamp(s.h * p->chat_percent / 100, p->min_chat, s.h);
        if (below < n_rows * ROW_MIN_H)
            below = n_rows * ROW_MIN_H;
        row_h[0] = clamp(below / n_rows, ROW_MIN_H, ROW_MAX_H);
        if (n_rows == 2)
            row_h[1] = clamp(below - row_h[0], ROW_MIN_H, ROW_MAX_H);
        chat_h = s.h + n_rows - row_h[0] - row_h[1];
    }

    /* The sessions list: a fifth of the width, and no more than names need. */
    int list_w = w >= SESSIONS_MIN_SCREEN_W ? clamp(w / 5 + 9, 24, 42) : 0;
    if (list_w)
        show(out, PANE_SESSIONS, (struct rect){0, s.y, list_w, chat_h});
    int chat_x = list_w ? list_w - 1 : 0;
    show_chat(out, (struct rect){chat_x, s.y, w - chat_x, chat_h}, input_rows);

    int y = s.y + chat_h - 1;
    for (int i = 0; i < n_rows; i++) {
        show_row(out, p->rows[i], (struct rect){0, y, w, row_h[i]});
        y += row_h[i] - 1;
    }
}

enum pane_id layout_next(const struct layout *l, enum pane_id from, int dir)
{
    int p = (int)from;
    for (int i = 0; i < PANE_COUNT; i++) {
        p = (p + (dir < 0 ? PANE_COUNT - 1 : 1)) % PANE_COUNT;
        if (l->pane[p].shown)
            return (enum pane_id)p;
    }
    return from;
}
