#include "engine/exec/crew.h"

#include <math.h>
#include <string.h>

#include "engine/base/mem.h"

enum {
    LAYER_PHASES = 9,
    OTHER_PHASES = 3,
    PHASE_INTS = 32
}; /* as kernels/forward.cl and crew.clh have them */

/* As kernels/forward.cl has it. */
struct layer_table {
    cl_ulong attn_norm, ffn_norm;
    cl_ulong qkv_w, qkv_s, out_w, out_s, gate_w, gate_s, up_w, up_s, down_w, down_s;
};

struct forward_table {
    cl_ulong layers, embd_w, embd_s, logits_w, logits_s, output_norm, angles;
    cl_ulong x, h, qkv, q, att, ff, picked, logits, partials;
    cl_ulong codes, factors, ff_codes, ff_factors;
    cl_ulong cache;
    cl_ulong tokens, tables, decode, prefill, merges, rows;
    cl_int n_layer, n_head, n_kv, n_rot;
    cl_int embd_blocks, heads_blocks, ff_blocks;
    cl_int qkv_groups, k_at, v_at, embd_groups, ff_groups, logits_groups, logits_stride;
    cl_int embeds, makes_logits;
    cl_float n_embd, eps, scale;
};

static cl_ulong at(const struct ocl_buf *b)
{
    return (cl_ulong)(uintptr_t)b->host;
}

static struct layer_table layer_table(const struct weights_layer *l)
{
    return (struct layer_table){.attn_norm = at(&l->attn_norm),
                                .ffn_norm = at(&l->ffn_norm),
                                .qkv_w = at(&l->qkv[0].weights),
                                .qkv_s = at(&l->qkv[0].scales),
                                .out_w = at(&l->attn_output.weights),
                                .out_s = at(&l->attn_output.scales),
                                .gate_w = at(&l->gate.weights),
                                .gate_s = at(&l->gate.scales),
                                .up_w = at(&l->up.weights),
                                .up_s = at(&l->up.scales),
                                .down_w = at(&l->down.weights),
                                .down_s = at(&l->down.scales)};
}

static struct forward_table forward_table(const struct crew *c, const struct forward *f,
                                          const struct ocl_buf *kv)
{
    const struct weights *w = f->w;
    const struct weights_layer *l = &w->layers[0];
    const struct matrix *output = w->tied ? &w->embd : &w->output;
    const struct model_shape *s = f->shape;
    return (struct forward_table){
        .layers = at(&c->layers),
        .embd_w = at(&w->embd.weights),
        .embd_s = at(&w->embd.scales),
        .logits_w = at(&output->weights),
        .logits_s = at(&output->scales),
        .output_norm = at(&w->output_norm),
        .angles = at(&w->rope),
        .x = at(&f->x),
        .h = at(&f->h),
        .qkv = at(&f->qkv),
        .q = at(&f->q),
        .att = at(&f->att),
        .ff = at(&f->ff),
        .picked = at(&f->picked),
        .logits = at(&f->logits),
        .partials = at(&f->partials),
        .codes = at(&f->codes),
        .factors = at(&f->factors),
        .ff_codes = at(&f->ff_codes),
        .ff_factors = at(&f->ff_factors),
        .cache = at(kv),
        .tokens = at(&f->tokens),
        .tables = at(&f->tables),
        .decode = at(&f->decode),
        .prefill = at(&f->prefill),
        .merges = at(&f->merges),
        .rows = at(&f->rows),
        .n_layer = (cl_int)w->n_layer,
        .n_head = (cl_int)s->n_head,
        .n_kv = (cl_int)s->n_head_kv,
        .n_rot = (cl_int)s->n_rot,
        .embd_blocks = (cl_int)(f->embd_stride / REPACK_INPUTS),
        .heads_blocks = (cl_int)(f->heads_stride / REPACK_INPUTS),
        .ff_blocks = (cl_int)(f->ff_stride / REPACK_INPUTS),
        .qkv_groups = (cl_int)l->qkv[0].n_groups,
        .k_at = (cl_int)w->k_at,
        .v_at = (cl_int)w->v_at,
        .embd_groups = (cl_int)l->down.n_groups,
        .ff_groups = (cl_int)l->gate.n_groups,
        .logits_groups = (cl_int)output->n_groups,
        .logits_stride = (cl_int)f->logits_stride,
        .embeds = c->embeds,
        .makes_logits = c->makes_logits,
        .n_embd = (cl_float)s->n_embd,
        .eps = s->rms_eps,
        .scale = (cl_float)(1.0 / sqrt((double)s->head_dim)),
    };
}

/* Creates a buffer in host memory and copies into it. */
static enum weft_rc fill(struct ocl *o, const void *from, size_t bytes, const char *what, struct ocl_buf *out,
                         struct weft_err *err)
{
    enum weft_rc rc = ocl_buf_create(o, bytes, what, out, err);
    if (!rc)
        rc = ocl_write(o, out, 0, from, bytes, err);
    return rc ? rc : ocl_finish(o, err);
}

