#include "tests/support/replay_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/replay.h"

static json_t *lines_of(const char *log)
{
    json_t *all = json_array();
    for (const char *line = log; *line; line = strchr(line, '\n') + 1) {
        json_error_t why;
        json_t *ev = json_loadb(line, strcspn(line, "\n"), 0, &why);
        if (!ev)
            fail_msg("%s in: %.200s", why.text, line);
        json_array_append_new(all, ev);
    }
    return all;
}

struct run run_text(const char *name, const char *text, const char *const *sets)
{
    struct weft_config cfg;
    struct weft_err err = {0};
    struct workload *w = NULL;
    struct replay rp;
    struct run r = {0};
    int signal = 0;
    FILE *events = open_memstream(&r.log, &r.log_len);
    enum weft_rc rc = config_init(&cfg, &err);
    if (!rc)
        rc = workload_parse(name, text, strlen(text), &w, &err);
    if (!rc)
        rc = workload_configure(w, &cfg, &err);
    for (; !rc && sets && *sets; sets++)
        rc = config_set(&cfg, *sets, &err);
    if (!rc)
        rc = config_check(&cfg, &err);
    if (!rc)
        rc = workload_expand(w, 1, &cfg, &err);
    if (rc || replay_init(&rp, w, true, events, &err) || replay_sim(&cfg, &rp, &signal, &err) ||
        replay_flush(&rp, "events", &err))
        fail_msg("%s: %s", name, err.message);
    assert_int_equal(signal, 0);
    r.result = replay_result_json(&rp);
    assert_non_null(r.result);
    replay_deinit(&rp);
    workload_destroy(w);
    config_deinit(&cfg);
    fclose(events);
    r.events = lines_of(r.log);
    return r;
}

void run_free(struct run *r)
{
    json_decref(r->result);
    json_decref(r->events);
    free(r->log); /* open_memstream's */
}

struct run run_builtin_with(const char *name, const char *const *sets)
{
    const char *text = workload_builtin_text(name, NULL);
    assert_non_null(text);
    struct run r = run_text(name, text, sets);
    json_t *leaked = json_object_get(json_object_get(r.result, "totals"), "leaked_blocks");
    assert_int_equal(json_integer_value(leaked), 0);
    return r;
}

struct run run_builtin(const char *name)
{
    return run_builtin_with(name, NULL);
}

double run_total(const struct run *r, const char *key)
{
    json_t *v = json_object_get(json_object_get(r->result, "totals"), key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

json_t *run_request(const struct run *r, const char *id)
{
    size_t i;
    json_t *q;
    json_array_foreach(json_object_get(r->result, "requests"), i, q)
    {
        if (strcmp(json_string_value(json_object_get(q, "id")), id) == 0)
            return q;
    }
    fail_msg("no request %s", id);
    return NULL;
}

json_t *run_request_n(const struct run *r, const char *entry, int n)
{
    char id[REQ_ID_MAX];
    snprintf(id, sizeof id, "%s.%d", entry, n);
    return run_request(r, id);
}

double run_num(const json_t *request, const char *key)
{
    json_t *v = json_object_get(request, key);
    if (!json_is_number(v))
        fail_msg("%s is no number", key);
    return json_number_value(v);
}

const char *run_str(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    assert_non_null(s);
    return s;
}

double run_itl_max(const json_t *request)
{
    return run_num(json_object_get(request, "itl_ms"), "max");
}

const char *run_error_code(const json_t *request)
{
    return run_str(json_object_get(request, "error"), "code");
}

size_t run_count_events(const struct run *r, const char *ev, const char *id)
{
    size_t i, n = 0;
    json_t *e;
    json_array_foreach(r->events, i, e)
    {
        if (strcmp(run_str(e, "ev"), ev) == 0 && (!id || strcmp(run_str(e, "id"), id) == 0))
            n++;
    }
    return n;
}
