#include "ui/term/decoder.h"

#include <limits.h>
#include <string.h>

#include "engine/base/utf8.h"

#define ESC       '\x1b'
#define PASTE_OFF "\x1b[201~"

/* What a look at the start of the buffer found. */
enum match { MATCH_NONE, MATCH_PART, MATCH_WHOLE };

/* Final bytes of CSI and SS3 sequences that name a key by themselves (ECMA-48 and xterm's "ctlseqs"). */
static const struct {
    char final;
    ui_key key;
} by_final[] = {
    {'A', UI_KEY_UP},     {'B', UI_KEY_DOWN},   {'C', UI_KEY_RIGHT},   {'D', UI_KEY_LEFT},
    {'H', UI_KEY_HOME},   {'F', UI_KEY_END},    {'P', UI_KEY_F1},      {'Q', UI_KEY_F1 + 1},
    {'R', UI_KEY_F1 + 2}, {'S', UI_KEY_F1 + 3}, {'Z', UI_KEY_BACKTAB}, {'M', UI_KEY_ENTER},
};

/* Numbers before '~' (VT220; 11–15: rxvt; 7 and 8: rxvt's Home and End). */
static const struct {
    uint8_t number;
    ui_key key;
} by_number[] = {
    {1, UI_KEY_HOME},    {2, UI_KEY_INSERT},  {3, UI_KEY_DELETE},  {4, UI_KEY_END},      {5, UI_KEY_PGUP},
    {6, UI_KEY_PGDN},    {7, UI_KEY_HOME},    {8, UI_KEY_END},     {11, UI_KEY_F1},      {12, UI_KEY_F1 + 1},
    {13, UI_KEY_F1 + 2}, {14, UI_KEY_F1 + 3}, {15, UI_KEY_F1 + 4}, {17, UI_KEY_F1 + 5},  {18, UI_KEY_F1 + 6},
    {19, UI_KEY_F1 + 7}, {20, UI_KEY_F1 + 8}, {21, UI_KEY_F1 + 9}, {23, UI_KEY_F1 + 10}, {24, UI_KEY_F1 + 11},
};

static ui_key key_by_final(char final)
{
    for (size_t i = 0; i < sizeof by_final / sizeof *by_final; i++)
        if (by_final[i].final == final)
            return by_final[i].key;
    return UI_KEY_NONE;
}

static ui_key key_by_number(unsigned number)
{
    for (size_t i = 0; i < sizeof by_number / sizeof *by_number; i++)
        if (by_number[i].number == number)
            return by_number[i].key;
    return UI_KEY_NONE;
}

/* A character typed by itself: the code points below U+0020 are keys of their own or Ctrl with a letter. */
static ui_key key_by_char(uint32_t cp)
{
    switch (cp) {
    case '\t': return UI_KEY_TAB;
    case '\r': return UI_KEY_ENTER;
    case ESC: return UI_KEY_ESC;
    case '\b':
    case 0x7f: return UI_KEY_BACKSPACE;
    case 0: return ' ' | UI_MOD_CTRL;
    default: break;
    }
    if (cp < 0x1b)
        return ('a' + cp - 1) | UI_MOD_CTRL;
    if (cp < 0x20)
        return ('@' + cp) | UI_MOD_CTRL;
    return cp;
}

/* xterm's modifier parameter: 1 + Shift 1 + Alt 2 + Ctrl 4. */
static ui_key with_modifiers(ui_key key, unsigned parameter)
{
    unsigned bits = parameter ? parameter - 1 : 0;
    if (key == UI_KEY_NONE)
        return key;
    if (key == UI_KEY_TAB && bits & 1) {
        key = UI_KEY_BACKTAB;
        bits &= ~1u;
    }
    return key | (bits & 1 ? UI_MOD_SHIFT : 0) | (bits & 2 ? UI_MOD_ALT : 0) | (bits & 4 ? UI_MOD_CTRL : 0);
}

/* A key reported by code point ("CSI code ; modifiers u", and "CSI 27 ; modifiers ; code ~"). */
static ui_key key_by_code(unsigned code, unsigned modifiers)
{
    ui_key key = key_by_char(code);
    if (key < 0x110000 && !(key & ~UI_KEY_MASK) && modifiers) /* Shift is already in the character */
        modifiers = ((modifiers - 1) & ~1u) + 1;
    return with_modifiers(key, modifiers);
}

void decoder_init(struct decoder *d)
{
    memset(d, 0, sizeof *d);
}

