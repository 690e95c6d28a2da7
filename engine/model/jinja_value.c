/* Values of the template interpreter: strings with marks, lists, mappings; truth, equality, printing. */
#include "engine/model/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    _Alignas(16) char data[];
};

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t need = (bytes + 15) & ~(size_t)15;
    if (need < bytes || need > a->limit - a->used || a->used > a->limit)
        return NULL;
    if (!a->chunks || a->chunks->size - a->chunks->used < need) {
        size_t size = need > 16384 ? need : 16384;
        struct arena_chunk *c = mem_calloc(1, sizeof *c + size);
        if (!c)
            return NULL;
        c->size = size;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *p = a->chunks->data + a->chunks->used;
    a->chunks->used += need;
    a->used += need;
    return p;
}

void arena_free(struct arena *a)
{
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    a->chunks = NULL;
    a->used = 0;
}

struct jstr jstr_z(const char *z)
{
    return (struct jstr){z, NULL, strlen(z)};
}

bool jstr_is(struct jstr s, const char *z)
{
    return s.n == strlen(z) && memcmp(s.s, z, s.n) == 0;
}

bool jstr_eq(struct jstr a, struct jstr b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.s, b.s, a.n) == 0);
}

struct jstr jstr_sub(struct jstr s, size_t from, size_t to)
{
    return (struct jstr){s.s + from, s.mark ? s.mark + from : NULL, to - from};
}

size_t jstr_find(struct jstr s, struct jstr what, size_t from)
{
    if (what.n == 0)
        return from <= s.n ? from : SIZE_MAX;
    const char *p = from <= s.n ? memmem(s.s + from, s.n - from, what.s, what.n) : NULL;
    return p ? (size_t)(p - s.s) : SIZE_MAX;
}

struct jval jval_str(struct jstr s)
{
    return (struct jval){.type = J_STRING, .u.s = s};
}

struct jval jval_int(int64_t i)
{
    return (struct jval){.type = J_INT, .u.i = i};
}

struct jval jval_bool(bool b)
{
    return (struct jval){.type = J_BOOL, .u.b = b};
}

struct jval jval_undefined(struct jstr name)
{
    return (struct jval){.type = J_UNDEFINED, .u.s = name};
}

struct jval jval_new_list(struct jinja *x)
{
    return (struct jval){.type = J_LIST, .u.list = arena_alloc(x->arena, sizeof(struct jlist))};
}

struct jval jval_new_dict(struct jinja *x)
{
    return (struct jval){.type = J_DICT, .u.dict = arena_alloc(x->arena, sizeof(struct jdict))};
}

/* Doubles an array that lives in the arena (the old one is left behind). */
static void *grow(struct jinja *x, const void *old, size_t n, size_t cap, size_t size)
{
    void *p = arena_alloc(x->arena, cap * size);
    if (p && n)
        memcpy(p, old, n * size);
    return p;
}

bool jlist_add(struct jinja *x, struct jlist *l, struct jval v)
{
    if (!l)
        return jinja_nomem(x);
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct jval *p = grow(x, l->v, l->n, cap, sizeof *p);
        if (!p)
            return jinja_nomem(x);
        l->v = p;
        l->cap = cap;
    }
    l->v[l->n++] = v;
    return true;
}

const struct jval *jdict_get(const struct jdict *d, struct jval key)
{
    for (size_t i = 0; i < d->n; i++)
        if (jval_equal(&d->key[i], &key))
            return &d->val[i];
    return NULL;
}

bool jdict_set(struct jinja *x, struct jdict *d, struct jval key, struct jval v)
{
    if (!d)
        return jinja_nomem(x);
    for (size_t i = 0; i < d->n; i++) {
        if (jval_equal(&d->key[i], &key)) {
            d->val[i] = v;
            return true;
        }
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 8;
        struct jval *k = grow(x, d->key, d->n, cap, sizeof *k);
        struct jval *w = grow(x, d->val, d->n, cap, sizeof *w);
        if (!k || !w)
            return jinja_nomem(x);
        d->key = k;
        d->val = w;
        d->cap = cap;
    }
    d->key[d->n] = key;
    d->val[d->n++] = v;
    return true;
}

bool jval_truth(const struct jval *v)
{
    switch (v->type) {
    case J_BOOL: return v->u.b;
    case J_INT: return v->u.i != 0;
    case J_FLOAT: return v->u.f != 0;
    case J_STRING: return v->u.s.n != 0;
    case J_LIST: return v->u.list->n != 0;
    case J_DICT: return v->u.dict->is_namespace || v->u.dict->n != 0;
    case J_FUNCTION: return true;
    case J_UNDEFINED:
    case J_NONE: break;
    }
    return false;
}

