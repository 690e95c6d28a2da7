/*
 * An executor that carries out steps by another one and keeps a record of each: what `weft bench` measures
 * with, so that the figures are those of real steps of the real engine. It also measures the device's peaks
 * when it is made and takes the kernels' times before it goes.
 *
 * Made and used on the engine thread; records are read by another thread through bench_exec_take (a lock).
 */
#ifndef WEFT_BENCH_EXEC_H
#define WEFT_BENCH_EXEC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/exec/exec_cl.h"

/* One step, in microseconds of the monotonic clock. */
struct bench_step {
    int64_t start_us, end_us;
    uint32_t n_prefill_tokens, n_decodes;
};

struct bench_kernel {
    char name[48];
    uint64_t calls;
    double total_us;
};

/* What is shared between the engine thread and the command; belongs to the command and outlives the engine.
 */
struct bench_log {
    pthread_mutex_t lock;
    struct bench_step *steps;
    size_t n_steps, cap_steps;
    bool drop_profile; /* kernel times so far don't count: taken away before the next step */
    struct bench_kernel *kernels;
    unsigned n_kernels;
    /* Set before READY. */
    struct exec_cl_peaks peaks;
    struct exec_info info;
    char model[96];
};

void bench_log_init(struct bench_log *log);
void bench_log_deinit(struct bench_log *log);
/* Moves the steps so far to *steps (mem_free). */
size_t bench_log_take(struct bench_log *log, struct bench_step **steps);

/* For engine_setup_options.loaded; ctx is a struct bench_log. Measures the peaks (about a second), then wraps *x. */
enum weft_rc bench_exec_wrap(void *ctx, const struct model *model, struct exec **x, struct weft_err *err);

#endif
