/*
 * Tokens → nodes, by recursive descent. Precedence, loosest first, as in Jinja2:
 *   a if b else c · or · and · not · comparisons, in · + − · ~ · * / // % · unary − + · postfix . [] () · |
 * is
 */
#include "engine/model/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct parser {
    const struct jtoken *t;
    struct arena *arena;
    struct weft_err *err;
    unsigned depth;
    unsigned loops; /* how many `for` we are inside of */
};

static bool parse_fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool parse_fail(struct parser *p, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft_err_set(p->err, WEFT_FILE_INVALID, "chat template, line %u: %s", p->t->line, what);
    weft_err_str(p->err, "field", "tokenizer.chat_template");
    weft_err_str(p->err, "value", what);
    return false;
}

static bool is_op(const struct parser *p, const char *z)
{
    return p->t->type == T_OP && jstr_is(p->t->s, z);
}

static bool is_name(const struct parser *p, const char *z)
{
    return p->t->type == T_NAME && jstr_is(p->t->s, z);
}

static bool take_op(struct parser *p, const char *z)
{
    if (!is_op(p, z))
        return false;
    p->t++;
    return true;
}

static bool take_name(struct parser *p, const char *z)
{
    if (!is_name(p, z))
        return false;
    p->t++;
    return true;
}

static bool want_op(struct parser *p, const char *z)
{
    return take_op(p, z) || parse_fail(p, "expected '%s', found '%.*s'", z, (int)p->t->s.n, p->t->s.s);
}

static struct jnode *new_node(struct parser *p, enum jnode_kind kind)
{
    struct jnode *n = arena_alloc(p->arena, sizeof *n);
    if (!n) {
        parse_fail(p, "the template is too large");
        return NULL;
    }
    n->kind = kind;
    n->line = p->t->line;
    return n;
}

static bool enter(struct parser *p)
{
    return ++p->depth <= JINJA_DEPTH_MAX || parse_fail(p, "nested deeper than %d", JINJA_DEPTH_MAX);
}

static struct jnode *parse_expr(struct parser *p);
static struct jnode *parse_unary(struct parser *p, bool with_filters);

/* A list of expressions up to `close`, which is taken. Keyword arguments (`name=value`) are allowed when `keywords`. */
static bool parse_args(struct parser *p, const char *close, bool keywords, struct jnode **out)
{
    struct jnode **tail = out;
    *out = NULL;
    while (!take_op(p, close)) {
        if (*out && !want_op(p, ","))
            return false;
        if (*out && take_op(p, close))
            break;
        struct jstr name = {0};
        if (keywords && p->t->type == T_NAME && p->t[1].type == T_OP && jstr_is(p->t[1].s, "=")) {
            name = p->t->s;
            p->t += 2;
        }
        struct jnode *e = parse_expr(p);
        if (!e)
            return false;
        if (name.n) {
            struct jnode *wrap = new_node(p, N_ARG);
            if (!wrap)
                return false;
            wrap->a = e;
            wrap->str2 = name;
            e = wrap;
        }
        *tail = e;
        tail = &e->next;
    }
    return true;
}

static struct jnode *parse_dict(struct parser *p)
{
    struct jnode *n = new_node(p, N_DICT), **tail = n ? &n->args : NULL;
    while (n && !take_op(p, "}")) {
        if (n->args && !want_op(p, ","))
            return NULL;
        if (n->args && take_op(p, "}"))
            break;
        struct jnode *k = parse_expr(p);
        if (!k || !want_op(p, ":"))
            return NULL;
        struct jnode *v = parse_expr(p);
        if (!v)
            return NULL;
        *tail = k;
        k->next = v;
        tail = &v->next;
    }
    return n;
}

static struct jnode *constant(struct parser *p, struct jval v)
{
    struct jnode *n = new_node(p, N_CONST);
    if (n)
        n->val = v;
    return n;
}

static struct jnode *parse_name(struct parser *p)
{
    static const struct {
        const char *name;
        struct jval val;
    } words[] = {
        {"true", {.type = J_BOOL, .u.b = true}},
        {"True", {.type = J_BOOL, .u.b = true}},
        {"false", {.type = J_BOOL, .u.b = false}},
        {"False", {.type = J_BOOL, .u.b = false}},
        {"none", {.type = J_NONE}},
        {"None", {.type = J_NONE}},
    };
    const struct jtoken *t = p->t++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (jstr_is(t->s, words[i].name))
            return constant(p, words[i].val);
    struct jnode *n = new_node(p, N_NAME);
    if (n) {
        n->str = t->s;
        n->line = t->line;
    }
    return n;
}

