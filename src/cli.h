/*
 * The command line: one table of verbs, each in a file of its own (cli_VERB.c), and what they share.
 *
 * cli_main parses options, puts the configuration together, runs the verb and reports its error: a line on
 * standard error, with --json also an object on standard output. Verbs return an error and print none
 * themselves. One thread.
 */
#ifndef WEFT_CLI_H
#define WEFT_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "src/config.h"
#include "src/opt.h"

/* Exit statuses that aren't those of an error (err.h has those). */
enum { CLI_DONE = 0, CLI_SOME_FAILED = 5, CLI_SIGNALLED = 128 /* + signal: 130 for an interrupt */ };

/* All options of all verbs; each verb's table names the ones it takes. */
struct cli_options {
    bool help, version, json, quiet;
    const char *config;
    /* the console */
    bool sim, fresh, resume;
    /* generate, score, tokenize */
    const char *prompt, *chat, *ids, *batch, *file, *priority;
    struct opt_list stop;
    uint32_t logprobs;
    bool stream, ignore_eos, special;
    /* bench */
    const char *prompts;
    uint32_t gen_tokens, rounds;
    bool profile, compare;
    /* config */
    bool print, defaults;
    /* cache */
    bool clear;
    /* demo; with sim */
    bool list;
    /* replay; with sim */
    const char *events, *time_scale;
};

/* Rows of the verbs' option tables. */
/* clang-format off */
#define CLI_FIELD(field) offsetof(struct cli_options, field)
#define CLI_FLAG(name, letter, field, help)       {name, letter, OPT_FLAG, CLI_FIELD(field), NULL, help, NULL, 0, 0}
#define CLI_TEXT(name, letter, field, arg, help)  {name, letter, OPT_TEXT, CLI_FIELD(field), arg, help, NULL, 0, 0}
#define CLI_TEXTS(name, letter, field, arg, help) {name, letter, OPT_TEXTS, CLI_FIELD(field), arg, help, NULL, 0, 0}
#define CLI_KEY(name, letter, key, arg, help)     {name, letter, OPT_CONFIG, 0, arg, help, key, 0, 0}
#define CLI_UINT(name, letter, field, arg, min, max, help) \
    {name, letter, OPT_UINT, CLI_FIELD(field), arg, help, NULL, min, max}
#define CLI_END {.name = NULL}
/* clang-format on */

struct cli {
    const struct cli_verb *verb;
    struct cli_options opt;
    struct opt_list operands;
    struct weft_config cfg;
    const char *config_file; /* the file that was read, or that would have been; NULL: no home directory */
    bool config_found;
    const struct opt_result *args; /* the command line, parsed */
    int status;                    /* what to exit with when the verb succeeds */
    bool error_in_out;             /* standard output already has the error, inside a result */
    bool *
        left_behind; /* set when an engine's thread was left running: the process then ends without waiting for it */
};

struct cli_verb {
    const char *name;
    const char *operands; /* "[-]" for help; "" for none */
    unsigned max_operands;
    const char *summary; /* one line */
    const char *details; /* paragraphs for --help; may be "" */
    const struct opt_spec *options;
    enum weft_rc (*run)(struct cli *cli, struct weft_err *err);
    bool brings_settings; /* its input has some, so it calls cli_configure and config_check itself */
};

extern const struct cli_verb cli_bench, cli_cache, cli_config, cli_console, cli_demo, cli_detokenize,
    cli_devices, cli_generate, cli_models, cli_replay, cli_score, cli_tokenize;

/* Ended by NULL; the console, which has no name on the command line, isn't in it. */
extern const struct cli_verb *const cli_verbs[];
extern const struct opt_spec cli_common_options[];

/* A source of configuration between the user's file and the command line. */
typedef enum weft_rc cli_source_fn(void *ctx, struct weft_config *cfg, struct weft_err *err);
/* Puts the configuration together anew: defaults, the user's file, `source` (NULL: none), then the command
 * line. For a verb whose input brings settings of its own; config_check is the caller's. */
enum weft_rc cli_configure(struct cli *cli, cli_source_fn *source, void *ctx, struct weft_err *err);

/* The whole program; returns its exit status. */
int cli_main(int argc, char **argv);

/* cli_help.c: what --help prints, for a verb or (cli_console) for weft. */
void cli_help(const struct cli_verb *verb, struct buf *out);

/* cli_workload.c: a workload by its path, "-" or the name of a built-in one (workload_destroy). FILE_INVALID (path, field,
 * value, limit), CONFIG_INVALID. */
struct workload;
enum weft_rc cli_load_workload(const char *operand, struct workload **out, struct weft_err *err);

/* ---- input and output (cli_io.c) ---- */

/* Reads a file, or standard input for "-", whole. FILE_INVALID when it is missing, unreadable or over `limit` bytes. */
enum weft_rc cli_read(const char *path, size_t limit, struct buf *out, struct weft_err *err);
/* One line of compact JSON on standard output; steals the reference. */
enum weft_rc cli_print_json(json_t *value, struct weft_err *err);
/* {"error": …}, stamped with the time. */
enum weft_rc cli_print_error_json(const struct weft_err *error, struct weft_err *err);
/* A JSON string of n bytes; what isn't UTF-8 becomes U+FFFD. NULL when out of memory. */
json_t *cli_json_text(const char *s, size_t n);
/* A JSON number, or null for what isn't finite. */
json_t *cli_json_number(double v);
/* Parses "1,2,3" or "[1, 2, 3]" to *ids (mem_free). INVALID_REQUEST (field ids) when it is anything else. */
enum weft_rc cli_parse_ids(const char *text, uint32_t **ids, size_t *n, struct weft_err *err);

/* Foreign text on its way to standard output: byte for byte into a file or pipe, without control characters
 * on a terminal. */
struct cli_text;
enum weft_rc cli_text_open(struct cli_text **out, struct weft_err *err);
enum weft_rc cli_text_write(struct cli_text *t, const char *s, size_t n, struct weft_err *err);
/* Ends the text; with `newline`, by a line end if it isn't empty and has none. Frees t (NULL allowed). */
enum weft_rc cli_text_close(struct cli_text *t, bool newline, struct weft_err *err);
/* All three for one text. */
enum weft_rc cli_text_print(const char *s, size_t n, struct weft_err *err);
/* Flushes standard output: INTERNAL_ERROR when what was printed couldn't be written. */
enum weft_rc cli_flush(struct weft_err *err);

#endif
