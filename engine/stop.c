#include "engine/stop.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

enum weft_rc stop_check(const char *const *strings, size_t n, struct weft_err *err)
{
    const char *what = NULL;
    double value = 0, limit = 0;
    if (n > STOP_MAX) {
        what = "too many stop strings";
        value = (double)n;
        limit = STOP_MAX;
    }
    for (size_t i = 0; i < n && !what; i++) {
        size_t len = strlen(strings[i]);
        value = (double)len;
        if (len < 1) {
            what = "an empty stop string: bytes";
            limit = 1;
        } else if (len > STOP_LEN_MAX) {
            what = "too long a stop string: bytes";
            limit = STOP_LEN_MAX;
        } else if (!utf8_valid(strings[i], len)) {
            what = "a stop string that isn't UTF-8: bytes";
            limit = STOP_LEN_MAX;
        }
    }
    if (!what)
        return WEFT_OK;
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s: %g, limit %g", what, value, limit);
    weft_err_str(err, "field", "stop");
    weft_err_num(err, "value", value);
    weft_err_num(err, "limit", limit);
    return WEFT_INVALID_REQUEST;
}

/* How far `s` has got when byte c follows what put it into `state`. */
static uint16_t advance(const struct stop_string *s, uint16_t state, char c)
{
    while (state && s->text[state] != c)
        state = s->border[state - 1];
    return (uint16_t)(state + (s->text[state] == c));
}

enum weft_rc stop_init(struct stop_set *s, const char *const *strings, size_t n, struct weft_err *err)
{
    *s = (struct stop_set){0};
    if (!n)
        return WEFT_OK;
    s->string = mem_calloc(n, sizeof *s->string);
    if (!s->string)
        return weft_err_nomem(err, "stop_init", n * sizeof *s->string);
    for (; s->n < n; s->n++) {
        struct stop_string *t = &s->string[s->n];
        size_t len = strlen(strings[s->n]);
        t->len = (uint16_t)len;
        t->text = mem_strdup(strings[s->n]);
        t->border = mem_calloc(len, sizeof *t->border);
        if (!t->text || !t->border) {
            s->n++; /* so that what there is of it is freed */
            stop_deinit(s);
            return weft_err_nomem(err, "stop_init", len);
        }
        for (size_t i = 1; i < len; i++)
            t->border[i] = advance(t, t->border[i - 1], t->text[i]);
    }
    return WEFT_OK;
}

void stop_deinit(struct stop_set *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        mem_free(s->string[i].text);
        mem_free(s->string[i].border);
    }
    mem_free(s->string);
    *s = (struct stop_set){0};
}

bool stop_feed(struct stop_set *s, const char *bytes, size_t n, size_t *end, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < n && s->n; i++) {
        for (uint32_t k = 0; k < s->n; k++) {
            struct stop_string *t = &s->string[k];
            t->state = advance(t, t->state, bytes[i]);
            if (t->state == t->len && t->len > *len)
                *len = t->len;
        }
        if (*len) {
            *end = i + 1;
            return true;
        }
    }
    return false;
}

size_t stop_held(const struct stop_set *s)
{
    size_t held = 0;
    for (uint32_t k = 0; k < s->n; k++)
        held = s->string[k].state > held ? s->string[k].state : held;
    return held;
}
