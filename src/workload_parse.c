/* YAML to entries: tables of keys, and what must hold between them. */
#include "src/workload.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/workload_yaml.h"

/* `set:` keeps its document until a configuration is at hand. */
struct workload_set {
    yaml_document_t doc;
    yaml_node_t *node; /* NULL: the file has none */
};

/* ---- values of entries ---- */

#define ENTRY(field) offsetof(struct workload_entry, field)
#define TIMES        0, WORKLOAD_MS_MAX
/* A row whose allowed values are its limits. */
#define NUMBER(...) NUMBER_(__VA_ARGS__)
#define NUMBER_(key, reader, at, least, most)                                                                \
    {                                                                                                        \
        .name = key, .read = reader, .offset = at, .min = least, .max = most                                 \
    }
enum { CAPTION_BYTES_MAX = 1024 };
#define PRIORITIES "critical|high|normal|low"

/* A number, or {min, max}. */
static WYAML_READER(read_range)
{
    struct workload_range *r = (void *)((char *)target + k->offset);
    if (node->type != YAML_MAPPING_NODE) {
        double v = 0;
        enum weft_rc rc = wyaml_number(y, k, node, path, true, &v, err);
        *r = (struct workload_range){(uint32_t)v, (uint32_t)v};
        return rc;
    }
    const struct wyaml_key keys[] = {
        {"min", wyaml_u32, offsetof(struct workload_range, min), k->min, k->max, .required = true},
        {"max", wyaml_u32, offsetof(struct workload_range, max), k->min, k->max, .required = true},
        {.name = NULL},
    };
    enum weft_rc rc = wyaml_mapping(y, keys, node, path, r, NULL, err);
    if (rc == WEFT_OK && r->min > r->max)
        return wyaml_refuse(y, node, path, "min above max", "min at most max", "its min is above its max",
                            err);
    return rc;
}

/* One priority, or how often each: {high: 0.1, low: 0.9}. */
static WYAML_READER(read_priority)
{
    static const struct wyaml_key weights[] = {
        NUMBER("critical", wyaml_real, (PRIO_CRITICAL + 1) * sizeof(double), 0, 1e6),
        NUMBER("high", wyaml_real, (PRIO_HIGH + 1) * sizeof(double), 0, 1e6),
        NUMBER("normal", wyaml_real, (PRIO_NORMAL + 1) * sizeof(double), 0, 1e6),
        NUMBER("low", wyaml_real, (PRIO_LOW + 1) * sizeof(double), 0, 1e6),
        {.name = NULL},
    };
    double *weight = (void *)((char *)target + k->offset), sum = 0;
    if (node->type == YAML_MAPPING_NODE) {
        enum weft_rc rc = wyaml_mapping(y, weights, node, path, weight, NULL, err);
        if (rc)
            return rc;
        for (int i = 0; i < PRIO_COUNT; i++)
            sum += weight[i];
        return sum > 0 ? WEFT_OK
                       : wyaml_refuse(y, node, path, "0", "at least one weight above 0", "all weights are 0",
                                      err);
    }
    enum prio p;
    struct wyaml_key one = *k;
    one.offset = 0;
    enum weft_rc rc = wyaml_prio(y, &one, node, path, &p, err);
    if (rc == WEFT_OK)
        weight[p + 1] = 1;
    return rc;
}

static WYAML_READER(read_id)
{
    enum weft_rc rc = wyaml_text(y, k, node, path, target, err);
    if (rc)
        return rc;
    const char *id = *(char **)(void *)((char *)target + k->offset);
    bool plain = true;
    for (const char *c = id; *c; c++)
        plain = plain && (unsigned char)*c > ' ' && *c != 0x7f;
    return plain ? WEFT_OK
                 : wyaml_refuse(y, node, path, id, k->allowed, "holds spaces or control characters", err);
}

static WYAML_READER(read_role)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(s, roles[i]) == 0) {
            *(const char **)(void *)((char *)target + k->offset) = roles[i]; /* static: nothing to free */
            return WEFT_OK;
        }
    }
    return wyaml_refuse(y, node, path, s, k->allowed, "is no role", err);
}

