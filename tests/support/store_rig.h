/*
 * For tests of sessions on disk: a directory of its own, files read and written whole, and a struct store_io
 * whose Nth call fails.
 */
#ifndef WEFT_TEST_STORE_RIG_H
#define WEFT_TEST_STORE_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "src/store_file.h"

/* Makes a directory, and an empty one "sessions" is left to the store; `path` gets the first. */
void store_rig_make(char path[64]);
/* Removes it and everything in it. */
void store_rig_remove(const char *path);

/* Appends a file's bytes; false when it can't be read. */
bool store_rig_read(const char *path, struct buf *out);
void store_rig_write(const char *path, const void *bytes, size_t n);
/* How many files in `dir` end in `suffix`; the path of the first goes to `first` (may be NULL). */
size_t store_rig_count(const char *dir, const char *suffix, struct buf *first);

enum store_rig_call {
    RIG_OPEN,
    RIG_READ,
    RIG_WRITE,
    RIG_TRUNCATE,
    RIG_SYNC,
    RIG_RENAME,
    RIG_UNLINK,
    RIG_ALL
};

/* The system's calls, of which some fail. */
struct store_rig_io {
    struct store_io io;
    enum store_rig_call which; /* RIG_ALL: any of them counts */
    atomic_uint fail_at;       /* the Nth of these from now on; 0: none */
    bool go_on;                /* and all after it */
    int error;                 /* errno of a failure */
    unsigned calls;            /* of these, so far */
    bool half;                 /* a write that fails first writes half of what it should */
};
void store_rig_io_init(struct store_rig_io *r);

#endif
