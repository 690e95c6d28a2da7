#include "engine/exec/forward.h"

#include <string.h>

#include "engine/exec/crew.h"

enum weft_rc forward_init(struct ocl *o, struct ops *ops, const struct weights *w,
                          const struct model_shape *shape, const struct batch *b, struct forward *out,
                          struct weft_err *err)
{
    const uint32_t output_groups = (w->tied ? w->embd : w->output).n_groups;
    struct forward f = {.o = o,
                        .ops = ops,
                        .w = w,
                        .shape = shape,
                        .embd_stride = round_up(shape->n_embd, REPACK_INPUTS),
                        .heads_stride = round_up(shape->n_head * shape->head_dim, REPACK_INPUTS),
                        .ff_stride = round_up(shape->n_ff, REPACK_INPUTS),
                        .maxima_at = output_groups * REPACK_ROWS,
                        .logits_stride = round_up(output_groups * REPACK_ROWS + (output_groups + 1) / 2, 16)};
    const uint32_t widest = f.ff_stride > f.heads_stride ? f.ff_stride : f.heads_stride;
    const size_t code = ops_code_bytes(ops->shape.precision),
                 codes = code * (widest > f.embd_stride ? widest : f.embd_stride);
    const size_t factor = ops->shape.precision == PRECISION_INT8 ? 2 * sizeof(float)
                          : code                                 ? sizeof(float)
                                                                 : 0;
    const size_t rows = round_up(b->limits.max_tokens, 16) + OPS_SPARE_ROWS,
                 outputs = round_up(b->limits.max_logits, 16) + OPS_SPARE_ROWS;
    const struct {
        struct ocl_buf *buf;
        size_t bytes;
        const char *what;
        bool zero; /* columns of padding must be zero, and no row a NaN to begin with */
    } buffers[] = {
        {&f.x, rows * f.embd_stride * sizeof(float), "hidden states", true},
        {&f.h, rows * f.embd_stride * sizeof(float), "normalised states", true},
        {&f.qkv, rows * w->qkv_rows * sizeof(float), "queries, keys and values", true},
        {&f.q, rows * f.heads_stride * sizeof(float), "queries", true},
        {&f.att, rows * f.heads_stride * sizeof(float), "attention", true},
        {&f.ff, rows * f.ff_stride * sizeof(float), "feed-forward states", true},
        {&f.picked, outputs * f.embd_stride * sizeof(float), "states for logits", true},
        {&f.logits, outputs * f.logits_stride * sizeof(float), "logits", false},
        {&f.codes, (rows > outputs ? rows : outputs) * codes, "coded activations", true},
        {&f.factors, (rows > outputs ? rows : outputs) * codes / REPACK_INPUTS * factor,
         "scales of coded activations", true},
        {&f.ff_codes, rows * f.ff_stride * code, "coded feed-forward states", true},
        {&f.ff_factors, rows * f.ff_stride / REPACK_INPUTS * factor, "scales of coded feed-forward states",
         true},
        {&f.tokens, b->limits.max_tokens * sizeof *b->tokens, "tokens", false},
        {&f.tables, b->max_tables * sizeof *b->tables, "block tables", false},
        {&f.decode, b->max_jobs * sizeof *b->decode, "decode jobs", false},
        {&f.prefill, b->max_jobs * sizeof *b->prefill, "prefill jobs", false},
        {&f.merges, b->limits.max_tokens * sizeof *b->merges, "merge jobs", false},
        {&f.rows, b->limits.max_logits * sizeof *b->rows, "logits rows", false},
        {&f.partials, b->max_partials * ops_partial_floats(&ops->shape) * sizeof(float), "partial attention",
         false},
    };
    enum weft_rc rc = WEFT_OK;
    *out = (struct forward){0};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers && !rc; i++) {
        rc = ocl_buf_create(o, buffers[i].bytes, buffers[i].what, buffers[i].buf, err);
        if (!rc && buffers[i].zero)
            rc = ocl_buf_zero(o, buffers[i].buf, err);
    }
    if (rc)
        forward_deinit(&f);
    else
        *out = f;
    return rc;
}

