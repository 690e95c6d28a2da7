/* What holds for every screen: states and how they are told, any size, borders in their columns, clicks, cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "tests/support/ui_golden.h"

static struct scene scene;

/* Does row y of a 120 × 36 screen hold `want`? */
static void expect_row(int y, const char *want)
{
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, 120, 36));
    view_draw(&scene.view, &g);
    assert_true(grid_dump(&g, &text));
    const char *row = buf_str(&text);
    for (int i = 0; i < y; i++)
        row = strchr(row, '\n') + 1;
    size_t n = strcspn(row, "\n");
    if (!memmem(row, n, want, strlen(want)))
        fail_msg("row %d is %.*s, without %s", y, (int)n, row, want);
    buf_free(&text);
    grid_free(&g);
}

/* Each state of a session's request, in the list and in the chat's title. */
static void session_states(void **state)
{
    (void)state;
    static const struct {
        enum req_state state;
        const char *list, *title;
    } rows[] = {
        {REQ_RUNNING, "H ▶  41/s", "HIGH · RUNNING · 41 tok/s · TTFT 82 ms · 318/2048"},
        {REQ_PREFILLING, "H ◐   50%", "HIGH · PREFILL 50% · 41 tok/s"},
        {REQ_WAITING, "H ◌  6.5s", "HIGH · WAITING 6.5s · needs blocks"},
        {REQ_PREEMPTED, "H ◁  6.5s", "HIGH · PREEMPTED 6.5s"},
    };
    struct snap_request *rq = &scene.snap.running[0];
    assert_int_equal(rq->tag, 2);
    rq->n_computed = rq->n_prompt / 2;
    rq->waited_us = 6500000;
    rq->wait_reason = WAIT_BLOCKS;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rq->state = rows[i].state;
        expect_row(3, rows[i].list);
        expect_row(1, rows[i].title);
    }
    rq->tag = 99; /* sent, but in no snapshot yet */
    expect_row(3, "H ○");
    expect_row(1, "HIGH · SENT");
    rq->tag = 2;
    rq->state = REQ_RUNNING;
    rq->model = 1;
    scene.snap.n_models = 2;
    snprintf(scene.snap.models[1].name, sizeof scene.snap.models[1].name, "tiny");
    expect_row(0, "SmolLM2-135M-Instruct Q4_1 +1");
    expect_row(1, "318/2048 · tiny");
    rq->tag = 99;
    scene.sessions[1].busy = false;
    scene.sessions[1].last_tps = 12.5;
    scene.sessions[1].last_ttft_ms = 1500;
    expect_row(3, "H ·");
    expect_row(1, "HIGH · 12 tok/s · TTFT 1.5 s");
    scene.view.scroll[PANE_BATCH] = 64; /* back in time */
    expect_row(21, "BATCH step 18 140, 64 back");
    scene.view.scroll[PANE_BATCH] = 100000;
    expect_row(21, "BATCH step 17 949, 255 back");
    scene.snap.frozen = true;
    expect_row(0, "READY  FROZEN");
}

static void scrolling(void **state)
{
    (void)state;
    assert_int_equal(view_scroll_by(PANE_QUEUE, 3, 2), 5);
    assert_int_equal(view_scroll_by(PANE_QUEUE, 3, -10), 0);
    assert_int_equal(view_scroll_by(PANE_EVENTS, 3, 2), 1); /* the newest is below */
    assert_int_equal(view_scroll_by(PANE_BATCH, 3, -10), 13);
    assert_int_equal(view_scroll_by(PANE_KV, 3, 1000000), SNAP_STEPS + SNAP_QUEUE);
}