static struct jnode *parse_string(struct parser *p)
{
    struct jstr s = (p->t++)->s;
    while (p->t->type == T_STRING) { /* adjacent strings are one */
        char *joined = arena_alloc(p->arena, s.n + p->t->s.n + 1);
        if (!joined) {
            parse_fail(p, "the template is too large");
            return NULL;
        }
        memcpy(joined, s.s, s.n);
        memcpy(joined + s.n, p->t->s.s, p->t->s.n);
        s = (struct jstr){joined, NULL, s.n + p->t->s.n};
        p->t++;
    }
    return constant(p, jval_str(s));
}

static struct jnode *parse_parenthesised(struct parser *p)
{
    struct jnode *e;
    if (is_op(p, ")") || !(e = parse_expr(p))) {
        if (is_op(p, ")"))
            parse_fail(p, "empty parentheses aren't supported");
        return NULL;
    }
    if (take_op(p, ")"))
        return e;
    if (!want_op(p, ",")) /* a tuple; here the same as a list */
        return NULL;
    struct jnode *list = new_node(p, N_LIST), *rest;
    if (!list || !parse_args(p, ")", false, &rest))
        return NULL;
    list->args = e;
    e->next = rest;
    return list;
}

static struct jnode *parse_primary(struct parser *p)
{
    const struct jtoken *t = p->t;
    struct jnode *n;
    switch (t->type) {
    case T_NAME: return parse_name(p);
    case T_STRING: return parse_string(p);
    case T_INT: p->t++; return constant(p, jval_int(t->i));
    case T_FLOAT: p->t++; return constant(p, (struct jval){.type = J_FLOAT, .u.f = t->f});
    default: break;
    }
    if (take_op(p, "("))
        return parse_parenthesised(p);
    if (take_op(p, "[")) {
        n = new_node(p, N_LIST);
        return n && parse_args(p, "]", false, &n->args) ? n : NULL;
    }
    if (take_op(p, "{"))
        return parse_dict(p);
    parse_fail(p, "expected an expression, found '%.*s'", (int)t->s.n, t->s.s);
    return NULL;
}

/* a[…]: an item or a slice; "[" is taken. */
static struct jnode *parse_subscript(struct parser *p, struct jnode *a)
{
    struct jnode *n = new_node(p, N_ITEM), *part[3] = {0};
    int i = 0;
    if (!n)
        return NULL;
    n->a = a;
    for (;; i++) {
        if (!is_op(p, ":") && !is_op(p, "]") && !(part[i] = parse_expr(p)))
            return NULL;
        if (i == 2 || !take_op(p, ":"))
            break;
    }
    if (i > 0)
        n->kind = N_SLICE;
    else if (!part[0]) {
        parse_fail(p, "empty subscript");
        return NULL;
    }
    n->b = part[0];
    n->c = part[1];
    n->d = part[2];
    return want_op(p, "]") ? n : NULL;
}

static struct jnode *parse_postfix(struct parser *p, struct jnode *n)
{
    while (n) {
        struct jnode *outer;
        if (take_op(p, ".")) {
            if (p->t->type != T_NAME) {
                parse_fail(p, "expected a name after '.'");
                return NULL;
            }
            outer = new_node(p, N_ATTR);
            if (outer) {
                outer->a = n;
                outer->str = (p->t++)->s;
            }
            n = outer;
        } else if (take_op(p, "[")) {
            n = parse_subscript(p, n);
        } else if (take_op(p, "(")) {
            outer = new_node(p, N_CALL);
            if (!outer || !parse_args(p, ")", true, &outer->args))
                return NULL;
            outer->a = n;
            n = outer;
        } else {
            break;
        }
    }
    return n;
}

