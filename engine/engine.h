/*
 * The engine: one thread that owns model, device, scheduler and executor.
 *
 * Commands (submit, cancel, priority, freeze …) come in through a queue that any thread may use; each call returns at
 * once. What happens comes out as events through an engine_inbox — the console has one, `weft generate` has one — and as a
 * snapshot. Events are lossless: an inbox whose reader is slow gets a request's text coalesced into fewer, longer TOKENS
 * events, but never loses any and never makes the engine wait.
 *
 * Several models may be loaded at once, each with an executor and a scheduler of its own; they take turns at the device, a
 * step each. The first is the default; READY and FAILED are said of it, and a model beside it that can't be loaded is
 * refused to whoever asks for it.
 *
 * Requests submitted before READY wait. Every accepted submission gets exactly one ENGINE_FINISH; one that is refused
 * gets one ENGINE_REJECT instead.
 */
#ifndef WEFT_ENGINE_H
#define WEFT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "engine/base/err.h"
#include "engine/exec/exec.h"
#include "engine/model/chat_template.h"
#include "engine/model/model.h"
#include "engine/sampler.h"
#include "engine/sched/scheduler.h"
#include "engine/snapshot.h"

struct engine;
struct engine_inbox;

/* What to ask for. engine_submit copies all of it. */
struct engine_request {
    /* NULL or "": made up ("r1", "r2", …); at most REQ_ID_MAX-1 bytes; unique among live requests. */
    const char *id;
    const char *model; /* NULL or "": the default; else a model's configured name, or the one in its file */
    /* Exactly one of: */
    const char *prompt; /* plain completion, prompt_len bytes; BOS as the file says */
    size_t prompt_len;
    const struct chat_message *messages; /* chat, rendered with the model's template */
    size_t n_messages;
    const uint32_t *ids; /* raw tokens */
    size_t n_ids;

    bool stream;       /* TOKENS events as they are made; else only FINISH has the text */
    bool has_priority; /* else: HIGH when buffered, NORMAL when streaming */
    enum prio priority;
    bool not_preemptible;
    bool ignore_eos;
    bool score; /* max_tokens is 0; FINISH carries nll of each next prompt token */
    uint32_t max_tokens;
    struct sampling sampling;
    const char *const *stop; /* stop strings: generation ends before the first that appears */
    size_t n_stop;
    uint32_t n_logprobs; /* 0: none */
    int64_t timeout_ms;  /* 0: none (or the queue's default) */
    const char *salt;    /* NULL: none */
    /* Id of a request that this one continues from: while that one holds KV blocks, they are shared as far as the two
     * agree (same salt), a part-filled one by copy. NULL: none. A request that isn't live is no error. */
    const char *fork_of;
    uint32_t tag; /* for snapshots */
};

enum engine_event_type {
    ENGINE_STATE,  /* life cycle changed: state, detail, error when FAILED */
    ENGINE_REJECT, /* error */
    ENGINE_ADMIT,  /* first admission */
    ENGINE_TOKENS, /* streaming only: text (whole UTF-8 characters), and the ids behind it */
    ENGINE_FINISH  /* result */
};

struct engine_token {
    uint32_t id;
    uint32_t text_end; /* end of this token's text in the event's (or result's) text: bytes */
    float logprob;
    uint32_t n_top;
    struct sampler_logprob *top; /* n_top entries, or NULL */
};

struct engine_timing {
    double queue_ms, ttft_ms, total_ms, prefill_tps, decode_tps, preempted_ms;
    double arrival_ms, scheduled_ms, first_token_ms, finish_ms; /* engine time; NaN where it never happened */
};