/* Whatever is drawn somewhere is what a click there hits. */
static void mouse(void **state)
{
    (void)state;
    struct layout l;
    view_layout(&scene.view, 120, 36, &l);
    for (int p = 0; p < PANE_COUNT; p++) {
        struct rect body = l.pane[p].body;
        if (l.pane[p].shown)
            assert_int_equal(view_hit(&scene.view, 120, 36, body.x + body.w - 1, body.y + body.h - 1).pane,
                             p);
    }
    struct rect list = l.pane[PANE_SESSIONS].body;
    for (size_t i = 0; i < SCENE_SESSIONS; i++)
        assert_int_equal(view_hit(&scene.view, 120, 36, list.x, list.y + (int)i).session, i);
    assert_true(view_hit(&scene.view, 120, 36, list.x, list.y + SCENE_SESSIONS).session == SIZE_MAX);
    assert_int_equal(view_hit(&scene.view, 120, 36, 0, 0).pane, PANE_COUNT);               /* the title */
    assert_int_equal(view_hit(&scene.view, 120, 36, list.x - 1, list.y).pane, PANE_COUNT); /* a frame */
    assert_int_equal(view_hit(&scene.view, 10, 3, 5, 1).pane, PANE_COUNT);
    /* In a list that is scrolled so that the chosen row is seen, too. */
    scene.view.preset = LAYOUT_CHAT;
    scene.view.active = SCENE_SESSIONS - 1;
    view_layout(&scene.view, 80, 12, &l);
    list = l.pane[PANE_SESSIONS].body;
    scene.view.scroll[PANE_SESSIONS] = 100;
    assert_int_equal(view_hit(&scene.view, 80, 12, list.x, list.y).session,
                     view_sessions_top(&scene.view, list.h));
}

static void pain_02_too_small(void **state)
{
    (void)state;
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, 20, 5));
    view_draw(&scene.view, &g);
    assert_true(grid_dump(&g, &text));
    assert_string_equal(buf_str(&text), "terminal too small  \n(20×5, needs 40×12) \n                    \n"
                                        "                    \n                    \n");
    assert_int_equal(g.cursor_x, -1);
    buf_free(&text);
    grid_free(&g);
}

/* Any size draws without fault, and 80×24 comes out as before. */
static void pain_02_any_size(void **state)
{
    (void)state;
    struct grid g = {0};
    struct buf before = BUF_INIT, after = BUF_INIT;
    assert_true(grid_resize(&g, 80, 24));
    view_draw(&scene.view, &g);
    assert_true(grid_dump(&g, &before));
    struct rng rng;
    rng_seed(&rng, 500);
    struct view kept = scene.view;
    for (int i = 0; i < 500; i++) {
        int w = 1 + (int)rng_below(&rng, 300), h = 1 + (int)rng_below(&rng, 100);
        scene.view.preset = (enum layout_preset)rng_below(&rng, LAYOUT_PRESET_COUNT);
        scene.view.focus = (enum pane_id)rng_below(&rng, PANE_COUNT);
        scene.view.zoom = rng_below(&rng, 4) == 0;
        scene.view.caption = rng_below(&rng, 3) == 0 ? "a caption" : NULL;
        scene.view.past = rng_below(&rng, 3) == 0 ? &scene.snap : NULL;
        scene.view.active = rng_below(&rng, SCENE_SESSIONS);
        scene.view.overlay.kind = (enum overlay_kind)rng_below(&rng, OVERLAY_TEXT + 1);
        scene.view.overlay.text = "some\ntext";
        scene.view.graph = (enum graph_mode)rng_below(&rng, GRAPH_MODE_COUNT);
        for (int p = 0; p < PANE_COUNT; p++)
            scene.view.scroll[p] = (int)rng_below(&rng, 400) - 20;
        assert_true(grid_resize(&g, w, h));
        view_draw(&scene.view, &g);
        golden_widths(&g);
        assert_true(g.cursor_x < w && g.cursor_y < h);
    }
    scene.view = kept;
    assert_true(grid_resize(&g, 80, 24));
    view_draw(&scene.view, &g);
    assert_true(grid_dump(&g, &after));
    assert_string_equal(buf_str(&after), buf_str(&before));
    buf_free(&before);
    buf_free(&after);
    grid_free(&g);
}

