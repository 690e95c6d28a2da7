/*
 * The engine on the default model and a real device:
 *   - a request's ids don't depend on its company or on how its prompt is cut: alone, in batches of 2, 5 and 16,
 *     with token budgets of 16, 64 and 256, greedy and seeded;
 *   - chat and completion, streaming and buffered, give the same ids, those of the independent reference;
 *   - sixteen requests of mixed lengths and priorities all end, give their blocks back, and high goes before low;
 *   - neither does it matter that a request is preempted and resumed, parked or recomputed, or finds its prompt cached;
 *   - stop strings across tokens, end of generation, scoring.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/engine.h"
#include "tests/support/real_device.h"

#define REFERENCE TEST_SOURCE_DIR "/../shared/reference/smollm2-chats.json"

enum { MAX_TOKENS = 256, MAX_SEQS = 16, GEN = 12, POOL = 256, PARK = 64 };
enum { PATIENCE_US = 200000000 }; /* of a machine that has much else to do */

static json_t *reference;

/* ---- an engine and its reader ---- */

struct session {
    struct engine *engine;
    struct engine_inbox *in;
    struct engine_event *ends[64]; /* in the order in which they came */
    unsigned n_ends;
    uint32_t n_blocks;
    struct buf streamed; /* TOKENS of all requests: used where there is one */
    uint32_t streamed_ids[512], n_streamed;
};

static enum weft_rc load(void *ctx, struct engine *e, struct model **m, struct exec **x, struct weft_err *err)
{
    const struct session *s = ctx;
    (void)e;
    return real_device_lend(s->n_blocks, m, x, err);
}

static int open_device(void **state)
{
    (void)state;
    struct exec_cl_config cfg = {.precision = "fp32",
                                 .block_tokens = 16,
                                 .n_blocks = POOL,
                                 .park_bytes = PARK * 720 * 1024,
                                 .max_tokens = MAX_TOKENS,
                                 .max_seqs = MAX_SEQS,
                                 .max_logits = MAX_TOKENS};
    reference = json_load_file(REFERENCE, 0, NULL);
    if (!reference) {
        print_error("no reference data at " REFERENCE "\n");
        return -1;
    }
    return real_device_open(&cfg);
}

static int close_device(void **state)
{
    (void)state;
    real_device_close();
    json_decref(reference);
    return 0;
}

/* What differs between the tests. */
struct setting {
    uint32_t max_batch_size, max_batch_tokens, n_blocks;
    enum sched_preemption preemption;
    bool prefix_cache;
};

static void session_open_with(struct session *s, struct setting set)
{
    struct weft_err err = {0};
    struct engine_config cfg = {.load = load,
                                .load_ctx = s,
                                .batching = true,
                                .aging_rate = 0.1,
                                .max_batch_size = set.max_batch_size,
                                .max_batch_tokens = set.max_batch_tokens,
                                .preemption = set.preemption,
                                .max_preemptions = 100,
                                .prefix_cache = set.prefix_cache,
                                .max_depth = 1000,
                                .reject_when_full = true,
                                .stop_ms = 2000,
                                .max_logits = MAX_TOKENS};
    *s = (struct session){.n_blocks = set.n_blocks};
    if (engine_create(&cfg, &s->engine, &err) || engine_inbox_open(s->engine, &s->in, &err))
        fail_msg("%s", err.message);
}

static void session_open(struct session *s, uint32_t max_batch_size, uint32_t max_batch_tokens)
{
    session_open_with(s, (struct setting){.max_batch_size = max_batch_size,
                                          .max_batch_tokens = max_batch_tokens,
                                          .n_blocks = POOL});
}

static void session_close(struct session *s)
{
    assert_true(engine_destroy(s->engine));
    engine_inbox_close(s->in);
    for (unsigned i = 0; i < s->n_ends; i++)
        engine_event_free(s->ends[i]);
    buf_free(&s->streamed);
}

static void session_submit(struct session *s, const struct engine_request *rq)
{
    struct weft_err err = {0};
    if (engine_submit(s->engine, s->in, rq, NULL, &err))
        fail_msg("%s", err.message);
}

static void note(struct session *s, struct engine_event *ev)
{
    if (ev->type == ENGINE_STATE && ev->state == ENGINE_FAILED)
        fail_msg("%s", ev->error.message);
    if (ev->type == ENGINE_TOKENS) {
        buf_add(&s->streamed, ev->text, ev->text_len);
        for (uint32_t i = 0; i < ev->n_tokens; i++)
            s->streamed_ids[s->n_streamed++] = ev->tokens[i].id;
    }
    if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT)
        s->ends[s->n_ends++] = ev;
    else
        engine_event_free(ev);
}

