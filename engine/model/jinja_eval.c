/* Nodes × variables → text. */
#include "engine/model/jinja.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

/* A scope: the template's own, or one pass of a loop's body. Names are looked up outwards. Frames never
 * outlive their pass, so they are used again. */
struct jframe {
    struct jframe *outer;
    struct jdict vars;
    const struct jlist *items; /* of a loop's pass: what it loops over, and where it is */
    size_t i;
};

bool jinja_fail(struct jinja *x, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft_err_set(x->err, WEFT_INVALID_REQUEST, "chat template, line %u: %s", x->line, what);
    weft_err_str(x->err, "field", "messages");
    weft_err_str(x->err, "value", what);
    return false;
}

bool jinja_nomem(struct jinja *x)
{
    return jinja_fail(x, "the conversation needs more than %d MiB to render", JINJA_MEMORY_MAX >> 20);
}

static bool step(struct jinja *x, uint64_t cost)
{
    x->steps += cost;
    return x->steps <= (uint64_t)JINJA_STEPS_MAX * 16 ||
           jinja_fail(x, "more than %d loop steps", JINJA_STEPS_MAX);
}

bool jinja_write(struct jinja *x, struct jstr s)
{
    if (s.n > JINJA_OUTPUT_MAX - x->n)
        return jinja_fail(x, "the result is longer than %d bytes", JINJA_OUTPUT_MAX);
    if (x->n + s.n + 1 > x->cap) {
        size_t cap = (x->n + s.n) * 2 + 256;
        char *t = mem_realloc(x->text, cap, 1);
        if (t)
            x->text = t;
        uint8_t *m = t ? mem_realloc(x->mark, cap, 1) : NULL;
        if (!m)
            return jinja_nomem(x);
        x->mark = m;
        x->cap = cap;
    }
    if (s.n) {
        memcpy(x->text + x->n, s.s, s.n);
        if (s.mark)
            memcpy(x->mark + x->n, s.mark, s.n);
        else
            memset(x->mark + x->n, 0, s.n);
    }
    x->n += s.n;
    x->text[x->n] = 0;
    return true;
}

static bool push_frame(struct jinja *x, const struct jlist *items)
{
    struct jframe *f = x->free_frames;
    if (f)
        x->free_frames = f->outer;
    else if (!(f = arena_alloc(x->arena, sizeof *f)))
        return jinja_nomem(x);
    f->outer = x->frame;
    f->vars.n = 0;
    f->items = items;
    f->i = 0;
    x->frame = f;
    return true;
}

static void pop_frame(struct jinja *x)
{
    struct jframe *f = x->frame;
    x->frame = f->outer;
    f->outer = x->free_frames;
    x->free_frames = f;
}

bool jinja_set(struct jinja *x, struct jstr name, struct jval v)
{
    if (!x->frame && !push_frame(x, NULL))
        return false;
    return jdict_set(x, &x->frame->vars, jval_str(name), v);
}

/* A field of the `loop` variable; false when there is none of that name. */
static bool loop_field(const struct jframe *f, const char *name, size_t len, struct jval *out)
{
    size_t i = f->i, n = f->items->n;
    const struct {
        const char *name;
        struct jval val;
    } fields[] = {
        {"index", jval_int((int64_t)i + 1)},
        {"index0", jval_int((int64_t)i)},
        {"revindex", jval_int((int64_t)(n - i))},
        {"revindex0", jval_int((int64_t)(n - i) - 1)},
        {"first", jval_bool(i == 0)},
        {"last", jval_bool(i + 1 == n)},
        {"length", jval_int((int64_t)n)},
        {"previtem", i ? f->items->v[i - 1] : jval_undefined(jstr_z("loop.previtem"))},
        {"nextitem", i + 1 < n ? f->items->v[i + 1] : jval_undefined(jstr_z("loop.nextitem"))},
    };
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++) {
        if (strlen(fields[k].name) == len && memcmp(fields[k].name, name, len) == 0) {
            *out = fields[k].val;
            return true;
        }
    }
    return false;
}

static const struct jframe *loop_frame(const struct jinja *x)
{
    const struct jframe *f = x->frame;
    while (f && !f->items)
        f = f->outer;
    return f;
}

static struct jval lookup(const struct jinja *x, struct jstr name)
{
    for (const struct jframe *f = x->frame; f; f = f->outer) {
        const struct jval *v = jdict_get(&f->vars, jval_str(name));
        if (v)
            return *v;
    }
    if (jinja_is_function(name))
        return (struct jval){.type = J_FUNCTION, .u.s = name};
    return jval_undefined(name);
}

