#define NCURSES_WIDECHAR       1
#define _XOPEN_SOURCE_EXTENDED 1
#include "ui/term/term.h"

#include <errno.h>
#include <langinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define key_name curses_key_name /* keymap.h has a function of that name */
#include <curses.h>
#include <term.h>
#undef key_name

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "ui/term/guard.h"

#define PASTE_ON  "\x1b[?2004h"
#define PASTE_OFF "\x1b[?2004l"
#define FRAME_ON                                                                                             \
    "\x1b[?2026h" /* synchronized output: terminals that know it show a frame whole or not at all */
#define FRAME_OFF "\x1b[?2026l"
#define MOUSE_ON  "\x1b[?1000h\x1b[?1006h"
#define MOUSE_OFF "\x1b[?1006l\x1b[?1002l\x1b[?1000l"

/* style_t's bits in use, so that a table can hold every style. */
enum { STYLE_COUNT = (STYLE_SELECTED << 1) };

/* A style as ncurses wants it; `known` false until first used. */
struct pen {
    attr_t attrs;
    int pair;
    bool known;
};

struct terminal {
    SCREEN *screen;
    int w, h, n_colours;
    bool mouse; /* taken */
    bool utf8;
    bool everything, clear; /* the next frame draws all cells; and clears the screen before */
    struct grid shown;      /* what the terminal shows */
    struct theme theme;     /* that the pens were made from */
    struct pen pens[STYLE_COUNT];
    struct decoder decoder;
};

/* Keys by their terminfo names: what this terminal sends, whatever it is. */
static const struct {
    const char *capability;
    ui_key key;
} terminfo_keys[] = {
    {"kf1", UI_KEY_F1},       {"kf2", UI_KEY_F1 + 1},   {"kf3", UI_KEY_F1 + 2},   {"kf4", UI_KEY_F1 + 3},
    {"kf5", UI_KEY_F1 + 4},   {"kf6", UI_KEY_F1 + 5},   {"kf7", UI_KEY_F1 + 6},   {"kf8", UI_KEY_F1 + 7},
    {"kf9", UI_KEY_F1 + 8},   {"kf10", UI_KEY_F1 + 9},  {"kf11", UI_KEY_F1 + 10}, {"kf12", UI_KEY_F1 + 11},
    {"kcuu1", UI_KEY_UP},     {"kcud1", UI_KEY_DOWN},   {"kcub1", UI_KEY_LEFT},   {"kcuf1", UI_KEY_RIGHT},
    {"kpp", UI_KEY_PGUP},     {"knp", UI_KEY_PGDN},     {"khome", UI_KEY_HOME},   {"kend", UI_KEY_END},
    {"kich1", UI_KEY_INSERT}, {"kdch1", UI_KEY_DELETE}, {"kcbt", UI_KEY_BACKTAB}, {"kent", UI_KEY_ENTER},
};

/* A string capability of the terminal, or NULL. (tigetstr wants a char * and reports absence as (char *)-1.)
 */
static const char *capability(const char *name)
{
    char copy[16];
    snprintf(copy, sizeof copy, "%s", name);
    const char *s = tigetstr(copy);
    return s == (const char *)-1 ? NULL : s;
}

/* Appends a capability without its padding ("$<5>"), which tputs would have turned into delays. */
static size_t add_capability(char *to, size_t n, size_t size, const char *name)
{
    const char *s = capability(name);
    while (s && *s && n < size) {
        if (s[0] == '$' && s[1] == '<') {
            const char *close = strchr(s, '>');
            if (!close)
                break;
            s = close + 1;
        } else {
            to[n++] = *s++;
        }
    }
    return n;
}

