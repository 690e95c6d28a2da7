/*
 * Matrix products: y[token][row] = Σ_k W[row][k] × x[token][k], for one weight type (weights.clh), from tiles
 * (tile_f32.cl and panel_f32.cl; tile_i8.cl where activations are int8; tile_bf16.cl where they are bfloat16, CODED as both are).
 *
 * A work-item takes 32 rows (a pair of groups) and walks over the tokens tile by tile: the rows' weights come from memory
 * once and stay in the nearest cache, dequantising them is paid once a tile.
 *
 *        x [tokens][x_stride]                     W: groups of 16 rows, blocks of 32 inputs
 *        ┌────────────────────┐                   ┌──┬──┬──┬──┐
 *   TB { │ ---- tile ------>  │         group g { │b0│b1│b2│… │  → y[tile][16 g … 16 g + 15]
 *        └────────────────────┘                   └──┴──┴──┴──┘
 *
 * Which tiles cover the tokens decides nothing about the bits.
 */
#if defined(INT8) || defined(BF16)
#define CODED
struct input { /* quantize.cl, round.cl */
    __global const int *codes;
    __global const float *factors;
};
#else
struct input {
    __global const float *x;
    int stride;
};
#endif

/* ops.h: store; add to y (residual); y = silu(y) × sum (the up half of a gated layer); store, and behind the row's last
 * column the highest of each pair's 32. */
enum { STORE, ADD, SILU_MUL, LOGITS };
/* Which tiles a product takes, in bits, 0 for what is best as a rule (engine/exec/tiles.h): the second largest first (in bf16
 * shorter panels, in fp32 none); AMX for as few tokens as it can take, or never. */
enum { TILES_SHORT = 1, TILES_AMX = 2, TILES_NO_AMX = 4 };

/* A matrix of weights (weights.clh), and its product's tiles. */
struct matrix {
    __global const word_t *w;
    __global const ushort16 *scales;
    int n_groups, n_blocks, tiles;
};

/* Whether a product of n tokens may have a tile by AMX. */
inline bool uses_amx(int n, int tiles)
{
#if defined(DOT_AMX) && defined(BF16)
    return n > 0;
#elif defined(DOT_AMX)
    return tiles & TILES_AMX ? n >= 8 : n >= AMX_LEAST && !(tiles & TILES_NO_AMX);
#else
    return false;
#endif
}

/* Around a kernel's products; amx: whether any of them uses it; n: the most tokens that one has. */
inline void products_begin(bool amx, int n)
{
#ifdef DOT_AMX
    if (amx)
        amx_begin(n);
#endif
}

inline void products_end(bool amx)
{
#ifdef DOT_AMX
    if (amx)
        amx_end();
#endif
}

/*
 * A pair's sums by tokens t … : as many tokens as the best tile takes, which is what it returns. `first` … end - 1 are all
 * that the work-item has; `next`: the pair that it will want next, which its tiles ask for on their way. sums: the first group's, from TILE_MAX on the second's.
 */
#ifdef INT8
/* The share of the next pair's weights and scales that the tile of tokens t … asks for: the last tiles of first … end-1
 * together ask for the whole pair, spread over their blocks. */
inline struct ahead look_ahead(const struct matrix *m, int next, int first, int t, int end)
{
    const int weights = 2 * BLOCK_WORDS * (int)sizeof(word_t) / 64, scales = max(BLOCK_SCALES, 1); /* lines a block */
    const int n = end - first, tiles = n / 16 * 3 + (n % 16 + 5) / 6; /* by 6, 6 and 4 of each 16 tokens */
    const int lines = (weights + tiles - 1) / tiles, scale_lines = (scales + tiles - 1) / tiles;
    const int nth = (t - first) / 16 * 3 + ((t - first) % 16 + 3) / 6 - (tiles - (weights + lines - 1) / lines);
    const size_t block = (size_t)next * 2 * m->n_blocks, at = (size_t)max(nth, 0) * m->n_blocks * 64;
    const struct ahead a = {(__global const char *)(m->w + block * BLOCK_WORDS) + at * lines,
                            (__global const char *)(m->scales + block * BLOCK_SCALES) + at * scale_lines,
                            nth >= 0 && nth * lines < weights ? lines : 0,
                            nth >= 0 && nth * scale_lines < scales ? scale_lines : 0};
    return a;
}

