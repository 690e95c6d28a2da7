/*
 * The whole forward pass as one launch of a crew (crew.clh), from the same functions as the kernels that are launched
 * one by one; so the bits are the same. For models whose layers have one weight type.
 *
 * Buffers are given by address, in a table that the host made (engine/exec/crew.c, where the structs are the same): a
 * layer has twelve of them, and a launch takes only so many arguments.
 */
struct forward_layer {
    ulong attn_norm, ffn_norm;
    ulong qkv_w, qkv_s, out_w, out_s, gate_w, gate_s, up_w, up_s, down_w, down_s;
};

struct forward_table {
    ulong layers, embd_w, embd_s, logits_w, logits_s, output_norm, angles;
    ulong x, h, qkv, q, att, ff, picked, logits, partials;
    ulong codes, factors, ff_codes, ff_factors; /* coded */
    ulong cache;
    ulong tokens, tables, decode, prefill, merges, rows;
    int n_layer, n_head, n_kv, n_rot;
    int embd_blocks, heads_blocks, ff_blocks; /* of 32 inputs: also the strides */
    int qkv_groups, k_at, v_at, embd_groups, ff_groups, logits_groups, logits_stride;
    int embeds, makes_logits; /* whether embedding and output layer are of this program's weight type */
    float n_embd, eps, scale;
};

#define AT(TYPE, ADDRESS) ((__global TYPE *)(ADDRESS))

enum { PHASES = 9, OTHER_PHASES = 3 }; /* a layer's; embedding, last norm, logits */

/* Each product's tiles (matmul.cl) are three bits of one argument (engine/exec/tiles.h). */
enum { QKV, OUT, FF, DOWN, LOGIT, PRODUCTS };
#define TILES_OF(PRODUCT) (tiles >> 3 * (PRODUCT) & 7)

/* How many tokens a task of a product takes: all, but where there are fewer pairs of rows than a crew could share, and no more
 * than have their inputs in the second cache while all pairs go over them. */
inline int chunk_of(int n_groups, int n_tokens, int n_crew)
{
    const int pairs = (n_groups + 1) / 2, most = 256;
    const int parts = max(clamp(4 * n_crew / pairs, 1, (n_tokens + 15) / 16), (n_tokens + most - 1) / most);
    return ((n_tokens + parts - 1) / parts + 15) / 16 * 16;
}

/* What follows THEN is done for every `pair`, for tokens `first` … `end` - 1; `next` is the pair that this member may have after
 * it. THEN: the matrix whose product comes next, or NULL; see fetch_first. */
#define PRODUCT(PHASE, N_GROUPS, N_TOKENS, THEN, ...)                                                        \
    do {                                                                                                     \
        const int pairs_ = ((N_GROUPS) + 1) / 2, tokens_ = (N_TOKENS),                                       \
                  chunk_ = chunk_of(N_GROUPS, tokens_, n_crew),                                              \
                  tasks_ = pairs_ * ((tokens_ + chunk_ - 1) / chunk_);                                       \
        CREW_TASKS(PHASE, tasks_, 1, {                                                                       \
            const int pair = i % pairs_, first = i / pairs_ * chunk_, end = min(first + chunk_, tokens_);    \
            const int next = pair + n_crew < pairs_ ? pair + n_crew : pair;                                  \
            __VA_ARGS__;                                                                                     \
        });                                                                                                  \
        fetch_first(THEN);                                                                                   \
        CREW_WAIT(PHASE, tasks_);                                                                            \
    } while (0)

/* Asks for the pair that this member may begin the next product with, while it waits for the others. */
inline void fetch_first(const struct matrix *m)
{
    const size_t pair = get_global_id(0);
    if (!m || pair * 2 + 2 > m->n_groups)
        return;
    const size_t blocks = 2 * (size_t)m->n_blocks, weights = blocks * BLOCK_WORDS * sizeof(word_t),
                 scales = blocks * BLOCK_SCALES * sizeof(ushort16);
    __global const char *w = (__global const char *)m->w + pair * weights;
    __global const char *s = (__global const char *)m->scales + pair * scales;
    for (size_t at = 0; at < weights; at += 64)
        PREFETCH_FAR(w + at);
    for (size_t at = 0; at < scales; at += 64)
        PREFETCH_FAR(s + at);
}

