/*
 * Themes: what a role looks like. A theme is YAML (docs/themes.md): a style for each role it names, the
 * others from their parent role, and in the end from the terminal's own colours. Pure; a struct theme is
 * plain data.
 */
#ifndef WEFT_UI_THEME_H
#define WEFT_UI_THEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "ui/colour.h"
#include "ui/grid.h"

/* id, key in the file, parent (whose style it takes where the theme says nothing), what it is (docs) */
#define THEME_ROLES(X)                                                                                       \
    X(TEXT, "text", TEXT, "ordinary text")                                                                   \
    X(DIM, "dim", TEXT, "labels, units, hints, footers")                                                     \
    X(VALUE, "value", TEXT, "figures that matter")                                                           \
    X(BORDER, "border", DIM, "frames")                                                                       \
    X(BORDER_FOCUS, "border.focus", BORDER, "the frame of the focused pane")                                 \
    X(TITLE, "title", TEXT, "names of panes")                                                                \
    X(TITLE_FOCUS, "title.focus", TITLE, "name of the focused pane")                                         \
    X(BRAND, "brand", TITLE, "the program's name")                                                           \
    X(KEY, "key", TITLE, "keys in the key bar and the help")                                                 \
    X(KEY_LABEL, "key.label", DIM, "what a key does")                                                        \
    X(SELECTED, "selected", TEXT, "the chosen row of a list: its background is laid under other roles")      \
    X(POPUP, "popup", TEXT, "boxes over the screen")                                                         \
    X(INPUT, "input", TEXT, "what you type")                                                                 \
    X(PROMPT, "prompt", KEY, "the sign before it")                                                           \
    X(USER, "user", TITLE, "you, in a chat")                                                                 \
    X(ASSISTANT, "assistant", TEXT, "the model, in a chat")                                                  \
    X(NOTE, "note", DIM, "weft's own remarks in a chat")                                                     \
    X(HEADING, "heading", TITLE, "Markdown headings")                                                        \
    X(CODE, "code", VALUE, "code, in a line or a block")                                                     \
    X(QUOTE, "quote", DIM, "quoted lines")                                                                   \
    X(SEARCH, "search", SELECTED, "what a search found")                                                     \
    X(OK, "ok", TEXT, "all is well")                                                                         \
    X(WARN, "warn", TEXT, "worth a look")                                                                    \
    X(ERROR, "error", WARN, "something failed")                                                              \
    X(PRIO_CRITICAL, "priority.critical", ERROR, "base priorities")                                          \
    X(PRIO_HIGH, "priority.high", WARN, "")                                                                  \
    X(PRIO_NORMAL, "priority.normal", TEXT, "")                                                              \
    X(PRIO_LOW, "priority.low", DIM, "")                                                                     \
    X(STATE_WAITING, "state.waiting", DIM, "states of a request")                                            \
    X(STATE_PREFILL, "state.prefilling", WARN, "")                                                           \
    X(STATE_RUNNING, "state.running", OK, "")                                                                \
    X(STATE_PREEMPTED, "state.preempted", ERROR, "")                                                         \
    X(BAR, "bar", VALUE, "bars")                                                                             \
    X(BAR_AGED, "bar.aged", OK, "the part of a priority won by waiting")                                     \
    X(GRAPH_PREFILL, "graph.prefill", STATE_PREFILL, "prefill tokens/s")                                     \
    X(GRAPH_DECODE, "graph.decode", STATE_RUNNING, "decode tokens/s")                                        \
    X(GRAPH_QUEUE, "graph.queue", STATE_WAITING, "queue depth")                                              \
    X(KV_FREE, "kv.free", DIM, "free blocks")                                                                \
    X(KV_CACHED, "kv.cached", DIM, "blocks kept for their prefix")                                           \
    X(KV_SHARED, "kv.shared", VALUE, "blocks with several owners")

enum { THEME_SESSION_COLOURS = 12 };

enum role {
#define X(id, key, parent, text) ROLE_##id,
    THEME_ROLES(X)
#undef X
        ROLE_SESSION_FIRST, /* then one for each of THEME_SESSION_COLOURS: see theme_session_role */
    ROLE_COUNT = ROLE_SESSION_FIRST + THEME_SESSION_COLOURS
};

enum { ATTR_BOLD = 1, ATTR_DIM = 2, ATTR_ITALIC = 4, ATTR_UNDERLINE = 8, ATTR_REVERSE = 16 };

/* Numbers of colours that terminals have, for which a theme is resolved beforehand. */
enum { THEME_DEPTHS = 3 };
extern const int theme_depths[THEME_DEPTHS]; /* 256, 16, 8 */

struct theme_role {
    struct colour fg, bg;
    uint8_t attrs;
    bool set; /* the file names it */
    /* Palette indices at each depth; -1: the terminal's default. selected_fg_at: the text on the background of
     * ROLE_SELECTED, its own colour where that can be read there. */
    int16_t fg_at[THEME_DEPTHS], bg_at[THEME_DEPTHS], selected_fg_at[THEME_DEPTHS];
};

struct theme {
    char name[32];
    bool light;                          /* made for light backgrounds */
    struct theme_role roles[ROLE_COUNT]; /* complete: parents already applied */
};

/* What a terminal is to be told. */
struct theme_style {
    int fg, bg;    /* palette index below the number of colours, or -1: the terminal's default */
    uint8_t attrs; /* ATTR_… */
};

/*
 * Reads a theme. `file` is its name for messages. CONFIG_INVALID (context file, line, key, value, allowed)
 * for bad YAML, an unknown key, a colour or attribute that isn't one, fewer than 8 session colours or more
 * than there are roles for, and for a role whose foreground and background come out equal at any of 256, 16
 * and 8 colours. On error *out is unchanged.
 */
enum weft_rc theme_parse(const char *yaml, size_t n, const char *file, struct theme *out,
                         struct weft_err *err);
/* A theme without any colours: attributes alone. For NO_COLOR, and for when no theme can be read. */
void theme_plain(struct theme *out);
/* Gives roles that aren't `set` their parent's style, and resolves all of them for each depth. For the reader
 * of themes. */
void theme_complete(struct theme *t);

/* Resolves a cell's style for a terminal of n_colours (0: none, 8, 16, 256; others round down). fg and bg are
 * never the same colour. */
struct theme_style theme_style(const struct theme *t, style_t style, int n_colours);
/* A colour for a session number or request tag (1, 2, …), repeating after THEME_SESSION_COLOURS; 0: ROLE_TEXT. */
style_t theme_session_role(uint32_t number);
/* The letter or digit that stands for it where colour can't tell: 1–9, then a–z, repeating; 0: '?'. One column. */
char theme_session_char(uint32_t number);

/* Key of a role in a theme file ("border.focus"); what it is for; NULL when out of range. For docs and tests.
 */
const char *theme_role_key(enum role r);

#endif