/* Assigns one value to one or several names. */
static bool assign(struct jinja *x, const struct jnode *targets, struct jval v)
{
    if (!targets->next)
        return jinja_set(x, targets->str, v);
    size_t n = 0;
    for (const struct jnode *t = targets; t; t = t->next)
        n++;
    if (v.type != J_LIST || v.u.list->n != n)
        return jinja_fail(x, "can't unpack %s into %zu names", jval_type_name(&v), n);
    size_t i = 0;
    for (const struct jnode *t = targets; t; t = t->next)
        if (!jinja_set(x, t->str, v.u.list->v[i++]))
            return false;
    return true;
}

/* --- operators --- */

static bool is_number(const struct jval *v)
{
    return v->type == J_INT || v->type == J_FLOAT || v->type == J_BOOL;
}

static double as_float(const struct jval *v)
{
    return v->type == J_FLOAT ? v->u.f : v->type == J_INT ? (double)v->u.i : v->u.b;
}

static bool bad_operands(struct jinja *x, const char *what, const struct jval *a, const struct jval *b)
{
    const struct jval *u = a->type == J_UNDEFINED ? a : b->type == J_UNDEFINED ? b : NULL;
    if (u)
        return jinja_fail(x, "'%.*s' is undefined", (int)u->u.s.n, u->u.s.s);
    return jinja_fail(x, "can't %s %s and %s", what, jval_type_name(a), jval_type_name(b));
}

static bool int_arithmetic(struct jinja *x, enum jop op, int64_t a, int64_t b, int64_t *out)
{
    bool overflow = false;
    switch (op) {
    case OP_ADD: overflow = __builtin_add_overflow(a, b, out); break;
    case OP_SUB: overflow = __builtin_sub_overflow(a, b, out); break;
    case OP_MUL: overflow = __builtin_mul_overflow(a, b, out); break;
    default: /* // and %: towards minus infinity, as in Python */
        if (b == 0)
            return jinja_fail(x, "division by zero");
        if (b == -1) { /* INT64_MIN / -1 traps */
            overflow = op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, out);
            if (op == OP_MOD)
                *out = 0;
            break;
        }
        int64_t q = a / b, r = a % b;
        bool down = r != 0 && (r < 0) != (b < 0);
        *out = op == OP_FLOORDIV ? q - down : down ? r + b : r;
        break;
    }
    return !overflow || jinja_fail(x, "integer overflow");
}

static bool arithmetic(struct jinja *x, enum jop op, const struct jval *a, const struct jval *b,
                       struct jval *out)
{
    bool floats = a->type == J_FLOAT || b->type == J_FLOAT || op == OP_DIV;
    if (!floats) {
        int64_t i = 0;
        if (!int_arithmetic(x, op, a->type == J_INT ? a->u.i : a->u.b, b->type == J_INT ? b->u.i : b->u.b,
                            &i))
            return false;
        *out = jval_int(i);
        return true;
    }
    double f = as_float(a), g = as_float(b);
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && g == 0)
        return jinja_fail(x, "division by zero");
    double r = op == OP_ADD        ? f + g
               : op == OP_SUB      ? f - g
               : op == OP_MUL      ? f * g
               : op == OP_DIV      ? f / g
               : op == OP_FLOORDIV ? floor(f / g)
                                   : f - g * floor(f / g);
    *out = (struct jval){.type = J_FLOAT, .u.f = r};
    return true;
}

static bool concat(struct jinja *x, struct jstr a, struct jstr b, struct jval *out)
{
    struct jbuild s = {.x = x};
    jbuild_add(&s, a);
    jbuild_add(&s, b);
    out->type = J_STRING;
    return jbuild_done(&s, &out->u.s);
}

static bool repeat(struct jinja *x, struct jstr s, int64_t times, struct jval *out)
{
    struct jbuild b = {.x = x};
    for (int64_t i = 0; i < times && s.n; i++) {
        if (!step(x, 1))
            return false;
        jbuild_add(&b, s);
    }
    out->type = J_STRING;
    return jbuild_done(&b, &out->u.s);
}

