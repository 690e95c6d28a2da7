/* Figures as people read them. Each writes a NUL-terminated string of at most FORMAT_MAX bytes and returns it. Pure. */
#ifndef WEFT_UI_FORMAT_H
#define WEFT_UI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/sched/request.h"

enum { FORMAT_MAX = 24 };

const char *format_count(char out[FORMAT_MAX], uint64_t n);  /* "18 204" */
const char *format_rate(char out[FORMAT_MAX], double per_s); /* "612", "9.4", "0", "12.3k"; NaN: "-" */
const char *format_ms(char out[FORMAT_MAX], double ms); /* "8.2 ms", "82 ms", "1.24 s", "2:05"; NaN: "-" */
const char *format_seconds(char out[FORMAT_MAX],
                           double s); /* "6.1s", "48s", "3m05", "2h10": at most 5 columns below 100 hours */
const char *format_megabytes(char out[FORMAT_MAX], double mb); /* "412 MB", "3.2 GB" */
/* The smallest round number that isn't below v, and at least 1: the top of a graph's scale. */
double format_scale(double v);
/* C, H, N or L. */
char format_prio(enum prio p);

/* A line of figures, "HIGH · 41 tok/s · 318/2048": what doesn't fit is left out whole, with all that follows. */
struct figures {
    char *out; /* NUL-terminated, `size` bytes */
    size_t size, len;
    int columns;     /* the most it may take on the screen */
    const char *dot; /* what stands between: " · " or " - " */
    bool full;
};
#define FIGURES_INIT(buffer, most, ascii)                                                                    \
    {                                                                                                        \
        (buffer), sizeof(buffer), 0, (most), (ascii) ? " - " : " · ", false                                  \
    }
void figures_add(struct figures *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
