/* weft demo: the console with a workload playing in it. */
#include <stdio.h>
#include <unistd.h>

#include "src/app.h"
#include "src/cli.h"
#include "src/workload.h"

#define DEFAULT_DEMO "tour"

static enum weft_rc list(const struct cli *cli, struct weft_err *err)
{
    if (!cli->opt.json) {
        for (const struct workload_builtin *b = workload_builtins; b->name; b++)
            printf("%-28s %s\n", b->name, b->what);
        return WEFT_OK;
    }
    json_t *all = json_array();
    for (const struct workload_builtin *b = workload_builtins; b->name; b++)
        json_array_append_new(all, json_pack("{s:s, s:s}", "name", b->name, "shows", b->what));
    return cli_print_json(all, err);
}

static enum weft_rc apply_set(void *workload, struct weft_config *cfg, struct weft_err *err)
{
    return workload_configure(workload, cfg, err);
}

static enum weft_rc run(struct cli *cli, struct weft_err *err)
{
    struct workload *w = NULL;
    struct weft_err failure = {.code = WEFT_OK};
    if (cli->opt.list)
        return list(cli, err);
    enum weft_rc rc = cli_load_workload(cli->operands.n ? cli->operands.item[0] : DEFAULT_DEMO, &w, err);
    if (rc == WEFT_OK)
        rc = cli_configure(cli, apply_set, w, err);
    if (rc == WEFT_OK)
        rc = config_check(&cli->cfg, err);
    if (rc == WEFT_OK)
        rc = workload_expand(w, 1, &cli->cfg, err);
    if (rc == WEFT_OK && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
        rc = weft_err_set(err, WEFT_USAGE,
                          "a demonstration needs a terminal; weft replay runs workloads without one");
    if (rc == WEFT_OK) {
        const struct app_options options = {.cfg = &cli->cfg, .sim = cli->opt.sim, .demo = w};
        cli->status = app_main(&options, &failure);
        rc = failure.code;
        if (rc && err)
            *err = failure;
    }
    workload_destroy(w);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_FLAG("list", 0, list, "list the built-in workloads, and what each shows"),
    CLI_FLAG("sim", 0, sim, "use the simulated executor: no model, no device"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_demo = {
    .name = "demo",
    .operands = "[NAME]",
    .max_operands = 1,
    .summary = "Opens the console with a workload playing in it, and says what to look at.",
    .details =
        "NAME is a built-in workload or a file of weft replay's format; by default tour, which shows in two "
        "minutes what continuous batching is. Its settings (its set:) come after the user's configuration "
        "and "
        "before the command line's. It plays on the engine, by the clock; while the engine is frozen (F4) it "
        "waits. Sessions of last time aren't opened, and nothing is kept.",
    .options = options,
    .run = run,
    .brings_settings = true,
};
