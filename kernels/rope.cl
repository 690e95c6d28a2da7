/*
 * Rotary positions, and K and V into their blocks; heads ordered q, k, v as in the row of qkv.
 *
 * Pairs are neighbours, (2i, 2i+1), as GGUF files of architecture `llama` are laid out. cos and sin come from
 * a table [position][n_rot / 2] of (cos, sin) made on the host in double precision. Queries are multiplied by
 * 1/sqrt(HEAD_DIM) here, once, instead of every score. tokens: id, position, block, slot.
 */
struct rope {
    __global const float *qkv;
    int qkv_stride, k_at, v_at;
    __global const int4 *tokens;
    __global const float *table;
    int n_rot;
    __global float *q;
    int q_stride;
    __global kv_t *cache;
    int layer, n_layer, n_head, n_kv;
    float scale;
};

enum { PART_Q, PART_K, PART_V };

/* 16 values from i on of n; zeros behind them. */
inline float16 load_padded(__global const float *in, int i, int n)
{
    float lanes[16];
    if (i + 16 <= n)
        return vload16(0, in + i);
    for (int j = 0; j < 16; j++)
        lanes[j] = i + j < n ? in[i + j] : 0.0f;
    return vload16(0, lanes);
}

/* 16 values of a head from i on, those below n_rot rotated: (a, b) to (a cos - b sin, b cos + a sin). */
inline float16 rotate16(float16 v, __global const float *angles, int i, int n_rot)
{
    float lanes[16];
    float16 cs;
    if (i + 16 <= n_rot) {
        cs = vload16(0, angles + i);
    } else {
        for (int j = 0; j < 16; j++)
            lanes[j] = i + j < n_rot ? angles[i + j] : j % 2 ? 0.0f : 1.0f;
        cs = vload16(0, lanes);
    }
    const float16 sine = cs.s1133557799bbddff * (float16)(-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1);
    return fma(v, cs.s0022446688aaccee, v.s1032547698badcfe * sine);
}

/* 16 values of a token's head from i on go where they belong. */
inline void rope_values(const struct rope *r, int part, int head, int i, int token, float16 v)
{
    const int4 at = r->tokens[token];
    __global const float *angles = r->table + (size_t)at.y * r->n_rot;
    const size_t plane = plane_at(at.z, r->layer, r->n_layer, head, r->n_kv), v_plane = (size_t)r->n_kv * PLANE;
    kv_t lanes[16];
    if (part == PART_Q) {
        __global float *out = r->q + (size_t)token * r->q_stride + head * HEAD_DIM + i;
        v = rotate16(v, angles, i, r->n_rot) * (float16)(r->scale);
#if HEAD_DIM % 16 == 0
        store16(v, out);
#else
        float values[16];
        vstore16(v, 0, values);
        for (int j = 0; j < 16 && i + j < HEAD_DIM; j++)
            out[j] = values[j];
#endif
    } else if (part == PART_K) {
        __global kv_t *out = r->cache + plane + i * BLOCK_TOKENS + at.w;
        kv_store16(rotate16(v, angles, i, r->n_rot), lanes);
        for (int j = 0; j < 16 && i + j < HEAD_DIM; j++)
            out[j * BLOCK_TOKENS] = lanes[j];
    } else {
        kv_store16(v, lanes);
        vstore16(vload16(0, lanes), 0, r->cache + plane + v_plane + at.w * HEAD_PAD + i);
    }
}

/* A whole head of a token, counted through q, k and v. */
inline void rope_head(const struct rope *r, int head, int token)
{
    const int part = head < r->n_head ? PART_Q : head < r->n_head + r->n_kv ? PART_K : PART_V;
    const int column = part == PART_Q ? 0 : part == PART_K ? r->k_at : r->v_at;
    head -= part == PART_Q ? 0 : part == PART_K ? r->n_head : r->n_head + r->n_kv;
    __global const float *in = r->qkv + (size_t)token * r->qkv_stride + column + head * HEAD_DIM;
    for (int i = 0; i < HEAD_PAD; i += 16)
        rope_values(r, part, head, i, token, load_padded(in, i, HEAD_DIM));
}

/* Asks for the places that rope_values will write K and V of a token to: many, as a token is a column of a plane of K, and
 * long untouched. */
inline void fetch_slots(const struct rope *r, int token)
{
    const int4 at = r->tokens[token];
    for (int head = 0; head < r->n_kv; head++) {
        const size_t plane = plane_at(at.z, r->layer, r->n_layer, head, r->n_kv), v_plane = (size_t)r->n_kv * PLANE;
        for (int d = 0; d < HEAD_DIM; d += 2)
            PREFETCH_WRITE(r->cache + plane + d * BLOCK_TOKENS + at.w);
        for (int i = 0; i < HEAD_PAD; i += 32)
            PREFETCH_WRITE(r->cache + plane + v_plane + at.w * HEAD_PAD + i);
    }
}

/* One work-item a (head, token). */
KERNEL void rope_store(__global const float *qkv, int qkv_stride, int k_at, int v_at,
                       __global const int4 *tokens, __global const float *table, int n_rot,
                       __global float *q, int q_stride, __global kv_t *cache, int layer, int n_layer, int n_head, int n_kv, float scale)
{
    const struct rope r = {qkv,      qkv_stride, k_at,    v_at,    tokens, table,   n_rot,  q,
                           q_stride, cache, layer,   n_layer, n_head, n_kv, scale};
    const int head = get_global_id(0);
    if (head < n_head + 2 * n_kv)
        rope_head(&r, head, get_global_id(1));
}