/* Whether a test's single argument may follow without parentheses, as in `is divisibleby 3`. */
static bool starts_bare_argument(const struct parser *p)
{
    static const char *const stop[] = {"else", "or", "and", "is", "if", "in", "not"};
    if (p->t->type == T_STRING || p->t->type == T_INT || p->t->type == T_FLOAT || is_op(p, "[") ||
        is_op(p, "{"))
        return true;
    if (p->t->type != T_NAME)
        return false;
    for (size_t i = 0; i < sizeof stop / sizeof *stop; i++)
        if (jstr_is(p->t->s, stop[i]))
            return false;
    return true;
}

static struct jnode *parse_filters(struct parser *p, struct jnode *n)
{
    while (n) {
        bool is_filter = take_op(p, "|");
        if (!is_filter && !take_name(p, "is"))
            break;
        bool negated = !is_filter && take_name(p, "not");
        struct jnode *outer = new_node(p, is_filter ? N_FILTER : N_TEST);
        if (!outer)
            return NULL;
        if (p->t->type != T_NAME) {
            parse_fail(p, "expected the name of a %s", is_filter ? "filter" : "test");
            return NULL;
        }
        outer->a = n;
        outer->str = (p->t++)->s;
        if (take_op(p, "(")) {
            if (!parse_args(p, ")", true, &outer->args))
                return NULL;
        } else if (!is_filter && starts_bare_argument(p)) {
            outer->args = parse_postfix(p, parse_primary(p));
            if (!outer->args)
                return NULL;
        }
        n = outer;
        if (negated) {
            n = new_node(p, N_NOT);
            if (n)
                n->a = outer;
        }
    }
    return n;
}

static struct jnode *parse_unary(struct parser *p, bool with_filters)
{
    struct jnode *n;
    if (is_op(p, "-") || is_op(p, "+")) {
        if (!enter(p))
            return NULL;
        n = new_node(p, is_op(p, "-") ? N_NEG : N_POS);
        p->t++;
        if (!n || !(n->a = parse_unary(p, false)))
            return NULL;
        p->depth--;
    } else {
        n = parse_postfix(p, parse_primary(p));
    }
    return with_filters ? parse_filters(p, n) : n;
}

/* The three levels of left-associative operators, loosest first. */
static const struct {
    const char *z;
    enum jop op;
} binary[3][5] = {
    {{"+", OP_ADD}, {"-", OP_SUB}},
    {{"~", OP_CONCAT}},
    {{"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}},
};

static struct jnode *parse_binary(struct parser *p, int level)
{
    if (level == 3)
        return parse_unary(p, true);
    struct jnode *left = parse_binary(p, level + 1);
    while (left) {
        int i = 0;
        while (binary[level][i].z && !is_op(p, binary[level][i].z))
            i++;
        if (!binary[level][i].z)
            break;
        p->t++;
        struct jnode *n = new_node(p, N_BINARY);
        if (!n || !(n->b = parse_binary(p, level + 1)))
            return NULL;
        n->a = left;
        n->op = binary[level][i].op;
        left = n;
    }
    return left;
}

static bool take_comparison(struct parser *p, enum jop *op)
{
    static const struct {
        const char *z;
        enum jop op;
    } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}, {"<", OP_LT}, {">", OP_GT}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (take_op(p, ops[i].z)) {
            *op = ops[i].op;
            return true;
        }
    }
    if (take_name(p, "in")) {
        *op = OP_IN;
        return true;
    }
    if (is_name(p, "not") && p->t[1].type == T_NAME && jstr_is(p->t[1].s, "in")) {
        p->t += 2;
        *op = OP_NOT_IN;
        return true;
    }
    return false;
}

static struct jnode *parse_compare(struct parser *p)
{
    struct jnode *first = parse_binary(p, 0), *n = NULL, **tail = NULL;
    enum jop op;
    while (first && take_comparison(p, &op)) {
        if (!n) {
            if (!(n = new_node(p, N_COMPARE)))
                return NULL;
            n->a = first;
            tail = &n->args;
        }
        struct jnode *operand = new_node(p, N_COMPARE); /* carries operator and operand */
        if (!operand || !(operand->a = parse_binary(p, 0)))
            return NULL;
        operand->op = op;
        *tail = operand;
        tail = &operand->next;
    }
    return n ? n : first;
}

static struct jnode *parse_not(struct parser *p)
{
    if (!is_name(p, "not"))
        return parse_compare(p);
    if (!enter(p))
        return NULL;
    struct jnode *n = new_node(p, N_NOT);
    p->t++;
    if (!n || !(n->a = parse_not(p)))
        return NULL;
    p->depth--;
    return n;
}

