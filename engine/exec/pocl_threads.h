/*
 * Where PoCL's worker threads run: each on a core of its own. A pass needs all of them at once (crew.h), and the system likes to
 * wake two on one core, where one then waits for milliseconds while the other core is idle.
 */
#ifndef WEFT_EXEC_POCL_THREADS_H
#define WEFT_EXEC_POCL_THREADS_H

#include <stdint.h>

/*
 * Has them pinned from the process's first OpenCL call on, by PoCL's own setting, POCL_AFFINITY; thread i goes to core i. Not where
 * only some cores are to be used (`threads` isn't 0, or this process may not run on all of them): others may want the same
 * ones. A user's own POCL_AFFINITY is left alone. One thread, before others read the environment.
 */
void pocl_threads_pin(uint32_t threads);

#endif
