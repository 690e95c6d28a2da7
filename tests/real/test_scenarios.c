/*
 * Ten scenarios on the engine as users have it: default model, real device. What each shows is its name; requests are
 * short, and what is asserted are counts and orders, not times.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/base/clock.h"
#include "tests/support/real_rig.h"

static const char *name_of(char *id, const char *what, uint32_t i)
{
    snprintf(id, REQ_ID_MAX, "%s%u", what, i);
    return id;
}

static struct snapshot *snapshot_of(struct real *g)
{
    struct snapshot *s = calloc(1, sizeof *s);
    assert_non_null(s);
    engine_snapshot(g->engine, s);
    return s;
}

static void snapshot_drop(struct snapshot *s)
{
    snapshot_free(s);
    free(s);
}

/* The context of an error as a number; NaN when it has no such key. */
static double context_num(const struct weft_err *err, const char *key)
{
    json_t *j = weft_err_json(err);
    json_t *value = json_object_get(json_object_get(j, "context"), key);
    double num = json_is_number(value) ? json_number_value(value) : NAN;
    json_decref(j);
    return num;
}

static void assert_queue_full(const struct engine_event *ev, enum engine_event_type type, double max_depth)
{
    assert_int_equal(ev->type, type);
    assert_int_equal(ev->error.code, WEFT_QUEUE_FULL);
    assert_true(context_num(&ev->error, "depth") == max_depth);
    assert_true(context_num(&ev->error, "max_depth") == max_depth);
}

/* ---- queueing ---- */

/* Two seats and six requests: four wait, and it is known which, in what order and why; one of them leaves. */
static void test_queueing(void **state)
{
    (void)state;
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->cfg.max_batch_size = 2;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < 6; i++)
        real_ask(g, name_of(id, "q", i), PRIO_NORMAL, i, 8, 4);
    real_steps(g, 1);
    struct snapshot *s = snapshot_of(g);
    assert_int_equal(s->n_running, 2);
    assert_int_equal(s->queue_total, 4);
    assert_int_equal(s->queue_depth, 4);
    assert_int_equal(s->waiting_by_reason[WAIT_SLOTS], 4);
    for (uint32_t i = 0; i < s->n_queue; i++)
        assert_string_equal(s->queue[i].id, name_of(id, "q", i + 2));
    engine_cancel(g->engine, "q3");
    engine_cancel(g->engine, "no such request"); /* harms nobody */
    real_freeze(g, false);
    real_wait(g, 6);
    for (uint32_t i = 0; i < 6; i++) {
        const struct engine_event *ev = real_end(g, name_of(id, "q", i));
        assert_int_equal(ev->reason, i == 3 ? FINISH_CANCELLED : FINISH_LENGTH);
        assert_int_equal(ev->n_tokens, i == 3 ? 0 : 4);
    }
    assert_int_equal(real_count(g, SCHED_ADMIT, "q3"), 0);
    assert_true(real_mark(g, SCHED_ADMIT, "q2").step <= real_mark(g, SCHED_ADMIT, "q4").step);
    assert_true(real_mark(g, SCHED_ADMIT, "q4").step <= real_mark(g, SCHED_ADMIT, "q5").step);
    snapshot_drop(s);
    real_stop(g);
}

/* ---- batching ---- */

enum { N_BATCH = 8, GEN = 12 };

struct run {
    uint32_t steps, ids[N_BATCH][GEN], most_items;
    double seconds; /* spent in steps */
};

static void run_batch(bool batching, struct run *run)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->cfg.batching = batching;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < N_BATCH; i++)
        real_ask(g, name_of(id, "b", i), PRIO_NORMAL, i, 10 + i, GEN);
    real_freeze(g, false);
    real_wait(g, N_BATCH);
    *run = (struct run){.steps = real_n_steps(g)};
    for (uint32_t i = 0; i < run->steps; i++) {
        run->seconds += (double)g->steps[i].dur_us * 1e-6;
        if (g->steps[i].n_items > run->most_items)
            run->most_items = g->steps[i].n_items;
    }
    for (uint32_t i = 0; i < N_BATCH; i++) {
        const struct engine_event *ev = real_end(g, name_of(id, "b", i));
        assert_int_equal(ev->n_tokens, GEN);
        for (uint32_t k = 0; k < GEN; k++)
            run->ids[i][k] = ev->tokens[k].id;
    }
    real_stop(g);
}

