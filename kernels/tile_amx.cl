/*
 * A tile of a matrix product by AMX: 16 rows of W × up to AMX_TOKENS tokens. The same sums as tile_i8.cl makes, in the same
 * order: tdpbsud adds up a block's 32 products of 16 tokens and 16 rows exactly, in integers.
 *
 * A panel of blocks is unpacked to the bytes that a tile register wants (row j: inputs 4j … 4j+3 of 16 rows of W) and meets
 * every 16 tokens while it lies in the nearest cache. Two accumulating tiles take turns: while one's block is scaled, from
 * memory, the next but one is summed in it, and the other waits to be stored.
 *
 * Tile registers: 0, 1 sums; 4, 6 activations, 16 tokens × 32 bytes; 5, 7 weights, 8 × 64 bytes.
 */
#define AMX_PANEL 24 /* blocks */
#define AMX_LEAST 48 /* tokens: with fewer, unpacking and setting up cost more than tile_i8.cl's slower sums */

inline void amx_unpack(__global const word_t *w, int n_blocks, int16 *out)
{
    for (int b = 0; b < n_blocks; b++, w += BLOCK_WORDS, out += 8)
        UNROLL for (int j = 0; j < BLOCK_WORDS; j++)
        {
#if BLOCK_WORDS == 8
            out[j] = w[j];
#else
            out[j] = w[j] & NIBBLES;
            out[j + 4] = (w[j] >> 4) & NIBBLES;
#endif
        }
}

/* Sums of block b to tile T; A and B: registers to use. */
#define AMX_SUM(T, A, B, b)                                                                                  \
    do {                                                                                                     \
        __builtin_ia32_tilezero(T);                                                                          \
        __builtin_ia32_tileloadd64(A, PLAIN(codes + (b) * 8), stride);                                       \
        __builtin_ia32_tileloadd64(B, PLAIN(&bytes[(b) * 8]), 64);                                           \
        __builtin_ia32_tdpbsud(T, A, B);                                                                     \
    } while (0)

#define AMX_STORE(T) __builtin_ia32_tilestored64(T, (__private void *)&sums[T][0], 64)

#define AMX_SCALE(T, b)                                                                                      \
    do {                                                                                                     \
        const struct scales s = block_scales(scales + (b) * BLOCK_SCALES);                                   \
        __global const float *f = factors + (b) * 32;                                                        \
        UNROLL for (int t = 0; t < 16; t++)                                                                  \
        {                                                                                                    \
            acc[t] = fma(s.d, convert_float16(sums[T][t]) * (float16)(f[t]), acc[t]);                        \
            acc[t] = fma(s.m, (float16)(f[16 + t]), acc[t]);                                                 \
        }                                                                                                    \
    } while (0)

/* One panel by 16 tokens, onto what `out` holds unless it is the first. stride: bytes from token to token. ahead: n × 64
 * bytes to ask for. */
AMX_FUNCTION void amx_panel(const int16 *bytes, __global const ushort16 *scales, __global const int *codes,
                            ulong stride, __global const float *factors, int n, __global const char *ahead,
                            bool onto, float16 *out)
{
    int16 sums[2][16];
    float16 acc[16];
    UNROLL for (int t = 0; t < 16; t++) acc[t] = onto ? out[t] : (float16)(0.0f);
    AMX_SUM(0, 4, 5, 0);
    if (n > 1)
        AMX_SUM(1, 6, 7, 1);
    AMX_STORE(0);
    for (int b = 0; b < n; b += 2) {
        PREFETCH_FAR(ahead + b * 64);
        PREFETCH_FAR(ahead + b * 64 + 64);
        if (b + 2 < n)
            AMX_SUM(0, 4, 5, b + 2);
        AMX_SCALE(0, b);
        if (b + 1 < n) {
            AMX_STORE(1);
            if (b + 3 < n)
                AMX_SUM(1, 6, 7, b + 3);
            AMX_SCALE(1, b + 1);
        }
        if (b + 2 < n)
            AMX_STORE(0);
    }
    UNROLL for (int t = 0; t < 16; t++) out[t] = acc[t];
}

/* n, the most tokens of a product, makes no difference here. */
AMX_FUNCTION void amx_begin(int n)
{
    const struct tile_config config = {.palette = 1,
                                       .row_bytes = {64, 64, 64, 64, 32, 64, 32, 64},
                                       .rows = {16, 16, 16, 16, 16, 8, 16, 8}};
    amx_configure(&config);
}

/*
 * Between amx_begin and amx_end. step: blocks from the first group to the second, 0 where there is none (tile_i8.cl). out:
 * sums of the first group, then AMX_TOKENS vectors on those of the second. ahead: what will be wanted next. Each
 * tile asks for n_blocks × 128 bytes of it, all tiles for some pairs of groups: memory is far when tiles are this quick.
 *
 * Both groups meet 16 tokens before the next 16: activations are what doesn't stay in the nearest cache.
 */
AMX_FUNCTION void tile_amx(__global const word_t *w, __global const ushort16 *scales, int step,
                           __global const int *codes, __global const float *factors, int n_blocks, int n_tiles,
                           __global const char *ahead, float16 *out)
{
    int16 bytes[2][AMX_PANEL * 8];
    for (int b = 0; b < n_blocks; b += AMX_PANEL) {
        const int n = min(AMX_PANEL, n_blocks - b);
        amx_unpack(w + (size_t)b * BLOCK_WORDS, n, bytes[0]);
        if (step)
            amx_unpack(w + ((size_t)step + b) * BLOCK_WORDS, n, bytes[1]);
        for (int i = 0; i < n_tiles; i++)
            for (int g = 0; g <= (step > 0); g++)
                amx_panel(bytes[g], scales + ((size_t)g * step + b) * BLOCK_SCALES,
                          codes + ((size_t)i * 16 * n_blocks + b) * 8, n_blocks * 32,
                          factors + ((size_t)i * n_blocks + b) * 32, n, ahead + ((size_t)(i * 2 + g) * n_blocks + b) * 64,
                          b > 0, out + g * AMX_TOKENS + i * 16);
    }
}
