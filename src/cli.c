/* From argv to a verb, and from its error to an exit status. */
#include "src/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/config_paths.h"

#define WEFT_VERSION "0.1.0"

const struct cli_verb *const cli_verbs[] = {
    &cli_generate, &cli_replay, &cli_demo,    &cli_tokenize, &cli_detokenize, &cli_score,
    &cli_bench,    &cli_models, &cli_devices, &cli_cache,    &cli_config,     NULL,
};

/* clang-format off */
const struct opt_spec cli_common_options[] = {
    CLI_KEY("model", 'm', "model.path", "NAME|PATH", "model to load; repeatable, the first is the default"),
    CLI_KEY("device", 0, "device.select", "N|TEXT", "OpenCL device: its number or part of its name"),
    CLI_KEY("precision", 0, "device.precision", "WORD", "auto, fp32, int8 or bf16"),
    CLI_TEXT("config", 0, config, "FILE", "read FILE instead of the user's configuration"),
    CLI_KEY("set", 0, NULL, "KEY=VALUE", "set a configuration key; repeatable"),
    CLI_KEY("log-level", 0, "log.level", "WORD", "log to standard error: error, warn, info or debug"),
    CLI_FLAG("json", 0, json, "machine-readable output, errors too"),
    CLI_FLAG("quiet", 'q', quiet, "no progress on standard error"),
    CLI_FLAG("help", 'h', help, "this text"),
    CLI_END,
};
/* clang-format on */

static const struct cli_verb *find_verb(const char *name)
{
    for (size_t i = 0; cli_verbs[i]; i++)
        if (strcmp(cli_verbs[i]->name, name) == 0)
            return cli_verbs[i];
    return NULL;
}

