#include "src/store_record.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/utf8.h"

/* Deep nesting is no record of ours: looked for before a line is parsed, since a parser recurses. */
enum { DEPTH_MAX = 8, ID_LIMIT = 0x7fffffff };

/* --- writing --- */

/* Takes the reference; whole or not at all. */
static bool add_line(struct buf *b, json_t *record)
{
    size_t before = b->len;
    if (store_add_json(b, record) && buf_addc(b, '\n'))
        return true;
    b->failed = false;
    b->len = before;
    if (b->data)
        b->data[before] = 0;
    return false;
}

bool record_session(struct buf *b, const char *id, int64_t created_ms)
{
    return add_line(b, json_pack("{s:s, s:i, s:s, s:I}", "type", "session", "schema", STORE_SCHEMA, "id", id,
                                 "created_ms", (json_int_t)created_ms));
}

bool record_set(struct buf *b, const struct store_settings *s, const struct store_settings *base)
{
    json_t *changed = store_settings_json(s, base), *record = json_pack("{s:s}", "type", "set");
    bool none = changed && json_object_size(changed) == 0;
    bool done = changed && record && (none || json_object_update(record, changed) == 0);
    json_decref(changed);
    if (done && !none)
        return add_line(b, record);
    json_decref(record);
    return done;
}

bool record_text(struct buf *b, uint32_t id, size_t at, const char *text, size_t n)
{
    size_t before = b->len;
    while (n) {
        size_t piece = n > STORE_PIECE_MAX ? utf8_whole(text, STORE_PIECE_MAX) : n;
        if (!add_line(b, json_pack("{s:s, s:I, s:I, s:o}", "type", "text", "id", (json_int_t)id, "at",
                                   (json_int_t)at, "text", store_json_text(text, piece)))) {
            b->len = before;
            return false;
        }
        text += piece;
        at += piece;
        n -= piece;
    }
    return true;
}

bool record_message(struct buf *b, const struct store_message *m)
{
    const char *text = buf_str(&m->text);
    size_t before = b->len, n = m->text.len;
    size_t piece = n > STORE_PIECE_MAX ? utf8_whole(text, STORE_PIECE_MAX) : n;
    if (add_line(b, json_pack("{s:s, s:I, s:s, s:I, s:o}", "type", "message", "id", (json_int_t)m->id, "role",
                              store_role_name(m->role), "ms", (json_int_t)m->time_ms, "text",
                              store_json_text(text, piece))) &&
        record_text(b, m->id, piece, text + piece, n - piece))
        return true;
    b->len = before;
    return false;
}

bool record_end(struct buf *b, uint32_t id, const struct store_footer *f, int64_t now_ms)
{
    json_t *record =
        json_pack("{s:s, s:I, s:I}", "type", "end", "id", (json_int_t)id, "ms", (json_int_t)now_ms);
    json_t *footer = store_footer_json(f);
    bool done = record && footer && json_object_update(record, footer) == 0;
    json_decref(footer);
    if (done)
        return add_line(b, record);
    json_decref(record);
    return false;
}

bool record_remove(struct buf *b, uint32_t id)
{
    return add_line(b, json_pack("{s:s, s:I}", "type", "remove", "from", (json_int_t)id));
}

static bool add_typed(struct buf *b, const char *type, const char *text, size_t n)
{
    return add_line(b, json_pack("{s:s, s:o}", "type", type, "text", store_json_text(text, n)));
}

bool record_draft(struct buf *b, const char *text, size_t n)
{
    return add_typed(b, "draft", text, n);
}

bool record_input(struct buf *b, const char *text, size_t n)
{
    return add_typed(b, "input", text, n);
}

