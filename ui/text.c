#include "ui/text.h"

#include <string.h>

#include "engine/base/utf8.h"

enum { REPLACEMENT = 0xfffd, VARIATION_TEXT = 0xfe0e, VARIATION_EMOJI = 0xfe0f, ZERO_WIDTH_JOINER = 0x200d };

/* What the filter does with a valid character. */
enum verdict { KEEP, DROP, REPLACE, NEWLINE };

struct range {
    uint32_t first, last;
    enum verdict verdict;
};

/* Sorted; characters in no range are kept. */
static const struct range filtered[] = {
    {0x0000, 0x0008, REPLACE}, {0x000b, 0x000c, REPLACE},
    {0x000d, 0x000d, DROP},                               /* CR: text ends lines by LF */
    {0x000e, 0x001f, REPLACE}, {0x007f, 0x009f, REPLACE}, /* DEL and C1 */
    {0x061c, 0x061c, DROP},                               /* Arabic letter mark */
    {0x200e, 0x200f, DROP},                               /* left-to-right, right-to-left marks */
    {0x2028, 0x2029, NEWLINE}, {0x202a, 0x202e, DROP},    /* bidi embeddings and overrides */
    {0x2066, 0x206f, DROP},    {0xfeff, 0xfeff, DROP},    /* isolates, shaping, byte order mark */
    {0xfff9, 0xfffb, DROP},    {0xe0000, 0xe007f, DROP},  /* interlinear annotation, tags */
};

static enum verdict judge(uint32_t cp)
{
    if (cp >= 0x20 && cp < 0x7f)
        return KEEP;
    for (size_t i = 0; i < sizeof filtered / sizeof filtered[0] && filtered[i].first <= cp; i++)
        if (cp <= filtered[i].last)
            return filtered[i].verdict;
    return KEEP;
}

static bool add_char(struct buf *out, uint32_t cp)
{
    char utf8[4];
    switch (judge(cp)) {
    case DROP: return true;
    case NEWLINE: return buf_addc(out, '\n');
    case REPLACE: cp = REPLACEMENT; break;
    case KEEP: break;
    }
    return buf_add(out, utf8, utf8_encode(cp, utf8));
}

bool text_filter(struct text_filter *f, const char *s, size_t n, struct buf *out)
{
    uint32_t cp;
    while (f->n_pending && n) {
        /* One byte at a time, until the kept beginning is whole or proves to be no character. */
        f->pending[f->n_pending++] = *s++;
        n--;
        size_t len = utf8_decode(f->pending, f->n_pending, &cp);
        if (len == 0)
            continue;
        if (!add_char(out, cp))
            return false;
        f->n_pending = (uint8_t)(f->n_pending - len);
        memmove(f->pending, f->pending + len, f->n_pending);
        /* What follows an invalid byte is looked at afresh: a byte of its own may begin a character. */
        while (f->n_pending && (len = utf8_decode(f->pending, f->n_pending, &cp)) != 0) {
            if (!add_char(out, cp))
                return false;
            f->n_pending = (uint8_t)(f->n_pending - len);
            memmove(f->pending, f->pending + len, f->n_pending);
        }
    }
    while (n) {
        size_t len = utf8_decode(s, n, &cp);
        if (len == 0) {
            memcpy(f->pending, s, n);
            f->n_pending = (uint8_t)n;
            break;
        }
        if (!add_char(out, cp))
            return false;
        s += len;
        n -= len;
    }
    return !out->failed;
}

bool text_filter_end(struct text_filter *f, struct buf *out)
{
    bool cut = f->n_pending > 0;
    f->n_pending = 0;
    return cut ? add_char(out, REPLACEMENT) : !out->failed;
}

/* Regional indicators aside, an emoji is anything wide from the pictograph blocks on. */
static bool is_pictograph(uint32_t cp)
{
    return (cp >= 0x1f000 && cp <= 0x1faff) || (cp >= 0x2190 && cp <= 0x2bff);
}

static bool is_skin_tone(uint32_t cp)
{
    return cp >= 0x1f3fb && cp <= 0x1f3ff;
}

/* Does cp, after a cluster that begins with `base`, go without being shown? */
static bool is_left_out(uint32_t base, uint32_t cp)
{
    return cp == VARIATION_TEXT || cp == VARIATION_EMOJI ||
           (is_pictograph(base) && (is_skin_tone(cp) || cp == ZERO_WIDTH_JOINER));
}

size_t text_next(const char *s, size_t n, struct text_cluster *out)
{
    memset(out, 0, sizeof *out);
    uint32_t cp;
    size_t used = utf8_decode(s, n, &cp);
    if (used == 0) { /* cut short by n: nothing will complete it */
        out->cp[0] = REPLACEMENT;
        out->width = 1;
        return n;
    }
    if (cp == '\n' || cp == '\t') {
        out->cp[0] = cp;
        out->width = cp == '\t';
        return used;
    }
    if (cp >= 0x20 && cp < 0x7f && (used == n || (unsigned char)s[used] < 0x80)) {
        out->cp[0] = cp; /* the common case: ASCII, with no mark behind */
        out->width = 1;
        return used;
    }
    if (judge(cp) != KEEP)
        cp = REPLACEMENT;
    int width = utf8_width(cp);
    int cps = 1;
    if (width == 0) {
        out->cp[0] = ' ';
        out->width = 1;
        if (!is_left_out(' ', cp) && cp != ZERO_WIDTH_JOINER)
            out->cp[cps++] = cp;
    } else {
        out->cp[0] = cp;
        out->width = width;
    }
    while (used < n) {
        uint32_t mark;
        size_t len = utf8_decode(s + used, n - used, &mark);
        if (len == 0 || mark < 0x300 || (utf8_width(mark) != 0 && !is_left_out(out->cp[0], mark)) ||
            judge(mark) != KEEP)
            break;
        used += len;
        if (!is_left_out(out->cp[0], mark) && cps < TEXT_CLUSTER_CPS)
            out->cp[cps++] = mark;
    }
    return used;
}

int text_width(const char *s, size_t n)
{
    int width = 0;
    struct text_cluster c;
    while (n) {
        size_t len = text_next(s, n, &c);
        width += c.width;
        s += len;
        n -= len;
    }
    return width;
}

size_t text_fit(const char *s, size_t n, int columns, int *width)
{
    size_t used = 0;
    int w = 0;
    struct text_cluster c;
    while (used < n) {
        size_t len = text_next(s + used, n - used, &c);
        if (w + c.width > columns)
            break;
        w += c.width;
        used += len;
    }
    if (width)
        *width = w;
    return used;
}
