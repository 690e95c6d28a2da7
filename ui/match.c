#include "ui/match.h"

#include <stdbool.h>
#include <string.h>

enum { HIT = 4, RUN = 6, WORD = 8, FIRST = 4, GAP_MAX = 3, NO_MATCH = -1, IMPOSSIBLE = -1000000 };

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static bool separates(char c)
{
    return c == ' ' || c == '-' || c == '_' || c == '/' || c == '.';
}

/* What a hit at text[at] is worth by itself. */
static int worth(const char *text, size_t at)
{
    return HIT + (at == 0 ? WORD + FIRST : separates(text[at - 1]) ? WORD : 0);
}

/*
 * The best way to lay the pattern over the text, by dynamic programming over one row: ends[j] is the best score of the
 * pattern so far with its last character at text[j]. A gap costs a point a byte, up to GAP_MAX, so that only the best
 * end before needs to be carried along, and the nearest few be looked at.
 */
int match_score(const char *pattern, size_t n, const char *text)
{
    size_t len = strnlen(text, MATCH_TEXT_MAX);
    int ends[MATCH_TEXT_MAX];
    bool any = false;
    for (size_t p = 0; p < n; p++) {
        if (pattern[p] == ' ')
            continue;
        int far = IMPOSSIBLE; /* the best end at least GAP_MAX + 1 before */
        int before[GAP_MAX +
                   1]; /* ends[j - 1] … ends[j - 1 - GAP_MAX] as they were for the character before */
        for (int k = 0; k <= GAP_MAX; k++)
            before[k] = IMPOSSIBLE;
        for (size_t j = 0; j < len; j++) {
            int best = any ? before[0] + RUN : 0;
            for (int k = 1; any && k <= GAP_MAX; k++)
                best = before[k] - k > best ? before[k] - k : best;
            best = any && far - GAP_MAX > best ? far - GAP_MAX : best;
            int here = any ? ends[j] : IMPOSSIBLE;
            bool hit = lower(text[j]) == lower(pattern[p]) && best > IMPOSSIBLE / 2;
            ends[j] = hit ? best + worth(text, j) : IMPOSSIBLE;
            far = before[GAP_MAX] > far ? before[GAP_MAX] : far;
            memmove(before + 1, before, GAP_MAX * sizeof *before);
            before[0] = here;
        }
        any = true;
    }
    if (!any)
        return 0;
    int best = IMPOSSIBLE;
    for (size_t j = 0; j < len; j++)
        best = ends[j] > best ? ends[j] : best;
    return best > IMPOSSIBLE / 2 ? (best > 0 ? best : 0) : NO_MATCH;
}

static bool contains(const char *text, const char *pattern, size_t n)
{
    for (; text && *text; text++) {
        size_t i = 0;
        while (i < n && text[i] && lower(text[i]) == lower(pattern[i]))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

size_t match_items(const char *pattern, size_t n, struct view_item *items, size_t n_items)
{
    size_t kept = 0;
    for (size_t i = 0; i < n_items; i++) {
        struct view_item item = items[i];
        int score = match_score(pattern, n, item.label);
        if (score == NO_MATCH && !contains(item.detail, pattern, n))
            continue;
        size_t at = kept++; /* insertion keeps the order of equals; lists are short */
        for (; at > 0 && match_score(pattern, n, items[at - 1].label) < score; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
    return kept;
}
