/*
 * Models by name: which names are known, where their files are, whether a file is what it says it is.
 *
 * Files live in the models directory ($XDG_DATA_HOME/weft/models). Any thread; nothing is kept between calls
 * but a note, in the cache directory, that a file of that identity, size and time has been verified, so that
 * a known model's hash is computed once and not at each start.
 */
#ifndef WEFT_MODELS_H
#define WEFT_MODELS_H

#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/* A model that weft knows by name. */
struct models_entry {
    const char *name;
    const char *file; /* in the models directory */
    uint64_t bytes;
    const char *sha256; /* lowercase hex */
    const char *what;   /* one line */
    const char *get;    /* how to get it */
};

/* Ended by a NULL name. */
extern const struct models_entry models_known[];

/* The entry called `name`, or NULL. */
const struct models_entry *models_find(const char *name);

enum models_state { MODELS_READY, MODELS_MISSING, MODELS_DAMAGED };
const char *models_state_name(enum models_state s);

/* Looks at a known model's file: `path` is set in each case, and *err says why where it isn't READY. */
enum models_state models_check(const struct models_entry *entry, struct buf *path, struct weft_err *err);

/*
 * Finds the file behind what a user calls a model: what holds a '/' is a path and used as it is ("~/" is the
 * home directory); else a known name, then NAME or NAME.gguf in the models directory, then a file NAME here.
 * FILE_INVALID (path, field, value, limit) when there is none, or when a known model's file has another size
 * or hash than it must.
 */
enum weft_rc models_resolve(const char *name, struct buf *path, struct weft_err *err);

/* Sets *out to the models directory. INTERNAL_ERROR when there is no home directory. */
enum weft_rc models_directory(struct buf *out, struct weft_err *err);

#endif
