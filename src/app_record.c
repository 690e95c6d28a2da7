#include "src/app_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "src/app_actions.h"

enum { PATH_BYTES = 1024, NAME_BYTES = 64 };

/* A request, and what was done to it. */
struct recorded {
    char id[REQ_ID_MAX]; /* the engine's */
    uint32_t tag;
    char *entry;           /* the file's, without its closing brace; mem_free */
    int64_t cancel_us;     /* of the recording's time; -1: never */
    struct buf priorities; /* changes, as the file has them */
};

struct app_record {
    char path[PATH_BYTES], name[NAME_BYTES];
    int64_t start_us; /* of app_running_us; -1: nothing has happened yet */
    struct recorded *requests;
    size_t n, cap;
    size_t lost; /* requests that there was no memory for */
};

/* --- while it happens --- */

/* Now, on the recording's clock, which stands still while the engine does and begins with the first request. */
static int64_t now_of(struct app *a)
{
    int64_t now = app_running_us(a, clock_now_us());
    if (a->record->start_us < 0)
        a->record->start_us = now;
    return now - a->record->start_us;
}

static void add_ms(struct buf *b, const char *key, int64_t us)
{
    buf_addf(b, "%s: %" PRId64 ".%03d", key, us / 1000, (int)(us % 1000));
}

/* A text that isn't NUL-terminated, as YAML. */
static void add_text(struct buf *b, const char *text, size_t n)
{
    char *copy = mem_memdup(text, n);
    if (copy)
        config_print_word(copy, b);
    else
        b->failed = true;
    mem_free(copy);
}

static void add_prompt(struct buf *b, const struct engine_request *rq)
{
    if (rq->n_ids) {
        for (size_t i = 0; i < rq->n_ids; i++)
            buf_addf(b, "%s%" PRIu32, i ? ", " : ", ids: [", rq->ids[i]);
        buf_addc(b, ']');
    } else if (rq->messages) {
        buf_adds(b, ", messages: [");
        for (size_t i = 0; i < rq->n_messages; i++) {
            buf_addf(b, "%s{role: %s, content: ", i ? ", " : "", rq->messages[i].role);
            add_text(b, rq->messages[i].content, rq->messages[i].content_len);
            buf_addc(b, '}');
        }
        buf_addc(b, ']');
    } else {
        buf_adds(b, ", text: ");
        add_text(b, rq->prompt, rq->prompt_len);
    }
}

static void add_word(struct buf *b, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    buf_addf(b, ", %s: ", key);
    config_print_word(value, b);
}

/* How it samples, all of it: the configuration that the file is played with may be another. */
static void add_sampling(struct buf *b, const struct sampling *s)
{
    const struct {
        const char *key;
        double value;
    } reals[] = {
        {"temperature", s->temperature},
        {"top_p", s->top_p},
        {"min_p", s->min_p},
        {"repeat_penalty", s->repeat_penalty},
        {"presence_penalty", s->presence_penalty},
        {"frequency_penalty", s->frequency_penalty},
    };
    buf_addf(b, ", seed: %" PRId64 ", top_k: %" PRIu32, s->seed, s->top_k);
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        buf_addf(b, ", %s: ", reals[i].key);
        config_print_real(reals[i].value, b);
    }
}

/* The request by that id, which is likely a late one; NULL: it was submitted before the recording began. */
static struct recorded *find(const struct app_record *r, const char *id)
{
    for (size_t i = r->n; i-- > 0;)
        if (strcmp(r->requests[i].id, id) == 0)
            return &r->requests[i];
    return NULL;
}

