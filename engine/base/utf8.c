#include "engine/base/utf8.h"

#include <utf8proc.h>

size_t utf8_decode(const char *str, size_t n, uint32_t *cp)
{
    const unsigned char *s = (const unsigned char *)str;
    unsigned char c = s[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    uint32_t v = c & (0x7fu >> len);
    *cp = 0xfffd;
    if (c < 0xc2 || c > 0xf4)
        return 1;
    for (size_t i = 1; i < len; i++) {
        if (i >= n)
            return 0;
        /* The second byte is bounded so that overlong forms, surrogates and values above U+10FFFF are refused. */
        unsigned char lo = 0x80, hi = 0xbf;
        if (i == 1) {
            lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
            hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        }
        if (s[i] < lo || s[i] > hi)
            return 1;
        v = v << 6 | (s[i] & 0x3f);
    }
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(const char *s, size_t n)
{
    while (n) {
        uint32_t cp;
        size_t len = utf8_decode(s, n, &cp);
        if (len == 0 || (cp == 0xfffd && len == 1))
            return false;
        s += len;
        n -= len;
    }
    return true;
}

size_t utf8_whole(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        uint32_t cp;
        return c >= 0xc0 && utf8_decode(s + n - back, back, &cp) == 0 ? n - back : n;
    }
    return n;
}

int utf8_width(uint32_t cp)
{
    int w = utf8proc_charwidth((utf8proc_int32_t)cp);
    return w < 0 ? 0 : w > 2 ? 2 : w;
}
