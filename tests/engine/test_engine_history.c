/* The record of the last steps: what comes out is what went in, within its bounds of steps, memory and time. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/engine_history.h"
#include "tests/support/engine_rig.h"

enum { BLOCKS = 746 };

/* What the dearest step may cost: 30 us of an optimised build on a machine of its own, and some room for others. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
enum { LIMIT_NS = 10000000 };
#elif defined(__OPTIMIZE__)
enum { LIMIT_NS = 60000 };
#else
enum { LIMIT_NS = 200000 };
#endif

/* A made-up engine: each step changes everything, as its number and a seed say. */
struct maker {
    struct snapshot s;
    struct snap_step step;
    uint64_t events_seen, rates_seen;
};

static struct maker *maker_create(void)
{
    struct maker *m = calloc(1, sizeof *m);
    m->s.blocks = mem_calloc(BLOCKS, sizeof *m->s.blocks);
    m->s.cap_blocks = m->s.kv_total = BLOCKS;
    return m;
}

static void maker_destroy(struct maker *m)
{
    snapshot_free(&m->s);
    free(m);
}

static void make_request(struct rng *g, struct snap_request *q, uint64_t arrival)
{
    *q = (struct snap_request){
        .tag = (uint32_t)rng_below(g, 9),
        .arrival = arrival,
        .base = (enum prio)((int)rng_below(g, PRIO_COUNT) - 1),
        .effective = (double)rng_below(g, 64) / 8 - 4,
        .state = (enum req_state)rng_below(g, REQ_STATE_COUNT),
        .wait_reason = (enum wait_reason)rng_below(g, WAIT_REASON_COUNT),
        .waited_us = (int64_t)rng_below(g, 1ull << 40),
        .n_prompt = (uint32_t)rng_below(g, 1u << 30),
        .n_computed = (uint32_t)rng_below(g, 1u << 30),
        .n_generated = (uint32_t)rng_below(g, 1u << 30),
        .max_tokens = (uint32_t)rng_below(g, 1u << 30),
        .cached_tokens = (uint32_t)rng_below(g, 1u << 30),
        .n_blocks = (uint32_t)rng_below(g, 1u << 20),
        .preemptions = (uint32_t)rng_below(g, 4),
        .ttft_us = (int64_t)rng_below(g, 1ull << 40) - 1,
        .tps = (double)rng_below(g, 1000) / 4,
        .model = (uint8_t)rng_below(g, SNAP_MODELS),
    };
    size_t n = rng_below(g, REQ_ID_MAX);
    memset(q->id, 'a' + (int)(arrival % 26), n);
}

static void shift_in(void *list, uint32_t *n, uint32_t max, size_t size, const void *item)
{
    if (*n == max)
        memmove(list, (char *)list + size, --*n * size);
    memcpy((char *)list + (*n)++ * size, item, size);
}

/* The engine as it is when step k has ended, whatever it was before. */
static void make(struct maker *m, uint64_t k, uint32_t n_running, uint32_t n_queue, bool scattered)
{
    struct snapshot *s = &m->s;
    struct rng g;
    rng_seed(&g, k);
    s->seq = k * 2;
    s->now_us = (int64_t)k * 1000;
    s->step = k;
    s->state = ENGINE_READY;
    s->prefill_tps = (double)k / 2;
    s->queue_depth = (uint32_t)k;
    s->block_tokens = 16;
    s->total_batches = k;
    s->n_running = n_running;
    s->n_queue = n_queue;
    for (uint32_t i = 0; i < n_running; i++)
        make_request(&g, &s->running[i], k + i);
    for (uint32_t i = 0; i < n_queue; i++)
        make_request(&g, &s->queue[i], k + i);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint64_t owner = (scattered ? i : i / 20) + k % 7;
        s->blocks[i] = (struct snap_block){SNAP_BLOCK_USED, (uint32_t)owner % 5, owner};
    }
    m->step = (struct snap_step){.step = k, .start_us = (int64_t)k, .dur_us = 900, .n_items = n_running};
    for (uint32_t i = 0; i < n_running; i++)
        m->step.items[i] = (struct snap_step_item){.arrival = k + i, .n_tokens = 1};
    for (uint64_t i = rng_below(&g, 4); i > 0; i--) {
        struct snap_event ev = {.t_us = (int64_t)++m->events_seen, .step = k};
        shift_in(s->events, &s->n_events, SNAP_EVENTS, sizeof ev, &ev);
    }
    if (k % 3 == 0) {
        struct snap_rate rate = {.decode_tps = (float)++m->rates_seen};
        shift_in(s->rates, &s->n_rates, SNAP_RATES, sizeof rate, &rate);
    }
}