bool record_waiting(struct buf *b, const struct store_chat *c, size_t at)
{
    size_t before = b->len;
    bool done = true;
    if (at == c->n_waiting)
        return add_line(b, json_pack("{s:s, s:I}", "type", "waiting", "at", (json_int_t)at));
    for (size_t i = at; done && i < c->n_waiting; i++)
        done = add_line(b, json_pack("{s:s, s:I, s:o}", "type", "waiting", "at", (json_int_t)i, "text",
                                     store_json_text(buf_str(&c->waiting[i]), c->waiting[i].len)));
    if (!done)
        b->len = before;
    return done;
}

bool record_chat(struct buf *b, const struct store_chat *c)
{
    size_t before = b->len;
    bool done = record_session(b, c->id, c->created_ms) && record_set(b, &c->settings, NULL);
    for (size_t i = 0; done && i < c->n_inputs; i++)
        done = record_input(b, c->inputs[i], strlen(c->inputs[i]));
    for (size_t i = 0; done && i < c->n_messages; i++) {
        const struct store_message *m = &c->messages[i];
        done = record_message(b, m) && (!*m->footer.reason || record_end(b, m->id, &m->footer, m->time_ms));
    }
    if (done && c->n_waiting)
        done = record_waiting(b, c, 0);
    if (done && c->draft)
        done = record_draft(b, c->draft, strlen(c->draft));
    if (!done)
        b->len = before;
    return done;
}

/* --- reading --- */

enum outcome { APPLIED, DAMAGED, GAP, NO_MEMORY, REFUSED };

static const char *text_of(const json_t *o, const char *name, size_t *n)
{
    const json_t *v = json_object_get(o, name);
    *n = json_is_string(v) ? json_string_length(v) : 0;
    return json_string_value(v);
}

/* A message's id; 0 when it is none. */
static uint32_t id_of(const json_t *o, const char *name)
{
    json_int_t id = json_integer_value(json_object_get(o, name));
    return id > 0 && id <= ID_LIMIT ? (uint32_t)id : 0;
}

static int64_t take_time(struct store_chat *c, const json_t *o)
{
    int64_t ms = json_integer_value(json_object_get(o, "ms"));
    if (ms > c->changed_ms)
        c->changed_ms = ms;
    return ms;
}

static enum outcome apply_session(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    const json_t *schema = json_object_get(o, "schema");
    json_int_t version = json_integer_value(schema);
    if (!json_is_integer(schema) || version < 1)
        return DAMAGED;
    if (version > STORE_SCHEMA) {
        weft_err_set(err, WEFT_FILE_INVALID,
                     "written by a newer weft: schema %" JSON_INTEGER_FORMAT ", this one reads up to %d",
                     version, STORE_SCHEMA);
        weft_err_str(err, "field", "schema");
        weft_err_num(err, "value", (double)version);
        weft_err_num(err, "limit", STORE_SCHEMA);
        return REFUSED;
    }
    c->created_ms = json_integer_value(json_object_get(o, "created_ms"));
    if (c->created_ms > c->changed_ms)
        c->changed_ms = c->created_ms;
    return APPLIED;
}

static enum outcome apply_set(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    enum weft_rc rc = store_settings_read(c, o, NULL);
    return rc == WEFT_OK ? APPLIED : rc == WEFT_FILE_INVALID ? DAMAGED : NO_MEMORY;
}

static enum outcome full(const struct store_chat *c, size_t bytes, struct weft_err *err)
{
    weft_err_set(err, WEFT_FILE_INVALID, "%zu messages, the last of %zu bytes; the limits are %d and %d",
                 c->n_messages, bytes, STORE_MESSAGES_MAX, STORE_TEXT_MAX);
    weft_err_str(err, "field", "messages");
    return REFUSED;
}

static enum outcome apply_message(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    enum store_role role;
    size_t n;
    uint32_t id = id_of(o, "id");
    const char *name = json_string_value(json_object_get(o, "role")), *text = text_of(o, "text", &n);
    /* Ids grow: an older one is a line that doesn't belong here. */
    if (!id || id < c->next_id || !name || !text || !store_role_parse(name, &role))
        return DAMAGED;
    if (c->n_messages == STORE_MESSAGES_MAX)
        return full(c, n, err);
    return store_chat_add(c, id, role, take_time(c, o), text, n) ? APPLIED : NO_MEMORY;
}

