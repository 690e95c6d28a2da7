/*
 * A tile of attention (attention.cl) over K and V in codes: 64 positions, products of bytes (bytes.clh).
 *
 * A query is coded as K is, KV_BLOCK dimensions at a time, but in 16 bits, taken as two bytes; so is what each position of a
 * tile adds to the result, exp(score - maximum) × the scale of its V, by the largest of the row's in the tile. Sums over a
 * block of dimensions, and over a tile's positions, are integers, thus exact in any order; around them all is in float32.
 */
#ifndef TILE
#define TILE            64
#define SUBS            (TILE / 16)
#define ATTEND_FUNCTION BYTES_FUNCTION
#define Q_MAX           32512.0f /* 127 × 256: less the low byte, which is signed, it leaves ±127 */
#define W_MAX           65535.0f

/* Below e^-40 of its row's maximum nothing shows in a sum of float32. Held at zero there, since smaller ones times a scale might
 * come out subnormal. */
DEFINE_EXP(exp16_near, float16, int16, as_float16, as_int16, -40.0f)
#endif

DEFINE_ROWS;

/* The queries of a job's rows in codes: high and low bytes in dwords of four dimensions, scales, and what K_BIAS adds to their
 * products. */
struct VARIANT(queries, TQ) {
    int4 high[TQ * GROUP][HEAD_VECS], low[TQ * GROUP][HEAD_VECS];
    int bias[TQ * GROUP][KV_SCALES];
    float scale[TQ * GROUP][KV_SCALES];
};

inline void VARIANT(prepare, TQ)(__global const float *q, int stride, struct VARIANT(queries, TQ) * out)
{
    for (int r = 0; r < TQ * GROUP; r++) {
        __global const float *row = q + (size_t)(r / GROUP) * stride + (r % GROUP) * HEAD_DIM;
        for (int c = 0; c < KV_SCALES; c++) {
            float16 v[KV_VECS], size = (float16)(0.0f);
            int16 sum = (int16)(0);
            for (int j = 0; j < KV_VECS; j++) {
                v[j] = load_padded(row, c * KV_BLOCK + j * 16, HEAD_DIM);
                size = LARGER(size, fabs(v[j]));
            }
            const float largest = max16(size), inverse = largest > 0x1p-100f ? Q_MAX / largest : 0.0f;
            for (int j = 0; j < KV_VECS; j++) {
                const int16 code = round16(v[j] * (float16)(inverse));
                const int16 low = (code << 24) >> 24;
                sum += code;
                out->high[r][c * KV_VECS + j] = as_int4(convert_char16((code - low) >> 8));
                out->low[r][c * KV_VECS + j] = as_int4(convert_char16(low));
            }
            const int8 s8 = sum.lo + sum.hi;
            const int4 s4 = s8.lo + s8.hi;
            const int2 s2 = s4.lo + s4.hi;
            out->bias[r][c] = K_BIAS * (s2.x + s2.y);
            out->scale[r][c] = largest / Q_MAX;
        }
    }
}

/* Scores of positions p … p+15 of a tile, while it asks for K of the next one. */
BYTES_INLINE void VARIANT(scores, TQ)(const struct VARIANT(queries, TQ) * q, const struct kv_tile *t, int p,
                                      __global const kv_t *next_k, float16 *out)
{
    enum { ROWS = TQ * GROUP };
    UNROLL for (int r = 0; r < ROWS; r++) out[r] = (float16)(0.0f);
    for (int c = 0; c < KV_SCALES; c++) {
        byte_sums high[ROWS], low[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) high[r] = low[r] = BYTES_ZERO;
        for (int i = 0; i < KV_BLOCK / 4; i++) {
            const int d = c * KV_BLOCK / 4 + i;
            PREFETCH_FAR(next_k + d * BLOCK_TOKENS * 4);
            const int16 k = load_k(t->k, t->table, p, d, t->last, t->block_stride);
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                BYTES_ADD(high[r], k, (int16)(((const int *)q->high[r])[d]));
                BYTES_ADD(low[r], k, (int16)(((const int *)q->low[r])[d]));
            }
        }
        const float16 scale = load_scales(t->k, t->table, p, c, t->last, t->block_stride);
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            const int16 sum = (BYTES_INT(high[r]) << 8) + BYTES_INT(low[r]) - (int16)(q->bias[r][c]);
            out[r] = fma(convert_float16(sum), scale * (float16)(q->scale[r][c]), out[r]);
        }
    }
    PREFETCH_FAR(next_k + HEAD_PAD * BLOCK_TOKENS);
}

/* What each position adds to the rows, in codes: per row and scale, high and low bytes, and their unit. */
struct VARIANT(weights, TQ) {
    int4 high[ROWS_PAD][KV_SCALES][SUBS], low[ROWS_PAD][KV_SCALES][SUBS];
    float unit[ROWS_PAD][KV_SCALES];
};

