#include "tests/support/fake_exec.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/hash.h"

void fake_exec_logits(const uint32_t *ids, uint32_t n, uint32_t n_vocab, float *logits)
{
    uint64_t h = FNV1A64_INIT;
    for (uint32_t i = 0; i < n; i++)
        h = fnv1a64_u32(h, ids[i]);
    struct rng r;
    rng_seed(&r, h);
    for (uint32_t i = 0; i < n_vocab; i++)
        logits[i] = (float)(rng_unit(&r) * 8 - 4);
}

static void shifted_logits(const struct fake_exec *f, const uint32_t *ids, uint32_t n, uint32_t n_vocab,
                           float *logits)
{
    fake_exec_logits(ids, n, n_vocab, logits);
    for (uint32_t k = 0; k < f->shift; k++) {
        float last = logits[n_vocab - 1];
        memmove(logits + 1, logits, (n_vocab - 1) * sizeof *logits);
        logits[0] = last;
    }
}

/* Before a step: the gate, and what is to go wrong with it. */
static bool enter_step(struct fake_exec *f, bool *nan)
{
    pthread_mutex_lock(&f->lock);
    uint64_t k = ++f->n_steps;
    pthread_cond_broadcast(&f->changed);
    while (f->gated && !f->permits)
        pthread_cond_wait(&f->changed, &f->lock);
    if (f->gated)
        f->permits--;
    bool ok = k != f->fail_step;
    *nan = k == f->nan_step;
    struct timespec ts = {.tv_sec = f->step_us / 1000000, .tv_nsec = f->step_us % 1000000 * 1000};
    pthread_mutex_unlock(&f->lock);
    if (ts.tv_sec || ts.tv_nsec)
        nanosleep(&ts, NULL);
    return ok;
}

static enum weft_rc step(struct exec *x, const struct plan *plan, struct exec_out *out, struct weft_err *err)
{
    struct fake_exec *f = (struct fake_exec *)x;
    const struct exec_info *info = &x->info;
    uint32_t n_rows = 0;
    bool nan;
    if (!enter_step(f, &nan)) {
        weft_err_set(err, WEFT_BATCH_FAILED, "the fake executor was told to fail");
        weft_err_num(err, "step", (double)plan->step);
        weft_err_str(err, "reason", "told to");
        return WEFT_BATCH_FAILED;
    }
    for (uint32_t i = 0; i < plan->n_items; i++)
        n_rows += plan->items[i].n_logits;
    if (n_rows > f->cap_rows) {
        f->cap_rows = n_rows;
        f->logits = realloc(f->logits, (size_t)n_rows * info->n_vocab * sizeof *f->logits);
        f->rows = realloc(f->rows, n_rows * sizeof *f->rows);
    }
    uint32_t *history = malloc((size_t)info->n_ctx * sizeof *history), row = 0;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        const struct plan_item *it = &plan->items[i];
        for (uint32_t k = 0; k < it->n_tokens; k++) {
            uint32_t p = it->pos + k;
            f->slots[it->blocks[p / info->block_tokens] * info->block_tokens + p % info->block_tokens] =
                it->tokens[k];
        }
        for (uint32_t p = 0; p < it->pos + it->n_tokens; p++)
            history[p] =
                f->slots[it->blocks[p / info->block_tokens] * info->block_tokens + p % info->block_tokens];
        for (uint32_t k = 0; k < it->n_logits; k++, row++) {
            float *logits = f->logits + (size_t)row * info->n_vocab;
            shifted_logits(f, history, it->pos + it->n_tokens - it->n_logits + k + 1, info->n_vocab, logits);
            if (f->script)
                logits[f->script[it->pos + it->n_tokens - it->n_logits + k + 1]] = 50;
            if (nan && !row)
                logits[0] = NAN;
            f->rows[row] = (struct exec_row){.logits = logits};
        }
    }
    free(history);
    *out = (struct exec_out){.rows = f->rows, .n_rows = n_rows, .dur_us = f->step_us ? f->step_us : 1};
    return WEFT_OK;
}

static enum weft_rc recover(struct exec *x, bool *lost, struct weft_err *err)
{
    struct fake_exec *f = (struct fake_exec *)x;
    pthread_mutex_lock(&f->lock);
    f->n_recovers++;
    *lost = f->lose_kv;
    for (uint32_t i = 0; *lost && i < f->x.info.n_blocks * f->x.info.block_tokens; i++)
        f->slots[i] = 0;
    bool fails = f->recover_fails;
    pthread_mutex_unlock(&f->lock);
    return fails ? weft_err_set(err, WEFT_NO_DEVICE, "the fake device is gone") : WEFT_OK;
}

static void destroy(struct exec *x)
{
    struct fake_exec *f = (struct fake_exec *)x;
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f->slots);
    free(f->logits);
    free(f->rows);
    free(f);
}

static bool idle(struct exec *x)
{
    struct fake_exec *f = (struct fake_exec *)x;
    pthread_mutex_lock(&f->lock);
    const bool more = f->idle_left > 0;
    f->n_idle += more;
    f->idle_left -= more;
    pthread_mutex_unlock(&f->lock);
    return more;
}

static const struct exec_vtab vtab = {.step = step, .recover = recover, .destroy = destroy, .idle = idle};

struct fake_exec *fake_exec_create(uint32_t n_vocab, uint32_t n_ctx, uint32_t n_blocks, uint32_t block_tokens)
{
    struct fake_exec *f = calloc(1, sizeof *f);
    f->x.v = &vtab;
    f->x.info = (struct exec_info){.name = "fake",
                                   .device = "no device",
                                   .precision = "fp32",
                                   .n_vocab = n_vocab,
                                   .n_ctx = n_ctx,
                                   .block_tokens = block_tokens,
                                   .n_blocks = n_blocks,
                                   .host_memory = true};
    f->slots = calloc((size_t)n_blocks * block_tokens, sizeof *f->slots);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    return f;
}

void fake_exec_gate(struct fake_exec *f, bool gated)
{
    pthread_mutex_lock(&f->lock);
    f->gated = gated;
    f->permits = 0;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

void fake_exec_permit(struct fake_exec *f, uint64_t n)
{
    pthread_mutex_lock(&f->lock);
    f->permits += n;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

bool fake_exec_wait_step(struct fake_exec *f, uint64_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&f->lock);
    while (f->n_steps < n && pthread_cond_timedwait(&f->changed, &f->lock, &until) != ETIMEDOUT)
        ;
    bool reached = f->n_steps >= n;
    pthread_mutex_unlock(&f->lock);
    return reached;
}

uint64_t fake_exec_steps(struct fake_exec *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t n = f->n_steps;
    pthread_mutex_unlock(&f->lock);
    return n;
}

uint64_t fake_exec_idles(struct fake_exec *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t n = f->n_idle;
    pthread_mutex_unlock(&f->lock);
    return n;
}

void fake_exec_want_idle(struct fake_exec *f, uint64_t n)
{
    pthread_mutex_lock(&f->lock);
    f->idle_left = n;
    pthread_mutex_unlock(&f->lock);
}
