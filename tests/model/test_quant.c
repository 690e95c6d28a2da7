/*
 * Weight types: exact values. The tables were made by another implementation (the gguf package for Python:
 * quantize, then dequantize), with codes of the second block drawn at random so that all of them appear.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/model/quant.h"

#define N_OF(a) (sizeof(a) / sizeof *(a))

static const uint8_t q4_0[] = {0x28, 0x2c, 0x84, 0x32, 0x57, 0x6a, 0x5d, 0xb9, 0x85, 0x54, 0xab, 0xcf,
                               0x09, 0x72, 0x34, 0x7f, 0x29, 0x80, 0x44, 0xbd, 0xa7, 0x1b, 0x29, 0xb1,
                               0xd7, 0xa2, 0xee, 0x60, 0x54, 0xcc, 0x0a, 0x31, 0x31, 0x63, 0x28, 0xcc};
static const float q4_0_values[] = {
    -0x1.0ap-2f, -0x1.8fp-2f,  -0x1.0ap-4f, 0x1.0ap-3f,  0x1.4c8p-2f,  0x1.0ap-4f,  -0x1.8fp-3f, -0x1.0ap-2f,
    0x1.8fp-3f,  0x1.d18p-2f,  0x1.0ap-4f,  -0x1.8fp-2f, -0x1.0ap-2f,  0x1.d18p-2f, 0x1.0ap-4f,  -0x1.0ap-1f,
    0x0p0f,      -0x1.4c8p-2f, -0x1.8fp-3f, -0x1.0ap-3f, -0x1.8fp-3f,  0x1.8fp-3f,  0x0p0f,      -0x1.8fp-3f,
    0x1.0ap-3f,  0x1.0ap-2f,   -0x1.0ap-1f, -0x1.0ap-4f, -0x1.4c8p-2f, -0x1.0ap-4f, -0x1.8fp-2f, 0x0p0f,
    0x1.51p0f,   -0x1.f98p1f,  -0x1.51p0f,  0x1.26ep3f,  0x1.51p0f,    0x1.f98p2f,  -0x1.f98p2f, 0x1.51p3f,
    0x1.51p2f,   -0x1.51p2f,   -0x1.51p1f,  0x1.26ep3f,  0x1.26ep3f,   0x1.a54p2f,  -0x0p0f,     -0x1.51p2f,
    -0x1.51p1f,  0x1.26ep3f,   0x1.f98p2f,  -0x1.f98p1f, -0x1.a54p2f,  -0x1.51p1f,  -0x1.f98p2f, 0x1.51p1f,
    0x1.f98p1f,  -0x1.51p2f,   0x1.51p3f,   0x1.a54p2f,  0x1.a54p2f,   0x1.51p1f,   0x1.f98p2f,  -0x1.51p2f};

static const uint8_t q4_1[] = {0x11, 0x2c, 0x68, 0xb8, 0x99, 0x75, 0x8d, 0xf3, 0x63, 0x33,
                               0x0d, 0x87, 0x74, 0xa3, 0x6b, 0x64, 0x53, 0x6c, 0x93, 0x77,
                               0x73, 0x2c, 0x91, 0xb7, 0x31, 0x99, 0x24, 0xe2, 0xc8, 0x59,
                               0x66, 0x5d, 0xbc, 0x6a, 0x49, 0xae, 0x23, 0xc9, 0x6d, 0xf0};
static const float q4_1_values[] = {
    0x1.59p-6f,   -0x1.dd6p-3f, 0x1.19dp-2f,  -0x1.70dp-2f, -0x1.70dp-2f, -0x1.70dp-2f, 0x1.19dp-2f,
    -0x1.b24p-4f, -0x1.2fcp-2f, -0x1.70dp-2f, 0x1.2f6p-3f,  -0x1.2fcp-2f, -0x1.70dp-2f, 0x1.b18p-3f,
    -0x1.70dp-2f, -0x1.b24p-4f, 0x1.59p-6f,   -0x1.b24p-4f, -0x1.5cp-5f,  0x1.9bfp-2f,  -0x1.5b4p-3f,
    -0x1.70dp-2f, -0x1.1ap-1f,  -0x1.5cp-5f,  -0x1.b24p-4f, 0x1.5a8p-4f,  -0x1.5b4p-3f, -0x1.5b4p-3f,
    -0x1.dd6p-3f, -0x1.5b4p-3f, 0x1.59p-6f,   -0x1.b24p-4f, -0x1.9d1p-2f, 0x1.38ep-3f,  -0x1.8fp-3f,
    -0x1.55ep-2f, 0x1.55p-4f,   0x1.38ep-3f,  -0x1.c9p-5f,  0x1.b93p-2f,  0x1.72p-2f,   0x1.c74p-3f,
    0x1.38ep-3f,  0x1.003p-1f,  -0x1.0ebp-2f, 0x1.38ep-3f,  0x1.b93p-2f,  -0x1.e44p-2f, -0x1.0ebp-2f,
    0x1.38ep-3f,  -0x1.55ep-2f, 0x1.003p-1f,  0x1.72p-2f,   -0x1.00ap-3f, -0x1.c9p-5f,  -0x1.00ap-3f,
    0x1.2adp-2f,  -0x1.c9p-5f,  -0x1.8fp-3f,  0x1.c74p-3f,  -0x1.55ep-2f, 0x1.72p-2f,   -0x1.c9p-5f,
    0x1.23c8p-1f};

static const uint8_t q8_0[] = {
    0xc8, 0x1d, 0x01, 0xb2, 0x67, 0x3a, 0xc8, 0x49, 0x02, 0xa0, 0xea, 0xe5, 0x55, 0xd6, 0xf3, 0xf1, 0xec,
    0xcf, 0x0c, 0x39, 0x21, 0xcf, 0xc3, 0x06, 0xda, 0xdf, 0xa7, 0x68, 0x31, 0xcc, 0x30, 0x47, 0x81, 0xe3,
    0x33, 0x2c, 0x11, 0xfb, 0x7c, 0xe3, 0xc1, 0x3e, 0x4d, 0x9c, 0xd7, 0xeb, 0x7c, 0x1a, 0xfe, 0xda, 0xb6,
    0x65, 0x22, 0xc8, 0x34, 0x52, 0xdd, 0xa0, 0x4c, 0x81, 0x9c, 0x1a, 0x46, 0xc2, 0xa0, 0xd2, 0xbc, 0x7b};
static const float q8_0_values[] = {
    0x1.72p-8f,   -0x1.c2fp-2f,  0x1.29bcp-1f,  0x1.4f5p-2f,   -0x1.43cp-2f, 0x1.a608p-2f,  0x1.72p-7f,
    -0x1.158p-1f, -0x1.fccp-4f,  -0x1.383p-3f,  0x1.eb68p-2f,  -0x1.e5ap-3f, -0x1.2cap-4f,  -0x1.5aep-4f,
    -0x1.ce8p-4f, -0x1.1b48p-2f, 0x1.158p-4f,   0x1.4988p-2f,  0x1.7d9p-3f,  -0x1.1b48p-2f, -0x1.60a8p-2f,
    0x1.158p-5f,  -0x1.b76p-3f,  -0x1.7d9p-3f,  -0x1.0144p-1f, 0x1.2cap-1f,  0x1.1b48p-2f,  -0x1.2cap-2f,
    0x1.158p-2f,  0x1.9a78p-2f,  -0x1.6f1cp-1f, -0x1.4f5p-3f,  0x1.1d8cp0f,  -0x1.4ffp-2f,  0x1.045ap3f,
    -0x1.e71cp0f, -0x1.088dp2f,  0x1.045ap2f,   0x1.4357p2f,   -0x1.a3ecp2f, -0x1.5856p1f,  -0x1.60bcp0f,
    0x1.045ap3f,  0x1.b4b8p0f,   -0x1.0ccp-3f,  -0x1.3f24p1f,  -0x1.36bep2f, 0x1.a81fp2f,   0x1.1d8cp1f,
    -0x1.d65p1f,  0x1.b4b8p1f,   0x1.5856p2f,   -0x1.25f2p1f,  -0x1.932p2f,  0x1.3f24p2f,   -0x1.0aa68p3f,
    -0x1.a3ecp2f, 0x1.b4b8p0f,   0x1.25f2p2f,   -0x1.045ap2f,  -0x1.932p2f,  -0x1.8254p1f,  -0x1.1d8cp2f,
    0x1.02408p3f};

static const uint8_t f32[] = {0x00, 0x00, 0xc0, 0x3f, 0xab, 0xaa, 0xaa, 0xbe};
static const float f32_values[] = {1.5f, -0x1.555556p-2f};

static const uint8_t f16[] = {0x00, 0x00, 0x01, 0x00, 0xff, 0x83, 0x00,
                              0x04, 0x00, 0xbc, 0x55, 0x35, 0xff, 0x7b};
static const float f16_values[] = {0, 0x1p-24f, -0x1.ff8p-15f, 0x1p-14f, -1, 0x1.554p-2f, 0x1.ffcp15f};

static const uint8_t bf16[] = {0xc0, 0x3f, 0xab, 0xbe, 0x80, 0x00, 0x01, 0x00};
static const float bf16_values[] = {1.5f, -0x1.56p-2f, 0x1p-126f, 0x1p-133f};

static const struct known {
    const char *name;
    enum quant_type type;
    const uint8_t *bytes;
    size_t n_bytes;
    const float *values;
    size_t n;
} known[] = {
#define KNOWN(type, t)                                                                                       \
    {                                                                                                        \
#type, QUANT_##type, t, sizeof t, t##_values, N_OF(t##_values)                                       \
    }
    KNOWN(F32, f32),   KNOWN(F16, f16),   KNOWN(BF16, bf16),
    KNOWN(Q4_0, q4_0), KNOWN(Q4_1, q4_1), KNOWN(Q8_0, q8_0),
#undef KNOWN
};

static void values_are_exact(void **state)
{
    const struct known *k = *state;
    const struct quant_info *info = quant_info(k->type);
    assert_string_equal(info->name, k->name);
    assert_true(info->supported);
    assert_int_equal(k->n_bytes, k->n / info->block_values * info->block_bytes);
    /* From an odd address, from a block of exactly the size. */
    uint8_t *bytes = malloc(k->n_bytes + 1);
    float out[65];
    assert_non_null(bytes);
    memcpy(bytes + 1, k->bytes, k->n_bytes);
    assert_true(k->n < N_OF(out));
    out[k->n] = 99;
    quant_dequantize(k->type, bytes + 1, out, k->n);
    for (size_t i = 0; i < k->n; i++)
        if (memcmp(&out[i], &k->values[i], sizeof out[i]) != 0)
            fail_msg("%s[%zu]: %a, should be %a", k->name, i, (double)out[i], (double)k->values[i]);
    assert_true(out[k->n] == 99); /* nothing is written beyond n */
    quant_dequantize(k->type, bytes + 1, out, 0);
    free(bytes);
}

