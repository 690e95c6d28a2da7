#include "engine/exec/exec_sim.h"

#include <math.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"

/* A token's stand-in for K and V. `digest` sums up the values of its block up to and with its own, so that a
 * history is read back block by block instead of slot by slot; it is made from what the block holds and moves
 * with it. */
struct slot {
    uint32_t token;
    uint64_t value;
    uint64_t digest;
};

struct sim {
    struct exec exec; /* first: see exec.h */
    struct exec_sim_config cfg;
    struct slot *slots;  /* n_blocks × block_tokens */
    struct slot *parked; /* n_park_slots × block_tokens */
    struct exec_row *rows;
    size_t cap_rows;
    uint64_t steps, fail_at, swap_at;
};

static struct slot *block_in(struct slot *area, const struct sim *x, uint32_t block)
{
    return area + (size_t)block * x->cfg.block_tokens;
}

static uint32_t entry(const struct plan_item *it, uint32_t i, bool swapped)
{
    return it->blocks[swapped && i < 2 ? 1 - i : i];
}

/* The hash of a history that ends with a block's slot: `before` covers the blocks before it. */
static uint64_t history(uint64_t before, const struct slot *last)
{
    return mix64(before ^ last->digest);
}

/* Computes one item: writes its slots, and a row for each of its last n_logits tokens. */
static struct exec_row *compute(struct sim *x, const struct plan_item *it, bool swapped, struct exec_row *row)
{
    uint32_t size = x->cfg.block_tokens;
    uint64_t before = 0; /* hash of the blocks before the present one */
    for (uint32_t i = 0; i < it->pos / size; i++)
        before = history(before, block_in(x->slots, x, entry(it, i, swapped)) + size - 1);
    for (uint32_t i = 0; i < it->n_tokens; i++) {
        uint32_t pos = it->pos + i, at = pos % size;
        struct slot *block = block_in(x->slots, x, entry(it, pos / size, swapped));
        uint64_t past = at ? history(before, &block[at - 1]) : before;
        block[at].token = it->tokens[i];
        block[at].value = mix64(past + it->tokens[i] + 1);
        block[at].digest = mix64((at ? block[at - 1].digest : size) ^ block[at].value);
        uint64_t now = history(before, &block[at]);
        if (it->n_tokens - i <= it->n_logits)
            *row++ = (struct exec_row){.token = (uint32_t)(mix64(now) % x->cfg.n_vocab)};
        if (at == size - 1)
            before = now;
    }
    return row;
}

static void copy_blocks(struct sim *x, struct slot *from, struct slot *to, const struct plan_copy *c,
                        uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        memcpy(block_in(to, x, c[i].dst), block_in(from, x, c[i].src),
               x->cfg.block_tokens * sizeof(struct slot));
}

static int64_t cost_us(const struct sim *x, const struct plan *p)
{
    double context = 0;
    for (uint32_t i = 0; i < p->n_items; i++)
        context += (double)p->items[i].pos + p->items[i].n_tokens;
    const struct exec_sim_config *c = &x->cfg;
    return (int64_t)llround(c->step_us + c->prefill_us * p->n_prefill_tokens + c->decode_us * p->n_decodes +
                            c->context_us * context / 1000 +
                            c->park_us * ((double)p->n_parks + p->n_restores));
}

/* What a device that failed midway may leave behind. */
static void spoil(struct sim *x, const struct plan *p)
{
    size_t bytes = x->cfg.block_tokens * sizeof(struct slot);
    for (uint32_t i = 0; i < p->n_parks; i++)
        memset(block_in(x->parked, x, p->parks[i].dst), 0xa5, bytes);
    for (uint32_t i = 0; i < p->n_restores; i++)
        memset(block_in(x->slots, x, p->restores[i].dst), 0xa5, bytes);
    for (uint32_t i = 0; i < p->n_copies; i++)
        memset(block_in(x->slots, x, p->copies[i].dst), 0xa5, bytes);
    for (uint32_t i = 0; i < p->n_items; i++) {
        const struct plan_item *it = &p->items[i];
        for (uint32_t j = it->pos / x->cfg.block_tokens; j * x->cfg.block_tokens < it->pos + it->n_tokens;
             j++)
            memset(block_in(x->slots, x, it->blocks[j]), 0xa5, bytes);
    }
}

