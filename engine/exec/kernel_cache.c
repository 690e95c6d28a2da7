#include "engine/exec/kernel_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

static const char lock_name[] = "pocl.lock";

/* ---- the directory and its lock ---- */

/* mkdir -p with mode 0700. */
static bool make_parents(const char *dir)
{
    char path[4096];
    size_t n = strlen(dir);
    if (!n || n >= sizeof path)
        return false;
    memcpy(path, dir, n + 1);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0700) && errno != EEXIST)
            return false;
        *slash = '/';
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

int kernel_cache_open(const char *dir)
{
    struct stat st;
    int fd = make_parents(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0) {
        log_msg(LOG_WARN, "kernel cache: %s: %s; kernels are built at every start", dir, strerror(errno));
        return -1;
    }
    if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        log_msg(LOG_WARN, "kernel cache: %s belongs to somebody else or others may write to it; not used",
                dir);
        close(fd);
        return -1;
    }
    return fd;
}

int kernel_cache_lock(int dir_fd, int patience_ms)
{
    enum { PAUSE_MS = 10 };
    const int64_t until = clock_now_us() + patience_ms * INT64_C(1000);
    bool told = false;
    int fd = openat(dir_fd, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || clock_now_us() >= until) {
            close(fd);
            return -1;
        }
        if (!told)
            log_msg(LOG_INFO, "kernel cache: another process is building kernels; waiting for it");
        told = true;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
    }
    return fd;
}

