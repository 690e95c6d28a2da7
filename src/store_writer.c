/*
 * Threads. Everything in `struct store_writer` under "the writer's" belongs to the writer thread (without one,
 * to the caller); what is under "shared" is read and written with `lock` held, which is never held across a
 * system call on a file. Operations travel by the channel and belong to whoever has them.
 */
#include "src/store_writer.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/chan.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

enum op_type { OP_TAKE, OP_APPEND, OP_REPLACE, OP_REMOVE, OP_RELEASE, OP_DRAIN, OP_END };

struct op {
    struct chan_node node; /* first: a node is its operation */
    enum op_type type;
    struct store_held *held;
    struct buf bytes;
    bool sync;
};

struct store_held {
    struct store_file file;
    struct store_held *next;
    struct op *queue, **queue_end; /* appends and replacements, not yet in the file's tail */
    bool ending;                   /* removed or released: goes once nothing is due */
    bool failed;                   /* its last flush failed */
    int64_t retry_us;              /* then: not before this */
    struct op take, end;           /* so that neither needs memory */
};

struct store_writer {
    bool threaded;
    int64_t retry_us;
    pthread_t thread;
    struct chan ops;

    /* the writer's */
    struct store_dir dir;
    struct store_held *files;
    bool force, end;

    /* shared */
    pthread_mutex_t lock;
    pthread_cond_t done_changed;
    uint64_t posted, done; /* operations */
    bool offline, offline_told, ended;
    struct weft_err why;
    int event_fd;
};

/* --- the writer's side --- */

static void set_offline(struct store_writer *w, bool offline, const struct weft_err *why)
{
    pthread_mutex_lock(&w->lock);
    bool changed = w->offline != offline;
    w->offline = offline;
    if (why)
        w->why = *why;
    pthread_mutex_unlock(&w->lock);
    if (!changed)
        return;
    log_msg(offline ? LOG_WARN : LOG_INFO, "sessions: %s",
            offline ? why->message : "everything is saved again");
    const uint64_t one = 1;
    if (write(w->event_fd, &one, sizeof one) != (ssize_t)sizeof one)
        log_msg(LOG_DEBUG, "sessions: eventfd: %s", strerror(errno)); /* the news waits for the next poll */
}

static void free_op(struct op *op)
{
    buf_free(&op->bytes);
    mem_free(op);
}

static void enqueue(struct store_held *h, struct op *op)
{
    op->node.next = NULL;
    *h->queue_end = op;
    h->queue_end = (struct op **)&op->node.next;
}

static void dequeue(struct store_held *h)
{
    struct op *op = h->queue;
    h->queue = (struct op *)op->node.next;
    if (!h->queue)
        h->queue_end = &h->queue;
    free_op(op);
}

static void run_op(struct store_writer *w, struct op *op)
{
    struct store_held *h = op->held;
    switch (op->type) {
    case OP_TAKE:
        h->queue_end = &h->queue;
        h->next = w->files;
        w->files = h;
        break;
    case OP_APPEND:
    case OP_REPLACE: enqueue(h, op); break;
    case OP_REMOVE:
        while (h->queue)
            dequeue(h);
        store_file_remove(&h->file);
        h->ending = true;
        break;
    case OP_RELEASE: h->ending = true; break;
    case OP_DRAIN:
    case OP_END:
        w->force = true;
        w->end |= op->type == OP_END;
        free_op(op);
        break;
    }
}

/* Puts what was handed over into the file's tail; what there is no memory for stays, in order. */
static enum weft_rc take_queue(struct store_held *h, struct weft_err *err)
{
    while (h->queue) {
        const struct buf *bytes = &h->queue->bytes;
        bool kept = h->queue->type == OP_REPLACE
                        ? store_file_replace(&h->file, buf_str(bytes), bytes->len)
                        : store_file_append(&h->file, buf_str(bytes), bytes->len, h->queue->sync);
        if (!kept)
            return weft_err_nomem(err, "records of a session", bytes->len);
        dequeue(h);
    }
    return WEFT_OK;
}

