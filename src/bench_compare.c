#include "src/bench_compare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/embed.h"
#include "src/config_paths.h"
#include "src/models.h"

#define SCRIPT "peers.py"

static enum weft_rc system_error(struct weft_err *err, const char *call)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s: %s", call, strerror(errno));
    weft_err_str(err, "where", "bench --compare");
    return WEFT_INTERNAL_ERROR;
}

/* $XDG_DATA_HOME/weft/peers, where the script's --setup puts it too; its Python. */
static enum weft_rc find_python(struct buf *python, struct weft_err *err)
{
    if (!paths_of(PATH_DATA, "peers/bin/python", python))
        return weft_err_nomem(err, "bench --compare", 0);
    if (access(buf_str(python), X_OK) == 0)
        return WEFT_OK;
    weft_err_set(err, WEFT_FILE_INVALID,
                 "%s: %s; the peers aren't installed: tests/bench/" SCRIPT " --setup does it",
                 buf_str(python), strerror(errno));
    weft_err_str(err, "path", buf_str(python));
    weft_err_str(err, "field", "python");
    weft_err_str(err, "value", strerror(errno));
    weft_err_str(err, "limit", "an environment with the peers");
    return WEFT_FILE_INVALID;
}

/* The script becomes standard input. */
static enum weft_rc feed_script(struct weft_err *err)
{
    const struct weft_embedded *script = weft_embedded_find(weft_embedded_scripts, SCRIPT);
    int fd = memfd_create(SCRIPT, MFD_CLOEXEC);
    enum weft_rc rc = WEFT_OK;
    if (fd < 0)
        return system_error(err, "memfd_create");
    if (write(fd, script->data, script->size) != (ssize_t)script->size || lseek(fd, 0, SEEK_SET) < 0 ||
        dup2(fd, STDIN_FILENO) < 0)
        rc = system_error(err, "writing the script");
    close(fd);
    return rc;
}

/* This program's own path: what the script runs must not depend on where it runs. */
static enum weft_rc own_path(struct buf *out, struct weft_err *err)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n < 0 || (size_t)n == sizeof path)
        return system_error(err, "readlink /proc/self/exe");
    return buf_add(out, path, (size_t)n) ? WEFT_OK : weft_err_nomem(err, "bench --compare", (size_t)n);
}

static enum weft_rc run_script(const struct cli *cli, const char *python, const char *weft, const char *model,
                               struct weft_err *err)
{
    enum { ARGUMENTS_MAX = 24 };
    char gen[16], rounds[16];
    snprintf(gen, sizeof gen, "%u", cli->opt.gen_tokens);
    snprintf(rounds, sizeof rounds, "%u", cli->opt.rounds);
    const char *precision = config_choice("device.precision", cli->cfg.device.precision);
    const char *options[][2] = {
        {"--weft", weft},
        {"--model", model},
        {"--precision", precision},
        {"--batch", cli->opt.batch},
        {"--prompt", cli->opt.prompts},
        {"--gen", gen},
        {"--rounds", rounds},
        {"--json", cli->opt.json ? "-" : NULL},
    };
    const char *argv[ARGUMENTS_MAX] = {python, "-"};
    size_t n = 2;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!options[i][1])
            continue;
        argv[n++] = options[i][0];
        argv[n++] = options[i][1];
    }
    enum weft_rc rc = feed_script(err);
    if (rc)
        return rc;
    execv(python, (char *const *)argv);
    return system_error(err, python);
}

enum weft_rc bench_compare(struct cli *cli, struct weft_err *err)
{
    struct buf python = BUF_INIT, weft = BUF_INIT, model = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    if (cli->opt.prompts && strchr(cli->opt.prompts, ','))
        rc = weft_err_set(err, WEFT_USAGE, "--compare takes one length for --prompt, not \"%s\"",
                          cli->opt.prompts);
    if (rc == WEFT_OK)
        rc = find_python(&python, err);
    if (rc == WEFT_OK)
        rc = models_resolve(cli->cfg.model.path.item[0], &model, err);
    if (rc == WEFT_OK)
        rc = own_path(&weft, err);
    if (rc == WEFT_OK)
        rc = run_script(cli, buf_str(&python), buf_str(&weft), buf_str(&model), err);
    buf_free(&python);
    buf_free(&weft);
    buf_free(&model);
    return rc;
}
