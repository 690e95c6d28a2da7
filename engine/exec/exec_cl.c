/*
 * The executor around the forward pass: what lives on the device, the blocks' traffic with the host, and what
 * happens when a step fails.
 *
 * struct on_device is everything that a lost device takes with it; it is made and dropped as a whole, so that
 * recovery is the same code as the start. What the host keeps (the batch's arrays, the parked blocks)
 * outlives it.
 */
#include "engine/exec/exec_cl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/exec/builder.h"
#include "engine/exec/exec_cl_impl.h"
#include "engine/exec/kernel_cache.h"
#include "engine/exec/pocl_cache.h"
#include "engine/exec/pocl_threads.h"

static enum weft_rc choose_precision(struct exec_cl *x, struct weft_err *err)
{
    const char *precision = x->cfg.precision;
    if (precision_find(precision, &x->shape.precision, &x->automatic))
        return WEFT_OK;
    weft_err_set(err, WEFT_CONFIG_INVALID, "device.precision is \"%s\"; allowed are " PRECISION_WORDS,
                 precision);
    weft_err_str(err, "key", "device.precision");
    weft_err_str(err, "value", precision);
    weft_err_str(err, "allowed", PRECISION_WORDS);
    return WEFT_CONFIG_INVALID;
}

static enum weft_rc check_model(const struct model *m, struct weft_err *err)
{
    const struct model_shape *s = &m->shape;
    if (s->head_dim % 2 == 0)
        return WEFT_OK;
    weft_err_set(err, WEFT_MODEL_LOAD_FAILED, "%s: a head's dimension is %u; it must be even", m->file->path,
                 s->head_dim);
    weft_err_str(err, "path", m->file->path);
    weft_err_str(err, "field", "head dimension");
    weft_err_num(err, "value", s->head_dim);
    weft_err_str(err, "limit", "even");
    return WEFT_MODEL_LOAD_FAILED;
}

/* The shape of the KV pool and of the longest sequence. */
static enum weft_rc size_blocks(struct exec_cl *x, struct weft_err *err)
{
    const struct exec_cl_config *cfg = &x->cfg;
    struct exec_info *info = &x->base.info;
    uint64_t n = cfg->n_blocks ? cfg->n_blocks : cfg->kv_bytes / info->block_bytes;
    if (!n || n > INT32_MAX) {
        weft_err_set(
            err, WEFT_CONFIG_INVALID,
            "kv.memory_mb: %llu bytes hold %llu blocks of %llu bytes; at least 1 is needed, at most %d",
            (unsigned long long)cfg->kv_bytes, (unsigned long long)n, (unsigned long long)info->block_bytes,
            INT32_MAX);
        weft_err_str(err, "key", "kv.memory_mb");
        weft_err_num(err, "value", (double)cfg->kv_bytes);
        return WEFT_CONFIG_INVALID;
    }
    uint64_t n_ctx = cfg->n_ctx ? cfg->n_ctx : x->model->shape.n_ctx;
    if (n_ctx > n * cfg->block_tokens)
        n_ctx = n * cfg->block_tokens;
    info->n_blocks = (uint32_t)n;
    info->n_ctx = (uint32_t)n_ctx;
    info->n_park_slots = (uint32_t)(cfg->park_bytes / info->block_bytes);
    return WEFT_OK;
}

static void device_down(struct on_device *d)
{
    if (d->ocl.queue)
        ocl_finish(&d->ocl, NULL);
    tuner_destroy(d->tuner);
    d->tuner = NULL;
    crew_destroy(&d->ocl, &d->crew);
    forward_deinit(&d->forward);
    ocl_buf_free(&d->ocl, &d->kv);
    weights_free(&d->ocl, &d->weights);
    ops_destroy(&d->ops);
    ocl_close(&d->ocl);
}

/* What is being done now, for the screen. */
static void tell(const struct exec_cl *x, const char *what)
{
    if (x->cfg.progress)
        x->cfg.progress(x->cfg.progress_ctx, what, -1);
}

