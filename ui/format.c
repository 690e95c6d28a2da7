#include "ui/format.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ui/text.h"

const char *format_count(char out[FORMAT_MAX], uint64_t n)
{
    if (n < 10000) /* four digits read well without a gap */
        snprintf(out, FORMAT_MAX, "%u", (unsigned)n);
    else if (n < 1000000)
        snprintf(out, FORMAT_MAX, "%u %03u", (unsigned)(n / 1000), (unsigned)(n % 1000));
    else if (n < 1000000000)
        snprintf(out, FORMAT_MAX, "%u %03u %03u", (unsigned)(n / 1000000), (unsigned)(n / 1000 % 1000),
                 (unsigned)(n % 1000));
    else
        snprintf(out, FORMAT_MAX, "%.3g", (double)n);
    return out;
}

const char *format_rate(char out[FORMAT_MAX], double per_s)
{
    if (!(per_s >= 0) || isinf(per_s))
        snprintf(out, FORMAT_MAX, "-");
    else if (per_s < 9.95) /* "0" and "3", but "2.5" */
        snprintf(out, FORMAT_MAX, fabs(per_s - round(per_s)) < 0.05 ? "%.0f" : "%.1f", per_s);
    else if (per_s < 9999.5)
        snprintf(out, FORMAT_MAX, "%.0f", per_s);
    else
        snprintf(out, FORMAT_MAX, "%.1fk", per_s / 1000);
    return out;
}

const char *format_ms(char out[FORMAT_MAX], double ms)
{
    if (!(ms >= 0) || isinf(ms))
        snprintf(out, FORMAT_MAX, "-");
    else if (ms < 9.95)
        snprintf(out, FORMAT_MAX, "%.1f ms", ms);
    else if (ms < 999.5)
        snprintf(out, FORMAT_MAX, "%.0f ms", ms);
    else if (ms < 99950)
        snprintf(out, FORMAT_MAX, "%.1f s", ms / 1000);
    else
        snprintf(out, FORMAT_MAX, "%.0f:%02.0f", floor(ms / 60000), floor(fmod(ms / 1000, 60)));
    return out;
}

const char *format_seconds(char out[FORMAT_MAX], double s)
{
    if (!(s >= 0))
        s = 0;
    if (s < 9.95)
        snprintf(out, FORMAT_MAX, "%.1fs", s);
    else if (s < 99.5)
        snprintf(out, FORMAT_MAX, "%.0fs", s);
    else if (s < 6000)
        snprintf(out, FORMAT_MAX, "%.0fm%02.0f", floor(s / 60), floor(fmod(s, 60)));
    else
        snprintf(out, FORMAT_MAX, "%.0fh%02.0f", floor(s / 3600), floor(fmod(s / 60, 60)));
    return out;
}

const char *format_megabytes(char out[FORMAT_MAX], double mb)
{
    if (mb < 1000)
        snprintf(out, FORMAT_MAX, "%.0f MB", mb);
    else
        snprintf(out, FORMAT_MAX, "%.1f GB", mb / 1024);
    return out;
}

double format_scale(double v)
{
    static const double steps[] = {1, 1.5, 2, 3, 4, 5, 6, 8, 10};
    if (!(v > 1) || isinf(v))
        return 1;
    double decade = pow(10, floor(log10(v)));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (v <= steps[i] * decade * (1 + 1e-9))
            return steps[i] * decade;
    return 10 * decade;
}

char format_prio(enum prio p)
{
    static const char letters[PRIO_COUNT] = {'C', 'H', 'N', 'L'};
    unsigned i = (unsigned)((int)p + 1);
    return i < PRIO_COUNT ? letters[i] : '?';
}

void figures_add(struct figures *f, const char *fmt, ...)
{
    char item[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(item, sizeof item, fmt, ap);
    va_end(ap);
    const char *dot = f->len ? f->dot : "";
    size_t need = strlen(dot) + strlen(item);
    int columns = text_width(f->out, f->len) + text_width(dot, strlen(dot)) + text_width(item, strlen(item));
    f->full = f->full || f->len + need >= f->size || columns > f->columns;
    if (f->full)
        return;
    snprintf(f->out + f->len, f->size - f->len, "%s%s", dot, item);
    f->len += need;
}
