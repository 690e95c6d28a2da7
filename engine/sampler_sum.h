/*
 * Sums of exponentials over all of a vocabulary, in vector instructions: the one thing in sampling that must read each
 * logit. In double precision, in one order of summation, and without the C library's exp: the same bits with every
 * library and processor. Pure.
 */
#ifndef WEFT_SAMPLER_SUM_H
#define WEFT_SAMPLER_SUM_H

#include <stdint.h>

#include "engine/sampler_row.h"

/* log Σ exp(logits). NaN when a logit is NaN or +inf, or all are -inf. n > 0. */
double log_sum_exp(const float *logits, uint32_t n);

/* What a logit weighs in a draw: its probability, times a factor that all share; the best one's is 1. In single
 * precision, as the logits are. This, by the C library's expf, is what decides. */
float sample_weight(float logit, float best, double temperature);

/* The sum of sample_weight for each chunk of the row: sums[n_chunks]; returns the sum of these. They may be off by
 * WEIGHT_SUM_ERROR times themselves, and what they leave out, below e^-37 each, by less than that of the whole: so
 * they decide whatever is further from the edge, and spare the exact sums nearly always. */
double weight_sums(const struct row *r, float best, double temperature, double *sums);

/* The float nearest to x is taken here as there, so what is left is expf's own error (1 unit in the last place, 2^-23,
 * at most) and the rounding of up to 2^31 additions in double. */
#define WEIGHT_SUM_ERROR 3e-7

/* e to this, added to a sum of at least 1 in double precision, changes nothing: it is below half a unit in its last
 * place, 2^-53 = e^-36.7. */
#define WEIGHT_LOG_NEGLIGIBLE (-37.5)

#endif