/* All that lives on the opened device. */
static enum weft_rc device_fill(struct exec_cl *x, int cache, struct weft_err *err)
{
    const struct exec_cl_config *cfg = &x->cfg;
    struct on_device *d = &x->device;
    enum weft_rc rc = ocl_buf_create(&d->ocl, ops_block_bytes(&x->shape) * x->base.info.n_blocks,
                                     "the KV cache", &d->kv, err);
    tell(x, "building kernels");
    if (!rc)
        rc = ops_create(&d->ocl, &x->shape, cache, &d->ops, err);
    if (!rc)
        rc = weights_load(&d->ocl, x->model, x->base.info.n_ctx, cfg->progress, cfg->progress_ctx,
                          &d->weights, err);
    if (!rc)
        rc = forward_init(&d->ocl, &d->ops, &d->weights, &x->model->shape, &x->batch, &d->forward, err);
    if (!rc)
        rc = crew_create(&d->forward, &d->kv, &d->crew, err);
    if (!rc && !d->crew.n)
        rc = ops_without_crew(&d->ops, cache, err);
    tell(x, "loading kernels");
    if (!rc)
        rc = ops_prime(&d->ops, &d->forward.x, err);
    return rc;
}

static bool is_pocl(const struct ocl *o)
{
    return strcmp(o->info.platform, "Portable Computing Language") == 0;
}

/* What the kernels are compiled for; the precision is chosen already. */
static void describe_shape(struct exec_cl *x)
{
    const struct model_shape *s = &x->model->shape;
    x->shape = (struct ops_shape){.n_layer = s->n_layer,
                                  .n_head = s->n_head,
                                  .n_head_kv = s->n_head_kv,
                                  .head_dim = s->head_dim,
                                  .block_tokens = x->cfg.block_tokens,
                                  .types = weights_types(x->model),
                                  .end_types = weights_end_types(x->model),
                                  .layer_type = weights_layer_type(x->model),
                                  .precision = x->shape.precision};
}

/* Sizes and host memory, which outlive a lost device. The precision is certain by now: blocks' size depends on it. */
static enum weft_rc size_host(struct exec_cl *x, struct weft_err *err)
{
    const struct model_shape *s = &x->model->shape;
    const struct exec_cl_config *cfg = &x->cfg;
    struct exec_info *info = &x->base.info;
    if (x->rows)
        return WEFT_OK;
    x->automatic = false;
    info->n_vocab = s->n_vocab;
    info->block_tokens = cfg->block_tokens;
    info->block_bytes = ops_block_bytes(&x->shape);
    enum weft_rc rc = size_blocks(x, err);
    if (rc)
        return rc;
    const struct batch_limits limits = {.n_vocab = s->n_vocab,
                                        .n_ctx = info->n_ctx,
                                        .block_tokens = info->block_tokens,
                                        .n_blocks = info->n_blocks,
                                        .max_tokens = cfg->max_tokens,
                                        .max_items = cfg->max_seqs,
                                        .max_logits = cfg->max_logits,
                                        .split_jobs = EXEC_CL_SPLIT_JOBS};
    rc = batch_init(&x->batch, &limits, err);
    if (rc)
        return rc;
    x->rows = mem_calloc(cfg->max_logits, sizeof *x->rows);
    x->park = mem_alloc((size_t)info->n_park_slots *
                        info->block_bytes); /* touched page by page, as slots are used */
    return x->rows && x->park
               ? WEFT_OK
               : weft_err_nomem(err, "parked blocks", (size_t)info->n_park_slots * info->block_bytes);
}

/* The next best precision for "auto": bf16 where the processor has tiles for it, int8 where it has instructions for that, else
 * fp32. */
static enum precision next_precision(enum precision from)
{
    int p = from;
    while (p != PRECISION_FP32 && dot_path_best((enum precision)p) == DOT_PLAIN)
        p--;
    return (enum precision)p;
}

