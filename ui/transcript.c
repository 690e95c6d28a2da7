#include "ui/transcript.h"

#include <string.h>

#include "engine/base/mem.h"
#include "ui/transcript_priv.h"

struct transcript *transcript_create(void)
{
    struct transcript *t = mem_calloc(1, sizeof *t);
    if (t) {
        t->follow = true;
        t->found = -1;
        t->shown_at_us = INT64_MAX;
    }
    return t;
}

static void message_free(struct message *m)
{
    buf_free(&m->text);
    mem_free(m->lines);
}

void transcript_clear(struct transcript *t)
{
    for (size_t i = 0; i < t->n; i++)
        message_free(&t->messages[i]);
    t->n = t->n_pieces = 0;
    t->total = t->top = 0;
    t->follow = true;
    t->found = -1;
}

void transcript_destroy(struct transcript *t)
{
    if (!t)
        return;
    transcript_clear(t);
    mem_free(t->messages);
    mem_free(t->pieces);
    mem_free(t->needle);
    mem_free(t);
}

size_t transcript_count(const struct transcript *t)
{
    return t->n;
}

size_t transcript_add(struct transcript *t, enum message_kind kind, const char *text, size_t n)
{
    if (mem_grow(&t->messages, &t->cap, t->n + 1, sizeof *t->messages) != 0)
        return SIZE_MAX;
    struct message *m = &t->messages[t->n];
    *m = (struct message){.kind = kind, .born_us = t->now_us};
    if (n && !text_filter(&m->filter, text, n, &m->text)) {
        message_free(m);
        return SIZE_MAX;
    }
    m->ended = kind != MSG_ASSISTANT;
    if (kind == MSG_USER)
        t->follow = true;
    return t->n++;
}

size_t transcript_copy(struct transcript *t, const struct transcript *from, size_t i,
                       const struct reply_stats *stats)
{
    if (i >= from->n)
        return SIZE_MAX;
    const struct message *m = &from->messages[i];
    size_t at = transcript_add(t, m->kind, buf_str(&m->text), m->text.len);
    if (at != SIZE_MAX && m->kind == MSG_ASSISTANT)
        transcript_end(t, at, !m->ended ? stats : m->has_stats ? &m->stats : NULL);
    return at;
}

bool transcript_append(struct transcript *t, size_t i, const char *text, size_t n)
{
    if (i >= t->n)
        return false;
    struct message *m = &t->messages[i];
    size_t before = m->text.len;
    if (text_filter(&m->filter, text, n, &m->text)) {
        transcript_note_piece(t, i);
        return true;
    }
    m->text.failed = false; /* the piece is lost, but not what came before it */
    m->text.len = before;
    if (m->text.data)
        m->text.data[before] = 0;
    return false;
}

void transcript_end(struct transcript *t, size_t i, const struct reply_stats *stats)
{
    if (i >= t->n)
        return;
    struct message *m = &t->messages[i];
    text_filter_end(&m->filter, &m->text);
    m->text.failed = false; /* out of memory: the sign for a cut character is missing, and nothing else */
    while (m->text.len && strchr(" \t\n", m->text.data[m->text.len - 1]))
        m->text.data[--m->text.len] = 0;
    m->ended = true;
    m->ended_us = t->now_us;
    m->has_stats = stats != NULL;
    if (stats)
        m->stats = *stats;
}

bool transcript_reopen(struct transcript *t, size_t i, const char *text, size_t n)
{
    if (!transcript_set_text(t, i, text, n))
        return false;
    t->messages[i].ended = t->messages[i].has_stats = false;
    return true;
}

void transcript_set_kind(struct transcript *t, size_t i, enum message_kind kind)
{
    if (i >= t->n)
        return;
    t->messages[i].kind = kind;
    t->messages[i].wrapped_w = 0;
    if (kind == MSG_USER)
        t->follow = true;
}

bool transcript_set_text(struct transcript *t, size_t i, const char *text, size_t n)
{
    if (i >= t->n)
        return false;
    struct text_filter filter = {.n_pending = 0};
    struct buf fresh = BUF_INIT;
    if (n && !text_filter(&filter, text, n, &fresh)) {
        buf_free(&fresh);
        return false;
    }
    struct message *m = &t->messages[i];
    buf_free(&m->text);
    m->text = fresh;
    m->filter = filter;
    m->wrapped_w = 0;
    return true;
}

void transcript_remove(struct transcript *t, size_t i)
{
    if (i >= t->n)
        return;
    message_free(&t->messages[i]);
    transcript_forget_pieces(t, i);
    memmove(&t->messages[i], &t->messages[i + 1], (t->n - i - 1) * sizeof *t->messages);
    t->n--;
}

const char *transcript_text(const struct transcript *t, size_t i, size_t *n)
{
    if (i >= t->n)
        return NULL;
    *n = t->messages[i].text.len;
    return buf_str(&t->messages[i].text);
}

enum message_kind transcript_kind(const struct transcript *t, size_t i)
{
    return i < t->n ? t->messages[i].kind : MSG_NOTE;
}

/* ── lines and scrolling ── */

int message_tail(const struct message *m)
{
    return m->hidden ? 0 : 1 + ((m->has_stats && !m->unfinished) || m->kind == MSG_QUEUED);
}

