#include "src/search.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/search_text.h"

struct search {
    struct store *store;
    struct search_text text;
    struct store_entry *entries;
    struct search_hit *hits;
    size_t n_hits, cap_hits;
    struct search_progress progress;
    bool open_done; /* the open sessions are behind us */

    /* the file under way; fd < 0: none */
    int fd;
    char name[STORE_NAME_MAX];
    struct store_chat chat;
    struct store_parser parser;
    bool whole;  /* it has been read, and is being looked into */
    size_t next; /* from this message on; SIZE_MAX: from the title on */
};

/* What a file doesn't say matters to nobody here. */
static const struct store_settings blank = {
    .title = "", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 1};

static enum weft_rc refuse(struct weft_err *err, size_t n)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "search: %zu bytes to look for, it is 1 … %d", n,
                 SEARCH_NEEDLE_MAX);
    weft_err_str(err, "field", "needle");
    weft_err_num(err, "value", (double)n);
    weft_err_num(err, "limit", SEARCH_NEEDLE_MAX);
    return WEFT_INVALID_REQUEST;
}

enum weft_rc search_create(struct store *st, const char *needle, struct search **out, struct weft_err *err)
{
    size_t n = strlen(needle);
    if (n < 1 || n > SEARCH_NEEDLE_MAX)
        return refuse(err, n);
    struct search *s = mem_calloc(1, sizeof *s);
    if (!s)
        return weft_err_nomem(err, "a search", sizeof *s);
    s->store = st;
    s->fd = -1;
    if (!search_text_init(&s->text, needle, n)) {
        mem_free(s);
        return weft_err_nomem(err, "a search", n);
    }
    struct weft_err why;
    if (store_list(st, &s->entries, &s->progress.n_sessions, &why) != WEFT_OK)
        log_msg(LOG_INFO, "search: %s", why.message);
    for (size_t i = 0; i < s->progress.n_sessions; i++)
        s->progress.n_bytes += s->entries[i].bytes;
    *out = s;
    return WEFT_OK;
}

static void close_file(struct search *s)
{
    if (s->fd < 0)
        return;
    close(s->fd);
    s->fd = -1;
    store_parser_deinit(&s->parser);
    store_chat_deinit(&s->chat);
}

void search_destroy(struct search *s)
{
    if (!s)
        return;
    close_file(s);
    for (size_t i = 0; i < s->n_hits; i++)
        mem_free(s->hits[i].snippet);
    mem_free(s->hits);
    mem_free(s->entries);
    search_text_deinit(&s->text);
    mem_free(s);
}

/* --- hits --- */

/* Appends n bytes on one line: runs of blanks and line ends become one space. */
static void add_line(struct buf *b, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool blank_here = text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r';
        if (!blank_here)
            buf_addc(b, text[i]);
        else if (!b->len || b->data[b->len - 1] != ' ')
            buf_addc(b, ' ');
    }
}

static bool continues(char c)
{
    return (c & 0xc0) == 0x80;
}

/* The line around a match, cut at whole characters. */
static bool make_snippet(struct search_hit *h, const char *text, size_t n)
{
    size_t from = h->at, to = h->at + h->len;
    struct buf b = BUF_INIT;
    for (int i = 0; i < SEARCH_BEFORE_CPS && from > 0; i++)
        do
            from--;
        while (from > 0 && continues(text[from]));
    for (int i = 0; i < SEARCH_AFTER_CPS && to < n; i++)
        do
            to++;
        while (to < n && continues(text[to]));
    if (from > 0)
        buf_adds(&b, "…");
    add_line(&b, text + from, h->at - from);
    h->mark = b.len;
    add_line(&b, text + h->at, h->len);
    h->mark_len = b.len - h->mark;
    add_line(&b, text + h->at + h->len, to - h->at - h->len);
    if (to < n)
        buf_adds(&b, "…");
    h->snippet = buf_take(&b, NULL);
    return h->snippet != NULL;
}

/* Looks in one text; *hit says where it is, and gets the rest. False when out of memory. */
static bool look_in(struct search *s, const struct store_chat *c, struct search_hit *hit, const char *text,
                    size_t n)
{
    size_t at, len;
    if (s->progress.cut)
        return true;
    if (!search_text_in(&s->text, text, n))
        return false;
    if (!search_text_next(&s->text, &hit->at, &hit->len))
        return true;
    if (s->n_hits == SEARCH_HITS_MAX) {
        s->progress.cut = true;
        return true;
    }
    for (hit->count = 1; search_text_next(&s->text, &at, &len); hit->count++)
        ;
    snprintf(hit->id, sizeof hit->id, "%s", c->id);
    size_t title = strlen(c->settings.title);
    if (title >= sizeof hit->title)
        title = utf8_whole(c->settings.title, sizeof hit->title - 1);
    memcpy(hit->title, c->settings.title, title);
    hit->title[title] = 0;
    if (mem_grow(&s->hits, &s->cap_hits, s->n_hits + 1, sizeof *s->hits) != 0 || !make_snippet(hit, text, n))
        return false;
    s->hits[s->n_hits++] = *hit;
    return true;
}

