/* Whole rows of activations as codes, by code_block of quantize.cl or round.cl. */

/* Blocks first … end-1 of row `row`; x is that row's. */
inline void code_row(__global const float *x, __global int *codes, __global float *factors, int n_blocks, size_t row,
                     int first, int end)
{
    for (int b = first; b < end; b++)
        code_block(vload16(0, x + b * 32), vload16(1, x + b * 32), codes, factors, row, n_blocks, b);
}

/* One work-item a row. */
KERNEL void quantize(__global const float *x, int x_stride, __global int *codes, __global float *factors,
                     int n_blocks, int n_rows)
{
    const int row = get_global_id(0);
    if (row < n_rows)
        code_row(x + (size_t)row * x_stride, codes, factors, n_blocks, row, 0, n_blocks);
}
