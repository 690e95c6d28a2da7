/* weft generate: one request, or a batch of them, on the real engine. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "src/cli_engine.h"
#include "src/cli_request.h"
#include "src/cli_result.h"

/* ---- one request ---- */

/* What was streamed of it so far. */
struct single {
    const struct cli *cli;
    struct cli_text *text; /* NULL with --json */
    size_t n_written;      /* bytes of the reply */
};

static enum weft_rc write_tokens(const struct engine_event *ev, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    for (uint32_t i = 0; i < ev->n_tokens && rc == WEFT_OK; i++)
        rc = cli_print_json(cli_token_json(ev, i), err);
    return rc;
}

static enum weft_rc on_tokens(struct single *s, const struct engine_event *ev, struct weft_err *err)
{
    if (!s->text)
        return write_tokens(ev, err);
    s->n_written += ev->text_len;
    return cli_text_write(s->text, ev->text, ev->text_len, err);
}

/* For people: on standard error, so that the text stands alone. */
static void print_summary(const struct cli *cli, const struct engine_event *ev)
{
    if (cli->opt.quiet || cli->opt.json || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "[%u prompt tokens, %u generated", ev->n_prompt, ev->n_tokens);
    if (isfinite(ev->timing.ttft_ms))
        fprintf(stderr, ", first after %.0f ms", ev->timing.ttft_ms);
    if (isfinite(ev->timing.decode_tps) && ev->n_tokens > 1)
        fprintf(stderr, ", %.1f tok/s", ev->timing.decode_tps);
    fprintf(stderr, ", %s]\n", finish_reason_name(ev->reason));
}

static enum weft_rc on_finish(struct single *s, struct cli *cli, const struct engine_event *ev,
                              struct weft_err *err)
{
    enum weft_rc rc;
    if (s->text) {
        size_t rest = ev->text_len > s->n_written ? ev->text_len - s->n_written : 0;
        rc = cli_text_write(s->text, ev->text + (ev->text_len - rest), rest, err);
        enum weft_rc closed = cli_text_close(s->text, true, rc ? NULL : err);
        s->text = NULL;
        rc = rc ? rc : closed;
        print_summary(cli, ev);
    } else {
        rc = cli_print_json(cli_result_json(ev, cli->opt.logprobs > 0, NULL), err);
    }
    if (rc == WEFT_OK && (ev->reason == FINISH_ERROR || ev->reason == FINISH_TIMEOUT)) {
        rc = ev->error.code ? ev->error.code : WEFT_INTERNAL_ERROR;
        cli->error_in_out = cli->opt.json;
        if (err)
            *err = ev->error;
    }
    return rc;
}

/* Dispatches one event. *ended: there will be no other. */
static enum weft_rc on_event(struct single *s, struct cli *cli, const struct engine_event *ev, bool *ended,
                             struct weft_err *err)
{
    switch (ev->type) {
    case ENGINE_TOKENS: return on_tokens(s, ev, err);
    case ENGINE_FINISH: *ended = true; return on_finish(s, cli, ev, err);
    case ENGINE_REJECT:
        *ended = true;
        if (err)
            *err = ev->error;
        return ev->error.code;
    case ENGINE_STATE:
    case ENGINE_ADMIT: break;
    }
    return WEFT_OK;
}

static enum weft_rc serve_single(struct cli *cli, struct cli_engine *ce, struct cli_request *r,
                                 struct weft_err *err)
{
    struct single s = {.cli = cli};
    char id[REQ_ID_MAX];
    bool ended = false, gave_up = false, cancelled = false;
    enum weft_rc rc = cli->opt.json ? WEFT_OK : cli_text_open(&s.text, err);
    if (rc == WEFT_OK)
        rc = engine_check(&r->rq, err); /* before the wait for what can't be right */
    if (rc == WEFT_OK)
        rc = cli_engine_wait_ready(ce, err);
    if (rc == WEFT_OK)
        rc = engine_submit(ce->engine, ce->inbox, &r->rq, id, err);
    while (rc == WEFT_OK && !ended && !gave_up) {
        struct engine_event *ev, *next;
        rc = cli_engine_wait(ce, &ev, &gave_up, err);
        for (; ev; ev = next) {
            next = ev->next;
            if (rc == WEFT_OK)
                rc = on_event(&s, cli, ev, &ended, err);
            engine_event_free(ev);
        }
        if (ce->signal && !cancelled) {
            engine_cancel(ce->engine, id);
            cancelled = true;
        }
    }
    cli_text_close(s.text, s.n_written > 0, NULL);
    return rc;
}

