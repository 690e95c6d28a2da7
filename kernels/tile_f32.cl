/*
 * A tile of a matrix product in float32 for few tokens: 16 rows of W × TB tokens. The host puts this text into a program once
 * for each TB (kernels/matmul.cl). More tokens: panel_f32.cl.
 *
 * Order of summation of every output, in every variant: inputs k mod 32 < 16 into one sum and the others into a second,
 * each ascending; then the two are added. TB only says how many tokens share a weight, so all variants agree bit for bit.
 */
NOINLINE void VARIANT(tile, TB)(__global const word_t *w, __global const ushort16 *scales,
                                __global const float *x, int x_stride, int n_blocks, float16 *out)
{
    float16 even[TB], odd[TB];
    UNROLL for (int t = 0; t < TB; t++) even[t] = odd[t] = (float16)(0.0f);
    for (int b = 0; b < n_blocks; b++) {
        const struct scales s = block_scales(scales);
        UNROLL for (int k = 0; k < 16; k++)
        {
            const float16 w0 = weight(w, s, k), w1 = weight(w, s, k + 16);
            UNROLL for (int t = 0; t < TB; t++)
            {
                even[t] = fma(w0, (float16)(x[(size_t)t * x_stride + k]), even[t]);
                odd[t] = fma(w1, (float16)(x[(size_t)t * x_stride + k + 16]), odd[t]);
            }
        }
        w += BLOCK_WORDS;
        scales += BLOCK_SCALES;
        x += 32;
    }
    UNROLL for (int t = 0; t < TB; t++) out[t] = even[t] + odd[t];
}
