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
 * job: first token's row, tokens, first position, offset of the block table | first part, parts, slot for
 * partial results or -1, unused.  Partial results: per slot, query head: HEAD_PAD accumulators, maximum, sum.
 */

KERNEL void VARIANT(attention, TQ)(__global const float *q, int q_stride, __global const float *k_cache,
                                   __global const float *v_cache, __global const int *tables,
                                   __global const int8 *jobs, __global float *out, __global float *partials,
                                   int layer, int n_layer, int n_kv)
{
    enum { ROWS = TQ * GROUP };
    const int head = get_global_id(0);
    if (head >= n_kv)
        return;
    const int8 job = jobs[get_global_id(1)];
    const size_t block_stride = (size_t)n_layer * n_kv * PLANE;
    __global const int *table = tables + job.s3;
    const int last = job.s2 + job.s1 - 1;
    k_cache += plane_at(0, layer, n_layer, head, n_kv);
    v_cache += plane_at(0, layer, n_layer, head, n_kv);
    q += (size_t)job.s0 * q_stride + head * GROUP * HEAD_DIM;

    float16 total[ROWS][HEAD_VECS];
    float total_max[ROWS], total_sum[ROWS];
    for (int part = job.s4; part < job.s4 + job.s5; part++) {
        float16 acc[ROWS][HEAD_VECS], sum[ROWS];
        float max[ROWS];
        for (int r = 0; r < ROWS; r++) {
            max[r] = MASKED;
            sum[r] = (float16)(0.0f);
            for (int j = 0; j < HEAD_VECS; j++)
                acc[r][j] = (float16)(0.0f);
        }
        const int end = min((part + 1) * PART, last + 1);
        for (int p = part * PART; p < end; p += 16) {
            float16 s0[ROWS], s1[ROWS];
            float prob[ROWS][16];

#pragma unroll
            for (int r = 0; r < ROWS; r++)
                s0[r] = s1[r] = (float16)(0.0f);
            for (int d = 0; d < HEAD_DIM; d += 2) {
                const float16 k0 = load_k(k_cache, table, p, d, last, block_stride);
                const float16 k1 = load_k(k_cache, table, p, d + 1, last, block_stride);

#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    __global const float *row =
                        q + (size_t)(r / GROUP) * q_stride + (r % GROUP) * HEAD_DIM + d;
                    s0[r] = fma(k0, (float16)(row[0]), s0[r]);
                    s1[r] = fma(k1, (float16)(row[1]), s1[r]);
                }
            }

#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int16 at = (int16)(p) + LANES;
                const float16 s = select(s0[r] + s1[r], (float16)(MASKED), at > (int16)(job.s2 + r / GROUP));
                const float top = fmax(max[r], max16(s));
                const float keep = exp1(max[r] - top);
                const float16 e = exp16(s - (float16)(top));
                max[r] = top;
                sum[r] = fma(sum[r], (float16)(keep), e);
                vstore16(e, 0, prob[r]);
                for (int j = 0; j < HEAD_VECS; j++)
                    acc[r][j] = acc[r][j] * (float16)(keep);
            }
            const int n = min(16, end - p);
            for (int j = 0; j < HEAD_VECS; j++) {
                float16 a[ROWS];

#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    a[r] = acc[r][j];
                for (int i = 0; i < n; i++) {
                    const float16 v = load_v(v_cache, table, p + i, j, block_stride);

#pragma unroll
                    for (int r = 0; r < ROWS; r++)
                        a[r] = fma(v, (float16)(prob[r][i]), a[r]);
                }

#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    acc[r][j] = a[r];
            }
        }
        for (int r = 0; r < ROWS; r++) {
            if (part == job.s4) {
                total_max[r] = max[r];
                total_sum[r] = sum16(sum[r]);
                for (int j = 0; j < HEAD_VECS; j++)
                    total[r][j] = acc[r][j];
            } else {
                merge_row(&total_max[r], &total_sum[r], total[r], max[r], sum16(sum[r]), acc[r]);
            }
        }
    }
    for (int r = 0; r < job.s1 * GROUP; r++) {
        if (job.s6 < 0) {
            store_row(out + (size_t)(job.s0 + r / GROUP) * q_stride + (head * GROUP + r % GROUP) * HEAD_DIM,
                      total[r], total_sum[r]);
        } else {
            __global float *to = partials + ((size_t)job.s6 * n_kv + head) * GROUP * PARTIAL + r * PARTIAL;
            for (int j = 0; j < HEAD_VECS; j++)
                vstore16(total[r][j], j, to);
            to[HEAD_PAD] = total_max[r];
            to[HEAD_PAD + 1] = total_sum[r];
        }
    }
}
