#include "engine/exec/trial.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"

const struct matrix *trial_matrix(const struct forward *f, enum product p, uint32_t layer)
{
    const struct weights *w = f->w;
    const struct weights_layer *l = &w->layers[layer];
    const struct matrix *all[PRODUCTS] = {[PRODUCT_QKV] = &l->qkv[0],
                                          [PRODUCT_OUT] = &l->attn_output,
                                          [PRODUCT_FF] = &l->gate,
                                          [PRODUCT_DOWN] = &l->down,
                                          [PRODUCT_LOGITS] = w->tied ? &w->embd : &w->output};
    return all[p];
}

/* Floats from row to row: a matrix's rows and what follows them (OPS_LOGITS). */
static uint32_t y_stride(uint32_t n_groups)
{
    return round_up(n_groups * REPACK_ROWS + (n_groups + 1) / 2, 16);
}

static size_t y_bytes(const struct trial_run *r)
{
    return (size_t)r->n_tokens * y_stride(r->n_groups) * sizeof(float);
}

/* Random rows, in float32 and as codes with factors: variants are compared on them, what they say doesn't matter. */
static enum weft_rc fill_rows(struct trial *t, struct weft_err *err)
{
    static const size_t period = 8191; /* prime, so that rows differ */
    struct ocl *o = t->f->o;
    const size_t n = t->x.bytes / sizeof(float);
    struct rng r;
    float *x = mem_alloc(t->x.bytes);
    int8_t *codes = mem_alloc(t->codes.bytes);
    enum weft_rc rc = x && codes ? WEFT_OK : weft_err_nomem(err, "rows to time products with", t->x.bytes);
    rng_seed(&r, 1);
    for (size_t i = 0; i < n && !rc; i++)
        x[i] = i < period ? (float)(rng_unit(&r) * 2 - 1) : x[i - period];
    for (size_t i = 0; i < t->codes.bytes && !rc; i++)
        codes[i] = i < period ? (int8_t)((int)rng_below(&r, 255) - 127) : codes[i - period];
    for (size_t i = 1; i < t->codes.bytes && !rc && t->f->ops->shape.precision == PRECISION_BF16; i += 2)
        codes[i] = (int8_t)(i % 4 ? 0x3f : -0x41); /* exponents of bfloat16 near 1, either sign */
    if (!rc)
        rc = ocl_write(o, &t->x, 0, x, t->x.bytes, err);
    if (!rc)
        rc = ocl_write(o, &t->factors, 0, x, t->factors.bytes, err);
    if (!rc)
        rc = ocl_write(o, &t->codes, 0, codes, t->codes.bytes, err);
    const enum weft_rc waited = ocl_finish(o, rc ? NULL : err); /* also where one failed: both must stand */
    mem_free(x);
    mem_free(codes);
    return rc ? rc : waited;
}

enum weft_rc trial_init(const struct forward *f, const struct crew *crew, uint32_t n_tokens,
                        struct trial *out, struct weft_err *err)
{
    struct trial t = {.f = f, .crew = crew};
    const size_t rows = round_up(n_tokens, 16) + OPS_SPARE_ROWS;
    size_t inputs = 0;
    uint32_t groups = 0; /* all of a layer's; of the output layer as many as find room */
    for (unsigned p = 0; p < PRODUCTS; p++) {
        const struct matrix *m = trial_matrix(f, (enum product)p, 0);
        inputs = m->n_blocks * REPACK_INPUTS > inputs ? m->n_blocks * REPACK_INPUTS : inputs;
        groups = m->n_groups > groups && p != PRODUCT_LOGITS ? m->n_groups : groups;
    }
    const size_t code = ops_code_bytes(f->ops->shape.precision);
    const struct {
        struct ocl_buf *buf;
        size_t bytes;
        const char *what;
    } buffers[] = {
        {&t.x, rows * inputs * sizeof(float), "rows to time products with"},
        {&t.codes, rows * inputs * (code ? code : 1), "codes to time products with"},
        {&t.factors, rows * inputs / REPACK_INPUTS * 2 * sizeof(float), "factors to time products with"},
        {&t.y, rows * y_stride(groups) * sizeof(float), "products to time"},
    };
    enum weft_rc rc = WEFT_OK;
    *out = (struct trial){0};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers && !rc; i++)
        rc = ocl_buf_create(f->o, buffers[i].bytes, buffers[i].what, buffers[i].buf, err);
    if (!rc && !(t.kept = mem_alloc(t.y.bytes)))
        rc = weft_err_nomem(err, "products to time", t.y.bytes);
    if (!rc)
        rc = fill_rows(&t, err);
    if (rc)
        trial_deinit(&t);
    else
        *out = t;
    return rc;
}

