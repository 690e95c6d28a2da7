/* Values: defaults, checks, storing, and what must hold between keys. */
#include "src/config.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "src/config_internal.h"

enum { NAME_MAX_BYTES = 128, DID_YOU_MEAN_DISTANCE = 3 };

static void *field(struct weft_config *cfg, const struct config_key *key)
{
    return (char *)cfg + key->offset;
}

/* ---- refusing ---- */

enum weft_rc config_refuse(struct weft_err *err, const struct config_place *place, const char *path,
                           const char *value, const char *allowed, const char *problem)
{
    const struct config_key *key = config_key_find(path);
    char own[WEFT_ERR_TEXT_MAX];
    if (!allowed && key) {
        config_allowed(key, own, sizeof own);
        allowed = own;
    }
    char line[16] = "";
    if (place->line)
        snprintf(line, sizeof line, ":%u", place->line);
    weft_err_set(err, WEFT_CONFIG_INVALID, "%s%s: %s%s%s%s%s", place->file, line, path, *path ? ": " : "",
                 problem, allowed ? "; allowed: " : "", allowed ? allowed : "");
    weft_err_str(err, "file", place->file);
    weft_err_num(err, "line", place->line);
    weft_err_str(err, "key", path);
    weft_err_str(err, "value", value ? value : "");
    weft_err_str(err, "allowed", allowed ? allowed : "");
    return WEFT_CONFIG_INVALID;
}

