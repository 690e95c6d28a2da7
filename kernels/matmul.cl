/*
 * Matrix products: y[token][row] = Σ_k W[row][k] × x[token][k], for one weight type (weights.clh) and one
 * tile of TB tokens. The host puts this text into a program once for each TB.
 *
 * A work-item computes 16 rows × TB tokens, so that dequantising a weight is paid once a tile:
 *
 *        x [tokens][x_stride]                     W: groups of 16 rows, blocks of 32 inputs
 *        ┌────────────────────┐                   ┌──┬──┬──┬──┐
 *   TB { │ ---- tile ------>  │         group g { │b0│b1│b2│… │  → y[tile][16 g … 16 g + 15]
 *        └────────────────────┘                   └──┴──┴──┴──┘
 *
 * Order of summation of every output, in every variant: inputs k mod 32 < 16 into one sum and the others into
 * a second, each ascending; then the two are added. TB only says how many tokens share a weight, so all
 * variants agree bit for bit. A tile's last rows may be padding: buffers have TB_MAX spare rows, and no lane
 * reads another token's.
 *
 * The sums go to columns y_at … of y. mode: 0 store, 1 add to y (residual), 2 y = silu(y) × sum (the up half
 * of a gated feed-forward layer).
 */
KERNEL void VARIANT(matmul, TB)(__global const word_t *w, __global const ushort16 *scales,
                                __global const float *x, int x_stride, __global float *y, int y_stride,
                                int y_at, int n_groups, int n_blocks, int mode)
{
    const int g = get_global_id(0);
    if (g >= n_groups)
        return;
    const size_t token = get_global_id(1) * TB;
    w += (size_t)g * n_blocks * BLOCK_WORDS;
    scales += (size_t)g * n_blocks * BLOCK_SCALES;
    x += token * x_stride;
    y += token * y_stride + y_at + g * 16;
    float16 even[TB], odd[TB];

#pragma unroll
    for (int t = 0; t < TB; t++)
        even[t] = odd[t] = (float16)(0.0f);
    for (int b = 0; b < n_blocks; b++) {
        const struct scales s = block_scales(scales);

#pragma unroll
        for (int k = 0; k < 16; k++) {
            const float16 w0 = weight(w, s, k), w1 = weight(w, s, k + 16);

#pragma unroll
            for (int t = 0; t < TB; t++) {
                even[t] = fma(w0, (float16)(x[(size_t)t * x_stride + k]), even[t]);
                odd[t] = fma(w1, (float16)(x[(size_t)t * x_stride + k + 16]), odd[t]);
            }
        }
        w += BLOCK_WORDS;
        scales += BLOCK_SCALES;
        x += 32;
    }

#pragma unroll
    for (int t = 0; t < TB; t++) {
        __global float *out = y + (size_t)t * y_stride;
        float16 v = even[t] + odd[t];
        if (mode == 1)
            v = vload16(0, out) + v;
        else if (mode == 2)
            v = silu16(vload16(0, out)) * v;
        vstore16(v, 0, out);
    }
}
