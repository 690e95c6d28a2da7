#include "engine/exec/pocl_threads.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

void pocl_threads_pin(uint32_t threads)
{
#if defined(__linux__)
    cpu_set_t mine;
    const long configured = sysconf(_SC_NPROCESSORS_CONF);
    if (threads || sched_getaffinity(0, sizeof mine, &mine) || CPU_COUNT(&mine) != configured)
        return;
    setenv("POCL_AFFINITY", "1", 0);
#else
    (void)threads;
#endif
}
