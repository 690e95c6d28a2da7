#include "src/store_chat.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

/* --- text --- */

bool store_add_valid(struct buf *b, const char *text, size_t n)
{
    if (utf8_valid(text, n))
        return buf_add(b, text, n);
    while (n) {
        uint32_t cp;
        size_t len = utf8_decode(text, n, &cp);
        if (len == 0 || (cp == 0xfffd && len == 1)) {
            buf_adds(b, "\xef\xbf\xbd");
            len = 1;
        } else {
            buf_add(b, text, len);
        }
        text += len;
        n -= len;
    }
    return !b->failed;
}

json_t *store_json_text(const char *text, size_t n)
{
    json_t *value = json_stringn(text, n);
    struct buf valid = BUF_INIT;
    if (!value && store_add_valid(&valid, text, n))
        value = json_stringn(buf_str(&valid), valid.len);
    buf_free(&valid);
    return value;
}

static int add_bytes(const char *bytes, size_t n, void *b)
{
    return buf_add(b, bytes, n) ? 0 : -1;
}

bool store_add_json(struct buf *b, json_t *value)
{
    bool done = value && json_dump_callback(value, add_bytes, b,
                                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) == 0;
    json_decref(value);
    return done;
}

/* --- a chat --- */

bool store_chat_init(struct store_chat *c, const struct store_settings *settings)
{
    *c = (struct store_chat){.next_id = 1};
    return store_chat_set(c, settings);
}

bool store_chat_set(struct store_chat *c, const struct store_settings *settings)
{
    struct store_settings old = c->settings, copy = *settings;
    copy.title = mem_strdup(settings->title);
    copy.system = mem_strdup(settings->system);
    bool done = copy.title && copy.system;
    if (done)
        c->settings = copy;
    else
        old = copy;
    mem_free((char *)old.title);
    mem_free((char *)old.system);
    return done;
}

void store_chat_deinit(struct store_chat *c)
{
    store_chat_truncate(c, 0);
    for (size_t i = 0; i < c->n_inputs; i++)
        mem_free(c->inputs[i]);
    store_chat_wait_truncate(c, 0);
    mem_free(c->messages);
    mem_free(c->inputs);
    mem_free(c->waiting);
    mem_free(c->draft);
    mem_free((char *)c->settings.title);
    mem_free((char *)c->settings.system);
    *c = (struct store_chat){0};
}

bool store_chat_add(struct store_chat *c, uint32_t id, enum store_role role, int64_t time_ms,
                    const char *text, size_t n)
{
    struct store_message m = {.id = id ? id : c->next_id, .role = role, .time_ms = time_ms, .text = BUF_INIT};
    m.footer = (struct store_footer){.ttft_ms = -1, .tps = -1, .queue_ms = -1};
    if (!store_add_valid(&m.text, text, n) ||
        mem_grow(&c->messages, &c->cap_messages, c->n_messages + 1, sizeof m) != 0) {
        buf_free(&m.text);
        return false;
    }
    c->messages[c->n_messages++] = m;
    if (m.id >= c->next_id)
        c->next_id = m.id + 1;
    return true;
}

bool store_chat_append(struct store_chat *c, size_t index, const char *text, size_t n)
{
    struct buf *b = &c->messages[index].text;
    size_t before = b->len;
    if (store_add_valid(b, text, n))
        return true;
    b->failed = false; /* what was there stands */
    b->len = before;
    if (b->data)
        b->data[before] = 0;
    return false;
}

void store_chat_truncate(struct store_chat *c, size_t n)
{
    while (c->n_messages > n)
        buf_free(&c->messages[--c->n_messages].text);
}