/* A normalised row, and its codes. */
inline void norm_to(const struct forward_table *f, __global const float *x, __global const float *w,
                    __global float *y, int row)
{
    norm_row(x, w, y, f->embd_blocks * 2, f->n_embd, f->eps);
#ifdef CODED
    code_row(y, AT(int, f->codes), AT(float, f->factors), f->embd_blocks, row, 0, f->embd_blocks);
#endif
}

/* What attention and merge leave of a row, in codes: blocks of `n_heads` heads. */
inline void code_heads(const struct forward_table *f, int row, int first_head, int n_heads)
{
#ifdef CODED
    code_row(AT(float, f->att) + (size_t)row * f->heads_blocks * 32, AT(int, f->codes), AT(float, f->factors),
             f->heads_blocks, row, first_head * HEAD_DIM / 32, (first_head + n_heads) * HEAD_DIM / 32);
#endif
}

/*
 * Rows 32 pair … of the gated layer by tokens first … end-1: silu(gate) × up. Coded, it goes to codes at once, as a pair of
 * groups is a block of the next product's inputs; else to ff, [token][stride].
 */
NOINLINE void gated(const struct matrix *gate, const struct matrix *up, int pair, int next, struct input in, int first,
                    int end, __global float *ff, int stride, __global int *codes, __global float *factors)
{
    float16 g[2 * TILE_MAX], u[2 * TILE_MAX];
    const bool both = pair * 2 + 1 < gate->n_groups;
    for (int t = first, n; t < end; t += n) {
        n = tile_sums(gate, pair, next, in, first, t, end, g);
        tile_sums(up, pair, next, in, first, t, end, u);
        for (int i = 0; i < n; i++) {
            const float16 v0 = silu16(g[i]) * u[i];
            const float16 v1 = both ? silu16(g[TILE_MAX + i]) * u[TILE_MAX + i] : (float16)(0.0f);
#ifdef CODED
            code_block(v0, v1, codes, factors, t + i, stride / 32, pair);
#else
            __global float *y = ff + (size_t)(t + i) * stride + pair * 32;
            store16(v0, y);
            if (both)
                store16(v1, y + 16);
#endif
        }
    }
}

/* Rows 32 pair … of q, k and v by tokens first … end-1, rotated and put away from registers (rope.cl). */
NOINLINE void rotated(const struct matrix *qkv, int pair, int next, struct input in, int first, int end,
                      const struct rope *r)
{
    float16 sums[2 * TILE_MAX];
    for (int t = first, n; t < end; t += n) {
        n = tile_sums(qkv, pair, next, in, first, t, end, sums);
        for (int g = 0; g < 2 && pair * 2 + g < qkv->n_groups; g += KV_VECS) {
            const int column = pair * 32 + g * 16;
            const int part = column < r->k_at ? PART_Q : column < r->v_at ? PART_K : PART_V;
            const int at = column - (part == PART_Q ? 0 : part == PART_K ? r->k_at : r->v_at);
            for (int i = 0; i < n; i++) {
                float16 v[KV_VECS];
                for (int j = 0; j < KV_VECS; j++) {
                    v[j] = sums[(g + j) * TILE_MAX + i];
                    if (part == PART_Q)
                        rope_q(r, at / HEAD_DIM, at % HEAD_DIM + j * 16, t + i, v[j]);
                }
                if (part != PART_Q)
                    rope_kv(r, part, at / HEAD_DIM, at % HEAD_DIM, t + i, v);
            }
        }
    }
}

#ifdef CODED
#define INPUT(X, STRIDE) ((struct input){AT(int, f.codes), AT(float, f.factors)})
#else
#define INPUT(X, STRIDE) ((struct input){AT(float, f.X), STRIDE})
#endif

