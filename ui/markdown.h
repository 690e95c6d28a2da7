/*
 * The part of Markdown that a chat needs, read in a way that suits text which is still growing: what stands
 * at a byte depends on what came before it in its line and on at most MD_LOOKAHEAD bytes after it. Anything
 * that isn't clearly markup is text. Pure.
 */
#ifndef WEFT_UI_MARKDOWN_H
#define WEFT_UI_MARKDOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum md_block { MD_TEXT, MD_HEADING, MD_LIST, MD_QUOTE, MD_RULE, MD_FENCE, MD_CODE };

/* A line of the source, as far as its beginning tells. */
struct md_line {
    uint8_t block;  /* enum md_block */
    uint8_t marker; /* bytes at the line's start that aren't content: "## ", "  - ", "> "; for FENCE up to the
                       language */
    uint8_t indent; /* columns by which content stands in, on each of its screen lines */
};

/* Markers are at most this long in bytes, as is what decides about a line's block. */
enum { MD_MARKER_MAX = 14 };

/* Classifies the line s of n bytes (without newline). in_code: it stands between fences. */
struct md_line md_classify(const char *s, size_t n, bool in_code);

/* Inline state: spans open at a byte. 0 at the start of each line of the source. */
enum { MD_BOLD = 1, MD_ITALIC = 2, MD_CODE_1 = 4, MD_CODE_2 = 8, MD_ESCAPED = 16 };
enum { MD_LOOKAHEAD = 256 };

/*
 * Is there markup at byte `pos` of the line s (n bytes)? Then its length (it isn't shown), and *state is
 * changed to what holds behind it. Else 0: a character to show; call md_shown once it is. A span begins only
 * where its end follows within MD_LOOKAHEAD bytes.
 */
size_t md_markup(const char *s, size_t n, size_t pos, uint8_t *state);
/* A character was shown: an escape ends with it. */
static inline void md_shown(uint8_t *state)
{
    *state &= (uint8_t)~MD_ESCAPED;
}

#endif
