#include "ui/history.h"

#include <stddef.h>
#include <string.h>

#include "engine/base/mem.h"

enum { RING = HISTORY_STEPS + SNAP_STEPS }; /* the oldest moment shows SNAP_STEPS before it, too */

/* A moment: its parts one behind the other, in the order of `parts_of`. */
struct moment {
    uint64_t step; /* 0: empty */
    unsigned char *data;
    size_t size, cap;
    uint32_t n_queue, n_running, n_rates, n_events, n_runs;
};

/* So many blocks, one after another, are the same. */
struct run {
    struct snap_block block;
    uint32_t n;
};

struct history {
    struct moment moments[HISTORY_STEPS]; /* of step k at k % HISTORY_STEPS */
    struct snap_step steps[RING];         /* step k at k % RING */
    uint64_t last;
};

struct history *history_create(void)
{
    return mem_calloc(1, sizeof(struct history));
}

void history_destroy(struct history *h)
{
    for (size_t i = 0; h && i < HISTORY_STEPS; i++)
        mem_free(h->moments[i].data);
    mem_free(h);
}

/* ── steps ── */

static void keep_steps(struct history *h, const struct snapshot *now)
{
    uint32_t n = now->n_steps < SNAP_STEPS ? now->n_steps : SNAP_STEPS;
    for (uint32_t i = n; i-- > 0;) {
        const struct snap_step *from = &now->steps[i];
        struct snap_step *to = &h->steps[from->step % RING];
        if (to->step == from->step && to->dur_us >= 0)
            return; /* known as it ended, and so all before it */
        uint32_t items = from->n_items < SNAP_STEP_ITEMS ? from->n_items : SNAP_STEP_ITEMS;
        memcpy(to, from, offsetof(struct snap_step, items) + items * sizeof *from->items);
    }
}

static const struct snap_step *step_of(const struct history *h, uint64_t step)
{
    const struct snap_step *s = &h->steps[step % RING];
    return step && s->step == step ? s : NULL;
}

/* ── moments ── */

/* A part of a snapshot: what is between the arrays as it is, the arrays as far as they are filled. */
struct part {
    size_t offset, size;
};
enum { N_PARTS = 8 };

static void parts_of(const struct moment *m, struct part out[N_PARTS])
{
#define SPAN(from, to)                                                                                       \
    {                                                                                                        \
        offsetof(struct snapshot, from), offsetof(struct snapshot, to) - offsetof(struct snapshot, from)     \
    }
#define ITEMS(array, n)                                                                                      \
    {                                                                                                        \
        offsetof(struct snapshot, array), (n) * sizeof(((struct snapshot *)0)->array[0])                     \
    }
    const struct part parts[N_PARTS] = {
        SPAN(seq, steps),
        SPAN(n_queue, queue),
        ITEMS(queue, m->n_queue),
        ITEMS(running, m->n_running),
        SPAN(max_batch_size, rates),
        ITEMS(rates, m->n_rates),
        SPAN(prefill_tps, n_events),
        ITEMS(events, m->n_events),
    };
#undef SPAN
#undef ITEMS
    memcpy(out, parts, sizeof parts);
}

