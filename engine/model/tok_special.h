/*
 * Special tokens: those that stand for themselves in a text and are found before it is cut into pieces.
 *
 * They are taken longest first, over the whole text: a longer token that begins later beats a shorter one
 * that it overlaps (as llama.cpp does it); of equally long ones that of lower id, of equal ones the leftmost.
 * Found with a trie and a heap, in O(n × longest token) at worst and near O(n) for text.
 *
 * Immutable once made: any number of threads may search.
 */
#ifndef WEFT_MODEL_TOK_SPECIAL_H
#define WEFT_MODEL_TOK_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model/tok_heap.h"
#include "engine/model/tokenizer.h"

/* Whose text may contain the token. */
enum tok_special_kind {
    TOK_SPECIAL_CONTROL,  /* TOK_SPECIAL; TOK_MARKED where no byte is foreign */
    TOK_SPECIAL_MARKUP,   /* every mode, but TOK_MARKED only where no byte is foreign: user-defined <tags> */
    TOK_SPECIAL_ORDINARY, /* every mode, anywhere: other user-defined tokens */
};

struct tok_special {
    struct tok_special_entry {
        uint32_t id;
        uint32_t len_bytes;
        enum tok_special_kind kind;
    } * entry; /* longest first; an entry's index is its rank */
    struct tok_special_node *node;
    size_t n, n_nodes, cap_nodes;
    bool in_plain; /* some may occur in TOK_PLAIN */
};

/* Builds the table from `entry` (n of them, any order, memory handed over also on failure; no empty token and
 * no duplicates); bytes[id] is a token's text. False when out of memory. */
bool tok_special_init(struct tok_special *sp, struct tok_special_entry *entry, size_t n,
                      const struct gguf_str *bytes);
void tok_special_deinit(struct tok_special *sp);

/* Working memory, kept from call to call; one a thread. */
struct tok_special_scratch {
    struct tok_heap candidates;
    struct tok_heap found; /* keys: position, rank; popping gives them from left to right */
    uint8_t *taken;
    size_t cap_taken;
};
void tok_special_scratch_free(struct tok_special_scratch *s);

/* Finds the special tokens of text[0..n), n < 2^32, and leaves them in s->found. `foreign` as in tok_encode,
 * NULL: all trusted. False when out of memory. */
bool tok_special_find(const struct tok_special *sp, const char *text, size_t n, enum tok_mode mode,
                      const uint8_t *foreign, struct tok_special_scratch *s);

#endif
