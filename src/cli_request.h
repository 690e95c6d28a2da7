/*
 * Requests as the command line takes them: from options, or from a line of a batch. Strings and arrays are
 * borrowed from what they were read from (argv, a JSON value), which the struct keeps alive where it owns it.
 */
#ifndef WEFT_CLI_REQUEST_H
#define WEFT_CLI_REQUEST_H

#include "engine/engine.h"
#include "src/cli.h"

struct cli_request {
    struct engine_request rq;
    char id[REQ_ID_MAX];
    unsigned line;         /* in the batch, from 1; 0: from options */
    struct weft_err error; /* code ≠ WEFT_OK: the line is bad and rq isn't to be used */
    bool submitted, admitted, ended;
    /* what rq points to */
    json_t *json;
    struct buf text;
    struct chat_message *messages;
    uint32_t *ids;
    const char **stop;
};

/* What all requests start from: sampling settings of the configuration, options of the command line. USAGE.
 */
enum weft_rc cli_request_defaults(const struct cli *cli, struct engine_request *out, struct weft_err *err);
/* The one request that -p, --chat, --ids or "-" asks for. USAGE, FILE_INVALID, INVALID_REQUEST. */
enum weft_rc cli_request_from_options(const struct cli *cli, struct cli_request *out, struct weft_err *err);

struct cli_requests {
    struct cli_request *item;
    size_t n, cap;
};

/*
 * All requests of a batch file: one JSON object a line, blank lines skipped. A bad line becomes an item with
 * its error (INVALID_REQUEST with field, value, limit, line); the others stand. Ids are made where missing,
 * and one that is there twice is bad from its second line on. Fails only when the file can't be read or
 * memory runs out.
 */
enum weft_rc cli_requests_read(const struct cli *cli, const char *path, struct cli_requests *out,
                               struct weft_err *err);

void cli_request_deinit(struct cli_request *r);
void cli_requests_free(struct cli_requests *rs);

#endif