static enum weft_rc read_message(const struct wyaml *y, yaml_node_t *node, const char *path, void *target,
                                 struct weft_err *err)
{
    static const struct wyaml_key keys[] = {
        {"role", read_role, offsetof(struct chat_message, role), .allowed = "system|user|assistant|tool",
         .required = true},
        {"content", wyaml_text, offsetof(struct chat_message, content), 0, WORKLOAD_BYTES_MAX,
         .allowed = "text", .required = true},
        {.name = NULL},
    };
    struct workload_entry *e = target;
    size_t cap = e->n_messages;
    if (mem_grow(&e->messages, &cap, e->n_messages + 1, sizeof *e->messages))
        return weft_err_nomem(err, path, (e->n_messages + 1) * sizeof *e->messages);
    struct chat_message *m = &e->messages[e->n_messages++];
    *m = (struct chat_message){.role = NULL};
    enum weft_rc rc = wyaml_mapping(y, keys, node, path, m, NULL, err);
    if (rc == WEFT_OK)
        m->content_len = strlen(m->content);
    return rc;
}

static WYAML_READER(read_messages)
{
    return wyaml_sequence(y, k, node, path, target, read_message, err);
}

static enum weft_rc read_token(const struct wyaml *y, yaml_node_t *node, const char *path, void *target,
                               struct weft_err *err)
{
    static const struct wyaml_key key = {.name = "ids", .min = 0, .max = UINT32_MAX};
    struct workload_entry *e = target;
    double id = 0;
    enum weft_rc rc = wyaml_number(y, &key, node, path, true, &id, err);
    if (rc == WEFT_OK && e->n_ids == WORKLOAD_TOKENS_MAX)
        return wyaml_refuse(y, node, path, "", "at most 16777216 ids", "is one too many", err);
    if (rc == WEFT_OK && mem_grow(&e->ids, &e->cap_ids, e->n_ids + 1, sizeof *e->ids) != 0)
        return weft_err_nomem(err, path, (e->n_ids + 1) * sizeof *e->ids);
    if (rc == WEFT_OK)
        e->ids[e->n_ids++] = (uint32_t)id;
    return rc;
}

static WYAML_READER(read_ids)
{
    return wyaml_sequence(y, k, node, path, target, read_token, err);
}

static enum weft_rc read_priority_change(const struct wyaml *y, yaml_node_t *node, const char *path,
                                         void *target, struct weft_err *err)
{
    static const struct wyaml_key keys[] = {
        {"at_ms", wyaml_ms, offsetof(struct workload_priority, at_us), TIMES, .required = true},
        {"to", wyaml_prio, offsetof(struct workload_priority, to), .allowed = PRIORITIES, .required = true},
        {.name = NULL},
    };
    struct workload_entry *e = target;
    if (mem_grow(&e->priorities, &e->cap_priorities, e->n_priorities + 1, sizeof *e->priorities) != 0)
        return weft_err_nomem(err, path, (e->n_priorities + 1) * sizeof *e->priorities);
    struct workload_priority *p = &e->priorities[e->n_priorities++];
    *p = (struct workload_priority){.at_us = 0};
    return wyaml_mapping(y, keys, node, path, p, NULL, err);
}

/* One change, or a list of them. */
static WYAML_READER(read_set_priority)
{
    return node->type == YAML_SEQUENCE_NODE
               ? wyaml_sequence(y, k, node, path, target, read_priority_change, err)
               : read_priority_change(y, node, path, target, err);
}

/* A seed uses all bits that it has, which is more than a double holds. */
static WYAML_READER(read_sampling_seed)
{
    char *end = NULL;
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (!*s || s[strspn(s, "0123456789")] || errno)
        return wyaml_refuse(y, node, path, s, k->allowed, "is no seed", err);
    *(int64_t *)(void *)((char *)target + k->offset) = v;
    return WEFT_OK;
}

