/*
 * Why a session is where it is, in words: what /why says. From a snapshot alone, so it can be asked of a moment gone
 * by as well. The rules behind the sentences are the scheduler's (docs/console.md has them together). Pure.
 */
#ifndef WEFT_UI_WHY_H
#define WEFT_UI_WHY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/snapshot.h"

/* Appends a paragraph about the request with this tag (≥ 1: a session's number): why it waits and who is ahead, by whom
 * it was preempted and what became of its KV, what share of the steps it has, or what its last request came to.
 * Sentences are separated by spaces; no line breaks. False: out of memory. */
bool why_explain(const struct snapshot *s, uint32_t tag, struct buf *out);

#endif
