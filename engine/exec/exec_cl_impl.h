/* The inside of exec_cl, for its own files (exec_cl.c, peaks.c). */
#ifndef WEFT_EXEC_EXEC_CL_IMPL_H
#define WEFT_EXEC_EXEC_CL_IMPL_H

#include "engine/exec/crew.h"
#include "engine/exec/exec_cl.h"
#include "engine/exec/tuner.h"

/* A step with no more single-token sequences than this spreads their attention over work-items. */
enum { EXEC_CL_SPLIT_JOBS = 16 };

/* Everything that a lost device takes with it. */
struct on_device {
    struct ocl ocl;
    struct ops ops;
    struct weights weights;
    struct ocl_buf kv;
    struct forward forward;
    struct crew crew;     /* its kernel is NULL where there is none */
    struct tuner *tuner;  /* NULL once it has nothing left to find out */
    float *mapped_logits; /* the last step's, or NULL */
};

struct exec_cl {
    struct exec base;
    const struct model *model;
    struct exec_cl_config cfg; /* its strings are ours: below */
    char *device_name, *cache_dir;
    bool automatic; /* the precision isn't settled: the best that is fast on the device */
    struct ops_shape shape;
    struct on_device device;
    struct batch batch;
    struct exec_row *rows; /* max_logits of them */
    char *park;            /* n_park_slots × block_bytes */
    struct exec_cl_profile_row profile[OCL_PROFILE_MAX];
};

#endif
