/* weft score: how likely a text is, token by token. */
#include <math.h>
#include <stdio.h>

#include "engine/base/mem.h"
#include "src/cli_engine.h"

enum { TEXT_LIMIT = 64 << 20 };

static enum weft_rc print_score(const struct cli *cli, const struct engine_event *ev, struct weft_err *err)
{
    uint32_t n = ev->n_prompt - 1;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += ev->nll[i];
    double mean = sum / n;
    if (!cli->opt.json) {
        printf("tokens      %u\nmean nll    %.6f\nperplexity  %.4f\n", ev->n_prompt, mean, exp(mean));
        return WEFT_OK;
    }
    json_t *ids = json_array(), *nll = json_array();
    for (uint32_t i = 0; i < ev->n_prompt; i++)
        json_array_append_new(ids, json_integer(ev->prompt_ids[i]));
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(nll, cli_json_number(ev->nll[i]));
    return cli_print_json(json_pack("{s:o, s:o, s:o, s:o}", "ids", ids, "nll", nll, "mean_nll",
                                    cli_json_number(mean), "perplexity", cli_json_number(exp(mean))),
                          err);
}

static enum weft_rc read_text(const struct cli *cli, struct buf *text, uint32_t **ids,
                              struct engine_request *rq, struct weft_err *err)
{
    if (cli->opt.ids && cli->opt.file)
        return weft_err_set(err, WEFT_USAGE, "--ids and -f don't go together");
    if (cli->opt.ids) {
        enum weft_rc rc = cli_parse_ids(cli->opt.ids, ids, &rq->n_ids, err);
        rq->ids = *ids;
        return rc;
    }
    enum weft_rc rc = cli_read(cli->opt.file ? cli->opt.file : "-", TEXT_LIMIT, text, err);
    rq->prompt = buf_str(text);
    rq->prompt_len = text->len;
    return rc;
}

static enum weft_rc refuse_short(uint32_t n, struct weft_err *err)
{
    weft_err_set(err, WEFT_INVALID_REQUEST, "a text of %u token has nothing to score; at least 2 are needed",
                 n);
    weft_err_str(err, "field", "ids");
    weft_err_num(err, "value", n);
    weft_err_num(err, "limit", 2);
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc run_score(struct cli *cli, struct weft_err *err)
{
    struct engine_request rq = {.score = true, .tag = 1, .sampling = SAMPLING_DEFAULT};
    struct engine_setup_options setup = {.all_logits = true};
    struct cli_engine ce = {.signal_fd = -1};
    struct engine_event *end = NULL;
    struct buf text = BUF_INIT;
    uint32_t *ids = NULL;
    enum weft_rc rc = read_text(cli, &text, &ids, &rq, err);
    if (rc == WEFT_OK)
        rc = cli_engine_start(cli, &setup, &ce, err);
    ce.leave_loading = true;
    if (rc == WEFT_OK)
        rc = cli_engine_ask(&ce, &rq, &end, err);
    if (rc == WEFT_OK && ce.signal) {
        cli->status = CLI_SIGNALLED + ce.signal;
    } else if (rc == WEFT_OK && end->error.code) {
        rc = end->error.code;
        if (err)
            *err = end->error;
    } else if (rc == WEFT_OK) {
        rc = end->n_prompt < 2 ? refuse_short(end->n_prompt, err) : print_score(cli, end, err);
    }
    if (end)
        engine_event_free(end);
    cli_engine_stop(&ce);
    mem_free(ids);
    buf_free(&text);
    return rc;
}

/* clang-format off */
static const struct opt_spec options[] = {
    CLI_TEXT("ids", 0, ids, "1,2,3", "score these tokens"),
    CLI_TEXT("file", 'f', file, "FILE", "score the text of FILE instead of standard input's"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_score = {
    .name = "score",
    .operands = "",
    .summary =
        "Measure how likely a text is: negative log-likelihood of each token after the first, in nats.",
    .details = "",
    .options = options,
    .run = run_score,
};
