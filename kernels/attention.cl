/*
 * Causal attention over block tables, with grouped heads: softmax(q·K) V, as one online softmax over
 * positions.
 *
 * The host puts this text into a program once for each TQ. A work-item takes one job (up to TQ neighbouring
 * tokens of one sequence) and one KV head, that is ROWS = TQ × GROUP rows (token, query head), which share
 * every load of K and V. Positions are taken in tiles of 16 (the lanes), and tiles in parts of PART
 * positions. Tiles and parts start at fixed absolute positions, every row's running (max, sum, accumulator)
 * starts anew in each part, and parts are merged in ascending order. So a row's arithmetic is the same
 * whether its token is decoded alone or inside a chunk, and whether its parts are walked by one work-item or
 * spread over several (attention_merge):
 *
 *   - a tile that a row can't see yet (only its neighbours do) leaves the row as it is, bit for bit: its
 * maximum stays, old sums are multiplied by exp(0) = 1, and 0 × V is added;
 *   - likewise a part that it can't see at all, whose weight in the merge is exactly 0.
 *
 * job (int8): first token's row, tokens, first position, offset of the block table | first part, parts, slot for
 * partial results or -1, unused.  Partial results: per slot, query head: HEAD_PAD accumulators, maximum, sum.
 */

struct VARIANT(rows, TQ) {
    float16 acc[TQ * GROUP][HEAD_VECS], sum[TQ * GROUP];
    float max[TQ * GROUP];
};

/* Scores of positions p … p+15, while it asks for K of the next tile. Two sums a row, added at the end: with codes those
 * of neighbouring scales, else of even and odd dimensions. */
inline void VARIANT(scores, TQ)(const struct attention *a, int p, int last, __global const float *q,
                                __global const int *table, __global const kv_t *k_cache, size_t block_stride,
                                __global const kv_t *next_k, float16 *out)
{
    enum { ROWS = TQ * GROUP, LINE = 64 / sizeof(kv_t) };
    float16 s0[ROWS], s1[ROWS];
#ifdef KV_CODES
    int at = 0;
    UNROLL for (int r = 0; r < ROWS; r++) out[r] = (float16)(0.0f);
    for (int c = 0; c < KV_SCALES; c += 2) {
        const int d0 = c * KV_BLOCK, d1 = c + 1 < KV_SCALES ? d0 + KV_BLOCK : d0, n = min(KV_BLOCK, HEAD_DIM - d1);
        UNROLL for (int r = 0; r < ROWS; r++) s0[r] = s1[r] = (float16)(0.0f);
        for (int d = 0; d < KV_BLOCK; d++) {
            const int e0 = d0 + d, e1 = d1 + d;
            if (d % 2 == 0 && at < PLANE) {
                PREFETCH(next_k + at);
                at += LINE;
            }
            if (e0 < HEAD_DIM) {
                const float16 k0 = load_k(k_cache, table, p, e0, last, block_stride);
                UNROLL for (int r = 0; r < ROWS; r++)
                {
                    __global const float *row = q + (size_t)(r / GROUP) * a->q_stride + (r % GROUP) * HEAD_DIM;
                    s0[r] = fma(k0, (float16)(row[e0]), s0[r]);
                }
            }
            if (d1 != d0 && d < n) {
                const float16 k1 = load_k(k_cache, table, p, e1, last, block_stride);
                UNROLL for (int r = 0; r < ROWS; r++)
                {
                    __global const float *row = q + (size_t)(r / GROUP) * a->q_stride + (r % GROUP) * HEAD_DIM;
                    s1[r] = fma(k1, (float16)(row[e1]), s1[r]);
                }
            }
        }
        const float16 scale0 = load_scales(k_cache, table, p, c, last, block_stride);
        UNROLL for (int r = 0; r < ROWS; r++) out[r] = fma(s0[r], scale0, out[r]);
        if (d1 != d0) {
            const float16 scale1 = load_scales(k_cache, table, p, c + 1, last, block_stride);
            UNROLL for (int r = 0; r < ROWS; r++) out[r] = fma(s1[r], scale1, out[r]);
        }
    }
    for (; at < PLANE; at += LINE)
        PREFETCH(next_k + at);
#else
    UNROLL for (int r = 0; r < ROWS; r++) s0[r] = s1[r] = (float16)(0.0f);
    for (int d = 0; d < HEAD_DIM; d += 2) {
        PREFETCH(next_k + d * BLOCK_TOKENS);
        const float16 k0 = load_k(k_cache, table, p, d, last, block_stride);
        const float16 k1 = load_k(k_cache, table, p, d + 1, last, block_stride);
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            __global const float *row = q + (size_t)(r / GROUP) * a->q_stride + (r % GROUP) * HEAD_DIM + d;
            s0[r] = fma(k0, (float16)(row[0]), s0[r]);
            s1[r] = fma(k1, (float16)(row[1]), s1[r]);
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) out[r] = s0[r] + s1[r];
#endif
}

