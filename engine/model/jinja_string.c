/* String operations behind filters and methods. Each byte of a result keeps the mark of the byte that it came from. */
#include "engine/model/jinja.h"

#include <string.h>

#include <utf8proc.h>

#include "engine/base/utf8.h"

const struct jval *jargs_get(const struct jargs *a, size_t i, const char *keyword)
{
    for (size_t k = 0; keyword && k < a->n_named; k++)
        if (jstr_is(a->names[k], keyword))
            return &a->named[k];
    return i < a->n_pos ? &a->pos[i] : NULL;
}

bool jinja_want_string(struct jinja *x, const struct jval *v, const char *who, struct jstr *out)
{
    if (!v || v->type != J_STRING)
        return jinja_fail(x, "%s needs a string, got %s", who, v ? jval_type_name(v) : "nothing");
    *out = v->u.s;
    return true;
}

bool jinja_give(struct jval *out, struct jstr s)
{
    *out = jval_str(s);
    return true;
}

static bool is_white(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f) || cp == 0x85 || c == UTF8PROC_CATEGORY_ZS ||
           c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

static bool is_strip_char(struct jstr s, size_t p, size_t q, const struct jstr *set)
{
    uint32_t cp;
    utf8_decode(s.s + p, q - p, &cp);
    if (set)
        return jstr_find(*set, jstr_sub(s, p, q), 0) != SIZE_MAX;
    return is_white(cp);
}

struct jstr jstr_strip(struct jstr s, const struct jstr *set, bool left, bool right)
{
    size_t from = 0, to = s.n;
    while (left && from < to) {
        size_t q = from + 1;
        while (q < to && ((unsigned char)s.s[q] & 0xc0) == 0x80)
            q++;
        if (!is_strip_char(s, from, q, set))
            break;
        from = q;
    }
    while (right && to > from) {
        size_t p = to - 1;
        while (p > from && ((unsigned char)s.s[p] & 0xc0) == 0x80)
            p--;
        if (!is_strip_char(s, p, to, set))
            break;
        to = p;
    }
    return jstr_sub(s, from, to);
}

bool jinja_change_case(struct jinja *x, struct jstr s, enum jcase how, struct jval *out)
{
    struct jbuild b = {.x = x};
    bool start = true;
    for (size_t p = 0, n; p < s.n; p += n) {
        uint32_t cp;
        char z[4];
        uint8_t marks[4];
        n = utf8_decode(s.s + p, s.n - p, &cp);
        if (n == 0)
            n = s.n - p;
        bool upper = how == CASE_UPPER || (how != CASE_LOWER && start);
        utf8proc_int32_t c =
            upper ? utf8proc_toupper((utf8proc_int32_t)cp) : utf8proc_tolower((utf8proc_int32_t)cp);
        memset(marks, s.mark ? s.mark[p] : 0, sizeof marks);
        jbuild_add(&b, (struct jstr){z, marks, utf8_encode((uint32_t)c, z)});
        start = how == CASE_TITLE && (is_white(cp) || (cp < 0x80 && strchr("-({[<", (int)cp)));
    }
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}

bool jinja_replace(struct jinja *x, struct jstr s, const struct jargs *a, struct jval *out)
{
    struct jstr from, to;
    if (!jinja_want_string(x, jargs_get(a, 0, NULL), "replace", &from) ||
        !jinja_want_string(x, jargs_get(a, 1, NULL), "replace", &to))
        return false;
    const struct jval *limit = jargs_get(a, 2, "count");
    int64_t left = limit && limit->type == J_INT && limit->u.i >= 0 ? limit->u.i : INT64_MAX;
    if (from.n == 0)
        return jinja_fail(x, "replace needs a non-empty string to look for");
    struct jbuild b = {.x = x};
    size_t p = 0, q;
    while (left-- > 0 && (q = jstr_find(s, from, p)) != SIZE_MAX) {
        jbuild_add(&b, jstr_sub(s, p, q));
        jbuild_add(&b, to);
        p = q + from.n;
    }
    jbuild_add(&b, jstr_sub(s, p, s.n));
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}

static bool split_white(struct jinja *x, struct jstr s, int64_t left, struct jlist *out)
{
    for (s = jstr_strip(s, NULL, true, false); s.n; s = jstr_strip(s, NULL, true, false)) {
        size_t q = 0, next = 0;
        while (q < s.n && left != 0) {
            for (next = q + 1; next < s.n && ((unsigned char)s.s[next] & 0xc0) == 0x80; next++)
                ;
            if (is_strip_char(s, q, next, NULL))
                break;
            q = next;
        }
        if (left == 0)
            q = s.n;
        struct jstr word = jstr_sub(s, 0, q);
        if (!jlist_add(x, out, jval_str(word)))
            return false;
        left -= left > 0;
        s = jstr_sub(s, q, s.n);
    }
    return true;
}

bool jinja_split(struct jinja *x, struct jstr s, const struct jargs *a, struct jval *out)
{
    const struct jval *sep = jargs_get(a, 0, "sep"), *max = jargs_get(a, 1, "maxsplit");
    int64_t left = max && max->type == J_INT ? max->u.i : -1;
    struct jstr by;
    *out = jval_new_list(x);
    if (!out->u.list)
        return jinja_nomem(x);
    if (!sep || sep->type == J_NONE)
        return split_white(x, s, left, out->u.list);
    if (!jinja_want_string(x, sep, "split", &by))
        return false;
    if (by.n == 0)
        return jinja_fail(x, "split needs a non-empty separator");
    size_t p = 0, q;
    while (left != 0 && (q = jstr_find(s, by, p)) != SIZE_MAX) {
        if (!jlist_add(x, out->u.list, jval_str(jstr_sub(s, p, q))))
            return false;
        p = q + by.n;
        left -= left > 0;
    }
    return jlist_add(x, out->u.list, jval_str(jstr_sub(s, p, s.n)));
}

/* startswith, endswith: a string, or a list of them. */
bool jinja_affix(struct jinja *x, struct jstr s, const struct jargs *a, bool at_end, struct jval *out)
{
    const struct jval *v = jargs_get(a, 0, NULL);
    const struct jval *all = v, *one;
    size_t n = 1;
    if (v && v->type == J_LIST) {
        all = v->u.list->v;
        n = v->u.list->n;
    }
    *out = jval_bool(false);
    for (size_t i = 0; i < n; i++) {
        struct jstr t;
        one = all ? &all[i] : NULL;
        if (!jinja_want_string(x, one, at_end ? "endswith" : "startswith", &t))
            return false;
        if (t.n <= s.n && jstr_eq(at_end ? jstr_sub(s, s.n - t.n, s.n) : jstr_sub(s, 0, t.n), t))
            out->u.b = true;
    }
    return true;
}

bool jinja_strip(struct jinja *x, struct jstr s, const struct jargs *a, bool left, bool right,
                 struct jval *out)
{
    const struct jval *v = jargs_get(a, 0, "chars");
    struct jstr set;
    if (v && v->type != J_NONE && !jinja_want_string(x, v, "strip", &set))
        return false;
    return jinja_give(out, jstr_strip(s, v && v->type != J_NONE ? &set : NULL, left, right));
}
