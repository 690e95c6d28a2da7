#include "ui/grid.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

static const struct cell blank_cell = {.cp = {' '}, .width = 1};

bool grid_resize(struct grid *g, int w, int h)
{
    w = w > 0 ? w : 0;
    h = h > 0 ? h : 0;
    size_t n = (size_t)w * (size_t)h;
    if (mem_grow(&g->cells, &g->cap_cells, n, sizeof *g->cells) != 0) {
        g->w = g->h = 0;
        g->clip = (struct rect){0, 0, 0, 0};
        return false;
    }
    g->w = w;
    g->h = h;
    g->clip = (struct rect){0, 0, w, h};
    g->cursor_x = g->cursor_y = -1;
    for (size_t i = 0; i < n; i++)
        g->cells[i] = blank_cell;
    return true;
}

void grid_free(struct grid *g)
{
    mem_free(g->cells);
    memset(g, 0, sizeof *g);
}

static struct cell *cell_at(struct grid *g, int x, int y)
{
    return &g->cells[(size_t)y * (size_t)g->w + (size_t)x];
}

const struct cell *grid_at(const struct grid *g, int x, int y)
{
    if (x < 0 || y < 0 || x >= g->w || y >= g->h)
        return NULL;
    return &g->cells[(size_t)y * (size_t)g->w + (size_t)x];
}

struct rect rect_clip(struct rect r, struct rect within)
{
    int x0 = r.x > within.x ? r.x : within.x, y0 = r.y > within.y ? r.y : within.y;
    int x1 = r.x + r.w < within.x + within.w ? r.x + r.w : within.x + within.w;
    int y1 = r.y + r.h < within.y + within.h ? r.y + r.h : within.y + within.h;
    return (struct rect){x0, y0, x1 > x0 ? x1 - x0 : 0, y1 > y0 ? y1 - y0 : 0};
}

struct rect rect_inset(struct rect r, int n)
{
    int w = r.w - 2 * n, h = r.h - 2 * n;
    return (struct rect){r.x + n, r.y + n, w > 0 ? w : 0, h > 0 ? h : 0};
}

struct rect grid_clip(struct grid *g, struct rect r)
{
    struct rect old = g->clip;
    g->clip = rect_clip(r, old);
    return old;
}

void grid_unclip(struct grid *g, struct rect old)
{
    g->clip = old;
}

static bool in_clip(const struct grid *g, int x, int y)
{
    return x >= g->clip.x && x < g->clip.x + g->clip.w && y >= g->clip.y && y < g->clip.y + g->clip.h;
}

/* Makes the cell free to be written: the other half of a wide character that it is part of becomes a space.
 */
static struct cell *claim(struct grid *g, int x, int y)
{
    struct cell *c = cell_at(g, x, y);
    struct cell *other = c->width == 0 ? c - 1 : c->width == 2 ? c + 1 : NULL;
    if (other) {
        style_t style = other->style;
        *other = blank_cell;
        other->style = style;
    }
    c->lines = 0;
    return c;
}

static void set_cell(struct cell *c, uint32_t cp, style_t style)
{
    *c = blank_cell;
    c->cp[0] = cp;
    c->style = style;
}

/* Punctuation that has a likeness in ASCII; anything else beyond it is a question mark. */
static uint32_t ascii_likeness(uint32_t cp)
{
    static const struct {
        uint32_t cp;
        char ascii;
    } known[] = {{0xa0, ' '},   {0xab, '"'},   {0xb4, '\''},  {0xb7, '-'},   {0xbb, '"'},    {0xd7, 'x'},
                 {0x2010, '-'}, {0x2011, '-'}, {0x2013, '-'}, {0x2014, '-'}, {0x2018, '\''}, {0x2019, '\''},
                 {0x201c, '"'}, {0x201d, '"'}, {0x2022, '*'}, {0x2026, '~'}, {0x2190, '<'},  {0x2192, '>'},
                 {0x2212, '-'}, {0x2265, '>'}, {0x2264, '<'}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].cp == cp)
            return (uint32_t)known[i].ascii;
    return '?';
}

