/* The device's own limits, measured with kernels/peaks.cl: what `weft bench` holds its figures against. */
#include "engine/base/clock.h"
#include "engine/exec/exec_cl_impl.h"

enum {
    ITEMS = 1024,      /* work-items: enough for any number of cores to share evenly */
    INT8_STEPS = 4096, /* of 12 vectors of 64 products each */
    BF16_STEPS = 1024, /* of 4 tiles each */
    FMA_STEPS = 4096,  /* of 16 vectors of 16 lanes each */
    READ_VECTORS =
        4096,   /* of 64 bytes, by each work-item: 256 MiB in all, beyond any cache of the second level */
    REPEATS = 5 /* the best counts: the limit, not the average of a shared machine */
};

/* Best time in seconds of a launch and its wait. */
static enum weft_rc best_time(struct ocl *o, const struct ocl_kernel *k, const struct ocl_arg *args,
                              unsigned n_args, double *best, struct weft_err *err)
{
    *best = 1e9;
    for (int i = 0; i <= REPEATS; i++) {
        const int64_t start = clock_now_us();
        enum weft_rc rc = ocl_launch(o, k, ITEMS, 1, args, n_args, err);
        if (!rc)
            rc = ocl_finish(o, err);
        if (rc)
            return rc;
        const double s = (double)(clock_now_us() - start) / 1e6;
        if (i > 0 && s < *best) /* the first also builds and touches memory */
            *best = s;
    }
    return WEFT_OK;
}

/* The peak of products by special instructions, in the precision that is used; 0 stays where there are none. */
static enum weft_rc measure_dot(struct exec_cl *x, const struct ocl_buf *sink, struct exec_cl_peaks *out,
                                struct weft_err *err)
{
    struct ocl *o = &x->device.ocl;
    struct program program = {0};
    struct ocl_kernel kernel = {0};
    const cl_int int8_steps = INT8_STEPS, bf16_steps = BF16_STEPS, value = 0x01020304;
    const struct {
        const char *kernel;
        const char *parts[2];
        struct ocl_arg args[3];
        unsigned n_args;
        double operations; /* of a work-item */
        double *to;
    } all[PRECISIONS] =
        {
            [PRECISION_INT8] = {"peak_int8",
                                {"dot.clh", "peak_int8.cl"},
                                {OCL_BUF(sink), OCL_ARG(int8_steps), OCL_ARG(value)},
                                3,
                                2.0 * 64 * 12 * INT8_STEPS,
                                &out->int8_gops},
            [PRECISION_BF16] = {"peak_bf16",
                                {"amx.clh", "peak_bf16.cl"},
                                {OCL_BUF(sink), OCL_ARG(bf16_steps)},
                                2,
                                2.0 * 16 * 16 * 32 * 4 * BF16_STEPS,
                                &out->bf16_gflops},
        },
      *peak = &all[x->shape.precision];
    double seconds = 0;
    if (x->shape.precision == PRECISION_FP32 || x->shape.dot == DOT_PLAIN)
        return WEFT_OK;
    struct program_spec spec = {
        .name = peak->kernel,
        .parts = {"common.clh", dot_path_define(x->shape.dot), peak->parts[0], peak->parts[1]}};
    ops_options(o, &spec);
    enum weft_rc rc = program_open(o, &spec, -1, &program, err);
    if (!rc)
        rc = program_kernel(&program, peak->kernel, peak->kernel, &kernel, err);
    if (!rc)
        rc = best_time(o, &kernel, peak->args, peak->n_args, &seconds, err);
    if (!rc)
        *peak->to = peak->operations * ITEMS / seconds / 1e9;
    program_kernel_free(&kernel);
    program_close(&program);
    return rc;
}

enum weft_rc exec_cl_peaks(struct exec *base, struct exec_cl_peaks *out, struct weft_err *err)
{
    struct exec_cl *x = (struct exec_cl *)base;
    struct ocl *o = &x->device.ocl;
    struct program program = {0};
    struct ocl_kernel fma = {0}, read = {0};
    struct ocl_buf sink = {0}, source = {0};
    const cl_int steps = FMA_STEPS, vectors = READ_VECTORS;
    const cl_float a = 0.5f, b = 1.0f;
    const struct ocl_arg fma_args[] = {OCL_BUF(&sink), OCL_ARG(steps), OCL_ARG(a), OCL_ARG(b)};
    const struct ocl_arg read_args[] = {OCL_BUF(&source), OCL_BUF(&sink), OCL_ARG(vectors)};
    double seconds = 0;
    *out = (struct exec_cl_peaks){0};

    struct program_spec spec = {.name = "peaks", .parts = {"common.clh", "peaks.cl"}};
    ops_options(o, &spec);
    enum weft_rc rc = program_open(o, &spec, -1, &program, err);
    if (!rc)
        rc = program_kernel(&program, "peak_fma", "peak_fma", &fma, err);
    if (!rc)
        rc = program_kernel(&program, "peak_read", "peak_read", &read, err);
    if (!rc)
        rc = ocl_buf_create(o, ITEMS * 64, "peaks", &sink, err);
    if (!rc)
        rc = ocl_buf_create(o, (size_t)ITEMS * READ_VECTORS * 64, "peaks", &source, err);
    if (!rc)
        rc = ocl_buf_zero(o, &source, err);
    if (!rc)
        rc = best_time(o, &fma, fma_args, 4, &seconds, err);
    if (!rc)
        out->fma_gflops = 2.0 * 16 * 16 * FMA_STEPS * ITEMS / seconds / 1e9;
    if (!rc)
        rc = best_time(o, &read, read_args, 3, &seconds, err);
    if (!rc)
        out->read_gbs = (double)source.bytes / seconds / 1e9;
    if (!rc)
        rc = measure_dot(x, &sink, out, err);
    ocl_profile_reset(o);
    ocl_buf_free(o, &source);
    ocl_buf_free(o, &sink);
    program_kernel_free(&read);
    program_kernel_free(&fma);
    program_close(&program);
    return rc;
}
