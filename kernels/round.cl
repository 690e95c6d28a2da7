/*
 * Activations in bfloat16, to nearest, ties to even, in the order that a tile register of AMX is loaded in:
 *
 *   codes: [16 rows][block][row][16] dwords, each a pair of inputs (bf16.clh)
 *
 * In precision bf16 this stands for quantize.cl, whose code_block has the same arguments; there are no factors.
 */
#define CODES_AT(row, n_blocks, block) (((((size_t)(row) / 16) * (n_blocks) + (block)) * 16 + (row) % 16) * 16)

/* Block `block` of a row's n_blocks. */
inline void code_block(float16 v0, float16 v1, __global int *codes, __global float *factors, size_t row, int n_blocks,
                       int block)
{
    *(__global uint16 *)(codes + CODES_AT(row, n_blocks, block)) = to_pairs(v0, v1);
}
