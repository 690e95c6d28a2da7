/*
 * Memory for the buffers of a device that works in host memory (a CPU): cut from regions in huge pages.
 *
 * Weights and KV blocks are read once a step, a little from each of many pages. With pages of 4 KiB a walk of the page
 * tables then costs more than the line that it leads to. Pages are given out as they are touched, as for any mapping.
 * One thread.
 */
#ifndef WEFT_EXEC_HOSTMEM_H
#define WEFT_EXEC_HOSTMEM_H

#include <stddef.h>

struct hostmem {
    struct hostmem_region *regions; /* the newest first */
};

/* `bytes`, aligned to 128, zeroed; NULL when there is no memory (or no such mapping on this system). */
void *hostmem_take(struct hostmem *h, size_t bytes);
/* Gives back what hostmem_take gave (NULL allowed); a region goes back to the system with the last of it. */
void hostmem_give(struct hostmem *h, void *p);

#endif
