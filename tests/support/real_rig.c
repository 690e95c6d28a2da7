#include "tests/support/real_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "tests/support/real_device.h"

enum { PATIENCE_US = 200000000 }; /* of a machine that has much else to do */
enum { BLOCK_BYTES = 720 * 1024 };

/* ---- the device ---- */

static int open_device(const char *precision)
{
    struct exec_cl_config cfg = {.precision = precision,
                                 .block_tokens = REAL_BLOCK_TOKENS,
                                 .n_blocks = REAL_BLOCKS,
                                 .park_bytes = (uint64_t)REAL_PARK_SLOTS * BLOCK_BYTES,
                                 .max_tokens = REAL_BATCH_TOKENS,
                                 .max_seqs = REAL_SEQS,
                                 .max_logits = REAL_BATCH_TOKENS};
    log_set_level(LOG_ERROR);
    if (real_device_open(&cfg))
        return -1;
    const struct exec_info *info = real_device_info();
    print_message("%s, %s\n", info->device, info->precision);
    return info->n_park_slots >= REAL_PARK_SLOTS ? 0 : -1;
}

int real_open_device(void **state)
{
    (void)state;
    return open_device("auto");
}

int real_open_device_int8(void **state)
{
    (void)state;
    return open_device("int8");
}

int real_open_device_bf16(void **state)
{
    (void)state;
    return open_device("bf16");
}

int real_close_device(void **state)
{
    (void)state;
    real_device_close();
    return 0;
}

static enum weft_rc load(void *ctx, struct engine *e, struct model **m, struct exec **x, struct weft_err *err)
{
    const struct real *g = ctx;
    (void)e;
    return real_device_lend(g->n_blocks, m, x, err);
}

/* ---- the log; on the engine thread ---- */

static void note_step(struct real *g, const struct sched_event *ev, const struct sched_counts *c)
{
    const struct plan *p = ev->plan;
    if (g->n_steps == REAL_STEPS_MAX)
        return;
    struct real_step *s = &g->steps[g->n_steps++];
    *s = (struct real_step){.n_items = p->n_items,
                            .n_prefill_tokens = p->n_prefill_tokens,
                            .n_decodes = p->n_decodes,
                            .n_parks = p->n_parks,
                            .n_restores = p->n_restores,
                            .n_copies = p->n_copies,
                            .blocks_used = c->blocks_used,
                            .dur_us = ev->dur_us};
    for (uint32_t i = 0; i < p->n_items; i++)
        s->decodes_of[p->items[i].req->base + 1] += !p->items[i].prefill;
}

static void on_sched(void *ctx, const struct sched *s, const struct sched_event *ev)
{
    struct real *g = ctx;
    struct sched_counts c;
    sched_counts(s, &c);
    pthread_mutex_lock(&g->lock);
    if (ev->type == SCHED_STEP) {
        note_step(g, ev, &c);
    } else if (g->n_marks < REAL_MARKS_MAX) {
        struct real_mark *m = &g->marks[g->n_marks++];
        *m = (struct real_mark){.type = ev->type,
                                .step = g->n_steps,
                                .depth = ev->depth,
                                .cached_tokens = ev->cached_tokens,
                                .blocks_used = c.blocks_used,
                                .code = ev->err ? ev->err->code : WEFT_OK,
                                .parked = ev->parked};
        memcpy(m->id, ev->req->id, sizeof m->id);
    }
    pthread_mutex_unlock(&g->lock);
}

static void on_scheduled(void *ctx, int64_t ns)
{
    struct real *g = ctx;
    pthread_mutex_lock(&g->lock);
    g->sched_ns += ns;
    pthread_mutex_unlock(&g->lock);
}

/* At the engine's end nothing is owned any more. */
static void on_closing(void *ctx, const struct sched *s)
{
    struct real *g = ctx;
    struct sched_counts c;
    char why[128] = "";
    sched_counts(s, &c);
    uint32_t wrong = sched_audit(s, why, sizeof why);
    pthread_mutex_lock(&g->lock);
    if (wrong || c.blocks_used || c.blocks_parked) {
        print_error("blocks leak: %u used, %u parked, %u wrong %s\n", c.blocks_used, c.blocks_parked, wrong,
                    why);
        g->n_marks = REAL_MARKS_MAX + 1; /* real_stop fails */
    }
    pthread_mutex_unlock(&g->lock);
}

