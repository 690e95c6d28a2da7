/*
 * What serving engines are known to get wrong, on the default model and a real device: the points of the list behind
 * tests/sched/test_serving*.c that concern tokens, and what urgency and sharing cost, counted in steps and tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "tests/support/real_rig.h"
#include "tests/support/ways.h"

static const char *name_of(char *id, const char *what, uint32_t i)
{
    snprintf(id, REQ_ID_MAX, "%s%u", what, i);
    return id;
}

static uint32_t prefill_tokens(const struct real *g, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < to; i++)
        n += g->steps[i].n_prefill_tokens;
    return n;
}

/* ---- one output ---- */

enum { PROMPT = 60, GEN = 20 };

static void watched(struct real *g, const char *id, const char *fork_of)
{
    uint32_t ids[PROMPT];
    real_ids(42, ids, PROMPT);
    struct engine_request rq = real_request(id, PRIO_NORMAL, ids, PROMPT, GEN);
    rq.sampling = (struct sampling){.temperature = 0.9,
                                    .top_k = 40,
                                    .top_p = 0.95,
                                    .repeat_penalty = 1.1,
                                    .penalty_window = 64,
                                    .seed = 7};
    rq.n_logprobs = 1;
    rq.fork_of = fork_of;
    real_submit(g, &rq);
}

static void way_alone(struct real *g)
{
    watched(g, "it", NULL);
}

static void way_batched(struct real *g)
{
    char id[REQ_ID_MAX];
    for (uint32_t i = 0; i < 9; i++) {
        real_ask(g, name_of(id, "other", i), PRIO_NORMAL, i, 5 + 7 * i, 4 + 3 * i);
        if (i == 5)
            watched(g, "it", NULL);
    }
}

/* Its prompt shares the budget of 24 with four that decode, and with one as long. */
static void way_chunked(struct real *g)
{
    char id[REQ_ID_MAX];
    for (uint32_t i = 0; i < 4; i++)
        real_ask(g, name_of(id, "other", i), PRIO_NORMAL, i, 5, 30);
    real_steps(g, 2);
    real_ask(g, "long", PRIO_NORMAL, 9, 70, 3);
    watched(g, "it", NULL);
}

/* Both seats are taken by somebody more urgent after a few of its tokens. */
static void way_preempted(struct real *g)
{
    watched(g, "it", NULL);
    real_steps(g, 6);
    real_ask(g, "urgent0", PRIO_CRITICAL, 1, 20, 5);
    real_ask(g, "urgent1", PRIO_CRITICAL, 2, 30, 9);
}

static void way_cached(struct real *g)
{
    watched(g, "twin", NULL);
    real_freeze(g, false);
    real_wait(g, 1);
    watched(g, "it", NULL);
}

static void way_forked(struct real *g)
{
    watched(g, "twin", NULL);
    real_steps(g, 5);
    watched(g, "it", "twin");
}

struct way {
    const char *name;
    uint32_t max_batch_size, max_batch_tokens;
    enum sched_preemption preemption;
    bool prefix_cache;
    void (*ask)(struct real *g);
    uint32_t n_requests;
    uint32_t preemptions, cached_tokens; /* that it is to end with */
};
static const struct way ways[] = {
    {"alone", 16, 256, SCHED_PREEMPT_OFF, false, way_alone, 1, 0, 0},
    {"batched", 16, 256, SCHED_PREEMPT_OFF, false, way_batched, 10, 0, 0},
    {"chunked", 16, 24, SCHED_PREEMPT_OFF, false, way_chunked, 6, 0, 0},
    {"parked", 2, 256, SCHED_PREEMPT_PARK, false, way_preempted, 3, 1, 0},
    {"recomputed", 2, 256, SCHED_PREEMPT_RECOMPUTE, false, way_preempted, 3, 1, 0},
    {"prefix-cached", 16, 256, SCHED_PREEMPT_OFF, true, way_cached, 2, 0, 48},
    {"forked", 16, 256, SCHED_PREEMPT_OFF, false, way_forked, 2, 0, PROMPT - 1},
};