static int64_t ns_of(struct timespec t)
{
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t kernel_cache_now(void)
{
    struct timespec t; /* files' times come from the coarse clock, which is a tick behind the other */
    return clock_gettime(CLOCK_REALTIME_COARSE, &t) ? 0 : ns_of(t);
}

void kernel_cache_touch(int dir_fd, const char *path)
{
    if (utimensat(dir_fd, path, NULL, AT_SYMLINK_NOFOLLOW))
        log_msg(LOG_DEBUG, "kernel cache: %s can't be marked as used: %s", path, strerror(errno));
}

/* ---- small files ---- */

bool kernel_cache_get(int dir_fd, const char *name, size_t limit, struct buf *out)
{
    struct stat st;
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool ours =
        !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0;
    const bool good = ours && buf_read_fd(out, fd, limit) == 0;
    close(fd);
    if (!good)
        log_msg(LOG_WARN, "kernel cache: %s isn't ours alone, or has more than %zu bytes; not used", name,
                limit);
    return good;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

bool kernel_cache_put(int dir_fd, const char *name, const void *bytes, size_t n)
{
    char temp[64];
    snprintf(temp, sizeof temp, ".%s.%ld", name, (long)getpid());
    int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool good = write_all(fd, bytes, n) && fsync(fd) == 0;
    good = close(fd) == 0 && good;
    good = good && renameat(dir_fd, temp, dir_fd, name) == 0;
    if (!good) {
        const int why = errno;
        unlinkat(dir_fd, temp, 0);
        errno = why;
    }
    return good;
}

/* ---- what is in it ---- */

struct entry {
    char *path; /* below the directory */
    uint64_t bytes;
    int64_t used_ns;
};

struct listing {
    struct entry *entry;
    size_t n, cap;
    uint64_t bytes; /* of everything, notes too */
};

/* Opens the directory, or what is at `path` below it; /proc names an open directory wherever the process is. */
static FTS *walk(int dir_fd, const char *path)
{
    char root[512];
    char *roots[] = {root, NULL};
    int n = snprintf(root, sizeof root, "/proc/self/fd/%d/%s", dir_fd, path);
    return n > 0 && (size_t)n < sizeof root ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
}

/* The part of a path that is below the directory; "" for the directory itself. */
static const char *below(const FTSENT *e)
{
    const char *p = e->fts_path + sizeof "/proc/self/fd/" - 1;
    p += strcspn(p, "/");
    return p + strspn(p, "/");
}

static bool has_ending(const char *name, const char *ending)
{
    size_t n = strlen(name), tail = strlen(ending);
    return n > tail && strcmp(name + n - tail, ending) == 0;
}

/* A program begins here: a .clbin file, or a directory of the third level below pocl. */
static bool is_program(const FTSENT *e, const char *path)
{
    if (e->fts_level == 1)
        return e->fts_info == FTS_F && has_ending(path, ".clbin");
    return e->fts_level == 3 && e->fts_info == FTS_D && strncmp(path, "pocl/", 5) == 0;
}

static bool add_entry(struct listing *l, const FTSENT *e, const char *path)
{
    if (mem_grow(&l->entry, &l->cap, l->n + 1, sizeof *l->entry))
        return false;
    struct entry new = {.path = mem_strdup(path), .used_ns = ns_of(e->fts_statp->st_mtim)};
    if (!new.path)
        return false;
    l->entry[l->n++] = new;
    return true;
}

static void listing_free(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem_free(l->entry[i].path);
    mem_free(l->entry);
}

static bool list(int dir_fd, struct listing *l)
{
    FTS *tree = walk(dir_fd, "");
    bool good = tree != NULL;
    for (FTSENT *e; good && (e = fts_read(tree)) != NULL;) {
        const char *path = below(e);
        if (is_program(e, path))
            good = add_entry(l, e, path);
        if (!good || e->fts_info != FTS_F)
            continue;
        const uint64_t bytes = (uint64_t)e->fts_statp->st_size;
        struct entry *last = l->n ? &l->entry[l->n - 1] : NULL;
        const size_t n = last ? strlen(last->path) : 0; /* fts goes through a directory without leaving it */
        if (last && strncmp(path, last->path, n) == 0 && (!path[n] || path[n] == '/'))
            last->bytes += bytes;
        l->bytes += bytes;
    }
    if (tree)
        fts_close(tree);
    return good;
}

bool kernel_cache_measure(int dir_fd, struct kernel_cache_size *out)
{
    struct listing l = {0};
    bool good = list(dir_fd, &l);
    *out = (struct kernel_cache_size){l.bytes, (unsigned)l.n};
    listing_free(&l);
    return good;
}

/* ---- removing ---- */

/* Removes what is at `path` ("": what is in the directory), but not the lock nor PoCL's own directory, which a process
 * that runs may want to write to. */
static bool remove_tree(int dir_fd, const char *path)
{
    FTS *tree = walk(dir_fd, path);
    bool good = tree != NULL;
    for (FTSENT *e; tree && (e = fts_read(tree)) != NULL;) {
        const char *name = below(e);
        if (e->fts_info == FTS_D || !*name || strcmp(name, lock_name) == 0 || strcmp(name, "pocl") == 0)
            continue;
        good = remove(e->fts_accpath) == 0 && good;
    }
    if (tree)
        fts_close(tree);
    return good;
}

static int oldest_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

bool kernel_cache_trim(int dir_fd, uint64_t limit_bytes, int64_t used_since_ns,
                       struct kernel_cache_size *removed)
{
    struct listing l = {0};
    struct kernel_cache_size gone = {0};
    if (!limit_bytes)
        limit_bytes = UINT64_MAX;
    bool good = list(dir_fd, &l);
    if (l.n)
        qsort(l.entry, l.n, sizeof *l.entry, oldest_first);
    for (size_t i = 0; good && i < l.n && l.bytes - gone.bytes > limit_bytes; i++) {
        if (l.entry[i].used_ns >= used_since_ns)
            break;
        good = remove_tree(dir_fd, l.entry[i].path);
        gone.bytes += l.entry[i].bytes;
        gone.n_programs++;
    }
    if (gone.n_programs)
        log_msg(LOG_INFO, "kernel cache: %u programs of %llu bytes that were unused for longest are removed",
                gone.n_programs, (unsigned long long)gone.bytes);
    if (good && l.bytes - gone.bytes > limit_bytes)
        log_msg(
            LOG_INFO,
            "kernel cache: what this start uses and what can't be evicted is %llu bytes; the limit is %llu",
            (unsigned long long)(l.bytes - gone.bytes), (unsigned long long)limit_bytes);
    listing_free(&l);
    if (removed)
        *removed = gone;
    return good;
}

bool kernel_cache_clear(int dir_fd, struct kernel_cache_size *removed)
{
    struct kernel_cache_size before, after;
    bool good = kernel_cache_measure(dir_fd, &before);
    good = remove_tree(dir_fd, "") && good;
    good = kernel_cache_measure(dir_fd, &after) && good;
    if (removed)
        *removed =
            (struct kernel_cache_size){before.bytes - after.bytes, before.n_programs - after.n_programs};
    return good;
}
