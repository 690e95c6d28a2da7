/*
 * Errors: one table of codes, and one fixed-size structure that carries a message and its context.
 *
 * A function that can fail returns `enum weft_rc` and takes `struct weft_err *err` last (NULL is allowed). On
 * failure it fills *err with a message that names the value and the limit; on success it leaves *err alone. Nothing
 * here allocates, so an error can always be reported. No function here reads a clock: the layer that reports an
 * error (engine, command line) stamps it, with real or virtual time.
 *
 * Threads: a struct weft_err belongs to whoever declares it; the functions are re-entrant.
 */
#ifndef WEFT_BASE_ERR_H
#define WEFT_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* code, exit status of a command that ends with it, what it means (used by docs and --help) */
#define WEFT_ERRORS(X)                                                                                       \
    X(RESOURCE_LIMIT_EXCEEDED, 1, "memory is above the soft limit and the request's priority is LOW")        \
    X(MEMORY_LIMIT_EXCEEDED, 1, "memory is above the critical limit")                                        \
    X(QUEUE_FULL, 1, "the queue holds max_depth requests")                                                   \
    X(QUEUE_TIMEOUT, 1, "the request's time ran out before it was scheduled")                                \
    X(BATCH_FAILED, 1, "the step that the request was part of failed")                                       \
    X(BATCH_TIMEOUT, 1, "the request's time ran out while it ran")                                           \
    X(MODEL_NOT_LOADED, 3, "no model of that name is loaded")                                                \
    X(MODEL_LOAD_FAILED, 3, "the file is not a model that can be run")                                       \
    X(INTERNAL_ERROR, 1, "a fault of weft or of the system")                                                 \
    X(INVALID_REQUEST, 1, "a field of the request is out of range")                                          \
    X(CONFIG_INVALID, 2, "the configuration has an unknown key, a wrong type or a value out of range")       \
    X(FILE_INVALID, 3, "an input file is missing, damaged or of the wrong form")                             \
    X(NO_DEVICE, 4, "there is no usable OpenCL device")                                                      \
    X(USAGE, 2, "the command line is wrong")

enum weft_rc {
    WEFT_OK = 0,
#define X(name, status, text) WEFT_##name,
    WEFT_ERRORS(X)
#undef X
        WEFT_RC_COUNT
};

enum { WEFT_ERR_CONTEXT_MAX = 8, WEFT_ERR_TEXT_MAX = 256 };

struct weft_err_context {
    const char *key; /* static string */
    bool is_text;
    double number; /* when !is_text */
    char text[WEFT_ERR_TEXT_MAX];
};

struct weft_err {
    enum weft_rc code;
    int64_t timestamp_ms; /* Unix milliseconds (virtual under simulation); 0 until stamped */
    char message[768];
    unsigned n_context;
    struct weft_err_context context[WEFT_ERR_CONTEXT_MAX];
};

/* "QUEUE_FULL" …; "OK" for WEFT_OK. */
const char *weft_rc_name(enum weft_rc rc);
/* What the code means, one sentence part, from the table. */
const char *weft_rc_text(enum weft_rc rc);
/* Exit status of a command that fails with it: see INTERFACES "Exit codes". */
int weft_rc_exit_status(enum weft_rc rc);

/* Sets code and message (printf format), drops any context. Control characters in the result are escaped as \xNN, so
 * that a message can name hostile input. Returns `code`, so that `return weft_err_set(err, …)` reads well. */
enum weft_rc weft_err_set(struct weft_err *err, enum weft_rc code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds to the context; `key` must be a static string. Beyond WEFT_ERR_CONTEXT_MAX entries are dropped. NULL err: nothing. */
void weft_err_num(struct weft_err *err, const char *key, double value);
void weft_err_str(struct weft_err *err, const char *key, const char *value);
/* Puts a prefix ("file.yaml: ") in front of the message. */
void weft_err_prefix(struct weft_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* INTERNAL_ERROR with `where` in its context: for out of memory and failed system calls. */
enum weft_rc weft_err_nomem(struct weft_err *err, const char *where, size_t bytes);

/* {"code","message","context":{…},"timestamp"}: a new reference, or NULL when out of memory. */
json_t *weft_err_json(const struct weft_err *err);

#endif
