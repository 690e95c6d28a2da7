/*
 * Statistics over sliding windows: rates, histograms with percentiles. Fixed size, nothing allocated, and pure: the
 * time is an argument (µs, never going backwards). One owner.
 */
#ifndef WEFT_STATS_H
#define WEFT_STATS_H

#include <stdint.h>

/*
 * A counter that remembers what it stood at, so that its rate over the last seconds is known. stats_meter_mark is to
 * be called at a steady pace (the engine: each 250 ms); the window reaches back STATS_MARKS of those.
 */
enum { STATS_MARKS = 41 }; /* 10 s of 250 ms, and the one before */
struct stats_meter {
    uint64_t total;
    uint32_t n_marks; /* ever made; the last STATS_MARKS are kept, as a ring */
    struct {
        int64_t at_us;
        uint64_t total;
    } mark[STATS_MARKS];
};

void stats_meter_mark(struct stats_meter *m, int64_t now_us);
/* What was counted since the oldest mark that is at most `window_us` old, or since the last one when all are older.
 * *span_us (may be NULL): the time since then; 0, and 0 is returned, when there is no mark. */
uint64_t stats_meter_since(const struct stats_meter *m, int64_t window_us, int64_t now_us, int64_t *span_us);
/* The same a second; 0 when there is no mark. */
double stats_meter_rate(const struct stats_meter *m, int64_t window_us, int64_t now_us);

/*
 * Values of the last 60 s, in buckets on a logarithmic scale from 1 µs to 1000 s: a percentile is exact to ± 1.7 %.
 * The minute is kept as slices of 5 s and drops off a slice at a time, so it holds between 55 and 60 s.
 */
enum { STATS_BUCKETS = 640, STATS_SLICES = 12, STATS_SLICE_US = 5000000 };
struct stats_histogram {
    uint32_t sum[STATS_BUCKETS]; /* of all slices */
    uint32_t slice[STATS_SLICES][STATS_BUCKETS];
    uint64_t count[STATS_SLICES]; /* values in each slice */
    double total_us[STATS_SLICES];
    int64_t epoch; /* number of the slice that takes values now: its start / STATS_SLICE_US */
};

void stats_histogram_add(struct stats_histogram *h, int64_t value_us, int64_t now_us);
/* Drops what is too old; to be called before reading. */
void stats_histogram_expire(struct stats_histogram *h, int64_t now_us);
/* The value below or at which the fraction q (0 … 1) of all values lies, nearest rank; NaN when there are none. */
double stats_histogram_quantile_us(const struct stats_histogram *h, double q);
/* NaN when there are none. */
double stats_histogram_mean_us(const struct stats_histogram *h);

/* Resident memory of this process, in units of 10^6 bytes (/proc/self/statm); NaN when it can't be read. */
double stats_resident_mb(void);
/* Memory of this machine, in the same unit. */
double stats_machine_mb(void);

#endif
