#include "engine/exec/batch.h"

#include <string.h>

#include "engine/base/mem.h"

static uint32_t div_up(uint32_t n, uint32_t by)
{
    return (n + by - 1) / by;
}

enum weft_rc batch_init(struct batch *b, const struct batch_limits *limits, struct weft_err *err)
{
    const uint32_t parts = div_up(limits->n_ctx, OPS_PART);
    *b = (struct batch){.limits = *limits,
                        .max_tables = limits->max_items * div_up(limits->n_ctx, limits->block_tokens),
                        .max_jobs = limits->max_tokens + limits->split_jobs * parts,
                        .max_partials = limits->split_jobs * parts};
    b->tokens = mem_calloc(limits->max_tokens, sizeof *b->tokens);
    b->tables = mem_calloc(b->max_tables, sizeof *b->tables);
    b->decode = mem_calloc(b->max_jobs, sizeof *b->decode);
    b->prefill = mem_calloc(b->max_jobs, sizeof *b->prefill);
    b->merges = mem_calloc(limits->max_tokens, sizeof *b->merges);
    b->rows = mem_calloc(limits->max_logits, sizeof *b->rows);
    if (b->tokens && b->tables && b->decode && b->prefill && b->merges && b->rows)
        return WEFT_OK;
    batch_deinit(b);
    return weft_err_nomem(err, "batch", (size_t)limits->max_tokens * sizeof *b->tokens);
}

void batch_deinit(struct batch *b)
{
    void *all[] = {b->tokens, b->tables, b->decode, b->prefill, b->merges, b->rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    *b = (struct batch){0};
}

static enum weft_rc refuse(struct weft_err *err, const struct plan *plan, const char *what, uint64_t value,
                           uint64_t limit)
{
    weft_err_set(err, WEFT_BATCH_FAILED, "step %llu: %s is %llu, the limit %llu",
                 (unsigned long long)plan->step, what, (unsigned long long)value, (unsigned long long)limit);
    weft_err_num(err, "step", (double)plan->step);
    weft_err_str(err, "reason", what);
    return WEFT_BATCH_FAILED;
}

/* Refuses an item that would read or write out of bounds. */
static enum weft_rc check_item(const struct batch *b, const struct plan *plan, const struct plan_item *it,
                               struct weft_err *err)
{
    const struct batch_limits *l = &b->limits;
    const uint64_t end = (uint64_t)it->pos + it->n_tokens;
    if (!it->n_tokens || it->n_tokens > l->max_tokens - b->n_tokens)
        return refuse(err, plan, "a chunk's tokens", it->n_tokens, l->max_tokens - b->n_tokens);
    if (end > l->n_ctx)
        return refuse(err, plan, "a sequence's length", end, l->n_ctx);
    if ((uint64_t)it->n_blocks * l->block_tokens < end)
        return refuse(err, plan, "a sequence's length", end, (uint64_t)it->n_blocks * l->block_tokens);
    if (it->n_logits > it->n_tokens || it->n_logits > l->max_logits - b->n_rows)
        return refuse(err, plan, "the number of logits rows", it->n_logits, l->max_logits - b->n_rows);
    for (uint32_t i = 0; i < it->n_tokens; i++)
        if (it->tokens[i] >= l->n_vocab)
            return refuse(err, plan, "a token id", it->tokens[i], l->n_vocab - 1);
    for (uint32_t i = 0; i < div_up((uint32_t)end, l->block_tokens); i++)
        if (it->blocks[i] >= l->n_blocks)
            return refuse(err, plan, "a block's number", it->blocks[i], l->n_blocks - 1);
    return WEFT_OK;
}

/* Attention jobs of a single token: one for all parts, or one for each and a merge. */
static void add_decode(struct batch *b, uint32_t row, uint32_t pos, uint32_t table, bool split)
{
    const uint32_t parts = pos / OPS_PART + 1;
    struct ops_job job = {(cl_int)row, 1, (cl_int)pos, (cl_int)table, 0, (cl_int)parts, -1, 0};
    if (!split || parts == 1) {
        b->decode[b->n_decode++] = job;
        return;
    }
    b->merges[b->n_merges++] = (struct ops_merge){(cl_int)row, (cl_int)b->n_partials, (cl_int)parts, 0};
    for (uint32_t part = 0; part < parts; part++) {
        job.first_part = (cl_int)part;
        job.n_parts = 1;
        job.partial = (cl_int)b->n_partials++;
        b->decode[b->n_decode++] = job;
    }
}

static void add_prefill(struct batch *b, uint32_t row, uint32_t n, uint32_t pos, uint32_t table)
{
    for (uint32_t i = 0; i < n; i += OPS_ATTENTION_TOKENS) {
        uint32_t take = n - i < OPS_ATTENTION_TOKENS ? n - i : OPS_ATTENTION_TOKENS;
        uint32_t parts = (pos + i + take - 1) / OPS_PART + 1;
        b->prefill[b->n_prefill++] = (struct ops_job){
            (cl_int)(row + i), (cl_int)take, (cl_int)(pos + i), (cl_int)table, 0, (cl_int)parts, -1, 0};
    }
}

static void add_item(struct batch *b, const struct plan_item *it, bool split)
{
    const uint32_t bt = b->limits.block_tokens, first = b->n_tokens, table = b->n_tables;
    const uint32_t used = div_up(it->pos + it->n_tokens, bt);
    for (uint32_t i = 0; i < used; i++)
        b->tables[b->n_tables++] = (cl_int)it->blocks[i];
    for (uint32_t i = 0; i < it->n_tokens; i++) {
        uint32_t pos = it->pos + i;
        b->tokens[b->n_tokens++] = (struct ops_token){(cl_int)it->tokens[i], (cl_int)pos,
                                                      (cl_int)it->blocks[pos / bt], (cl_int)(pos % bt)};
    }
    for (uint32_t i = it->n_tokens - it->n_logits; i < it->n_tokens; i++)
        b->rows[b->n_rows++] = (cl_int)(first + i);
    if (it->n_tokens == 1)
        add_decode(b, first, it->pos, table, split);
    else
        add_prefill(b, first, it->n_tokens, it->pos, table);
}

enum weft_rc batch_build(struct batch *b, const struct plan *plan, struct weft_err *err)
{
    uint32_t singles = 0;
    b->n_tokens = b->n_tables = b->n_decode = b->n_prefill = b->n_merges = b->n_partials = b->n_rows = 0;
    if (plan->n_items > b->limits.max_items)
        return refuse(err, plan, "the number of sequences", plan->n_items, b->limits.max_items);
    for (uint32_t i = 0; i < plan->n_items; i++)
        singles += plan->items[i].n_tokens == 1;
    for (uint32_t i = 0; i < plan->n_items; i++) {
        enum weft_rc rc = check_item(b, plan, &plan->items[i], err);
        if (rc)
            return rc;
        add_item(b, &plan->items[i], singles <= b->limits.split_jobs);
    }
    return WEFT_OK;
}
