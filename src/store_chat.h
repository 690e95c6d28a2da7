/*
 * One chat as it is kept: settings, messages, what was typed. It is what a session file reads back to, what is
 * exported and imported, and what the store mirrors of each session that it writes.
 *
 * Texts are valid UTF-8 (anything else becomes U+FFFD on its way in) but otherwise as they came: whoever shows
 * them filters them. Times are Unix milliseconds. No files and no clock here. One owner, not thread-safe.
 * Functions that return bool say false when out of memory, and have then changed nothing.
 */
#ifndef WEFT_STORE_CHAT_H
#define WEFT_STORE_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/sampler.h"
#include "engine/sched/request.h"

enum {
    STORE_ID_MAX = 48, /* bytes of a session's id, with the NUL */
    STORE_MODEL_MAX = 96,
    STORE_REASON_MAX = 16,
    STORE_INPUTS_MAX = 1000,           /* typed lines kept; the oldest go */
    STORE_TEXT_MAX = 64 * 1024 * 1024, /* bytes of one message */
    STORE_MESSAGES_MAX = 1000000,
    STORE_WAITING_MAX = 10000 /* messages that wait to be sent */
};

/* What is set for a session. In a struct store_chat the strings are the chat's own; in one that a caller
 * passes they are only read. */
struct store_settings {
    const char *title, *system; /* not NULL */
    bool titled;                /* by the user; else after the first message */
    char model[STORE_MODEL_MAX];
    enum prio prio;
    struct sampling sampling;
    uint32_t max_tokens;
    char fork_of[STORE_ID_MAX]; /* the session that it was branched off; "": none */
    bool paused;                /* nothing is asked until the user says so */
    bool cut;                   /* the pause cut its last reply off: it is to be gone on with */
};

enum store_role { STORE_USER, STORE_ASSISTANT };

/* How a reply ended and what is said under it. Figures that there aren't are negative. */
struct store_footer {
    char reason
        [STORE_REASON_MAX]; /* finish_reason_name; "" while it streams, and where weft was killed then */
    double ttft_ms, tps, queue_ms;
    uint32_t tokens, cached_tokens, preemptions;
};

struct store_message {
    uint32_t id; /* 1, 2, … within the session; grows, never used again */
    enum store_role role;
    int64_t time_ms;            /* when it was sent; a reply: when its first text came */
    struct buf text;            /* buf_str */
    struct store_footer footer; /* of a reply */
};

struct store_chat {
    char id[STORE_ID_MAX]; /* "" until it has a file */
    int64_t created_ms, changed_ms;
    struct store_settings settings;
    struct store_message *messages;
    size_t n_messages, cap_messages;
    uint32_t next_id;
    struct buf
        *waiting; /* messages that wait for a reply or a pause to end, the first to be sent first; buf_str */
    size_t n_waiting, cap_waiting;
    char *draft;   /* what was typed and not sent, or NULL */
    char **inputs; /* what was typed and sent, oldest first: the input line's history */
    size_t n_inputs, cap_inputs;
};

/* An empty chat with a copy of these settings. False: nothing to free. */
bool store_chat_init(struct store_chat *c, const struct store_settings *settings);
void store_chat_deinit(struct store_chat *c); /* a zeroed struct is allowed */

bool store_chat_set(struct store_chat *c, const struct store_settings *settings);
/* Adds a message at the end. id 0: the next one. */
bool store_chat_add(struct store_chat *c, uint32_t id, enum store_role role, int64_t time_ms,
                    const char *text, size_t n);
bool store_chat_append(struct store_chat *c, size_t index, const char *text, size_t n);
/* Forgets the messages from index n on. */
void store_chat_truncate(struct store_chat *c, size_t n);
/* The index of the first message whose id is ≥ `id`; n_messages when there is none. */
size_t store_chat_find(const struct store_chat *c, uint32_t id);
bool store_chat_input(struct store_chat *c, const char *text, size_t n);
bool store_chat_draft(struct store_chat *c, const char *text, size_t n);
/* Another message waits, behind the others; those from index n on don't any more. */
bool store_chat_wait(struct store_chat *c, const char *text, size_t n);
void store_chat_wait_truncate(struct store_chat *c, size_t n);

const char *store_role_name(enum store_role role); /* "user", "assistant" */
bool store_role_parse(const char *name, enum store_role *out);

/* The settings that differ from `base` (NULL: all), as a JSON object by the names that /set and INTERFACES
 * use. NULL when out of memory. */
json_t *store_settings_json(const struct store_settings *s, const struct store_settings *base);
/* Takes over what `object` holds and leaves the rest; unknown names are ignored. A value of a wrong type or out
 * of range is FILE_INVALID with field, value and limit, and changes nothing. */
enum weft_rc store_settings_read(struct store_chat *c, const json_t *object, struct weft_err *err);
json_t *store_footer_json(const struct store_footer *f);
void store_footer_read(struct store_footer *f, const json_t *object);

/* Appends `n` bytes as valid UTF-8. */
bool store_add_valid(struct buf *b, const char *text, size_t n);
/* A JSON string of any bytes: what isn't UTF-8 becomes U+FFFD. NULL when out of memory. */
json_t *store_json_text(const char *text, size_t n);
/* Appends a value as one line of JSON, without a newline; the reference is taken. */
bool store_add_json(struct buf *b, json_t *value);

#endif