/* The same ids and, bit for bit, the same log-probabilities, whatever happens around and to a request. */
static void point_17_one_output(void **state)
{
    (void)state;
    uint32_t expect[GEN];
    float logprobs[GEN];
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        const struct way *way = &ways[w];
        struct real *g = real_init();
        g->cfg.max_batch_size = way->max_batch_size;
        g->cfg.max_batch_tokens = way->max_batch_tokens;
        g->cfg.preemption = way->preemption;
        g->cfg.prefix_cache = way->prefix_cache;
        real_start(g);
        real_freeze(g, true);
        way->ask(g);
        real_freeze(g, false);
        real_wait(g, way->n_requests);
        const struct engine_event *ev = real_end(g, "it");
        assert_int_equal(ev->n_tokens, GEN);
        assert_int_equal(ev->preemptions, way->preemptions);
        assert_int_equal(ev->cached_tokens, way->cached_tokens);
        assert_int_equal(ev->recomputed_tokens > 0, way->preemption == SCHED_PREEMPT_RECOMPUTE);
        if (way->preemption != SCHED_PREEMPT_OFF)
            assert_int_equal(real_mark(g, SCHED_PREEMPT, "it").parked, way->preemption == SCHED_PREEMPT_PARK);
        for (uint32_t i = 0; i < GEN; i++) {
            if (w == 0) {
                expect[i] = ev->tokens[i].id;
                logprobs[i] = ev->tokens[i].logprob;
            }
            if (ev->tokens[i].id != expect[i] ||
                memcmp(&ev->tokens[i].logprob, &logprobs[i], sizeof *logprobs) != 0)
                fail_msg("%s: token %u is %u (%.9g), not %u (%.9g)", way->name, i, ev->tokens[i].id,
                         (double)ev->tokens[i].logprob, expect[i], (double)logprobs[i]);
        }
        real_stop(g);
    }
}

/* ---- memory ---- */

enum { FOUR_PROMPT = 9 * REAL_BLOCK_TOKENS, FOUR_GEN = 32 };

/* Steps until four whose prompts fill 90 % of a pool have ended, all of them one way or another. */
static uint32_t steps_of_four(bool fifth, uint32_t *preemptions)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->n_blocks = 40;
    g->cfg.preemption = SCHED_PREEMPT_AUTO;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < 4; i++)
        real_ask(g, name_of(id, "r", i), PRIO_NORMAL, i, FOUR_PROMPT, FOUR_GEN);
    real_steps(g, 4);
    if (fifth)
        real_ask(g, "fifth", PRIO_NORMAL, 5, FOUR_PROMPT, FOUR_GEN);
    real_freeze(g, false);
    real_wait(g, 4 + fifth);
    uint32_t last = 0;
    *preemptions = real_count(g, SCHED_PREEMPT, NULL);
    for (uint32_t i = 0; i < 4; i++) {
        struct real_mark m = real_mark(g, SCHED_FINISH, name_of(id, "r", i));
        last = m.step > last ? m.step : last;
        assert_int_equal(real_end(g, id)->n_tokens, FOUR_GEN);
    }
    if (fifth)
        assert_int_equal(real_end(g, "fifth")->n_tokens, FOUR_GEN);
    real_stop(g);
    return last;
}

static void point_02_no_preempt_and_readmit_loop(void **state)
{
    (void)state;
    uint32_t without, with;
    uint32_t four = steps_of_four(false, &without), five = steps_of_four(true, &with);
    print_message("four that fill the pool: %u steps and %u preemptions, with a fifth %u and %u\n", four,
                  without, five, with);
    assert_true((double)four / five >= 0.8); /* the same decoded tokens */
    assert_true(with <= without + 2);
}

