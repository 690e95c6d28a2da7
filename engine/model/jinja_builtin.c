/* Filters, tests, methods and functions: a table each. What isn't in one is an error that names it. */
#include "engine/model/jinja.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- iteration and attributes --- */

bool jinja_iterate(struct jinja *x, const struct jval *v, struct jlist **out)
{
    struct jval list;
    if (v->type == J_LIST) {
        *out = v->u.list;
        return true;
    }
    list = jval_new_list(x);
    *out = list.u.list;
    if (!*out)
        return jinja_nomem(x);
    if (v->type == J_DICT) {
        for (size_t i = 0; i < v->u.dict->n; i++)
            if (!jlist_add(x, *out, v->u.dict->key[i]))
                return false;
        return true;
    }
    if (v->type == J_STRING) {
        for (size_t p = 0, q; p < v->u.s.n; p = q) {
            for (q = p + 1; q < v->u.s.n && ((unsigned char)v->u.s.s[q] & 0xc0) == 0x80; q++)
                ;
            if (!jlist_add(x, *out, jval_str(jstr_sub(v->u.s, p, q))))
                return false;
        }
        return true;
    }
    return v->type == J_UNDEFINED || jinja_fail(x, "can't loop over %s", jval_type_name(v));
}

struct jval jinja_attr(const struct jval *v, struct jstr name)
{
    const struct jval *found = v->type == J_DICT ? jdict_get(v->u.dict, jval_str(name)) : NULL;
    return found ? *found : jval_undefined(name);
}

/* --- tests --- */

static bool test_defined(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type != J_UNDEFINED;
}
static bool test_undefined(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_UNDEFINED;
}
static bool test_none(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_NONE;
}
static bool test_string(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_STRING;
}
static bool test_mapping(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_DICT && !v->u.dict->is_namespace;
}
static bool test_number(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_INT || v->type == J_FLOAT || v->type == J_BOOL;
}
static bool test_integer(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_INT;
}
static bool test_float(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_FLOAT;
}
static bool test_boolean(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_BOOL;
}
static bool test_true(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_BOOL && v->u.b;
}
static bool test_false(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_BOOL && !v->u.b;
}
/* Undefined counts, as Jinja2's own test has it: it can be looped over. */
static bool test_iterable(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_STRING || v->type == J_LIST || v->type == J_DICT || v->type == J_UNDEFINED;
}
static bool test_even(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_INT && v->u.i % 2 == 0;
}
static bool test_odd(const struct jval *v, const struct jval *w)
{
    (void)w;
    return v->type == J_INT && v->u.i % 2 != 0;
}
static bool test_equal(const struct jval *v, const struct jval *w)
{
    return jval_equal(v, w);
}
static bool test_not_equal(const struct jval *v, const struct jval *w)
{
    return !jval_equal(v, w);
}
static bool test_divisible(const struct jval *v, const struct jval *w)
{
    return v->type == J_INT && w->type == J_INT && w->u.i != 0 && w->u.i != -1 ? v->u.i % w->u.i == 0
                                                                               : w->u.i == -1;
}
static bool test_in(const struct jval *v, const struct jval *w)
{
    if (w->type == J_STRING)
        return v->type == J_STRING && jstr_find(w->u.s, v->u.s, 0) != SIZE_MAX;
    if (w->type == J_DICT)
        return jdict_get(w->u.dict, *v) != NULL;
    for (size_t i = 0; w->type == J_LIST && i < w->u.list->n; i++)
        if (jval_equal(&w->u.list->v[i], v))
            return true;
    return false;
}

static const struct {
    const char *name;
    bool (*fn)(const struct jval *v, const struct jval *argument);
    bool needs_argument;
} tests[] = {
    {"defined", test_defined, false},
    {"undefined", test_undefined, false},
    {"none", test_none, false},
    {"string", test_string, false},
    {"mapping", test_mapping, false},
    {"number", test_number, false},
    {"integer", test_integer, false},
    {"float", test_float, false},
    {"boolean", test_boolean, false},
    {"true", test_true, false},
    {"false", test_false, false},
    {"iterable", test_iterable, false},
    {"sequence", test_iterable, false},
    {"even", test_even, false},
    {"odd", test_odd, false},
    {"equalto", test_equal, true},
    {"eq", test_equal, true},
    {"sameas", test_equal, true},
    {"ne", test_not_equal, true},
    {"divisibleby", test_divisible, true},
    {"in", test_in, true},
};

