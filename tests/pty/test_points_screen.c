/* labels: unit pty */
/*
 * What annoys people about terminal programs, points 1 to 5 (docs/testing.md): flicker, sizes, colours, wide characters, and
 * what it costs to be open all day. A test a point, each with the number that the point states; points 6 to 12 are in
 * test_points_use.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/console.h"

static struct console con;

static void open_80x24(const char *const *args)
{
    console_start(&con, &(struct console_options){.rows = 24, .cols = 80, .args = args});
}

/* One clear at the start; then none but on Ctrl-L and a new size, whatever is drawn; and frames as such. */
static void pain_01_no_flicker(void **state)
{
    (void)state;
    static const struct {
        const char *keys, *effect;
    } rows[] = {
        {"hello\r", "RUNNING"},
        {KEY_F2, "SESSIONS 2"},
        {KEY_ALT("1"), "1 hello NORMAL"},
        {KEY_F1, "Alt-1 ... 9"},
        {"q", "RUNNING"},
        {KEY_F3, "new-session"},
        {"next-lay\r", "layout: scheduler"},
        {"/layout kv\r", "layout: kv"},
        {"/theme light\r", "theme: light"},
        {"/theme mono\r", "theme: mono"},
        {"/stats\r", "time to first token"},
        {"q", "RUNNING"},
    };
    open_80x24(console_slow);
    assert_int_equal(vt_clears(con.pty.vt), 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        console_does(&con, rows[i].keys, rows[i].effect);
    const unsigned frames = vt_frames(con.pty.vt);
    console_wait_step(&con, console_step(&con) + 50);
    assert_true(vt_frames(con.pty.vt) > frames + 10);
    assert_int_equal(vt_clears(con.pty.vt), 1);
    console_resize(&con, 30, 90);
    console_sees(&con, "RUNNING");
    assert_int_equal(vt_clears(con.pty.vt), 2);
    vt_wipe(con.pty.vt); /* what a stray program would have done */
    console_does(&con, KEY_CTRL_L, "F1");
    assert_int_equal(vt_clears(con.pty.vt), 3);
}

/* The screen below the title line, which has figures that run on. */
static bool is_as_before(struct console *c, void *before)
{
    return strcmp(strchr(vt_text(c->pty.vt), '\n'), before) == 0;
}

static void pain_02_back_to_80x24(void **state)
{
    (void)state;
    open_80x24(console_fast);
    console_does(&con, "hello\r", "64 tokens");
    /* Nothing moves any more: no graphs, and the message on the lowest line is gone. */
    console_does(&con, "/layout chat\r", "layout: chat");
    console_loses(&con, "layout: chat");
    char *before = strdup(strchr(vt_text(con.pty.vt), '\n'));
    console_resize(&con, 5, 20);
    console_sees(&con, "too small");
    console_sees(&con, "20×5");
    console_resize(&con, 24, 80);
    console_wait(&con, is_as_before, before, "80×24 as it was");
    free(before);
    console_resize(&con, 60, 200);
    console_sees(&con, "64 tokens");
    console_sees(&con, "F1");
}

static void pain_02_resize_storm(void **state)
{
    (void)state;
    enum { SIZES = 500, ROWS = 100, COLS = 300 };
    struct rng rng;
    rng_seed(&rng, 7);
    open_80x24(console_slow);
    console_does(&con, "hello\r", "RUNNING");
    for (int i = 0; i < SIZES; i++) {
        pty_resize(&con.pty, 1 + (int)rng_below(&rng, ROWS), 1 + (int)rng_below(&rng, COLS));
        if (rng_below(&rng, 4) == 0) /* else the next comes into the middle of the frame */
            pty_pump(&con.pty, 20);
    }
    console_resize(&con, 24, 80);
    console_sees(&con, "1 hello NORMAL · RUNNING");
    console_sees(&con, "F1 help");
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 0);
}

