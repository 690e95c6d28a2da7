#include "src/opt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/config.h"

enum { HELP_COLUMN = 30, HELP_WIDTH = 80 };

static const struct opt_spec *find(const struct opt_spec *const tables[OPT_TABLES], const char *name,
                                   size_t n, char letter)
{
    for (size_t i = 0; i < OPT_TABLES; i++)
        for (const struct opt_spec *s = tables[i]; s && s->name; s++)
            if (name ? strlen(s->name) == n && memcmp(s->name, name, n) == 0 : s->letter == letter)
                return s;
    return NULL;
}

static void *field(const struct opt_result *r, const struct opt_spec *spec)
{
    return (char *)r->target + spec->offset;
}

static enum weft_rc list_add(struct opt_list *list, const char *text, struct weft_err *err)
{
    if (mem_grow(&list->item, &list->cap, list->n + 1, sizeof *list->item))
        return weft_err_nomem(err, "options", list->n * sizeof *list->item);
    list->item[list->n++] = text;
    return WEFT_OK;
}

static enum weft_rc set_uint(struct opt_result *r, const struct opt_spec *spec, const char *value,
                             struct weft_err *err)
{
    size_t digits = strspn(value, "0123456789");
    unsigned long long v = digits && digits < 12 && !value[digits] ? strtoull(value, NULL, 10) : UINT64_MAX;
    if (v < spec->min || v > spec->max)
        return weft_err_set(err, WEFT_USAGE, "--%s: \"%s\" is not a whole number in %u … %u", spec->name,
                            value, spec->min, spec->max);
    *(uint32_t *)field(r, spec) = (uint32_t)v;
    return WEFT_OK;
}

static enum weft_rc assign(struct opt_result *r, const struct opt_spec *spec, const char *value,
                           struct weft_err *err)
{
    if (mem_grow(&r->assignments, &r->cap_assignments, r->n_assignments + 1, sizeof *r->assignments))
        return weft_err_nomem(err, "options", r->n_assignments * sizeof *r->assignments);
    r->assignments[r->n_assignments++] = (struct opt_assignment){spec, value};
    return WEFT_OK;
}

static enum weft_rc set_value(struct opt_result *r, const struct opt_spec *spec, const char *value,
                              struct weft_err *err)
{
    switch (spec->type) {
    case OPT_FLAG: *(bool *)field(r, spec) = true; return WEFT_OK;
    case OPT_TEXT: *(const char **)field(r, spec) = value; return WEFT_OK;
    case OPT_TEXTS: return list_add(field(r, spec), value, err);
    case OPT_UINT: return set_uint(r, spec, value, err);
    case OPT_CONFIG: return assign(r, spec, value, err);
    }
    return WEFT_OK;
}

/* argv[*index] is "--name" or "--name=value". */
static enum weft_rc parse_long(const struct opt_spec *const tables[OPT_TABLES], int argc, char *const *argv,
                               int *index, struct opt_result *out, struct weft_err *err)
{
    const char *name = argv[*index] + 2, *value = strchr(name, '=');
    size_t n = value ? (size_t)(value - name) : strlen(name);
    const struct opt_spec *spec = find(tables, name, n, 0);
    if (!spec)
        return weft_err_set(err, WEFT_USAGE, "unknown option --%.*s; see --help", (int)n, name);
    if (!spec->arg && value)
        return weft_err_set(err, WEFT_USAGE, "--%s takes no value", spec->name);
    if (spec->arg && !value && ++*index >= argc)
        return weft_err_set(err, WEFT_USAGE, "--%s needs %s", spec->name, spec->arg);
    return set_value(out, spec, !spec->arg ? NULL : value ? value + 1 : argv[*index], err);
}

/* argv[*index] is "-x", "-xyz" (flags) or "-xVALUE". */
static enum weft_rc parse_short(const struct opt_spec *const tables[OPT_TABLES], int argc, char *const *argv,
                                int *index, struct opt_result *out, struct weft_err *err)
{
    for (const char *p = argv[*index] + 1; *p; p++) {
        const struct opt_spec *spec = find(tables, NULL, 0, *p);
        if (!spec)
            return weft_err_set(err, WEFT_USAGE, "unknown option -%c; see --help", *p);
        if (!spec->arg) {
            set_value(out, spec, NULL, err);
            continue;
        }
        if (!p[1] && ++*index >= argc)
            return weft_err_set(err, WEFT_USAGE, "-%c needs %s", spec->letter, spec->arg);
        return set_value(out, spec, p[1] ? p + 1 : argv[*index], err);
    }
    return WEFT_OK;
}

enum weft_rc opt_parse(const struct opt_spec *const tables[OPT_TABLES], int argc, char *const *argv,
                       int *index, bool stop, struct opt_result *out, struct weft_err *err)
{
    enum weft_rc rc = WEFT_OK;
    bool ended = false; /* "--" seen */
    for (; *index < argc && rc == WEFT_OK; ++*index) {
        const char *word = argv[*index];
        if (!ended && strcmp(word, "--") == 0) {
            ended = true;
        } else if (ended || word[0] != '-' || !word[1]) {
            if (stop)
                break;
            rc = list_add(&out->operands, word, err);
        } else if (word[1] == '-') {
            rc = parse_long(tables, argc, argv, index, out, err);
        } else {
            rc = parse_short(tables, argc, argv, index, out, err);
        }
    }
    return rc;
}

void opt_result_free(struct opt_result *r)
{
    mem_free(r->assignments);
    mem_free(r->operands.item);
    *r = (struct opt_result){.target = r->target};
}

/* ---- help ---- */

static size_t columns(const char *s, size_t n)
{
    size_t width = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = utf8_decode(s + i, n - i, &cp);
        width += (size_t)utf8_width(cp);
        i += len ? len : 1;
    }
    return width;
}

void opt_wrap(const char *text, size_t column, size_t indent, struct buf *out)
{
    while (*text) {
        size_t n = strcspn(text, " \n"), width = columns(text, n);
        if (column > indent && column + 1 + width > HELP_WIDTH) {
            buf_addf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            buf_addc(out, ' ');
            column++;
        }
        buf_add(out, text, n);
        column += width;
        text += n;
        if (*text == '\n') {
            buf_addf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        text += *text != 0;
    }
    buf_addc(out, '\n');
}

void opt_help(const struct opt_spec *table, struct buf *out)
{
    for (const struct opt_spec *s = table; s->name; s++) {
        char left[64], text[512], allowed[128];
        snprintf(left, sizeof left, "  %c%c%s --%s %s", s->letter ? '-' : ' ', s->letter ? s->letter : ' ',
                 s->letter ? "," : " ", s->name, s->arg ? s->arg : "");
        const struct config_key *key = s->key ? config_key_find(s->key) : NULL;
        if (key && (key->type == CONFIG_INT || key->type == CONFIG_REAL)) {
            config_allowed(key, allowed, sizeof allowed);
            snprintf(text, sizeof text, "%s [%s; default %s]", s->help, allowed, key->preset);
        } else if (s->type == OPT_UINT) {
            snprintf(text, sizeof text, "%s [%u … %u]", s->help, s->min, s->max);
        } else {
            snprintf(text, sizeof text, "%s", s->help);
        }
        buf_adds(out, left);
        size_t width = columns(left, strlen(left));
        if (width + 2 > HELP_COLUMN) {
            buf_addc(out, '\n');
            width = 0;
        }
        buf_addf(out, "%*s", (int)(HELP_COLUMN - width), "");
        opt_wrap(text, HELP_COLUMN, HELP_COLUMN, out);
    }
}
