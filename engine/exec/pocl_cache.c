#include "engine/exec/pocl_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/exec/kernel_cache.h"

enum { FILE_MAX = 256 << 20, SEAL_MAX = 64 << 20, PATIENCE_MS = 60000 };

static const char tree_name[] = "pocl", seal_name[] = "pocl.seal", seal_head[] = "weft seal 2\n";

/* A file as the seal has it. */
struct sealed {
    const char *path; /* below cache_dir; points into the seal's text */
    uint64_t bytes, hash;
};

struct pocl_seal {
    struct buf text;
    struct sealed *file; /* ascending by path */
    size_t n, cap;
};

/* A file that PoCL only writes to. It stays where it is: removing it would count as use of its program. */
static bool is_stamp(const char *name)
{
    return strcmp(name, "last_accessed") == 0;
}

/* Files that PoCL rewrites or leaves behind; they decide nothing. */
static bool is_noise(const char *name)
{
    return is_stamp(name) || strncmp(name, "tempfile", 8) == 0;
}

/* ---- the seal's text: a head, a line "BYTES HASH PATH" for each file, and a hash of all that ---- */

enum { HASH_LINE = 17 };

static void add_line(struct buf *text, const struct sealed *s)
{
    buf_addf(text, "%" PRIu64 " %016" PRIx64 " %s\n", s->bytes, s->hash, s->path);
}

static void hash_line(const struct buf *text, size_t n, char out[HASH_LINE + 1])
{
    snprintf(out, HASH_LINE + 1, "%016" PRIx64 "\n", checksum64(text->data, n));
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct sealed *)a)->path, ((const struct sealed *)b)->path);
}

/* Cuts the text, whose hash was found right, into files. */
static bool parse_lines(struct pocl_seal *seal)
{
    char *at = seal->text.data + sizeof seal_head - 1, *end = seal->text.data + seal->text.len - HASH_LINE;
    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at)), *rest;
        struct sealed s;
        if (!newline || mem_grow(&seal->file, &seal->cap, seal->n + 1, sizeof s))
            return false;
        *newline = 0;
        s.bytes = strtoull(at, &rest, 10);
        s.hash = strtoull(rest, &rest, 16);
        s.path = rest + (*rest == ' ');
        seal->file[seal->n++] = s;
        at = newline + 1;
    }
    if (seal->n)
        qsort(seal->file, seal->n, sizeof *seal->file, by_path);
    return true;
}

static void seal_free(struct pocl_seal *seal)
{
    if (!seal)
        return;
    buf_free(&seal->text);
    mem_free(seal->file);
    mem_free(seal);
}