int grid_put(struct grid *g, int x, int y, const struct text_cluster *cluster, style_t style)
{
    uint32_t cp = cluster->cp[0] == '\t' || cluster->cp[0] == '\n' ? ' ' : cluster->cp[0];
    bool wide = cluster->width == 2;
    bool left = in_clip(g, x, y), right = wide && in_clip(g, x + 1, y);
    if (g->ascii && cp > 0x7e) {
        if (left)
            set_cell(claim(g, x, y), ascii_likeness(cp), style);
        if (right)
            set_cell(claim(g, x + 1, y), ' ', style);
        return cluster->width;
    }
    if (wide && left != right) { /* would straddle the edge */
        int inside = left ? x : x + 1;
        set_cell(claim(g, inside, y), ' ', style);
    } else if (left) {
        struct cell *c = claim(g, x, y);
        set_cell(c, cp, style);
        if (!g->ascii)
            memcpy(c->cp + 1, cluster->cp + 1, sizeof c->cp - sizeof c->cp[0]);
        if (wide) {
            struct cell *half = claim(g, x + 1, y);
            c->width = 2;
            memset(half, 0, sizeof *half);
            half->style = style;
        }
    }
    return cluster->width;
}

int grid_putc(struct grid *g, int x, int y, uint32_t cp, style_t style)
{
    char utf8[4];
    struct text_cluster c;
    text_next(utf8, utf8_encode(cp, utf8), &c);
    return grid_put(g, x, y, &c, style);
}

int grid_text(struct grid *g, int x, int y, int max_w, const char *s, size_t n, style_t style)
{
    int end = max_w < 0 ? g->clip.x + g->clip.w : x + max_w;
    struct text_cluster c;
    while (n) {
        size_t len = text_next(s, n, &c);
        if (x + c.width > end)
            break;
        x += grid_put(g, x, y, &c, style);
        s += len;
        n -= len;
    }
    return x;
}

int grid_puts(struct grid *g, int x, int y, style_t style, const char *s)
{
    return grid_text(g, x, y, -1, s, strlen(s), style);
}

int grid_printf(struct grid *g, int x, int y, style_t style, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return grid_puts(g, x, y, style, line);
}

int grid_ellipsis(struct grid *g, int x, int y, int max_w, const char *s, size_t n, style_t style)
{
    if (text_width(s, n) <= max_w)
        return grid_text(g, x, y, max_w, s, n, style);
    if (max_w < 1)
        return x;
    int width;
    size_t fits = text_fit(s, n, max_w - 1, &width);
    x = grid_text(g, x, y, width, s, fits, style);
    return grid_puts(g, x, y, style, glyph(g, GLYPH_ELLIPSIS));
}

int grid_paragraph(struct grid *g, struct rect r, const char *s, style_t style)
{
    int line = 0;
    for (; *s && r.w > 0; line++) {
        size_t left = strcspn(s, "\n"), n = text_fit(s, left, r.w, NULL);
        if (n < left) { /* break at the last space that fits, or else in the word */
            size_t cut = n;
            while (cut > 0 && s[cut] != ' ')
                cut--;
            n = cut > 0 ? cut : n > 0 ? n : left; /* a character wider than r is given up */
        }
        if (g && line < r.h)
            grid_text(g, r.x, r.y + line, r.w, s, n, style);
        s += n;
        s += *s == ' ' || *s == '\n';
    }
    return line;
}

int grid_right(struct grid *g, int x_min, int x_end, int y, style_t style, const char *s)
{
    int width;
    size_t fits = text_fit(s, strlen(s), x_end - x_min, &width);
    grid_text(g, x_end - width, y, width, s, fits, style);
    return x_end - width;
}

void grid_fill(struct grid *g, struct rect r, style_t style)
{
    struct cell blank = blank_cell;
    blank.style = style;
    r = rect_clip(r, g->clip);
    for (int y = r.y; y < r.y + r.h && r.w > 0; y++) {
        claim(g, r.x, y); /* only at the edges can half of a wide character be outside */
        claim(g, r.x + r.w - 1, y);
        struct cell *row = cell_at(g, r.x, y);
        for (int i = 0; i < r.w; i++)
            row[i] = blank;
    }
}

void grid_restyle(struct grid *g, struct rect r, style_t style)
{
    r = rect_clip(r, g->clip);
    for (int y = r.y; y < r.y + r.h; y++)
        for (int x = r.x; x < r.x + r.w; x++)
            cell_at(g, x, y)->style = style;
}

void grid_add_flags(struct grid *g, struct rect r, style_t flags)
{
    r = rect_clip(r, g->clip);
    for (int y = r.y; y < r.y + r.h; y++)
        for (int x = r.x; x < r.x + r.w; x++)
            cell_at(g, x, y)->style |= flags & (style_t)~STYLE_ROLE_MASK;
}