/* How coded products are summed; automatically, in the best precision that is fast here. */
static void choose_dot_path(struct exec_cl *x, int cache)
{
    struct ops_shape *s = &x->shape;
    s->dot = DOT_PLAIN;
    while (s->precision != PRECISION_FP32) {
        tell(x, "trying the processor's instructions");
        s->dot = dot_path_choose(x->cfg.device, s->precision, cache);
        if (!x->automatic || s->dot != DOT_PLAIN)
            return;
        s->precision = next_precision((enum precision)(s->precision - 1));
    }
}

/* The device isn't what the processor's instructions were tried for: plain code, automatically in fp32. */
static void without_dot_path(struct exec_cl *x)
{
    x->shape.dot = DOT_PLAIN;
    if (x->automatic)
        x->shape.precision = PRECISION_FP32;
}

/* Everything on the device, from the model's file. On failure nothing is left. PoCL keeps built kernels
 * itself (pocl_cache.h), and asking it for binaries would compile everything a second time; others' are kept
 * by program.h. */
static enum weft_rc device_up(struct exec_cl *x, struct weft_err *err)
{
    const struct exec_cl_config *cfg = &x->cfg;
    struct on_device *d = &x->device;
    struct pocl_cache pocl;
    struct builder builder = {0};
    const int cache = cfg->cache_dir ? kernel_cache_open(cfg->cache_dir) : -1;
    if (x->automatic)
        x->shape.precision = next_precision(PRECISION_BF16);
    pocl_cache_begin(cfg->cache_dir, cache, &pocl);
    if (pocl.first)
        builder_begin(cfg->device, &x->shape, cache, &builder);
    choose_dot_path(x, cache);
    tell(x, "opening the device");
    pocl_threads_pin(cfg->threads); /* not earlier: children that compile may use any core */
    enum weft_rc rc = ocl_open(cfg->device, cfg->threads, cfg->profile, &d->ocl, err);
    if (!rc && !ocl_is_pocl_cpu(&d->ocl)) /* the verdict may be of a device that had this name before */
        without_dot_path(x);
    if (!rc)
        rc = size_host(x, err);
    if (!rc)
        rc = device_fill(x, cache, err);
    builder_end(&builder, !rc);
    const bool ours = !rc && is_pocl(&d->ocl);
    if (!rc && !ours && cache >= 0) {
        ops_keep(&d->ops, cache);
        kernel_cache_trim(cache, cfg->cache_bytes, pocl.since_ns, NULL);
    }
    pocl_cache_end(&pocl, ours, cfg->cache_bytes);
    if (rc)
        device_down(d);
    else if (!cfg->profile)
        d->tuner = tuner_create(&d->forward, &d->crew, &x->batch.limits, cfg->cache_dir, cache);
    ocl_profile_reset(&d->ocl); /* of priming */
    if (cache >= 0)
        close(cache);
    return rc;
}

/* "pocl cpu": a short word for the platform and the device's type. */
static void describe(struct exec_cl *x)
{
    const struct exec_cl_device *d = &x->device.ocl.info;
    char word[32];
    size_t n = 0;
    const char *platform = is_pocl(&x->device.ocl) ? "pocl" : d->platform;
    while (n + 1 < sizeof word && platform[n] && platform[n] != ' ' && platform[n] != '(') {
        word[n] = (char)tolower((unsigned char)platform[n]);
        n++;
    }
    word[n] = 0;
    struct exec_info *info = &x->base.info;
    snprintf(info->name, sizeof info->name, "%s %s", word, d->type);
    snprintf(info->device, sizeof info->device, "%s", d->name);
    snprintf(info->precision, sizeof info->precision, "%s", precision_name(x->shape.precision));
    info->device_bytes = x->device.ocl.allocated;
    info->host_memory = x->device.ocl.host_memory;
}

