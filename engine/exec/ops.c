#include "engine/exec/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define N_ARGS(a) ((unsigned)(sizeof(a) / sizeof *(a)))

/* A program for each weight type. */
static const struct {
    enum quant_type type;
    const char *define;
} weight_types[] = {
    {QUANT_Q4_0, "#define WT_Q4_0"}, {QUANT_Q4_1, "#define WT_Q4_1"}, {QUANT_Q8_0, "#define WT_Q8_0"},
    {QUANT_F16, "#define WT_F16"},   {QUANT_BF16, "#define WT_BF16"}, {QUANT_F32, "#define WT_F32"},
};

void ops_options(const struct ocl *o, struct program_spec *spec)
{
    snprintf(spec->options, sizeof spec->options, "-cl-std=CL1.2%s -DLWS=%u",
             o->correct_divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "", o->local_size);
}

/* A program and the kernels in it. */
static enum weft_rc open_program(struct ops *ops, const struct program_spec *spec, int cache_fd,
                                 struct program **out, struct weft_err *err)
{
    *out = &ops->programs[ops->n_programs];
    enum weft_rc rc = program_open(ops->o, spec, cache_fd, *out, err);
    if (!rc)
        ops->n_programs++;
    return rc;
}

/* Types whose weights are integers, so that they can meet int8 activations. */
static bool is_quantised(enum quant_type type)
{
    return type == QUANT_Q4_0 || type == QUANT_Q4_1 || type == QUANT_Q8_0;
}

/* Whether products with a type of weights take coded activations. */
static bool is_coded(const struct ops *ops, enum quant_type type)
{
    return ops->shape.precision == PRECISION_BF16 ||
           (ops->shape.precision == PRECISION_INT8 && is_quantised(type));
}

bool ops_takes_codes(const struct ops *ops, const struct matrix *m)
{
    return is_coded(ops, m->type);
}

size_t ops_code_bytes(enum precision p)
{
    static const size_t bytes[PRECISIONS] = {[PRECISION_INT8] = 1, [PRECISION_BF16] = 2};
    return bytes[p];
}

/* Appends parts to a program. */
static void add_parts(struct program_spec *spec, const char *const *parts)
{
    size_t n = 0;
    while (spec->parts[n])
        n++;
    while (*parts && n < PROGRAM_PARTS_MAX)
        spec->parts[n++] = *parts++;
}

/* The weights of a type, and products with them: one text of a tile for each size that matmul.cl knows. */
static void add_weight_parts(const struct ops *ops, size_t which, struct program_spec *spec)
{
    const char *weights[] = {weight_types[which].define, "weights.clh", "embed.cl", NULL};
    const char *const fp32_tiles[] = {"#define TB 1",
                                      "tile_f32.cl",
                                      "#undef TB\n#define TB 4",
                                      "tile_f32.cl",
                                      "#undef TB\n#define TB 2",
                                      "panel_f32.cl",
                                      "#undef TB\n#define TB 6",
                                      "panel_f32.cl",
                                      "#undef TB",
                                      "panel_f32.cl",
                                      "matmul.cl",
                                      NULL};
    const char *int8_tiles[] = {"#define INT8",
                                dot_path_define(ops->shape.dot),
                                "dot.clh",
                                "#define TB 1",
                                "tile_i8.cl",
                                "#undef TB\n#define TB 2",
                                "tile_i8.cl",
                                "#undef TB\n#define TB 4",
                                "tile_i8.cl",
                                "#undef TB\n#define TB 6",
                                "tile_i8.cl",
                                "#undef TB",
                                ops->shape.dot == DOT_AMX ? "amx.clh" : "#define NO_AMX",
                                ops->shape.dot == DOT_AMX ? "tile_amx.cl" : "#define NO_AMX",
                                "matmul.cl",
                                NULL};
    const char *bf16_tiles[] = {"#define BF16",
                                dot_path_define(ops->shape.dot),
                                "bf16.clh",
                                "weights_bf16.clh",
                                ops->shape.dot == DOT_AMX ? "amx.clh" : "#define NO_AMX",
                                "tile_bf16.cl",
                                "matmul.cl",
                                NULL};
    add_parts(spec, weights);
    add_parts(spec, !is_coded(ops, weight_types[which].type) ? fp32_tiles
                    : ops->shape.precision == PRECISION_BF16 ? bf16_tiles
                                                             : int8_tiles);
}

