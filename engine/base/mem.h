/*
 * Allocation behind one seam, so that tests can make the Nth allocation fail.
 *
 * Use these wherever failure must be handled (engine, model, session): each returns NULL on failure or overflow, and
 * the caller says so with weft_err_nomem. Any thread. Memory from here is freed with mem_free only.
 */
#ifndef WEFT_BASE_MEM_H
#define WEFT_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t bytes);                     /* uninitialised; 0 bytes gives a unique pointer */
void *mem_calloc(size_t n, size_t size);           /* zeroed; overflow of n*size gives NULL */
void *mem_realloc(void *p, size_t n, size_t size); /* n*size bytes; on NULL the old block stands */
char *mem_strdup(const char *s);                   /* NULL gives NULL */
char *mem_memdup(const void *p, size_t n);         /* n bytes and a NUL */
void mem_free(void *p);

/* Grows *array (elements of `size` bytes, capacity *cap) to hold at least `need`, doubling. 0, or -1 and nothing changed. */
int mem_grow(void *array, size_t *cap, size_t need, size_t size);

/* Tests only: from now on the Nth allocation (1 = the next) fails, once; 0 switches it off. Returns the number of
 * allocations since the last call. */
size_t mem_fail_at(size_t n);

#endif
