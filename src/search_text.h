/*
 * Finding text whatever its case, in any script: both sides are case-folded and decomposed (Unicode, by
 * utf8proc), so "STRASSE" finds "Straße", and "é" is found in both its spellings. A match begins and ends at
 * whole characters: "s" isn't found in "ß", nor "e" in "é". Pure; a struct search_text belongs to one owner.
 */
#ifndef WEFT_SEARCH_TEXT_H
#define WEFT_SEARCH_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

struct search_text {
    struct buf needle; /* folded */
    struct buf folded; /* of the text being searched */
    const char *text;  /* that text */
    size_t n;
    size_t next;         /* in `folded`: where the search goes on */
    size_t seen, source; /* a place in `folded`, and the one in `text` that it came from */
};

/* The needle is n bytes of valid UTF-8, n > 0. False when out of memory: nothing to free. */
bool search_text_init(struct search_text *s, const char *needle, size_t n);
void search_text_deinit(struct search_text *s);
/* From now on in this text (valid UTF-8; the caller's, until the last search in it). False when out of memory. */
bool search_text_in(struct search_text *s, const char *text, size_t n);
/* The next match in it, bytes of the text; matches don't overlap. False: no more. */
bool search_text_next(struct search_text *s, size_t *at, size_t *len);

#endif
