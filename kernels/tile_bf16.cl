/*
 * A tile of a matrix product in bfloat16 (bf16.clh, round.cl): 32 rows of W × up to TILE_MAX tokens.
 *
 * Order of summation of every output: a block's 16 first inputs into one float32 sum from 0 on, each by fma, its 16 second ones
 * into another; the two are added, and that is added to the blocks before. It is what processors were seen to do for tdpbf16ps
 * with 16 pairs, and what the self-check (engine/exec/dot.h) insists on, so plain code gives the same bits.
 *
 * step: blocks from the first group to the second, 0 where there is none. codes: of the first token, whose number is a multiple
 * of 16. short_panels: a matter of speed alone. next: weights and scales that will be wanted next. out: sums of the first
 * group, from TILE_MAX on those of the second.
 */
#ifdef DOT_AMX
#define TILE_MAX 256
#else
#define TILE_MAX 16
#endif

/* Where blocks of the next pair of groups lie. */
struct ahead {
    __global const char *w, *scales;
};

#ifdef DOT_AMX
/* Blocks of both groups: as many as stay in the nearest cache beside activations, or with TILES_SHORT (matmul.cl) fewer. */
#define PANEL       9
#define SHORT_PANEL 6
#define SLOTS 16 /* places for decoded blocks: a power of 2, more than PANEL */
#define RING  4  /* of which as many are used where nothing is multiplied again: a power of 2, more than LAG */
#define LAG   2  /* blocks decoded before the first is multiplied: a tile isn't loaded from stores still under way */

/* Tile registers: 0 … 3 sums, of tokens × groups (0 0, 0 1, 1 0, 1 1); 4, 5 activations, `n` of 16 tokens; 6, 7 weights. */
AMX_FUNCTION void amx_begin(int n)
{
    const uchar m = min(n, 16);
    const struct tile_config config = {.palette = 1,
                                       .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                       .rows = {m, m, m, m, m, m, 16, 16}};
    amx_configure(&config);
}

#define SUMS_LOAD(T, p)  __builtin_ia32_tileloadd64(T, (const __private void *)(p), 64)
#define SUMS_STORE(T, p) __builtin_ia32_tilestored64(T, (__private void *)(p), 64)

/* What a panel is: n blocks of one or both groups, decoded block by block to slots, of which places + 1 are used; onto: sums go
 * on from `out`. */
struct panel {
    __global const word_t *w;
    __global const ushort16 *scales;
    int step, n, places;
    bool onto;
};

inline AMX_TARGET void sums_begin(bool onto, bool both, bool two, float16 *out)
{
    if (!onto) {
        __builtin_ia32_tilezero(0);
        __builtin_ia32_tilezero(1);
        __builtin_ia32_tilezero(2);
        __builtin_ia32_tilezero(3);
        return;
    }
    SUMS_LOAD(0, out);
    if (both)
        SUMS_LOAD(1, out + TILE_MAX);
    if (two)
        SUMS_LOAD(2, out + 16);
    if (two && both)
        SUMS_LOAD(3, out + TILE_MAX + 16);
}

inline AMX_TARGET void sums_end(bool both, bool two, float16 *out)
{
    SUMS_STORE(0, out);
    if (both)
        SUMS_STORE(1, out + TILE_MAX);
    if (two)
        SUMS_STORE(2, out + 16);
    if (two && both)
        SUMS_STORE(3, out + TILE_MAX + 16);
}

/* Block b's operands; a: activations of 16 tokens, `second` bytes on those of 16 more. */
#define LOAD(b)                                                                                              \
    do {                                                                                                     \
        __builtin_ia32_tileloadd64(4, PLAIN(a + (size_t)(b) * 1024), 64);                                    \
        if (two)                                                                                             \
            __builtin_ia32_tileloadd64(5, PLAIN(a + second + (size_t)(b) * 1024), 64);                       \
        __builtin_ia32_tileloadd64(6, (const __private void *)slots[0][(b)&places], 64);                     \
        if (both)                                                                                            \
            __builtin_ia32_tileloadd64(7, (const __private void *)slots[1][(b)&places], 64);                 \
    } while (0)

/* Products of what was loaded, by 16 tokens, and by 16 more. */
#define MULTIPLY()                                                                                           \
    do {                                                                                                     \
        __builtin_ia32_tdpbf16ps(0, 4, 6);                                                                   \
        if (both)                                                                                            \
            __builtin_ia32_tdpbf16ps(1, 4, 7);                                                               \
    } while (0)
#define MULTIPLY_SECOND()                                                                                    \
    do {                                                                                                     \
        __builtin_ia32_tdpbf16ps(2, 5, 6);                                                                   \
        if (both)                                                                                            \
            __builtin_ia32_tdpbf16ps(3, 5, 7);                                                               \
    } while (0)

/* Block b of a group into its slot, asking for the same block of the next pair. */
inline AMX_TARGET __attribute__((always_inline)) void decode(const struct panel *p, int g, int b, struct ahead next,
                                                             uint16 *slot)
{
    const int weights = BLOCK_WORDS * sizeof(word_t), scales = BLOCK_SCALES * sizeof(ushort16);
    const size_t block = (size_t)g * p->step + b;
    UNROLL for (int line = 0; line < weights; line += 64) PREFETCH_FAR(next.w + block * weights + line);
    if (scales)
        PREFETCH_FAR(next.scales + block * scales);
    weight_pairs(p->w + block * BLOCK_WORDS, block_scales(p->scales + block * BLOCK_SCALES), slot);
}

