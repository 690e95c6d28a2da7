#include "src/workload_request.h"

#include "engine/base/mem.h"
#include "src/engine_setup.h"

enum weft_rc workload_ask(const struct workload *w, const struct workload_request *r,
                          const struct weft_config *cfg, uint32_t n_vocab, struct workload_ids_buf *ids,
                          struct engine_request *out, struct weft_err *err)
{
    const struct workload_entry *e = r->entry;
    const struct sampling base = engine_setup_sampling(cfg);
    *out = (struct engine_request){
        .model = e->model,
        .prompt = e->text,
        .prompt_len = e->text_len,
        .messages = e->messages,
        .n_messages = e->n_messages,
        .stream = e->stream,
        .has_priority = true,
        .priority = r->prio,
        .not_preemptible = !e->preemptible,
        .ignore_eos = e->ignore_eos,
        .max_tokens = r->max_tokens,
        .sampling = workload_sampling(r, &base),
        .timeout_ms = e->timeout_ms,
        .salt = e->salt,
        .fork_of = e->fork_of,
    };
    if (e->kind != WORKLOAD_IDS)
        return WEFT_OK;
    out->n_ids = (size_t)r->n_prefix + r->n_ids;
    if (mem_grow(&ids->ids, &ids->cap, out->n_ids, sizeof *ids->ids) != 0)
        return weft_err_nomem(err, "workload_ask", out->n_ids * sizeof *ids->ids);
    workload_ids(w, r, n_vocab, ids->ids);
    out->ids = ids->ids;
    return WEFT_OK;
}