static void session_wait(struct session *s, unsigned n_ends)
{
    for (int64_t until = clock_now_us() + PATIENCE_US; s->n_ends < n_ends;) {
        engine_inbox_wait(s->in, 1000);
        for (struct engine_event *ev = engine_inbox_take(s->in), *next; ev; ev = next) {
            next = ev->next;
            note(s, ev);
        }
        if (clock_now_us() > until)
            fail_msg("%u of %u requests have ended in time", s->n_ends, n_ends);
    }
}

static const struct engine_event *find_end(const struct session *s, const char *id)
{
    for (unsigned i = s->n_ends; i-- > 0;) /* the latest of that id */
        if (!strcmp(s->ends[i]->id, id))
            return s->ends[i];
    fail_msg("request %s has no end", id);
    return NULL;
}

static struct sampling greedy(void)
{
    return (struct sampling){.temperature = 0, .top_p = 1, .repeat_penalty = 1, .seed = 0};
}

/* ---- company ---- */

static size_t chat_ids(size_t chat, uint32_t *ids, const char *key)
{
    json_t *list = json_object_get(json_array_get(json_object_get(reference, "chats"), chat), key);
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return json_array_size(list);
}

/* The two that are looked at: greedy and seeded, of different chats. */
static void submit_watched(struct session *s, int which)
{
    uint32_t ids[128];
    struct engine_request rq = {
        .id = which ? "seeded" : "greedy", .ids = ids, .max_tokens = GEN, .ignore_eos = true};
    rq.n_ids = chat_ids(which ? 4 : 1, ids, "prompt_ids");
    rq.sampling = greedy();
    if (which)
        rq.sampling = (struct sampling){.temperature = 0.9,
                                        .top_k = 40,
                                        .top_p = 0.95,
                                        .min_p = 0.02,
                                        .repeat_penalty = 1.1,
                                        .penalty_window = 64,
                                        .seed = 1234};
    session_submit(s, &rq);
}

static void submit_others(struct session *s, unsigned n)
{
    struct rng r;
    rng_seed(&r, n);
    for (unsigned i = 0; i < n; i++) {
        uint32_t ids[64];
        struct engine_request rq = {
            .ids = ids, .n_ids = 4 + rng_below(&r, 24), .max_tokens = (uint32_t)(3 + rng_below(&r, 7))};
        for (size_t k = 0; k < rq.n_ids; k++)
            ids[k] = (uint32_t)(100 + rng_below(&r, 40000));
        rq.sampling = greedy();
        rq.ignore_eos = true;
        session_submit(s, &rq);
    }
}

static void take_ids(const struct session *s, const char *id, uint32_t *out)
{
    const struct engine_event *ev = find_end(s, id);
    assert_int_equal(ev->reason, FINISH_LENGTH);
    assert_int_equal(ev->n_tokens, GEN);
    for (uint32_t i = 0; i < GEN; i++)
        out[i] = ev->tokens[i].id;
}

/* One round of `batch` requests, two of them watched; their ids go to got[]. */
static void run_in_company(struct session *s, unsigned batch, uint32_t got[2][GEN])
{
    unsigned first = s->n_ends;
    if (batch == 1) {
        submit_watched(s, 0);
        session_wait(s, first + 1);
        submit_watched(s, 1);
        session_wait(s, first + 2);
    } else { /* some of the company is there before, some comes after */
        unsigned before = (batch - 2) / 2;
        submit_others(s, before);
        submit_watched(s, 1);
        submit_watched(s, 0);
        submit_others(s, batch - 2 - before);
        session_wait(s, first + batch);
    }
    take_ids(s, "greedy", got[0]);
    take_ids(s, "seeded", got[1]);
}

static void test_ids_in_any_company(void **state)
{
    (void)state;
    static const uint32_t budgets[] = {256, 64, 16};
    static const unsigned batches[] = {1, 2, 5, 16};
    uint32_t expect[2][GEN], got[2][GEN];
    for (size_t b = 0; b < 3; b++) {
        struct session s;
        session_open(&s, MAX_SEQS, budgets[b]);
        for (size_t k = 0; k < 4; k++) {
            run_in_company(&s, batches[k], got);
            if (b == 0 && k == 0)
                memcpy(expect, got, sizeof got);
            for (uint32_t i = 0; i < 2 * GEN; i++)
                if (got[i / GEN][i % GEN] != expect[i / GEN][i % GEN])
                    fail_msg("%s: token %u is %u, not %u, in a batch of %u with a budget of %u",
                             i / GEN ? "seeded" : "greedy", i % GEN, got[i / GEN][i % GEN],
                             expect[i / GEN][i % GEN], batches[k], budgets[b]);
        }
        session_close(&s);
    }
}

