/*
 * What tests of the engine on the default model and a real device share: an executor that is made once and lent to one
 * engine after the other (loading is what takes long), one inbox, and a log of what the scheduler did at which step. Tests
 * judge by counts — steps, tokens, blocks — since times depend on what else the machine does.
 *
 * A frozen engine is stepped by hand with real_steps: so it is known what comes between which steps.
 */
#ifndef WEFT_TESTS_REAL_RIG_H
#define WEFT_TESTS_REAL_RIG_H

#include <pthread.h>

#include "engine/engine.h"

enum {
    REAL_BLOCKS = 256,
    REAL_BLOCK_TOKENS = 16,
    REAL_BATCH_TOKENS = 256,
    REAL_SEQS = 32,
    REAL_PARK_SLOTS = 64, /* at least */
    REAL_REQUESTS_MAX = 256,
    REAL_STEPS_MAX = 4096,
    REAL_MARKS_MAX = 4096
};

/* A step that was committed. */
struct real_step {
    uint32_t n_items, n_prefill_tokens, n_decodes;
    uint32_t decodes_of[PRIO_COUNT]; /* by prio + 1 */
    uint32_t n_parks, n_restores, n_copies;
    uint32_t blocks_used; /* before it was booked */
    int64_t dur_us;
};

/* Any other event of the scheduler; `step`: how many steps had been committed before. */
struct real_mark {
    enum sched_event_type type;
    char id[REQ_ID_MAX];
    uint32_t step, depth, cached_tokens, blocks_used;
    enum weft_rc code; /* REJECT */
    bool parked;
};

/* What its submitter heard of a request. */
struct real_request {
    char id[REQ_ID_MAX];
    uint32_t n_token_events, n_streamed;
    char *streamed; /* text of the TOKENS events together; NULL: none came */
    size_t streamed_len;
    struct engine_event *end; /* FINISH or REJECT */
};

struct real {
    struct engine_config cfg; /* may be changed between real_init and real_start */
    uint32_t n_blocks;        /* likewise; at most REAL_BLOCKS */
    struct engine *engine;
    struct engine_inbox *in;
    struct real_request requests[REAL_REQUESTS_MAX]; /* in the order in which they were first heard of */
    uint32_t n_requests, n_ends;
    uint32_t ended[REAL_REQUESTS_MAX]; /* indexes of requests, in the order of their ends */
    struct engine_observer observer;
    pthread_mutex_t lock; /* over the rest: the engine thread writes it */
    struct real_step steps[REAL_STEPS_MAX];
    struct real_mark marks[REAL_MARKS_MAX];
    uint32_t n_steps, n_marks;
    int64_t sched_ns; /* spent in scheduling */
};

/* Group fixtures: the model and its executor, in the precision that users get ("auto") or in another. They fail with a word
 * about what is missing. */
int real_open_device(void **state);
int real_open_device_int8(void **state);
int real_open_device_bf16(void **state);
int real_close_device(void **state);

/* A new rig: 16 sequences, 256 tokens a step, no preemption, no prefix cache. The pool is REAL_BLOCKS blocks. */
struct real *real_init(void);
/* Starts the engine; returns when it is READY. */
void real_start(struct real *g);
/* Stops it; every request has ended by then, and all blocks are back. Frees the rig. */
void real_stop(struct real *g);

/* n pseudo-random ids, of ordinary tokens. */
void real_ids(uint64_t seed, uint32_t *ids, size_t n);
/* A greedy request that goes on to max_tokens. */
struct engine_request real_request(const char *id, enum prio p, const uint32_t *ids, size_t n,
                                   uint32_t max_tokens);
void real_submit(struct real *g, const struct engine_request *rq);
/* Both together, of n_prompt ids made from `seed`. */
void real_ask(struct real *g, const char *id, enum prio p, uint64_t seed, size_t n_prompt,
              uint32_t max_tokens);

void real_freeze(struct real *g, bool frozen);
/* Runs n steps of a frozen engine one by one; fails the test if it has nothing to run. */
void real_steps(struct real *g, uint32_t n);
uint32_t real_n_steps(struct real *g);
/* Takes what events are there. */
void real_pump(struct real *g);
/* Until n requests in all have ended, or been refused. */
void real_wait(struct real *g, uint32_t n);
/* Until the engine has carried out all commands given so far. */
void real_sync(struct real *g);

/* What was heard; the test fails when it was nothing (real_find) or no end (real_end). */
const struct real_request *real_find(const struct real *g, const char *id);
const struct engine_event *real_end(const struct real *g, const char *id);
/* The first such event about that request; the test fails when there is none. */
struct real_mark real_mark(struct real *g, enum sched_event_type type, const char *id);
uint32_t real_count(struct real *g, enum sched_event_type type, const char *id); /* id NULL: anyone's */
/* The same ids from both; the test fails and says which differs. */
void real_same_ids(const struct engine_event *a, const struct engine_event *b);

#endif
