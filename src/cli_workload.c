/* A workload named on the command line: a file, or a built-in one. */
#include <string.h>
#include <unistd.h>

#include "src/cli.h"
#include "src/workload.h"

/* What is a path, and what the name of a built-in workload. */
static bool is_path(const char *operand)
{
    const char *dot = strrchr(operand, '.');
    return strchr(operand, '/') || strcmp(operand, "-") == 0 ||
           (dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml") || !strcmp(dot, ".json")));
}

static enum weft_rc refuse_name(const char *name, struct weft_err *err)
{
    struct buf names = BUF_INIT;
    for (const struct workload_builtin *b = workload_builtins; b->name; b++)
        buf_addf(&names, "%s%s", b == workload_builtins ? "" : ", ", b->name);
    weft_err_set(err, WEFT_FILE_INVALID, "%s: no such file, nor a built-in workload; these are %s", name,
                 buf_str(&names));
    weft_err_str(err, "path", name);
    weft_err_str(err, "field", "path");
    weft_err_str(err, "value", name);
    weft_err_str(err, "limit", buf_str(&names));
    buf_free(&names);
    return WEFT_FILE_INVALID;
}

enum weft_rc cli_load_workload(const char *operand, struct workload **out, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    size_t n = 0;
    const char *builtin = is_path(operand) ? NULL : workload_builtin_text(operand, &n);
    enum weft_rc rc = WEFT_OK;
    if (builtin)
        return workload_parse(operand, builtin, n, out, err);
    if (!is_path(operand) && access(operand, F_OK))
        return refuse_name(operand, err);
    rc = cli_read(operand, WORKLOAD_BYTES_MAX, &text, err);
    if (rc == WEFT_OK)
        rc = workload_parse(strcmp(operand, "-") ? operand : "<stdin>", buf_str(&text), text.len, out, err);
    buf_free(&text);
    return rc;
}
