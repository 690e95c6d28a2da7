/*
 * What other threads may ask of the engine, as commands in a queue; the registry of live ids, which both sides use.
 *
 * The order of commands is kept, so a cancel that follows a submit finds it. Before READY requests wait here,
 * in the list of live tickets; a cancel ends them at once.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/engine_internal.h"

enum command_type {
    CMD_SUBMIT,
    CMD_CANCEL,
    CMD_PRIORITY,
    CMD_FREEZE,
    CMD_STEP,
    CMD_CLOSE_INBOX,
    CMD_MODEL,
    CMD_COUNT
};

struct command {
    struct chan_node node; /* first */
    enum command_type type;
    char id[REQ_ID_MAX];
    struct ticket *ticket;
    struct engine_inbox *inbox; /* a reference */
    enum prio priority;
    bool frozen;
    struct engine_model_config *model;
};

/* ---- registry: id → ticket ---- */

static size_t bucket_of(const struct engine *e, const char *id)
{
    return mix64(fnv1a64(FNV1A64_INIT, id, strlen(id))) & (e->n_buckets - 1);
}

static struct ticket *registry_find(const struct engine *e, const char *id)
{
    struct ticket *t = e->n_buckets ? e->bucket[bucket_of(e, id)] : NULL;
    while (t && strcmp(t->rq.id, id) != 0)
        t = t->bucket_next;
    return t;
}

/* Doubles the table. False when out of memory: the old one then serves on, if there is one. */
static bool registry_grow(struct engine *e)
{
    size_t n = e->n_buckets ? e->n_buckets * 2 : 256, old_n = e->n_buckets;
    struct ticket **old = e->bucket, **bucket = mem_calloc(n, sizeof *bucket);
    if (!bucket)
        return old != NULL;
    e->bucket = bucket;
    e->n_buckets = n;
    for (size_t i = 0; i < old_n; i++) {
        for (struct ticket *t = old[i], *next; t; t = next) {
            struct ticket **head = &bucket[bucket_of(e, t->rq.id)];
            next = t->bucket_next;
            t->bucket_next = *head;
            *head = t;
        }
    }
    mem_free(old);
    return true;
}

/* Registers the ticket by its id, making one up where it has none. */
static enum weft_rc registry_add(struct engine *e, struct ticket *t, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    pthread_mutex_lock(&e->registry_lock);
    if (e->n_registered >= e->n_buckets && !registry_grow(e)) {
        rc = weft_err_nomem(err, "engine_submit", 256 * sizeof *e->bucket);
        goto out;
    }
    if (!t->rq.id[0]) {
        do
            snprintf(t->rq.id, sizeof t->rq.id, "r%llu", (unsigned long long)++e->next_id);
        while (registry_find(e, t->rq.id));
    } else if (registry_find(e, t->rq.id)) {
        rc = weft_err_set(err, WEFT_INVALID_REQUEST, "id \"%s\" is that of a request still under way",
                          t->rq.id);
        weft_err_str(err, "field", "id");
        weft_err_str(err, "value", t->rq.id);
        weft_err_str(err, "limit", "unique among live requests");
        goto out;
    }
    struct ticket **head = &e->bucket[bucket_of(e, t->rq.id)];
    t->bucket_next = *head;
    *head = t;
    e->n_registered++;
out:
    pthread_mutex_unlock(&e->registry_lock);
    return rc;
}

static void registry_remove(struct engine *e, struct ticket *t)
{
    pthread_mutex_lock(&e->registry_lock);
    struct ticket **at = &e->bucket[bucket_of(e, t->rq.id)];
    while (*at != t)
        at = &(*at)->bucket_next;
    *at = t->bucket_next;
    e->n_registered--;
    pthread_mutex_unlock(&e->registry_lock);
}

void engine_registry_free(struct engine *e)
{
    mem_free(e->bucket);
    e->bucket = NULL;
    e->n_buckets = 0;
}

/* ---- any thread ---- */

