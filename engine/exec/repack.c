#include "engine/exec/repack.h"

#include <math.h>
#include <string.h>

enum { ROWS = REPACK_ROWS, INPUTS = REPACK_INPUTS };

/* An element of a 16-bit type is finite unless its exponent is all ones. */
static bool finite16(const uint8_t *p, uint16_t exponent)
{
    uint16_t h = (uint16_t)(p[0] | p[1] << 8);
    return (h & exponent) != exponent;
}

enum { EXPONENT_F16 = 0x7c00, EXPONENT_BF16 = 0x7f80 };

static bool finite32(const uint8_t *p)
{
    float f;
    memcpy(&f, p, sizeof f);
    return isfinite(f);
}

/* Copies the quants of one row's block to its lane: `words` dwords, each to its own vector of 16 lanes. */
static void lane_words(uint8_t *dst, const uint8_t *src, unsigned words, unsigned lane)
{
    for (unsigned j = 0; j < words; j++)
        memcpy(dst + (j * ROWS + lane) * 4, src + j * 4, 4);
}

/* One block of one row into its lane; false when something isn't finite. */
typedef bool pack_fn(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales);

static bool pack_q4_0(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    memcpy(scales + lane * 2, src, 2);
    lane_words(weights, src + 2, 4, lane);
    return finite16(src, EXPONENT_F16);
}

static bool pack_q4_1(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    memcpy(scales + lane * 2, src, 2);
    memcpy(scales + (ROWS + lane) * 2, src + 2, 2);
    lane_words(weights, src + 4, 4, lane);
    return finite16(src, EXPONENT_F16) && finite16(src + 2, EXPONENT_F16);
}

static bool pack_q8_0(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    uint8_t q[INPUTS];
    for (unsigned k = 0; k < INPUTS; k++)
        q[k] = src[2 + k] ^ 0x80; /* signed q → q + 128 */
    memcpy(scales + lane * 2, src, 2);
    lane_words(weights, q, INPUTS / 4, lane);
    return finite16(src, EXPONENT_F16);
}

static bool pack_16(const uint8_t *src, unsigned lane, uint8_t *weights, uint16_t exponent)
{
    bool finite = true;
    for (unsigned k = 0; k < INPUTS; k++) {
        memcpy(weights + (k * ROWS + lane) * 2, src + k * 2, 2);
        finite = finite && finite16(src + k * 2, exponent);
    }
    return finite;
}

static bool pack_f16(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    (void)scales;
    return pack_16(src, lane, weights, EXPONENT_F16);
}

static bool pack_bf16(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    (void)scales;
    return pack_16(src, lane, weights, EXPONENT_BF16);
}

static bool pack_f32(const uint8_t *src, unsigned lane, uint8_t *weights, uint8_t *scales)
{
    (void)scales;
    bool finite = true;
    for (unsigned k = 0; k < INPUTS; k++) {
        memcpy(weights + (k * ROWS + lane) * 4, src + k * 4, 4);
        finite = finite && finite32(src + k * 4);
    }
    return finite;
}

/* Per weight type: packed bytes a block of 16 rows, the file's bytes for 32 inputs of a row. */
static const struct {
    struct repack_size size;
    size_t src_bytes;
    pack_fn *pack;
} packers[QUANT_TYPE_LIMIT] = {
    [QUANT_Q4_0] = {{16 * ROWS, 2 * ROWS}, 18, pack_q4_0},
    [QUANT_Q4_1] = {{16 * ROWS, 4 * ROWS}, 20, pack_q4_1},
    [QUANT_Q8_0] = {{32 * ROWS, 2 * ROWS}, 34, pack_q8_0},
    [QUANT_F16] = {{64 * ROWS, 0}, 64, pack_f16},
    [QUANT_BF16] = {{64 * ROWS, 0}, 64, pack_bf16},
    [QUANT_F32] = {{128 * ROWS, 0}, 128, pack_f32},
};

bool repack_size(enum quant_type type, struct repack_size *out)
{
    if ((unsigned)type >= QUANT_TYPE_LIMIT || !packers[type].pack)
        return false;
    *out = packers[type].size;
    return true;
}

size_t repack_row_bytes(const struct gguf_tensor *t)
{
    const struct quant_info *q = quant_info(t->type);
    return (size_t)(t->dim[0] / q->block_values * q->block_bytes);
}

int64_t repack_group(const struct gguf_tensor *t, uint32_t group, const uint8_t *rows, void *weights,
                     void *scales)
{
    const struct repack_size size = packers[t->type].size;
    const size_t src_bytes = packers[t->type].src_bytes, row_bytes = repack_row_bytes(t);
    const uint64_t n_blocks = (t->dim[0] + INPUTS - 1) / INPUTS;
    int64_t bad = -1;
    uint64_t first = (uint64_t)group * ROWS;
    if (t->dim[1] - first < ROWS || t->dim[0] % INPUTS) { /* there is padding */
        memset(weights, 0, n_blocks * size.weights);
        if (size.scales)
            memset(scales, 0, n_blocks * size.scales);
    }
    for (unsigned lane = 0; lane < ROWS && first + lane < t->dim[1]; lane++) {
        const uint8_t *row = rows + lane * row_bytes;
        for (uint64_t b = 0; b < n_blocks; b++) {
            const uint8_t *src = row + b * src_bytes;
            uint8_t tail[INPUTS * 4];
            size_t left = row_bytes - b * src_bytes;
            if (left < src_bytes) { /* the last block of a row that ends inside it */
                memset(tail, 0, sizeof tail);
                memcpy(tail, src, left);
                src = tail;
            }
            bool finite = packers[t->type].pack(src, lane, (uint8_t *)weights + b * size.weights,
                                                (uint8_t *)scales + b * size.scales);
            if (!finite && bad < 0)
                bad = (int64_t)(first + lane);
        }
    }
    return bad;
}
