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

/* The file's line in a seal: size, hash, path. False when it isn't ours or can't be read. */
static bool describe(const FTSENT *e, struct buf *line)
{
    struct buf bytes = BUF_INIT;
    const char *below = strstr(e->fts_path, "/pocl/"); /* without the descriptor's number */
    bool good = false;
    int fd = -1;
    if (below && e->fts_statp->st_uid == geteuid())
        fd = open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (buf_read_fd(&bytes, fd, FILE_MAX) == 0) {
        uint64_t h = fnv1a64(FNV1A64_INIT, buf_str(&bytes), bytes.len);
        good = buf_addf(line, "%zu %016" PRIx64 " %s\n", bytes.len, h, below);
    }
    close(fd);
    buf_free(&bytes);
    return good;
}

/* All files as a seal: head, lines, and a hash of both. */
static bool list_tree(int dir_fd, struct buf *out)
{
    FTS *tree = walk(dir_fd);
    bool good = tree != NULL;
    buf_adds(out, seal_head);
    for (FTSENT *e; good && (e = fts_read(tree)) != NULL;)
        if (e->fts_info == FTS_F && !is_noise(e->fts_name))
            good = describe(e, out);
    if (tree)
        fts_close(tree);
    buf_addf(out, "%016" PRIx64 "\n", fnv1a64(FNV1A64_INIT, buf_str(out), out->len));
    return good && !out->failed;
}

/* Reads the seal; an empty one where it is missing or damaged. */
static void read_seal(int dir_fd, struct buf *seal)
{
    enum { HASH_LINE = 17 };
    const size_t head = sizeof seal_head - 1;
    char hash[HASH_LINE + 1];
    int fd = openat(dir_fd, "pocl.seal", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool good = fd >= 0 && buf_read_fd(seal, fd, SEAL_MAX) == 0 && seal->len >= head + HASH_LINE &&
                memcmp(seal->data, seal_head, head) == 0;
    if (fd >= 0)
        close(fd);
    if (good) {
        snprintf(hash, sizeof hash, "%016" PRIx64 "\n",
                 fnv1a64(FNV1A64_INIT, seal->data, seal->len - HASH_LINE));
        good = memcmp(seal->data + seal->len - HASH_LINE, hash, HASH_LINE) == 0;
    }
    if (!good)
        buf_clear(seal);
}

/* Removes every file that the seal doesn't vouch for: PoCL builds what it misses. False where one stays. */
static bool prune(int dir_fd, const struct buf *seal)
{
    struct buf line = BUF_INIT;
    FTS *tree = walk(dir_fd);
    bool good = tree != NULL;
    unsigned n = 0;
    for (FTSENT *e; tree && (e = fts_read(tree)) != NULL;) {
        if (e->fts_info == FTS_D || e->fts_info == FTS_DP)
            continue;
        buf_clear(&line);
        buf_addc(&line, '\n');
        if (e->fts_info == FTS_F && describe(e, &line) && strstr(buf_str(seal), buf_str(&line)))
            continue;
        n += !is_noise(e->fts_name);
        good = remove(e->fts_accpath) == 0 && good;
    }
    if (tree)
        fts_close(tree);
    if (n)
        log_msg(LOG_INFO, "kernel cache: %u files weren't sealed; what is needed of them is built anew", n);
    buf_free(&line);
    return good;
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
    struct buf seal = BUF_INIT;
    read_seal(dir_fd, &seal);
    if ((mkdirat(dir_fd, "pocl", 0700) && errno != EEXIST) || !prune(dir_fd, &seal)) {
        log_msg(LOG_WARN, "kernel cache: %s: %s; not used", path, strerror(errno));
        setenv("POCL_KERNEL_CACHE", "0", 0);
    } else {
        setenv("POCL_CACHE_DIR", path, 1);
    }
    buf_free(&seal);
}

void pocl_cache_end(struct pocl_cache *c, bool good)
{
    if (good && c->dir_fd >= 0)
        write_seal(c->dir_fd);
    if (c->lock_fd >= 0)
        close(c->lock_fd); /* gives up the lock */
    *c = (struct pocl_cache){-1, -1};
}
