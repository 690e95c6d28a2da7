#include "ui/colour.h"

#include <stdlib.h>
#include <string.h>

struct rgb {
    int r, g, b;
};

/* xterm's first 16, in order: the names that a theme may use for them, and their standard values. */
static const struct {
    const char *name;
    struct rgb rgb;
} named[16] = {
    {"black", {0, 0, 0}},           {"red", {205, 0, 0}},
    {"green", {0, 205, 0}},         {"yellow", {205, 205, 0}},
    {"blue", {0, 0, 238}},          {"magenta", {205, 0, 205}},
    {"cyan", {0, 205, 205}},        {"white", {229, 229, 229}},
    {"gray", {127, 127, 127}},      {"bright-red", {255, 0, 0}},
    {"bright-green", {0, 255, 0}},  {"bright-yellow", {255, 255, 0}},
    {"bright-blue", {92, 92, 255}}, {"bright-magenta", {255, 0, 255}},
    {"bright-cyan", {0, 255, 255}}, {"bright-white", {255, 255, 255}},
};

enum { CUBE_FIRST = 16, GREY_FIRST = 232, GREY_INDEX_16 = 8 };

/* The six levels of the 6×6×6 cube at 16 … 231; 232 … 255 are greys 8, 18, … 238. */
static const int cube_levels[6] = {0, 95, 135, 175, 215, 255};

static struct rgb palette_rgb(int index)
{
    if (index < CUBE_FIRST)
        return named[index].rgb;
    if (index >= GREY_FIRST) {
        int v = 8 + 10 * (index - GREY_FIRST);
        return (struct rgb){v, v, v};
    }
    int i = index - CUBE_FIRST;
    return (struct rgb){cube_levels[i / 36], cube_levels[i / 6 % 6], cube_levels[i % 6]};
}

static int distance(struct rgb a, struct rgb b)
{
    return (a.r - b.r) * (a.r - b.r) + (a.g - b.g) * (a.g - b.g) + (a.b - b.b) * (a.b - b.b);
}

/* The nearest of palette entries first … last. */
static int nearest(struct rgb want, int first, int last)
{
    int best = first, best_d = distance(want, palette_rgb(first));
    for (int i = first + 1; i <= last; i++) {
        int d = distance(want, palette_rgb(i));
        if (d < best_d) {
            best = i;
            best_d = d;
        }
    }
    return best;
}

static int hex_byte(const char *s)
{
    static const char digits[] = "0123456789abcdef";
    const char *hi = strchr(digits, s[0] | 0x20), *lo = strchr(digits, s[1] | 0x20);
    return s[0] && s[1] && hi && lo ? (int)((hi - digits) * 16 + (lo - digits)) : -1;
}

bool colour_parse(const char *s, struct colour *out)
{
    if (strcmp(s, "default") == 0) {
        *out = (struct colour){.kind = COLOUR_DEFAULT};
        return true;
    }
    for (int i = 0; i < 16; i++) {
        if (strcmp(s, named[i].name) == 0) {
            *out = (struct colour){.kind = COLOUR_INDEX, .index = (uint8_t)i};
            return true;
        }
    }
    if (s[0] == '#') {
        if (strlen(s) != 7)
            return false;
        int r = hex_byte(s + 1), g = hex_byte(s + 3), b = hex_byte(s + 5);
        if (r < 0 || g < 0 || b < 0)
            return false;
        *out = (struct colour){.kind = COLOUR_RGB, .r = (uint8_t)r, .g = (uint8_t)g, .b = (uint8_t)b};
        return true;
    }
    if (s[0] < '0' || s[0] > '9' || strlen(s) > 3)
        return false;
    char *end;
    long v = strtol(s, &end, 10);
    if (*end || v > 255)
        return false;
    *out = (struct colour){.kind = COLOUR_INDEX, .index = (uint8_t)v};
    return true;
}

/* Of the first 16, the one of the colour's hue; greys by their lightness. */
static int by_hue(struct rgb c)
{
    enum { GREY_CHROMA = 48, BRIGHT = 208, DARK_GREY = 64, LIGHT_GREY = 160, WHITE = 240 };
    /* Sectors of 60 degrees around red, yellow, green, cyan, blue, magenta. */
    static const int hues[6] = {1, 3, 2, 6, 4, 5};
    int max = c.r > c.g ? c.r : c.g, min = c.r < c.g ? c.r : c.g;
    max = c.b > max ? c.b : max;
    min = c.b < min ? c.b : min;
    int chroma = max - min;
    if (chroma < GREY_CHROMA)
        return max < DARK_GREY ? 0 : max < LIGHT_GREY ? 8 : max < WHITE ? 7 : 15;
    /* The hue in degrees (the usual hexagon of RGB), half a sector added so that each begins at a multiple of 60. */
    int degrees = max == c.r   ? 60 * (c.g - c.b) / chroma
                  : max == c.g ? 120 + 60 * (c.b - c.r) / chroma
                               : 240 + 60 * (c.r - c.g) / chroma;
    int hue = hues[(degrees + 360 + 30) / 60 % 6];
    return max >= BRIGHT ? hue + 8 : hue;
}

int colour_at(const struct colour *c, int n)
{
    if (c->kind == COLOUR_UNSET || c->kind == COLOUR_DEFAULT)
        return -1;
    struct rgb want = c->kind == COLOUR_RGB ? (struct rgb){c->r, c->g, c->b} : palette_rgb(c->index);
    if (n >= 256) /* the first 16 vary from terminal to terminal, so RGB avoids them */
        return c->kind == COLOUR_INDEX ? c->index : nearest(want, CUBE_FIRST, 255);
    int i = c->kind == COLOUR_INDEX && c->index < 16 ? c->index : by_hue(want);
    if (n >= 16)
        return i;
    return i == GREY_INDEX_16 ? -1 : i % 8;
}

static double luminance(struct rgb c)
{
    double r = c.r / 255.0, g = c.g / 255.0, b = c.b / 255.0;
    return 0.2126 * r * r + 0.7152 * g * g + 0.0722 * b * b;
}

double colour_contrast(int a, int b)
{
    double x = luminance(palette_rgb(a)), y = luminance(palette_rgb(b));
    return ((x > y ? x : y) + 0.05) / ((x > y ? y : x) + 0.05);
}
