#include "src/models.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/config_paths.h"
#include "src/sha256.h"

const struct models_entry models_known[] = {
    {"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", 98362432,
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     "SmolLM2 135M Instruct, Q4_1; the default", "run scripts/setup"},
    {0},
};

const struct models_entry *models_find(const char *name)
{
    for (const struct models_entry *m = models_known; m->name; m++)
        if (strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

const char *models_state_name(enum models_state s)
{
    static const char *const names[] = {"ready", "missing", "damaged"};
    return names[s];
}

enum weft_rc models_directory(struct buf *out, struct weft_err *err)
{
    if (paths_of(PATH_DATA, "models", out))
        return WEFT_OK;
    weft_err_set(err, WEFT_INTERNAL_ERROR, "no models directory: neither XDG_DATA_HOME nor HOME is set");
    weft_err_str(err, "where", "models_directory");
    return WEFT_INTERNAL_ERROR;
}

static enum weft_rc refuse(struct weft_err *err, const char *path, const char *field, const char *value,
                           const char *limit)
{
    weft_err_str(err, "path", path);
    weft_err_str(err, "field", field);
    weft_err_str(err, "value", value);
    weft_err_str(err, "limit", limit);
    return WEFT_FILE_INVALID;
}

/* ---- verifying ---- */

enum { NOTE_MAX = 192, CHUNK_BYTES = 1 << 18 };

/* What a file that was verified looked like: another file, or the same one changed, looks different. */
static void note_of(const struct stat *st, const char *sha256, char out[NOTE_MAX])
{
    snprintf(out, NOTE_MAX, "%ju %ju %jd %jd.%09ld %s\n", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino,
             (intmax_t)st->st_size, (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, sha256);
}

static bool note_path(const struct models_entry *entry, struct buf *out)
{
    char name[128];
    snprintf(name, sizeof name, "verified/%s", entry->name);
    return paths_of(PATH_CACHE, name, out);
}

static bool note_matches(const struct models_entry *entry, const char *note)
{
    struct buf path = BUF_INIT, text = BUF_INIT;
    bool same = false;
    int fd = note_path(entry, &path) ? open(buf_str(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    struct stat st;
    /* A note that somebody else could have written says nothing. */
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022) &&
        buf_read_fd(&text, fd, NOTE_MAX) == 0)
        same = strcmp(buf_str(&text), note) == 0;
    if (fd >= 0)
        close(fd);
    buf_free(&path);
    buf_free(&text);
    return same;
}

/* Best effort: without the note the hash is computed again next time. */
static void note_write(const struct models_entry *entry, const char *note)
{
    struct buf dir = BUF_INIT, path = BUF_INIT, temp = BUF_INIT;
    if (paths_of(PATH_CACHE, "verified", &dir) && note_path(entry, &path) && paths_make(buf_str(&dir)) == 0 &&
        buf_addf(&temp, "%s.XXXXXX", buf_str(&path))) {
        int fd = mkostemp(temp.data, O_CLOEXEC); /* 0600, O_EXCL */
        size_t n = strlen(note);
        bool ok = fd >= 0 && write(fd, note, n) == (ssize_t)n;
        if (fd >= 0)
            ok = close(fd) == 0 && ok;
        if (!ok || rename(temp.data, path.data)) {
            log_msg(LOG_DEBUG, "%s: not written: %s", buf_str(&path), strerror(errno));
            if (fd >= 0)
                unlink(temp.data);
        }
    }
    buf_free(&dir);
    buf_free(&path);
    buf_free(&temp);
}

/* 0, or -1 with errno. */
static int hash_fd(int fd, char out[SHA256_HEX])
{
    struct sha256 s;
    sha256_init(&s);
    int rc = 0;
    char *chunk = mem_alloc(CHUNK_BYTES);
    if (!chunk) {
        errno = ENOMEM;
        return -1;
    }
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = n < 0 ? -1 : 0;
            break;
        }
        sha256_add(&s, chunk, (size_t)n);
    }
    mem_free(chunk);
    if (rc == 0)
        sha256_hex(&s, out);
    return rc;
}

static enum models_state damaged(struct weft_err *err, const struct models_entry *entry, const char *path,
                                 const char *field, const char *value, const char *limit)
{
    weft_err_set(err, WEFT_FILE_INVALID,
                 "model %s: %s: %s is %s, must be %s; %s again, or name the file by its path", entry->name,
                 path, field, value, limit, entry->get);
    refuse(err, path, field, value, limit);
    return MODELS_DAMAGED;
}

enum models_state models_check(const struct models_entry *entry, struct buf *path, struct weft_err *err)
{
    enum models_state state = MODELS_MISSING;
    struct buf dir = BUF_INIT;
    int fd = -1;
    buf_clear(path);
    if (models_directory(&dir, err))
        goto out;
    buf_addf(path, "%s/%s", buf_str(&dir), entry->file);
    const char *name = buf_str(path);
    fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        weft_err_set(err, WEFT_FILE_INVALID, "model %s: %s: %s; to get it, %s", entry->name, name,
                     strerror(errno), entry->get);
        refuse(err, name, "path", strerror(errno), "a readable file");
        goto out;
    }
    char value[SHA256_HEX], limit[32], note[NOTE_MAX];
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != entry->bytes) {
        snprintf(value, sizeof value, "%jd", (intmax_t)st.st_size);
        snprintf(limit, sizeof limit, "%" PRIu64, entry->bytes);
        state = damaged(err, entry, name, "bytes", S_ISREG(st.st_mode) ? value : "not a file", limit);
        goto out;
    }
    state = MODELS_READY;
    note_of(&st, entry->sha256, note);
    if (note_matches(entry, note))
        goto out;
    if (hash_fd(fd, value)) {
        state = damaged(err, entry, name, "contents", strerror(errno), "readable");
        goto out;
    }
    if (strcmp(value, entry->sha256) != 0)
        state = damaged(err, entry, name, "sha256", value, entry->sha256);
    else
        note_write(entry, note);
