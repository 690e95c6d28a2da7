/*
 * The arithmetic of a forward pass: what matrices multiply activations as. Sums are float32 in all of them, and so is
 * everything between the products.
 *
 *   fp32   as they are: the reference; the KV cache in float32
 *   int8   each block of 32 in int8 with a scale (kernels/quantize.cl), where the weights are quantised; KV in float16
 *   bf16   in bfloat16, and weights too once they are decoded (kernels/tile_bf16.cl); KV in float16
 */
#ifndef WEFT_EXEC_PRECISION_H
#define WEFT_EXEC_PRECISION_H

#include <stdbool.h>

enum precision { PRECISION_FP32, PRECISION_INT8, PRECISION_BF16, PRECISIONS };

#define PRECISION_WORDS "auto, fp32, int8, bf16" /* what precision_find knows */

const char *precision_name(enum precision p); /* "fp32" … */
/* False for a word that isn't known. NULL and "auto" set *automatic, which leaves the choice to the device. */
bool precision_find(const char *word, enum precision *out, bool *automatic);

#endif