/* Eight together take the steps of one, not of eight, and nobody's tokens differ. */
static void test_batching(void **state)
{
    (void)state;
    struct run together, in_turn;
    run_batch(true, &together);
    run_batch(false, &in_turn);
    assert_int_equal(together.steps, GEN); /* all prompts fit in the first, which makes a token of each */
    assert_int_equal(together.most_items, N_BATCH);
    assert_int_equal(in_turn.steps, N_BATCH * GEN);
    assert_int_equal(in_turn.most_items, 1);
    assert_memory_equal(together.ids, in_turn.ids, sizeof together.ids);
    print_message("eight requests, tokens a second: %.0f in a batch, %.0f one at a time\n",
                  N_BATCH * GEN / together.seconds, N_BATCH * GEN / in_turn.seconds);
}

/* ---- resource limits ---- */

static void wait_for_memory(struct real *g)
{
    for (int64_t until = clock_now_us() + 20000000; clock_now_us() < until;) {
        struct snapshot *s = snapshot_of(g);
        bool measured = s->memory_mb > 0 && s->under_pressure;
        snapshot_drop(s);
        if (measured)
            return;
        engine_inbox_wait(g->in, 20);
    }
    fail_msg("memory pressure doesn't show");
}

/* Above the soft limit LOW is refused, above the hard one everybody; what never fits the pool is refused alone. */
static void test_resource_limits(void **state)
{
    (void)state;
    for (int hard = 0; hard <= 1; hard++) {
        struct real *g = real_init();
        g->cfg.limit_memory = true;
        g->cfg.max_memory_mb = 1; /* weights alone take more */
        g->cfg.critical_memory_mb = hard ? 2 : 1e6;
        g->cfg.memory_check_ms = 10;
        g->n_blocks = 8;
        real_start(g);
        wait_for_memory(g);
        real_ask(g, "low", PRIO_LOW, 1, 8, 4);
        real_ask(g, "critical", PRIO_CRITICAL, 2, 8, 4);
        real_ask(g, "huge", PRIO_CRITICAL, 3, 8 * REAL_BLOCK_TOKENS, 1);
        real_wait(g, 3);
        const struct engine_event *low = real_end(g, "low"), *critical = real_end(g, "critical");
        assert_int_equal(low->type, ENGINE_REJECT);
        assert_int_equal(low->error.code, hard ? WEFT_MEMORY_LIMIT_EXCEEDED : WEFT_RESOURCE_LIMIT_EXCEEDED);
        assert_true(context_num(&low->error, "limit_mb") == (hard ? 2 : 1));
        assert_true(context_num(&low->error, "memory_mb") > 2);
        assert_int_equal(critical->type, hard ? ENGINE_REJECT : ENGINE_FINISH);
        assert_int_equal(critical->error.code, hard ? WEFT_MEMORY_LIMIT_EXCEEDED : WEFT_OK);
        assert_int_equal(critical->n_tokens, hard ? 0 : 4);
        assert_int_equal(real_end(g, "huge")->error.code, WEFT_INVALID_REQUEST);
        real_stop(g);
    }
}

/* ---- priority order ---- */

