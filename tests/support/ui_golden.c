#include "tests/support/ui_golden.h"

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

static void check_golden(const char *top, const char *name, const struct buf *got)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/ui/golden/%s", top, name);
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

void golden_widths(const struct grid *g)
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

void golden_screen(const struct scene *s, const char *top, const char *name, int w, int h)
{
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, w, h));
    view_draw(&s->view, &g);
    golden_widths(&g);
    assert_true(grid_dump(&g, &text));
    check_golden(top, name, &text);
    buf_free(&text);
    grid_free(&g);
}

void golden_colours(const struct scene *s, const char *top, const char *name, int w, int h, int n_colours)
{
    struct grid g = {0};
    struct buf text = BUF_INIT;
    assert_true(grid_resize(&g, w, h));
    view_draw(&s->view, &g);
    scene_ansi(&g, &s->theme, n_colours, &text);
    check_golden(top, name, &text);
    buf_free(&text);
    grid_free(&g);
}