static struct command *command_create(enum command_type type)
{
    struct command *c = mem_calloc(1, sizeof *c);
    if (c)
        c->type = type;
    else
        log_msg(LOG_ERROR, "out of memory: a command for the engine is lost");
    return c;
}

struct command *command_create_close(struct engine_inbox *in)
{
    struct command *c = command_create(CMD_CLOSE_INBOX);
    if (c)
        c->inbox = in;
    return c;
}

static void send_command(struct engine *e, struct command *c)
{
    chan_push(&e->commands, &c->node);
}

enum weft_rc engine_submit(struct engine *e, struct engine_inbox *in, const struct engine_request *rq,
                           char *id_out, struct weft_err *err)
{
    struct ticket *t;
    enum weft_rc rc = ticket_create(rq, in, &t, err);
    if (rc)
        return rc;
    struct command *c = command_create(CMD_SUBMIT);
    rc = c ? registry_add(e, t, err) : weft_err_nomem(err, "engine_submit", sizeof *c);
    if (rc) {
        ticket_destroy(t);
        mem_free(c);
        return rc;
    }
    if (id_out)
        memcpy(id_out, t->rq.id, REQ_ID_MAX); /* before the push: from then on the ticket is the engine's */
    c->ticket = t;
    send_command(e, c);
    return WEFT_OK;
}

static void send_for_id(struct engine *e, enum command_type type, const char *id, enum prio p)
{
    if (strlen(id) >= REQ_ID_MAX)
        return; /* no request has such an id */
    struct command *c = command_create(type);
    if (!c)
        return;
    memcpy(c->id, id, strlen(id) + 1);
    c->priority = p;
    send_command(e, c);
}

void engine_cancel(struct engine *e, const char *id)
{
    send_for_id(e, CMD_CANCEL, id, PRIO_NORMAL);
}

void engine_set_priority(struct engine *e, const char *id, enum prio p)
{
    if (p >= PRIO_CRITICAL && p <= PRIO_LOW)
        send_for_id(e, CMD_PRIORITY, id, p);
}

void engine_freeze(struct engine *e, bool frozen)
{
    struct command *c = command_create(CMD_FREEZE);
    if (!c)
        return;
    c->frozen = frozen;
    send_command(e, c);
}

void engine_step(struct engine *e)
{
    struct command *c = command_create(CMD_STEP);
    if (c)
        send_command(e, c);
}

enum weft_rc engine_configure_model(struct engine *e, const struct engine_model_config *m,
                                    struct weft_err *err)
{
    if (!m->name[0]) {
        weft_err_set(err, WEFT_INVALID_REQUEST, "a model needs a name");
        weft_err_str(err, "field", "name");
        weft_err_str(err, "value", "");
        weft_err_str(err, "limit", "a name");
        return WEFT_INVALID_REQUEST;
    }
    struct command *c = command_create(CMD_MODEL);
    if (c && (c->model = (void *)mem_memdup(m, sizeof *m))) {
        send_command(e, c);
        return WEFT_OK;
    }
    mem_free(c);
    return weft_err_nomem(err, "engine_configure_model", sizeof *m);
}

void engine_inbox_close(struct engine_inbox *in)
{
    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    struct engine *e = in->engine;
    in->closed = true;
    pthread_mutex_unlock(&in->lock);
    if (e)
        send_command(e, in->close); /* the reader's reference goes along */
    else
        inbox_unref(in);
}

/* ---- the engine thread ---- */

static void link_live(struct engine *e, struct ticket *t)
{
    t->prev = e->live_tail;
    t->next = NULL;
    if (e->live_tail)
        e->live_tail->next = t;
    else
        e->live = t;
    e->live_tail = t;
}

void engine_forget(struct engine *e, struct ticket *t)
{
    registry_remove(e, t);
    if (t->prev)
        t->prev->next = t->next;
    else
        e->live = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        e->live_tail = t->prev;
}

