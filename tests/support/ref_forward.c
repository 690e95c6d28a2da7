#include "ref_forward.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *get(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        abort();
    return p;
}

static void dequantize_row(const struct gguf_tensor *t, uint64_t row, float *out)
{
    const struct quant_info *q = quant_info(t->type);
    const size_t row_bytes = (size_t)(t->dim[0] / q->block_values * q->block_bytes);
    quant_dequantize(t->type, t->data + row * row_bytes, out, (size_t)t->dim[0]);
}

void ref_matvec(const struct gguf_tensor *t, const double *x, double *y)
{
    float *w = get((size_t)t->dim[0], sizeof *w);
    for (uint64_t r = 0; r < t->dim[1]; r++) {
        double sum = 0;
        dequantize_row(t, r, w);
        for (uint64_t c = 0; c < t->dim[0]; c++)
            sum += (double)w[c] * x[c];
        y[r] = sum;
    }
    free(w);
}

static void normalise(const struct gguf_tensor *t, double eps, const double *x, double *y)
{
    const size_t n = (size_t)t->dim[0];
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    const double scale = 1 / sqrt(squares / (double)n + eps);
    for (size_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, t->data + i * sizeof w, sizeof w);
        y[i] = x[i] * scale * (double)w;
    }
}

static void rotate(const struct model *m, double *head, size_t pos)
{
    const struct model_shape *s = &m->shape;
    for (uint32_t i = 0; i < s->n_rot; i += 2) {
        double angle = (double)pos * (double)s->rope_scale * pow((double)s->rope_base, -(double)i / s->n_rot);
        if (m->rope_freqs) {
            float divisor;
            memcpy(&divisor, m->rope_freqs->data + i / 2 * sizeof divisor, sizeof divisor);
            angle /= (double)divisor;
        }
        const double a = head[i], b = head[i + 1];
        head[i] = a * cos(angle) - b * sin(angle);
        head[i + 1] = a * sin(angle) + b * cos(angle);
    }
}

/* One query head over positions 0 … pos. k and v: [positions][stride]. */
static void attend(const double *q, const double *k, const double *v, size_t stride, size_t pos, size_t dim,
                   double *out)
{
    double *p = get(pos + 1, sizeof *p), top = -INFINITY, sum = 0;
    for (size_t i = 0; i <= pos; i++) {
        for (size_t d = 0; d < dim; d++)
            p[i] += q[d] * k[i * stride + d];
        p[i] /= sqrt((double)dim);
        top = fmax(top, p[i]);
    }
    for (size_t i = 0; i <= pos; i++)
        sum += p[i] = exp(p[i] - top);
    for (size_t d = 0; d < dim; d++) {
        out[d] = 0;
        for (size_t i = 0; i <= pos; i++)
            out[d] += p[i] / sum * v[i * stride + d];
    }
    free(p);
}

struct scratch {
    double *x, *h, *q, *att, *add, *gate, *up;
    double **k, **v; /* a layer: [n][n_head_kv × head_dim] */
};

static void layer_forward(const struct model *m, uint32_t layer, size_t pos, struct scratch *w)
{
    const struct model_shape *s = &m->shape;
    const struct model_layer *l = &m->layers[layer];
    const size_t dim = s->head_dim, kv_stride = s->n_head_kv * dim;
    double *k = w->k[layer] + pos * kv_stride, *v = w->v[layer] + pos * kv_stride;
    normalise(l->attn_norm, (double)s->rms_eps, w->x, w->h);
    ref_matvec(l->attn_q, w->h, w->q);
    ref_matvec(l->attn_k, w->h, k);
    ref_matvec(l->attn_v, w->h, v);
    for (uint32_t h = 0; h < s->n_head_kv; h++)
        rotate(m, k + h * dim, pos);
    for (uint32_t h = 0; h < s->n_head; h++) {
        const size_t kv = h / (s->n_head / s->n_head_kv) * dim;
        rotate(m, w->q + h * dim, pos);
        attend(w->q + h * dim, w->k[layer] + kv, w->v[layer] + kv, kv_stride, pos, dim, w->att + h * dim);
    }
    ref_matvec(l->attn_output, w->att, w->add);
    for (uint32_t i = 0; i < s->n_embd; i++)
        w->x[i] += w->add[i];
    normalise(l->ffn_norm, (double)s->rms_eps, w->x, w->h);
    ref_matvec(l->ffn_gate, w->h, w->gate);
    ref_matvec(l->ffn_up, w->h, w->up);
    for (uint32_t i = 0; i < s->n_ff; i++)
        w->up[i] *= w->gate[i] / (1 + exp(-w->gate[i]));
    ref_matvec(l->ffn_down, w->up, w->add);
    for (uint32_t i = 0; i < s->n_embd; i++)
        w->x[i] += w->add[i];
}

void ref_forward(const struct model *m, const uint32_t *ids, size_t n, double *logits)
{
    const struct model_shape *s = &m->shape;
    const size_t heads = s->n_head * s->head_dim, kv = s->n_head_kv * s->head_dim;
    float *row = get(s->n_embd, sizeof *row);
    struct scratch w = {.x = get(s->n_embd, sizeof(double)),
                        .h = get(s->n_embd, sizeof(double)),
                        .q = get(heads, sizeof(double)),
                        .att = get(heads, sizeof(double)),
                        .add = get(s->n_embd, sizeof(double)),
                        .gate = get(s->n_ff, sizeof(double)),
                        .up = get(s->n_ff, sizeof(double)),
                        .k = get(s->n_layer, sizeof(double *)),
                        .v = get(s->n_layer, sizeof(double *))};
    for (uint32_t i = 0; i < s->n_layer; i++) {
        w.k[i] = get(n * kv, sizeof(double));
        w.v[i] = get(n * kv, sizeof(double));
    }
    for (size_t pos = 0; pos < n; pos++) {
        assert(ids[pos] < s->n_vocab);
        dequantize_row(m->token_embd, ids[pos], row);
        for (uint32_t i = 0; i < s->n_embd; i++)
            w.x[i] = (double)row[i];
        for (uint32_t i = 0; i < s->n_layer; i++)
            layer_forward(m, i, pos, &w);
        normalise(m->output_norm, (double)s->rms_eps, w.x, w.h);
        ref_matvec(m->output, w.h, logits + pos * s->n_vocab);
    }
    for (uint32_t i = 0; i < s->n_layer; i++) {
        free(w.k[i]);
        free(w.v[i]);
    }
    double *all[] = {w.x, w.h, w.q, w.att, w.add, w.gate, w.up};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(w.k);
    free(w.v);
    free(row);
}
