/*
 * A weight matrix on the device, in the layout of repack.h, and its way there from a file.
 *
 * Loading is cut in three, so that the middle can use all processors: matrix_begin makes and maps the buffers
 * (OpenCL, one thread), matrix_pack reads and packs (no OpenCL, many threads), matrix_end unmaps. The file is read in
 * pieces of some 64 KB, so that neither it nor a whole tensor is ever in memory besides its packed form.
 *
 * Errors: MODEL_LOAD_FAILED where a weight or scale isn't finite (context path, field, value, limit); FILE_INVALID where
 * the file has become shorter; INTERNAL_ERROR from OpenCL.
 */
#ifndef WEFT_EXEC_MATRIX_H
#define WEFT_EXEC_MATRIX_H

#include "engine/exec/ocl.h"
#include "engine/exec/repack.h"

enum { MATRIX_PARTS_MAX = 3 };

/* Several tensors of one type and one number of inputs, one below the other. */
struct matrix {
    enum quant_type type;
    uint32_t n_parts;
    uint32_t row_at[MATRIX_PARTS_MAX]; /* first row of each part: a multiple of 16 */
    uint32_t n_groups, n_blocks;       /* rows and inputs, in 16s and 32s */
    struct ocl_buf weights, scales;    /* the device's; `scales` is `weights` again for types without */
    bool has_scales;
};

/* True when the tensors can be parts of one matrix. */
bool matrix_joinable(const struct gguf_tensor *const *parts, unsigned n);
/* All three steps, for tensors whose data are in memory. `path` is only named in messages. On failure *out is zeroed. */
enum weft_rc matrix_create(struct ocl *o, const struct gguf_tensor *const *parts, unsigned n,
                           const char *path, struct matrix *out, struct weft_err *err);
void matrix_free(struct ocl *o, struct matrix *m); /* zeroed struct allowed */

/* A matrix between begin and end. */
struct matrix_job {
    struct matrix m;
    struct matrix *out; /* where it goes */
    const struct gguf_tensor *part[MATRIX_PARTS_MAX];
    uint8_t *weights, *scales; /* its buffers, mapped */
};

/* *out is zeroed until the end. The job must be ended, also when this fails. */
enum weft_rc matrix_begin(struct ocl *o, const struct gguf_tensor *const *parts, unsigned n, const char *path,
                          struct matrix *out, struct matrix_job *job, struct weft_err *err);
/* Packs n jobs with up to n_threads threads, this one among them. `file` is the tensors'; NULL when their data are in
 * memory. Of several failures the one that stands first is told. */
enum weft_rc matrix_pack(const struct gguf *file, const char *path, const struct matrix_job *jobs, unsigned n,
                         unsigned n_threads, struct weft_err *err);
/* Hands the matrix over, or frees it when `good` is false or unmapping fails. */
enum weft_rc matrix_end(struct ocl *o, struct matrix_job *job, bool good, struct weft_err *err);

#endif
