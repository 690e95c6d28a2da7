#include "src/store.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/config_paths.h"
#include "src/store_int.h"

struct store_session {
    struct store *store;
    struct store_session *next;
    struct store_chat chat;
    struct store_held *held; /* NULL: it has no file yet */
    bool replying;           /* the last message is a reply under way */
    bool begun;              /* its beginning was handed over, as far as `written` */
    size_t written;          /* bytes of its text */
    int64_t waits_since_us;  /* what wasn't handed over came then; -1: nothing waits */
    bool behind;             /* the file lacks something: all of it is to be written (anew) */
    bool fresh;              /* nothing was ever handed over */
};

/* --- the store --- */

/* "20260131-120000123-9f86d081e3": the time, so that names sort by age, and what makes it another one than that of
 * any console at the same millisecond. */
static void make_id(char out[STORE_ID_MAX], int64_t now_ms)
{
    uint64_t random = 0;
    struct tm tm;
    time_t seconds = (time_t)(now_ms / 1000);
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = mix64((uint64_t)clock_now_us() ^ (uint64_t)getpid() << 40);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, STORE_ID_MAX, "%Y%m%d-%H%M%S", &tm);
    snprintf(out + n, STORE_ID_MAX - n, "%03d-%010llx", (int)(now_ms % 1000),
             (unsigned long long)(random >> 24));
}

enum weft_rc store_open(const struct store_options *options, struct store **out, struct weft_err *err)
{
    const struct store_io *io = options->io ? options->io : &store_io_system;
    struct buf dir = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    struct store *st = mem_calloc(1, sizeof *st);
    if (!st)
        return weft_err_nomem(err, "the session store", sizeof *st);
    if (options->dir ? !buf_adds(&dir, options->dir) : !paths_of(PATH_STATE, "sessions", &dir)) {
        rc = weft_err_set(err, WEFT_FILE_INVALID, "there is no home directory for the sessions");
        goto out;
    }
    st->dir = (struct store_dir){io, mem_strdup(buf_str(&dir)), -1};
    if (!st->dir.path) {
        rc = weft_err_nomem(err, "the session store", dir.len);
        goto out;
    }
    rc = store_writer_create(st->dir.path, io, options->retry_ms ? options->retry_ms : STORE_RETRY_MS,
                             !options->no_thread, &st->writer, err);
    if (rc == WEFT_OK)
        store_sweep(st);
out:
    buf_free(&dir);
    if (rc == WEFT_OK) {
        *out = st;
    } else {
        store_dir_close(&st->dir);
        mem_free(st);
    }
    return rc;
}

bool store_close(struct store *st, int timeout_ms)
{
    while (st->sessions)
        store_session_close(st->sessions);
    bool saved = store_writer_destroy(st->writer, timeout_ms);
    store_dir_close(&st->dir);
    mem_free(st);
    return saved;
}

bool store_news(struct store *st, struct store_news *out)
{
    return store_writer_news(st->writer, out);
}

int store_fd(const struct store *st)
{
    return store_writer_fd(st->writer);
}

/* --- sessions: handing over --- */

/* All of the session, as its file's first content or in place of what is there. */
static void write_anew(struct store_session *s)
{
    struct buf b = BUF_INIT;
    struct store_writer *w = s->store->writer;
    bool done = record_chat(&b, &s->chat) &&
                (s->fresh ? store_writer_append(w, s->held, &b, true) : store_writer_replace(w, s->held, &b));
    buf_free(&b);
    s->behind = !done;
    if (!done)
        return;
    s->fresh = false;
    s->waits_since_us = -1;
    s->begun = s->replying;
    s->written = s->replying ? s->chat.messages[s->chat.n_messages - 1].text.len : 0;
}

/* The first thing worth keeping has happened: from now on there is a file. */
static bool begin_file(struct store_session *s)
{
    struct store_file file;
    char name[STORE_NAME_MAX];
    if (s->held)
        return true;
    store_file_name(s->chat.id, name);
    store_file_new(&file, name);
    s->held = store_writer_take(s->store->writer, &file);
    s->behind = s->fresh = true;
    return s->held != NULL;
}

/* Hands records over, which are taken; `made`: there was memory to make them. What there is no memory for is
 * made good by writing the file anew, later. */
static void hand_over(struct store_session *s, struct buf *records, bool made, bool sync)
{
    if (!begin_file(s))
        s->behind = true;
    else if (!made ||
             (!s->behind && records->len && !store_writer_append(s->store->writer, s->held, records, sync)))
        s->behind = true;
    buf_free(records);
    if (s->behind && s->held)
        write_anew(s);
}

/* The part of the reply that wasn't handed over yet. */
static bool add_waiting(struct store_session *s, struct buf *b)
{
    if (!s->replying || s->waits_since_us < 0)
        return true;
    const struct store_message *m = &s->chat.messages[s->chat.n_messages - 1];
    bool done = s->begun
                    ? record_text(b, m->id, s->written, m->text.data + s->written, m->text.len - s->written)
                    : record_message(b, m);
    s->begun = true;
    s->written = m->text.len;
    s->waits_since_us = -1;
    return done;
}