static enum weft_rc refuse_verb(const char *name, struct weft_err *err)
{
    struct buf names = BUF_INIT;
    for (size_t i = 0; cli_verbs[i]; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", cli_verbs[i]->name);
    weft_err_set(err, WEFT_USAGE, "unknown command \"%s\"; there are %s", name, buf_str(&names));
    buf_free(&names);
    return WEFT_USAGE;
}

/* Options may stand before the verb too, as long as they are common ones. */
static enum weft_rc parse(struct cli *cli, int argc, char **argv, struct opt_result *args,
                          struct weft_err *err)
{
    int index = 1;
    const struct opt_spec *const leading[OPT_TABLES] = {cli_common_options, cli_console.options};
    cli->verb = &cli_console;
    enum weft_rc rc = opt_parse(leading, argc, argv, &index, true, args, err);
    if (rc || index >= argc)
        return rc;
    cli->verb = find_verb(argv[index]);
    if (!cli->verb) {
        cli->verb = &cli_console;
        return refuse_verb(argv[index], err);
    }
    if (cli->opt.sim || cli->opt.fresh || cli->opt.resume || cli->opt.version)
        return weft_err_set(err, WEFT_USAGE,
                            "--sim, --fresh, --resume and --version don't go with a command (%s)",
                            cli->verb->name);
    index++;
    const struct opt_spec *const tables[OPT_TABLES] = {cli->verb->options, cli_common_options};
    rc = opt_parse(tables, argc, argv, &index, false, args, err);
    if (rc == WEFT_OK && !cli->opt.help && args->operands.n > cli->verb->max_operands)
        rc = weft_err_set(err, WEFT_USAGE, "unexpected argument \"%s\"; see weft %s --help",
                          args->operands.item[cli->verb->max_operands], cli->verb->name);
    return rc;
}

/* Which file is read, and whether it is there; `file` keeps its name. */
static void find_config(struct cli *cli, struct buf *file)
{
    if (cli->opt.config) {
        cli->config_file = cli->opt.config;
        cli->config_found = true;
    } else if (paths_of(PATH_CONFIG, "weft.yaml", file)) {
        cli->config_file = buf_str(file);
        cli->config_found = access(cli->config_file, F_OK) == 0;
    }
}

enum weft_rc cli_configure(struct cli *cli, cli_source_fn *source, void *ctx, struct weft_err *err)
{
    const struct opt_result *args = cli->args;
    config_deinit(&cli->cfg);
    enum weft_rc rc = config_init(&cli->cfg, err);
    if (rc)
        return rc;
    if (cli->config_found)
        rc = config_load_file(&cli->cfg, cli->config_file, err);
    if (rc == WEFT_OK && source)
        rc = source(ctx, &cli->cfg, err);
    for (size_t i = 0; i < args->n_assignments && rc == WEFT_OK; i++) {
        const struct opt_assignment *a = &args->assignments[i];
        char option[40];
        snprintf(option, sizeof option, "--%s", a->spec->name);
        if (!a->spec->key) {
            rc = config_set(&cli->cfg, a->value, err);
        } else if ((rc = config_set_word(&cli->cfg, a->spec->key, a->value, option, err)) ==
                   WEFT_CONFIG_INVALID) {
            rc = WEFT_USAGE; /* it is the command line that is wrong */
            if (err)
                err->code = rc;
        }
    }
    return rc;
}

static bool was_set(const struct weft_config *cfg, const char *path)
{
    size_t n;
    return cfg->origin[config_key_find(path) - config_keys(&n)].source != 0;
}

/* A command's errors come as its one line on standard error, so it keeps a log only where one is asked for: a file, or
 * a level, which sends it to standard error. The console has the screen, and says itself where its log goes. */
static enum weft_rc open_log(const struct cli *cli, struct weft_err *err)
{
    const char *file = cli->cfg.log.file;
    log_set_level((enum log_level)cli->cfg.log.level);
    if (cli->verb == &cli_console || cli->verb == &cli_demo)
        return WEFT_OK;
    if (!*file) {
        bool asked = was_set(&cli->cfg, "log.level");
        log_to_fd(asked ? STDERR_FILENO : open("/dev/null", O_WRONLY | O_CLOEXEC));
        return WEFT_OK;
    }
    if (log_open(file) == 0)
        return WEFT_OK;
    weft_err_set(err, WEFT_CONFIG_INVALID, "log.file: %s: %s", file, strerror(errno));
    weft_err_str(err, "key", "log.file");
    weft_err_str(err, "value", file);
    weft_err_str(err, "allowed", "a file that can be appended to");
    return WEFT_CONFIG_INVALID;
}

static enum weft_rc run(struct cli *cli, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    if (cli->opt.help) {
        cli_help(cli->verb, &text);
        fputs(buf_str(&text), stdout);
    } else if (cli->opt.version) {
        puts("weft " WEFT_VERSION);
    } else {
        find_config(cli, &text);
        rc = cli_configure(cli, NULL, NULL, err);
        if (rc == WEFT_OK && !cli->verb->brings_settings)
            rc = config_check(&cli->cfg, err);
        if (rc == WEFT_OK)
            rc = open_log(cli, err);
        if (rc == WEFT_OK)
            rc = cli->verb->run(cli, err);
    }
    if (rc == WEFT_OK)
        rc = cli_flush(err);
    buf_free(&text);
    return rc;
}

/* --json counts even where the rest of the command line is wrong. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int cli_main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* not LC_NUMERIC: numbers are read and written with a point */
    struct cli cli = {.opt = {.gen_tokens = 64, .rounds = 5}};
    struct opt_result args = {.target = &cli.opt};
    struct weft_err err = {.code = WEFT_OK};

    bool left_behind = false;

    cli.args = &args;
    cli.left_behind = &left_behind;
    enum weft_rc rc = parse(&cli, argc, argv, &args, &err);
    cli.operands = args.operands;
    if (rc == WEFT_OK)
        rc = run(&cli, &err);
    int status = cli.status;
    if (rc) {
        status = weft_rc_exit_status(rc);
        fprintf(stderr, "weft: %s: %s\n", weft_rc_name(err.code), err.message);
        if (wants_json(argc, argv) && !cli.error_in_out)
            cli_print_error_json(&err, NULL);
    }
    if (left_behind) { /* a thread still uses the configuration; nothing may wait for it, exit handlers neither */
        fflush(NULL);
        _exit(status);
    }
    opt_result_free(&args);
    mem_free(cli.opt.stop.item);
    config_deinit(&cli.cfg);
    return status;
}