/* Everything else, for a model's heads. */
static void add_layer_parts(const struct ops *ops, struct program_spec *spec)
{
    static const char *const coding[PRECISIONS][4] = {
        [PRECISION_INT8] = {"quantize.cl", "code_rows.cl"},
        [PRECISION_BF16] = {"bf16.clh", "round.cl", "code_rows.cl"}};
    const struct ops_shape *s = &ops->shape;
    const bool codes = s->precision != PRECISION_FP32;
    const char *tile = codes ? "attention_codes.cl" : "attention_f32.cl";
    const char *const parts[] = {dot_path_define(s->dot),
                                 "bytes.clh",
                                 "attention.clh",
                                 "norm.cl",
                                 "rope.cl",
                                 "#define TQ 1",
                                 tile,
                                 "attention.cl",
                                 "#undef TQ\n#define TQ 4",
                                 tile,
                                 "attention.cl",
                                 "attention_merge.cl",
                                 NULL};
    const size_t n = strlen(spec->options);
    snprintf(spec->options + n, sizeof spec->options - n,
             " -DHEAD_DIM=%u -DGROUP=%u -DBLOCK_TOKENS=%u -DPART=%d%s", s->head_dim, s->n_head / s->n_head_kv,
             s->block_tokens, OPS_PART, codes ? " -DKV_CODES" : "");
    add_parts(spec, coding[s->precision]);
    add_parts(spec, parts);
}

/* The embedding's kernel and the product's. */
static enum weft_rc open_weight_program(struct ops *ops, size_t which, int cache_fd, struct weft_err *err)
{
    const enum quant_type type = weight_types[which].type;
    const char *function = is_coded(ops, type) ? "matmul_coded" : "matmul";
    struct program_spec spec = {.name = quant_info(type)->name, .parts = {"common.clh"}};
    ops_options(ops->o, &spec);
    add_weight_parts(ops, which, &spec);
    struct program *p;
    enum weft_rc rc = open_program(ops, &spec, cache_fd, &p, err);
    if (!rc)
        rc = program_kernel(p, "embed", "embed", &ops->embed[type], err);
    if (!rc)
        rc = program_kernel(p, function, function, &ops->matmul[type], err);
    return rc;
}

static enum weft_rc open_layer_program(struct ops *ops, int cache_fd, struct weft_err *err)
{
    struct program_spec spec = {.name = "layer", .parts = {"common.clh"}};
    ops_options(ops->o, &spec);
    add_layer_parts(ops, &spec);
    const struct {
        const char *function, *label;
        struct ocl_kernel *kernel;
    } kernels[] = {
        {"rmsnorm", "rmsnorm", &ops->rmsnorm},
        {"quantize", "quantize", &ops->quantize},
        {"rope_store", "rope_store", &ops->rope_store},
        {"attention_1", "attention (decode)", &ops->attention_decode},
        {"attention_4", "attention (prefill)", &ops->attention_prefill},
        {"attention_merge", "attention_merge", &ops->attention_merge},
    };
    struct program *p;
    enum weft_rc rc = open_program(ops, &spec, cache_fd, &p, err);
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels && !rc; i++)
        if (kernels[i].kernel != &ops->quantize || ops->shape.precision != PRECISION_FP32)
            rc = program_kernel(p, kernels[i].function, kernels[i].label, kernels[i].kernel, err);
    return rc;
}

/* Whether a crew may be used: on a CPU, whose work-groups are threads that go on running (kernels/crew.clh); with one text
 * for all layers; and not where each kernel's time is wanted. */
static bool may_have_crew(const struct ops *ops)
{
#if defined(__x86_64__)
    const struct ops_shape *s = &ops->shape;
    return strcmp(ops->o->info.type, "cpu") == 0 && ops->o->profile != EXEC_CL_PROFILE_KERNELS &&
           s->layer_type != QUANT_TYPE_LIMIT &&
           (s->precision == PRECISION_FP32 ||
            (is_coded(ops, s->layer_type) && s->head_dim % REPACK_INPUTS == 0));
#else
    (void)ops;
    return false; /* untried: the counters' order rests on locked instructions */
#endif
}