static void write_waiting(struct store_session *s)
{
    struct buf b = BUF_INIT;
    bool made = add_waiting(s, &b);
    hand_over(s, &b, made, false);
}

int64_t store_tick(struct store *st, int64_t now_us)
{
    int64_t wait = -1;
    for (struct store_session *s = st->sessions; s; s = s->next) {
        int64_t left = s->waits_since_us < 0 ? INT64_MAX : s->waits_since_us + STORE_FLUSH_MS * 1000 - now_us;
        if (left <= 0)
            write_waiting(s);
        else if (left != INT64_MAX && (wait < 0 || left < wait))
            wait = left;
        if (s->behind && s->held)
            write_anew(s);
    }
    return wait;
}

bool store_drain(struct store *st, int timeout_ms)
{
    bool all = true;
    for (struct store_session *s = st->sessions; s; s = s->next) {
        if (s->waits_since_us >= 0)
            write_waiting(s);
        if (s->behind && s->held)
            write_anew(s);
        all &= !s->behind;
    }
    return store_writer_drain(st->writer, timeout_ms) && all;
}

/* --- sessions: opening and closing --- */

static bool copy_content(struct store_chat *to, const struct store_chat *from)
{
    for (size_t i = 0; i < from->n_messages; i++) {
        const struct store_message *m = &from->messages[i];
        if (!store_chat_add(to, 0, m->role, m->time_ms, buf_str(&m->text), m->text.len))
            return false;
        to->messages[i].footer = m->footer;
    }
    for (size_t i = 0; i < from->n_inputs; i++)
        if (!store_chat_input(to, from->inputs[i], strlen(from->inputs[i])))
            return false;
    return true;
}

static struct store_session *add_session(struct store *st, struct store_session *s)
{
    s->store = st;
    s->waits_since_us = -1;
    s->next = st->sessions;
    st->sessions = s;
    return s;
}

struct store_session *store_session_create(struct store *st, const struct store_settings *settings,
                                           const struct store_chat *from)
{
    struct store_session *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (!store_chat_init(&s->chat, settings) || (from && !copy_content(&s->chat, from))) {
        store_chat_deinit(&s->chat);
        mem_free(s);
        return NULL;
    }
    s->chat.created_ms = s->chat.changed_ms = clock_unix_ms();
    make_id(s->chat.id, s->chat.created_ms);
    add_session(st, s);
    if (from && from->n_messages) {
        struct buf none = BUF_INIT;
        hand_over(s, &none, true, true);
    }
    return s;
}

enum weft_rc store_session_open(struct store *st, const char *id, const struct store_settings *defaults,
                                bool copy, struct store_session **out, struct store_report *report,
                                struct weft_err *err)
{
    char name[STORE_NAME_MAX];
    struct store_file file;
    struct store_parser parser;
    bool in_use = false;
    *out = NULL;
    enum weft_rc rc = store_check_id(id, err);
    if (rc == WEFT_OK)
        rc = store_dir_open(&st->dir, err);
    if (rc != WEFT_OK)
        return rc;
    struct store_session *s = mem_calloc(1, sizeof *s);
    if (!s || !store_chat_init(&s->chat, defaults)) {
        mem_free(s);
        return weft_err_nomem(err, "a session", sizeof *s);
    }
    store_file_name(id, name);
    store_parser_init(&parser, &s->chat);
    rc = store_file_open(&file, &st->dir, name, &parser, &in_use, err);
    if (report)
        *report = parser.report;
    store_parser_deinit(&parser);
    snprintf(s->chat.id, sizeof s->chat.id, "%s", id);
    if (rc == WEFT_OK && !in_use) {
        s->held = store_writer_take(st->writer, &file);
        if (!s->held) {
            store_file_close(&file);
            rc = weft_err_nomem(err, "a session", sizeof file);
        }
    } else if (rc == WEFT_OK && copy) {
        s->chat.created_ms = clock_unix_ms();
        make_id(s->chat.id, s->chat.created_ms);
    }
    if (rc == WEFT_OK && (!in_use || copy)) {
        *out = add_session(st, s);
        return WEFT_OK;
    }
    store_chat_deinit(&s->chat);
    mem_free(s);
    return rc;
}

