/* A chat as it was at a time gone by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "ui/transcript.h"

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

/* What a 40 × 12 window shows at a time, lines that aren't empty only, without their ends. */
static void expect_at(int64_t at_us, const char *want)
{
    struct grid g = {0};
    struct buf text = BUF_INIT, kept = BUF_INIT;
    assert_true(grid_resize(&g, 40, 12));
    transcript_show_at(t, at_us);
    transcript_draw(t, &g, (struct rect){0, 0, 40, 12}, false);
    assert_true(grid_dump(&g, &text));
    for (const char *p = buf_str(&text); *p;) {
        size_t n = strcspn(p, "\n"), keep = n;
        while (keep && p[keep - 1] == ' ')
            keep--;
        if (keep)
            buf_addf(&kept, "%.*s\n", (int)keep, p);
        p += n + 1;
    }
    assert_string_equal(buf_str(&kept), want);
    buf_free(&text);
    buf_free(&kept);
    grid_free(&g);
}

static void say(int64_t at_us, size_t i, const char *piece)
{
    transcript_now(t, at_us);
    assert_true(transcript_append(t, i, piece, strlen(piece)));
}

static void grows_again(void **state)
{
    (void)state;
    transcript_add(t, MSG_NOTE, "before time was told", 20);
    transcript_now(t, 100);
    transcript_add(t, MSG_USER, "a question", 10);
    transcript_now(t, 200);
    size_t i = transcript_add(t, MSG_ASSISTANT, "", 0);
    say(300, i, "one ");
    say(400, i, "two ");
    say(400, i, "three "); /* in one step */
    say(500, i, "four\n\nfive");
    transcript_now(t, 600);
    transcript_end(t, i, &(struct reply_stats){.tokens = 5});
    transcript_now(t, 700);
    transcript_add(t, MSG_USER, "another", 7);

    expect_at(50, "     ▏before time was told\n");
    expect_at(150, "     ▏before time was told\nyou  ▏a question\n");
    expect_at(250, "     ▏before time was told\nyou  ▏a question\nweft ▏▒\n");
    expect_at(300, "     ▏before time was told\nyou  ▏a question\nweft ▏one ▒\n");
    expect_at(450, "     ▏before time was told\nyou  ▏a question\nweft ▏one two three ▒\n");
    expect_at(
        500, "     ▏before time was told\nyou  ▏a question\nweft ▏one two three four\n     ▏\n     ▏five▒\n");
    expect_at(600,
              "     ▏before time was told\nyou  ▏a question\nweft ▏one two three four\n     ▏\n     ▏five\n"
              "     ▏5 tokens\n");
    static const char all[] =
        "     ▏before time was told\nyou  ▏a question\nweft ▏one two three four\n     ▏\n"
        "     ▏five\n     ▏5 tokens\nyou  ▏another\n";
    expect_at(700, all);
    expect_at(INT64_MAX, all);
}

/* Pieces stay with their message when one before it goes. */
static void survives_removal(void **state)
{
    (void)state;
    transcript_now(t, 100);
    size_t queued = transcript_add(t, MSG_QUEUED, "waits", 5), i = transcript_add(t, MSG_ASSISTANT, "", 0);
    say(200, i, "one ");
    say(300, i, "two");
    transcript_remove(t, queued);
    expect_at(200, "weft ▏one\n");
    expect_at(150, "weft ▏\n");
    transcript_clear(t);
    expect_at(200, "");
}

/* Only the last pieces are remembered, and without memory for them the text is simply there. */
static void forgets(void **state)
{
    (void)state;
    transcript_now(t, 1);
    size_t i = transcript_add(t, MSG_ASSISTANT, "", 0);
    for (int k = 0; k < 3 * TRANSCRIPT_PIECES; k++)
        say(2 + k, i, k % 50 ? "x" : "y ");
    transcript_show_at(t, 3 * TRANSCRIPT_PIECES - 1000);
    transcript_layout(t, 40, 12);
    int lines = transcript_lines(t);
    transcript_show_at(t, INT64_MAX);
    transcript_layout(t, 40, 12);
    assert_true(transcript_lines(t) > lines && lines > 2);

    /* The text has room to grow in, so the memory that fails is the pieces'. */
    transcript_destroy(t);
    t = transcript_create();
    i = transcript_add(t, MSG_ASSISTANT, "", 0);
    assert_true(transcript_append(t, i, "ab", 2));
    transcript_now(t, 5);
    mem_fail_at(1);
    assert_true(transcript_append(t, i, "c", 1));
    mem_fail_at(0);
    expect_at(4, "weft ▏abc\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {TEST(grows_again), TEST(survives_removal), TEST(forgets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
