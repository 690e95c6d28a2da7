/*
 * Streaming text: turns the ids of a generation, as they come, into text of whole UTF-8 characters.
 *
 * A token may end inside a character; its bytes are held back until the rest has come. What turns out to be
 * no character becomes U+FFFD, one for each byte. So the output is valid UTF-8 at every moment, and all of it
 * together is the decoded bytes made valid, however the ids came. Control tokens give no text.
 *
 * Embedded by value, one owner; the tokenizer must outlive it.
 */
#ifndef WEFT_MODEL_TOK_STREAM_H
#define WEFT_MODEL_TOK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/model/tokenizer.h"

struct tok_stream {
    const struct tok *t;
    char pending[4]; /* the start of a character: 0..3 bytes */
    size_t n_pending;
};

void tok_stream_init(struct tok_stream *s, const struct tok *t);
/* Appends to *out the characters that token `id` completes, maybe none. An id that the vocabulary lacks gives
 * no text. False when out of memory (out->failed). */
bool tok_stream_push(struct tok_stream *s, uint32_t id, struct buf *out);
/* The end: what is held back can't be completed any more. The stream is then as after init. */
bool tok_stream_end(struct tok_stream *s, struct buf *out);

#endif
