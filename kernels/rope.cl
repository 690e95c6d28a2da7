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

/* 16 values of a query from dimension i on, to where it is read. */
inline void rope_q(const struct rope *r, int head, int i, int token, float16 v)
{
    __global const float *angles = r->table + (size_t)r->tokens[token].y * r->n_rot;
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
}

#ifdef KV_CODES
/* Codes of KV_BLOCK values; their scale. */
inline ushort kv_code(const float16 *v, kv_t *codes)
{
    float16 size = fabs(v[0]);
    for (int j = 1; j < KV_VECS; j++)
        size = LARGER(size, fabs(v[j]));
    const ushort16 scale = float16_to_half((float16)(fmin(max16(size) / 127.0f, 65504.0f)));
    const float unit = half16_to_float(scale).s0, inverse = unit > 0.0f ? 1.0f / unit : 0.0f;
    for (int j = 0; j < KV_VECS; j++) {
        const int16 q = round16(clamp(v[j] * (float16)(inverse), (float16)(-127.0f), (float16)(127.0f)));
        ((char16 *)codes)[j] = convert_char16(q);
    }
    return scale.s0;
}
#endif

/* KV_BLOCK values of a token's K or V from dimension i on, to their place in its block. */
inline void rope_kv(const struct rope *r, int part, int head, int i, int token, const float16 *values)
{
    const int4 at = r->tokens[token];
    __global const float *angles = r->table + (size_t)at.y * r->n_rot;
    __global kv_t *plane = r->cache + plane_at(at.z, r->layer, r->n_layer, head + (part == PART_V ? r->n_kv : 0), r->n_kv);
    float16 v[KV_VECS];
    kv_t lanes[KV_BLOCK] __attribute__((aligned(16)));
    for (int j = 0; j < KV_VECS; j++)
        v[j] = part == PART_K ? rotate16(values[j], angles, i + j * 16, r->n_rot) : values[j];
#ifdef KV_CODES
    ((__global ushort *)(plane + HEAD_PAD * BLOCK_TOKENS))[i / KV_BLOCK * BLOCK_TOKENS + at.w] = kv_code(v, lanes);
#else
    vstore16(v[0], 0, lanes);
#endif
#ifdef KV_CODES
    if (part == PART_K) {
        for (int j = 0; j < KV_BLOCK / 4; j++)
            ((__global int *)plane)[(i / 4 + j) * BLOCK_TOKENS + at.w] = ((const int *)lanes)[j] ^ (int)(K_BIAS * 0x01010101u);
    } else {
        for (int j = 0; j < KV_BLOCK; j++)
            plane[v_at(at.w, i + j)] = lanes[j];
    }
#else
    if (part == PART_K) {
        for (int j = 0; j < KV_BLOCK && i + j < HEAD_DIM; j++)
            plane[(i + j) * BLOCK_TOKENS + at.w] = lanes[j];
    } else {
        vstore16(v[0], 0, plane + at.w * HEAD_PAD + i);
    }
#endif
}

/* A whole head of a token, counted through q, k and v. */
inline void rope_head(const struct rope *r, int head, int token)
{
    const int part = head < r->n_head ? PART_Q : head < r->n_head + r->n_kv ? PART_K : PART_V;
    const int column = part == PART_Q ? 0 : part == PART_K ? r->k_at : r->v_at;
    head -= part == PART_Q ? 0 : part == PART_K ? r->n_head : r->n_head + r->n_kv;
    __global const float *in = r->qkv + (size_t)token * r->qkv_stride + column + head * HEAD_DIM;
    for (int i = 0; i < HEAD_PAD; i += KV_BLOCK) {
        float16 v[KV_VECS];
        for (int j = 0; j < KV_VECS; j++) {
            v[j] = load_padded(in, i + j * 16, HEAD_DIM);
            if (part == PART_Q)
                rope_q(r, head, i + j * 16, token, v[j]);
        }
        if (part != PART_Q)
            rope_kv(r, part, head, i, token, v);
    }
}

/* Asks for the places that rope_kv will write K and V of a token to: many, as a token is a column of a plane of K, and
 * long untouched. */
inline void fetch_slots(const struct rope *r, int token)
{
    enum { LINE = 64 / sizeof(kv_t) };
    const int4 at = r->tokens[token];
    for (int head = 0; head < r->n_kv; head++) {
        __global kv_t *k = r->cache + plane_at(at.z, r->layer, r->n_layer, head, r->n_kv);
        __global kv_t *v = k + (size_t)r->n_kv * PLANE;
        for (int i = 0; i < PLANE; i += LINE) /* of K every line has something, of V's codes four and one or two */
            PREFETCH_WRITE(k + i);
#ifdef KV_CODES
        for (int i = 0; i < 4 * HEAD_DIM; i += LINE)
            PREFETCH_WRITE(v + v_at(at.w, 0) + i);
        PREFETCH_WRITE(v + HEAD_PAD * BLOCK_TOKENS + 2 * at.w);
#else
        for (int i = 0; i < HEAD_DIM; i += LINE)
            PREFETCH_WRITE(v + at.w * HEAD_PAD + i);
#endif
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
