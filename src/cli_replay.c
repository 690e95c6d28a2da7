/* weft replay: a workload without a screen. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/replay.h"

#define TIME_SCALE_MAX 1e6

static enum weft_rc parse_time_scale(const struct cli *cli, double *out, struct weft_err *err)
{
    const char *s = cli->opt.time_scale;
    char *end = NULL;
    *out = 1;
    if (!s)
        return WEFT_OK;
    *out = strtod(s, &end);
    if (*s && !*end && !s[strspn(s, "0123456789+-.eE")] && *out >= 0 && *out <= TIME_SCALE_MAX)
        return WEFT_OK;
    return weft_err_set(err, WEFT_USAGE, "--time-scale: \"%s\" is not a number in 0 … %.0f", s,
                        TIME_SCALE_MAX);
}

static enum weft_rc apply_set(void *workload, struct weft_config *cfg, struct weft_err *err)
{
    return workload_configure(workload, cfg, err);
}

static enum weft_rc open_events(const char *path, FILE **out, struct weft_err *err)
{
    *out = path ? fopen(path, "we") : NULL;
    if (*out || !path)
        return WEFT_OK;
    weft_err_set(err, WEFT_FILE_INVALID, "--events: %s: %s", path, strerror(errno));
    weft_err_str(err, "path", path);
    weft_err_str(err, "field", "--events");
    weft_err_str(err, "value", strerror(errno));
    weft_err_str(err, "limit", "a file that can be written");
    return WEFT_FILE_INVALID;
}

static enum weft_rc print_result(const struct cli *cli, const struct replay *rp, struct weft_err *err)
{
    if (cli->opt.json)
        return cli_print_json(replay_result_json(rp), err);
    struct buf text = BUF_INIT;
    replay_result_text(rp, &text);
    enum weft_rc rc = text.failed ? weft_err_nomem(err, "replay", text.len) : WEFT_OK;
    if (rc == WEFT_OK)
        fputs(buf_str(&text), stdout);
    buf_free(&text);
    return rc;
}

static enum weft_rc run(struct cli *cli, struct weft_err *err)
{
    struct workload *w = NULL;
    struct replay rp = {0};
    FILE *events = NULL;
    double scale = 1;
    int signal = 0;
    if (cli->operands.n == 0)
        return weft_err_set(err, WEFT_USAGE,
                            "a workload is needed: a file, or a name; see weft replay --help");
    enum weft_rc rc = parse_time_scale(cli, &scale, err);
    if (rc == WEFT_OK)
        rc = cli_load_workload(cli->operands.item[0], &w, err);
    if (rc == WEFT_OK)
        rc = cli_configure(cli, apply_set, w, err);
    if (rc == WEFT_OK)
        rc = config_check(&cli->cfg, err);
    if (rc == WEFT_OK)
        rc = workload_expand(w, scale, &cli->cfg, err);
    if (rc == WEFT_OK)
        rc = open_events(cli->opt.events, &events, err);
    if (rc == WEFT_OK)
        rc = replay_init(&rp, w, cli->opt.sim, events, err);
    if (rc == WEFT_OK)
        rc = cli->opt.sim ? replay_sim(&cli->cfg, &rp, &signal, err) : replay_real(cli, &rp, &signal, err);
    if (rc == WEFT_OK)
        rc = replay_flush(&rp, cli->opt.events, err);
    if (rc == WEFT_OK)
        rc = print_result(cli, &rp, err);
    if (rc == WEFT_OK)
        cli->status = signal ? CLI_SIGNALLED + signal : replay_some_failed(&rp) ? CLI_SOME_FAILED : CLI_DONE;
    if (events)
        fclose(events); /* all of it was flushed, or that is the error already */
    replay_deinit(&rp);
    workload_destroy(w);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_FLAG("sim", 0, sim, "simulate, in virtual time: needs no model and no device"),
    CLI_TEXT("events", 0, events, "FILE", "write what happens to FILE, a JSON object a line"),
    CLI_TEXT("time-scale", 0, time_scale, "X", "multiply the workload's times by X: 0.5 is twice as fast, 0 all at once"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_replay = {
    .name = "replay",
    .operands = "WORKLOAD",
    .max_operands = 1,
    .summary = "Runs a workload without a screen and says how it went.",
    .details =
        "WORKLOAD is a YAML or JSON file, - for standard input, or the name of a built-in workload: aging, "
        "burst, cancel-storm, fifo-against-priority, long-prompt, memory-pressure, "
        "one-at-a-time-against-batch, poisson, preemption, prefix-sharing, tour, vip-against-crowd. "
        "It runs on the engine, or with --sim on a simulated one, where the same file and seed give the same "
        "events, byte for byte. The file's own settings (its set:) come after the user's configuration and "
        "before the command line's.",
    .options = options,
    .run = run,
    .brings_settings = true,
};
