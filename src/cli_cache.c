/* weft cache: what compiled kernels take, and emptying it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/exec/kernel_cache.h"
#include "src/cli.h"
#include "src/config_paths.h"

struct report {
    const char *directory;
    struct kernel_cache_size kept, removed;
    double limit_mb; /* 0: none */
};

#define MIB (1024.0 * 1024.0)

static enum weft_rc cannot(const char *what, const char *directory, const char *why, struct weft_err *err)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "the kernel cache %s can't be %s: %s", directory, what, why);
    weft_err_str(err, "where", directory);
    return WEFT_INTERNAL_ERROR;
}

/* Empties the directory while no start is using it. */
static enum weft_rc clear(int fd, struct report *r, struct weft_err *err)
{
    enum { PATIENCE_MS = 60000 };
    int lock = kernel_cache_lock(fd, PATIENCE_MS);
    if (lock < 0)
        return cannot("locked", r->directory, "a process that is building kernels holds the lock", err);
    enum weft_rc rc =
        kernel_cache_clear(fd, &r->removed) ? WEFT_OK : cannot("emptied", r->directory, strerror(errno), err);
    close(lock);
    return rc;
}

static enum weft_rc print_json(const struct cli *cli, const struct report *r, struct weft_err *err)
{
    json_t *o =
        json_pack("{s:o, s:I, s:i, s:o}", "directory", cli_json_text(r->directory, strlen(r->directory)),
                  "bytes", (json_int_t)r->kept.bytes, "programs", (int)r->kept.n_programs, "limit_bytes",
                  cli_json_number(r->limit_mb * MIB));
    if (o && cli->opt.clear)
        json_object_set_new(o, "removed",
                            json_pack("{s:I, s:i}", "bytes", (json_int_t)r->removed.bytes, "programs",
                                      (int)r->removed.n_programs));
    return cli_print_json(o, err);
}

static enum weft_rc print_text(const struct cli *cli, const struct report *r, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    char limit[32] = "no limit";
    if (r->limit_mb > 0)
        snprintf(limit, sizeof limit, "at most %.0f MiB", r->limit_mb);
    buf_addf(&text, "%s\n", r->directory);
    if (cli->opt.clear)
        buf_addf(&text, "removed: %.1f MiB in %u programs\n", (double)r->removed.bytes / MIB,
                 r->removed.n_programs);
    else
        buf_addf(&text, "%.1f MiB in %u programs; %s\n", (double)r->kept.bytes / MIB, r->kept.n_programs,
                 limit);
    enum weft_rc rc = cli_text_print(buf_str(&text), text.len, err);
    buf_free(&text);
    return rc;
}

static enum weft_rc run_cache(struct cli *cli, struct weft_err *err)
{
    struct buf dir = BUF_INIT;
    struct report r = {.limit_mb = (double)cli->cfg.device.cache_mb};
    enum weft_rc rc = WEFT_OK;
    int fd = -1;
    if (!paths_of(PATH_CACHE, "kernels", &dir)) {
        rc = cannot("found", "", "there is no home directory", err);
        goto out;
    }
    r.directory = buf_str(&dir);
    if (access(r.directory, F_OK) == 0) { /* else nothing was kept yet */
        fd = kernel_cache_open(r.directory);
        if (fd < 0)
            rc = cannot("opened", r.directory, "it must be a directory of yours that others can't write to",
                        err);
        if (rc == WEFT_OK && cli->opt.clear)
            rc = clear(fd, &r, err);
        if (rc == WEFT_OK && !kernel_cache_measure(fd, &r.kept))
            rc = cannot("read", r.directory, strerror(errno), err);
    }
    if (rc == WEFT_OK)
        rc = cli->opt.json ? print_json(cli, &r, err) : print_text(cli, &r, err);
out:
    if (fd >= 0)
        close(fd);
    buf_free(&dir);
    return rc;
}

static const struct opt_spec options[] = {
    CLI_FLAG("clear", 0, clear, "remove all compiled kernels"),
    CLI_END,
};

const struct cli_verb cli_cache = {
    .name = "cache",
    .operands = "",
    .summary = "Tell what the compiled kernels take on disk, or remove them.",
    .details =
        "Kernels are compiled at the first start and kept. When they take more than device.cache_mb, those "
        "unused for longest go. After --clear the next start compiles them anew; what runs isn't disturbed.",
    .options = options,
    .run = run_cache,
};
