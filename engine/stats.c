#include "engine/stats.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- meters ---- */

void stats_meter_mark(struct stats_meter *m, int64_t now_us)
{
    uint32_t i = m->n_marks++ % STATS_MARKS;
    m->mark[i].at_us = now_us;
    m->mark[i].total = m->total;
}

uint64_t stats_meter_since(const struct stats_meter *m, int64_t window_us, int64_t now_us, int64_t *span_us)
{
    uint32_t kept = m->n_marks < STATS_MARKS ? m->n_marks : STATS_MARKS;
    int64_t span = 0;
    uint64_t counted = 0;
    for (uint32_t back = 1; back <= kept; back++) {
        uint32_t i = (m->n_marks - back) % STATS_MARKS;
        if (back > 1 && now_us - m->mark[i].at_us > window_us)
            break;
        span = now_us - m->mark[i].at_us;
        counted = m->total - m->mark[i].total;
    }
    if (span_us)
        *span_us = span;
    return counted;
}

double stats_meter_rate(const struct stats_meter *m, int64_t window_us, int64_t now_us)
{
    int64_t span_us;
    uint64_t counted = stats_meter_since(m, window_us, now_us, &span_us);
    return span_us > 0 ? (double)counted * 1e6 / (double)span_us : 0;
}

/* ---- histograms ---- */

static const double DECADES = 9; /* 1 µs … 1000 s */

static unsigned bucket_of(int64_t value_us)
{
    if (value_us <= 1)
        return 0;
    double at = log10((double)value_us) * (STATS_BUCKETS / DECADES);
    return at < STATS_BUCKETS - 1 ? (unsigned)at : STATS_BUCKETS - 1;
}

/* The geometric middle of a bucket. */
static double bucket_value_us(unsigned bucket)
{
    return pow(10, (bucket + 0.5) * DECADES / STATS_BUCKETS);
}

void stats_histogram_expire(struct stats_histogram *h, int64_t now_us)
{
    int64_t epoch = now_us / STATS_SLICE_US;
    int64_t steps = epoch - h->epoch;
    if (steps > STATS_SLICES)
        steps = STATS_SLICES;
    for (int64_t i = 1; i <= steps; i++) { /* each slice that is about to be used again */
        unsigned s = (unsigned)((h->epoch + i) % STATS_SLICES);
        if (!h->count[s])
            continue;
        for (unsigned b = 0; b < STATS_BUCKETS; b++)
            h->sum[b] -= h->slice[s][b];
        memset(h->slice[s], 0, sizeof h->slice[s]);
        h->count[s] = 0;
        h->total_us[s] = 0;
    }
    if (epoch > h->epoch)
        h->epoch = epoch;
}

void stats_histogram_add(struct stats_histogram *h, int64_t value_us, int64_t now_us)
{
    stats_histogram_expire(h, now_us);
    unsigned s = (unsigned)(h->epoch % STATS_SLICES), b = bucket_of(value_us);
    h->slice[s][b]++;
    h->sum[b]++;
    h->count[s]++;
    h->total_us[s] += (double)value_us;
}

static uint64_t histogram_count(const struct stats_histogram *h)
{
    uint64_t n = 0;
    for (unsigned s = 0; s < STATS_SLICES; s++)
        n += h->count[s];
    return n;
}

double stats_histogram_quantile_us(const struct stats_histogram *h, double q)
{
    uint64_t n = histogram_count(h), below = 0;
    if (!n)
        return NAN;
    uint64_t rank = (uint64_t)ceil(q * (double)n);
    rank = rank < 1 ? 1 : rank;
    unsigned b = 0;
    while (b < STATS_BUCKETS - 1 && (below += h->sum[b]) < rank)
        b++;
    return bucket_value_us(b);
}

double stats_histogram_mean_us(const struct stats_histogram *h)
{
    uint64_t n = histogram_count(h);
    double total = 0;
    for (unsigned s = 0; s < STATS_SLICES; s++)
        total += h->total_us[s];
    return n ? total / (double)n : NAN;
}

/* ---- the process ---- */

double stats_resident_mb(void)
{
    char text[128]; /* "size resident shared …", in pages */
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NAN;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return NAN;
    text[n] = 0;
    char *resident = strchr(text, ' ');
    return resident ? (double)strtoull(resident, NULL, 10) * (double)sysconf(_SC_PAGESIZE) / 1e6 : NAN;
}

double stats_machine_mb(void)
{
    return (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e6;
}
