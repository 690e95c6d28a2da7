/*
 * One row of logits as the sampler sees it: where they lie, the highest of each chunk of 32 ids, and the few chunks
 * that penalties have changed, kept apart. So nearly all of the row is judged by its chunks' maxima and never read.
 *
 *     logits   ┌ 0 … 31 ┬ 32 … 63 ┬ 64 … 95 ┬ … ┬ 49,120 … ┐   where the executor wrote them
 *     maxima   │  4.1   │   9.7   │   6.2   │ … │   3.3    │   its own, or computed here in one pass
 *     patches                └─ a copy of chunk 1, changed; its maximum computed anew
 *
 * The last chunk is always a patch when the vocabulary cuts it off: filled up with -inf, it is as long as the others.
 *
 * Ids rank by logit, ties by lower id: one order for greedy choice, top-k, top-p and logprobs.
 * Pure; one owner; after row_init nothing allocates.
 */
#ifndef WEFT_SAMPLER_ROW_H
#define WEFT_SAMPLER_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/exec/exec.h"

enum { ROW_CHUNK = EXEC_CHUNK };

/* An id with its logit in one number, so that the greater number is the higher rank. Never 0. */
typedef uint64_t row_rank;

struct row_patch {
    float logits[ROW_CHUNK];
    uint32_t seen[ROW_CHUNK]; /* for the owner's counts: 0 in a new patch */
    uint32_t chunk;
};

struct row {
    const float *logits; /* n_vocab; the caller's */
    uint32_t n_vocab, n_chunks;
    float *maxima;      /* n_chunks, then -inf up to a multiple of ROW_CHUNK */
    float highest;      /* of all maxima */
    uint32_t *patch_of; /* by chunk: its place in patches + 1, or 0 */
    struct row_patch *patches;
    uint32_t n_patches, cap_patches;
    uint32_t *picked; /* n_chunks: row_top's list of those it looks at */
};

/* Makes room for rows of n_vocab > 0 logits of which at most max_changed are changed. INTERNAL_ERROR without memory;
 * then there is nothing to deinit. */
enum weft_rc row_init(struct row *r, uint32_t n_vocab, uint32_t max_changed, struct weft_err *err);
void row_deinit(struct row *r);

/* Takes another row, unchanged; `maxima` as in struct exec_row, NULL to have them computed. False when a logit is NaN
 * or +inf, or all are -inf: then nothing else may be asked. The row is read until the next call. */
bool row_open(struct row *r, const float *logits, const float *maxima);

/* The chunk's own copy, made at the first call, for changes; row_repair after the last one, before anything else is
 * asked. */
struct row_patch *row_patch(struct row *r, uint32_t chunk);
/* Finds the maxima of the changed chunks. False as row_open's. */
bool row_repair(struct row *r);

/* The chunk's ROW_CHUNK logits, as changed. */
static inline const float *row_chunk(const struct row *r, uint32_t chunk)
{
    uint32_t at = r->patch_of[chunk];
    return at ? r->patches[at - 1].logits : r->logits + (uint64_t)chunk * ROW_CHUNK;
}

static inline float row_logit(const struct row *r, uint32_t id)
{
    return row_chunk(r, id / ROW_CHUNK)[id % ROW_CHUNK];
}

/* The id that ranks highest. */
uint32_t row_best(const struct row *r);

/* How many ranks row_top needs room for, to find the k highest of n_vocab. */
uint32_t row_top_room(uint32_t n_vocab, uint32_t k);
/* Writes the ranks of the k highest to top[0..k), best first; k ≤ n_vocab. `top` and `spare` have row_top_room. */
void row_top(struct row *r, uint32_t k, row_rank *top, row_rank *spare);

/* What a rank is made of. A logit of -0 comes back as 0. */
uint32_t row_rank_id(row_rank rank);
float row_rank_logit(row_rank rank);

#endif
