/* Chats: wrapping (incremental and afresh), Markdown, scrolling, search, and what appending costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "ui/theme.h"
#include "ui/transcript_priv.h"

static struct transcript *t;

static int set_up(void **state)
{
    (void)state;
    t = transcript_create();
    return t ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    transcript_destroy(t);
    return 0;
}

static size_t add(enum message_kind kind, const char *text)
{
    size_t i = transcript_add(t, kind, text, strlen(text));
    assert_true(i != SIZE_MAX);
    return i;
}

/* Draws w × h and compares what is seen, trailing blanks of each line left out. */
static void expect_screen(int w, int h, const char *want)
{
    struct grid g = {0};
    struct buf text = BUF_INIT, trimmed = BUF_INIT;
    assert_true(grid_resize(&g, w, h));
    transcript_draw(t, &g, (struct rect){0, 0, w, h}, false);
    assert_true(grid_dump(&g, &text));
    for (const char *p = buf_str(&text); *p;) {
        size_t n = strcspn(p, "\n"), keep = n;
        while (keep && p[keep - 1] == ' ')
            keep--;
        buf_add(&trimmed, p, keep);
        buf_addc(&trimmed, '\n');
        p += n + 1;
    }
    assert_string_equal(buf_str(&trimmed), want);
    buf_free(&text);
    buf_free(&trimmed);
    grid_free(&g);
}

/* ── wrapping ── */

static void wrap_words(void **state)
{
    (void)state;
    add(MSG_USER, "The quick brown fox jumps over the lazy dog, and\n\nreturns.");
    expect_screen(27, 8, "y▏The quick brown fox\n ▏jumps over the lazy dog,\n ▏and\n ▏\n ▏returns.\n\n\n\n");
}

static void wrap_long_and_wide(void **state)
{
    (void)state;
    add(MSG_USER, "x abcdefghijklmnopqrstuvwxyz0123456789");
    expect_screen(23, 4, "y▏x\n ▏abcdefghijklmnopqrst\n ▏uvwxyz0123456789\n\n");
    transcript_clear(t);
    add(MSG_USER, "日本語のテキストは空白なしで折り返す");
    expect_screen(23, 3, "y▏日本語のテキストは空\n ▏白なしで折り返す\n\n");
}

static void wrap_tabs(void **state)
{
    (void)state;
    add(MSG_USER, "a\tb\n\tc");
    expect_screen(30, 3, "y▏a   b\n ▏    c\n\n");
}

static void lines_equal(const struct message *a, const struct message *b)
{
    assert_int_equal(a->n_lines, b->n_lines);
    for (size_t i = 0; i < a->n_lines; i++) {
        assert_int_equal(a->lines[i].start, b->lines[i].start);
        assert_int_equal(a->lines[i].end, b->lines[i].end);
        assert_int_equal(a->lines[i].source, b->lines[i].source);
        assert_int_equal(a->lines[i].state, b->lines[i].state);
        assert_int_equal(a->lines[i].in_code, b->lines[i].in_code);
        assert_memory_equal(&a->lines[i].md, &b->lines[i].md, sizeof a->lines[i].md);
    }
}

/* Wrapped piece by piece or afresh: the same lines, whatever the text, the pieces and the width. */
static void incremental_equals_fresh(void **state)
{
    (void)state;
    static const char *const bits[] = {
        "word ",
        "a",
        " ",
        "\n",
        "\n\n",
        "**",
        "*",
        "`",
        "``",
        "```\n",
        "# ",
        "- ",
        "12. ",
        "> ",
        "___",
        "_x",
        "日本",
        "\t",
        "\\*",
        "e\u0301",
        "long_identifier_without_end",
        "---",
        "😀",
        "it's ",
        "**bold words here** ",
        "`code span` ",
        "\u0301",
        "the quick brown fox jumps over the lazy dog ",
        "```c\nint x;\n",
    };
    struct rng rng;
    rng_seed(&rng, 64);
    for (int round = 0; round < 300; round++) {
        struct message grown = {.kind = MSG_ASSISTANT}, fresh = {.kind = MSG_ASSISTANT};
        int w = 16 + (int)rng_below(&rng, 60);
        int pieces = 1 + (int)rng_below(&rng, 400);
        for (int i = 0; i < pieces; i++) {
            const char *bit = bits[rng_below(&rng, sizeof bits / sizeof bits[0])];
            size_t n = strlen(bit), from = rng_below(&rng, 4) ? 0 : rng_below(&rng, n);
            assert_true(text_filter(&grown.filter, bit + from, n - from, &grown.text));
            if (rng_below(&rng, 3) == 0)
                assert_true(message_wrap(&grown, w));
        }
        assert_true(message_wrap(&grown, w));
        assert_true(buf_add(&fresh.text, buf_str(&grown.text), grown.text.len));
        assert_true(message_wrap(&fresh, w));
        lines_equal(&grown, &fresh);
        /* Nothing is lost: each line ends where the next one starts, but for newlines and markers. */
        for (size_t i = 0; i + 1 < fresh.n_lines; i++)
            assert_true(fresh.lines[i].end <= fresh.lines[i + 1].start);
        buf_free(&grown.text);
        buf_free(&fresh.text);
        mem_free(grown.lines);
        mem_free(fresh.lines);
    }
}

