/* A loop over a few threads, for work at load time: threads are made for the call and ended with it. */
#ifndef WEFT_BASE_PARALLEL_H
#define WEFT_BASE_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Calls fn(ctx, i) for each i below n, on up to n_threads threads, this one among them, handing out i ascending. Once a
 * call has returned false no further ones begin, and the result is false: then every call below the one that failed
 * has been made. Fewer threads serve where more can't be had.
 */
bool parallel_for(unsigned n_threads, size_t n, bool (*fn)(void *ctx, size_t i), void *ctx);

/* Processors that this process may run on; at least 1. */
unsigned parallel_processors(void);

#endif
