#include "engine/model/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/model/gguf_refuse.h"

static const char *const type_names[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = "u8",         [GGUF_I8] = "i8",       [GGUF_U16] = "u16", [GGUF_I16] = "i16",
    [GGUF_U32] = "u32",       [GGUF_I32] = "i32",     [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",
    [GGUF_STRING] = "string", [GGUF_ARRAY] = "array", [GGUF_U64] = "u64", [GGUF_I64] = "i64",
    [GGUF_F64] = "f64",
};

const char *gguf_type_name(enum gguf_type type)
{
    return type < GGUF_TYPE_COUNT ? type_names[type] : "unknown";
}

struct gguf_text gguf_text(const char *fmt, ...)
{
    struct gguf_text t;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t.s, sizeof t.s, fmt, ap);
    va_end(ap);
    t.s[utf8_whole(t.s, strlen(t.s))] = 0; /* a long text may be cut within a character */
    return t;
}

/* C0, DEL and C1 controls, and the marks that reorder text on a terminal. */
static bool unprintable(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x061c || cp == 0x200e || cp == 0x200f ||
           (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

struct gguf_text gguf_quote(struct gguf_str s)
{
    struct gguf_text t;
    size_t n = 0, room = sizeof t.s - sizeof "..." - 4 * 4; /* a character takes up to 4 times \xNN */
    uint64_t i = 0;
    while (i < s.n && n < room) {
        uint32_t cp;
        size_t len = utf8_decode(s.s + i, s.n - i, &cp);
        bool valid = len > 1 || (len == 1 && cp != 0xfffd);
        if (len == 0)
            len = 1;
        if (valid && !unprintable(cp)) {
            memcpy(t.s + n, s.s + i, len);
            n += len;
        } else {
            for (size_t k = 0; k < len; k++)
                n += (size_t)snprintf(t.s + n, sizeof t.s - n, "\\x%02x", (unsigned char)s.s[i + k]);
        }
        i += len;
    }
    memcpy(t.s + n, i < s.n ? "..." : "", i < s.n ? sizeof "..." : 1);
    return t;
}

static void add_context(struct weft_err *err, const char *path, const char *field, const char *value,
                        const char *limit)
{
    weft_err_str(err, "path", path);
    weft_err_str(err, "field", field);
    weft_err_str(err, "value", value);
    weft_err_str(err, "limit", limit);
}

enum weft_rc gguf_refuse(struct weft_err *err, enum weft_rc code, const char *path, const char *field,
                         const char *value, const char *limit)
{
    weft_err_set(err, code, "%s: %s is %s; %s", path, field, value, limit);
    add_context(err, path, field, value, limit);
    return code;
}

/* In the system's own words: "PATH: No such file or directory". */
static enum weft_rc refuse_errno(struct weft_err *err, const char *path)
{
    const char *reason = strerror(errno);
    weft_err_set(err, WEFT_FILE_INVALID, "%s: %s", path, reason);
    add_context(err, path, "file", reason, "must be a readable file");
    return WEFT_FILE_INVALID;
}

/* ---- files ---- */

struct gguf_source {
    int fd;
    uint8_t *bytes;    /* what g->bytes points to */
    struct stat found; /* the file when it was opened */
};

/* Keys and table of the default model take 2 MB, those of a vocabulary of 260,000 about 15. */
enum { FIRST_READ = 2 << 20 };
#define METADATA_MAX (UINT64_C(1) << 30)

static void source_close(struct gguf_source *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s->bytes);
    mem_free(s);
}

/* Reads [at, at + n) whole. */
static enum weft_rc read_at(const struct gguf_source *s, const char *path, uint64_t at, size_t n,
                            uint8_t *out, struct weft_err *err)
{
    while (n) {
        ssize_t got = pread(s->fd, out, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse_errno(err, path);
        if (got == 0)
            return gguf_refuse(
                err, WEFT_FILE_INVALID, path, "file", gguf_text("%" PRIu64 " bytes long", at).s,
                gguf_text("it had %" PRIu64 " when it was opened", (uint64_t)s->found.st_size).s);
        at += (uint64_t)got;
        out += got;
        n -= (size_t)got;
    }
    return WEFT_OK;
}

static enum weft_rc source_open(const char *path, struct gguf_source **out, struct weft_err *err)
{
    struct gguf_source *s = mem_calloc(1, sizeof *s);
    enum weft_rc rc = WEFT_OK;
    if (!s)
        return weft_err_nomem(err, "gguf_open", sizeof *s);
    /* Non-blocking, so that a pipe by that name can't hang the program. */
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &s->found) < 0)
        rc = refuse_errno(err, path);
    else if (!S_ISREG(s->found.st_mode))
        rc = gguf_refuse(err, WEFT_FILE_INVALID, path, "file",
                         S_ISDIR(s->found.st_mode) ? "a directory" : "a special file",
                         "must be a regular file");
    else if (s->found.st_size <= 0)
        rc = gguf_refuse(err, WEFT_FILE_INVALID, path, "file", "empty", "must be a GGUF file");
    if (rc)
        source_close(s);
    else
        *out = s;
    return rc;
}