static enum weft_rc open_forward_program(struct ops *ops, int cache_fd, struct weft_err *err)
{
    static const char *const last[] = {"crew.clh", "forward.cl", NULL};
    struct program_spec spec = {.name = "forward", .parts = {"common.clh"}};
    struct program *p;
    size_t which = 0;
    while (weight_types[which].type != ops->shape.layer_type)
        which++;
    ops_options(ops->o, &spec);
    add_weight_parts(ops, which, &spec);
    add_layer_parts(ops, &spec);
    add_parts(&spec, last);
    enum weft_rc rc = open_program(ops, &spec, cache_fd, &p, err);
    return rc ? rc : program_kernel(p, "forward", "forward", &ops->forward, err);
}

/* Types that single launches are wanted for: those that the crew's launch doesn't cover, or all. */
static uint64_t single_types(const struct ops *ops)
{
    return ops->forward.kernel ? ops->shape.end_types & ~((uint64_t)1 << ops->shape.layer_type)
                               : ops->shape.types;
}

/* Programs for single launches that aren't open yet. */
static enum weft_rc open_singles(struct ops *ops, int cache_fd, struct weft_err *err)
{
    const uint64_t types = single_types(ops);
    enum weft_rc rc = WEFT_OK;
    if (!ops->forward.kernel && !ops->rmsnorm.kernel)
        rc = open_layer_program(ops, cache_fd, err);
    for (size_t i = 0; i < sizeof weight_types / sizeof *weight_types && !rc; i++)
        if (types >> weight_types[i].type & 1 && !ops->embed[weight_types[i].type].kernel)
            rc = open_weight_program(ops, i, cache_fd, err);
    return rc;
}

enum weft_rc ops_create(struct ocl *o, const struct ops_shape *shape, int cache_fd, struct ops *out,
                        struct weft_err *err)
{
    *out = (struct ops){.o = o, .shape = *shape};
    enum weft_rc rc = may_have_crew(out) ? open_forward_program(out, cache_fd, err) : WEFT_OK;
    if (!rc)
        rc = open_singles(out, cache_fd, err);
    if (rc)
        ops_destroy(out);
    return rc;
}

enum weft_rc ops_without_crew(struct ops *ops, int cache_fd, struct weft_err *err)
{
    program_kernel_free(&ops->forward);
    ops->forward = (struct ocl_kernel){0};
    return open_singles(ops, cache_fd, err);
}

void ops_keep(struct ops *ops, int cache_fd)
{
    for (unsigned i = 0; i < ops->n_programs; i++)
        program_keep(&ops->programs[i], cache_fd);
}

void ops_destroy(struct ops *ops)
{
    for (unsigned t = 0; t < QUANT_TYPE_LIMIT; t++) {
        program_kernel_free(&ops->embed[t]);
        program_kernel_free(&ops->matmul[t]);
    }
    struct ocl_kernel *others[] = {&ops->quantize,         &ops->rmsnorm,           &ops->rope_store,
                                   &ops->attention_decode, &ops->attention_prefill, &ops->attention_merge,
                                   &ops->forward};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        program_kernel_free(others[i]);
    for (unsigned i = 0; i < ops->n_programs; i++)
        program_close(&ops->programs[i]);
    *ops = (struct ops){0};
}

enum weft_rc ops_embed(struct ops *ops, const struct matrix *m, const struct ocl_buf *tokens, struct rows x,
                       uint32_t n_tokens, struct weft_err *err)
{
    const cl_int stride = (cl_int)x.stride, n_blocks = (cl_int)m->n_blocks;
    const struct ocl_arg args[] = {OCL_BUF(&m->weights), OCL_BUF(&m->scales), OCL_BUF(tokens),
                                   OCL_BUF(x.buf),       OCL_ARG(stride),     OCL_ARG(n_blocks)};
    return ocl_launch(ops->o, &ops->embed[m->type], m->n_blocks, n_tokens, args, N_ARGS(args), err);
}

/* Tokens a work-item takes: all of them on a CPU, where weights then come from memory once; as few as fill its tiles where
 * many work-items are wanted. */
