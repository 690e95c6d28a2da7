/*
 * weft bench: how fast this model is on this device, by the real engine's own steps.
 *
 * A batch of B requests is handed over while the engine is frozen, so that all start at once. A step's length
 * is from its start to the start of the next, so what the engine does between steps (sampling, scheduling)
 * counts. Prefill figures come from the steps that only prefill, decode figures from those that decode all B
 * and prefill nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "src/bench_compare.h"
#include "src/bench_report.h"
#include "src/cli_engine.h"

enum { LIST_MAX = 32, BATCH_LIMIT = 1024, TOKENS_LIMIT = 1 << 20, WARM_TOKENS = 8, PROMPT_SEED = 1 };

struct numbers {
    uint32_t item[LIST_MAX];
    size_t n;
};

struct bench {
    struct cli *cli;
    struct cli_engine ce;
    struct bench_log log;
    struct numbers batches, prompts;
    struct bench_cost cost;
    struct bench_row rows[LIST_MAX * LIST_MAX];
    size_t n_rows;
    struct rng rng;
};

/* ---- what is asked for ---- */

static enum weft_rc parse_numbers(const char *option, const char *text, const char *what, uint32_t limit,
                                  struct numbers *out, struct weft_err *err)
{
    uint32_t *values = NULL;
    size_t n = 0;
    bool fine = cli_parse_ids(text, &values, &n, NULL) == WEFT_OK && n > 0 && n <= LIST_MAX;
    for (size_t i = 0; fine && i < n; i++)
        fine = values[i] >= 1 && values[i] <= limit;
    if (fine) {
        memcpy(out->item, values, n * sizeof *values);
        out->n = n;
    }
    mem_free(values);
    return fine ? WEFT_OK
                : weft_err_set(err, WEFT_USAGE, "--%s: \"%s\" is not a list of 1 … %d %s in 1 … %u", option,
                               text, LIST_MAX, what, limit);
}

static uint32_t largest(const struct numbers *numbers)
{
    uint32_t most = 0;
    for (size_t i = 0; i < numbers->n; i++)
        most = numbers->item[i] > most ? numbers->item[i] : most;
    return most;
}