static const struct wyaml_key arrivals_keys[] = {
    {"rate_per_s", wyaml_real, ENTRY(rate_per_s), 1e-6, 1e6, .required = true},
    {"until_ms", wyaml_ms, ENTRY(until_us), TIMES, .required = true},
    {.name = NULL},
};

static const struct wyaml_key entry_keys[] = {
    {"id", read_id, ENTRY(id), 1, WORKLOAD_ID_MAX, .allowed = "1 … 55 bytes without spaces"},
    NUMBER("repeat", wyaml_u32, ENTRY(repeat), 1, WORKLOAD_REQUESTS_MAX),
    NUMBER("at_ms", wyaml_ms, ENTRY(at_us), TIMES),
    NUMBER("every_ms", wyaml_ms, ENTRY(every_us), TIMES),
    {"arrivals", wyaml_nested, .allowed = "{rate_per_s, until_ms}", .nested = arrivals_keys},
    {"priority", read_priority, ENTRY(weight), .allowed = PRIORITIES ", or a weight for each"},
    NUMBER("prompt_tokens", read_range, ENTRY(prompt_tokens), 0, WORKLOAD_TOKENS_MAX),
    NUMBER("max_tokens", read_range, ENTRY(max_tokens), 1, WORKLOAD_TOKENS_MAX),
    {"prefix", wyaml_text, ENTRY(prefix), 1, 1024, .allowed = "a name"},
    NUMBER("prefix_tokens", wyaml_u32, ENTRY(prefix_tokens), 1, WORKLOAD_TOKENS_MAX),
    {"ids", read_ids, .min = 1, .allowed = "a list of token ids"},
    {"text", wyaml_text, ENTRY(text), 1, WORKLOAD_BYTES_MAX, .allowed = "text, not empty"},
    {"messages", read_messages, .min = 1, .allowed = "a list of {role, content}"},
    {"model", wyaml_text, ENTRY(model), 1, 95, .allowed = "a model's name"},
    {"salt", wyaml_text, ENTRY(salt), 0, 1024, .allowed = "text"},
    {"stream", wyaml_bool, ENTRY(stream), .allowed = "true or false"},
    {"preemptible", wyaml_bool, ENTRY(preemptible), .allowed = "true or false"},
    NUMBER("timeout_ms", wyaml_i64, ENTRY(timeout_ms), TIMES),
    {"ignore_eos", wyaml_bool, ENTRY(ignore_eos), .allowed = "true or false"},
    NUMBER("temperature", wyaml_real, ENTRY(sampling.temperature), 0, 100),
    NUMBER("top_k", wyaml_u32, ENTRY(sampling.top_k), 0, UINT32_MAX),
    NUMBER("top_p", wyaml_real, ENTRY(sampling.top_p), 1e-9, 1),
    NUMBER("min_p", wyaml_real, ENTRY(sampling.min_p), 0, 1),
    NUMBER("repeat_penalty", wyaml_real, ENTRY(sampling.repeat_penalty), 1e-9, 10),
    NUMBER("presence_penalty", wyaml_real, ENTRY(sampling.presence_penalty), -2, 2),
    NUMBER("frequency_penalty", wyaml_real, ENTRY(sampling.frequency_penalty), -2, 2),
    {"seed", read_sampling_seed, ENTRY(sampling.seed), .allowed = "0 … 9223372036854775807"},
    NUMBER("cancel_at_ms", wyaml_ms, ENTRY(cancel_at_us), TIMES),
    {"set_priority", read_set_priority, .min = 1, .allowed = "{at_ms, to}, or a list of them"},
    {"fork_of", wyaml_text, ENTRY(fork_of), 1, REQ_ID_MAX - 1, .allowed = "a request's id"},
    {.name = NULL},
};

/* ---- what must hold between keys ---- */