static void keep(struct engine_history *h, const struct maker *m)
{
    engine_history_add(h, &m->s, &m->step, m->events_seen, m->rates_seen);
}

static void expect_requests(const struct snap_request *got, const struct snap_request *want, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_string_equal(got[i].id, want[i].id);
        assert_int_equal(got[i].tag, want[i].tag);
        assert_int_equal(got[i].arrival, want[i].arrival);
        assert_int_equal(got[i].base, want[i].base);
        assert_true(got[i].effective == want[i].effective);
        assert_int_equal(got[i].state, want[i].state);
        assert_int_equal(got[i].wait_reason, want[i].wait_reason);
        assert_int_equal(got[i].waited_us, want[i].waited_us);
        assert_int_equal(got[i].n_prompt, want[i].n_prompt);
        assert_int_equal(got[i].n_computed, want[i].n_computed);
        assert_int_equal(got[i].n_generated, want[i].n_generated);
        assert_int_equal(got[i].max_tokens, want[i].max_tokens);
        assert_int_equal(got[i].cached_tokens, want[i].cached_tokens);
        assert_int_equal(got[i].n_blocks, want[i].n_blocks);
        assert_int_equal(got[i].preemptions, want[i].preemptions);
        assert_int_equal(got[i].ttft_us, want[i].ttft_us);
        assert_true(got[i].tps == want[i].tps);
        assert_int_equal(got[i].model, want[i].model);
    }
}

/* Everything but steps, events and rates. */
static void expect_moment(const struct snapshot *got, const struct snapshot *want)
{
    assert_int_equal(got->seq, want->seq);
    assert_int_equal(got->now_us, want->now_us);
    assert_int_equal(got->step, want->step);
    assert_int_equal(got->state, want->state);
    assert_true(got->prefill_tps == want->prefill_tps);
    assert_int_equal(got->queue_depth, want->queue_depth);
    assert_int_equal(got->total_batches, want->total_batches);
    assert_int_equal(got->block_tokens, want->block_tokens);
    assert_int_equal(got->n_running, want->n_running);
    assert_int_equal(got->n_queue, want->n_queue);
    expect_requests(got->running, want->running, want->n_running);
    expect_requests(got->queue, want->queue, want->n_queue);
    assert_int_equal(got->kv_total, want->kv_total);
    for (uint32_t i = 0; i < want->kv_total; i++) {
        assert_int_equal(got->blocks[i].kind, want->blocks[i].kind);
        assert_int_equal(got->blocks[i].tag, want->blocks[i].tag);
        assert_int_equal(got->blocks[i].arrival, want->blocks[i].arrival);
    }
}

/* Sizes that vary with the step. */
static uint32_t running_at(uint64_t k)
{
    return (uint32_t)(k * 7 % (SNAP_STEP_ITEMS + 1));
}

static uint32_t queue_at(uint64_t k)
{
    return k % 5 ? (uint32_t)(k % 20) : 0;
}

