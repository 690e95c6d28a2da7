/*
 * Records of steps. A record is one allocation: a struct record, then its arrays one after the other, packed:
 *
 *   head      of the snapshot: all before its arrays
 *   figures   of the snapshot: all between and after its arrays
 *   step      as far as its items are filled
 *   running, queue   struct kept, each followed by its id
 *   runs      of the KV map
 *   events, rates    new with this step
 *
 * Once in the ring a record doesn't change, and only the engine thread takes it out again.
 */
#include "engine/engine_history.h"

#include <pthread.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

/* A request, narrowed to what its values need. */
struct kept {
    uint64_t arrival;
    int64_t waited_us, ttft_us;
    float effective, tps;
    uint32_t tag, n_prompt, n_computed, n_generated, max_tokens, cached_tokens, n_blocks, preemptions;
    int8_t base;
    uint8_t state, wait_reason, model, id_len;
};

/* Blocks that are alike. */
struct run {
    uint64_t arrival;
    uint32_t tag, n;
    uint8_t kind;
};

struct record {
    struct record *next; /* of those that stay aside */
    uint64_t step;
    size_t size;
    uint32_t n_runs, n_events, n_rates;
    size_t at_step, at_requests, at_runs, at_events, at_rates; /* in `data` */
    unsigned char data[];
};

_Static_assert(offsetof(struct record, data) == sizeof(struct record), "a record is copied as one piece");

struct engine_history {
    pthread_mutex_t lock;                      /* over ring, newest, bytes */
    struct record *ring[ENGINE_HISTORY_STEPS]; /* step k is at k % ENGINE_HISTORY_STEPS */
    uint64_t newest;                           /* 0: none */
    size_t bytes;
    /* The engine thread's. */
    struct record *aside, **aside_tail; /* made while the lock was held by a reader; oldest first */
    struct buf scratch;
    uint64_t oldest; /* no step before this is in the ring */
    uint64_t events_seen, rates_seen;
};

/* The parts of a snapshot that are kept as they are. */
static const struct {
    size_t from, to;
} spans[] = {
    {offsetof(struct snapshot, seq), offsetof(struct snapshot, n_steps)},
    {offsetof(struct snapshot, n_queue), offsetof(struct snapshot, queue)},
    {offsetof(struct snapshot, n_running), offsetof(struct snapshot, running)},
    {offsetof(struct snapshot, max_batch_size), offsetof(struct snapshot, blocks)},
    {offsetof(struct snapshot, prefill_tps), offsetof(struct snapshot, n_events)},
};
enum { N_SPANS = sizeof spans / sizeof *spans };

