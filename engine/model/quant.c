#include "engine/model/quant.h"

#include <assert.h>
#include <string.h>

/* Numbers without an entry are unused, or belonged to types since removed from the format (4, 5, 31-33, 36-38). */
static const struct quant_info types[QUANT_TYPE_LIMIT] = {
    [QUANT_F32] = {"F32", 1, 4, true},
    [QUANT_F16] = {"F16", 1, 2, true},
    [QUANT_Q4_0] = {"Q4_0", 32, 18, true},
    [QUANT_Q4_1] = {"Q4_1", 32, 20, true},
    [QUANT_Q5_0] = {"Q5_0", 32, 22, false},
    [QUANT_Q5_1] = {"Q5_1", 32, 24, false},
    [QUANT_Q8_0] = {"Q8_0", 32, 34, true},
    [QUANT_Q8_1] = {"Q8_1", 32, 36, false},
    [QUANT_Q2_K] = {"Q2_K", 256, 84, false},
    [QUANT_Q3_K] = {"Q3_K", 256, 110, false},
    [QUANT_Q4_K] = {"Q4_K", 256, 144, false},
    [QUANT_Q5_K] = {"Q5_K", 256, 176, false},
    [QUANT_Q6_K] = {"Q6_K", 256, 210, false},
    [QUANT_Q8_K] = {"Q8_K", 256, 292, false},
    [16] = {"IQ2_XXS", 256, 66, false},
    [17] = {"IQ2_XS", 256, 74, false},
    [18] = {"IQ3_XXS", 256, 98, false},
    [19] = {"IQ1_S", 256, 50, false},
    [20] = {"IQ4_NL", 32, 18, false},
    [21] = {"IQ3_S", 256, 110, false},
    [22] = {"IQ2_S", 256, 82, false},
    [23] = {"IQ4_XS", 256, 136, false},
    [24] = {"I8", 1, 1, false},
    [25] = {"I16", 1, 2, false},
    [26] = {"I32", 1, 4, false},
    [27] = {"I64", 1, 8, false},
    [28] = {"F64", 1, 8, false},
    [29] = {"IQ1_M", 256, 56, false},
    [QUANT_BF16] = {"BF16", 1, 2, true},
    [34] = {"TQ1_0", 256, 54, false},
    [35] = {"TQ2_0", 256, 66, false},
    [39] = {"MXFP4", 32, 17, false},
    [40] = {"NVFP4", 64, 36, false},
};

const struct quant_info *quant_info(uint32_t type)
{
    static const struct quant_info unknown = {NULL, 1, 0, false};
    return type < QUANT_TYPE_LIMIT && types[type].name ? &types[type] : &unknown;
}

static float bits_to_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t f32_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float quant_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exponent = h >> 10 & 0x1f, fraction = h & 0x3ff;
    if (exponent == 0x1f)
        return bits_to_f32(sign | 0x7f800000 | fraction << 13);
    if (exponent)
        return bits_to_f32(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    /* Subnormal: fraction x 2^-24, exact in float32. */
    float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

/* `value` >> `shift`, rounded to nearest, ties to even; 0 < shift < 32. */
static uint32_t shift_round_even(uint32_t value, unsigned shift)
{
    uint32_t half = 1u << (shift - 1);
    uint32_t rest = value & ((half << 1) - 1), quotient = value >> shift;
    return quotient + (rest > half || (rest == half && (quotient & 1)));
}

uint16_t quant_f32_to_f16(float f)
{
    uint32_t u = f32_to_bits(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); /* NaN stays NaN, made quiet */
    if (magnitude >= 0x47800000)
        return (uint16_t)(sign | 0x7c00); /* 2^16 and above: infinity */
    if (magnitude >= 0x38800000) /* 2^-14 and above: normal; a carry out of the fraction is right as it is */
        return (uint16_t)(sign | shift_round_even(magnitude - ((127 - 15) << 23), 13));
    if (magnitude < 0x33000000)
        return (uint16_t)sign; /* below 2^-25: half of the least subnormal */
    unsigned exponent = magnitude >> 23;
    uint32_t significand = (magnitude & 0x7fffff) | 0x800000;
    return (uint16_t)(sign | shift_round_even(significand, 126 - exponent));
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void dequantize_f32(const uint8_t *src, float *dst)
{
    *dst = bits_to_f32(load_u16(src) | (uint32_t)load_u16(src + 2) << 16);
}

static void dequantize_f16(const uint8_t *src, float *dst)
{
    *dst = quant_f16_to_f32(load_u16(src));
}

static void dequantize_bf16(const uint8_t *src, float *dst)
{
    *dst = quant_bf16_to_f32(load_u16(src));
}

static void dequantize_q4_0(const uint8_t *src, float *dst)
{
    float d = quant_f16_to_f32(load_u16(src));
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((src[2 + i] & 15) - 8);
        dst[i + 16] = d * (float)((src[2 + i] >> 4) - 8);
    }
}

static void dequantize_q4_1(const uint8_t *src, float *dst)
{
    float d = quant_f16_to_f32(load_u16(src)), m = quant_f16_to_f32(load_u16(src + 2));
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)(src[4 + i] & 15) + m;
        dst[i + 16] = d * (float)(src[4 + i] >> 4) + m;
    }
}

static void dequantize_q8_0(const uint8_t *src, float *dst)
{
    float d = quant_f16_to_f32(load_u16(src));
    for (int i = 0; i < 32; i++)
        dst[i] = d * (float)(int8_t)src[2 + i];
}

/* One block each. */
static void (*const dequantize_block[QUANT_TYPE_LIMIT])(const uint8_t *src, float *dst) = {
    [QUANT_F32] = dequantize_f32,   [QUANT_F16] = dequantize_f16,   [QUANT_BF16] = dequantize_bf16,
    [QUANT_Q4_0] = dequantize_q4_0, [QUANT_Q4_1] = dequantize_q4_1, [QUANT_Q8_0] = dequantize_q8_0,
};

void quant_dequantize(enum quant_type type, const void *src, float *dst, size_t n)
{
    const struct quant_info *info = quant_info(type);
    assert(info->supported && n % info->block_values == 0);
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i += info->block_values, p += info->block_bytes)
        dequantize_block[type](p, dst + i);
}
