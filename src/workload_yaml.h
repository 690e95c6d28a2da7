/* Reading YAML nodes by tables of keys, for workload_parse.c only. One thread. */
#ifndef WEFT_WORKLOAD_YAML_H
#define WEFT_WORKLOAD_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yaml.h>

#include "engine/base/err.h"

/* What is being read, and what messages call it. */
struct wyaml {
    const char *file;
    yaml_document_t *doc;
};

enum { WYAML_PATH_MAX = 160 };

/* One key of a mapping. `read` stores the value at `offset` of the target; min and max bound numbers and the
 * length of texts. */
struct wyaml_key {
    const char *name; /* NULL ends a table; a table has at most 64 */
    enum weft_rc (*read)(const struct wyaml *y, const struct wyaml_key *k, yaml_node_t *node,
                         const char *path, void *target, struct weft_err *err);
    size_t offset;
    double min, max;
    const char *allowed;            /* in words; NULL: made of min and max */
    const struct wyaml_key *nested; /* wyaml_nested: keys of the value, in the same target */
    bool required;
};

unsigned wyaml_line(const yaml_node_t *node);
/* CONFIG_INVALID with file, line, key, value, allowed: "FILE:LINE: PATH: PROBLEM; allowed: …". */
enum weft_rc wyaml_refuse(const struct wyaml *y, const yaml_node_t *node, const char *path, const char *value,
                          const char *allowed, const char *problem, struct weft_err *err);

/* Reads a mapping into target. Unknown, repeated and missing keys are refused. *given (may be NULL): a bit for
 * each key that was there, by its place in the table. */
enum weft_rc wyaml_mapping(const struct wyaml *y, const struct wyaml_key *keys, yaml_node_t *node,
                           const char *path, void *target, uint64_t *given, struct weft_err *err);
/* The bit of a key. */
uint64_t wyaml_bit(const struct wyaml_key *keys, const char *name);

/* The items of a sequence: path[0], path[1], …, each handed to `read`. */
enum weft_rc wyaml_sequence(const struct wyaml *y, const struct wyaml_key *k, yaml_node_t *node,
                            const char *path, void *target,
                            enum weft_rc (*read)(const struct wyaml *y, yaml_node_t *node, const char *path,
                                                 void *target, struct weft_err *err),
                            struct weft_err *err);

/* A scalar's text, NUL-terminated; NULL (and *err filled) when it is no scalar or holds a NUL. */
const char *wyaml_word(const struct wyaml *y, const struct wyaml_key *k, const yaml_node_t *node,
                       const char *path, struct weft_err *err);
/* A number in min … max of the key; whole numbers only with `whole`. */
enum weft_rc wyaml_number(const struct wyaml *y, const struct wyaml_key *k, const yaml_node_t *node,
                          const char *path, bool whole, double *out, struct weft_err *err);

/* Readers for the table. The field is … */
#define WYAML_READER(name)                                                                                   \
    enum weft_rc name(const struct wyaml *y, const struct wyaml_key *k, yaml_node_t *node, const char *path, \
                      void *target, struct weft_err *err)
WYAML_READER(wyaml_bool);   /* bool */
WYAML_READER(wyaml_u32);    /* uint32_t */
WYAML_READER(wyaml_i64);    /* int64_t */
WYAML_READER(wyaml_real);   /* double */
WYAML_READER(wyaml_ms);     /* int64_t, µs; written in ms, fractions allowed */
WYAML_READER(wyaml_text);   /* char *, mem_free */
WYAML_READER(wyaml_prio);   /* enum prio */
WYAML_READER(wyaml_nested); /* the keys of k->nested */

/* Composes the only document of n bytes. FILE_INVALID (path, field, value, limit, line) when it isn't YAML.
 * yaml_document_delete. */
enum weft_rc wyaml_compose(const char *file, const char *text, size_t n, yaml_document_t *out,
                           struct weft_err *err);

#endif
