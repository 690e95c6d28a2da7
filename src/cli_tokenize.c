/* weft tokenize and detokenize: text ↔ token ids, from the file's tokenizer keys alone. */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"
#include "src/cli.h"
#include "src/models.h"

enum { INPUT_LIMIT = 256 << 20 };

/* Opens the tokenizer of the first configured model. */
static enum weft_rc open_tokenizer(const struct weft_config *cfg, struct tok **out, struct weft_err *err)
{
    struct buf path = BUF_INIT;
    struct gguf *file = NULL;
    enum weft_rc rc = models_resolve(cfg->model.path.item[0], &path, err);
    if (rc == WEFT_OK)
        rc = gguf_open(buf_str(&path), &file, err);
    if (rc == WEFT_OK)
        rc = tok_create(file, out, err);
    gguf_close(file);
    buf_free(&path);
    return rc;
}

/* The text of -f FILE, else standard input. */
static enum weft_rc read_input(const struct cli *cli, struct buf *text, struct weft_err *err)
{
    return cli_read(cli->opt.file ? cli->opt.file : "-", INPUT_LIMIT, text, err);
}

/* Written by hand: a JSON value for each of a million ids would take a hundred times the memory. */
static enum weft_rc print_ids(const struct tok_ids *ids, struct weft_err *err)
{
    putchar('[');
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%u", i ? "," : "", ids->id[i]);
    fputs("]\n", stdout);
    return cli_flush(err);
}

static enum weft_rc run_tokenize(struct cli *cli, struct weft_err *err)
{
    struct tok *tok = NULL;
    struct tok_ids ids = {.n = 0};
    struct buf text = BUF_INIT;
    enum weft_rc rc = open_tokenizer(&cli->cfg, &tok, err);
    if (rc == WEFT_OK)
        rc = read_input(cli, &text, err);
    if (rc == WEFT_OK)
        rc = tok_encode(tok, buf_str(&text), text.len, cli->opt.special ? TOK_SPECIAL : TOK_PLAIN, NULL, &ids,
                        err);
    if (rc == WEFT_OK)
        rc = print_ids(&ids, err);
    tok_ids_free(&ids);
    tok_destroy(tok);
    buf_free(&text);
    return rc;
}

static enum weft_rc run_detokenize(struct cli *cli, struct weft_err *err)
{
    struct tok *tok = NULL;
    uint32_t *ids = NULL;
    size_t n = 0;
    struct buf text = BUF_INIT, bytes = BUF_INIT;
    enum weft_rc rc = open_tokenizer(&cli->cfg, &tok, err);
    if (rc == WEFT_OK)
        rc = read_input(cli, &text, err);
    if (rc == WEFT_OK)
        rc = cli_parse_ids(buf_str(&text), &ids, &n, err);
    if (rc == WEFT_OK)
        rc = tok_decode(tok, ids, n, &bytes, err);
    if (rc == WEFT_OK)
        rc = cli_text_print(buf_str(&bytes), bytes.len, err);
    mem_free(ids);
    tok_destroy(tok);
    buf_free(&text);
    buf_free(&bytes);
    return rc;
}

/* clang-format off */
static const struct opt_spec tokenize_options[] = {
    CLI_TEXT("file", 'f', file, "FILE", "read FILE instead of standard input"),
    CLI_FLAG("special", 0, special, "recognise special tokens in the text"),
    CLI_END,
};
static const struct opt_spec detokenize_options[] = {
    CLI_TEXT("file", 'f', file, "FILE", "read FILE instead of standard input"),
    CLI_END,
};
/* clang-format on */

const struct cli_verb cli_tokenize = {
    .name = "tokenize",
    .operands = "",
    .summary = "Turn text into a JSON array of token ids; no BOS is added.",
    .details = "Only the tokenizer keys of the model file are read.",
    .options = tokenize_options,
    .run = run_tokenize,
};

const struct cli_verb cli_detokenize = {
    .name = "detokenize",
    .operands = "",
    .summary = "Turn an array of token ids back into the bytes they stand for.",
    .details = "",
    .options = detokenize_options,
    .run = run_detokenize,
};
