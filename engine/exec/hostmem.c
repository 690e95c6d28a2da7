#include "engine/exec/hostmem.h"

#include <stdint.h>
#include <sys/mman.h>

#include "engine/base/mem.h"

enum { HUGE_PAGE = 2 << 20, REGION = 32 << 20, ALIGNMENT = 128 };

struct hostmem_region {
    struct hostmem_region *next;
    char *base;
    size_t size, used;
    unsigned live; /* pieces not given back */
};

static size_t round_to(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* `size` bytes of address space (a multiple of HUGE_PAGE), aligned to it. */
static char *map_aligned(size_t size)
{
    char *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    const size_t before = round_to((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p;
    if (before)
        munmap(p, before);
    munmap(p + before + size, HUGE_PAGE - before);
    p += before;
#ifdef MADV_HUGEPAGE
    madvise(p, size, MADV_HUGEPAGE); /* a wish: without it, all works, slower */
#endif
    return p;
}

void *hostmem_take(struct hostmem *h, size_t bytes)
{
    struct hostmem_region *r = h->regions;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = round_to(bytes ? bytes : 1, ALIGNMENT);
    if (!r || bytes > r->size - r->used) {
        const size_t size = round_to(bytes > REGION ? bytes : REGION, HUGE_PAGE);
        r = mem_calloc(1, sizeof *r);
        char *base = r ? map_aligned(size) : NULL;
        if (!base) {
            mem_free(r);
            return NULL;
        }
        *r = (struct hostmem_region){.next = h->regions, .base = base, .size = size};
        h->regions = r;
    }
    void *p = r->base + r->used;
    r->used += bytes;
    r->live++;
    return p;
}

void hostmem_give(struct hostmem *h, void *p)
{
    for (struct hostmem_region **at = &h->regions; p && *at; at = &(*at)->next) {
        struct hostmem_region *r = *at;
        if ((uintptr_t)p - (uintptr_t)r->base >= r->size)
            continue;
        if (--r->live == 0) {
            *at = r->next;
            munmap(r->base, r->size);
            mem_free(r);
        }
        return;
    }
}
