/* The event log: a line of JSON for each event, written as it happens. */
#include <inttypes.h>
#include <stdlib.h>
#include <errno.h>
#include <string.h>

#include "src/replay.h"

/* Steps name every sequence in them, so a long log is mostly numbers and ids: written without printf. */

static void add_uint(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    buf_add(b, digits + at, sizeof digits - at);
}

/* In ms with all three decimals, so that equal times are equal text. */
static void add_ms(struct buf *b, int64_t us)
{
    const char fraction[] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                             (char)('0' + us % 10)};
    add_uint(b, (uint64_t)us / 1000);
    buf_add(b, fraction, sizeof fraction);
}

/* A JSON string. */
static void add_string(struct buf *b, const char *s)
{
    static const char special[] = "\"\\\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                                  "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
    buf_addc(b, '"');
    for (;;) {
        size_t plain = strcspn(s, special);
        buf_add(b, s, plain);
        s += plain;
        if (!*s)
            break;
        if (*s == '"' || *s == '\\')
            buf_addf(b, "\\%c", *s);
        else
            buf_addf(b, "\\u%04x", (unsigned)*s);
        s++;
    }
    buf_addc(b, '"');
}

static void begin(struct replay *rp, const char *name, int64_t now_us)
{
    struct buf *b = &rp->line;
    buf_clear(b);
    buf_adds(b, "{\"ev\":\"");
    buf_adds(b, name);
    buf_adds(b, "\",\"t_ms\":");
    add_ms(b, now_us > rp->epoch_us ? now_us - rp->epoch_us : 0); /* loading comes before the start */
}

static void end(struct replay *rp)
{
    buf_adds(&rp->line, "}\n");
    if (rp->line.failed)
        rp->failed = true;
    else
        fwrite(buf_str(&rp->line), 1, rp->line.len, rp->events); /* replay_flush looks at ferror */
}

static void add_id(struct replay *rp, const char *key, const struct request *r)
{
    buf_addf(&rp->line, ",\"%s\":", key);
    add_string(&rp->line, r->id);
}

/* ---- fields of each type ---- */

static void write_submit(struct replay *rp, const struct sched_event *ev)
{
    buf_addf(&rp->line, ",\"priority\":\"%s\",\"prompt_tokens\":%" PRIu32 ",\"depth\":%" PRIu32,
             prio_name(ev->req->base), ev->req->n_prompt, ev->depth);
}

static void write_reject(struct replay *rp, const struct sched_event *ev)
{
    write_submit(rp, ev);
    buf_addf(&rp->line, ",\"code\":\"%s\"", weft_rc_name(ev->err->code));
}

static void write_admit(struct replay *rp, const struct sched_event *ev)
{
    buf_addf(&rp->line, ",\"effective\":%.4f,\"cached_tokens\":%" PRIu32, ev->effective, ev->cached_tokens);
}

static void write_resume(struct replay *rp, const struct sched_event *ev)
{
    write_admit(rp, ev);
    buf_addf(&rp->line, ",\"restored_blocks\":%" PRIu32 ",\"recompute_tokens\":%" PRIu32, ev->blocks,
             ev->tokens);
}

static void write_preempt(struct replay *rp, const struct sched_event *ev)
{
    add_id(rp, "by", ev->by);
    buf_addf(&rp->line, ",\"mode\":\"%s\",\"blocks\":%" PRIu32, ev->parked ? "park" : "recompute",
             ev->blocks);
}

static void write_finish(struct replay *rp, const struct sched_event *ev)
{
    buf_addf(&rp->line, ",\"reason\":\"%s\",\"tokens\":%" PRIu32, finish_reason_name(ev->req->finish),
             ev->req->n_ids - ev->req->n_prompt);
}

static void write_priority(struct replay *rp, const struct sched_event *ev)
{
    buf_addf(&rp->line, ",\"from\":\"%s\",\"to\":\"%s\"", prio_name(ev->from), prio_name(ev->to));
}

