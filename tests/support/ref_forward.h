/*
 * A llama forward pass in plain C and double precision, one position after the other: what the kernels are
 * compared with. Shares nothing with engine/exec; weights come through quant_dequantize. For tiny models; out
 * of memory aborts.
 */
#ifndef TESTS_SUPPORT_REF_FORWARD_H
#define TESTS_SUPPORT_REF_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "engine/model/model.h"

/* logits: n × n_vocab values, row i after ids[0 … i]. */
void ref_forward(const struct model *m, const uint32_t *ids, size_t n, double *logits);

/* y[r] = Σ_c W[r][c] × x[c] of a tensor [n_rows, n_cols]. */
void ref_matvec(const struct gguf_tensor *t, const double *x, double *y);

#endif
