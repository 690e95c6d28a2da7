/*
 * Foreign text, made safe and measured. Everything that a model, a file, a paste or a chat template produced
 * passes text_filter before it is kept for the screen; everything drawn is cut into clusters by text_next, so
 * that measuring, wrapping and drawing agree about widths. Pure; a struct text_filter belongs to one stream.
 */
#ifndef WEFT_UI_TEXT_H
#define WEFT_UI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"

/* The start of a character whose rest hasn't arrived yet. Zero-initialised at the start of a stream. */
struct text_filter {
    char pending[4];
    uint8_t n_pending;
};

/*
 * Appends the safe form of `n` bytes of the stream to `out`: valid UTF-8, of whose controls only newline and
 * tab are left. C0 controls (ESC among them), DEL, C1 controls (as U+0080..9F or as single bytes), invalid
 * bytes → U+FFFD carriage return, bidirectional and interlinear controls, tags, byte order marks → nothing
 *   line and paragraph separators (U+2028, U+2029) → newline
 * A character cut by the end of the piece is kept back until the next call. False when out of memory.
 */
bool text_filter(struct text_filter *f, const char *s, size_t n, struct buf *out);
/* The stream has ended: a character that never became whole becomes U+FFFD. */
bool text_filter_end(struct text_filter *f, struct buf *out);

enum { TEXT_CLUSTER_CPS = 4 };

/* What one cell shows: a character and the marks that combine with it. */
struct text_cluster {
    uint32_t cp[TEXT_CLUSTER_CPS]; /* unused ones 0; marks beyond the fourth code point are left out */
    int width;                     /* columns: 1 or 2; 0 for a newline */
};

/*
 * Cuts the first cluster off s (n > 0 bytes) and returns its length in bytes. A mark without a base stands on
 * a space; a tab is one column wide here (callers that keep tab stops see cp[0] == '\t'); other control
 * characters and invalid bytes come out as U+FFFD. Emoji joiners, variation selectors and skin tones are left
 * out, because terminals disagree about the width of what they join, and a border must stay where it is on
 * all of them.
 */
size_t text_next(const char *s, size_t n, struct text_cluster *out);

/* Columns that n bytes take on one line. */
int text_width(const char *s, size_t n);
/* The longest prefix that fits `columns`, in bytes; its width in *width (may be NULL). */
size_t text_fit(const char *s, size_t n, int columns, int *width);

#endif
