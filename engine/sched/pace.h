/*
 * Pacing: what the scheduler learns from time. How long steps take (for itl_target_ms and the cost of
 * recomputation), and how close together requests come (for coalescing). Pure; one owner.
 */
#ifndef WEFT_SCHED_PACE_H
#define WEFT_SCHED_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    double decode_us;  /* what a step's decodes take, running average; 0: not yet known */
    double prefill_us; /* what one prefill token adds, likewise */
    double move_us;    /* what parking or restoring one block adds, likewise */
    double crowd;      /* submissions within about one coalescing time, decaying */
    double depth; /* running average of `crowd` as submissions found it: the depth that waiting would have
                     made */
    int64_t last_submit_us;
    bool any_submit;
};

/* Learns from a step of that many prefill tokens and decodes, and of blocks parked or restored. */
void pace_step(struct pace *p, uint32_t n_prefill_tokens, uint32_t n_decodes, uint32_t n_moves,
               int64_t dur_us);
/* How many prefill tokens a step may have beside its decodes so as to last at most target_us, by what was
 * learned; at least 1, so that prompts go on; `most` while nothing is known. */
uint32_t pace_prefill_tokens(const struct pace *p, int64_t target_us, uint32_t most);
/* Learns from a submission; `window_us` is the coalescing time. */
void pace_submit(struct pace *p, int64_t window_us, int64_t now_us);
/* The part of the coalescing time worth waiting for `want` requests: 1 when they use to come together, 0 when
 * singly. */
double pace_coalescing(const struct pace *p, uint32_t want);

#endif
