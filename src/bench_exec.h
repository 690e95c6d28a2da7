/*
 * An executor that carries out steps by another one and keeps a record of each: what `weft bench` measures with, so that
 * the figures are those of real steps of the real engine. Where asked it measures the device's peaks just before a step,
 * next to what is held against them, as what a shared machine gives changes by the minute.
 *
 * Made and used on the engine thread; another thread asks for a row and takes its record (a lock).
 */
#ifndef WEFT_BENCH_EXEC_H
#define WEFT_BENCH_EXEC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/exec/exec_cl.h"

/* What a step did: prompts only, one token for each stream of the batch, or anything else. */
enum bench_phase { BENCH_PREFILL, BENCH_DECODE, BENCH_OTHER, BENCH_PHASES };

/* One step, in microseconds of the monotonic clock. */
struct bench_step {
    int64_t start_us, end_us;
    enum bench_phase phase;
    uint32_t n_tokens; /* prefilled and decoded */
};

struct bench_kernel {
    char name[48];
    uint64_t calls;
    double total_us;
};

/* The steps of one row, and the time of each kernel in them, by phase. */
struct bench_record {
    struct bench_step *steps;
    size_t n_steps, cap_steps;
    struct bench_kernel *kernels[BENCH_PHASES];
    size_t n_kernels[BENCH_PHASES], cap_kernels[BENCH_PHASES];
};
void bench_record_free(struct bench_record *r); /* zeroed struct allowed */

/* What is shared between the engine thread and the command; belongs to the command and outlives the engine. */
struct bench_log {
    pthread_mutex_t lock;
    struct bench_record record; /* of the row under way */
    uint32_t batch;             /* its streams */
    bool want_peaks;            /* before the next step, or the end */
    bool out_of_memory;         /* a step is missing from the record */
    /* One entry a row, measured before it, and one after the last (bench_log_end). */
    struct exec_cl_peaks *peaks;
    size_t n_peaks, cap_peaks;
    /* Set before READY. */
    struct exec_info info;
    char model[96];
};

void bench_log_init(struct bench_log *log);
void bench_log_deinit(struct bench_log *log);
/* A new row of `batch` streams begins with the next step, before which the peaks are measured (a second). */
void bench_log_begin(struct bench_log *log, uint32_t batch);
/* Moves the record so far to *out (bench_record_free). INTERNAL_ERROR when memory ran out while it was kept. */
enum weft_rc bench_log_take(struct bench_log *log, struct bench_record *out, struct weft_err *err);

/* No row follows: the peaks are measured once more when the executor is destroyed. Not needed when nobody will look. */
void bench_log_end(struct bench_log *log);

/* For engine_setup_options.loaded; ctx is a struct bench_log. Wraps *x. */
enum weft_rc bench_exec_wrap(void *ctx, const struct model *model, struct exec **x, struct weft_err *err);

#endif
