/*
 * Root mean square normalisation: y[i] = x[i] / sqrt(mean(x²) + eps) × w.
 *
 * n_vectors: float16 a row; the padding behind the last value is zero in x and in w.
 */
inline void norm_row(__global const float *x, __global const float *w, __global float *y, int n_vectors,
                     float n_values, float eps)
{
    float16 squares = (float16)(0.0f);
    for (int j = 0; j < n_vectors; j++) {
        const float16 v = vload16(j, x);
        squares = fma(v, v, squares);
    }
    const float scale = 1.0f / sqrt(sum16(squares) / n_values + eps);
    for (int j = 0; j < n_vectors; j++)
        store16(vload16(j, x) * (float16)(scale)*vload16(j, w), y + j * 16);
}

/* One work-item a row. `rows` picks them (the tokens whose logits are wanted) when use_rows is set; else row i is i. */
KERNEL void rmsnorm(__global const float *x, __global const float *w, __global const int *rows,
                    __global float *y, int stride, int n_vectors, float n_values, float eps, int use_rows,
                    int n_rows)
{
    const int i = get_global_id(0);
    if (i < n_rows)
        norm_row(x + (size_t)(use_rows ? rows[i] : i) * stride, w, y + (size_t)i * stride, n_vectors, n_values,
                 eps);
}