static bool eval_binary(struct jinja *x, enum jop op, const struct jval *a, const struct jval *b,
                        struct jval *out)
{
    static const char *const verb[] = {
        [OP_ADD] = "add",    [OP_SUB] = "subtract",    [OP_MUL] = "multiply",
        [OP_DIV] = "divide", [OP_FLOORDIV] = "divide", [OP_MOD] = "take the remainder of"};
    if (op == OP_CONCAT) {
        struct jstr s, t;
        return jval_to_str(x, a, &s) && jval_to_str(x, b, &t) && concat(x, s, t, out);
    }
    if (is_number(a) && is_number(b))
        return arithmetic(x, op, a, b, out);
    if (op == OP_ADD && a->type == J_STRING && b->type == J_STRING)
        return concat(x, a->u.s, b->u.s, out);
    if (op == OP_ADD && a->type == J_LIST && b->type == J_LIST) {
        *out = jval_new_list(x);
        for (size_t i = 0; i < a->u.list->n; i++)
            if (!jlist_add(x, out->u.list, a->u.list->v[i]))
                return false;
        for (size_t i = 0; i < b->u.list->n; i++)
            if (!jlist_add(x, out->u.list, b->u.list->v[i]))
                return false;
        return out->u.list || jinja_nomem(x);
    }
    if (op == OP_MUL && a->type == J_STRING && b->type == J_INT)
        return repeat(x, a->u.s, b->u.i, out);
    return bad_operands(x, verb[op], a, b);
}

static bool contains(struct jinja *x, const struct jval *needle, const struct jval *hay, bool *out)
{
    if (hay->type == J_STRING) {
        if (needle->type != J_STRING)
            return bad_operands(x, "search with 'in'", needle, hay);
        *out = jstr_find(hay->u.s, needle->u.s, 0) != SIZE_MAX;
        return true;
    }
    if (hay->type == J_DICT) {
        *out = jdict_get(hay->u.dict, *needle) != NULL;
        return true;
    }
    if (hay->type != J_LIST)
        return bad_operands(x, "search with 'in'", needle, hay);
    *out = false;
    for (size_t i = 0; i < hay->u.list->n && !*out; i++)
        *out = jval_equal(&hay->u.list->v[i], needle);
    return true;
}

static bool compare(struct jinja *x, enum jop op, const struct jval *a, const struct jval *b, bool *out)
{
    if (op == OP_EQ || op == OP_NE) {
        *out = jval_equal(a, b) == (op == OP_EQ);
        return true;
    }
    if (op == OP_IN || op == OP_NOT_IN) {
        if (!contains(x, a, b, out))
            return false;
        *out ^= op == OP_NOT_IN;
        return true;
    }
    int order;
    if (is_number(a) && is_number(b)) {
        double f = as_float(a), g = as_float(b);
        order = f < g ? -1 : f > g;
    } else if (a->type == J_STRING && b->type == J_STRING) {
        /* Byte order of UTF-8 is code point order, as in Python. */
        size_t n = a->u.s.n < b->u.s.n ? a->u.s.n : b->u.s.n;
        order = n ? memcmp(a->u.s.s, b->u.s.s, n) : 0;
        if (order == 0)
            order = a->u.s.n < b->u.s.n ? -1 : a->u.s.n > b->u.s.n;
    } else {
        return bad_operands(x, "order", a, b);
    }
    *out = op == OP_LT ? order < 0 : op == OP_LE ? order <= 0 : op == OP_GT ? order > 0 : order >= 0;
    return true;
}

/* --- expressions --- */

/* Byte offset of character i. */
static size_t char_offset(struct jstr s, size_t i)
{
    size_t p = 0;
    for (; p < s.n; p++)
        if (((unsigned char)s.s[p] & 0xc0) != 0x80 && i-- == 0)
            break;
    return p;
}

static bool eval_item(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct jval a, k;
    if (!jinja_eval(x, n->a, &a) || !jinja_eval(x, n->b, &k))
        return false;
    if (a.type == J_UNDEFINED)
        return jinja_fail(x, "'%.*s' is undefined", (int)a.u.s.n, a.u.s.s);
    if (a.type == J_DICT) {
        const struct jval *v = jdict_get(a.u.dict, k);
        struct jstr name = k.type == J_STRING ? k.u.s : jstr_z("item");
        *out = v ? *v : jval_undefined(name);
        return true;
    }
    if (k.type == J_STRING) {
        *out = jinja_attr(&a, k.u.s);
        return true;
    }
    size_t len;
    if ((a.type != J_LIST && a.type != J_STRING) || k.type != J_INT || !jval_length(&a, &len)) {
        *out = jval_undefined(jstr_z("item"));
        return true;
    }
    int64_t i = k.u.i < 0 ? k.u.i + (int64_t)len : k.u.i;
    if (i < 0 || i >= (int64_t)len)
        *out = jval_undefined(jstr_z("item"));
    else if (a.type == J_LIST)
        *out = a.u.list->v[i];
    else
        *out = jval_str(jstr_sub(a.u.s, char_offset(a.u.s, (size_t)i), char_offset(a.u.s, (size_t)i + 1)));
    return true;
}

