#include "engine/exec/ocl.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/exec/devices.h"

struct ocl_timed {
    cl_event event;
    const char *name;
};

static atomic_size_t fault_count, fault_at;

size_t ocl_fail_at(size_t n)
{
    atomic_store(&fault_at, n);
    return atomic_exchange(&fault_count, 0);
}

bool ocl_fault(void)
{
    size_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    return at && atomic_fetch_add_explicit(&fault_count, 1, memory_order_relaxed) + 1 == at;
}

/* The call's result, unless a test wants it to fail. */
#define TRY(call) (ocl_fault() ? CL_OUT_OF_RESOURCES : (call))

static const struct {
    cl_int code;
    const char *name;
} error_names[] = {
#define E(x)                                                                                                 \
    {                                                                                                        \
        x, #x                                                                                                \
    }
    E(CL_SUCCESS),
    E(CL_DEVICE_NOT_FOUND),
    E(CL_DEVICE_NOT_AVAILABLE),
    E(CL_COMPILER_NOT_AVAILABLE),
    E(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    E(CL_OUT_OF_RESOURCES),
    E(CL_OUT_OF_HOST_MEMORY),
    E(CL_PROFILING_INFO_NOT_AVAILABLE),
    E(CL_BUILD_PROGRAM_FAILURE),
    E(CL_MAP_FAILURE),
    E(CL_LINKER_NOT_AVAILABLE),
    E(CL_LINK_PROGRAM_FAILURE),
    E(CL_INVALID_VALUE),
    E(CL_INVALID_DEVICE_TYPE),
    E(CL_INVALID_PLATFORM),
    E(CL_INVALID_DEVICE),
    E(CL_INVALID_CONTEXT),
    E(CL_INVALID_QUEUE_PROPERTIES),
    E(CL_INVALID_COMMAND_QUEUE),
    E(CL_INVALID_MEM_OBJECT),
    E(CL_INVALID_BINARY),
    E(CL_INVALID_BUILD_OPTIONS),
    E(CL_INVALID_PROGRAM),
    E(CL_INVALID_PROGRAM_EXECUTABLE),
    E(CL_INVALID_KERNEL_NAME),
    E(CL_INVALID_KERNEL_DEFINITION),
    E(CL_INVALID_KERNEL),
    E(CL_INVALID_ARG_INDEX),
    E(CL_INVALID_ARG_VALUE),
    E(CL_INVALID_ARG_SIZE),
    E(CL_INVALID_KERNEL_ARGS),
    E(CL_INVALID_WORK_DIMENSION),
    E(CL_INVALID_WORK_GROUP_SIZE),
    E(CL_INVALID_WORK_ITEM_SIZE),
    E(CL_INVALID_GLOBAL_OFFSET),
    E(CL_INVALID_EVENT_WAIT_LIST),
    E(CL_INVALID_EVENT),
    E(CL_INVALID_OPERATION),
    E(CL_INVALID_BUFFER_SIZE),
    E(CL_INVALID_GLOBAL_WORK_SIZE),
#undef E
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
};

const char *ocl_error_name(cl_int e)
{
    for (size_t i = 0; i < sizeof error_names / sizeof *error_names; i++)
        if (error_names[i].code == e)
            return error_names[i].name;
    return "unknown error";
}

enum weft_rc ocl_error(struct weft_err *err, const char *call, cl_int e)
{
    weft_err_set(err, WEFT_INTERNAL_ERROR, "%s failed: %s (%d)", call, ocl_error_name(e), (int)e);
    weft_err_str(err, "where", call);
    return WEFT_INTERNAL_ERROR;
}

enum weft_rc ocl_open(const char *selection, uint32_t threads, enum exec_cl_profile_mode profile,
                      struct ocl *out, struct weft_err *err)
{
    struct ocl o = {.profile = profile};
    enum weft_rc rc = devices_choose(selection, &o.platform, &o.device, &o.info, err);
    if (rc)
        return rc;
    cl_device_id part = devices_part(o.device, threads, &o.info);
    if (part)
        o.device = part;
    o.is_part = part != NULL;
    cl_int e = CL_SUCCESS;
    cl_bool unified = CL_FALSE;
    cl_device_fp_config fp = 0;
    clGetPlatformInfo(o.platform, CL_PLATFORM_VERSION, sizeof o.platform_version - 1, o.platform_version,
                      NULL);
    clGetDeviceInfo(o.device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    clGetDeviceInfo(o.device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof fp, &fp, NULL);
    bool cpu = strcmp(o.info.type, "cpu") == 0;
    o.host_memory = cpu || unified;
    o.correct_divide = fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
    o.local_size = cpu ? 1 : 32;

    o.context =
        ocl_fault() ? (e = CL_OUT_OF_RESOURCES, NULL) : clCreateContext(NULL, 1, &o.device, NULL, NULL, &e);
    if (!o.context) {
        rc = ocl_error(err, "clCreateContext", e);
        goto out;
    }
    cl_command_queue_properties props = profile ? CL_QUEUE_PROFILING_ENABLE : 0;
    o.queue =
        ocl_fault() ? (e = CL_OUT_OF_RESOURCES, NULL) : clCreateCommandQueue(o.context, o.device, props, &e);
    if (!o.queue) {
        rc = ocl_error(err, "clCreateCommandQueue", e);
        goto out;
    }
    *out = o;
    memset(&o, 0, sizeof o);
out:
    ocl_close(&o);
    return rc;
}

void ocl_close(struct ocl *o)
{
    for (size_t i = 0; i < o->n_timed; i++)
        clReleaseEvent(o->timed[i].event);
    mem_free(o->timed);
    if (o->queue)
        clReleaseCommandQueue(o->queue);
    if (o->context)
        clReleaseContext(o->context);
    if (o->is_part)
        clReleaseDevice(o->device);
    memset(o, 0, sizeof *o);
}

bool ocl_is_pocl_cpu(const struct ocl *o)
{
    return strcmp(o->info.platform, "Portable Computing Language") == 0 && strcmp(o->info.type, "cpu") == 0;
}

enum weft_rc ocl_buf_create(struct ocl *o, size_t bytes, const char *what, struct ocl_buf *out,
                            struct weft_err *err)
{
    *out = (struct ocl_buf){0};
    bytes = bytes ? bytes : 1;
    if (bytes > o->info.max_alloc_bytes) {
        weft_err_set(err, WEFT_INTERNAL_ERROR, "%s needs a buffer of %zu bytes; the device's largest is %llu",
                     what, bytes, (unsigned long long)o->info.max_alloc_bytes);
        weft_err_str(err, "where", what);
        return WEFT_INTERNAL_ERROR;
    }
    cl_int e = CL_OUT_OF_RESOURCES;
    void *host = o->host_memory ? hostmem_take(&o->memory, bytes) : NULL;
    const cl_mem_flags flags = CL_MEM_READ_WRITE | (host ? CL_MEM_USE_HOST_PTR : 0);
    cl_mem mem = ocl_fault() ? NULL : clCreateBuffer(o->context, flags, bytes, host, &e);
    if (!mem) {
        hostmem_give(&o->memory, host);
        weft_err_set(err, WEFT_INTERNAL_ERROR, "%s: clCreateBuffer of %zu bytes failed: %s (%d)", what, bytes,
                     ocl_error_name(e), (int)e);
        weft_err_str(err, "where", "clCreateBuffer");
        return WEFT_INTERNAL_ERROR;
    }
    *out = (struct ocl_buf){mem, bytes, host};
    o->allocated += bytes;
    return WEFT_OK;
}

void ocl_buf_free(struct ocl *o, struct ocl_buf *b)
{
    if (b->mem) {
        clReleaseMemObject(b->mem);
        hostmem_give(&o->memory, b->host);
        o->allocated -= b->bytes;
    }
    *b = (struct ocl_buf){0};
}

enum weft_rc ocl_buf_zero(struct ocl *o, const struct ocl_buf *b, struct weft_err *err)
{
    const cl_uchar zero = 0;
    cl_int e = TRY(clEnqueueFillBuffer(o->queue, b->mem, &zero, sizeof zero, 0, b->bytes, 0, NULL, NULL));
    return e ? ocl_error(err, "clEnqueueFillBuffer", e) : WEFT_OK;
}

enum weft_rc ocl_map(struct ocl *o, const struct ocl_buf *b, bool write, size_t offset, size_t bytes,
                     void **out, struct weft_err *err)
{
    cl_int e = CL_OUT_OF_RESOURCES;
    *out = ocl_fault() ? NULL
                       : clEnqueueMapBuffer(o->queue, b->mem, CL_TRUE,
                                            write ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ, offset,
                                            bytes, 0, NULL, NULL, &e);
    return *out ? WEFT_OK : ocl_error(err, "clEnqueueMapBuffer", e);
}

enum weft_rc ocl_unmap(struct ocl *o, const struct ocl_buf *b, void *p, struct weft_err *err)
{
    cl_int e = clEnqueueUnmapMemObject(o->queue, b->mem, p, 0, NULL, NULL);
    if (!e && ocl_fault())
        e = CL_OUT_OF_RESOURCES;
    return e ? ocl_error(err, "clEnqueueUnmapMemObject", e) : WEFT_OK;
}

enum weft_rc ocl_write(struct ocl *o, const struct ocl_buf *b, size_t offset, const void *src, size_t bytes,
                       struct weft_err *err)
{
    if (!bytes)
        return WEFT_OK;
    cl_int e = TRY(clEnqueueWriteBuffer(o->queue, b->mem, CL_FALSE, offset, bytes, src, 0, NULL, NULL));
    return e ? ocl_error(err, "clEnqueueWriteBuffer", e) : WEFT_OK;
}

enum weft_rc ocl_read(struct ocl *o, const struct ocl_buf *b, size_t offset, void *dst, size_t bytes,
                      struct weft_err *err)
{
    if (!bytes)
        return WEFT_OK;
    cl_int e = TRY(clEnqueueReadBuffer(o->queue, b->mem, CL_FALSE, offset, bytes, dst, 0, NULL, NULL));
    return e ? ocl_error(err, "clEnqueueReadBuffer", e) : WEFT_OK;
}

enum weft_rc ocl_copy(struct ocl *o, const struct ocl_buf *src, size_t src_offset, const struct ocl_buf *dst,
                      size_t dst_offset, size_t bytes, struct weft_err *err)
{
    cl_int e =
        TRY(clEnqueueCopyBuffer(o->queue, src->mem, dst->mem, src_offset, dst_offset, bytes, 0, NULL, NULL));
    return e ? ocl_error(err, "clEnqueueCopyBuffer", e) : WEFT_OK;
}

/* Adds the times of finished launches to the rows. Events whose time can't be read are left out. */
static void collect_times(struct ocl *o)
{
    for (size_t i = 0; i < o->n_timed; i++) {
        cl_ulong start = 0, end = 0;
        struct ocl_timed *t = &o->timed[i];
        bool known =
            !clGetEventProfilingInfo(t->event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) &&
            !clGetEventProfilingInfo(t->event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        clReleaseEvent(t->event);
        unsigned r = 0;
        while (r < o->n_rows && strcmp(o->rows[r].kernel, t->name) != 0)
            r++;
        if (!known || r == OCL_PROFILE_MAX)
            continue;
        if (r == o->n_rows)
            o->rows[o->n_rows++] = (struct exec_cl_profile_row){.kernel = t->name};
        o->rows[r].calls++;
        o->rows[r].total_us += (double)(end - start) / 1e3;
    }
    o->n_timed = 0;
}

enum weft_rc ocl_finish(struct ocl *o, struct weft_err *err)
{
    cl_int e = clFinish(o->queue);
    if (!e && ocl_fault())
        e = CL_OUT_OF_RESOURCES;
    collect_times(o);
    return e ? ocl_error(err, "clFinish", e) : WEFT_OK;
}

void ocl_profile_reset(struct ocl *o)
{
    o->n_rows = 0;
}

enum weft_rc ocl_launch(struct ocl *o, const struct ocl_kernel *k, size_t n0, size_t n1,
                        const struct ocl_arg *args, unsigned n_args, struct weft_err *err)
{
    if (o->priming) {
        if (o->n_primed++ < o->prime_from)
            return WEFT_OK;
        n0 = n0 ? n0 : 1;
        n1 = n1 ? n1 : 1;
    } else if (!n0 || !n1) {
        return WEFT_OK;
    }
    char call[96];
    cl_int e = CL_SUCCESS;
    for (unsigned i = 0; i < n_args && !e; i++)
        e = clSetKernelArg(k->kernel, i, args[i].size, args[i].value);
    if (e) {
        snprintf(call, sizeof call, "clSetKernelArg(%s)", k->name);
        return ocl_error(err, call, e);
    }
    cl_event event = NULL;
    bool timed = o->profile && !mem_grow(&o->timed, &o->cap_timed, o->n_timed + 1, sizeof *o->timed);
    size_t local[2] = {o->local_size, 1};
    size_t global[2] = {(n0 + local[0] - 1) / local[0] * local[0], n1};
    e = TRY(
        clEnqueueNDRangeKernel(o->queue, k->kernel, 2, NULL, global, local, 0, NULL, timed ? &event : NULL));
    if (e) {
        snprintf(call, sizeof call, "clEnqueueNDRangeKernel(%s)", k->name);
        return ocl_error(err, call, e);
    }
    if (timed)
        o->timed[o->n_timed++] = (struct ocl_timed){event, k->name};
    return WEFT_OK;
}
