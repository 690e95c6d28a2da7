#include "ui/entry.h"

#include <string.h>

/* Walks the clusters of an input, wrapped to w columns behind its prompt (which indents the rows after the
 * first, too, when it's the usual short sign). */
struct walk {
    const struct view_input *in;
    size_t at; /* byte of the next cluster */
    int w, indent;
    int row, col;
};

enum { SIGN_COLUMNS = 2 };

static int prompt_columns(const struct view_input *in)
{
    return in->prompt ? text_width(in->prompt, strlen(in->prompt)) : SIGN_COLUMNS;
}

static struct walk walk_begin(const struct view_input *in, int w)
{
    int prompt = prompt_columns(in);
    int indent = w > 2 * SIGN_COLUMNS ? SIGN_COLUMNS : 0;
    struct walk k = {.in = in, .w = w > 0 ? w : 1, .indent = indent};
    k.row = prompt / k.w;
    k.col = prompt % k.w;
    return k;
}

/* The next cluster and its place. False at the end; then row and col are where text would go on. */
static bool walk_next(struct walk *k, struct text_cluster *c, int *row, int *col)
{
    if (k->at >= k->in->len)
        return false;
    size_t len = text_next(k->in->text + k->at, k->in->len - k->at, c);
    if (k->col + (c->width ? c->width : 1) > k->w) { /* a newline, too, needs a column for the cursor */
        k->row++;
        k->col = k->indent;
    }
    *row = k->row;
    *col = k->col;
    k->at += len;
    k->col += c->width;
    if (c->cp[0] == '\n') {
        k->row++;
        k->col = k->indent;
    }
    return true;
}

/* Where the cursor is, and the last row. */
static void measure(const struct view_input *in, int w, int *cursor_row, int *cursor_col, int *last_row)
{
    struct walk k = walk_begin(in, w);
    struct text_cluster c;
    int row, col;
    bool placed = false;
    for (size_t at = k.at; walk_next(&k, &c, &row, &col); at = k.at) {
        if (!placed && k.at > in->cursor && at <= in->cursor) {
            *cursor_row = row;
            *cursor_col = col;
            placed = true;
        }
    }
    if (k.col >= k.w) { /* the cursor stands behind a full row */
        k.row++;
        k.col = k.indent;
    }
    if (!placed) {
        *cursor_row = k.row;
        *cursor_col = k.col;
    }
    *last_row = k.row;
}

int entry_rows(const struct view_input *in, int w)
{
    int row, col, last;
    measure(in, w, &row, &col, &last);
    return last + 1;
}

void entry_draw(const struct view_input *in, struct grid *g, struct rect r, bool focused)
{
    if (r.w < 1 || r.h < 1)
        return;
    struct rect old = grid_clip(g, r);
    int cursor_row, cursor_col, last;
    measure(in, r.w, &cursor_row, &cursor_col, &last);
    int top = cursor_row - r.h + 1 > 0 ? cursor_row - r.h + 1 : 0;

    if (top == 0) {
        if (in->prompt)
            grid_puts(g, r.x, r.y, ROLE_PROMPT, in->prompt);
        else
            grid_puts(g, r.x, r.y, focused ? ROLE_PROMPT | STYLE_BOLD : ROLE_DIM, glyph(g, GLYPH_PROMPT));
    }
    if (in->len == 0 && in->hint && !in->prompt)
        grid_ellipsis(g, r.x + SIGN_COLUMNS, r.y, r.w - SIGN_COLUMNS, in->hint, strlen(in->hint), ROLE_DIM);
    struct walk k = walk_begin(in, r.w);
    struct text_cluster c;
    int row, col;
    while (walk_next(&k, &c, &row, &col))
        if (row >= top && row < top + r.h && c.width)
            grid_put(g, r.x + col, r.y + row - top, &c, ROLE_INPUT);
    if (focused) {
        g->cursor_x = r.x + cursor_col;
        g->cursor_y = r.y + cursor_row - top;
    }
    grid_unclip(g, old);
}
