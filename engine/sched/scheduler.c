#include "engine/sched/scheduler_int.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

static int64_t deadline(const struct request *r)
{
    return r->arrival_us + r->timeout_us;
}

/* Creation */

static enum weft_rc config_check(const struct sched_config *c, struct weft_err *err)
{
    const struct {
        const char *key;
        double value, min, max;
    } ranges[] = {
        {"kv.blocks", c->n_blocks, 1, UINT32_MAX - 1},
        {"kv.block_tokens", c->block_tokens, 1, 1 << 16},
        {"model.context", c->n_ctx, 1, INT32_MAX},
        {"scheduler.max_batch_size", c->max_batch_size, 1, 1 << 16},
        {"scheduler.max_batch_tokens", c->max_batch_tokens, c->max_batch_size, INT32_MAX},
        {"scheduler.aging_rate", c->aging_rate, 0, 1e6},
        {"queue.max_depth", c->max_depth, 1, 10e6},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)
            continue;
        weft_err_set(err, WEFT_CONFIG_INVALID, "%s is %g; allowed: %.0f to %.0f", ranges[i].key,
                     ranges[i].value, ranges[i].min, ranges[i].max);
        weft_err_str(err, "key", ranges[i].key);
        weft_err_num(err, "value", ranges[i].value);
        return WEFT_CONFIG_INVALID;
    }
    return WEFT_OK;
}

/* Grows *array, keeping its contents. */
static bool resize(void *array, uint32_t n, size_t size)
{
    void *p;
    memcpy(&p, array, sizeof p);
    p = mem_realloc(p, n, size);
    if (p)
        memcpy(array, &p, sizeof p);
    return p != NULL;
}

bool sched_reserve_seqs(struct sched *s, uint32_t n)
{
    if (n <= s->max_seqs)
        return true;
    bool ok = resize(&s->running, n, sizeof(*s->running)) && resize(&s->victims, n, sizeof(*s->victims)) &&
              resize(&s->shares, n, sizeof(*s->shares)) && resize(&s->pins, n, sizeof(*s->pins)) &&
              resize(&s->plan.items, n, sizeof(*s->plan.items)) &&
              resize(&s->plan.copies, n, sizeof(*s->plan.copies));
    if (ok)
        s->max_seqs = n;
    return ok;
}

static bool init_parking(struct sched *s)
{
    uint32_t n = s->cfg.n_park_slots;
    s->slots = mem_calloc(n, sizeof(*s->slots));
    s->slots_left = mem_calloc(n, sizeof(*s->slots_left));
    s->plan.parks = mem_calloc(n, sizeof(*s->plan.parks));
    s->plan.restores = mem_calloc(n, sizeof(*s->plan.restores));
    if (!s->slots || !s->slots_left || !s->plan.parks || !s->plan.restores)
        return false;
    while (s->n_slots < n) {
        s->slots[s->n_slots] = n - 1 - s->n_slots;
        s->n_slots++;
    }
    return true;
}

enum weft_rc sched_create(const struct sched_config *cfg, struct sched **out, struct weft_err *err)
{
    enum weft_rc rc = config_check(cfg, err);
    if (rc)
        return rc;
    struct sched *s = mem_calloc(1, sizeof(*s));
    if (!s)
        return weft_err_nomem(err, "scheduler", sizeof(*s));
    s->cfg = *cfg;
    s->idle_since_us = -1;
    s->pace.depth = cfg->min_batch_size; /* until known better, requests are expected to come together */
    rqueue_init(&s->queue, cfg->fifo, cfg->aging_rate);
    rheap_init(&s->deadlines, offsetof(struct request, deadline_pos));
    bool ok = blocks_init(&s->blocks, cfg->n_blocks) && sched_reserve_seqs(s, cfg->max_batch_size) &&
              init_parking(s);
    s->match = ok ? mem_calloc(cfg->n_blocks, sizeof(*s->match)) : NULL;
    ok = s->match && (!cfg->prefix_cache || prefix_init(&s->prefix, &s->blocks, cfg->block_tokens));
    if (!ok) {
        sched_destroy(s);
        return weft_err_nomem(err, "scheduler's tables", cfg->n_blocks);
    }
    *out = s;
    return WEFT_OK;
}

void sched_destroy(struct sched *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_running; i++)
        sched_release(s, s->running[i]);
    for (struct request *r; (r = rqueue_next(&s->queue));)
        sched_release(s, r);
    rindex_deinit(&s->index);
    rqueue_deinit(&s->queue);
    rheap_deinit(&s->deadlines);
    prefix_deinit(&s->prefix);
    blocks_deinit(&s->blocks);
    void *const owned[] = {s->running,    s->victims,     s->shares,        s->match,
                           s->plan.items, s->plan.copies, s->slots,         s->pins,
                           s->slots_left, s->plan.parks,  s->plan.restores, s};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        mem_free(owned[i]);
}