static double cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* The least CPU time that one appended token costs, laid out and drawn, in a reply of `bytes` in one paragraph. */
static double token_cost(size_t bytes)
{
    struct grid g = {0};
    assert_true(grid_resize(&g, 80, 24));
    transcript_clear(t);
    size_t i = add(MSG_ASSISTANT, "");
    while (t->messages[i].text.len < bytes)
        assert_true(transcript_append(t, i, "some words of it ", 17));
    transcript_draw(t, &g, (struct rect){0, 0, 80, 24}, true);
    double best = 1e9;
    for (int round = 0; round < 40; round++) {
        double start = cpu_us();
        for (int k = 0; k < 10; k++) {
            assert_true(transcript_append(t, i, " token", 6));
            transcript_draw(t, &g, (struct rect){0, 0, 80, 24}, true);
        }
        double took = (cpu_us() - start) / 10;
        best = took < best ? took : best;
    }
    grid_free(&g);
    return best;
}

static void pain_08_long_reply_costs_no_more(void **state)
{
    (void)state;
    double small = token_cost(2 << 10), big = token_cost(64 << 10); /* both fill the window */
    print_message("a token costs %.1f us in a reply of 2 KB, %.1f us in one of 64 KB\n", small, big);
    assert_true(big < 2 * small);
}

/* ── Markdown ── */

static void markdown_blocks(void **state)
{
    (void)state;
    add(MSG_ASSISTANT,
        "# Head\ntext\n- one\n  - two\n12. twelve\n> said\n---\n```py\n# no head\n```\n#no head");
    expect_screen(40, 12,
                  "weft ▏Head\n     ▏text\n     ▏• one\n     ▏  • two\n     ▏12. twelve\n     ▏▎ said\n"
                  "     ▏─────────────────────────────────\n     ▏─── py\n     ▏# no head\n     ▏───\n"
                  "     ▏#no head\n\n");
}

static void markdown_hangs(void **state)
{
    (void)state;
    add(MSG_ASSISTANT, "- a list item that is longer than one line\n> so is what is quoted here");
    expect_screen(
        29, 6, "w▏• a list item that is\n ▏  longer than one line\n ▏▎ so is what is quoted\n ▏▎ here\n\n\n");
}

static void markdown_inline(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } rows[] = {
        {"**bold** and *thin*", "bold and thin"},
        {"`code **is** code`", "code **is** code"},
        {"``a ` b``", "a ` b"},
        {"2 * 3 * 4 and 2*3*4", "2 * 3 * 4 and 2*3*4"},
        {"snake_case_name __init__", "snake_case_name init"},
        {"**never closed", "**never closed"},
        {"\\*not thin\\*", "*not thin*"},
        {"*args, **kwargs", "*args, **kwargs"},
        {"a ` alone", "a ` alone"},
        {"***both***", "***both***"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char want[128];
        transcript_clear(t);
        add(MSG_ASSISTANT, rows[i].text);
        snprintf(want, sizeof want, "weft ▏%s\n\n", rows[i].shown);
        expect_screen(60, 2, want);
    }
    /* What people type stands as it is. */
    transcript_clear(t);
    add(MSG_USER, "**mine**");
    expect_screen(60, 2, "you  ▏**mine**\n\n");
}

static void markdown_styles(void **state)
{
    (void)state;
    struct grid g = {0};
    add(MSG_ASSISTANT, "a **b** *c* `d`\n# e\n```\nf");
    assert_true(grid_resize(&g, 40, 5));
    transcript_draw(t, &g, (struct rect){0, 0, 40, 5}, true);
    assert_int_equal(grid_at(&g, 6, 0)->style, ROLE_TEXT);
    assert_int_equal(grid_at(&g, 8, 0)->style, ROLE_TEXT | STYLE_BOLD);
    assert_int_equal(grid_at(&g, 10, 0)->style, ROLE_TEXT | STYLE_ITALIC);
    assert_int_equal(grid_at(&g, 12, 0)->style, ROLE_CODE);
    assert_int_equal(grid_at(&g, 6, 1)->style, ROLE_HEADING);
    assert_int_equal(grid_at(&g, 6, 3)->style, ROLE_CODE);
    assert_int_equal(grid_at(&g, 7, 3)->cp[0], 0x2592); /* the sign of a reply under way */
    grid_free(&g);
}

/* ── messages ── */