out:
    if (fd >= 0)
        close(fd);
    buf_free(&dir);
    return state;
}

/* ---- finding ---- */

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static enum weft_rc resolve_path(const char *name, struct buf *path, struct weft_err *err)
{
    const char *home = name[0] == '~' && name[1] == '/' ? getenv("HOME") : NULL;
    buf_clear(path);
    buf_addf(path, "%s%s", home ? home : "", home ? name + 1 : name);
    struct stat st;
    int failed = stat(buf_str(path), &st) ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    if (!failed)
        return WEFT_OK;
    const char *why = strerror(failed);
    weft_err_set(err, WEFT_FILE_INVALID, "model %s: %s", name, why);
    return refuse(err, name, "path", why, "a readable file");
}

static enum weft_rc refuse_unknown(const char *name, const char *dir, struct weft_err *err)
{
    struct buf names = BUF_INIT;
    for (const struct models_entry *m = models_known; m->name; m++)
        buf_addf(&names, "%s%s", m == models_known ? "" : ", ", m->name);
    weft_err_set(
        err, WEFT_FILE_INVALID,
        "unknown model %s: neither a known name (%s), nor %s.gguf in %s, nor a file here; see `weft models`",
        name, buf_str(&names), name, dir);
    refuse(err, name, "model", name, buf_str(&names));
    buf_free(&names);
    return WEFT_FILE_INVALID;
}

enum weft_rc models_resolve(const char *name, struct buf *path, struct weft_err *err)
{
    if (strchr(name, '/'))
        return resolve_path(name, path, err);
    const struct models_entry *entry = models_find(name);
    if (entry)
        return models_check(entry, path, err) == MODELS_READY ? WEFT_OK : WEFT_FILE_INVALID;

    struct buf dir = BUF_INIT;
    enum weft_rc rc = models_directory(&dir, err);
    if (rc)
        goto out;
    static const char *const endings[] = {".gguf", ""};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        buf_clear(path);
        buf_addf(path, "%s/%s%s", buf_str(&dir), name, endings[i]);
        if (is_file(buf_str(path)))
            goto out;
    }
    buf_clear(path);
    buf_adds(path, name);
    if (!is_file(name))
        rc = refuse_unknown(name, buf_str(&dir), err);
out:
    buf_free(&dir);
    return rc;
}