/* A pool too small for what all come to: they take turns, all end, and what they say is what they say alone. */
static void point_14_a_full_pool_ends_nobody(void **state)
{
    (void)state;
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    uint32_t preemptions = 0;
    g->n_blocks = 12;
    g->cfg.preemption = SCHED_PREEMPT_AUTO;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < 4; i++)
        real_ask(g, name_of(id, "r", i), PRIO_NORMAL, i, 30, 30);
    real_freeze(g, false);
    real_wait(g, 4);
    for (uint32_t i = 0; i < 4; i++) {
        preemptions += real_end(g, name_of(id, "r", i))->preemptions;
        real_ask(g, name_of(id, "alone", i), PRIO_NORMAL, i, 30, 30);
        real_wait(g, 5 + i);
    }
    assert_true(preemptions > 0);
    for (uint32_t i = 0; i < 4; i++) {
        char alone[REQ_ID_MAX];
        real_same_ids(real_end(g, name_of(id, "r", i)), real_end(g, name_of(alone, "alone", i)));
    }
    real_stop(g);
}

/* ---- sharing ---- */

/* Equal prompts share blocks with equal salt only, and say the same with or without. */
static void point_15_no_text_from_another_chat(void **state)
{
    (void)state;
    static const struct {
        const char *id, *salt;
        uint32_t cached;
    } chats[] = {
        {"a", "anna", 0}, {"a2", "anna", 32}, {"b", "bert", 0}, {"none", NULL, 0}, {"none2", NULL, 32}};
    struct real *g = real_init();
    uint32_t ids[40];
    g->cfg.prefix_cache = true;
    real_start(g);
    real_ids(3, ids, 40);
    for (uint32_t i = 0; i < 5; i++) {
        struct engine_request rq = real_request(chats[i].id, PRIO_NORMAL, ids, 40, 4);
        rq.salt = chats[i].salt;
        real_submit(g, &rq);
        real_wait(g, i + 1);
        assert_int_equal(real_end(g, chats[i].id)->cached_tokens, chats[i].cached);
        real_same_ids(real_end(g, chats[i].id), real_end(g, "a"));
    }
    ids[5]++; /* within the first block: nothing of it may be shared */
    struct engine_request rq = real_request("other", PRIO_NORMAL, ids, 40, 4);
    real_submit(g, &rq);
    real_wait(g, 6);
    assert_int_equal(real_end(g, "other")->cached_tokens, 0);
    real_stop(g);
}

enum { SHARERS = 4, SHARED = 512, OWN = 8 };

static void ask_sharers(struct real *g)
{
    uint32_t ids[SHARED + OWN];
    char id[REQ_ID_MAX];
    real_start(g);
    real_freeze(g, true);
    real_ids(77, ids, SHARED);
    for (uint32_t i = 0; i < SHARERS; i++) {
        real_ids(1000 + i, ids + SHARED, OWN);
        struct engine_request rq = real_request(name_of(id, "s", i), PRIO_NORMAL, ids, SHARED + OWN, 6);
        real_submit(g, &rq);
    }
    real_freeze(g, false);
    real_wait(g, SHARERS);
}

/* Four that begin with the same 512 tokens, sent at once: these are computed once. */
static void four_at_once_prefill_once(void **state)
{
    (void)state;
    struct real *g = real_init(), *plain = real_init();
    char id[REQ_ID_MAX];
    g->cfg.prefix_cache = true;
    ask_sharers(g);
    ask_sharers(plain);
    assert_int_equal(prefill_tokens(g, 0, real_n_steps(g)), SHARED + SHARERS * OWN);
    assert_int_equal(prefill_tokens(plain, 0, real_n_steps(plain)), SHARERS * (SHARED + OWN));
    for (uint32_t i = 0; i < SHARERS; i++) {
        const struct engine_event *ev = real_end(g, name_of(id, "s", i));
        assert_int_equal(ev->cached_tokens, i ? SHARED : 0);
        real_same_ids(ev, real_end(plain, id));
    }
    real_stop(plain);
    real_stop(g);
}

