/* What frames cost, over the last minute: processor time of the console's thread, and time by the clock. */
#include "src/app_state.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/stats.h"

struct app_frames {
    uint64_t drawn;
    struct stats_histogram processor, clock;
};

bool app_frames_open(struct app *a)
{
    a->frames = mem_calloc(1, sizeof *a->frames);
    return a->frames != NULL;
}

bool app_frames_draw(struct app *a, bool always)
{
    int64_t began_us = clock_now_us(), ran_us = clock_thread_us();
    if (!app_draw(a, always))
        return false;
    int64_t now_us = clock_now_us();
    a->frames->drawn++;
    stats_histogram_add(&a->frames->processor, clock_thread_us() - ran_us, now_us);
    stats_histogram_add(&a->frames->clock, now_us - began_us, now_us);
    return true;
}

static double ms(const struct stats_histogram *h, double quantile)
{
    return stats_histogram_quantile_us(h, quantile) / 1e3;
}

void app_frames_close(struct app *a)
{
    const struct app_frames *f = a->frames;
    if (f && f->drawn)
        log_msg(LOG_INFO,
                "frames: %llu; the last minute's took p50 %.3f ms, p99 %.3f ms of the processor, p50 %.3f "
                "ms, p99 "
                "%.3f ms by the clock",
                (unsigned long long)f->drawn, ms(&f->processor, 0.5), ms(&f->processor, 0.99),
                ms(&f->clock, 0.5), ms(&f->clock, 0.99));
    mem_free(a->frames);
    a->frames = NULL;
}