static void test_what_went_in(void **state)
{
    (void)state;
    enum { ADDED = 2500 };
    struct engine_history *h;
    struct maker *m = maker_create(), *again = maker_create();
    struct snapshot *out = calloc(1, sizeof *out);
    assert_int_equal(engine_history_create(&h, NULL), WEFT_OK);
    assert_false(engine_history_get(h, 0, out));
    assert_false(engine_history_get(h, 1, out));
    for (uint64_t k = 1; k <= ADDED; k++) {
        make(m, k, running_at(k), queue_at(k), k % 2);
        keep(h, m);
    }
    assert_false(engine_history_get(h, ADDED - ENGINE_HISTORY_STEPS, out)); /* the last one that had to go */
    assert_false(engine_history_get(h, ADDED + 1, out));
    for (uint64_t k = 1; k <= ADDED; k++) {
        make(again, k, running_at(k), queue_at(k), k % 2); /* as it was then, rings and all */
        if (k <= ADDED - ENGINE_HISTORY_STEPS)
            continue;
        assert_true(engine_history_get(h, k, out));
        expect_moment(out, &again->s);
        uint64_t kept = k - (ADDED - ENGINE_HISTORY_STEPS); /* of the steps up to this one */
        assert_int_equal(out->n_steps, kept < SNAP_STEPS ? kept : SNAP_STEPS);
        for (uint32_t i = 0; i < out->n_steps; i++)
            assert_int_equal(snapshot_step(out, i)->step, k - out->n_steps + 1 + i);
        assert_memory_equal(snapshot_step(out, out->n_steps - 1), &again->step,
                            offsetof(struct snap_step, items) + running_at(k) * sizeof *again->step.items);
        /* The last of what there was then; all of it, once that reaches back no further than what is kept. */
        assert_true(out->n_events <= again->s.n_events && out->n_rates <= again->s.n_rates);
        if (kept > ENGINE_HISTORY_STEPS - 100) {
            assert_int_equal(out->n_events, SNAP_EVENTS);
            assert_int_equal(out->n_rates, SNAP_RATES);
        }
        assert_memory_equal(out->events, again->s.events + again->s.n_events - out->n_events,
                            out->n_events * sizeof *out->events);
        assert_memory_equal(out->rates, again->s.rates + again->s.n_rates - out->n_rates,
                            out->n_rates * sizeof *out->rates);
    }
    snapshot_free(out);
    free(out);
    engine_history_destroy(h);
    maker_destroy(m);
    maker_destroy(again);
}

/* The fullest screen there can be, a thousand times. */
static void test_bounds(void **state)
{
    (void)state;
    enum { ROUNDS = 12, EACH = 100 };
    struct engine_history *h;
    struct maker *m = maker_create();
    struct snapshot *out = calloc(1, sizeof *out);
    int64_t best_ns = INT64_MAX;
    assert_int_equal(engine_history_create(&h, NULL), WEFT_OK);
    make(m, 1, SNAP_STEP_ITEMS, SNAP_QUEUE, true);
    for (uint64_t round = 0, k = 1; round < ROUNDS; round++) {
        int64_t start = clock_now_ns();
        for (int i = 0; i < EACH; i++, k++) {
            m->step.step = m->s.step = k;
            keep(h, m);
        }
        int64_t each = (clock_now_ns() - start) / EACH;
        best_ns = each < best_ns ? each : best_ns;
        assert_true(engine_history_bytes(h) <= ENGINE_HISTORY_BYTES);
    }
    assert_true(engine_history_get(h, ROUNDS * EACH, out));
    assert_true(engine_history_get(h, ROUNDS * EACH - 500, out));
    print_message("64 running, 256 waiting, %d blocks of as many owners: %.1f us a step, %.1f MB in all\n",
                  BLOCKS, (double)best_ns / 1e3, (double)engine_history_bytes(h) / 1e6);
    assert_true(best_ns < LIMIT_NS);
    snapshot_free(out);
    free(out);
    engine_history_destroy(h);
    maker_destroy(m);
}

/* ---- beside a reader ---- */