int message_lines(const struct message *m)
{
    size_t n = m->n_lines;
    if (m->hidden)
        return 0;
    while (n > 1 && m->shown_len < m->text.len && m->lines[n - 1].start >= m->shown_len)
        n--;
    return n ? (int)n : 1;
}

static int last_top(const struct transcript *t)
{
    return t->total > t->h ? t->total - t->h : 0;
}

static void set_top(struct transcript *t, int top)
{
    int last = last_top(t);
    t->top = top < 0 ? 0 : top > last ? last : top;
    t->follow = t->top == last;
}

/* A place in the text that outlives another wrapping. */
struct anchor {
    size_t message;
    uint32_t byte;
    int below; /* lines below the text's last one: the footer */
};

static struct anchor anchor_of(const struct transcript *t, int line)
{
    struct anchor a = {0};
    for (size_t i = 0; i < t->n; i++) {
        const struct message *m = &t->messages[i];
        if (m->first > line)
            break;
        int k = line - m->first;
        a.message = i;
        a.below = k < (int)m->n_lines ? 0 : k - (int)m->n_lines + 1;
        a.byte = m->n_lines ? m->lines[a.below ? m->n_lines - 1 : (size_t)k].start : 0;
    }
    return a;
}

static int line_of(const struct transcript *t, struct anchor a)
{
    if (a.message >= t->n)
        return 0;
    const struct message *m = &t->messages[a.message];
    size_t lo = 0, hi = m->n_lines; /* the last line that starts at or before the byte */
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->lines[mid].start <= a.byte)
            lo = mid;
        else
            hi = mid;
    }
    return m->first + (int)lo + a.below;
}

void transcript_layout(struct transcript *t, int w, int h)
{
    w = w > 1 ? w : 1;
    h = h > 1 ? h : 1;
    bool reflow = w != t->w && t->w != 0;
    struct anchor top = {0};
    if (reflow)
        top = anchor_of(t, t->top);
    int line = 0;
    transcript_cut(t);
    for (size_t i = 0; i < t->n; i++) {
        struct message *m = &t->messages[i];
        message_wrap(m, text_columns(w)); /* out of memory: fewer lines now, more the next time */
        m->first = line;
        line += message_lines(m) + message_tail(m);
    }
    t->w = w;
    t->h = h;
    t->total = line;
    if (reflow)
        t->found = -1;
    if (t->follow)
        t->top = last_top(t);
    else
        t->top = reflow ? line_of(t, top) : t->top;
    if (t->top > last_top(t))
        t->top = last_top(t);
}

int transcript_lines(const struct transcript *t)
{
    return t->total;
}

int transcript_top(const struct transcript *t)
{
    return t->top;
}

bool transcript_follows(const struct transcript *t)
{
    return t->follow;
}

int transcript_page(const struct transcript *t)
{
    return t->h > 0 ? t->h : 1;
}

void transcript_scroll(struct transcript *t, int lines)
{
    set_top(t, t->top + lines);
}

void transcript_home(struct transcript *t)
{
    set_top(t, 0);
}

void transcript_end_of_chat(struct transcript *t)
{
    t->top = last_top(t);
    t->follow = true;
}

/* ── search ── */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

void transcript_search(struct transcript *t, const char *needle)
{
    mem_free(t->needle);
    t->needle = needle && *needle ? mem_strdup(needle) : NULL;
    t->needle_len = t->needle ? strlen(t->needle) : 0;
    for (size_t i = 0; i < t->needle_len; i++)
        t->needle[i] = lower(t->needle[i]);
    t->found = -1;
}

size_t transcript_match(const struct transcript *t, const struct message *m, size_t from, size_t to)
{
    if (!t->needle)
        return SIZE_MAX;
    for (size_t p = from; p < to && p + t->needle_len <= m->text.len; p++) {
        size_t k = 0;
        while (k < t->needle_len && lower(m->text.data[p + k]) == t->needle[k])
            k++;
        if (k == t->needle_len)
            return p;
    }
    return SIZE_MAX;
}

/* The line nearest to `from` in direction dir (not itself) that a match begins on; -1: none. */
static int nearest_match(const struct transcript *t, int from, int dir)
{
    int best = -1;
    for (size_t i = 0; i < t->n; i++) {
        const struct message *m = &t->messages[i];
        size_t end = m->text.len;
        for (size_t p = transcript_match(t, m, 0, end); p != SIZE_MAX;
             p = transcript_match(t, m, p + 1, end)) {
            int line = line_of(t, (struct anchor){.message = i, .byte = (uint32_t)p});
            if (dir > 0 && line > from)
                return line;
            if (dir < 0 && line < from)
                best = line;
        }
    }
    return best;
}

bool transcript_search_next(struct transcript *t, int dir)
{
    int from = t->found >= 0 ? t->found : dir > 0 ? t->top - 1 : t->top + t->h;
    int line = nearest_match(t, from, dir);
    if (line < 0)
        return false;
    t->found = line;
    if (line < t->top || line >= t->top + t->h)
        set_top(t, line - t->h / 3);
    else
        t->follow = t->top == last_top(t);
    return true;
}