void decoder_add(struct decoder *d, const char *bytes, ui_key key)
{
    size_t n = bytes ? strlen(bytes) : 0;
    if (n < 2 || n > DECODER_SEQUENCE_MAX || d->n_sequences == DECODER_SEQUENCES_MAX)
        return;
    struct decoder_sequence *s = &d->sequences[d->n_sequences++];
    memcpy(s->bytes, bytes, n);
    s->n = (uint8_t)n;
    s->key = key;
}

char *decoder_room(struct decoder *d, size_t *n)
{
    memmove(d->buffer, d->buffer + d->start, d->end - d->start);
    d->end -= d->start;
    d->start = 0;
    *n = sizeof d->buffer - d->end;
    return d->buffer + d->end;
}

void decoder_fed(struct decoder *d, size_t n)
{
    d->end += n;
}

static enum match match_terminfo(const struct decoder *d, const char *s, size_t n, size_t *len, ui_key *key)
{
    enum match best = MATCH_NONE;
    for (size_t i = 0; i < d->n_sequences; i++) {
        const struct decoder_sequence *q = &d->sequences[i];
        if (n >= q->n && memcmp(s, q->bytes, q->n) == 0) {
            *len = q->n;
            *key = q->key;
            return MATCH_WHOLE;
        }
        if (n < q->n && memcmp(s, q->bytes, n) == 0)
            best = MATCH_PART;
    }
    return best;
}

/* "ESC [" parameters intermediates final (ECMA-48 5.4), and the Linux console's "ESC [ [ A" … "E". */
static enum match match_csi(const char *s, size_t n, size_t *len, ui_key *key)
{
    unsigned parameter[3] = {0}, n_parameters = 0;
    bool plain = true; /* digits, ';' and ':' only */
    size_t i = 2;
    if (i < n && s[i] == '[') {
        if (n < 4)
            return MATCH_PART;
        *len = 4;
        *key = s[3] >= 'A' && s[3] <= 'E' ? UI_KEY_F1 + (ui_key)(s[3] - 'A') : UI_KEY_NONE;
        return MATCH_WHOLE;
    }
    for (; i < n && s[i] >= 0x20 && s[i] <= 0x3f; i++) {
        if (i >= DECODER_SEQUENCE_MAX) /* no key is that long: let it go */
            break;
        if (s[i] >= '0' && s[i] <= '9') {
            unsigned *p = &parameter[n_parameters < 3 ? n_parameters : 2];
            *p = *p < 0x110000 ? *p * 10 + (unsigned)(s[i] - '0') : *p;
        } else if (s[i] == ';') {
            n_parameters++;
        } else {
            plain = false;
        }
    }
    if (i == n)
        return MATCH_PART;
    *len = i + 1;
    *key = UI_KEY_NONE;
    if (!plain || i >= DECODER_SEQUENCE_MAX)
        return MATCH_WHOLE;
    if (s[i] == '~' && parameter[0] == 27)
        *key = key_by_code(parameter[2], parameter[1]);
    else if (s[i] == '~')
        *key = with_modifiers(key_by_number(parameter[0]), parameter[1]);
    else if (s[i] == 'u')
        *key = key_by_code(parameter[0], parameter[1]);
    else
        *key = with_modifiers(key_by_final(s[i]), parameter[1]);
    return MATCH_WHOLE;
}

/* The key at the start of s (n > 0), which begins with ESC or with a character. */
static enum match match_key(const struct decoder *d, const char *s, size_t n, size_t *len, ui_key *key)
{
    if (s[0] != ESC) {
        uint32_t cp;
        *len = utf8_decode(s, n, &cp);
        *key = *len == 1 && (unsigned char)s[0] >= 0x80 ? UI_KEY_NONE : key_by_char(cp);
        return *len ? MATCH_WHOLE : MATCH_PART;
    }
    enum match known = match_terminfo(d, s, n, len, key);
    if (known == MATCH_WHOLE)
        return known;
    if (n == 1)
        return MATCH_PART;
    if (s[1] == '[')
        return n == 2 ? MATCH_PART : match_csi(s, n, len, key);
    if (s[1] == 'O') {
        if (n == 2)
            return MATCH_PART;
        *len = 3;
        *key = key_by_final(s[2]);
        return MATCH_WHOLE;
    }
    if (s[1] == ESC && n == 2) /* Alt-Esc, or Alt before a sequence: the next byte tells */
        return MATCH_PART;
    if (s[1] == ESC && s[2] != '[' && s[2] != 'O') { /* Esc typed twice */
        *len = 1;
        *key = UI_KEY_ESC;
        return MATCH_WHOLE;
    }
    enum match rest = match_key(d, s + 1, n - 1, len, key);
    if (rest == MATCH_WHOLE) {
        ++*len;
        if (*key != UI_KEY_NONE)
            *key |= UI_MOD_ALT;
    }
    return rest;
}

