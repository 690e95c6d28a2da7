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

void theme_complete(struct theme *t)
{
    for (int r = 0; r < ROLE_SESSION_FIRST; r++)
        if (!t->roles[r].set && r != ROLE_TEXT) /* parents come before their children */
            t->roles[r] = t->roles[role_table[r].parent];
    for (int r = 0; r < ROLE_COUNT; r++) {
        struct theme_role *role = &t->roles[r];
        for (int d = 0; d < THEME_DEPTHS; d++) {
            int fg = colour_at(&role->fg, theme_depths[d]), bg = colour_at(&role->bg, theme_depths[d]);
            /* With few colours a shade close to the terminal's background may round to it: take the grey. */
            bool on_default = bg < 0 && theme_depths[d] <= 16;
            if (on_default && (t->light ? fg == 15 || fg == 7 : fg == 0))
                fg = theme_depths[d] == 16 ? 8 : -1;
            if (theme_depths[d] == 16 && (t->light ? bg == 15 : bg == 0))
                bg = t->light ? 7 : 8;
            role->fg_at[d] = (int16_t)fg;
            role->bg_at[d] = (int16_t)bg;
        }
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
        const struct theme_role *under = selected ? selected : role;
        s.fg = role->fg_at[d];
        s.bg = under->bg_at[d];
        if (selected && s.fg < 0)
            s.fg = selected->fg_at[d];
        if (s.fg >= 0 && s.fg == s.bg)
            s.fg = selected && selected->fg_at[d] != s.bg ? selected->fg_at[d] : -1;
    }
    /* A background that this terminal can't show still has to set its text apart. */
    const struct colour *bg = selected ? &selected->bg : &role->bg;
    if (s.bg < 0 && (bg->kind == COLOUR_INDEX || bg->kind == COLOUR_RGB))
        s.attrs |= ATTR_REVERSE;
    return s;
}