static enum weft_rc run_single(struct cli *cli, struct weft_err *err)
{
    struct cli_request r;
    struct cli_engine ce = {.signal_fd = -1};
    enum weft_rc rc = cli_request_from_options(cli, &r, err);
    if (rc == WEFT_OK) {
        r.rq.stream = cli->opt.stream || (!cli->opt.json && isatty(STDOUT_FILENO));
        rc = cli_engine_start(cli, NULL, &ce, err);
        ce.leave_loading = true;
    }
    if (rc == WEFT_OK)
        rc = serve_single(cli, &ce, &r, err);
    if (rc == WEFT_OK && ce.signal)
        cli->status = CLI_SIGNALLED + ce.signal;
    cli_engine_stop(&ce);
    cli_request_deinit(&r);
    return rc;
}

/* ---- a batch ---- */

struct batch {
    struct cli *cli;
    struct cli_engine ce;
    struct cli_requests requests;
    size_t next;      /* to be submitted */
    size_t n_open;    /* submitted and not ended */
    size_t n_waiting; /* submitted and not yet admitted: what the queue's depth counts, or a little more */
    bool some_failed;
};

static enum weft_rc print_bad_line(struct batch *b, const struct cli_request *r, struct weft_err *err)
{
    struct weft_err stamped = r->error;
    stamped.timestamp_ms = clock_unix_ms();
    b->some_failed = true;
    json_t *line = json_object();
    if (*r->id)
        json_object_set_new(line, "id", cli_json_text(r->id, strlen(r->id)));
    json_object_set_new(line, "error", weft_err_json(&stamped));
    return cli_print_json(line, err);
}

/* Submits as many as the queue takes. This process is the engine's only client, so a queue that holds less
 * than max_depth by our count, which is never behind, can't refuse. */
static enum weft_rc submit_more(struct batch *b, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    while (rc == WEFT_OK && !b->ce.signal && b->next < b->requests.n &&
           b->n_waiting < (size_t)b->cli->cfg.queue.max_depth) {
        struct cli_request *r = &b->requests.item[b->next++];
        if (r->error.code == WEFT_OK &&
            engine_submit(b->ce.engine, b->ce.inbox, &r->rq, NULL, &r->error) == WEFT_OK) {
            r->submitted = true;
            b->n_open++;
            b->n_waiting++;
            continue;
        }
        if (r->error.n_context && strcmp(r->error.context[r->error.n_context - 1].key, "line") != 0)
            weft_err_num(&r->error, "line", r->line);
        rc = print_bad_line(b, r, err);
    }
    return rc;
}

static enum weft_rc on_batch_end(struct batch *b, struct cli_request *r, const struct engine_event *ev,
                                 struct weft_err *err)
{
    struct weft_err why = ev->error;
    if (why.code == WEFT_INVALID_REQUEST)
        weft_err_num(&why, "line", r->line);
    if (why.code)
        b->some_failed = true;
    r->ended = true;
    b->n_open--;
    return cli_print_json(cli_result_json(ev, r->rq.n_logprobs > 0, &why), err);
}

static enum weft_rc on_batch_event(struct batch *b, const struct engine_event *ev, struct weft_err *err)
{
    if (ev->tag == 0 || ev->tag > b->requests.n)
        return WEFT_OK;
    struct cli_request *r = &b->requests.item[ev->tag - 1];
    if (ev->type != ENGINE_TOKENS && !r->admitted) {
        r->admitted = true; /* or it ended without: it waits no longer */
        b->n_waiting--;
    }
    if (ev->type == ENGINE_FINISH || ev->type == ENGINE_REJECT)
        return on_batch_end(b, r, ev, err);
    return ev->type == ENGINE_TOKENS ? write_tokens(ev, err) : WEFT_OK;
}

static void cancel_all(struct batch *b)
{
    for (size_t i = 0; i < b->next; i++)
        if (b->requests.item[i].submitted && !b->requests.item[i].ended)
            engine_cancel(b->ce.engine, b->requests.item[i].id);
}