/* ---- life ---- */

struct real *real_init(void)
{
    struct real *g = calloc(1, sizeof *g);
    assert_non_null(g);
    pthread_mutex_init(&g->lock, NULL);
    g->n_blocks = REAL_BLOCKS;
    g->observer = (struct engine_observer){
        .sched = on_sched, .scheduled = on_scheduled, .closing = on_closing, .ctx = g};
    g->cfg = (struct engine_config){.load = load,
                                    .load_ctx = g,
                                    .batching = true,
                                    .aging_rate = 0.1,
                                    .max_batch_size = 16,
                                    .max_batch_tokens = REAL_BATCH_TOKENS,
                                    .max_preemptions = 3,
                                    .max_depth = 1000,
                                    .reject_when_full = true,
                                    .stop_ms = 2000,
                                    .max_logits = REAL_BATCH_TOKENS,
                                    .observer = &g->observer};
    return g;
}

void real_start(struct real *g)
{
    struct weft_err err = {0};
    if (engine_create(&g->cfg, &g->engine, &err) || engine_inbox_open(g->engine, &g->in, &err))
        fail_msg("%s", err.message);
    for (int64_t until = clock_now_us() + PATIENCE_US; engine_state(g->engine) != ENGINE_READY;) {
        engine_inbox_wait(g->in, 100);
        real_pump(g);
        assert_true(clock_now_us() < until);
    }
}

void real_stop(struct real *g)
{
    assert_true(engine_destroy(g->engine));
    real_pump(g);
    engine_inbox_close(g->in);
    assert_true(g->n_marks <= REAL_MARKS_MAX);
    for (uint32_t i = 0; i < g->n_requests; i++) {
        assert_non_null(g->requests[i].end);
        engine_event_free(g->requests[i].end);
        free(g->requests[i].streamed);
    }
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- asking ---- */

void real_ids(uint64_t seed, uint32_t *ids, size_t n)
{
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)(100 + rng_below(&r, 40000));
}

struct engine_request real_request(const char *id, enum prio p, const uint32_t *ids, size_t n,
                                   uint32_t max_tokens)
{
    return (struct engine_request){.id = id,
                                   .ids = ids,
                                   .n_ids = n,
                                   .has_priority = true,
                                   .priority = p,
                                   .ignore_eos = true,
                                   .max_tokens = max_tokens,
                                   .sampling = {.temperature = 0, .top_p = 1, .repeat_penalty = 1}};
}

void real_submit(struct real *g, const struct engine_request *rq)
{
    struct weft_err err = {0};
    if (engine_submit(g->engine, g->in, rq, NULL, &err))
        fail_msg("%s", err.message);
}

void real_ask(struct real *g, const char *id, enum prio p, uint64_t seed, size_t n_prompt,
              uint32_t max_tokens)
{
    uint32_t ids[REAL_BLOCKS * REAL_BLOCK_TOKENS];
    assert_true(n_prompt <= sizeof ids / sizeof *ids);
    real_ids(seed, ids, n_prompt);
    struct engine_request rq = real_request(id, p, ids, n_prompt, max_tokens);
    real_submit(g, &rq);
}

void real_freeze(struct real *g, bool frozen)
{
    engine_freeze(g->engine, frozen);
    if (frozen)
        real_sync(g);
}

uint32_t real_n_steps(struct real *g)
{
    pthread_mutex_lock(&g->lock);
    uint32_t n = g->n_steps;
    pthread_mutex_unlock(&g->lock);
    return n;
}

void real_steps(struct real *g, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t before = real_n_steps(g);
        engine_step(g->engine);
        for (int64_t until = clock_now_us() + PATIENCE_US; real_n_steps(g) == before;) {
            engine_inbox_wait(g->in, 5);
            real_pump(g);
            if (clock_now_us() > until)
                fail_msg("step %u doesn't come", before + 1);
        }
    }
    real_sync(g); /* its events are out, too */
}