/* Each rule: when these keys are given, none of those may be, or all of those must be. */
static const struct {
    const char *given, *other;
    bool needed; /* `other` must be given too; else it must not */
    const char *problem;
} rules[] = {
    {"arrivals", "repeat", false, "goes with repeat or with arrivals, not with both"},
    {"arrivals", "every_ms", false, "has no meaning with arrivals, which come at random"},
    {"every_ms", "repeat", true, "has no meaning without repeat"},
    {"prefix", "prefix_tokens", true, "has no meaning without prefix_tokens"},
    {"prefix_tokens", "prefix", true, "has no meaning without prefix"},
    {"prefix", "prompt_tokens", true, "goes before prompt_tokens only"},
    {"ids", "prompt_tokens", false, "and prompt_tokens are both given"},
    {"text", "prompt_tokens", false, "and prompt_tokens are both given"},
    {"text", "ids", false, "and ids are both given"},
    {"messages", "ids", false, "and ids are both given"},
    {"messages", "prompt_tokens", false, "and prompt_tokens are both given"},
    {"messages", "text", false, "and text are both given"},
};

static enum weft_rc check_rules(const struct wyaml *y, const yaml_node_t *node, const char *path,
                                uint64_t given, struct weft_err *err)
{
    char full[WYAML_PATH_MAX], allowed[64];
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        bool other = given & wyaml_bit(entry_keys, rules[i].other);
        if (!(given & wyaml_bit(entry_keys, rules[i].given)) || other == rules[i].needed)
            continue;
        snprintf(full, sizeof full, "%.100s.%s", path, rules[i].given);
        snprintf(allowed, sizeof allowed, "%s %s", rules[i].needed ? "with" : "without", rules[i].other);
        return wyaml_refuse(y, node, full, "", allowed, rules[i].problem, err);
    }
    const uint64_t prompts = wyaml_bit(entry_keys, "prompt_tokens") | wyaml_bit(entry_keys, "ids") |
                             wyaml_bit(entry_keys, "text") | wyaml_bit(entry_keys, "messages");
    if (!(given & prompts))
        return wyaml_refuse(y, node, path, "", "prompt_tokens, ids, text or messages", "has no prompt", err);
    return WEFT_OK;
}

static enum weft_rc check_entry(const struct wyaml *y, const yaml_node_t *node, const char *path,
                                const struct workload_entry *e, struct weft_err *err)
{
    char full[WYAML_PATH_MAX], value[32];
    int64_t first_change_us = e->n_priorities ? INT64_MAX : -1;
    for (size_t i = 0; i < e->n_priorities; i++)
        if (e->priorities[i].at_us < first_change_us)
            first_change_us = e->priorities[i].at_us;
    const struct {
        const char *key;
        int64_t at_us;
        bool given;
    } later[] = {
        {"arrivals.until_ms", e->until_us, e->rate_per_s > 0},
        {"cancel_at_ms", e->cancel_at_us, e->cancel_at_us >= 0},
        {"set_priority.at_ms", first_change_us, first_change_us >= 0},
    };
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        if (!later[i].given || later[i].at_us >= e->at_us)
            continue;
        snprintf(full, sizeof full, "%.100s.%s", path, later[i].key);
        snprintf(value, sizeof value, "%.15g", (double)later[i].at_us / 1e3);
        return wyaml_refuse(y, node, full, value, "at_ms or later", "comes before the request does", err);
    }
    if (e->kind == WORKLOAD_IDS && !e->ids && e->prompt_tokens.min == 0 && !e->prefix) {
        snprintf(full, sizeof full, "%.100s.prompt_tokens", path);
        return wyaml_refuse(y, node, full, "0", "1 … 16777216, or a prefix before it", "is no prompt", err);
    }
    return WEFT_OK;
}

