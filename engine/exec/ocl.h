/*
 * One OpenCL device: its choice, context, in-order queue and buffers. The only file that makes or waits for
 * device work; kernels are launched through ocl_launch.
 *
 * Ownership: struct ocl owns context and queue; buffers belong to their holders, who free them before
 * ocl_close. Threads: one (the engine's) uses a struct ocl. ocl_environment must run before the process's
 * first OpenCL call. Errors: NO_DEVICE while choosing (context hint), else INTERNAL_ERROR with the call and
 * the error's name; the executor turns those of a step into BATCH_FAILED. After an error nothing is left half
 * made.
 */
#ifndef WEFT_EXEC_OCL_H
#define WEFT_EXEC_OCL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/exec/exec_cl.h"
#include "engine/exec/hostmem.h"

enum { OCL_PROFILE_MAX = 32 };

struct ocl {
    cl_platform_id platform;
    cl_device_id device;
    bool is_part; /* a sub-device, ours to release */
    cl_context context;
    cl_command_queue queue;
    struct exec_cl_device info;
    char platform_version[128];
    bool host_memory;                  /* buffers live in host memory */
    bool correct_divide;               /* divisions and roots can be rounded correctly */
    unsigned local_size;               /* work-items a group: 1 on a CPU */
    struct hostmem memory;             /* where buffers are cut from when host_memory */
    uint64_t allocated;                /* bytes of all buffers alive */
    enum exec_cl_profile_mode profile; /* other than OFF: every launch is timed */
    bool priming;      /* launches of nothing launch one work-item all the same: see ops_prime */
    size_t n_primed;   /* launches while priming so far … */
    size_t prime_from; /* … of which the first ones are only counted, for a second process builds those */
    struct ocl_timed *timed; /* launches since the last wait, when profiling */
    size_t n_timed, cap_timed;
    struct exec_cl_profile_row rows[OCL_PROFILE_MAX];
    unsigned n_rows;
};

/* A buffer and its size, so that it can be accounted for. */
struct ocl_buf {
    cl_mem mem; /* NULL: none */
    size_t bytes;
    void *host; /* where it is, on a device that works in host memory; else NULL */
};

/* A kernel as the launchers see it. */
struct ocl_kernel {
    cl_kernel kernel;
    const char *name; /* static: of the source's function without its variant */
};

/* Opens the device that `selection` names, or a part of it with so many cores (exec_cl_config.device, .threads). */
enum weft_rc ocl_open(const char *selection, uint32_t threads, enum exec_cl_profile_mode profile,
                      struct ocl *out, struct weft_err *err);
void ocl_close(struct ocl *o); /* zeroed struct allowed */

/* The device is a CPU and the runtime PoCL. */
bool ocl_is_pocl_cpu(const struct ocl *o);

/* `bytes` of device memory; larger than the device's largest allocation is refused with both numbers. `what`
 * names it. */
enum weft_rc ocl_buf_create(struct ocl *o, size_t bytes, const char *what, struct ocl_buf *out,
                            struct weft_err *err);
void ocl_buf_free(struct ocl *o, struct ocl_buf *b);
enum weft_rc ocl_buf_zero(struct ocl *o, const struct ocl_buf *b, struct weft_err *err);

/* Maps a range for the host: reading waits for all work queued before; writing starts with undefined contents. */
enum weft_rc ocl_map(struct ocl *o, const struct ocl_buf *b, bool write, size_t offset, size_t bytes,
                     void **out, struct weft_err *err);
enum weft_rc ocl_unmap(struct ocl *o, const struct ocl_buf *b, void *p, struct weft_err *err);

/* Queued, not waited for: `src` must stand until the next ocl_finish. */
enum weft_rc ocl_write(struct ocl *o, const struct ocl_buf *b, size_t offset, const void *src, size_t bytes,
                       struct weft_err *err);
enum weft_rc ocl_read(struct ocl *o, const struct ocl_buf *b, size_t offset, void *dst, size_t bytes,
                      struct weft_err *err);
enum weft_rc ocl_copy(struct ocl *o, const struct ocl_buf *src, size_t src_offset, const struct ocl_buf *dst,
                      size_t dst_offset, size_t bytes, struct weft_err *err);
/* Waits for everything queued. */
enum weft_rc ocl_finish(struct ocl *o, struct weft_err *err);

/* One kernel argument: OCL_ARG(variable), OCL_BUF(buffer). */
struct ocl_arg {
    size_t size;
    const void *value;
};
#define OCL_ARG(v) ((struct ocl_arg){sizeof(v), &(v)})
#define OCL_BUF(b) ((struct ocl_arg){sizeof(cl_mem), &(b)->mem})

/* Queues n0 × n1 work-items (n0 is rounded up to whole groups: kernels check it). Nothing when n0 or n1 is 0.
 */
enum weft_rc ocl_launch(struct ocl *o, const struct ocl_kernel *k, size_t n0, size_t n1,
                        const struct ocl_arg *args, unsigned n_args, struct weft_err *err);

/* "CL_OUT_OF_RESOURCES" …, or "unknown error". */
const char *ocl_error_name(cl_int e);
/* Fills *err with INTERNAL_ERROR "CALL failed: NAME (number)", context where = call. */
enum weft_rc ocl_error(struct weft_err *err, const char *call, cl_int e);

/* Profiling: the sums so far. The caller may read them until the next launch, and then calls
 * ocl_profile_reset. */
void ocl_profile_reset(struct ocl *o);

/* Tests only, as mem_fail_at: the Nth OpenCL call from now on that can fail does, once, with
 * CL_OUT_OF_RESOURCES; 0 switches it off. Returns the number of calls since the last. */
size_t ocl_fail_at(size_t n);
/* For those who call OpenCL themselves (program.c): true when this call is to fail. */
bool ocl_fault(void);

#endif