/* Looks into a chat from message *next on (SIZE_MAX: from its title on) until about `bytes` of text are behind
 * it. False when out of memory. */
static bool look_in_chat(struct search *s, const struct store_chat *c, size_t *next, size_t bytes)
{
    bool memory = true;
    if (*next == SIZE_MAX) {
        struct search_hit title = {.in_title = true};
        memory = look_in(s, c, &title, c->settings.title, strlen(c->settings.title));
        *next = 0;
    }
    for (size_t seen = 0; memory && *next < c->n_messages && seen < bytes; ++*next) {
        const struct store_message *m = &c->messages[*next];
        struct search_hit hit = {.message = *next, .role = m->role, .time_ms = m->time_ms};
        memory = look_in(s, c, &hit, buf_str(&m->text), m->text.len);
        seen += m->text.len;
    }
    return memory;
}

/* --- steps --- */

static bool is_open(const struct search *s, const char *id)
{
    const struct store_session *o = NULL;
    while ((o = store_session_next(s->store, o)))
        if (strcmp(store_session_chat(o)->id, id) == 0)
            return true;
    return false;
}

static void file_done(struct search *s)
{
    s->progress.bytes += s->entries[s->progress.sessions].bytes;
    s->progress.sessions++;
}

/* A file that can't be read is left out of the search. */
static void leave_out(struct search *s, const struct weft_err *why)
{
    log_msg(LOG_INFO, "search: %s", why->message);
    s->progress.unreadable++;
    close_file(s);
    file_done(s);
}

static bool begin_file(struct search *s, struct weft_err *why)
{
    const struct store_entry *e = &s->entries[s->progress.sessions];
    const struct store_dir *dir = store_directory(s->store, why);
    if (!dir)
        return false;
    snprintf(s->name, sizeof s->name, "%s%s", e->id, STORE_SUFFIX);
    if (!store_chat_init(&s->chat, &blank)) {
        weft_err_nomem(why, "a session", sizeof s->chat);
        return false;
    }
    s->fd = store_file_open_read(dir, s->name, why);
    if (s->fd < 0) {
        store_chat_deinit(&s->chat);
        return false;
    }
    snprintf(s->chat.id, sizeof s->chat.id, "%s", e->id);
    store_parser_init(&s->parser, &s->chat);
    s->whole = false;
    s->next = SIZE_MAX;
    return true;
}

/* Reads a piece of the file under way, or looks into a piece of what was read, or begins the next one. False when
 * out of memory. */
static bool advance(struct search *s)
{
    struct weft_err why = {.code = WEFT_OK};
    bool more = true;
    if (s->fd < 0 && is_open(s, s->entries[s->progress.sessions].id)) {
        file_done(s);
        return true;
    }
    if (s->fd < 0 && !begin_file(s, &why)) {
        leave_out(s, &why);
        return true;
    }
    if (s->whole) {
        if (!look_in_chat(s, &s->chat, &s->next, STORE_READ_BYTES))
            return false;
        if (s->next == s->chat.n_messages) {
            close_file(s);
            file_done(s);
        }
        return true;
    }
    const struct store_dir *dir = store_directory(s->store, &why);
    if (!dir || store_file_read_some(dir, s->name, s->fd, &s->parser, &more, &why) != WEFT_OK)
        leave_out(s, &why);
    else
        s->whole = !more;
    return true;
}

/* Those that are open may change between two steps, so they are looked into at once. */
static bool look_in_open(struct search *s)
{
    const struct store_session *o = NULL;
    bool memory = true;
    while (memory && (o = store_session_next(s->store, o))) {
        size_t next = SIZE_MAX;
        memory = look_in_chat(s, store_session_chat(o), &next, SIZE_MAX);
    }
    return memory;
}

bool search_step(struct search *s, size_t bytes, struct weft_err *err)
{
    bool memory = true;
    if (!s->open_done)
        memory = look_in_open(s);
    s->open_done = true;
    for (size_t read = 0; memory && read < bytes; read += STORE_READ_BYTES) {
        if (s->progress.cut || s->progress.sessions == s->progress.n_sessions)
            return false;
        memory = advance(s);
    }
    if (!memory) {
        weft_err_nomem(err, "a search", s->cap_hits * sizeof *s->hits);
        s->progress.sessions = s->progress.n_sessions;
    }
    return memory && !s->progress.cut && s->progress.sessions < s->progress.n_sessions;
}

const struct search_hit *search_hits(const struct search *s, size_t *n)
{
    *n = s->n_hits;
    return s->hits;
}

struct search_progress search_progress(const struct search *s)
{
    return s->progress;
}