/* Runs it over nothing: it says whether the table's addresses are what the device sees. */
static enum weft_rc try_out(const struct crew *c, const struct forward *f, bool *works, struct weft_err *err)
{
    const struct ops_counts nothing = {0};
    cl_int answer = 0;
    enum weft_rc rc = ocl_buf_zero(f->o, &c->counters, err);
    if (!rc)
        rc = ops_forward(f->ops, &c->table, &c->counters, &f->x, c->n, &nothing, 0, err);
    if (!rc)
        rc = ocl_read(f->o, &c->counters, c->counters.bytes - sizeof answer, &answer, sizeof answer, err);
    if (!rc)
        rc = ocl_finish(f->o, err);
    *works = answer == 1;
    return rc;
}

enum weft_rc crew_create(const struct forward *f, const struct ocl_buf *kv, struct crew *out,
                         struct weft_err *err)
{
    const struct weights *w = f->w;
    const enum quant_type type = f->ops->shape.layer_type;
    struct crew c = {.n = f->o->info.compute_units};
    *out = (struct crew){0};
    if (!f->ops->forward.kernel || !f->x.host || !kv->host)
        return WEFT_OK;
    c.embeds = w->embd.type == type;
    c.makes_logits = (w->tied ? &w->embd : &w->output)->type == type;
    const size_t bytes = (LAYER_PHASES * w->n_layer + OTHER_PHASES) * PHASE_INTS * sizeof(cl_int);
    struct layer_table *layers = mem_calloc(w->n_layer, sizeof *layers);
    bool works = false;
    enum weft_rc rc = layers ? WEFT_OK : weft_err_nomem(err, "the crew's tables", bytes);
    for (uint32_t i = 0; i < w->n_layer && !rc; i++)
        layers[i] = layer_table(&w->layers[i]);
    if (!rc)
        rc = fill(f->o, layers, w->n_layer * sizeof *layers, "the layers' table", &c.layers, err);
    if (!rc)
        rc = ocl_buf_create(f->o, bytes, "the crew's counters", &c.counters, err);
    if (!rc && c.layers.host) {
        const struct forward_table table = forward_table(&c, f, kv);
        rc = fill(f->o, &table, sizeof table, "the forward pass's table", &c.table, err);
        if (!rc)
            rc = try_out(&c, f, &works, err);
    }
    mem_free(layers);
    if (rc || !works)
        crew_destroy(f->o, &c);
    else
        *out = c;
    return rc;
}

enum weft_rc crew_run(const struct crew *c, const struct forward *f, const struct batch *b,
                      struct weft_err *err)
{
    const struct ops_counts counts = {b->n_tokens, b->n_decode, b->n_prefill, b->n_merges, b->n_rows};
    memset(c->counters.host, 0, c->counters.bytes); /* in place, as forward_run does */
    return ops_forward(f->ops, &c->table, &c->counters, &f->x, c->n, &counts,
                       tiles_pack(&f->tiles, b->n_tokens, b->n_rows), err);
}

/* A pass without layers, whose output layer is the matrix and whose rows are codes already. */
enum weft_rc crew_product(const struct crew *c, const struct forward *f, struct crew_product *p,
                          struct weft_err *err)
{
    const struct ops_counts counts = {.n_tokens = p->n, .n_rows = p->n};
    const struct forward_table table = {.logits_w = at(&p->m->weights),
                                        .logits_s = at(&p->m->scales),
                                        .picked = at(p->x),
                                        .codes = at(p->codes),
                                        .factors = at(p->factors),
                                        .logits = at(p->y),
                                        .embd_blocks = (cl_int)p->m->n_blocks,
                                        .logits_groups = (cl_int)p->m->n_groups,
                                        .logits_stride = (cl_int)p->y_stride,
                                        .makes_logits = true};
    enum weft_rc rc = WEFT_OK;
    if (!p->table.mem)
        rc = ocl_buf_create(f->o, sizeof table, "a product's table", &p->table, err);
    if (!rc)
        rc = ocl_write(f->o, &p->table, 0, &table, sizeof table, err);
    if (!rc)
        rc = ocl_buf_zero(f->o, &c->counters, err);
    const enum weft_rc waited = ocl_finish(f->o, rc ? NULL : err); /* `table` must stand until then */
    rc = rc ? rc : waited;
    return rc ? rc
              : ops_forward(f->ops, &p->table, &c->counters, &f->x, c->n, &counts,
                            p->tiles << TILES_BITS * PRODUCT_LOGITS, err);
}

void crew_destroy(struct ocl *o, struct crew *c)
{
    ocl_buf_free(o, &c->table);
    ocl_buf_free(o, &c->layers);
    ocl_buf_free(o, &c->counters);
    *c = (struct crew){0};
}
