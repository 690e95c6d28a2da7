/*
 * The OpenCL executor: the model's forward pass as kernels on one device (DESIGN "Performance").
 *
 * Weights are read from the file and repacked once, at creation. One in-order queue, one wait a step. Built programs are
 * cached on disk (exec_cl_config.cache_dir). Errors: NO_DEVICE (context hint: the package to install), FILE_INVALID (the
 * file changed since it was opened), MODEL_LOAD_FAILED, BATCH_FAILED, INTERNAL_ERROR.
 */
#ifndef WEFT_EXEC_EXEC_CL_H
#define WEFT_EXEC_EXEC_CL_H

#include "engine/exec/exec.h"
#include "engine/model/model.h"

/* Which times are kept (exec_cl_profile). */
enum exec_cl_profile_mode {
    EXEC_CL_PROFILE_OFF,
    EXEC_CL_PROFILE_KERNELS, /* each kernel's: they are then launched one by one, also where one launch would do (crew.h) */
    EXEC_CL_PROFILE_LAUNCHES /* each launch's, as it is made without profiling */
};

struct exec_cl_config {
    const char *device;    /* "auto", an index "0", or part of a device's or platform's name */
    const char *precision; /* "auto", "fp32", "int8", "bf16" */
    const char *cache_dir; /* directory for built programs (made 0700 when missing); NULL: no cache */
    uint64_t cache_bytes;  /* how much that directory may hold (kernel_cache.h); 0: no limit */
    uint32_t threads;      /* cores a CPU device may use; 0, or more than it has: all */
    uint32_t n_ctx;        /* most positions a sequence; 0: the model's own */
    uint32_t block_tokens;
    uint32_t n_blocks; /* 0: from kv_bytes */
    uint64_t kv_bytes;
    uint64_t park_bytes;               /* host area for parked blocks */
    uint32_t max_tokens;               /* most tokens a step (scheduler.max_batch_tokens) */
    uint32_t max_seqs;                 /* most items a step */
    uint32_t max_logits;               /* most logits rows a step (≥ max_seqs) */
    enum exec_cl_profile_mode profile; /* for bench */
    /* Told what is being done, for the screen; may be NULL. Called on the calling thread. */
    void (*progress)(void *ctx, const char *what, double fraction);
    void *progress_ctx;
};

/* The model must outlive the executor. */
enum weft_rc exec_cl_create(const struct model *model, const struct exec_cl_config *cfg, struct exec **out,
                            struct weft_err *err);

/* One line for each device found, for `weft devices`. */
struct exec_cl_device {
    char platform[128], name[128], version[128], driver[64];
    char type[16]; /* "cpu", "gpu", "accelerator" */
    uint32_t compute_units;
    uint64_t memory_bytes, max_alloc_bytes;
    bool usable;
    bool chosen;   /* the one weft would take for this selection */
    char why[160]; /* why it would take it, or why not */
};
/* Fills *list (mem_free) with all devices. No platform at all is NO_DEVICE. `selection` as in
 * exec_cl_config.device. */
enum weft_rc exec_cl_devices(const char *selection, struct exec_cl_device **list, unsigned *n,
                             struct weft_err *err);

struct exec_cl_peaks {
    double fma_gflops, int8_gops, bf16_gflops,
        read_gbs; /* int8 and bf16: 0 unless used, and by special instructions */
};
/* Measures the device's own limits (about a second); for bench. */
enum weft_rc exec_cl_peaks(struct exec *x, struct exec_cl_peaks *out, struct weft_err *err);

struct exec_cl_profile_row {
    const char *kernel;
    uint64_t calls;
    double total_us;
};
/* Sums since the last call, by kernel, when the executor was made with `profile`. Returns the number of rows (owned by x). */
unsigned exec_cl_profile(struct exec *x, const struct exec_cl_profile_row **rows);

#endif