/* One seat; they come worst first, and are served best first; one is raised while it waits. */
static void test_priority_order(void **state)
{
    (void)state;
    static const char *const order[] = {"raised", "critical", "high", "normal", "low"};
    struct real *g = real_init();
    g->cfg.max_batch_size = 1;
    real_start(g);
    real_freeze(g, true);
    real_ask(g, "raised", PRIO_LOW, 0, 8, 3);
    real_ask(g, "low", PRIO_LOW, 1, 8, 3);
    real_ask(g, "normal", PRIO_NORMAL, 2, 8, 3);
    real_ask(g, "high", PRIO_HIGH, 3, 8, 3);
    real_ask(g, "critical", PRIO_CRITICAL, 4, 8, 3);
    engine_set_priority(g->engine, "raised", PRIO_CRITICAL);
    real_freeze(g, false);
    real_wait(g, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_string_equal(g->requests[g->ended[i]].id, order[i]);
    assert_int_equal(real_end(g, "raised")->priority, PRIO_CRITICAL);
    real_stop(g);
}

/* ---- backpressure ---- */

static struct real *fill_queue(bool reject_when_full)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->cfg.max_depth = 3;
    g->cfg.reject_when_full = reject_when_full;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < 3; i++)
        real_ask(g, name_of(id, "p", i), i ? PRIO_LOW : PRIO_NORMAL, i, 8, 3);
    return g;
}

/* Whoever comes to a full queue is refused, whatever its priority. */
static void test_backpressure_refuses(void **state)
{
    (void)state;
    struct real *g = fill_queue(true);
    real_ask(g, "low", PRIO_LOW, 5, 8, 3);
    real_ask(g, "critical", PRIO_CRITICAL, 6, 8, 3);
    real_sync(g);
    assert_queue_full(real_end(g, "low"), ENGINE_REJECT, 3);
    assert_queue_full(real_end(g, "critical"), ENGINE_REJECT, 3);
    real_freeze(g, false);
    real_wait(g, 5);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(real_end(g, g->requests[g->ended[2 + i]].id)->n_tokens, 3);
    real_stop(g);
}

/* The oldest of the worst base makes room for a newcomer, unless that is worse still. */
static void test_backpressure_drops(void **state)
{
    (void)state;
    struct real *g = fill_queue(false);
    real_ask(g, "high", PRIO_HIGH, 5, 8, 3);  /* p1 goes */
    real_ask(g, "high2", PRIO_HIGH, 6, 8, 3); /* p2 goes */
    real_ask(g, "low", PRIO_LOW, 7, 8, 3);    /* worse than all: refused */
    real_sync(g);
    assert_queue_full(real_end(g, "p1"), ENGINE_FINISH, 3);
    assert_queue_full(real_end(g, "p2"), ENGINE_FINISH, 3);
    assert_int_equal(real_end(g, "p2")->reason, FINISH_ERROR);
    assert_queue_full(real_end(g, "low"), ENGINE_REJECT, 3);
    real_freeze(g, false);
    real_wait(g, 6);
    assert_int_equal(real_end(g, "p0")->n_tokens, 3);
    assert_int_equal(real_end(g, "high")->n_tokens, 3);
    assert_int_equal(real_end(g, "high2")->n_tokens, 3);
    real_stop(g);
}

/* ---- metrics ---- */

static double stat(const json_t *stats, const char *group, const char *key)
{
    const json_t *value = json_object_get(json_object_get(stats, group), key);
    if (!json_is_number(value))
        fail_msg("stats have no %s.%s", group, key);
    return json_number_value(value);
}

