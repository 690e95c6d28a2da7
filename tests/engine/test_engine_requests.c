/* Requests through the engine: the ways in, what is refused, cancelling, events, output. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/log.h"
#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 20 };

/* engine/engine_internal.h has it; a test of the public side says what it needs. */
size_t reply_pseudo_word(uint32_t id, char out[16]);

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    rig_init(r);
    rig_start(r);
    rig_wait_state(r, ENGINE_READY);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    rig_free(r);
    free(r);
    return 0;
}

/* ---- the ways in ---- */

static void test_four_ways_same_ids(void **state)
{
    struct rig *r = *state;
    static const char text[] = "Once upon a time there was a scheduler.";
    struct chat_message chat[] = {{"system", "Be brief.", 9}, {"user", text, sizeof text - 1}};
    uint32_t reference[2][GEN];
    for (int seeded = 0; seeded < 2; seeded++) {
        for (int way = 0; way < 6; way++) {
            struct engine_request rq = rig_request(NULL, 0, GEN);
            char id[REQ_ID_MAX];
            rq.stream = way & 1;
            rq.sampling.temperature = seeded ? 0.9 : 0;
            rq.sampling.seed = 7;
            const struct engine_event *ev;
            uint32_t *copy = NULL;
            if (way < 2) { /* plain completion */
                rq.prompt = text;
                rq.prompt_len = sizeof text - 1;
            } else if (way < 4) { /* chat: another prompt, so compared with its own kind */
                rq.messages = chat;
                rq.n_messages = 2;
            } else { /* the ids that the completion reported */
                struct engine_request first = rig_request(NULL, 0, 1);
                first.prompt = text;
                first.prompt_len = sizeof text - 1;
                rig_submit(r, &first, id);
                ev = rig_wait_end(r, id);
                rq.n_ids = ev->n_prompt;
                rq.ids = copy = malloc(ev->n_prompt * sizeof *copy);
                memcpy(copy, ev->prompt_ids, ev->n_prompt * sizeof *copy);
            }
            rig_submit(r, &rq, id);
            ev = rig_wait_end(r, id);
            free(copy);
            assert_int_equal(ev->reason, FINISH_LENGTH);
            assert_int_equal(ev->n_tokens, GEN);
            assert_int_equal(ev->priority, rq.stream ? PRIO_NORMAL : PRIO_HIGH); /* when none is given */
            uint32_t *ref = reference[way / 2 == 1];
            for (uint32_t i = 0; i < GEN; i++) {
                if (way % 4 == 0 && way < 4)
                    ref[i] = ev->tokens[i].id;
                else if (way == 2)
                    ref[i] = ev->tokens[i].id;
                assert_int_equal(ev->tokens[i].id, ref[i]);
            }
            struct rig_request *q = rig_find(r, id);
            assert_int_equal(q->n_ids, rq.stream ? GEN : 0);
            if (rq.stream) {
                assert_string_equal(q->streamed, ev->text);
                for (uint32_t i = 0; i < GEN; i++)
                    assert_int_equal(q->ids[i], ev->tokens[i].id);
            }
            assert_false(q->bad_order);
            assert_int_equal(q->n_admits, 1);
        }
    }
}

static void test_output(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[PROMPT], expect[GEN];
    char id[REQ_ID_MAX], text[GEN * 16] = "";
    rig_ids(3, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, expect);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.id = "mine";
    rq.tag = 5;
    rig_submit(r, &rq, id);
    assert_string_equal(id, "mine");
    const struct engine_event *ev = rig_wait_end(r, id);
    size_t at = 0;
    for (uint32_t i = 0; i < GEN; i++) {
        assert_int_equal(ev->tokens[i].id, expect[i]);
        at += reply_pseudo_word(expect[i], text + at);
        assert_int_equal(ev->tokens[i].text_end, at);
    }
    assert_string_equal(ev->text, text);
    assert_int_equal(ev->text_len, at);
    assert_int_equal(ev->tag, 5);
    assert_int_equal(ev->n_prompt, PROMPT);
    assert_memory_equal(ev->prompt_ids, prompt, sizeof prompt);
    const struct engine_timing *m = &ev->timing;
    assert_true(m->arrival_ms <= m->scheduled_ms && m->scheduled_ms <= m->first_token_ms &&
                m->first_token_ms <= m->finish_ms);
    assert_true(fabs(m->queue_ms - (m->scheduled_ms - m->arrival_ms)) < 1e-6);
    assert_true(fabs(m->ttft_ms - (m->first_token_ms - m->arrival_ms)) < 1e-6);
    assert_true(fabs(m->total_ms - (m->finish_ms - m->arrival_ms)) < 1e-6);
    assert_true(fabs(m->decode_tps - (GEN - 1) * 1e3 / (m->finish_ms - m->first_token_ms)) <
                1e-3 * m->decode_tps);
}

