/*
 * Rotary positions, and K and V into their blocks: one work-item a (head, token), heads ordered q, k, v as in
 * the row of qkv.
 *
 * Pairs are neighbours, (2i, 2i+1), as GGUF files of architecture `llama` are laid out. cos and sin come from
 * a table [position][n_rot / 2] of (cos, sin) made on the host in double precision. Queries are multiplied by
 * 1/sqrt(HEAD_DIM) here, once, instead of every score. tokens: id, position, block, slot.
 */
KERNEL void rope_store(__global const float *qkv, int qkv_stride, int k_at, int v_at,
                       __global const int4 *tokens, __global const float2 *table, int n_rot,
                       __global float *q, int q_stride, __global float *k_cache, __global float *v_cache,
                       int layer, int n_layer, int n_head, int n_kv, float scale)
{
    int head = get_global_id(0);
    if (head >= n_head + 2 * n_kv)
        return;
    const size_t token = get_global_id(1);
    const int4 at = tokens[token];
    qkv += token * qkv_stride;
    if (head >= n_head + n_kv) {
        head -= n_head + n_kv;
        __global float *v = v_cache + plane_at(at.z, layer, n_layer, head, n_kv) + at.w * HEAD_PAD;
        for (int i = 0; i < HEAD_DIM; i++)
            v[i] = qkv[v_at + head * HEAD_DIM + i];
        for (int i = HEAD_DIM; i < HEAD_PAD; i++)
            v[i] = 0.0f;
        return;
    }
    const bool is_q = head < n_head;
    if (!is_q)
        head -= n_head;
    __global const float *in = qkv + (is_q ? 0 : k_at) + head * HEAD_DIM;
    __global float *out = is_q ? q + token * q_stride + head * HEAD_DIM
                               : k_cache + plane_at(at.z, layer, n_layer, head, n_kv) + at.w;
    const int step = is_q ? 1 : BLOCK_TOKENS;
    const float factor = is_q ? scale : 1.0f;
    table += (size_t)at.y * (n_rot / 2);
    for (int i = 0; i < n_rot; i += 2) {
        const float2 cs = table[i / 2];
        const float a = in[i], b = in[i + 1];
        out[i * step] = fma(a, cs.x, -(b * cs.y)) * factor;
        out[(i + 1) * step] = fma(a, cs.y, b * cs.x) * factor;
    }
    for (int i = n_rot; i < HEAD_DIM; i++)
        out[i * step] = in[i] * factor;
}
