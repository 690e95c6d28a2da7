/* What the files of the configuration module share; nobody else includes it. */
#ifndef WEFT_CONFIG_INTERNAL_H
#define WEFT_CONFIG_INTERNAL_H

#include "src/config.h"

/* Where a value stands: for messages and for weft_config.origin. */
struct config_place {
    const char *file;
    unsigned source; /* index into weft_config.sources */
    unsigned line;   /* 0: not a file */
};

/* A value as it was written: `n` bytes (no NUL needed), quoted or not. */
struct config_word {
    const char *s;
    size_t n;
    unsigned line;
};

size_t config_key_index(const struct config_key *key);
/* Length of the part before the dot. */
size_t config_section_length(const struct config_key *key);
/* The first key of a section, or NULL. */
const struct config_key *config_section_find(const char *name);

/* The index of a source's name in weft_config.sources, which it is added to when new. */
enum weft_rc config_source(struct weft_config *cfg, const char *name, unsigned *out, struct weft_err *err);
/* Checks n words against the key and stores them: one word for all types but CONFIG_LIST. */
enum weft_rc config_store(struct weft_config *cfg, const struct config_key *key,
                          const struct config_word *words, size_t n, const struct config_place *place,
                          struct weft_err *err);
/* CONFIG_INVALID: "FILE:LINE: KEY: PROBLEM", and the context. `allowed` may be NULL with a key: the key's own. */
enum weft_rc config_refuse(struct weft_err *err, const struct config_place *place, const char *path,
                           const char *value, const char *allowed, const char *problem);
/* The same for a key that doesn't exist: names the nearest that does. */
enum weft_rc config_refuse_unknown(struct weft_err *err, const struct config_place *place, const char *path);

#endif