struct engine_event {
    enum engine_event_type type;
    char id[REQ_ID_MAX]; /* of the request; "" for ENGINE_STATE */
    uint32_t tag;
    int64_t now_us; /* engine time */
    enum engine_state state;
    /* TOKENS: new text; FINISH: the whole text; STATE: what is going on, or NULL; else NULL. Owned by the event,
     * NUL-terminated. */
    char *text;
    size_t text_len;
    uint32_t n_tokens; /* TOKENS: new ones; FINISH: all (without an end-of-generation token) */
    struct engine_token *tokens;
    uint32_t first_index; /* TOKENS: index of tokens[0] in the output */
    /* FINISH */
    enum finish_reason reason;
    uint32_t *prompt_ids;
    uint32_t n_prompt;
    double *nll; /* score: n_prompt-1 values */
    int64_t seed;
    uint32_t cached_tokens, recomputed_tokens, preemptions;
    enum prio priority;
    char model[96];
    struct engine_timing timing;
    /* REJECT, STATE FAILED, FINISH with FINISH_ERROR or FINISH_TIMEOUT; else code WEFT_OK. */
    struct weft_err error;
    struct engine_event *next; /* list from engine_inbox_take */
};

/*
 * Watches from inside what happens, in its order: for event logs and measurements; a screen has the snapshot. Each
 * function may be NULL. They are called on the engine thread, which waits for them, and must not call into engine or
 * scheduler, but to read (sched_counts, sched_audit). Times are engine time.
 */
struct engine_observer {
    /* An event of the scheduler; also SCHED_REJECT for what the engine itself refuses when a request reaches it. */
    void (*sched)(void *ctx, const struct sched *s, const struct sched_event *ev);
    void (*state)(void *ctx, enum engine_state from, enum engine_state to, int64_t now_us);
    void (*pressure)(void *ctx, bool from, bool to, int64_t now_us); /* of memory */
    /* A step ended; ns: what its scheduling took (submissions since the last step, plan, commit), without telling about
     * it. */
    void (*scheduled)(void *ctx, int64_t ns);
    void (*closing)(void *ctx, const struct sched *s); /* every request has ended; the scheduler goes next */
    void *ctx;
};

/* Models that one engine may have. */
enum { ENGINE_MODELS_MAX = SNAP_MODELS };

/*
 * Where a model and its executor come from. Called on the engine thread during LOADING, so that a screen can
 * already be up. Returns the model (NULL under simulation) and the executor; both become the engine's.
 * engine_progress may be called with what is being done.
 */
typedef enum weft_rc engine_load_fn(void *ctx, struct engine *e, struct model **model, struct exec **exec,
                                    struct weft_err *err);

/* One of several models. Each has an executor and a scheduler of its own, all by the limits of the engine_config. */
struct engine_model_config {
    /* What requests call it, and what makes it one model however often it is configured; "": the name in its file. */
    char name[96];
    engine_load_fn *load;
    void *load_ctx;
    void (*release)(void *load_ctx); /* called once, when load_ctx isn't needed any more; may be NULL */
};

struct engine_config {
    /* The model, when there is but one; otherwise `models`, the first of which is the default. */
    engine_load_fn *load;
    void *load_ctx;
    char model_name[96]; /* the name that requests use; "" for the file's */
    uint32_t n_models;   /* 0: the one above */
    struct engine_model_config models[ENGINE_MODELS_MAX];
    bool sim;
    bool warm; /* run a step of each shape class before READY; logits must be finite */
    int64_t warm_timeout_ms;

    bool fifo, batching;
    double aging_rate;
    uint32_t max_batch_size, max_batch_tokens;
    uint32_t max_depth;
    bool reject_when_full;
    int64_t queue_timeout_ms;
    int64_t stop_ms; /* drain time at stop */

    /* 0 (false) in the following: without it. */
    uint32_t max_logits; /* logits rows that the executor can return of one step */
    enum sched_preemption preemption;
    uint32_t max_preemptions;
    bool prefix_cache;
    uint32_t min_batch_size;
    double batch_timeout_ms;
    bool adaptive_timeout;
    double itl_target_ms;
    /* By the two limits that follow, in MB; there 0 stands for 70 % and 85 % of the machine's memory. */
    bool limit_memory;
    double max_memory_mb, critical_memory_mb;
    int64_t memory_check_ms;                /* how often memory is measured; 0: each second */
    const struct engine_observer *observer; /* NULL: none; in place until engine_destroy has returned */
    /* By how much the engine's thread, and those that the device's driver makes for it, give way to others (niceness). */
    int nice;
};

