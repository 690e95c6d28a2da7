/*
 * Kernel programs: put together from the embedded sources, built for a device, and kept on disk.
 *
 * A cache file's name is a hash of everything that the binary depends on: source, options, device, driver and
 * platform versions, and the format below. It holds a header (magic, that hash, length, checksum) and the
 * runtime's binary. Whatever doesn't fit (a foreign owner, wrong permissions, a wrong byte, a binary that the
 * runtime refuses) means that the program is built from source and the file written anew; a cache that can't
 * be written is logged and does no harm.
 *
 * Errors: INTERNAL_ERROR with the runtime's build log in the message.
 */
#ifndef WEFT_EXEC_PROGRAM_H
#define WEFT_EXEC_PROGRAM_H

#include "engine/exec/ocl.h"

enum { PROGRAM_PARTS_MAX = 40 };

/* What a program is made of, in order: "#…" is taken as it stands, anything else is an embedded file's name.
 */
struct program_spec {
    const char *name;                         /* for messages */
    const char *parts[PROGRAM_PARTS_MAX + 1]; /* NULL-terminated */
    char options[256];
};

struct program {
    cl_program program;
    char key[17];    /* hexadecimal: the cache file's name without its suffix */
    bool from_cache; /* the binary came from disk */
};

/* Builds or loads. dir_fd: from kernel_cache_open, -1: no cache. */
enum weft_rc program_open(struct ocl *o, const struct program_spec *spec, int dir_fd, struct program *out,
                          struct weft_err *err);
/* Writes the binary to the cache unless it came from there. Best after the kernels' first use. Failure is
 * only logged. */
void program_keep(struct program *p, int dir_fd);
void program_close(struct program *p); /* zeroed struct allowed */

/* `function` must outlive the kernel; `label` names it in profiles. */
enum weft_rc program_kernel(const struct program *p, const char *function, const char *label,
                            struct ocl_kernel *out, struct weft_err *err);
void program_kernel_free(struct ocl_kernel *k);

#endif