/* Copies of whole blocks, in the order that the plan's description gives. */
static enum weft_rc move_blocks(struct exec_cl *x, const struct plan *plan, struct weft_err *err)
{
    struct on_device *d = &x->device;
    const size_t bytes = (size_t)x->base.info.block_bytes;
    enum weft_rc rc = WEFT_OK;
    for (uint32_t i = 0; i < plan->n_parks && !rc; i++)
        rc = ocl_read(&d->ocl, &d->kv, plan->parks[i].src * bytes, x->park + plan->parks[i].dst * bytes,
                      bytes, err);
    for (uint32_t i = 0; i < plan->n_restores && !rc; i++)
        rc = ocl_write(&d->ocl, &d->kv, plan->restores[i].dst * bytes,
                       x->park + plan->restores[i].src * bytes, bytes, err);
    for (uint32_t i = 0; i < plan->n_copies && !rc; i++)
        rc = ocl_copy(&d->ocl, &d->kv, plan->copies[i].src * bytes, &d->kv, plan->copies[i].dst * bytes,
                      bytes, err);
    return rc;
}

static bool copies_in_range(const struct plan_copy *c, uint32_t n, uint32_t src_limit, uint32_t dst_limit)
{
    for (uint32_t i = 0; i < n; i++)
        if (c[i].src >= src_limit || c[i].dst >= dst_limit)
            return false;
    return true;
}

static enum weft_rc check_copies(const struct exec_cl *x, const struct plan *p, struct weft_err *err)
{
    const uint32_t blocks = x->base.info.n_blocks, slots = x->base.info.n_park_slots;
    if (copies_in_range(p->parks, p->n_parks, blocks, slots) &&
        copies_in_range(p->restores, p->n_restores, slots, blocks) &&
        copies_in_range(p->copies, p->n_copies, blocks, blocks))
        return WEFT_OK;
    return weft_err_set(err, WEFT_BATCH_FAILED, "a block or host slot is out of range (%u blocks, %u slots)",
                        blocks, slots);
}

/* The logits rows of the finished step, as the caller sees them. */
static enum weft_rc map_logits(struct exec_cl *x, struct weft_err *err)
{
    struct on_device *d = &x->device;
    const size_t stride = d->forward.logits_stride;
    const uint32_t n = x->batch.n_rows;
    void *p = NULL;
    enum weft_rc rc;
    if (!n || d->crew.n) { /* a crew's buffers are where the device works: nothing to map */
        rc = ocl_finish(&d->ocl, err);
        p = d->forward.logits.host;
    } else {
        rc = ocl_map(&d->ocl, &d->forward.logits, false, 0, n * stride * sizeof(float), &p, err);
        d->mapped_logits = rc ? NULL : p;
    }
    if (rc)
        return rc;
    for (uint32_t i = 0; i < n; i++)
        x->rows[i] = (struct exec_row){.logits = (float *)p + i * stride,
                                       .maxima = (float *)p + i * stride + d->forward.maxima_at};
    return d->ocl.profile ? ocl_finish(&d->ocl, err) : WEFT_OK;
}

static enum weft_rc unmap_logits(struct exec_cl *x, struct weft_err *err)
{
    struct on_device *d = &x->device;
    float *p = d->mapped_logits;
    d->mapped_logits = NULL;
    return p ? ocl_unmap(&d->ocl, &d->forward.logits, p, err) : WEFT_OK;
}

/* Turns whatever went wrong into the step's failure. */
static void as_batch_failure(const struct plan *plan, struct weft_err *err)
{
    if (!err)
        return;
    char reason[WEFT_ERR_TEXT_MAX];
    snprintf(reason, sizeof reason, "%.*s", (int)sizeof reason - 1, err->message);
    weft_err_set(err, WEFT_BATCH_FAILED, "step %llu: %s", (unsigned long long)plan->step, reason);
    weft_err_num(err, "step", (double)plan->step);
    weft_err_str(err, "reason", reason);
}

