/*
 * The forward pass alone: the default model's decode steps by number of streams and context, and prompts, in both
 * precisions. Milliseconds are the median of repeated steps; `busy` is processor time over what two or more cores could
 * have given, so that a rate can be judged on a machine that others use too.
 *
 *   bench_forward [MODEL.gguf] [fp32|int8] [STREAMS CONTEXT]      STREAMS 0: prompts of CONTEXT tokens
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/exec/exec_cl.h"

enum { STREAMS_MAX = 32, CONTEXT_MAX = 4096 + 64, BLOCK = 16, CHUNK = 256, REPEATS = 48 };

static uint32_t ids[CONTEXT_MAX];
static uint32_t tables[STREAMS_MAX][CONTEXT_MAX / BLOCK + 1];

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void die(const struct weft_err *err)
{
    fprintf(stderr, "bench_forward: %s\n", err->message);
    exit(1);
}

/* One step of n streams, `take` tokens each from position pos. */
static void step(struct exec *x, uint32_t n, uint32_t pos, uint32_t take, bool logits)
{
    static uint64_t number;
    struct plan_item items[STREAMS_MAX];
    struct exec_out out;
    struct weft_err err = {0};
    for (uint32_t i = 0; i < n; i++)
        items[i] = (struct plan_item){.tokens = ids + pos,
                                      .n_tokens = take,
                                      .pos = pos,
                                      .blocks = tables[i],
                                      .n_blocks = (pos + take - 1) / BLOCK + 1,
                                      .n_logits = logits,
                                      .prefill = take > 1};
    const struct plan plan = {.step = ++number, .items = items, .n_items = n};
    if (exec_step(x, &plan, &out, &err))
        die(&err);
}

static void report(const char *what, uint32_t n, uint32_t context, double *ms, int count, double cpu,
                   uint32_t tokens)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += ms[i];
    qsort(ms, (size_t)count, sizeof *ms, by_size);
    printf("%-8s %7u %8u %10.3f %10.1f %8.1f %8.0f %%\n", what, n, context, ms[count / 2],
           tokens / ms[count / 2] * 1e3, ms[0], 100 * cpu / sum / (double)sysconf(_SC_NPROCESSORS_ONLN));
}

/* Gives every block a context of its own: of KV that was never written, the system may keep one page for all. */
static void fill_blocks(struct exec *x)
{
    for (uint32_t b = 0; b < CONTEXT_MAX / BLOCK + 1; b++)
        tables[0][b] = b % x->info.n_blocks;
    step(x, 1, 0, BLOCK, false);
    for (uint32_t b = 1; b < x->info.n_blocks; b++) {
        struct plan_copy copy = {.src = 0, .dst = b};
        const struct plan plan = {.step = 1, .copies = &copy, .n_copies = 1};
        struct exec_out out;
        struct weft_err err = {0};
        if (exec_step(x, &plan, &out, &err))
            die(&err);
    }
}

static void decode(struct exec *x, uint32_t n, uint32_t context)
{
    double ms[REPEATS];
    for (uint32_t i = 0; i < STREAMS_MAX; i++)
        for (uint32_t b = 0; b < CONTEXT_MAX / BLOCK + 1; b++)
            tables[i][b] = (i * (context / BLOCK + 4) + b) % x->info.n_blocks;
    for (uint32_t i = 0; i < 3; i++)
        step(x, n, context + i, 1, true);
    const double cpu = cpu_ms();
    for (int i = 0; i < REPEATS; i++) {
        const int64_t start = clock_now_us();
        step(x, n, context + 3 + (uint32_t)i, 1, true);
        ms[i] = (double)(clock_now_us() - start) / 1e3;
    }
    report("decode", n, context, ms, REPEATS, cpu_ms() - cpu, n);
}

static void prompt(struct exec *x, uint32_t n, uint32_t tokens)
{
    double ms[REPEATS];
    const double cpu = cpu_ms();
    for (int i = 0; i < REPEATS; i++) {
        const int64_t start = clock_now_us();
        step(x, n, 0, tokens, true);
        ms[i] = (double)(clock_now_us() - start) / 1e3;
    }
    report("prompt", n, tokens, ms, REPEATS, cpu_ms() - cpu, n * tokens);
}

int main(int argc, char **argv)
{
    char path[512];
    const char *home = getenv("HOME");
    const char *name = argc > 1 ? argv[1] : path;
    const char *precisions[] = {argc > 2 ? argv[2] : "int8", argc > 2 ? NULL : "fp32"};
    struct weft_err err = {0};
    struct model *model;
    struct rng r;
    snprintf(path, sizeof path, "%s/.local/share/weft/models/SmolLM2-135M-Instruct.Q4_1.gguf",
             home ? home : "");
    if (model_open(name, &model, &err))
        die(&err);
    rng_seed(&r, 1);
    for (size_t i = 0; i < CONTEXT_MAX; i++)
        ids[i] = (uint32_t)rng_below(&r, 40000);
    for (int p = 0; p < 2 && precisions[p]; p++) {
        const struct exec_cl_config cfg = {.device = "auto",
                                           .precision = precisions[p],
                                           .cache_dir = TEST_BINARY_DIR "/kernel-cache",
                                           .block_tokens = BLOCK,
                                           .kv_bytes = (uint64_t)1600 << 20,
                                           .max_tokens = CHUNK,
                                           .max_seqs = STREAMS_MAX,
                                           .max_logits = STREAMS_MAX};
        struct exec *x;
        if (exec_cl_create(model, &cfg, &x, &err))
            die(&err);
        printf("%s on %s\n%-8s %7s %8s %10s %10s %8s %10s\n", x->info.precision, x->info.device, "",
               "streams", "context", "ms", "tok/s", "best ms", "busy");
        fill_blocks(x);
        if (argc > 4) {
            const uint32_t n = (uint32_t)atoi(argv[3]), context = (uint32_t)atoi(argv[4]);
            if (n)
                decode(x, n, context);
            else
                prompt(x, CHUNK / context, context);
            exec_destroy(x);
            continue;
        }
        static const uint32_t streams[] = {1, 4, 8, 16, 32};
        for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
            decode(x, streams[i], 128);
        decode(x, 1, 4096);
        decode(x, 8, 4096);
        prompt(x, 1, 128);
        prompt(x, 2, 128);
        exec_destroy(x);
    }
    model_close(model);
    return 0;
}
