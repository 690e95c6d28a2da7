/* Drawing a line that is being edited: wrapped, scrolled to its cursor. Pure. */
#ifndef WEFT_UI_ENTRY_H
#define WEFT_UI_ENTRY_H

#include "ui/view.h"

/* Rows that the input takes on `w` columns: ≥ 1. */
int entry_rows(const struct view_input *in, int w);
/* Draws it into r, scrolled so that the cursor's row is seen. `focused`: places the grid's cursor there. */
void entry_draw(const struct view_input *in, struct grid *g, struct rect r, bool focused);

#endif
