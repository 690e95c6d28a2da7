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
#include "engine/exec/ops.h"
#include "engine/exec/tiles.h"

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

/* The self-check's matrices: three groups of rows, more blocks than a panel of tile_amx.cl, tokens for tiles of all sizes. */
enum { CHECK_ROWS = 48, CHECK_INPUTS = 832, CHECK_TOKENS = 45, CHECK_BLOCK_MAX = 34 };

struct check {
    struct ocl *o;
    enum precision precision;
    struct matrix m;
    struct ocl_buf x, xq, factors, y;
};

/* The products of a way by its widest tiles, then by its others. */
struct products {
    float y[2][CHECK_TOKENS * CHECK_ROWS];
};

static bool check_multiply(struct check *c, enum dot_path p, struct products *out)
{
    const struct ops_shape shape = {.n_layer = 1,
                                    .n_head = 1,
                                    .n_head_kv = 1,
                                    .head_dim = 16,
                                    .block_tokens = 16,
                                    .types = (uint64_t)1 << c->m.type,
                                    .layer_type = QUANT_TYPE_LIMIT,
                                    .precision = c->precision,
                                    .dot = p};
    struct ops ops;
    if (ops_create(c->o, &shape, -1, &ops, NULL))
        return false;
    static const uint32_t tiles[2] = {TILES_AMX, TILES_NO_AMX};
    const struct rows x = {&c->x, CHECK_INPUTS, 0}, y = {&c->y, CHECK_ROWS, 0};
    bool good = !ops_quantize(&ops, x, c->m.n_blocks, &c->xq, &c->factors, CHECK_TOKENS, NULL);
    for (unsigned i = 0; i < 2 && good; i++)
        good =
            !ops_matmul_coded(&ops, &c->m, &c->xq, &c->factors, y, CHECK_TOKENS, OPS_STORE, tiles[i], NULL) &&
            !ocl_read(c->o, &c->y, 0, out->y[i], sizeof out->y[i], NULL) && !ocl_finish(c->o, NULL);
    ops_destroy(&ops);
    return good;
}

static bool check_type(struct ocl *o, enum precision precision, enum dot_path p, enum quant_type type)
{
    static const size_t rows = CHECK_TOKENS + 3 + OPS_SPARE_ROWS;
    const struct quant_info *q = quant_info(type);
    uint8_t weights[CHECK_ROWS * CHECK_INPUTS / 32 * CHECK_BLOCK_MAX];
    float x[CHECK_TOKENS * CHECK_INPUTS];
    struct products plain, wide;
    struct check c = {.o = o, .precision = precision};
    struct rng r;
    rng_seed(&r, type);
    for (size_t i = 0; i < sizeof weights; i++)
        weights[i] = (uint8_t)rng_u64(&r);
    for (size_t i = 0; i < sizeof weights; i += q->block_bytes) { /* scales of moderate size */
        const uint16_t d = quant_f32_to_f16((float)rng_unit(&r) + 0.5f),
                       m = quant_f32_to_f16(-(float)rng_unit(&r));
        memcpy(weights + i, &d, sizeof d);
        if (type == QUANT_Q4_1 && i + 4 <= sizeof weights)
            memcpy(weights + i + 2, &m, sizeof m);
        if (i + 2 * q->block_bytes > sizeof weights)
            break;
    }
    for (size_t i = 0; i < CHECK_TOKENS * CHECK_INPUTS; i++)
        x[i] = i % 7 == 0 ? 1.0f : (float)(rng_unit(&r) * 2 - 1); /* with many largest codes */
    const struct gguf_tensor t = {.name_z = "self-check",
                                  .type = type,
                                  .n_dims = 2,
                                  .dim = {CHECK_INPUTS, CHECK_ROWS, 1, 1},
                                  .data = weights,
                                  .size = sizeof weights};
    const struct gguf_tensor *part = &t;
    bool good =
        !matrix_create(o, &part, 1, "self-check", &c.m, NULL) &&
        !ocl_buf_create(o, rows * CHECK_INPUTS * sizeof(float), "self-check", &c.x, NULL) &&
        !ocl_buf_create(o, rows * CHECK_INPUTS * ops_code_bytes(precision), "self-check", &c.xq, NULL) &&
        !ocl_buf_create(o, rows * CHECK_INPUTS / 32 * 8, "self-check", &c.factors, NULL) &&
        !ocl_buf_create(o, rows * CHECK_ROWS * sizeof(float), "self-check", &c.y, NULL) &&
        !ocl_write(o, &c.x, 0, x, sizeof x, NULL) && check_multiply(&c, DOT_PLAIN, &plain) &&
        check_multiply(&c, p, &wide) && memcmp(&plain, &wide, sizeof plain) == 0;
    ocl_finish(o, NULL);
    ocl_buf_free(o, &c.x);
    ocl_buf_free(o, &c.xq);
    ocl_buf_free(o, &c.factors);
    ocl_buf_free(o, &c.y);
    matrix_free(o, &c.m);
    return good;
}

bool dot_path_agrees(struct ocl *o, enum precision precision, enum dot_path p)
{
    static const enum quant_type quantised[] = {QUANT_Q4_0, QUANT_Q4_1, QUANT_Q8_0};
    bool good = true;
    for (size_t i = 0; i < sizeof quantised / sizeof *quantised && good; i++)
        good = check_type(o, precision, p, quantised[i]);
    return good;
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
    static const char *const sources[] = {"common.clh",   "weights.clh",      "dot.clh",  "tile_i8.cl",
                                          "tile_amx.cl",  "matmul.cl",        "bf16.clh", "quantize.cl",
                                          "tile_bf16.cl", "weights_bf16.clh", "round.cl", "code_rows.cl",
                                          "amx.clh"};
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
