#include "engine/base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { THREADS_MAX = 16 };

struct loop {
    atomic_size_t next;
    atomic_bool failed;
    size_t n;
    bool (*fn)(void *ctx, size_t i);
    void *ctx;
};

static void *take_turns(void *arg)
{
    struct loop *l = arg;
    while (!atomic_load_explicit(&l->failed, memory_order_relaxed)) {
        size_t i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);
        if (i >= l->n)
            break;
        if (!l->fn(l->ctx, i))
            atomic_store_explicit(&l->failed, true, memory_order_relaxed);
    }
    return NULL;
}

bool parallel_for(unsigned n_threads, size_t n, bool (*fn)(void *ctx, size_t i), void *ctx)
{
    struct loop l = {.n = n, .fn = fn, .ctx = ctx};
    pthread_t helper[THREADS_MAX];
    unsigned n_helpers = 0;
    while (n_helpers + 1 < n_threads && n_helpers + 1 < n && n_helpers < THREADS_MAX &&
           pthread_create(&helper[n_helpers], NULL, take_turns, &l) == 0)
        n_helpers++;
    take_turns(&l);
    while (n_helpers > 0)
        pthread_join(helper[--n_helpers], NULL);
    return !atomic_load(&l.failed);
}

unsigned parallel_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 1 ? (unsigned)n : 1;
}
