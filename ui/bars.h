/* The first and the last line of the screen: what the engine is, and what the keys do. Pure. */
#ifndef WEFT_UI_BARS_H
#define WEFT_UI_BARS_H

#include "ui/view.h"

/* Engine and model, or which moment of the past is shown; at the right the figures. r: one row. */
void bars_title(const struct view *v, struct grid *g, struct rect r);
/* The keys that act here, or the message there is. r: one row, over a frame's lower edge. */
void bars_keys(const struct view *v, struct grid *g, struct rect r);

#endif
