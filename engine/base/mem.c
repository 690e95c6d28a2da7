#include "engine/base/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_size_t count, fail_at;

size_t mem_fail_at(size_t n)
{
    atomic_store(&fail_at, n);
    return atomic_exchange(&count, 0);
}

static int fails(void)
{
    size_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);
    if (!at)
        return 0;
    return atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) + 1 == at;
}

void *mem_alloc(size_t bytes)
{
    return fails() ? NULL : malloc(bytes ? bytes : 1);
}

void *mem_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n ? n : 1, size ? size : 1);
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    if (fails() || (size && n > SIZE_MAX / size))
        return NULL;
    size_t bytes = n * size;
    return realloc(p, bytes ? bytes : 1);
}

char *mem_memdup(const void *p, size_t n)
{
    char *out = n < SIZE_MAX ? mem_alloc(n + 1) : NULL;
    if (!out)
        return NULL;
    if (n)
        memcpy(out, p, n);
    out[n] = 0;
    return out;
}

char *mem_strdup(const char *s)
{
    return s ? mem_memdup(s, strlen(s)) : NULL;
}

void mem_free(void *p)
{
    free(p);
}

int mem_grow(void *array, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return 0;
    size_t n = *cap ? *cap : 8;
    while (n < need) {
        if (n > SIZE_MAX / 2)
            return -1;
        n *= 2;
    }
    void *old, *p;
    memcpy(&old, array, sizeof old);
    p = mem_realloc(old, n, size);
    if (!p)
        return -1;
    memcpy(array, &p, sizeof p);
    *cap = n;
    return 0;
}
