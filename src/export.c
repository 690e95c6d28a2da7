#include "src/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"

static const struct {
    const char *name, *also, *suffix;
} formats[] = {
    [EXPORT_MARKDOWN] = {"md", "markdown", ".md"},
    [EXPORT_JSON] = {"json", "json", ".json"},
};

bool export_format_parse(const char *name, enum export_format *out)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(name, formats[i].name) == 0 || strcmp(name, formats[i].also) == 0) {
            *out = (enum export_format)i;
            return true;
        }
    return false;
}

/* --- Markdown --- */

static void add_time(struct buf *b, int64_t ms)
{
    char text[32];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &tm))
        buf_adds(b, text);
    else
        buf_addf(b, "%" PRId64 " ms", ms);
}

/* As a quotation, line by line. */
static void add_quoted(struct buf *b, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        buf_adds(b, n ? "> " : ">");
        buf_add(b, text, n);
        buf_addc(b, '\n');
        text += n + (text[n] == '\n');
    }
}

/* "*412 tokens · 38 tok/s · first after 82 ms · stopped*" */
static void add_footer(struct buf *b, const struct store_footer *f)
{
    bool unfinished = !*f->reason, ordinary = strcmp(f->reason, "stop") == 0;
    buf_adds(b, "\n*");
    if (unfinished)
        buf_adds(b, "unfinished");
    else
        buf_addf(b, "%" PRIu32 " tokens", f->tokens);
    if (f->tps >= 0)
        buf_addf(b, " · %.1f tok/s", f->tps);
    if (f->ttft_ms >= 0)
        buf_addf(b, " · first after %.0f ms", f->ttft_ms);
    if (f->queue_ms >= 0)
        buf_addf(b, " · waited %.0f ms", f->queue_ms);
    if (f->cached_tokens)
        buf_addf(b, " · %" PRIu32 " cached", f->cached_tokens);
    if (f->preemptions)
        buf_addf(b, " · preempted %" PRIu32 "×", f->preemptions);
    if (!unfinished && !ordinary)
        buf_addf(b, " · %s", f->reason);
    buf_adds(b, "*\n");
}

/* The message as it is; a code block that it leaves open is closed, or all that follows would be in it. */
static void add_message(struct buf *b, const struct store_message *m)
{
    const char *text = buf_str(&m->text), *end = text + m->text.len;
    bool open = false;
    for (const char *line = text, *next; line < end; line = next) {
        open ^= end - line >= 3 && memcmp(line, "```", 3) == 0;
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next + 1 : end;
    }
    buf_add(b, text, m->text.len);
    if (!m->text.len || end[-1] != '\n')
        buf_addc(b, '\n');
    if (open)
        buf_adds(b, "```\n");
}

static bool markdown(const struct store_chat *c, struct buf *b)
{
    const struct store_settings *s = &c->settings;
    buf_addf(b, "# %s\n\n", *s->title ? s->title : "Chat");
    if (*s->model)
        buf_addf(b, "- model: %s\n", s->model);
    buf_adds(b, "- begun: ");
    add_time(b, c->created_ms);
    buf_addf(b, "\n- priority: %s\n", prio_name(s->prio));
    if (*s->system) {
        buf_adds(b, "\n## System\n\n");
        add_quoted(b, s->system);
    }
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct store_message *m = &c->messages[i];
        buf_addf(b, "\n## %s\n\n", m->role == STORE_USER ? "You" : "Reply");
        add_message(b, m);
        if (m->role == STORE_ASSISTANT)
            add_footer(b, &m->footer);
    }
    return !b->failed;
}

/* --- JSON --- */

