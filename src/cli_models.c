/* weft models: which models there are, where, and how to get those that are missing. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/mem.h"
#include "src/cli.h"
#include "src/models.h"

/* One line of the list. Strings are its own but for `what`. */
struct row {
    char *name, *path;
    const char *state, *what;
    uint64_t bytes;
};

struct rows {
    struct row *row;
    size_t n, cap;
};

static enum weft_rc add(struct rows *rows, const char *name, const char *path, const char *state,
                        uint64_t bytes, const char *what, struct weft_err *err)
{
    struct row r = {mem_strdup(name), mem_strdup(path), state, what, bytes};
    if (!r.name || !r.path || mem_grow(&rows->row, &rows->cap, rows->n + 1, sizeof r)) {
        mem_free(r.name);
        mem_free(r.path);
        return weft_err_nomem(err, "list of models", sizeof r);
    }
    rows->row[rows->n++] = r;
    return WEFT_OK;
}

static enum weft_rc add_known(struct rows *rows, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    struct buf path = BUF_INIT;
    for (const struct models_entry *m = models_known; m->name && rc == WEFT_OK; m++) {
        enum models_state state = models_check(m, &path, NULL);
        rc = add(rows, m->name, buf_str(&path), models_state_name(state), m->bytes,
                 state == MODELS_READY ? m->what : m->get, err);
    }
    buf_free(&path);
    return rc;
}

static bool is_known_file(const char *file)
{
    for (const struct models_entry *m = models_known; m->name; m++)
        if (strcmp(m->file, file) == 0)
            return true;
    return false;
}

/* What else lies in the models directory; a directory that doesn't exist holds nothing. */
static enum weft_rc add_others(struct rows *rows, const char *directory, struct weft_err *err)
{
    static const char ending[] = ".gguf";
    enum weft_rc rc = WEFT_OK;
    struct dirent **entries = NULL;
    int n = scandir(directory, &entries, NULL, alphasort);
    struct buf path = BUF_INIT, name = BUF_INIT;
    for (int i = 0; i < n; i++) {
        const char *file = entries[i]->d_name;
        size_t len = strlen(file), tail = sizeof ending - 1;
        struct stat st;
        buf_clear(&path);
        buf_addf(&path, "%s/%s", directory, file);
        if (rc == WEFT_OK && len > tail && !strcmp(file + len - tail, ending) && !is_known_file(file) &&
            stat(buf_str(&path), &st) == 0 && S_ISREG(st.st_mode)) {
            buf_clear(&name);
            buf_add(&name, file, len - tail);
            rc = add(rows, buf_str(&name), buf_str(&path), "ready", (uint64_t)st.st_size, "", err);
        }
        free(entries[i]); /* scandir's own allocation */
    }
    free(entries);
    buf_free(&path);
    buf_free(&name);
    return rc;
}

static enum weft_rc print_json(const struct rows *rows, const char *directory, struct weft_err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rows->n; i++) {
        const struct row *r = &rows->row[i];
        json_array_append_new(list, json_pack("{s:o, s:o, s:s, s:I, s:s}", "name",
                                              cli_json_text(r->name, strlen(r->name)), "path",
                                              cli_json_text(r->path, strlen(r->path)), "state", r->state,
                                              "bytes", (json_int_t)r->bytes, "note", r->what));
    }
    return cli_print_json(
        json_pack("{s:o, s:o}", "directory", cli_json_text(directory, strlen(directory)), "models", list),
        err);
}

/* File names are foreign text: they pass the terminal's filter. */
static enum weft_rc print_table(const struct rows *rows, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "%-24s %-8s %9s  %s\n", "NAME", "STATE", "SIZE", "WHERE");
    for (size_t i = 0; i < rows->n; i++) {
        const struct row *r = &rows->row[i];
        buf_addf(&text, "%-24s %-8s %6.1f MB  %s\n", r->name, r->state, (double)r->bytes / 1e6, r->path);
        if (*r->what)
            buf_addf(&text, "%-24s %s%s\n", "", strcmp(r->state, "ready") ? "to get it: " : "", r->what);
    }
    enum weft_rc rc = cli_text_print(buf_str(&text), text.len, err);
    buf_free(&text);
    return rc;
}

static enum weft_rc run_models(struct cli *cli, struct weft_err *err)
{
    struct buf directory = BUF_INIT;
    struct rows rows = {.n = 0};
    enum weft_rc rc = models_directory(&directory, err);
    if (rc == WEFT_OK)
        rc = add_known(&rows, err);
    if (rc == WEFT_OK)
        rc = add_others(&rows, buf_str(&directory), err);
    if (rc == WEFT_OK)
        rc = cli->opt.json ? print_json(&rows, buf_str(&directory), err) : print_table(&rows, err);
    for (size_t i = 0; i < rows.n; i++) {
        mem_free(rows.row[i].name);
        mem_free(rows.row[i].path);
    }
    mem_free(rows.row);
    buf_free(&directory);
    return rc;
}

static const struct opt_spec options[] = {CLI_END};

const struct cli_verb cli_models = {
    .name = "models",
    .operands = "",
    .summary = "List the models that weft knows by name: where they are, which are missing, how to get them.",
    .details =
        "A GGUF file put into the models directory can be named without its ending, as in -m NAME; any other "
        "file by its path.",
    .options = options,
    .run = run_models,
};
