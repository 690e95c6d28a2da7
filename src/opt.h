/*
 * Command-line options: tables of struct opt_spec, from which parser and help come.
 *
 * GNU habits: "--name value", "--name=value", "-n value", "-nvalue", flags in one word ("-qv"), "--" ends the
 * options, a lone "-" is an operand, options and operands in any order. A value may begin with "-".
 */
#ifndef WEFT_OPT_H
#define WEFT_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

enum opt_type {
    OPT_FLAG,  /* bool: set to true */
    OPT_TEXT,  /* const char *: the last one wins */
    OPT_TEXTS, /* struct opt_list: all of them, in order */
    OPT_UINT,  /* uint32_t in min … max */
    OPT_CONFIG /* stands for a configuration key: goes to opt_result.assignments */
};

struct opt_spec {
    const char *name; /* without "--" */
    char letter;      /* 0: none */
    enum opt_type type;
    size_t offset;   /* of its field in the target, but for OPT_CONFIG */
    const char *arg; /* what help calls the value; NULL for flags */
    const char *help;
    const char *key;   /* OPT_CONFIG: the key; NULL: the value is "key=value" itself */
    uint32_t min, max; /* OPT_UINT */
};

/* Strings borrowed from argv; mem_free(item). */
struct opt_list {
    const char **item;
    size_t n, cap;
};

struct opt_assignment {
    const struct opt_spec *spec;
    const char *value; /* borrowed from argv */
};

struct opt_result {
    void *target;                       /* where the fields of the tables are */
    struct opt_assignment *assignments; /* in the order of the command line */
    size_t n_assignments, cap_assignments;
    struct opt_list operands;
};

/* Up to this many tables are searched in order; unused ones are NULL. Each table ends with a NULL name. */
enum { OPT_TABLES = 3 };

/*
 * Parses argv[*index …]. With `stop` it ends at the first operand, else operands are collected. *index is
 * where it ended. USAGE names the option and what it takes.
 */
enum weft_rc opt_parse(const struct opt_spec *const tables[OPT_TABLES], int argc, char *const *argv,
                       int *index, bool stop, struct opt_result *out, struct weft_err *err);
void opt_result_free(struct opt_result *r); /* the lists in the target are the caller's */

/* Appends the help of one table: option, argument and text in columns of at most 80, with ranges and defaults. */
void opt_help(const struct opt_spec *table, struct buf *out);
/* Appends text wrapped at 80 columns, each line but the first indented; `column` is where the first begins.
 */
void opt_wrap(const char *text, size_t column, size_t indent, struct buf *out);

#endif
