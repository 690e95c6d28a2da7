/*
 * Activations in int8: each block of 32 values of a row is q × scale with q in -127 … 127, rounded to nearest, ties to
 * even. One work-item a (block, row), so a value's code depends on its own block of its own token only.
 *
 * xq: [row][block][8] dwords of four values; factors: [row][block] of (scale, scale × sum of q).
 */
KERNEL void quantize(__global const float *x, int x_stride, __global int *xq, __global float2 *factors,
                     int n_blocks)
{
    const int b = get_global_id(0);
    if (b >= n_blocks)
        return;
    const size_t row = get_global_id(1);
    const size_t block = row * n_blocks + b;
    x += row * x_stride + b * 32;
    const float16 v0 = vload16(0, x), v1 = vload16(1, x);
    const float top = max16(fmax(fabs(v0), fabs(v1)));
    const float16 inverse = (float16)(top > 0.0f ? 127.0f / top : 0.0f);
    const int16 q0 = convert_int16_rte(v0 * inverse), q1 = convert_int16_rte(v1 * inverse);
    const int16 pair = q0 + q1;
    const int8 p8 = pair.lo + pair.hi;
    const int4 p4 = p8.lo + p8.hi;
    vstore16(convert_char16(q0), 0, (__global char *)(xq + block * 8));
    vstore16(convert_char16(q1), 1, (__global char *)(xq + block * 8));
    const float scale = top / 127.0f;
    factors[block] = (float2)(scale, scale * (float)(p4.x + p4.y + p4.z + p4.w));
}