/* Starts the thread; state changes come to every inbox. On failure each load_ctx is the caller's still, but that of a
 * model configured before under its name, which has been released. */
enum weft_rc engine_create(const struct engine_config *cfg, struct engine **out, struct weft_err *err);
/* Stops: drains for stop_ms, cancels the rest, joins. If the device hangs, gives up after stop_ms + 1 s and leaks it,
 * returning false, so that the process can still end. All inboxes must be closed after this. */
bool engine_destroy(struct engine *e);
/*
 * One more model while the engine runs: loaded and warmed up between two steps, which keeps the others waiting for as
 * long. A name that is configured already stands for the model that it has, and nothing happens. When loading fails the
 * model's requests are refused, as at the start. Any thread; returns at once; requests that follow find the model.
 * INVALID_REQUEST: no name, or no room for one more, as far as that is known by now.
 */
enum weft_rc engine_configure_model(struct engine *e, const struct engine_model_config *m,
                                    struct weft_err *err);
/* For `load`: sets the state's detail ("repacking weights", 0.4). Engine thread. */
void engine_progress(struct engine *e, const char *what, double fraction);

/* An inbox gets the events of the requests submitted with it, and every ENGINE_STATE from now on (the present one
 * first). One reader. */
enum weft_rc engine_inbox_open(struct engine *e, struct engine_inbox **out, struct weft_err *err);
void engine_inbox_close(struct engine_inbox *in);   /* its requests are cancelled */
int engine_inbox_fd(const struct engine_inbox *in); /* readable while events may be there: for poll */
/* All events so far, in order; NULL when none. Free each with engine_event_free. */
struct engine_event *engine_inbox_take(struct engine_inbox *in);
/* Blocks until an event is there or timeout_ms passed (-1: no limit). */
void engine_inbox_wait(struct engine_inbox *in, int timeout_ms);
void engine_event_free(struct engine_event *ev);

/* A seed as engine_submit takes one for a request that has none (-1). */
int64_t engine_new_seed(void);
/* What engine_submit would refuse at once (INVALID_REQUEST); but whether the id is free. Any thread, no engine needed. */
enum weft_rc engine_check(const struct engine_request *rq, struct weft_err *err);
/* Checks what can be checked at once (INVALID_REQUEST) and queues the request; its id is written to id_out
 * (REQ_ID_MAX bytes; may be NULL). Later refusals come as ENGINE_REJECT. Any thread. */
enum weft_rc engine_submit(struct engine *e, struct engine_inbox *in, const struct engine_request *rq,
                           char *id_out, struct weft_err *err);
/* Any thread; an unknown id is ignored (its request may just have ended). */
void engine_cancel(struct engine *e, const char *id);
void engine_set_priority(struct engine *e, const char *id, enum prio p);
/* Freezing stops the engine's clock after the step in flight; engine_step lets a frozen engine run one step. */
void engine_freeze(struct engine *e, bool frozen);
void engine_step(struct engine *e);
/* Copies the latest snapshot. The struct must be zeroed before its first use and is reused across calls. */
void engine_snapshot(struct engine *e, struct snapshot *out);
/* The same when there is a newer one than that in *s, which came from here; false: there is none, and *s is as it was. */
bool engine_snapshot_update(struct engine *e, struct snapshot *s);
/* The same as it was when that step had ended: one of the last 1,000 (engine_history.h). False: it isn't kept. Any
 * thread. */
bool engine_snapshot_at(struct engine *e, uint64_t step, struct snapshot *out);
/* The stats object of INTERFACES, from a snapshot. */
json_t *snapshot_stats_json(const struct snapshot *s, const char *id);
enum engine_state engine_state(struct engine *e);
/* The model that requests call so (NULL, "": the default), once it is READY; NULL before, when it isn't loaded or can't be
 * used any more, and under simulation. Immutable, and there until engine_destroy, whatever becomes of it. Any thread. */
const struct model *engine_model_named(struct engine *e, const char *name);
/* The default one. */
const struct model *engine_model(struct engine *e);

#endif
