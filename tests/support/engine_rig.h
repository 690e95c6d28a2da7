/*
 * What tests of the engine share: an engine over the fake executor, one inbox, and a reader that collects
 * what becomes of each request.
 */
#ifndef WEFT_TESTS_ENGINE_RIG_H
#define WEFT_TESTS_ENGINE_RIG_H

#include "engine/engine.h"
#include "tests/support/fake_exec.h"

enum { RIG_REQUESTS_MAX = 4096, RIG_STATES_MAX = 16 };

/* Everything that was heard of one request. */
struct rig_request {
    char id[REQ_ID_MAX];
    uint32_t n_admits, n_tokens_events, n_rejects, n_finishes;
    char *streamed; /* the text of the TOKENS events together */
    size_t streamed_len;
    uint32_t *ids; /* and their ids */
    uint32_t n_ids;
    bool bad_order;           /* an event came after the end, or tokens with a gap */
    struct engine_event *end; /* FINISH or REJECT */
};

struct rig {
    struct engine *engine;
    struct engine_inbox *in;
    struct fake_exec *fake;
    struct model *model; /* becomes the engine's; NULL: simulation */
    struct engine_config cfg;
    enum weft_rc load_fails;
    bool hold_load; /* LOADING waits while this is set */
    pthread_mutex_t lock;
    struct rig_request *requests;
    uint32_t n_requests;
    enum engine_state states[RIG_STATES_MAX];
    uint32_t n_states;
    struct weft_err state_error; /* of the last STATE event */
};

enum { RIG_VOCAB = 64, RIG_CTX = 512 };

/* A configuration that suits most tests; change what needs to be before rig_start. */
void rig_init(struct rig *r);
void rig_start(struct rig *r);
/* Destroys the engine, then reads the last events. Returns what engine_destroy said. */
bool rig_stop(struct rig *r);
void rig_free(struct rig *r);

/* A request for n ids made from `seed`; greedy, buffered. */
struct engine_request rig_request(const uint32_t *ids, size_t n, uint32_t max_tokens);
/* Fills ids[0..n) from a seed. */
void rig_ids(uint64_t seed, uint32_t *ids, size_t n);
/* Submits; fails the test when refused at once. */
void rig_submit(struct rig *r, const struct engine_request *rq, char *id);
/* Takes all events that are there, waiting at most timeout_ms for the first. */
void rig_pump(struct rig *r, int timeout_ms);
/* The latest of that id; NULL when nothing was heard of it. */
struct rig_request *rig_find(struct rig *r, const char *id);
/* Pumps until the request has ended (10 s at most, then the test fails); returns its last event. */
const struct engine_event *rig_wait_end(struct rig *r, const char *id);
void rig_wait_admit(struct rig *r, const char *id);
void rig_wait_state(struct rig *r, enum engine_state s);
/* Pumps until `ready` says so, with the snapshot as it then is; fails the test after 10 s. */
void rig_wait_snapshot(struct rig *r, bool (*ready)(const struct snapshot *s, const void *arg),
                       const void *arg);

/* What the fake executor's model generates after ids[0..n), greedily, alone. */
void rig_expect_greedy(const uint32_t *ids, size_t n, uint32_t max_tokens, uint32_t *out);
/* The same for one with a shift. */
void rig_expect_shifted(const uint32_t *ids, size_t n, uint32_t max_tokens, uint32_t shift, uint32_t *out);

#endif
