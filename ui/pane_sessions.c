/* The list of sessions: number, title, priority, and what each is doing. */
#include <stdio.h>
#include <string.h>

#include "ui/status.h"
#include "ui/view.h"

/* Columns from the right edge: priority letter, state glyph, figure. */
enum { METRIC_W = 5, PAD_W = 1, TAIL_W = 1 + 1 + 1 + 1 + METRIC_W + 1 };

static void draw_row(const struct view *v, struct grid *g, struct rect row, const struct view_session *s,
                     bool active)
{
    struct status st;
    status_of(v, s, &st);
    int end = row.x + row.w - PAD_W, y = row.y;
    char number[FORMAT_MAX];
    snprintf(number, sizeof number, "%u", (unsigned)s->number);

    if (active)
        grid_puts(g, row.x, y, ROLE_KEY, glyph(g, GLYPH_POINTER));
    grid_right(g, row.x + 1, row.x + 3, y, theme_session_role(s->number) | STYLE_BOLD, number);
    if (s->branch)
        grid_puts(g, row.x + 3, y, s->branch_of ? theme_session_role(s->branch_of) : ROLE_DIM,
                  glyph(g, GLYPH_BRANCH));
    bool given;
    const char *title = status_title(s, &given);
    int x = row.x + 4, tail = end - TAIL_W;
    style_t style = active || s->unread ? ROLE_TEXT | STYLE_BOLD : ROLE_TEXT;
    grid_ellipsis(g, x, y, tail - x, title, strlen(title), given ? style : ROLE_DIM);
    grid_putc(g, tail + 1, y, (uint32_t)format_prio(s->prio), status_prio_role(s->prio));
    grid_puts(g, tail + 3, y, st.style, glyph(g, st.glyph));
    grid_right(g, tail + 4, end, y, st.style, st.metric);
}

/* The row that is marked: the cursor's when the list has the focus, else the session in front. */
static size_t chosen_row(const struct view *v)
{
    return v->focus == PANE_SESSIONS ? v->sessions_cursor : v->active;
}

/* Scrolled by hand or, failing that, just so far that the chosen row is seen. */
size_t view_sessions_top(const struct view *v, int rows)
{
    int n = (int)v->n_sessions, last = n > rows ? n - rows : 0, chosen = (int)chosen_row(v);
    int top = v->scroll[PANE_SESSIONS] < last ? v->scroll[PANE_SESSIONS] : last;
    top = top > 0 ? top : 0;
    if (chosen < top)
        top = chosen;
    if (chosen >= top + rows)
        top = chosen - rows + 1;
    return (size_t)top;
}

static void draw(const struct view *v, struct grid *g, struct rect body)
{
    size_t top = view_sessions_top(v, body.h);
    for (int i = 0; i < body.h && top + (size_t)i < v->n_sessions; i++) {
        size_t at = top + (size_t)i;
        struct rect row = {body.x, body.y + i, body.w, 1};
        draw_row(v, g, row, &v->sessions[at], at == v->active);
        if (at == chosen_row(v))
            grid_add_flags(g, row, STYLE_SELECTED);
    }
}

static void summary(const struct view *v, char *out, size_t size)
{
    size_t busy = 0;
    for (size_t i = 0; i < v->n_sessions; i++)
        busy += v->past ? view_request(v, v->sessions[i].number) != NULL : v->sessions[i].busy;
    if (busy)
        snprintf(out, size, "%zu, %zu busy", v->n_sessions, busy);
    else
        snprintf(out, size, "%zu", v->n_sessions);
}

const struct pane pane_sessions = {PANE_SESSIONS, "SESSIONS", 16, 1, summary, draw};