/* What the one call says agrees with what the scheduler was seen to do. */
static void test_metrics(void **state)
{
    (void)state;
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    g->cfg.prefix_cache = true;
    real_start(g);
    real_ask(g, "first", PRIO_NORMAL, 1, 40, 4); /* leaves two full blocks in the cache */
    real_wait(g, 1);
    for (uint32_t i = 0; i < 4; i++)
        real_ask(g, name_of(id, "m", i), PRIO_NORMAL, i ? i + 10 : 1, 40, 4 + i);
    real_wait(g, 5);
    real_ask(g, "huge", PRIO_NORMAL, 9, REAL_BLOCKS * REAL_BLOCK_TOKENS, 1); /* refused */
    real_ask(g, "cancelled", PRIO_NORMAL, 9, 40, 500);
    engine_cancel(g->engine, "cancelled");
    real_wait(g, 7);
    for (bool told = false;
         !told;) { /* latencies are summed up now and then, and not while the engine is frozen */
        struct snapshot *s = snapshot_of(g);
        told = s->avg_latency_ms > 0;
        snapshot_drop(s);
        engine_inbox_wait(g->in, 20);
    }
    real_freeze(g, true);

    uint32_t n_steps = real_n_steps(g), n_items = 0, tokens = 0;
    for (uint32_t i = 0; i < n_steps; i++)
        n_items += g->steps[i].n_items;
    for (uint32_t i = 0; i < g->n_ends; i++)
        tokens += g->requests[i].end->n_tokens;
    assert_in_range(tokens, 4 + 4 + 5 + 6 + 7, 4 + 4 + 5 + 6 + 7 + 500);

    struct snapshot *s = NULL;
    bool shown = false; /* an idle engine publishes now and then */
    for (int64_t until = clock_now_us() + 20000000; !shown && clock_now_us() < until;) {
        if (s)
            snapshot_drop(s);
        s = snapshot_of(g);
        shown = s->completed == 5 && s->total_batches == n_steps && s->kv_used == 0;
        engine_inbox_wait(g->in, 20);
    }
    assert_true(shown);
    json_t *stats = snapshot_stats_json(s, "test");
    assert_string_equal(json_string_value(json_object_get(stats, "state")), "READY");
    assert_true(stat(stats, "requests", "completed") == 5);
    assert_true(stat(stats, "requests", "failed") == 0);
    assert_true(stat(stats, "requests", "success_rate") == 1);
    assert_true(stat(stats, "requests", "avg_latency_ms") > 0);
    assert_true(stat(stats, "batch", "total_batches") == n_steps);
    assert_true(fabs(stat(stats, "batch", "avg_batch_size") - (double)n_items / n_steps) < 1e-6);
    assert_true(stat(stats, "batch", "running") == 0);
    assert_true(stat(stats, "queue", "depth") == 0);
    assert_true(stat(stats, "queue", "max_depth") == 1000);
    assert_true(stat(stats, "kv", "total") == REAL_BLOCKS);
    assert_true(stat(stats, "kv", "free") + stat(stats, "kv", "cached") == REAL_BLOCKS);
    assert_true(stat(stats, "prefix", "hit_tokens") == 32); /* m0 is the first one's twin */
    assert_true(stat(stats, "prefix", "query_tokens") >= 5 * 40);
    assert_int_equal(real_end(g, "m0")->cached_tokens, 32);
    assert_true(s->rejected >= 1);
    for (uint32_t i = 0; i < g->n_ends; i++) { /* each request's own times are in order */
        const struct engine_event *ev = g->requests[i].end;
        if (ev->type != ENGINE_FINISH || ev->reason != FINISH_LENGTH)
            continue;
        assert_true(ev->timing.arrival_ms <= ev->timing.scheduled_ms);
        assert_true(ev->timing.scheduled_ms < ev->timing.first_token_ms);
        assert_true(ev->timing.first_token_ms < ev->timing.finish_ms);
        assert_true(fabs(ev->timing.ttft_ms - (ev->timing.first_token_ms - ev->timing.arrival_ms)) < 1e-6);
    }
    json_decref(stats);
    snapshot_drop(s);
    real_stop(g);
}

/* ---- concurrent requests ---- */

enum { N_THREADS = 4, EACH = 4, SHORT = 6 };

struct client {
    struct engine *engine;
    pthread_t thread;
    uint32_t number, ids[EACH][SHORT], n_ok;
};