static void test_seeds(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[PROMPT];
    const struct engine_event *ev[4];
    rig_ids(4, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.sampling.temperature = 1;
    for (int i = 0; i < 4; i++) {
        char id[REQ_ID_MAX];
        rq.sampling.seed = i < 2 ? -1 : ev[0]->seed; /* chosen twice, then the first one's again */
        rq.stream = i == 3;
        rig_submit(r, &rq, id);
        ev[i] = rig_wait_end(r, id);
        assert_true(ev[i]->seed >= 0);
    }
    assert_true(ev[0]->seed != ev[1]->seed);
    uint32_t differ = 0;
    for (uint32_t i = 0; i < GEN; i++) {
        assert_int_equal(ev[2]->tokens[i].id, ev[0]->tokens[i].id);
        assert_int_equal(ev[3]->tokens[i].id, ev[0]->tokens[i].id);
        differ += ev[1]->tokens[i].id != ev[0]->tokens[i].id;
    }
    assert_true(differ > 0);
}

static void test_stop_strings(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[PROMPT], out[GEN];
    rig_ids(5, prompt, PROMPT);
    rig_expect_greedy(prompt, PROMPT, GEN, out);
    /* The end of word 6 and the beginning of word 7. */
    char w6[16], w7[16], stop[32], text[GEN * 16] = "";
    size_t n6 = reply_pseudo_word(out[6], w6), at = 0;
    reply_pseudo_word(out[7], w7);
    memcpy(stop, w6 + n6 - 2, 2);
    memcpy(stop + 2, w7, 4);
    stop[6] = 0;
    for (int i = 0; i < 8; i++)
        at += reply_pseudo_word(out[i], text + at);
    *strstr(text, stop) = 0;
    const char *stops[] = {"never", stop};
    for (int stream = 0; stream < 2; stream++) {
        char id[REQ_ID_MAX];
        struct engine_request rq = rig_request(prompt, PROMPT, GEN);
        rq.stream = stream;
        rq.stop = stops;
        rq.n_stop = 2;
        rig_submit(r, &rq, id);
        const struct engine_event *ev = rig_wait_end(r, id);
        assert_int_equal(ev->reason, FINISH_STOP);
        assert_string_equal(ev->text, text);
        assert_int_equal(ev->n_tokens, 8); /* with the token that completed it */
        assert_int_equal(ev->tokens[7].text_end, ev->text_len);
        if (stream) {
            struct rig_request *q = rig_find(r, id);
            assert_string_equal(q->streamed, text); /* nothing of it ever went out */
            assert_int_equal(q->n_ids, 8);
        }
    }
}

static void test_logprobs(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[PROMPT], history[PROMPT + GEN];
    char id[REQ_ID_MAX];
    rig_ids(6, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.n_logprobs = 3;
    rq.stream = true;
    rig_submit(r, &rq, id);
    const struct engine_event *ev = rig_wait_end(r, id);
    memcpy(history, prompt, sizeof prompt);
    for (uint32_t i = 0; i < GEN; i++) {
        float logits[RIG_VOCAB];
        const struct engine_token *t = &ev->tokens[i];
        fake_exec_logits(history, PROMPT + i, RIG_VOCAB, logits);
        assert_int_equal(t->n_top, 3);
        assert_int_equal(t->top[0].id, t->id); /* greedy */
        assert_true(fabs(t->logprob + sampler_nll(logits, RIG_VOCAB, t->id)) < 1e-5);
        assert_true(t->top[0].logprob >= t->top[1].logprob && t->top[1].logprob >= t->top[2].logprob);
        assert_true(fabs(t->top[2].logprob + sampler_nll(logits, RIG_VOCAB, t->top[2].id)) < 1e-5);
        history[PROMPT + i] = t->id;
    }
}

/* ---- refusals ---- */

static void test_refused_at_once(void **state)
{
    struct rig *r = *state;
    static const uint32_t ids[] = {1, 2, 3};
    static const struct chat_message odd[] = {{"robot", "hi", 2}};
    static const char *const empty[] = {""};
    char long_id[REQ_ID_MAX + 1];
    memset(long_id, 'x', REQ_ID_MAX);
    long_id[REQ_ID_MAX] = 0;
    struct engine_request good = rig_request(ids, 3, 4), bad[14];
    const char *field[14];
    int n = 0;
#define BAD(name, change)                                                                                    \
    do {                                                                                                     \
        bad[n] = good;                                                                                       \
        struct engine_request *q = &bad[n];                                                                  \
        change;                                                                                              \
        field[n++] = name;                                                                                   \
    } while (0)
    BAD("id", q->id = long_id);
    BAD("id", q->id = "\xff\xfe");
    BAD("prompt, messages or ids", q->ids = NULL);
    BAD("prompt, messages or ids", (q->prompt = "x", q->prompt_len = 1));
    BAD("ids", q->n_ids = 0);
    BAD("prompt", (q->ids = NULL, q->prompt = ""));
    BAD("role", (q->ids = NULL, q->messages = odd, q->n_messages = 1));
    BAD("priority", (q->has_priority = true, q->priority = (enum prio)3));
    BAD("max_tokens", q->max_tokens = 0);
    BAD("max_tokens", q->score = true);
    BAD("logprobs", q->n_logprobs = SAMPLER_LOGPROBS_MAX + 1);
    BAD("timeout_ms", q->timeout_ms = -1);
    BAD("temperature", q->sampling.temperature = -1);
    BAD("stop", (q->stop = empty, q->n_stop = 1));
#undef BAD
    for (int i = 0; i < n; i++) {
        struct weft_err err = {0};
        assert_int_equal(engine_submit(r->engine, r->in, &bad[i], NULL, &err), WEFT_INVALID_REQUEST);
        assert_string_equal(err.context[0].key, "field");
        assert_string_equal(err.context[0].text, field[i]);
        assert_string_equal(err.context[1].key, "value");
        assert_string_equal(err.context[2].key, "limit");
    }
    rig_pump(r, 0);
    assert_int_equal(r->n_requests, 0); /* no events for what was never taken in */
}

static void expect_reject(struct rig *r, const struct engine_request *rq, enum weft_rc code,
                          const char *value)
{
    char id[REQ_ID_MAX];
    rig_submit(r, rq, id);
    const struct engine_event *ev = rig_wait_end(r, id);
    assert_int_equal(ev->type, ENGINE_REJECT);
    assert_int_equal(ev->error.code, code);
    assert_true(ev->error.timestamp_ms > 0);
    assert_string_equal(ev->error.context[0].text, value);
    assert_int_equal(rig_find(r, id)->n_finishes, 0);
}

static void test_refused_later(void **state)
{
    struct rig *r = *state;
    uint32_t ids[RIG_CTX + 1];
    rig_ids(1, ids, RIG_CTX + 1);
    struct engine_request rq = rig_request(ids, RIG_CTX - 3, 4);
    expect_reject(r, &rq, WEFT_INVALID_REQUEST, "prompt and max_tokens");
    rq.n_ids = RIG_CTX + 1;
    expect_reject(r, &rq, WEFT_INVALID_REQUEST, "prompt and max_tokens");
    rq.n_ids = 3;
    rq.max_tokens = UINT32_MAX;
    expect_reject(r, &rq, WEFT_INVALID_REQUEST, "prompt and max_tokens");
    rq.max_tokens = 4;
    ids[2] = RIG_VOCAB;
    expect_reject(r, &rq, WEFT_INVALID_REQUEST, "ids");
    ids[2] = 0;
    rq.model = "another";
    expect_reject(r, &rq, WEFT_MODEL_NOT_LOADED, "another");
    rq.model = "sim"; /* its name, as no other was given */
    rq.score = true;
    rq.max_tokens = 0;
    expect_reject(r, &rq, WEFT_INVALID_REQUEST, "score");
    rq.score = false;
    rq.max_tokens = 4;
    char id[REQ_ID_MAX];
    rig_submit(r, &rq, id);
    assert_int_equal(rig_wait_end(r, id)->reason, FINISH_LENGTH);
}

static void test_ids_are_unique_while_live(void **state)
{
    struct rig *r = *state;
    static const uint32_t ids[] = {1, 2, 3};
    struct weft_err err = {0};
    char made[REQ_ID_MAX];
    engine_freeze(r->engine, true);
    struct engine_request rq = rig_request(ids, 3, 4);
    rq.id = "r1"; /* what the engine would have made up next */
    rig_submit(r, &rq, NULL);
    assert_int_equal(engine_submit(r->engine, r->in, &rq, NULL, &err), WEFT_INVALID_REQUEST);
    assert_string_equal(err.context[0].text, "id");
    rq.id = NULL;
    rig_submit(r, &rq, made);
    assert_string_equal(made, "r2");
    engine_freeze(r->engine, false);
    rig_wait_end(r, "r1");
    rq.id = "r1"; /* free again as soon as its end is known */
    assert_int_equal(engine_submit(r->engine, r->in, &rq, NULL, &err), WEFT_OK);
    rig_wait_end(r, made);
    engine_cancel(r->engine, "nobody");
    engine_set_priority(r->engine, "nobody", PRIO_LOW);
}

/* ---- cancelling ---- */

static bool is_prefilling(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_running == 1 && s->running[0].state == REQ_PREFILLING && s->running[0].n_computed > 0;
}

static bool is_generating(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_running == 1 && s->running[0].n_generated > 2;
}

static bool is_queued(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_queue == 1 && s->frozen;
}

static bool is_empty(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_queue == 0 && s->n_running == 0 && s->kv_used == 0 && s->kv_free == s->kv_total &&
           s->kv_total > 0;
}

static void test_cancel_in_each_state(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[400];
    char id[REQ_ID_MAX];
    rig_ids(1, prompt, 400);
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.stream = true;

    engine_freeze(r->engine, true); /* WAITING */
    rig_submit(r, &rq, id);
    rig_wait_snapshot(r, is_queued, NULL);
    engine_cancel(r->engine, id);
    const struct engine_event *ev = rig_wait_end(r, id);
    assert_int_equal(ev->reason, FINISH_CANCELLED);
    assert_true(isnan(ev->timing.scheduled_ms));
    engine_freeze(r->engine, false);

    fake_exec_gate(r->fake, true); /* PREFILLING: 32 tokens a step */
    rq.n_ids = 400;
    rig_submit(r, &rq, id);
    fake_exec_permit(r->fake, 2);
    rig_wait_snapshot(r, is_prefilling, NULL);
    engine_cancel(r->engine, id);
    fake_exec_permit(r->fake, 1);
    ev = rig_wait_end(r, id);
    assert_int_equal(ev->reason, FINISH_CANCELLED);
    assert_int_equal(ev->n_tokens, 0);
    assert_false(isnan(ev->timing.scheduled_ms));

    rq.n_ids = PROMPT; /* RUNNING */
    rig_submit(r, &rq, id);
    fake_exec_permit(r->fake, 4);
    rig_wait_snapshot(r, is_generating, NULL);
    engine_cancel(r->engine, id);
    fake_exec_permit(r->fake, 1);
    ev = rig_wait_end(r, id);
    assert_int_equal(ev->reason, FINISH_CANCELLED);
    assert_true(ev->n_tokens >= 3 && ev->n_tokens < GEN); /* what was made is kept */
    assert_string_equal(rig_find(r, id)->streamed, ev->text);
    assert_int_equal(rig_find(r, id)->n_ids, ev->n_tokens);

    fake_exec_gate(r->fake, false);
    rig_wait_snapshot(r, is_empty, NULL); /* all blocks are back */
    engine_cancel(r->engine, id);         /* after its end: ignored */
}

static void test_timeouts(void **state)
{
    struct rig *r = *state;
    enum { SEATS = 8 };
    static const uint32_t ids[] = {1, 2, 3};
    char running[SEATS][REQ_ID_MAX], waiting[REQ_ID_MAX];
    pthread_mutex_lock(&r->fake->lock);
    r->fake->step_us = 5000;
    pthread_mutex_unlock(&r->fake->lock);
    struct engine_request rq = rig_request(ids, 3, 100); /* so that all fit the pool */
    for (int i = 0; i < SEATS; i++) {
        rq.timeout_ms = i ? 0 : 150;
        rig_submit(r, &rq, running[i]);
    }
    rig_wait_admit(r, running[SEATS - 1]);
    rq.timeout_ms = 20;
    rig_submit(r, &rq, waiting); /* every seat is taken */
    const struct engine_event *ev = rig_wait_end(r, waiting);
    assert_int_equal(ev->reason, FINISH_TIMEOUT);
    assert_int_equal(ev->error.code, WEFT_QUEUE_TIMEOUT);
    assert_string_equal(ev->error.context[0].key, "waited_ms");
    assert_string_equal(ev->error.context[1].key, "timeout_ms");
    assert_int_equal(ev->n_tokens, 0);
    ev = rig_wait_end(r, running[0]);
    assert_int_equal(ev->reason, FINISH_TIMEOUT);
    assert_int_equal(ev->error.code, WEFT_BATCH_TIMEOUT);
    assert_true(ev->n_tokens > 0); /* what was made is kept */
    for (int i = 1; i < SEATS; i++)
        engine_cancel(r->engine, running[i]);
    for (int i = 1; i < SEATS; i++)
        assert_int_equal(rig_wait_end(r, running[i])->reason, FINISH_CANCELLED);
}

/* ---- slow readers, closing ---- */

static void test_slow_reader_gets_everything(void **state)
{
    struct rig *r = *state;
    enum { N = 40, LONG = 200 };
    char id[N][REQ_ID_MAX];
    uint32_t prompt[PROMPT], expect[LONG];
    for (int i = 0; i < N; i++) {
        rig_ids(100 + i, prompt, PROMPT);
        struct engine_request rq = rig_request(prompt, PROMPT, LONG);
        rq.stream = true;
        rig_submit(r, &rq, id[i]);
    }
    /* Not read before all is over. */
    rig_stop(r);
    for (int i = 0; i < N; i++) {
        struct rig_request *q = rig_find(r, id[i]);
        assert_non_null(q);
        assert_false(q->bad_order);
        if (q->end->type == ENGINE_REJECT)
            continue;                         /* the stop came before the submission was looked at */
        assert_true(q->n_tokens_events <= 2); /* merged, but for what the first pump may have taken */
        assert_int_equal(q->n_ids, q->end->n_tokens);
        if (q->n_ids)
            assert_string_equal(q->streamed, q->end->text);
        rig_ids(100 + i, prompt, PROMPT);
        rig_expect_greedy(prompt, PROMPT, LONG, expect);
        for (uint32_t k = 0; k < q->n_ids; k++)
            assert_int_equal(q->ids[k], expect[k]);
    }
}

static void test_closing_an_inbox_cancels(void **state)
{
    struct rig *r = *state;
    struct engine_inbox *other;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    assert_int_equal(engine_inbox_open(r->engine, &other, NULL), WEFT_OK);
    struct engine_event *first = engine_inbox_take(other);
    assert_int_equal(first->type, ENGINE_STATE); /* the present one first */
    assert_int_equal(first->state, ENGINE_READY);
    assert_null(first->next);
    engine_event_free(first);

    fake_exec_gate(r->fake, true);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = rig_request(prompt, PROMPT, 400);
    for (int i = 0; i < 12; i++)
        assert_int_equal(engine_submit(r->engine, other, &rq, NULL, NULL), WEFT_OK);
    assert_int_equal(engine_submit(r->engine, NULL, &rq, NULL, NULL),
                     WEFT_OK); /* nobody waits for it: allowed */
    engine_inbox_close(other);
    fake_exec_gate(r->fake, false);
    rq.max_tokens = 3;
    rig_submit(r, &rq, id);
    assert_int_equal(rig_wait_end(r, id)->reason, FINISH_LENGTH);
    rig_wait_snapshot(r, is_empty, NULL);
}

/* ---- priorities ---- */

static void test_priority_orders_admission(void **state)
{
    struct rig *r = *state;
    uint32_t prompt[PROMPT];
    static const enum prio given[] = {PRIO_LOW, PRIO_NORMAL, PRIO_HIGH, PRIO_CRITICAL, PRIO_LOW};
    char id[5][REQ_ID_MAX];
    rig_ids(1, prompt, PROMPT);
    engine_freeze(r->engine, true);
    struct engine_request rq = rig_request(prompt, PROMPT, 4);
    rq.has_priority = true;
    for (int i = 0; i < 5; i++) {
        rq.priority = given[i];
        rig_submit(r, &rq, id[i]);
    }
    engine_set_priority(r->engine, id[4],
                        PRIO_CRITICAL); /* raised while it waits: after the one that was there */
    struct snapshot *s = calloc(1, sizeof *s);
    static const int order[] = {3, 4, 2, 1, 0};
    for (int tries = 0; tries < 1000; tries++) {
        engine_snapshot(r->engine, s);
        if (s->n_queue == 5 && s->queue[1].base == PRIO_CRITICAL)
            break;
        rig_pump(r, 5);
    }
    assert_int_equal(s->n_queue, 5);
    for (int i = 0; i < 5; i++)
        assert_string_equal(s->queue[i].id, id[order[i]]);
    snapshot_free(s);
    free(s);
    engine_freeze(r->engine, false);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rig_wait_end(r, id[i])->reason, FINISH_LENGTH);
    assert_int_equal(rig_find(r, id[4])->end->priority, PRIO_CRITICAL);
}

int main(void)
{
    log_set_level(LOG_ERROR);
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_four_ways_same_ids),
        T(test_output),
        T(test_seeds),
        T(test_stop_strings),
        T(test_logprobs),
        T(test_refused_at_once),
        T(test_refused_later),
        T(test_ids_are_unique_while_live),
        T(test_cancel_in_each_state),
        T(test_timeouts),
        T(test_slow_reader_gets_everything),
        T(test_closing_an_inbox_cancels),
        T(test_priority_orders_admission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
