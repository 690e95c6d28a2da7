#include "engine/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
    int status;
} codes[WEFT_RC_COUNT] = {[WEFT_OK] = {"OK", "success", 0},
#define X(name, status, text) [WEFT_##name] = {#name, text, status},
                          WEFT_ERRORS(X)
#undef X
};

const char *weft_rc_name(enum weft_rc rc)
{
    return (unsigned)rc < WEFT_RC_COUNT ? codes[rc].name : "INTERNAL_ERROR";
}

const char *weft_rc_text(enum weft_rc rc)
{
    return (unsigned)rc < WEFT_RC_COUNT ? codes[rc].text : "unknown code";
}

int weft_rc_exit_status(enum weft_rc rc)
{
    return (unsigned)rc < WEFT_RC_COUNT ? codes[rc].status : 1;
}

/* Copies src to dst (size bytes with the NUL), control characters as \xNN, never cutting a UTF-8 sequence. */
static void copy_escaped(char *dst, size_t size, const char *src)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)src; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            if (n + 5 > size)
                break;
            n += (size_t)snprintf(dst + n, size - n, "\\x%02x", *p);
        } else {
            if (n + 2 > size)
                break;
            dst[n++] = (char)*p;
        }
    }
    dst[n] = 0;
    /* A sequence cut at the end: drop its leading part. */
    size_t tail = n;
    while (tail > 0 && n - tail < 3 && ((unsigned char)dst[tail - 1] & 0xc0) == 0x80)
        tail--;
    if (tail > 0 && ((unsigned char)dst[tail - 1] & 0xc0) == 0xc0) {
        unsigned char lead = (unsigned char)dst[tail - 1];
        size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (n - (tail - 1) < need)
            dst[tail - 1] = 0;
    }
}

enum weft_rc weft_err_set(struct weft_err *err, enum weft_rc code, const char *fmt, ...)
{
    if (err) {
        char raw[sizeof err->message];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(raw, sizeof raw, fmt, ap);
        va_end(ap);
        copy_escaped(err->message, sizeof err->message, raw);
        err->code = code;
        err->timestamp_ms = 0;
        err->n_context = 0;
    }
    return code;
}

static struct weft_err_context *next_context(struct weft_err *err, const char *key)
{
    if (!err || err->n_context >= WEFT_ERR_CONTEXT_MAX)
        return NULL;
    struct weft_err_context *c = &err->context[err->n_context++];
    c->key = key;
    return c;
}

void weft_err_num(struct weft_err *err, const char *key, double value)
{
    struct weft_err_context *c = next_context(err, key);
    if (c) {
        c->is_text = false;
        c->number = value;
        c->text[0] = 0;
    }
}

void weft_err_str(struct weft_err *err, const char *key, const char *value)
{
    struct weft_err_context *c = next_context(err, key);
    if (c) {
        c->is_text = true;
        c->number = 0;
        copy_escaped(c->text, sizeof c->text, value ? value : "");
    }
}

void weft_err_prefix(struct weft_err *err, const char *fmt, ...)
{
    if (!err)
        return;
    char raw[sizeof err->message], joined[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    size_t n = strlen(raw), m = strlen(err->message);
    if (n + m >= sizeof joined)
        m = n < sizeof joined ? sizeof joined - 1 - n : 0;
    memcpy(joined, raw, n);
    memcpy(joined + n, err->message, m);
    joined[n + m] = 0;
    copy_escaped(err->message, sizeof err->message, joined);
}

enum weft_rc weft_err_nomem(struct weft_err *err, const char *where, size_t bytes)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "out of memory: %zu bytes for %s", bytes, where);
    weft_err_str(err, "where", where);
    return WEFT_INTERNAL_ERROR;
}

json_t *weft_err_json(const struct weft_err *err)
{
    json_t *context = json_object();
    for (unsigned i = 0; i < err->n_context; i++) {
        const struct weft_err_context *c = &err->context[i];
        json_t *v;
        if (c->is_text) {
            v = json_string(c->text);
            if (!v) /* not UTF-8 */
                v = json_string("?");
        } else if (c->number > -9e15 && c->number < 9e15 && c->number == (double)(json_int_t)c->number) {
            v = json_integer((json_int_t)c->number);
        } else {
            v = json_real(c->number);
        }
        json_object_set_new(context, c->key, v);
    }
    json_t *message = json_string(err->message);
    if (!message)
        message = json_string("?");
    return json_pack("{s:s,s:o,s:o,s:I}", "code", weft_rc_name(err->code), "message", message, "context",
                     context, "timestamp", (json_int_t)err->timestamp_ms);
}