static bool number(const struct jval *v, double *out)
{
    if (v->type != J_BOOL && v->type != J_INT && v->type != J_FLOAT)
        return false;
    *out = v->type == J_FLOAT ? v->u.f : v->type == J_INT ? (double)v->u.i : v->u.b;
    return true;
}

/* Values nested deeper than JINJA_DEPTH_MAX count as unequal. Namespaces, the only values that can change and
 * so hold themselves, are compared by identity. */
static bool equal_at(const struct jval *a, const struct jval *b, int depth)
{
    double x, y;
    if (a->type == J_INT && b->type == J_INT)
        return a->u.i == b->u.i;
    if (number(a, &x) && number(b, &y))
        return x == y;
    if (a->type != b->type || depth > JINJA_DEPTH_MAX)
        return false;
    if (a->type == J_STRING || a->type == J_FUNCTION)
        return jstr_eq(a->u.s, b->u.s);
    if (a->type == J_LIST) {
        const struct jlist *l = a->u.list, *m = b->u.list;
        if (l->n != m->n)
            return false;
        for (size_t i = 0; i < l->n; i++)
            if (!equal_at(&l->v[i], &m->v[i], depth + 1))
                return false;
        return true;
    }
    if (a->type == J_DICT) {
        const struct jdict *d = a->u.dict, *e = b->u.dict;
        if (d == e || d->is_namespace || e->is_namespace || d->n != e->n)
            return d == e;
        for (size_t i = 0; i < d->n; i++) {
            const struct jval *other = jdict_get(e, d->key[i]);
            if (!other || !equal_at(&d->val[i], other, depth + 1))
                return false;
        }
    }
    return true;
}

bool jval_equal(const struct jval *a, const struct jval *b)
{
    return equal_at(a, b, 0);
}

const char *jval_type_name(const struct jval *v)
{
    static const char *const names[] = {"undefined", "none",   "a boolean", "an integer", "a float",
                                        "a string",  "a list", "a mapping", "a function"};
    return names[v->type];
}

static size_t count_characters(struct jstr s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.s[i] & 0xc0) != 0x80;
    return n;
}

bool jval_length(const struct jval *v, size_t *n)
{
    switch (v->type) {
    case J_UNDEFINED: *n = 0; return true;
    case J_STRING: *n = count_characters(v->u.s); return true;
    case J_LIST: *n = v->u.list->n; return true;
    case J_DICT: *n = v->u.dict->n; return true;
    default: return false;
    }
}

void jbuild_add(struct jbuild *b, struct jstr s)
{
    if (b->failed || s.n == 0)
        return;
    if (b->n + s.n > b->cap) {
        size_t cap = (b->n + s.n) * 2 + 32;
        char *t = grow(b->x, b->s, b->n, cap, 1);
        uint8_t *m = grow(b->x, b->mark, b->n, cap, 1);
        if (!t || !m) {
            b->failed = true;
            return;
        }
        b->s = t;
        b->mark = m;
        b->cap = cap;
    }
    memcpy(b->s + b->n, s.s, s.n);
    if (s.mark)
        memcpy(b->mark + b->n, s.mark, s.n);
    else
        memset(b->mark + b->n, 0, s.n);
    b->n += s.n;
}

void jbuild_addz(struct jbuild *b, const char *z)
{
    jbuild_add(b, jstr_z(z));
}

bool jbuild_done(struct jbuild *b, struct jstr *out)
{
    if (b->failed)
        return jinja_nomem(b->x);
    *out = (struct jstr){b->s ? b->s : "", b->mark, b->n};
    return true;
}

