/*
 * Workload files: which requests come when. The format is docs/workloads.md.
 *
 *   text ── workload_parse ──► entries ── workload_expand ──► requests, and what happens to them in time order
 *
 * An entry is one line of the file's `requests`; it stands for one request, or for many (`repeat`, `arrivals`).
 * Everything random comes from a generator of its own, seeded by the file's seed and a name, so that no
 * request depends on the others, on their order, or on the file's name:
 *
 *   priority, lengths, sampling seed, prompt ids   (seed, the request's id)
 *   ids of a prefix                                (seed, the prefix's name)
 *   times of arrival                               (seed, the entry's id)
 *
 * Pure but for memory; one thread. Times are µs from the workload's start.
 */
#ifndef WEFT_WORKLOAD_H
#define WEFT_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/model/chat_template.h"
#include "engine/sampler.h"
#include "engine/sched/request.h"
#include "src/config.h"

enum {
    WORKLOAD_BYTES_MAX = 64 << 20,       /* of a file */
    WORKLOAD_REQUESTS_MAX = 10000000,    /* after expansion */
    WORKLOAD_TOKENS_MAX = 1 << 24,       /* of a prompt, a prefix, an output */
    WORKLOAD_ID_MAX = REQ_ID_MAX - 1 - 8 /* bytes of an entry's id: ".1234567" still fits behind it */
};
#define WORKLOAD_SEED_MAX 9007199254740991 /* exact in a double, so in JSON */
#define WORKLOAD_MS_MAX   1e11             /* of any time: three years */

/* A number drawn evenly from min … max. */
struct workload_range {
    uint32_t min, max;
};

/* What a request asks the model. */
enum workload_prompt { WORKLOAD_IDS, WORKLOAD_TEXT, WORKLOAD_CHAT };

/* A change of priority. */
struct workload_priority {
    int64_t at_us;
    enum prio to;
};

struct workload_entry {
    char *id; /* all pointers here: the workload's memory, or NULL where not given */
    unsigned line;
    bool numbered;   /* ids are ID.0, ID.1, … (`repeat` or `arrivals` was given) */
    uint32_t repeat; /* ≥ 1 */
    int64_t at_us, every_us;
    double rate_per_s; /* `arrivals`: a Poisson process from at_us to until_us; 0: none */
    int64_t until_us;
    double weight[PRIO_COUNT]; /* of each priority, index prio + 1; sum > 0 */
    char *model, *salt;

    enum workload_prompt kind;
    struct workload_range prompt_tokens; /* WORKLOAD_IDS, without the prefix */
    uint32_t *ids;                       /* WORKLOAD_IDS: just these; NULL: pseudo-random ones */
    size_t n_ids, cap_ids;
    char *prefix;
    uint32_t prefix_tokens;
    char *text; /* WORKLOAD_TEXT */
    size_t text_len;
    struct chat_message *messages; /* WORKLOAD_CHAT */
    size_t n_messages;

    struct workload_range max_tokens;
    bool stream, preemptible, ignore_eos;
    struct sampling sampling; /* what of it counts: workload_sampling; seed -1: drawn */
    uint64_t given;           /* which keys the file has for it */
    int64_t timeout_ms;       /* 0: the queue's */
    char *fork_of;            /* id of a request whose KV blocks may be shared */

    int64_t cancel_at_us;                 /* -1: never */
    struct workload_priority *priorities; /* in the file's order */
    size_t n_priorities, cap_priorities;
};

struct workload_request {
    const struct workload_entry *entry;
    char id[REQ_ID_MAX];
    int64_t at_us;
    enum prio prio;
    uint32_t n_prefix, n_ids; /* WORKLOAD_IDS: prompt tokens, in the prefix and after it */
    uint32_t max_tokens;
    int64_t sampling_seed;
    uint64_t ids_seed; /* state of the generator before its prompt ids */
};

