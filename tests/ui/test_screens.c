/*
 * Whole screens against golden ones, in tests/ui/golden: NAME.txt is what the cells show; NAME.ansi has the
 * theme's colours too (cat it on a terminal). WEFT_UPDATE_GOLDEN=1 writes them anew: look at the difference
 * before committing it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "tests/support/ui_scene.h"

static struct scene scene;

static int set_up(void **state)
{
    (void)state;
    scene_init(&scene, TEST_SOURCE_DIR);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scene_deinit(&scene);
    return 0;
}

static void write_file(const char *path, const struct buf *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, buf_str(b), b->len), (ssize_t)b->len);
    close(fd);
}

/* Where two texts part: for the message. */
static void show_difference(const char *name, const char *got, const char *want)
{
    int line = 1;
    const char *g = got, *w = want;
    while (*g && *w) {
        size_t gn = strcspn(g, "\n"), wn = strcspn(w, "\n");
        if (gn != wn || memcmp(g, w, gn) != 0) {
            fail_msg("%s differs in line %d:\n got  %.*s\n want %.*s", name, line, (int)gn, g, (int)wn, w);
            return;
        }
        g += gn + (g[gn] == '\n');
        w += wn + (w[wn] == '\n');
        line++;
    }
    fail_msg("%s: different length", name);
}

static void check_golden(const char *name, const struct buf *got)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/ui/golden/%s", TEST_SOURCE_DIR, name);
    if (getenv("WEFT_UPDATE_GOLDEN")) {
        write_file(path, got);
        return;
    }
    struct buf want = BUF_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("%s: %s (WEFT_UPDATE_GOLDEN=1 makes it)", path, strerror(errno));
    assert_int_equal(buf_read_fd(&want, fd, 1 << 22), 0);
    close(fd);
    if (want.len != got->len || memcmp(buf_str(&want), buf_str(got), got->len) != 0)
        show_difference(name, buf_str(got), buf_str(&want));
    buf_free(&want);
}

/* Every row must be exactly as wide as the screen, whatever is in it. */
static void check_widths(const struct grid *g)
{
    for (int y = 0; y < g->h; y++) {
        int w = 0;
        for (int x = 0; x < g->w; x++) {
            const struct cell *c = grid_at(g, x, y);
            assert_true(c->width <= 2);
            if (c->width == 2)
                assert_int_equal(grid_at(g, x + 1, y)->width, 0);
            if (c->width == 0)
                assert_int_equal(grid_at(g, x - 1, y)->width, 2);
            w += c->width;
        }
        assert_int_equal(w, g->w);
    }
}

static void check_screen(const char *name, int w, int h)
{
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, w, h));
    view_draw(&scene.view, &g);
    check_widths(&g);
    assert_true(grid_dump(&g, &text));
    check_golden(name, &text);
    buf_free(&text);
    grid_free(&g);
}

static void check_colours(const char *name, int w, int h, int n_colours)
{
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, w, h));
    view_draw(&scene.view, &g);
    scene_ansi(&g, &scene.theme, n_colours, &text);
    check_golden(name, &text);
    buf_free(&text);
    grid_free(&g);
}

static const struct {
    int w, h;
} sizes[] = {{80, 24}, {120, 36}, {200, 60}};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static void presets(void **state)
{
    (void)state;
    for (int p = 0; p < LAYOUT_PRESET_COUNT; p++) {
        for (int i = 0; i < N_SIZES; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s-%dx%d.txt", layout_preset_name((enum layout_preset)p), sizes[i].w,
                     sizes[i].h);
            scene.view.preset = (enum layout_preset)p;
            check_screen(name, sizes[i].w, sizes[i].h);
        }
    }
}

/* Narrow and low screens: panes and pieces give way one by one. */
static void small_screens(void **state)
{
    (void)state;
    check_screen("balanced-40x12.txt", 40, 12);
    check_screen("balanced-60x18.txt", 60, 18);
    scene.view.preset = LAYOUT_CHAT;
    check_screen("chat-40x12.txt", 40, 12);
}

