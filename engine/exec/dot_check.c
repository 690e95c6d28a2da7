/* The self-check of dot.h: a way's bits against the plain way's. */
#include <string.h>

#include "engine/base/hash.h"
#include "engine/exec/dot.h"
#include "engine/exec/ops.h"
#include "engine/exec/tiles.h"

/* The self-check's matrices: three groups of rows, more blocks than a panel of tile_amx.cl, tokens for tiles of all sizes. */
enum { CHECK_ROWS = 48, CHECK_INPUTS = 832, CHECK_TOKENS = 45, CHECK_BLOCK_MAX = 34 };
/* Its attention: two query heads of one KV head, the last token of a sequence that ends within a tile and a block. */
enum {
    CHECK_HEADS = 2,
    CHECK_DIM = 32,
    CHECK_WIDTH = CHECK_HEADS * CHECK_DIM,
    BLOCK = 16,
    BLOCKS = (CHECK_TOKENS + BLOCK - 1) / BLOCK
};

static const struct ops_shape check_shape = {.n_layer = 1,
                                             .n_head = CHECK_HEADS,
                                             .n_head_kv = 1,
                                             .head_dim = CHECK_DIM,
                                             .block_tokens = BLOCK,
                                             .layer_type = QUANT_TYPE_LIMIT};

struct check {
    struct ocl *o;
    enum precision precision;
    struct matrix m;
    struct ocl_buf x, xq, factors, y;
    struct ocl_buf q, kv, tokens, tables, job, attended;
};

/* The products of a way by its widest tiles, then by its others; and its attention. */
struct results {
    float y[2][CHECK_TOKENS * CHECK_ROWS];
    float attended[CHECK_WIDTH];
};

/* Puts a sequence of rows of x into blocks and lets the last look at all of it. */
static bool check_attention(struct check *c, struct ops *ops, float *out)
{
    struct ops_token tokens[CHECK_TOKENS];
    const cl_int table[BLOCKS] = {2, 0, 1};
    const struct ops_job job = {
        .row = CHECK_TOKENS - 1, .n = 1, .pos = CHECK_TOKENS - 1, .n_parts = 1, .partial = -1};
    for (cl_int i = 0; i < CHECK_TOKENS; i++)
        tokens[i] = (struct ops_token){.pos = i, .block = table[i / BLOCK], .slot = i % BLOCK};
    const struct rows qkv = {&c->x, CHECK_INPUTS, 0}, q = {&c->q, CHECK_WIDTH, 0},
                      to = {&c->attended, CHECK_WIDTH, 0};
    return !ocl_write(c->o, &c->tokens, 0, tokens, sizeof tokens, NULL) &&
           !ocl_write(c->o, &c->tables, 0, table, sizeof table, NULL) &&
           !ocl_write(c->o, &c->job, 0, &job, sizeof job, NULL) &&
           !ops_rope_store(ops, qkv, CHECK_WIDTH, CHECK_WIDTH + CHECK_DIM, &c->tokens, &c->x, CHECK_DIM, q,
                           &c->kv, 0, CHECK_TOKENS, NULL) &&
           !ops_attention(ops, true, q, &c->kv, &c->tables, &c->job, to, &c->y, 0, 1, NULL) &&
           !ocl_read(c->o, &c->attended, (CHECK_TOKENS - 1) * CHECK_WIDTH * sizeof *out, out,
                     CHECK_WIDTH * sizeof *out, NULL) &&
           !ocl_finish(c->o, NULL);
}

static bool check_way(struct check *c, enum dot_path p, struct results *out)
{
    struct ops_shape shape = check_shape;
    shape.types = (uint64_t)1 << c->m.type;
    shape.precision = c->precision;
    shape.dot = p;
    struct ops ops;
    if (ops_create(c->o, &shape, -1, &ops, NULL))
        return false;
    static const uint32_t tiles[2] = {TILES_AMX, TILES_NO_AMX};
    const struct rows x = {&c->x, CHECK_INPUTS, 0}, y = {&c->y, CHECK_ROWS, 0};
    bool good = !ops_quantize(&ops, x, c->m.n_blocks, &c->xq, &c->factors, CHECK_TOKENS, NULL);
    for (unsigned i = 0; i < 2 && good; i++)
        good =
            !ops_matmul_coded(&ops, &c->m, &c->xq, &c->factors, y, CHECK_TOKENS, OPS_STORE, tiles[i], NULL) &&
            !ocl_read(c->o, &c->y, 0, out->y[i], sizeof out->y[i], NULL) && !ocl_finish(c->o, NULL);
    good = good && check_attention(c, &ops, out->attended);
    ops_destroy(&ops);
    return good;
}

