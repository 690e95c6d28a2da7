/*
 * Search over all sessions, those on disk and those that are open, a piece at a time: the console calls
 * search_step between two frames until it says that it is through. Files are read in pieces, one session in
 * memory at once; open sessions are searched as they are, whether or not they could be written.
 *
 * One thread, the store's. What the files hold comes out as it is: filter it before it is shown.
 */
#ifndef WEFT_SEARCH_H
#define WEFT_SEARCH_H

#include "src/store.h"

enum {
    SEARCH_NEEDLE_MAX = 1000, /* bytes */
    SEARCH_HITS_MAX = 1000,
    SEARCH_TITLE_MAX = 96,
    SEARCH_BEFORE_CPS = 24, /* of the snippet, around its first match */
    SEARCH_AFTER_CPS = 72
};

/* A message that holds it, or a title. */
struct search_hit {
    char id[STORE_ID_MAX];
    char title[SEARCH_TITLE_MAX]; /* of the session */
    bool in_title;                /* then message, role and time mean nothing */
    size_t message;               /* its index in the session */
    enum store_role role;
    int64_t time_ms;
    size_t at, len;        /* the first match: bytes of the message */
    size_t count;          /* how many there are in it */
    char *snippet;         /* one line around the first match */
    size_t mark, mark_len; /* the match in the snippet: bytes */
};

struct search_progress {
    size_t sessions, n_sessions;
    uint64_t bytes, n_bytes;
    size_t unreadable; /* sessions left out because they couldn't be read */
    bool cut;          /* there are more than SEARCH_HITS_MAX */
};

struct search;

/* INVALID_REQUEST for a needle that is empty or too long. A directory that can't be read holds no sessions. */
enum weft_rc search_create(struct store *st, const char *needle, struct search **out, struct weft_err *err);
void search_destroy(struct search *s);
/* Goes through about so many bytes. False: there is nothing more to do. INTERNAL_ERROR in *err, and the end, when
 * out of memory (else *err is untouched). */
bool search_step(struct search *s, size_t bytes, struct weft_err *err);
/* Found so far, open sessions first, then by last change; valid until the next step. */
const struct search_hit *search_hits(const struct search *s, size_t *n);
struct search_progress search_progress(const struct search *s);

#endif