/* A submitter with an inbox of its own, as a second console would be. */
static void *client_main(void *arg)
{
    struct client *c = arg;
    struct engine_inbox *in;
    if (engine_inbox_open(c->engine, &in, NULL))
        return NULL;
    uint32_t n_ends = 0;
    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t prompt[12];
        char id[REQ_ID_MAX];
        snprintf(id, sizeof id, "c%u.%u", c->number, i);
        real_ids(100 + i, prompt, 12); /* the same of each client */
        struct engine_request rq = real_request(id, PRIO_NORMAL, prompt, 12, SHORT);
        if (engine_submit(c->engine, in, &rq, NULL, NULL))
            n_ends++;
    }
    for (int64_t until = clock_now_us() + 100000000; n_ends < EACH && clock_now_us() < until;) {
        engine_inbox_wait(in, 100);
        for (struct engine_event *ev = engine_inbox_take(in), *next; ev; ev = next) {
            unsigned number, i;
            next = ev->next;
            n_ends += ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT;
            if (ev->type == ENGINE_FINISH && ev->n_tokens == SHORT &&
                sscanf(ev->id, "c%u.%u", &number, &i) == 2 && number == c->number && i < EACH) {
                for (uint32_t k = 0; k < SHORT; k++)
                    c->ids[i][k] = ev->tokens[k].id;
                c->n_ok++;
            }
            engine_event_free(ev);
        }
    }
    engine_inbox_close(in);
    return NULL;
}

/* Four threads submit at once; each gets its own answers, all of them, and equal questions get equal ones. */
static void test_concurrent_requests(void **state)
{
    (void)state;
    struct real *g = real_init();
    struct client clients[N_THREADS] = {0};
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        clients[i] = (struct client){.engine = g->engine, .number = i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (int64_t until = clock_now_us() + 20000000; real_count(g, SCHED_SUBMIT, NULL) < N_THREADS * EACH;) {
        engine_inbox_wait(g->in, 5);
        assert_true(clock_now_us() < until);
    }
    real_freeze(g, false);
    for (uint32_t i = 0; i < N_THREADS; i++)
        pthread_join(clients[i].thread, NULL);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        assert_int_equal(clients[i].n_ok, EACH);
        assert_memory_equal(clients[i].ids, clients[0].ids, sizeof clients[0].ids);
    }
    assert_int_equal(g->steps[0].n_items, N_THREADS * EACH); /* all of them in one batch */
    real_stop(g);
}

/* ---- graceful degradation ---- */

enum { SEATS = 4, ROUNDS = 4, LENGTH = 8 };

struct load {
    uint32_t submitted, served, refused, tokens, steps;
};

/* Each round `per_round` requests come, and then as many steps run as it takes to serve SEATS of them. */
static void run_load(uint32_t per_round, struct load *load)
{
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    *load = (struct load){0};
    g->cfg.max_batch_size = SEATS;
    g->cfg.max_depth = SEATS;
    real_start(g);
    real_freeze(g, true);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < per_round; i++) {
            uint32_t n = load->submitted++;
            real_ask(g, name_of(id, "d", n), PRIO_NORMAL, n, 8, LENGTH);
        }
        real_steps(g, LENGTH);
    }
    load->steps = real_n_steps(g);
    for (uint32_t i = 0; i < load->steps; i++) /* each item made a token: prompts are one chunk */
        load->tokens += g->steps[i].n_items;
    real_freeze(g, false);
    real_wait(g, load->submitted);
    for (uint32_t i = 0; i < load->submitted; i++) {
        const struct engine_event *ev = real_end(g, name_of(id, "d", i));
        if (ev->type == ENGINE_REJECT) {
            assert_queue_full(ev, ENGINE_REJECT, SEATS);
            load->refused++;
        } else {
            assert_int_equal(ev->reason, FINISH_LENGTH);
            assert_int_equal(ev->n_tokens, LENGTH);
            load->served++;
        }
    }
    real_stop(g);
}

/* Twice the load that it can carry: it carries as much as ever, says no to the rest, and loses nobody. */
static void test_graceful_degradation(void **state)
{
    (void)state;
    struct load once, twice;
    run_load(SEATS, &once);
    run_load(2 * SEATS, &twice);
    print_message("tokens a step: %.2f at the load it can carry, %.2f at twice that (%u of %u refused)\n",
                  (double)once.tokens / once.steps, (double)twice.tokens / twice.steps, twice.refused,
                  twice.submitted);
    assert_int_equal(once.refused, 0);
    assert_int_equal(once.served, once.submitted);
    assert_int_equal(twice.served + twice.refused, twice.submitted);
    assert_true(twice.refused > 0);
    assert_true(twice.served >= once.served);
    assert_true((double)twice.tokens / twice.steps >= 0.95 * once.tokens / once.steps);
}