/* Four sequences in a pool that holds little more than two of them: somebody must go, come back, and not show it. */
static void test_preempted_or_cached(void **state)
{
    (void)state;
    enum { N = 4, LONG = 32, KINDS = 4, BLOCKS = 13 };
    static const struct setting settings[KINDS] = {
        {MAX_SEQS, 64, POOL, SCHED_PREEMPT_OFF, false}, /* how it is undisturbed */
        {MAX_SEQS, 64, BLOCKS, SCHED_PREEMPT_PARK, false},
        {MAX_SEQS, 64, BLOCKS, SCHED_PREEMPT_RECOMPUTE, false},
        {MAX_SEQS, 64, POOL, SCHED_PREEMPT_OFF, true},
    };
    uint32_t expect[N][LONG];
    for (int kind = 0; kind < KINDS; kind++) {
        struct session s;
        uint32_t preemptions = 0, recomputed = 0, cached = 0;
        session_open_with(&s, settings[kind]);
        int rounds = settings[kind].prefix_cache ? 2 : 1; /* the second finds what the first computed */
        for (int round = 0; round < rounds; round++) {
            engine_freeze(s.engine, true); /* all at once */
            for (unsigned i = 0; i < N; i++) {
                uint32_t ids[128];
                char id[16];
                struct engine_request rq = {.id = id, .ids = ids, .max_tokens = LONG, .ignore_eos = true};
                snprintf(id, sizeof id, "%u.%d", i, round);
                rq.n_ids = chat_ids(i, ids, "prompt_ids");
                rq.sampling = greedy();
                rq.sampling.temperature = i & 1;
                rq.sampling.top_k = 40;
                session_submit(&s, &rq);
            }
            engine_freeze(s.engine, false);
            session_wait(&s, (unsigned)(round + 1) * N);
        }
        for (unsigned e = 0; e < s.n_ends; e++) {
            const struct engine_event *ev = s.ends[e];
            unsigned i = (unsigned)atoi(ev->id);
            assert_int_equal(ev->n_tokens, LONG);
            for (uint32_t k = 0; k < LONG; k++) {
                if (kind == 0)
                    expect[i][k] = ev->tokens[k].id;
                if (ev->tokens[k].id != expect[i][k])
                    fail_msg("kind %d, request %s: token %u is %u, not %u", kind, ev->id, k, ev->tokens[k].id,
                             expect[i][k]);
            }
            preemptions += ev->preemptions;
            recomputed += ev->recomputed_tokens;
            cached += ev->cached_tokens;
        }
        assert_true((preemptions > 0) == (settings[kind].n_blocks == BLOCKS));
        if (settings[kind].preemption == SCHED_PREEMPT_RECOMPUTE)
            assert_true(recomputed > 0);
        assert_true((cached > 0) == settings[kind].prefix_cache);
        assert_int_equal(s.n_ends, rounds * N);
        session_close(&s);
    }
}

/* ---- the ways in ---- */

static void test_four_ways(void **state)
{
    (void)state;
    json_t *chat = json_array_get(json_object_get(reference, "chats"), 0);
    json_t *list = json_object_get(chat, "messages");
    const char *rendered = json_string_value(json_object_get(chat, "rendered"));
    struct chat_message messages[8];
    uint32_t prompt[128], expect[64];
    size_t n_messages = json_array_size(list), n_prompt = chat_ids(0, prompt, "prompt_ids");
    size_t n_expect = chat_ids(0, expect, "greedy_ids") - 1; /* it ends with <|im_end|>, which isn't output */
    for (size_t i = 0; i < n_messages; i++) {
        const char *content = json_string_value(json_object_get(json_array_get(list, i), "content"));
        messages[i] = (struct chat_message){
            json_string_value(json_object_get(json_array_get(list, i), "role")), content, strlen(content)};
    }
    for (int way = 0; way < 4; way++) {
        struct session s;
        struct engine_request rq = {.id = "it", .max_tokens = 32, .stream = way & 1, .sampling = greedy()};
        if (way < 2) {
            rq.messages = messages;
            rq.n_messages = n_messages;
        } else {
            rq.prompt = rendered;
            rq.prompt_len = strlen(rendered);
        }
        session_open(&s, MAX_SEQS, 256);
        session_submit(&s, &rq);
        session_wait(&s, 1);
        const struct engine_event *ev = find_end(&s, "it");
        assert_int_equal(ev->reason, FINISH_STOP);
        assert_int_equal(ev->n_prompt, n_prompt);
        assert_memory_equal(ev->prompt_ids, prompt, n_prompt * sizeof *prompt);
        assert_int_equal(ev->n_tokens, n_expect);
        for (uint32_t i = 0; i < n_expect; i++)
            assert_int_equal(ev->tokens[i].id, expect[i]);
        assert_null(strstr(ev->text, "<|"));
        assert_int_equal(ev->priority, rq.stream ? PRIO_NORMAL : PRIO_HIGH);
        assert_int_equal(s.n_streamed, rq.stream ? n_expect : 0);
        if (rq.stream) {
            assert_string_equal(buf_str(&s.streamed), ev->text);
            for (uint32_t i = 0; i < n_expect; i++)
                assert_int_equal(s.streamed_ids[i], expect[i]);
        }

        /* A stop string that begins within one token and ends within another. */
        if (way == 3) {
            char stop[16];
            const char *stops[] = {stop};
            uint32_t mid = ev->tokens[2].text_end;
            memcpy(stop, ev->text + mid - 2, 4);
            stop[4] = 0;
            char *before = strdup(ev->text);
            *strstr(before, stop) = 0;
            rq.id = "stopped";
            rq.stop = stops;
            rq.n_stop = 1;
            buf_clear(&s.streamed);
            session_submit(&s, &rq);
            session_wait(&s, 2);
            ev = find_end(&s, "stopped");
            assert_int_equal(ev->reason, FINISH_STOP);
            assert_string_equal(ev->text, before);
            assert_string_equal(buf_str(&s.streamed), before);
            assert_true(ev->n_tokens <= 4);
            free(before);
        }
        session_close(&s);
    }
}

