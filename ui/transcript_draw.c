/* Drawing a transcript's window. */
#include <string.h>

#include "ui/format.h"
#include "ui/theme.h"
#include "ui/transcript_priv.h"

/* How a kind of message looks: its label and colours. */
static const struct {
    const char *label;
    char narrow; /* where there is no room for the label */
    uint8_t label_role, text_role;
} kinds[MSG_KIND_COUNT] = {
    [MSG_USER] = {"you", 'y', ROLE_USER, ROLE_TEXT},
    [MSG_ASSISTANT] = {"weft", 'w', ROLE_ASSISTANT, ROLE_TEXT},
    [MSG_NOTE] = {"", ' ', ROLE_NOTE, ROLE_NOTE},
    [MSG_ERROR] = {"!", '!', ROLE_ERROR, ROLE_ERROR},
    [MSG_QUEUED] = {"next", 'n', ROLE_DIM, ROLE_DIM},
};

static style_t block_style(const struct message *m, const struct tline *l)
{
    switch ((enum md_block)l->md.block) {
    case MD_HEADING: return ROLE_HEADING;
    case MD_QUOTE: return ROLE_QUOTE;
    case MD_CODE: return ROLE_CODE;
    default: return kinds[m->kind].text_role;
    }
}

static style_t inline_style(style_t base, uint8_t state)
{
    style_t s = state & (MD_CODE_1 | MD_CODE_2) ? ROLE_CODE : base;
    return s | (state & MD_BOLD ? STYLE_BOLD : 0) | (state & MD_ITALIC ? STYLE_ITALIC : 0);
}

/* What stands in the columns before the content: a list's sign, a quote's bar. */
static void draw_marker(struct grid *g, int x, int y, const struct message *m, const struct tline *l)
{
    const char *source = m->text.data + l->source;
    bool first = l->start == l->source + l->md.marker;
    if (l->md.block == MD_QUOTE) {
        grid_puts(g, x, y, ROLE_QUOTE, glyph(g, GLYPH_QUOTE));
    } else if (l->md.block == MD_LIST && first) {
        size_t lead = strspn(source, " ");
        if (source[lead] >= '0' && source[lead] <= '9')
            grid_text(g, x + (int)lead, y, l->md.indent, source + lead, l->md.marker - lead, ROLE_DIM);
        else
            grid_puts(g, x + (int)lead, y, ROLE_DIM, glyph(g, GLYPH_BULLET));
    }
}

/* A fence or a rule: a line across, with the language of the code. */
static void draw_rule(struct grid *g, int x, int y, int w, const struct message *m, const struct tline *l)
{
    enum { FENCE_RULE = 3 };
    int n = l->md.block == MD_FENCE ? FENCE_RULE : w;
    for (int i = 0; i < n && i < w; i++)
        grid_puts(g, x + i, y, ROLE_DIM, glyph(g, GLYPH_RULE));
    if (l->md.block != MD_FENCE || l->in_code || l->end <= l->source + l->md.marker)
        return;
    const char *lang = m->text.data + l->source + l->md.marker;
    grid_ellipsis(g, x + FENCE_RULE + 1, y, w - FENCE_RULE - 1, lang, l->end - l->source - l->md.marker,
                  ROLE_DIM);
}

/* Draws the content of a line; returns the column behind it. */
static int draw_line(const struct transcript *t, struct grid *g, int x, int y, int w, const struct message *m,
                     const struct tline *l)
{
    if (l->md.block == MD_FENCE || l->md.block == MD_RULE) {
        draw_rule(g, x, y, w, m, l);
        return x;
    }
    draw_marker(g, x, y, m, l);
    x += l->md.indent;
    const char *source = m->text.data + l->source;
    /* Markup looks beyond the end of this line, but only so far. */
    size_t n = m->text.len - l->source, reach = l->end - l->source + 2 * MD_LOOKAHEAD;
    n = n < reach ? n : reach;
    const char *nl = memchr(source, '\n', n);
    n = nl ? (size_t)(nl - source) : n;
    size_t at = l->start - l->source, end = l->end - l->source;
    uint8_t state = l->state;
    style_t base = block_style(m, l);
    bool markup = message_has_markup(m) && l->md.block != MD_CODE;

    /* The first match that may reach into this line. */
    size_t back = t->needle_len < l->start ? l->start - t->needle_len : 0;
    size_t match = transcript_match(t, m, back, l->end);

    int col = 0;
    while (at < end) {
        size_t mark = markup ? md_markup(source, n, at, &state) : 0;
        if (mark) {
            at += mark;
            continue;
        }
        struct text_cluster c;
        size_t len = text_next(source + at, end - at, &c);
        size_t byte = l->source + at;
        while (match != SIZE_MAX && match + t->needle_len <= byte)
            match = transcript_match(t, m, match + 1, l->end);
        style_t style = match <= byte ? ROLE_SEARCH : inline_style(base, state);
        int cols = cluster_columns(&c, col);
        if (c.cp[0] == '\t')
            grid_fill(g, (struct rect){x + col, y, cols, 1}, style);
        else
            grid_put(g, x + col, y, &c, style);
        md_shown(&state);
        col += cols;
        at += len;
    }
    return x + col;
}

