/*
 * The format of a session file: lines of JSON, each a record that says what happened next (docs/session-files.md).
 * Writing appends lines to a buffer; reading applies lines to a chat, from pieces of any size. Neither knows
 * files: the fuzzer feeds this.
 *
 * Reading takes what it can: a line that isn't a record is skipped and counted, a last line that was cut short
 * is dropped. Only a newer schema and running out of memory are errors, because writing on would then lose
 * something.
 *
 * Functions that append return false when out of memory; the buffer then holds whole lines as before.
 */
#ifndef WEFT_STORE_RECORD_H
#define WEFT_STORE_RECORD_H

#include "src/store_chat.h"

enum {
    STORE_SCHEMA = 1,
    STORE_LINE_MAX = 16 * 1024 * 1024, /* bytes of a line; longer ones are skipped */
    STORE_PIECE_MAX = 1024 * 1024      /* bytes of text in one record; longer texts take several */
};

bool record_session(struct buf *b, const char *id, int64_t created_ms);
/* The settings that differ from `base` (NULL: all); nothing when none does. */
bool record_set(struct buf *b, const struct store_settings *s, const struct store_settings *base);
/* A message and its text so far. */
bool record_message(struct buf *b, const struct store_message *m);
/* More text of message `id`, which has `at` bytes before it. */
bool record_text(struct buf *b, uint32_t id, size_t at, const char *text, size_t n);
bool record_end(struct buf *b, uint32_t id, const struct store_footer *f, int64_t now_ms);
/* The messages from `id` on are gone. */
bool record_remove(struct buf *b, uint32_t id);
bool record_draft(struct buf *b, const char *text, size_t n);
bool record_input(struct buf *b, const char *text, size_t n);
/* The messages that wait, from index `at` on, have changed to what c has; those before are as they were. */
bool record_waiting(struct buf *b, const struct store_chat *c, size_t at);
/* All of a chat, as short as can be. */
bool record_chat(struct buf *b, const struct store_chat *c);

/* What reading found. */
struct store_report {
    uint64_t good_bytes;   /* up to the end of the last record: where writing goes on */
    size_t records;        /* applied */
    size_t damaged;        /* lines in the midst that were skipped, and gaps in texts */
    uint64_t damaged_line; /* the first of them, from 1; 0: none */
    bool torn;             /* bytes after good_bytes were dropped */
    bool no_newline;       /* the last record is whole but for its newline */
};

struct store_parser {
    struct store_chat *chat; /* the caller's, initialised */
    struct store_report report;
    struct buf line;           /* its beginning, from earlier pieces */
    uint64_t n_lines, n_bytes; /* ended so far */
    uint64_t over;             /* of a line longer than STORE_LINE_MAX: its bytes so far */
};

void store_parser_init(struct store_parser *p, struct store_chat *chat);
/* FILE_INVALID: a newer schema, or too much in one chat. After an error only deinit may follow. */
enum weft_rc store_parser_feed(struct store_parser *p, const char *bytes, size_t n, struct weft_err *err);
/* The file has ended. FILE_INVALID when there wasn't a single record. */
enum weft_rc store_parser_end(struct store_parser *p, struct weft_err *err);
void store_parser_deinit(struct store_parser *p);

/* All at once: feed and end. */
enum weft_rc store_parse(const char *bytes, size_t n, struct store_chat *chat, struct store_report *report,
                         struct weft_err *err);

#endif
