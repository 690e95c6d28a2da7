/* The most operations a second of the tile instruction for bfloat16, from registers (amx.clh, tile_bf16.cl). */
AMX_FUNCTION void peak_bf16_item(__global float *out, int n)
{
    const struct tile_config config = {.palette = 1,
                                       .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                       .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    float16 sums[16];
    amx_configure(&config);
    __builtin_ia32_tilezero(0);
    __builtin_ia32_tilezero(1);
    __builtin_ia32_tilezero(2);
    __builtin_ia32_tilezero(3);
    __builtin_ia32_tilezero(4);
    __builtin_ia32_tilezero(5);
    for (int step = 0; step < n; step++) {
        __builtin_ia32_tdpbf16ps(0, 4, 5);
        __builtin_ia32_tdpbf16ps(1, 4, 5);
        __builtin_ia32_tdpbf16ps(2, 4, 5);
        __builtin_ia32_tdpbf16ps(3, 4, 5);
    }
    __builtin_ia32_tilestored64(0, (__private void *)sums, 64);
    amx_end();
    vstore16(sums[0], 0, out);
}

KERNEL void peak_bf16(__global float *out, int n)
{
    const int i = get_global_id(0);
    peak_bf16_item(out + i * 16, n);
}