/* What puts a terminal right that was left in the middle of a frame. */
static size_t restore_string(char *to, size_t size)
{
    size_t n = (size_t)snprintf(to, size, "%s%s%s", FRAME_OFF, PASTE_OFF, MOUSE_OFF);
    static const char *const order[] = {"sgr0", "op", "rmacs", "cnorm", "rmkx", "rmcup"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (strcmp(order[i], "op") != 0 || !getenv("NO_COLOR"))
            n = add_capability(to, n, size, order[i]);
    return n;
}

static void write_all(const char *s, size_t n)
{
    while (n) {
        ssize_t w = write(STDOUT_FILENO, s, n);
        if (w < 0 && errno != EINTR)
            return;
        if (w > 0) {
            s += w;
            n -= (size_t)w;
        }
    }
}

/* Modes and screen as weft wants them; also after a suspension. */
static void take_over(const struct terminal *t)
{
    raw();
    noecho();
    nonl();
    write_all(PASTE_ON, sizeof PASTE_ON - 1);
    if (t->mouse)
        write_all(MOUSE_ON, sizeof MOUSE_ON - 1);
    const char *keypad_on = capability("smkx"); /* the keys of terminfo hold in this mode */
    if (keypad_on)
        putp(keypad_on);
}

/* Screen and modes as they were found. */
static void give_back(const struct terminal *t)
{
    write_all(PASTE_OFF, sizeof PASTE_OFF - 1);
    if (t->mouse)
        write_all(MOUSE_OFF, sizeof MOUSE_OFF - 1);
    const char *keypad_off = capability("rmkx");
    if (keypad_off)
        putp(keypad_off);
    endwin();
    const char *cursor_on = capability("cnorm"); /* once more: some terminals restore it with the screen */
    if (cursor_on)
        putp(cursor_on);
    fflush(stdout);
}

static int count_colours(void)
{
    const char *no_color = getenv("NO_COLOR");
    if ((no_color && *no_color) || !has_colors())
        return 0;
    start_color();
    use_default_colors();
    return COLORS >= 256 ? 256 : COLORS >= 16 ? 16 : COLORS >= 8 ? 8 : 0;
}

/* newterm would say so too, but leaves memory behind when it doesn't know the terminal. */
static bool is_known_terminal(void)
{
    int why;
    if (setupterm(NULL, STDOUT_FILENO, &why) == ERR)
        return false;
    del_curterm(cur_term);
    return true;
}

enum weft_rc term_open(struct terminal **out, struct weft_err *err)
{
    const char *name = getenv("TERM");
    struct termios modes;
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &modes) != 0)
        return weft_err_set(err, WEFT_USAGE,
                            "the console needs a terminal on standard input and output; `weft generate` "
                            "works without one");
    struct terminal *t = mem_calloc(1, sizeof *t);
    if (!t)
        return weft_err_nomem(err, "term_open", sizeof *t);
    set_escdelay(DECODER_ESC_MS);
    t->screen = is_known_terminal() ? newterm(NULL, stdout, stdin) : NULL;
    if (!t->screen) {
        mem_free(t);
        return weft_err_set(err, WEFT_USAGE,
                            "TERM is \"%s\": terminfo doesn't know it, or it can't address the cursor; set "
                            "TERM to the terminal's type",
                            name ? name : "");
    }
    char restore[GUARD_RESTORE_MAX];
    guard_arm(STDIN_FILENO, &modes, restore, restore_string(restore, sizeof restore));
    t->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    t->n_colours = count_colours();
    t->everything = t->clear = true;
    getmaxyx(stdscr, t->h, t->w);
    leaveok(stdscr, FALSE);
    scrollok(stdscr, FALSE);
    decoder_init(&t->decoder);
    for (size_t i = 0; i < sizeof terminfo_keys / sizeof *terminfo_keys; i++)
        decoder_add(&t->decoder, capability(terminfo_keys[i].capability), terminfo_keys[i].key);
    take_over(t);
    *out = t;
    return WEFT_OK;
}

void term_close(struct terminal *t)
{
    if (!t)
        return;
    give_back(t);
    delscreen(t->screen);
    guard_disarm();
    grid_free(&t->shown);
    mem_free(t);
}

void term_size(const struct terminal *t, int *w, int *h)
{
    *w = t->w;
    *h = t->h;
}

int term_colours(const struct terminal *t)
{
    return t->n_colours;
}