static enum weft_rc cl_step(struct exec *base, const struct plan *plan, struct exec_out *out,
                            struct weft_err *err)
{
    struct exec_cl *x = (struct exec_cl *)base;
    struct on_device *d = &x->device;
    struct weft_err why;
    const int64_t start = clock_now_us();
    *out = (struct exec_out){0};
    if (!d->ocl.queue) {
        weft_err_set(err, WEFT_BATCH_FAILED, "step %llu: the device is lost", (unsigned long long)plan->step);
        return WEFT_BATCH_FAILED;
    }
    enum weft_rc rc = batch_build(&x->batch, plan, &why);
    if (!rc)
        rc = check_copies(x, plan, &why);
    if (!rc)
        rc = unmap_logits(x, &why);
    if (!rc)
        rc = move_blocks(x, plan, &why);
    if (!rc && x->batch.n_tokens)
        rc = forward_run(&d->forward, d->crew.n ? &d->crew : NULL, &x->batch, &d->kv, &why);
    if (!rc)
        rc = map_logits(x, &why);
    if (rc) {
        ocl_finish(&d->ocl, NULL); /* what is queued still reads the batch's arrays */
        as_batch_failure(plan, &why);
        if (err)
            *err = why;
        return WEFT_BATCH_FAILED;
    }
    out->rows = x->rows;
    out->n_rows = x->batch.n_rows;
    out->dur_us = clock_now_us() - start;
    return WEFT_OK;
}

/* A queue that still finishes work is kept, and the blocks with it; else everything is made anew. */
static enum weft_rc cl_recover(struct exec *base, bool *lost, struct weft_err *err)
{
    struct exec_cl *x = (struct exec_cl *)base;
    struct on_device *d = &x->device;
    *lost = false;
    if (d->ocl.queue && !unmap_logits(x, NULL) && !ocl_buf_zero(&d->ocl, &d->forward.picked, NULL) &&
        !ocl_finish(&d->ocl, NULL))
        return WEFT_OK;
    log_msg(LOG_WARN, "the OpenCL device doesn't answer; making context and weights anew");
    *lost = true;
    device_down(d);
    return device_up(x, err);
}

static void cl_destroy(struct exec *base)
{
    struct exec_cl *x = (struct exec_cl *)base;
    if (x->device.ocl.queue)
        unmap_logits(x, NULL);
    device_down(&x->device);
    batch_deinit(&x->batch);
    mem_free(x->rows);
    mem_free(x->park);
    mem_free(x->device_name);
    mem_free(x->cache_dir);
    mem_free(x);
}

static bool cl_idle(struct exec *base)
{
    struct on_device *d = &((struct exec_cl *)base)->device;
    if (d->tuner && !tuner_slice(d->tuner)) {
        tuner_destroy(d->tuner);
        d->tuner = NULL;
    }
    return d->tuner != NULL;
}

static const struct exec_vtab cl_vtab = {cl_step, cl_recover, cl_destroy, cl_idle};

enum weft_rc exec_cl_create(const struct model *model, const struct exec_cl_config *cfg, struct exec **out,
                            struct weft_err *err)
{
    *out = NULL;
    enum weft_rc rc = check_model(model, err);
    if (rc)
        return rc;
    struct exec_cl *x = mem_calloc(1, sizeof *x);
    if (!x)
        return weft_err_nomem(err, "executor", sizeof *x);
    *x = (struct exec_cl){.base = {.v = &cl_vtab}, .model = model, .cfg = *cfg};
    x->cfg.device = x->device_name = mem_strdup(cfg->device ? cfg->device : "auto");
    x->cfg.cache_dir = x->cache_dir = mem_strdup(cfg->cache_dir);
    if (!x->device_name || (cfg->cache_dir && !x->cache_dir))
        rc = weft_err_nomem(err, "executor", sizeof *x);
    if (!rc)
        rc = choose_precision(x, err);
    if (!rc) {
        describe_shape(x);
        rc = device_up(x, err);
    }
    if (rc) {
        cl_destroy(&x->base);
        return rc;
    }
    describe(x);
    *out = &x->base;
    return WEFT_OK;
}

unsigned exec_cl_profile(struct exec *base, const struct exec_cl_profile_row **rows)
{
    struct exec_cl *x = (struct exec_cl *)base;
    struct ocl *o = &x->device.ocl;
    const unsigned n = o->n_rows;
    memcpy(x->profile, o->rows, sizeof x->profile);
    ocl_profile_reset(o);
    *rows = x->profile;
    return n;
}