#if TQ * GROUP * HEAD_VECS <= 24
#define V_VECS HEAD_VECS
#else
#define V_VECS 1
#endif

/*
 * Scores, softmax and sum over V of positions p … p+15, for n_heads heads, whose rows' state is s[head]; of the first head, q and
 * caches. Step by step for all heads, so that none waits for its own last result alone. next_k, next_v: the tile to ask for, as
 * blocks lie anywhere and no processor guesses them: its K beside the scores, its V beside the sum over V.
 */
inline void VARIANT(tile16, TQ)(struct VARIANT(rows, TQ) * s, int n_heads, const struct attention *a, int job_pos, int p,
                                int end, int last, __global const float *q, __global const int *table,
                                __global const kv_t *k_cache, __global const kv_t *v_cache, size_t block_stride,
                                __global const kv_t *next_k, __global const kv_t *next_v)
{
    enum {
        ROWS = TQ * GROUP,
        HEADS = TQ == 1 ? HEADS_AT_ONCE : 1,
        LINE = 64 / sizeof(kv_t),
        SHARE = (PLANE + 16 * LINE - 1) / (16 * LINE) * LINE
    };
    float16 score[HEADS][ROWS];
    float prob[HEADS][ROWS][KV_SCALES][16];
    float keep[(HEADS * ROWS + 15) / 16 * 16], top[HEADS][ROWS];
    for (int h = 0; h < n_heads; h++)
        VARIANT(scores, TQ)(a, p, last, q + h * GROUP * HEAD_DIM, table, k_cache + h * PLANE, block_stride,
                            next_k + h * PLANE, score[h]);
    for (int h = 0; h < n_heads; h++)
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            const int16 at = (int16)(p) + LANES;
            score[h][r] = select(score[h][r], (float16)(MASKED), at > (int16)(job_pos + r / GROUP));
            top[h][r] = fmax(s[h].max[r], max16(score[h][r]));
            keep[h * ROWS + r] = s[h].max[r] - top[h][r];
            s[h].max[r] = top[h][r];
        }
    /* Old sums keep exp(old maximum - new one) of their weight: for all rows at once. */
    for (int r = n_heads * ROWS; r % 16; r++)
        keep[r] = 0.0f;
    for (int r = 0; r < n_heads * ROWS; r += 16)
        vstore16(exp16(vload16(0, keep + r)), 0, keep + r);
    for (int h = 0; h < n_heads; h++) {
#ifdef KV_CODES
        float16 scale[KV_SCALES];
        UNROLL for (int c = 0; c < KV_SCALES; c++) scale[c] =
            load_scales(v_cache + h * PLANE, table, p, c, last, block_stride);
#endif
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            const float16 e = exp16(score[h][r] - (float16)(top[h][r]));
            s[h].sum[r] = fma(s[h].sum[r], (float16)(keep[h * ROWS + r]), e);
#ifdef KV_CODES
            UNROLL for (int c = 0; c < KV_SCALES; c++) vstore16(e * scale[c], 0, prob[h][r][c]);
#else
            vstore16(e, 0, prob[h][r][0]);
#endif
        }
    }
    const int n = min(16, end - p);
    for (int h = 0; h < n_heads; h++) {
        for (int j0 = 0; j0 < HEAD_VECS; j0 += V_VECS) { /* as many sums as stay in registers */
            float16 acc[ROWS][V_VECS];
            UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int j = 0; j < V_VECS; j++) acc[r][j] =
                s[h].acc[r][j0 + j] * (float16)(keep[h * ROWS + r]);
            for (int i = 0; i < n; i++) {
                __global const kv_t *v = v_row(v_cache + h * PLANE, table, p + i, block_stride);
                if (j0 == 0)
                    for (int at = i * SHARE; at < (i + 1) * SHARE; at += LINE)
                        PREFETCH(next_v + h * PLANE + at);
                UNROLL for (int j = 0; j < V_VECS; j++)
                {
                    const float16 v16 = kv_load16(v + (j0 + j) * 16);
                    UNROLL for (int r = 0; r < ROWS; r++) acc[r][j] =
                        fma(v16, (float16)(prob[h][r][KV_SCALES == 1 ? 0 : (j0 + j) / KV_VECS][i]), acc[r][j]);
                }
            }
            UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int j = 0; j < V_VECS; j++) s[h].acc[r][j0 + j] =
                acc[r][j];
        }
    }
}
#undef V_VECS