static enum weft_rc read_entry(const struct wyaml *y, yaml_node_t *node, const char *path, void *target,
                               struct weft_err *err)
{
    struct workload *w = target;
    uint64_t given = 0;
    if (mem_grow(&w->entries, &w->cap_entries, w->n_entries + 1, sizeof *w->entries))
        return weft_err_nomem(err, path, (w->n_entries + 1) * sizeof *w->entries);
    struct workload_entry *e = &w->entries[w->n_entries++];
    *e = (struct workload_entry){
        .line = wyaml_line(node),
        .repeat = 1,
        .stream = true,
        .preemptible = true,
        .ignore_eos = true,
        .sampling = {.seed = -1},
        .cancel_at_us = -1,
    };
    enum weft_rc rc = wyaml_mapping(y, entry_keys, node, path, e, &given, err);
    if (rc == WEFT_OK)
        rc = check_rules(y, node, path, given, err);
    if (rc)
        return rc;
    e->given = given;
    e->kind = e->text ? WORKLOAD_TEXT : e->messages ? WORKLOAD_CHAT : WORKLOAD_IDS;
    e->text_len = e->text ? strlen(e->text) : 0;
    e->numbered = given & (wyaml_bit(entry_keys, "repeat") | wyaml_bit(entry_keys, "arrivals"));
    if (!(given & wyaml_bit(entry_keys, "priority")))
        e->weight[(e->stream ? PRIO_NORMAL : PRIO_HIGH) + 1] = 1;
    if (!e->id) {
        char made[32];
        snprintf(made, sizeof made, "r%zu", w->n_entries);
        if (!(e->id = mem_strdup(made)))
            return weft_err_nomem(err, path, sizeof made);
    }
    return check_entry(y, node, path, e, err);
}

struct sampling workload_sampling(const struct workload_request *r, const struct sampling *base)
{
    static const char *const names[] = {
        "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"};
    const struct workload_entry *e = r->entry;
    struct sampling out = *base;
    for (const struct wyaml_key *k = entry_keys; k->name; k++)
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strcmp(k->name, names[i]) == 0 && e->given & wyaml_bit(entry_keys, k->name))
                memcpy((char *)&out + (k->offset - ENTRY(sampling)), (const char *)e + k->offset,
                       k->read == wyaml_u32 ? sizeof(uint32_t) : sizeof(double));
    out.temperature = e->sampling.temperature;
    out.seed = r->sampling_seed;
    return out;
}

/* ---- the file ---- */

static WYAML_READER(read_requests)
{
    return wyaml_sequence(y, k, node, path, target, read_entry, err);
}

static enum weft_rc read_memory_item(const struct wyaml *y, yaml_node_t *node, const char *path, void *target,
                                     struct weft_err *err)
{
    static const struct wyaml_key keys[] = {
        {"at_ms", wyaml_ms, offsetof(struct workload_memory, at_us), TIMES, .required = true},
        {"mb", wyaml_real, offsetof(struct workload_memory, mb), 0, 1e9, .required = true},
        {.name = NULL},
    };
    struct workload *w = target;
    if (mem_grow(&w->memory, &w->cap_memory, w->n_memory + 1, sizeof *w->memory))
        return weft_err_nomem(err, path, (w->n_memory + 1) * sizeof *w->memory);
    struct workload_memory m = {0};
    enum weft_rc rc = wyaml_mapping(y, keys, node, path, &m, NULL, err);
    if (rc)
        return rc;
    size_t at = w->n_memory++; /* by time; of equal times the file's later one counts */
    for (; at > 0 && w->memory[at - 1].at_us > m.at_us; at--)
        w->memory[at] = w->memory[at - 1];
    w->memory[at] = m;
    return WEFT_OK;
}

static WYAML_READER(read_memory)
{
    return wyaml_sequence(y, k, node, path, target, read_memory_item, err);
}

static enum weft_rc read_caption(const struct wyaml *y, yaml_node_t *node, const char *path, void *target,
                                 struct weft_err *err)
{
    static const struct wyaml_key keys[] = {
        {"at_ms", wyaml_ms, offsetof(struct workload_caption, at_us), TIMES, .required = true},
        {"text", wyaml_text, offsetof(struct workload_caption, text), 0, CAPTION_BYTES_MAX,
         .allowed = "0 … 1024 bytes", .required = true},
        {"show", wyaml_text, offsetof(struct workload_caption, show), 1, REQ_ID_MAX - 1,
         .allowed = "a request's id"},
        {.name = NULL},
    };
    struct workload *w = target;
    if (mem_grow(&w->captions, &w->cap_captions, w->n_captions + 1, sizeof *w->captions))
        return weft_err_nomem(err, path, (w->n_captions + 1) * sizeof *w->captions);
    struct workload_caption *c = &w->captions[w->n_captions++];
    *c = (struct workload_caption){.text = NULL};
    enum weft_rc rc = wyaml_mapping(y, keys, node, path, c, NULL, err);
    if (rc)
        return rc;
    struct workload_caption read = *c;
    for (; c > w->captions && c[-1].at_us > read.at_us; c--)
        *c = c[-1];
    *c = read;
    return WEFT_OK;
}

