/* `weft` alone: the console. */
#include <unistd.h>

#include "src/app.h"
#include "src/cli.h"

static enum weft_rc run_console(struct cli *cli, struct weft_err *err)
{
    if (cli->opt.fresh && cli->opt.resume)
        return weft_err_set(err, WEFT_USAGE,
                            "--fresh opens none of the last sessions, --resume opens them: "
                            "only one of the two can be");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return weft_err_set(
            err, WEFT_USAGE,
            "the console needs a terminal, and standard %s is none; see weft --help for commands "
            "that don't",
            isatty(STDIN_FILENO) ? "output" : "input");
    struct app_options options = {.cfg = &cli->cfg, .sim = cli->opt.sim, .fresh = cli->opt.fresh};
    struct weft_err failure = {.code = WEFT_OK};
    cli->status = app_main(&options, &failure);
    if (failure.code && err)
        *err = failure;
    return failure.code;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_FLAG("resume", 0, resume, "open the last sessions, as it does without being told"),
    CLI_FLAG("fresh", 0, fresh, "open none of the last sessions"),
    CLI_FLAG("sim", 0, sim, "use the simulated executor: no model, no device"),
    CLI_FLAG("version", 0, version, "print the version"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_console = {
    .name = "",
    .operands = "",
    .summary = "Chat with a language model in many sessions at once, all in one continuous batch on OpenCL, "
               "and watch "
               "the batch at work.",
    .details = "",
    .options = options,
    .run = run_console,
};