static void types_have_the_formats_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        const char *name;
        uint32_t values, bytes;
    } sizes[] = {
        {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},     {3, "Q4_1", 32, 20},
        {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},     {10, "Q2_K", 256, 84},
        {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},  {14, "Q6_K", 256, 210},
        {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74}, {18, "IQ3_XXS", 256, 98},
        {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110}, {22, "IQ2_S", 256, 82},
        {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},       {26, "I32", 1, 4},
        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},  {30, "BF16", 1, 2},
        {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17}};
    for (size_t i = 0; i < N_OF(sizes); i++) {
        const struct quant_info *info = quant_info(sizes[i].type);
        assert_string_equal(info->name, sizes[i].name);
        assert_int_equal(info->block_values, sizes[i].values);
        assert_int_equal(info->block_bytes, sizes[i].bytes);
    }
    static const uint32_t none[] = {4, 5, 31, 32, 33, 36, 37, 38, 63, 64, 1000, UINT32_MAX};
    for (size_t i = 0; i < N_OF(none); i++) {
        assert_null(quant_info(none[i])->name);
        assert_false(quant_info(none[i])->supported);
    }
}

/* sign, exponent, fraction as IEEE 754 defines them. */
static float half_by_definition(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float v = exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void every_finite_half_goes_there_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        if ((h >> 10 & 31) == 31)
            continue;
        float f = quant_f16_to_f32((uint16_t)h), expected = half_by_definition((uint16_t)h);
        assert_memory_equal(&f, &expected, sizeof f);
        assert_int_equal(quant_f32_to_f16(f), h);
    }
    assert_true(quant_f16_to_f32(0x7c00) == INFINITY && quant_f16_to_f32(0xfc00) == -INFINITY);
    assert_true(isnan(quant_f16_to_f32(0x7e01)) && isnan(quant_f16_to_f32(0x7c01)));
    assert_true(isnan(quant_f16_to_f32(quant_f32_to_f16(NAN))));
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float f;
        uint16_t h;
    } cases[] = {{0x1.99999ap-4f, 0x2e66}, {0x1.555556p-2f, 0x3555},
                 {-0x1.5bf0a8p1f, 0xc170}, {0x1.ffdffep15f, 0x7bff},
                 {0x1.ffep15f, 0x7c00},    {0x1.ffcp15f, 0x7bff},
                 {0x1.ffb48p-15f, 0x3ff},  {0x1p-14f, 0x400},
                 {0x1p-24f, 0x1},          {0x1p-25f, 0},
                 {0x1.000002p-25f, 0x1},   {0x1.8p-24f, 0x2},
                 {0x1.4484c0p-100f, 0},    {0x1.002p11f, 0x6800},
                 {0x1.006p11f, 0x6802},    {0x1.ffep10f, 0x6800},
                 {0x1.2a05f2p33f, 0x7c00}, {-0x1.2a05f2p33f, 0xfc00},
                 {0x1.ff8p-15f, 0x3ff},    {0x1.fffff8p-15f, 0x400},
                 {-0x1p-30f, 0x8000},      {INFINITY, 0x7c00},
                 {-INFINITY, 0xfc00}};
    for (size_t i = 0; i < N_OF(cases); i++)
        assert_int_equal(quant_f32_to_f16(cases[i].f), cases[i].h);
    /* And no half is nearer than the one chosen. */
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 20000; i++) {
        float f = ldexpf((float)(rng_unit(&r) * 2 - 1), (int)rng_below(&r, 40) - 25);
        uint16_t h = quant_f32_to_f16(f);
        if ((h & 0x7fff) >= 0x7bff || (h & 0x7fff) == 0)
            continue;
        float error = fabsf(half_by_definition(h) - f);
        assert_true(error <= fabsf(half_by_definition((uint16_t)(h + 1)) - f));
        assert_true(error <= fabsf(half_by_definition((uint16_t)(h - 1)) - f));
    }
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(types_have_the_formats_sizes),
        cmocka_unit_test(every_finite_half_goes_there_and_back),
        cmocka_unit_test(halves_round_to_nearest_even),
    };
    struct CMUnitTest values[N_OF(known)];
    for (size_t i = 0; i < N_OF(known); i++)
        values[i] = (struct CMUnitTest){known[i].name, values_are_exact, NULL, NULL, (void *)&known[i]};
    int failed = cmocka_run_group_tests_name("types", others, NULL, NULL);
    return failed + cmocka_run_group_tests_name("values", values, NULL, NULL);
}