static bool check_type(struct ocl *o, enum precision precision, enum dot_path p, enum quant_type type)
{
    static const size_t rows = CHECK_TOKENS + 3 + OPS_SPARE_ROWS;
    const struct quant_info *q = quant_info(type);
    uint8_t weights[CHECK_ROWS * CHECK_INPUTS / 32 * CHECK_BLOCK_MAX];
    float x[CHECK_TOKENS * CHECK_INPUTS];
    struct results plain, wide;
    struct check c = {.o = o, .precision = precision};
    struct rng r;
    rng_seed(&r, type);
    for (size_t i = 0; i < sizeof weights; i++)
        weights[i] = (uint8_t)rng_u64(&r);
    for (size_t i = 0; i < sizeof weights; i += q->block_bytes) { /* scales of moderate size */
        const uint16_t d = quant_f32_to_f16((float)rng_unit(&r) + 0.5f),
                       m = quant_f32_to_f16(-(float)rng_unit(&r));
        memcpy(weights + i, &d, sizeof d);
        if (type == QUANT_Q4_1 && i + 4 <= sizeof weights)
            memcpy(weights + i + 2, &m, sizeof m);
        if (i + 2 * q->block_bytes > sizeof weights)
            break;
    }
    for (size_t i = 0; i < CHECK_TOKENS * CHECK_INPUTS; i++)
        x[i] = i % 7 == 0 ? 1.0f : (float)(rng_unit(&r) * 2 - 1); /* with many largest codes */
    const struct gguf_tensor t = {.name_z = "self-check",
                                  .type = type,
                                  .n_dims = 2,
                                  .dim = {CHECK_INPUTS, CHECK_ROWS, 1, 1},
                                  .data = weights,
                                  .size = sizeof weights};
    const struct gguf_tensor *part = &t;
    struct ops_shape kv = check_shape;
    kv.precision = precision;
    const struct {
        struct ocl_buf *buf;
        size_t bytes;
    } buffers[] = {
        {&c.x, rows * CHECK_INPUTS * sizeof(float)},
        {&c.xq, rows * CHECK_INPUTS * ops_code_bytes(precision)},
        {&c.factors, rows * CHECK_INPUTS / 32 * 8},
        {&c.y, rows * CHECK_ROWS * sizeof(float)},
        {&c.q, rows * CHECK_WIDTH * sizeof(float)},
        {&c.kv, BLOCKS * ops_block_bytes(&kv)},
        {&c.tokens, CHECK_TOKENS * sizeof(struct ops_token)},
        {&c.tables, BLOCKS * sizeof(cl_int)},
        {&c.job, sizeof(struct ops_job)},
        {&c.attended, rows * CHECK_WIDTH * sizeof(float)},
    };
    bool good = !matrix_create(o, &part, 1, "self-check", &c.m, NULL);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        good = good && !ocl_buf_create(o, buffers[i].bytes, "self-check", buffers[i].buf, NULL);
    good = good && !ocl_write(o, &c.x, 0, x, sizeof x, NULL) && check_way(&c, DOT_PLAIN, &plain) &&
           check_way(&c, p, &wide) && memcmp(&plain, &wide, sizeof plain) == 0;
    ocl_finish(o, NULL);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        ocl_buf_free(o, buffers[i].buf);
    matrix_free(o, &c.m);
    return good;
}

bool dot_path_agrees(struct ocl *o, enum precision precision, enum dot_path p)
{
    static const enum quant_type quantised[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0};
    bool good = true;
    for (size_t i = 0; i < sizeof quantised / sizeof *quantised && good; i++)
        good = check_type(o, precision, p, quantised[i]);
    return good;
}