static void themes(void **state)
{
    (void)state;
    static const struct {
        const char *theme;
        int colours;
    } looks[] = {{"default", 256},  {"default", 16},      {"light", 256},
                 {"contrast", 256}, {"colourblind", 256}, {"mono", 0}};
    for (size_t k = 0; k < sizeof looks / sizeof looks[0]; k++) {
        scene_theme(&scene.theme, TEST_SOURCE_DIR, looks[k].theme);
        scene.view.mono = looks[k].colours == 0;
        for (int i = 0; i < N_SIZES; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s-%d-%dx%d.ansi", looks[k].theme, looks[k].colours, sizes[i].w,
                     sizes[i].h);
            check_colours(name, sizes[i].w, sizes[i].h, looks[k].colours);
        }
    }
}

static void ascii_only(void **state)
{
    (void)state;
    scene.view.ascii = true;
    scene.view.graph = GRAPH_ASCII;
    for (int i = 0; i < N_SIZES; i++) {
        char name[64];
        snprintf(name, sizeof name, "ascii-%dx%d.txt", sizes[i].w, sizes[i].h);
        check_screen(name, sizes[i].w, sizes[i].h);
        struct grid g = {0};
        assert_true(grid_resize(&g, sizes[i].w, sizes[i].h));
        view_draw(&scene.view, &g);
        for (int k = 0; k < g.w * g.h; k++) {
            assert_true(g.cells[k].cp[0] < 0x7f);
            assert_int_equal(g.cells[k].cp[1], 0);
        }
        grid_free(&g);
    }
}

/* Every way to draw a graph, in every size; ASCII graphs on a screen that is otherwise UTF-8, too. */
static void graphs(void **state)
{
    (void)state;
    scene.view.preset = LAYOUT_SCHEDULER;
    for (int mode = 0; mode < GRAPH_MODE_COUNT; mode++) {
        for (int i = 0; i < N_SIZES; i++) {
            char name[64];
            snprintf(name, sizeof name, "graph-%s-%dx%d.txt", graph_mode_name((enum graph_mode)mode),
                     sizes[i].w, sizes[i].h);
            scene.view.graph = (enum graph_mode)mode;
            check_screen(name, sizes[i].w, sizes[i].h);
        }
    }
}

/* NO_COLOR: the same words and signs, and no sequence that sets a colour. */
static void no_color(void **state)
{
    (void)state;
    theme_plain(&scene.theme);
    scene.view.mono = true;
    scene.view.preset = LAYOUT_SCHEDULER;
    check_colours("no-color-120x36.ansi", 120, 36, 0);
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, 200, 60));
    view_draw(&scene.view, &g);
    scene_ansi(&g, &scene.theme, 256, &text); /* whatever the terminal could show */
    assert_null(strstr(buf_str(&text), ";38"));
    assert_null(strstr(buf_str(&text), ";48"));
    buf_free(&text);
    grid_free(&g);
}

static void zoomed(void **state)
{
    (void)state;
    for (int p = PANE_SESSIONS; p < PANE_COUNT; p++) {
        char name[64];
        scene.view.zoom = true;
        scene.view.focus = (enum pane_id)p;
        snprintf(name, sizeof name, "zoom-%s-100x30.txt", pane_name((enum pane_id)p));
        check_screen(name, 100, 30);
    }
}