static uint32_t chunk_of(const struct ops *ops, uint32_t n, uint32_t few)
{
    return ops->o->local_size == 1 && n ? n : few;
}

enum weft_rc ops_matmul(struct ops *ops, const struct matrix *m, struct rows x, struct rows y, uint32_t n,
                        enum ops_mode mode, uint32_t tiles, struct weft_err *err)
{
    const uint32_t chunk = chunk_of(ops, n, 24);
    const cl_int x_stride = (cl_int)x.stride, y_stride = (cl_int)y.stride, y_at = (cl_int)y.at;
    const cl_int n_groups = (cl_int)m->n_groups, n_blocks = (cl_int)m->n_blocks, how = (cl_int)mode;
    const cl_int n_tokens = (cl_int)n, tokens = (cl_int)chunk, bits = (cl_int)tiles;
    const struct ocl_arg args[] = {
        OCL_BUF(&m->weights), OCL_BUF(&m->scales), OCL_BUF(x.buf),    OCL_ARG(x_stride), OCL_BUF(y.buf),
        OCL_ARG(y_stride),    OCL_ARG(y_at),       OCL_ARG(n_groups), OCL_ARG(n_blocks), OCL_ARG(n_tokens),
        OCL_ARG(tokens),      OCL_ARG(how),        OCL_ARG(bits)};
    return ocl_launch(ops->o, &ops->matmul[m->type], (m->n_groups + 1) / 2, (n + chunk - 1) / chunk, args,
                      N_ARGS(args), err);
}

enum weft_rc ops_quantize(struct ops *ops, struct rows x, uint32_t n_blocks, const struct ocl_buf *codes,
                          const struct ocl_buf *factors, uint32_t n, struct weft_err *err)
{
    const cl_int stride = (cl_int)x.stride, blocks = (cl_int)n_blocks, n_rows = (cl_int)n;
    const struct ocl_arg args[] = {OCL_BUF(x.buf),   OCL_ARG(stride), OCL_BUF(codes),
                                   OCL_BUF(factors), OCL_ARG(blocks), OCL_ARG(n_rows)};
    return ocl_launch(ops->o, &ops->quantize, n, 1, args, N_ARGS(args), err);
}

enum weft_rc ops_matmul_coded(struct ops *ops, const struct matrix *m, const struct ocl_buf *codes,
                              const struct ocl_buf *factors, struct rows y, uint32_t n, enum ops_mode mode,
                              uint32_t tiles, struct weft_err *err)
{
    const uint32_t chunk = chunk_of(ops, n, 16); /* as codes' factors are laid out */
    const cl_int y_stride = (cl_int)y.stride, y_at = (cl_int)y.at, n_groups = (cl_int)m->n_groups;
    const cl_int n_blocks = (cl_int)m->n_blocks, how = (cl_int)mode;
    const cl_int n_tokens = (cl_int)n, tokens = (cl_int)chunk, bits = (cl_int)tiles;
    const struct ocl_arg args[] = {
        OCL_BUF(&m->weights), OCL_BUF(&m->scales), OCL_BUF(codes),    OCL_BUF(factors),  OCL_BUF(y.buf),
        OCL_ARG(y_stride),    OCL_ARG(y_at),       OCL_ARG(n_groups), OCL_ARG(n_blocks), OCL_ARG(n_tokens),
        OCL_ARG(tokens),      OCL_ARG(how),        OCL_ARG(bits)};
    return ocl_launch(ops->o, &ops->matmul[m->type], (m->n_groups + 1) / 2, (n + chunk - 1) / chunk, args,
                      N_ARGS(args), err);
}

enum weft_rc ops_rmsnorm(struct ops *ops, struct rows x, const struct ocl_buf *w, const struct ocl_buf *rows,
                         struct rows y, uint32_t n_values, float eps, uint32_t n, struct weft_err *err)
{
    const cl_int stride = (cl_int)x.stride, n_vectors = (cl_int)((n_values + 15) / 16),
                 use_rows = rows != NULL;
    const cl_int n_rows = (cl_int)n;
    const cl_float values = (cl_float)n_values;
    const struct ocl_buf *any = rows ? rows : x.buf;
    const struct ocl_arg args[] = {OCL_BUF(x.buf),    OCL_BUF(w),         OCL_BUF(any),    OCL_BUF(y.buf),
                                   OCL_ARG(stride),   OCL_ARG(n_vectors), OCL_ARG(values), OCL_ARG(eps),
                                   OCL_ARG(use_rows), OCL_ARG(n_rows)};
    return ocl_launch(ops->o, &ops->rmsnorm, n, 1, args, N_ARGS(args), err);
}