/* Levenshtein distance of two words below NAME_MAX_BYTES long. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[NAME_MAX_BYTES];
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t shorter = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[n];
}

/* The keys of the section that `path` begins with, or the sections: "blocks, block_tokens, …". */
static void list_names(const char *path, char *out, size_t size)
{
    size_t n_keys, used = 0, section = strcspn(path, ".");
    const struct config_key *keys = config_keys(&n_keys);
    bool known = false;
    for (size_t i = 0; i < n_keys; i++)
        known =
            known || (config_section_length(&keys[i]) == section && !strncmp(keys[i].path, path, section));
    out[0] = 0;
    for (size_t i = 0; i < n_keys && used < size; i++) {
        const char *name = keys[i].path;
        size_t len = config_section_length(&keys[i]);
        if (known) {
            if (len != section || strncmp(name, path, section) != 0)
                continue;
            name += len + 1;
            len = strlen(name);
        } else if (i > 0 && config_section_length(&keys[i - 1]) == len &&
                   !strncmp(keys[i - 1].path, name, len)) {
            continue;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", (int)len, name);
    }
}

enum weft_rc config_refuse_unknown(struct weft_err *err, const struct config_place *place, const char *path)
{
    char allowed[WEFT_ERR_TEXT_MAX], problem[NAME_MAX_BYTES + 64] = "unknown key";
    list_names(path, allowed, sizeof allowed);
    if (strlen(path) < NAME_MAX_BYTES) {
        size_t n, best = DID_YOU_MEAN_DISTANCE;
        const struct config_key *keys = config_keys(&n);
        for (size_t i = 0; i < n; i++) {
            size_t d = distance(path, keys[i].path);
            if (d < best) {
                best = d;
                snprintf(problem, sizeof problem, "unknown key; did you mean %s?", keys[i].path);
            }
        }
    }
    return config_refuse(err, place, path, "", allowed, problem);
}

static enum weft_rc refuse_word(struct weft_err *err, const struct config_place *place,
                                const struct config_key *key, const struct config_word *word,
                                const char *problem)
{
    char value[128], text[256];
    snprintf(value, sizeof value, "%.*s%s", word->n > 100 ? 100 : (int)word->n, word->s,
             word->n > 100 ? "…" : "");
    snprintf(text, sizeof text, "\"%s\" %s", value, problem);
    return config_refuse(err, place, key->path, value, NULL, text);
}

/* ---- storing ---- */

static enum weft_rc store_bool(struct weft_config *cfg, const struct config_key *key, const char *s,
                               const char **problem)
{
    bool yes = strcmp(s, "true") == 0;
    if (!yes && strcmp(s, "false") != 0) {
        *problem = "is neither true nor false";
        return WEFT_CONFIG_INVALID;
    }
    *(bool *)field(cfg, key) = yes;
    return WEFT_OK;
}

/* Decimal digits with a sign at most: no octal, no 1e3, no 1_000, nothing after it. */
static enum weft_rc store_int(struct weft_config *cfg, const struct config_key *key, const char *s,
                              const char **problem)
{
    const char *digits = s + (*s == '-' || *s == '+');
    if (!*digits || digits[strspn(digits, "0123456789")]) {
        *problem = "is not a whole number";
        return WEFT_CONFIG_INVALID;
    }
    errno = 0;
    long long v = strtoll(s, NULL, 10);
    if (errno || v < (long long)key->min || v > (long long)key->max) {
        *problem = "is out of range";
        return WEFT_CONFIG_INVALID;
    }
    *(int64_t *)field(cfg, key) = v;
    return WEFT_OK;
}

static enum weft_rc store_real(struct weft_config *cfg, const struct config_key *key, const char *s,
                               const char **problem)
{
    char *end = NULL;
    double v = strtod(s, &end);
    /* strtod also reads hexadecimal, inf and nan, and skips leading space: not numbers in a configuration. */
    if (!*s || *end || s[strspn(s, "0123456789+-.eE")]) {
        *problem = "is not a number";
        return WEFT_CONFIG_INVALID;
    }
    if (!isfinite(v) || v < key->min || v > key->max || (key->above_min && v <= key->min)) {
        *problem = "is out of range";
        return WEFT_CONFIG_INVALID;
    }
    *(double *)field(cfg, key) = v;
    return WEFT_OK;
}

static enum weft_rc store_choice(struct weft_config *cfg, const struct config_key *key, const char *s,
                                 const char **problem)
{
    for (int i = 0; key->choices[i]; i++) {
        if (strcmp(key->choices[i], s) == 0) {
            *(int *)field(cfg, key) = i;
            return WEFT_OK;
        }
    }
    *problem = "is none of its words";
    return WEFT_CONFIG_INVALID;
}

static enum weft_rc store_text(struct weft_config *cfg, const struct config_key *key, const char *s,
                               const char **problem)
{
    size_t n = strlen(s);
    if ((double)n < key->min || (double)n > key->max) {
        *problem = n ? "is too long" : "is empty";
        return WEFT_CONFIG_INVALID;
    }
    char *copy = mem_strdup(s);
    if (!copy)
        return WEFT_INTERNAL_ERROR;
    char **p = field(cfg, key);
    mem_free(*p);
    *p = copy;
    return WEFT_OK;
}

static void list_clear(struct config_list *list)
{
    for (unsigned i = 0; i < list->n; i++)
        mem_free(list->item[i]);
    *list = (struct config_list){.n = 0};
}

static enum weft_rc list_add(struct weft_config *cfg, const struct config_key *key, const char *s,
                             const char **problem)
{
    struct config_list *list = field(cfg, key);
    if (!*s || list->n == CONFIG_MODELS_MAX) {
        *problem = *s ? "is one too many" : "is empty";
        return WEFT_CONFIG_INVALID;
    }
    char *copy = mem_strdup(s);
    if (!copy)
        return WEFT_INTERNAL_ERROR;
    list->item[list->n++] = copy;
    return WEFT_OK;
}

static enum weft_rc (*const store_as[])(struct weft_config *, const struct config_key *, const char *,
                                        const char **) = {
    [CONFIG_BOOL] = store_bool,     [CONFIG_INT] = store_int,   [CONFIG_REAL] = store_real,
    [CONFIG_CHOICE] = store_choice, [CONFIG_TEXT] = store_text, [CONFIG_LIST] = list_add,
};

static enum weft_rc store_one(struct weft_config *cfg, const struct config_key *key,
                              const struct config_word *word, const struct config_place *place,
                              struct weft_err *err)
{
    const char *problem = NULL;
    struct config_place at = *place;
    if (word->line)
        at.line = word->line;
    if (memchr(word->s, 0, word->n))
        return refuse_word(err, &at, key, word, "holds a NUL character");
    char *s = mem_memdup(word->s, word->n);
    if (!s)
        return weft_err_nomem(err, key->path, word->n);
    enum weft_rc rc = store_as[key->type](cfg, key, s, &problem);
    mem_free(s);
    if (rc == WEFT_CONFIG_INVALID)
        return refuse_word(err, &at, key, word, problem);
    if (rc)
        return weft_err_nomem(err, key->path, word->n);
    cfg->origin[config_key_index(key)] = (struct config_origin){at.source, at.line};
    return WEFT_OK;
}

enum weft_rc config_store(struct weft_config *cfg, const struct config_key *key,
                          const struct config_word *words, size_t n, const struct config_place *place,
                          struct weft_err *err)
{
    if (key->type == CONFIG_LIST)
        list_clear(field(cfg, key));
    if (n == 0)
        return config_refuse(err, place, key->path, "[]", NULL, "an empty list");
    enum weft_rc rc = WEFT_OK;
    for (size_t i = 0; i < n && rc == WEFT_OK; i++)
        rc = store_one(cfg, key, &words[i], place, err);
    return rc;
}

enum weft_rc config_source(struct weft_config *cfg, const char *name, unsigned *out, struct weft_err *err)
{
    for (*out = 0; *out < cfg->n_sources; ++*out)
        if (strcmp(cfg->sources[*out], name) == 0)
            return WEFT_OK;
    if (cfg->n_sources == CONFIG_SOURCES_MAX)
        return weft_err_set(err, WEFT_CONFIG_INVALID, "%s: more than %d sources of configuration", name,
                            CONFIG_SOURCES_MAX);
    char *copy = mem_strdup(name);
    if (!copy)
        return weft_err_nomem(err, "config_source", strlen(name));
    cfg->sources[cfg->n_sources++] = copy;
    return WEFT_OK;
}

enum weft_rc config_set_word(struct weft_config *cfg, const char *path, const char *word, const char *origin,
                             struct weft_err *err)
{
    struct config_place place = {.file = origin};
    const struct config_key *key = config_key_find(path);
    if (!key)
        return config_refuse_unknown(err, &place, path);
    enum weft_rc rc = config_source(cfg, origin, &place.source, err);
    if (rc)
        return rc;
    struct config_word w = {.s = word, .n = strlen(word)};
    bool more = key->type == CONFIG_LIST && cfg->origin[config_key_index(key)].source == place.source;
    return more ? store_one(cfg, key, &w, &place, err) : config_store(cfg, key, &w, 1, &place, err);
}

enum weft_rc config_init(struct weft_config *cfg, struct weft_err *err)
{
    *cfg = (struct weft_config){.n_sources = 0};
    struct config_place place = {.file = "default"};
    enum weft_rc rc = config_source(cfg, place.file, &place.source, err);
    size_t n;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n && rc == WEFT_OK; i++) {
        struct config_word word = {.s = keys[i].preset, .n = strlen(keys[i].preset)};
        rc = config_store(cfg, &keys[i], &word, 1, &place, err);
    }
    if (rc)
        config_deinit(cfg);
    return rc;
}