/* What it was asked of, by name. */
static const char *wanted_model(const struct engine *e, const struct ticket *t)
{
    return t->model && *t->model ? t->model : e->units[0].name;
}

void engine_refuse(struct engine *e, struct ticket *t, const struct weft_err *why)
{
    engine_forget(e, t);
    e->rejected++;
    ticket_send_reject(t, why, wanted_model(e, t), engine_now(e));
    ticket_destroy(t);
}

/* Ends one that the scheduler doesn't know yet. */
static void end_waiting(struct engine *e, struct ticket *t)
{
    engine_forget(e, t);
    ticket_send_finish(t, wanted_model(e, t), engine_now(e));
    ticket_destroy(t);
}

/* Finds whose scheduler it goes to. */
static enum weft_rc choose_unit(struct engine *e, struct ticket *t, struct weft_err *err)
{
    struct buf loaded = BUF_INIT;
    const char *name = wanted_model(e, t);
    struct unit *u = unit_find(e, t->model);
    if (u && u->state == ENGINE_READY) {
        t->unit = u;
        return WEFT_OK;
    }
    if (u) {
        weft_err_set(err, WEFT_MODEL_NOT_LOADED, "model \"%s\" couldn't be loaded: %s", name,
                     u->failure.code ? u->failure.message : "the engine is stopping");
    } else {
        for (uint32_t i = 0; i < e->n_units; i++)
            buf_addf(&loaded, "%s%s", i ? ", " : "", e->units[i].name);
        weft_err_set(err, WEFT_MODEL_NOT_LOADED, "model \"%s\" isn't loaded; %s %s", name, buf_str(&loaded),
                     e->n_units > 1 ? "are" : "is");
    }
    weft_err_str(err, "model", name);
    buf_free(&loaded);
    return WEFT_MODEL_NOT_LOADED;
}

/* Refused before the scheduler saw it: told as the scheduler would. */
static void observe_refusal(struct engine *e, struct ticket *t, const struct weft_err *why)
{
    const struct unit *u = t->unit ? t->unit : &e->units[0];
    struct sched_counts c;
    sched_counts(u->sched, &c);
    if (!t->rq.n_prompt)
        t->rq.n_prompt = (uint32_t)t->n_raw_ids; /* not prepared yet; of a text the length is unknown */
    struct sched_event ev = {
        .type = SCHED_REJECT, .now_us = engine_now(e), .req = &t->rq, .depth = c.depth, .err = why};
    engine_trace(e, &ev);
    if (e->cfg.observer && e->cfg.observer->sched)
        e->cfg.observer->sched(e->cfg.observer->ctx, u->sched, &ev);
}

/* Hands a ticket to the scheduler, or refuses it. */
static void accept_ticket(struct engine *e, struct ticket *t)
{
    struct weft_err err = {0};
    enum weft_rc rc = choose_unit(e, t, &err);
    if (!rc)
        rc = ticket_prepare(t, t->unit->model, &t->unit->exec->info, &err);
    if (!rc) {
        if (!t->rq.timeout_us)
            t->rq.timeout_us = e->cfg.queue_timeout_ms * 1000;
        t->accepted = true;
        engine_time_sched(e, true);
        rc = sched_submit(t->unit->sched, &t->rq, engine_now(e), &err);
        engine_time_sched(e, false);
    } else {
        observe_refusal(e, t, &err);
    }
    if (rc) {
        t->accepted = false;
        engine_refuse(e, t, &err);
    }
    engine_reap(e); /* a full queue may have dropped another */
}

void engine_accept_waiting(struct engine *e)
{
    for (struct ticket *t = e->live, *next; t; t = next) {
        next = t->next;
        if (!t->accepted)
            accept_ticket(e, t);
    }
}

void engine_refuse_waiting(struct engine *e, const struct weft_err *why)
{
    for (struct ticket *t = e->live, *next; t; t = next) {
        next = t->next;
        if (!t->accepted)
            engine_refuse(e, t, why);
    }
}