static uint32_t head_pad(const struct ops_shape *s)
{
    return round_up(s->head_dim, 16);
}

size_t ops_block_bytes(const struct ops_shape *s)
{
    /* As in kernels/attention.clh: a code a value, and a scale for each 32 or 16; planes of whole dwords. */
    const size_t pad = head_pad(s), scaled = s->head_dim % 32 == 0 ? 32 : 16;
    const size_t slot =
        s->precision == PRECISION_FP32 ? pad * sizeof(cl_float) : pad + pad / scaled * sizeof(cl_half);
    return 2 * (size_t)s->n_layer * s->n_head_kv * round_up((uint32_t)slot * s->block_tokens, 4);
}

size_t ops_partial_floats(const struct ops_shape *s)
{
    return (size_t)s->n_head * (head_pad(s) + 16);
}

enum weft_rc ops_rope_store(struct ops *ops, struct rows qkv, uint32_t k_at, uint32_t v_at,
                            const struct ocl_buf *tokens, const struct ocl_buf *table, uint32_t n_rot,
                            struct rows q, const struct ocl_buf *kv, uint32_t layer, uint32_t n_tokens,
                            struct weft_err *err)
{
    const struct ops_shape *s = &ops->shape;
    const cl_int qkv_stride = (cl_int)qkv.stride, k = (cl_int)k_at, v = (cl_int)v_at, rot = (cl_int)n_rot;
    const cl_int q_stride = (cl_int)q.stride, l = (cl_int)layer, n_layer = (cl_int)s->n_layer;
    const cl_int n_head = (cl_int)s->n_head, n_kv = (cl_int)s->n_head_kv;
    const cl_float scale = (cl_float)(1.0 / sqrt((double)s->head_dim));
    const struct ocl_arg args[] = {OCL_BUF(qkv.buf),  OCL_ARG(qkv_stride), OCL_ARG(k),    OCL_ARG(v),
                                   OCL_BUF(tokens),   OCL_BUF(table),      OCL_ARG(rot),  OCL_BUF(q.buf),
                                   OCL_ARG(q_stride), OCL_BUF(kv),         OCL_ARG(l),    OCL_ARG(n_layer),
                                   OCL_ARG(n_head),   OCL_ARG(n_kv),       OCL_ARG(scale)};
    return ocl_launch(ops->o, &ops->rope_store, s->n_head + 2 * s->n_head_kv, n_tokens, args, N_ARGS(args),
                      err);
}

enum weft_rc ops_attention(struct ops *ops, bool decode, struct rows q, const struct ocl_buf *kv,
                           const struct ocl_buf *tables, const struct ocl_buf *jobs, struct rows out,
                           const struct ocl_buf *partials, uint32_t layer, uint32_t n_jobs,
                           struct weft_err *err)
{
    const struct ops_shape *s = &ops->shape;
    const cl_int q_stride = (cl_int)q.stride, l = (cl_int)layer, n_layer = (cl_int)s->n_layer;
    const cl_int n_kv = (cl_int)s->n_head_kv;
    const struct ocl_arg args[] = {OCL_BUF(q.buf),   OCL_ARG(q_stride), OCL_BUF(kv),       OCL_BUF(tables),
                                   OCL_BUF(jobs),    OCL_BUF(out.buf),  OCL_BUF(partials), OCL_ARG(l),
                                   OCL_ARG(n_layer), OCL_ARG(n_kv)};
    return ocl_launch(ops->o, decode ? &ops->attention_decode : &ops->attention_prefill, s->n_head_kv, n_jobs,
                      args, N_ARGS(args), err);
}