/* No cell of the screen has its character in the colour of its background; and the background is the terminal's own. */
static void check_cells(const char *where)
{
    int rows, cols, coloured = 0;
    pty_whole_frame(&con.pty, 1000);
    vt_size(con.pty.vt, &rows, &cols);
    for (int row = 0; row < rows; row++) {
        for (int col = 0; col < cols; col++) {
            struct vt_cell cell;
            vt_cell(con.pty.vt, row, col, &cell);
            coloured += !cell.bg_default;
            if (!cell.fg_default && !cell.bg_default && cell.fg == cell.bg)
                fail_msg("%s: row %d, column %d has colour %d on itself", where, row, col, cell.fg);
        }
    }
    if (coloured * 10 > rows * cols)
        fail_msg("%s: %d of %d cells have a background of their own", where, coloured, rows * cols);
}

static void pain_03_every_cell_is_readable(void **state)
{
    (void)state;
    static const char *const themes[] = {"light", "contrast", "colourblind", "mono", "default"};
    static const char *const terms[] = {"TERM=xterm-256color", "TERM=xterm"};
    for (size_t k = 0; k < sizeof terms / sizeof *terms; k++) {
        const char *const env[] = {terms[k], NULL};
        console_start(&con,
                      &(struct console_options){.rows = 50, .cols = 160, .args = console_slow, .env = env});
        console_does(&con, "hello\r", "RUNNING");
        console_does(&con, "/layout scheduler\r", "EVENTS");
        for (size_t i = 0; i < sizeof themes / sizeof *themes; i++) {
            char command[64], done[64];
            snprintf(command, sizeof command, "/theme %s\r", themes[i]);
            snprintf(done, sizeof done, "theme: %s", themes[i]);
            console_does(&con, command, done);
            check_cells(themes[i]);
            console_does(&con, KEY_F3 "l", "layout");
            check_cells(themes[i]);
            console_undoes(&con, KEY_ESC, "Esc close");
        }
        console_end(&con);
    }
}

static void pain_03_no_colour_when_asked(void **state)
{
    (void)state;
    const char *const env[] = {"NO_COLOR=1", NULL};
    console_start(&con, &(struct console_options){.args = console_fast, .env = env});
    console_does(&con, "hello\r", "64 tokens");
    console_does(&con, KEY_F1, "Alt-1 ... 9");
    console_undoes(&con, "q", "Alt-1 ... 9");
    console_does(&con, "/theme light\r", "theme: light");
    console_does(&con, "/layout scheduler\r", "layout: scheduler");
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(vt_colours(con.pty.vt), 0);
    console_end(&con);
    console_open(&con, console_fast);
    assert_true(vt_colours(con.pty.vt) > 0);
}

enum { UPRIGHT = 0x2502 /* │ */, WIDE_ROWS = 36, WIDE_COLS = 120 };

static void find_uprights(bool found[WIDE_ROWS][WIDE_COLS])
{
    pty_whole_frame(&con.pty, 1000);
    for (int row = 0; row < WIDE_ROWS; row++) {
        for (int col = 0; col < WIDE_COLS; col++) {
            struct vt_cell cell;
            vt_cell(con.pty.vt, row, col, &cell);
            found[row][col] = cell.chars[0] == UPRIGHT;
        }
    }
}

/* In a title, a message, what is typed, a system prompt, a file's name: the frames stay in their columns, in every pane. */
static void pain_04_wide_characters(void **state)
{
    (void)state;
#define WIDE "日本語 👩‍👩‍👧 ❤️ é́ 🇵🇹 👍🏽 한국어 ａｂ"
    static const char *const presets[] = {"chat", "scheduler", "kv", "balanced"};
    enum { N_PRESETS = sizeof presets / sizeof *presets };
    static bool plain[N_PRESETS][WIDE_ROWS][WIDE_COLS], wide[WIDE_ROWS][WIDE_COLS];
    console_start(&con,
                  &(struct console_options){.rows = WIDE_ROWS, .cols = WIDE_COLS, .args = console_slow});
    console_does(&con, "hello\r", "RUNNING");
    console_does(&con, KEY_F4, "FROZEN");
    console_does(&con, "/rename plain\r", "1 plain");
    for (int pass = 0; pass < 2; pass++) {
        if (pass) {
            console_does(&con, "/rename " WIDE "\r", "1 日本語");
            console_does(&con, "/system " WIDE "\r", "from the next message on: 日本語");
            console_does(&con, "first " WIDE WIDE WIDE WIDE WIDE WIDE "\r", "▏first 日本語");
        }
        for (size_t i = 0; i < N_PRESETS; i++) {
            char command[64], done[64];
            snprintf(command, sizeof command, "/layout %s\r", presets[i]);
            snprintf(done, sizeof done, "layout: %s", presets[i]);
            console_does(&con, command, done);
            if (pass)
                console_does(&con, "draft " WIDE, "› draft 日本語");
            find_uprights(pass ? wide : plain[i]);
            for (int row = 0; pass && row < WIDE_ROWS; row++)
                for (int col = 0; col < WIDE_COLS; col++)
                    if (plain[i][row][col] && !wide[row][col])
                        fail_msg("%s: row %d, column %d has lost its frame:\n%s", presets[i], row, col,
                                 vt_row(con.pty.vt, row));
            if (pass)
                console_undoes(&con, KEY_CTRL_U, "› draft");
        }
    }
#undef WIDE
}

