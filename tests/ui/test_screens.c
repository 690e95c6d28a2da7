/* Whole screens against golden ones: every preset, size, theme and moment (tests/support/ui_golden.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ui_golden.h"

static struct scene scene;

static void check_screen(const char *name, int w, int h)
{
    golden_screen(&scene, TEST_SOURCE_DIR, name, w, h);
}

static void check_colours(const char *name, int w, int h, int n_colours)
{
    golden_colours(&scene, TEST_SOURCE_DIR, name, w, h, n_colours);
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
static void pain_03_no_color(void **state)
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

/* A moment gone by, a frozen engine, memory at its limits, a demonstration, sessions paused, unread and branched off. */
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
    scene.sessions[1].branch = scene.sessions[4].branch = true;
    scene.sessions[1].branch_of = 1; /* the other's isn't open */
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

int main(void)
{
#define TEST(f) cmocka_unit_test_prestate_setup_teardown(f, scene_set_up, scene_tear_down, &scene)
    static const struct CMUnitTest tests[] = {
        TEST(presets),
        TEST(small_screens),
        TEST(themes),
        TEST(ascii_only),
        TEST(graphs),
        TEST(pain_03_no_color),
        TEST(scheduler_colours),
        TEST(states_of_the_screen),
        TEST(zoomed),
        TEST(overlays),
        TEST(moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