/* One file. False: it could not be written. */
static bool flush_one(struct store_writer *w, struct store_held *h, int64_t now, struct weft_err *err)
{
    if (h->failed && !w->force && now < h->retry_us)
        return false;
    enum weft_rc rc = take_queue(h, err);
    if ((w->force || h->ending) && h->file.tail.len)
        h->file.sync_due = true;
    if (rc == WEFT_OK && store_file_due(&h->file))
        rc = store_dir_open(&w->dir, err);
    if (rc == WEFT_OK && store_file_due(&h->file))
        rc = store_file_flush(&h->file, &w->dir, err);
    h->failed = rc != WEFT_OK;
    h->retry_us = now + w->retry_us;
    return rc == WEFT_OK;
}

/* Writes what is due; forgets files that are done with. */
static void flush_all(struct store_writer *w)
{
    struct weft_err err = {.code = WEFT_OK};
    int64_t now = clock_now_us();
    bool all = true;
    for (struct store_held **at = &w->files, *h; (h = *at);) {
        bool done = flush_one(w, h, now, &err);
        all &= done;
        if ((done && h->ending) || w->end) {
            *at = h->next;
            while (h->queue)
                dequeue(h);
            store_file_close(&h->file);
            mem_free(h);
        } else {
            at = &h->next;
        }
    }
    w->force = false;
    if (all)
        set_offline(w, false, NULL);
    else if (err.code != WEFT_OK)
        set_offline(w, true, &err);
}

/* How long the writer may sleep: until a failed file is to be tried again. */
static int64_t retry_wait(const struct store_writer *w)
{
    int64_t wait = -1, now = clock_now_us();
    for (const struct store_held *h = w->files; h; h = h->next)
        if (h->failed && (wait < 0 || h->retry_us - now < wait))
            wait = h->retry_us > now ? h->retry_us - now : 0;
    return wait;
}

static void *writer_main(void *arg)
{
    struct store_writer *w = arg;
    while (!w->end) {
        uint64_t n = 0;
        for (struct chan_node *node = chan_take_all(&w->ops), *next; node; node = next, n++) {
            next = node->next;
            run_op(w, (struct op *)node);
        }
        flush_all(w);
        pthread_mutex_lock(&w->lock);
        w->done += n;
        w->ended = w->end;
        pthread_cond_broadcast(&w->done_changed);
        pthread_mutex_unlock(&w->lock);
        if (!w->end)
            chan_wait(&w->ops, retry_wait(w));
    }
    return NULL;
}

/* --- the owner's side --- */

static uint64_t post(struct store_writer *w, struct op *op)
{
    if (!w->threaded) {
        run_op(w, op);
        flush_all(w);
        return ++w->posted;
    }
    pthread_mutex_lock(&w->lock);
    uint64_t number = ++w->posted;
    pthread_mutex_unlock(&w->lock);
    chan_push(&w->ops, &op->node);
    return number;
}

/* Takes the bytes. */
static struct op *new_op(enum op_type type, struct store_held *h, struct buf *bytes)
{
    struct op *op = mem_calloc(1, sizeof *op);
    if (op)
        *op = (struct op){.type = type, .held = h, .bytes = bytes ? *bytes : (struct buf)BUF_INIT};
    else if (bytes)
        buf_free(bytes);
    if (bytes)
        *bytes = (struct buf)BUF_INIT;
    return op;
}

struct store_held *store_writer_take(struct store_writer *w, struct store_file *file)
{
    struct store_held *h = mem_calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->file = *file;
    h->take = (struct op){.type = OP_TAKE, .held = h};
    file->fd = -1;
    file->tail = (struct buf)BUF_INIT;
    post(w, &h->take);
    return h;
}

bool store_writer_append(struct store_writer *w, struct store_held *h, struct buf *bytes, bool sync)
{
    struct op *op = new_op(OP_APPEND, h, bytes);
    if (!op)
        return false;
    op->sync = sync;
    post(w, op);
    return true;
}

