/* Reading a theme's YAML: every mistake is named with its file, line and key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/yamldoc.h"
#include "ui/theme.h"

enum { MIN_SESSION_COLOURS = 8, KEY_MAX = 64 };

struct reader {
    yaml_document_t *doc;
    const char *file;
    struct theme *theme;
    int lines[ROLE_COUNT]; /* where a role was set, for messages; 0: nowhere */
    struct weft_err *err;
};

static int line_of(const yaml_node_t *n)
{
    return (int)n->start_mark.line + 1;
}

/* CONFIG_INVALID for a value: "file:line: key: 'value' is not …". */
static enum weft_rc refuse(const struct reader *r, int line, const char *key, const char *value,
                           const char *allowed)
{
    weft_err_set(r->err, WEFT_CONFIG_INVALID, "%s:%d: %s: '%s' is not allowed (%s)", r->file, line, key,
                 value, allowed);
    weft_err_str(r->err, "file", r->file);
    weft_err_num(r->err, "line", line);
    weft_err_str(r->err, "key", key);
    weft_err_str(r->err, "value", value);
    weft_err_str(r->err, "allowed", allowed);
    return WEFT_CONFIG_INVALID;
}

static const char *kind_name(const yaml_node_t *n)
{
    return n->type == YAML_MAPPING_NODE ? "a mapping" : n->type == YAML_SEQUENCE_NODE ? "a list" : "a scalar";
}

/* The text of a scalar; NULL for any other node. */
static const char *scalar(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static enum weft_rc read_colour(struct reader *r, const yaml_node_t *n, const char *key, struct colour *out)
{
    const char *s = scalar(n);
    return s && colour_parse(s, out) ? WEFT_OK
                                     : refuse(r, line_of(n), key, s ? s : kind_name(n), COLOUR_ALLOWED);
}

static enum weft_rc read_attr(struct reader *r, const yaml_node_t *n, const char *key, uint8_t *attrs)
{
    static const struct {
        const char *name;
        uint8_t attr;
    } names[] = {{"bold", ATTR_BOLD},
                 {"dim", ATTR_DIM},
                 {"italic", ATTR_ITALIC},
                 {"underline", ATTR_UNDERLINE},
                 {"reverse", ATTR_REVERSE}};
    const char *s = scalar(n);
    for (size_t i = 0; s && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(s, names[i].name) == 0) {
            *attrs |= names[i].attr;
            return WEFT_OK;
        }
    }
    return refuse(r, line_of(n), key, s ? s : kind_name(n), "bold, dim, italic, underline, reverse");
}

static enum weft_rc read_attrs(struct reader *r, const yaml_node_t *n, const char *key, uint8_t *attrs)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return read_attr(r, n, key, attrs);
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        enum weft_rc rc = read_attr(r, yaml_document_get_node(r->doc, *i), key, attrs);
        if (rc)
            return rc;
    }
    return WEFT_OK;
}

/* "key: 244", or "key: {fg: 244, bg: 236, attrs: [bold]}". */
static enum weft_rc read_role(struct reader *r, const yaml_node_t *n, const char *key, struct theme_role *out)
{
    struct theme_role role = {.set = true};
    enum weft_rc rc = WEFT_OK;
    if (n->type != YAML_MAPPING_NODE) {
        rc = read_colour(r, n, key, &role.fg);
    } else {
        for (yaml_node_pair_t *p = n->data.mapping.pairs.start; !rc && p < n->data.mapping.pairs.top; p++) {
            const yaml_node_t *k = yaml_document_get_node(r->doc, p->key);
            const yaml_node_t *v = yaml_document_get_node(r->doc, p->value);
            const char *part = scalar(k);
            char full[KEY_MAX];
            snprintf(full, sizeof full, "%s.%s", key, part ? part : "?");
            if (part && strcmp(part, "fg") == 0)
                rc = read_colour(r, v, full, &role.fg);
            else if (part && strcmp(part, "bg") == 0)
                rc = read_colour(r, v, full, &role.bg);
            else if (part && strcmp(part, "attrs") == 0)
                rc = read_attrs(r, v, full, &role.attrs);
            else
                rc = refuse(r, line_of(k), key, part ? part : kind_name(k), "fg, bg, attrs");
        }
    }
    if (!rc)
        *out = role;
    return rc;
}

static enum weft_rc read_roles(struct reader *r, const yaml_node_t *n)
{
    if (n->type != YAML_MAPPING_NODE)
        return refuse(r, line_of(n), "roles", kind_name(n), "a mapping of roles");
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(r->doc, p->key);
        const char *key = scalar(k);
        int role = 0;
        while (role < ROLE_SESSION_FIRST && (!key || strcmp(key, theme_role_key((enum role)role)) != 0))
            role++;
        if (role == ROLE_SESSION_FIRST)
            return refuse(r, line_of(k), "roles", key ? key : kind_name(k),
                          "the roles that docs/themes.md lists");
        if (r->lines[role])
            return refuse(r, line_of(k), key, "given twice", "each role once");
        r->lines[role] = line_of(k);
        enum weft_rc rc = read_role(r, yaml_document_get_node(r->doc, p->value), key, &r->theme->roles[role]);
        if (rc)
            return rc;
    }
    return WEFT_OK;
}

