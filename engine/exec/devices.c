#include "engine/exec/ocl.h"
#include "engine/exec/devices.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"

#define HINT "install an OpenCL runtime, for instance PoCL for CPUs: apt-get install pocl-opencl-icd"

struct found {
    cl_platform_id platform;
    cl_device_id device;
    struct exec_cl_device info;
};

struct found_list {
    struct found *items;
    size_t n, cap;
};

static enum weft_rc no_device(struct weft_err *err, const char *why)
{
    weft_err_set(err, WEFT_NO_DEVICE, "%s; " HINT, why);
    weft_err_str(err, "hint", HINT);
    return WEFT_NO_DEVICE;
}

static const char *type_name(cl_device_type t)
{
    return t & CL_DEVICE_TYPE_CPU ? "cpu" : t & CL_DEVICE_TYPE_GPU ? "gpu" : "accelerator";
}

/*
 * Usable: little-endian, a compiler, infinities. Results rest on fused multiply-add, but fma() rounds once by the language's
 * own rules, whatever CL_FP_FMA says: Intel's CPU runtime doesn't set it for float32, and fuses.
 */
static void judge(cl_device_id d, struct exec_cl_device *info)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE, little = CL_FALSE;
    cl_device_fp_config fp = 0;
    clGetDeviceInfo(d, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
    clGetDeviceInfo(d, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    clGetDeviceInfo(d, CL_DEVICE_ENDIAN_LITTLE, sizeof little, &little, NULL);
    clGetDeviceInfo(d, CL_DEVICE_SINGLE_FP_CONFIG, sizeof fp, &fp, NULL);
    const char *why = !available              ? "not available"
                      : !compiler             ? "its runtime has no compiler"
                      : !little               ? "big-endian"
                      : !(fp & CL_FP_INF_NAN) ? "no infinities and NaN"
                                              : NULL;
    info->usable = !why;
    snprintf(info->why, sizeof info->why, "%s", why ? why : "usable");
}

static void describe(cl_platform_id p, cl_device_id d, struct exec_cl_device *info)
{
    cl_device_type type = 0;
    cl_uint units = 0;
    cl_ulong memory = 0, alloc = 0;
    memset(info, 0, sizeof *info);
    clGetPlatformInfo(p, CL_PLATFORM_NAME, sizeof info->platform - 1, info->platform, NULL);
    clGetDeviceInfo(d, CL_DEVICE_NAME, sizeof info->name - 1, info->name, NULL);
    clGetDeviceInfo(d, CL_DEVICE_VERSION, sizeof info->version - 1, info->version, NULL);
    clGetDeviceInfo(d, CL_DRIVER_VERSION, sizeof info->driver - 1, info->driver, NULL);
    clGetDeviceInfo(d, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    clGetDeviceInfo(d, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    clGetDeviceInfo(d, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    clGetDeviceInfo(d, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof alloc, &alloc, NULL);
    snprintf(info->type, sizeof info->type, "%s", type_name(type));
    info->compute_units = units;
    info->memory_bytes = memory;
    info->max_alloc_bytes = alloc;
    judge(d, info);
}

/* All devices of all platforms, in the runtimes' order. A platform without devices is no error. */
static enum weft_rc find_all(struct found_list *list, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    cl_uint n_platforms = 0;
    cl_platform_id *platforms = NULL;
    cl_device_id *devices = NULL;
    if (ocl_fault() || clGetPlatformIDs(0, NULL, &n_platforms) || !n_platforms)
        return no_device(err, "no OpenCL platform");
    platforms = mem_calloc(n_platforms, sizeof(*platforms));
    if (!platforms) {
        rc = weft_err_nomem(err, "OpenCL platforms", n_platforms * sizeof(*platforms));
        goto out;
    }
    if (clGetPlatformIDs(n_platforms, platforms, NULL)) {
        rc = no_device(err, "no OpenCL platform");
        goto out;
    }
    for (cl_uint p = 0; p < n_platforms; p++) {
        cl_uint n = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 0, NULL, &n) || !n)
            continue;
        mem_free(devices);
        devices = mem_calloc(n, sizeof(*devices));
        if (!devices || mem_grow(&list->items, &list->cap, list->n + n, sizeof *list->items)) {
            rc = weft_err_nomem(err, "OpenCL devices", n * sizeof *list->items);
            goto out;
        }
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, n, devices, NULL))
            continue;
        for (cl_uint d = 0; d < n; d++) {
            struct found *f = &list->items[list->n++];
            *f = (struct found){.platform = platforms[p], .device = devices[d]};
            describe(f->platform, f->device, &f->info);
        }
    }
    if (!list->n)
        rc = no_device(err, "the OpenCL platforms have no device");
out:
    mem_free(devices);
    mem_free(platforms);
    return rc;
}

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

