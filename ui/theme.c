#include "ui/theme.h"

#include <stdio.h>
#include <string.h>

const int theme_depths[THEME_DEPTHS] = {256, 16, 8};

static const struct {
    const char *key;
    enum role parent;
} role_table[] = {
#define X(id, key, parent, text) [ROLE_##id] = {key, ROLE_##parent},
    THEME_ROLES(X)
#undef X
};

const char *theme_role_key(enum role r)
{
    return (unsigned)r < sizeof role_table / sizeof role_table[0] ? role_table[r].key : NULL;
}

style_t theme_session_role(uint32_t number)
{
    return number ? (style_t)(ROLE_SESSION_FIRST + (number - 1) % THEME_SESSION_COLOURS) : (style_t)ROLE_TEXT;
}

char theme_session_char(uint32_t number)
{
    static const char signs[] = "123456789abcdefghijklmnopqrstuvwxyz";
    return number ? signs[(number - 1) % (sizeof signs - 1)] : '?';
}

/* The palette index of a role's text. With few colours a shade close to the terminal's background may round to it: then it
 * is the grey, or with 8 colours the default. */
static int text_colour(const struct theme *t, const struct theme_role *role, int bg, int depth)
{
    int fg = colour_at(&role->fg, depth);
    if (bg >= 0 || depth > 16 || (t->light ? fg != 15 && fg != 7 : fg != 0))
        return fg;
    return depth == 16 ? 8 : -1;
}

/* Likewise a background that rounds to the terminal's own would not be seen. */
static int back_colour(const struct theme *t, const struct theme_role *role, int depth)
{
    int bg = colour_at(&role->bg, depth);
    if (depth == 16 && bg == (t->light ? 15 : 0))
        bg = t->light ? 7 : 8;
    return bg;
}

/* Sessions whose colours fall together with 16 colours take what is free, of the same hue if possible. */
static void spread_sessions(struct theme *t, int d)
{
    static const int order[] = {2, 3, 4, 5, 6, 1, 10, 11, 12, 13, 14, 9}; /* the hues, then the bright ones */
    bool used[16] = {false};
    if (theme_depths[d] != 16)
        return;
    for (int i = 0; i < THEME_SESSION_COLOURS; i++) {
        int16_t *fg = &t->roles[ROLE_SESSION_FIRST + i].fg_at[d];
        if (*fg < 0)
            continue;
        if (used[*fg] && !used[*fg ^ 8])
            *fg ^= 8;
        for (size_t k = 0; used[*fg] && k < sizeof order / sizeof order[0]; k++)
            if (!used[order[k]])
                *fg = (int16_t)order[k];
        used[*fg] = true;
    }
}

/* What a role's text is on the background of the chosen row: its own colour, where that can be read there. */
static int on_selected(const struct theme_role *selected, int fg, int d)
{
    enum { READABLE = 3 }; /* WCAG 2, large text and signs */
    int bg = selected->bg_at[d];
    if (fg >= 0 && (bg < 0 || colour_contrast(fg, bg) >= READABLE))
        return fg;
    return selected->fg_at[d];
}

void theme_complete(struct theme *t)
{
    for (int r = 0; r < ROLE_SESSION_FIRST; r++)
        if (!t->roles[r].set && r != ROLE_TEXT) /* parents come before their children */
            t->roles[r] = t->roles[role_table[r].parent];
    for (int d = 0; d < THEME_DEPTHS; d++) {
        for (int r = 0; r < ROLE_COUNT; r++) {
            struct theme_role *role = &t->roles[r];
            role->bg_at[d] = (int16_t)back_colour(t, role, theme_depths[d]);
            role->fg_at[d] = (int16_t)text_colour(t, role, role->bg_at[d], theme_depths[d]);
        }
        spread_sessions(t, d);
        for (int r = 0; r < ROLE_COUNT; r++)
            t->roles[r].selected_fg_at[d] =
                (int16_t)on_selected(&t->roles[ROLE_SELECTED], t->roles[r].fg_at[d], d);
    }
}

void theme_plain(struct theme *out)
{
    static const struct {
        enum role role;
        uint8_t attrs;
    } plain[] = {
        {ROLE_DIM, ATTR_DIM},
        {ROLE_VALUE, 0},
        {ROLE_BORDER, ATTR_DIM},
        {ROLE_BORDER_FOCUS, 0},
        {ROLE_TITLE, ATTR_BOLD},
        {ROLE_TITLE_FOCUS, ATTR_BOLD | ATTR_REVERSE},
        {ROLE_KEY, ATTR_BOLD},
        {ROLE_SELECTED, ATTR_REVERSE},
        {ROLE_SEARCH, ATTR_REVERSE},
        {ROLE_WARN, ATTR_BOLD},
        {ROLE_ERROR, ATTR_BOLD | ATTR_UNDERLINE},
        {ROLE_STATE_PREFILL, 0},
        {ROLE_PRIO_HIGH, ATTR_BOLD},
        {ROLE_CODE, 0},
    };
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "plain");
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        out->roles[plain[i].role].attrs = plain[i].attrs;
        out->roles[plain[i].role].set = true;
    }
    theme_complete(out);
}

static int depth_index(int n_colours)
{
    for (int d = 0; d < THEME_DEPTHS; d++)
        if (n_colours >= theme_depths[d])
            return d;
    return -1;
}

struct theme_style theme_style(const struct theme *t, style_t style, int n_colours)
{
    unsigned r = style & STYLE_ROLE_MASK;
    const struct theme_role *role = &t->roles[r < ROLE_COUNT ? r : ROLE_TEXT];
    const struct theme_role *selected = style & STYLE_SELECTED ? &t->roles[ROLE_SELECTED] : NULL;
    struct theme_style s = {.fg = -1, .bg = -1, .attrs = role->attrs};
    s.attrs |= (style & STYLE_BOLD ? ATTR_BOLD : 0) | (style & STYLE_ITALIC ? ATTR_ITALIC : 0) |
               (style & STYLE_UNDERLINE ? ATTR_UNDERLINE : 0) | (style & STYLE_REVERSE ? ATTR_REVERSE : 0);
    if (selected)
        s.attrs |= selected->attrs;

    int d = depth_index(n_colours);
    if (d >= 0) {
        s.fg = selected ? role->selected_fg_at[d] : role->fg_at[d];
        s.bg = selected ? selected->bg_at[d] : role->bg_at[d];
        if (s.fg == s.bg) /* only ever with colours that rounding has brought together */
            s.fg = -1;
    }
    /* A background that this terminal can't show still has to set its text apart. */
    const struct colour *bg = selected ? &selected->bg : &role->bg;
    if (s.bg < 0 && (bg->kind == COLOUR_INDEX || bg->kind == COLOUR_RGB))
        s.attrs |= ATTR_REVERSE;
    return s;
}
