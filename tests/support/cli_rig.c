#include "tests/support/cli_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { ARGUMENTS_MAX = 40 };

void cli_rig_init(struct cli_rig *rig, const char *build)
{
    *rig = (struct cli_rig){.dir = "/tmp/weft-test-XXXXXX"};
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->binary, sizeof rig->binary, "%s/weft", build);
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    snprintf(rig->env_text[0], sizeof rig->env_text[0], "XDG_CONFIG_HOME=%s/config", rig->dir);
    snprintf(rig->env_text[1], sizeof rig->env_text[1], "XDG_STATE_HOME=%s/state", rig->dir);
    snprintf(rig->env_text[2], sizeof rig->env_text[2], "XDG_CACHE_HOME=%s/test-cache", build);
    snprintf(rig->env_text[3], sizeof rig->env_text[3], "XDG_DATA_HOME=%s%s",
             data   ? data
             : home ? home
                    : "",
             data ? "" : "/.local/share");
    snprintf(rig->env_text[4], sizeof rig->env_text[4], "HOME=%s", rig->dir);
    for (int i = 0; i < CLI_RIG_ENV; i++)
        rig->env[i] = rig->env_text[i];
}

void cli_rig_deinit(struct cli_rig *rig)
{
    char command[128];
    proc_free(&rig->r);
    snprintf(command, sizeof command, "rm -rf '%s'", rig->dir);
    assert_int_equal(system(command), 0);
}

int cli_rig_set_up(void **state)
{
    cli_rig_init(*state, TEST_BINARY_DIR);
    return 0;
}

int cli_rig_tear_down(void **state)
{
    cli_rig_deinit(*state);
    return 0;
}

void cli_run_with(struct cli_rig *rig, const struct proc_options *options, const char *const *arguments)
{
    const char *argv[ARGUMENTS_MAX + 2] = {rig->binary};
    struct proc_options o = *options;
    size_t n = 0;
    while (arguments[n]) {
        assert_true(n < ARGUMENTS_MAX);
        argv[n + 1] = arguments[n];
        n++;
    }
    o.env = rig->env;
    proc_free(&rig->r);
    proc_run(argv, &o, &rig->r);
}

void cli_run(struct cli_rig *rig, const char *in, ...)
{
    const char *arguments[ARGUMENTS_MAX + 1] = {0};
    va_list ap;
    va_start(ap, in);
    for (size_t n = 0; n < ARGUMENTS_MAX && (arguments[n] = va_arg(ap, const char *)); n++)
        ;
    va_end(ap);
    cli_run_with(rig, &(struct proc_options){.in = in}, arguments);
}

static void explain(struct cli_rig *rig, const char *what)
{
    fail_msg("%s\nstatus %d%s\nstdout: %s\nstderr: %s", what, rig->r.status,
             rig->r.timed_out ? " (timed out)" : "", rig->r.out, rig->r.err);
}

void cli_assert_status(struct cli_rig *rig, int status)
{
    char what[64];
    snprintf(what, sizeof what, "expected status %d", status);
    if (rig->r.status != status || rig->r.timed_out)
        explain(rig, what);
}

void cli_assert_error(struct cli_rig *rig, int status, const char *code, const char *text)
{
    char start[80], what[256];
    cli_assert_status(rig, status);
    snprintf(start, sizeof start, "weft: %s: ", code);
    snprintf(what, sizeof what, "expected one line \"%s…%s…\"", start, text);
    const char *end = strchr(rig->r.err, '\n');
    if (strncmp(rig->r.err, start, strlen(start)) != 0 || !strstr(rig->r.err, text) || !end || end[1])
        explain(rig, what);
}

json_t *cli_json_lines(struct cli_rig *rig)
{
    json_t *lines = json_array();
    for (const char *p = rig->r.out; *p;) {
        size_t n = strcspn(p, "\n");
        json_error_t error;
        json_t *line = json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
        if (!line || p[n] != '\n')
            explain(rig, "expected lines of JSON");
        json_array_append_new(lines, line);
        p += n + 1;
    }
    return lines;
}

json_t *cli_json_by_id(json_t *array, const char *id)
{
    size_t i;
    json_t *object;
    json_array_foreach(array, i, object)
    {
        const char *own = json_string_value(json_object_get(object, "id"));
        if (own && strcmp(own, id) == 0)
            return object;
    }
    fail_msg("nothing with id %s", id);
    return NULL;
}

const char *cli_json_text(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text)
        fail_msg("no text %s", key);
    return text;
}

json_t *cli_json(struct cli_rig *rig)
{
    json_t *lines = cli_json_lines(rig);
    if (json_array_size(lines) != 1)
        explain(rig, "expected one JSON document");
    json_t *only = json_incref(json_array_get(lines, 0));
    json_decref(lines);
    return only;
}

const char *cli_file(struct cli_rig *rig, const char *name, const void *data, size_t n)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", rig->dir, name);
    for (char *p = path + strlen(rig->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}