/* One bound of a slice: *out stays as it is when absent. */
static bool slice_bound(struct jinja *x, const struct jnode *n, int64_t *out)
{
    struct jval v;
    if (!n)
        return true;
    if (!jinja_eval(x, n, &v))
        return false;
    if (v.type == J_NONE)
        return true;
    if (v.type != J_INT)
        return jinja_fail(x, "a slice bound is %s", jval_type_name(&v));
    *out = v.u.i;
    return true;
}

/* Python's rules for start and stop: negative counts from the end, then clipped. */
static int64_t clip(int64_t i, int64_t len, int64_t lo, int64_t hi)
{
    if (i < 0)
        i += len;
    return i < lo ? lo : i > hi ? hi : i;
}

static bool eval_slice(struct jinja *x, const struct jnode *n, struct jval *out)
{
    const int64_t absent = INT64_MIN;
    int64_t from = absent, to = absent, by = 1;
    struct jval a;
    size_t size;
    if (!jinja_eval(x, n->a, &a) || !slice_bound(x, n->b, &from) || !slice_bound(x, n->c, &to) ||
        !slice_bound(x, n->d, &by))
        return false;
    if ((a.type != J_LIST && a.type != J_STRING) || !jval_length(&a, &size))
        return jinja_fail(x, "can't slice %s", jval_type_name(&a));
    if (by == 0 || by == absent)
        return jinja_fail(x, "slice step 0");
    int64_t len = (int64_t)size, lo = by > 0 ? 0 : -1, hi = by > 0 ? len : len - 1;
    from = from == absent ? (by > 0 ? lo : hi) : clip(from, len, lo, hi);
    to = to == absent ? (by > 0 ? hi : lo) : clip(to, len, lo, hi);
    if (a.type == J_STRING && by == 1) {
        size_t p = char_offset(a.u.s, (size_t)from), q = from < to ? char_offset(a.u.s, (size_t)to) : p;
        *out = jval_str(jstr_sub(a.u.s, p, q));
        return true;
    }
    struct jlist *elements;
    struct jval list = jval_new_list(x);
    if (!list.u.list || !jinja_iterate(x, &a, &elements))
        return list.u.list ? false : jinja_nomem(x);
    for (int64_t i = from; by > 0 ? i < to : i > to;) {
        if (!step(x, 1) || !jlist_add(x, list.u.list, elements->v[i]))
            return false;
        if (__builtin_add_overflow(i, by, &i))
            break;
    }
    *out = list;
    if (a.type == J_STRING) {
        struct jbuild b = {.x = x};
        for (size_t i = 0; i < list.u.list->n; i++)
            jbuild_add(&b, list.u.list->v[i].u.s);
        out->type = J_STRING;
        return jbuild_done(&b, &out->u.s);
    }
    return true;
}

enum { ARGS_MAX = 16 };
struct arg_storage {
    struct jval pos[ARGS_MAX], named[ARGS_MAX];
    struct jstr names[ARGS_MAX];
    struct jargs args;
};

static bool eval_args(struct jinja *x, const struct jnode *list, struct arg_storage *s)
{
    s->args = (struct jargs){s->pos, 0, s->names, s->named, 0};
    for (const struct jnode *n = list; n; n = n->next) {
        bool keyword = n->kind == N_ARG;
        size_t *count = keyword ? &s->args.n_named : &s->args.n_pos;
        if (*count == ARGS_MAX)
            return jinja_fail(x, "more than %d arguments", ARGS_MAX);
        if (!jinja_eval(x, keyword ? n->a : n, keyword ? &s->named[*count] : &s->pos[*count]))
            return false;
        if (keyword)
            s->names[*count] = n->str2;
        ++*count;
    }
    return true;
}

