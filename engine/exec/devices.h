/* The OpenCL devices of this machine, and which one weft takes. */
#ifndef WEFT_EXEC_DEVICES_H
#define WEFT_EXEC_DEVICES_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "engine/base/err.h"
#include "engine/exec/exec_cl.h"

/*
 * Finds the device for `selection`: an index into the list of all devices, part of a device's or platform's
 * name (any case), or "auto": the first usable CPU, for which the kernels are laid out and measured, else the
 * first usable. NO_DEVICE when there is none, with the package to install in the context's hint.
 */
enum weft_rc devices_choose(const char *selection, cl_platform_id *platform, cl_device_id *device,
                            struct exec_cl_device *info, struct weft_err *err);

/*
 * The part of a CPU that has n of its cores (a sub-device: the caller releases it), with info->compute_units set to n. NULL
 * when that is the whole: for n = 0, n not below the number of cores, another kind of device, or a runtime that doesn't
 * part devices (logged).
 */
cl_device_id devices_part(cl_device_id device, uint32_t n, struct exec_cl_device *info);

#endif