/* The seal; one without files where it is missing or damaged. NULL when out of memory. */
static struct pocl_seal *read_seal(int dir_fd)
{
    const size_t head = sizeof seal_head - 1;
    struct pocl_seal *seal = mem_calloc(1, sizeof *seal);
    char hash[HASH_LINE + 1];
    if (!seal)
        return NULL;
    int fd = openat(dir_fd, seal_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    bool good = fd >= 0 && buf_read_fd(&seal->text, fd, SEAL_MAX) == 0 &&
                seal->text.len >= head + HASH_LINE && memcmp(seal->text.data, seal_head, head) == 0;
    if (fd >= 0)
        close(fd);
    if (good) {
        const size_t n = seal->text.len - HASH_LINE;
        hash_line(&seal->text, n, hash);
        good = memcmp(seal->text.data + n, hash, HASH_LINE) == 0 && parse_lines(seal);
    }
    if (!good)
        seal->n = 0;
    return seal;
}

static const struct sealed *seal_find(const struct pocl_seal *seal, const char *path)
{
    const struct sealed key = {.path = path};
    return seal->n ? bsearch(&key, seal->file, seal->n, sizeof key, by_path) : NULL;
}

/* ---- the tree ---- */

/* Opens cache_dir/pocl, wherever the process is: /proc names an open directory without a race. */
static FTS *walk(int dir_fd)
{
    char root[64];
    char *roots[] = {root, NULL};
    snprintf(root, sizeof root, "/proc/self/fd/%d/%s", dir_fd, tree_name);
    return fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
}

/* The path below cache_dir, without the descriptor's number. */
static const char *path_of(const FTSENT *e)
{
    const char *below = strstr(e->fts_path, "/pocl/");
    return below ? below + 1 : "";
}

/* What the file holds; false when it isn't ours or can't be read. */
static bool describe(const FTSENT *e, struct sealed *out)
{
    struct buf bytes = BUF_INIT;
    bool good = false;
    int fd = e->fts_statp->st_uid == geteuid() ? open(e->fts_accpath, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    if (buf_read_fd(&bytes, fd, FILE_MAX) == 0) {
        *out = (struct sealed){path_of(e), bytes.len, checksum64(buf_str(&bytes), bytes.len)};
        good = true;
    }
    close(fd);
    buf_free(&bytes);
    return good;
}

static bool is_sealed(const struct pocl_seal *seal, const FTSENT *e)
{
    struct sealed now;
    const struct sealed *then = seal_find(seal, path_of(e));
    return e->fts_info == FTS_F && then && then->bytes == (uint64_t)e->fts_statp->st_size &&
           describe(e, &now) && now.bytes == then->bytes && now.hash == then->hash;
}

/* Removes every file that the seal doesn't vouch for: PoCL builds what it misses. False where one stays. */
static bool prune(int dir_fd, const struct pocl_seal *seal)
{
    FTS *tree = walk(dir_fd);
    bool good = tree != NULL;
    unsigned n = 0;
    for (FTSENT *e; tree && (e = fts_read(tree)) != NULL;) {
        if (e->fts_info == FTS_D || e->fts_info == FTS_DP || is_stamp(e->fts_name) || is_sealed(seal, e))
            continue;
        n += !is_noise(e->fts_name);
        good = remove(e->fts_accpath) == 0 && good;
    }
    if (tree)
        fts_close(tree);
    if (n)
        log_msg(LOG_INFO, "kernel cache: %u files weren't sealed; what is needed of them is built anew", n);
    return good;
}

static bool written_since(const FTSENT *e, int64_t ns)
{
    const struct timespec t = e->fts_statp->st_mtim;
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec >= ns;
}

/* All files as a seal. Those that the old one vouches for were compared with it by prune, under the same lock: they are
 * read again only if they were written since. *changed: it differs from the old one. */
static bool list_tree(const struct pocl_cache *c, struct buf *out, bool *changed)
{
    FTS *tree = walk(c->dir_fd);
    bool good = tree != NULL;
    size_t n_old = 0;
    char hash[HASH_LINE + 1];
    *changed = false;
    buf_adds(out, seal_head);
    for (FTSENT *e; good && (e = fts_read(tree)) != NULL;) {
        if (e->fts_info != FTS_F || is_noise(e->fts_name))
            continue;
        struct sealed now;
        const struct sealed *old = c->seal ? seal_find(c->seal, path_of(e)) : NULL;
        if (old && old->bytes == (uint64_t)e->fts_statp->st_size && !written_since(e, c->since_ns)) {
            add_line(out, old);
            n_old++;
            continue;
        }
        *changed = true;
        if ((good = describe(e, &now)))
            add_line(out, &now);
    }
    if (tree)
        fts_close(tree);
    *changed = *changed || !c->seal || n_old != c->seal->n;
    good = good && !out->failed;
    if (good) {
        hash_line(out, out->len, hash);
        buf_adds(out, hash);
    }
    return good && !out->failed;
}

/* A new file, synced, then renamed. */
static bool replace_seal(int dir_fd, const struct buf *text)
{
    char temp[64];
    snprintf(temp, sizeof temp, ".%s.%ld", seal_name, (long)getpid());
    int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool good = write(fd, text->data, text->len) == (ssize_t)text->len && fsync(fd) == 0;
    good = close(fd) == 0 && good && renameat(dir_fd, temp, dir_fd, seal_name) == 0;
    if (!good)
        unlinkat(dir_fd, temp, 0);
    return good;
}

/* A warm start, which compiles nothing, writes nothing. */
static void write_seal(const struct pocl_cache *c)
{
    struct buf text = BUF_INIT;
    bool changed = false;
    if (!list_tree(c, &text, &changed) || (changed && !replace_seal(c->dir_fd, &text)))
        log_msg(LOG_WARN, "kernel cache: not sealed (%s); the next start builds anew", strerror(errno));
    buf_free(&text);
}

/* dl_iterate_phdr: marks the program that a loaded kernel belongs to, pocl/AB/CDEF…, as used. ctx: the cache. */
static int mark_used(struct dl_phdr_info *info, size_t size, void *ctx)
{
    const struct pocl_cache *c = ctx;
    const char *root = getenv("POCL_CACHE_DIR");
    const size_t n = root ? strlen(root) : 0;
    char path[256];
    (void)size;
    if (!n || strncmp(info->dlpi_name, root, n) != 0 || info->dlpi_name[n] != '/')
        return 0;
    const char *program = info->dlpi_name + n + 1, *end = strchr(program, '/');
    end = end ? strchr(end + 1, '/') : NULL;
    if (end &&
        snprintf(path, sizeof path, "%s/%.*s", tree_name, (int)(end - program), program) < (int)sizeof path)
        kernel_cache_touch(c->dir_fd, path);
    return 0;
}

void pocl_cache_begin(const char *cache_dir, int dir_fd, struct pocl_cache *out)
{
    char path[4096];
    *out = (struct pocl_cache){.dir_fd = -1, .lock_fd = -1, .since_ns = kernel_cache_now()};
    const char *set = getenv("POCL_CACHE_DIR");
    int n = cache_dir ? snprintf(path, sizeof path, "%s/%s", cache_dir, tree_name) : -1;
    bool usable = dir_fd >= 0 && n > 0 && (size_t)n < sizeof path;
    if (set && (!usable || strcmp(set, path) != 0))
        return; /* the user's, or that of an executor with another directory: PoCL reads it once */
    if (usable) {
        out->lock_fd = kernel_cache_lock(dir_fd, PATIENCE_MS);
        usable = out->lock_fd >= 0;
        if (!usable)
            log_msg(LOG_WARN, "kernel cache: %s: the lock isn't to be had", cache_dir);
    }
    if (!usable) {
        setenv("POCL_KERNEL_CACHE", "0", 0);
        return;
    }
    out->dir_fd = dir_fd;
    out->seal = read_seal(dir_fd);
    if (set)
        return; /* compared already, and in use */
    if (!out->seal || (mkdirat(dir_fd, tree_name, 0700) && errno != EEXIST) || !prune(dir_fd, out->seal)) {
        log_msg(LOG_WARN, "kernel cache: %s: %s; not used", path, strerror(errno));
        setenv("POCL_KERNEL_CACHE", "0", 0);
    } else {
        setenv("POCL_CACHE_DIR", path, 1);
        out->first = true;
    }
}

void pocl_cache_end(struct pocl_cache *c, bool good, uint64_t limit_bytes)
{
    if (good && c->dir_fd >= 0) {
        dl_iterate_phdr(mark_used, c);
        kernel_cache_trim(c->dir_fd, limit_bytes, c->since_ns, NULL);
        write_seal(c);
    }
    seal_free(c->seal);
    if (c->lock_fd >= 0)
        close(c->lock_fd); /* gives up the lock */
    *c = (struct pocl_cache){.dir_fd = -1, .lock_fd = -1};
}
