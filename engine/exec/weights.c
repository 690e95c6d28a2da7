#include "engine/exec/weights.h"

#include <math.h>
#include <string.h>

#include "engine/base/mem.h"

uint64_t weights_types(const struct model *m)
{
    uint64_t types = (uint64_t)1 << m->token_embd->type | (uint64_t)1 << m->output->type;
    for (uint32_t i = 0; i < m->shape.n_layer; i++) {
        const struct model_layer *l = &m->layers[i];
        const struct gguf_tensor *all[] = {l->attn_q,   l->attn_k, l->attn_v,  l->attn_output,
                                           l->ffn_gate, l->ffn_up, l->ffn_down};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++)
            types |= (uint64_t)1 << all[t]->type;
    }
    return types;
}

/* A float32 vector, padded with zeros to whole float16 vectors. */
static enum weft_rc load_norm(struct ocl *o, const struct gguf_tensor *t, struct ocl_buf *out,
                              struct weft_err *err)
{
    const size_t n = (size_t)t->dim[0], bytes = (size_t)round_up((uint32_t)n, REPACK_INPUTS) * sizeof(float);
    void *p;
    enum weft_rc rc = ocl_buf_create(o, bytes, t->name_z, out, err);
    if (!rc)
        rc = ocl_map(o, out, true, 0, bytes, &p, err);
    if (rc)
        return rc;
    memset(p, 0, bytes);
    quant_dequantize(t->type, t->data, p, n);
    return ocl_unmap(o, out, p, err);
}

/*
 * Angle of pair i at position p: p × scale × base^(-2i / n_rot), over the file's divisor for the pair if it
 * has them. In double, so that neither the position nor the power loses bits; rounded once.
 */
static enum weft_rc load_rope(struct ocl *o, const struct model *m, uint32_t n_ctx, struct ocl_buf *out,
                              struct weft_err *err)
{
    const struct model_shape *s = &m->shape;
    const uint32_t pairs = s->n_rot / 2;
    double *frequency = mem_calloc(pairs, sizeof *frequency);
    void *p = NULL;
    enum weft_rc rc = WEFT_OK;
    if (!frequency) {
        rc = weft_err_nomem(err, "rotary frequencies", pairs * sizeof *frequency);
        goto out;
    }
    const size_t bytes = (size_t)n_ctx * pairs * 2 * sizeof(float);
    rc = ocl_buf_create(o, bytes, "rotary angles", out, err);
    if (!rc)
        rc = ocl_map(o, out, true, 0, bytes, &p, err);
    if (rc)
        goto out;
    for (uint32_t i = 0; i < pairs; i++) {
        frequency[i] = pow((double)s->rope_base, -2.0 * i / s->n_rot) * (double)s->rope_scale;
        if (m->rope_freqs) {
            float divisor;
            memcpy(&divisor, m->rope_freqs->data + i * sizeof divisor, sizeof divisor);
            frequency[i] /= (double)divisor;
        }
    }
    float *to = p;
    for (uint32_t pos = 0; pos < n_ctx; pos++) {
        for (uint32_t i = 0; i < pairs; i++) {
            *to++ = (float)cos(pos * frequency[i]);
            *to++ = (float)sin(pos * frequency[i]);
        }
    }
    rc = ocl_unmap(o, out, p, err);
out:
    mem_free(frequency);
    return rc;
}

static enum weft_rc load_one(struct ocl *o, const struct model *m, const struct gguf_tensor *t,
                             struct matrix *out, struct weft_err *err)
{
    enum weft_rc rc = matrix_create(o, &t, 1, m->file->path, out, err);
    gguf_release_pages(m->file);
    return rc;
}

static enum weft_rc load_qkv(struct ocl *o, const struct model *m, const struct model_layer *from,
                             struct weights_layer *to, struct weft_err *err)
{
    const struct gguf_tensor *parts[] = {from->attn_q, from->attn_k, from->attn_v};
    enum weft_rc rc = WEFT_OK;
    if (matrix_joinable(parts, WEIGHTS_QKV_MAX)) {
        to->n_qkv = 1;
        rc = matrix_create(o, parts, WEIGHTS_QKV_MAX, m->file->path, &to->qkv[0], err);
    } else {
        to->n_qkv = WEIGHTS_QKV_MAX;
        for (unsigned i = 0; i < WEIGHTS_QKV_MAX && !rc; i++)
            rc = matrix_create(o, &parts[i], 1, m->file->path, &to->qkv[i], err);
    }
    return rc;
}

static enum weft_rc load_layer(struct ocl *o, const struct model *m, const struct model_layer *from,
                               struct weights_layer *to, struct weft_err *err)
{
    enum weft_rc rc = load_norm(o, from->attn_norm, &to->attn_norm, err);
    if (!rc)
        rc = load_norm(o, from->ffn_norm, &to->ffn_norm, err);
    if (!rc)
        rc = load_qkv(o, m, from, to, err);
    if (!rc)
        rc = load_one(o, m, from->attn_output, &to->attn_output, err);
    if (!rc)
        rc = load_one(o, m, from->ffn_gate, &to->gate, err);
    if (!rc)
        rc = load_one(o, m, from->ffn_up, &to->up, err);
    if (!rc)
        rc = load_one(o, m, from->ffn_down, &to->down, err);
    return rc;
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
    *out = (struct weights){0};
    enum weft_rc rc = WEFT_OK;
    w.layers = mem_calloc(s->n_layer, sizeof *w.layers);
    if (!w.layers) {
        rc = weft_err_nomem(err, "weights", s->n_layer * sizeof *w.layers);
        goto out;
    }
    rc = load_one(o, m, m->token_embd, &w.embd, err);
    if (!rc && !w.tied)
        rc = load_one(o, m, m->output, &w.output, err);
    if (!rc)
        rc = load_norm(o, m->output_norm, &w.output_norm, err);
    if (!rc)
        rc = load_rope(o, m, n_ctx, &w.rope, err);
    for (uint32_t i = 0; i < s->n_layer && !rc; i++) {
        if (progress)
            progress(progress_ctx, "packing weights", (double)i / s->n_layer);
        rc = load_layer(o, m, &m->layers[i], &w.layers[i], err);
    }
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
