/*
 * What the device can do at most, for `weft bench`: float32 multiply-adds from registers, and reading.
 *
 * Sixteen independent chains hide the latency of a multiply-add; results are stored, so that nothing is left
 * out.
 */
KERNEL void peak_fma(__global float *out, int n, float a, float b)
{
    const int i = get_global_id(0);
    float16 v[16];

#pragma unroll
    for (int j = 0; j < 16; j++)
        v[j] = (float16)(i + j);
    for (int step = 0; step < n; step++) {

#pragma unroll
        for (int j = 0; j < 16; j++)
            v[j] = fma(v[j], (float16)(a), (float16)(b));
    }
    float16 sum = v[0];
    for (int j = 1; j < 16; j++)
        sum += v[j];
    vstore16(sum, i, out);
}

/* Each work-item sums n vectors of its own stretch. */
KERNEL void peak_read(__global const int16 *in, __global int *out, int n)
{
    const size_t i = get_global_id(0);
    in += i * n;
    int16 a = (int16)(0), b = (int16)(0), c = (int16)(0), d = (int16)(0);
    for (int j = 0; j < n; j += 4) {
        a ^= in[j];
        b ^= in[j + 1];
        c ^= in[j + 2];
        d ^= in[j + 3];
    }
    vstore16(a ^ b ^ c ^ d, i, out);
}