static void footers(void **state)
{
    (void)state;
#define DONE "weft ▏done\n"
#define FIGURES                                                                                              \
    "     ▏stopped · TTFT 82 ms · 41.3 tok/s · queued 1.2 s · 32 cached · preempted 1x · 318 tokens\n\n"
    size_t i = add(MSG_ASSISTANT, "done\n\n");
    transcript_end(t, i,
                   &(struct reply_stats){.ttft_ms = 82,
                                         .tps = 41.26,
                                         .queue_ms = 1249,
                                         .tokens = 318,
                                         .cached_tokens = 32,
                                         .preemptions = 1,
                                         .ended = "stopped"});
    add(MSG_QUEUED, "later");
    expect_screen(100, 6, DONE FIGURES "next ▏later\n     ▏sent when the reply has ended\n\n");
    transcript_set_kind(t, 1, MSG_USER);
    assert_true(transcript_set_text(t, 1, "edited", 6));
    expect_screen(100, 6, DONE FIGURES "you  ▏edited\n\n\n");
    /* Where it's narrow, whole figures are left out. */
    expect_screen(40, 6, DONE "     ▏stopped · TTFT 82 ms · 41.3 tok/s\n\nyou  ▏edited\n\n\n");
    transcript_remove(t, 0);
    assert_int_equal(transcript_count(t), 1);
    expect_screen(100, 2, "you  ▏edited\n\n");
#undef DONE
#undef FIGURES
}

static void hostile_text(void **state)
{
    (void)state;
    size_t i = add(MSG_ASSISTANT, "");
    assert_true(transcript_append(t, i, "a\x1b", 2));
    assert_true(transcript_append(t, i, "[31m\xe2", 5));
    assert_true(transcript_append(t, i, "\x80\x94", 2));
    size_t n;
    assert_string_equal(transcript_text(t, i, &n), "a\uFFFD[31m—");
    assert_false(transcript_append(t, 7, "x", 1));
    assert_null(transcript_text(t, 7, &n));
}

/* ── scrolling ── */

static void fill(int lines)
{
    for (int i = 0; i < lines; i++) {
        char line[32];
        snprintf(line, sizeof line, "line %d", i);
        add(MSG_NOTE, line); /* two lines each: text and the empty one */
    }
    transcript_layout(t, 60, 10);
}

static void pain_07_follows_until_scrolled(void **state)
{
    (void)state;
    fill(30);
    assert_int_equal(transcript_lines(t), 60);
    assert_int_equal(transcript_top(t), 50);
    assert_true(transcript_follows(t));
    add(MSG_NOTE, "more");
    transcript_layout(t, 60, 10);
    assert_int_equal(transcript_top(t), 52);

    transcript_scroll(t, -5);
    assert_int_equal(transcript_top(t), 47);
    assert_false(transcript_follows(t));
    size_t i = add(MSG_ASSISTANT, "");
    for (int k = 0; k < 200; k++) { /* never moves by itself */
        assert_true(transcript_append(t, i, "many words ", 11));
        transcript_layout(t, 60, 10);
        assert_int_equal(transcript_top(t), 47);
    }
    transcript_end_of_chat(t);
    assert_true(transcript_follows(t));
    assert_int_equal(transcript_top(t), transcript_lines(t) - 10);

    transcript_home(t);
    assert_int_equal(transcript_top(t), 0);
    transcript_scroll(t, 100000); /* reaching the end by any way follows again */
    assert_true(transcript_follows(t));
    transcript_scroll(t, -3);
    add(MSG_USER, "sending comes back to the end");
    transcript_layout(t, 60, 10);
    assert_true(transcript_follows(t));
    assert_int_equal(transcript_page(t), 10);
}

/* The text at the top of the window stays there when the width changes. */
static void top_survives_resize(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (int i = 0; i < 400; i++)
        assert_true(buf_addf(&text, "word%d ", i));
    add(MSG_ASSISTANT, buf_str(&text));
    transcript_layout(t, 80, 10);
    transcript_home(t);
    transcript_scroll(t, 17);
    uint32_t byte = t->messages[0].lines[17].start;
    for (int w = 30; w < 120; w += 13) {
        transcript_layout(t, w, 10);
        const struct tline *top = &t->messages[0].lines[transcript_top(t)];
        assert_true(top->start <= byte && byte < top->end + 1);
        byte = top->start;
    }
    buf_free(&text);
}

static void search(void **state)
{
    (void)state;
    fill(30);
    transcript_search(t, "LINE 1");
    transcript_home(t);
    int found = 0;
    while (transcript_search_next(t, 1))
        found++;
    assert_int_equal(found, 11); /* 1 and 10 … 19 */
    assert_true(transcript_search_next(t, -1));
    transcript_search(t, "absent");
    assert_false(transcript_search_next(t, 1));

    transcript_search(t, "line 29");
    assert_true(transcript_search_next(t, 1));
    struct grid g = {0};
    assert_true(grid_resize(&g, 60, 10));
    transcript_draw(t, &g, (struct rect){0, 0, 60, 10}, false);
    int marked = 0;
    for (int y = 0; y < 10; y++)
        for (int x = 0; x < 60; x++)
            marked += grid_at(&g, x, y)->style == ROLE_SEARCH;
    assert_int_equal(marked, 7);
    grid_free(&g);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(wrap_words),
        TEST(wrap_long_and_wide),
        TEST(wrap_tabs),
        TEST(incremental_equals_fresh),
        TEST(pain_08_long_reply_costs_no_more),
        TEST(markdown_blocks),
        TEST(markdown_hangs),
        TEST(markdown_inline),
        TEST(markdown_styles),
        TEST(footers),
        TEST(hostile_text),
        TEST(pain_07_follows_until_scrolled),
        TEST(top_survives_resize),
        TEST(search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