size_t store_chat_find(const struct store_chat *c, uint32_t id)
{
    size_t low = 0, high = c->n_messages; /* ids grow */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->messages[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* A copy as valid UTF-8, ended by a NUL. */
static char *copy_text(const char *text, size_t n)
{
    struct buf b = BUF_INIT;
    store_add_valid(&b, text, n);
    return buf_take(&b, NULL);
}

bool store_chat_input(struct store_chat *c, const char *text, size_t n)
{
    char *copy = copy_text(text, n);
    if (!copy || mem_grow(&c->inputs, &c->cap_inputs, c->n_inputs + 1, sizeof *c->inputs) != 0) {
        mem_free(copy);
        return false;
    }
    if (c->n_inputs == STORE_INPUTS_MAX) {
        mem_free(c->inputs[0]);
        memmove(c->inputs, c->inputs + 1, --c->n_inputs * sizeof *c->inputs);
    }
    c->inputs[c->n_inputs++] = copy;
    return true;
}

bool store_chat_draft(struct store_chat *c, const char *text, size_t n)
{
    char *copy = n ? copy_text(text, n) : NULL;
    if (n && !copy)
        return false;
    mem_free(c->draft);
    c->draft = copy;
    return true;
}

bool store_chat_wait(struct store_chat *c, const char *text, size_t n)
{
    struct buf copy = BUF_INIT;
    if (c->n_waiting == STORE_WAITING_MAX || !store_add_valid(&copy, text, n) ||
        mem_grow(&c->waiting, &c->cap_waiting, c->n_waiting + 1, sizeof copy) != 0) {
        buf_free(&copy);
        return false;
    }
    c->waiting[c->n_waiting++] = copy;
    return true;
}

void store_chat_wait_truncate(struct store_chat *c, size_t n)
{
    while (c->n_waiting > n)
        buf_free(&c->waiting[--c->n_waiting]);
}

static const char *const roles[] = {[STORE_USER] = "user", [STORE_ASSISTANT] = "assistant"};

const char *store_role_name(enum store_role role)
{
    return roles[role];
}

bool store_role_parse(const char *name, enum store_role *out)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i], name) == 0) {
            *out = (enum store_role)i;
            return true;
        }
    return false;
}

/* --- settings as JSON --- */

enum field_type { TEXT, FLAG, WORD, PRIO, REAL, COUNT, SEED };

#define FIELD(name) offsetof(struct store_settings, name), sizeof((struct store_settings *)NULL)->name
static const struct field {
    const char *name;
    enum field_type type;
    size_t offset; /* in struct store_settings */
    size_t size;   /* of it: how long a WORD may be, with its NUL */
} fields[] = {
    {"title", TEXT, FIELD(title)},
    {"titled", FLAG, FIELD(titled)},
    {"system", TEXT, FIELD(system)},
    {"model", WORD, FIELD(model)},
    {"priority", PRIO, FIELD(prio)},
    {"max_tokens", COUNT, FIELD(max_tokens)},
    {"temperature", REAL, FIELD(sampling.temperature)},
    {"top_k", COUNT, FIELD(sampling.top_k)},
    {"top_p", REAL, FIELD(sampling.top_p)},
    {"min_p", REAL, FIELD(sampling.min_p)},
    {"repeat_penalty", REAL, FIELD(sampling.repeat_penalty)},
    {"presence_penalty", REAL, FIELD(sampling.presence_penalty)},
    {"frequency_penalty", REAL, FIELD(sampling.frequency_penalty)},
    {"penalty_window", COUNT, FIELD(sampling.penalty_window)},
    {"seed", SEED, FIELD(sampling.seed)},
    {"fork_of", WORD, FIELD(fork_of)},
    {"paused", FLAG, FIELD(paused)},
    {"cut", FLAG, FIELD(cut)},
};
#undef FIELD
enum { N_FIELDS = sizeof fields / sizeof *fields };

static json_t *field_json(const struct field *f, const struct store_settings *s)
{
    const void *at = (const char *)s + f->offset;
    switch (f->type) {
    case TEXT: return store_json_text(*(const char *const *)at, strlen(*(const char *const *)at));
    case WORD: return store_json_text(at, strlen(at));
    case FLAG: return json_boolean(*(const bool *)at);
    case PRIO: return json_string(prio_name(*(const enum prio *)at));
    case REAL: return json_real(*(const double *)at);
    case COUNT: return json_integer(*(const uint32_t *)at);
    case SEED: return json_integer(*(const int64_t *)at);
    }
    return NULL;
}

json_t *store_settings_json(const struct store_settings *s, const struct store_settings *base)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < N_FIELDS; i++) {
        json_t *value = field_json(&fields[i], s), *old = base ? field_json(&fields[i], base) : NULL;
        if (!value || (!json_equal(value, old) && json_object_set(object, fields[i].name, value) != 0)) {
            json_decref(object);
            object = NULL;
        }
        json_decref(value);
        json_decref(old);
    }
    return object;
}