bool jinja_test(struct jinja *x, struct jstr name, const struct jval *v, const struct jargs *args, bool *out)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (!jstr_is(name, tests[i].name))
            continue;
        if (tests[i].needs_argument && args->n_pos == 0)
            return jinja_fail(x, "the test '%s' needs an argument", tests[i].name);
        *out = tests[i].fn(v, args->n_pos ? &args->pos[0] : NULL);
        return true;
    }
    return jinja_fail(x, "the test '%.*s' isn't supported", (int)name.n, name.s);
}

/* --- filters --- */

typedef bool filter_fn(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out);

static bool filter_trim(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    struct jstr s;
    return jval_to_str(x, v, &s) && jinja_strip(x, s, a, true, true, out);
}
static bool filter_length(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    size_t n;
    (void)a;
    if (!jval_length(v, &n))
        return jinja_fail(x, "%s has no length", jval_type_name(v));
    *out = jval_int((int64_t)n);
    return true;
}
static bool filter_tojson(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    const struct jval *indent = jargs_get(a, 0, "indent");
    struct jbuild b = {.x = x};
    if (indent && indent->type == J_INT && (indent->u.i < 0 || indent->u.i > 16))
        return jinja_fail(x, "tojson: an indent of %lld is out of 0 … 16", (long long)indent->u.i);
    jval_json(&b, v, indent && indent->type == J_INT ? (int)indent->u.i : -1, 0);
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}
static bool filter_string(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    struct jstr s;
    (void)a;
    return jval_to_str(x, v, &s) && jinja_give(out, s);
}
static bool filter_list(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    out->type = J_LIST;
    return jinja_iterate(x, v, &out->u.list);
}
static bool filter_default(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    const struct jval *fallback = jargs_get(a, 0, "default_value"), *falsy = jargs_get(a, 1, "boolean");
    (void)x;
    bool use = v->type == J_UNDEFINED || (falsy && jval_truth(falsy) && !jval_truth(v));
    *out = !use ? *v : fallback ? *fallback : jval_str(jstr_z(""));
    return true;
}
static bool filter_join(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    const struct jval *sep = jargs_get(a, 0, "d"), *attr = jargs_get(a, 1, "attribute");
    struct jlist *l;
    struct jstr s = jstr_z(""), name;
    struct jbuild b = {.x = x};
    if (!jinja_iterate(x, v, &l) || (sep && !jval_to_str(x, sep, &s)) ||
        (attr && !jinja_want_string(x, attr, "join", &name)))
        return false;
    for (size_t i = 0; i < l->n; i++) {
        struct jval item = attr ? jinja_attr(&l->v[i], name) : l->v[i];
        if (i)
            jbuild_add(&b, s);
        jval_print(&b, &item, false);
    }
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}

