/* Entries to requests and actions; prompt ids. */
#include "src/workload.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"

/* ---- generators ---- */

/* What a generator is for is part of its seed: a request and a prefix of the same name have nothing in common. */
static struct rng generator(const struct workload *w, const char *purpose, const char *name)
{
    uint64_t h = fnv1a64_u32(FNV1A64_INIT, (uint32_t)w->seed);
    h = fnv1a64_u32(h, (uint32_t)(w->seed >> 32));
    h = fnv1a64(h, purpose, strlen(purpose) + 1);
    h = fnv1a64(h, name, strlen(name));
    struct rng r;
    rng_seed(&r, mix64(h));
    return r;
}

/* Draws in any case, so that what comes after it doesn't depend on whether there was a choice. */
static uint32_t draw_range(struct rng *r, struct workload_range range)
{
    uint64_t span = (uint64_t)range.max - range.min + 1;
    return range.min + (uint32_t)rng_below(r, span);
}

static enum prio draw_priority(struct rng *r, const double weight[PRIO_COUNT])
{
    double sum = 0;
    for (int i = 0; i < PRIO_COUNT; i++)
        sum += weight[i];
    double at = rng_unit(r) * sum;
    int last = 0;
    for (int i = 0; i < PRIO_COUNT; i++) {
        if (weight[i] <= 0)
            continue;
        last = i;
        if (at < weight[i])
            break;
        at -= weight[i];
    }
    return (enum prio)(last - 1);
}

static void draw_request(const struct workload *w, uint32_t default_max_tokens, struct workload_request *r)
{
    const struct workload_entry *e = r->entry;
    struct workload_range max_tokens = e->max_tokens;
    if (!max_tokens.max)
        max_tokens = (struct workload_range){default_max_tokens, default_max_tokens};
    struct rng rng = generator(w, "request", r->id);
    r->prio = draw_priority(&rng, e->weight);
    r->n_ids = draw_range(&rng, e->prompt_tokens);
    r->max_tokens = draw_range(&rng, max_tokens);
    r->sampling_seed = (int64_t)rng_below(&rng, 1ull << 32);
    if (e->sampling.seed >= 0)
        r->sampling_seed = e->sampling.seed;
    r->ids_seed = rng.state;
    r->n_prefix = e->prefix ? e->prefix_tokens : 0;
    if (e->ids || e->kind != WORKLOAD_IDS)
        r->n_ids = (uint32_t)e->n_ids;
}

static void fill_ids(struct rng *rng, uint32_t n_vocab, uint32_t n, uint32_t *ids)
{
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (uint32_t)rng_below(rng, n_vocab);
}

void workload_ids(const struct workload *w, const struct workload_request *r, uint32_t n_vocab, uint32_t *ids)
{
    struct rng own = {.state = r->ids_seed};
    if (r->entry->ids) {
        memcpy(ids, r->entry->ids, r->n_ids * sizeof *ids);
        return;
    }
    if (r->n_prefix) {
        struct rng prefix = generator(w, "prefix", r->entry->prefix);
        fill_ids(&prefix, n_vocab, r->n_prefix, ids);
    }
    fill_ids(&own, n_vocab, r->n_ids, ids + r->n_prefix);
}

/* ---- ids of texts ---- */

static size_t pseudo_ids(const char *text, size_t n, uint32_t n_vocab, uint32_t *ids)
{
    for (size_t i = 0; i < n && ids; i += 4)
        ids[i / 4] = (uint32_t)(fnv1a64(FNV1A64_INIT, text + i, n - i < 4 ? n - i : 4) % n_vocab);
    return (n + 3) / 4;
}