void forward_deinit(struct forward *f)
{
    struct ocl_buf *all[] = {&f->x,      &f->h,       &f->qkv,      &f->q,         &f->att,
                             &f->ff,     &f->picked,  &f->logits,   &f->tokens,    &f->tables,
                             &f->decode, &f->prefill, &f->merges,   &f->rows,      &f->partials,
                             &f->codes,  &f->factors, &f->ff_codes, &f->ff_factors};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ocl_buf_free(f->o, all[i]);
    *f = (struct forward){0};
}

/* by_crew: the buffers are where the device works, and nothing is queued: written in place, as a command each costs more. */
static enum weft_rc upload(struct forward *f, const struct batch *b, bool by_crew, struct weft_err *err)
{
    const struct {
        const struct ocl_buf *to;
        const void *from;
        size_t bytes;
    } parts[] = {
        {&f->tokens, b->tokens, b->n_tokens * sizeof *b->tokens},
        {&f->tables, b->tables, b->n_tables * sizeof *b->tables},
        {&f->decode, b->decode, b->n_decode * sizeof *b->decode},
        {&f->prefill, b->prefill, b->n_prefill * sizeof *b->prefill},
        {&f->merges, b->merges, b->n_merges * sizeof *b->merges},
        {&f->rows, b->rows, b->n_rows * sizeof *b->rows},
    };
    enum weft_rc rc = WEFT_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !rc; i++) {
        if (by_crew && parts[i].bytes)
            memcpy(parts[i].to->host, parts[i].from, parts[i].bytes);
        else
            rc = ocl_write(f->o, parts[i].to, 0, parts[i].from, parts[i].bytes, err);
    }
    return rc;
}

/* What matrices multiply: quantised when the first of them wants it, and then for all. */
struct input {
    struct rows x;
    bool quantised;
};

static enum weft_rc multiply(struct forward *f, struct input *in, enum product product,
                             const struct matrix *m, struct rows y, uint32_t n, enum ops_mode mode,
                             struct weft_err *err)
{
    const uint32_t tiles = tiles_for(&f->tiles, product, n);
    if (!ops_takes_codes(f->ops, m))
        return ops_matmul(f->ops, m, in->x, y, n, mode, tiles, err);
    enum weft_rc rc = WEFT_OK;
    if (!in->quantised)
        rc = ops_quantize(f->ops, in->x, m->n_blocks, &f->codes, &f->factors, n, err);
    in->quantised = true;
    return rc ? rc : ops_matmul_coded(f->ops, m, &f->codes, &f->factors, y, n, mode, tiles, err);
}

static enum weft_rc run_attention(struct forward *f, const struct batch *b, const struct ocl_buf *kv,
                                  uint32_t layer, struct weft_err *err)
{
    const struct weights_layer *l = &f->w->layers[layer];
    const uint32_t n = b->n_tokens;
    const struct rows x = {&f->x, f->embd_stride, 0}, h = {&f->h, f->embd_stride, 0};
    const struct rows qkv = {&f->qkv, f->w->qkv_rows, 0};
    const struct rows q = {&f->q, f->heads_stride, 0}, att = {&f->att, f->heads_stride, 0};
    struct input normed = {h, false}, attended = {att, false};
    const uint32_t at[WEIGHTS_QKV_MAX] = {0, f->w->k_at, f->w->v_at};

    enum weft_rc rc =
        ops_rmsnorm(f->ops, x, &l->attn_norm, NULL, h, f->shape->n_embd, f->shape->rms_eps, n, err);
    for (unsigned i = 0; i < l->n_qkv && !rc; i++)
        rc = multiply(f, &normed, PRODUCT_QKV, &l->qkv[i], (struct rows){qkv.buf, qkv.stride, at[i]}, n,
                      OPS_STORE, err);
    if (!rc)
        rc = ops_rope_store(f->ops, qkv, f->w->k_at, f->w->v_at, &f->tokens, &f->w->rope, f->shape->n_rot, q,
                            kv, layer, n, err);
    if (!rc)
        rc = ops_attention(f->ops, true, q, kv, &f->tables, &f->decode, att, &f->partials, layer, b->n_decode,
                           err);
    if (!rc)
        rc = ops_attention(f->ops, false, q, kv, &f->tables, &f->prefill, att, &f->partials, layer,
                           b->n_prefill, err);
    if (!rc)
        rc = ops_attention_merge(f->ops, &f->partials, &f->merges, att, b->n_merges, err);
    if (!rc)
        rc = multiply(f, &attended, PRODUCT_OUT, &l->attn_output, x, n, OPS_ADD, err);
    return rc;
}

