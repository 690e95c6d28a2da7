/*
 * Matrix products with int8 activations (quantize.cl), for one weight type and one tile of TB tokens: as matmul.cl, but
 * a block's 32 products are summed exactly in integers, and scaled once.
 *
 * Per block: acc = fma(d, (Σ w x) × scale, acc), then acc = fma(m, (Σ x) × scale, acc), where w are the unsigned bytes
 * and m what they are short of (weights.clh). Blocks ascend: one order for every TB and every way to sum (dot.clh).
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

DOT_FUNCTION void VARIANT(tile, TB)(__global const word_t *w, __global const ushort16 *scales,
                                    __global const int *x, __global const float *factors, __global float *y,
                                    int y_stride, int n_blocks, int mode)
{
    float16 acc[TB];
    UNROLL for (int t = 0; t < TB; t++) acc[t] = (float16)(0.0f);
    for (int b = 0; b < n_blocks; b++) {
        dot_t sums[TB][SUMS];
        UNROLL for (int t = 0; t < TB; t++) UNROLL for (int i = 0; i < SUMS; i++) sums[t][i] = DOT_ZERO;
        UNROLL for (int j = 0; j < BLOCK_WORDS; j++) UNROLL for (int h = 0; h < VECTORS; h++)
        {
            const int16 bytes = VECTORS == 1 ? w[j] : (w[j] >> 4 * h) & NIBBLES;
            UNROLL for (int t = 0; t < TB; t++)
                DOT_ADD(sums[t][SUM_OF(h)], bytes, x[(size_t)t * n_blocks * 8 + DWORD(j, h)]);
        }
        const struct scales s = block_scales(scales);
        UNROLL for (int t = 0; t < TB; t++)
        {
            int16 whole = DOT_INT(sums[t][0]);
            if (SUMS == 2)
                whole += DOT_INT(sums[t][SUMS - 1]) << 4;
            const float16 scaled = convert_float16(whole) * (float16)(factors[(size_t)t * n_blocks * 2]);
            acc[t] = fma(s.d, scaled, acc[t]);
            acc[t] = fma(s.m, (float16)(factors[(size_t)t * n_blocks * 2 + 1]), acc[t]);
        }
        w += BLOCK_WORDS;
        scales += BLOCK_SCALES;
        x += 8;
        factors += 2;
    }
    UNROLL for (int t = 0; t < TB; t++)
    {
        __global float *out = y + (size_t)t * y_stride;
        float16 v = acc[t];
        if (mode == 1)
            v = vload16(0, out) + v;
        else if (mode == 2)
            v = silu16(vload16(0, out)) * v;
        vstore16(v, 0, out);
    }
}

KERNEL void VARIANT(matmul_i8, TB)(__global const word_t *w, __global const ushort16 *scales,
                                   __global const int *x, __global const float *factors, __global float *y,
                                   int y_stride, int y_at, int n_groups, int n_blocks, int mode)
{
    const int g = get_global_id(0);
    if (g >= n_groups)
        return;
    const size_t token = get_global_id(1) * TB, group = (size_t)g * n_blocks;
    VARIANT(tile, TB)
    (w + group * BLOCK_WORDS, scales + group * BLOCK_SCALES, x + token * n_blocks * 8,
     factors + token * n_blocks * 2, y + token * y_stride + y_at + g * 16, y_stride, n_blocks, mode);
}
#undef VECTORS
#undef DWORD
#undef SUM_OF
#undef SUMS