bool term_utf8(const struct terminal *t)
{
    return t->utf8;
}

int term_fd(const struct terminal *t)
{
    (void)t;
    return STDIN_FILENO;
}

struct decoder *term_decoder(struct terminal *t)
{
    return &t->decoder;
}

bool term_read(struct terminal *t)
{
    size_t room;
    char *to = decoder_room(&t->decoder, &room);
    ssize_t n = read(STDIN_FILENO, to, room);
    if (n > 0)
        decoder_fed(&t->decoder, (size_t)n);
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* The ncurses form of a style, made when first needed. */
static const struct pen *pen_of(struct terminal *t, style_t style)
{
    static const struct {
        uint8_t theme;
        attr_t curses;
    } attributes[] = {
        {ATTR_BOLD, A_BOLD},           {ATTR_DIM, A_DIM},         {ATTR_ITALIC, A_ITALIC},
        {ATTR_UNDERLINE, A_UNDERLINE}, {ATTR_REVERSE, A_REVERSE},
    };
    struct pen *p = &t->pens[style % STYLE_COUNT];
    if (p->known)
        return p;
    struct theme_style s = theme_style(&t->theme, style, t->n_colours);
    *p = (struct pen){.known = true};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (s.attrs & attributes[i].theme)
            p->attrs |= attributes[i].curses;
    if (t->n_colours && (s.fg >= 0 || s.bg >= 0)) {
        int pair = alloc_pair(s.fg, s.bg);
        p->pair = pair > 0 ? pair : 0;
    }
    return p;
}

/* Puts a cell on ncurses' screen. Where the C library and weft disagree about a character's width (it is
 * younger than the one's tables, say), a substitute of the right width keeps the row straight. */
static void put_cell(struct terminal *t, int x, int y, const struct cell *c)
{
    const struct pen *pen = pen_of(t, c->style);
    wchar_t text[TEXT_CLUSTER_CPS + 1] = {0};
    cchar_t cell;
    for (int i = 0; i < TEXT_CLUSTER_CPS && c->cp[i]; i++)
        text[i] = (wchar_t)c->cp[i];
    bool agreed = c->cp[0] && wcwidth(text[0]) == c->width;
    for (int i = 1; agreed && i < TEXT_CLUSTER_CPS && text[i]; i++)
        agreed = wcwidth(text[i]) == 0;
    if (!agreed) {
        wmemset(text, 0, TEXT_CLUSTER_CPS + 1);
        text[0] = t->utf8 && c->cp[0] ? 0xfffd : c->cp[0] ? '?' : ' ';
    }
    if (setcchar(&cell, text, pen->attrs, (short)(pen->pair < 32767 ? pen->pair : 0),
                 (void *)(size_t)&pen->pair) != OK)
        return;
    mvadd_wch(y, x, &cell);
    if (!agreed && c->width == 2) {
        text[0] = ' ';
        setcchar(&cell, text, pen->attrs, (short)(pen->pair < 32767 ? pen->pair : 0),
                 (void *)(size_t)&pen->pair);
        mvadd_wch(y, x + 1, &cell);
    }
}

_Static_assert(sizeof(struct cell) == TEXT_CLUSTER_CPS * sizeof(uint32_t) + sizeof(style_t) + 2,
               "rows of cells are compared as bytes: no padding");

/* Whether two cells look alike; how frames join is not seen. */
static bool alike(const struct cell *a, const struct cell *b)
{
    return memcmp(a->cp, b->cp, sizeof a->cp) == 0 && a->style == b->style && a->width == b->width;
}

/* Hands ncurses the cells that changed; true when there were any. */
static bool put_changes(struct terminal *t, const struct grid *g, int w, int h)
{
    bool changed = false;
    for (int y = 0; y < h; y++) {
        const struct cell *row = g->cells + (size_t)y * (size_t)g->w;
        struct cell *old = t->shown.cells + (size_t)y * (size_t)t->shown.w;
        if (!t->everything && memcmp(row, old, (size_t)w * sizeof *row) == 0)
            continue; /* as most rows are */
        for (int x = 0; x < w; x++) {
            bool same = !t->everything && alike(&row[x], &old[x]);
            old[x] = row[x];
            if (same)
                continue;
            changed = true;
            if (row[x].width)
                put_cell(t, x, y, &row[x]);
        }
    }
    return changed;
}

bool term_present(struct terminal *t, const struct grid *g, const struct theme *theme)
{
    int w = g->w < t->w ? g->w : t->w, h = g->h < t->h ? g->h : t->h;
    if (memcmp(&t->theme, theme, sizeof *theme) != 0) {
        t->theme = *theme;
        memset(t->pens, 0, sizeof t->pens);
        t->everything = true;
    }
    if (t->shown.w != t->w || t->shown.h != t->h) {
        if (!grid_resize(&t->shown, t->w, t->h))
            return false;
        t->shown.cursor_x = -2; /* unlike any */
        t->everything = t->clear = true;
    }
    if (t->everything)
        erase();
    if (t->clear)
        clearok(curscr, TRUE);
    bool changed = put_changes(t, g, w, h) || t->everything;
    bool moved = g->cursor_x != t->shown.cursor_x || g->cursor_y != t->shown.cursor_y;
    t->everything = t->clear = false;
    if (!changed && !moved)
        return false;
    bool visible = g->cursor_x >= 0 && g->cursor_x < w && g->cursor_y >= 0 && g->cursor_y < h;
    write_all(FRAME_ON, sizeof FRAME_ON - 1);
    curs_set(visible ? 1 : 0);
    if (visible)
        move(g->cursor_y, g->cursor_x);
    t->shown.cursor_x = g->cursor_x;
    t->shown.cursor_y = g->cursor_y;
    wnoutrefresh(stdscr);
    doupdate();
    write_all(FRAME_OFF, sizeof FRAME_OFF - 1);
    return true;
}

void term_resized(struct terminal *t)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_row || !size.ws_col)
        return;
    resizeterm(size.ws_row, size.ws_col);
    getmaxyx(stdscr, t->h, t->w);
    t->everything = t->clear = true;
}

