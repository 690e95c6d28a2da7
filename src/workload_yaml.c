#include "src/workload_yaml.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/base/yamldoc.h"
#include "engine/sched/request.h"

unsigned wyaml_line(const yaml_node_t *node)
{
    return (unsigned)node->start_mark.line + 1;
}

static void *field(const struct wyaml_key *k, void *target)
{
    return (char *)target + k->offset;
}

/* ---- refusing ---- */

enum weft_rc wyaml_refuse(const struct wyaml *y, const yaml_node_t *node, const char *path, const char *value,
                          const char *allowed, const char *problem, struct weft_err *err)
{
    weft_err_set(err, WEFT_CONFIG_INVALID, "%s:%u: %s%s%s; allowed: %s", y->file, wyaml_line(node), path,
                 *path ? ": " : "", problem, allowed);
    weft_err_str(err, "file", y->file);
    weft_err_num(err, "line", wyaml_line(node));
    weft_err_str(err, "key", path);
    weft_err_str(err, "value", value);
    weft_err_str(err, "allowed", allowed);
    return WEFT_CONFIG_INVALID;
}

static const char *allowed_by(const struct wyaml_key *k, char *out, size_t size)
{
    if (k->allowed)
        return k->allowed;
    snprintf(out, size, "%.15g … %.15g", k->min, k->max);
    return out;
}

static enum weft_rc refuse_value(const struct wyaml *y, const struct wyaml_key *k, const yaml_node_t *node,
                                 const char *path, const char *problem, struct weft_err *err)
{
    char allowed[96], shown[128], text[256];
    bool word = node->type == YAML_SCALAR_NODE;
    const char *value = word                               ? (const char *)node->data.scalar.value
                        : node->type == YAML_SEQUENCE_NODE ? "[…]"
                                                           : "{…}";
    size_t whole = utf8_whole(value, strlen(value) < 100 ? strlen(value) : 100);
    snprintf(shown, sizeof shown, "%.*s%s", (int)whole, value, value[whole] ? "…" : "");
    snprintf(text, sizeof text, "\"%s\" %s", shown, problem);
    return wyaml_refuse(y, node, path, shown, allowed_by(k, allowed, sizeof allowed), text, err);
}

static enum weft_rc refuse_unknown(const struct wyaml *y, const struct wyaml_key *keys,
                                   const yaml_node_t *node, const char *path, struct weft_err *err)
{
    char names[WEFT_ERR_TEXT_MAX] = "";
    size_t used = 0;
    for (const struct wyaml_key *k = keys; k->name && used < sizeof names; k++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", k->name);
    return wyaml_refuse(y, node, path, "", names, "unknown key", err);
}

/* ---- mappings and sequences ---- */

static const struct wyaml_key *find_key(const struct wyaml_key *keys, const yaml_node_t *name)
{
    for (; name->type == YAML_SCALAR_NODE && keys->name; keys++)
        if (strcmp(keys->name, (const char *)name->data.scalar.value) == 0)
            return keys;
    return NULL;
}

static void join_path(const char *path, const yaml_node_t *name, char *out)
{
    snprintf(out, WYAML_PATH_MAX, "%s%s%s", path, *path ? "." : "",
             name->type == YAML_SCALAR_NODE ? (const char *)name->data.scalar.value : "?");
}

static enum weft_rc check_required(const struct wyaml *y, const struct wyaml_key *keys,
                                   const yaml_node_t *node, const char *path, uint64_t given,
                                   struct weft_err *err)
{
    char full[WYAML_PATH_MAX], allowed[96];
    for (const struct wyaml_key *k = keys; k->name; k++) {
        if (!k->required || given >> (k - keys) & 1)
            continue;
        snprintf(full, sizeof full, "%s%s%s", path, *path ? "." : "", k->name);
        return wyaml_refuse(y, node, full, "", allowed_by(k, allowed, sizeof allowed), "is missing", err);
    }
    return WEFT_OK;
}

enum weft_rc wyaml_mapping(const struct wyaml *y, const struct wyaml_key *keys, yaml_node_t *node,
                           const char *path, void *target, uint64_t *given, struct weft_err *err)
{
    char full[WYAML_PATH_MAX];
    uint64_t seen = 0;
    if (node->type != YAML_MAPPING_NODE)
        return wyaml_refuse(y, node, path, "", "keys and values", "is no mapping", err);
    yaml_node_pair_t *end = node->data.mapping.pairs.top;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < end; p++) {
        const yaml_node_t *name = yaml_document_get_node(y->doc, p->key);
        const struct wyaml_key *k = find_key(keys, name);
        join_path(path, name, full);
        if (!k)
            return refuse_unknown(y, keys, name, full, err);
        if (seen >> (k - keys) & 1)
            return wyaml_refuse(y, name, full, "", "each key once", "given twice", err);
        seen |= 1ull << (k - keys);
        enum weft_rc rc = k->read(y, k, yaml_document_get_node(y->doc, p->value), full, target, err);
        if (rc)
            return rc;
    }
    if (given)
        *given = seen;
    return check_required(y, keys, node, path, seen, err);
}

