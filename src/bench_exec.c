#include "src/bench_exec.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"

struct bench_exec {
    struct exec base; /* first: an executor */
    struct exec *inner;
    struct bench_log *log;
};

void bench_record_free(struct bench_record *r)
{
    mem_free(r->steps);
    for (unsigned p = 0; p < BENCH_PHASES; p++)
        mem_free(r->kernels[p]);
    *r = (struct bench_record){.steps = NULL};
}

void bench_log_init(struct bench_log *log)
{
    *log = (struct bench_log){.batch = 0};
    pthread_mutex_init(&log->lock, NULL);
}

void bench_log_deinit(struct bench_log *log)
{
    bench_record_free(&log->record);
    mem_free(log->peaks);
    pthread_mutex_destroy(&log->lock);
}

void bench_log_begin(struct bench_log *log, uint32_t batch)
{
    pthread_mutex_lock(&log->lock);
    bench_record_free(&log->record);
    log->batch = batch;
    log->want_peaks = true;
    pthread_mutex_unlock(&log->lock);
}

enum weft_rc bench_log_take(struct bench_log *log, struct bench_record *out, struct weft_err *err)
{
    pthread_mutex_lock(&log->lock);
    *out = log->record;
    log->record = (struct bench_record){.steps = NULL};
    bool incomplete = log->out_of_memory;
    pthread_mutex_unlock(&log->lock);
    return incomplete ? weft_err_nomem(err, "bench", sizeof *out->steps) : WEFT_OK;
}

void bench_log_end(struct bench_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->want_peaks = true;
    pthread_mutex_unlock(&log->lock);
}

/* ---- on the engine thread ---- */

static bool peaks_are_wanted(struct bench_log *log)
{
    pthread_mutex_lock(&log->lock);
    bool wanted = log->want_peaks;
    log->want_peaks = false;
    pthread_mutex_unlock(&log->lock);
    return wanted;
}

static enum bench_phase phase_of(const struct bench_log *log, const struct plan *plan)
{
    if (plan->n_decodes == 0)
        return plan->n_prefill_tokens ? BENCH_PREFILL : BENCH_OTHER;
    return plan->n_prefill_tokens == 0 && plan->n_decodes == log->batch ? BENCH_DECODE : BENCH_OTHER;
}

static bool add_kernel(struct bench_record *r, enum bench_phase phase, const struct exec_cl_profile_row *row)
{
    size_t i = 0, *n = &r->n_kernels[phase];
    while (i < *n && strcmp(r->kernels[phase][i].name, row->kernel) != 0)
        i++;
    if (i == *n) {
        if (mem_grow(&r->kernels[phase], &r->cap_kernels[phase], *n + 1, sizeof **r->kernels))
            return false;
        r->kernels[phase][i] = (struct bench_kernel){.calls = 0};
        snprintf(r->kernels[phase][i].name, sizeof r->kernels[phase][i].name, "%s", row->kernel);
        ++*n;
    }
    r->kernels[phase][i].calls += row->calls;
    r->kernels[phase][i].total_us += row->total_us;
    return true;
}

/* A record that can't be kept ends the run when it is taken. */
static void keep(struct bench_exec *b, const struct plan *plan, struct bench_step step)
{
    struct bench_log *log = b->log;
    struct bench_record *r = &log->record;
    const struct exec_cl_profile_row *rows;
    unsigned n = exec_cl_profile(b->inner, &rows);
    pthread_mutex_lock(&log->lock);
    step.phase = phase_of(log, plan);
    bool kept = mem_grow(&r->steps, &r->cap_steps, r->n_steps + 1, sizeof step) == 0;
    if (kept)
        r->steps[r->n_steps++] = step;
    for (unsigned i = 0; i < n && kept; i++)
        kept = add_kernel(r, step.phase, &rows[i]);
    log->out_of_memory |= !kept;
    pthread_mutex_unlock(&log->lock);
}

static enum weft_rc measure_peaks(struct bench_exec *b, struct weft_err *err)
{
    struct bench_log *log = b->log;
    struct exec_cl_peaks peaks;
    enum weft_rc rc = exec_cl_peaks(b->inner, &peaks, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&log->lock);
    if (mem_grow(&log->peaks, &log->cap_peaks, log->n_peaks + 1, sizeof peaks))
        rc = weft_err_nomem(err, "bench", sizeof peaks);
    else
        log->peaks[log->n_peaks++] = peaks;
    pthread_mutex_unlock(&log->lock);
    return rc;
}

static enum weft_rc step(struct exec *x, const struct plan *plan, struct exec_out *out, struct weft_err *err)
{
    struct bench_exec *b = (struct bench_exec *)x;
    enum weft_rc rc = peaks_are_wanted(b->log) ? measure_peaks(b, err) : WEFT_OK;
    if (rc)
        return rc;
    struct bench_step s = {.start_us = clock_now_us(), .n_tokens = plan->n_prefill_tokens + plan->n_decodes};
    rc = exec_step(b->inner, plan, out, err);
    s.end_us = clock_now_us();
    if (rc == WEFT_OK)
        keep(b, plan, s);
    return rc;
}

static enum weft_rc recover(struct exec *x, bool *lost, struct weft_err *err)
{
    struct bench_exec *b = (struct bench_exec *)x;
    *lost = false;
    return b->inner->v->recover ? b->inner->v->recover(b->inner, lost, err) : WEFT_OK;
}

/* The last row's peaks "after" it; should they fail, those before it are all there is. */
static void destroy(struct exec *x)
{
    struct bench_exec *b = (struct bench_exec *)x;
    if (peaks_are_wanted(b->log))
        measure_peaks(b, NULL);
    exec_destroy(b->inner);
    mem_free(b);
}

static const struct exec_vtab vtab = {.step = step, .recover = recover, .destroy = destroy};

enum weft_rc bench_exec_wrap(void *ctx, const struct model *model, struct exec **x, struct weft_err *err)
{
    struct bench_log *log = ctx;
    struct bench_exec *b = mem_calloc(1, sizeof *b);
    if (!b)
        return weft_err_nomem(err, "bench", sizeof *b);
    *b = (struct bench_exec){.base = {.v = &vtab, .info = (*x)->info}, .inner = *x, .log = log};
    log->info = b->base.info;
    snprintf(log->model, sizeof log->model, "%.95s", model->name);
    *x = &b->base;
    return WEFT_OK;
}