void app_record_submit(struct app *a, const struct engine_request *rq, const char *id)
{
    struct app_record *r = a->record;
    struct buf b = BUF_INIT;
    if (!r)
        return;
    struct recorded made = {.tag = rq->tag, .cancel_us = -1, .priorities = BUF_INIT};
    const struct recorded *forked = rq->fork_of ? find(r, rq->fork_of) : NULL;
    snprintf(made.id, sizeof made.id, "%s", id);
    buf_addf(&b, "{id: s%u-%s, ", rq->tag, id);
    add_ms(&b, "at_ms", now_of(a));
    buf_addf(&b, ", priority: %s, max_tokens: %u, ignore_eos: %s", prio_name(rq->priority), rq->max_tokens,
             rq->ignore_eos ? "true" : "false");
    add_sampling(&b, &rq->sampling);
    if (forked)
        buf_addf(&b, ", fork_of: s%u-%s", forked->tag, forked->id);
    if (!rq->stream)
        buf_adds(&b, ", stream: false");
    if (rq->not_preemptible)
        buf_adds(&b, ", preemptible: false");
    if (rq->timeout_ms)
        buf_addf(&b, ", timeout_ms: %" PRId64, rq->timeout_ms);
    add_word(&b, "model", rq->model);
    add_word(&b, "salt", rq->salt);
    add_prompt(&b, rq);
    made.entry = buf_take(&b, NULL);
    if (made.entry && mem_grow(&r->requests, &r->cap, r->n + 1, sizeof *r->requests) == 0) {
        r->requests[r->n++] = made;
        return;
    }
    buf_free(&b);
    mem_free(made.entry);
    r->lost++;
}

void app_record_cancel(struct app *a, const char *id)
{
    struct recorded *q = a->record ? find(a->record, id) : NULL;
    if (q && q->cancel_us < 0)
        q->cancel_us = now_of(a);
}

void app_record_priority(struct app *a, const char *id, enum prio to)
{
    struct recorded *q = a->record ? find(a->record, id) : NULL;
    if (!q)
        return;
    buf_adds(&q->priorities, q->priorities.len ? ", {" : ", set_priority: [{");
    add_ms(&q->priorities, "at_ms", now_of(a));
    buf_addf(&q->priorities, ", to: %s}", prio_name(to));
}

/* --- the file --- */

/* Settings that shape what happens; models, devices and the screen aren't the workload's. */
static bool is_shaping(const char *path)
{
    static const char *const sections[] = {"kv.", "scheduler.", "batching.", "queue.", "sampling."};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (strncmp(path, sections[i], strlen(sections[i])) == 0)
            return true;
    return false;
}

static void add_settings(const struct weft_config *cfg, struct buf *b)
{
    size_t n, given = 0;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n; i++) {
        if (!cfg->origin[i].source || !is_shaping(keys[i].path))
            continue;
        json_t *value = config_json(cfg, &keys[i]);
        char *word = json_dumps(value, JSON_ENCODE_ANY);
        buf_addf(b, "%s%s: %s", given++ ? ", " : "set: {", keys[i].path, word ? word : "");
        b->failed = b->failed || !word;
        free(word);
        json_decref(value);
    }
    if (given)
        buf_adds(b, "}\n");
}

static void add_file(const struct app *a, struct buf *b)
{
    const struct app_record *r = a->record;
    buf_adds(b, "# Recorded in weft's console; weft replay plays it again.\nname: ");
    config_print_word(r->name, b);
    buf_addc(b, '\n');
    add_settings(a->cfg, b);
    buf_adds(b, "requests:\n");
    for (size_t i = 0; i < r->n; i++) {
        const struct recorded *q = &r->requests[i];
        buf_addf(b, "  - %s", q->entry);
        if (q->priorities.len)
            buf_addf(b, "%s]", buf_str(&q->priorities));
        if (q->cancel_us >= 0) {
            buf_adds(b, ", ");
            add_ms(b, "cancel_at_ms", q->cancel_us);
        }
        buf_adds(b, "}\n");
    }
}