/* `x`: as in the table, to see whether its addresses are the device's own. */
KERNEL void forward(__global const struct forward_table *table, __global int *counters, __global float *x, int n_crew,
                    int n_tokens, int n_decode, int n_prefill, int n_merges, int n_rows, int tiles)
{
    const struct forward_table f = *table;
    const int embd_stride = f.embd_blocks * 32, heads_stride = f.heads_blocks * 32, ff_stride = f.ff_blocks * 32;
    const int qkv_stride = f.qkv_groups * 16;
    __global float *h = AT(float, f.h), *ff = AT(float, f.ff);
    __global int *phase = counters;
    if (get_global_id(0) >= n_crew)
        return;
    if (n_tokens == 0) { /* tried out: the answer goes to the last counter's line */
        counters[(PHASES * f.n_layer + OTHER_PHASES) * CREW_INTS - 1] = (ulong)x == f.x;
        return;
    }
    /* Tokens taken at a time where a task is small: neighbours share cache lines of K, and taking one waits for the stores
     * of the last. */
    const int share = n_tokens / (8 * n_crew) + 1;
    const int most = max(n_tokens, n_rows);
    bool amx = false;
    for (int product = 0; product < PRODUCTS; product++)
        amx = amx || uses_amx(most, TILES_OF(product));
    products_begin(amx, most);
    if (f.embeds)
        CREW_PHASE(phase, n_tokens * f.embd_blocks, share * f.embd_blocks,
                   embed_block(AT(word_t, f.embd_w), AT(ushort16, f.embd_s), AT(int4, f.tokens), x, embd_stride,
                               f.embd_blocks, i % f.embd_blocks, i / f.embd_blocks));
    phase += CREW_INTS;
    for (int layer = 0; layer < f.n_layer; layer++, phase += PHASES * CREW_INTS) {
        const struct forward_layer l = AT(const struct forward_layer, f.layers)[layer];
        const struct matrix qkv = {AT(word_t, l.qkv_w), AT(ushort16, l.qkv_s), f.qkv_groups, f.embd_blocks,
                                   TILES_OF(QKV)};
        const struct matrix out = {AT(word_t, l.out_w), AT(ushort16, l.out_s), f.embd_groups, f.heads_blocks,
                                   TILES_OF(OUT)};
        const struct matrix gate = {AT(word_t, l.gate_w), AT(ushort16, l.gate_s), f.ff_groups, f.embd_blocks,
                                    TILES_OF(FF)};
        const struct matrix up = {AT(word_t, l.up_w), AT(ushort16, l.up_s), f.ff_groups, f.embd_blocks,
                                  TILES_OF(FF)};
        const struct matrix down = {AT(word_t, l.down_w), AT(ushort16, l.down_s), f.embd_groups, f.ff_blocks,
                                    TILES_OF(DOWN)};
        const struct rope rope = {AT(float, f.qkv),   qkv_stride,
                                  f.k_at,             f.v_at,
                                  AT(int4, f.tokens), AT(float, f.angles),
                                  f.n_rot,            AT(float, f.q),
                                  heads_stride,       AT(kv_t, f.cache), layer,
                                  f.n_layer,          f.n_head,
                                  f.n_kv,             f.scale};
        CREW_TASKS(phase, n_tokens, share, {
            norm_to(&f, x + (size_t)i * embd_stride, AT(float, l.attn_norm), h + (size_t)i * embd_stride, i);
            fetch_slots(&rope, i);
        });
        fetch_first(&qkv);
        CREW_WAIT(phase, n_tokens);
#if HEAD_DIM % 16 == 0
        PRODUCT(phase + CREW_INTS, f.qkv_groups, n_tokens, NULL,
                rotated(&qkv, pair, next, INPUT(h, embd_stride), first, end, &rope));
#else /* a vector may belong to two heads */
        PRODUCT(phase + CREW_INTS, f.qkv_groups, n_tokens, NULL,
                multiply(&qkv, pair, next, INPUT(h, embd_stride), first, end, AT(float, f.qkv), qkv_stride, STORE));
        const int heads = f.n_head + 2 * f.n_kv;
        CREW_PHASE(phase + 2 * CREW_INTS, n_tokens * heads, share * heads, rope_head(&rope, i % heads, i / heads));
#endif
        struct attention a = {AT(float, f.q),      heads_stride,       AT(kv_t, f.cache),
                              AT(int, f.tables),   AT(int8, f.decode), AT(float, f.att),    AT(float, f.partials),
                              layer,               f.n_layer,          f.n_kv};
        /* Where single tokens are enough for everybody, a task has several heads of one. */
        const int at_once = n_decode >= 4 * n_crew ? HEADS_AT_ONCE : 1, shares = (f.n_kv + at_once - 1) / at_once;
        const int decodes = n_decode * shares, attentions = decodes + n_prefill * f.n_kv;
        /* Neighbours are parts of one sequence: who takes several knows what comes next, and asks for it in time. */
        const int run = clamp(attentions / (16 * n_crew), 1, 8);
        CREW_TASKS(phase + 3 * CREW_INTS, attentions, run, {
            const bool decode = i < decodes;
            const int task = decode ? i / shares : (i - decodes) / f.n_kv;
            const int then = i + 1 < end_ ? i + 1 : i + 1 + (n_crew - 1) * run;
            const int head = decode ? i % shares * at_once : (i - decodes) % f.n_kv;
            const int n_heads = decode ? min(at_once, f.n_kv - head) : 1;
            a.jobs = decode ? AT(int8, f.decode) : AT(int8, f.prefill);
            if (decode)
                attend_1(&a, head, n_heads, task, min(then / shares, n_decode - 1));
            else
                attend_4(&a, head, 1, task, task);
            const int8 job = a.jobs[task];
            for (int t = 0; t < job.s1 && job.s6 < 0; t++)
                code_heads(&f, job.s0 + t, head * GROUP, n_heads * GROUP);
        });
        fetch_first(&out);
        CREW_WAIT(phase + 3 * CREW_INTS, attentions);
        if (n_merges)
            CREW_PHASE(phase + 4 * CREW_INTS, n_merges * f.n_head, GROUP, {
                const int4 job = AT(int4, f.merges)[i / f.n_head];
                merge_head(a.partials, job, a.out, heads_stride, f.n_head, i % f.n_head);
                code_heads(&f, job.x, i % f.n_head, 1);
            });
        PRODUCT(phase + 5 * CREW_INTS, f.embd_groups, n_tokens, NULL,
                multiply(&out, pair, next, INPUT(att, heads_stride), first, end, x, embd_stride, ADD));
        CREW_TASKS(phase + 6 * CREW_INTS, n_tokens, share,
                   norm_to(&f, x + (size_t)i * embd_stride, AT(float, l.ffn_norm), h + (size_t)i * embd_stride, i));
        fetch_first(&gate);
        fetch_first(&up);
        CREW_WAIT(phase + 6 * CREW_INTS, n_tokens);
        PRODUCT(phase + 7 * CREW_INTS, f.ff_groups, n_tokens, &down,
                gated(&gate, &up, pair, next, INPUT(h, embd_stride), first, end, ff, ff_stride, AT(int, f.ff_codes),
                      AT(float, f.ff_factors)));
#ifdef CODED
        const struct input inner = {AT(int, f.ff_codes), AT(float, f.ff_factors)};
#else
        const struct input inner = {ff, ff_stride};
#endif
        PRODUCT(phase + 8 * CREW_INTS, f.embd_groups, n_tokens, NULL,
                multiply(&down, pair, next, inner, first, end, x, embd_stride, ADD));
    }
    __global float *picked = AT(float, f.picked);
    if (f.output_norm && n_rows) /* none: the rows are there (crew_product) */
        CREW_PHASE(phase, n_rows, 1,
                   norm_to(&f, x + (size_t)AT(int, f.rows)[i] * embd_stride, AT(float, f.output_norm),
                           picked + (size_t)i * embd_stride, i));
    const struct matrix output = {AT(word_t, f.logits_w), AT(ushort16, f.logits_s), f.logits_groups, f.embd_blocks,
                                  TILES_OF(LOGIT)};
    if (f.makes_logits && n_rows)
        CREW_PHASE(phase + CREW_INTS, (f.logits_groups + 1) / 2, 4,
                   multiply(&output, i, i * 2 + 2 < f.logits_groups ? i + 1 : i, INPUT(picked, embd_stride), 0, n_rows,
                            AT(float, f.logits), f.logits_stride, LOGITS));
    products_end(amx);
}
