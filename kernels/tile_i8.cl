/*
 * A tile of a matrix product with int8 activations (quantize.cl): 32 rows of W × TB tokens, for one weight type. The host
 * puts this text into a program once for each TB (kernels/matmul.cl). A block's 32 products are summed exactly in
 * integers (dot.clh), and scaled once.
 *
 * Per block: acc = fma(d, (Σ w x) × scale, acc), then acc = fma(m, (Σ x) × scale, acc), where w are the unsigned bytes
 * and m what they are short of (weights.clh). Blocks ascend: one order for every TB and every way to sum.
 *
 * Two groups of 16 rows share every load of an activation, which is what a tile of one group waits for. `step`: blocks
 * from the first group to the second; 0 where there is no second, whose sums are then those of the first. factors: of the
 * tile's first token; a tile doesn't reach over a multiple of 16 tokens, as their layout does. ahead: what will be wanted next.
 */
/* Per type: how many vectors of bytes a word holds, which dword of activations meets vector h of word j, and which sum
 * it goes to (the second counts 16 times). */
#if defined(WT_Q8_0) && defined(DOT_MADDUBS)
#define VECTORS     2
#define DWORD(j, h) (j)
#define SUM_OF(h)   (h)
#define SUMS        2
#elif defined(WT_Q8_0)
#define VECTORS     1
#define DWORD(j, h) (j)
#define SUM_OF(h)   0
#define SUMS        1
#else
#define VECTORS     2
#define DWORD(j, h) ((j) + 4 * (h))
#define SUM_OF(h)   0
#define SUMS        1
#endif

DOT_FUNCTION void VARIANT(tile, TB)(__global const word_t *w, __global const ushort16 *scales, int step,
                                    __global const int *x, __global const float *factors, int n_blocks,
                                    struct ahead ahead, float16 *out)
{
    float16 acc[2][TB];
    UNROLL for (int g = 0; g < 2; g++) UNROLL for (int t = 0; t < TB; t++) acc[g][t] = (float16)(0.0f);
    for (int b = 0; b < n_blocks; b++) {
        dot_t sums[2][TB][SUMS];
        PREFETCH_FAR(ahead.w);
        PREFETCH_FAR(ahead.w + 64);
        PREFETCH_FAR(ahead.scales);
        for (int i = 2; i < ahead.lines; i++)
            PREFETCH_FAR(ahead.w + i * 64);
        if (ahead.scale_lines > 1)
            PREFETCH_FAR(ahead.scales + 64);
        ahead.w += ahead.lines * 64;
        ahead.scales += ahead.scale_lines * 64;
        UNROLL for (int g = 0; g < 2; g++) UNROLL for (int t = 0; t < TB; t++) UNROLL for (int i = 0; i < SUMS; i++)
            sums[g][t][i] = DOT_ZERO;
        UNROLL for (int j = 0; j < BLOCK_WORDS; j++) UNROLL for (int h = 0; h < VECTORS; h++)
        {
            const int16 word0 = w[j], word1 = w[(size_t)step * BLOCK_WORDS + j];
            const int16 bytes0 = VECTORS == 1 ? word0 : (word0 >> 4 * h) & NIBBLES;
            const int16 bytes1 = VECTORS == 1 ? word1 : (word1 >> 4 * h) & NIBBLES;
            UNROLL for (int t = 0; t < TB; t++)
            {
                const int dword = x[(size_t)t * n_blocks * 8 + DWORD(j, h)];
                DOT_ADD(sums[0][t][SUM_OF(h)], bytes0, dword);
                DOT_ADD(sums[1][t][SUM_OF(h)], bytes1, dword);
            }
        }
        UNROLL for (int g = 0; g < 2; g++)
        {
            const struct scales s = block_scales(scales + (size_t)g * step * BLOCK_SCALES);
            UNROLL for (int t = 0; t < TB; t++)
            {
                int16 whole = DOT_INT(sums[g][t][0]);
                if (SUMS == 2)
                    whole += DOT_INT(sums[g][t][SUMS - 1]) << 4;
                const float16 scaled = convert_float16(whole) * (float16)(factors[t]);
                acc[g][t] = fma(s.d, scaled, acc[g][t]);
                acc[g][t] = fma(s.m, (float16)(factors[16 + t]), acc[g][t]);
            }
        }
        w += BLOCK_WORDS;
        scales += BLOCK_SCALES;
        x += 8;
        factors += 32;
    }
    UNROLL for (int g = 0; g < 2; g++) UNROLL for (int t = 0; t < TB; t++) out[g * TILE_MAX + t] = acc[g][t];
}
#undef VECTORS
#undef DWORD
#undef SUM_OF
#undef SUMS