static const struct {
    const char *name;
    void (*fields)(struct replay *rp, const struct sched_event *ev); /* after the id; NULL: no more */
} types[] = {
    [SCHED_SUBMIT] = {"submit", write_submit},    [SCHED_REJECT] = {"reject", write_reject},
    [SCHED_ADMIT] = {"admit", write_admit},       [SCHED_RESUME] = {"resume", write_resume},
    [SCHED_PREEMPT] = {"preempt", write_preempt}, [SCHED_FIRST_TOKEN] = {"first_token", NULL},
    [SCHED_FINISH] = {"finish", write_finish},    [SCHED_CANCEL] = {"cancel", NULL},
    [SCHED_TIMEOUT] = {"timeout", NULL},          [SCHED_PRIORITY] = {"priority", write_priority},
};

/* ---- steps ---- */

static void add_prefills(struct buf *b, const struct plan *p)
{
    const char *comma = "";
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (!p->items[i].prefill)
            continue;
        buf_adds(b, comma);
        buf_adds(b, "{\"id\":");
        add_string(b, p->items[i].req->id);
        buf_adds(b, ",\"tokens\":");
        add_uint(b, p->items[i].n_tokens);
        buf_addc(b, '}');
        comma = ",";
    }
}

static void add_decodes(struct buf *b, const struct plan *p)
{
    const char *comma = "";
    for (uint32_t i = 0; i < p->n_items; i++) {
        if (p->items[i].prefill)
            continue;
        buf_adds(b, comma);
        add_string(b, p->items[i].req->id);
        comma = ",";
    }
}

/* All of a step's requests are of one model. */
static void add_model(struct replay *rp, const struct plan *p)
{
    long i = replay_index_of(rp, p->items[0].req);
    const char *named = i < 0 ? NULL : rp->w->requests[i].entry->model;
    buf_adds(&rp->line, ",\"model\":");
    add_string(&rp->line, named ? named : rp->model);
}

static void write_step(struct replay *rp, const struct sched *s, const struct sched_event *ev)
{
    struct buf *b = &rp->line;
    struct sched_counts c;
    sched_counts(s, &c);
    begin(rp, "step", ev->now_us);
    buf_adds(b, ",\"step\":");
    add_uint(b, ev->plan->step);
    buf_adds(b, ",\"dur_ms\":");
    add_ms(b, ev->dur_us);
    buf_adds(b, ",\"budget\":");
    add_uint(b, ev->plan->budget);
    buf_adds(b, ",\"prefill\":[");
    add_prefills(b, ev->plan);
    buf_adds(b, "],\"decode\":[");
    add_decodes(b, ev->plan);
    buf_addc(b, ']');
    if (rp->several_models)
        add_model(rp, ev->plan);
    buf_addf(b,
             ",\"waiting\":%" PRIu32 ",\"running\":%" PRIu32 ",\"blocks\":{\"total\":%" PRIu32
             ",\"used\":%" PRIu32 ",\"cached\":%" PRIu32 ",\"free\":%" PRIu32 "}",
             c.waiting, c.running, c.blocks_total, c.blocks_used, c.blocks_cached, c.blocks_free);
    end(rp);
}

void replay_write_sched(struct replay *rp, const struct sched *s, const struct sched_event *ev)
{
    unsigned type = (unsigned)ev->type;
    if (!rp->events)
        return;
    if (ev->type == SCHED_STEP) {
        write_step(rp, s, ev);
        return;
    }
    if (type >= sizeof types / sizeof types[0] || !types[type].name)
        return;
    begin(rp, types[type].name, ev->now_us);
    add_id(rp, "id", ev->req);
    if (types[type].fields)
        types[type].fields(rp, ev);
    end(rp);
}

void replay_write_change(struct replay *rp, const char *name, const char *from, const char *to,
                         int64_t now_us)
{
    if (!rp->events)
        return;
    begin(rp, name, now_us);
    buf_addf(&rp->line, ",\"from\":%s,\"to\":%s", from, to);
    end(rp);
}

enum weft_rc replay_flush(struct replay *rp, const char *path, struct weft_err *err)
{
    if (rp->failed)
        return weft_err_nomem(err, "replay", rp->w->n_requests * sizeof *rp->outcome);
    if (!rp->events || (!fflush(rp->events) && !ferror(rp->events)))
        return WEFT_OK;
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s: events can't be written: %s", path, strerror(errno));
    weft_err_str(err, "where", "events");
    return WEFT_INTERNAL_ERROR;
}
