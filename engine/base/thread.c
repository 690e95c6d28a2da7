#include "engine/base/thread.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/log.h"

/* The first version of sched_setattr's argument, which every Linux takes and the C library doesn't declare. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns; /* runtime: the length of a turn, for ordinary threads */
};

/* A frame of the console takes less; what others get for a turn is at least 0.7 ms. */
enum { TURN_NS = 500000, RESET_ON_FORK = 1 /* SCHED_FLAG_RESET_ON_FORK */ };

static id_t own_id(void)
{
    return (id_t)syscall(SYS_gettid);
}

void thread_give_way(int nice)
{
    errno = 0; /* -1 is a niceness, too */
    int now = getpriority(PRIO_PROCESS, own_id());
    if (nice <= 0)
        return;
    if ((now == -1 && errno) || setpriority(PRIO_PROCESS, own_id(), now + nice) != 0)
        log_msg(LOG_DEBUG, "niceness %d: %s", nice, strerror(errno));
}

void thread_be_prompt(void)
{
    struct attributes a = {0};
    bool known = syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) == 0;
    if (known && a.policy != SCHED_OTHER)
        return; /* whoever chose another policy meant it */
    a.size = sizeof a;
    a.flags = RESET_ON_FORK;
    a.runtime_ns = TURN_NS;
    if (!known || syscall(SYS_sched_setattr, 0, &a, 0) != 0)
        log_msg(LOG_DEBUG, "turns of %d ns: %s", TURN_NS, strerror(errno));
}
