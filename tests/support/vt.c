#include "tests/support/vt.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vterm.h>

#include "engine/base/utf8.h"

enum { MODES_MAX = 4096, SEQUENCE_MAX = 64, MODE_FRAME = 2026 };

struct vt {
    VTerm *term;
    VTermScreen *screen;
    VTermState *state;
    int rows, cols;
    bool cursor_visible;
    bool mode[MODES_MAX];
    size_t bytes;
    unsigned clears, colours, frames;
    char sequence[SEQUENCE_MAX]; /* the CSI sequence being read, without "ESC [" */
    size_t n_sequence;
    enum { GROUND, ESCAPE, CSI } scan;
    char *text;
    size_t cap_text;
};

static int on_property(VTermProp prop, VTermValue *value, void *user)
{
    struct vt *vt = user;
    if (prop == VTERM_PROP_CURSORVISIBLE)
        vt->cursor_visible = value->boolean;
    return 1;
}

static const VTermScreenCallbacks callbacks = {.settermprop = on_property};

struct vt *vt_create(int rows, int cols)
{
    struct vt *vt = calloc(1, sizeof *vt);
    assert(vt);
    vt->rows = rows;
    vt->cols = cols;
    vt->cursor_visible = true;
    vt->term = vterm_new(rows, cols);
    vterm_set_utf8(vt->term, 1);
    vt->state = vterm_obtain_state(vt->term);
    vt->screen = vterm_obtain_screen(vt->term);
    vterm_screen_set_callbacks(vt->screen, &callbacks, vt);
    vterm_screen_enable_altscreen(vt->screen, 1);
    vterm_screen_reset(vt->screen, 1);
    return vt;
}

void vt_destroy(struct vt *vt)
{
    if (!vt)
        return;
    vterm_free(vt->term);
    free(vt->text);
    free(vt);
}

/* A complete CSI sequence ending in `final`. */
static void note_sequence(struct vt *vt, char final)
{
    vt->sequence[vt->n_sequence] = 0;
    if (vt->sequence[0] == '?' && (final == 'h' || final == 'l')) {
        for (char *save, *p = strtok_r(vt->sequence + 1, ";", &save); p; p = strtok_r(NULL, ";", &save)) {
            int n = atoi(p);
            if (n == MODE_FRAME && vt->mode[n] && final == 'l')
                vt->frames++;
            if (n > 0 && n < MODES_MAX)
                vt->mode[n] = final == 'h';
        }
    } else if (final == 'J') {
        VTermPos at;
        vterm_state_get_cursorpos(vt->state, &at);
        if (vt->sequence[0] == '2' || (!vt->n_sequence && at.row == 0 && at.col == 0))
            vt->clears++;
    } else if (final == 'm') {
        for (char *save, *p = strtok_r(vt->sequence, ";", &save); p; p = strtok_r(NULL, ";", &save)) {
            int n = atoi(p);
            if ((n >= 30 && n <= 49) || (n >= 90 && n <= 107)) { /* 39 and 49 too: back to the default ones */
                vt->colours++;
                break;
            }
        }
    }
}

/* Follows escape sequences just far enough to see modes, erasures and colours. */
static void scan(struct vt *vt, char c)
{
    switch (vt->scan) {
    case GROUND: vt->scan = c == 0x1b ? ESCAPE : GROUND; break;
    case ESCAPE:
        vt->scan = c == '[' ? CSI : c == 0x1b ? ESCAPE : GROUND;
        vt->n_sequence = 0;
        break;
    case CSI:
        if (c >= 0x40 && c <= 0x7e) {
            note_sequence(vt, c);
            vt->scan = GROUND;
        } else if (vt->n_sequence + 1 < SEQUENCE_MAX) {
            vt->sequence[vt->n_sequence++] = c;
        }
        break;
    }
}

size_t vt_feed(struct vt *vt, const char *bytes, size_t n)
{
    const unsigned frames = vt->frames;
    size_t i = 0;
    /* Byte by byte, so that the scanner sees the cursor where each sequence finds it. */
    for (; i < n && vt->frames == frames; i++) {
        scan(vt, bytes[i]);
        vterm_input_write(vt->term, bytes + i, 1);
    }
    vt->bytes += i;
    vterm_screen_flush_damage(vt->screen);
    return i;
}

void vt_resize(struct vt *vt, int rows, int cols)
{
    vt->rows = rows;
    vt->cols = cols;
    /* In one column, libvterm 0.1.4 writes a wide character past its end. */
    vterm_set_size(vt->term, rows, cols > 1 ? cols : 2);
}