/* How good a device is where nothing was selected: 0 is none. */
static int automatic_rank(const struct exec_cl_device *d)
{
    if (!d->usable)
        return 0;
    return strcmp(d->type, "cpu") == 0 ? 2 : 1;
}

/* Marks the device for `selection` as chosen and says why; NULL when there is none. */
static struct found *choose(struct found_list *list, const char *selection)
{
    struct found *best = NULL;
    if (!selection || !*selection || strcmp(selection, "auto") == 0) {
        for (size_t i = 0; i < list->n; i++)
            if (automatic_rank(&list->items[i].info) > (best ? automatic_rank(&best->info) : 0))
                best = &list->items[i];
        if (best)
            snprintf(best->info.why, sizeof best->info.why, "the first usable %s", best->info.type);
    } else if (strspn(selection, "0123456789") == strlen(selection)) {
        unsigned long i = strtoul(selection, NULL, 10);
        if (i < list->n && list->items[i].info.usable) {
            best = &list->items[i];
            snprintf(best->info.why, sizeof best->info.why, "selected by its number, %lu", i);
        }
    } else {
        for (size_t i = 0; i < list->n && !best; i++) {
            struct exec_cl_device *d = &list->items[i].info;
            if (d->usable && (contains(d->name, selection) || contains(d->platform, selection))) {
                best = &list->items[i];
                snprintf(d->why, sizeof d->why, "the first whose name has \"%.100s\"", selection);
            }
        }
    }
    if (best)
        best->info.chosen = true;
    return best;
}

enum weft_rc devices_choose(const char *selection, cl_platform_id *platform, cl_device_id *device,
                            struct exec_cl_device *info, struct weft_err *err)
{
    struct found_list list = {0};
    enum weft_rc rc = find_all(&list, err);
    if (rc)
        goto out;
    const struct found *f = choose(&list, selection);
    if (!f) {
        char why[256];
        snprintf(why, sizeof why, "none of %zu OpenCL devices is usable and matches \"%.100s\"", list.n,
                 selection ? selection : "auto");
        rc = no_device(err, why);
        goto out;
    }
    *platform = f->platform;
    *device = f->device;
    *info = f->info;
out:
    mem_free(list.items);
    return rc;
}

cl_device_id devices_part(cl_device_id device, uint32_t n, struct exec_cl_device *info)
{
    if (!n || n >= info->compute_units || strcmp(info->type, "cpu") != 0)
        return NULL;
    const cl_device_partition_property counts[] = {CL_DEVICE_PARTITION_BY_COUNTS,
                                                   (cl_device_partition_property)n,
                                                   CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
    cl_device_id part = NULL;
    cl_int e = clCreateSubDevices(device, counts, 1, &part, NULL);
    if (e || !part) {
        log_msg(LOG_WARN, "device.threads: %s can't be parted (%s): all of its %u cores are used", info->name,
                ocl_error_name(e), (unsigned)info->compute_units);
        return NULL;
    }
    info->compute_units = n;
    return part;
}

enum weft_rc exec_cl_devices(const char *selection, struct exec_cl_device **out, unsigned *n,
                             struct weft_err *err)
{
    struct found_list list = {0};
    *out = NULL;
    *n = 0;
    enum weft_rc rc = find_all(&list, err);
    if (rc)
        goto out;
    choose(&list, selection);
    *out = mem_calloc(list.n, sizeof **out);
    if (!*out) {
        rc = weft_err_nomem(err, "device list", list.n * sizeof **out);
        goto out;
    }
    *n = (unsigned)list.n;
    for (size_t i = 0; i < list.n; i++)
        (*out)[i] = list.items[i].info;
out:
    mem_free(list.items);
    return rc;
}
