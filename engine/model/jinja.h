/*
 * The inside of chat_template.h: a small Jinja interpreter, in stages that only meet here.
 *
 *   jinja_lex.c      source → tokens   (tags, whitespace control as with trim_blocks and lstrip_blocks)
 *   jinja_parse.c    tokens → nodes
 *   jinja_value.c    values: strings with marks, lists, mappings; comparison, printing
 *   jinja_string.c   what filters and methods do with strings
 *   jinja_builtin.c  filters, tests, methods, functions: a table each
 *   jinja_eval.c     nodes × variables → text
 *
 * Semantics follow Jinja2 3.1's documentation where the construct exists here. Every string byte carries a
 * mark, 0 for the template's own bytes and 1 for foreign ones, and each operation keeps it with its byte.
 *
 * Ownership: nodes live in the template's arena, values in the rendering's; nothing is freed singly.
 * Functions that return bool return false after setting *err.
 */
#ifndef WEFT_MODEL_JINJA_H
#define WEFT_MODEL_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"
#include "engine/model/chat_template.h"

enum {
    JINJA_DEPTH_MAX = 64,        /* nesting, of source and of evaluation */
    JINJA_STEPS_MAX = 1000000,   /* loop iterations and evaluated nodes × 1/16 */
    JINJA_OUTPUT_MAX = 16 << 20, /* bytes */
    JINJA_SOURCE_MAX = 1 << 20,  /* bytes */
    JINJA_MEMORY_MAX = 128 << 20 /* bytes of intermediate values */
};

/* --- arena: bump allocation, freed as a whole --- */
struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
    size_t used, limit; /* bytes handed out, and the most that may be */
};
void *arena_alloc(struct arena *a,
                  size_t bytes); /* zeroed, aligned for anything; NULL at the limit or out of memory */
void arena_free(struct arena *a);

/* --- values --- */
enum jtype { J_UNDEFINED, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STRING, J_LIST, J_DICT, J_FUNCTION };

struct jstr {
    const char *s;       /* n bytes of UTF-8, not NUL-terminated */
    const uint8_t *mark; /* n marks; NULL: all 0 */
    size_t n;
};

struct jlist;
struct jdict;
struct jval {
    enum jtype type;
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr s; /* also J_UNDEFINED and J_FUNCTION: the name */
        struct jlist *list;
        struct jdict *dict;
    } u;
};
struct jlist {
    struct jval *v;
    size_t n, cap;
};
struct jdict {
    struct jval *key, *val;
    size_t n, cap;
    bool is_namespace; /* `set ns.x = …` is allowed */
};

/* --- tokens --- */
enum jtok {
    T_TEXT,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VAR_BEGIN,
    T_VAR_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP,
    T_EOF
};
struct jtoken {
    enum jtok type;
    unsigned line;
    struct jstr s; /* text, name, operator, or the string's decoded bytes */
    int64_t i;
    double f;
};
/* Splits source into tokens, the last being T_EOF; *out is mem_free'd by the caller, strings are the arena's
 * or the source's. */
bool jinja_lex(const char *source, size_t n, struct arena *a, struct jtoken **out, struct weft_err *err);

/* --- nodes --- */
enum jnode_kind {
    /* statements, chained by `next` */
    N_TEXT,      /* str */
    N_OUTPUT,    /* a: expression */
    N_IF,        /* a: condition, b: body, c: else part (another N_IF for elif) */
    N_FOR,       /* args: target names, a: iterable, b: body, c: else body, d: filter condition */
    N_SET,       /* str: name, or args: target names; a: value */
    N_SET_ATTR,  /* str: name of the namespace, str2: attribute, a: value */
    N_SET_BLOCK, /* str: name, b: body */
    N_BREAK,
    N_CONTINUE,
    /* expressions */
    N_CONST,  /* val */
    N_NAME,   /* str */
    N_LIST,   /* args */
    N_DICT,   /* args: key, value, key, value … */
    N_ATTR,   /* a . str */
    N_ITEM,   /* a [ b ] */
    N_SLICE,  /* a [ b : c : d ], each of b c d may be NULL */
    N_CALL,   /* a ( args ) */
    N_ARG,    /* a keyword argument, in args only: str2 = a */
    N_FILTER, /* a | str ( args ) */
    N_TEST,   /* a is str ( args ) */
    N_NEG,
    N_POS,
    N_NOT,
    N_AND,
    N_OR,
    N_BINARY,  /* a op b */
    N_COMPARE, /* a, then args: each an operand with its operator in op */
    N_COND     /* a if b else c (c may be NULL) */
};
enum jop {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_CONCAT,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
};
struct jnode {
    enum jnode_kind kind;
    enum jop op;
    unsigned line;
    struct jstr str, str2;
    struct jval val;
    struct jnode *a, *b, *c, *d, *args, *next;
};
/* Tokens → the first statement (*out NULL for an empty template). */
bool jinja_parse(const struct jtoken *tokens, struct arena *a, struct jnode **out, struct weft_err *err);