/* selectattr, rejectattr: elements whose attribute passes a test (by default: is true). */
static bool select_attr(struct jinja *x, const struct jval *v, const struct jargs *a, bool keep,
                        struct jval *out)
{
    struct jlist *l;
    struct jstr name, test;
    if (!jinja_iterate(x, v, &l) || !jinja_want_string(x, jargs_get(a, 0, NULL), "selectattr", &name))
        return false;
    const struct jval *t = jargs_get(a, 1, NULL);
    if (t && !jinja_want_string(x, t, "selectattr", &test))
        return false;
    if (t && (jstr_is(test, "==") || jstr_is(test, "!=")))
        test = jstr_z(jstr_is(test, "==") ? "eq" : "ne");
    struct jargs rest = {a->n_pos > 2 ? a->pos + 2 : NULL, a->n_pos > 2 ? a->n_pos - 2 : 0, NULL, NULL, 0};
    *out = jval_new_list(x);
    for (size_t i = 0; i < l->n; i++) {
        struct jval got = jinja_attr(&l->v[i], name);
        bool yes = jval_truth(&got);
        if (t && !jinja_test(x, test, &got, &rest, &yes))
            return false;
        if (yes == keep && !jlist_add(x, out->u.list, l->v[i]))
            return false;
    }
    return out->u.list || jinja_nomem(x);
}
static bool filter_selectattr(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    return select_attr(x, v, a, true, out);
}
static bool filter_rejectattr(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    return select_attr(x, v, a, false, out);
}
static bool filter_map(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    const struct jval *attr = jargs_get(a, SIZE_MAX, "attribute");
    struct jlist *l;
    struct jstr name;
    if (!jinja_iterate(x, v, &l) || !jinja_want_string(x, attr ? attr : jargs_get(a, 0, NULL), "map", &name))
        return false;
    *out = jval_new_list(x);
    for (size_t i = 0; i < l->n; i++) {
        static const struct jargs none;
        struct jval item = jinja_attr(&l->v[i], name);
        if (!attr && !jinja_filter(x, name, &l->v[i], &none, &item))
            return false;
        if (!jlist_add(x, out->u.list, item))
            return false;
    }
    return out->u.list || jinja_nomem(x);
}
static bool by_case(struct jinja *x, const struct jval *v, enum jcase how, struct jval *out)
{
    struct jstr s;
    return jval_to_str(x, v, &s) && jinja_change_case(x, s, how, out);
}
static bool filter_upper(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    return by_case(x, v, CASE_UPPER, out);
}
static bool filter_lower(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    return by_case(x, v, CASE_LOWER, out);
}
static bool filter_capitalize(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    return by_case(x, v, CASE_CAPITAL, out);
}
static bool filter_title(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    return by_case(x, v, CASE_TITLE, out);
}
static bool filter_first(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    struct jlist *l;
    (void)a;
    if (!jinja_iterate(x, v, &l))
        return false;
    *out = l->n ? l->v[0] : jval_undefined(jstr_z("first of nothing"));
    return true;
}
static bool filter_last(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    struct jlist *l;
    (void)a;
    if (!jinja_iterate(x, v, &l))
        return false;
    *out = l->n ? l->v[l->n - 1] : jval_undefined(jstr_z("last of nothing"));
    return true;
}
static bool filter_replace(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    struct jstr s;
    return jval_to_str(x, v, &s) && jinja_replace(x, s, a, out);
}
static bool filter_items(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)a;
    *out = jval_new_list(x);
    if (v->type != J_DICT && v->type != J_UNDEFINED)
        return jinja_fail(x, "items of %s", jval_type_name(v));
    for (size_t i = 0; v->type == J_DICT && i < v->u.dict->n; i++) {
        struct jval pair = jval_new_list(x);
        if (!jlist_add(x, pair.u.list, v->u.dict->key[i]) || !jlist_add(x, pair.u.list, v->u.dict->val[i]) ||
            !jlist_add(x, out->u.list, pair))
            return false;
    }
    return out->u.list || jinja_nomem(x);
}
static bool filter_int(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    const struct jval *fallback = jargs_get(a, 0, "default");
    *out = fallback ? *fallback : jval_int(0);
    if (v->type == J_INT || v->type == J_BOOL)
        *out = v->type == J_INT ? *v : jval_int(v->u.b);
    else if (v->type == J_FLOAT && fabs(v->u.f) < 9e18)
        *out = jval_int((int64_t)v->u.f);
    else if (v->type == J_STRING) {
        struct jstr s = jstr_strip(v->u.s, NULL, true, true);
        char z[32], *end;
        if (s.n > 0 && s.n < sizeof z - 1) {
            memcpy(z, s.s, s.n);
            z[s.n] = 0;
            long long i = strtoll(z, &end, 10);
            if (*end == 0)
                *out = jval_int(i);
        }
    }
    (void)x;
    return true;
}
/* There is nothing to escape here: text is text. */
static bool filter_safe(struct jinja *x, const struct jval *v, const struct jargs *a, struct jval *out)
{
    (void)x;
    (void)a;
    *out = *v;
    return true;
}