uint64_t wyaml_bit(const struct wyaml_key *keys, const char *name)
{
    uint64_t bit = 1;
    while (keys->name && strcmp(keys->name, name) != 0) {
        keys++;
        bit <<= 1;
    }
    return keys->name ? bit : 0;
}

enum weft_rc wyaml_sequence(const struct wyaml *y, const struct wyaml_key *k, yaml_node_t *node,
                            const char *path, void *target,
                            enum weft_rc (*read)(const struct wyaml *y, yaml_node_t *node, const char *path,
                                                 void *target, struct weft_err *err),
                            struct weft_err *err)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return refuse_value(y, k, node, path, "is no list", err);
    const yaml_node_item_t *start = node->data.sequence.items.start, *end = node->data.sequence.items.top;
    if ((double)(end - start) < k->min)
        return refuse_value(y, k, node, path, "is an empty list", err);
    for (const yaml_node_item_t *i = start; i < end; i++) {
        char full[WYAML_PATH_MAX];
        snprintf(full, sizeof full, "%.*s[%ld]", WYAML_PATH_MAX - 24, path, (long)(i - start));
        enum weft_rc rc = read(y, yaml_document_get_node(y->doc, *i), full, target, err);
        if (rc)
            return rc;
    }
    return WEFT_OK;
}

/* ---- words ---- */

const char *wyaml_word(const struct wyaml *y, const struct wyaml_key *k, const yaml_node_t *node,
                       const char *path, struct weft_err *err)
{
    const char *problem = node->type == YAML_SEQUENCE_NODE  ? "is a list where one value is needed"
                          : node->type == YAML_MAPPING_NODE ? "is a mapping where one value is needed"
                          : memchr(node->data.scalar.value, 0, node->data.scalar.length)
                              ? "holds a NUL character"
                              : NULL;
    if (problem) {
        refuse_value(y, k, node, path, problem, err);
        return NULL;
    }
    return (const char *)node->data.scalar.value;
}

enum weft_rc wyaml_number(const struct wyaml *y, const struct wyaml_key *k, const yaml_node_t *node,
                          const char *path, bool whole, double *out, struct weft_err *err)
{
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    /* strtod also reads hexadecimal, inf and nan, and skips leading space: no numbers here. */
    char *end = NULL;
    double v = strtod(s, &end);
    if (!*s || *end || s[strspn(s, whole ? "0123456789+-" : "0123456789+-.eE")])
        return refuse_value(y, k, node, path, whole ? "is not a whole number" : "is not a number", err);
    if (!isfinite(v) || v < k->min || v > k->max)
        return refuse_value(y, k, node, path, "is out of range", err);
    *out = v;
    return WEFT_OK;
}

WYAML_READER(wyaml_bool)
{
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    bool yes = strcmp(s, "true") == 0;
    if (!yes && strcmp(s, "false") != 0)
        return refuse_value(y, k, node, path, "is neither true nor false", err);
    *(bool *)field(k, target) = yes;
    return WEFT_OK;
}

WYAML_READER(wyaml_u32)
{
    double v = 0;
    enum weft_rc rc = wyaml_number(y, k, node, path, true, &v, err);
    if (rc == WEFT_OK)
        *(uint32_t *)field(k, target) = (uint32_t)v;
    return rc;
}

WYAML_READER(wyaml_i64)
{
    double v = 0;
    enum weft_rc rc = wyaml_number(y, k, node, path, true, &v, err);
    if (rc == WEFT_OK)
        *(int64_t *)field(k, target) = (int64_t)v;
    return rc;
}