enum weft_rc ops_attention_merge(struct ops *ops, const struct ocl_buf *partials, const struct ocl_buf *jobs,
                                 struct rows out, uint32_t n_jobs, struct weft_err *err)
{
    const cl_int stride = (cl_int)out.stride, n_head = (cl_int)ops->shape.n_head;
    const struct ocl_arg args[] = {OCL_BUF(partials), OCL_BUF(jobs), OCL_BUF(out.buf), OCL_ARG(stride),
                                   OCL_ARG(n_head)};
    return ocl_launch(ops->o, &ops->attention_merge, ops->shape.n_head, n_jobs, args, N_ARGS(args), err);
}

enum weft_rc ops_forward(struct ops *ops, const struct ocl_buf *table, const struct ocl_buf *counters,
                         const struct ocl_buf *x, uint32_t n_crew, const struct ops_counts *counts,
                         uint32_t tiles, struct weft_err *err)
{
    const cl_int crew = (cl_int)n_crew, tokens = (cl_int)counts->n_tokens, decode = (cl_int)counts->n_decode;
    const cl_int prefill = (cl_int)counts->n_prefill, merges = (cl_int)counts->n_merges,
                 rows = (cl_int)counts->n_rows, bits = (cl_int)tiles;
    const struct ocl_arg args[] = {OCL_BUF(table),  OCL_BUF(counters), OCL_BUF(x),       OCL_ARG(crew),
                                   OCL_ARG(tokens), OCL_ARG(decode),   OCL_ARG(prefill), OCL_ARG(merges),
                                   OCL_ARG(rows),   OCL_ARG(bits)};
    return ocl_launch(ops->o, &ops->forward, n_crew, 1, args, N_ARGS(args), err);
}

/* The kernels of weight types in `types`. */
static enum weft_rc prime_types(struct ops *ops, uint64_t types, const struct ocl_buf *any,
                                struct weft_err *err)
{
    const struct rows r = {any, 0, 0};
    enum weft_rc rc = WEFT_OK;
    for (unsigned t = 0; t < QUANT_TYPE_LIMIT && !rc; t++) {
        const struct matrix m = {.type = (enum quant_type)t, .weights = *any, .scales = *any};
        if (!(types >> t & 1))
            continue;
        rc = ops_embed(ops, &m, any, r, 0, err);
        if (!rc)
            rc = ops_takes_codes(ops, &m) ? ops_matmul_coded(ops, &m, any, any, r, 0, OPS_STORE, 0, err)
                                          : ops_matmul(ops, &m, r, r, 0, OPS_STORE, 0, err);
    }
    return rc;
}

/* The kernels that a layer is made of when it isn't one launch. */
static enum weft_rc prime_layer(struct ops *ops, const struct ocl_buf *any, struct weft_err *err)
{
    const struct rows r = {any, 0, 0};
    enum weft_rc rc = ops_rope_store(ops, r, 0, 0, any, any, 0, r, any, 0, 0, err);
    if (!rc)
        rc = ops_attention(ops, true, r, any, any, any, r, any, 0, 0, err);
    if (!rc)
        rc = ops_attention(ops, false, r, any, any, any, r, any, 0, 0, err);
    return rc ? rc : ops_attention_merge(ops, any, any, r, 0, err);
}

enum weft_rc ops_prime(struct ops *ops, const struct ocl_buf *any, struct weft_err *err)
{
    const struct rows r = {any, 0, 0};
    const struct ops_shape shape = ops->shape;
    const bool crew = ops->forward.kernel != NULL;
    const uint64_t types = single_types(ops);
    enum weft_rc rc = WEFT_OK;
    ops->o->priming = true;
    if (crew)
        rc = ops_forward(ops, any, any, any, 0, &(struct ops_counts){0}, 0, err);
    if (!rc)
        rc = prime_types(ops, types, any, err);
    ops->shape.n_head = ops->shape.n_head_kv = 0;
    if (!rc && ops->rmsnorm.kernel)
        rc = ops_rmsnorm(ops, r, any, NULL, r, 0, 1.0f, 0, err);
    if (!rc && ops->rmsnorm.kernel && shape.precision != PRECISION_FP32)
        rc = ops_quantize(ops, r, 0, any, any, 0, err);
    if (!rc && !crew)
        rc = prime_layer(ops, any, err);
    ops->shape = shape;
    ops->o->priming = false;
    return rc ? rc : ocl_finish(ops->o, err);
}
