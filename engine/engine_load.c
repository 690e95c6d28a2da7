/*
 * LOADING and WARMING: the model and its executor come up on the engine thread, while a screen already shows
 * how far.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

void engine_progress(struct engine *e, const char *what, double fraction)
{
    const char *name = e->n_units > 1 && e->loading ? e->loading->name : "";
    const char *colon = *name ? ": " : "";
    if (fraction >= 0 && fraction <= 1)
        snprintf(e->detail, sizeof e->detail, "%s%s%s %d %%", name, colon, what, (int)(fraction * 100));
    else
        snprintf(e->detail, sizeof e->detail, "%s%s%s", name, colon, what);
    if (atomic_load(&e->state) != ENGINE_READY)
        engine_take_commands(e); /* who waits may give up; a READY engine is in the midst of a command */
    engine_publish(e);
}

enum weft_rc unit_load(struct unit *u, struct weft_err *err)
{
    struct engine *e = u->engine;
    enum weft_rc rc = u->cfg.load(u->cfg.load_ctx, e, &u->model, &u->exec, err);
    if (rc)
        return rc;
    const struct exec_info *x = &u->exec->info;
    if (!u->name[0])
        snprintf(u->name, sizeof u->name, "%s", u->model ? u->model->name : "sim");
    struct sched_config sc = {
        .fifo = e->cfg.fifo,
        .one_at_a_time = !e->cfg.batching,
        .aging_rate = e->cfg.aging_rate,
        .max_batch_size = e->cfg.max_batch_size,
        .max_batch_tokens = e->cfg.max_batch_tokens,
        .max_depth = e->cfg.max_depth,
        .reject_when_full = e->cfg.reject_when_full,
        .n_blocks = x->n_blocks,
        .block_tokens = x->block_tokens,
        .n_ctx = x->n_ctx,
        .preemption = e->cfg.preemption,
        .max_preemptions = e->cfg.max_preemptions,
        .n_park_slots = x->n_park_slots,
        .prefix_cache = e->cfg.prefix_cache,
        .min_batch_size = e->cfg.min_batch_size,
        .batch_timeout_us = (int64_t)(e->cfg.batch_timeout_ms * 1e3),
        .adaptive_timeout = e->cfg.adaptive_timeout,
        .itl_target_us = (int64_t)(e->cfg.itl_target_ms * 1e3),
        .max_logits = e->cfg.max_logits,
        .resource = e->cfg.limit_memory ? &e->resource : NULL,
        .emit = engine_on_sched_event,
        .emit_ctx = u,
    };
    if (mem_grow(&e->owners, &e->cap_owners, x->n_blocks, sizeof *e->owners))
        return weft_err_nomem(err, "unit_load", x->n_blocks * sizeof *e->owners);
    return sched_create(&sc, &u->sched, err);
}

/* ---- warming ---- */

/* A shape class: how many sequences, and tokens of each. */
struct shape {
    uint32_t n_items, tokens_each;
};

static enum weft_rc check_finite(const struct exec_out *out, uint32_t n_vocab, struct weft_err *err)
{
    for (uint32_t r = 0; r < out->n_rows; r++) {
        const float *logits = out->rows[r].logits;
        for (uint32_t i = 0; logits && i < n_vocab; i++) {
            if (isfinite(logits[i]))
                continue;
            weft_err_set(err, WEFT_MODEL_LOAD_FAILED, "the model computes %g as the logit of token %u",
                         logits[i], i);
            weft_err_str(err, "field", "logits");
            weft_err_num(err, "value", i);
            weft_err_str(err, "limit", "finite");
            return WEFT_MODEL_LOAD_FAILED;
        }
    }
    return WEFT_OK;
}

/* Runs one step of that shape over blocks that nobody owns yet. */
static enum weft_rc warm_step(struct unit *u, struct shape s, struct weft_err *err)
{
    const struct exec_info *x = &u->exec->info;
    uint32_t blocks_each = (s.tokens_each + x->block_tokens - 1) / x->block_tokens;
    enum weft_rc rc = WEFT_OK;
    struct plan_item *items = mem_calloc(s.n_items, sizeof *items);
    uint32_t *tokens = mem_calloc(s.tokens_each, sizeof *tokens);
    uint32_t *blocks = mem_calloc((size_t)s.n_items * blocks_each, sizeof *blocks);
    if (!items || !tokens || !blocks) {
        rc = weft_err_nomem(err, "unit_warm", s.n_items * (sizeof *items + blocks_each * sizeof *blocks));
        goto out;
    }
    for (uint32_t i = 0; i < s.tokens_each; i++)
        tokens[i] = i % x->n_vocab;
    for (uint32_t i = 0; i < s.n_items * blocks_each; i++)
        blocks[i] = i;
    for (uint32_t i = 0; i < s.n_items; i++)
        items[i] = (struct plan_item){
            .tokens = tokens,
            .n_tokens = s.tokens_each,
            .blocks = blocks + (size_t)i * blocks_each,
            .n_blocks = blocks_each,
            .n_logits = 1,
            .prefill = true,
        };
    struct plan plan = {
        .budget = u->engine->cfg.max_batch_tokens,
        .n_tokens = s.n_items * s.tokens_each,
        .n_prefill_tokens = s.n_items * s.tokens_each,
        .n_prefills = s.n_items,
        .items = items,
        .n_items = s.n_items,
    };
    struct exec_out out;
    if (!(rc = exec_step(u->exec, &plan, &out, err)))
        rc = check_finite(&out, x->n_vocab, err);
    else if (err)
        err->code = rc = WEFT_MODEL_LOAD_FAILED;
out:
    mem_free(items);
    mem_free(tokens);
    mem_free(blocks);
    return rc;
}

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t m = a < b ? a : b;
    return m < c ? m : c;
}

enum weft_rc unit_warm(struct unit *u, struct weft_err *err)
{
    /* A prompt long enough for every tile of tokens; a whole budget would run the same kernels for longer. */
    enum { SMALL = 8, PROMPT = 64 };
    struct engine *e = u->engine;
    const struct exec_info *x = &u->exec->info;
    uint64_t slots = (uint64_t)x->n_blocks * x->block_tokens;
    const struct shape shapes[] = {
        {1, 1},
        {min3(SMALL, e->cfg.max_batch_size, x->n_blocks), 1},
        {1, min3(e->cfg.max_batch_tokens, x->n_ctx, slots < PROMPT ? (uint32_t)slots : PROMPT)},
    };
    enum { N_SHAPES = sizeof shapes / sizeof *shapes };
    int64_t start = clock_now_us(), limit_us = e->cfg.warm_timeout_ms * 1000;
    enum weft_rc rc = WEFT_OK;
    for (int i = 0; i < N_SHAPES && !rc; i++) {
        engine_progress(e, "warming up", (double)i / N_SHAPES);
        rc = warm_step(u, shapes[i], err);
        int64_t took = clock_now_us() - start;
        if (!rc && limit_us > 0 && took > limit_us) {
            rc = weft_err_set(err, WEFT_MODEL_LOAD_FAILED,
                              "warming up takes longer than %lld ms: %lld ms so far",
                              (long long)e->cfg.warm_timeout_ms, (long long)(took / 1000));
            weft_err_str(err, "field", "model.warm_timeout_ms");
            weft_err_num(err, "value", (double)took / 1e3);
            weft_err_num(err, "limit", (double)e->cfg.warm_timeout_ms);
        }
    }
    return rc;
}
