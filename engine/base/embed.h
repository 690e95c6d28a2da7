/* Files compiled into the binary (cmake/embed.cmake): kernels, default configuration, workloads, themes, scripts. */
#ifndef WEFT_BASE_EMBED_H
#define WEFT_BASE_EMBED_H

#include <stddef.h>
#include <string.h>

struct weft_embedded {
    const char *name; /* file name without directory; NULL ends a table */
    const char *data; /* NUL-terminated */
    size_t size;      /* bytes, without that NUL */
};

extern const struct weft_embedded weft_embedded_kernels[];
extern const struct weft_embedded weft_embedded_defaults[];
extern const struct weft_embedded weft_embedded_scripts[];

/* The entry called `name`, or NULL. Any thread. */
static inline const struct weft_embedded *weft_embedded_find(const struct weft_embedded *table,
                                                             const char *name)
{
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

#endif