static void overlays(void **state)
{
    (void)state;
    static const struct view_item items[] = {
        {"new-session", "open a new session", "F2"},
        {"priority-up", "raise the session's priority", "F7"},
        {"theme", "choose a theme", "t"},
    };
    static const struct view_overlay made[] = {
        {.kind = OVERLAY_HELP},
        {.kind = OVERLAY_HELP, .scroll = 1000},
        {.kind = OVERLAY_LIST,
         .title = "ACTIONS",
         .items = items,
         .n_items = 3,
         .selected = 1,
         .input = {.text = "e", .len = 1, .cursor = 1}},
        {.kind = OVERLAY_CONFIRM,
         .title = "DELETE",
         .text = "Delete session 2, planner, and its 4 messages?",
         .keys = "y delete  n keep"},
        {.kind = OVERLAY_PROMPT, .title = "RENAME", .input = {.text = "planner", .len = 7, .cursor = 7}},
        {.kind = OVERLAY_COMPLETE, .items = items, .n_items = 3, .selected = 0},
        {.kind = OVERLAY_TEXT,
         .title = "SETTINGS",
         .text = "temperature  0.7\ntop_k        40\n\nsystem       none\n"},
    };
    static const char *const names[] = {"help",   "help-end", "palette", "confirm",
                                        "prompt", "complete", "text"};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char name[64];
        scene.view.overlay = made[i];
        snprintf(name, sizeof name, "overlay-%s-80x24.txt", names[i]);
        check_screen(name, 80, 24);
    }
}

static void moments(void **state)
{
    (void)state;
    scene.view.toast =
        (struct view_toast){TOAST_ERROR, "QUEUE_FULL: the queue holds 1000 requests, as many as it may"};
    check_screen("toast-80x24.txt", 80, 24);
    scene.view.toast.kind = TOAST_NONE;

    /* A draft of three lines, scrolled up chat with a search. */
    static const char draft[] =
        "first line\nsecond line, which is long enough to be wrapped once at this width\nthird";
    scene.view.input = (struct view_input){.text = draft, .len = sizeof draft - 1, .cursor = 14};
    transcript_search(scene.sessions[1].transcript, "the");
    check_screen("draft-80x24.txt", 80, 24);
    transcript_scroll(scene.sessions[1].transcript, -10);
    check_colours("scrolled-256-80x24.ansi", 80, 24, 256);

    /* The start: nothing there yet. */
    memset(&scene.snap, 0, sizeof scene.snap);
    scene.snap.state = ENGINE_LOADING;
    snprintf(scene.snap.model, sizeof scene.snap.model, "smollm2");
    snprintf(scene.snap.state_detail, sizeof scene.snap.state_detail, "building kernels 40 %%");
    scene.view.n_sessions = 1;
    scene.view.active = 0;
    scene.sessions[0].busy = false;
    scene.view.input = (struct view_input){.hint = "Ask something; F1 helps"};
    check_screen("loading-80x24.txt", 80, 24);
    scene.view.n_sessions = 0;
    scene.snap.state = ENGINE_FAILED;
    snprintf(scene.snap.state_detail, sizeof scene.snap.state_detail,
             "MODEL_LOAD_FAILED: version 9, allowed 2 and 3");
    check_screen("failed-80x24.txt", 80, 24);
}

/* A moment gone by, a frozen engine, memory at its limits, a demonstration, sessions paused and unread. */
static void states_of_the_screen(void **state)
{
    (void)state;
    static struct snapshot past;
    past = scene.snap;
    past.step = 17912;
    past.now_us -= 8100000;
    past.n_steps = 120;
    past.n_queue = past.queue_total = 1;
    memset(past.waiting_by_reason, 0, sizeof past.waiting_by_reason);
    past.waiting_by_reason[past.queue[0].wait_reason] = 1;
    past.n_running = 2; /* session 2, in front, and 1 */
    past.kv_used = 100;
    scene.view.past = &past;
    check_screen("past-120x36.txt", 120, 36);
    check_screen("past-80x24.txt", 80, 24);
    scene.view.past = NULL;

    scene.snap.frozen = true;
    check_screen("frozen-120x36.txt", 120, 36);
    scene.snap.frozen = false;

    scene.snap.memory_mb = 6100;
    scene.snap.under_pressure = true;
    scene.snap.kv_parked = 48;
    scene.snap.queue_depth = 900;
    scene.view.preset = LAYOUT_KV;
    check_screen("pressure-120x36.txt", 120, 36);

    scene.view.preset = LAYOUT_SCHEDULER;
    scene.view.recording = true;
    scene.view.caption =
        "Thirty background jobs fill the batch. Watch row 3: a critical request comes in and takes the "
        "place of one of them, which is parked.";
    scene.sessions[3].paused = true;
    scene.sessions[3].busy = false;
    scene.sessions[4].n_unread = 3;
    scene.sessions[5].title = "session 6"; /* its number says so already */
    scene.sessions[5].failed = false;
    check_screen("demo-120x36.txt", 120, 36);
    scene.view.zoom = true;
    scene.view.focus = PANE_BATCH;
    check_screen("demo-zoom-80x24.txt", 80, 24);
    scene.view.focus = PANE_EVENTS;
    scene.view.zoom = false;
    scene.view.scroll[PANE_EVENTS] = 4;
    check_screen("events-back-120x36.txt", 120, 36);
}