void sched_configure(struct sched *s, const struct sched_config *cfg, int64_t now_us)
{
    struct sched_config next = *cfg;
    /* What was built in at creation stays. */
    next.n_blocks = s->cfg.n_blocks;
    next.block_tokens = s->cfg.block_tokens;
    next.n_ctx = s->cfg.n_ctx;
    next.n_park_slots = s->cfg.n_park_slots;
    next.prefix_cache = s->cfg.prefix_cache;
    if (config_check(&next, NULL))
        return;
    bool reorder = next.fifo != s->cfg.fifo || next.aging_rate < s->cfg.aging_rate ||
                   next.aging_rate > s->cfg.aging_rate;
    s->cfg = next;
    if (reorder)
        rqueue_configure(&s->queue, next.fifo, next.aging_rate, now_us);
}

void sched_set_costs(struct sched *s, double park_us_per_block, double prefill_us_per_token)
{
    s->park_us = park_us_per_block;
    s->prefill_us = prefill_us_per_token;
}

/* Events and ends */

void sched_emit(struct sched *s, struct sched_event ev)
{
    if (s->cfg.emit)
        s->cfg.emit(s->cfg.emit_ctx, &ev);
}

void sched_end(struct sched *s, struct request *r, enum req_state end, enum finish_reason why, int64_t now_us)
{
    rqueue_cancel(&s->queue, r);
    sched_leave(s, r);
    rheap_remove(&s->deadlines, r);
    rindex_remove(&s->index, r);
    sched_release(s, r);
    req_end(r, end, now_us);
    r->finish = why;
    s->totals.completed += end == REQ_COMPLETED;
    s->totals.failed += end == REQ_FAILED || end == REQ_TIMEOUT;
    sched_emit(s, (struct sched_event){.type = SCHED_FINISH, .now_us = now_us, .req = r});
}

void sched_end_failed(struct sched *s, struct request *r, const struct weft_err *why, int64_t now_us)
{
    r->error = *why;
    sched_end(s, r, REQ_FAILED, FINISH_ERROR, now_us);
}

void sched_expire(struct sched *s, int64_t now_us)
{
    for (struct request *r; (r = rheap_first(&s->deadlines)) && deadline(r) <= now_us;) {
        bool never = r->scheduled_us < 0;
        double waited_ms = (double)(now_us - r->arrival_us) / 1e3, timeout_ms = (double)r->timeout_us / 1e3;
        weft_err_set(&r->error, never ? WEFT_QUEUE_TIMEOUT : WEFT_BATCH_TIMEOUT,
                     "request %s: %s after %.0f ms, timeout %.0f ms", r->id,
                     never ? "not scheduled" : "not finished", waited_ms, timeout_ms);
        weft_err_num(&r->error, "waited_ms", waited_ms);
        weft_err_num(&r->error, "timeout_ms", timeout_ms);
        sched_emit(s, (struct sched_event){.type = SCHED_TIMEOUT, .now_us = now_us, .req = r});
        sched_end(s, r, REQ_TIMEOUT, FINISH_TIMEOUT, now_us);
    }
}

/* Submission */

static enum weft_rc invalid(struct weft_err *err, const char *field, double value, double limit,
                            const char *what)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s is %.0f; %s %.0f", field, value, what, limit);
    weft_err_str(err, "field", field);
    weft_err_num(err, "value", value);
    weft_err_num(err, "limit", limit);
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc invalid_id(struct weft_err *err, const char *id, const char *what)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "id \"%s\" %s", id, what);
    weft_err_str(err, "field", "id");
    weft_err_str(err, "value", id);
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc check_fields(const struct sched *s, const struct request *r, struct weft_err *err)
{
    double total = (double)r->n_prompt + r->max_tokens;
    double pool = (double)s->cfg.n_blocks * s->cfg.block_tokens;
    if (!r->id[0] || !memchr(r->id, 0, sizeof r->id))
        return invalid_id(err, "", "is empty or too long");
    if (rindex_find(&s->index, r->id))
        return invalid_id(err, r->id, "is in use");
    if (r->base < PRIO_CRITICAL || r->base > PRIO_LOW)
        return invalid(err, "priority", r->base, PRIO_LOW, "at most");
    if (!r->n_prompt)
        return invalid(err, "prompt", 0, 1, "tokens at least");
    if (!r->max_tokens && !r->all_logits)
        return invalid(err, "max_tokens", 0, 1, "at least");
    if (r->timeout_us < 0)
        return invalid(err, "timeout_ms", (double)r->timeout_us / 1e3, 0, "at least");
    if (total > s->cfg.n_ctx)
        return invalid(err, "prompt + max_tokens", total, s->cfg.n_ctx, "the context holds");
    if (total > pool)
        return invalid(err, "prompt + max_tokens", total, pool, "the KV pool holds");
    return WEFT_OK;
}

static enum weft_rc queue_full(const struct sched *s, struct weft_err *err)
{
    uint32_t depth = rqueue_depth(&s->queue);
    weft_err_set(err, WEFT_QUEUE_FULL, "%u requests are queued, max_depth is %u", depth, s->cfg.max_depth);
    weft_err_num(err, "depth", depth);
    weft_err_num(err, "max_depth", s->cfg.max_depth);
    return WEFT_QUEUE_FULL;
}

