/*
 * Sessions on disk: one file each in $XDG_STATE_HOME/weft/sessions, append-only (docs/session-files.md).
 *
 * The store mirrors each open session as a struct store_chat and hands what happens to it to a writer thread.
 * So nothing here waits for the disk but opening, listing, draining and closing. Sent messages and ended replies
 * are synced at once; a reply's text is written at most STORE_FLUSH_MS after it came, which is what kill -9 may
 * cost. When the disk fails, chatting goes on: store_news says so once, the writer tries again every few
 * seconds, and then writes all that is missing.
 *
 * Each open session's file is locked. One that another weft holds isn't touched: it is opened as a copy.
 * A session gets its file with its first message, title, system prompt or draft, so that empty ones leave none.
 *
 * One thread, the console's. Functions that return bool say false when out of memory, and have then changed nothing.
 */
#ifndef WEFT_STORE_H
#define WEFT_STORE_H

#include "src/store_chat.h"
#include "src/store_file.h"
#include "src/store_record.h"
#include "src/store_writer.h"

enum { STORE_FLUSH_MS = 500, STORE_RETRY_MS = 3000 };

struct store;
struct store_session;

struct store_options {
    const char *dir;           /* NULL: the user's */
    const struct store_io *io; /* NULL: the system's */
    int64_t retry_ms;          /* 0: STORE_RETRY_MS */
    bool no_thread;            /* every call writes before it returns: commands, tests */
};

/* A directory that can't be made or opened is no failure, but news. */
enum weft_rc store_open(const struct store_options *options, struct store **out, struct weft_err *err);
/* Closes all sessions; waits at most timeout_ms. False: not everything could be saved (store_news told why, or
 * the disk hangs). */
bool store_close(struct store *st, int timeout_ms);

/* Writes pieces of replies that have waited long enough. Returns in how many µs it is to be called again, -1:
 * not before something happens. `now_us`: clock_now_us. */
int64_t store_tick(struct store *st, int64_t now_us);
/* Writes and syncs everything: for SIGHUP, and before a file is read by others. */
bool store_drain(struct store *st, int timeout_ms);
/* What changed with the disk since the last call; false: nothing. store_fd is readable when it is worth asking. */
bool store_news(struct store *st, struct store_news *out);
int store_fd(const struct store *st);

/* --- what there is --- */

struct store_entry {
    char id[STORE_ID_MAX];
    int64_t changed_ms; /* of the file */
    uint64_t bytes;
};

/* Session files, the one changed last first; *entries is the caller's (mem_free). None when the directory can't
 * be read: *err says why. */
enum weft_rc store_list(struct store *st, struct store_entry **entries, size_t *n, struct weft_err *err);
/* Reads a session, whoever has it open; *chat is the caller's on WEFT_OK. What the file doesn't say is as in
 * `defaults`. `report` may be NULL. */
enum weft_rc store_peek(struct store *st, const char *id, const struct store_settings *defaults,
                        struct store_chat *chat, struct store_report *report, struct weft_err *err);
/* Whether it could be the id of a session: letters, digits and dashes; so never a path. */
bool store_id_valid(const char *id);
/* The directory that is read, opened if need be: for the search. NULL and *err when it can't be. */
const struct store_dir *store_directory(struct store *st, struct weft_err *err);

/* --- sessions --- */

/* A new session; `from` (NULL: none): a chat whose messages and inputs it begins with, e.g. an imported one.
 * NULL when out of memory. */
struct store_session *store_session_create(struct store *st, const struct store_settings *settings,
                                           const struct store_chat *from);
/*
 * Opens one. In use elsewhere: with `copy` it becomes a session of its own, with the same content and another
 * file; without, *out is NULL and the result WEFT_OK. The report (may be NULL) tells what was damaged.
 */
enum weft_rc store_session_open(struct store *st, const char *id, const struct store_settings *defaults,
                                bool copy, struct store_session **out, struct store_report *report,
                                struct weft_err *err);
/* Saves what there is and lets go of it; the file stays. */
void store_session_close(struct store_session *s);
/* The file is removed. */
void store_session_delete(struct store_session *s);
/* The sessions that are open: the first for NULL, then the next one; NULL behind the last. */
struct store_session *store_session_next(struct store *st, const struct store_session *s);
/* As it is now; valid until the next call for this session. */
const struct store_chat *store_session_chat(const struct store_session *s);

/* Anything about the settings may have changed: what did is saved. */
bool store_set(struct store_session *s, const struct store_settings *settings);
/* The user's message. */
bool store_user(struct store_session *s, const char *text, size_t n);
/* A piece of the reply to the last message; the first one begins it. */
bool store_reply(struct store_session *s, const char *text, size_t n);
/* The reply has ended (it must have begun). */
void store_reply_end(struct store_session *s, const struct store_footer *footer);
/* The first n messages stay, the rest is forgotten: a message edited, a reply made anew, 0 when cleared. A
 * cleared session's file is written anew, so that what was said is gone from the disk too. */
void store_keep(struct store_session *s, size_t n);
/* A line that was typed, message or command: for the input history. */
bool store_input(struct store_session *s, const char *text, size_t n);
/* The messages that wait to be sent are these n now, the first to be sent first. */
bool store_waiting(struct store_session *s, const char *const *texts, size_t n);
/* What stands in the input line; n 0: nothing. */
bool store_draft(struct store_session *s, const char *text, size_t n);

#endif
