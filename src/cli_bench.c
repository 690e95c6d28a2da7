/*
 * weft bench: how fast this model is on this device, by the real engine's own steps.
 *
 * A batch of B requests is handed over while the engine is frozen, so that all start at once. A step's length
 * is from its start to the start of the next, so what the engine does between steps (sampling, scheduling)
 * counts. Prefill figures come from the steps that only prefill, decode figures from those that decode all B
 * and prefill nothing.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/bench_exec.h"
#include "src/cli_engine.h"

enum { BATCHES_MAX = 32, BATCH_LIMIT = 1024, TOKENS_LIMIT = 1 << 20, WARM_TOKENS = 8, PROMPT_SEED = 1 };

struct row {
    uint32_t batch;
    double prefill_tps, decode_tps, step_ms, roofline;
};

struct bench {
    struct cli *cli;
    struct cli_engine ce;
    struct bench_log log;
    uint32_t batches[BATCHES_MAX];
    size_t n_batches;
    struct row rows[BATCHES_MAX];
    size_t n_rows;
    struct rng rng;
};

/* ---- what is asked for ---- */

static enum weft_rc parse_batches(struct bench *b, const char *text, struct weft_err *err)
{
    uint32_t *sizes = NULL;
    size_t n = 0;
    bool fine = cli_parse_ids(text, &sizes, &n, NULL) == WEFT_OK && n > 0 && n <= BATCHES_MAX;
    for (size_t i = 0; fine && i < n; i++)
        fine = sizes[i] >= 1 && sizes[i] <= BATCH_LIMIT;
    if (fine) {
        memcpy(b->batches, sizes, n * sizeof *sizes);
        b->n_batches = n;
    }
    mem_free(sizes);
    return fine ? WEFT_OK
                : weft_err_set(err, WEFT_USAGE,
                               "--batch: \"%s\" is not a list of 1 … %d batch sizes in 1 … %d", text,
                               BATCHES_MAX, BATCH_LIMIT);
}

/* Room for the largest batch, and nothing that would make one run help another. */
static void configure(struct bench *b)
{
    struct weft_config *cfg = &b->cli->cfg;
    int64_t largest = 1;
    for (size_t i = 0; i < b->n_batches; i++)
        largest = b->batches[i] > largest ? b->batches[i] : largest;
    int64_t tokens = (int64_t)b->cli->opt.prompt_tokens + b->cli->opt.gen_tokens;
    cfg->scheduler.max_batch_size = largest;
    if (cfg->scheduler.max_batch_tokens < largest)
        cfg->scheduler.max_batch_tokens = largest;
    if (cfg->queue.max_depth < largest)
        cfg->queue.max_depth = largest;
    cfg->kv.blocks = largest * ((tokens + cfg->kv.block_tokens - 1) / cfg->kv.block_tokens + 1);
    cfg->kv.prefix_cache = false;
    cfg->batching.enabled = true;
    cfg->batching.min_batch_size = 1;
    cfg->scheduler.itl_target_ms = 0;
}

/* A token that stands for text: no control token, nothing that ends a generation. */
static uint32_t random_id(struct bench *b, const struct tok *tok)
{
    uint32_t id;
    do
        id = (uint32_t)rng_below(&b->rng, tok_n_vocab(tok));
    while (tok_is_control(tok, id) || tok_is_eog(tok, id));
    return id;
}

/* ---- running ---- */

static enum weft_rc submit_all(struct bench *b, uint32_t n, struct weft_err *err)
{
    const struct model *model = engine_model(b->ce.engine);
    size_t n_ids = b->cli->opt.prompt_tokens;
    uint32_t *ids = mem_calloc(n_ids, sizeof *ids);
    if (!ids)
        return weft_err_nomem(err, "bench", n_ids * sizeof *ids);
    enum weft_rc rc = WEFT_OK;
    for (uint32_t r = 0; r < n && rc == WEFT_OK; r++) {
        for (size_t i = 0; i < n_ids; i++)
            ids[i] = random_id(b, model->tok);
        struct engine_request rq = {
            .ids = ids,
            .n_ids = n_ids,
            .max_tokens = b->cli->opt.gen_tokens,
            .ignore_eos = true,
            .sampling = engine_setup_sampling(&b->cli->cfg),
            .tag = r + 1,
        };
        rc = engine_submit(b->ce.engine, b->ce.inbox, &rq, NULL, err);
    }
    mem_free(ids);
    return rc;
}

static enum weft_rc wait_all(struct bench *b, uint32_t n, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    bool gave_up = false;
    for (uint32_t ended = 0; ended < n && rc == WEFT_OK && !b->ce.signal;) {
        struct engine_event *ev, *next;
        rc = cli_engine_wait(&b->ce, &ev, &gave_up, err);
        for (; ev; ev = next) {
            next = ev->next;
            bool end = ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT;
            if (end && ev->error.code && rc == WEFT_OK) {
                rc = ev->error.code;
                if (err)
                    *err = ev->error;
            }
            ended += end;
            engine_event_free(ev);
        }
    }
    return rc;
}