/*
 * Decodes a panel while it multiplies its blocks by up to 32 tokens: each loaded before the next but one is decoded, so that tile
 * instructions, which take long and little of the rest, run beside the decoding.
 */
AMX_FUNCTION void amx_decode(const struct panel *p, __global const char *a, size_t second, bool two, struct ahead next,
                             uint16 slots[2][SLOTS][16], float16 *out)
{
    const bool both = p->step;
    const int places = p->places, n = p->n;
    sums_begin(p->onto, both, two, out);
    for (int b = 0; b < n + LAG; b++) {
        if (b >= LAG)
            LOAD(b - LAG);
        if (b < n)
            decode(p, 0, b, next, slots[0][b & places]);
        if (b >= LAG)
            MULTIPLY();
        if (b < n && both)
            decode(p, 1, b, next, slots[1][b & places]);
        if (b >= LAG && two)
            MULTIPLY_SECOND();
    }
    sums_end(both, two, out);
}

/* Multiplies a decoded panel by up to 32 tokens more. */
AMX_FUNCTION void amx_multiply(const struct panel *p, __global const char *a, size_t second, bool two,
                               uint16 slots[2][SLOTS][16], float16 *out)
{
    const bool both = p->step;
    const int places = p->places;
    sums_begin(p->onto, both, two, out);
    for (int b = 0; b < p->n; b++) {
        LOAD(b);
        MULTIPLY();
        if (two)
            MULTIPLY_SECOND();
    }
    sums_end(both, two, out);
}

/* Between amx_begin and amx_end. Up to 32 tokens take all blocks as one panel, of which only the last slots are kept. */
void tile_bf16(__global const word_t *w, __global const ushort16 *scales, int step, __global const int *codes,
               int n_blocks, int n_tokens, bool short_panels, struct ahead next, float16 *out)
{
    uint16 slots[2][SLOTS][16];
    const int most = n_tokens <= 32 ? n_blocks : short_panels ? SHORT_PANEL : PANEL;
    const int panels = (n_blocks + most - 1) / most, size = (n_blocks + panels - 1) / panels;
    const size_t second = (size_t)n_blocks * 1024;
    for (int b = 0; b < n_blocks; b += size) {
        const struct panel p = {w + (size_t)b * BLOCK_WORDS, scales + (size_t)b * BLOCK_SCALES, step,
                                min(size, n_blocks - b), (n_tokens <= 32 ? RING : SLOTS) - 1, b > 0};
        const struct ahead ahead = {next.w + (size_t)b * BLOCK_WORDS * sizeof(word_t),
                                    next.scales + (size_t)b * BLOCK_SCALES * sizeof(ushort16)};
        for (int t = 0; t < n_tokens; t += 32) {
            __global const char *a = (__global const char *)codes + (size_t)t / 16 * second + (size_t)b * 1024;
            if (t == 0)
                amx_decode(&p, a, second, n_tokens - t > 16, ahead, slots, out + t);
            else
                amx_multiply(&p, a, second, n_tokens - t > 16, slots, out + t);
        }
    }
}

#else

/* Four tokens of one group, from token t on. */
inline void plain_bf16(__global const word_t *w, __global const ushort16 *scales, __global const int *codes, int n_blocks,
                       int t, float16 *out)
{
    float16 acc[4];
    UNROLL for (int i = 0; i < 4; i++) acc[i] = (float16)(0.0f);
    for (int b = 0; b < n_blocks; b++) {
        uint16 pairs[16];
        float16 first[4], other[4];
        weight_pairs(w + b * BLOCK_WORDS, block_scales(scales + b * BLOCK_SCALES), pairs);
        UNROLL for (int i = 0; i < 4; i++) first[i] = other[i] = (float16)(0.0f);
        UNROLL for (int p = 0; p < 16; p++)
        {
            UNROLL for (int i = 0; i < 4; i++)
            {
                const uint x = codes[(((size_t)(t / 16) * n_blocks + b) * 16 + t % 16 + i) * 16 + p];
                first[i] = fma(pair_first(pairs[p]), (float16)(as_float(x << 16)), first[i]);
                other[i] = fma(pair_second(pairs[p]), (float16)(as_float(x & HIGH_HALF)), other[i]);
            }
        }
        UNROLL for (int i = 0; i < 4; i++) acc[i] += first[i] + other[i];
    }
    UNROLL for (int i = 0; i < 4; i++) out[i] = acc[i];
}

NOINLINE void tile_bf16(__global const word_t *w, __global const ushort16 *scales, int step, __global const int *codes,
                        int n_blocks, int n_tokens, bool short_panels, struct ahead next, float16 *out)
{
    for (int t = 0; t < n_tokens; t += 4) {
        plain_bf16(w, scales, codes, n_blocks, t, out + t);
        if (step)
            plain_bf16(w + (size_t)step * BLOCK_WORDS, scales + (size_t)step * BLOCK_SCALES, codes, n_blocks, t,
                       out + TILE_MAX + t);
    }
}
#endif