static enum outcome apply_text(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    size_t n;
    uint32_t id = id_of(o, "id");
    json_int_t at = json_integer_value(json_object_get(o, "at"));
    const char *text = text_of(o, "text", &n);
    size_t i = store_chat_find(c, id);
    if (!id || !text)
        return DAMAGED;
    if (i == c->n_messages) { /* its first record was damaged: what is left of it is a reply */
        if (id < c->next_id)
            return DAMAGED;
        if (c->n_messages == STORE_MESSAGES_MAX)
            return full(c, n, err);
        return store_chat_add(c, id, STORE_ASSISTANT, c->changed_ms, text, n) ? GAP : NO_MEMORY;
    }
    struct store_message *m = &c->messages[i];
    if (m->id != id)
        return DAMAGED;
    if (n > STORE_TEXT_MAX - m->text.len)
        return full(c, m->text.len + n, err);
    bool gap = at < 0 || (uint64_t)at != m->text.len;
    return !store_chat_append(c, i, text, n) ? NO_MEMORY : gap ? GAP : APPLIED;
}

static enum outcome apply_end(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    uint32_t id = id_of(o, "id");
    size_t i = store_chat_find(c, id);
    if (!id || i == c->n_messages || c->messages[i].id != id)
        return DAMAGED;
    take_time(c, o);
    store_footer_read(&c->messages[i].footer, o);
    return APPLIED;
}

static enum outcome apply_remove(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    uint32_t id = id_of(o, "from");
    if (!id)
        return DAMAGED;
    store_chat_truncate(c, store_chat_find(c, id));
    return APPLIED;
}

static enum outcome apply_draft(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    size_t n;
    const char *text = text_of(o, "text", &n);
    return !text ? DAMAGED : store_chat_draft(c, text, n) ? APPLIED : NO_MEMORY;
}

static enum outcome apply_input(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    size_t n;
    const char *text = text_of(o, "text", &n);
    return !text ? DAMAGED : store_chat_input(c, text, n) ? APPLIED : NO_MEMORY;
}

static enum outcome apply_waiting(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    (void)err;
    size_t n;
    const json_t *at = json_object_get(o, "at");
    const char *text = text_of(o, "text", &n);
    json_int_t i = json_integer_value(at);
    if (!json_is_integer(at) || i < 0 || i >= STORE_WAITING_MAX || (!text && json_object_get(o, "text")))
        return DAMAGED;
    store_chat_wait_truncate(c, (size_t)i); /* further on than there are: one before it was lost */
    return !text || store_chat_wait(c, text, n) ? APPLIED : NO_MEMORY;
}

static const struct {
    const char *type;
    enum outcome (*apply)(struct store_chat *c, const json_t *o, struct weft_err *err);
} types[] = {
    {"session", apply_session}, {"set", apply_set},     {"message", apply_message},
    {"text", apply_text},       {"end", apply_end},     {"remove", apply_remove},
    {"draft", apply_draft},     {"input", apply_input}, {"waiting", apply_waiting},
};

/* Whether brackets nest deeper than any record's; a string's contents don't count. */
static bool too_deep(const char *line, size_t n)
{
    bool in_string = false;
    int depth = 0;
    for (size_t i = 0; i < n; i++) {
        char c = line[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

static enum outcome apply_line(struct store_chat *c, const char *line, size_t n, struct weft_err *err)
{
    json_error_t why;
    if (too_deep(line, n))
        return DAMAGED;
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, &why);
    if (!o && json_error_code(&why) == json_error_out_of_memory)
        return NO_MEMORY;
    const char *type = json_string_value(json_object_get(o, "type"));
    enum outcome outcome = DAMAGED;
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].type) == 0) {
            outcome = types[i].apply(c, o, err);
            break;
        }
    json_decref(o);
    return outcome;
}