static bool eval_call(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct arg_storage s;
    struct jval self;
    if (n->a->kind == N_ATTR) {
        if (!jinja_eval(x, n->a->a, &self) || !eval_args(x, n->args, &s))
            return false;
        x->line = n->line;
        return jinja_method(x, n->a->str, &self, &s.args, out);
    }
    if (!jinja_eval(x, n->a, &self) || !eval_args(x, n->args, &s))
        return false;
    x->line = n->line;
    if (self.type == J_UNDEFINED)
        return jinja_fail(x, "'%.*s' is undefined", (int)self.u.s.n, self.u.s.s);
    if (self.type != J_FUNCTION)
        return jinja_fail(x, "%s can't be called", jval_type_name(&self));
    return jinja_function(x, self.u.s, &s.args, out);
}

static bool eval_compare(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct jval left, right;
    bool result = true;
    if (!jinja_eval(x, n->a, &left))
        return false;
    for (const struct jnode *o = n->args; o && result; o = o->next) { /* a < b < c means a < b and b < c */
        if (!jinja_eval(x, o->a, &right) || !compare(x, o->op, &left, &right, &result))
            return false;
        left = right;
    }
    *out = jval_bool(result);
    return true;
}

static bool eval_list(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct jval v;
    *out = jval_new_list(x);
    for (const struct jnode *e = n->args; e; e = e->next)
        if (!jinja_eval(x, e, &v) || !jlist_add(x, out->u.list, v))
            return false;
    return out->u.list || jinja_nomem(x);
}

static bool eval_dict(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct jval k, v;
    *out = jval_new_dict(x);
    for (const struct jnode *e = n->args; e; e = e->next->next)
        if (!jinja_eval(x, e, &k) || !jinja_eval(x, e->next, &v) || !jdict_set(x, out->u.dict, k, v))
            return false;
    return out->u.dict || jinja_nomem(x);
}

static bool eval_node(struct jinja *x, const struct jnode *n, struct jval *out)
{
    struct jval a, b;
    struct arg_storage s;
    bool yes;
    switch (n->kind) {
    case N_CONST: *out = n->val; return true;
    case N_NAME: *out = lookup(x, n->str); return true;
    case N_LIST: return eval_list(x, n, out);
    case N_DICT: return eval_dict(x, n, out);
    case N_ITEM: return eval_item(x, n, out);
    case N_SLICE: return eval_slice(x, n, out);
    case N_CALL: return eval_call(x, n, out);
    case N_COMPARE: return eval_compare(x, n, out);
    case N_ATTR:
        if (n->a->kind == N_NAME && jstr_is(n->a->str, "loop") && loop_frame(x) &&
            loop_field(loop_frame(x), n->str.s, n->str.n, out))
            return true;
        if (!jinja_eval(x, n->a, &a))
            return false;
        if (a.type == J_UNDEFINED)
            return jinja_fail(x, "'%.*s' is undefined", (int)a.u.s.n, a.u.s.s);
        *out = jinja_attr(&a, n->str);
        return true;
    case N_FILTER:
        return jinja_eval(x, n->a, &a) && eval_args(x, n->args, &s) && (x->line = n->line, true) &&
               jinja_filter(x, n->str, &a, &s.args, out);
    case N_TEST:
        if (!jinja_eval(x, n->a, &a) || !eval_args(x, n->args, &s) ||
            !jinja_test(x, n->str, &a, &s.args, &yes))
            return false;
        *out = jval_bool(yes);
        return true;
    case N_NOT:
        if (!jinja_eval(x, n->a, &a))
            return false;
        *out = jval_bool(!jval_truth(&a));
        return true;
    case N_NEG:
    case N_POS:
        if (!jinja_eval(x, n->a, &a))
            return false;
        b = jval_int(0);
        return is_number(&a) ? arithmetic(x, n->kind == N_NEG ? OP_SUB : OP_ADD, &b, &a, out)
                             : jinja_fail(x, "can't negate %s", jval_type_name(&a));
    case N_AND:
    case N_OR: /* the deciding operand is the value, as in Python */
        return jinja_eval(x, n->a, out) && (jval_truth(out) == (n->kind == N_OR) || jinja_eval(x, n->b, out));
    case N_BINARY:
        return jinja_eval(x, n->a, &a) && jinja_eval(x, n->b, &b) && eval_binary(x, n->op, &a, &b, out);
    case N_COND:
        if (!jinja_eval(x, n->b, &a))
            return false;
        if (jval_truth(&a))
            return jinja_eval(x, n->a, out);
        *out = jval_undefined(jstr_z("the else of an inline if"));
        return !n->c || jinja_eval(x, n->c, out);
    default: return jinja_fail(x, "not an expression");
    }
}

