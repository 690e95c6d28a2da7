/*
 * A workload replayed in virtual time, with its result and its event log as JSON. What is looked for and isn't there fails
 * the test.
 */
#ifndef WEFT_TESTS_REPLAY_RUN_H
#define WEFT_TESTS_REPLAY_RUN_H

#include <jansson.h>
#include <stddef.h>

/* One run: its result and its events. */
struct run {
    json_t *result, *events; /* events: an array of the lines */
    char *log;
    size_t log_len;
};

/* Runs a workload's text under the default configuration, its own settings, and `sets` ("key=value", ended by NULL; may be
 * NULL). */
struct run run_text(const char *name, const char *text, const char *const *sets);
/* A built-in workload, which must give all its blocks back. */
struct run run_builtin(const char *name);
struct run run_builtin_with(const char *name, const char *const *sets);
void run_free(struct run *r);

/* Of the result. */
double run_total(const struct run *r, const char *key);
json_t *run_request(const struct run *r, const char *id);
json_t *run_request_n(const struct run *r, const char *entry, int n);         /* of a repeated entry */
size_t run_count_events(const struct run *r, const char *ev, const char *id); /* id NULL: anyone's */

/* Of an object in it. */
double run_num(const json_t *object, const char *key);
const char *run_str(const json_t *object, const char *key);
double run_itl_max(const json_t *request);
const char *run_error_code(const json_t *request);

#endif
