/* What transcript.c (messages, scrolling), transcript_wrap.c and transcript_draw.c share. */
#ifndef WEFT_UI_TRANSCRIPT_PRIV_H
#define WEFT_UI_TRANSCRIPT_PRIV_H

#include "engine/base/buf.h"
#include "ui/markdown.h"
#include "ui/text.h"
#include "ui/transcript.h"

/* One line on the screen: bytes [start, end) of a message's text. */
struct tline {
    uint32_t start, end;
    uint32_t source; /* where the line of the source begins that it is part of */
    struct md_line md;
    uint8_t state; /* inline state at `start` */
    bool in_code;  /* `source` stands between fences */
};

struct message {
    enum message_kind kind;
    struct buf text; /* filtered */
    struct text_filter filter;
    bool ended, has_stats;
    struct reply_stats stats;

    struct tline *lines;
    size_t n_lines, cap_lines;
    size_t wrapped_len; /* how much of text the lines cover */
    int wrapped_w;      /* for which width; 0: not yet */
    int first;          /* line number of lines[0] in the whole chat */

    int64_t born_us, ended_us;
    size_t shown_len; /* bytes of the text that are shown */
    bool hidden;      /* came later than what is shown */
    bool unfinished;  /* its stream ended later than that */
};

/* A piece of a stream: the message was so long at that time. */
struct piece {
    int64_t at_us;
    size_t message, len;
};

struct transcript {
    struct message *messages;
    size_t n, cap;
    int w, h;     /* of the window, as last laid out; 0: never */
    int total;    /* lines in all */
    int top;      /* first visible line */
    bool follow;  /* top keeps to the end */
    char *needle; /* searched for, in lower case; NULL: nothing */
    size_t needle_len;
    int found; /* line found last; -1: none */

    int64_t now_us, shown_at_us;
    struct piece
        *pieces;     /* ring of TRANSCRIPT_PIECES, made with the first; NULL: none yet, or no memory for it */
    size_t n_pieces; /* ever */
};

/* Columns left of the text: "weft ▏", or only the bar where it's narrow. One column at the right is the
 * scroll bar's. */
/* Text is no wider than can be read with ease. */
enum {
    GUTTER = 6,
    GUTTER_NARROW = 2,
    NARROW = 36,
    SCROLLBAR = 1,
    TAB_STOP = 4,
    WRAP_MIN = 16,
    WRAP_MAX = 120
};

static inline int gutter_width(int w)
{
    return w < NARROW ? GUTTER_NARROW : GUTTER;
}

/* Columns of text in a window of `w`. */
static inline int text_columns(int w)
{
    int columns = w - gutter_width(w) - SCROLLBAR;
    return columns > WRAP_MAX ? WRAP_MAX : columns > 0 ? columns : 0;
}

/* Markdown is the model's; what people type stands as it is. */
static inline bool message_has_markup(const struct message *m)
{
    return m->kind == MSG_ASSISTANT;
}

/* Lines of a message's text that are shown, and those below: its footer, if any, and an empty one. Both 0: hidden. */
int message_lines(const struct message *m);
int message_tail(const struct message *m);
/* Notes that message i has grown. */
void transcript_note_piece(struct transcript *t, size_t i);
/* Message i is about to go; those behind it move up. */
void transcript_forget_pieces(struct transcript *t, size_t i);
/* Sets shown_len, hidden and unfinished of all messages for the time that is shown. */
void transcript_cut(struct transcript *t);
/* Brings m->lines up to date for text of `w` columns. False when out of memory: the lines are then as they
 * were or fewer. */
bool message_wrap(struct message *m, int w);
/* Columns that the cluster c takes at column `col` of its line: tabs reach to the next stop. */
int cluster_columns(const struct text_cluster *c, int col);
/* The first match of the search that begins at byte `from` of the text or later, before `to`; SIZE_MAX: none.
 */
size_t transcript_match(const struct transcript *t, const struct message *m, size_t from, size_t to);

#endif
