/*
 * A tile of attention (attention.cl) over K and V in float32: 16 positions, one a lane.
 */
#ifndef TILE
#define TILE            16
#define ATTEND_FUNCTION NOINLINE
#endif

DEFINE_ROWS;

/* The queries of a job's rows: where they are. */
struct VARIANT(queries, TQ) {
    __global const float *q;
    int stride;
};

inline void VARIANT(prepare, TQ)(__global const float *q, int stride, struct VARIANT(queries, TQ) * out)
{
    out->q = q;
    out->stride = stride;
}

/* Scores of the tile, while it asks for K of the next one. Two sums a row, of even and odd dimensions, added at the end. */
inline void VARIANT(scores, TQ)(const struct VARIANT(queries, TQ) * q, const struct kv_tile *t, float16 *out)
{
    enum { ROWS = TQ * GROUP };
    __global const kv_t *next_k = t->k + kv_next(t, 0) + t->next % BLOCK_TOKENS;
    float16 s0[ROWS], s1[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) s0[r] = s1[r] = (float16)(0.0f);
    for (int d = 0; d < HEAD_DIM; d += 2) {
        PREFETCH(next_k + d * BLOCK_TOKENS);
        const float16 k0 = load_k(t->k, t->table, t->first, d, t->last, t->block_stride);
        const float16 k1 = load_k(t->k, t->table, t->first, d + 1, t->last, t->block_stride);
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            __global const float *row = q->q + (size_t)(r / GROUP) * q->stride + (r % GROUP) * HEAD_DIM + d;
            s0[r] = fma(k0, (float16)(row[0]), s0[r]);
            s1[r] = fma(k1, (float16)(row[1]), s1[r]);
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) out[r] = s0[r] + s1[r];
}

#if TQ * GROUP * HEAD_VECS <= 24
#define V_VECS HEAD_VECS
#else
#define V_VECS 1
#endif

/* Scores, softmax and sum over V of a tile for the rows of a job, whose first token is at `job_pos`. */
inline void VARIANT(attend_tile, TQ)(struct VARIANT(rows, TQ) * s, const struct VARIANT(queries, TQ) * q,
                                     const struct kv_tile *t, int job_pos)
{
    enum { ROWS = TQ * GROUP };
    float16 score[ROWS];
    float prob[ROWS][16], keep[(ROWS + 15) / 16 * 16], top[ROWS];
    VARIANT(scores, TQ)(q, t, score);
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        const int16 at = (int16)(t->first) + LANES;
        score[r] = select(score[r], (float16)(MASKED), at > (int16)(job_pos + r / GROUP));
        const float new = max16(score[r]);
        top[r] = new > s->max[r] ? new : s->max[r];
        keep[r] = s->max[r] - top[r];
        s->max[r] = top[r];
    }
    keep_all(keep, ROWS);
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        const float16 e = exp16(score[r] - (float16)(top[r]));
        s->sum[r] = fma(s->sum[r], (float16)(keep[r]), e);
        vstore16(e, 0, prob[r]);
    }
    __global const kv_t *next_v = t->v + kv_next(t, 0) + t->next % BLOCK_TOKENS * HEAD_PAD;
    const int n = min(16, t->end - t->first);
    for (int j0 = 0; j0 < HEAD_VECS; j0 += V_VECS) { /* as many sums as stay in registers */
        float16 acc[ROWS][V_VECS];
        UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int j = 0; j < V_VECS; j++) acc[r][j] =
            s->acc[r][j0 + j] * (float16)(keep[r]);
        for (int i = 0; i < n; i++) {
            __global const kv_t *v = v_row(t->v, t->table, t->first + i, t->block_stride);
            if (j0 == 0)
                for (int j = 0; j < HEAD_VECS; j++)
                    PREFETCH(next_v + i * HEAD_PAD + j * 16);
            UNROLL for (int j = 0; j < V_VECS; j++)
            {
                const float16 v16 = vload16(j0 + j, v);
                UNROLL for (int r = 0; r < ROWS; r++) acc[r][j] = fma(v16, (float16)(prob[r][i]), acc[r][j]);
            }
        }
        UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int j = 0; j < V_VECS; j++) s->acc[r][j0 + j] =
            acc[r][j];
    }
}
#undef V_VECS