/* The shortest decimal form that reads back as the same double, with ".0" where Python has it. */
static void print_float(struct jbuild *b, double f)
{
    char *s = NULL, z[40];
    int precision = 0;
    if (isnan(f) || isinf(f)) {
        jbuild_addz(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    do
        snprintf(z, sizeof z, "%.*g", ++precision, f);
    while (precision < 17 && strtod(z, &s) != f);
    /* Python uses the exponent form only outside of 1e-4 … 1e16. */
    if (strchr(z, 'e') && fabs(f) >= 1e-4 && fabs(f) < 1e16)
        snprintf(z, sizeof z, "%.0f", f);
    if (!strpbrk(z, ".e"))
        strcat(z, ".0");
    jbuild_addz(b, z);
}

static void print_scalar(struct jbuild *b, const struct jval *v, const char *const words[3])
{
    char z[32];
    if (v->type == J_NONE)
        jbuild_addz(b, words[0]);
    else if (v->type == J_BOOL)
        jbuild_addz(b, words[v->u.b ? 2 : 1]);
    else if (v->type == J_FLOAT)
        print_float(b, v->u.f);
    else if (v->type == J_INT) {
        snprintf(z, sizeof z, "%lld", (long long)v->u.i);
        jbuild_addz(b, z);
    }
}

/* A string in quotes, escaped as repr() (json false) or JSON (json true) has it. An escape takes its
 * character's mark. */
static void print_quoted(struct jbuild *b, struct jstr s, bool json)
{
    static const char plain[] = "\n\r\t", letter[] = "nrt";
    bool has_single = memchr(s.s, '\'', s.n) != NULL, has_double = memchr(s.s, '"', s.n) != NULL;
    char quote = json || (has_single && !has_double) ? '"' : '\'';
    char q[2] = {quote, 0};
    jbuild_addz(b, q);
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.s[i];
        const char *known = c ? strchr(plain, c) : NULL;
        char z[8] = {'\\'};
        if (c == '\\' || c == (unsigned char)quote)
            z[1] = (char)c;
        else if (known)
            z[1] = letter[known - plain];
        else if (json && (c == '\b' || c == '\f'))
            z[1] = c == '\b' ? 'b' : 'f';
        else if (c < 0x20 || (c == 0x7f && !json))
            snprintf(z, sizeof z, json ? "\\u%04x" : "\\x%02x", c);
        else
            continue;
        uint8_t marks[8];
        memset(marks, s.mark ? s.mark[i] : 0, sizeof marks);
        jbuild_add(b, jstr_sub(s, from, i));
        jbuild_add(b, (struct jstr){z, marks, strlen(z)});
        from = i + 1;
    }
    jbuild_add(b, jstr_sub(s, from, s.n));
    jbuild_addz(b, q);
}

/* Guards the recursion of the printers. */
static bool descend(struct jbuild *b)
{
    if (b->failed || b->depth >= JINJA_DEPTH_MAX) {
        b->failed = true;
        return false;
    }
    b->depth++;
    return true;
}

void jval_print(struct jbuild *b, const struct jval *v, bool quote)
{
    static const char *const words[] = {"None", "False", "True"};
    if (!descend(b))
        return;
    if (v->type == J_STRING && quote) {
        print_quoted(b, v->u.s, false);
    } else if (v->type == J_STRING) {
        jbuild_add(b, v->u.s);
    } else if (v->type == J_LIST) {
        jbuild_addz(b, "[");
        for (size_t i = 0; i < v->u.list->n; i++) {
            jbuild_addz(b, i ? ", " : "");
            jval_print(b, &v->u.list->v[i], true);
        }
        jbuild_addz(b, "]");
    } else if (v->type == J_DICT) {
        jbuild_addz(b, "{");
        for (size_t i = 0; i < v->u.dict->n; i++) {
            jbuild_addz(b, i ? ", " : "");
            jval_print(b, &v->u.dict->key[i], true);
            jbuild_addz(b, ": ");
            jval_print(b, &v->u.dict->val[i], true);
        }
        jbuild_addz(b, "}");
    } else {
        print_scalar(b, v, words);
    }
    b->depth--;
}

static void json_newline(struct jbuild *b, int indent, int level)
{
    if (indent < 0)
        return;
    jbuild_addz(b, "\n");
    for (int i = 0; i < indent * level; i++)
        jbuild_addz(b, " ");
}

void jval_json(struct jbuild *b, const struct jval *v, int indent, int level)
{
    static const char *const words[] = {"null", "false", "true"};
    const char *comma = indent < 0 ? ", " : ",";
    if (!descend(b))
        return;
    if (v->type == J_STRING) {
        print_quoted(b, v->u.s, true);
    } else if (v->type == J_LIST) {
        jbuild_addz(b, "[");
        for (size_t i = 0; i < v->u.list->n; i++) {
            jbuild_addz(b, i ? comma : "");
            json_newline(b, indent, level + 1);
            jval_json(b, &v->u.list->v[i], indent, level + 1);
        }
        if (v->u.list->n)
            json_newline(b, indent, level);
        jbuild_addz(b, "]");
    } else if (v->type == J_DICT) {
        jbuild_addz(b, "{");
        for (size_t i = 0; i < v->u.dict->n; i++) {
            jbuild_addz(b, i ? comma : "");
            json_newline(b, indent, level + 1);
            struct jstr key;
            if (!jval_to_str(b->x, &v->u.dict->key[i], &key)) {
                b->failed = true;
                return;
            }
            print_quoted(b, key, true);
            jbuild_addz(b, ": ");
            jval_json(b, &v->u.dict->val[i], indent, level + 1);
        }
        if (v->u.dict->n)
            json_newline(b, indent, level);
        jbuild_addz(b, "}");
    } else {
        print_scalar(b, v, words);
    }
    b->depth--;
}

bool jval_to_str(struct jinja *x, const struct jval *v, struct jstr *out)
{
    if (v->type == J_STRING) {
        *out = v->u.s;
        return true;
    }
    struct jbuild b = {.x = x};
    jval_print(&b, v, false);
    return jbuild_done(&b, out);
}
