/*
 * Pre-tokenizers: how text is cut into the pieces inside which merges take place.
 *
 * A pre-tokenizer is one or more regular expressions (passes). Each pass cuts every fragment that the pass
 * before it left: its matches are fragments, and so is each stretch that it doesn't match. Patterns see one
 * fragment at a time, so a look-ahead ends at the fragment's edge. What the last pass leaves are the pieces.
 * Patterns and names are those that llama.cpp uses for the key tokenizer.ggml.pre; the table is in tok_pre.c.
 *
 * A struct tok_pre is immutable once made: any number of threads may use it at once.
 */
#ifndef WEFT_MODEL_TOK_PRE_H
#define WEFT_MODEL_TOK_PRE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/err.h"

struct tok_pre;

/* What comes with a pre-tokenizer's name besides its patterns. */
struct tok_pre_traits {
    const char *name;
    bool whole_tokens; /* a piece that is itself a token is taken whole, before any merge */
    bool add_bos;      /* what the file means when it has no tokenizer.ggml.add_bos_token */
};

/* The traits of name[0..n), or NULL when no such pre-tokenizer is known. Static storage. */
const struct tok_pre_traits *tok_pre_find(const char *name, size_t n);
/* The i-th name known, or NULL past the end: for messages and tests. */
const char *tok_pre_name(size_t i);

/* Compiles the passes that `traits` (from tok_pre_find) names. `jit`: compile to machine code where the
 * system lets us; the results are the same. INTERNAL_ERROR when out of memory. */
enum weft_rc tok_pre_create(const struct tok_pre_traits *traits, bool jit, struct tok_pre **out,
                            struct weft_err *err);
void tok_pre_destroy(struct tok_pre *p); /* NULL allowed */

/* Called for each piece, in order; pieces are never empty and together are the text. Anything but WEFT_OK
 * ends the split, which then returns it. */
typedef enum weft_rc (*tok_piece_fn)(void *ctx, const char *piece, size_t n);

/* What one thread needs while it splits. */
struct tok_pre_scratch {
    struct pcre2_real_match_data_8 *match;
    struct pcre2_real_match_context_8 *limits;
};
#define TOK_PRE_SCRATCH_INIT                                                                                 \
    {                                                                                                        \
        0, 0                                                                                                 \
    }
void tok_pre_scratch_free(struct tok_pre_scratch *s);

/* Splits text[0..n), which must be valid UTF-8, and calls `piece` with each part. Time is linear in n.
 * INTERNAL_ERROR when out of memory. */
enum weft_rc tok_pre_split(const struct tok_pre *p, const char *text, size_t n, struct tok_pre_scratch *s,
                           tok_piece_fn piece, void *ctx, struct weft_err *err);

#endif
