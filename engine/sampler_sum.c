#include "engine/sampler_sum.h"

#include <math.h>
#include <string.h>

#include "engine/base/clones.h"

/* e^x for -708 ≤ x ≤ 0, within 1e-14 of itself. NaN gives NaN. x = n ln 2 + r with |r| ≤ ln 2 / 2, so e^x = 2^n e^r, and
 * the series ends at r^11 / 11!. */
CLONED double exp_below(double x)
{
    const double to_integer = 0x1.8p52; /* adding it leaves no bits for a fraction */
    const double ln2_hi = 0x1.62e42feep-1, ln2_lo = 0x1.a39ef35793c76p-33; /* n ln2_hi is exact */
    double n = x * 0x1.71547652b82fep+0 + to_integer, scale;
    uint64_t bits;
    memcpy(&bits, &n, sizeof bits);
    n -= to_integer;
    double r = x - n * ln2_hi - n * ln2_lo;
    double p = 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    bits = (bits + 1023) << 52; /* n stands in the lowest bits; 2^n is made of it */
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Σ e^x of a chunk of x ≤ 0, which it overwrites. What is below -708 adds nothing that a double would keep. Loops apart,
 * and neighbours at a distance added first: vectors, and always in the same order. */
CLONED double sum_chunk(double x[ROW_CHUNK])
{
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        x[j] = x[j] < -708 ? -708 : x[j];
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        x[j] = exp_below(x[j]);
    for (uint32_t j = 0; j < ROW_CHUNK / 2; j++)
        x[j] += x[j + ROW_CHUNK / 2];
    for (uint32_t j = 0; j < ROW_CHUNK / 4; j++)
        x[j] += x[j + ROW_CHUNK / 4];
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

/* Σ exp(logits - max) of one chunk. */
CLONED double chunk_exp(const float *logits, double max)
{
    double x[ROW_CHUNK];
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        x[j] = logits[j] - max;
    return sum_chunk(x);
}

/* Σ of what sample_weight is for each of one chunk. */
CLONED double chunk_weight(const float *logits, float best, double temperature)
{
    float exponent[ROW_CHUNK];
    double x[ROW_CHUNK];
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        exponent[j] = (float)(((double)logits[j] - best) / temperature);
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        x[j] = exponent[j];
    return sum_chunk(x);
}

/* Clones are static: clang 14 can't call them from another file. */
CLONES static double find_log_sum(const float *logits, uint32_t n)
{
    float lane[ROW_CHUNK], rest[ROW_CHUNK], max = -INFINITY;
    const float *tail = logits + n / ROW_CHUNK * ROW_CHUNK;
    for (uint32_t j = 0; j < ROW_CHUNK; j++)
        lane[j] = rest[j] = -INFINITY;
    memcpy(rest, tail, n % ROW_CHUNK * sizeof *rest);
    for (const float *chunk = logits; chunk < tail; chunk += ROW_CHUNK)
        for (uint32_t j = 0; j < ROW_CHUNK; j++)
            lane[j] = chunk[j] > lane[j] ? chunk[j] : lane[j];
    for (uint32_t j = 0; j < ROW_CHUNK; j++) {
        max = lane[j] > max ? lane[j] : max;
        max = rest[j] > max ? rest[j] : max;
    }
    double sum = chunk_exp(rest, max);
    for (const float *chunk = logits; chunk < tail; chunk += ROW_CHUNK)
        sum += chunk_exp(chunk, max);
    return max + log(sum);
}

double log_sum_exp(const float *logits, uint32_t n)
{
    return find_log_sum(logits, n);
}

float sample_weight(float logit, float best, double temperature)
{
    return expf((float)(((double)logit - best) / temperature));
}

CLONES static double find_weight_sums(const struct row *r, float best, double temperature, double *sums)
{
    const double bar = best + temperature * WEIGHT_LOG_NEGLIGIBLE;
    double total = 0;
    for (uint32_t c = 0; c < r->n_chunks; c++) {
        sums[c] = r->maxima[c] < bar ? 0 : chunk_weight(row_chunk(r, c), best, temperature);
        total += sums[c];
    }
    return total;
}

double weight_sums(const struct row *r, float best, double temperature, double *sums)
{
    return find_weight_sums(r, best, temperature, sums);
}