static struct jnode *parse_logic(struct parser *p, bool is_or)
{
    struct jnode *left = is_or ? parse_logic(p, false) : parse_not(p);
    while (left && take_name(p, is_or ? "or" : "and")) {
        struct jnode *n = new_node(p, is_or ? N_OR : N_AND);
        if (!n || !(n->b = is_or ? parse_logic(p, false) : parse_not(p)))
            return NULL;
        n->a = left;
        left = n;
    }
    return left;
}

static struct jnode *parse_expr(struct parser *p)
{
    if (!enter(p))
        return NULL;
    struct jnode *n = parse_logic(p, true);
    while (n && take_name(p, "if")) {
        struct jnode *cond = new_node(p, N_COND);
        if (!cond || !(cond->b = parse_logic(p, true)))
            return NULL;
        if (take_name(p, "else") && !(cond->c = parse_expr(p)))
            return NULL;
        cond->a = n;
        n = cond;
    }
    p->depth--;
    return n;
}

/* `first` and what follows it after commas, as a list; just `first` when nothing does. */
static struct jnode *parse_tuple(struct parser *p, struct jnode *first)
{
    if (!first || !is_op(p, ","))
        return first;
    struct jnode *list = new_node(p, N_LIST), *last = first;
    while (list && take_op(p, ",")) {
        if (!(last->next = parse_expr(p)))
            return NULL;
        last = last->next;
    }
    if (list)
        list->args = first;
    return list;
}

static bool end_block(struct parser *p)
{
    if (p->t->type != T_BLOCK_END)
        return parse_fail(p, "expected '%%}', found '%.*s'", (int)p->t->s.n, p->t->s.s);
    p->t++;
    return true;
}

/* Whether a block tag with this name comes next; if so `{%` and the name are taken. */
static bool take_block(struct parser *p, const char *name)
{
    if (p->t->type != T_BLOCK_BEGIN || p->t[1].type != T_NAME || !jstr_is(p->t[1].s, name))
        return false;
    p->t += 2;
    return true;
}

static bool parse_body(struct parser *p, struct jnode **out);

/* "if" or "elif" is taken. */
static struct jnode *parse_if(struct parser *p)
{
    struct jnode *n = new_node(p, N_IF);
    if (!n || !enter(p) || !(n->a = parse_expr(p)) || !end_block(p) || !parse_body(p, &n->b))
        return NULL;
    if (take_block(p, "elif")) {
        n->c = parse_if(p); /* takes the endif */
        p->depth--;
        return n->c ? n : NULL;
    }
    if (take_block(p, "else") && (!end_block(p) || !parse_body(p, &n->c)))
        return NULL;
    if (!take_block(p, "endif")) {
        parse_fail(p, "'if' has no 'endif'");
        return NULL;
    }
    p->depth--;
    return end_block(p) ? n : NULL;
}

/* Names separated by commas, perhaps in parentheses, as N_NAME nodes. */
static bool parse_targets(struct parser *p, struct jnode **out)
{
    bool parens = take_op(p, "(");
    do {
        if (p->t->type != T_NAME)
            return parse_fail(p, "expected a name, found '%.*s'", (int)p->t->s.n, p->t->s.s);
        struct jnode *n = new_node(p, N_NAME);
        if (!n)
            return false;
        n->str = (p->t++)->s;
        *out = n;
        out = &n->next;
    } while (take_op(p, ","));
    return !parens || want_op(p, ")");
}

static struct jnode *parse_for(struct parser *p)
{
    struct jnode *n = new_node(p, N_FOR);
    if (!n || !enter(p) || !parse_targets(p, &n->args))
        return NULL;
    if (!take_name(p, "in")) {
        parse_fail(p, "'for' without 'in'");
        return NULL;
    }
    /* Not parse_expr: an `if` here filters the loop. */
    if (!(n->a = parse_tuple(p, parse_logic(p, true))) || (take_name(p, "if") && !(n->d = parse_expr(p))))
        return NULL;
    if (is_name(p, "recursive")) {
        parse_fail(p, "recursive loops aren't supported");
        return NULL;
    }
    p->loops++;
    if (!end_block(p) || !parse_body(p, &n->b))
        return NULL;
    p->loops--;
    if (take_block(p, "else") && (!end_block(p) || !parse_body(p, &n->c)))
        return NULL;
    if (!take_block(p, "endfor")) {
        parse_fail(p, "'for' has no 'endfor'");
        return NULL;
    }
    p->depth--;
    return end_block(p) ? n : NULL;
}

