#include "src/cli_request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "src/engine_setup.h"

enum { PROMPT_LIMIT = 64 << 20, VALUE_SHOWN = 60 };

/* ---- refusing ---- */

/* A value for a message: its JSON, shortened. */
static void show(const json_t *value, char *out, size_t size)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(out, size, "%.*s%s", VALUE_SHOWN, text ? text : "nothing",
             text && strlen(text) > VALUE_SHOWN ? "…" : "");
    free(text); /* jansson's own allocation */
}

static enum weft_rc refuse(struct weft_err *err, const char *field, const json_t *value, const char *limit)
{
    char shown[VALUE_SHOWN + 8];
    show(value, shown, sizeof shown);
    weft_err_set(err, WEFT_INVALID_REQUEST, "%s is %s, must be %s", field, shown, limit);
    weft_err_str(err, "field", field);
    if (json_is_number(value))
        weft_err_num(err, "value", json_number_value(value));
    else
        weft_err_str(err, "value", json_is_string(value) ? json_string_value(value) : shown);
    weft_err_str(err, "limit", limit);
    return WEFT_INVALID_REQUEST;
}

/* ---- fields of a JSON request ---- */

static enum weft_rc read_messages(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    size_t n = json_array_size(value);
    if (n == 0)
        return refuse(err, "messages", value, "an array of at least one {\"role\",\"content\"}");
    r->messages = mem_calloc(n, sizeof *r->messages);
    if (!r->messages)
        return weft_err_nomem(err, "messages", n * sizeof *r->messages);
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(value, i);
        const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
        char field[48];
        snprintf(field, sizeof field, "messages[%zu].%s", i, json_is_string(role) ? "content" : "role");
        if (!json_is_string(role) || !json_is_string(content))
            return refuse(err, field, json_is_string(role) ? content : role, "a string");
        r->messages[i] = (struct chat_message){.role = json_string_value(role),
                                               .content = json_string_value(content),
                                               .content_len = json_string_length(content)};
    }
    r->rq.messages = r->messages;
    r->rq.n_messages = n;
    return WEFT_OK;
}

static enum weft_rc read_prompt(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    if (!json_is_string(value))
        return refuse(err, "prompt", value, "a string");
    r->rq.prompt = json_string_value(value);
    r->rq.prompt_len = json_string_length(value);
    return WEFT_OK;
}

static enum weft_rc read_ids(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    size_t n = json_array_size(value);
    if (n == 0)
        return refuse(err, "ids", value, "an array of at least one token id");
    r->ids = mem_calloc(n, sizeof *r->ids);
    if (!r->ids)
        return weft_err_nomem(err, "ids", n * sizeof *r->ids);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(value, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > UINT32_MAX)
            return refuse(err, "ids", id, "whole numbers from 0");
        r->ids[i] = (uint32_t)json_integer_value(id);
    }
    r->rq.ids = r->ids;
    r->rq.n_ids = n;
    return WEFT_OK;
}

static enum weft_rc read_stop(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    size_t n = json_is_string(value) ? 1 : json_array_size(value);
    if (!json_is_string(value) && !json_is_array(value))
        return refuse(err, "stop", value, "a string or an array of strings");
    r->stop = mem_calloc(n ? n : 1, sizeof *r->stop);
    if (!r->stop)
        return weft_err_nomem(err, "stop", n * sizeof *r->stop);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_is_string(value) ? value : json_array_get(value, i);
        if (!json_is_string(text) || !json_string_length(text))
            return refuse(err, "stop", text, "strings that aren't empty");
        r->stop[i] = json_string_value(text);
    }
    r->rq.stop = r->stop;
    r->rq.n_stop = n;
    return WEFT_OK;
}

static enum weft_rc read_priority(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    if (!json_is_string(value) || !prio_parse(json_string_value(value), &r->rq.priority))
        return refuse(err, "priority", value, "critical, high, normal or low");
    r->rq.has_priority = true;
    return WEFT_OK;
}

static enum weft_rc read_preemptible(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    if (!json_is_boolean(value))
        return refuse(err, "preemptible", value, "true or false");
    r->rq.not_preemptible = !json_is_true(value);
    return WEFT_OK;
}

static enum weft_rc read_id(struct cli_request *r, const json_t *value, struct weft_err *err)
{
    size_t n = json_string_length(value);
    if (n == 0 || n >= sizeof r->id)
        return refuse(err, "id", value, "a string of 1 … 63 bytes");
    memcpy(r->id, json_string_value(value), n + 1);
    return WEFT_OK;
}

