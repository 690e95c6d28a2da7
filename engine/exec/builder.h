/*
 * A second core for a cold start.
 *
 * PoCL compiles one kernel at a time in a process. So where programs weren't built yet a child process builds the same ones
 * into PoCL's cache, beginning in the middle, while this process begins at the front; what one has built the other finds
 * (PoCL renames finished files into place). A note in the cache, KEY.built, says what was. The child must be begun before
 * this process's first OpenCL call, as it inherits no threads; it may die as it likes, also of instructions that don't
 * compile here. One thread; the cache's lock must be held.
 */
#ifndef WEFT_EXEC_BUILDER_H
#define WEFT_EXEC_BUILDER_H

#include <sys/types.h>

#include "engine/exec/ops.h"

struct builder {
    pid_t child;   /* 0: none */
    int dir_fd;    /* of the cache */
    char note[32]; /* its file's name; "": none is needed */
};

/* Begins a child for the device that `selection` names, if it is a CPU of PoCL's, there is a second processor, and no note
 * that it was done. It takes the widest way of summing that the processor has, which is what the self-check will
 * most probably choose. */
void builder_begin(const char *selection, const struct ops_shape *shape, int dir_fd, struct builder *out);
/* Ends it, ready or not, and waits for its end; with `built` (this process has all kernels) leaves the note. Zeroed struct
 * allowed. */
void builder_end(struct builder *b, bool built);

#endif
