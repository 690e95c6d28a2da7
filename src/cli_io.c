/* Reading input, writing output: the only file of the command line that touches standard output. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/cli.h"
#include "ui/text.h"

enum { JSON_DIGITS = 12 };

enum weft_rc cli_read(const char *path, size_t limit, struct buf *out, struct weft_err *err)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "<stdin>" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int got = fd < 0 ? -1 : buf_read_fd(out, fd, limit);
    int why = errno;
    if (fd >= 0 && !standard)
        close(fd);
    if (got == 0)
        return WEFT_OK;
    char most[48];
    snprintf(most, sizeof most, "%zu bytes", limit);
    weft_err_set(err, WEFT_FILE_INVALID, "%s: %s%s", name, got < 0 ? strerror(why) : "larger than ",
                 got < 0 ? "" : most);
    weft_err_str(err, "path", name);
    weft_err_str(err, "field", got < 0 ? "path" : "size");
    weft_err_str(err, "value", got < 0 ? strerror(why) : "more");
    weft_err_str(err, "limit", got < 0 ? "a readable file" : most);
    return WEFT_FILE_INVALID;
}

static enum weft_rc refuse_output(struct weft_err *err)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "standard output: %s", strerror(errno));
    weft_err_str(err, "where", "stdout");
    return WEFT_INTERNAL_ERROR;
}

enum weft_rc cli_flush(struct weft_err *err)
{
    return fflush(stdout) || ferror(stdout) ? refuse_output(err) : WEFT_OK;
}

enum weft_rc cli_print_json(json_t *value, struct weft_err *err)
{
    if (!value)
        return weft_err_nomem(err, "JSON output", 0);
    int failed = json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(JSON_DIGITS));
    json_decref(value);
    if (failed || putchar('\n') == EOF)
        return refuse_output(err);
    return cli_flush(err);
}

enum weft_rc cli_print_error_json(const struct weft_err *error, struct weft_err *err)
{
    struct weft_err stamped = *error;
    if (!stamped.timestamp_ms)
        stamped.timestamp_ms = clock_unix_ms();
    return cli_print_json(json_pack("{s:o}", "error", weft_err_json(&stamped)), err);
}

json_t *cli_json_text(const char *s, size_t n)
{
    if (utf8_valid(s, n))
        return json_stringn(s, n);
    struct buf clean = BUF_INIT;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        char bytes[4];
        size_t len = utf8_decode(s + i, n - i, &cp);
        if (len == 0) {
            len = n - i;
            cp = 0xfffd;
        }
        buf_add(&clean, bytes, utf8_encode(cp, bytes));
        i += len;
    }
    json_t *text = clean.failed ? NULL : json_stringn(buf_str(&clean), clean.len);
    buf_free(&clean);
    return text;
}

json_t *cli_json_number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

enum weft_rc cli_parse_ids(const char *text, uint32_t **ids, size_t *n, struct weft_err *err)
{
    size_t cap = 0;
    *ids = NULL;
    *n = 0;
    const char *p = text + strspn(text, " \t\r\n");
    bool brackets = *p == '[';
    p += brackets;
    for (bool first = true;; first = false) {
        p += strspn(p, " \t\r\n");
        bool ends = brackets ? *p == ']' : !*p;
        if (first && ends)
            break;
        uint64_t v = 0;
        size_t digits = strspn(p, "0123456789");
        for (size_t i = 0; i < digits && v <= UINT32_MAX; i++)
            v = v * 10 + (uint64_t)(p[i] - '0');
        if (!digits || v > UINT32_MAX)
            goto refuse;
        if (mem_grow(ids, &cap, *n + 1, sizeof **ids)) {
            mem_free(*ids);
            *ids = NULL;
            return weft_err_nomem(err, "token ids", *n * sizeof **ids);
        }
        (*ids)[(*n)++] = (uint32_t)v;
        p += digits;
        p += strspn(p, " \t\r\n");
        if (*p != ',')
            break;
        p++;
    }
    if (brackets && *p == ']')
        p++;
    else if (brackets)
        goto refuse;
    p += strspn(p, " \t\r\n");
    if (!*p)
        return WEFT_OK;
refuse:
    mem_free(*ids);
    *ids = NULL;
    char shown[48];
    snprintf(shown, sizeof shown, "%.40s", *p ? p : "the end");
    weft_err_set(err, WEFT_INVALID_REQUEST,
                 "token ids: \"%s\" where a number from 0 to 4294967295 is needed, as in 1,2,3", shown);
    weft_err_str(err, "field", "ids");
    weft_err_str(err, "value", shown);
    weft_err_str(err, "limit", "0 … 4294967295");
    return WEFT_INVALID_REQUEST;
}

/* ---- text ---- */

struct cli_text {
    bool filtered;
    struct text_filter filter;
    struct buf safe;
    char last; /* last byte written; 0: none yet */
};

enum weft_rc cli_text_open(struct cli_text **out, struct weft_err *err)
{
    struct cli_text *t = mem_calloc(1, sizeof *t);
    if (!t)
        return weft_err_nomem(err, "text output", sizeof *t);
    t->filtered = isatty(STDOUT_FILENO);
    *out = t;
    return WEFT_OK;
}

static enum weft_rc put(struct cli_text *t, const char *s, size_t n, struct weft_err *err)
{
    if (n == 0)
        return WEFT_OK;
    t->last = s[n - 1];
    return fwrite(s, 1, n, stdout) == n ? cli_flush(err) : refuse_output(err);
}

enum weft_rc cli_text_write(struct cli_text *t, const char *s, size_t n, struct weft_err *err)
{
    if (!t->filtered)
        return put(t, s, n, err);
    buf_clear(&t->safe);
    if (!text_filter(&t->filter, s, n, &t->safe))
        return weft_err_nomem(err, "text output", n);
    return put(t, buf_str(&t->safe), t->safe.len, err);
}

enum weft_rc cli_text_close(struct cli_text *t, bool newline, struct weft_err *err)
{
    if (!t)
        return WEFT_OK;
    buf_clear(&t->safe);
    if (t->filtered)
        text_filter_end(&t->filter, &t->safe);
    enum weft_rc rc = put(t, buf_str(&t->safe), t->safe.len, err);
    if (rc == WEFT_OK && newline && t->last && t->last != '\n')
        rc = put(t, "\n", 1, err);
    buf_free(&t->safe);
    mem_free(t);
    return rc;
}

enum weft_rc cli_text_print(const char *s, size_t n, struct weft_err *err)
{
    struct cli_text *out = NULL;
    enum weft_rc rc = cli_text_open(&out, err);
    if (rc == WEFT_OK)
        rc = cli_text_write(out, s, n, err);
    enum weft_rc closed = cli_text_close(out, false, rc ? NULL : err);
    return rc ? rc : closed;
}
