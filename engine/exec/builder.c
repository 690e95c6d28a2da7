#include "engine/exec/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/embed.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/parallel.h"
#include "engine/exec/child.h"

/* Launched over this much of nothing: as in the executor, nothing is read beyond the first rows. */
enum { SCRATCH_BYTES = 4 << 20 };

static void build(const char *selection, struct ops_shape shape)
{
    struct ocl o;
    struct ops ops;
    struct ocl_buf scratch;
    shape.dot = dot_path_best(shape.precision);
    if (ocl_open(selection, 0, EXEC_CL_PROFILE_OFF, &o, NULL) || !ocl_is_pocl_cpu(&o) ||
        ops_create(&o, &shape, -1, &ops, NULL) ||
        ocl_buf_create(&o, SCRATCH_BYTES, "scratch", &scratch, NULL))
        return;
    o.prime_from = SIZE_MAX; /* only counts the launches */
    if (ops_prime(&ops, &scratch, NULL))
        return;
    const size_t n = o.n_primed;
    for (o.prime_from = n / 2;; o.prime_from = 0) {
        o.n_primed = 0;
        if (ops_prime(&ops, &scratch, NULL) || !o.prime_from)
            return;
    }
}

/* What the built kernels depend on, as far as this process can know it before it uses OpenCL. */
static void note_name(const char *selection, const struct ops_shape *s, char out[32])
{
    const uint32_t numbers[] = {s->n_head,       s->n_head_kv, s->head_dim,
                                s->block_tokens, s->precision, s->layer_type};
    uint64_t h = fnv1a64(FNV1A64_INIT, selection, strlen(selection) + 1);
    for (const struct weft_embedded *f = weft_embedded_kernels; f->name; f++)
        h = fnv1a64(h, f->data, f->size);
    h = fnv1a64(h, numbers, sizeof numbers);
    h = fnv1a64(h, &s->types, sizeof s->types);
    h = fnv1a64(h, &s->end_types, sizeof s->end_types);
    snprintf(out, 32, "%016" PRIx64 ".built", mix64(h));
}

void builder_begin(const char *selection, const struct ops_shape *shape, int dir_fd, struct builder *out)
{
    *out = (struct builder){.dir_fd = dir_fd};
    note_name(selection, shape, out->note);
    if (faccessat(dir_fd, out->note, F_OK, 0) == 0)
        out->note[0] = 0;
    if (!out->note[0] || parallel_processors() < 2)
        return;
    pid_t child = fork();
    if (child == 0) {
        child_begin(0);
        build(selection, *shape);
        _exit(0);
    }
    if (child > 0)
        out->child = child;
    else
        log_msg(LOG_INFO, "kernels are built on one core: %s", strerror(errno));
}

void builder_end(struct builder *b, bool built)
{
    if (b->child) {
        kill(b->child, SIGKILL);
        while (waitpid(b->child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (built && b->note[0]) {
        int fd = openat(b->dir_fd, b->note, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    *b = (struct builder){0};
}
