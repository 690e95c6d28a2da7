/*
 * Activations in bfloat16, to nearest, ties to even, in the order that a tile register of AMX is loaded in:
 *
 *   codes: [16 rows][block][row][16] dwords, each a pair of inputs (bf16.clh)
 *
 * In precision bf16 this stands for quantize.cl, whose functions have the same names and arguments; there are no factors.
 */
#define CODES_AT(row, n_blocks, block) (((((size_t)(row) / 16) * (n_blocks) + (block)) * 16 + (row) % 16) * 16)

/* Block `block` of a row's n_blocks. */
inline void code_block(float16 v0, float16 v1, __global int *codes, __global float *factors, size_t row, int n_blocks,
                       int block)
{
    *(__global uint16 *)(codes + CODES_AT(row, n_blocks, block)) = to_pairs(v0, v1);
}

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
