/* Ways to sum coded products (engine/exec/dot.h), for tests that use several precisions in one process. */
#ifndef WEFT_TESTS_WAYS_H
#define WEFT_TESTS_WAYS_H

#include <unistd.h>

#include "engine/exec/dot.h"
#include "engine/exec/kernel_cache.h"
#include "engine/exec/pocl_cache.h"

/* Chooses them for every precision, which takes child processes, so before this one uses OpenCL. A group's set-up, or called
 * with NULL. */
static inline int choose_ways(void **state)
{
    static const char dir[] = TEST_BINARY_DIR "/kernel-cache";
    struct pocl_cache pocl;
    const int fd = kernel_cache_open(dir);
    (void)state;
    pocl_cache_begin(dir, fd, &pocl);
    for (unsigned p = PRECISION_FP32 + 1; p < PRECISIONS; p++)
        dot_path_choose("auto", (enum precision)p, fd);
    pocl_cache_end(&pocl, true, 0);
    if (fd >= 0)
        close(fd);
    return 0;
}

#endif
