/*
 * A made-up moment of a busy console, the same at every run: six sessions, four of them in the batch, waiters
 * of every priority, 256 past steps, a KV pool with owners of every kind. For tests of what is drawn.
 */
#ifndef WEFT_TESTS_UI_SCENE_H
#define WEFT_TESTS_UI_SCENE_H

#include "ui/view.h"

enum { SCENE_SESSIONS = 6, SCENE_BLOCKS = 512 };

struct scene {
    struct snapshot snap;
    struct snap_block blocks[SCENE_BLOCKS];
    struct view_session sessions[SCENE_SESSIONS];
    struct theme theme;
    struct view view;
};

/* Builds it; `top` is the source tree's (TEST_SOURCE_DIR). The test fails when that doesn't work. Big:
 * allocate it, or make it static. */
void scene_init(struct scene *s, const char *top);
void scene_deinit(struct scene *s);
/* Both as fixtures; the scene is the test's initial state: cmocka_unit_test_prestate_setup_teardown. */
int scene_set_up(void **state);
int scene_tear_down(void **state);
/* Reads top/themes/NAME.yaml. */
void scene_theme(struct theme *out, const char *top, const char *name);

/* The grid with the SGR sequences of a terminal with that many colours, a line a row: `cat` shows it. */
void scene_ansi(const struct grid *g, const struct theme *t, int n_colours, struct buf *out);

#endif
