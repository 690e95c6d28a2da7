#include "engine/exec/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/parallel.h"

/* Launched over this much of nothing: as in the executor, nothing is read beyond the first rows. */
enum { SCRATCH_BYTES = 4 << 20 };

/* A process of its own in every respect but its memory: signals as by default, no output, no longer than its parent. */
static void become_child(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM, SIGINT, SIGHUP};
    sigset_t none;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_close();
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
}

static void build(const char *selection, struct ops_shape shape)
{
    struct ocl o;
    struct ops ops;
    struct ocl_buf scratch;
    for (int p = DOT_VNNI; shape.int8 && p >= DOT_PLAIN; p--) {
        shape.dot = (enum dot_path)p;
        if (dot_path_supported(shape.dot))
            break;
    }
    if (ocl_open(selection, 0, false, &o, NULL) || !ocl_is_pocl_cpu(&o) ||
        ops_create(&o, &shape, -1, NULL, NULL, &ops, NULL) ||
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

void builder_begin(const char *selection, const struct ops_shape *shape, struct builder *out)
{
    *out = (struct builder){0};
    if (parallel_processors() < 2)
        return;
    pid_t child = fork();
    if (child == 0) {
        become_child();
        build(selection, *shape);
        _exit(0);
    }
    if (child > 0)
        out->child = child;
    else
        log_msg(LOG_INFO, "kernels are built on one core: %s", strerror(errno));
}

void builder_end(struct builder *b)
{
    if (b->child) {
        kill(b->child, SIGKILL);
        while (waitpid(b->child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *b = (struct builder){0};
}
