/*
 * The configuration: one table of keys, from which parser, checks, `weft config`, the commented default
 * file's test and the command line's options come.
 *
 * Sources, later ones win: the table's defaults, then the user's file (or the one given by --config), then
 * --set and the options that stand for a key. A struct weft_config belongs to whoever declares it; it is
 * read-only once loaded, so any number of threads may read it. Strings in it are its own.
 *
 * Files are YAML (so JSON too), at most CONFIG_FILE_LIMIT bytes: sections of keys, or "section.key" in one
 * word. Only true and false are booleans; quoted and plain words mean the same. Every refusal is
 * CONFIG_INVALID with context file, line, key, value and allowed, and leaves the configuration partly
 * changed: don't use it.
 */
#ifndef WEFT_CONFIG_H
#define WEFT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

enum { CONFIG_FILE_LIMIT = 1 << 20, CONFIG_MODELS_MAX = 8, CONFIG_SOURCES_MAX = 64, CONFIG_KEYS_MAX = 96 };

enum config_precision {
    CONFIG_PRECISION_AUTO,
    CONFIG_PRECISION_FP32,
    CONFIG_PRECISION_INT8,
    CONFIG_PRECISION_BF16
};
enum config_policy { CONFIG_POLICY_PRIORITY, CONFIG_POLICY_FIFO };
enum config_preemption {
    CONFIG_PREEMPTION_AUTO,
    CONFIG_PREEMPTION_PARK,
    CONFIG_PREEMPTION_RECOMPUTE,
    CONFIG_PREEMPTION_OFF
};

/* A list of words: at least one. */
struct config_list {
    char *item[CONFIG_MODELS_MAX];
    unsigned n;
};

/* Where a key's value came from. */
struct config_origin {
    unsigned source; /* index into weft_config.sources; 0: the built-in default */
    unsigned line;   /* in that file, from 1; 0: not a file */
};

/* Field names and nesting follow the keys; what each means, its range and unit: config.c's table, `weft
 * config`. Fields of choice keys hold the index of the choice, in the order of the enums above
 * (session.priority: enum prio + 1; log.level: enum log_level). */
struct weft_config {
    struct {
        struct config_list path;
        int64_t context;
        bool warm;
        int64_t warm_timeout_ms;
    } model;
    struct {
        char *select;
        int precision; /* enum config_precision */
        bool cache;
        int64_t cache_mb, threads;
    } device;
    struct {
        int64_t blocks, block_tokens, memory_mb;
        bool prefix_cache;
        int64_t park_mb;
    } kv;
    struct {
        int policy; /* enum config_policy */
        double aging_rate;
        int preemption; /* enum config_preemption */
        int64_t max_preemptions, max_batch_size, max_batch_tokens;
        double itl_target_ms;
    } scheduler;
    struct {
        bool enabled;
        int64_t min_batch_size;
        double batch_timeout_ms;
        bool adaptive_timeout;
        int64_t stop_ms;
    } batching;
    struct {
        int64_t max_depth;
        bool reject_when_full;
        int64_t timeout_ms;
    } queue;
    struct {
        int64_t max_memory_mb, critical_memory_mb, check_interval_ms;
    } resources;
    struct {
        double temperature;
        int64_t top_k;
        double top_p, min_p, repeat_penalty;
        int64_t max_tokens, seed;
    } sampling;
    struct {
        int priority; /* enum prio + 1 */
        char *system;
    } session;
    struct {
        double step_us, prefill_us, decode_us, context_us, park_us;
        int64_t context, blocks, vocab;
        double memory_base_mb, block_kb;
    } sim;
    struct {
        char *theme;
        int layout, graph; /* index into config_choices */
        int64_t fps, nice;
        bool mouse;
    } ui;
    struct {
        int level; /* enum log_level */
        char *file;
    } log;

    struct config_origin origin[CONFIG_KEYS_MAX]; /* by the table's order */
    char *sources[CONFIG_SOURCES_MAX];            /* [0] "default", then files, "--set" and options */
    unsigned n_sources;
};

enum config_type { CONFIG_BOOL, CONFIG_INT, CONFIG_REAL, CONFIG_CHOICE, CONFIG_TEXT, CONFIG_LIST };

/* One row of the table. */
struct config_key {
    const char *path; /* "section.key" */
    enum config_type type;
    size_t offset;              /* of its field in struct weft_config */
    const char *preset;         /* its default, as it would be written in a file */
    double min, max;            /* CONFIG_INT and CONFIG_REAL; limits are exact in a double */
    bool above_min;             /* min itself isn't allowed */
    const char *const *choices; /* CONFIG_CHOICE: ended by NULL */
    bool live;                  /* can be changed while weft runs; else read at start */
    const char *help;           /* one line */
};

/* The table, grouped by section, in the order of config/weft.yaml. */
const struct config_key *config_keys(size_t *n);
/* The row of "section.key", or NULL. */
const struct config_key *config_key_find(const char *path);
/* What the key allows, in words: "1 … 1024", "auto|fp32|int8|bf16", "true or false". `out` is written whole. */
void config_allowed(const struct config_key *key, char *out, size_t size);
/* The word of a CONFIG_CHOICE field's value; "?" when there is no such choice. */
const char *config_choice(const char *path, int value);

/* Sets all keys to their defaults. On failure (out of memory) nothing is held. */
enum weft_rc config_init(struct weft_config *cfg, struct weft_err *err);
void config_deinit(struct weft_config *cfg); /* a zeroed struct is allowed */

/* Applies n bytes of YAML; `name` is what messages call it. An empty text changes nothing. */
enum weft_rc config_load_text(struct weft_config *cfg, const char *name, const char *text, size_t n,
                              struct weft_err *err);
/* Applies a file. A missing or unreadable one is CONFIG_INVALID. */
enum weft_rc config_load_file(struct weft_config *cfg, const char *path, struct weft_err *err);
/* Applies a mapping that is part of another YAML file, called `name`, as if it were a file of its own. The
 * document stays the caller's, and unchanged. */
struct yaml_document_s;
struct yaml_node_s;
enum weft_rc config_load_node(struct weft_config *cfg, const char *name, struct yaml_document_s *doc,
                              struct yaml_node_s *node, struct weft_err *err);
/* Applies one "--set" argument: "section.key=value", the value being YAML written inline. */
enum weft_rc config_set(struct weft_config *cfg, const char *assignment, struct weft_err *err);
/* Sets one key to a word taken as it is (no YAML): for command-line options. `origin` names the option. A
 * CONFIG_LIST key: replaced by the first value from this origin, then appended to. */
enum weft_rc config_set_word(struct weft_config *cfg, const char *path, const char *word, const char *origin,
                             struct weft_err *err);
/* What single keys can't tell: limits that hold between keys. Call once after the last source. */
enum weft_rc config_check(const struct weft_config *cfg, struct weft_err *err);

/* Appends the effective values as YAML that reads back to the same configuration; with `origins`, a comment
 * after each value says where it comes from. */
void config_print(const struct weft_config *cfg, bool origins, struct buf *out);
/* One word as YAML: plain where it can't be misread, else quoted and escaped. */
void config_print_word(const char *word, struct buf *out);
/* The shortest decimal that reads back to the same double. */
void config_print_real(double v, struct buf *out);
/* The value of one key: a new reference, or NULL when out of memory. */
json_t *config_json(const struct weft_config *cfg, const struct config_key *key);
/* The commented default file that is built in (config/weft.yaml). */
const char *config_default_text(void);

#endif
