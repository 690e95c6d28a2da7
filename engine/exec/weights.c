#include "engine/exec/weights.h"

#include <math.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/parallel.h"

static uint64_t layer_types(const struct model *m)
{
    uint64_t types = 0;
    for (uint32_t i = 0; i < m->shape.n_layer; i++) {
        const struct model_layer *l = &m->layers[i];
        const struct gguf_tensor *all[] = {l->attn_q,   l->attn_k, l->attn_v,  l->attn_output,
                                           l->ffn_gate, l->ffn_up, l->ffn_down};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++)
            types |= (uint64_t)1 << all[t]->type;
    }
    return types;
}

uint64_t weights_end_types(const struct model *m)
{
    return (uint64_t)1 << m->token_embd->type | (uint64_t)1 << m->output->type;
}

uint64_t weights_types(const struct model *m)
{
    return layer_types(m) | weights_end_types(m);
}

enum quant_type weights_layer_type(const struct model *m)
{
    const uint64_t types = layer_types(m);
    for (unsigned t = 0; t < QUANT_TYPE_LIMIT; t++)
        if (types == (uint64_t)1 << t)
            return (enum quant_type)t;
    return QUANT_TYPE_LIMIT;
}

/* What loading needs at every turn. */
struct loading {
    struct ocl *o;
    const struct model *m;
    unsigned n_threads;
    struct weft_err *err;
};

/* A float32 vector, padded with zeros to whole float16 vectors. */
static enum weft_rc load_norm(const struct loading *l, const struct gguf_tensor *t, struct ocl_buf *out)
{
    const size_t n = (size_t)t->dim[0], bytes = (size_t)round_up((uint32_t)n, REPACK_INPUTS) * sizeof(float);
    void *p = NULL;
    uint8_t *read = mem_alloc((size_t)t->size);
    enum weft_rc rc = read ? gguf_read(l->m->file, t, 0, (size_t)t->size, read, l->err)
                           : weft_err_nomem(l->err, t->name_z, (size_t)t->size);
    if (!rc)
        rc = ocl_buf_create(l->o, bytes, t->name_z, out, l->err);
    if (!rc)
        rc = ocl_map(l->o, out, true, 0, bytes, &p, l->err);
    if (!rc) {
        memset(p, 0, bytes);
        quant_dequantize(t->type, read, p, n);
        rc = ocl_unmap(l->o, out, p, l->err);
    }
    mem_free(read);
    return rc;
}

/* ---- rotary angles ---- */

struct angles {
    double *frequency; /* of each pair */
    uint32_t pairs, n_ctx;
    float *to;
};

enum { POSITIONS_A_PIECE = 256 };

/* parallel_for: the angles of some positions. */
static bool fill_angles(void *ctx, size_t piece)
{
    const struct angles *a = ctx;
    const uint32_t first = (uint32_t)piece * POSITIONS_A_PIECE, left = a->n_ctx - first;
    float *to = a->to + (size_t)first * a->pairs * 2;
    for (uint32_t pos = first; pos < first + (left < POSITIONS_A_PIECE ? left : POSITIONS_A_PIECE); pos++) {
        for (uint32_t i = 0; i < a->pairs; i++) {
            *to++ = (float)cos(pos * a->frequency[i]);
            *to++ = (float)sin(pos * a->frequency[i]);
        }
    }
    return true;
}

/* p × scale × base^(-2i / n_rot) for pair i at position p, over the file's divisor for the pair if it has them. */
static enum weft_rc read_frequencies(const struct loading *l, struct angles *a)
{
    const struct model_shape *s = &l->m->shape;
    const struct gguf_tensor *divisors = l->m->rope_freqs;
    for (uint32_t i = 0; i < a->pairs; i++) {
        a->frequency[i] = pow((double)s->rope_base, -2.0 * i / s->n_rot) * (double)s->rope_scale;
        if (!divisors)
            continue;
        uint8_t bytes[4];
        float divisor;
        enum weft_rc rc = gguf_read(l->m->file, divisors, i * sizeof bytes, sizeof bytes, bytes, l->err);
        if (rc)
            return rc;
        quant_dequantize(QUANT_F32, bytes, &divisor, 1);
        a->frequency[i] /= (double)divisor;
    }
    return WEFT_OK;
}

/* In double, so that neither the position nor the power loses bits; rounded once. */
static enum weft_rc load_rope(const struct loading *l, uint32_t n_ctx, struct ocl_buf *out)
{
    struct angles a = {.pairs = l->m->shape.n_rot / 2, .n_ctx = n_ctx};
    const size_t bytes = (size_t)n_ctx * a.pairs * 2 * sizeof(float);
    void *p = NULL;
    a.frequency = mem_calloc(a.pairs, sizeof *a.frequency);
    enum weft_rc rc = a.frequency
                          ? read_frequencies(l, &a)
                          : weft_err_nomem(l->err, "rotary frequencies", a.pairs * sizeof *a.frequency);
    if (!rc)
        rc = ocl_buf_create(l->o, bytes, "rotary angles", out, l->err);
    if (!rc)
        rc = ocl_map(l->o, out, true, 0, bytes, &p, l->err);
    if (!rc) {
        a.to = p;
        parallel_for(l->n_threads, (n_ctx + POSITIONS_A_PIECE - 1) / POSITIONS_A_PIECE, fill_angles, &a);
        rc = ocl_unmap(l->o, out, p, l->err);
    }
    mem_free(a.frequency);
    return rc;
}

/* ---- matrices ---- */

/* Matrices that are read and packed together. */
enum { JOBS_MAX = WEIGHTS_QKV_MAX + 4 };

struct batch_of_jobs {
    struct matrix_job job[JOBS_MAX];
    unsigned n;
};

