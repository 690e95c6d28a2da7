/*
 * The directory of compiled kernels: who may use it, how much it holds, and what goes when that is too much.
 *
 *   dir/KEY.clbin               a program (program.h)
 *   dir/pocl/AB/CDEF…/          a program of PoCL's with its kernels (pocl_cache.h)
 *   dir/pocl.lock               held by whoever changes the directory
 *   anything else               small notes (pocl.seal, KEY.built, KEY.dot, KEY.tune); counted, but evicted never
 *
 * When a program was last used is its file's or directory's time of modification, which its users set
 * (kernel_cache_touch). Any thread; the lock is between processes. What fails is logged: a cache does no harm.
 */
#ifndef WEFT_EXEC_KERNEL_CACHE_H
#define WEFT_EXEC_KERNEL_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"

/* Sizes are those of the files, without what the file system adds. */
struct kernel_cache_size {
    uint64_t bytes;
    unsigned n_programs;
};

/* Opens (makes, with its parents, 0700) the directory. -1, logged, when it isn't a directory of ours that others can't
 * write to; the caller closes it. */
int kernel_cache_open(const char *dir);

/* Waits at most patience_ms for the lock. The caller closes what is returned, which gives the lock up; -1: not got. */
int kernel_cache_lock(int dir_fd, int patience_ms);

/* The time that files get now, in ns: what is touched later isn't older. */
int64_t kernel_cache_now(void);
/* Marks a program, by its path below the directory, as used now. */
void kernel_cache_touch(int dir_fd, const char *path);

/* Appends a whole file of at most `limit` bytes to *out. False where there is none, or, logged, it isn't a plain file of ours
 * that nobody else may read or write. */
bool kernel_cache_get(int dir_fd, const char *name, size_t limit, struct buf *out);
/* Writes a file, mode 0600: whole or not at all, as it is synced and then renamed. False, errno: it isn't there. */
bool kernel_cache_put(int dir_fd, const char *name, const void *bytes, size_t n);

/* What is there. False where it couldn't be walked. */
bool kernel_cache_measure(int dir_fd, struct kernel_cache_size *out);
/* Removes programs, the one unused for longest first, until limit_bytes are left or only those used at used_since_ns or
 * later: a start never evicts what it runs on. A limit of 0 is none. The lock must be held. *removed (NULL allowed): what went. */
bool kernel_cache_trim(int dir_fd, uint64_t limit_bytes, int64_t used_since_ns,
                       struct kernel_cache_size *removed);
/* Removes everything but the lock. Programs that run keep their kernels: those are loaded. The lock must be held. */
bool kernel_cache_clear(int dir_fd, struct kernel_cache_size *removed);

#endif
