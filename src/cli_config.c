/* weft config: where the configuration comes from, and what it is. */
#include <stdio.h>
#include <string.h>

#include "src/cli.h"

static enum weft_rc print_json(const struct cli *cli, struct weft_err *err)
{
    json_t *values = json_object();
    size_t n;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n; i++) {
        const struct config_origin *o = &cli->cfg.origin[i];
        const char *source = cli->cfg.sources[o->source];
        json_t *row = json_pack("{s:o, s:o, s:b}", "value", config_json(&cli->cfg, &keys[i]), "source",
                                cli_json_text(source, strlen(source)), "live", keys[i].live);
        if (row && o->line)
            json_object_set_new(row, "line", json_integer(o->line));
        json_object_set_new(values, keys[i].path, row);
    }
    json_t *file = cli->config_file ? cli_json_text(cli->config_file, strlen(cli->config_file)) : json_null();
    return cli_print_json(
        json_pack("{s:o, s:b, s:o}", "file", file, "found", cli->config_found, "values", values), err);
}

static enum weft_rc run_config(struct cli *cli, struct weft_err *err)
{
    if (cli->opt.json)
        return print_json(cli, err);
    if (cli->opt.defaults) {
        fputs(config_default_text(), stdout);
        return WEFT_OK;
    }
    struct buf text = BUF_INIT;
    if (!cli->opt.print) {
        buf_adds(&text, "# built in, overridden by ");
        config_print_word(cli->config_file ? cli->config_file : "no file: there is no home directory", &text);
        buf_adds(&text, cli->config_found ? "\n" : " (not found)\n");
    }
    config_print(&cli->cfg, !cli->opt.print, &text);
    enum weft_rc rc = WEFT_OK;
    if (text.failed)
        rc = weft_err_nomem(err, "configuration", text.len);
    else
        fputs(buf_str(&text), stdout);
    buf_free(&text);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_FLAG("print", 0, print, "only the effective values, without where they come from"),
    CLI_FLAG("defaults", 0, defaults, "the commented file that is built in, to start one's own from"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_config = {
    .name = "config",
    .operands = "",
    .summary = "Print the effective configuration as YAML, and where each value comes from.",
    .details = "What is printed can be read back with --config.",
    .options = options,
    .run = run_config,
};
