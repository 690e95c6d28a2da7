/*
 * The most int8 products a second, from registers, by the way that dot.clh was compiled for. The weights change with
 * every step, or the products could be taken out of the loop.
 */
DOT_FUNCTION void peak_int8_item(__global int *out, int n, int x)
{
    int16 w = (int16)(x);
    dot_t sums[12];
    UNROLL for (int j = 0; j < 12; j++) sums[j] = DOT_ZERO;
    for (int step = 0; step < n; step++) {
        w ^= (int16)(step);
        UNROLL for (int j = 0; j < 12; j++) DOT_ADD(sums[j], w, x + j);
    }
    int16 all = DOT_INT(sums[0]);
    for (int j = 1; j < 12; j++)
        all += DOT_INT(sums[j]);
    vstore16(all, 0, out);
}

KERNEL void peak_int8(__global int *out, int n, int x)
{
    const int i = get_global_id(0);
    peak_int8_item(out + i * 16, n, x);
}