/* The part of a line that is shown: all of it, but for the last one of a reply seen at a time gone by. */
static int draw_shown(const struct transcript *t, struct grid *g, int x, int y, int w,
                      const struct message *m, const struct tline *l)
{
    struct tline part = *l;
    if (m->shown_len < part.end)
        part.end = m->shown_len > part.start ? (uint32_t)m->shown_len : part.start;
    return draw_line(t, g, x, y, w, m, &part);
}

/* "TTFT 82 ms · 41.3 tok/s · 318 tokens · …": what is known, dimmed, as far as there is room. */
static void draw_footer(struct grid *g, int x, int y, int w, const struct message *m)
{
    enum { QUEUE_WORTH_TELLING_MS = 100 };
    if (m->kind == MSG_QUEUED) {
        static const char queued[] = "sent when the reply has ended";
        grid_ellipsis(g, x, y, w, queued, sizeof queued - 1, ROLE_DIM | STYLE_ITALIC);
        return;
    }
    const struct reply_stats *s = &m->stats;
    char line[256] = "", time[FORMAT_MAX];
    struct figures f = FIGURES_INIT(line, w, g->ascii);
    if (s->ended)
        figures_add(&f, "%s", s->ended);
    if (s->ttft_ms > 0)
        figures_add(&f, "TTFT %s", format_ms(time, s->ttft_ms));
    if (s->tps > 0)
        figures_add(&f, "%.1f tok/s", s->tps);
    if (s->queue_ms >= QUEUE_WORTH_TELLING_MS)
        figures_add(&f, "queued %s", format_ms(time, s->queue_ms));
    if (s->cached_tokens > 0)
        figures_add(&f, "%u cached", (unsigned)s->cached_tokens);
    if (s->preemptions > 0)
        figures_add(&f, "preempted %ux", (unsigned)s->preemptions);
    if (s->tokens > 0)
        figures_add(&f, "%u tokens", (unsigned)s->tokens);
    grid_text(g, x, y, w, line, f.len, ROLE_DIM);
}

static void draw_gutter(struct grid *g, struct rect r, int y, const struct message *m, bool first)
{
    style_t style = kinds[m->kind].label_role;
    int gutter = gutter_width(r.w);
    if (first && gutter == GUTTER)
        grid_puts(g, r.x, y, style | STYLE_BOLD, kinds[m->kind].label);
    else if (first)
        grid_putc(g, r.x, y, (uint32_t)kinds[m->kind].narrow, style | STYLE_BOLD);
    grid_puts(g, r.x + gutter - 1, y, style == ROLE_USER ? style : ROLE_DIM, glyph(g, GLYPH_GUTTER));
}

static void draw_scrollbar(const struct transcript *t, struct grid *g, struct rect r)
{
    if (t->total <= r.h)
        return;
    int thumb = r.h * r.h / t->total;
    thumb = thumb > 0 ? thumb : 1;
    int room = t->total - r.h;
    int at = (int)((long)t->top * (r.h - thumb) / room);
    if (t->top > 0 && at == 0 && r.h > thumb)
        at = 1; /* only the very top looks like the top */
    for (int i = 0; i < thumb; i++)
        grid_puts(g, r.x + r.w - 1, r.y + at + i, t->follow ? ROLE_BORDER : ROLE_BORDER_FOCUS,
                  glyph(g, GLYPH_SCROLL_THUMB));
}

void transcript_draw(struct transcript *t, struct grid *g, struct rect r, bool live)
{
    if (r.w < 1 || r.h < 1)
        return;
    transcript_layout(t, r.w, r.h);
    struct rect old = grid_clip(g, r);
    int x = r.x + gutter_width(r.w), w = text_columns(r.w);
    struct rect text = {x, r.y, w, r.h};

    for (size_t i = 0; i < t->n; i++) {
        const struct message *m = &t->messages[i];
        int lines = message_lines(m), all = lines + message_tail(m);
        if (m->first + all <= t->top)
            continue;
        if (m->first >= t->top + r.h)
            break;
        int from = m->first < t->top ? t->top - m->first : 0;
        for (int k = from; k < all && m->first + k < t->top + r.h; k++) {
            int y = r.y + m->first + k - t->top;
            bool footer = k == lines && message_tail(m) > 1;
            if (k >= lines && !footer)
                continue; /* the empty line between messages */
            draw_gutter(g, r, y, m, k == 0);
            struct rect whole = grid_clip(g, text);
            int end = x;
            if (footer)
                draw_footer(g, x, y, w, m);
            else if (m->n_lines)
                end = draw_shown(t, g, x, y, w, m, &m->lines[k]);
            bool streams = m->ended ? m->unfinished : live;
            if (streams && k == lines - 1)
                grid_puts(g, end < x + w ? end : x + w - 1, y, ROLE_PROMPT, glyph(g, GLYPH_SHADE_MEDIUM));
            grid_unclip(g, whole);
        }
    }
    draw_scrollbar(t, g, r);
    grid_unclip(g, old);
}
