/* Boxes over the screen: help, lists, questions, pages. Part of view.c's drawing. Pure. */
#ifndef WEFT_UI_OVERLAY_H
#define WEFT_UI_OVERLAY_H

#include "ui/view.h"

/* Draws the view's overlay, if any, over what is there. l: the screen's layout. */
void overlay_draw(const struct view *v, struct grid *g, const struct layout *l);

#endif