static void forget(struct store_session *s)
{
    for (struct store_session **at = &s->store->sessions; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    store_chat_deinit(&s->chat);
    mem_free(s);
}

void store_session_close(struct store_session *s)
{
    if (s->waits_since_us >= 0)
        write_waiting(s);
    if (s->held)
        store_writer_release(s->store->writer, s->held);
    forget(s);
}

void store_session_delete(struct store_session *s)
{
    if (s->held)
        store_writer_remove(s->store->writer, s->held);
    forget(s);
}

struct store_session *store_session_next(struct store *st, const struct store_session *s)
{
    return s ? s->next : st->sessions;
}

const struct store_chat *store_session_chat(const struct store_session *s)
{
    return &s->chat;
}

/* --- sessions: what happens --- */

static bool same_settings(const struct store_settings *a, const struct store_settings *b)
{
    const struct sampling *x = &a->sampling, *y = &b->sampling;
    return strcmp(a->title, b->title) == 0 && strcmp(a->system, b->system) == 0 && a->titled == b->titled &&
           strcmp(a->model, b->model) == 0 && strcmp(a->fork_of, b->fork_of) == 0 && a->paused == b->paused &&
           a->cut == b->cut && a->prio == b->prio && a->max_tokens == b->max_tokens &&
           x->temperature == y->temperature && x->top_k == y->top_k && x->top_p == y->top_p &&
           x->min_p == y->min_p && x->repeat_penalty == y->repeat_penalty &&
           x->presence_penalty == y->presence_penalty && x->frequency_penalty == y->frequency_penalty &&
           x->penalty_window == y->penalty_window && x->seed == y->seed;
}

bool store_set(struct store_session *s, const struct store_settings *settings)
{
    if (same_settings(&s->chat.settings, settings))
        return true;
    struct buf b = BUF_INIT;
    bool named = strcmp(s->chat.settings.title, settings->title) != 0 && settings->titled;
    bool prompted = strcmp(s->chat.settings.system, settings->system) != 0;
    bool made = record_set(&b, settings, &s->chat.settings);
    if (!store_chat_set(&s->chat, settings)) {
        buf_free(&b);
        return false;
    }
    if (s->held || named || prompted)
        hand_over(s, &b, made, false);
    buf_free(&b);
    return true;
}

bool store_user(struct store_session *s, const char *text, size_t n)
{
    struct buf b = BUF_INIT;
    bool made = add_waiting(s, &b); /* of a reply that never ended */
    s->replying = false;
    s->chat.changed_ms = clock_unix_ms();
    if (!store_chat_add(&s->chat, 0, STORE_USER, s->chat.changed_ms, text, n)) {
        hand_over(s, &b, made, false);
        return false;
    }
    made = made && record_message(&b, &s->chat.messages[s->chat.n_messages - 1]);
    hand_over(s, &b, made, true);
    return true;
}

bool store_reply(struct store_session *s, const char *text, size_t n)
{
    if (!s->replying) {
        s->chat.changed_ms = clock_unix_ms();
        if (!store_chat_add(&s->chat, 0, STORE_ASSISTANT, s->chat.changed_ms, text, n))
            return false;
        s->replying = true;
        s->begun = false;
        s->written = 0;
    } else if (!store_chat_append(&s->chat, s->chat.n_messages - 1, text, n)) {
        return false;
    }
    if (s->waits_since_us < 0)
        s->waits_since_us = clock_now_us();
    return true;
}

void store_reply_end(struct store_session *s, const struct store_footer *footer)
{
    struct buf b = BUF_INIT;
    if (!s->replying)
        return;
    struct store_message *m = &s->chat.messages[s->chat.n_messages - 1];
    bool made = add_waiting(s, &b);
    s->chat.changed_ms = clock_unix_ms();
    m->footer = *footer;
    made = made && record_end(&b, m->id, footer, s->chat.changed_ms);
    s->replying = false;
    hand_over(s, &b, made, true);
}

void store_keep(struct store_session *s, size_t n)
{
    struct buf b = BUF_INIT;
    if (n >= s->chat.n_messages)
        return;
    bool made = record_remove(&b, s->chat.messages[n].id);
    store_chat_truncate(&s->chat, n);
    s->replying = false;
    s->waits_since_us = -1;
    if (n == 0 && s->held) {
        buf_free(&b);
        write_anew(s);
    } else {
        hand_over(s, &b, made, true);
    }
}

bool store_input(struct store_session *s, const char *text, size_t n)
{
    struct buf b = BUF_INIT;
    if (!store_chat_input(&s->chat, text, n))
        return false;
    bool made = record_input(&b, text, n);
    if (s->held)
        hand_over(s, &b, made, false);
    buf_free(&b);
    return true;
}

bool store_waiting(struct store_session *s, const char *const *texts, size_t n)
{
    struct buf b = BUF_INIT;
    struct store_chat *c = &s->chat;
    size_t same = 0;
    while (same < n && same < c->n_waiting && strcmp(buf_str(&c->waiting[same]), texts[same]) == 0)
        same++;
    if (same == n && n == c->n_waiting)
        return true;
    bool done = true;
    store_chat_wait_truncate(c, same);
    for (size_t i = same; i < n && done; i++)
        done = store_chat_wait(c, texts[i], strlen(texts[i]));
    bool made = record_waiting(&b, c, same);
    hand_over(s, &b, made, true);
    return done;
}

bool store_draft(struct store_session *s, const char *text, size_t n)
{
    struct buf b = BUF_INIT;
    const char *old = s->chat.draft ? s->chat.draft : "";
    if (strlen(old) == n && memcmp(old, text, n) == 0)
        return true;
    if (!store_chat_draft(&s->chat, text, n))
        return false;
    bool made = record_draft(&b, text, n);
    hand_over(s, &b, made, false);
    return true;
}
