/*
 * How the GGUF reader, the tokenizer and the model loader refuse a file: one message form, one set of context keys.
 *
 * Everything that comes from the file passes through gguf_quote, so a message never carries a control
 * character, an escape sequence or half a UTF-8 character. Pure; any thread.
 */
#ifndef WEFT_MODEL_GGUF_REFUSE_H
#define WEFT_MODEL_GGUF_REFUSE_H

#include "engine/base/err.h"
#include "engine/model/gguf.h"

/* A short text by value, so that a message can be put together in one expression: gguf_text("%u", n).s. */
struct gguf_text {
    char s[160];
};
struct gguf_text gguf_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A string of the file made fit to print: control characters (C0, DEL, C1), bidi controls and bytes that
 * aren't UTF-8 as \xNN; what is too long ends in "...". */
struct gguf_text gguf_quote(struct gguf_str s);

/* Fills *err with "PATH: FIELD is VALUE; LIMIT" and the context path, field, value, limit; returns `code`.
 * `limit` says what would have been right ("must be 1 to 512"). */
enum weft_rc gguf_refuse(struct weft_err *err, enum weft_rc code, const char *path, const char *field,
                         const char *value, const char *limit);

#endif