enum weft_rc engine_history_create(struct engine_history **out, struct weft_err *err)
{
    struct engine_history *h = *out = mem_calloc(1, sizeof *h);
    if (!h)
        return weft_err_nomem(err, "engine_history_create", sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    h->aside_tail = &h->aside;
    return WEFT_OK;
}

void engine_history_destroy(struct engine_history *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < ENGINE_HISTORY_STEPS; i++)
        mem_free(h->ring[i]);
    for (struct record *r = h->aside, *next; r; r = next) {
        next = r->next;
        mem_free(r);
    }
    buf_free(&h->scratch);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

static size_t step_size(const struct snap_step *s)
{
    uint32_t n = s->n_items < SNAP_STEP_ITEMS ? s->n_items : SNAP_STEP_ITEMS;
    return offsetof(struct snap_step, items) + n * sizeof *s->items;
}

/* ---- writing ---- */

static void put_request(struct buf *b, const struct snap_request *q)
{
    const struct kept k = {
        .arrival = q->arrival,
        .waited_us = q->waited_us,
        .ttft_us = q->ttft_us,
        .effective = (float)q->effective,
        .tps = (float)q->tps,
        .tag = q->tag,
        .n_prompt = q->n_prompt,
        .n_computed = q->n_computed,
        .n_generated = q->n_generated,
        .max_tokens = q->max_tokens,
        .cached_tokens = q->cached_tokens,
        .n_blocks = q->n_blocks,
        .preemptions = q->preemptions,
        .base = (int8_t)q->base,
        .state = (uint8_t)q->state,
        .wait_reason = (uint8_t)q->wait_reason,
        .model = q->model,
        .id_len = (uint8_t)strlen(q->id),
    };
    buf_add(b, &k, sizeof k);
    buf_add(b, q->id, k.id_len);
}

static bool alike(const struct snap_block *a, const struct snap_block *b)
{
    return a->arrival == b->arrival && a->tag == b->tag && a->kind == b->kind;
}

static uint32_t put_runs(struct buf *b, const struct snap_block *blocks, uint32_t total)
{
    uint32_t n = 0;
    for (uint32_t from = 0, to; from < total; from = to, n++) {
        for (to = from + 1; to < total && alike(&blocks[from], &blocks[to]); to++)
            ;
        const struct run run = {blocks[from].arrival, blocks[from].tag, to - from, blocks[from].kind};
        buf_add(b, &run, sizeof run);
    }
    return n;
}

/* Of what was seen in all, so many are new and still there. */
static uint32_t count_new(uint64_t seen, uint64_t seen_before, uint32_t n)
{
    return seen - seen_before < n ? (uint32_t)(seen - seen_before) : n;
}

/* NULL: out of memory. */
static struct record *record_create(struct engine_history *h, const struct snapshot *now,
                                    const struct snap_step *step, uint32_t n_events, uint32_t n_rates)
{
    struct buf *b = &h->scratch;
    struct record head = {.step = step->step, .n_events = n_events, .n_rates = n_rates};
    buf_clear(b);
    buf_add(b, &head, sizeof head); /* its place */
    for (size_t i = 0; i < N_SPANS; i++)
        buf_add(b, (const char *)now + spans[i].from, spans[i].to - spans[i].from);
    head.at_step = b->len - sizeof head;
    buf_add(b, step, step_size(step));
    head.at_requests = b->len - sizeof head;
    for (uint32_t i = 0; i < now->n_running; i++)
        put_request(b, &now->running[i]);
    for (uint32_t i = 0; i < now->n_queue; i++)
        put_request(b, &now->queue[i]);
    head.at_runs = b->len - sizeof head;
    head.n_runs = put_runs(b, now->blocks, now->kv_total);
    head.at_events = b->len - sizeof head;
    buf_add(b, now->events + now->n_events - n_events, n_events * sizeof *now->events);
    head.at_rates = b->len - sizeof head;
    buf_add(b, now->rates + now->n_rates - n_rates, n_rates * sizeof *now->rates);
    head.size = b->len;
    if (b->failed)
        return NULL;
    memcpy(b->data, &head, sizeof head);
    return (void *)mem_memdup(b->data, b->len);
}

/* Under the lock. */
static void drop(struct engine_history *h, uint64_t step)
{
    struct record **at = &h->ring[step % ENGINE_HISTORY_STEPS];
    if (!*at || (*at)->step != step)
        return;
    h->bytes -= (*at)->size;
    mem_free(*at);
    *at = NULL;
}

/* Under the lock: what was set aside comes into the ring, and the oldest leave it. */
static void take_in(struct engine_history *h)
{
    for (struct record *r = h->aside, *next; r; r = next) {
        next = r->next;
        r->next = NULL;
        if (!h->newest)
            h->oldest = r->step;
        while (h->oldest < r->step &&
               (h->oldest + ENGINE_HISTORY_STEPS <= r->step || h->bytes + r->size > ENGINE_HISTORY_BYTES))
            drop(h, h->oldest++);
        h->ring[r->step % ENGINE_HISTORY_STEPS] = r;
        h->newest = r->step;
        h->bytes += r->size;
    }
    h->aside = NULL;
    h->aside_tail = &h->aside;
}

void engine_history_add(struct engine_history *h, const struct snapshot *now, const struct snap_step *step,
                        uint64_t events_seen, uint64_t rates_seen)
{
    struct record *r = record_create(h, now, step, count_new(events_seen, h->events_seen, now->n_events),
                                     count_new(rates_seen, h->rates_seen, now->n_rates));
    if (!r)
        return;
    h->events_seen = events_seen;
    h->rates_seen = rates_seen;
    *h->aside_tail = r;
    h->aside_tail = &r->next;
    if (pthread_mutex_trylock(&h->lock))
        return; /* somebody reads: with the next step, then */
    take_in(h);
    pthread_mutex_unlock(&h->lock);
}

/* ---- reading, under the lock ---- */

static const struct record *find(const struct engine_history *h, uint64_t step)
{
    const struct record *r = step ? h->ring[step % ENGINE_HISTORY_STEPS] : NULL;
    return r && r->step == step ? r : NULL;
}

static const unsigned char *get_request(const unsigned char *at, struct snap_request *q)
{
    struct kept k;
    memcpy(&k, at, sizeof k);
    *q = (struct snap_request){
        .tag = k.tag,
        .arrival = k.arrival,
        .base = (enum prio)k.base,
        .effective = k.effective,
        .state = (enum req_state)k.state,
        .wait_reason = (enum wait_reason)k.wait_reason,
        .waited_us = k.waited_us,
        .n_prompt = k.n_prompt,
        .n_computed = k.n_computed,
        .n_generated = k.n_generated,
        .max_tokens = k.max_tokens,
        .cached_tokens = k.cached_tokens,
        .n_blocks = k.n_blocks,
        .preemptions = k.preemptions,
        .ttft_us = k.ttft_us,
        .tps = k.tps,
        .model = k.model,
    };
    memcpy(q->id, at + sizeof k, k.id_len);
    return at + sizeof k + k.id_len;
}

static void get_blocks(const struct record *r, struct snapshot *out)
{
    size_t cap = out->cap_blocks;
    if (mem_grow(&out->blocks, &cap, out->kv_total, sizeof *out->blocks)) {
        out->kv_total = 0; /* out of memory: without the map of blocks */
        return;
    }
    out->cap_blocks = (uint32_t)cap;
    for (uint32_t i = 0, at = 0; i < r->n_runs; i++) {
        struct run run;
        memcpy(&run, r->data + r->at_runs + i * sizeof run, sizeof run);
        for (uint32_t k = 0; k < run.n; k++)
            out->blocks[at++] = (struct snap_block){run.kind, run.tag, run.arrival};
    }
}

static void get_steps(const struct engine_history *h, uint64_t last, struct snapshot *out)
{
    out->n_steps = out->first_step = 0;
    out->steps_ended = 0; /* engine_snapshot, if it is to fill this one again, has to begin anew */
    for (uint64_t k = last < SNAP_STEPS ? 1 : last - SNAP_STEPS + 1; k <= last; k++) {
        const struct record *r = find(h, k);
        if (r)
            memcpy(&out->step_ring[out->n_steps++], r->data + r->at_step, r->at_requests - r->at_step);
    }
}

/* One of the kinds of things that came with each record. */
struct series {
    size_t size;  /* of one */
    uint32_t max; /* that a snapshot has */
    uint32_t (*count)(const struct record *r);
    const unsigned char *(*first)(const struct record *r);
};

static uint32_t count_events(const struct record *r)
{
    return r->n_events;
}

static const unsigned char *first_event(const struct record *r)
{
    return r->data + r->at_events;
}

static uint32_t count_rates(const struct record *r)
{
    return r->n_rates;
}

static const unsigned char *first_rate(const struct record *r)
{
    return r->data + r->at_rates;
}

static const struct series events = {sizeof(struct snap_event), SNAP_EVENTS, count_events, first_event};
static const struct series rates = {sizeof(struct snap_rate), SNAP_RATES, count_rates, first_rate};

/* The last ones up to that step, oldest first. Returns how many. */
static uint32_t get_series(const struct engine_history *h, uint64_t last, const struct series *s, void *out)
{
    uint64_t from = last + 1, least = last > ENGINE_HISTORY_STEPS ? last - ENGINE_HISTORY_STEPS : 0;
    uint32_t n = 0, put = 0;
    while (n < s->max && from - 1 > least) {
        const struct record *r = find(h, --from);
        n += r ? s->count(r) : 0;
    }
    uint32_t skip = n > s->max ? n - s->max : 0; /* of the first record: it has more than fit */
    for (; from <= last; from++) {
        const struct record *r = find(h, from);
        uint32_t here = r ? s->count(r) - skip : 0;
        if (here)
            memcpy((char *)out + put * s->size, s->first(r) + skip * s->size, here * s->size);
        put += here;
        skip = r ? 0 : skip;
    }
    return put;
}

bool engine_history_get(struct engine_history *h, uint64_t step, struct snapshot *out)
{
    pthread_mutex_lock(&h->lock);
    const struct record *r = find(h, step);
    if (r) {
        const unsigned char *at = r->data;
        for (size_t i = 0; i < N_SPANS; i++) {
            memcpy((char *)out + spans[i].from, at, spans[i].to - spans[i].from);
            at += spans[i].to - spans[i].from;
        }
        at = r->data + r->at_requests;
        for (uint32_t i = 0; i < out->n_running; i++)
            at = get_request(at, &out->running[i]);
        for (uint32_t i = 0; i < out->n_queue; i++)
            at = get_request(at, &out->queue[i]);
        get_blocks(r, out);
        get_steps(h, step, out);
        out->n_events = get_series(h, step, &events, out->events);
        out->n_rates = get_series(h, step, &rates, out->rates);
    }
    pthread_mutex_unlock(&h->lock);
    return r != NULL;
}

size_t engine_history_bytes(struct engine_history *h)
{
    pthread_mutex_lock(&h->lock);
    size_t n = h->bytes;
    pthread_mutex_unlock(&h->lock);
    return n;
}
