/*
 * Wrapping messages to a width, incrementally.
 *
 * A screen line is final once nothing that may still be appended can change it: where a line ends depends on
 * the word that didn't fit any more, i.e. on the line after it, and on markup, i.e. on MD_LOOKAHEAD bytes
 * after it. So new text is wrapped from the start of a line that is at least two lines and MD_LOOKAHEAD bytes
 * back; whatever comes before is kept. The result is the same as if all of it were wrapped afresh (a property
 * test holds it to that).
 */
#include <string.h>

#include "engine/base/mem.h"
#include "ui/transcript_priv.h"

int cluster_columns(const struct text_cluster *c, int col)
{
    return c->cp[0] == '\t' ? TAB_STOP - col % TAB_STOP : c->width;
}

/* Finds where the screen line that begins at l->start ends, `w` columns wide, in a source line that ends at
 * `end`. Returns the inline state there. Breaks after spaces and beside wide characters; a word longer than a
 * line is cut. */
static uint8_t wrap_line(const char *text, size_t end, int w, bool markup, struct tline *l)
{
    const char *source = text + l->source;
    size_t n = end - l->source, at = l->start - l->source, begin = at;
    size_t brk = 0; /* the last place where the line may end; 0: none yet */
    uint8_t state = l->state, brk_state = state;
    int col = 0;
    bool code = l->md.block == MD_CODE, after_wide = false;

    while (at < n) {
        size_t mark = markup && !code ? md_markup(source, n, at, &state) : 0;
        if (mark) {
            at += mark;
            continue;
        }
        struct text_cluster c;
        size_t len = text_next(source + at, n - at, &c);
        int cols = cluster_columns(&c, col);
        bool space = c.cp[0] == ' ' || c.cp[0] == '\t';
        if (!code && !space && (c.width == 2 || after_wide) && at > begin) {
            brk = at;
            brk_state = state;
        }
        /* Spaces at the edge hang over it, so that the next line begins with a word. */
        if (col + cols > w && (code || !space) && at > begin) {
            if (brk > begin && !code) {
                at = brk;
                state = brk_state;
            }
            break;
        }
        col += cols;
        at += len;
        md_shown(&state);
        after_wide = c.width == 2;
        if (space) {
            brk = at;
            brk_state = state;
        }
    }
    l->end = (uint32_t)(l->source + at);
    return state;
}

static bool add_line(struct message *m, const struct tline *l)
{
    if (mem_grow(&m->lines, &m->cap_lines, m->n_lines + 1, sizeof *m->lines) != 0)
        return false;
    m->lines[m->n_lines++] = *l;
    return true;
}

/* Wraps the source line [l.source, end) from screen line l on. */
static bool wrap_source(struct message *m, struct tline l, size_t end, int w)
{
    int columns = w - l.md.indent;
    if (l.md.block == MD_FENCE || l.md.block == MD_RULE) { /* drawn as one line, whatever it holds */
        l.end = (uint32_t)end;
        return add_line(m, &l);
    }
    for (;;) {
        uint8_t state = wrap_line(m->text.data, end, columns, message_has_markup(m), &l);
        if (!add_line(m, &l))
            return false;
        if (l.end >= end)
            return true;
        l.start = l.end;
        l.state = state;
    }
}

static size_t source_end(const struct message *m, size_t start)
{
    const char *nl = memchr(m->text.data + start, '\n', m->text.len - start);
    return nl ? (size_t)(nl - m->text.data) : m->text.len;
}

/* The number of lines that stay when text is appended: see the top of the file. */
static size_t final_lines(const struct message *m)
{
    size_t keep = m->n_lines > 2 ? m->n_lines - 2 : 0;
    while (keep > 0 && m->lines[keep].start + MD_LOOKAHEAD > m->wrapped_len)
        keep--;
    return keep;
}

bool message_wrap(struct message *m, int w)
{
    if (w < WRAP_MIN)
        w = WRAP_MIN; /* markers must fit on one line; what is too wide is clipped */
    if (m->wrapped_w == w && m->wrapped_len == m->text.len)
        return true;
    size_t keep = m->wrapped_w == w && m->wrapped_len < m->text.len ? final_lines(m) : 0;
    bool markup = message_has_markup(m), in_code = false, ok = true;
    size_t source = 0;

    struct tline resume = {0};
    if (keep > 0) {
        resume = m->lines[keep];
        source = resume.source;
        in_code = resume.in_code;
    }
    m->n_lines = keep;
    for (bool first = true; ok && source <= m->text.len && m->text.len; first = false) {
        size_t end = source_end(m, first && keep > 0 ? resume.start : source);
        struct tline l = {.start = (uint32_t)source, .source = (uint32_t)source, .in_code = in_code};
        if (markup)
            l.md = md_classify(m->text.data + source, end - source, in_code);
        if (first && keep > 0 && resume.start > resume.source)
            l = resume; /* in the midst of a source line: its kind and state are known */
        else
            l.start += l.md.marker;
        if (l.start > end)
            l.start = (uint32_t)end;
        ok = wrap_source(m, l, end, w);
        if (l.md.block == MD_FENCE)
            in_code = !in_code;
        if (end == m->text.len)
            break;
        source = end + 1;
    }
    m->wrapped_w = ok ? w : 0;
    m->wrapped_len = m->text.len;
    return ok;
}