static enum weft_rc refuse(struct weft_err *err, const char *name, const json_t *value, const char *limit)
{
    struct buf b = BUF_INIT;
    store_add_json(&b, json_incref((json_t *)value));
    weft_err_set(err, WEFT_FILE_INVALID, "%s is %.64s, must be %s", name, buf_str(&b), limit);
    weft_err_str(err, "field", name);
    weft_err_str(err, "value", buf_str(&b));
    weft_err_str(err, "limit", limit);
    buf_free(&b);
    return WEFT_FILE_INVALID;
}

/* Reads one field into *s; NULL, or what it should have been. Texts point into `value`. */
static const char *field_read(const struct field *f, const json_t *value, struct store_settings *s)
{
    void *at = (char *)s + f->offset;
    json_int_t number = json_integer_value(value);
    switch (f->type) {
    case TEXT:
        if (!json_is_string(value))
            return "a text";
        *(const char **)at = json_string_value(value);
        return NULL;
    case WORD:
        if (!json_is_string(value) || json_string_length(value) >= f->size)
            return f->size == STORE_ID_MAX ? "a text of at most 47 bytes" : "a text of at most 95 bytes";
        snprintf(at, f->size, "%s", json_string_value(value));
        return NULL;
    case FLAG: *(bool *)at = json_is_true(value); return json_is_boolean(value) ? NULL : "true or false";
    case PRIO:
        return json_is_string(value) && prio_parse(json_string_value(value), at)
                   ? NULL
                   : "critical, high, normal or low";
    case REAL: *(double *)at = json_number_value(value); return json_is_number(value) ? NULL : "a number";
    case COUNT:
        if (!json_is_integer(value) || number < 0 || number > UINT32_MAX)
            return "0 … 4294967295";
        *(uint32_t *)at = (uint32_t)number;
        return NULL;
    case SEED:
        *(int64_t *)at = number;
        return json_is_integer(value) && number >= -1 ? NULL : "a whole number from -1 on";
    }
    return NULL;
}

enum weft_rc store_settings_read(struct store_chat *c, const json_t *object, struct weft_err *err)
{
    struct store_settings s = c->settings;
    for (size_t i = 0; i < N_FIELDS; i++) {
        const json_t *value = json_object_get(object, fields[i].name);
        const char *wrong = value ? field_read(&fields[i], value, &s) : NULL;
        if (wrong)
            return refuse(err, fields[i].name, value, wrong);
    }
    if (s.max_tokens == 0)
        return refuse(err, "max_tokens", json_object_get(object, "max_tokens"), "1 … 4294967295");
    if (sampling_check(&s.sampling, err) != WEFT_OK)
        return err ? (err->code = WEFT_FILE_INVALID) : WEFT_FILE_INVALID;
    if (!store_chat_set(c, &s))
        return weft_err_nomem(err, "settings of a session", strlen(s.title) + strlen(s.system));
    return WEFT_OK;
}

/* --- footers as JSON --- */

json_t *store_footer_json(const struct store_footer *f)
{
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:I}", "reason", f->reason, "tokens", (json_int_t)f->tokens,
                  "cached_tokens", (json_int_t)f->cached_tokens, "preemptions", (json_int_t)f->preemptions);
    const struct {
        const char *name;
        double value;
    } figures[] = {{"ttft_ms", f->ttft_ms}, {"tps", f->tps}, {"queue_ms", f->queue_ms}};
    for (size_t i = 0; o && i < sizeof figures / sizeof *figures; i++)
        if (isfinite(figures[i].value) && figures[i].value >= 0)
            json_object_set_new(o, figures[i].name, json_real(round(figures[i].value * 1000) / 1000));
    return o;
}

static double figure(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_number(v) && json_number_value(v) >= 0 ? json_number_value(v) : -1;
}

static uint32_t count(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));
    return v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

void store_footer_read(struct store_footer *f, const json_t *o)
{
    const char *reason = json_string_value(json_object_get(o, "reason"));
    *f = (struct store_footer){
        .ttft_ms = figure(o, "ttft_ms"),
        .tps = figure(o, "tps"),
        .queue_ms = figure(o, "queue_ms"),
        .tokens = count(o, "tokens"),
        .cached_tokens = count(o, "cached_tokens"),
        .preemptions = count(o, "preemptions"),
    };
    if (reason && strlen(reason) < sizeof f->reason)
        snprintf(f->reason, sizeof f->reason, "%s", reason);
}