static enum weft_rc add_job(const struct loading *l, struct batch_of_jobs *b,
                            const struct gguf_tensor *const *parts, unsigned n, struct matrix *out)
{
    return matrix_begin(l->o, parts, n, l->m->file->path, out, &b->job[b->n++], l->err);
}

/* Packs the jobs if all has gone well so far, and ends them in any case. */
static enum weft_rc finish_jobs(const struct loading *l, struct batch_of_jobs *b, enum weft_rc rc)
{
    if (!rc)
        rc = matrix_pack(l->m->file, l->m->file->path, b->job, b->n, l->n_threads, l->err);
    for (unsigned i = 0; i < b->n; i++) {
        enum weft_rc late = matrix_end(l->o, &b->job[i], !rc, rc ? NULL : l->err);
        rc = rc ? rc : late;
    }
    return rc;
}

static enum weft_rc load_one(const struct loading *l, const struct gguf_tensor *t, struct matrix *out)
{
    struct batch_of_jobs b = {.n = 0};
    return finish_jobs(l, &b, add_job(l, &b, &t, 1, out));
}

static enum weft_rc add_qkv(const struct loading *l, struct batch_of_jobs *b, const struct model_layer *from,
                            struct weights_layer *to)
{
    const struct gguf_tensor *parts[] = {from->attn_q, from->attn_k, from->attn_v};
    enum weft_rc rc = WEFT_OK;
    if (matrix_joinable(parts, WEIGHTS_QKV_MAX)) {
        to->n_qkv = 1;
        return add_job(l, b, parts, WEIGHTS_QKV_MAX, &to->qkv[0]);
    }
    to->n_qkv = WEIGHTS_QKV_MAX;
    for (unsigned i = 0; i < WEIGHTS_QKV_MAX && !rc; i++)
        rc = add_job(l, b, &parts[i], 1, &to->qkv[i]);
    return rc;
}

static enum weft_rc load_layer(const struct loading *l, const struct model_layer *from,
                               struct weights_layer *to)
{
    const struct {
        const struct gguf_tensor *from;
        struct matrix *to;
    } others[] = {{from->attn_output, &to->attn_output},
                  {from->ffn_gate, &to->gate},
                  {from->ffn_up, &to->up},
                  {from->ffn_down, &to->down}};
    struct batch_of_jobs b = {.n = 0};
    enum weft_rc rc = load_norm(l, from->attn_norm, &to->attn_norm);
    if (!rc)
        rc = load_norm(l, from->ffn_norm, &to->ffn_norm);
    if (!rc)
        rc = add_qkv(l, &b, from, to);
    for (size_t i = 0; i < sizeof others / sizeof *others && !rc; i++)
        rc = add_job(l, &b, &others[i].from, 1, others[i].to);
    return finish_jobs(l, &b, rc);
}

enum weft_rc weights_load(struct ocl *o, const struct model *m, uint32_t n_ctx,
                          void (*progress)(void *ctx, const char *what, double fraction), void *progress_ctx,
                          struct weights *out, struct weft_err *err)
{
    const struct model_shape *s = &m->shape;
    const uint32_t q_rows = round_up(s->n_head * s->head_dim, REPACK_ROWS);
    const uint32_t kv_rows = round_up(s->n_head_kv * s->head_dim, REPACK_ROWS);
    struct weights w = {.tied = m->output == m->token_embd,
                        .n_layer = s->n_layer,
                        .qkv_rows = q_rows + 2 * kv_rows,
                        .k_at = q_rows,
                        .v_at = q_rows + kv_rows};
    const struct loading l = {
        .o = o,
        .m = m,
        .n_threads = strcmp(o->info.type, "cpu") == 0 ? o->info.compute_units : parallel_processors(),
        .err = err,
    };
    *out = (struct weights){0};
    enum weft_rc rc = WEFT_OK;
    w.layers = mem_calloc(s->n_layer, sizeof *w.layers);
    if (!w.layers) {
        rc = weft_err_nomem(err, "weights", s->n_layer * sizeof *w.layers);
        goto out;
    }
    rc = load_one(&l, m->token_embd, &w.embd);
    if (!rc && !w.tied)
        rc = load_one(&l, m->output, &w.output);
    if (!rc)
        rc = load_norm(&l, m->output_norm, &w.output_norm);
    if (!rc)
        rc = load_rope(&l, n_ctx, &w.rope);
    for (uint32_t i = 0; i < s->n_layer && !rc; i++) {
        if (progress)
            progress(progress_ctx, "packing weights", (double)i / s->n_layer);
        rc = load_layer(&l, &m->layers[i], &w.layers[i]);
    }
    if (!rc)
        rc = gguf_check_unchanged(m->file, err);
out:
    if (rc)
        weights_free(o, &w);
    else
        *out = w;
    return rc;
}

void weights_free(struct ocl *o, struct weights *w)
{
    for (uint32_t i = 0; w->layers && i < w->n_layer; i++) {
        struct weights_layer *l = &w->layers[i];
        struct matrix *matrices[] = {&l->qkv[0], &l->qkv[1], &l->qkv[2], &l->attn_output,
                                     &l->gate,   &l->up,     &l->down};
        for (size_t j = 0; j < sizeof matrices / sizeof *matrices; j++)
            matrix_free(o, matrices[j]);
        ocl_buf_free(o, &l->attn_norm);
        ocl_buf_free(o, &l->ffn_norm);
    }
    mem_free(w->layers);
    matrix_free(o, &w->embd);
    matrix_free(o, &w->output);
    ocl_buf_free(o, &w->output_norm);
    ocl_buf_free(o, &w->rope);
    *w = (struct weights){0};
}