/* Forks share what their parent has computed, copy the part-filled block, and neither disturbs the other. */
static void forks_copy_on_write(void **state)
{
    (void)state;
    enum { BEFORE = 40, TAIL = 10, LENGTH = 24 };
    struct real *g = real_init();
    uint32_t ids[BEFORE + TAIL];
    real_ids(5, ids, BEFORE);
    real_ids(6, ids + BEFORE, TAIL);
    real_start(g);
    real_freeze(g, true);
    struct engine_request parent = real_request("parent", PRIO_NORMAL, ids, BEFORE, LENGTH);
    real_submit(g, &parent);
    real_steps(g, 4);
    struct engine_request twin = real_request("twin", PRIO_NORMAL, ids, BEFORE, LENGTH);
    struct engine_request branch = real_request("branch", PRIO_NORMAL, ids, BEFORE + TAIL, LENGTH);
    struct engine_request salted = real_request("salted", PRIO_NORMAL, ids, BEFORE, LENGTH);
    struct engine_request orphan = real_request("orphan", PRIO_NORMAL, ids, BEFORE, LENGTH);
    twin.fork_of = branch.fork_of = salted.fork_of = "parent";
    salted.salt = "other";
    orphan.fork_of = "nobody";
    real_submit(g, &twin);
    real_submit(g, &branch);
    real_submit(g, &salted);
    real_submit(g, &orphan);
    real_steps(g, 1);
    assert_int_equal(g->steps[4].n_copies, 2); /* the third block, 8 of its 16 slots filled by the prompt */
    assert_int_equal(g->steps[4].n_prefill_tokens, 1 + TAIL + 2 * BEFORE);
    real_freeze(g, false);
    real_wait(g, 5);
    branch.id = "branch alone";
    branch.fork_of = NULL;
    real_submit(g, &branch);
    real_wait(g, 6);
    assert_int_equal(real_end(g, "twin")->cached_tokens, BEFORE - 1);
    assert_int_equal(real_end(g, "branch")->cached_tokens, BEFORE);
    assert_int_equal(real_end(g, "salted")->cached_tokens, 0);
    assert_int_equal(real_end(g, "orphan")->cached_tokens, 0);
    real_same_ids(real_end(g, "twin"), real_end(g, "parent"));
    real_same_ids(real_end(g, "salted"), real_end(g, "parent"));
    real_same_ids(real_end(g, "orphan"), real_end(g, "parent"));
    real_same_ids(real_end(g, "branch"), real_end(g, "branch alone"));
    real_stop(g);
}

/* ---- cancel ---- */

/* Waits until the snapshot of a frozen engine shows so many blocks used and parked: no step comes between. */
static void assert_blocks(struct real *g, uint32_t used, uint32_t parked)
{
    struct snapshot *s = calloc(1, sizeof *s);
    uint32_t at = real_n_steps(g);
    assert_non_null(s);
    for (int64_t until = clock_now_us() + 20000000;; engine_inbox_wait(g->in, 10)) {
        engine_snapshot(g->engine, s);
        if (s->kv_used == used && s->kv_parked == parked)
            break;
        if (clock_now_us() > until)
            fail_msg("%u blocks used and %u parked, not %u and %u", s->kv_used, s->kv_parked, used, parked);
    }
    assert_int_equal(real_n_steps(g), at);
    snapshot_free(s);
    free(s);
}