static const struct {
    const char *name;
    filter_fn *fn;
} filters[] = {
    {"trim", filter_trim},
    {"length", filter_length},
    {"count", filter_length},
    {"tojson", filter_tojson},
    {"string", filter_string},
    {"list", filter_list},
    {"default", filter_default},
    {"d", filter_default},
    {"join", filter_join},
    {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr},
    {"map", filter_map},
    {"upper", filter_upper},
    {"lower", filter_lower},
    {"capitalize", filter_capitalize},
    {"title", filter_title},
    {"first", filter_first},
    {"last", filter_last},
    {"replace", filter_replace},
    {"items", filter_items},
    {"int", filter_int},
    {"safe", filter_safe},
};

bool jinja_filter(struct jinja *x, struct jstr name, const struct jval *v, const struct jargs *args,
                  struct jval *out)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (jstr_is(name, filters[i].name))
            return filters[i].fn(x, v, args, out);
    return jinja_fail(x, "the filter '%.*s' isn't supported", (int)name.n, name.s);
}

/* --- methods --- */

static bool string_method(struct jinja *x, struct jstr name, struct jstr s, const struct jargs *a,
                          struct jval *out)
{
    static const struct {
        const char *name;
        bool left, right;
    } strips[] = {{"strip", true, true}, {"lstrip", true, false}, {"rstrip", false, true}};
    static const struct {
        const char *name;
        enum jcase how;
    } cases[] = {{"upper", CASE_UPPER}, {"lower", CASE_LOWER}, {"capitalize", CASE_CAPITAL}};
    for (size_t i = 0; i < sizeof strips / sizeof *strips; i++)
        if (jstr_is(name, strips[i].name))
            return jinja_strip(x, s, a, strips[i].left, strips[i].right, out);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (jstr_is(name, cases[i].name))
            return jinja_change_case(x, s, cases[i].how, out);
    if (jstr_is(name, "startswith") || jstr_is(name, "endswith"))
        return jinja_affix(x, s, a, name.s[0] == 'e', out);
    if (jstr_is(name, "split"))
        return jinja_split(x, s, a, out);
    if (jstr_is(name, "replace"))
        return jinja_replace(x, s, a, out);
    return jinja_fail(x, "strings have no method '%.*s' here", (int)name.n, name.s);
}

static bool dict_method(struct jinja *x, struct jstr name, const struct jval *self, const struct jargs *a,
                        struct jval *out)
{
    if (jstr_is(name, "items"))
        return filter_items(x, self, a, out);
    if (jstr_is(name, "keys")) {
        out->type = J_LIST;
        return jinja_iterate(x, self, &out->u.list);
    }
    if (jstr_is(name, "values")) {
        *out = jval_new_list(x);
        for (size_t i = 0; i < self->u.dict->n; i++)
            if (!jlist_add(x, out->u.list, self->u.dict->val[i]))
                return false;
        return out->u.list || jinja_nomem(x);
    }
    if (jstr_is(name, "get")) {
        const struct jval *key = jargs_get(a, 0, NULL), *fallback = jargs_get(a, 1, NULL);
        if (!key)
            return jinja_fail(x, "get needs a key");
        const struct jval *found = jdict_get(self->u.dict, *key);
        *out = found ? *found : fallback ? *fallback : (struct jval){.type = J_NONE};
        return true;
    }
    return jinja_fail(x, "mappings have no method '%.*s' here", (int)name.n, name.s);
}

bool jinja_method(struct jinja *x, struct jstr name, const struct jval *self, const struct jargs *args,
                  struct jval *out)
{
    if (self->type == J_STRING)
        return string_method(x, name, self->u.s, args, out);
    if (self->type == J_DICT)
        return dict_method(x, name, self, args, out);
    if (self->type == J_UNDEFINED)
        return jinja_fail(x, "'%.*s' is undefined", (int)self->u.s.n, self->u.s.s);
    return jinja_fail(x, "%s has no method '%.*s' here", jval_type_name(self), (int)name.n, name.s);
}