/* The least time that a decode step of n sequences could take: the weights and the context's KV read once at
 * the measured bandwidth, or its multiplications at the measured peak (Williams, Waterman and Patterson
 * 2009). */
static double floor_s(const struct bench *b, uint32_t n)
{
    const struct model *m = engine_model(b->ce.engine);
    const struct model_shape *s = &m->shape;
    double weights = 0, bytes = 0;
    for (uint64_t i = 0; i < m->file->n_tensors; i++) {
        const struct gguf_tensor *t = &m->file->tensors[i];
        if (t->n_dims < 2 || (t == m->token_embd && m->output != m->token_embd))
            continue;
        weights += (double)t->dim[0] * (double)t->dim[1];
        bytes += (double)t->size;
    }
    double context = b->cli->opt.prompt_tokens + 0.5 * b->cli->opt.gen_tokens;
    double kv = context * s->n_layer * s->n_head_kv * s->head_dim * 2;
    double operations = 2 * weights + 4 * context * s->n_layer * s->n_head * s->head_dim;
    bool int8 = strcmp(b->log.info.precision, "int8") == 0 && b->log.peaks.int8_gops > 0;
    double peak = (int8 ? b->log.peaks.int8_gops : b->log.peaks.fma_gflops) * 1e9;
    double compute_s = n * operations / peak;
    double read_s = (bytes + n * kv * sizeof(float)) / (b->log.peaks.read_gbs * 1e9);
    return compute_s > read_s ? compute_s : read_s;
}

static struct row measure(struct bench *b, uint32_t n)
{
    struct bench_step *steps = NULL;
    size_t n_steps = bench_log_take(&b->log, &steps), n_full = 0;
    double prefill_us = 0, decode_us = 0, prefill_tokens = 0;
    for (size_t i = 0; i < n_steps; i++) {
        const struct bench_step *s = &steps[i];
        double us = (double)((i + 1 < n_steps ? steps[i + 1].start_us : s->end_us) - s->start_us);
        if (s->n_decodes == 0) {
            prefill_us += us;
            prefill_tokens += s->n_prefill_tokens;
        } else if (s->n_prefill_tokens == 0 && s->n_decodes == n) {
            decode_us += us;
            n_full++;
        }
    }
    mem_free(steps);
    double step_s = decode_us / 1e6 / (double)n_full;
    return (struct row){.batch = n,
                        .prefill_tps = prefill_tokens / prefill_us * 1e6,
                        .decode_tps = n / step_s,
                        .step_ms = step_s * 1e3,
                        .roofline = floor_s(b, n) / step_s};
}

static enum weft_rc run_row(struct bench *b, uint32_t n, struct weft_err *err)
{
    engine_freeze(b->ce.engine, true);
    enum weft_rc rc = submit_all(b, n, err);
    engine_freeze(b->ce.engine, false);
    if (rc == WEFT_OK)
        rc = wait_all(b, n, err);
    if (rc == WEFT_OK && !b->ce.signal)
        b->rows[b->n_rows++] = measure(b, n);
    return rc;
}

/* One request first: loading, and whatever the first steps of a process cost, stay out of the figures. */
static enum weft_rc warm_up(struct bench *b, struct weft_err *err)
{
    struct engine_request rq = {.prompt = "Once upon a time",
                                .prompt_len = 16,
                                .max_tokens = WARM_TOKENS,
                                .sampling = engine_setup_sampling(&b->cli->cfg),
                                .tag = 1};
    struct engine_event *end = NULL;
    enum weft_rc rc = cli_engine_ask(&b->ce, &rq, &end, err);
    if (end)
        engine_event_free(end);
    struct bench_step *steps = NULL;
    bench_log_take(&b->log, &steps);
    mem_free(steps);
    pthread_mutex_lock(&b->log.lock);
    b->log.drop_profile = true;
    pthread_mutex_unlock(&b->log.lock);
    return rc;
}

/* ---- printing ---- */

static enum weft_rc print_json(const struct bench *b, struct weft_err *err)
{
    const struct exec_cl_peaks *p = &b->log.peaks;
    json_t *rows = json_array();
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *r = &b->rows[i];
        json_array_append_new(rows, json_pack("{s:I, s:o, s:o, s:o, s:o}", "batch", (json_int_t)r->batch,
                                              "prefill_tps", cli_json_number(r->prefill_tps), "decode_tps",
                                              cli_json_number(r->decode_tps), "step_ms",
                                              cli_json_number(r->step_ms), "roofline",
                                              cli_json_number(r->roofline)));
    }
    json_t *out =
        json_pack("{s:o, s:o, s:s, s:{s:o, s:o, s:o}, s:o}", "device",
                  cli_json_text(b->log.info.device, strlen(b->log.info.device)), "model",
                  cli_json_text(b->log.model, strlen(b->log.model)), "precision", b->log.info.precision,
                  "peaks", "fma_gflops", cli_json_number(p->fma_gflops), "int8_gops",
                  cli_json_number(p->int8_gops), "read_gbs", cli_json_number(p->read_gbs), "rows", rows);
    if (out && b->cli->opt.profile) {
        json_t *kernels = json_array();
        for (unsigned i = 0; i < b->log.n_kernels; i++)
            json_array_append_new(kernels, json_pack("{s:s, s:I, s:o}", "kernel", b->log.kernels[i].name,
                                                     "calls", (json_int_t)b->log.kernels[i].calls, "total_ms",
                                                     cli_json_number(b->log.kernels[i].total_us / 1e3)));
        json_object_set_new(out, "profile", kernels);
    }
    return cli_print_json(out, err);
}