/* Adds a tile's V to the sums of rows r0 …. */
BYTES_INLINE void VARIANT(add_v, TQ)(struct VARIANT(rows, TQ) * s, const struct VARIANT(weights, TQ) * w,
                                     const struct kv_tile *t, int r0, const float *keep)
{
    byte_sums high[V_ROWS][HEAD_VECS], low[V_ROWS][HEAD_VECS];
    UNROLL for (int r = 0; r < V_ROWS; r++) UNROLL for (int j = 0; j < HEAD_VECS; j++) high[r][j] =
        low[r][j] = BYTES_ZERO;
    const int groups = (t->end - t->first + 3) / 4;
    for (int g = 0; g < groups; g++) {
        __global const kv_t *next_v = t->v + kv_next(t, 4 * g) + v_at((t->next + 4 * g) % BLOCK_TOKENS, 0);
        if (r0 == 0 && g % 4 == 0)
            PREFETCH_FAR(next_v + HEAD_PAD * BLOCK_TOKENS);
        UNROLL for (int j = 0; j < HEAD_VECS; j++)
        {
            if (r0 == 0)
                PREFETCH_FAR(next_v + 64 * j);
            const int16 v = load_v(t->v, t->table, t->first + 4 * g, 16 * j, t->last, t->block_stride);
            UNROLL for (int r = 0; r < V_ROWS; r++)
            {
                BYTES_ADD(high[r][j], (int16)(((const int *)w->high[r0 + r][j / KV_VECS])[g]), v);
                BYTES_ADD(low[r][j], (int16)(((const int *)w->low[r0 + r][j / KV_VECS])[g]), v);
            }
        }
    }
    UNROLL for (int r = 0; r < V_ROWS; r++) UNROLL for (int j = 0; j < HEAD_VECS; j++)
    {
        const int16 sum = (BYTES_INT(high[r][j]) << 8) + BYTES_INT(low[r][j]);
        s->acc[r0 + r][j] = fma(convert_float16(sum), (float16)(w->unit[r0 + r][j / KV_VECS]),
                                s->acc[r0 + r][j] * (float16)(keep[r0 + r]));
    }
}

/* Scores, softmax and sum over V of a tile for the rows of a job, whose first token is at `job_pos`. */
BYTES_INLINE void VARIANT(attend_tile, TQ)(struct VARIANT(rows, TQ) * s,
                                           const struct VARIANT(queries, TQ) * q, const struct kv_tile *t,
                                           int job_pos)
{
    enum { ROWS = TQ * GROUP };
    const int subs = (t->end - t->first + 15) / 16;
    float16 score[SUBS][ROWS], v_scale[SUBS][KV_SCALES];
    float keep[(ROWS_PAD + 15) / 16 * 16];
    struct VARIANT(weights, TQ) w;
    for (int u = 0; u < subs; u++) {
        const int p = t->first + 16 * u;
        __global const kv_t *next_k = t->k + kv_next(t, 16 * u) + (t->next + 16 * u) % BLOCK_TOKENS * 4;
        VARIANT(scores, TQ)(q, t, p, next_k, score[u]);
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            const int16 at = (int16)(p) + LANES;
            score[u][r] = select(score[u][r], (float16)(MASKED), at > (int16)(job_pos + r / GROUP));
        }
        UNROLL for (int c = 0; c < KV_SCALES; c++) /* none of what isn't there: it could be no number */
            v_scale[u][c] = select(load_scales(t->v, t->table, p, c, t->last, t->block_stride),
                                   (float16)(0.0f), (int16)(p) + LANES >= (int16)(t->end));
    }
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        float16 most = score[0][r];
        for (int u = 1; u < subs; u++)
            most = LARGER(most, score[u][r]);
        const float new = max16(most), top = new > s->max[r] ? new : s->max[r];
        keep[r] = s->max[r] - top;
        s->max[r] = top;
    }
    keep_all(keep, ROWS);
    for (int r = 0; r < ROWS; r++) {
        float16 sum = s->sum[r] * (float16)(keep[r]), most[KV_SCALES];
        UNROLL for (int c = 0; c < KV_SCALES; c++) most[c] = (float16)(0.0f);
        for (int u = 0; u < subs; u++) {
            const float16 e = exp16_near(score[u][r] - (float16)(s->max[r]));
            sum += e;
            score[u][r] = e;
            UNROLL for (int c = 0; c < KV_SCALES; c++) most[c] = LARGER(most[c], e * v_scale[u][c]);
        }
        s->sum[r] = sum;
        UNROLL for (int c = 0; c < KV_SCALES; c++)
        {
            const float largest = max16(most[c]), inverse = largest > 0x1p-100f ? W_MAX / largest : 0.0f;
            w.unit[r][c] = largest * (1.0f / W_MAX);
            for (int u = 0; u < subs; u++) {
                /* In a float of 2^23 and more the last bits are the integer, to nearest. */
                const uint16 code =
                    as_uint16(fma(score[u][r] * v_scale[u][c], (float16)(inverse), (float16)(0x1p23f)));
                w.high[r][c][u] = as_int4(convert_uchar16(code >> 8 & 255u));
                w.low[r][c][u] = as_int4(convert_uchar16(code & 255u));
            }
        }
    }
    for (int r0 = 0; r0 < ROWS; r0 += V_ROWS)
        VARIANT(add_v, TQ)(s, &w, t, r0, keep);
}