struct reader {
    struct engine_history *h;
    atomic_bool stop;
    uint64_t n_read, n_wrong;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct snapshot *s = calloc(1, sizeof *s);
    for (uint64_t k = 1; !atomic_load(&r->stop); k = k % 3000 + 1) {
        if (!engine_history_get(r->h, k, s))
            continue;
        r->n_read++;
        r->n_wrong += s->step != k || s->n_running != running_at(k) || s->n_queue != queue_at(k) ||
                      snapshot_step(s, s->n_steps - 1)->step != k;
    }
    snapshot_free(s);
    free(s);
    return NULL;
}

static void test_reader_beside(void **state)
{
    (void)state;
    struct reader r = {0};
    struct maker *m = maker_create();
    struct snapshot *out = calloc(1, sizeof *out);
    pthread_t thread;
    assert_int_equal(engine_history_create(&r.h, NULL), WEFT_OK);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &r), 0);
    for (uint64_t k = 1; k <= 3000; k++) {
        make(m, k, running_at(k), queue_at(k), false);
        keep(r.h, m);
    }
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    make(m, 3001, 1, 1, false); /* what stood aside comes in with it */
    keep(r.h, m);
    for (uint64_t k = 3001; k > 3001 - ENGINE_HISTORY_STEPS; k--)
        assert_true(engine_history_get(r.h, k, out));
    assert_int_equal(r.n_wrong, 0);
    snapshot_free(out);
    free(out);
    engine_history_destroy(r.h);
    maker_destroy(m);
}

/* ---- in the engine ---- */

static bool shows_step(const struct snapshot *s, const void *step)
{
    return s->step == *(const uint64_t *)step && !s->in_flight;
}

/* Frozen, the engine is looked at after each step; later its history says the same of that step. */
static void test_engine_remembers(void **state)
{
    (void)state;
    enum { STEPS = 12, REQUESTS = 5 };
    struct rig r;
    uint32_t prompt[20];
    char id[REQ_ID_MAX];
    struct snapshot *live = calloc(STEPS + 1, sizeof *live), *then = calloc(1, sizeof *then);
    rig_init(&r);
    r.cfg.max_batch_size = 3;
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    engine_freeze(r.engine, true);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        rig_ids(i, prompt, 20);
        struct engine_request rq = rig_request(prompt, 20, 5 + i);
        rq.tag = i + 1;
        rig_submit(&r, &rq, id);
    }
    for (uint64_t k = 1; k <= STEPS; k++) {
        engine_step(r.engine);
        rig_wait_snapshot(&r, shows_step, &k);
        engine_snapshot(r.engine, &live[k]);
    }
    for (uint64_t k = 1; k <= STEPS; k++) {
        const struct snapshot *s = &live[k];
        assert_true(engine_snapshot_at(r.engine, k, then));
        assert_false(then->in_flight);
        assert_int_equal(then->step, k);
        assert_int_equal(then->n_steps, s->n_steps);
        assert_int_equal(then->n_running, s->n_running);
        assert_int_equal(then->queue_total, s->queue_total);
        assert_int_equal(then->kv_used, s->kv_used);
        assert_int_equal(then->n_events, s->n_events);
        assert_string_equal(then->model, s->model);
        for (uint32_t i = 0; i < s->n_running; i++) {
            assert_string_equal(then->running[i].id, s->running[i].id);
            assert_int_equal(then->running[i].n_generated, s->running[i].n_generated);
        }
        for (uint32_t i = 0; i < s->kv_total; i++)
            assert_int_equal(then->blocks[i].tag, s->blocks[i].tag);
    }
    assert_false(engine_snapshot_at(r.engine, STEPS + 1, then));
    engine_freeze(r.engine, false);
    for (uint64_t k = 1; k <= STEPS; k++)
        snapshot_free(&live[k]);
    snapshot_free(then);
    free(live);
    free(then);
    rig_free(&r);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_went_in),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_reader_beside),
        cmocka_unit_test(test_engine_remembers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