/* The waiter that a full queue drops to make room for `r`, or NULL when `r` itself is the one to refuse. */
static struct request *to_drop(const struct sched *s, const struct request *r)
{
    if (s->cfg.reject_when_full)
        return NULL;
    struct request *oldest = rqueue_oldest_of_worst(&s->queue);
    return oldest && sched_base(s, r) <= sched_base(s, oldest) ? oldest : NULL;
}

/* Everything that can refuse a request, in the order in which the first that holds is the answer. */
static enum weft_rc check(struct sched *s, const struct request *r, struct weft_err *err)
{
    enum weft_rc rc = check_fields(s, r, err);
    if (!rc && s->cfg.resource)
        rc = resource_accepts(s->cfg.resource, r->base, err);
    if (!rc && rqueue_depth(&s->queue) >= s->cfg.max_depth && !to_drop(s, r))
        rc = queue_full(s, err);
    if (rc)
        return rc;
    /* Room for all requests in every table: from here on neither they nor a preemption can fail for want of memory. */
    uint32_t n = s->index.n + 1;
    if (!rqueue_reserve(&s->queue, n) || !rheap_reserve(&s->deadlines, n) || !rindex_reserve(&s->index, n))
        return weft_err_nomem(err, "request queue", n * sizeof(void *));
    return WEFT_OK;
}

enum weft_rc sched_submit(struct sched *s, struct request *r, int64_t now_us, struct weft_err *err)
{
    struct weft_err why = {0};
    s->totals.total_requests++;
    enum weft_rc rc = check(s, r, &why);
    if (rc) {
        s->totals.rejected++;
        sched_emit(s, (struct sched_event){.type = SCHED_REJECT,
                                           .now_us = now_us,
                                           .req = r,
                                           .depth = rqueue_depth(&s->queue),
                                           .err = &why});
        if (err)
            *err = why;
        return rc;
    }
    if (rqueue_depth(&s->queue) >= s->cfg.max_depth) {
        queue_full(s, &why);
        sched_end_failed(s, to_drop(s, r), &why, now_us);
    }
    req_begin(r, ++s->arrivals, now_us);
    rindex_add(&s->index, r);
    rqueue_push(&s->queue, r, now_us);
    if (r->timeout_us)
        rheap_push(&s->deadlines, r, (double)deadline(r));
    pace_submit(&s->pace, s->cfg.batch_timeout_us, now_us);
    uint32_t depth = rqueue_depth(&s->queue);
    if (depth > s->totals.max_depth_seen)
        s->totals.max_depth_seen = depth;
    sched_emit(s, (struct sched_event){.type = SCHED_SUBMIT, .now_us = now_us, .req = r, .depth = depth});
    return WEFT_OK;
}

struct request *sched_find(struct sched *s, const char *id)
{
    return rindex_find(&s->index, id);
}

void sched_cancel(struct sched *s, struct request *r, int64_t now_us)
{
    if (r->cancelled)
        return;
    sched_emit(s, (struct sched_event){.type = SCHED_CANCEL, .now_us = now_us, .req = r});
    if (r->in_plan)
        r->cancelled = true; /* its blocks are being written: it ends with the step */
    else
        sched_end(s, r, REQ_CANCELLED, FINISH_CANCELLED, now_us);
}

void sched_fail_request(struct sched *s, struct request *r, const struct weft_err *why, int64_t now_us)
{
    if (r->cancelled)
        return;
    if (!r->in_plan) {
        sched_end_failed(s, r, why, now_us);
        return;
    }
    r->cancelled = true;
    r->error = *why;
}

void sched_end_asked(struct sched *s, struct request *r, int64_t now_us)
{
    if (r->error.code)
        sched_end(s, r, REQ_FAILED, FINISH_ERROR, now_us);
    else
        sched_end(s, r, REQ_CANCELLED, FINISH_CANCELLED, now_us);
}

uint32_t sched_cancel_all(struct sched *s, int64_t now_us)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running;) {
        struct request *r = s->running[i];
        n += !r->cancelled;
        sched_cancel(s, r, now_us);
        i += i < s->n_running && s->running[i] == r; /* in the plan under way: it stays until the step ends */
    }
    for (struct request *r; (r = rqueue_peek(&s->queue)); n++)
        sched_cancel(s, r, now_us);
    return n;
}

void sched_set_priority(struct sched *s, struct request *r, enum prio base, int64_t now_us)
{
    enum prio from = r->base;
    if (base == from || base < PRIO_CRITICAL || base > PRIO_LOW)
        return;
    if (r->heap_pos) {
        rqueue_set_base(&s->queue, r, base, now_us);
    } else {
        r->base = base;
        r->admitted_effective += (int)base - (int)from;
    }
    sched_emit(s, (struct sched_event){
                      .type = SCHED_PRIORITY, .now_us = now_us, .req = r, .from = from, .to = base});
}
