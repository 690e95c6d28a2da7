#include "tests/support/engine_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"

enum { PATIENCE_US = 10000000 };

static enum weft_rc load(void *ctx, struct engine *e, struct model **model, struct exec **exec,
                         struct weft_err *err)
{
    struct rig *r = ctx;
    for (bool hold = true; hold;) {
        pthread_mutex_lock(&r->lock);
        hold = r->hold_load;
        pthread_mutex_unlock(&r->lock);
        engine_progress(e, "loading", 0.5);
        if (hold)
            usleep(1000);
    }
    if (r->load_fails)
        return weft_err_set(err, r->load_fails, "told to fail");
    *model = r->model;
    *exec = &r->fake->x;
    return WEFT_OK;
}

void rig_init(struct rig *r)
{
    *r = (struct rig){0};
    pthread_mutex_init(&r->lock, NULL);
    r->fake = fake_exec_create(RIG_VOCAB, RIG_CTX, 256, 4);
    r->cfg = (struct engine_config){
        .load = load,
        .load_ctx = r,
        .batching = true,
        .aging_rate = 0.1,
        .max_batch_size = 8,
        .max_batch_tokens = 32,
        .max_depth = 1000,
        .reject_when_full = true,
        .stop_ms = 2000,
        .max_logits = 32,
    };
    r->requests = calloc(RIG_REQUESTS_MAX, sizeof *r->requests);
}

void rig_start(struct rig *r)
{
    struct weft_err err;
    assert_int_equal(engine_create(&r->cfg, &r->engine, &err), WEFT_OK);
    assert_int_equal(engine_inbox_open(r->engine, &r->in, &err), WEFT_OK);
}

bool rig_stop(struct rig *r)
{
    bool stopped = engine_destroy(r->engine);
    r->engine = NULL;
    rig_pump(r, 0);
    return stopped;
}

void rig_free(struct rig *r)
{
    if (r->engine)
        rig_stop(r);
    engine_inbox_close(r->in);
    for (uint32_t i = 0; i < r->n_requests; i++) {
        free(r->requests[i].streamed);
        free(r->requests[i].ids);
        engine_event_free(r->requests[i].end);
    }
    free(r->requests);
    pthread_mutex_destroy(&r->lock);
}

void rig_ids(uint64_t seed, uint32_t *ids, size_t n)
{
    struct rng g;
    rng_seed(&g, seed);
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint32_t)rng_below(&g, RIG_VOCAB);
}

struct engine_request rig_request(const uint32_t *ids, size_t n, uint32_t max_tokens)
{
    return (struct engine_request){
        .ids = ids,
        .n_ids = n,
        .max_tokens = max_tokens,
        .sampling = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .seed = 1},
    };
}

void rig_submit(struct rig *r, const struct engine_request *rq, char *id)
{
    struct weft_err err = {0};
    if (engine_submit(r->engine, r->in, rq, id, &err))
        fail_msg("refused: %s", err.message);
}

struct rig_request *rig_find(struct rig *r, const char *id)
{
    for (uint32_t i = r->n_requests; i-- > 0;)
        if (!strcmp(r->requests[i].id, id))
            return &r->requests[i];
    return NULL;
}

static void note_tokens(struct rig_request *q, const struct engine_event *ev)
{
    q->n_tokens_events++;
    q->bad_order |= ev->first_index != q->n_ids || !ev->n_tokens ||
                    ev->tokens[ev->n_tokens - 1].text_end != ev->text_len || strlen(ev->text) != ev->text_len;
    q->streamed = realloc(q->streamed, q->streamed_len + ev->text_len + 1);
    memcpy(q->streamed + q->streamed_len, ev->text, ev->text_len + 1);
    q->streamed_len += ev->text_len;
    q->ids = realloc(q->ids, (q->n_ids + ev->n_tokens) * sizeof *q->ids);
    for (uint32_t i = 0; i < ev->n_tokens; i++)
        q->ids[q->n_ids++] = ev->tokens[i].id;
}