/* Shares of a core, in per cent, while the program runs for some seconds: all its threads, and the one that draws. */
struct share {
    double all, own;
    size_t bytes;
    unsigned frames;
};

static struct share measure(double seconds)
{
    struct pty *p = &con.pty;
    struct share s = {pty_cpu_seconds(p, false), pty_cpu_seconds(p, true), vt_bytes(p->vt), vt_frames(p->vt)};
    const double from = pty_now_ms();
    pty_read_for(p, seconds * 1e3);
    const double took = (pty_now_ms() - from) / 1e3;
    return (struct share){(pty_cpu_seconds(p, false) - s.all) / took * 100,
                          (pty_cpu_seconds(p, true) - s.own) / took * 100, vt_bytes(p->vt) - s.bytes,
                          vt_frames(p->vt) - s.frames};
}

static void pain_05_idle_costs_nothing(void **state)
{
    (void)state;
    console_open(&con, console_fast);
    assert_true(pty_settle(&con.pty, 1000, 30000));
    struct share s = measure(4);
    print_message("idle: %zu bytes in 4 s, %.2f %% of a core, of which the console %.2f %%\n", s.bytes, s.all,
                  s.own);
    assert_int_equal(s.bytes, 0);
    assert_true(s.own <= 0.5);
}

static void pain_05_streaming_writes_little(void **state)
{
    (void)state;
    open_80x24(console_slow);
    console_does(&con, "hello\r", "RUNNING");
    console_wait_step(&con, 20);
    struct share s = measure(3);
    const double a_frame = (double)s.bytes / s.frames;
    print_message("streaming at 80x24: %u frames, %.0f bytes each\n", s.frames, a_frame);
    assert_true(s.frames > 0 && a_frame <= 2048);
}

static void pain_05_thirty_two_streams(void **state)
{
    (void)state;
    char file[128];
    snprintf(file, sizeof file, "/tmp/weft-streams-XXXXXX");
    int fd = mkstemp(file);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(f);
    fputs("name: streams\nset: {scheduler.max_batch_size: 32, sim.decode_us: 900}\n"
          "requests:\n  - {id: s, repeat: 32, text: hello, max_tokens: 480}\n",
          f);
    fclose(f);
    const char *const args[] = {"demo", file, "--sim", NULL};
    open_80x24(args);
    remove(file);
    console_sees(&con, "batch 32/32");
    struct share s = measure(4);
    print_message("32 streams at 80x24: the console takes %.2f %% of a core, all threads %.2f %%\n", s.own,
                  s.all);
    assert_true(s.frames > 0);
    assert_true(s.own <= 3 * CONSOLE_SLACK);
}

int main(void)
{
#define TEST(f) CONSOLE_TEST(f, &con)
    static const struct CMUnitTest tests[] = {
        TEST(pain_01_no_flicker),           TEST(pain_02_back_to_80x24),
        TEST(pain_02_resize_storm),         TEST(pain_03_every_cell_is_readable),
        TEST(pain_03_no_colour_when_asked), TEST(pain_04_wide_characters),
        TEST(pain_05_idle_costs_nothing),   TEST(pain_05_streaming_writes_little),
        TEST(pain_05_thirty_two_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