/* Box drawing by arms: index = GRID_N | GRID_E | GRID_S | GRID_W. */
static const uint16_t frame_unicode[16] = {
    ' ',    0x2575, 0x2576, 0x2514, 0x2577, 0x2502, 0x250c, 0x251c, /* .   N   E   NE   S   NS   ES   NES */
    0x2574, 0x2518, 0x2500, 0x2534, 0x2510, 0x2524, 0x252c, 0x253c, /* W   NW  EW  NEW  SW  NSW  ESW  all */
};
static const char frame_ascii[] = " |-+||++-+-+++++";

static void add_arms(struct grid *g, int x, int y, uint8_t arms, style_t style)
{
    if (!in_clip(g, x, y))
        return;
    uint8_t merged = cell_at(g, x, y)->lines | arms;
    struct cell *c = claim(g, x, y);
    set_cell(c, g->ascii ? (uint32_t)frame_ascii[merged] : frame_unicode[merged], style);
    c->lines = merged;
}

void grid_hline(struct grid *g, int x, int y, int w, style_t style)
{
    for (int i = 0; i < w; i++)
        add_arms(g, x + i, y, (uint8_t)((i > 0 ? GRID_W : 0) | (i < w - 1 ? GRID_E : 0)), style);
}

void grid_vline(struct grid *g, int x, int y, int h, style_t style)
{
    for (int i = 0; i < h; i++)
        add_arms(g, x, y + i, (uint8_t)((i > 0 ? GRID_N : 0) | (i < h - 1 ? GRID_S : 0)), style);
}

void grid_box(struct grid *g, struct rect r, style_t style)
{
    if (r.w < 2 || r.h < 2)
        return;
    grid_hline(g, r.x, r.y, r.w, style);
    grid_hline(g, r.x, r.y + r.h - 1, r.w, style);
    grid_vline(g, r.x, r.y, r.h, style);
    grid_vline(g, r.x + r.w - 1, r.y, r.h, style);
}

/* Every character here is one column wide. */
static const struct {
    const char *utf8, *ascii;
} glyphs[GLYPH_COUNT] = {
    [GLYPH_ELLIPSIS] = {"…", "~"},   [GLYPH_DOT] = {"·", "-"},         [GLYPH_PROMPT] = {"›", ">"},
    [GLYPH_GUTTER] = {"▏", "|"},     [GLYPH_ARROW_RIGHT] = {"→", ">"}, [GLYPH_POINTER] = {"▸", ">"},
    [GLYPH_BULLET] = {"•", "*"},     [GLYPH_WAITING] = {"◌", "o"},     [GLYPH_PREFILL] = {"◐", "%"},
    [GLYPH_RUNNING] = {"▶", ">"},    [GLYPH_PREEMPTED] = {"◁", "<"},   [GLYPH_IDLE] = {"·", "."},
    [GLYPH_SENT] = {"○", "o"},       [GLYPH_FAILED] = {"✗", "x"},      [GLYPH_UNREAD] = {"●", "*"},
    [GLYPH_FULL] = {"█", "#"},       [GLYPH_SHADE_LIGHT] = {"░", ":"}, [GLYPH_SHADE_MEDIUM] = {"▒", "="},
    [GLYPH_SHADE_DARK] = {"▓", "#"}, [GLYPH_FREE] = {"·", "."},        [GLYPH_SCROLL_THUMB] = {"┃", "#"},
    [GLYPH_RULE] = {"─", "-"},       [GLYPH_QUOTE] = {"▎", "|"},       [GLYPH_PAUSED] = {"‖", "|"},
    [GLYPH_BRANCH] = {"↳", "^"},
};

const char *glyph(const struct grid *g, enum glyph id)
{
    return g->ascii ? glyphs[id].ascii : glyphs[id].utf8;
}

bool grid_dump(const struct grid *g, struct buf *out)
{
    for (int y = 0; y < g->h; y++) {
        for (int x = 0; x < g->w; x++) {
            const struct cell *c = grid_at(g, x, y);
            for (int i = 0; c->width && i < TEXT_CLUSTER_CPS && c->cp[i]; i++) {
                char utf8[4];
                buf_add(out, utf8, utf8_encode(c->cp[i], utf8));
            }
        }
        buf_addc(out, '\n');
    }
    return !out->failed;
}