static bool write_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Writes the file, which mustn't be there yet: 0600, since prompts are in it. */
static enum weft_rc write_file(const struct app *a, struct weft_err *err)
{
    const struct app_record *r = a->record;
    struct buf text = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    add_file(a, &text);
    if (text.failed) {
        buf_free(&text);
        return weft_err_nomem(err, "record", text.len);
    }
    int fd = open(r->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool made = fd >= 0, written = made && write_all(fd, &text);
    int problem = errno;
    if (made && close(fd) != 0 && written) {
        written = false;
        problem = errno;
    }
    if (!written) {
        if (made)
            unlink(r->path); /* half of it is of no use, and would be in the way of another try */
        rc = weft_err_set(err, WEFT_FILE_INVALID, "%s: %s", r->path, strerror(problem));
        weft_err_str(err, "path", r->path);
    }
    buf_free(&text);
    return rc;
}

static void drop(struct app *a)
{
    struct app_record *r = a->record;
    for (size_t i = 0; i < r->n; i++) {
        mem_free(r->requests[i].entry);
        buf_free(&r->requests[i].priorities);
    }
    mem_free(r->requests);
    mem_free(r);
    a->record = NULL;
}

/* --- start and stop --- */

/* Where it goes: the path given, or a name of its time in the current directory. False: too long. */
static bool set_path(struct app_record *r, const char *path)
{
    const char *home = getenv("HOME");
    int n;
    if (!path || !*path) {
        time_t now = (time_t)(clock_unix_ms() / 1000);
        struct tm local;
        char stamp[32];
        localtime_r(&now, &local);
        strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
        n = snprintf(r->path, sizeof r->path, "weft-%s.yaml", stamp);
    } else if (strncmp(path, "~/", 2) == 0 && home && *home == '/') {
        n = snprintf(r->path, sizeof r->path, "%s%s", home, path + 1);
    } else {
        n = snprintf(r->path, sizeof r->path, "%s", path);
    }
    if (n >= (int)sizeof r->path)
        return false;
    const char *base = strrchr(r->path, '/');
    base = base ? base + 1 : r->path;
    snprintf(r->name, sizeof r->name, "%.*s", (int)strcspn(base, "."), base);
    if (!*r->name)
        snprintf(r->name, sizeof r->name, "recorded");
    return true;
}

static void begin(struct app *a, const char *path)
{
    struct app_record *r = mem_calloc(1, sizeof *r);
    if (!r) {
        app_toast(a, TOAST_ERROR, "out of memory for a recording");
        return;
    }
    r->start_us = -1;
    if (!set_path(r, path)) {
        app_toast(a, TOAST_ERROR, "/record: a path of %zu bytes, the limit is %d", strlen(path),
                  PATH_BYTES - 1);
        mem_free(r);
    } else if (access(r->path, F_OK) == 0) {
        app_toast(a, TOAST_ERROR, "/record: %.200s is there already", r->path);
        mem_free(r);
    } else {
        a->record = r;
        app_toast(a, TOAST_INFO, "recording; /record again stops and writes %.200s", r->path);
    }
}

/* Stops. What can't be written isn't lost: the recording goes on, and another path may do. */
static void end(struct app *a, const char *path)
{
    struct app_record *r = a->record;
    struct weft_err err;
    if (!r->n) {
        app_toast(a, TOAST_INFO, "nothing was asked while recording, so there is no file");
        drop(a);
        return;
    }
    if (path && *path && !set_path(r, path)) {
        app_toast(a, TOAST_ERROR, "/record: a path of %zu bytes, the limit is %d", strlen(path),
                  PATH_BYTES - 1);
        return;
    }
    if (write_file(a, &err) != WEFT_OK) {
        app_toast(a, TOAST_ERROR, "%s; still recording: /record PATH writes elsewhere", err.message);
        return;
    }
    if (r->lost)
        session_note(app_session(a), "%zu requests are missing from the recording: out of memory", r->lost);
    session_note(app_session(a), "%zu request%s recorded: %s. weft replay plays it again.", r->n,
                 r->n == 1 ? "" : "s", r->path);
    drop(a);
}

void act_record(struct app *a, const char *args)
{
    if (a->record)
        end(a, args);
    else
        begin(a, args);
}

void app_record_close(struct app *a)
{
    struct weft_err err;
    if (!a->record)
        return;
    if (a->record->n && write_file(a, &err) != WEFT_OK)
        fprintf(stderr, "weft: the recording isn't saved: %s\n", err.message);
    drop(a);
}
