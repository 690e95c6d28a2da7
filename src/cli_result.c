#include "src/cli_result.h"

#include <math.h>
#include <string.h>

#include "src/cli.h"

enum { SCHEMA = 1 };

/* Microseconds are all that is measured: more digits would be noise. */
static json_t *milliseconds(double ms)
{
    return cli_json_number(isfinite(ms) ? round(ms * 1000) / 1000 : ms);
}

static json_t *ids_json(const uint32_t *ids, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(array, json_integer(ids[i]));
    return array;
}

static json_t *token_ids_json(const struct engine_event *ev)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < ev->n_tokens; i++)
        json_array_append_new(array, json_integer(ev->tokens[i].id));
    return array;
}

static json_t *logprobs_json(const struct engine_event *ev)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < ev->n_tokens; i++) {
        const struct engine_token *t = &ev->tokens[i];
        json_t *top = json_array();
        for (uint32_t k = 0; k < t->n_top; k++)
            json_array_append_new(top, json_pack("{s:I, s:o}", "id", (json_int_t)t->top[k].id, "logprob",
                                                 cli_json_number((double)t->top[k].logprob)));
        json_array_append_new(array, json_pack("{s:I, s:o, s:o}", "id", (json_int_t)t->id, "logprob",
                                               cli_json_number((double)t->logprob), "top", top));
    }
    return array;
}

/* A refused request has no times: nothing of it ever happened. */
static json_t *timing_json(const struct engine_event *ev)
{
    const struct engine_timing *t = &ev->timing;
    const struct {
        const char *name;
        double ms;
    } rows[] = {{"queue_ms", t->queue_ms},
                {"ttft_ms", t->ttft_ms},
                {"total_ms", t->total_ms},
                {"prefill_tps", t->prefill_tps},
                {"decode_tps", t->decode_tps}};
    json_t *timing = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        json_object_set_new(timing, rows[i].name,
                            ev->type == ENGINE_REJECT ? json_null() : milliseconds(rows[i].ms));
    return timing;
}

json_t *cli_result_json(const struct engine_event *ev, bool logprobs, const struct weft_err *error)
{
    enum finish_reason reason = ev->type == ENGINE_FINISH ? ev->reason : FINISH_ERROR;
    const struct weft_err *why = error ? error : &ev->error;
    json_t *result =
        json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:I}", "schema", SCHEMA, "id",
                  cli_json_text(ev->id, strlen(ev->id)), "model", cli_json_text(ev->model, strlen(ev->model)),
                  "text", cli_json_text(ev->text ? ev->text : "", ev->text ? ev->text_len : 0), "ids",
                  token_ids_json(ev), "prompt_ids", ids_json(ev->prompt_ids, ev->n_prompt), "finish_reason",
                  finish_reason_name(reason), "seed", (json_int_t)ev->seed);
    if (!result)
        return NULL;
    if (logprobs)
        json_object_set_new(result, "logprobs", logprobs_json(ev));
    json_object_set_new(result, "timing", timing_json(ev));
    json_object_set_new(result, "cached_tokens", json_integer(ev->cached_tokens));
    json_object_set_new(result, "preemptions", json_integer(ev->preemptions));
    if (why->code)
        json_object_set_new(result, "error", weft_err_json(why));
    return result;
}

json_t *cli_token_json(const struct engine_event *ev, uint32_t i)
{
    uint32_t from = i ? ev->tokens[i - 1].text_end : 0, to = ev->tokens[i].text_end;
    return json_pack("{s:o, s:I, s:I, s:o}", "id", cli_json_text(ev->id, strlen(ev->id)), "index",
                     (json_int_t)ev->first_index + i, "token", (json_int_t)ev->tokens[i].id, "text",
                     cli_json_text(ev->text + from, to - from));
}
