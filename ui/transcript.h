/*
 * A chat as it is read: messages, wrapped to a width, with a scroll position. Text goes through text_filter
 * on its way in, so what is here is safe to draw. Replies are read as simple Markdown: headings, bold,
 * italic, code, lists, quotes; anything else stands as it was written.
 *
 * Wrapping is incremental: appending costs the last two screen lines and the new text, however long the reply
 * is. Line numbers count from 0 at the top of the whole chat. One owner, not thread-safe.
 */
#ifndef WEFT_UI_TRANSCRIPT_H
#define WEFT_UI_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ui/grid.h"

struct transcript;

/* NOTE: weft's own remarks; ERROR: a failure, as a note in its own colour; QUEUED: a user's message not sent yet. */
enum message_kind { MSG_USER, MSG_ASSISTANT, MSG_NOTE, MSG_ERROR, MSG_QUEUED, MSG_KIND_COUNT };

/* What is said under a reply. Negative or 0: not said. */
struct reply_stats {
    double ttft_ms, tps, queue_ms;
    uint32_t tokens, cached_tokens, preemptions;
    const char *ended; /* static: "stopped", "length", "timeout" …; NULL for an ordinary end */
};

struct transcript *transcript_create(void); /* NULL: out of memory */
void transcript_destroy(struct transcript *t);
void transcript_clear(struct transcript *t);

size_t transcript_count(const struct transcript *t);
/* Adds a message at the end and returns its index; SIZE_MAX when out of memory. Adding a user's message makes
 * the view follow again. */
size_t transcript_add(struct transcript *t, enum message_kind kind, const char *text, size_t n);
/* Adds a copy of message i of another transcript as it is now, and returns its index; SIZE_MAX when out of memory. A
 * stream under way is one that has ended, with `stats` (may be NULL), in the copy. */
size_t transcript_copy(struct transcript *t, const struct transcript *from, size_t i,
                       const struct reply_stats *stats);
/* Appends a piece of a stream to message i. False when out of memory or i is out of range: nothing changed.
 */
bool transcript_append(struct transcript *t, size_t i, const char *text, size_t n);
/* The stream of message i has ended; stats may be NULL. */
void transcript_end(struct transcript *t, size_t i, const struct reply_stats *stats);
/* A reply that has ended goes on: its whole text so far, as it came (ending trims it). False as above. */
bool transcript_reopen(struct transcript *t, size_t i, const char *text, size_t n);
/* For a queued message that is sent now, or edited. */
void transcript_set_kind(struct transcript *t, size_t i, enum message_kind kind);
bool transcript_set_text(struct transcript *t, size_t i, const char *text, size_t n);
void transcript_remove(struct transcript *t, size_t i);
/* The filtered text; valid until the message changes. NULL when i is out of range. */
const char *transcript_text(const struct transcript *t, size_t i, size_t *n);
enum message_kind transcript_kind(const struct transcript *t, size_t i);

/* Wraps to `w` columns and tells the height of the window, both ≥ 1. Cheap when nothing changed. The line at
 * the top of the window stays the same text when the width changes. transcript_draw does this itself. */
void transcript_layout(struct transcript *t, int w, int h);
/* Lines in all, as last wrapped; the first visible one. */
int transcript_lines(const struct transcript *t);
int transcript_top(const struct transcript *t);

/* Scrolls by lines or to an end. Scrolling up stops following; reaching the end by any way follows again.
 * While it doesn't follow, the view never moves by itself. */
void transcript_scroll(struct transcript *t, int lines);
void transcript_home(struct transcript *t);
void transcript_end_of_chat(struct transcript *t);
bool transcript_follows(const struct transcript *t);
/* Height of the window as last drawn: a page. */
int transcript_page(const struct transcript *t);

/* Highlights `needle` (ASCII case ignored; NULL or "": nothing) wherever it stands. */
void transcript_search(struct transcript *t, const char *needle);
/* Scrolls to the next line (dir 1: downwards, -1: up) that holds it, from the one found last or else the
 * window's top. False: there is none. */
bool transcript_search_next(struct transcript *t, int dir);

/*
 * Time, for going back: engine time, in µs. transcript_now tells it, and what is added, appended or ended from then on
 * came at that time. transcript_show_at shows the chat as it was at a time: messages that came later are left out, and
 * a reply is cut where its stream had come to; INT64_MAX: the present. The last TRANSCRIPT_PIECES pieces are remembered;
 * what came before those, or before time was ever told, was always there.
 */
enum { TRANSCRIPT_PIECES = 2048 };
void transcript_now(struct transcript *t, int64_t now_us);
void transcript_show_at(struct transcript *t, int64_t at_us);

/* Draws the window. `live`: the last reply is still streaming. */
void transcript_draw(struct transcript *t, struct grid *g, struct rect r, bool live);

#endif