static void do_submit(struct engine *e, struct command *c)
{
    struct ticket *t = c->ticket;
    struct weft_err why;
    t->arrival_us = engine_time_of(e, t->submitted_real_us);
    link_live(e, t);
    switch ((enum engine_state)atomic_load(&e->state)) {
    case ENGINE_READY: accept_ticket(e, t); break;
    case ENGINE_FAILED:
    case ENGINE_STOPPING:
    case ENGINE_STOPPED:
        weft_err_set(&why, WEFT_MODEL_NOT_LOADED, "%s",
                     e->failure.code ? e->failure.message : "the engine is stopping");
        weft_err_str(&why, "model", wanted_model(e, t));
        engine_refuse(e, t, &why);
        break;
    default: /* it waits for READY */ break;
    }
}

/* The live ticket of that id, or NULL. It stays: only this thread destroys tickets. */
static struct ticket *find_ticket(struct engine *e, const char *id)
{
    pthread_mutex_lock(&e->registry_lock);
    struct ticket *t = registry_find(e, id);
    pthread_mutex_unlock(&e->registry_lock);
    /* Registered, but its command still to come: then this one came first, from another thread, and meant an
     * earlier request. */
    return t && (t->prev || e->live == t) ? t : NULL;
}

static void cancel_ticket(struct engine *e, struct ticket *t)
{
    if (t->accepted)
        sched_cancel(t->unit->sched, &t->rq, engine_now(e));
    else
        end_waiting(e, t);
}

static void do_cancel(struct engine *e, struct command *c)
{
    struct ticket *t = find_ticket(e, c->id);
    if (t)
        cancel_ticket(e, t);
    engine_reap(e);
}

static void do_priority(struct engine *e, struct command *c)
{
    struct ticket *t = find_ticket(e, c->id);
    if (t && t->accepted)
        sched_set_priority(t->unit->sched, &t->rq, c->priority, engine_now(e));
    else if (t)
        t->rq.base = c->priority;
}

static void do_freeze(struct engine *e, struct command *c)
{
    engine_set_frozen(e, c->frozen);
}

static void do_step(struct engine *e, struct command *c)
{
    (void)c;
    e->steps_due += e->frozen;
}

static void do_close_inbox(struct engine *e, struct command *c)
{
    struct engine_inbox *in = c->inbox;
    pthread_mutex_lock(&e->inboxes_lock);
    if (in->prev)
        in->prev->next = in->next;
    else
        e->inboxes = in->next;
    if (in->next)
        in->next->prev = in->prev;
    pthread_mutex_unlock(&e->inboxes_lock);
    for (struct ticket *t = e->live, *next; t; t = next) {
        next = t->next;
        if (t->inbox == in)
            cancel_ticket(e, t);
    }
    engine_reap(e);
    in->close = NULL; /* this command, which is freed after this */
    inbox_unref(in);  /* the list's */
    inbox_unref(in);  /* the reader's */
}

static void do_model(struct engine *e, struct command *c)
{
    struct unit *u = unit_configure(e, c->model);
    if (u && u->state == ENGINE_INITIALIZING && atomic_load(&e->state) == ENGINE_READY)
        unit_bring_up(u);
    mem_free(c->model);
}

void engine_take_commands(struct engine *e)
{
    static void (*const handlers[CMD_COUNT])(struct engine *, struct command *) = {
        [CMD_SUBMIT] = do_submit, [CMD_CANCEL] = do_cancel, [CMD_PRIORITY] = do_priority,
        [CMD_FREEZE] = do_freeze, [CMD_STEP] = do_step,     [CMD_CLOSE_INBOX] = do_close_inbox,
        [CMD_MODEL] = do_model,
    };
    for (struct chan_node *n = chan_take_all(&e->commands), *next; n; n = next) {
        next = n->next;
        struct command *c = (struct command *)n;
        handlers[c->type](e, c);
        mem_free(c);
    }
}
