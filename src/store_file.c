#include "src/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/config_paths.h"

enum { OPEN_TRIES = 10 };

/* --- the system's calls --- */

static int sys_open(void *ctx, int dir, const char *name, int flags)
{
    (void)ctx;
    return openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
}

static ssize_t sys_read(void *ctx, int fd, void *to, size_t n)
{
    (void)ctx;
    return read(fd, to, n);
}

static ssize_t sys_pwrite(void *ctx, int fd, const void *from, size_t n, off_t at)
{
    (void)ctx;
    return pwrite(fd, from, n, at);
}

static int sys_truncate(void *ctx, int fd, off_t length)
{
    (void)ctx;
    return ftruncate(fd, length);
}

static int sys_sync(void *ctx, int fd)
{
    (void)ctx;
    return fsync(fd);
}

static int sys_rename(void *ctx, int dir, const char *from, const char *to)
{
    (void)ctx;
    return renameat(dir, from, dir, to);
}

static int sys_unlink(void *ctx, int dir, const char *name)
{
    (void)ctx;
    return unlinkat(dir, name, 0);
}

const struct store_io store_io_system = {sys_open, sys_read,   sys_pwrite, sys_truncate,
                                         sys_sync, sys_rename, sys_unlink, NULL};

/* --- the directory --- */

enum weft_rc store_dir_failed(const struct store_dir *d, const char *what, const char *name,
                              struct weft_err *err)
{
    int why = errno;
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s/%s: %s: %s", d->path, name, what, strerror(why));
    weft_err_str(err, "where", what);
    return WEFT_INTERNAL_ERROR;
}

static enum weft_rc refused(const struct store_dir *d, const char *name, const char *field, const char *value,
                            const char *limit, struct weft_err *err)
{
    weft_err_set(err, WEFT_FILE_INVALID, "%s%s%s: %s is %s, must be %s", d->path, *name ? "/" : "", name,
                 field, value, limit);
    weft_err_str(err, "path", name);
    weft_err_str(err, "field", field);
    weft_err_str(err, "value", value);
    weft_err_str(err, "limit", limit);
    return WEFT_FILE_INVALID;
}

static enum weft_rc foreign_owner(const struct store_dir *d, const char *name, uid_t owner,
                                  struct weft_err *err)
{
    char value[32], limit[48];
    snprintf(value, sizeof value, "%ju", (uintmax_t)owner);
    snprintf(limit, sizeof limit, "%ju, this user", (uintmax_t)geteuid());
    return refused(d, name, "owner", value, limit, err);
}

