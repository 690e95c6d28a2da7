/* UTF-8, as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF. Pure. */
#ifndef WEFT_BASE_UTF8_H
#define WEFT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the first character of s (n > 0 bytes). Returns its length in bytes, 1..4, and sets *cp. Invalid input:
 * returns 1 with *cp = 0xFFFD. A valid sequence that is merely cut short by n: returns 0. */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Writes cp (a scalar value) to out[4]; returns the length. */
size_t utf8_encode(uint32_t cp, char out[4]);
bool utf8_valid(const char *s, size_t n);
/* The length of the longest prefix that doesn't end inside a character that more bytes could complete. */
size_t utf8_whole(const char *s, size_t n);
/* Columns of a character on a terminal: 0, 1 or 2; 0 for control characters. (utf8proc's tables.) */
int utf8_width(uint32_t cp);

#endif