static enum weft_rc read_sessions(struct reader *r, const yaml_node_t *n)
{
    char allowed[48];
    snprintf(allowed, sizeof allowed, "a list of %d to %d colours", MIN_SESSION_COLOURS,
             THEME_SESSION_COLOURS);
    if (n->type != YAML_SEQUENCE_NODE)
        return refuse(r, line_of(n), "sessions", kind_name(n), allowed);
    int given = (int)(n->data.sequence.items.top - n->data.sequence.items.start);
    if (given < MIN_SESSION_COLOURS || given > THEME_SESSION_COLOURS) {
        char count[24];
        snprintf(count, sizeof count, "%d colours", given);
        return refuse(r, line_of(n), "sessions", count, allowed);
    }
    for (int i = 0; i < given; i++) {
        const yaml_node_t *v = yaml_document_get_node(r->doc, n->data.sequence.items.start[i]);
        char key[KEY_MAX];
        snprintf(key, sizeof key, "sessions[%d]", i);
        struct theme_role *role = &r->theme->roles[ROLE_SESSION_FIRST + i];
        enum weft_rc rc = read_role(r, v, key, role);
        if (rc)
            return rc;
        r->lines[ROLE_SESSION_FIRST + i] = line_of(v);
    }
    for (int i = given; i < THEME_SESSION_COLOURS; i++)
        r->theme->roles[ROLE_SESSION_FIRST + i] = r->theme->roles[ROLE_SESSION_FIRST + i % given];
    return WEFT_OK;
}

static enum weft_rc read_name(struct reader *r, const yaml_node_t *n)
{
    const char *s = scalar(n);
    if (!s || !*s || strlen(s) >= sizeof r->theme->name)
        return refuse(r, line_of(n), "name", s ? s : kind_name(n), "1 to 31 bytes of text");
    memcpy(r->theme->name, s, strlen(s) + 1);
    return WEFT_OK;
}

static enum weft_rc read_background(struct reader *r, const yaml_node_t *n)
{
    const char *s = scalar(n);
    bool dark = s && strcmp(s, "dark") == 0;
    if (!dark && !(s && strcmp(s, "light") == 0))
        return refuse(r, line_of(n), "background", s ? s : kind_name(n), "dark, light");
    r->theme->light = !dark;
    return WEFT_OK;
}

static enum weft_rc read_root(struct reader *r)
{
    static const struct {
        const char *key;
        enum weft_rc (*read)(struct reader *r, const yaml_node_t *n);
    } keys[] = {{"name", read_name},
                {"background", read_background},
                {"roles", read_roles},
                {"sessions", read_sessions}};
    enum { N_KEYS = sizeof keys / sizeof keys[0] };
    bool seen[N_KEYS] = {false};

    const yaml_node_t *root = yaml_document_get_root_node(r->doc);
    if (!root)
        return refuse(r, 1, "theme", "nothing", "a mapping with name, background, roles, sessions");
    if (root->type != YAML_MAPPING_NODE)
        return refuse(r, line_of(root), "theme", kind_name(root),
                      "a mapping with name, background, roles, sessions");
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(r->doc, p->key);
        const char *key = scalar(k);
        int i = 0;
        while (i < N_KEYS && (!key || strcmp(key, keys[i].key) != 0))
            i++;
        if (i == N_KEYS)
            return refuse(r, line_of(k), key ? key : kind_name(k), "unknown key",
                          "name, background, roles, sessions");
        if (seen[i])
            return refuse(r, line_of(k), key, "given twice", "each key once");
        seen[i] = true;
        enum weft_rc rc = keys[i].read(r, yaml_document_get_node(r->doc, p->value));
        if (rc)
            return rc;
    }
    for (int i = 0; i < N_KEYS; i++)
        if (!seen[i])
            return refuse(r, line_of(root), keys[i].key, "missing",
                          "a theme has name, background, roles and sessions");
    return WEFT_OK;
}

/* Text in the colour of its background can't be read: refuse the role, at whatever depth that happens. */
static enum weft_rc check_contrast(const struct reader *r)
{
    for (int i = 0; i < ROLE_COUNT; i++) {
        const struct theme_role *role = &r->theme->roles[i];
        for (int d = 0; r->lines[i] && d < THEME_DEPTHS; d++) {
            if (role->fg_at[d] < 0 || role->fg_at[d] != role->bg_at[d])
                continue;
            char value[64], session[KEY_MAX];
            snprintf(value, sizeof value, "colour %d on itself with %d colours", role->fg_at[d],
                     theme_depths[d]);
            snprintf(session, sizeof session, "sessions[%d]", i - ROLE_SESSION_FIRST);
            const char *key = theme_role_key((enum role)i);
            return refuse(r, r->lines[i], key ? key : session, value,
                          "fg and bg must differ at 256, 16 and 8 colours");
        }
    }
    return WEFT_OK;
}

enum weft_rc theme_parse(const char *yaml, size_t n, const char *file, struct theme *out,
                         struct weft_err *err)
{
    yaml_document_t doc;
    struct yamldoc_problem problem;
    struct theme theme = {.light = false};
    struct reader r = {.doc = &doc, .file = file, .theme = &theme, .err = err};

    enum weft_rc rc = yamldoc_compose(yaml, n, &doc, &problem, err);
    if (rc == WEFT_FILE_INVALID)
        return refuse(&r, (int)problem.line, "theme", problem.text, problem.limit);
    if (rc)
        return rc;
    rc = read_root(&r);
    if (!rc) {
        theme_complete(&theme);
        rc = check_contrast(&r);
    }
    if (!rc)
        *out = theme;
    yaml_document_delete(&doc);
    return rc;
}