enum kind { TEXT, BOOL, UINT, INT, REAL, CUSTOM };

/* The fields of a request, in the words of INTERFACES. Plain ones are stored by offset, within their limits;
 * what the engine checks itself (sampling) is only given its type here. */
struct field {
    const char *name;
    enum kind kind;
    size_t offset; /* in struct engine_request */
    double min, max;
    const char *limit;
    enum weft_rc (*read)(struct cli_request *, const json_t *, struct weft_err *);
};

/* clang-format off */
#define AT(f) offsetof(struct engine_request, f)
static const struct field fields[] = {
    {"id", CUSTOM, 0, 0, 0, NULL, read_id},
    {"prompt", CUSTOM, 0, 0, 0, NULL, read_prompt},
    {"messages", CUSTOM, 0, 0, 0, NULL, read_messages},
    {"ids", CUSTOM, 0, 0, 0, NULL, read_ids},
    {"model", TEXT, AT(model), 0, 0, "a string", NULL},
    {"stream", BOOL, AT(stream), 0, 0, "true or false", NULL},
    {"max_tokens", UINT, AT(max_tokens), 1, UINT32_MAX, "a whole number from 1", NULL},
    {"temperature", REAL, AT(sampling.temperature), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"top_k", UINT, AT(sampling.top_k), 0, UINT32_MAX, "a whole number from 0", NULL},
    {"top_p", REAL, AT(sampling.top_p), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"min_p", REAL, AT(sampling.min_p), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"repeat_penalty", REAL, AT(sampling.repeat_penalty), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"presence_penalty", REAL, AT(sampling.presence_penalty), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"frequency_penalty", REAL, AT(sampling.frequency_penalty), -HUGE_VAL, HUGE_VAL, "a number", NULL},
    {"seed", INT, AT(sampling.seed), -1, 9007199254740991, "a whole number from -1", NULL},
    {"stop", CUSTOM, 0, 0, 0, NULL, read_stop},
    {"ignore_eos", BOOL, AT(ignore_eos), 0, 0, "true or false", NULL},
    {"priority", CUSTOM, 0, 0, 0, NULL, read_priority},
    {"preemptible", CUSTOM, 0, 0, 0, NULL, read_preemptible},
    {"timeout_ms", INT, AT(timeout_ms), 0, 86400000, "a whole number in 0 … 86400000", NULL},
    {"logprobs", UINT, AT(n_logprobs), 0, SAMPLER_LOGPROBS_MAX, "a whole number in 0 … 20", NULL},
    {"salt", TEXT, AT(salt), 0, 0, "a string", NULL},
};
#undef AT
/* clang-format on */

static bool store(const struct field *f, struct engine_request *rq, const json_t *value)
{
    void *p = (char *)rq + f->offset;
    double v = json_number_value(value);
    switch (f->kind) {
    case TEXT: return json_is_string(value) && (*(const char **)p = json_string_value(value), true);
    case BOOL: return json_is_boolean(value) && (*(bool *)p = json_is_true(value), true);
    case REAL: return json_is_number(value) && (*(double *)p = v, true);
    case UINT:
        return json_is_integer(value) && v >= f->min && v <= f->max && (*(uint32_t *)p = (uint32_t)v, true);
    case INT:
        return json_is_integer(value) && v >= f->min && v <= f->max && (*(int64_t *)p = (int64_t)v, true);
    case CUSTOM: break;
    }
    return false;
}

static enum weft_rc refuse_field(const char *name, struct weft_err *err)
{
    struct buf known = BUF_INIT;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        buf_addf(&known, "%s%s", i ? ", " : "", fields[i].name);
    weft_err_set(err, WEFT_INVALID_REQUEST, "unknown field \"%.60s\"; there are %s", name, buf_str(&known));
    weft_err_str(err, "field", name);
    weft_err_str(err, "value", name);
    weft_err_str(err, "limit", buf_str(&known));
    buf_free(&known);
    return WEFT_INVALID_REQUEST;
}

static enum weft_rc read_field(struct cli_request *r, const char *name, const json_t *value,
                               struct weft_err *err)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct field *f = &fields[i];
        if (strcmp(f->name, name) != 0)
            continue;
        if (f->kind == CUSTOM)
            return f->read(r, value, err);
        return store(f, &r->rq, value) ? WEFT_OK : refuse(err, name, value, f->limit);
    }
    return refuse_field(name, err);
}