static json_t *message_json(const struct store_message *m)
{
    json_t *o = json_pack("{s:s, s:o, s:I}", "role", store_role_name(m->role), "content",
                          store_json_text(buf_str(&m->text), m->text.len), "ms", (json_int_t)m->time_ms);
    if (o && m->role == STORE_ASSISTANT &&
        json_object_set_new(o, "reply", store_footer_json(&m->footer)) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static bool json(const struct store_chat *c, struct buf *b)
{
    json_t *messages = json_array();
    bool done = messages != NULL;
    for (size_t i = 0; done && i < c->n_messages; i++)
        done = json_array_append_new(messages, message_json(&c->messages[i])) == 0;
    json_t *o =
        json_pack("{s:i, s:s, s:s, s:I, s:I, s:o, s:o}", "schema", EXPORT_SCHEMA, "weft", "session", "id",
                  c->id, "created_ms", (json_int_t)c->created_ms, "changed_ms", (json_int_t)c->changed_ms,
                  "settings", store_settings_json(&c->settings, NULL), "messages", messages);
    if (o && c->draft)
        done = done && json_object_set_new(o, "draft", store_json_text(c->draft, strlen(c->draft))) == 0;
    if (!done) {
        json_decref(o);
        o = NULL;
    }
    return store_add_json(b, o) && buf_addc(b, '\n');
}

bool export_chat(const struct store_chat *c, enum export_format format, struct buf *out)
{
    return format == EXPORT_JSON ? json(c, out) : markdown(c, out);
}

/* --- files --- */

bool export_file_name(const struct store_chat *c, enum export_format format, struct buf *out)
{
    enum { SLUG_MAX = 40 };
    char time_text[32] = "";
    struct tm tm;
    time_t seconds = (time_t)(c->created_ms / 1000);
    size_t slug = 0;
    bool dash = true;
    buf_adds(out, "weft-");
    for (const char *p = c->settings.title; *p && slug < SLUG_MAX; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (plain)
            buf_addc(out, *p >= 'A' && *p <= 'Z' ? (char)(*p | 0x20) : *p);
        else if (!dash)
            buf_addc(out, '-');
        slug += plain || !dash;
        dash = !plain;
    }
    if (!dash)
        buf_addc(out, '-');
    if (gmtime_r(&seconds, &tm))
        strftime(time_text, sizeof time_text, "%Y%m%d-%H%M%S", &tm);
    return buf_addf(out, "%s%s", time_text, formats[format].suffix);
}

static enum weft_rc failed(struct weft_err *err, const char *what, const char *path)
{
    int why = errno;
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s: %s: %s", path, what, strerror(why));
    weft_err_str(err, "where", what);
    return WEFT_INTERNAL_ERROR;
}

/* Where the document goes: absolute, with its name. */
static enum weft_rc find_path(const struct store_chat *c, enum export_format format, const char *path,
                              struct buf *out, struct weft_err *err)
{
    struct stat st;
    buf_clear(out);
    if (strcmp(path, "~") == 0 || strncmp(path, "~/", 2) == 0) {
        const char *home = getenv("HOME");
        if (!home || *home != '/') {
            weft_err_set(err, WEFT_INVALID_REQUEST, "%s: there is no home directory", path);
            weft_err_str(err, "field", "path");
            weft_err_str(err, "value", path);
            return WEFT_INVALID_REQUEST;
        }
        buf_adds(out, home);
        path++;
    } else if (*path != '/') {
        char *cwd = getcwd(NULL, 0);
        if (!cwd)
            return failed(err, "the current directory", ".");
        buf_addf(out, "%s%s", strcmp(cwd, "/") == 0 ? "" : cwd, *path ? "/" : "");
        free(cwd);
    }
    buf_adds(out, path);
    bool directory =
        (out->len && out->data[out->len - 1] == '/') || (stat(buf_str(out), &st) == 0 && S_ISDIR(st.st_mode));
    if (directory) {
        if (out->len && out->data[out->len - 1] != '/')
            buf_addc(out, '/');
        export_file_name(c, format, out);
    }
    return out->failed ? weft_err_nomem(err, "a path", out->len) : WEFT_OK;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t w = write(fd, bytes, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return -1;
        bytes += w;
        n -= (size_t)w;
    }
    return fsync(fd);
}

static enum weft_rc exists(struct weft_err *err, const char *path)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s exists already; it isn't overwritten unless told so", path);
    weft_err_str(err, "field", "path");
    weft_err_str(err, "value", path);
    weft_err_str(err, "limit", "a new file");
    return WEFT_INVALID_REQUEST;
}

/* Gives the new file its name, unless something has it. link(2) refuses that however late it came; where the
 * file system has no links, a look has to do. */
static enum weft_rc name_new(const char *temp, const char *path, struct weft_err *err)
{
    struct stat st;
    if (link(temp, path) == 0) {
        unlink(temp);
        return WEFT_OK;
    }
    bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS;
    if (errno == EEXIST || (no_links && lstat(path, &st) == 0))
        return exists(err, path);
    return no_links && rename(temp, path) == 0 ? WEFT_OK : failed(err, "making the file", path);
}

/* By way of a new file beside it, so that there is never half a document. */
static enum weft_rc write_file(const char *path, const struct buf *bytes, bool overwrite,
                               struct weft_err *err)
{
    struct buf temp = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    if (!buf_addf(&temp, "%s.XXXXXX", path)) {
        buf_free(&temp);
        return weft_err_nomem(err, "a path", strlen(path));
    }
    int fd = mkostemp(temp.data, O_CLOEXEC); /* O_EXCL, 0600 */
    if (fd < 0) {
        rc = failed(err, "making the file", path);
        buf_free(&temp);
        return rc;
    }
    if (write_all(fd, buf_str(bytes), bytes->len) != 0)
        rc = failed(err, "writing", path);
    if (close(fd) != 0 && rc == WEFT_OK)
        rc = failed(err, "writing", path);
    if (rc == WEFT_OK && overwrite && rename(temp.data, path) != 0)
        rc = failed(err, "renaming", path);
    else if (rc == WEFT_OK && !overwrite)
        rc = name_new(temp.data, path, err);
    if (rc != WEFT_OK)
        unlink(temp.data);
    buf_free(&temp);
    return rc;
}

bool export_exists(const char *path)
{
    struct buf full = BUF_INIT;
    struct stat st;
    const char *home = getenv("HOME");
    if (strncmp(path, "~/", 2) == 0 && home)
        buf_addf(&full, "%s%s", home, path + 1);
    else
        buf_adds(&full, path);
    bool there = lstat(buf_str(&full), &st) == 0 && !S_ISDIR(st.st_mode);
    buf_free(&full);
    return there;
}

enum weft_rc export_write(const struct store_chat *c, enum export_format format, const char *path,
                          bool overwrite, struct buf *written, struct weft_err *err)
{
    struct buf bytes = BUF_INIT;
    struct stat st;
    enum weft_rc rc = find_path(c, format, path, written, err);
    if (rc == WEFT_OK && !overwrite && lstat(buf_str(written), &st) == 0)
        rc = exists(err, buf_str(written));
    if (rc == WEFT_OK && !export_chat(c, format, &bytes))
        rc = weft_err_nomem(err, "an exported chat", bytes.len);
    if (rc == WEFT_OK)
        rc = write_file(buf_str(written), &bytes, overwrite, err);
    buf_free(&bytes);
    return rc;
}

/* --- reading --- */

static enum weft_rc wrong(struct weft_err *err, const char *field, const json_t *value, const char *limit)
{
    struct buf b = BUF_INIT;
    if (json_is_object(value) || json_is_array(value))
        buf_adds(&b, json_is_object(value) ? "an object" : "an array");
    else if (value)
        store_add_json(&b, json_incref((json_t *)value));
    else
        buf_adds(&b, "missing");
    weft_err_set(err, WEFT_FILE_INVALID, "%s is %.64s, must be %s", field, buf_str(&b), limit);
    weft_err_str(err, "field", field);
    weft_err_str(err, "value", buf_str(&b));
    weft_err_str(err, "limit", limit);
    buf_free(&b);
    return WEFT_FILE_INVALID;
}

static enum weft_rc set_system(struct store_chat *c, const char *text)
{
    struct store_settings s = c->settings;
    s.system = text;
    return store_chat_set(c, &s) ? WEFT_OK : WEFT_INTERNAL_ERROR;
}

static enum weft_rc read_message(struct store_chat *c, const json_t *m, size_t i, struct weft_err *err)
{
    char field[64];
    const json_t *role_name = json_object_get(m, "role"), *content = json_object_get(m, "content");
    const json_t *reply = json_object_get(m, "reply");
    enum store_role role = STORE_USER;
    snprintf(field, sizeof field, "messages[%zu].content", i);
    if (!json_is_string(content))
        return wrong(err, field, content, "a text");
    if (json_string_length(content) > STORE_TEXT_MAX) {
        weft_err_set(err, WEFT_FILE_INVALID, "%s has %zu bytes, the limit is %d", field,
                     json_string_length(content), STORE_TEXT_MAX);
        weft_err_str(err, "field", field);
        weft_err_num(err, "value", (double)json_string_length(content));
        weft_err_num(err, "limit", STORE_TEXT_MAX);
        return WEFT_FILE_INVALID;
    }
    snprintf(field, sizeof field, "messages[%zu].role", i);
    bool system = json_is_string(role_name) && strcmp(json_string_value(role_name), "system") == 0;
    if (system && i == 0)
        return set_system(c, json_string_value(content)) == WEFT_OK
                   ? WEFT_OK
                   : weft_err_nomem(err, "a system prompt", json_string_length(content));
    if (!json_is_string(role_name) || !store_role_parse(json_string_value(role_name), &role))
        return wrong(err, field, role_name, i ? "user or assistant" : "user, assistant or system");
    if (!store_chat_add(c, 0, role, json_integer_value(json_object_get(m, "ms")), json_string_value(content),
                        json_string_length(content)))
        return weft_err_nomem(err, "a message", json_string_length(content));
    struct store_footer *footer = &c->messages[c->n_messages - 1].footer;
    if (reply)
        store_footer_read(footer, reply);
    else if (role == STORE_ASSISTANT) /* somebody else's: taken for complete */
        snprintf(footer->reason, sizeof footer->reason, "stop");
    return WEFT_OK;
}

static enum weft_rc read_document(struct store_chat *c, const json_t *o, struct weft_err *err)
{
    const json_t *messages = json_is_array(o) ? o : json_object_get(o, "messages");
    const json_t *schema = json_object_get(o, "schema"), *settings = json_object_get(o, "settings");
    const json_t *draft = json_object_get(o, "draft");
    enum weft_rc rc = WEFT_OK;
    if (json_is_object(o) && (!json_is_integer(schema) || json_integer_value(schema) != EXPORT_SCHEMA))
        return wrong(err, "schema", schema, "1");
    if (!json_is_array(messages))
        return wrong(err, "messages", messages, "an array of {\"role\",\"content\"}");
    if (json_array_size(messages) > STORE_MESSAGES_MAX)
        return wrong(err, "messages", messages, "at most 1000000");
    if (settings && !json_is_object(settings))
        return wrong(err, "settings", settings, "an object");
    if (settings)
        rc = store_settings_read(c, settings, err);
    for (size_t i = 0; rc == WEFT_OK && i < json_array_size(messages); i++)
        rc = read_message(c, json_array_get(messages, i), i, err);
    if (rc == WEFT_OK && json_is_string(draft) &&
        !store_chat_draft(c, json_string_value(draft), json_string_length(draft)))
        rc = weft_err_nomem(err, "a draft", json_string_length(draft));
    c->created_ms = json_integer_value(json_object_get(o, "created_ms"));
    c->changed_ms = json_integer_value(json_object_get(o, "changed_ms"));
    return rc;
}

enum weft_rc export_parse(const char *bytes, size_t n, const struct store_settings *defaults,
                          struct store_chat *out, struct weft_err *err)
{
    json_error_t why;
    json_t *o = json_loadb(bytes, n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!o && json_error_code(&why) == json_error_out_of_memory)
        return weft_err_nomem(err, "an exported chat", n);
    if (!o) {
        weft_err_set(err, WEFT_FILE_INVALID, "no JSON: line %d: %s", why.line, why.text);
        weft_err_str(err, "field", "JSON");
        weft_err_str(err, "value", why.text);
        weft_err_num(err, "line", why.line);
        return WEFT_FILE_INVALID;
    }
    enum weft_rc rc = store_chat_init(out, defaults) ? WEFT_OK : weft_err_nomem(err, "a chat", sizeof *out);
    if (rc == WEFT_OK) {
        rc = read_document(out, o, err);
        if (rc != WEFT_OK)
            store_chat_deinit(out);
    }
    json_decref(o);
    return rc;
}

enum weft_rc export_read(const char *path, const struct store_settings *defaults, struct store_chat *out,
                         struct weft_err *err)
{
    struct buf bytes = BUF_INIT, full = BUF_INIT;
    const char *home = getenv("HOME");
    if (strncmp(path, "~/", 2) == 0 && home && *home == '/')
        buf_addf(&full, "%s%s", home, path + 1);
    else
        buf_adds(&full, path);
    int fd = open(buf_str(&full), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int rc_read = fd < 0 ? -1 : buf_read_fd(&bytes, fd, EXPORT_FILE_MAX);
    enum weft_rc rc;
    if (rc_read < 0) {
        rc = weft_err_set(err, WEFT_FILE_INVALID, "%s", strerror(errno));
    } else if (rc_read > 0) {
        rc = weft_err_set(err, WEFT_FILE_INVALID, "larger than %d bytes", EXPORT_FILE_MAX);
        weft_err_num(err, "limit", EXPORT_FILE_MAX);
    } else {
        rc = export_parse(buf_str(&bytes), bytes.len, defaults, out, err);
    }
    if (rc == WEFT_FILE_INVALID) {
        weft_err_prefix(err, "%s: ", path);
        weft_err_str(err, "path", path);
    }
    if (fd >= 0)
        close(fd);
    buf_free(&bytes);
    buf_free(&full);
    return rc;
}
