/*
 * YAML to configuration. libyaml composes a document (aliases resolved); what is applied are mappings of
 * words, two levels deep at most, so nothing here recurses by what a file says.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/yamldoc.h"
#include "src/config_internal.h"

enum { PATH_MAX_BYTES = 128 };

/* One source being applied. */
struct load {
    struct weft_config *cfg;
    yaml_document_t doc;
    struct config_place place;
    bool inline_text;                       /* a --set argument: lines mean nothing */
    unsigned key_line[CONFIG_KEYS_MAX];     /* where each key was set in this source; 0: not yet */
    unsigned section_line[CONFIG_KEYS_MAX]; /* the same for sections, by their first key */
};

static unsigned line_of(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static const struct config_place *at(struct load *l, const yaml_node_t *node)
{
    l->place.line = l->inline_text ? 0 : line_of(node);
    return &l->place;
}

/* The text of a scalar for messages; "[…]" and "{…}" for the others. */
static const char *shown(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE     ? (const char *)node->data.scalar.value
           : node->type == YAML_SEQUENCE_NODE ? "[…]"
                                              : "{…}";
}

static bool is_empty(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static struct config_word word_of(struct load *l, const yaml_node_t *node)
{
    return (struct config_word){.s = (const char *)node->data.scalar.value,
                                .n = node->data.scalar.length,
                                .line = l->inline_text ? 0 : line_of(node)};
}

static enum weft_rc apply_value(struct load *l, const struct config_key *key, yaml_node_t *node,
                                struct weft_err *err)
{
    if (node->type == YAML_SCALAR_NODE) {
        struct config_word word = word_of(l, node);
        return config_store(l->cfg, key, &word, 1, at(l, node), err);
    }
    if (node->type != YAML_SEQUENCE_NODE || key->type != CONFIG_LIST)
        return config_refuse(err, at(l, node), key->path, shown(node), NULL,
                             node->type == YAML_MAPPING_NODE
                                 ? "a mapping where one value is needed (quote text with \": \" in it)"
                                 : "a list where one value is needed");
    struct config_word words[CONFIG_MODELS_MAX];
    size_t n = 0;
    yaml_node_item_t *end = node->data.sequence.items.top;
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < end; i++) {
        const yaml_node_t *item = yaml_document_get_node(&l->doc, *i);
        if (n == CONFIG_MODELS_MAX || item->type != YAML_SCALAR_NODE)
            return config_refuse(err, at(l, item), key->path, shown(item), NULL,
                                 n == CONFIG_MODELS_MAX ? "one too many" : "a word is needed here");
        words[n++] = word_of(l, item);
    }
    return config_store(l->cfg, key, words, n, at(l, node), err);
}

static enum weft_rc refuse_twice(struct load *l, const yaml_node_t *node, const char *path, unsigned first,
                                 struct weft_err *err)
{
    char problem[64] = "set twice";
    if (!l->inline_text)
        snprintf(problem, sizeof problem, "set twice; first in line %u", first);
    return config_refuse(err, at(l, node), path, "", "each key once", problem);
}

static enum weft_rc apply_mapping(struct load *l, const char *section, yaml_node_t *node,
                                  struct weft_err *err);

/* One "key: value" pair; `section` is NULL at the top. */
static enum weft_rc apply_pair(struct load *l, const char *section, const yaml_node_t *name,
                               yaml_node_t *value, struct weft_err *err)
{
    char path[PATH_MAX_BYTES];
    if (name->type != YAML_SCALAR_NODE)
        return config_refuse(err, at(l, name), section ? section : "", shown(name), "a key's name",
                             "not a key");
    if (snprintf(path, sizeof path, "%s%s%s", section ? section : "", section ? "." : "", shown(name)) >=
        (int)sizeof path)
        return config_refuse_unknown(err, at(l, name), path);

    const struct config_key *key = config_key_find(path);
    const struct config_key *first = section ? NULL : config_section_find(path);
    if (!key && !first)
        return config_refuse_unknown(err, at(l, name), path);
    unsigned *line = key ? &l->key_line[config_key_index(key)] : &l->section_line[config_key_index(first)];
    if (*line)
        return refuse_twice(l, name, path, *line, err);
    *line = line_of(name);
    return key ? apply_value(l, key, value, err) : apply_mapping(l, path, value, err);
}

static enum weft_rc apply_mapping(struct load *l, const char *section, yaml_node_t *node,
                                  struct weft_err *err)
{
    if (is_empty(node)) /* a section whose keys are all commented out */
        return WEFT_OK;
    if (node->type != YAML_MAPPING_NODE)
        return config_refuse(err, at(l, node), section ? section : "", shown(node), "keys and values",
                             section ? "a section needs keys" : "a configuration is a mapping of sections");
    enum weft_rc rc = WEFT_OK;
    yaml_node_pair_t *end = node->data.mapping.pairs.top;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < end && rc == WEFT_OK; p++)
        rc = apply_pair(l, section, yaml_document_get_node(&l->doc, p->key),
                        yaml_document_get_node(&l->doc, p->value), err);
    return rc;
}