/* Foreign text in each place where some is shown. */
static void make_odd(struct scene *s)
{
    static const char odd[] =
        "日本語テキスト 👩‍👩‍👧 ❤️ é́́ 🇵🇹 👍🏽 café 한국어 ａｂｃ";
    static const enum message_kind kinds[] = {MSG_USER, MSG_ASSISTANT, MSG_NOTE, MSG_ERROR};
    for (int i = 0; i < SCENE_SESSIONS; i++)
        s->sessions[i].title = odd;
    for (size_t i = 0; i < 4 * sizeof kinds / sizeof *kinds; i++)
        assert_true(transcript_add(s->sessions[1].transcript, kinds[i % 4], odd, sizeof odd - 1) != SIZE_MAX);
    for (uint32_t i = 0; i < s->snap.n_queue; i++) { /* of no session: told by their ids */
        s->snap.queue[i].tag = 0;
        snprintf(s->snap.queue[i].id, sizeof s->snap.queue[i].id, "%.40s", odd);
    }
    for (uint32_t i = 0; i < s->snap.n_events; i++) {
        s->snap.events[i].tag = 0;
        snprintf(s->snap.events[i].id, sizeof s->snap.events[i].id, "%.20s", odd);
    }
    snprintf(s->snap.model, sizeof s->snap.model, "%.80s", odd);
    snprintf(s->snap.device, sizeof s->snap.device, "%s", odd);
    s->view.toast = (struct view_toast){TOAST_INFO, odd};
    s->view.input = (struct view_input){.text = odd, .len = sizeof odd - 1, .cursor = sizeof odd - 1};
}

/* Wide characters, emoji and marks in every text of every pane leave each frame line in its column. */
static void pain_04_borders_stay(void **state)
{
    (void)state;
    static struct scene odd;
    struct grid plain = {0}, wide = {0};
    scene_init(&odd, TEST_SOURCE_DIR);
    make_odd(&odd);
    for (int w = 60; w < 200; w += w < 140 ? 1 : 7) {
        assert_true(grid_resize(&plain, w, 40) && grid_resize(&wide, w, 40));
        for (int p = 0; p < LAYOUT_PRESET_COUNT; p++) {
            scene.view.preset = odd.view.preset = (enum layout_preset)p;
            view_draw(&scene.view, &plain);
            view_draw(&odd.view, &wide);
            golden_widths(&wide);
            for (int y = 2; y < 39; y++)
                for (int x = 0; x < w;
                     x++) /* verticals: the horizontals are cut by titles of other lengths */
                    if (grid_at(&plain, x, y)->lines & GRID_N && !(grid_at(&wide, x, y)->lines & GRID_N))
                        fail_msg("%s at %d columns: no frame at %d, %d",
                                 layout_preset_name((enum layout_preset)p), w, x, y);
        }
    }
    scene_deinit(&odd);
    grid_free(&plain);
    grid_free(&wide);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FRAME_US = 20000 }; /* each access is looked at */
#else
enum { FRAME_US = 2000 };
#endif

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A frame costs little, in processor time; each is of another moment. */
static void pain_05_frame_time(void **state)
{
    (void)state;
    enum { FRAMES = 300, P99 = FRAMES - 1 - FRAMES / 100 };
    static int64_t us[FRAMES];
    struct grid g = {0};
    assert_true(grid_resize(&g, 200, 60));
    scene.view.preset = LAYOUT_SCHEDULER;
    view_draw(&scene.view, &g);
    for (int i = 0; i < FRAMES; i++) {
        scene.view.scroll[PANE_BATCH] = i;
        transcript_scroll(scene.sessions[1].transcript, i % 2 ? 3 : -3);
        int64_t start = clock_thread_us();
        view_draw(&scene.view, &g);
        us[i] = clock_thread_us() - start;
    }
    qsort(us, FRAMES, sizeof *us, compare);
    print_message("a frame at 200x60 takes %lld us, p99 %lld us\n", (long long)us[FRAMES / 2],
                  (long long)us[P99]);
    assert_true(us[P99] <= FRAME_US);
    grid_free(&g);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, scene_set_up, scene_tear_down, &scene)
    static const struct CMUnitTest tests[] = {
        TEST(session_states),     TEST(scrolling),        TEST(mouse),
        TEST(pain_02_too_small),  TEST(pain_02_any_size), TEST(pain_04_borders_stay),
        TEST(pain_05_frame_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