static enum weft_rc serve_batch(struct batch *b, struct weft_err *err)
{
    bool gave_up = false, cancelled = false;
    enum weft_rc rc = cli_engine_wait_ready(&b->ce, err);
    if (rc == WEFT_OK)
        rc = submit_more(b, err);
    while (rc == WEFT_OK && b->n_open > 0 && !gave_up) {
        struct engine_event *ev, *next;
        rc = cli_engine_wait(&b->ce, &ev, &gave_up, err);
        for (; ev; ev = next) {
            next = ev->next;
            if (rc == WEFT_OK)
                rc = on_batch_event(b, ev, err);
            engine_event_free(ev);
        }
        if (b->ce.signal && !cancelled) {
            cancel_all(b);
            cancelled = true;
        }
        if (rc == WEFT_OK)
            rc = submit_more(b, err);
    }
    return rc;
}

static enum weft_rc run_batch(struct cli *cli, struct weft_err *err)
{
    struct batch b = {.cli = cli, .ce = {.signal_fd = -1}};
    enum weft_rc rc;
    if (cli->opt.prompt || cli->opt.chat || cli->opt.ids || cli->operands.n)
        return weft_err_set(err, WEFT_USAGE, "--batch doesn't go with -p, --chat, --ids or -");
    rc = cli_requests_read(cli, cli->opt.batch, &b.requests, err);
    if (rc == WEFT_OK)
        rc = cli_engine_start(cli, NULL, &b.ce, err);
    b.ce.leave_loading = true;
    if (rc == WEFT_OK)
        rc = serve_batch(&b, err);
    if (rc == WEFT_OK)
        cli->status = b.ce.signal ? CLI_SIGNALLED + b.ce.signal : b.some_failed ? CLI_SOME_FAILED : CLI_DONE;
    cli_engine_stop(&b.ce);
    cli_requests_free(&b.requests);
    return rc;
}

static enum weft_rc run_generate(struct cli *cli, struct weft_err *err)
{
    return cli->opt.batch ? run_batch(cli, err) : run_single(cli, err);
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_TEXT("prompt", 'p', prompt, "TEXT", "continue TEXT"),
    CLI_TEXT("chat", 0, chat, "FILE", "answer the conversation in FILE, a JSON array of {\"role\",\"content\"}"),
    CLI_TEXT("ids", 0, ids, "1,2,3", "continue these tokens"),
    CLI_TEXT("batch", 0, batch, "FILE", "many requests, one JSON object a line; results come one a line as they end"),
    CLI_KEY("max-tokens", 'n', "sampling.max_tokens", "N", "most tokens to generate"),
    CLI_KEY("temp", 0, "sampling.temperature", "X", "temperature; 0: always the likeliest token"),
    CLI_KEY("top-k", 0, "sampling.top_k", "N", "sample from the N likeliest tokens; 0: all"),
    CLI_KEY("top-p", 0, "sampling.top_p", "X", "sample from the likeliest tokens that hold probability X; 1: off"),
    CLI_KEY("min-p", 0, "sampling.min_p", "X", "leave out tokens less likely than X times the likeliest; 0: off"),
    CLI_KEY("repeat-penalty", 0, "sampling.repeat_penalty", "X", "discourage repetition; 1: off"),
    CLI_KEY("seed", 0, "sampling.seed", "N", "seed; -1: another one each time"),
    CLI_TEXTS("stop", 0, stop, "TEXT", "end before TEXT appears; repeatable"),
    CLI_FLAG("ignore-eos", 0, ignore_eos, "go on after an end-of-generation token"),
    CLI_FLAG("stream", 0, stream, "print tokens as they are made; always so on a terminal without --json"),
    CLI_UINT("logprobs", 0, logprobs, "K", 0, SAMPLER_LOGPROBS_MAX, "with --json: the K likeliest tokens of each step"),
    CLI_TEXT("priority", 0, priority, "WORD", "critical, high, normal or low; else high, and normal when streaming"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_generate = {
    .name = "generate",
    .operands = "[-]",
    .max_operands = 1,
    .summary =
        "Generate text from a prompt, a conversation or token ids; or from a file of many requests at once.",
    .details = "A lone - reads the prompt from standard input. Files may be - too.",
    .options = options,
    .run = run_generate,
};
