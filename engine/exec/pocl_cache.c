#include "engine/exec/pocl_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"

enum { FILE_MAX = 256 << 20, SEAL_MAX = 16 << 20 };

static const char seal_head[] = "weft seal 1\n";

/* Files that PoCL rewrites or leaves behind; they decide nothing. */
static bool is_noise(const char *name)
{
    return strcmp(name, "last_accessed") == 0 || strncmp(name, "tempfile", 8) == 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Opens cache_dir/pocl, wherever the process is: /proc names an open directory without a race. */
static FTS *walk(int dir_fd)
{
    char root[64];
    char *roots[] = {root, NULL};
    snprintf(root, sizeof root, "/proc/self/fd/%d/pocl", dir_fd);
    return fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
}

/* One line a file: size, hash, path below the root; anything but files and directories of ours is false. */
static bool list_file(const FTSENT *e, const char *name, struct buf *out)
{
    struct buf bytes = BUF_INIT;
    bool good = false;
    if (e->fts_statp->st_uid != geteuid())
        return false;
    int fd = open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (buf_read_fd(&bytes, fd, FILE_MAX) == 0) {
        uint64_t h = fnv1a64(FNV1A64_INIT, buf_str(&bytes), bytes.len);
        good = buf_addf(out, "%zu %016" PRIx64 " %s\n", bytes.len, h, name);
    }
    close(fd);
    buf_free(&bytes);
    return good;
}

/* The tree as a text, with a hash of it at the end. False where it can't be read or holds something odd. */
static bool list_tree(int dir_fd, struct buf *out)
{
    FTS *tree = walk(dir_fd);
    bool good = tree != NULL;
    buf_adds(out, seal_head);
    for (FTSENT *e; good && (e = fts_read(tree)) != NULL;) {
        switch (e->fts_info) {
        case FTS_D:
        case FTS_DP: break;
        case FTS_F:
            if (!is_noise(e->fts_name)) {
                const char *below = strstr(e->fts_path, "/pocl/"); /* the descriptor's number may differ */
                good = below && list_file(e, below, out);
            }
            break;
        default: good = false;
        }
    }
    if (tree)
        fts_close(tree);
    buf_addf(out, "%016" PRIx64 "\n", fnv1a64(FNV1A64_INIT, buf_str(out), out->len));
    return good && !out->failed;
}

static void remove_tree(int dir_fd)
{
    FTS *tree = walk(dir_fd);
    if (!tree)
        return;
    for (FTSENT *e; (e = fts_read(tree)) != NULL;)
        if (e->fts_info != FTS_D)
            (void)remove(e->fts_accpath); /* files as they come, directories after what is in them */
    fts_close(tree);
}

static bool seal_holds(int dir_fd)
{
    struct buf seal = BUF_INIT, now = BUF_INIT;
    bool same = false;
    int fd = openat(dir_fd, "pocl.seal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        same = buf_read_fd(&seal, fd, SEAL_MAX) == 0 && list_tree(dir_fd, &now) && seal.len == now.len &&
               memcmp(buf_str(&seal), buf_str(&now), now.len) == 0;
        close(fd);
    }
    buf_free(&seal);
    buf_free(&now);
    return same;
}

static void write_seal(int dir_fd)
{
    struct buf text = BUF_INIT;
    char temp[64];
    snprintf(temp, sizeof temp, ".pocl.seal.%ld", (long)getpid());
    int fd = list_tree(dir_fd, &text)
                 ? openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                 : -1;
    bool good = fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    if (fd >= 0)
        good = close(fd) == 0 && good;
    if (!good || renameat(dir_fd, temp, dir_fd, "pocl.seal")) {
        unlinkat(dir_fd, temp, 0);
        log_msg(LOG_WARN, "kernel cache: not sealed (%s); the next start builds anew", strerror(errno));
    }
    buf_free(&text);
}

void pocl_cache_begin(const char *cache_dir, int dir_fd, struct pocl_cache *out)
{
    char path[4096];
    *out = (struct pocl_cache){-1, -1};
    const char *set = getenv("POCL_CACHE_DIR");
    int n = cache_dir ? snprintf(path, sizeof path, "%s/pocl", cache_dir) : -1;
    bool usable = dir_fd >= 0 && n > 0 && (size_t)n < sizeof path;
    if (set && (!usable || strcmp(set, path) != 0))
        return; /* the user's, or that of an executor with another directory: PoCL reads it once */
    if (!usable) {
        setenv("POCL_KERNEL_CACHE", "0", 0);
        return;
    }
    out->dir_fd = dir_fd;
    out->lock_fd = openat(dir_fd, "pocl.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out->lock_fd >= 0)
        (void)flock(out->lock_fd, LOCK_EX);
    if (set)
        return; /* compared already, and in use */
    if (!seal_holds(dir_fd)) {
        remove_tree(dir_fd);
        mkdirat(dir_fd, "pocl", 0700);
    }
    setenv("POCL_CACHE_DIR", path, 1);
}

void pocl_cache_end(struct pocl_cache *c, bool good)
{
    if (good && c->dir_fd >= 0)
        write_seal(c->dir_fd);
    if (c->lock_fd >= 0)
        close(c->lock_fd); /* gives up the lock */
    *c = (struct pocl_cache){-1, -1};
}