bool jinja_eval(struct jinja *x, const struct jnode *n, struct jval *out)
{
    x->line = n->line;
    if (!step(x, 1))
        return false;
    if (x->depth >= JINJA_DEPTH_MAX * 8) /* left-deep chains (a + b + c …) nest without source nesting */
        return jinja_fail(x, "an expression is nested too deep");
    x->depth++;
    bool ok = eval_node(x, n, out);
    x->depth--;
    return ok;
}

/* --- statements --- */

/* The elements for which the loop's own condition holds. */
static bool loop_items(struct jinja *x, const struct jnode *n, struct jlist **out)
{
    struct jval v, keep;
    struct jlist *all;
    if (!jinja_eval(x, n->a, &v) || !jinja_iterate(x, &v, &all))
        return false;
    if (!n->d) {
        *out = all;
        return true;
    }
    struct jval kept = jval_new_list(x);
    if (!kept.u.list || !push_frame(x, NULL))
        return kept.u.list ? false : jinja_nomem(x);
    for (size_t i = 0; i < all->n; i++) {
        if (!step(x, 16) || !assign(x, n->args, all->v[i]) || !jinja_eval(x, n->d, &keep))
            return false;
        if (jval_truth(&keep) && !jlist_add(x, kept.u.list, all->v[i]))
            return false;
    }
    pop_frame(x);
    *out = kept.u.list;
    return true;
}

static bool run_for(struct jinja *x, const struct jnode *n)
{
    struct jlist *items = NULL;
    if (!loop_items(x, n, &items))
        return false;
    if (items->n == 0)
        return jinja_run(x, n->c);
    for (size_t i = 0; i < items->n; i++) {
        if (!step(x, 16) || !push_frame(x, items))
            return false;
        x->frame->i = i;
        if (!assign(x, n->args, items->v[i]) || !jinja_run(x, n->b))
            return false;
        pop_frame(x);
        bool stop = x->flow == FLOW_BREAK;
        x->flow = FLOW_ON;
        if (stop)
            break;
    }
    return true;
}

static bool run_set_attr(struct jinja *x, const struct jnode *n)
{
    struct jval v, ns = lookup(x, n->str);
    if (!jinja_eval(x, n->a, &v))
        return false;
    if (ns.type != J_DICT || !ns.u.dict->is_namespace)
        return jinja_fail(x, "'%.*s' isn't a namespace", (int)n->str.n, n->str.s);
    return jdict_set(x, ns.u.dict, jval_str(n->str2), v);
}

/* Runs the body with the output set aside, and stores what it wrote. */
static bool run_set_block(struct jinja *x, const struct jnode *n)
{
    size_t from = x->n;
    if (!jinja_run(x, n->b))
        return false;
    struct jbuild b = {.x = x};
    struct jval v = {.type = J_STRING};
    if (x->n > from)
        jbuild_add(&b, (struct jstr){x->text + from, x->mark + from, x->n - from});
    x->n = from;
    if (x->text)
        x->text[from] = 0;
    return jbuild_done(&b, &v.u.s) && jinja_set(x, n->str, v);
}

static bool run_one(struct jinja *x, const struct jnode *n)
{
    struct jval v;
    struct jstr s;
    switch (n->kind) {
    case N_TEXT: return jinja_write(x, n->str);
    case N_OUTPUT: return jinja_eval(x, n->a, &v) && jval_to_str(x, &v, &s) && jinja_write(x, s);
    case N_IF: return jinja_eval(x, n->a, &v) && jinja_run(x, jval_truth(&v) ? n->b : n->c);
    case N_FOR: return run_for(x, n);
    case N_SET:
        if (!jinja_eval(x, n->a, &v))
            return false;
        return n->args ? assign(x, n->args, v) : jinja_set(x, n->str, v);
    case N_SET_ATTR: return run_set_attr(x, n);
    case N_SET_BLOCK: return run_set_block(x, n);
    case N_BREAK: x->flow = FLOW_BREAK; return true;
    case N_CONTINUE: x->flow = FLOW_CONTINUE; return true;
    default: return jinja_fail(x, "not a statement");
    }
}

bool jinja_run(struct jinja *x, const struct jnode *first)
{
    for (const struct jnode *n = first; n && x->flow == FLOW_ON; n = n->next) {
        x->line = n->line;
        if (!step(x, 1) || !run_one(x, n))
            return false;
    }
    return true;
}