enum weft_rc gguf_open(const char *path, struct gguf **out, struct weft_err *err)
{
    *out = NULL;
    struct gguf_source *s = NULL;
    enum weft_rc rc = source_open(path, &s, err);
    if (rc)
        return rc;
    const uint64_t n_file = (uint64_t)s->found.st_size;
    uint64_t held = 0, want = FIRST_READ;
    /* Where the metadata end is known only when they are parsed: with too few bytes that is tried again with more. */
    while (rc == WEFT_OK && !*out) {
        want = want < n_file ? want : n_file;
        if (want > METADATA_MAX) {
            rc = gguf_refuse(err, WEFT_FILE_INVALID, path, "metadata",
                             gguf_text("longer than %" PRIu64 " bytes", held).s,
                             gguf_text("must be at most %" PRIu64, METADATA_MAX).s);
            break;
        }
        uint8_t *bytes = mem_realloc(s->bytes, (size_t)want, 1);
        if (!bytes) {
            rc = weft_err_nomem(err, "gguf_open", (size_t)want);
            break;
        }
        s->bytes = bytes;
        rc = read_at(s, path, held, (size_t)(want - held), bytes + held, err);
        held = want;
        if (rc == WEFT_OK)
            rc = gguf_parse_part(bytes, held, n_file, path, out, &want, err);
    }
    if (rc)
        source_close(s);
    else
        (*out)->source = s;
    return rc;
}

enum weft_rc gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t from, size_t n, void *out,
                       struct weft_err *err)
{
    if (!t->data)
        return read_at(g->source, g->path, t->at + from, n, out, err);
    memcpy(out, t->data + from, n);
    return WEFT_OK;
}

enum weft_rc gguf_check_unchanged(const struct gguf *g, struct weft_err *err)
{
    struct stat now;
    if (!g->source)
        return WEFT_OK;
    const struct stat *then = &g->source->found;
    if (fstat(g->source->fd, &now) < 0)
        return refuse_errno(err, g->path);
    if (now.st_size == then->st_size && now.st_mtim.tv_sec == then->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == then->st_mtim.tv_nsec)
        return WEFT_OK;
    return gguf_refuse(err, WEFT_FILE_INVALID, g->path, "file", "written to while it was being read",
                       "replace models by renaming");
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (uint64_t i = 0; g->kv && i < g->n_kv; i++)
        mem_free(g->kv[i].strings);
    mem_free(g->kv);
    mem_free(g->kv_by_key);
    mem_free(g->tensors);
    mem_free(g->tensor_by_name);
    source_close(g->source);
    mem_free((char *)g->path);
    mem_free(g);
}