/* In prefill, parked, waiting, decoding: its blocks are back before another step, and nobody else notices. */
static void point_16_cancel_works_everywhere(void **state)
{
    (void)state;
    struct real *g = real_init();
    g->cfg.max_batch_size = 3;
    g->cfg.max_batch_tokens = 32;
    g->cfg.preemption = SCHED_PREEMPT_PARK;
    real_start(g);
    real_freeze(g, true);
    real_ask(g, "kept", PRIO_NORMAL, 1, 20, 24);
    real_ask(g, "decoding", PRIO_NORMAL, 2, 20, 24);
    real_steps(g, 3);
    assert_blocks(g, 4, 0); /* 20 to 32 tokens each: two blocks each, until step 12 */

    real_ask(g, "prefilling", PRIO_NORMAL, 3, 100, 8);
    real_steps(g, 1);
    assert_blocks(g, 4 + 7, 0);
    engine_cancel(g->engine, "prefilling");
    assert_blocks(g, 4, 0);

    real_ask(g, "parked", PRIO_LOW, 4, 20, 24);
    real_steps(g, 2);
    assert_blocks(g, 4 + 2, 0);
    real_ask(g, "urgent", PRIO_CRITICAL, 5, 8, 6);
    real_ask(g, "waiting", PRIO_NORMAL, 6, 8, 8);
    real_steps(g, 1);
    assert_blocks(g, 4 + 1, 2);
    engine_cancel(g->engine, "parked");
    assert_blocks(g, 4 + 1, 0);
    engine_cancel(g->engine, "waiting");
    engine_cancel(g->engine, "decoding");
    assert_blocks(g, 2 + 1, 0);
    real_freeze(g, false);
    real_wait(g, 6);

    static const char *const cancelled[] = {"prefilling", "parked", "waiting", "decoding"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(real_end(g, cancelled[i])->reason, FINISH_CANCELLED);
    assert_int_equal(real_end(g, "prefilling")->n_tokens, 0);
    assert_int_equal(real_end(g, "waiting")->n_tokens, 0);
    assert_true(real_end(g, "parked")->n_tokens > 0); /* what was made is kept */
    assert_true(real_end(g, "decoding")->n_tokens > 0);
    real_ask(g, "kept alone", PRIO_NORMAL, 1, 20, 24);
    real_ask(g, "urgent alone", PRIO_NORMAL, 5, 8, 6);
    real_wait(g, 8);
    real_same_ids(real_end(g, "kept"), real_end(g, "kept alone"));
    real_same_ids(real_end(g, "urgent"), real_end(g, "urgent alone"));
    real_stop(g);
}

struct load {
    uint32_t steps, items[64];
    int64_t step_us, sched_ns;
};

/* Eight that have nothing in common. */
static void run_strangers(bool prefix_cache, struct load *load)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->cfg.prefix_cache = prefix_cache;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < 8; i++)
        real_ask(g, name_of(id, "r", i), PRIO_NORMAL, 50 + i, 60, 20);
    real_freeze(g, false);
    real_wait(g, 8);
    *load = (struct load){.steps = real_n_steps(g), .sched_ns = g->sched_ns};
    assert_in_range(load->steps, 20, 63);
    for (uint32_t i = 0; i < load->steps; i++) {
        load->items[i] = g->steps[i].n_items;
        load->step_us += g->steps[i].dur_us;
    }
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(real_end(g, name_of(id, "r", i))->cached_tokens, 0);
    real_stop(g);
}

/* Where nothing is found in the cache the device does the same work, and all of scheduling, hashing included, is less
 * than one per cent of it. (How much the cache adds to that: tests/bench/bench_prefix.c.) */
static void a_cache_without_hits_costs_nothing(void **state)
{
    (void)state;
    struct load on, off;
    run_strangers(false, &off);
    run_strangers(true, &on);
    assert_int_equal(on.steps, off.steps);
    assert_memory_equal(on.items, off.items, sizeof on.items);
    double share_on = (double)on.sched_ns / 1e3 / (double)on.step_us,
           share_off = (double)off.sched_ns / 1e3 / (double)off.step_us;
    print_message("scheduling takes %.3f %% of a step with a prefix cache, %.3f %% without\n", 100 * share_on,
                  100 * share_off);
    assert_true(share_on < 0.01);
}

/* ---- urgency ---- */

enum { CROWD = 16, CROWD_GEN = 28, VIP_AFTER = 6, VIP_GEN = 10 };

struct crowd {
    uint32_t steps, low_tokens[CROWD_GEN + 1]; /* made until the end of step i + 1 */
    uint32_t ids[CROWD][CROWD_GEN];
    uint32_t vip_first, vip_from, vip_to; /* steps */
    double tps;                           /* tokens of LOW a second, until the steps of an undisturbed run */
};

