/* Source → tokens. Whitespace follows Jinja2 with trim_blocks and lstrip_blocks on, as chat templates are
 * written for. */
#include "engine/model/jinja.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

struct lexer {
    const char *s;
    size_t n, pos;
    unsigned line;
    bool line_starting; /* the last tag, with the white space it took, ended a line */
    struct arena *arena;
    struct weft_err *err;
    struct jtoken *tokens;
    size_t n_tokens, cap_tokens;
};

static bool lex_fail(struct lexer *lx, const char *what)
{
    weft_err_set(lx->err, WEFT_FILE_INVALID, "chat template, line %u: %s", lx->line, what);
    weft_err_str(lx->err, "field", "tokenizer.chat_template");
    weft_err_str(lx->err, "value", what);
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct jtoken *push(struct lexer *lx, enum jtok type, struct jstr s)
{
    if (mem_grow(&lx->tokens, &lx->cap_tokens, lx->n_tokens + 1, sizeof *lx->tokens)) {
        weft_err_nomem(lx->err, "chat template", lx->cap_tokens * sizeof *lx->tokens);
        return NULL;
    }
    struct jtoken *t = &lx->tokens[lx->n_tokens++];
    *t = (struct jtoken){.type = type, .line = lx->line, .s = s};
    return t;
}

static struct jstr view(const struct lexer *lx, size_t from, size_t to)
{
    return (struct jstr){lx->s + from, NULL, to - from};
}

static void advance(struct lexer *lx, size_t to)
{
    for (; lx->pos < to; lx->pos++)
        lx->line += lx->s[lx->pos] == '\n';
}

static bool at(const struct lexer *lx, const char *z)
{
    size_t n = strlen(z);
    return lx->n - lx->pos >= n && memcmp(lx->s + lx->pos, z, n) == 0;
}

/* After the end of a tag: "-" takes all white space, and a block or comment takes one newline unless it ended
 * in "+". */
static void after_tag(struct lexer *lx, char sign, bool trims_newline)
{
    size_t p = lx->pos;
    if (sign == '-') {
        while (p < lx->n && is_space(lx->s[p]))
            p++;
    } else if (trims_newline && sign != '+' && p < lx->n && lx->s[p] == '\n') {
        p++;
    }
    lx->line_starting = p > lx->pos && lx->s[p - 1] == '\n';
    advance(lx, p);
}

/* Emits text [from, to), less what the tag that follows strips. */
static bool text_before_tag(struct lexer *lx, size_t from, size_t to, char sign, bool is_var)
{
    if (sign == '-') {
        while (to > from && is_space(lx->s[to - 1]))
            to--;
    } else if (!is_var && sign != '+') {
        size_t l = to;
        while (l > from && lx->s[l - 1] != '\n')
            l--;
        bool blank = l > from || lx->line_starting;
        for (size_t i = l; i < to && blank; i++)
            blank = is_space(lx->s[i]);
        if (blank)
            to = l;
    }
    return to == from || push(lx, T_TEXT, view(lx, from, to));
}

static int hex_value(const char *s, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        char c = s[i];
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* A quoted string at pos. Escapes as in Python; an unknown one keeps its backslash. */
static bool lex_string(struct lexer *lx)
{
    static const char from[] = "ntr\\'\"abfv0", to[] = "\n\t\r\\'\"\a\b\f\v";
    char quote = lx->s[lx->pos];
    size_t p = lx->pos + 1, end = p, n = 0;
    while (end < lx->n && lx->s[end] != quote)
        end += lx->s[end] == '\\' ? 2 : 1;
    if (end >= lx->n)
        return lex_fail(lx, "a string has no end");
    char *out = arena_alloc(lx->arena, end - p + 1);
    if (!out)
        return lex_fail(lx, "the template is too large");
    while (p < end) {
        char c = lx->s[p++];
        if (c != '\\') {
            out[n++] = c;
            continue;
        }
        char e = lx->s[p++];
        const char *known = e ? strchr(from, e) : NULL;
        int digits = e == 'x' ? 2 : e == 'u' ? 4 : 0;
        int cp = digits && end - p >= (size_t)digits ? hex_value(lx->s + p, digits) : -1;
        if (known) {
            out[n++] = to[known - from];
        } else if (cp >= 0 && (cp < 0xd800 || cp > 0xdfff)) {
            n += utf8_encode((uint32_t)cp, out + n); /* never longer than its escape */
            p += (size_t)digits;
        } else if (e != '\n') {
            out[n++] = '\\';
            out[n++] = e;
        }
    }
    if (!push(lx, T_STRING, (struct jstr){out, NULL, n}))
        return false;
    advance(lx, end + 1);
    return true;
}

static bool lex_number(struct lexer *lx)
{
    size_t p = lx->pos;
    bool is_float = false;
    while (p < lx->n && is_digit(lx->s[p]))
        p++;
    if (p + 1 < lx->n && lx->s[p] == '.' && is_digit(lx->s[p + 1])) {
        is_float = true;
        for (p++; p < lx->n && is_digit(lx->s[p]); p++)
            ;
    }
    size_t e = p + 1;
    if (p < lx->n && (lx->s[p] == 'e' || lx->s[p] == 'E') && e < lx->n) {
        e += lx->s[e] == '-' || lx->s[e] == '+';
        is_float |= e < lx->n && is_digit(lx->s[e]);
        for (; e < lx->n && is_digit(lx->s[e]); e++)
            p = e + 1;
    }
    char z[64];
    if (p - lx->pos >= sizeof z)
        return lex_fail(lx, "a number is too long");
    memcpy(z, lx->s + lx->pos, p - lx->pos);
    z[p - lx->pos] = 0;
    struct jtoken *t = push(lx, is_float ? T_FLOAT : T_INT, view(lx, lx->pos, p));
    if (!t)
        return false;
    if (!is_float && strlen(z) > 18)
        return lex_fail(lx, "a number is too long");
    t->i = is_float ? 0 : strtoll(z, NULL, 10);
    t->f = is_float ? strtod(z, NULL) : 0;
    advance(lx, p);
    return true;
}

/* The inside of {{ }} or {% %}, up to and with its end. */
static bool lex_tag(struct lexer *lx, bool is_var)
{
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    const char *end = is_var ? "}}" : "%}";
    unsigned brackets = 0;
    for (;;) {
        while (lx->pos < lx->n && is_space(lx->s[lx->pos]))
            advance(lx, lx->pos + 1);
        if (lx->pos >= lx->n)
            return lex_fail(lx, is_var ? "{{ has no }}" : "{% has no %}");
        char c = lx->s[lx->pos];
        if (brackets == 0) {
            size_t sign = c == '-' || c == '+' ? 1 : 0;
            lx->pos += sign;
            if (at(lx, end)) {
                if (!push(lx, is_var ? T_VAR_END : T_BLOCK_END, view(lx, lx->pos, lx->pos + 2)))
                    return false;
                lx->pos += 2;
                after_tag(lx, sign ? c : 0, !is_var);
                return true;
            }
            lx->pos -= sign;
        }
        if (is_name_start(c)) {
            size_t p = lx->pos;
            while (p < lx->n && (is_name_start(lx->s[p]) || is_digit(lx->s[p])))
                p++;
            if (!push(lx, T_NAME, view(lx, lx->pos, p)))
                return false;
            lx->pos = p;
        } else if (is_digit(c)) {
            if (!lex_number(lx))
                return false;
        } else if (c == '\'' || c == '"') {
            if (!lex_string(lx))
                return false;
        } else {
            size_t i = 0, n = sizeof ops / sizeof *ops;
            while (i < n && !at(lx, ops[i]))
                i++;
            if (i == n)
                return lex_fail(lx, "unexpected character in a tag");
            if (c == '(' || c == '[' || c == '{')
                brackets++;
            else if ((c == ')' || c == ']' || c == '}') && brackets > 0)
                brackets--;
            if (!push(lx, T_OP, view(lx, lx->pos, lx->pos + strlen(ops[i]))))
                return false;
            lx->pos += strlen(ops[i]);
        }
    }
}

static bool lex_comment(struct lexer *lx)
{
    while (!at(lx, "#}")) {
        if (lx->pos >= lx->n)
            return lex_fail(lx, "{# has no #}");
        advance(lx, lx->pos + 1);
    }
    char sign = lx->s[lx->pos - 1];
    lx->pos += 2;
    after_tag(lx, sign == '-' || sign == '+' ? sign : 0, true);
    return true;
}

static bool lex_all(struct lexer *lx)
{
    size_t from = lx->pos;
    while (lx->pos < lx->n) {
        if (!at(lx, "{{") && !at(lx, "{%") && !at(lx, "{#")) {
            advance(lx, lx->pos + 1);
            continue;
        }
        char kind = lx->s[lx->pos + 1];
        char sign = lx->pos + 2 < lx->n ? lx->s[lx->pos + 2] : 0;
        if (sign != '-' && sign != '+')
            sign = 0;
        if (!text_before_tag(lx, from, lx->pos, sign, kind == '{'))
            return false;
        if (kind != '#' &&
            !push(lx, kind == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN, view(lx, lx->pos, lx->pos + 2)))
            return false;
        lx->pos += sign ? 3 : 2;
        if (!(kind == '#' ? lex_comment(lx) : lex_tag(lx, kind == '{')))
            return false;
        from = lx->pos;
    }
    if (lx->pos > from && !push(lx, T_TEXT, view(lx, from, lx->pos)))
        return false;
    return push(lx, T_EOF, (struct jstr){"", NULL, 0});
}

bool jinja_lex(const char *source, size_t n, struct arena *a, struct jtoken **out, struct weft_err *err)
{
    struct lexer lx = {.line = 1, .line_starting = true, .arena = a, .err = err};
    *out = NULL;
    if (n > JINJA_SOURCE_MAX)
        return lex_fail(&lx, "the template is longer than 1048576 bytes");
    if (!utf8_valid(source, n))
        return lex_fail(&lx, "the template isn't UTF-8");
    /* Line ends become \n, and one at the very end is dropped, as Jinja2 does. */
    char *s = arena_alloc(a, n + 1);
    if (!s)
        return lex_fail(&lx, "the template is too large");
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n')
            continue;
        s[lx.n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (lx.n > 0 && s[lx.n - 1] == '\n')
        lx.n--;
    lx.s = s;
    if (!lex_all(&lx)) {
        mem_free(lx.tokens);
        return false;
    }
    *out = lx.tokens;
    return true;
}