/* Reads r->json. */
static enum weft_rc read_object(struct cli_request *r, struct weft_err *err)
{
    if (!json_is_object(r->json))
        return refuse(err, "request", r->json, "an object");
    enum weft_rc rc = WEFT_OK;
    const char *name;
    json_t *value;
    /* The id first, so that the error of another field is told with it. */
    const json_t *id = json_object_get(r->json, "id");
    if (id)
        rc = read_id(r, id, err);
    json_object_foreach(r->json, name, value)
    {
        if (rc == WEFT_OK)
            rc = read_field(r, name, value, err);
    }
    int ways = !!r->rq.prompt + !!r->rq.messages + !!r->rq.ids;
    if (rc == WEFT_OK && ways != 1)
        rc = refuse(err, "prompt, messages and ids", NULL, "given, exactly one of them");
    return rc;
}

/* ---- a batch ---- */

struct batch {
    const struct engine_request *defaults;
    struct cli_requests *out;
    json_t *seen; /* ids as keys: jansson's objects are hash tables */
};

static enum weft_rc read_line(struct batch *b, const char *text, size_t n, unsigned line,
                              struct weft_err *err)
{
    struct cli_requests *rs = b->out;
    if (mem_grow(&rs->item, &rs->cap, rs->n + 1, sizeof *rs->item))
        return weft_err_nomem(err, "batch", (rs->n + 1) * sizeof *rs->item);
    struct cli_request *r = &rs->item[rs->n++];
    *r = (struct cli_request){.rq = *b->defaults, .line = line, .text = BUF_INIT};
    json_error_t problem;
    enum weft_rc rc;
    r->json = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!r->json) {
        weft_err_set(&r->error, WEFT_INVALID_REQUEST, "not JSON: %s at column %d", problem.text,
                     problem.column);
        weft_err_str(&r->error, "field", "request");
        weft_err_str(&r->error, "value", problem.text);
        weft_err_str(&r->error, "limit", "one JSON object a line");
        rc = WEFT_INVALID_REQUEST;
    } else {
        rc = read_object(r, &r->error);
    }
    if (rc == WEFT_OK && *r->id) {
        if (json_object_get(b->seen, r->id)) {
            rc = refuse(&r->error, "id", json_object_get(r->json, "id"), "another one for each request");
        } else if (json_object_set_new(b->seen, r->id, json_true())) {
            return weft_err_nomem(err, "batch", n);
        }
    }
    if (rc) {
        weft_err_prefix(&r->error, "line %u: ", line);
        weft_err_num(&r->error, "line", line);
    }
    return WEFT_OK;
}

/* Ids for those without: "r" and the line, or more letters when somebody took that. */
static enum weft_rc make_ids(struct batch *b, struct weft_err *err)
{
    for (size_t i = 0; i < b->out->n; i++) {
        struct cli_request *r = &b->out->item[i];
        if (*r->id || r->error.code)
            continue;
        for (int tries = 1; tries < 40; tries++) {
            snprintf(r->id, sizeof r->id, "%.*s%u", tries, "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
                     r->line);
            if (!json_object_get(b->seen, r->id))
                break;
        }
        if (json_object_set_new(b->seen, r->id, json_true()))
            return weft_err_nomem(err, "batch", sizeof r->id);
    }
    return WEFT_OK;
}

enum weft_rc cli_requests_read(const struct cli *cli, const char *path, struct cli_requests *out,
                               struct weft_err *err)
{
    struct buf text = BUF_INIT;
    struct engine_request defaults;
    struct batch b = {.defaults = &defaults, .out = out, .seen = json_object()};
    enum weft_rc rc = cli_request_defaults(cli, &defaults, err);
    if (rc == WEFT_OK)
        rc = cli_read(path, PROMPT_LIMIT, &text, err);
    const char *p = buf_str(&text), *end = p + text.len;
    for (unsigned line = 1; rc == WEFT_OK && p < end; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline : end) - p), blank = 0;
        while (blank < n && strchr(" \t\r", p[blank]) && p[blank])
            blank++;
        if (blank < n)
            rc = read_line(&b, p, n, line, err);
        p += n + (newline != NULL);
    }
    if (rc == WEFT_OK)
        rc = make_ids(&b, err);
    /* The array no longer moves: now requests may point at their own ids. */
    for (size_t i = 0; i < out->n; i++) {
        out->item[i].rq.id = out->item[i].id;
        out->item[i].rq.tag = (uint32_t)i + 1;
    }
    json_decref(b.seen);
    buf_free(&text);
    return rc;
}

