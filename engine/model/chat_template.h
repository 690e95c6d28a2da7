/*
 * Chat templates: an interpreter for a documented subset of Jinja (docs/chat-templates.md), in three stages: lexer,
 * parser (once, at load), evaluator (per conversation). What it can't do is an error that names line and construct.
 *
 * Every byte of the result is marked: 0 where the template wrote it, 1 where it came from a message (also when it went
 * through filters or methods), so that the tokenizer can refuse special tokens that a message tries to forge.
 *
 * A struct chat_template is immutable: any number of threads may render at once. It keeps no pointer to its source.
 */
#ifndef WEFT_MODEL_CHAT_TEMPLATE_H
#define WEFT_MODEL_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

struct chat_template;

struct chat_message {
    const char *role;    /* NUL-terminated UTF-8 */
    const char *content; /* content_len bytes of UTF-8 */
    size_t content_len;
};

struct chat_rendered {
    char *text;       /* mem_free; NUL-terminated */
    uint8_t *foreign; /* mem_free; `len` marks */
    size_t len;
};
void chat_rendered_free(struct chat_rendered *r);

/* Parses n bytes of template source. FILE_INVALID: context field "tokenizer.chat_template", value (what), line in the
 * message. */
enum weft_rc chat_template_parse(const char *source, size_t n, struct chat_template **out,
                                 struct weft_err *err);
void chat_template_destroy(struct chat_template *t);

struct chat_vars {
    const char *bos_token, *eos_token; /* "" where the model has none */
    bool add_generation_prompt;
    int64_t now_unix_s; /* for strftime_now: UTC */
};

/* Renders a conversation. INVALID_REQUEST when the template raises (raise_exception) or a limit (depth 64, 1 million
 * loop steps, 16 MiB of output) is passed. On failure *out is empty. */
enum weft_rc chat_template_render(const struct chat_template *t, const struct chat_message *messages,
                                  size_t n, const struct chat_vars *vars, struct chat_rendered *out,
                                  struct weft_err *err);

#endif
