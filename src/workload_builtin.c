/* Workloads that are compiled in: config/workloads/NAME.yaml, listed with what each shows. */
#include "src/workload.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/embed.h"

const struct workload_builtin workload_builtins[] = {
    {"aging", "a low request passes later high ones, because it has waited"},
    {"burst", "forty requests at once: they share steps as seats become free"},
    {"cancel-storm",
     "cancelled while waiting, in prefill, in decode, parked: blocks come back, others don't notice"},
    {"fifo-against-priority", "the crowd of vip-against-crowd served in order of arrival: the vip waits"},
    {"long-prompt", "a long prompt is computed in chunks: nobody's next token waits for all of it"},
    {"memory-pressure", "above the soft limit low requests are refused, above the hard one all"},
    {"one-at-a-time-against-batch", "burst without batching: what sharing steps is worth"},
    {"poisson", "mixed traffic at random times, as a server sees it"},
    {"preemption", "an urgent request takes a seat; its victim comes back and loses nothing"},
    {"prefix-sharing", "a long common beginning is computed once"},
    {"tour", "two minutes of everything, with real prompts and a word on what to look at"},
    {"vip-against-crowd", "a critical request amid thirty low ones gets its first token at once"},
    {NULL, NULL},
};

const char *workload_builtin_text(const char *name, size_t *n)
{
    for (const struct workload_builtin *b = workload_builtins; b->name; b++) {
        if (strcmp(b->name, name) != 0)
            continue;
        char file[64];
        snprintf(file, sizeof file, "%s.yaml", name);
        const struct weft_embedded *e = weft_embedded_find(weft_embedded_defaults, file);
        if (e && n)
            *n = e->size;
        return e ? e->data : NULL;
    }
    return NULL;
}
