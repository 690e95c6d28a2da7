#include "ui/markdown.h"

#include <string.h>

enum { MAX_LEAD = 8, MAX_HEADING = 6, MAX_NUMBER = 3, FENCE_LEN = 3, RULE_LEN = 3 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_word(char c)
{
    unsigned char u = (unsigned char)c;
    return (u >= '0' && u <= '9') || (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || u >= 0x80;
}

static size_t count(const char *s, size_t n, char c)
{
    size_t k = 0;
    while (k < n && s[k] == c)
        k++;
    return k;
}

/* "---", "***", "___" and longer, alone on their line. */
static bool is_rule(const char *s, size_t n)
{
    if (n < RULE_LEN || !strchr("-*_", s[0]))
        return false;
    size_t k = count(s, n, s[0]);
    while (k < n && is_space(s[k]))
        k++;
    return k == n && count(s, n, s[0]) >= RULE_LEN;
}

/* Bytes of a list's sign with the space behind it, or 0. */
static size_t list_sign(const char *s, size_t n)
{
    if (n >= 2 && strchr("-*+", s[0]) && s[1] == ' ')
        return 2;
    size_t digits = 0;
    while (digits < n && s[digits] >= '0' && s[digits] <= '9')
        digits++;
    bool numbered = digits > 0 && digits <= MAX_NUMBER && digits + 1 < n &&
                    (s[digits] == '.' || s[digits] == ')') && s[digits + 1] == ' ';
    return numbered ? digits + 2 : 0;
}

struct md_line md_classify(const char *s, size_t n, bool in_code)
{
    size_t lead = count(s, n < MAX_LEAD ? n : MAX_LEAD, ' ');
    const char *rest = s + lead;
    size_t left = n - lead;
    if (count(rest, left, '`') >= FENCE_LEN || count(rest, left, '~') >= FENCE_LEN)
        return (struct md_line){MD_FENCE, (uint8_t)(lead + FENCE_LEN), 0};
    if (in_code)
        return (struct md_line){MD_CODE, 0, 0};
    size_t hashes = count(rest, left, '#');
    if (lead < 4 && hashes >= 1 && hashes <= MAX_HEADING && hashes < left && rest[hashes] == ' ')
        return (struct md_line){MD_HEADING, (uint8_t)(lead + hashes + 1), 0};
    if (lead < 4 && is_rule(rest, left))
        return (struct md_line){MD_RULE, 0, 0};
    size_t sign = list_sign(rest, left);
    if (sign)
        return (struct md_line){MD_LIST, (uint8_t)(lead + sign), (uint8_t)(lead + sign)};
    if (lead < 4 && left >= 1 && rest[0] == '>')
        return (struct md_line){MD_QUOTE, (uint8_t)(lead + (left > 1 && rest[1] == ' ' ? 2 : 1)), 2};
    return (struct md_line){MD_TEXT, 0, 0};
}

/* A run of `k` times `c` that can end a span: behind something that isn't a space, and exactly that long
 * (code) or with nothing of a word behind it (underscores). */
static bool closes(const char *s, size_t n, size_t pos, char c, size_t k)
{
    if (pos + k > n || count(s + pos, n - pos, c) != k || (pos > 0 && s[pos - 1] == c))
        return false;
    if (c == '`')
        return true;
    return pos > 0 && !is_space(s[pos - 1]) && (c == '*' || pos + k == n || !is_word(s[pos + k]));
}

/* Does a span opened by the k signs before `from` end within reach? */
static bool has_end(const char *s, size_t n, size_t from, char c, size_t k)
{
    size_t limit = from + MD_LOOKAHEAD - 2 * k < n ? from + MD_LOOKAHEAD - 2 * k : n;
    for (size_t p = from + 1; p < limit; p++) {
        if (s[p] == '\\' && c != '`')
            p++;
        else if (s[p] == c && closes(s, n, p, c, k))
            return true;
    }
    return false;
}

static bool opens(const char *s, size_t n, size_t pos, char c, size_t k)
{
    if (pos + k >= n || is_space(s[pos + k]))
        return false;
    if (c != '`' && pos > 0 && is_word(s[pos - 1]) && (c == '_' || k == 1)) /* snake_case, 2*3*4 */
        return false;
    return has_end(s, n, pos + k, c, k);
}

size_t md_markup(const char *s, size_t n, size_t pos, uint8_t *state)
{
    char c = s[pos];
    if (*state & MD_ESCAPED)
        return 0;
    uint8_t code = *state & (MD_CODE_1 | MD_CODE_2);
    if (code) {
        size_t k = code == MD_CODE_1 ? 1 : 2;
        if (c != '`' || !closes(s, n, pos, '`', k))
            return 0;
        *state &= (uint8_t)~code;
        return k;
    }
    if (c == '\\' && pos + 1 < n && strchr("\\`*_#", s[pos + 1]) && s[pos + 1]) {
        *state |= MD_ESCAPED;
        return 1;
    }
    if (c != '`' && c != '*' && c != '_')
        return 0;
    size_t k = count(s + pos, n - pos, c);
    if (k > 2 || (pos > 0 && s[pos - 1] == c))
        return 0;
    uint8_t span = c == '`' ? (k == 1 ? MD_CODE_1 : MD_CODE_2) : k == 1 ? MD_ITALIC : MD_BOLD;
    if (*state & span ? !closes(s, n, pos, c, k) : !opens(s, n, pos, c, k))
        return 0;
    *state ^= span;
    return k;
}