/* ---- options ---- */

enum weft_rc cli_request_defaults(const struct cli *cli, struct engine_request *out, struct weft_err *err)
{
    *out = (struct engine_request){
        .sampling = engine_setup_sampling(&cli->cfg),
        .max_tokens = (uint32_t)cli->cfg.sampling.max_tokens,
        .ignore_eos = cli->opt.ignore_eos,
        .stream = cli->opt.stream,
        .n_logprobs = cli->opt.logprobs,
        .stop = cli->opt.stop.item,
        .n_stop = cli->opt.stop.n,
    };
    if (cli->opt.priority && !prio_parse(cli->opt.priority, &out->priority))
        return weft_err_set(err, WEFT_USAGE, "--priority: \"%s\" is none of critical, high, normal, low",
                            cli->opt.priority);
    out->has_priority = cli->opt.priority != NULL;
    return WEFT_OK;
}

/* A file of messages is an input file: what is wrong with it is FILE_INVALID. */
static enum weft_rc read_chat(const struct cli *cli, struct cli_request *r, struct weft_err *err)
{
    const char *path = cli->opt.chat;
    enum weft_rc rc = cli_read(path, PROMPT_LIMIT, &r->text, err);
    if (rc)
        return rc;
    json_error_t problem;
    r->json = json_loadb(buf_str(&r->text), r->text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (!r->json) {
        weft_err_set(err, WEFT_FILE_INVALID, "%s:%d: not JSON: %s", path, problem.line, problem.text);
        weft_err_str(err, "path", path);
        weft_err_str(err, "field", "chat");
        weft_err_str(err, "value", problem.text);
        weft_err_str(err, "limit", "an array of {\"role\",\"content\"}");
        return WEFT_FILE_INVALID;
    }
    struct weft_err inner = {.code = WEFT_OK};
    rc = read_messages(r, r->json, &inner);
    if (rc && err) {
        *err = inner;
        weft_err_prefix(err, "%s: ", path);
        if (rc == WEFT_INVALID_REQUEST) {
            err->code = rc = WEFT_FILE_INVALID;
            weft_err_str(err, "path", path);
        }
    }
    return rc;
}

enum weft_rc cli_request_from_options(const struct cli *cli, struct cli_request *r, struct weft_err *err)
{
    const struct cli_options *o = &cli->opt;
    *r = (struct cli_request){.text = BUF_INIT};
    enum weft_rc rc = cli_request_defaults(cli, &r->rq, err);
    if (rc)
        return rc;
    r->rq.tag = 1;
    bool piped = cli->operands.n > 0;
    if (piped && strcmp(cli->operands.item[0], "-") != 0)
        return weft_err_set(err, WEFT_USAGE,
                            "unexpected argument \"%s\"; a prompt is given by -p, or by - on standard input",
                            cli->operands.item[0]);
    if (!!o->prompt + !!o->chat + !!o->ids + piped != 1)
        return weft_err_set(err, WEFT_USAGE,
                            "exactly one of -p, --chat, --ids, --batch and - is needed, and there are %d",
                            !!o->prompt + !!o->chat + !!o->ids + piped);
    if (o->chat)
        return read_chat(cli, r, err);
    if (o->ids) {
        rc = cli_parse_ids(o->ids, &r->ids, &r->rq.n_ids, err);
        r->rq.ids = r->ids;
        return rc;
    }
    if (piped) {
        rc = cli_read("-", PROMPT_LIMIT, &r->text, err);
        r->rq.prompt = buf_str(&r->text);
        r->rq.prompt_len = r->text.len;
        return rc;
    }
    r->rq.prompt = o->prompt;
    r->rq.prompt_len = strlen(o->prompt);
    return WEFT_OK;
}

void cli_request_deinit(struct cli_request *r)
{
    json_decref(r->json);
    buf_free(&r->text);
    mem_free(r->messages);
    mem_free(r->ids);
    mem_free(r->stop);
}

void cli_requests_free(struct cli_requests *rs)
{
    for (size_t i = 0; i < rs->n; i++)
        cli_request_deinit(&rs->item[i]);
    mem_free(rs->item);
    *rs = (struct cli_requests){.n = 0};
}