/* Room for the largest batch, and nothing that would make one run help another. */
static void configure(struct bench *b)
{
    struct weft_config *cfg = &b->cli->cfg;
    int64_t streams = largest(&b->batches);
    int64_t tokens = (int64_t)largest(&b->prompts) + b->cli->opt.gen_tokens;
    cfg->scheduler.max_batch_size = streams;
    if (cfg->scheduler.max_batch_tokens < streams)
        cfg->scheduler.max_batch_tokens = streams;
    if (cfg->queue.max_depth < streams)
        cfg->queue.max_depth = streams;
    cfg->kv.blocks = streams * ((tokens + cfg->kv.block_tokens - 1) / cfg->kv.block_tokens + 1);
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

static enum weft_rc submit_all(struct bench *b, uint32_t n_ids, uint32_t n, struct weft_err *err)
{
    const struct model *model = engine_model(b->ce.engine);
    uint32_t *ids = mem_calloc(n_ids, sizeof *ids);
    if (!ids)
        return weft_err_nomem(err, "bench", n_ids * sizeof *ids);
    enum weft_rc rc = WEFT_OK;
    for (uint32_t r = 0; r < n && rc == WEFT_OK; r++) {
        for (uint32_t i = 0; i < n_ids; i++)
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

static enum weft_rc run_row(struct bench *b, uint32_t prompt, uint32_t n, struct weft_err *err)
{
    engine_freeze(b->ce.engine, true);
    enum weft_rc rc = submit_all(b, prompt, n, err);
    bench_log_begin(&b->log, n);
    engine_freeze(b->ce.engine, false);
    if (rc == WEFT_OK)
        rc = wait_all(b, n, err);
    if (rc || b->ce.signal)
        return rc;
    struct bench_row *row = &b->rows[b->n_rows++];
    *row = (struct bench_row){.prompt = prompt, .gen = b->cli->opt.gen_tokens, .batch = n};
    return bench_log_take(&b->log, &row->record, err);
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
    return rc;
}

/* The higher of those measured before and after row i, each. */
static struct exec_cl_peaks peaks_around(const struct bench_log *log, size_t i)
{
    const struct exec_cl_peaks *before = &log->peaks[i];
    const struct exec_cl_peaks *after = i + 1 < log->n_peaks ? before + 1 : before;
    return (struct exec_cl_peaks){.fma_gflops = fmax(before->fma_gflops, after->fma_gflops),
                                  .int8_gops = fmax(before->int8_gops, after->int8_gops),
                                  .bf16_gflops = fmax(before->bf16_gflops, after->bf16_gflops),
                                  .read_gbs = fmax(before->read_gbs, after->read_gbs)};
}

static enum weft_rc print(struct bench *b, struct weft_err *err)
{
    struct bench_report report = {.device = b->log.info.device,
                                  .model = b->log.model,
                                  .precision = b->log.info.precision,
                                  .profile = b->cli->opt.profile,
                                  .cost = b->cost,
                                  .rows = b->rows,
                                  .n_rows = b->n_rows};
    for (size_t i = 0; i < b->n_rows; i++)
        b->rows[i].peaks = peaks_around(&b->log, i);
    if (b->cli->opt.json)
        return cli_print_json(bench_report_json(&report), err);
    bench_report_print(&report);
    return WEFT_OK;
}

static enum weft_rc run_rows(struct bench *b, struct weft_err *err)
{
    enum weft_rc rc = warm_up(b, err);
    b->cost = bench_cost_of(engine_model(b->ce.engine), &b->log.info);
    for (size_t p = 0; p < b->prompts.n; p++)
        for (size_t i = 0; i < b->batches.n && rc == WEFT_OK && !b->ce.signal; i++)
            rc = run_row(b, b->prompts.item[p], b->batches.item[i], err);
    if (rc == WEFT_OK && !b->ce.signal)
        bench_log_end(&b->log);
    return rc;
}

static enum weft_rc measure(struct bench *b, struct weft_err *err)
{
    struct cli *cli = b->cli;
    struct engine_setup_options setup = {.profile = cli->opt.profile ? EXEC_CL_PROFILE_KERNELS
                                                                     : EXEC_CL_PROFILE_LAUNCHES,
                                         .loaded = bench_exec_wrap,
                                         .ctx = &b->log};
    enum weft_rc rc = parse_numbers("batch", cli->opt.batch ? cli->opt.batch : "1,4,8,16,32", "batch sizes",
                                    BATCH_LIMIT, &b->batches, err);
    if (rc == WEFT_OK)
        rc = parse_numbers("prompt", cli->opt.prompts ? cli->opt.prompts : "128", "lengths", TOKENS_LIMIT,
                           &b->prompts, err);
    if (rc)
        return rc;
    rng_seed(&b->rng, PROMPT_SEED);
    bench_log_init(&b->log);
    configure(b);
    rc = cli_engine_start(cli, &setup, &b->ce, err);
    if (rc == WEFT_OK)
        rc = run_rows(b, err);
    if (b->ce.signal)
        cli->status = CLI_SIGNALLED + b->ce.signal;
    cli_engine_stop(&b->ce); /* the last peaks come when the executor goes */
    if (rc == WEFT_OK)
        rc = print(b, err);
    for (size_t i = 0; i < b->n_rows; i++)
        bench_record_free(&b->rows[i].record);
    bench_log_deinit(&b->log);
    return rc;
}

static enum weft_rc run_bench(struct cli *cli, struct weft_err *err)
{
    if (cli->opt.compare)
        return bench_compare(cli, err);
    struct bench *b = mem_calloc(1, sizeof *b);
    if (!b)
        return weft_err_nomem(err, "bench", sizeof *b);
    b->cli = cli;
    b->ce.signal_fd = -1;
    enum weft_rc rc = measure(b, err);
    mem_free(b);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_TEXT("batch", 0, batch, "1,4,8", "batch sizes to measure; 1,4,8,16,32 if not given"),
    CLI_TEXT("prompt", 0, prompts, "128,4096", "tokens of each prompt, one run for each; 128 if not given"),
    CLI_UINT("gen", 0, gen_tokens, "N", 2, TOKENS_LIMIT, "tokens to generate; 64 if not given"),
    CLI_FLAG("profile", 0, profile, "also the time of each kernel, which costs some speed"),
    CLI_FLAG("compare", 0, compare, "instead: weft and its peers side by side, where they are installed"),
    CLI_UINT("rounds", 0, rounds, "N", 1, 1000, "(--compare) times that each is measured; 5 if not given"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_bench = {
    .name = "bench",
    .operands = "",
    .summary = "Measure the speed of this model on this device.",
    .details = "For each prompt length and batch size: prefill and decode in tokens a second, the length of "
               "a decode step, "
               "what fraction of this device's own roofline (its peaks, measured just before and after the "
               "row) and of its "
               "read bandwidth it reaches, how much of it passes outside kernels, and what longer prompts "
               "leave of the "
               "rate with the shortest. Prompts are random and distinct, the prefix cache is off, tokens are "
               "sampled as "
               "in a chat.\n\n"
               "With --compare, OpenVINO GenAI and llama.cpp do the same work on the same file; "
               "tests/bench/peers.py --setup installs them.",
    .options = options,
    .run = run_bench,
};