/* ids NULL: only counts. */
static size_t pseudo_prompt(const struct workload_entry *e, uint32_t n_vocab, uint32_t *ids)
{
    if (e->kind == WORKLOAD_TEXT)
        return pseudo_ids(e->text, e->text_len, n_vocab, ids);
    size_t n = 0;
    for (size_t i = 0; i < e->n_messages; i++) {
        const struct chat_message *m = &e->messages[i];
        n += pseudo_ids(m->role, strlen(m->role), n_vocab, ids ? ids + n : NULL);
        n += pseudo_ids(m->content, m->content_len, n_vocab, ids ? ids + n : NULL);
    }
    return n;
}

size_t workload_pseudo_count(const struct workload_entry *e)
{
    return pseudo_prompt(e, 1, NULL);
}

void workload_pseudo_ids(const struct workload_entry *e, uint32_t n_vocab, uint32_t *ids)
{
    pseudo_prompt(e, n_vocab, ids);
}

/* ---- ids of requests ---- */

static size_t bucket_of(const struct workload *w, const char *id)
{
    return mix64(fnv1a64(FNV1A64_INIT, id, strlen(id))) & (w->n_buckets - 1);
}

/* The bucket that holds the id, or the empty one where it would go. */
static uint32_t *find_bucket(const struct workload *w, const char *id)
{
    size_t at = bucket_of(w, id);
    while (w->bucket[at] && strcmp(w->requests[w->bucket[at] - 1].id, id) != 0)
        at = (at + 1) & (w->n_buckets - 1);
    return &w->bucket[at];
}

long workload_find(const struct workload *w, const char *id)
{
    return w->n_buckets ? (long)*find_bucket(w, id) - 1 : -1;
}

static enum weft_rc refuse(const struct workload *w, const struct workload_entry *e, const char *value,
                           const char *allowed, const char *problem, struct weft_err *err)
{
    weft_err_set(err, WEFT_CONFIG_INVALID, "%s:%u: id: \"%s\" %s; allowed: %s", w->file, e->line, value,
                 problem, allowed);
    weft_err_str(err, "file", w->file);
    weft_err_num(err, "line", e->line);
    weft_err_str(err, "key", "id");
    weft_err_str(err, "value", value);
    weft_err_str(err, "allowed", allowed);
    return WEFT_CONFIG_INVALID;
}

/* Indexes all requests by id. */
static enum weft_rc index_ids(struct workload *w, struct weft_err *err)
{
    for (w->n_buckets = 16; w->n_buckets < w->n_requests * 2;)
        w->n_buckets *= 2;
    w->bucket = mem_calloc(w->n_buckets, sizeof *w->bucket);
    if (!w->bucket)
        return weft_err_nomem(err, "workload", w->n_buckets * sizeof *w->bucket);
    for (size_t i = 0; i < w->n_requests; i++) {
        const struct workload_request *r = &w->requests[i];
        uint32_t *b = find_bucket(w, r->id);
        if (*b)
            return refuse(w, r->entry, r->id, "each id once", "is the id of two requests", err);
        *b = (uint32_t)i + 1;
    }
    return WEFT_OK;
}

/* ---- expansion ---- */

struct expansion {
    struct workload *w;
    double time_scale;
    uint32_t default_max_tokens;
};

static int64_t scaled(const struct expansion *x, int64_t us)
{
    return llround((double)us * x->time_scale);
}

static enum weft_rc add_action(struct workload *w, struct workload_action action, struct weft_err *err)
{
    if (mem_grow(&w->actions, &w->cap_actions, w->n_actions + 1, sizeof *w->actions))
        return weft_err_nomem(err, "workload", w->n_actions * sizeof *w->actions);
    action.request = (uint32_t)w->n_requests - 1;
    w->actions[w->n_actions++] = action;
    return WEFT_OK;
}

