/*
 * The built program in a home of its own: no configuration, state or log of the user's is read or written; the models
 * directory is the real one, and compiled kernels are kept in the build directory between tests.
 */
#ifndef WEFT_TEST_CLI_RIG_H
#define WEFT_TEST_CLI_RIG_H

#include <jansson.h>

#include "tests/support/proc.h"

struct cli_rig {
    char binary[512];
    char dir[64]; /* temporary: its home */
    char env_text[5][600];
    const char *env[12];  /* for proc_options.env; room for a test's own at [cli_rig_env] */
    struct proc_result r; /* of the last run */
};
enum { CLI_RIG_ENV = 5 };

/* `build` is the build directory. */
void cli_rig_init(struct cli_rig *rig, const char *build);
void cli_rig_deinit(struct cli_rig *rig);
/* Both as fixtures with this build; the rig is the test's initial state: cmocka_unit_test_prestate_setup_teardown. */
int cli_rig_set_up(void **state);
int cli_rig_tear_down(void **state);

/* Runs weft with `in` on standard input and these arguments, ended by NULL; the result is rig->r. */
void cli_run(struct cli_rig *rig, const char *in, ...) __attribute__((sentinel));
/* The same with options of proc_run; their env is ignored. */
void cli_run_with(struct cli_rig *rig, const struct proc_options *options, const char *const *arguments);

/* Asserts on the last run. On failure they print what it wrote. */
void cli_assert_status(struct cli_rig *rig, int status);
/* Failed with that status, and one line "weft: CODE: …" that holds `text` on standard error. */
void cli_assert_error(struct cli_rig *rig, int status, const char *code, const char *text);
/* Standard output is one JSON document on one line: returned, a new reference. */
json_t *cli_json(struct cli_rig *rig);
/* Standard output is JSON documents, one a line: returned as an array. */
json_t *cli_json_lines(struct cli_rig *rig);
/* The object with that id in an array of them, borrowed; the test fails when there is none. */
json_t *cli_json_by_id(json_t *array, const char *id);
/* A member that is text; the test fails when there is none. */
const char *cli_json_text(json_t *object, const char *key);

/* Writes a file into rig->dir; the path is good until the next call. */
const char *cli_file(struct cli_rig *rig, const char *name, const void *data, size_t n);

#endif
