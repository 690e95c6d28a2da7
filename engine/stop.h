/*
 * Stop strings: finds the first one that a growing text contains, whatever the pieces in which the text comes.
 *
 * The text is read byte by byte; the string that is complete first wins, of those complete at the same byte the
 * longest. So the outcome depends on the text alone, not on how it is cut into tokens. Until then stop_held says how
 * many bytes at the text's end may still turn out to be the beginning of a stop string and mustn't be shown.
 *
 * Each string has a Knuth–Morris–Pratt automaton: a byte costs amortised constant time per string. One owner.
 */
#ifndef WEFT_STOP_H
#define WEFT_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

enum { STOP_MAX = 64, STOP_LEN_MAX = 1024 }; /* strings; bytes of one */

struct stop_string {
    char *text;
    uint16_t len;
    uint16_t state;   /* bytes of `text` that the text read so far ends with */
    uint16_t *border; /* border[i]: length of the longest proper border of text[0..i] */
};

struct stop_set {
    struct stop_string *string;
    uint32_t n;
};

/* INVALID_REQUEST (field stop) when there are too many, or one is empty, too long or not UTF-8. Any thread. */
enum weft_rc stop_check(const char *const *strings, size_t n, struct weft_err *err);
/* Copies strings that stop_check accepts. INTERNAL_ERROR when out of memory, and *s is then empty. */
enum weft_rc stop_init(struct stop_set *s, const char *const *strings, size_t n, struct weft_err *err);
void stop_deinit(struct stop_set *s);
/* Reads n more bytes of the text, up to the end of the first stop string. True when one was found: its last byte is
 * then bytes[*end - 1], and it is *len bytes long, maybe begun in earlier bytes. */
bool stop_feed(struct stop_set *s, const char *bytes, size_t n, size_t *end, size_t *len);
/* Bytes at the end of the text read so far that may begin a stop string. */
size_t stop_held(const struct stop_set *s);

#endif