static struct jnode *parse_set(struct parser *p)
{
    struct jnode *n = new_node(p, N_SET), *targets = NULL;
    if (!n)
        return NULL;
    if (p->t->type == T_NAME && p->t[1].type == T_OP && jstr_is(p->t[1].s, ".")) {
        n->kind = N_SET_ATTR;
        n->str = p->t->s;
        p->t += 2;
        if (p->t->type != T_NAME) {
            parse_fail(p, "expected a name after '.'");
            return NULL;
        }
        n->str2 = (p->t++)->s;
    } else if (!parse_targets(p, &targets)) {
        return NULL;
    } else if (targets->next) {
        n->args = targets;
    } else {
        n->str = targets->str;
    }
    if (take_op(p, "="))
        return (n->a = parse_tuple(p, parse_expr(p))) && end_block(p) ? n : NULL;
    if (n->kind == N_SET_ATTR || n->args || p->t->type != T_BLOCK_END) {
        parse_fail(p, "'set' without '='");
        return NULL;
    }
    n->kind = N_SET_BLOCK;
    if (!enter(p) || !end_block(p) || !parse_body(p, &n->b))
        return NULL;
    if (!take_block(p, "endset")) {
        parse_fail(p, "'set' has no 'endset'");
        return NULL;
    }
    p->depth--;
    return end_block(p) ? n : NULL;
}

static struct jnode *parse_flow(struct parser *p, enum jnode_kind kind)
{
    struct jnode *n = new_node(p, kind);
    if (n && p->loops == 0) {
        parse_fail(p, "'%s' outside of a loop", kind == N_BREAK ? "break" : "continue");
        return NULL;
    }
    return n && end_block(p) ? n : NULL;
}

static bool ends_body(const struct jtoken *name)
{
    static const char *const ends[] = {"elif", "else", "endif", "endfor", "endset"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (jstr_is(name->s, ends[i]))
            return true;
    return false;
}

static struct jnode *parse_block(struct parser *p)
{
    if (take_block(p, "if"))
        return parse_if(p);
    if (take_block(p, "for"))
        return parse_for(p);
    if (take_block(p, "set"))
        return parse_set(p);
    if (take_block(p, "break"))
        return parse_flow(p, N_BREAK);
    if (take_block(p, "continue"))
        return parse_flow(p, N_CONTINUE);
    parse_fail(p, "the statement '%.*s' isn't supported", (int)p->t[1].s.n, p->t[1].s.s);
    return NULL;
}

/* Statements up to a tag that ends them (left in place) or the end of the source. */
static bool parse_body(struct parser *p, struct jnode **out)
{
    *out = NULL;
    while (p->t->type != T_EOF) {
        struct jnode *n = NULL;
        if (p->t->type == T_TEXT) {
            n = new_node(p, N_TEXT);
            if (n)
                n->str = (p->t++)->s;
        } else if (p->t->type == T_VAR_BEGIN) {
            n = new_node(p, N_OUTPUT);
            p->t++;
            if (n && !(n->a = parse_expr(p)))
                return false;
            if (n && p->t->type != T_VAR_END)
                return parse_fail(p, "expected '}}', found '%.*s'", (int)p->t->s.n, p->t->s.s);
            p->t++;
        } else {
            if (p->t[1].type == T_NAME && ends_body(&p->t[1]))
                return true;
            n = parse_block(p);
        }
        if (!n)
            return false;
        *out = n;
        out = &n->next;
    }
    return true;
}

bool jinja_parse(const struct jtoken *tokens, struct arena *a, struct jnode **out, struct weft_err *err)
{
    struct parser p = {.t = tokens, .arena = a, .err = err};
    if (!parse_body(&p, out))
        return false;
    return p.t->type == T_EOF || parse_fail(&p, "'%.*s' without its beginning", (int)p.t[1].s.n, p.t[1].s.s);
}
