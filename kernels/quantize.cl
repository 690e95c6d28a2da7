/*
 * Activations in int8: each block of 32 values of a row is q × scale with q in -127 … 127, rounded to nearest, ties to
 * even. A value's code depends on its own block of its own token only.
 *
 * codes: [row][block][8] dwords of four values. factors: for each 16 rows and each block 16 scales, then 16 times
 * scale × sum of q: what a tile of tokens wants lies in two cache lines.
 */

/* Block `block` of a row's n_blocks. */
inline void code_block(float16 v0, float16 v1, __global int *codes, __global float *factors, size_t row, int n_blocks,
                       int block)
{
    codes += (row * n_blocks + block) * 8;
    factors += FACTORS_AT(row, n_blocks, block);
    const float top = max16(LARGER(fabs(v0), fabs(v1)));
    const float16 inverse = (float16)(top > 0.0f ? 127.0f / top : 0.0f);
    const int16 q0 = round16(v0 * inverse);
    const int16 q1 = round16(v1 * inverse);
    const int16 pair = q0 + q1;
    const int8 p8 = pair.lo + pair.hi;
    const int4 p4 = p8.lo + p8.hi;
    const float scale = top / 127.0f;
    vstore4(as_int4(convert_char16(q0)), 0, codes);
    vstore4(as_int4(convert_char16(q1)), 1, codes);
    factors[0] = scale;
    factors[16] = scale * (float)(p4.x + p4.y + p4.z + p4.w);
}