static enum weft_rc step(struct exec *exec, const struct plan *p, struct exec_out *out, struct weft_err *err)
{
    struct sim *x = (struct sim *)(void *)exec;
    size_t n_rows = 0;
    x->steps++;
    for (uint32_t i = 0; i < p->n_items; i++)
        n_rows += p->items[i].n_logits;
    if (mem_grow(&x->rows, &x->cap_rows, n_rows, sizeof(*x->rows)))
        return weft_err_nomem(err, "simulated logits", n_rows * sizeof(*x->rows));
    if (x->steps == x->fail_at) {
        spoil(x, p);
        weft_err_set(err, WEFT_BATCH_FAILED, "step %llu failed: asked to", (unsigned long long)p->step);
        weft_err_num(err, "step", (double)p->step);
        weft_err_str(err, "reason", "asked to fail");
        return WEFT_BATCH_FAILED;
    }
    copy_blocks(x, x->slots, x->parked, p->parks, p->n_parks);
    copy_blocks(x, x->parked, x->slots, p->restores, p->n_restores);
    copy_blocks(x, x->slots, x->slots, p->copies, p->n_copies);
    bool swap = x->steps == x->swap_at;
    struct exec_row *row = x->rows;
    for (uint32_t i = 0; i < p->n_items; i++) {
        bool swapped = swap && p->items[i].n_blocks > 1 && p->items[i].pos >= x->cfg.block_tokens;
        row = compute(x, &p->items[i], swapped, row);
        swap = swap && !swapped;
    }
    *out = (struct exec_out){.rows = x->rows, .n_rows = (uint32_t)n_rows, .dur_us = cost_us(x, p)};
    return WEFT_OK;
}

static void destroy(struct exec *exec)
{
    struct sim *x = (struct sim *)(void *)exec;
    mem_free(x->slots);
    mem_free(x->parked);
    mem_free(x->rows);
    mem_free(x);
}

static const struct exec_vtab vtab = {.step = step, .destroy = destroy};

static enum weft_rc check(const struct exec_sim_config *c, struct weft_err *err)
{
    const struct {
        const char *key;
        double value, min;
    } values[] = {
        {"sim.step_us", c->step_us, 0},
        {"sim.prefill_us", c->prefill_us, 0},
        {"sim.decode_us", c->decode_us, 0},
        {"sim.context_us", c->context_us, 0},
        {"sim.park_us", c->park_us, 0},
        {"sim.vocab", c->n_vocab, 1},
        {"sim.context", c->n_ctx, 1},
        {"sim.blocks", c->n_blocks, 1},
        {"kv.block_tokens", c->block_tokens, 1},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i].value >= values[i].min)
            continue;
        weft_err_set(err, WEFT_CONFIG_INVALID, "%s is %g; allowed: %g and more", values[i].key,
                     values[i].value, values[i].min);
        weft_err_str(err, "key", values[i].key);
        weft_err_num(err, "value", values[i].value);
        return WEFT_CONFIG_INVALID;
    }
    return WEFT_OK;
}

enum weft_rc exec_sim_create(const struct exec_sim_config *cfg, struct exec **out, struct weft_err *err)
{
    enum weft_rc rc = check(cfg, err);
    if (rc)
        return rc;
    struct sim *x = mem_calloc(1, sizeof(*x));
    if (!x)
        return weft_err_nomem(err, "simulated executor", sizeof(*x));
    size_t block = cfg->block_tokens * sizeof(struct slot);
    x->cfg = *cfg;
    x->exec.v = &vtab;
    x->exec.info = (struct exec_info){
        .name = "sim",
        .device = "simulated device",
        .precision = "sim",
        .n_vocab = cfg->n_vocab,
        .n_ctx = cfg->n_ctx,
        .block_tokens = cfg->block_tokens,
        .n_blocks = cfg->n_blocks,
        .n_park_slots = cfg->n_park_slots,
        .block_bytes = cfg->block_bytes,
        .device_bytes = cfg->block_bytes * cfg->n_blocks,
        .host_memory = true,
    };
    x->slots = mem_calloc(cfg->n_blocks, block);
    x->parked = mem_calloc(cfg->n_park_slots, block);
    if (!x->slots || !x->parked) {
        destroy(&x->exec);
        return weft_err_nomem(err, "simulated blocks", cfg->n_blocks * block);
    }
    *out = &x->exec;
    return WEFT_OK;
}

void exec_sim_fail_at(struct exec *exec, uint64_t nth)
{
    struct sim *x = (struct sim *)(void *)exec;
    x->fail_at = nth ? x->steps + nth : 0;
}

void exec_sim_swap_at(struct exec *exec, uint64_t nth)
{
    struct sim *x = (struct sim *)(void *)exec;
    x->swap_at = nth ? x->steps + nth : 0;
}