/* --- functions --- */

static bool fn_raise(struct jinja *x, const struct jargs *a, struct jval *out)
{
    struct jstr s = jstr_z("");
    (void)out;
    if (a->n_pos && !jval_to_str(x, &a->pos[0], &s))
        return false;
    return jinja_fail(x, "the template refuses this conversation: %.*s", (int)(s.n > 300 ? 300 : s.n), s.s);
}

static bool fn_namespace(struct jinja *x, const struct jargs *a, struct jval *out)
{
    *out = jval_new_dict(x);
    if (!out->u.dict)
        return jinja_nomem(x);
    out->u.dict->is_namespace = true;
    for (size_t i = 0; i < a->n_named; i++)
        if (!jdict_set(x, out->u.dict, jval_str(a->names[i]), a->named[i]))
            return false;
    return true;
}

static bool fn_dict(struct jinja *x, const struct jargs *a, struct jval *out)
{
    if (!fn_namespace(x, a, out))
        return false;
    out->u.dict->is_namespace = false;
    return true;
}

static bool fn_range(struct jinja *x, const struct jargs *a, struct jval *out)
{
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < a->n_pos && i < 3; i++) {
        if (a->pos[i].type != J_INT)
            return jinja_fail(x, "range needs integers, got %s", jval_type_name(&a->pos[i]));
        v[a->n_pos == 1 ? 1 : i] = a->pos[i].u.i;
    }
    if (a->n_pos == 0 || v[2] == 0)
        return jinja_fail(x, "range needs 1 to 3 integers, and a step that isn't 0");
    *out = jval_new_list(x);
    for (int64_t i = v[0]; v[2] > 0 ? i < v[1] : i > v[1];) {
        if (out->u.list && out->u.list->n >= JINJA_STEPS_MAX)
            return jinja_fail(x, "a range of more than %d steps", JINJA_STEPS_MAX);
        if (!jlist_add(x, out->u.list, jval_int(i)))
            return false;
        if (__builtin_add_overflow(i, v[2], &i))
            break;
    }
    return out->u.list || jinja_nomem(x);
}

/* The time that the caller gave, as UTC, in the C locale: the same conversation renders the same anywhere. */
static bool fn_strftime_now(struct jinja *x, const struct jargs *a, struct jval *out)
{
    struct jstr f;
    char format[64], z[256];
    struct tm tm;
    time_t t = (time_t)x->vars->now_unix_s;
    if (!jinja_want_string(x, jargs_get(a, 0, NULL), "strftime_now", &f))
        return false;
    if (f.n >= sizeof format)
        return jinja_fail(x, "strftime_now: a format of %zu bytes, limit %zu", f.n, sizeof format - 1);
    memcpy(format, f.s, f.n);
    format[f.n] = 0;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0 || !gmtime_r(&t, &tm)) {
        if (c != (locale_t)0)
            freelocale(c);
        return jinja_fail(x, "strftime_now: no time");
    }
    size_t n = strftime_l(z, sizeof z, format, &tm, c);
    freelocale(c);
    struct jbuild b = {.x = x};
    jbuild_add(&b, (struct jstr){z, NULL, n});
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}

static const struct {
    const char *name;
    bool (*fn)(struct jinja *x, const struct jargs *a, struct jval *out);
} functions[] = {
    {"raise_exception", fn_raise}, {"namespace", fn_namespace},       {"dict", fn_dict},
    {"range", fn_range},           {"strftime_now", fn_strftime_now},
};

bool jinja_is_function(struct jstr name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (jstr_is(name, functions[i].name))
            return true;
    return false;
}

bool jinja_function(struct jinja *x, struct jstr name, const struct jargs *args, struct jval *out)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (jstr_is(name, functions[i].name))
            return functions[i].fn(x, args, out);
    return jinja_fail(x, "the function '%.*s' isn't supported", (int)name.n, name.s);
}