static void run_crowd(bool vip, struct crowd *c)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    *c = (struct crowd){0};
    g->cfg.max_batch_size = CROWD;
    g->cfg.preemption = SCHED_PREEMPT_AUTO;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < CROWD; i++)
        real_ask(g, name_of(id, "low", i), PRIO_LOW, i, 8, CROWD_GEN);
    real_steps(g, VIP_AFTER);
    if (vip)
        real_ask(g, "vip", PRIO_CRITICAL, 99, 32, VIP_GEN);
    real_freeze(g, false);
    real_wait(g, CROWD + vip);
    c->steps = real_n_steps(g);
    double seconds = 0;
    for (uint32_t i = 0, n = 0; i < CROWD_GEN; i++) {
        n += i ? g->steps[i].decodes_of[PRIO_LOW + 1] : CROWD; /* the first step is the prompts' */
        c->low_tokens[i] = n;
        seconds += (double)g->steps[i].dur_us * 1e-6;
    }
    c->tps = c->low_tokens[CROWD_GEN - 1] / seconds;
    for (uint32_t i = 0; i < CROWD; i++) {
        const struct engine_event *ev = real_end(g, name_of(id, "low", i));
        assert_int_equal(ev->n_tokens, CROWD_GEN);
        for (uint32_t k = 0; k < CROWD_GEN; k++)
            c->ids[i][k] = ev->tokens[k].id;
    }
    if (vip) {
        c->vip_from = real_mark(g, SCHED_SUBMIT, "vip").step;
        c->vip_first = real_mark(g, SCHED_FIRST_TOKEN, "vip").step - c->vip_from;
        c->vip_to = real_mark(g, SCHED_FINISH, "vip").step;
        assert_int_equal(real_count(g, SCHED_PREEMPT, NULL), 1); /* one seat, one victim */
    }
    real_stop(g);
}

/* A CRITICAL one amid 16 LOW that hold all seats: served at once, at little cost to them, and none to what they say. */
static void critical_amid_sixteen_low(void **state)
{
    (void)state;
    struct crowd calm, with;
    run_crowd(false, &calm);
    run_crowd(true, &with);
    assert_int_equal(calm.steps, CROWD_GEN);
    assert_in_range(with.vip_first, 1, 3);
    uint32_t from = with.vip_from - 1, to = with.vip_to - 1;
    double meanwhile = 1 - (double)(with.low_tokens[to] - with.low_tokens[from]) /
                               (calm.low_tokens[to] - calm.low_tokens[from]);
    double overall = 1 - (double)with.low_tokens[CROWD_GEN - 1] / calm.low_tokens[CROWD_GEN - 1];
    print_message(
        "first token after %u steps; LOW lose %.1f %% of their tokens while it runs, %.1f %% overall; "
        "%.0f against %.0f tokens a second\n",
        with.vip_first, 100 * meanwhile, 100 * overall, with.tps, calm.tps);
    assert_true(meanwhile < 0.15);
    assert_true(overall < 0.15);
    assert_memory_equal(with.ids, calm.ids, sizeof with.ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point_02_no_preempt_and_readmit_loop),
        cmocka_unit_test(point_14_a_full_pool_ends_nobody),
        cmocka_unit_test(point_15_no_text_from_another_chat),
        cmocka_unit_test(point_16_cancel_works_everywhere),
        cmocka_unit_test(point_17_one_output),
        cmocka_unit_test(four_at_once_prefill_once),
        cmocka_unit_test(a_cache_without_hits_costs_nothing),
        cmocka_unit_test(forks_copy_on_write),
        cmocka_unit_test(critical_amid_sixteen_low),
    };
    const struct CMUnitTest one[] = {cmocka_unit_test(point_17_one_output)};
    choose_ways(NULL);
    return cmocka_run_group_tests(tests, real_open_device, real_close_device) +
           cmocka_run_group_tests_name("int8", one, real_open_device_int8, real_close_device) +
           cmocka_run_group_tests_name("bf16", one, real_open_device_bf16, real_close_device);
}
