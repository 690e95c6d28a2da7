/* Merges the parts of decoded tokens. job: token's row, first slot, parts. */
inline void merge_head(__global const float *partials, int4 job, __global float *out, int q_stride, int n_head,
                       int head)
{
    float16 total[HEAD_VECS];
    float total_max = 0.0f, total_sum = 0.0f;
    for (int part = 0; part < job.z; part++) {
        __global const float *from = partials + ((size_t)(job.y + part) * n_head + head) * PARTIAL;
        float16 acc[HEAD_VECS];
        for (int j = 0; j < HEAD_VECS; j++)
            acc[j] = vload16(j, from);
        if (part == 0) {
            total_max = from[HEAD_PAD];
            total_sum = from[HEAD_PAD + 1];
            for (int j = 0; j < HEAD_VECS; j++)
                total[j] = acc[j];
        } else {
            merge_row(&total_max, &total_sum, total, from[HEAD_PAD], from[HEAD_PAD + 1], acc);
        }
    }
    store_row(out + (size_t)job.x * q_stride + head * HEAD_DIM, total, total_sum);
}

/* One work-item a (query head, merge job). */
KERNEL void attention_merge(__global const float *partials, __global const int4 *jobs, __global float *out,
                            int q_stride, int n_head)
{
    const int head = get_global_id(0);
    if (head < n_head)
        merge_head(partials, jobs[get_global_id(1)], out, q_stride, n_head, head);
}
