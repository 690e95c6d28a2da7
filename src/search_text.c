#include "src/search_text.h"

#include <string.h>

#include <utf8proc.h>

#include "engine/base/utf8.h"

enum { FOLDED_MAX = 18 }; /* code points that one decomposes to, at most (U+FDFA) */

/* Folds the character at s (n > 0 bytes left) into `out`, if given. Returns its length; *folded: the bytes it
 * became. */
static size_t fold_one(const char *s, size_t n, struct buf *out, size_t *folded)
{
    utf8proc_int32_t cps[FOLDED_MAX];
    uint32_t cp;
    char bytes[4];
    int boundary = 0;
    size_t len = utf8_decode(s, n, &cp);
    utf8proc_ssize_t count = len ? utf8proc_decompose_char((utf8proc_int32_t)cp, cps, FOLDED_MAX,
                                                           UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD, &boundary)
                                 : -1;
    if (count < 0 || count > FOLDED_MAX) { /* taken as it is */
        cps[0] = len ? (utf8proc_int32_t)cp : 0xfffd;
        count = 1;
    }
    *folded = 0;
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        size_t k = utf8_encode((uint32_t)cps[i], bytes);
        *folded += k;
        if (out)
            buf_add(out, bytes, k);
    }
    return len ? len : 1;
}

/* The length of what is ASCII at the start of n bytes. */
static size_t ascii_run(const char *s, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        unsigned long long word;
        memcpy(&word, s + i, 8);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (i < n && !(s[i] & 0x80))
        i++;
    return i;
}

static bool fold(const char *s, size_t n, struct buf *out)
{
    while (n) {
        size_t run = ascii_run(s, n), folded;
        if (!run) {
            run = fold_one(s, n, out, &folded);
        } else {
            if (!buf_add(out, s, run))
                return false;
            char *p = out->data + out->len - run;
            for (size_t i = 0; i < run; i++)
                p[i] = (char)(p[i] | (p[i] >= 'A' && p[i] <= 'Z' ? 0x20 : 0));
        }
        s += run;
        n -= run;
    }
    return !out->failed;
}

bool search_text_init(struct search_text *s, const char *needle, size_t n)
{
    *s = (struct search_text){.needle = BUF_INIT, .folded = BUF_INIT};
    if (fold(needle, n, &s->needle))
        return true;
    buf_free(&s->needle);
    return false;
}

void search_text_deinit(struct search_text *s)
{
    buf_free(&s->needle);
    buf_free(&s->folded);
}

bool search_text_in(struct search_text *s, const char *text, size_t n)
{
    buf_clear(&s->folded);
    s->text = text;
    s->n = n;
    s->next = s->seen = s->source = 0;
    if (fold(text, n, &s->folded))
        return true;
    buf_clear(&s->folded);
    return false;
}

/* Moves the known place on to `at` in the folded text. False: that is inside of what one character became. */
static bool locate(struct search_text *s, size_t at)
{
    while (s->seen < at) {
        size_t left = s->n - s->source, need = at - s->seen, folded;
        size_t run = ascii_run(s->text + s->source, left < need ? left : need);
        if (run) {
            folded = run;
        } else {
            run = fold_one(s->text + s->source, s->n - s->source, NULL, &folded);
        }
        s->seen += folded;
        s->source += run;
    }
    return s->seen == at;
}

/* Whether a mark follows that changes the character before it. */
static bool mark_follows(const struct search_text *s)
{
    uint32_t cp;
    if (s->source >= s->n || !(s->text[s->source] & 0x80) ||
        !utf8_decode(s->text + s->source, s->n - s->source, &cp))
        return false;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME;
}

bool search_text_next(struct search_text *s, size_t *at, size_t *len)
{
    while (s->folded.len - s->next >= s->needle.len) {
        const char *hit =
            memmem(s->folded.data + s->next, s->folded.len - s->next, s->needle.data, s->needle.len);
        if (!hit)
            break;
        size_t start = (size_t)(hit - s->folded.data);
        s->next = start + 1;
        if (!locate(s, start))
            continue;
        size_t seen = s->seen, source = s->source;
        if (locate(s, start + s->needle.len) && !mark_follows(s)) {
            *at = source;
            *len = s->source - source;
            s->next = s->seen;
            return true;
        }
        s->seen = seen;
        s->source = source;
    }
    s->next = s->folded.len;
    return false;
}
