/*
 * Many tokens at once in float32: weights are dequantised to a panel in the nearest cache, once for up to TILE_MAX tokens
 * (tile_f32.cl pays it once a tile). The host puts the first part into a program for each TB, the second once.
 *
 * The order of summation is that of tile_f32.cl: sums of inputs k mod 32 < 16 and of the others, ascending, which wait in
 * memory from panel to panel and are added at the end.
 */
#ifdef TB
#ifndef PANEL_BLOCKS
#define PANEL_BLOCKS 4 /* of both groups 16 KB, a third of the nearest cache */
#define TILE_MAX                                                                                             \
    48 /* tokens that a tile has at most: so far apart lie the sums of a pair's two groups of rows */
/* A token's sums: first and second inputs of blocks by the first group, and by the second. */
enum { EVEN, ODD, EVEN_2, ODD_2, SUMS };
#endif

/* Adds a panel of n blocks times TB tokens to their sums. x: of the first token, at the panel's first input. */
inline void VARIANT(add_panel, TB)(float16 (*panel)[PANEL_BLOCKS * 32], int n, __global const float *x,
                                   int x_stride, float16 (*sums)[SUMS])
{
    float16 s[TB][SUMS];
    UNROLL for (int t = 0; t < TB; t++) UNROLL for (int i = 0; i < SUMS; i++) s[t][i] = sums[t][i];
    for (int b = 0; b < n; b++) {
        UNROLL for (int t = TB; t < 2 * TB; t++) /* what comes next, from the second cache */
        {
            PREFETCH(x + (size_t)t * x_stride + b * 32);
            PREFETCH(x + (size_t)t * x_stride + b * 32 + 16);
        }
        for (int k = b * 32; k < b * 32 + 16; k++) {
            const float16 w0 = panel[0][k], w1 = panel[0][k + 16], v0 = panel[1][k], v1 = panel[1][k + 16];
            UNROLL for (int t = 0; t < TB; t++)
            {
                const float16 x0 = (float16)(x[(size_t)t * x_stride + k]),
                              x1 = (float16)(x[(size_t)t * x_stride + k + 16]);
                s[t][EVEN] = fma(w0, x0, s[t][EVEN]);
                s[t][EVEN_2] = fma(v0, x0, s[t][EVEN_2]);
                s[t][ODD] = fma(w1, x1, s[t][ODD]);
                s[t][ODD_2] = fma(v1, x1, s[t][ODD_2]);
            }
        }
    }
    UNROLL for (int t = 0; t < TB; t++) UNROLL for (int i = 0; i < SUMS; i++) sums[t][i] = s[t][i];
}
#else
/* step: blocks from the first group to the second, 0 where there is none. n: tokens; the inputs of one more may be read. out: sums
 * of the first group, from TILE_MAX on those of the second. */
NOINLINE void tile_panels(__global const word_t *w, __global const ushort16 *scales, int step,
                          __global const float *x, int x_stride, int n_blocks, int n, float16 *out)
{
    float16 panel[2][PANEL_BLOCKS * 32], sums[TILE_MAX + 1][SUMS];
    for (int t = 0; t < TILE_MAX; t++)
        UNROLL for (int i = 0; i < SUMS; i++) sums[t][i] = (float16)(0.0f);
    for (int from = 0; from < n_blocks; from += PANEL_BLOCKS) {
        const int blocks = min(PANEL_BLOCKS, n_blocks - from);
        for (int g = 0; g < 2; g++)
            for (int b = 0; b < blocks; b++) {
                const size_t at = from + b + g * step;
                const struct scales s = block_scales(scales + at * BLOCK_SCALES);
                UNROLL for (int k = 0; k < 32; k++) panel[g][b * 32 + k] = weight(w + at * BLOCK_WORDS, s, k);
            }
        for (int t = 0; t < n;) {
            __global const float *inputs = x + (size_t)t * x_stride + from * 32;
            if (n - t >= 6) {
                add_panel_6(panel, blocks, inputs, x_stride, sums + t);
                t += 6;
            } else {
                add_panel_2(panel, blocks, inputs, x_stride, sums + t);
                t += 2;
            }
        }
    }
    for (int t = 0; t < n; t++) {
        out[t] = sums[t][EVEN] + sums[t][ODD];
        out[TILE_MAX + t] = sums[t][EVEN_2] + sums[t][ODD_2];
    }
}
#endif