/* Commands keep their order: when a request that can never fit has been refused, those before it are done. */
void real_sync(struct real *g)
{
    struct engine_inbox *in;
    struct weft_err err = {0};
    uint32_t one = 1;
    struct engine_request rq = real_request("sync", PRIO_LOW, &one, 1, REAL_BLOCKS * REAL_BLOCK_TOKENS * 2);
    if (engine_inbox_open(g->engine, &in, &err) || engine_submit(g->engine, in, &rq, NULL, &err))
        fail_msg("%s", err.message);
    bool refused = false;
    for (int64_t until = clock_now_us() + PATIENCE_US; !refused;) {
        engine_inbox_wait(in, 100);
        for (struct engine_event *ev = engine_inbox_take(in), *next; ev; ev = next) {
            next = ev->next;
            refused |= ev->type == ENGINE_REJECT;
            engine_event_free(ev);
        }
        assert_true(clock_now_us() < until);
    }
    engine_inbox_close(in);
    real_pump(g);
}

/* ---- hearing ---- */

static struct real_request *request_of(struct real *g, const char *id)
{
    for (uint32_t i = 0; i < g->n_requests; i++)
        if (!strcmp(g->requests[i].id, id))
            return &g->requests[i];
    assert_true(g->n_requests < REAL_REQUESTS_MAX);
    struct real_request *q = &g->requests[g->n_requests++];
    snprintf(q->id, sizeof q->id, "%s", id);
    return q;
}

static void note(struct real *g, struct engine_event *ev)
{
    if (ev->type == ENGINE_STATE) {
        if (ev->state == ENGINE_FAILED)
            fail_msg("%s", ev->error.message);
        engine_event_free(ev);
        return;
    }
    struct real_request *q = request_of(g, ev->id);
    assert_null(q->end); /* nothing comes after it */
    if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT) {
        q->end = ev;
        g->ended[g->n_ends++] = (uint32_t)(q - g->requests);
        return;
    }
    if (ev->type == ENGINE_TOKENS) {
        assert_int_equal(ev->first_index, q->n_streamed);
        q->n_token_events++;
        q->n_streamed += ev->n_tokens;
        q->streamed = realloc(q->streamed, q->streamed_len + ev->text_len + 1);
        memcpy(q->streamed + q->streamed_len, ev->text, ev->text_len + 1);
        q->streamed_len += ev->text_len;
    }
    engine_event_free(ev);
}

void real_pump(struct real *g)
{
    for (struct engine_event *ev = engine_inbox_take(g->in), *next; ev; ev = next) {
        next = ev->next;
        note(g, ev);
    }
}

void real_wait(struct real *g, uint32_t n)
{
    for (int64_t until = clock_now_us() + PATIENCE_US; g->n_ends < n;) {
        engine_inbox_wait(g->in, 1000);
        real_pump(g);
        if (clock_now_us() > until)
            fail_msg("%u of %u requests have ended in time", g->n_ends, n);
    }
}

const struct real_request *real_find(const struct real *g, const char *id)
{
    for (uint32_t i = 0; i < g->n_requests; i++)
        if (!strcmp(g->requests[i].id, id))
            return &g->requests[i];
    fail_msg("nothing was heard of %s", id);
    return NULL;
}

const struct engine_event *real_end(const struct real *g, const char *id)
{
    const struct real_request *q = real_find(g, id);
    if (!q->end)
        fail_msg("%s has no end", id);
    return q->end;
}

struct real_mark real_mark(struct real *g, enum sched_event_type type, const char *id)
{
    struct real_mark found = {0};
    bool any = false;
    pthread_mutex_lock(&g->lock);
    for (uint32_t i = 0; i < g->n_marks && !any; i++) {
        any = g->marks[i].type == type && !strcmp(g->marks[i].id, id);
        if (any)
            found = g->marks[i];
    }
    pthread_mutex_unlock(&g->lock);
    if (!any)
        fail_msg("%s has no event %d", id, (int)type);
    return found;
}

uint32_t real_count(struct real *g, enum sched_event_type type, const char *id)
{
    uint32_t n = 0;
    pthread_mutex_lock(&g->lock);
    for (uint32_t i = 0; i < g->n_marks; i++)
        n += g->marks[i].type == type && (!id || !strcmp(g->marks[i].id, id));
    pthread_mutex_unlock(&g->lock);
    return n;
}

void real_same_ids(const struct engine_event *a, const struct engine_event *b)
{
    assert_int_equal(a->n_tokens, b->n_tokens);
    for (uint32_t i = 0; i < a->n_tokens; i++)
        if (a->tokens[i].id != b->tokens[i].id)
            fail_msg("token %u is %u of %s and %u of %s", i, a->tokens[i].id, a->id, b->tokens[i].id, b->id);
}
