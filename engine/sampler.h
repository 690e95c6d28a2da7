/*
 * The sampler: logits → one token, per request, reproducible from its seed.
 *
 * Order: penalties (repetition, presence, frequency) over the last `penalty_window` ids, then temperature 0 → the highest
 * logit, ties to the lowest id; else top-k, temperature, top-p, min-p, and one draw. The draw depends only on
 * (seed, number of tokens chosen so far), never on other requests. logprobs are of the raw logits, before all of this.
 * Pure; one owner.
 *
 * Nearly all of a row is passed over by its chunks' maxima (sampler_row.h); the result is that of ranking all of it.
 *
 * Candidates are ranked by logit, ties by lower id, so that every cut (top-k, top-p) has one answer. top-p keeps the
 * fewest best candidates whose probability, of those that top-k left, adds up to top_p (Holtzman et al. 2020); min-p
 * then keeps those with at least min_p times the best one's (Nguyen et al. 2024). The best one always stays.
 */
#ifndef WEFT_SAMPLER_H
#define WEFT_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/base/hash.h"

struct sampling {
    double temperature; /* 0 … 100; 0: greedy */
    uint32_t top_k;     /* 0: all */
    double top_p;       /* (0, 1]; 1: off */
    double min_p;       /* [0, 1]; 0: off */
    /* (0, 10]; 1: off. Positive logits are divided by it, others multiplied (Keskar et al. 2019). */
    double repeat_penalty;
    double presence_penalty;  /* -2 … 2; 0: off */
    double frequency_penalty; /* -2 … 2; 0: off */
    uint32_t penalty_window;  /* last ids looked at, prompt included; 0: none */
    int64_t seed;             /* -1: chosen by the engine and reported */
};
/* clang-format off */
#define SAMPLING_DEFAULT {0.7, 40, 0.95, 0.05, 1.1, 0, 0, 64, -1}
/* clang-format on */

/* INVALID_REQUEST with field, value, limit when a value is out of range or not finite. */
enum weft_rc sampling_check(const struct sampling *s, struct weft_err *err);

enum { SAMPLER_LOGPROBS_MAX = 20 };
struct sampler_logprob {
    uint32_t id;
    float logprob;
};
struct sampler_out {
    uint32_t id;
    bool finite;   /* false: the logits hold NaN or +inf, or nothing above -inf: id means nothing */
    float logprob; /* of id; set when n_top > 0 was asked for */
    uint32_t n_top;
    struct sampler_logprob top[SAMPLER_LOGPROBS_MAX]; /* best first */
};

struct sampler;
enum weft_rc sampler_create(const struct sampling *cfg, uint32_t n_vocab, struct sampler **out,
                            struct weft_err *err);
void sampler_destroy(struct sampler *s);
/* Chooses the next token from a row of logits; `maxima` as in struct exec_row: NULL has them computed, and the choice is
 * the same. `ids`: prompt and output so far. n_top ≤ SAMPLER_LOGPROBS_MAX. Allocates nothing. */
void sampler_next(struct sampler *s, const float *logits, const float *maxima, const uint32_t *ids,
                  uint32_t n_ids, uint32_t n_top, struct sampler_out *out);
/* −log softmax(logits)[id], in double. */
double sampler_nll(const float *logits, uint32_t n_vocab, uint32_t id);

#endif