/* A piece of a paste, up to what may be the start of its end mark. */
static bool next_paste(struct decoder *d, struct decoder_event *out)
{
    const size_t mark = sizeof PASTE_OFF - 1;
    const char *s = d->buffer + d->start;
    size_t n = d->end - d->start, i = 0;
    while (i < n && memcmp(s + i, PASTE_OFF, n - i < mark ? n - i : mark) != 0)
        i++;
    if (i) {
        *out = (struct decoder_event){.type = DECODER_PASTE, .bytes = s, .n = i};
        d->start += i;
        return true;
    }
    if (n < mark)
        return false;
    d->start += mark;
    d->pasting = false;
    *out = (struct decoder_event){.type = DECODER_PASTE_END};
    return true;
}

/* "ESC [ < button ; column ; row" and M (pressed) or m (released): xterm's mode 1006. Places count from 1. Modifiers are
 * bits of the button, and don't matter here; 32 is a movement. */
static bool match_mouse(const char *s, size_t len, struct decoder_event *out)
{
    enum { MODIFIERS = 4 + 8 + 16 };
    unsigned number[3] = {0}, n = 0;
    if (len < 9 || memcmp(s, "\x1b[<", 3) != 0 || (s[len - 1] != 'M' && s[len - 1] != 'm'))
        return false;
    for (size_t i = 3; i < len - 1; i++) {
        if (s[i] == ';' && n < 2)
            n++;
        else if (s[i] >= '0' && s[i] <= '9' && number[n] < 100000)
            number[n] = number[n] * 10 + (unsigned)(s[i] - '0');
        else
            return false;
    }
    if (n != 2 || !number[1] || !number[2])
        return false;
    unsigned button = s[len - 1] == 'M' ? number[0] & ~(unsigned)MODIFIERS : UINT_MAX;
    out->type = DECODER_MOUSE;
    out->button = button == 0    ? DECODER_PRESS
                  : button == 64 ? DECODER_WHEEL_UP
                  : button == 65 ? DECODER_WHEEL_DOWN
                                 : DECODER_OTHER;
    out->x = (int)number[1] - 1;
    out->y = (int)number[2] - 1;
    return true;
}

bool decoder_next(struct decoder *d, bool timed_out, struct decoder_event *out)
{
    static const char paste_on[] = "\x1b[200~";
    const size_t mark = sizeof paste_on - 1;
    const char *s = d->buffer + d->start;
    size_t n = d->end - d->start, len = 0;
    ui_key key = UI_KEY_NONE;
    if (!n)
        return false;
    if (!d->pasting && n >= mark && memcmp(s, paste_on, mark) == 0) {
        d->start += mark;
        d->pasting = true;
        s += mark;
        n -= mark;
    }
    if (d->pasting)
        return n ? next_paste(d, out) : false;
    enum match m = match_key(d, s, n, &len, &key);
    if (m == MATCH_PART && timed_out) {
        /* What came is all there is: Esc, Alt with a character that could begin a sequence, or a broken
         * character. */
        len = 1;
        key = s[0] == ESC ? UI_KEY_ESC : UI_KEY_NONE;
        if (s[0] == ESC && n == 2 && s[1] != ESC) {
            len = 2;
            key = (ui_key)s[1] | UI_MOD_ALT;
        } else if (n > 2) {
            len = n;
            key = UI_KEY_NONE;
        }
        m = MATCH_WHOLE;
    }
    if (m != MATCH_WHOLE)
        return false;
    *out = (struct decoder_event){.type = DECODER_KEY, .key = key, .bytes = s, .n = len};
    match_mouse(s, len, out);
    d->start += len;
    return true;
}

int decoder_wait_ms(const struct decoder *d)
{
    size_t n = d->end - d->start;
    if (!n || d->pasting)
        return -1;
    return n == 1 && d->buffer[d->start] == ESC ? DECODER_ESC_MS : DECODER_SEQUENCE_MS;
}
