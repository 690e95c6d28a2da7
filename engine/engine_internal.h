/*
 * Inside the engine: what its source files share. Nothing else includes this.
 *
 *   engine.c           create, destroy; the thread: its states and its loop
 *   engine_units.c     the scheduler manager: one unit (model, executor, scheduler) for each model; whose turn it is
 *   engine_load.c      LOADING and WARMING
 *   engine_step.c      one step: plan, execute, sample, commit; what to do when it fails
 *   engine_cmd.c       the calls that any thread may make, as commands; carrying them out; registry of live ids
 *   engine_request.c   tickets: checking and copying what was asked for, prompt → ids, and how a request ends
 *   engine_reply.c     output: ids → text, held back where a stop string may begin
 *   engine_inbox.c     events on their way to a reader
 *   engine_snapshot.c  publication and copying of snapshots
 *   engine_history.c   those of the last steps
 *   snapshot_json.c    the stats object
 *
 * Threads. Everything in struct engine belongs to the engine thread, but for the groups marked otherwise. Three locks, none
 * of which is held across a call of another module or while another is taken, except inboxes_lock, under which a STATE
 * event is pushed (so: inboxes_lock before an inbox's lock):
 *   registry_lock   ids of live requests
 *   inboxes_lock    the list of open inboxes, and state changes as they see them
 *   an inbox's      its events
 *
 * Life of a request, as a ticket:
 *
 *   engine_submit ──► checked, copied, id registered ──► command queue ──► [waits for READY] ──► engine_accept
 *      accepted by the scheduler ──► steps: tokens go to the reply ──► SCHED_FINISH: listed as ended ──► engine_reap: FINISH
 *      refused ──► REJECT
 *
 * A ticket is destroyed by the engine thread only, after its last event.
 */
#ifndef WEFT_ENGINE_INTERNAL_H
#define WEFT_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/buf.h"
#include "engine/base/chan.h"
#include "engine/engine.h"
#include "engine/engine_history.h"
#include "engine/model/tok_stream.h"
#include "engine/sched/scheduler.h"
#include "engine/stats.h"
#include "engine/stop.h"

/* ---- inboxes ---- */

/* An event with the room that its arrays have. engine_event_free knows. */
struct inbox_event {
    struct engine_event ev; /* first: readers see only this */
    size_t cap_text, cap_tokens;
};

struct command; /* engine_cmd.c */

struct engine_inbox {
    pthread_mutex_t lock;
    int fd; /* eventfd: readable while events may be there */
    struct engine_event *head, *tail;
    bool untold; /* there are some, and the reader doesn't know of any: inbox_tell */
    /* How often the reader emptied it: tells a ticket whether its last event is still here. */
    uint64_t n_takes;
    bool closed;                      /* what is pushed now is dropped */
    atomic_uint refs;                 /* the reader, the engine's list, each ticket */
    struct engine *engine;            /* NULL once the engine is gone */
    struct engine_event *spare;       /* a STATE event for when memory has run out; the engine thread's */
    struct command *close;            /* made ahead, so that closing can't fail */
    struct engine_inbox *prev, *next; /* under the engine's inboxes_lock */
};

/* For engine_inbox_open: the command that will close it. NULL: out of memory. */
struct command *command_create_close(struct engine_inbox *in);

void inbox_ref(struct engine_inbox *in);
void inbox_unref(struct engine_inbox *in); /* NULL allowed */
/* Queues an event, which the inbox then owns. NULL inbox: nobody waits for it; logged and freed. */
void inbox_push(struct engine_inbox *in, struct engine_event *ev);
/* Wakes the reader when there is something that it wasn't told of. NULL allowed. */
void inbox_tell(struct engine_inbox *in);
struct engine_event *inbox_event_create(enum engine_event_type type); /* NULL: out of memory */

/* ---- replies ---- */

/* What a request generated. The text grows with the tokens; its end may be held back. */
struct reply {
    const struct tok *tok; /* NULL: simulation, pseudo-words */
    struct tok_stream stream;
    struct stop_set stop;
    struct buf text;
    struct engine_token *tokens; /* text_end counts from the reply's start */
    size_t n_tokens, cap_tokens;
    size_t n_sent; /* tokens that have gone out in TOKENS events */
    size_t n_held; /* bytes at the text's end that aren't to be shown yet */
    bool ended;    /* reply_end was called */
    bool stopped;  /* a stop string was found: the text ends before it */
};

