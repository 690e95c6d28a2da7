/*
 * How coded products are summed on this device. In int8 (kernels/dot.clh): by AMX with VNNI for what is left over, by VNNI,
 * by AVX-512BW, or in plain OpenCL C. In bf16 (kernels/tile_bf16.cl): by AMX, or in plain OpenCL C.
 *
 * All but the last go beyond the target that PoCL compiles for, and a compiler that can't do it may end the process. So
 * they are tried in a child process, where they must also give the plain way's bits; the verdict is kept in the cache
 * directory. Anything that isn't PoCL on an x86 processor with these features takes the plain way.
 */
#ifndef WEFT_EXEC_DOT_H
#define WEFT_EXEC_DOT_H

#include "engine/exec/ocl.h"
#include "engine/exec/precision.h"

enum dot_path { DOT_PLAIN, DOT_MADDUBS, DOT_VNNI, DOT_AMX }; /* the better, the later */

const char *dot_path_define(enum dot_path p); /* the line for a program's source */

/* Whether the processor has the instructions, and the system lets this process use them. DOT_PLAIN always is; fp32 has no
 * other. */
bool dot_path_supported(enum precision precision, enum dot_path p);
/* The best of them. */
enum dot_path dot_path_best(enum precision precision);

/* True when products summed this way have the plain way's bits, on random matrices of each quantised type. */
bool dot_path_agrees(struct ocl *o, enum precision precision, enum dot_path p);

/* The best way for the device that `selection` names. Must run before this process's first OpenCL call where no verdict
 * is kept (it forks). dir_fd: the cache directory, or -1. */
enum dot_path dot_path_choose(const char *selection, enum precision precision, int dir_fd);

#endif
