/* Cells: clipping, wide characters, frames, bars and graphs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "ui/grid.h"
#include "ui/theme.h"

static struct grid g;

static int set_up(void **state)
{
    (void)state;
    memset(&g, 0, sizeof g);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    grid_free(&g);
    return 0;
}

static void expect(const char *want)
{
    struct buf text = BUF_INIT;
    assert_true(grid_dump(&g, &text));
    assert_string_equal(buf_str(&text), want);
    buf_free(&text);
}

static void clipping(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 8, 2));
    struct rect old = grid_clip(&g, (struct rect){2, 0, 4, 1});
    assert_int_equal(grid_puts(&g, 0, 0, 0, "abcdefgh"), 6);
    grid_puts(&g, 2, 1, 0, "below");
    grid_unclip(&g, old);
    expect("  cdef  \n        \n");
    grid_puts(&g, -3, 1, 0, "wxyz");
    expect("  cdef  \nz       \n");
    grid_puts(&g, 0, -1, 0, "no");
    grid_puts(&g, 0, 7, 0, "no");
    grid_fill(&g, (struct rect){-5, -5, 100, 100}, 0);
    expect("        \n        \n");
    assert_null(grid_at(&g, 8, 0));
    assert_null(grid_at(&g, 0, -1));
}

static void wide_at_edges(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 6, 1));
    grid_text(&g, 0, 0, 5, "日本語", 9, 0); /* the third doesn't fit five columns */
    expect("日本  \n");
    struct rect old = grid_clip(&g, (struct rect){1, 0, 3, 1}); /* cuts through both */
    grid_text(&g, 0, 0, 6, "日本", 6, 0);
    grid_unclip(&g, old);
    expect("  本  \n");
}

static void wide_overwritten(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 6, 1));
    grid_puts(&g, 0, 0, 0, "日本語");
    grid_puts(&g, 1, 0, 0, "x"); /* the right half of one */
    grid_puts(&g, 4, 0, 0, "y"); /* the left half of another */
    expect(" x本y \n");
    for (int x = 0; x < 6; x++)
        assert_true(grid_at(&g, x, 0)->width <= 2);
}

static void combining(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 3, 1));
    grid_puts(&g, 0, 0, 0, "e\u0301x");
    assert_int_equal(grid_at(&g, 0, 0)->cp[1], 0x301);
    assert_int_equal(grid_at(&g, 1, 0)->cp[0], 'x');
}

static void frames_join(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 7, 5));
    grid_box(&g, (struct rect){0, 0, 4, 3}, 0);
    grid_box(&g, (struct rect){3, 0, 4, 3}, 0);
    grid_box(&g, (struct rect){0, 2, 7, 3}, 0);
    expect("┌──┬──┐\n│  │  │\n├──┴──┤\n│     │\n└─────┘\n");
    assert_true(grid_resize(&g, 4, 3));
    g.ascii = true;
    grid_box(&g, (struct rect){0, 0, 4, 3}, 0);
    expect("+--+\n|  |\n+--+\n");
}