/* Composes the only document of `text` and hands its root (NULL when empty) to `apply`. */
static enum weft_rc with_document(struct load *l, const char *text, size_t n,
                                  enum weft_rc (*apply)(struct load *, const char *, yaml_node_t *,
                                                        struct weft_err *),
                                  const char *path, struct weft_err *err)
{
    struct yamldoc_problem problem;
    enum weft_rc rc = yamldoc_compose(text, n, &l->doc, &problem, err);
    if (rc == WEFT_FILE_INVALID) {
        struct config_place place = l->place;
        place.line = l->inline_text ? 0 : problem.line;
        return config_refuse(err, &place, "", "", problem.limit, problem.text);
    }
    if (rc)
        return rc;
    rc = apply(l, path, yaml_document_get_root_node(&l->doc), err);
    yaml_document_delete(&l->doc);
    return rc;
}

static enum weft_rc apply_file(struct load *l, const char *unused, yaml_node_t *root, struct weft_err *err)
{
    (void)unused;
    return root ? apply_mapping(l, NULL, root, err) : WEFT_OK;
}

enum weft_rc config_load_text(struct weft_config *cfg, const char *name, const char *text, size_t n,
                              struct weft_err *err)
{
    struct load l = {.cfg = cfg, .place = {.file = name}};
    enum weft_rc rc = config_source(cfg, name, &l.place.source, err);
    return rc ? rc : with_document(&l, text, n, apply_file, NULL, err);
}

enum weft_rc config_load_node(struct weft_config *cfg, const char *name, yaml_document_t *doc,
                              yaml_node_t *node, struct weft_err *err)
{
    struct load l = {
        .cfg = cfg, .doc = *doc, .place = {.file = name}}; /* borrowed: nodes are only looked up */
    enum weft_rc rc = config_source(cfg, name, &l.place.source, err);
    return rc ? rc : apply_mapping(&l, NULL, node, err);
}

static enum weft_rc refuse_file(const char *path, const char *problem, struct weft_err *err)
{
    struct config_place place = {.file = path};
    return config_refuse(err, &place, "", "", "a readable file of at most 1 MiB", problem);
}

enum weft_rc config_load_file(struct weft_config *cfg, const char *path, struct weft_err *err)
{
    struct buf text = BUF_INIT;
    enum weft_rc rc;
    struct stat st;
    /* O_NONBLOCK: a FIFO given by mistake is refused rather than waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) || (S_ISDIR(st.st_mode) && (errno = EISDIR))) {
        rc = refuse_file(path, strerror(errno), err);
        goto out;
    }
    int got = buf_read_fd(&text, fd, CONFIG_FILE_LIMIT);
    if (got)
        rc = refuse_file(path, got < 0 ? strerror(errno) : "larger than 1 MiB", err);
    else
        rc = config_load_text(cfg, path, buf_str(&text), text.len, err);
out:
    if (fd >= 0)
        close(fd);
    buf_free(&text);
    return rc;
}

static enum weft_rc apply_assignment(struct load *l, const char *path, yaml_node_t *root,
                                     struct weft_err *err)
{
    const struct config_key *key = config_key_find(path);
    if (!key && !config_section_find(path))
        return config_refuse_unknown(err, &l->place, path);
    if (!root) { /* nothing after '=': an empty word */
        struct config_word word = {.s = ""};
        return key ? config_store(l->cfg, key, &word, 1, &l->place, err)
                   : config_refuse(err, &l->place, path, "", "keys and values", "a section needs keys");
    }
    return key ? apply_value(l, key, root, err) : apply_mapping(l, path, root, err);
}

enum weft_rc config_set(struct weft_config *cfg, const char *assignment, struct weft_err *err)
{
    struct load l = {.cfg = cfg, .place = {.file = "--set"}, .inline_text = true};
    char path[PATH_MAX_BYTES];
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment || equals - assignment >= (int)sizeof path)
        return config_refuse(err, &l.place, "", assignment, "key.path=value",
                             equals ? "no key's name before the \"=\"" : "an assignment is needed");
    snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    enum weft_rc rc = config_source(cfg, l.place.file, &l.place.source, err);
    return rc ? rc : with_document(&l, equals + 1, strlen(equals + 1), apply_assignment, path, err);
}