void trial_deinit(struct trial *t)
{
    struct ocl_buf *all[] = {&t->x, &t->codes, &t->factors, &t->y, &t->by_crew.table};
    for (size_t i = 0; i < sizeof all / sizeof *all && t->f; i++)
        ocl_buf_free(t->f->o, all[i]);
    mem_free(t->kept);
    *t = (struct trial){0};
}

uint32_t trial_groups(const struct trial *t, enum product p, uint32_t n_tokens, int64_t wanted)
{
    const uint32_t all = trial_matrix(t->f, p, 0)->n_groups;
    const size_t room = t->y.bytes / sizeof(float) / n_tokens;
    uint32_t n = wanted < 2 ? 2 : wanted < all ? (uint32_t)wanted : all;
    while (n > 1 && (n > all || y_stride(n) > room))
        n--;
    return n;
}

static enum weft_rc launch(struct trial *t, const struct trial_run *r, const struct matrix *m,
                           struct weft_err *err)
{
    struct ops *ops = t->f->ops;
    const uint32_t stride = y_stride(m->n_groups);
    const struct rows x = {&t->x, m->n_blocks * REPACK_INPUTS, 0}, y = {&t->y, stride, 0};
    if (t->crew->n && (r->product != PRODUCT_LOGITS || t->crew->makes_logits))
        return crew_product(t->crew, t->f, &t->by_crew, err);
    return ops_takes_codes(ops, m)
               ? ops_matmul_coded(ops, m, &t->codes, &t->factors, y, r->n_tokens, OPS_LOGITS, r->tiles, err)
               : ops_matmul(ops, m, x, y, r->n_tokens, OPS_LOGITS, r->tiles, err);
}

enum weft_rc trial_time(struct trial *t, const struct trial_run *r, int64_t *ns, struct weft_err *err)
{
    struct matrix m = *trial_matrix(t->f, r->product, r->layer);
    m.n_groups = r->n_groups;
    t->by_crew = (struct crew_product){.m = &m,
                                       .x = &t->x,
                                       .codes = &t->codes,
                                       .factors = &t->factors,
                                       .y = &t->y,
                                       .y_stride = y_stride(m.n_groups),
                                       .n = r->n_tokens,
                                       .tiles = r->tiles,
                                       .table = t->by_crew.table};
    const int64_t start = clock_now_ns();
    enum weft_rc rc = launch(t, r, &m, err);
    if (!rc)
        rc = ocl_finish(t->f->o, err);
    *ns = clock_now_ns() - start;
    t->by_crew.m = NULL; /* it was only lent */
    return rc;
}

enum weft_rc trial_compare(struct trial *t, const struct trial_run *r, bool keep, bool *same, int64_t *ns,
                           struct weft_err *err)
{
    struct ocl *o = t->f->o;
    void *y = NULL;
    enum weft_rc rc = ocl_buf_zero(o, &t->y, err);
    if (!rc)
        rc = ocl_finish(o, err);
    if (!rc)
        rc = trial_time(t, r, ns, err);
    if (!rc)
        rc = ocl_map(o, &t->y, false, 0, y_bytes(r), &y, err);
    if (rc)
        return rc;
    if (keep)
        memcpy(t->kept, y, y_bytes(r));
    else
        *same = memcmp(t->kept, y, y_bytes(r)) == 0;
    rc = ocl_unmap(o, &t->y, y, err);
    return rc ? rc : ocl_finish(o, err);
}
