/* Colours of a theme: reading them, and the nearest one that a terminal has. Pure. */
#ifndef WEFT_UI_COLOUR_H
#define WEFT_UI_COLOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum colour_kind { COLOUR_UNSET, COLOUR_DEFAULT, COLOUR_INDEX, COLOUR_RGB };
struct colour {
    uint8_t kind;    /* enum colour_kind */
    uint8_t index;   /* COLOUR_INDEX: xterm's 256 */
    uint8_t r, g, b; /* COLOUR_RGB */
};

/* What colour_parse takes, for messages. */
#define COLOUR_ALLOWED "default, a name (red, bright-red, gray ...), 0 ... 255 or #rrggbb"

/* "default", a name, "0" … "255" or "#rrggbb". False: *out unchanged. */
bool colour_parse(const char *s, struct colour *out);
/*
 * The palette index for a terminal with n colours (256, 16 or 8); -1: the terminal's default. Of 256 the nearest in RGB,
 * with xterm's standard values for the palette; of fewer the one of the same hue, as the nearest to a pale colour
 * would be a grey. Among 8 colours there is no grey, which becomes the default.
 */
int colour_at(const struct colour *c, int n);
/* The contrast of two palette entries, 1 (none) ... 21, by their standard values and WCAG 2's formula, with gamma 2 in
 * place of sRGB's curve. */
double colour_contrast(int a, int b);

#endif
