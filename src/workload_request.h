/*
 * A workload's requests as the engine takes them: for whoever plays a workload on it. One thread.
 */
#ifndef WEFT_WORKLOAD_REQUEST_H
#define WEFT_WORKLOAD_REQUEST_H

#include "engine/engine.h"
#include "src/workload.h"

/* Where prompts of ids are written, used again from one request to the next; zeroed before the first. */
struct workload_ids_buf {
    uint32_t *ids; /* mem_free */
    size_t cap;
};

/*
 * Fills *out with what request r of the workload asks for, but its id and tag. It points into the workload and, for
 * prompts of ids (below n_vocab), into *ids. What the file doesn't say of sampling is as in cfg. INTERNAL_ERROR when out of
 * memory.
 */
enum weft_rc workload_ask(const struct workload *w, const struct workload_request *r,
                          const struct weft_config *cfg, uint32_t n_vocab, struct workload_ids_buf *ids,
                          struct engine_request *out, struct weft_err *err);

#endif
