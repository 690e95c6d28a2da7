/* What a session is doing, in a glyph, a word and a figure: for the list and for the chat's title. Pure. */
#ifndef WEFT_UI_STATUS_H
#define WEFT_UI_STATUS_H

#include "ui/format.h"
#include "ui/view.h"

struct status {
    enum glyph glyph;
    style_t style;
    const char *name;        /* "RUNNING"; "" when idle */
    char metric[FORMAT_MAX]; /* "38/s", "55%", "6.1s"; "" when there is none */
};

/* The colour of a base priority. */
style_t status_prio_role(enum prio p);

/* A session's title; "new" while it has none but its number, which stands beside it anyway: *given says which. */
const char *status_title(const struct view_session *s, bool *given);

void status_of(const struct view *v, const struct view_session *s, struct status *out);

#endif
