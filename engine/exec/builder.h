/*
 * A second core for a cold start.
 *
 * PoCL compiles one kernel at a time in a process. So when its cache is empty a child process builds the same programs into
 * it, beginning in the middle, while this process begins at the front; what one has built the other finds (PoCL renames
 * finished files into place). The child must be begun before this process's first OpenCL call, as it inherits no threads;
 * it may die as it likes, also of instructions that don't compile here. One thread; the cache's lock must be held.
 */
#ifndef WEFT_EXEC_BUILDER_H
#define WEFT_EXEC_BUILDER_H

#include <sys/types.h>

#include "engine/exec/ops.h"

struct builder {
    pid_t child; /* 0: none */
};

/* Begins a child for the device that `selection` names, if it is a CPU of PoCL's and there is a second processor. For int8
 * it takes the widest way of summing that the processor has, which is what the self-check will most probably choose. */
void builder_begin(const char *selection, const struct ops_shape *shape, struct builder *out);
/* Ends it, ready or not, and waits for its end. Zeroed struct allowed. */
void builder_end(struct builder *b);

#endif