static void bars(void **state)
{
    (void)state;
    static const struct {
        double fraction;
        const char *want, *ascii;
    } rows[] = {{0, "    \n", "    \n"},       {1, "████\n", "####\n"},     {0.5, "██  \n", "##  \n"},
                {0.40625, "█▋  \n", "##  \n"}, {0.001, "▏   \n", "#   \n"}, {7, "████\n", "####\n"},
                {-1, "    \n", "    \n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        g.ascii = false;
        assert_true(grid_resize(&g, 4, 1));
        grid_bar(&g, 0, 0, 4, rows[i].fraction, 0);
        expect(rows[i].want);
        g.ascii = true;
        assert_true(grid_resize(&g, 4, 1));
        grid_bar(&g, 0, 0, 4, rows[i].fraction, 0);
        expect(rows[i].ascii);
    }
    grid_bar(&g, 0, 0, 4, (double)__builtin_nanf(""), 0);
    grid_bar(&g, 0, 0, -2, 1, 0);
}

static void graphs(void **state)
{
    (void)state;
    static const float v[] = {0, 1, 2, 3, 4, 8};
    assert_true(grid_resize(&g, 3, 2));
    grid_graph(&g, (struct rect){0, 0, 3, 2}, GRAPH_BRAILLE, v, 6, 8, 0);
    expect("  ⢸\n⣀⣴⣿\n");
    assert_true(grid_resize(&g, 6, 2));
    grid_graph(&g, (struct rect){0, 0, 6, 2}, GRAPH_BLOCK, v, 6, 8, 0);
    expect("     █\n▁▂▄▆██\n");
    assert_true(grid_resize(&g, 6, 2));
    grid_graph(&g, (struct rect){0, 0, 6, 2}, GRAPH_ASCII, v, 6, 8, 0);
    expect("     #\n___###\n");
    /* Fewer samples than columns: they stand at the right; no samples, a maximum of 0 and NaN are no fault.
     */
    static const float odd[] = {-1, 2};
    float with_nan[] = {__builtin_nanf(""), 2};
    assert_true(grid_resize(&g, 4, 1));
    grid_graph(&g, (struct rect){0, 0, 4, 1}, GRAPH_BLOCK, odd, 2, 2, 0);
    expect("  ▁█\n");
    grid_graph(&g, (struct rect){0, 0, 4, 1}, GRAPH_BLOCK, with_nan, 2, 2, 0);
    grid_graph(&g, (struct rect){0, 0, 4, 1}, GRAPH_BLOCK, odd, 0, 0, 0);
    grid_graph(&g, (struct rect){0, 0, 4, 0}, GRAPH_BRAILLE, odd, 2, 2, 0);
    expect("  ▁█\n");
    enum graph_mode m = GRAPH_BLOCK;
    assert_true(graph_mode_parse("ascii", &m) && m == GRAPH_ASCII);
    assert_false(graph_mode_parse("pie", &m));
}

static void ellipsis_and_paragraphs(void **state)
{
    (void)state;
    assert_true(grid_resize(&g, 8, 3));
    grid_ellipsis(&g, 0, 0, 6, "exactly", 7, 0);
    grid_ellipsis(&g, 0, 1, 4, "日本語", 9, 0);
    grid_right(&g, 0, 8, 2, 0, "right");
    expect("exact…  \n日…     \n   right\n");
    assert_true(grid_resize(&g, 8, 3));
    assert_int_equal(grid_paragraph(&g, (struct rect){0, 0, 8, 3}, "one two three\nunbreakable", 0), 4);
    expect("one two \nthree   \nunbreaka\n");
    assert_int_equal(grid_paragraph(NULL, (struct rect){0, 0, 1, 1}, "日", 0), 1);
}

static void ascii_text(void **state)
{
    (void)state;
    g.ascii = true;
    assert_true(grid_resize(&g, 8, 1));
    grid_puts(&g, 0, 0, 0, "aé日e\u0301");
    expect("a?? e   \n");
    assert_true(grid_resize(&g, 8, 1));
    grid_puts(&g, 0, 0, 0, "‘x’ · …");
    expect("'x' - ~ \n");
}

/* Each glyph is one column in both forms, and ASCII in the second: a pane may count on it. */
static void glyphs_are_narrow(void **state)
{
    (void)state;
    for (int i = 0; i < GLYPH_COUNT; i++) {
        g.ascii = false;
        const char *s = glyph(&g, (enum glyph)i);
        assert_int_equal(text_width(s, strlen(s)), 1);
        g.ascii = true;
        assert_int_equal(strlen(glyph(&g, (enum glyph)i)), 1);
    }
}

/* Random drawing leaves every row whole. */
static void random_drawing(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 9);
    static const char *const texts[] = {"日本語テキスト", "plain", "e\u0301e\u0301", "😀👩\u200D👧", "\t\x1b x"};
    for (int round = 0; round < 500; round++) {
        assert_true(grid_resize(&g, (int)rng_below(&rng, 20), (int)rng_below(&rng, 6)));
        for (int i = 0; i < 20; i++) {
            int x = (int)rng_below(&rng, 30) - 5, y = (int)rng_below(&rng, 8) - 1;
            struct rect r = {x, y, (int)rng_below(&rng, 20) - 2, (int)rng_below(&rng, 8) - 1};
            struct rect old = grid_clip(&g, r);
            const char *t = texts[rng_below(&rng, 5)];
            grid_text(&g, x, y, (int)rng_below(&rng, 12) - 1, t, strlen(t), 0);
            if (rng_below(&rng, 2))
                grid_unclip(&g, old);
            grid_box(&g, r, 0);
            grid_unclip(&g, old);
        }
        for (int y = 0; y < g.h; y++) {
            int w = 0;
            for (int x = 0; x < g.w; x++)
                w += grid_at(&g, x, y)->width;
            assert_int_equal(w, g.w);
        }
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(clipping),         TEST(wide_at_edges),
        TEST(wide_overwritten), TEST(combining),
        TEST(frames_join),      TEST(bars),
        TEST(graphs),           TEST(ellipsis_and_paragraphs),
        TEST(ascii_text),       TEST(glyphs_are_narrow),
        TEST(random_drawing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
