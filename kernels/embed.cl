/* Token embeddings, gathered from the packed matrix that the output layer may share (weights.clh). */

/* Block b of x[token] = row tokens[token].x of W. */
inline void embed_block(__global const word_t *w, __global const ushort16 *scales, __global const int4 *tokens,
                        __global float *x, int x_stride, int n_blocks, int b, size_t token)
{
    const int row = tokens[token].x;
    const size_t block = (size_t)(row / 16) * n_blocks + b;
    const struct scales s = block_scales(scales + block * BLOCK_SCALES);
    float lanes[16];
    for (int k = 0; k < 32; k++) {
        vstore16(weight(w + block * BLOCK_WORDS, s, k), 0, lanes);
        x[token * x_stride + b * 32 + k] = lanes[row % 16];
    }
}

/* One work-item a token and block of 32 inputs. */
KERNEL void embed(__global const word_t *w, __global const ushort16 *scales, __global const int4 *tokens,
                  __global float *x, int x_stride, int n_blocks)
{
    const int b = get_global_id(0);
    if (b < n_blocks)
        embed_block(w, scales, tokens, x, x_stride, n_blocks, b, get_global_id(1));
}