/* The scheduler's own screen in every look: timeline marks, events, memory. */
static void scheduler_colours(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "light", "contrast", "colourblind"};
    scene.view.preset = LAYOUT_SCHEDULER;
    scene.snap.memory_mb = 6100;
    scene.snap.under_pressure = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[64];
        scene_theme(&scene.theme, TEST_SOURCE_DIR, names[i]);
        snprintf(name, sizeof name, "scheduler-%s-160x40.ansi", names[i]);
        check_colours(name, 160, 40, 256);
    }
    scene_theme(&scene.theme, TEST_SOURCE_DIR, "mono");
    scene.view.mono = true;
    check_colours("scheduler-mono-160x40.ansi", 160, 40, 0);
}

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

static void too_small(void **state)
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
static void random_sizes(void **state)
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
        check_widths(&g);
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

/* Wide characters, emoji and marks in every text there is leave each frame line in its column. */
static void borders_stay(void **state)
{
    (void)state;
    static const char odd[] =
        "日本語テキスト 👩‍👩‍👧 ❤️ é́́ 🇵🇹 👍🏽 café 한국어 ａｂｃ";
    struct grid plain = {0}, wide = {0};
    for (int w = 60; w < 140; w++) {
        for (int i = 0; i < SCENE_SESSIONS; i++)
            scene.sessions[i].title = "plain";
        assert_true(grid_resize(&plain, w, 30) && grid_resize(&wide, w, 30));
        view_draw(&scene.view, &plain);
        for (int i = 0; i < SCENE_SESSIONS; i++)
            scene.sessions[i].title = odd;
        view_draw(&scene.view, &wide);
        check_widths(&wide);
        for (int y = 2; y < 29; y++)
            for (int x = 0; x < w; x++) /* verticals: the horizontals are cut by titles of other lengths */
                if (grid_at(&plain, x, y)->lines & GRID_N)
                    assert_int_equal(grid_at(&wide, x, y)->cp[0], grid_at(&plain, x, y)->cp[0]);
    }
    grid_free(&plain);
    grid_free(&wide);
}

/* A frame costs little: the best of a hundred, as the machine may be busy; the limit holds under sanitizers, too. */
static void frame_time(void **state)
{
    (void)state;
    enum { FRAMES = 100 };
    struct grid g = {0};
    assert_true(grid_resize(&g, 200, 60));
    scene.view.preset = LAYOUT_SCHEDULER;
    view_draw(&scene.view, &g);
    int64_t best = INT64_MAX;
    for (int i = 0; i < FRAMES; i++) {
        int64_t start = clock_now_us();
        view_draw(&scene.view, &g);
        int64_t took = clock_now_us() - start;
        best = took < best ? took : best;
    }
    print_message("a frame at 200x60 takes %lld us\n", (long long)best);
    assert_true(best < 2000);
    grid_free(&g);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(presets),
        TEST(small_screens),
        TEST(themes),
        TEST(ascii_only),
        TEST(graphs),
        TEST(no_color),
        TEST(scheduler_colours),
        TEST(states_of_the_screen),
        TEST(zoomed),
        TEST(overlays),
        TEST(moments),
        TEST(session_states),
        TEST(too_small),
        TEST(scrolling),
        TEST(random_sizes),
        TEST(borders_stay),
        TEST(frame_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