enum workload_action_type { WORKLOAD_SUBMIT, WORKLOAD_SET_PRIORITY, WORKLOAD_CANCEL };

/* Something that happens from outside. */
struct workload_action {
    int64_t at_us;
    uint32_t request; /* index into workload.requests */
    enum workload_action_type type;
    enum prio to; /* WORKLOAD_SET_PRIORITY */
    uint32_t nth; /* of the changes of the request's priority */
};

/* What the resource manager measures from then on, under simulation. */
struct workload_memory {
    int64_t at_us;
    double mb;
};

/* What a demonstration says of what is to be seen from then on. */
struct workload_caption {
    int64_t at_us;
    char *text; /* "": nothing more */
    char *show; /* id of the request whose chat comes to the front; NULL: none */
};

struct workload {
    char *file; /* what messages call it */
    char *name;
    uint64_t seed;
    struct workload_entry *entries;
    size_t n_entries, cap_entries;
    struct workload_memory *memory; /* by time, then by the file's order */
    size_t n_memory, cap_memory;
    struct workload_caption *captions; /* by time, then by the file's order */
    size_t n_captions, cap_captions;
    struct workload_set *set; /* `set:`, until workload_configure */

    /* workload_expand's: */
    struct workload_request *requests; /* in the order of the file */
    size_t n_requests, cap_requests;
    struct workload_action *actions; /* by time; at the same time in the order of the file */
    size_t n_actions, cap_actions;
    uint32_t *bucket; /* ids: 1 + index into requests; 0: empty */
    size_t n_buckets; /* a power of two */
};

/*
 * Parses n bytes of YAML (or JSON). `file` is what messages call them; where the file gives no name it is the
 * name too, without directory and ending. CONFIG_INVALID (file, line, key, value, allowed) for what is wrong
 * in it, FILE_INVALID (path, field, value, limit, line) when it isn't YAML; *out is set on success only.
 */
enum weft_rc workload_parse(const char *file, const char *text, size_t n, struct workload **out,
                            struct weft_err *err);
void workload_destroy(struct workload *w); /* NULL allowed */

/* Applies the file's `set:` to a configuration. CONFIG_INVALID. */
enum weft_rc workload_configure(struct workload *w, struct weft_config *cfg, struct weft_err *err);

/* Makes requests and actions of the entries, once. Times of the file are multiplied by time_scale ≥ 0. Where an entry
 * names no max_tokens it is the configuration's. CONFIG_INVALID when two requests get the same id or there are
 * more than WORKLOAD_REQUESTS_MAX; INTERNAL_ERROR. */
enum weft_rc workload_expand(struct workload *w, double time_scale, const struct weft_config *cfg,
                             struct weft_err *err);

/* Index of the request with that id, or -1. O(1). */
long workload_find(const struct workload *w, const char *id);

/* How the request samples: what the file says of it, and `base` where it says nothing; always at the file's
 * temperature. */
struct sampling workload_sampling(const struct workload_request *r, const struct sampling *base);

/* Writes the prompt ids of a WORKLOAD_IDS request, n_prefix + n_ids of them: as the file has them, else each below
 * n_vocab. */
void workload_ids(const struct workload *w, const struct workload_request *r, uint32_t n_vocab,
                  uint32_t *ids);
/* Ids that a prompt of text or messages has where there is no tokenizer: one for each four bytes, from their
 * hash, so equal beginnings have equal ids. */
size_t workload_pseudo_count(const struct workload_entry *e);
void workload_pseudo_ids(const struct workload_entry *e, uint32_t n_vocab, uint32_t *ids);

/* ---- built-in workloads (workload_builtin.c) ---- */

struct workload_builtin {
    const char *name; /* NULL ends the table */
    const char *what; /* what it shows, one line */
};
extern const struct workload_builtin workload_builtins[];
/* The text of the built-in workload `name` (static, NUL-terminated), or NULL. */
const char *workload_builtin_text(const char *name, size_t *n);

#endif