bool reply_init(struct reply *r); /* false: out of memory */
/* Before the first token. tok NULL: simulation. */
void reply_set_tokenizer(struct reply *r, const struct tok *tok);
void reply_deinit(struct reply *r);
/* Appends a token. When its text completes a stop string, r->stopped is set and the text cut before it. */
enum weft_rc reply_push(struct reply *r, const struct sampler_out *token, struct weft_err *err);
/* No more tokens will come: nothing is held back any longer, and a character left incomplete becomes U+FFFD. */
void reply_end(struct reply *r);
/* Tokens [n_sent, result) have all their text shown. */
size_t reply_n_ready(const struct reply *r);
/* The simulated text of a token: a pseudo-word of two or three syllables after a space. Returns its length, < 16. */
size_t reply_pseudo_word(uint32_t id, char out[16]);

/* ---- tickets ---- */

enum prompt_kind { PROMPT_TEXT, PROMPT_CHAT, PROMPT_IDS };

struct ticket {
    struct request rq; /* the scheduler's view; rq.user is the ticket */

    /* Set at submission, then constant; own copies. */
    struct engine_inbox *inbox; /* a reference; NULL: nobody waits */
    struct engine_event *last;  /* becomes REJECT or FINISH: made ahead, so that it can always be sent */
    char *model;                /* NULL: the default */
    char *fork_of;              /* rq.fork_of points here; NULL: none */
    enum prompt_kind kind;
    char *prompt;
    size_t prompt_len;
    struct chat_message *messages;
    size_t n_messages;
    uint32_t *raw_ids;
    size_t n_raw_ids;
    bool stream, score, ignore_eos;
    struct sampling sampling; /* seed chosen */
    uint32_t n_logprobs, tag;
    int64_t submitted_real_us;

    struct ticket *bucket_next; /* registry: under registry_lock */

    /* The engine thread's. */
    struct ticket *prev, *next; /* e->live */
    struct ticket *ended_next;  /* e->ended */
    int64_t arrival_us;         /* engine time of the submission */
    struct unit *unit;          /* whose scheduler has it, once one was found */
    bool accepted;              /* the scheduler has it */
    uint64_t arrival;           /* number among those accepted by all schedulers; 0 before */
    struct reply reply;
    struct sampler *sampler; /* made with the first token */
    double *nll;             /* score: n_prompt - 1 */
    int64_t last_token_us;   /* -1 before the first */
    struct stats_meter rate; /* generated tokens */
    int slot;                /* row in the timeline; -1 while it holds no place */
    /* The TOKENS event that more may be merged into, while open_take == inbox->n_takes. Under the inbox's lock. */
    struct inbox_event *open;
    uint64_t open_take;
};

/* Copies a request whose fields are in order (INVALID_REQUEST otherwise: field, value, limit). Any thread. */
enum weft_rc ticket_create(const struct engine_request *rq, struct engine_inbox *in, struct ticket **out,
                           struct weft_err *err);
void ticket_destroy(struct ticket *t);
/* Prompt → ids, and room for the output. INVALID_REQUEST when there is nothing in it or it can't fit. */
enum weft_rc ticket_prepare(struct ticket *t, const struct model *m, const struct exec_info *x,
                            struct weft_err *err);
/* Queues what of the reply can be shown, merged into the last TOKENS event when its reader hasn't taken that yet. The reader
 * isn't told: that is done once for all tokens of a step (inbox_tell), which would otherwise wake it as often as there are
 * sequences. */
void ticket_send_tokens(struct ticket *t, int64_t now_us);
/* The last event; the ticket's output moves into it. */
void ticket_send_reject(struct ticket *t, const struct weft_err *why, const char *model, int64_t now_us);
void ticket_send_finish(struct ticket *t, const char *model, int64_t now_us);

/* ---- units ---- */

/*
 * One model: how it was configured and, once loaded, its executor and its scheduler. Configured ──► loaded and warmed up:
 * READY; or FAILED, which holds nothing any more and refuses its requests.
 */
