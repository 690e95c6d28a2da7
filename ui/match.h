/*
 * Fuzzy matching, for lists that are filtered by typing: "prd" finds "priority-down". The characters typed must occur
 * in that order, whatever the case (of ASCII); the better a match looks to the eye, the further up it comes. Pure.
 */
#ifndef WEFT_UI_MATCH_H
#define WEFT_UI_MATCH_H

#include <stddef.h>

#include "ui/view.h"

/* How well the n bytes of `pattern` match `text`: -1 not at all; an empty pattern matches everything with 0. Higher is
 * better: runs, beginnings of words, and the beginning of the text count; gaps cost. Blanks in the pattern are
 * ignored. Texts beyond MATCH_TEXT_MAX bytes are looked at so far. */
enum { MATCH_TEXT_MAX = 256 };
int match_score(const char *pattern, size_t n, const char *text);

/* Keeps the items whose label matches, or failing that whose detail contains the pattern as a whole, best first and
 * otherwise in their order. Returns how many are left at the front of `items`; what is behind them is undefined. */
size_t match_items(const char *pattern, size_t n, struct view_item *items, size_t n_items);

#endif