WYAML_READER(wyaml_real)
{
    return wyaml_number(y, k, node, path, false, (double *)field(k, target), err);
}

WYAML_READER(wyaml_ms)
{
    double ms = 0;
    enum weft_rc rc = wyaml_number(y, k, node, path, false, &ms, err);
    if (rc == WEFT_OK)
        *(int64_t *)field(k, target) = llround(ms * 1e3);
    return rc;
}

WYAML_READER(wyaml_text)
{
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    size_t n = strlen(s);
    if ((double)n < k->min || (double)n > k->max)
        return refuse_value(y, k, node, path, n ? "is too long" : "is empty", err);
    char *copy = mem_strdup(s);
    if (!copy)
        return weft_err_nomem(err, path, n);
    *(char **)field(k, target) = copy; /* a key is read once, so nothing was there before */
    return WEFT_OK;
}

WYAML_READER(wyaml_prio)
{
    const char *s = wyaml_word(y, k, node, path, err);
    if (!s)
        return WEFT_CONFIG_INVALID;
    return prio_parse(s, (enum prio *)field(k, target))
               ? WEFT_OK
               : refuse_value(y, k, node, path, "is no priority", err);
}

WYAML_READER(wyaml_nested)
{
    return wyaml_mapping(y, k->nested, node, path, target, NULL, err);
}

/* ---- documents ---- */

static void refuse_document(const char *file, const struct yamldoc_problem *problem, struct weft_err *err)
{
    weft_err_set(err, WEFT_FILE_INVALID, "%s:%u: %s; allowed: %s", file, problem->line, problem->text,
                 problem->limit);
    weft_err_str(err, "path", file);
    weft_err_str(err, "field", "YAML");
    weft_err_str(err, "value", problem->text);
    weft_err_str(err, "limit", problem->limit);
    weft_err_num(err, "line", problem->line);
}

/* The code unit of a "\uXXXX" at s, or -1. */
static long escaped_unit(const char *s, size_t n)
{
    char hex[5] = "";
    if (n < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    memcpy(hex, s + 2, 4);
    return strspn(hex, "0123456789abcdefABCDEF") == 4 ? strtol(hex, NULL, 16) : -1;
}

/* JSON writes characters beyond U+FFFF as two escapes, which YAML doesn't know: put the character there. Only
 * for texts that begin as JSON objects do, as elsewhere a backslash need not be an escape. */
static bool join_surrogates(const char *text, size_t n, struct buf *out)
{
    size_t first = 0;
    while (first < n && memchr(" \t\r\n", text[first], 4))
        first++;
    bool json = first < n && text[first] == '{';
    for (size_t i = 0; i < n;) {
        long high = json ? escaped_unit(text + i, n - i) : -1;
        long low = high >= 0xd800 && high < 0xdc00 ? escaped_unit(text + i + 6, n - i - 6) : -1;
        size_t len = text[i] == '\\' && i + 1 < n ? 2 : 1;
        if (low >= 0xdc00 && low < 0xe000) {
            char utf8[4];
            uint32_t cp = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            buf_add(out, utf8, utf8_encode(cp, utf8));
            len = 12;
        } else {
            buf_add(out, text + i, len);
        }
        i += len;
    }
    return !out->failed;
}

enum weft_rc wyaml_compose(const char *file, const char *text, size_t n, yaml_document_t *out,
                           struct weft_err *err)
{
    struct yamldoc_problem problem = {
        .line = 1, .text = "nothing in it", .limit = "one YAML or JSON document"};
    struct buf joined = BUF_INIT;
    enum weft_rc rc = WEFT_OK;
    if (!join_surrogates(text, n, &joined)) {
        rc = weft_err_nomem(err, "wyaml_compose", n);
        goto out;
    }
    rc = yamldoc_compose(buf_str(&joined), joined.len, out, &problem, err);
    if (rc == WEFT_OK && !yaml_document_get_root_node(out)) {
        yaml_document_delete(out);
        rc = WEFT_FILE_INVALID;
    }
    if (rc == WEFT_FILE_INVALID)
        refuse_document(file, &problem, err);
out:
    buf_free(&joined);
    return rc;
}