/* The entry's `number`th request, at at_us of the file's time. */
static enum weft_rc add_request(const struct expansion *x, const struct workload_entry *e, uint32_t number,
                                int64_t at_us, struct weft_err *err)
{
    struct workload *w = x->w;
    if (w->n_requests == WORKLOAD_REQUESTS_MAX)
        return refuse(w, e, e->id, "10000000 requests in all", "makes too many", err);
    if (mem_grow(&w->requests, &w->cap_requests, w->n_requests + 1, sizeof *w->requests))
        return weft_err_nomem(err, "workload", w->n_requests * sizeof *w->requests);
    struct workload_request *r = &w->requests[w->n_requests++];
    *r = (struct workload_request){.entry = e, .at_us = scaled(x, at_us)};
    if (e->numbered)
        snprintf(r->id, sizeof r->id, "%s.%u", e->id, number);
    else
        snprintf(r->id, sizeof r->id, "%s", e->id);
    draw_request(w, x->default_max_tokens, r);

    enum weft_rc rc =
        add_action(w, (struct workload_action){.at_us = r->at_us, .type = WORKLOAD_SUBMIT}, err);
    for (uint32_t i = 0; rc == WEFT_OK && i < e->n_priorities; i++)
        rc = add_action(w,
                        (struct workload_action){.at_us = scaled(x, e->priorities[i].at_us),
                                                 .type = WORKLOAD_SET_PRIORITY,
                                                 .to = e->priorities[i].to,
                                                 .nth = i},
                        err);
    if (rc == WEFT_OK && e->cancel_at_us >= 0)
        rc = add_action(
            w, (struct workload_action){.at_us = scaled(x, e->cancel_at_us), .type = WORKLOAD_CANCEL}, err);
    return rc;
}

/* A Poisson process: the times between arrivals are exponential. */
static enum weft_rc add_arrivals(const struct expansion *x, const struct workload_entry *e,
                                 struct weft_err *err)
{
    struct rng rng = generator(x->w, "arrivals", e->id);
    double at_us = (double)e->at_us, mean_us = 1e6 / e->rate_per_s;
    enum weft_rc rc = WEFT_OK;
    for (uint32_t i = 0; rc == WEFT_OK; i++) {
        at_us -= log1p(-rng_unit(&rng)) * mean_us;
        if (at_us >= (double)e->until_us)
            break;
        rc = add_request(x, e, i, (int64_t)at_us, err);
    }
    return rc;
}

/* By time; the index of the action, which is the order of the file, where it is equal. */
static int by_time(const void *a, const void *b)
{
    const struct workload_action *p = a, *q = b;
    if (p->at_us != q->at_us)
        return p->at_us < q->at_us ? -1 : 1;
    if (p->request != q->request)
        return p->request < q->request ? -1 : 1;
    if (p->type != q->type)
        return (int)p->type - (int)q->type;
    return p->nth < q->nth ? -1 : p->nth > q->nth;
}

enum weft_rc workload_expand(struct workload *w, double time_scale, const struct weft_config *cfg,
                             struct weft_err *err)
{
    struct expansion x = {
        .w = w, .time_scale = time_scale, .default_max_tokens = (uint32_t)cfg->sampling.max_tokens};
    enum weft_rc rc = WEFT_OK;
    for (size_t i = 0; i < w->n_entries && rc == WEFT_OK; i++) {
        const struct workload_entry *e = &w->entries[i];
        if (e->rate_per_s > 0)
            rc = add_arrivals(&x, e, err);
        for (uint32_t n = 0; e->rate_per_s <= 0 && n < e->repeat && rc == WEFT_OK; n++)
            rc = add_request(&x, e, n, e->at_us + (int64_t)n * e->every_us, err);
    }
    for (size_t i = 0; i < w->n_memory; i++)
        w->memory[i].at_us = scaled(&x, w->memory[i].at_us);
    for (size_t i = 0; i < w->n_captions; i++)
        w->captions[i].at_us = scaled(&x, w->captions[i].at_us);
    if (rc == WEFT_OK)
        rc = index_ids(w, err);
    if (rc == WEFT_OK && w->n_actions)
        qsort(w->actions, w->n_actions, sizeof *w->actions, by_time);
    return rc;
}
