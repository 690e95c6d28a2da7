#include "tests/support/store_rig_io.h"

#include <errno.h>

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