static WYAML_READER(read_captions)
{
    return wyaml_sequence(y, k, node, path, target, read_caption, err);
}

static WYAML_READER(read_set)
{
    (void)k;
    (void)err;
    (void)y;
    (void)path;
    ((struct workload *)target)->set->node = node;
    return WEFT_OK;
}

static WYAML_READER(read_seed)
{
    double v = 0;
    enum weft_rc rc = wyaml_number(y, k, node, path, true, &v, err);
    ((struct workload *)target)->seed = (uint64_t)v;
    return rc;
}

static const struct wyaml_key file_keys[] = {
    {"name", wyaml_text, offsetof(struct workload, name), 1, 255, .allowed = "1 … 255 bytes"},
    {"seed", read_seed, .min = 0, .max = WORKLOAD_SEED_MAX},
    {"set", read_set, .allowed = "configuration keys and values"},
    {"memory", read_memory, .allowed = "a list of {at_ms, mb}"},
    {"captions", read_captions, .allowed = "a list of {at_ms, text}"},
    {"requests", read_requests, .min = 1, .allowed = "a list of requests", .required = true},
    {.name = NULL},
};

/* The file's name without directory and ending. */
static char *name_of(const char *file)
{
    const char *base = strrchr(file, '/');
    base = base ? base + 1 : file;
    const char *dot = strrchr(base, '.');
    return mem_memdup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

enum weft_rc workload_parse(const char *file, const char *text, size_t n, struct workload **out,
                            struct weft_err *err)
{
    struct workload *w = mem_calloc(1, sizeof *w);
    struct workload_set *set = mem_calloc(1, sizeof *set);
    if (!w || !set || !(w->file = mem_strdup(file))) {
        mem_free(set);
        mem_free(w);
        return weft_err_nomem(err, "workload", sizeof *w);
    }
    enum weft_rc rc = wyaml_compose(file, text, n, &set->doc, err);
    if (rc) {
        mem_free(set);
        goto out;
    }
    w->set = set;
    struct wyaml y = {.file = w->file, .doc = &set->doc};
    rc = wyaml_mapping(&y, file_keys, yaml_document_get_root_node(&set->doc), "", w, NULL, err);
    if (rc == WEFT_OK && !w->name && !(w->name = name_of(file)))
        rc = weft_err_nomem(err, "workload", strlen(file));
out:
    if (rc)
        workload_destroy(w);
    else
        *out = w;
    return rc;
}

enum weft_rc workload_configure(struct workload *w, struct weft_config *cfg, struct weft_err *err)
{
    return w->set->node ? config_load_node(cfg, w->file, &w->set->doc, w->set->node, err) : WEFT_OK;
}

static void entry_free(struct workload_entry *e)
{
    for (size_t i = 0; i < e->n_messages; i++)
        mem_free((char *)e->messages[i].content);
    void *const owned[] = {e->id,   e->model,    e->salt,    e->prefix,    e->ids,
                           e->text, e->messages, e->fork_of, e->priorities};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        mem_free(owned[i]);
}

void workload_destroy(struct workload *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_entries; i++)
        entry_free(&w->entries[i]);
    for (size_t i = 0; i < w->n_captions; i++) {
        mem_free(w->captions[i].text);
        mem_free(w->captions[i].show);
    }
    if (w->set)
        yaml_document_delete(&w->set->doc);
    void *const owned[] = {w->set,      w->file,     w->name,    w->entries, w->memory,
                           w->captions, w->requests, w->actions, w->bucket,  w};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        mem_free(owned[i]);
}