struct unit {
    struct engine *engine;
    struct engine_model_config cfg;
    uint8_t index;
    char name[96];           /* as requests call it; "" until loaded where the file names it */
    enum engine_state state; /* INITIALIZING, READY or FAILED */
    struct weft_err failure; /* why FAILED */
    struct model *model;     /* NULL under simulation */
    bool published;          /* others may look at it: it stays until the end */
    struct exec *exec;
    struct sched *sched;
    int64_t retry_at_us; /* real time: no step before this, after a failed one; 0: none failed */
    uint64_t n_steps;
};

/* ---- the engine ---- */

/* Three snapshots go round: one is filled, one is the latest, one is being read; so that neither side waits. */
enum { PUB_BUFFERS = 3, PUB_FRESH = 4 };
struct pub_buffer {
    struct snapshot s;
    size_t cap_blocks;
};

struct engine {
    struct engine_config cfg;

    /* Any thread. */
    struct chan commands;
    atomic_int state; /* enum engine_state; written by the engine thread */
    /* Of each unit, once it is READY; its name doesn't change any more then. */
    _Atomic(const struct model *) ready_models[ENGINE_MODELS_MAX];
    atomic_bool stop;
    pthread_mutex_t registry_lock;
    struct ticket **bucket;
    size_t n_buckets, n_registered;
    uint64_t next_id; /* last number made up for an id */
    pthread_mutex_t inboxes_lock;
    struct engine_inbox *inboxes;
    pthread_mutex_t exit_lock;
    pthread_cond_t exit_cond;
    bool exited;
    pthread_t thread;

    /* Snapshots: `latest` is exchanged by both sides; `reading` is the readers', under reader_lock. */
    struct pub_buffer *pub; /* PUB_BUFFERS */
    struct engine_history *history;
    uint64_t kept_step; /* the last one in it; the engine thread's */
    atomic_uint latest; /* index, | PUB_FRESH when not yet read */
    pthread_mutex_t reader_lock;
    unsigned reading;
    unsigned filling;

    /* The engine thread's. */
    struct unit units[ENGINE_MODELS_MAX]; /* the default first */
    uint32_t n_units;
    uint32_t turn;              /* the unit that may run the next step, if it has work */
    const struct unit *loading; /* for the state's detail */
    uint64_t arrivals;          /* requests accepted */
    char detail[160];
    struct weft_err failure;            /* why FAILED */
    struct ticket *live, *live_tail;    /* every ticket taken from the queue and not ended, oldest first */
    struct ticket *ended, **ended_tail; /* finished in the scheduler, FINISH not sent */
    int64_t sched_ns; /* real time of scheduling since the last step's end: see engine_time_sched */
    bool sched_timed;
    struct sched_result *results;
    size_t cap_results;

    int64_t start_real_us, frozen_total_us, stopped_at_real_us;
    int64_t quiet_real_us; /* since when nothing has run or waited */
    bool frozen;           /* as asked for */
    bool clock_stopped;    /* frozen, and not within a step */
    uint32_t steps_due;    /* steps asked for while frozen */

    struct snap_step steps[SNAP_STEPS]; /* a ring: see engine_step_slot */
    uint64_t step;                      /* last step begun */
    bool in_flight;
    uint64_t slots_used;                   /* bit i: row i of the timeline is held */
    struct snap_request queue[SNAP_QUEUE]; /* as last looked at: see engine_snapshot.c */
    uint32_t n_queue;
    int64_t queue_seen_real_us;
    struct request *listed[SNAP_QUEUE];
    uint64_t *owners; /* scratch: a word for each block of the largest pool */
    size_t cap_owners;
    struct snap_rate rates[SNAP_RATES];
    uint32_t n_rates;
    uint64_t rates_seen, events_seen;      /* in all */
    struct snap_event events[SNAP_EVENTS]; /* oldest first */
    uint32_t n_events;
    struct snap_preemption preempted[SNAP_STEP_PREEMPTED]; /* since the last step began */
    uint32_t n_preempted;                                  /* may exceed what is kept */
    int64_t next_sample_us, next_memory_real_us;
    double memory_mb;
    struct resource resource; /* the limits, when memory is limited */
    uint64_t seq;
    struct stats_meter prefill, decode, batches, batch_items;
    struct stats_histogram ttft, itl, latency;
    struct snap_percentiles ttft_shown, itl_shown; /* as of the last sample */
    double latency_shown_ms;
    uint64_t completed, failed, rejected;
};