static enum weft_rc run_feed_forward(struct forward *f, uint32_t n, uint32_t layer, struct weft_err *err)
{
    const struct weights_layer *l = &f->w->layers[layer];
    const struct rows x = {&f->x, f->embd_stride, 0}, h = {&f->h, f->embd_stride, 0};
    const struct rows ff = {&f->ff, f->ff_stride, 0};
    struct input normed = {h, false}, gated = {ff, false};

    enum weft_rc rc =
        ops_rmsnorm(f->ops, x, &l->ffn_norm, NULL, h, f->shape->n_embd, f->shape->rms_eps, n, err);
    if (!rc)
        rc = multiply(f, &normed, PRODUCT_FF, &l->gate, ff, n, OPS_STORE, err);
    if (!rc)
        rc = multiply(f, &normed, PRODUCT_FF, &l->up, ff, n, OPS_SILU_MUL, err);
    if (!rc)
        rc = multiply(f, &gated, PRODUCT_DOWN, &l->down, x, n, OPS_ADD, err);
    return rc;
}

/* by_crew: the rows are picked, normalised and coded already. */
static enum weft_rc run_logits(struct forward *f, const struct batch *b, bool by_crew, struct weft_err *err)
{
    const struct rows x = {&f->x, f->embd_stride, 0}, picked = {&f->picked, f->embd_stride, 0};
    const struct rows logits = {&f->logits, f->logits_stride, 0};
    struct input wanted = {picked, by_crew};
    if (!b->n_rows)
        return WEFT_OK;
    enum weft_rc rc = by_crew ? WEFT_OK
                              : ops_rmsnorm(f->ops, x, &f->w->output_norm, &f->rows, picked, f->shape->n_embd,
                                            f->shape->rms_eps, b->n_rows, err);
    if (!rc)
        rc = multiply(f, &wanted, PRODUCT_LOGITS, f->w->tied ? &f->w->embd : &f->w->output, logits, b->n_rows,
                      OPS_LOGITS, err);
    return rc;
}

enum weft_rc forward_run(struct forward *f, const struct crew *crew, const struct batch *b,
                         const struct ocl_buf *kv, struct weft_err *err)
{
    const struct rows x = {&f->x, f->embd_stride, 0};
    enum weft_rc rc = upload(f, b, crew != NULL, err);
    if (!rc && !(crew && crew->embeds))
        rc = ops_embed(f->ops, &f->w->embd, &f->tokens, x, b->n_tokens, err);
    if (!rc && crew)
        rc = crew_run(crew, f, b, err);
    for (uint32_t i = 0; !crew && i < f->w->n_layer && !rc; i++) {
        rc = run_attention(f, b, kv, i, err);
        if (!rc)
            rc = run_feed_forward(f, b->n_tokens, i, err);
    }
    if (!rc && !(crew && crew->makes_logits))
        rc = run_logits(f, b, crew != NULL, err);
    return rc;
}