void term_redraw(struct terminal *t)
{
    t->everything = t->clear = true;
}

void term_mouse(struct terminal *t, bool on)
{
    if (on != t->mouse)
        write_all(on ? MOUSE_ON : MOUSE_OFF, on ? sizeof MOUSE_ON - 1 : sizeof MOUSE_OFF - 1);
    t->mouse = on;
}

/* Appends the Base64 form (RFC 4648) of n bytes. */
static void add_base64(struct buf *out, const unsigned char *s, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t bits = (uint32_t)s[i] << 16 | (left > 1 ? (uint32_t)s[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)s[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_addc(out, k <= left ? digits[bits >> (18 - 6 * k) & 63] : '=');
    }
}

bool term_copy(struct terminal *t, const char *text, size_t n)
{
    (void)t;
    struct buf sequence = BUF_INIT;
    if (n > TERM_COPY_MAX)
        return false;
    buf_adds(&sequence, "\x1b]52;c;");
    add_base64(&sequence, (const unsigned char *)text, n);
    buf_addc(&sequence, '\a');
    bool made = !sequence.failed;
    if (made)
        write_all(buf_str(&sequence), sequence.len);
    buf_free(&sequence);
    return made;
}

void term_suspend(struct terminal *t)
{
    sigset_t stop, old;
    struct sigaction action = {.sa_handler = SIG_DFL}, before;
    give_back(t);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigaction(SIGTSTP, &action, &before);
    pthread_sigmask(SIG_UNBLOCK, &stop, &old);
    kill(0, SIGTSTP); /* the whole job, as the terminal driver would have */
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    sigaction(SIGTSTP, &before, NULL);
    term_continued(t);
}

void term_continued(struct terminal *t)
{
    reset_prog_mode();
    doupdate(); /* enters the alternate screen, before anything is drawn or hidden */
    take_over(t);
    term_resized(t);
    t->everything = t->clear = true;
}
