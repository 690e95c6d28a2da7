/* For tests of files: a directory of its own, files read and written whole. */
#ifndef WEFT_TEST_STORE_RIG_H
#define WEFT_TEST_STORE_RIG_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

/* Makes a directory, and an empty one "sessions" is left to the store; `path` gets the first. */
void store_rig_make(char path[64]);
/* Removes it and everything in it. */
void store_rig_remove(const char *path);

/* Appends a file's bytes; false when it can't be read. */
bool store_rig_read(const char *path, struct buf *out);
void store_rig_write(const char *path, const void *bytes, size_t n);
/* How many files in `dir` end in `suffix`; the path of the first goes to `first` (may be NULL). */
size_t store_rig_count(const char *dir, const char *suffix, struct buf *first);

#endif
