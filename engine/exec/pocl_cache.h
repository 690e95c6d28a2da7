/*
 * PoCL's own cache of compiled kernels, kept in our directory and sealed.
 *
 * PoCL stores what it compiles under $POCL_CACHE_DIR and trusts it blindly: a damaged file there ends the
 * process. So after kernels were built the tree is sealed (a list of its files with sizes and hashes), and
 * before the process's first OpenCL call every file that the seal doesn't vouch for is removed, so that PoCL
 * builds it anew. A lock is held from there to the sealing, so that two starting processes don't disturb each
 * other; who doesn't get it in time (the other hangs) goes on without a cache.
 *
 *   cache_dir/pocl/       PoCL's files          cache_dir/pocl.seal, pocl.lock   ours, 0600
 *
 * What is compiled later, with the lock given back, isn't sealed and so gone at the next start: put begin and end
 * around that too. A user's own POCL_CACHE_DIR or POCL_KERNEL_CACHE is left alone. One thread, before others read the
 * environment.
 */
#ifndef WEFT_EXEC_POCL_CACHE_H
#define WEFT_EXEC_POCL_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct pocl_seal;

struct pocl_cache {
    int dir_fd;             /* of cache_dir, or -1: nothing to seal */
    int lock_fd;            /* or -1 */
    int64_t since_ns;       /* when it began, by the clock of files */
    struct pocl_seal *seal; /* as it was found; NULL: not read */
    bool first;             /* PoCL will use it, and hasn't been used in this process yet */
};

/* Sets the environment for PoCL. dir_fd: of cache_dir (its path), from kernel_cache_open; -1: PoCL keeps nothing. */
void pocl_cache_begin(const char *cache_dir, int dir_fd, struct pocl_cache *out);
/* When `good`: marks the programs that this process runs as used, brings the whole cache down to limit_bytes
 * (kernel_cache_trim) and seals what is there. Gives the lock back either way. */
void pocl_cache_end(struct pocl_cache *c, bool good, uint64_t limit_bytes);

#endif