/* --- evaluation --- */
struct jframe;
struct jinja {
    struct arena *arena;
    struct weft_err *err;
    struct jframe *frame, *free_frames;
    const struct chat_vars *vars;
    unsigned depth, line; /* line: of the node being evaluated */
    uint64_t steps;
    enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;
    /* what has been written */
    char *text;
    uint8_t *mark;
    size_t n, cap;
};
/* Fails with INVALID_REQUEST, "chat template, line N: …". Always false. */
bool jinja_fail(struct jinja *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool jinja_eval(struct jinja *x, const struct jnode *n, struct jval *out);
bool jinja_run(struct jinja *x, const struct jnode *first);
bool jinja_set(struct jinja *x, struct jstr name, struct jval v); /* in the innermost frame */
bool jinja_write(struct jinja *x, struct jstr s);
bool jinja_nomem(struct jinja *x);

/* --- values: jinja_value.c --- */
struct jstr jstr_z(const char *z); /* a view of a NUL-terminated string, unmarked */
bool jstr_is(struct jstr s, const char *z);
bool jstr_eq(struct jstr a, struct jstr b);
struct jstr jstr_sub(struct jstr s, size_t from, size_t to);    /* bytes [from, to) */
size_t jstr_find(struct jstr s, struct jstr what, size_t from); /* byte offset, or SIZE_MAX */
struct jval jval_str(struct jstr s);
struct jval jval_int(int64_t i);
struct jval jval_bool(bool b);
struct jval jval_undefined(struct jstr name);
struct jval jval_new_list(struct jinja *x); /* list NULL when out of memory */
struct jval jval_new_dict(struct jinja *x);
bool jlist_add(struct jinja *x, struct jlist *l, struct jval v);
bool jdict_set(struct jinja *x, struct jdict *d, struct jval key, struct jval v); /* adds or replaces */
const struct jval *jdict_get(const struct jdict *d, struct jval key);
bool jval_truth(const struct jval *v);
bool jval_equal(const struct jval *a, const struct jval *b);
const char *jval_type_name(const struct jval *v);
/* Characters, elements or entries; false for what has no length. */
bool jval_length(const struct jval *v, size_t *n);

/* A string under construction; the result is the arena's. */
struct jbuild {
    struct jinja *x;
    char *s;
    uint8_t *mark;
    size_t n, cap;
    unsigned depth; /* of the value being printed: a namespace can hold itself */
    bool failed;
};
void jbuild_add(struct jbuild *b, struct jstr s);
void jbuild_addz(struct jbuild *b, const char *z);
bool jbuild_done(struct jbuild *b, struct jstr *out);
/* What `{{ v }}` writes (str() in Python), or with `quote` what it looks like inside a list (repr()). */
void jval_print(struct jbuild *b, const struct jval *v, bool quote);
/* JSON as Python's json.dumps(ensure_ascii=False) writes it; indent < 0: on one line. */
void jval_json(struct jbuild *b, const struct jval *v, int indent, int level);
bool jval_to_str(struct jinja *x, const struct jval *v, struct jstr *out);

/* --- builtins: jinja_builtin.c, jinja_string.c --- */
struct jargs {
    const struct jval *pos;
    size_t n_pos;
    const struct jstr *names; /* keyword arguments */
    const struct jval *named;
    size_t n_named;
};
/* Argument i, or the keyword argument of that name (NULL: none); NULL when absent. */
const struct jval *jargs_get(const struct jargs *a, size_t i, const char *keyword);
bool jinja_filter(struct jinja *x, struct jstr name, const struct jval *v, const struct jargs *args,
                  struct jval *out);
bool jinja_test(struct jinja *x, struct jstr name, const struct jval *v, const struct jargs *args, bool *out);
bool jinja_method(struct jinja *x, struct jstr name, const struct jval *self, const struct jargs *args,
                  struct jval *out);
bool jinja_function(struct jinja *x, struct jstr name, const struct jargs *args, struct jval *out);
bool jinja_is_function(struct jstr name);
/* obj.name or obj[name], as an attribute: undefined when there is none. */
struct jval jinja_attr(const struct jval *v, struct jstr name);
/* The elements that `for`, `in`, join and list see: a list's own, a mapping's keys, a string's characters. */
bool jinja_iterate(struct jinja *x, const struct jval *v, struct jlist **out);

/* String operations; `who` names the caller in errors. */
enum jcase { CASE_UPPER, CASE_LOWER, CASE_CAPITAL, CASE_TITLE };
bool jinja_want_string(struct jinja *x, const struct jval *v, const char *who, struct jstr *out);
bool jinja_give(struct jval *out, struct jstr s); /* always true */
bool jinja_change_case(struct jinja *x, struct jstr s, enum jcase how, struct jval *out);
bool jinja_replace(struct jinja *x, struct jstr s, const struct jargs *a, struct jval *out);
bool jinja_split(struct jinja *x, struct jstr s, const struct jargs *a, struct jval *out);
bool jinja_affix(struct jinja *x, struct jstr s, const struct jargs *a, bool at_end, struct jval *out);
/* Characters of *set (NULL: white space) taken off the ends. */
struct jstr jstr_strip(struct jstr s, const struct jstr *set, bool left, bool right);
bool jinja_strip(struct jinja *x, struct jstr s, const struct jargs *a, bool left, bool right,
                 struct jval *out);

#endif