/* Nothing of a snapshot is forgotten: what isn't in a span is one of the arrays, or a count that a moment has itself. */
#define ENDS_AT(array, next)                                                                                 \
    _Static_assert(offsetof(struct snapshot, array) + sizeof(((struct snapshot *)0)->array) ==               \
                       offsetof(struct snapshot, next),                                                      \
                   #next " must be in a span")
ENDS_AT(steps, n_queue);
ENDS_AT(queue, n_running);
ENDS_AT(running, max_batch_size);
ENDS_AT(rates, prefill_tps);
_Static_assert(offsetof(struct snapshot, events) + sizeof(((struct snapshot *)0)->events) ==
                   sizeof(struct snapshot),
               "the events are the last");
#undef ENDS_AT

static bool same_block(const struct snap_block *a, const struct snap_block *b)
{
    return a->kind == b->kind && a->tag == b->tag && a->arrival == b->arrival;
}

static bool has_map(const struct snapshot *s)
{
    return s->blocks && s->cap_blocks >= s->kv_total;
}

/* The runs of the KV map; `out` NULL: only counts them. */
static uint32_t find_runs(const struct snapshot *s, unsigned char *out)
{
    uint32_t n = 0, total = has_map(s) ? s->kv_total : 0;
    for (uint32_t from = 0, to; from < total; from = to, n++) {
        for (to = from + 1; to < total && same_block(&s->blocks[from], &s->blocks[to]);)
            to++;
        struct run run = {s->blocks[from], to - from};
        if (out)
            memcpy(out + n * sizeof run, &run, sizeof run);
    }
    return n;
}

static uint32_t at_most(uint32_t n, uint32_t limit)
{
    return n < limit ? n : limit;
}

bool history_add(struct history *h, const struct snapshot *now)
{
    keep_steps(h, now);
    if (!now->step)
        return true;
    struct moment *m = &h->moments[now->step % HISTORY_STEPS], made = {.data = m->data, .cap = m->cap};
    struct part parts[N_PARTS];
    made.n_queue = at_most(now->n_queue, HISTORY_QUEUE);
    made.n_running = at_most(now->n_running, SNAP_STEP_ITEMS);
    made.n_rates = at_most(now->n_rates, SNAP_RATES);
    made.n_events = at_most(now->n_events, HISTORY_EVENTS);
    made.n_runs = find_runs(now, NULL);
    parts_of(&made, parts);
    /* The events kept are the last ones. */
    parts[N_PARTS - 1].offset += (now->n_events - made.n_events) * sizeof now->events[0];
    for (int i = 0; i < N_PARTS; i++)
        made.size += parts[i].size;
    made.size += made.n_runs * sizeof(struct run);

    h->last = now->step;
    m->step = 0;
    if (mem_grow(&made.data, &made.cap, made.size, 1))
        return false; /* m has its old memory still, and is empty */
    size_t at = 0;
    for (int i = 0; i < N_PARTS; i++) {
        memcpy(made.data + at, (const unsigned char *)now + parts[i].offset, parts[i].size);
        at += parts[i].size;
    }
    find_runs(now, made.data + at);
    made.step = now->step;
    *m = made;
    return true;
}

/* ── back again ── */

/* The oldest step that is less than HISTORY_STEPS back and has a moment. */
bool history_range(const struct history *h, uint64_t *first, uint64_t *last)
{
    uint64_t step = h->last > HISTORY_STEPS ? h->last - HISTORY_STEPS + 1 : 1;
    while (step <= h->last && h->moments[step % HISTORY_STEPS].step != step)
        step++;
    if (!h->last || step > h->last)
        return false;
    *first = step;
    *last = h->last;
    return true;
}

/* The moment of a step or, if it had none, the nearest before. */
static const struct moment *moment_of(const struct history *h, uint64_t step)
{
    uint64_t oldest = h->last > HISTORY_STEPS ? h->last - HISTORY_STEPS + 1 : 1;
    for (; step >= oldest; step--)
        if (h->moments[step % HISTORY_STEPS].step == step)
            return &h->moments[step % HISTORY_STEPS];
    return NULL;
}

/* The map out of its runs. False: out of memory. */
static bool restore_blocks(const struct moment *m, const unsigned char *runs, struct snapshot *out)
{
    size_t cap = out->cap_blocks;
    if (mem_grow(&out->blocks, &cap, out->kv_total, sizeof *out->blocks))
        return false;
    out->cap_blocks = (uint32_t)cap;
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->n_runs; i++) {
        struct run run;
        memcpy(&run, runs + i * sizeof run, sizeof run);
        while (run.n-- > 0 && at < out->kv_total)
            out->blocks[at++] = run.block;
    }
    if (at < out->kv_total)
        out->kv_total = at; /* a moment without a map */
    return true;
}

/* The timeline up to `step`, as far as it is known without a gap. */
static void restore_steps(const struct history *h, uint64_t step, struct snapshot *out)
{
    uint32_t n = 0;
    while (n < SNAP_STEPS && n < step && step_of(h, step - n))
        n++;
    for (uint32_t i = 0; i < n; i++) {
        const struct snap_step *from = step_of(h, step - n + 1 + i);
        uint32_t items = at_most(from->n_items, SNAP_STEP_ITEMS);
        memcpy(&out->steps[i], from, offsetof(struct snap_step, items) + items * sizeof *from->items);
    }
    out->n_steps = n;
    out->step = step;
    out->in_flight = n && out->steps[n - 1].dur_us < 0;
}

bool history_at(const struct history *h, uint64_t step, struct snapshot *out)
{
    const struct moment *m = step <= h->last ? moment_of(h, step) : NULL;
    if (!m)
        return false;
    struct snap_block *blocks = out->blocks;
    uint32_t cap = out->cap_blocks;
    struct part parts[N_PARTS];
    size_t at = 0;
    parts_of(m, parts);
    for (int i = 0; i < N_PARTS; i++) {
        memcpy((unsigned char *)out + parts[i].offset, m->data + at, parts[i].size);
        at += parts[i].size;
    }
    out->n_queue = m->n_queue;
    out->n_running = m->n_running;
    out->n_rates = m->n_rates;
    out->n_events = m->n_events;
    out->blocks = blocks;
    out->cap_blocks = cap;
    restore_steps(h, step, out);
    const struct snap_step *s = step_of(h, step);
    if (m->step < step && s)
        out->now_us = s->start_us + (s->dur_us > 0 ? s->dur_us : 0);
    return restore_blocks(m, m->data + at, out);
}
