/*
 * A session: one chat. Its turns are what the model is asked with; its transcript is what is read on the
 * screen; at most one request is out for it, and messages sent meanwhile wait here in order.
 *
 *             session_say                     session_ask              ADMIT, TOKENS …
 *   typed ───────────────► queued, or a turn ────────────► request out ────────────────► reply grows
 *                            ▲                                                              │
 *                            └──────────── session_next ◄── session_end, session_fail ──────┘
 *
 * Nothing here knows the engine's thread or the terminal: the console (app_engine.c) submits and passes
 * events on. One thread, the console's. Functions that return bool say false when out of memory, and have
 * then changed nothing.
 */
#ifndef WEFT_SESSION_H
#define WEFT_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/engine.h"
#include "src/store_chat.h"
#include "ui/term/editor.h"
#include "ui/transcript.h"

struct store_session;

enum { SESSION_TITLE_MAX = 64 }; /* bytes, with the NUL */

enum session_role { SESSION_USER, SESSION_ASSISTANT };

struct session_turn {
    enum session_role role;
    char *text; /* mem_free; NUL-terminated */
    size_t len;
    size_t shown; /* its index in the transcript; messages that wait always stand behind it */
};

/* A message that waits for the reply under way to end. */
struct session_queued {
    char *text; /* mem_free */
    size_t len;
    size_t shown; /* its index in the transcript */
};

struct session {
    uint32_t number; /* 1, 2, …: never used again; the tag of its requests */
    char title[SESSION_TITLE_MAX];
    bool titled; /* by the user: the first message doesn't name it */
    enum prio prio;
    char *system; /* mem_free; "" for none */
    struct sampling sampling;
    uint32_t max_tokens;

    struct session_turn *turns;
    size_t n_turns, cap_turns;
    size_t first_turn; /* turns before it no longer fit the context and are left out of prompts */

    struct transcript *transcript;
    struct editor_draft *draft;
    struct session_queued *queue;
    size_t n_queue, cap_queue;

    char request[REQ_ID_MAX]; /* the request that is out; "" for none */
    struct buf reply;         /* its text so far */
    size_t reply_shown;       /* its index in the transcript */
    size_t reply_from;        /* how much of it there was when it was gone on with: bytes */
    bool stopping;            /* the user stopped it: no need to say so twice */
    bool paused;              /* nothing is asked until the user says so */
    bool cut;                 /* a pause cut the reply off, or is about to: it is to be gone on with */
    size_t edits;             /* 1 + the turn that the next message takes the place of; 0: none */
    char model[96];           /* that its requests go to; "": the default */

    uint32_t branch_of; /* number of the session that it was branched off; 0: none, or one that isn't open */
    char fork_of[STORE_ID_MAX]; /* that one's file; "": none */

    /* Its file, which turns and replies go into as they happen; NULL: it is kept nowhere. The store's. */
    struct store_session *saved;

    bool unread, failed;
    uint32_t n_unread;             /* complete replies among what came unseen */
    double last_ttft_ms, last_tps; /* of the last reply; negative: none */
};

struct session_defaults {
    enum prio prio;
    const char *system;
    struct sampling sampling;
    uint32_t max_tokens;
};

/* NULL when out of memory. */
struct session *session_create(uint32_t number, const struct session_defaults *defaults);
void session_destroy(struct session *s);

static inline bool session_busy(const struct session *s)
{
    return s->request[0] != 0;
}

/* At most SESSION_TITLE_MAX-1 bytes, whole characters, controls left out; an empty title gives "session N".
 */
void session_set_title(struct session *s, const char *title);
bool session_set_system(struct session *s, const char *text);

/* Adds a turn, that stands at `shown` of the transcript. */
bool session_add_turn(struct session *s, enum session_role role, const char *text, size_t n, size_t shown);
/* The user says something: a turn at once, or, while a request is out, a queued message. */
bool session_say(struct session *s, const char *text, size_t n);
/* A message waits behind the others, and isn't saved anew. */
bool session_wait(struct session *s, const char *text, size_t n);
/* When no request is out: makes the first queued message a turn. False when there is none (or no memory). */
bool session_next(struct session *s);
/* Takes the last queued message back, to be edited: its text (mem_free), or NULL. */
char *session_unqueue(struct session *s);
void session_drop_queue(struct session *s);

/* A request is out, by this id: an empty reply appears. */
bool session_ask(struct session *s, const char *id);
/* The same, to go on with the chat's last turn, a reply. */
bool session_ask_on(struct session *s, const char *id);
/* Whether the chat ends in a reply that can be gone on with; no request is out. */
bool session_can_go_on(const struct session *s);
/* The index of the nth question from the end (1: the last) among the turns; SIZE_MAX: there are fewer. */
size_t session_question(const struct session *s, size_t nth);
/* Forgets the turns from index n on, on the screen and on disk. No request is out. */
void session_rewind(struct session *s, size_t n);
/* A piece of the reply. */
bool session_reply(struct session *s, const char *text, size_t n);
/* The reply is complete, or what there is of it when the request was stopped or failed. A question whose reply was cut
 * off by a pause before it began stays. */
void session_end(struct session *s, const struct engine_event *finish);
/* How a reply ended, as the screen says it: "stopped" …; NULL for an ordinary end. */
const char *session_ended(enum finish_reason reason);
/* The request was refused: the question it came from is no turn any more, so that it can be asked again; a reply that was
 * to go on stays as it was. */
void session_fail(struct session *s, const struct weft_err *err);

/*
 * Makes a new session a branch of another: the same settings, and a copy of what has been said there. Of a reply under way
 * it gets what has come so far, as one that was stopped; a question that has no reply yet goes into *question (to be sent
 * again; NULL: there is none; it points into `from`). False when out of memory: some of it is missing then.
 */
bool session_branch(struct session *s, const struct session *from, const char **question);
/* What is kept of it beside its turns. The strings are the session's. */
void session_settings(const struct session *s, struct store_settings *out);
/* Saves the settings that have changed since the last time. */
void session_save(struct session *s);
/* The reply is complete: its file gets what is said under it. */
void session_save_end(struct session *s, const struct reply_stats *stats, enum finish_reason reason);
/* Fills a new session with what was saved. With messages that waited it is paused: nothing is sent unasked. False when out of memory: some of it is missing then. */
bool session_restore(struct session *s, const struct store_chat *c);

/* A remark of weft's own, or an error, in the transcript. */
void session_note(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void session_error(struct session *s, const struct weft_err *err);
/* Forgets turns and transcript; a request that is out must have been cancelled, and its events are to be
 * dropped. */
void session_clear(struct session *s);

/*
 * The prompt: system message, then the turns that fit. `count` measures a conversation in tokens (0: unknown,
 * then nothing is left out); when prompt + max_tokens exceeds `limit` (0: none) the oldest turns are left
 * out, question and answer together, the last question never; if that alone is too long, *max_tokens shrinks,
 * down to 1, and the engine says the rest. Turns once left out stay out, so that the prompt's prefix stays
 * the same from one request to the next. *messages is the caller's (mem_free); it points into the session.
 * *left_out: how many turns are newly left out.
 */
struct session_prompt {
    struct chat_message *messages;
    size_t n_messages;
    uint32_t max_tokens;
    size_t left_out;
};
typedef size_t session_count_fn(void *ctx, const struct chat_message *messages, size_t n);
bool session_prompt(struct session *s, session_count_fn *count, void *ctx, size_t limit,
                    struct session_prompt *out);

#endif