/* Heads head … head + n_heads - 1 of a job, at most HEADS_AT_ONCE: tile by tile, as their K and V lie together. next_job: the
 * one that may be wanted after it. */
NOINLINE void VARIANT(attend, TQ)(const struct attention *a, int head, int n_heads, int job_at, int next_job)
{
    enum { ROWS = TQ * GROUP, HEADS = TQ == 1 ? HEADS_AT_ONCE : 1 };
    const int8 job = a->jobs[job_at];
    const size_t block_stride = (size_t)a->n_layer * 2 * a->n_kv * PLANE;
    __global const int *table = a->tables + job.s3;
    const int last = job.s2 + job.s1 - 1;
    __global const kv_t *k_cache = a->cache + plane_at(0, a->layer, a->n_layer, head, a->n_kv);
    __global const kv_t *v_cache = k_cache + (size_t)a->n_kv * PLANE;
    __global const float *q = a->q + (size_t)job.s0 * a->q_stride + head * GROUP * HEAD_DIM;

    float16 total[HEADS][ROWS][HEAD_VECS];
    float total_max[HEADS][ROWS], total_sum[HEADS][ROWS];
    for (int part = job.s4; part < job.s4 + job.s5; part++) {
        struct VARIANT(rows, TQ) s[HEADS];
        for (int h = 0; h < n_heads; h++)
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                s[h].max[r] = MASKED;
                s[h].sum[r] = (float16)(0.0f);
                UNROLL for (int j = 0; j < HEAD_VECS; j++) s[h].acc[r][j] = (float16)(0.0f);
            }
        const int end = min((part + 1) * PART, last + 1);
        for (int p = part * PART; p < end; p += 16) {
            const bool more = p + 16 <= last && (p + 16 < end || part + 1 < job.s4 + job.s5);
            __global const int *next_table = more ? table : a->tables + a->jobs[next_job].s3;
            const int next = more ? p + 16 : a->jobs[next_job].s4 * PART;
            const size_t block = next_table[next / BLOCK_TOKENS] * block_stride;
            __global const kv_t *next_k = k_cache + block + next % BLOCK_TOKENS;
            __global const kv_t *next_v = v_cache + block + next % BLOCK_TOKENS * HEAD_PAD;
            VARIANT(tile16, TQ)(s, n_heads, a, job.s2, p, end, last, q, table, k_cache, v_cache, block_stride, next_k,
                                next_v);
        }
        for (int h = 0; h < n_heads; h++)
            for (int r = 0; r < ROWS; r++) {
                if (part == job.s4) {
                    total_max[h][r] = s[h].max[r];
                    total_sum[h][r] = sum16(s[h].sum[r]);
                    for (int j = 0; j < HEAD_VECS; j++)
                        total[h][r][j] = s[h].acc[r][j];
                } else {
                    merge_row(&total_max[h][r], &total_sum[h][r], total[h][r], s[h].max[r], sum16(s[h].sum[r]),
                              s[h].acc[r]);
                }
            }
    }
    for (int h = 0; h < n_heads; h++)
        for (int r = 0; r < job.s1 * GROUP; r++) {
            if (job.s6 < 0) {
                store_row(a->out + (size_t)(job.s0 + r / GROUP) * a->q_stride +
                              ((head + h) * GROUP + r % GROUP) * HEAD_DIM,
                          total[h][r], total_sum[h][r]);
            } else {
                __global float *to =
                    a->partials + ((size_t)job.s6 * a->n_kv + head + h) * GROUP * PARTIAL + r * PARTIAL;
                for (int j = 0; j < HEAD_VECS; j++)
                    vstore16(total[h][r][j], j, to);
                to[HEAD_PAD] = total_max[h][r];
                to[HEAD_PAD + 1] = total_sum[h][r];
            }
        }
}

/* One work-item a (KV head, job). */
KERNEL void VARIANT(attention, TQ)(__global const float *q, int q_stride, __global const kv_t *cache,
                                   __global const int *tables, __global const int8 *jobs, __global float *out, __global float *partials,
                                   int layer, int n_layer, int n_kv)
{
    const struct attention a = {q, q_stride, cache, tables, jobs, out, partials, layer,   n_layer, n_kv};
    const int head = get_global_id(0);
    if (head < n_kv)
        VARIANT(attend, TQ)(&a, head, 1, get_global_id(1), get_global_id(1));
}
