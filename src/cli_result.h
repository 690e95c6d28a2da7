/* What a request came to, as INTERFACES writes it: results and token lines in JSON. Each returns a new
 * reference, or NULL when out of memory. */
#ifndef WEFT_CLI_RESULT_H
#define WEFT_CLI_RESULT_H

#include "engine/engine.h"

/* The result object of a FINISH event, or of a REJECT (finish_reason "error"). `logprobs`: they were asked
 * for. `error` (NULL: the event's own) goes into it when its code isn't WEFT_OK. */
json_t *cli_result_json(const struct engine_event *ev, bool logprobs, const struct weft_err *error);

/* {"id","index","token","text"} of the i-th token of a TOKENS event. */
json_t *cli_token_json(const struct engine_event *ev, uint32_t i);

#endif