void vt_wipe(struct vt *vt)
{
    static const char erase[] = "\x1b[2J"; /* past the counters */
    vterm_input_write(vt->term, erase, sizeof erase - 1);
    vterm_screen_flush_damage(vt->screen);
}

void vt_size(const struct vt *vt, int *rows, int *cols)
{
    *rows = vt->rows;
    *cols = vt->cols;
}

void vt_cell(struct vt *vt, int row, int col, struct vt_cell *out)
{
    VTermScreenCell cell;
    *out = (struct vt_cell){.width = 1, .fg_default = true, .bg_default = true};
    if (!vterm_screen_get_cell(vt->screen, (VTermPos){row, col}, &cell))
        return;
    for (size_t i = 0; i < sizeof out->chars / sizeof *out->chars; i++)
        out->chars[i] = cell.chars[i] == (uint32_t)-1 ? 0 : cell.chars[i];
    out->width = cell.width;
    out->bold = cell.attrs.bold;
    out->reverse = cell.attrs.reverse;
    out->underline = cell.attrs.underline != 0;
    out->fg_default = VTERM_COLOR_IS_DEFAULT_FG(&cell.fg);
    out->bg_default = VTERM_COLOR_IS_DEFAULT_BG(&cell.bg);
    out->fg = VTERM_COLOR_IS_INDEXED(&cell.fg) ? cell.fg.indexed.idx : 0;
    out->bg = VTERM_COLOR_IS_INDEXED(&cell.bg) ? cell.bg.indexed.idx : 0;
}

/* Writes row `row` at `to` (room for cols × 6 × 4 bytes and a NUL); returns the length without trailing blanks. */
static size_t render_row(struct vt *vt, int row, char *to)
{
    size_t n = 0, end = 0;
    for (int col = 0; col < vt->cols; col++) {
        VTermScreenCell cell;
        vterm_screen_get_cell(vt->screen, (VTermPos){row, col}, &cell);
        if (cell.chars[0] == (uint32_t)-1) /* right half of a wide character */
            continue;
        if (!cell.chars[0]) {
            to[n++] = ' ';
            continue;
        }
        for (int i = 0; i < VTERM_MAX_CHARS_PER_CELL && cell.chars[i]; i++)
            n += utf8_encode(cell.chars[i], to + n);
        if (cell.chars[0] != ' ')
            end = n;
    }
    to[end] = 0;
    return end;
}

static void need_text(struct vt *vt)
{
    size_t need = (size_t)vt->rows * ((size_t)vt->cols * VTERM_MAX_CHARS_PER_CELL * 4 + 2) + 1;
    if (need > vt->cap_text) {
        vt->text = realloc(vt->text, need);
        assert(vt->text);
        vt->cap_text = need;
    }
}

const char *vt_row(struct vt *vt, int row)
{
    need_text(vt);
    render_row(vt, row, vt->text);
    return vt->text;
}

const char *vt_text(struct vt *vt)
{
    need_text(vt);
    size_t n = 0;
    for (int row = 0; row < vt->rows; row++) {
        n += render_row(vt, row, vt->text + n);
        vt->text[n++] = '\n';
    }
    vt->text[n] = 0;
    return vt->text;
}

int vt_find(struct vt *vt, const char *text, int *offset)
{
    for (int row = 0; row < vt->rows; row++) {
        const char *line = vt_row(vt, row), *hit = strstr(line, text);
        if (hit) {
            if (offset)
                *offset = (int)(hit - line);
            return row;
        }
    }
    return -1;
}

void vt_cursor(const struct vt *vt, int *row, int *col)
{
    VTermPos at;
    vterm_state_get_cursorpos(vt->state, &at);
    *row = at.row;
    *col = at.col;
}

bool vt_cursor_visible(const struct vt *vt)
{
    return vt->cursor_visible;
}

bool vt_mode(const struct vt *vt, int n)
{
    return n > 0 && n < MODES_MAX && vt->mode[n];
}

bool vt_in_frame(const struct vt *vt)
{
    return vt->mode[MODE_FRAME];
}

unsigned vt_frames(const struct vt *vt)
{
    return vt->frames;
}

size_t vt_bytes(const struct vt *vt)
{
    return vt->bytes;
}

unsigned vt_clears(const struct vt *vt)
{
    return vt->clears;
}

unsigned vt_colours(const struct vt *vt)
{
    return vt->colours;
}