/* engine.c */
int64_t engine_now(const struct engine *e); /* engine time */
/* Engine time of a moment of the real clock, at most now. */
int64_t engine_time_of(const struct engine *e, int64_t real_us);
void engine_set_frozen(struct engine *e, bool frozen);
void engine_set_state(struct engine *e, enum engine_state s, const struct weft_err *why);

/* engine_load.c: both set the state as they go. */
enum weft_rc unit_load(struct unit *u, struct weft_err *err);
enum weft_rc unit_warm(struct unit *u, struct weft_err *err);

/* engine_units.c */
/* The unit of that name, made if there is none yet; else what m holds is released. NULL: no room for one more. */
struct unit *unit_configure(struct engine *e, const struct engine_model_config *m);
/* All that is configured, in order. The default's failure is the engine's; of any other, that unit's alone. */
enum weft_rc units_bring_up(struct engine *e, struct weft_err *err);
/* Says in the state's detail which model failed, if one did. */
void units_warn(struct engine *e);
/* Loads and warms up one that was configured later. */
void unit_bring_up(struct unit *u);
/* The one that a request for `model` (NULL, "": the default) goes to, which may not be READY; NULL: there is none. */
struct unit *unit_find(struct engine *e, const char *model);
/* It can't go on: what it has under way ends with the reason, and what it holds is given back. */
void unit_fail(struct unit *u, const struct weft_err *why);
/* From now on engine_model_named finds the models that are READY. */
void units_publish(struct engine *e);
/* Gives back what it holds, but for a model that others may look at. */
void unit_unload(struct unit *u);
/* The last of them: tells who configured them that they are needed no more. */
void units_release(struct engine *e);
/* Sums over all schedulers. */
void units_counts(const struct engine *e, struct sched_counts *out);
bool units_have_work(const struct engine *e);
/* While nothing runs: lets one executor do something for itself (exec.h). False: none has anything to do. */
bool units_idle(struct engine *e);
void units_cancel_all(struct engine *e);
/* Until when nothing happens by itself, in µs from now; INT64_MAX: nothing will. */
int64_t units_idle_us(const struct engine *e);

/* engine_step.c */
/* Around each call whose time is the scheduler's: true, the call, false. */
void engine_time_sched(struct engine *e, bool on);
void engine_on_sched_event(void *ctx, const struct sched_event *ev);
bool engine_run_step(struct engine *e); /* of the unit whose turn it is; false: nothing to run */
/* Publishes, then sends the FINISH of what has ended; nothing when nothing has. */
void engine_reap(struct engine *e);

/* engine_cmd.c */
void engine_take_commands(struct engine *e);
void engine_accept_waiting(struct engine *e); /* at READY: those that came earlier */
void engine_refuse_waiting(struct engine *e, const struct weft_err *why);
void engine_refuse(struct engine *e, struct ticket *t, const struct weft_err *why);
/* Takes the ticket out of registry and live list; its id is free again. */
void engine_forget(struct engine *e, struct ticket *t);
void engine_registry_free(struct engine *e);

/* engine_snapshot.c */
enum weft_rc engine_pub_init(struct engine *e, struct weft_err *err);
void engine_pub_deinit(struct engine *e);
void engine_publish(struct engine *e);
void engine_sample_stats(struct engine *e); /* does something each 250 ms of engine time */
/* Where step k (from 1) is in the rings of engine and snapshots. */
static inline size_t engine_step_slot(uint64_t k)
{
    return (size_t)((k - 1) % SNAP_STEPS);
}
struct snap_step *engine_step_begin(struct unit *u, const struct plan *plan, int64_t now_us);

/* engine_trace.c: notes what happens, for snapshots. A preempted request must hold its slot still. */
void engine_trace(struct engine *e, const struct sched_event *ev);
void engine_trace_state(struct engine *e, enum engine_state from, enum engine_state to);
void engine_trace_pressure(struct engine *e, bool under_pressure);

#endif
