#include "engine/sched/pace.h"

#include <math.h>

/* Weight of the newest sample in the running averages. */
#define WEIGHT 0.25

static void average(double *mean, double sample)
{
    *mean = *mean > 0 ? *mean + WEIGHT * (sample - *mean) : sample;
}

void pace_step(struct pace *p, uint32_t n_prefill_tokens, uint32_t n_decodes, uint32_t n_moves,
               int64_t dur_us)
{
    double dur = (double)dur_us, decodes = n_decodes ? fmin(p->decode_us, dur) : 0;
    if (n_moves) /* what the rest doesn't explain */
        average(&p->move_us, fmax(dur - decodes - p->prefill_us * n_prefill_tokens, 0) / n_moves);
    else if (!n_prefill_tokens)
        average(&p->decode_us, dur);
    else /* while the decodes' part is unknown all is put down to prefill: too cautious a start, soon mended */
        average(&p->prefill_us, fmax(dur - decodes, 0) / n_prefill_tokens);
}

uint32_t pace_prefill_tokens(const struct pace *p, int64_t target_us, uint32_t most)
{
    if (p->prefill_us <= 0)
        return most;
    double n = ((double)target_us - p->decode_us) / p->prefill_us;
    if (n < 1)
        return most ? 1 : 0;
    return n < most ? (uint32_t)n : most;
}

void pace_submit(struct pace *p, int64_t window_us, int64_t now_us)
{
    double gap = p->any_submit ? (double)(now_us - p->last_submit_us) : 0;
    p->crowd = (p->any_submit && window_us > 0 ? p->crowd * exp(-gap / (double)window_us) : 0) + 1;
    p->last_submit_us = now_us;
    p->any_submit = true;
    average(&p->depth, p->crowd);
}

double pace_coalescing(const struct pace *p, uint32_t want)
{
    if (want <= 1 || p->depth <= 1)
        return 0;
    return fmin((p->depth - 1) / (want - 1), 1);
}