int gguf_str_compare(struct gguf_str a, struct gguf_str b)
{
    int c = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_key(const void *key, const void *entry)
{
    return gguf_str_compare(*(const struct gguf_str *)key, (*(struct gguf_kv *const *)entry)->key);
}

static int compare_name(const void *name, const void *entry)
{
    return gguf_str_compare(*(const struct gguf_str *)name, (*(struct gguf_tensor *const *)entry)->name);
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    struct gguf_str s = {key, strlen(key)};
    struct gguf_kv **at = g->n_kv ? bsearch(&s, g->kv_by_key, g->n_kv, sizeof *at, compare_key) : NULL;
    return at ? *at : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    struct gguf_str s = {name, strlen(name)};
    struct gguf_tensor **at =
        g->n_tensors ? bsearch(&s, g->tensor_by_name, g->n_tensors, sizeof *at, compare_name) : NULL;
    return at ? *at : NULL;
}

static enum weft_rc refuse_type(const struct gguf *g, const struct gguf_kv *kv, const char *wanted,
                                struct weft_err *err)
{
    return gguf_refuse(err, WEFT_FILE_INVALID, g->path, gguf_quote(kv->key).s,
                       gguf_text("of type %s", gguf_type_name(kv->type)).s,
                       gguf_text("must be %s", wanted).s);
}

/* Bytes of an integer type; 0: not an integer. */
static const struct {
    uint8_t bytes;
    bool is_signed;
} integers[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {1, false}, [GGUF_U16] = {2, false}, [GGUF_U32] = {4, false}, [GGUF_U64] = {8, false},
    [GGUF_I8] = {1, true},  [GGUF_I16] = {2, true},  [GGUF_I32] = {4, true},  [GGUF_I64] = {8, true},
};

enum weft_rc gguf_u32(const struct gguf *g, const char *key, uint32_t fallback, uint32_t min, uint32_t max,
                      uint32_t *out, struct weft_err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *out = fallback;
    if (!kv)
        return WEFT_OK;
    unsigned bytes = integers[kv->type].bytes;
    if (!bytes)
        return refuse_type(g, kv, "an integer", err);
    uint64_t v = gguf_load(kv->data, bytes);
    bool negative = integers[kv->type].is_signed && v >> (8 * bytes - 1);
    if (negative || v < min || v > max) {
        int64_t below_zero = (int64_t)(v | (bytes < 8 ? ~0ull << (8 * bytes) : 0)); /* sign-extended */
        return gguf_refuse(err, WEFT_FILE_INVALID, g->path, key,
                           negative ? gguf_text("%" PRId64, below_zero).s : gguf_text("%" PRIu64, v).s,
                           gguf_text("must be %u to %u", min, max).s);
    }
    *out = (uint32_t)v;
    return WEFT_OK;
}

enum weft_rc gguf_f32(const struct gguf *g, const char *key, float fallback, float *out, struct weft_err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *out = fallback;
    if (!kv)
        return WEFT_OK;
    if (kv->type == GGUF_F32) {
        uint32_t u = (uint32_t)gguf_load(kv->data, 4);
        memcpy(out, &u, sizeof u);
    } else if (kv->type == GGUF_F64) {
        uint64_t u = gguf_load(kv->data, 8);
        double d;
        memcpy(&d, &u, sizeof d);
        *out = (float)d;
    } else {
        return refuse_type(g, kv, "f32 or f64", err);
    }
    return WEFT_OK;
}

enum weft_rc gguf_bool(const struct gguf *g, const char *key, bool fallback, bool *out, struct weft_err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *out = fallback;
    if (!kv)
        return WEFT_OK;
    if (kv->type != GGUF_BOOL)
        return refuse_type(g, kv, "bool", err);
    *out = kv->data[0] != 0;
    return WEFT_OK;
}

enum weft_rc gguf_string(const struct gguf *g, const char *key, struct gguf_str *out, struct weft_err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *out = (struct gguf_str){NULL, 0};
    if (!kv)
        return WEFT_OK;
    if (kv->type != GGUF_STRING)
        return refuse_type(g, kv, "string", err);
    *out = (struct gguf_str){(const char *)kv->data + 8, gguf_load(kv->data, 8)};
    return WEFT_OK;
}
