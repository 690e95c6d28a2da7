/*
 * Comparing what is drawn with golden screens in tests/ui/golden: NAME.txt is what the cells show; NAME.ansi has the
 * theme's colours too (cat it on a terminal). WEFT_UPDATE_GOLDEN=1 writes them anew: look at the difference before
 * committing it. Each function fails the test when something is amiss.
 */
#ifndef WEFT_TESTS_UI_GOLDEN_H
#define WEFT_TESTS_UI_GOLDEN_H

#include "tests/support/ui_scene.h"

/* Every row is exactly as wide as the screen, whatever is in it. */
void golden_widths(const struct grid *g);
/* The scene's view at w × h, as text; in colours with n_colours. `top`: the source tree's. */
void golden_screen(const struct scene *s, const char *top, const char *name, int w, int h);
void golden_colours(const struct scene *s, const char *top, const char *name, int w, int h, int n_colours);

#endif
