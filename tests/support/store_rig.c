#include "tests/support/store_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_rig_make(char path[64])
{
    /* In memory where there is such a place: thousands of fsyncs are waited for. */
    snprintf(path, 64, "/dev/shm/weft-store-XXXXXX");
    if (mkdtemp(path))
        return;
    snprintf(path, 64, "/tmp/weft-store-XXXXXX");
    if (!mkdtemp(path))
        abort();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)at;
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

void store_rig_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool store_rig_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY);
    bool done = fd >= 0 && buf_read_fd(out, fd, (size_t)1 << 30) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

void store_rig_write(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
        abort();
    close(fd);
}

size_t store_rig_count(const char *dir, const char *suffix, struct buf *first)
{
    size_t count = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(e->d_name), m = strlen(suffix);
        if (n <= m || strcmp(e->d_name + n - m, suffix) != 0)
            continue;
        if (!count++ && first) {
            buf_clear(first);
            buf_addf(first, "%s/%s", dir, e->d_name);
        }
    }
    if (d)
        closedir(d);
    return count;
}

/* --- calls that fail --- */

static bool fails(struct store_rig_io *r, enum store_rig_call call)
{
    if (r->which != RIG_ALL && r->which != call)
        return false;
    unsigned n = ++r->calls, at = r->fail_at;
    bool fail = at && (n == at || (r->go_on && n > at));
    if (fail)
        errno = r->error;
    return fail;
}

static int rig_open(void *ctx, int dir, const char *name, int flags)
{
    return fails(ctx, RIG_OPEN) ? -1 : store_io_system.open(NULL, dir, name, flags);
}

static ssize_t rig_read(void *ctx, int fd, void *to, size_t n)
{
    return fails(ctx, RIG_READ) ? -1 : store_io_system.read(NULL, fd, to, n);
}

static ssize_t rig_pwrite(void *ctx, int fd, const void *from, size_t n, off_t at)
{
    struct store_rig_io *r = ctx;
    if (!fails(r, RIG_WRITE))
        return store_io_system.pwrite(NULL, fd, from, n, at);
    if (r->half && n > 1)
        return store_io_system.pwrite(NULL, fd, from, n / 2, at);
    errno = r->error;
    return -1;
}

static int rig_truncate(void *ctx, int fd, off_t length)
{
    return fails(ctx, RIG_TRUNCATE) ? -1 : store_io_system.truncate(NULL, fd, length);
}

static int rig_sync(void *ctx, int fd)
{
    return fails(ctx, RIG_SYNC) ? -1 : store_io_system.sync(NULL, fd);
}

static int rig_rename(void *ctx, int dir, const char *from, const char *to)
{
    return fails(ctx, RIG_RENAME) ? -1 : store_io_system.rename(NULL, dir, from, to);
}

static int rig_unlink(void *ctx, int dir, const char *name)
{
    return fails(ctx, RIG_UNLINK) ? -1 : store_io_system.unlink(NULL, dir, name);
}

void store_rig_io_init(struct store_rig_io *r)
{
    *r = (struct store_rig_io){
        .io = {rig_open, rig_read, rig_pwrite, rig_truncate, rig_sync, rig_rename, rig_unlink, r},
        .which = RIG_ALL,
        .error = ENOSPC,
    };
}