#define TILE(TB) tile_##TB(w, scales, step, codes, factors, n_blocks, ahead, sums)
inline int tile_sums(const struct matrix *m, int pair, int next, struct input in, int first, int t, int end,
                     float16 *sums)
{
    const int n_blocks = m->n_blocks, step = pair * 2 + 1 < m->n_groups ? n_blocks : 0;
    const size_t block = (size_t)pair * 2 * n_blocks;
    __global const word_t *w = m->w + block * BLOCK_WORDS;
    __global const ushort16 *scales = m->scales + block * BLOCK_SCALES;
    __global const int *codes = in.codes + (size_t)t * n_blocks * 8;
    __global const float *factors = in.factors + FACTORS_AT(t, n_blocks, 0);
#ifdef DOT_AMX
    if (uses_amx(end - first, m->tiles) && end - t >= 8 && t % 16 == 0) {
        const int tiles = min((end - t + 8) / 16, AMX_TOKENS / 16);
        tile_amx(w, scales, step, codes, factors, n_blocks, tiles,
                 (__global const char *)(m->w + (size_t)next * 2 * n_blocks * BLOCK_WORDS) +
                     (size_t)(t - first) * n_blocks * 8,
                 sums);
        return min(end - t, tiles * 16);
    }
#endif
    const struct ahead ahead = look_ahead(m, next, first, t, end);
    const int left = min(end - t, 16 - t % 16); /* tiles don't reach over a multiple of 16 (quantize.cl) */
    const bool six = left >= 6 && left != 8 && !(m->tiles & TILES_SHORT);
    const int n = six ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    switch (n) {
    case 6: TILE(6); break;
    case 4: TILE(4); break;
    case 2: TILE(2); break;
    default: TILE(1); break;
    }
    return n;
}
#elif defined(BF16)
inline int tile_sums(const struct matrix *m, int pair, int next, struct input in, int first, int t, int end,
                     float16 *sums)
{
    const int n_blocks = m->n_blocks, step = pair * 2 + 1 < m->n_groups ? n_blocks : 0, n = min(end - t, TILE_MAX);
    const size_t block = (size_t)pair * 2 * n_blocks, next_block = (size_t)next * 2 * n_blocks;
    const struct ahead ahead = {(__global const char *)(m->w + next_block * BLOCK_WORDS),
                                (__global const char *)(m->scales + next_block * BLOCK_SCALES)};
    tile_bf16(m->w + block * BLOCK_WORDS, m->scales + block * BLOCK_SCALES, step,
              in.codes + (size_t)t * n_blocks * 16, n_blocks, n, m->tiles & TILES_SHORT, ahead, sums);
    return n;
}
#else
#define TILE(TB) tile_##TB(w, scales, x, in.stride, n_blocks, sums + second * TILE_MAX)
inline int tile_sums(const struct matrix *m, int pair, int next, struct input in, int first, int t, int end,
                     float16 *sums)
{
    __global const float *x = in.x + (size_t)t * in.stride;
    const int left = end - t, n_blocks = m->n_blocks, groups = min(m->n_groups - pair * 2, 2);
    const size_t block = (size_t)pair * 2 * n_blocks;
    __global const word_t *w = m->w + block * BLOCK_WORDS;
    __global const ushort16 *scales = m->scales + block * BLOCK_SCALES;
    if (left >= 6 && !(m->tiles & TILES_SHORT)) {
        const int n = min(left, TILE_MAX);
        tile_panels(w, scales, groups > 1 ? n_blocks : 0, x, in.stride, n_blocks, n, sums);
        return n;
    }
    const int n = left >= 4 ? 4 : 1;
    for (int second = 0; second < groups; second++) {
        switch (n) {
        case 4: TILE(4); break;
        default: TILE(1); break;
        }
        w += (size_t)n_blocks * BLOCK_WORDS;
        scales += (size_t)n_blocks * BLOCK_SCALES;
    }
    return n;
}
#endif
#undef TILE

inline void finish(float16 v, __global float *y, int mode)
{
    if (mode == ADD)
        v = vload16(0, y) + v;
    else if (mode == SILU_MUL)
        v = silu16(vload16(0, y)) * v;
    if (mode == LOGITS)
        store16_past_caches(v, y);
    else
        store16(v, y);
}

/* The highest value, or NaN when one is NaN or +inf. */
inline float highest(float16 a, float16 b)
{
    const float16 top = select(a, b, b > a); /* unlike fmax, one instruction; a NaN is seen below */
    return all(a <= (float16)(MAXFLOAT)) && all(b <= (float16)(MAXFLOAT)) ? max16(top) : NAN;
}

/* Rows 32 pair … of m by tokens first … end-1 (see tile_sums); y: [token][y_stride]. */
NOINLINE void multiply(const struct matrix *m, int pair, int next, struct input in, int first, int end,
                       __global float *y, int y_stride, int mode)
{
    float16 sums[2 * TILE_MAX];
    const bool both = pair * 2 + 1 < m->n_groups;
    __global float *maxima = y + m->n_groups * 16 + pair;
    y += pair * 32;
    for (int t = first, n; t < end; t += n) {
        n = tile_sums(m, pair, next, in, first, t, end, sums);
        for (int i = 0; i < n; i++) {
            const size_t row = (size_t)(t + i) * y_stride;
            finish(sums[i], y + row, mode);
            if (both)
                finish(sums[TILE_MAX + i], y + row + 16, mode);
            if (mode == LOGITS)
                maxima[row] = highest(sums[i], sums[both ? TILE_MAX + i : i]);
        }
    }
}

/* One launch for a whole product: work-items are pairs × chunks of tokens. */
#ifdef CODED
KERNEL void matmul_coded(__global const word_t *w, __global const ushort16 *scales, __global const int *codes,
                      __global const float *factors, __global float *y, int y_stride, int y_at, int n_groups,
                      int n_blocks, int n_tokens, int chunk, int mode, int tiles)
{
    const struct input in = {codes, factors};
#else
KERNEL void matmul(__global const word_t *w, __global const ushort16 *scales, __global const float *x,
                   int x_stride, __global float *y, int y_stride, int y_at, int n_groups, int n_blocks,
                   int n_tokens, int chunk, int mode, int tiles)
{
    const struct input in = {x, x_stride};
#endif
    const struct matrix m = {w, scales, n_groups, n_blocks, tiles};
    const int pair = get_global_id(0), first = get_global_id(1) * chunk;
    const int end = min(first + chunk, n_tokens);
    if (pair * 2 >= n_groups)
        return;
    const bool amx = uses_amx(end - first, tiles);
    products_begin(amx, end - first);
    multiply(&m, pair, pair * 2 + 2 < n_groups ? pair + 1 : pair, in, first, end, y + y_at, y_stride, mode);
    products_end(amx);
}