static void print_table(const struct bench *b)
{
    const struct exec_cl_peaks *p = &b->log.peaks;
    printf("device     %s\nmodel      %s, %s\n", b->log.info.device, b->log.model, b->log.info.precision);
    printf("peaks      FMA %.0f GFLOP/s, int8 %.0f Gop/s, read %.1f GB/s\n\n", p->fma_gflops, p->int8_gops,
           p->read_gbs);
    printf("%5s %14s %14s %9s %9s\n", "batch", "prefill tok/s", "decode tok/s", "step ms", "roofline");
    for (size_t i = 0; i < b->n_rows; i++) {
        const struct row *r = &b->rows[i];
        printf("%5u %14.1f %14.1f %9.2f %7.0f %%\n", r->batch, r->prefill_tps, r->decode_tps, r->step_ms,
               100 * r->roofline);
    }
}

static int by_time(const void *a, const void *b)
{
    double x = ((const struct bench_kernel *)a)->total_us, y = ((const struct bench_kernel *)b)->total_us;
    return (x < y) - (x > y);
}

static void print_profile(struct bench *b)
{
    double total = 0;
    for (unsigned i = 0; i < b->log.n_kernels; i++)
        total += b->log.kernels[i].total_us;
    if (b->log.n_kernels)
        qsort(b->log.kernels, b->log.n_kernels, sizeof *b->log.kernels, by_time);
    printf("\n%-28s %9s %12s %9s %7s\n", "kernel", "calls", "total ms", "µs/call", "share");
    for (unsigned i = 0; i < b->log.n_kernels; i++) {
        const struct bench_kernel *k = &b->log.kernels[i];
        printf("%-28s %9llu %12.1f %9.1f %5.1f %%\n", k->name, (unsigned long long)k->calls,
               k->total_us / 1e3, k->total_us / (k->calls ? (double)k->calls : 1), 100 * k->total_us / total);
    }
}

static enum weft_rc print(struct bench *b, struct weft_err *err)
{
    if (b->cli->opt.json)
        return print_json(b, err);
    print_table(b);
    if (b->cli->opt.profile)
        print_profile(b);
    return WEFT_OK;
}

static enum weft_rc run_bench(struct cli *cli, struct weft_err *err)
{
    struct bench b = {.cli = cli, .ce = {.signal_fd = -1}};
    struct engine_setup_options setup = {
        .profile = cli->opt.profile, .loaded = bench_exec_wrap, .ctx = &b.log};
    enum weft_rc rc = parse_batches(&b, cli->opt.batch ? cli->opt.batch : "1,4,8,16,32", err);
    if (rc)
        return rc;
    rng_seed(&b.rng, PROMPT_SEED);
    bench_log_init(&b.log);
    configure(&b);
    rc = cli_engine_start(cli, &setup, &b.ce, err);
    if (rc == WEFT_OK)
        rc = warm_up(&b, err);
    for (size_t i = 0; i < b.n_batches && rc == WEFT_OK && !b.ce.signal; i++)
        rc = run_row(&b, b.batches[i], err);
    if (b.ce.signal)
        cli->status = CLI_SIGNALLED + b.ce.signal;
    cli_engine_stop(&b.ce); /* the kernels' times come when the executor goes */
    if (rc == WEFT_OK)
        rc = print(&b, err);
    bench_log_deinit(&b.log);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_TEXT("batch", 0, batch, "1,4,8", "batch sizes to measure; 1,4,8,16,32 if not given"),
    CLI_UINT("prompt", 0, prompt_tokens, "N", 1, TOKENS_LIMIT, "tokens of each prompt; 128 if not given"),
    CLI_UINT("gen", 0, gen_tokens, "N", 2, TOKENS_LIMIT, "tokens to generate; 64 if not given"),
    CLI_FLAG("profile", 0, profile, "also the time of each kernel, which costs some speed"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_bench = {
    .name = "bench",
    .operands = "",
    .summary = "Measure the speed of this model on this device.",
    .details =
        "For each batch size: prefill and decode in tokens a second, the length of a decode step, and what "
        "fraction "
        "of this device's own roofline (its peaks, measured in the same run) a decode step reaches. Prompts "
        "are random and distinct, the prefix cache is off, tokens are sampled as in a chat.",
    .options = options,
    .run = run_bench,
};