bool store_writer_replace(struct store_writer *w, struct store_held *h, struct buf *bytes)
{
    struct op *op = new_op(OP_REPLACE, h, bytes);
    if (op)
        post(w, op);
    return op != NULL;
}

static void end_file(struct store_writer *w, struct store_held *h, enum op_type type)
{
    h->end = (struct op){.type = type, .held = h};
    post(w, &h->end);
}

void store_writer_remove(struct store_writer *w, struct store_held *h)
{
    end_file(w, h, OP_REMOVE);
}

void store_writer_release(struct store_writer *w, struct store_held *h)
{
    end_file(w, h, OP_RELEASE);
}

static struct timespec deadline(int timeout_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

/* Waits for operation `number`. Whether everything is written then. */
static bool wait_for(struct store_writer *w, uint64_t number, int timeout_ms)
{
    struct timespec until = deadline(timeout_ms);
    pthread_mutex_lock(&w->lock);
    int rc = 0;
    while (w->threaded && w->done < number && rc == 0)
        rc = pthread_cond_timedwait(&w->done_changed, &w->lock, &until);
    bool all = rc == 0 && !w->offline;
    pthread_mutex_unlock(&w->lock);
    return all;
}

bool store_writer_drain(struct store_writer *w, int timeout_ms)
{
    struct op *op = new_op(OP_DRAIN, NULL, NULL);
    return op && wait_for(w, post(w, op), timeout_ms);
}

bool store_writer_news(struct store_writer *w, struct store_news *out)
{
    uint64_t count;
    while (read(w->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&w->lock);
    bool news = w->offline != w->offline_told;
    w->offline_told = w->offline;
    *out = (struct store_news){.offline = w->offline, .why = w->why};
    pthread_mutex_unlock(&w->lock);
    return news;
}

int store_writer_fd(const struct store_writer *w)
{
    return w->event_fd;
}

/* --- start and end --- */

static void free_writer(struct store_writer *w)
{
    if (w->event_fd >= 0)
        close(w->event_fd);
    store_dir_close(&w->dir);
    mem_free(w);
}

enum weft_rc store_writer_create(const char *path, const struct store_io *io, int64_t retry_ms, bool threaded,
                                 struct store_writer **out, struct weft_err *err)
{
    struct store_writer *w = mem_calloc(1, sizeof *w);
    if (!w)
        return weft_err_nomem(err, "the session writer", sizeof *w);
    w->threaded = threaded;
    w->retry_us = retry_ms * 1000;
    w->dir = (struct store_dir){io, mem_strdup(path), -1};
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!w->dir.path || w->event_fd < 0) {
        free_writer(w);
        return weft_err_nomem(err, "the session writer", strlen(path) + 1);
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->done_changed, NULL);
    int rc = threaded && chan_init(&w->ops, false) != 0 ? errno : 0;
    if (threaded && rc == 0) {
        rc = pthread_create(&w->thread, NULL, writer_main, w);
        if (rc != 0)
            chan_deinit(&w->ops);
    }
    if (rc != 0) {
        free_writer(w);
        weft_err_set(err, WEFT_INTERNAL_ERROR, "the session writer's thread: %s", strerror(rc));
        weft_err_str(err, "where", "store_writer_create");
        return WEFT_INTERNAL_ERROR;
    }
    *out = w;
    return WEFT_OK;
}

bool store_writer_destroy(struct store_writer *w, int timeout_ms)
{
    struct op *op = new_op(OP_END, NULL, NULL);
    if (!op)
        return false;
    bool all = wait_for(w, post(w, op), timeout_ms);
    pthread_mutex_lock(&w->lock);
    bool ended = w->ended || !w->threaded;
    pthread_mutex_unlock(&w->lock);
    if (!ended)
        return false; /* the disk hangs: the thread keeps what it uses */
    if (w->threaded) {
        pthread_join(w->thread, NULL);
        chan_deinit(&w->ops);
    }
    pthread_cond_destroy(&w->done_changed);
    pthread_mutex_destroy(&w->lock);
    free_writer(w);
    return all;
}
