#include "src/bench_exec.h"

#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"

struct bench_exec {
    struct exec base; /* first: an executor */
    struct exec *inner;
    struct bench_log *log;
};

void bench_log_init(struct bench_log *log)
{
    *log = (struct bench_log){.n_steps = 0};
    pthread_mutex_init(&log->lock, NULL);
}

void bench_log_deinit(struct bench_log *log)
{
    mem_free(log->steps);
    mem_free(log->kernels);
    pthread_mutex_destroy(&log->lock);
}

size_t bench_log_take(struct bench_log *log, struct bench_step **steps)
{
    pthread_mutex_lock(&log->lock);
    size_t n = log->n_steps;
    *steps = log->steps;
    log->steps = NULL;
    log->n_steps = log->cap_steps = 0;
    pthread_mutex_unlock(&log->lock);
    return n;
}

/* A step that can't be kept is left out of the figures, not of the run. */
static bool take_note(struct bench_log *log, struct bench_step step)
{
    pthread_mutex_lock(&log->lock);
    if (mem_grow(&log->steps, &log->cap_steps, log->n_steps + 1, sizeof step) == 0)
        log->steps[log->n_steps++] = step;
    bool drop = log->drop_profile;
    log->drop_profile = false;
    pthread_mutex_unlock(&log->lock);
    return drop;
}

static enum weft_rc step(struct exec *x, const struct plan *plan, struct exec_out *out, struct weft_err *err)
{
    struct bench_exec *b = (struct bench_exec *)x;
    struct bench_step s = {
        .start_us = clock_now_us(), .n_prefill_tokens = plan->n_prefill_tokens, .n_decodes = plan->n_decodes};
    enum weft_rc rc = exec_step(b->inner, plan, out, err);
    s.end_us = clock_now_us();
    if (rc == WEFT_OK && take_note(b->log, s)) {
        const struct exec_cl_profile_row *rows;
        exec_cl_profile(b->inner, &rows);
    }
    return rc;
}

static enum weft_rc recover(struct exec *x, bool *lost, struct weft_err *err)
{
    struct bench_exec *b = (struct bench_exec *)x;
    *lost = false;
    return b->inner->v->recover ? b->inner->v->recover(b->inner, lost, err) : WEFT_OK;
}

static void keep_profile(struct bench_exec *b)
{
    const struct exec_cl_profile_row *rows;
    unsigned n = exec_cl_profile(b->inner, &rows);
    struct bench_kernel *kernels = n ? mem_calloc(n, sizeof *kernels) : NULL;
    if (!kernels)
        return;
    for (unsigned i = 0; i < n; i++) {
        snprintf(kernels[i].name, sizeof kernels[i].name, "%s", rows[i].kernel);
        kernels[i].calls = rows[i].calls;
        kernels[i].total_us = rows[i].total_us;
    }
    pthread_mutex_lock(&b->log->lock);
    b->log->kernels = kernels;
    b->log->n_kernels = n;
    pthread_mutex_unlock(&b->log->lock);
}

static void destroy(struct exec *x)
{
    struct bench_exec *b = (struct bench_exec *)x;
    keep_profile(b);
    exec_destroy(b->inner);
    mem_free(b);
}

static const struct exec_vtab vtab = {.step = step, .recover = recover, .destroy = destroy};

enum weft_rc bench_exec_wrap(void *ctx, const struct model *model, struct exec **x, struct weft_err *err)
{
    struct bench_log *log = ctx;
    enum weft_rc rc = exec_cl_peaks(*x, &log->peaks, err);
    if (rc)
        return rc;
    struct bench_exec *b = mem_calloc(1, sizeof *b);
    if (!b)
        return weft_err_nomem(err, "bench", sizeof *b);
    *b = (struct bench_exec){.base = {.v = &vtab, .info = (*x)->info}, .inner = *x, .log = log};
    log->info = b->base.info;
    snprintf(log->model, sizeof log->model, "%.95s", model->name);
    *x = &b->base;
    return WEFT_OK;
}