/* ---- streaming and buffered, in a batch ---- */

static const char *const questions[] = {"The capital of France is", "Water is made of hydrogen and",
                                        "One, two, three, four,", "The sun rises in the"};
enum { N_QUESTIONS = 4, WORDS = 16 };

static void ask_in_words(struct real *g, const char *id, uint32_t i, bool stream)
{
    struct engine_request rq = real_request(id, PRIO_NORMAL, NULL, 0, WORDS);
    rq.ids = NULL;
    rq.prompt = questions[i];
    rq.prompt_len = strlen(questions[i]);
    rq.stream = stream;
    rq.has_priority = false;
    real_submit(g, &rq);
}

/* Each step brings each of four streams its token; the pieces make up the whole. */
static void test_streaming_in_a_batch(void **state)
{
    (void)state;
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < N_QUESTIONS; i++)
        ask_in_words(g, name_of(id, "s", i), i, true);
    for (uint32_t k = 1; k <= WORDS; k++) {
        real_steps(g, 1);
        assert_int_equal(g->steps[k - 1].n_items, N_QUESTIONS);
        for (uint32_t i = 0; i < N_QUESTIONS; i++) {
            const struct real_request *q = real_find(g, name_of(id, "s", i));
            assert_true(q->n_streamed <= k);
            assert_true(q->n_streamed + 3 >= k); /* a character may take up to four tokens */
        }
    }
    real_wait(g, N_QUESTIONS);
    for (uint32_t i = 0; i < N_QUESTIONS; i++) {
        const struct real_request *q = real_find(g, name_of(id, "s", i));
        assert_int_equal(q->n_streamed, WORDS);
        assert_in_range(q->n_token_events, WORDS / 2, WORDS);
        assert_string_equal(q->streamed, q->end->text);
        assert_int_equal(q->end->priority, PRIO_NORMAL);
    }
    real_stop(g);
}

/* Buffered ones in a batch with streams hear nothing until their end, and then the same words. */
static void test_buffered_in_a_batch(void **state)
{
    (void)state;
    struct real *g = real_init();
    char id[REQ_ID_MAX];
    real_start(g);
    real_freeze(g, true);
    for (uint32_t i = 0; i < N_QUESTIONS; i++) {
        ask_in_words(g, name_of(id, "b", i), i, false);
        ask_in_words(g, name_of(id, "s", i), i, true);
    }
    real_freeze(g, false);
    real_wait(g, 2 * N_QUESTIONS);
    assert_int_equal(g->steps[WORDS / 2].n_items, 2 * N_QUESTIONS);
    for (uint32_t i = 0; i < N_QUESTIONS; i++) {
        const struct real_request *b = real_find(g, name_of(id, "b", i));
        const struct real_request *s = real_find(g, name_of(id, "s", i));
        assert_int_equal(b->n_token_events, 0);
        assert_int_equal(b->end->n_tokens, WORDS);
        assert_int_equal(b->end->priority, PRIO_HIGH);
        assert_string_equal(b->end->text, s->streamed);
        real_same_ids(b->end, s->end);
    }
    real_stop(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queueing),
        cmocka_unit_test(test_batching),
        cmocka_unit_test(test_resource_limits),
        cmocka_unit_test(test_priority_order),
        cmocka_unit_test(test_backpressure_refuses),
        cmocka_unit_test(test_backpressure_drops),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_concurrent_requests),
        cmocka_unit_test(test_graceful_degradation),
        cmocka_unit_test(test_streaming_in_a_batch),
        cmocka_unit_test(test_buffered_in_a_batch),
    };
    return cmocka_run_group_tests(tests, real_open_device, real_close_device);
}
