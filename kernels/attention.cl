/*
 * Causal attention over block tables, with grouped heads: softmax(q·K) V, as one online softmax over
 * positions.
 *
 * The host puts this text into a program once for each TQ, behind one of attention_f32.cl and attention_codes.cl, which
 * say what is done with a tile of TILE positions. A work-item takes one job (up to TQ neighbouring tokens of one
 * sequence) and one KV head, that is ROWS = TQ × GROUP rows (token, query head), which share every load of K and V.
 * Positions are taken tile by tile, and tiles in parts of PART positions. Tiles and parts start at fixed absolute
 * positions, every row's running (max, sum, accumulator) starts anew in each part, and parts are merged in ascending
 * order. So a row's arithmetic is the same whether its token is decoded alone or inside a chunk, and whether its parts
 * are walked by one work-item or spread over several (attention_merge):
 *
 *   - a tile that a row can't see yet (only its neighbours do) leaves the row as it is, bit for bit: its
 * maximum stays, old sums are multiplied by exp(0) = 1, and 0 × V is added;
 *   - likewise a part that it can't see at all, whose weight in the merge is exactly 0.
 *
 * job (int8): first token's row, tokens, first position, offset of the block table | first part, parts, slot for
 * partial results or -1, unused.  Partial results: per slot, query head: HEAD_PAD accumulators, maximum, sum.
 */

/* Heads head … head + n_heads - 1 of a job, at most HEADS_AT_ONCE: tile by tile, as their K and V lie together. next_job: the
 * one that may be wanted after it. */
ATTEND_FUNCTION void VARIANT(attend, TQ)(const struct attention *a, int head, int n_heads, int job_at,
                                         int next_job)
{
    enum { ROWS = TQ * GROUP, HEADS = TQ == 1 ? HEADS_AT_ONCE : 1 };
    const int8 job = a->jobs[job_at], next = a->jobs[next_job];
    const size_t block_stride = (size_t)a->n_layer * 2 * a->n_kv * PLANE;
    __global const int *table = a->tables + job.s3;
    const int last = job.s2 + job.s1 - 1;
    __global const kv_t *k = a->cache + plane_at(0, a->layer, a->n_layer, head, a->n_kv);
    __global const kv_t *v = k + (size_t)a->n_kv * PLANE;
    struct VARIANT(queries, TQ) q[HEADS];
    for (int h = 0; h < n_heads; h++)
        VARIANT(prepare, TQ)
        (a->q + (size_t)job.s0 * a->q_stride + (head + h) * GROUP * HEAD_DIM, a->q_stride, &q[h]);

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
        for (int p = part * PART; p < end; p += TILE) {
            const bool more = p + TILE <= last && (p + TILE < end || part + 1 < job.s4 + job.s5);
            for (int h = 0; h < n_heads; h++) {
                const struct kv_tile t = {k + h * PLANE,
                                          v + h * PLANE,
                                          table,
                                          more ? table : a->tables + next.s3,
                                          p,
                                          min(p + TILE, end),
                                          last,
                                          more ? p + TILE : next.s4 * PART,
                                          more ? last : next.s2 + next.s1 - 1,
                                          block_stride};
                VARIANT(attend_tile, TQ)(&s[h], &q[h], &t, job.s2);
            }
        }
        for (int h = 0; h < n_heads; h++)
            for (int r = 0; r < ROWS; r++) {
                if (part == job.s4) {
                    total_max[h][r] = s[h].max[r];
                    total_sum[h][r] = sum16(s[h].sum[r]);
                    for (int j = 0; j < HEAD_VECS; j++)
                        total[h][r][j] = s[h].acc[r][j];
                } else {
                    merge_row(&total_max[h][r], &total_sum[h][r], total[h][r], s[h].max[r],
                              sum16(s[h].sum[r]), s[h].acc[r]);
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
                                   __global const int *tables, __global const int8 *jobs, __global float *out,
                                   __global float *partials, int layer, int n_layer, int n_kv)
{
    const struct attention a = {q, q_stride, cache, tables, jobs, out, partials, layer, n_layer, n_kv};
    const int head = get_global_id(0);
    if (head < n_kv)
        VARIANT(attend, TQ)(&a, head, 1, get_global_id(1), get_global_id(1));
}