void store_parser_init(struct store_parser *p, struct store_chat *chat)
{
    *p = (struct store_parser){.chat = chat, .line = BUF_INIT};
}

void store_parser_deinit(struct store_parser *p)
{
    buf_free(&p->line);
}

static void count_damage(struct store_parser *p)
{
    if (!p->report.damaged++)
        p->report.damaged_line = p->n_lines;
}

/* A line has ended; `n` bytes without its newline. */
static enum weft_rc take_line(struct store_parser *p, const char *line, size_t n, struct weft_err *err)
{
    p->n_lines++;
    p->n_bytes += n + 1;
    p->report.good_bytes = p->n_bytes;
    if (n == 0)
        return WEFT_OK;
    enum outcome outcome = n > STORE_LINE_MAX ? DAMAGED : apply_line(p->chat, line, n, err);
    if (outcome == NO_MEMORY)
        return weft_err_nomem(err, "a record of a session", n);
    if (outcome == REFUSED)
        return WEFT_FILE_INVALID;
    if (outcome != APPLIED)
        count_damage(p);
    p->report.records += outcome != DAMAGED;
    return WEFT_OK;
}

/* Keeps the beginning of a line that hasn't ended; of one that is too long only its length. */
static bool keep(struct store_parser *p, const char *bytes, size_t n)
{
    if (p->over || n > STORE_LINE_MAX - p->line.len) {
        p->over += p->line.len + n;
        buf_free(&p->line);
        return true;
    }
    return buf_add(&p->line, bytes, n);
}

enum weft_rc store_parser_feed(struct store_parser *p, const char *bytes, size_t n, struct weft_err *err)
{
    while (n) {
        const char *newline = memchr(bytes, '\n', n);
        size_t part = newline ? (size_t)(newline - bytes) : n;
        enum weft_rc rc = WEFT_OK;
        if (newline && !p->line.len && !p->over) {
            rc = take_line(p, bytes, part, err);
        } else if (!keep(p, bytes, part)) {
            rc = weft_err_nomem(err, "a line of a session", p->line.len + part);
        } else if (newline) {
            rc = take_line(p, buf_str(&p->line), p->over ? p->over : p->line.len, err);
            buf_clear(&p->line);
            p->over = 0;
        }
        if (rc != WEFT_OK)
            return rc;
        part += newline != NULL;
        bytes += part;
        n -= part;
    }
    return WEFT_OK;
}

enum weft_rc store_parser_end(struct store_parser *p, struct weft_err *err)
{
    if (p->line.len || p->over) {
        /* The cut may have taken the newline alone: a JSON object cut anywhere else is none. */
        enum outcome outcome = p->over ? DAMAGED : apply_line(p->chat, p->line.data, p->line.len, err);
        if (outcome == NO_MEMORY)
            return weft_err_nomem(err, "a record of a session", p->line.len);
        if (outcome == REFUSED)
            return WEFT_FILE_INVALID;
        p->report.torn = outcome == DAMAGED;
        p->report.no_newline = outcome != DAMAGED;
        p->report.records += outcome != DAMAGED;
        if (outcome != DAMAGED)
            p->report.good_bytes += p->line.len;
    }
    if (!p->report.records) {
        weft_err_set(err, WEFT_FILE_INVALID, "no session: not one of its %" PRIu64 " lines is a record",
                     p->n_lines);
        weft_err_str(err, "field", "records");
        weft_err_num(err, "value", 0);
        weft_err_num(err, "limit", 1);
        return WEFT_FILE_INVALID;
    }
    return WEFT_OK;
}

enum weft_rc store_parse(const char *bytes, size_t n, struct store_chat *chat, struct store_report *report,
                         struct weft_err *err)
{
    struct store_parser p;
    store_parser_init(&p, chat);
    enum weft_rc rc = store_parser_feed(&p, bytes, n, err);
    if (rc == WEFT_OK)
        rc = store_parser_end(&p, err);
    if (report)
        *report = p.report;
    store_parser_deinit(&p);
    return rc;
}