static void note(struct rig *r, struct engine_event *ev)
{
    if (ev->type == ENGINE_STATE) {
        r->state_error = ev->error;
        if (r->n_states < RIG_STATES_MAX)
            r->states[r->n_states++] = ev->state;
        engine_event_free(ev);
        return;
    }
    struct rig_request *q = rig_find(r, ev->id);
    bool begins = ev->type == ENGINE_ADMIT || ev->type == ENGINE_REJECT;
    if (!q || (q->end && begins)) { /* an id may be used again */
        assert_true(r->n_requests < RIG_REQUESTS_MAX);
        q = &r->requests[r->n_requests++];
        memcpy(q->id, ev->id, sizeof q->id);
    }
    q->bad_order |= q->end != NULL;
    q->n_admits += ev->type == ENGINE_ADMIT;
    q->n_rejects += ev->type == ENGINE_REJECT;
    q->n_finishes += ev->type == ENGINE_FINISH;
    if (ev->type == ENGINE_TOKENS)
        note_tokens(q, ev);
    if (!q->end && (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT))
        q->end = ev;
    else
        engine_event_free(ev);
}

void rig_pump(struct rig *r, int timeout_ms)
{
    if (timeout_ms)
        engine_inbox_wait(r->in, timeout_ms);
    for (struct engine_event *ev = engine_inbox_take(r->in), *next; ev; ev = next) {
        next = ev->next;
        note(r, ev);
    }
}

const struct engine_event *rig_wait_end(struct rig *r, const char *id)
{
    struct rig_request *q;
    for (int64_t until = clock_now_us() + PATIENCE_US; !(q = rig_find(r, id)) || !q->end; rig_pump(r, 100))
        if (clock_now_us() > until)
            fail_msg("request %s doesn't end", id);
    return q->end;
}

void rig_wait_admit(struct rig *r, const char *id)
{
    struct rig_request *q;
    for (int64_t until = clock_now_us() + PATIENCE_US; !(q = rig_find(r, id)) || !q->n_admits;
         rig_pump(r, 100))
        if (clock_now_us() > until)
            fail_msg("request %s isn't admitted", id);
}

void rig_wait_state(struct rig *r, enum engine_state s)
{
    for (int64_t until = clock_now_us() + PATIENCE_US;; rig_pump(r, 100)) {
        for (uint32_t i = 0; i < r->n_states; i++)
            if (r->states[i] == s)
                return;
        if (clock_now_us() > until)
            fail_msg("the engine doesn't become %s", engine_state_name(s));
    }
}

void rig_wait_snapshot(struct rig *r, bool (*ready)(const struct snapshot *s, const void *arg),
                       const void *arg)
{
    struct snapshot *s = calloc(1, sizeof *s);
    bool is_ready = false;
    for (int64_t until = clock_now_us() + PATIENCE_US; !is_ready; rig_pump(r, 1)) {
        engine_snapshot(r->engine, s);
        is_ready = ready(s, arg);
        if (!is_ready && clock_now_us() > until)
            fail_msg("the snapshot never shows what was waited for");
    }
    snapshot_free(s);
    free(s);
}

void rig_expect_greedy(const uint32_t *ids, size_t n, uint32_t max_tokens, uint32_t *out)
{
    rig_expect_shifted(ids, n, max_tokens, 0, out);
}

void rig_expect_shifted(const uint32_t *ids, size_t n, uint32_t max_tokens, uint32_t shift, uint32_t *out)
{
    uint32_t *history = malloc((n + max_tokens) * sizeof *history);
    float logits[RIG_VOCAB];
    memcpy(history, ids, n * sizeof *ids);
    for (uint32_t k = 0; k < max_tokens; k++) {
        uint32_t best = 0;
        fake_exec_logits(history, (uint32_t)(n + k), RIG_VOCAB, logits);
        for (uint32_t i = 1; i < RIG_VOCAB; i++)
            best = logits[i] > logits[best] ? i : best;
        out[k] = history[n + k] = (best + shift) % RIG_VOCAB;
    }
    free(history);
}