enum weft_rc store_dir_open(struct store_dir *d, struct weft_err *err)
{
    struct stat st;
    if (d->fd >= 0)
        return WEFT_OK;
    if (paths_make(d->path) != 0)
        return store_dir_failed(d, "making the directory", "", err);
    int fd = d->io->open(d->io->ctx, AT_FDCWD, d->path, O_RDONLY | O_DIRECTORY);
    enum weft_rc rc = WEFT_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = store_dir_failed(d, "opening the directory", "", err);
    else if (st.st_uid != geteuid())
        rc = foreign_owner(d, "", st.st_uid, err);
    else if ((st.st_mode & 077) && fchmod(fd, 0700) != 0)
        log_msg(LOG_WARN, "%s: others may look in: %s", d->path, strerror(errno));
    if (rc == WEFT_OK)
        d->fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

void store_dir_close(struct store_dir *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    mem_free(d->path);
    d->path = NULL;
}

/* --- opening --- */

void store_file_new(struct store_file *f, const char *name)
{
    *f = (struct store_file){.fd = -1, .tail = BUF_INIT};
    snprintf(f->name, sizeof f->name, "%s", name);
}

void store_file_close(struct store_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    f->locked = false;
    buf_free(&f->tail);
}

static enum weft_rc check_kind(const struct store_dir *d, const char *name, const struct stat *st,
                               struct weft_err *err)
{
    if (!S_ISREG(st->st_mode))
        return refused(d, name, "kind", "something else", "a regular file", err);
    return st->st_uid == geteuid() ? WEFT_OK : foreign_owner(d, name, st->st_uid, err);
}

/*
 * Opens and locks f->name. Between the two, its owner may have replaced it: then what was opened is no longer
 * what the name leads to, and it starts over. *in_use: somebody holds the lock, and f isn't locked.
 */
static enum weft_rc open_locked(struct store_file *f, const struct store_dir *d, bool *in_use,
                                struct weft_err *err)
{
    const struct store_io *io = d->io;
    for (int i = 0; i < OPEN_TRIES; i++) {
        struct stat st, now;
        f->read_only = false;
        f->fd = io->open(io->ctx, d->fd, f->name, O_RDWR | O_NONBLOCK);
        if (f->fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM)) {
            f->read_only = true;
            f->fd = io->open(io->ctx, d->fd, f->name, O_RDONLY | O_NONBLOCK);
        }
        enum weft_rc rc = f->fd < 0 || fstat(f->fd, &st) != 0 ? store_dir_failed(d, "opening", f->name, err)
                                                              : check_kind(d, f->name, &st, err);
        if (rc != WEFT_OK) {
            if (f->fd >= 0)
                close(f->fd);
            f->fd = -1;
            return rc;
        }
        f->exists = true;
        f->locked = flock(f->fd, LOCK_EX | LOCK_NB) == 0;
        *in_use = !f->locked;
        if (fstatat(d->fd, f->name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == st.st_ino &&
            now.st_dev == st.st_dev) {
            if (f->locked && !f->read_only && (st.st_mode & 077) && fchmod(f->fd, 0600) != 0)
                log_msg(LOG_WARN, "%s/%s: others may read it: %s", d->path, f->name, strerror(errno));
            return WEFT_OK;
        }
        close(f->fd);
        f->fd = -1;
        f->locked = false;
    }
    errno = EAGAIN;
    return store_dir_failed(d, "opening", f->name, err);
}

enum weft_rc store_file_read_some(const struct store_dir *d, const char *name, int fd,
                                  struct store_parser *parser, bool *more, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    ssize_t n;
    char *chunk = mem_alloc(STORE_READ_BYTES);
    if (!chunk)
        return weft_err_nomem(err, "reading a session", STORE_READ_BYTES);
    do
        n = d->io->read(d->io->ctx, fd, chunk, STORE_READ_BYTES);
    while (n < 0 && errno == EINTR);
    *more = n > 0;
    if (n < 0)
        rc = store_dir_failed(d, "reading", name, err);
    else
        rc = n ? store_parser_feed(parser, chunk, (size_t)n, err) : store_parser_end(parser, err);
    mem_free(chunk);
    if (rc == WEFT_FILE_INVALID) {
        weft_err_prefix(err, "%s/%s: ", d->path, name);
        weft_err_str(err, "path", name);
    }
    return rc;
}

static enum weft_rc read_all(const struct store_dir *d, const char *name, int fd, struct store_parser *parser,
                             struct weft_err *err)
{
    bool more = true;
    enum weft_rc rc = WEFT_OK;
    while (rc == WEFT_OK && more)
        rc = store_file_read_some(d, name, fd, parser, &more, err);
    return rc;
}

int store_file_open_read(const struct store_dir *d, const char *name, struct weft_err *err)
{
    struct stat st;
    int fd = d->io->open(d->io->ctx, d->fd, name, O_RDONLY | O_NONBLOCK);
    enum weft_rc rc = fd < 0 || fstat(fd, &st) != 0 ? store_dir_failed(d, "opening", name, err)
                                                    : check_kind(d, name, &st, err);
    if (rc != WEFT_OK && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

enum weft_rc store_file_open(struct store_file *f, const struct store_dir *d, const char *name,
                             struct store_parser *parser, bool *in_use, struct weft_err *err)
{
    store_file_new(f, name);
    enum weft_rc rc = open_locked(f, d, in_use, err);
    if (rc == WEFT_OK)
        rc = read_all(d, f->name, f->fd, parser, err);
    if (rc == WEFT_OK && !*in_use) {
        f->synced = parser->report.good_bytes;
        f->cut_due = parser->report.torn;
        if (parser->report.no_newline && !store_file_append(f, "\n", 1, false))
            rc = weft_err_nomem(err, "a session", 1);
    }
    if (rc != WEFT_OK || *in_use)
        store_file_close(f);
    return rc;
}

/* --- changing --- */

bool store_file_append(struct store_file *f, const char *bytes, size_t n, bool sync)
{
    size_t before = f->tail.len;
    if (!buf_add(&f->tail, bytes, n)) {
        f->tail.failed = false;
        f->tail.len = before;
        return false;
    }
    f->sync_due |= sync;
    return true;
}

bool store_file_replace(struct store_file *f, const char *bytes, size_t n)
{
    struct buf whole = BUF_INIT;
    if (!buf_add(&whole, bytes, n))
        return false;
    buf_free(&f->tail);
    f->tail = whole;
    f->written = 0;
    f->replace = f->sync_due = true;
    return true;
}

void store_file_remove(struct store_file *f)
{
    f->removed = true;
    f->replace = f->sync_due = f->cut_due = false;
    buf_free(&f->tail);
    f->written = 0;
}

bool store_file_due(const struct store_file *f)
{
    if (f->removed)
        return f->exists || f->dir_sync_due;
    return f->cut_due || f->written < f->tail.len || f->sync_due || f->dir_sync_due || f->replace;
}

/* --- flushing --- */

static enum weft_rc write_tail(struct store_file *f, const struct store_dir *d, int fd, uint64_t from,
                               struct weft_err *err)
{
    while (f->written < f->tail.len) {
        ssize_t n = d->io->pwrite(d->io->ctx, fd, f->tail.data + f->written, f->tail.len - f->written,
                                  (off_t)(from + f->written));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return store_dir_failed(d, "writing", f->name, err);
        f->written += (size_t)n;
    }
    return WEFT_OK;
}

static enum weft_rc sync_tail(struct store_file *f, const struct store_dir *d, int fd, struct weft_err *err)
{
    if (d->io->sync(d->io->ctx, fd) != 0) {
        f->written = 0;
        return store_dir_failed(d, "syncing", f->name, err);
    }
    return WEFT_OK;
}

static void tail_is_on_disk(struct store_file *f, uint64_t from)
{
    f->synced = from + f->tail.len;
    buf_free(&f->tail);
    f->written = 0;
    f->sync_due = f->cut_due = f->replace = false;
}

static enum weft_rc flush_removed(struct store_file *f, const struct store_dir *d, struct weft_err *err)
{
    if (f->exists && d->io->unlink(d->io->ctx, d->fd, f->name) != 0 && errno != ENOENT)
        return store_dir_failed(d, "removing", f->name, err);
    f->dir_sync_due |= f->exists;
    f->exists = false;
    return WEFT_OK;
}

/* The new file is locked before it gets the name, so that nobody else ever holds what the name leads to. */
static enum weft_rc flush_replaced(struct store_file *f, const struct store_dir *d, struct weft_err *err)
{
    const struct store_io *io = d->io;
    char temp[STORE_NAME_MAX + 4];
    snprintf(temp, sizeof temp, "%s.tmp", f->name);
    int fd = io->open(io->ctx, d->fd, temp, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0 && errno == EEXIST && io->unlink(io->ctx, d->fd, temp) == 0) /* left by a killed weft */
        fd = io->open(io->ctx, d->fd, temp, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return store_dir_failed(d, "making", temp, err);
    f->written = 0;
    enum weft_rc rc = WEFT_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        rc = store_dir_failed(d, "locking", temp, err);
    if (rc == WEFT_OK)
        rc = write_tail(f, d, fd, 0, err);
    if (rc == WEFT_OK)
        rc = sync_tail(f, d, fd, err);
    if (rc == WEFT_OK && io->rename(io->ctx, d->fd, temp, f->name) != 0)
        rc = store_dir_failed(d, "renaming", temp, err);
    if (rc != WEFT_OK) {
        f->written = 0;
        io->unlink(io->ctx, d->fd, temp);
        close(fd);
        return rc;
    }
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    f->exists = f->locked = f->dir_sync_due = true;
    f->read_only = false;
    tail_is_on_disk(f, 0);
    return WEFT_OK;
}

/* Makes the file, or opens it (again) for writing. */
static enum weft_rc make_writable(struct store_file *f, const struct store_dir *d, struct weft_err *err)
{
    bool in_use = false;
    if (f->fd >= 0 && f->read_only) { /* its lock would be in the way of the next one */
        close(f->fd);
        f->fd = -1;
        f->locked = false;
    }
    if (f->fd < 0 && f->exists) {
        enum weft_rc rc = open_locked(f, d, &in_use, err);
        if (rc != WEFT_OK)
            return rc;
        if (f->read_only) {
            errno = EROFS;
            return store_dir_failed(d, "writing", f->name, err);
        }
    } else if (f->fd < 0) {
        f->fd = d->io->open(d->io->ctx, d->fd, f->name, O_RDWR | O_CREAT | O_EXCL);
        if (f->fd < 0)
            return store_dir_failed(d, "making", f->name, err);
        f->exists = f->dir_sync_due = true;
    }
    f->locked = f->locked || flock(f->fd, LOCK_EX | LOCK_NB) == 0;
    if (f->locked)
        return WEFT_OK;
    close(f->fd); /* and another try later opens what the name leads to then */
    f->fd = -1;
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s/%s: in use by another weft", d->path, f->name);
    weft_err_str(err, "where", "locking");
    return WEFT_INTERNAL_ERROR;
}

static enum weft_rc flush_tail(struct store_file *f, const struct store_dir *d, struct weft_err *err)
{
    enum weft_rc rc = make_writable(f, d, err);
    if (rc == WEFT_OK && f->cut_due) {
        if (d->io->truncate(d->io->ctx, f->fd, (off_t)f->synced) != 0)
            return store_dir_failed(d, "truncating", f->name, err);
        f->cut_due = false;
    }
    if (rc == WEFT_OK)
        rc = write_tail(f, d, f->fd, f->synced, err);
    if (rc == WEFT_OK && f->sync_due) {
        rc = sync_tail(f, d, f->fd, err);
        if (rc == WEFT_OK)
            tail_is_on_disk(f, f->synced);
    }
    return rc;
}

enum weft_rc store_file_flush(struct store_file *f, const struct store_dir *d, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    if (f->removed)
        rc = flush_removed(f, d, err);
    else if (f->replace)
        rc = flush_replaced(f, d, err);
    else if (f->cut_due || f->written < f->tail.len || f->sync_due)
        rc = flush_tail(f, d, err);
    if (rc == WEFT_OK && f->dir_sync_due) {
        if (d->io->sync(d->io->ctx, d->fd) != 0)
            return store_dir_failed(d, "syncing the directory of", f->name, err);
        f->dir_sync_due = false;
    }
    return rc;
}