/* ---- many at once ---- */

static bool blocks_are_back(struct engine *e)
{
    struct snapshot *s = calloc(1, sizeof *s);
    bool back = false;
    for (int64_t until = clock_now_us() + 5000000; !back && clock_now_us() < until;) {
        engine_snapshot(e, s);
        back = s->kv_total == POOL && s->kv_used == 0 && s->kv_free + s->kv_cached == s->kv_total &&
               !s->n_running;
    }
    snapshot_free(s);
    free(s);
    return back;
}

static void test_sixteen_mixed(void **state)
{
    (void)state;
    enum { N = 16 };
    struct session s;
    session_open(&s, 4, 64); /* four seats: the others queue */
    engine_freeze(s.engine, true);
    for (unsigned i = 0; i < N; i++) {
        uint32_t ids[200];
        char id[16];
        struct engine_request rq = {
            .id = id, .ids = ids, .n_ids = 3 + i * 11 % 120, .max_tokens = 2 + i * 7 % 15};
        snprintf(id, sizeof id, "q%u", i);
        for (size_t k = 0; k < rq.n_ids; k++)
            ids[k] = (uint32_t)(200 + 31 * k + i);
        rq.has_priority = true;
        rq.priority = (enum prio)((int)(i % 4) - 1);
        rq.ignore_eos = true;
        rq.sampling = greedy();
        session_submit(&s, &rq);
    }
    engine_freeze(s.engine, false);
    session_wait(&s, N);
    for (unsigned i = 0; i < N; i++) {
        const struct engine_event *a = s.ends[i];
        assert_int_equal(a->type, ENGINE_FINISH);
        assert_int_equal(a->reason, FINISH_LENGTH);
        assert_int_equal(a->n_tokens, 2 + (unsigned)atoi(a->id + 1) * 7 % 15);
        for (unsigned k = 0; k < N; k++) /* nobody starts after someone worse */
            if (a->priority < s.ends[k]->priority)
                assert_true(a->timing.scheduled_ms <= s.ends[k]->timing.scheduled_ms);
    }
    assert_true(blocks_are_back(s.engine));
    session_close(&s);
}

/* ---- scoring ---- */

static void test_score(void **state)
{
    (void)state;
    json_t *text = json_object_get(reference, "text"), *list = json_object_get(text, "ids");
    uint32_t ids[512];
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    struct session s;
    session_open(&s, MAX_SEQS, 64);
    struct engine_request rq = {.id = "it", .ids = ids, .n_ids = n, .score = true, .sampling = greedy()};
    session_submit(&s, &rq);
    session_wait(&s, 1);
    const struct engine_event *ev = find_end(&s, "it");
    assert_int_equal(ev->type, ENGINE_FINISH);
    assert_int_equal(ev->n_tokens, 0);
    assert_non_null(ev->nll);
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++)
        sum += ev->nll[i];
    assert_true(fabs(sum / (double)(n - 1) - json_number_value(json_object_get(text, "mean_nll"))) < 0.0005);
    session_close(&s);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_in_any_company),
        cmocka_unit_test(test_preempted_or_cached),
        cmocka_unit_test(test_four_ways),
        cmocka_unit_test(test_sixteen_mixed),
        cmocka_unit_test(test_score),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
