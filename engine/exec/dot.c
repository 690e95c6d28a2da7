#include "engine/exec/dot.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "engine/base/buf.h"
#include "engine/base/embed.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/exec/child.h"
#include "engine/exec/kernel_cache.h"

static const struct {
    const char *name, *define;
} paths[] = {
    [DOT_PLAIN] = {"plain", "#define DOT_PLAIN"},
    [DOT_MADDUBS] = {"maddubs", "#define DOT_MADDUBS"},
    [DOT_VNNI] = {"vnni", "#define DOT_VNNI"},
    [DOT_AMX] = {"amx", "#define DOT_AMX\n#define DOT_VNNI"},
};

const char *dot_path_define(enum dot_path p)
{
    return paths[p].define;
}

/* Tile registers are asked of the system, once a process: Linux saves 8 KiB more for each thread that uses them. */
static bool tiles_permitted(enum precision precision)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    unsigned a, b, c, features;
    __cpuid_count(7, 0, a, b, c, features);
    const unsigned wanted =
        1u << 24 | 1u << (precision == PRECISION_BF16 ? 22 : 25); /* tiles; their bf16 or int8 */
    return (features & wanted) == wanted && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    (void)precision;
    return false;
#endif
}

bool dot_path_supported(enum precision precision, enum dot_path p)
{
    if (p == DOT_PLAIN)
        return true;
    if (precision == PRECISION_FP32 || (precision == PRECISION_BF16 && p != DOT_AMX))
        return false;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl");
    return wide && (p < DOT_VNNI || __builtin_cpu_supports("avx512vnni")) &&
           (p < DOT_AMX || tiles_permitted(precision));
#else
    return false;
#endif
}

enum dot_path dot_path_best(enum precision precision)
{
    int p = DOT_AMX;
    while (!dot_path_supported(precision, (enum dot_path)p))
        p--;
    return (enum dot_path)p;
}

/* In the child: 0 when the way works here. Noise of a compiler that gives up goes nowhere. */
static int try_path(const char *selection, enum precision precision, enum dot_path p)
{
    enum { PATIENCE_S = 60 };
    struct ocl o;
    child_begin(PATIENCE_S);
    if (ocl_open(selection, 0, EXEC_CL_PROFILE_OFF, &o, NULL) || !ocl_is_pocl_cpu(&o))
        return 1;
    return dot_path_agrees(&o, precision, p) ? 0 : 1;
}

enum answer { NO, YES, UNKNOWN };

/* UNKNOWN where the child ran out of time or there was none: nothing to remember. */
static enum answer ask_child(const char *selection, enum precision precision, enum dot_path p)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(try_path(selection, precision, p));
    if (child < 0)
        return UNKNOWN;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return UNKNOWN;
    if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL))
        return UNKNOWN;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? YES : NO;
}

/* The verdict's file: its name says what it depends on. */
static void verdict_name(const char *selection, enum precision precision, char out[32])
{
    static const char *const sources[] = {
        "common.clh", "weights.clh",  "dot.clh",           "tile_i8.cl",   "tile_amx.cl",
        "matmul.cl",  "bf16.clh",     "quantize.cl",       "tile_bf16.cl", "weights_bf16.clh",
        "round.cl",   "code_rows.cl", "amx.clh",           "bytes.clh",    "attention.clh",
        "rope.cl",    "attention.cl", "attention_codes.cl"};
    uint64_t h = FNV1A64_INIT;
    h = fnv1a64(h, selection, strlen(selection) + 1);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const struct weft_embedded *f = weft_embedded_find(weft_embedded_kernels, sources[i]);
        if (f)
            h = fnv1a64(h, f->data, f->size);
    }
    for (unsigned p = DOT_PLAIN; p <= DOT_AMX; p++)
        h = fnv1a64_u32(h, dot_path_supported(precision, (enum dot_path)p));
    h = fnv1a64_u32(h, precision);
    snprintf(out, 32, "%016llx.dot", (unsigned long long)mix64(h));
}

static bool read_verdict(int dir_fd, const char *name, enum precision precision, enum dot_path *out)
{
    enum { VERDICT_MAX = 16 };
    struct buf text = BUF_INIT;
    bool found = false;
    const bool read = kernel_cache_get(dir_fd, name, VERDICT_MAX, &text);
    for (unsigned p = DOT_PLAIN; read && !found && p <= DOT_AMX; p++) {
        found = strcmp(buf_str(&text), paths[p].name) == 0 && dot_path_supported(precision, (enum dot_path)p);
        if (found)
            *out = (enum dot_path)p;
    }
    buf_free(&text);
    return found;
}

/* The verdict of this process, plus 1; 0: none yet. A fact of the machine, and not to be asked for twice: a child of a
 * process that has used OpenCL lacks the runtime's threads and would only run into its time limit. */
static atomic_int remembered[PRECISIONS];

enum dot_path dot_path_choose(const char *selection, enum precision precision, int dir_fd)
{
    char name[32];
    enum dot_path best = DOT_PLAIN;
    bool certain = true;
    const int before = atomic_load(&remembered[precision]);
    if (before)
        return (enum dot_path)(before - 1);
    verdict_name(selection, precision, name);
    if (dir_fd < 0 || !read_verdict(dir_fd, name, precision, &best)) {
        for (int p = DOT_AMX; p > DOT_PLAIN && best == DOT_PLAIN; p--) {
            const enum dot_path way = (enum dot_path)p;
            enum answer a = dot_path_supported(precision, way) ? ask_child(selection, precision, way) : NO;
            certain = certain && a != UNKNOWN;
            if (a == YES)
                best = (enum dot_path)p;
        }
        if (dir_fd >= 0 && certain)
            kernel_cache_put(dir_fd, name, paths[best].name, strlen(paths[best].name));
    }
    log_msg(LOG_INFO, "%s products are summed by %s", precision_name(precision), paths[best].name);
    atomic_store(&remembered[precision], (int)best + 1);
    return best;
}