void config_deinit(struct weft_config *cfg)
{
    size_t n;
    const struct config_key *keys = config_keys(&n);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].type == CONFIG_LIST)
            list_clear(field(cfg, &keys[i]));
        else if (keys[i].type == CONFIG_TEXT)
            mem_free(*(char **)field(cfg, &keys[i]));
    }
    for (unsigned i = 0; i < cfg->n_sources; i++)
        mem_free(cfg->sources[i]);
    *cfg = (struct weft_config){.n_sources = 0};
}

/* ---- between keys ---- */

struct bound {
    const char *low, *high; /* low ≤ high */
    bool zero_is_unset;     /* a 0 on either side means "not given": nothing to compare */
};
static const struct bound bounds[] = {
    {"scheduler.max_batch_size", "scheduler.max_batch_tokens", false},
    {"batching.min_batch_size", "scheduler.max_batch_size", false},
    {"resources.max_memory_mb", "resources.critical_memory_mb", true},
};

static struct config_place place_of(const struct weft_config *cfg, const struct config_key *key)
{
    const struct config_origin *o = &cfg->origin[config_key_index(key)];
    return (struct config_place){.file = cfg->sources[o->source], .source = o->source, .line = o->line};
}

enum weft_rc config_check(const struct weft_config *cfg, struct weft_err *err)
{
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        const struct config_key *low = config_key_find(bounds[i].low),
                                *high = config_key_find(bounds[i].high);
        int64_t lo = *(const int64_t *)((const char *)cfg + low->offset);
        int64_t hi = *(const int64_t *)((const char *)cfg + high->offset);
        if (lo <= hi || (bounds[i].zero_is_unset && (lo == 0 || hi == 0)))
            continue;
        /* The user can only mend what the user wrote: name a key that isn't a default. */
        struct config_place place = place_of(cfg, high);
        bool name_high = place.source != 0;
        if (!name_high)
            place = place_of(cfg, low);
        char problem[128], allowed[96], value[24];
        snprintf(problem, sizeof problem, "%lld is %s %s, which is %lld", (long long)(name_high ? hi : lo),
                 name_high ? "below" : "above", name_high ? low->path : high->path,
                 (long long)(name_high ? lo : hi));
        snprintf(allowed, sizeof allowed, "at %s %s", name_high ? "least" : "most",
                 name_high ? low->path : high->path);
        snprintf(value, sizeof value, "%lld", (long long)(name_high ? hi : lo));
        return config_refuse(err, &place, name_high ? high->path : low->path, value, allowed, problem);
    }
    return WEFT_OK;
}
