/*
 * Matrix products: y[token][row] = Σ_k W[row][k] × x[token][k], for one weight type (weights.clh), from tiles
 * (tile_f32.cl, or tile_i8.cl where activations are int8).
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
#ifdef INT8
struct input { /* quantize.cl */
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
/* Vectors that a tile gives at most. */
#ifdef DOT_AMX
#define TILE_MAX AMX_TOKENS
#else
#define TILE_MAX 12
#endif

inline void finish(float16 v, __global float *y, int mode)
{
    if (mode == ADD)
        v = vload16(0, y) + v;
    else if (mode == SILU_MUL)
        v = silu16(vload16(0, y)) * v;
    store16(v, y);
}

/* The highest value, or NaN when one is NaN or +inf. */
inline float highest16(float16 v)
{
    return all(v <= (float16)(MAXFLOAT)) ? max16(v) : NAN;
}

inline float highest(float a, float b)
{
    return a != a || b != b ? NAN : fmax(a, b);
}

/* Rows 32 pair … of W (`next`: the pair that will be wanted next) by tokens first … end-1, where first is a multiple of 16; y: [token][y_stride]. */
NOINLINE void multiply(__global const word_t *w, __global const ushort16 *scales, int n_groups, int n_blocks,
                       int pair, int next, struct input in, int first, int end, __global float *y, int y_stride,
                       int mode)
{
    float16 out[TILE_MAX];
    const int g = pair * 2;
    const bool both = g + 1 < n_groups;
#ifdef INT8
    /* The pair that this work-item takes next: each tile but the first asks for a slice of it. */
    __global const char *next_w = (__global const char *)(w + (size_t)next * 2 * n_blocks * BLOCK_WORDS);
    __global const char *next_scales = (__global const char *)(scales + (size_t)next * 2 * n_blocks * BLOCK_SCALES);
    int slice = -1;
#endif
    w += (size_t)g * n_blocks * BLOCK_WORDS;
    scales += (size_t)g * n_blocks * BLOCK_SCALES;
    __global float *maxima = y + n_groups * 16 + pair;
    y += g * 16;
#ifdef INT8
    const int slices = 2 * BLOCK_WORDS * (int)sizeof(word_t) / 128; /* of weights; then one of scales */
#define TILE(TB) tile_##TB(w, scales, both ? n_blocks : 0, codes, factors, n_blocks, ahead, out)
    for (int t = first, n; t < end; t += n) {
        __global const int *codes = in.codes + (size_t)t * n_blocks * 8;
        __global const float *factors = in.factors + FACTORS_AT(t, n_blocks, 0);
#ifdef DOT_AMX
        if (end - first >= AMX_LEAST && end - t >= 8 && t % 16 == 0) {
            const int tiles = min((end - t + 8) / 16, AMX_TOKENS / 16);
            n = min(end - t, tiles * 16);
            for (int second = 0; second <= both; second++) {
                const size_t block = (size_t)second * n_blocks;
                tile_amx(w + block * BLOCK_WORDS, scales + block * BLOCK_SCALES, codes, factors, n_blocks, tiles,
                         second ? next_w : (__global const char *)(w + (size_t)n_blocks * BLOCK_WORDS), out);
                for (int i = 0; i < n; i++) {
                    const size_t row = (size_t)(t + i) * y_stride;
                    finish(out[i], y + row + second * 16, mode);
                    if (mode == LOGITS)
                        maxima[row] = second ? highest(maxima[row], highest16(out[i])) : highest16(out[i]);
                }
            }
            continue;
        }
#endif
        const int left = min(end - t, 16 - t % 16); /* tiles don't reach over a multiple of 16 (quantize.cl) */
        n = left >= 6 && left != 8 ? 6 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        __global const char *ahead = slice < 0        ? (__global const char *)w
                                     : slice < slices ? next_w + (size_t)slice * n_blocks * 128
                                                      : next_scales;
        slice++;
        switch (n) {
        case 6: TILE(6); break;
        case 4: TILE(4); break;
        case 2: TILE(2); break;
        default: TILE(1); break;
        }
        for (int i = 0; i < n; i++) {
            const size_t row = (size_t)(t + i) * y_stride;
            finish(out[i], y + row, mode);
            if (both)
                finish(out[n + i], y + row + 16, mode);
            if (mode == LOGITS)
                maxima[row] = both ? highest(highest16(out[i]), highest16(out[n + i])) : highest16(out[i]);
        }
    }
#else
#define TILE(TB) tile_##TB(w_at, scales_at, x, in.stride, n_blocks, out)
    for (int t = first, n; t < end; t += n) {
        __global const float *x = in.x + (size_t)t * in.stride;
        const int left = end - t;
        n = left >= 12 ? 12 : left >= 4 ? 4 : 1;
        for (int second = 0; second <= both; second++) {
            __global const word_t *w_at = w + (size_t)second * n_blocks * BLOCK_WORDS;
            __global const ushort16 *scales_at = scales + (size_t)second * n_blocks * BLOCK_SCALES;
            switch (n) {
            case 12: TILE(12); break;
            case 4: TILE(4); break;
            default: TILE(1); break;
            }
            for (int i = 0; i < n; i++) {
                const size_t row = (size_t)(t + i) * y_stride;
                finish(out[i], y + row + second * 16, mode);
                if (mode == LOGITS)
                    maxima[row] = second ? highest(maxima[row], highest16(out[i])) : highest16(out[i]);
            }
        }
    }
#endif
#undef TILE
}

/* One launch for a whole product: work-items are pairs × chunks of tokens. */
#ifdef INT8
KERNEL void matmul_i8(__global const word_t *w, __global const ushort16 *scales, __global const int *codes,
                      __global const float *factors, __global float *y, int y_stride, int y_at, int n_groups,
                      int n_blocks, int n_tokens, int chunk, int mode)
{
    const struct input in = {codes, factors};
#else
KERNEL void matmul(__global const word_t *w, __global const ushort16 *scales, __global const float *x,
                   int x_stride, __global float *y, int y_stride, int y_at, int n_groups, int n_blocks,
                   int n_tokens, int chunk, int mode)
{
    const struct input in = {x, x_stride};
#endif
    const int pair = get_global_id(0), first = get_global_id(1) * chunk;
    if (pair * 2 < n_groups)
        multiply(w, scales, n_groups, n_blocks, pair, pair + 1, in, first, min(first + chunk, n_tokens), y + y_at, y_stride,
                 mode);
}
