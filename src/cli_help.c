/* What --help prints: from the tables of verbs and options. */
#include <string.h>

#include "src/cli.h"

enum { TEXT_COLUMN = 16 };

static void add_options(const char *title, const struct opt_spec *table, struct buf *out)
{
    if (!table || !table->name)
        return;
    buf_addf(out, "\n%s:\n", title);
    opt_help(table, out);
}

static void add_verbs(struct buf *out)
{
    buf_adds(out, "\nCommands (weft COMMAND --help tells more):\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        buf_addf(out, "  %-*s", TEXT_COLUMN - 2, cli_verbs[i]->name);
        opt_wrap(cli_verbs[i]->summary, TEXT_COLUMN, TEXT_COLUMN, out);
    }
}

static void add_statuses(struct buf *out)
{
    buf_adds(out, "\nExit status:\n");
    static const char *const statuses[] = {
        "0 done",
        "1 failed while running",
        "2 wrong usage or configuration",
        "3 model or input file refused",
        "4 no usable OpenCL device",
        "5 of several requests at least one was rejected, failed or timed out",
        "130 interrupted"};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        buf_addf(out, "  %s\n", statuses[i]);
}

void cli_help(const struct cli_verb *verb, struct buf *out)
{
    bool console = verb == &cli_console;
    buf_addf(out, "Usage: weft %s%s[OPTION]…%s%s\n", verb->name, *verb->name ? " " : "",
             *verb->operands ? " " : "", verb->operands);
    if (console)
        buf_adds(out, "       weft COMMAND [OPTION]…\n");
    buf_addc(out, '\n');
    opt_wrap(verb->summary, 0, 0, out);
    if (*verb->details) {
        buf_addc(out, '\n');
        opt_wrap(verb->details, 0, 0, out);
    }
    if (console)
        add_verbs(out);
    add_options(console ? "Console options" : "Options", verb->options, out);
    add_options("Common options", cli_common_options, out);
    if (console)
        add_statuses(out);
}
