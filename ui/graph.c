/* Bars and graphs: the part of grid.h that turns figures into cells. */
#include <math.h>
#include <string.h>

#include "ui/grid.h"

/* Left-to-right eighths of a column, from one to seven; then bottom-to-top eighths of a row. */
enum { EIGHTH_LEFT_1 = 0x258f, EIGHTH_LOW_1 = 0x2581, FULL_BLOCK = 0x2588, BRAILLE = 0x2800 };

static double clamp01(double v)
{
    return !(v > 0) ? 0 : v < 1 ? v : 1;
}

void grid_bar(struct grid *g, int x, int y, int w, double fraction, style_t style)
{
    if (w <= 0)
        return;
    int eighths = (int)lround(clamp01(fraction) * w * 8);
    if (eighths == 0 && fraction > 0)
        eighths = 1; /* something is told apart from nothing */
    for (int i = 0; i < w && eighths > 0; i++, eighths -= 8) {
        if (g->ascii)
            grid_putc(g, x + i, y, eighths >= 4 || i == 0 ? '#' : ' ', style);
        else
            grid_putc(g, x + i, y, eighths >= 8 ? FULL_BLOCK : (uint32_t)(EIGHTH_LEFT_1 + 1 - eighths),
                      style);
    }
}

static const char *const mode_names[GRAPH_MODE_COUNT] = {
    [GRAPH_BRAILLE] = "braille", [GRAPH_BLOCK] = "block", [GRAPH_ASCII] = "ascii"};

bool graph_mode_parse(const char *name, enum graph_mode *out)
{
    for (int i = 0; i < GRAPH_MODE_COUNT; i++) {
        if (strcmp(name, mode_names[i]) == 0) {
            *out = (enum graph_mode)i;
            return true;
        }
    }
    return false;
}

const char *graph_mode_name(enum graph_mode m)
{
    return (unsigned)m < GRAPH_MODE_COUNT ? mode_names[m] : "?";
}

int graph_samples(enum graph_mode m, int w)
{
    return w <= 0 ? 0 : m == GRAPH_BRAILLE ? 2 * w : w;
}

/* Height of sample i in units, `units` being the graph's full height. A value above 0 has at least one unit,
 * and the base line is always drawn, so that an idle graph is a line and not a void. */
static int level(const float *values, int n, int i, double max, int units)
{
    if (i < 0 || i >= n)
        return 0;
    int v = max > 0 ? (int)lround(clamp01((double)values[i] / max) * units) : 0;
    return v > 0 ? v : 1;
}

/* How much of `height` falls into the row whose lowest unit is `from`, of `per_row` units. */
static int part(int height, int from, int per_row)
{
    int v = height - from;
    return v < 0 ? 0 : v > per_row ? per_row : v;
}

/* Dots of a braille cell's left and right column, filled from below (Unicode's dot numbering: 7 3 2 1 and 8 6 5 4). */
static const uint8_t braille_left[5] = {0x00, 0x40, 0x44, 0x46, 0x47};
static const uint8_t braille_right[5] = {0x00, 0x80, 0xa0, 0xb0, 0xb8};

void grid_graph(struct grid *g, struct rect r, enum graph_mode mode, const float *values, int n, double max,
                style_t style)
{
    if (g->ascii)
        mode = GRAPH_ASCII;
    int per_row = mode == GRAPH_BRAILLE ? 4 : mode == GRAPH_BLOCK ? 8 : 2;
    int units = per_row * r.h;
    int first = n - graph_samples(mode, r.w); /* the newest sample ends at the right edge */
    for (int x = 0; x < r.w; x++) {
        int i = mode == GRAPH_BRAILLE ? first + 2 * x : first + x;
        int left = level(values, n, i, max, units);
        int right = mode == GRAPH_BRAILLE ? level(values, n, i + 1, max, units) : 0;
        for (int row = 0; row < r.h; row++) {
            int from = (r.h - 1 - row) * per_row;
            int a = part(left, from, per_row), b = part(right, from, per_row);
            if (a == 0 && b == 0)
                continue;
            uint32_t cp = mode == GRAPH_BRAILLE ? (uint32_t)(BRAILLE | braille_left[a] | braille_right[b])
                          : mode == GRAPH_BLOCK ? (uint32_t)(EIGHTH_LOW_1 + a - 1)
                          : a == 2              ? '#'
                          : row == r.h - 1      ? '_'
                                                : '.';
            grid_putc(g, r.x + x, r.y + row, cp, style);
        }
    }
}
