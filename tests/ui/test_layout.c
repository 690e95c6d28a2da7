/* Layouts: what holds at every size, and what is to be seen at the usual ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ui/layout.h"

static bool inside(struct rect r, struct rect within)
{
    return r.x >= within.x && r.y >= within.y && r.x + r.w <= within.x + within.w &&
           r.y + r.h <= within.y + within.h;
}

static bool overlap(struct rect a, struct rect b)
{
    struct rect c = rect_clip(a, b);
    return c.w > 0 && c.h > 0;
}

static void check(const struct layout *l, int w, int h)
{
    /* Which pane's body a cell is in; frames must cover the rest. */
    static unsigned char owner[120][320], framed[120][320];
    memset(owner, 0, sizeof owner);
    memset(framed, 0, sizeof framed);
    for (int p = 0; p < PANE_COUNT; p++) {
        if (!l->pane[p].shown)
            continue;
        struct rect f = l->pane[p].frame, b = l->pane[p].body;
        assert_true(inside(f, l->screen));
        assert_true(inside(b, f));
        for (int q = 0; q < p; q++)
            if (l->pane[q].shown)
                assert_false(overlap(b, l->pane[q].body));
        for (int y = b.y; y < b.y + b.h; y++)
            for (int x = b.x; x < b.x + b.w; x++)
                owner[y][x] = 1;
        if (p == PANE_INPUT)
            continue; /* no frame of its own */
        for (int y = f.y; y < f.y + f.h; y++)
            for (int x = f.x; x < f.x + f.w; x++)
                if (y == f.y || y == f.y + f.h - 1 || x == f.x || x == f.x + f.w - 1)
                    framed[y][x] = 1;
    }
    for (int y = 1; y < h; y++)
        for (int x = 0; x < w; x++)
            assert_int_equal(owner[y][x] + framed[y][x], 1); /* no hole, and no frame through a body */
}

static void every_size(void **state)
{
    (void)state;
    for (int w = 1; w <= 310; w += w < 130 ? 1 : 7) {
        for (int h = 1; h <= 110; h += h < 66 ? 1 : 5) {
            for (int p = 0; p < LAYOUT_PRESET_COUNT; p++) {
                struct layout l;
                layout_compute(w, h, (enum layout_preset)p, PANE_INPUT, false, 1 + h % 9, &l);
                assert_int_equal(l.too_small, w < LAYOUT_MIN_W || h < LAYOUT_MIN_H);
                if (!l.too_small) {
                    check(&l, w, h);
                    assert_true(l.pane[PANE_CHAT].shown && l.pane[PANE_INPUT].shown);
                    assert_true(l.pane[PANE_CHAT].body.h >= 2);
                }
            }
        }
    }
}

static void usual_sizes(void **state)
{
    (void)state;
#define BIT(p) (1u << PANE_##p)
    static const struct {
        int w, h;
        enum layout_preset preset;
        unsigned shown;
    } rows[] = {
        {40, 12, LAYOUT_BALANCED, BIT(QUEUE)},
        {80, 24, LAYOUT_CHAT, BIT(SESSIONS)},
        {80, 24, LAYOUT_BALANCED, BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH) | BIT(KV) | BIT(RATES)},
        {120, 36, LAYOUT_BALANCED, BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH) | BIT(KV) | BIT(RATES)},
        {80, 24, LAYOUT_SCHEDULER, BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH)},
        {80, 24, LAYOUT_KV, BIT(SESSIONS) | BIT(QUEUE) | BIT(KV)},
        {120, 36, LAYOUT_SCHEDULER,
         BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH) | BIT(KV) | BIT(RATES) | BIT(LATENCY) | BIT(EVENTS)},
        {200, 60, LAYOUT_SCHEDULER,
         BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH) | BIT(KV) | BIT(RATES) | BIT(LATENCY) | BIT(EVENTS)},
        {200, 60, LAYOUT_KV, BIT(SESSIONS) | BIT(QUEUE) | BIT(BATCH) | BIT(KV) | BIT(RATES) | BIT(LATENCY)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct layout l;
        unsigned shown = 0;
        layout_compute(rows[i].w, rows[i].h, rows[i].preset, PANE_INPUT, false, 1, &l);
        for (int p = 0; p < PANE_COUNT; p++)
            shown |= l.pane[p].shown ? 1u << p : 0;
        assert_int_equal(shown, rows[i].shown | BIT(CHAT) | BIT(INPUT));
    }
}

static void zoom(void **state)
{
    (void)state;
    for (int p = 0; p < PANE_COUNT; p++) {
        struct layout l;
        layout_compute(100, 30, LAYOUT_BALANCED, (enum pane_id)p, true, 1, &l);
        bool chat = p == PANE_CHAT || p == PANE_INPUT;
        for (int q = 0; q < PANE_COUNT; q++)
            assert_int_equal(l.pane[q].shown, chat ? q == PANE_CHAT || q == PANE_INPUT : q == p);
        check(&l, 100, 30);
    }
}

/* The input line grows with what is typed, up to a third of the chat, and never drives it out. */
static void input_grows(void **state)
{
    (void)state;
    struct layout l;
    int last = 0;
    for (int rows = 0; rows < 100; rows++) {
        layout_compute(80, 24, LAYOUT_BALANCED, PANE_INPUT, false, rows, &l);
        int h = l.pane[PANE_INPUT].body.h;
        assert_true(h >= 1 && h >= last && h <= rows + 1);
        assert_true(h <= l.pane[PANE_CHAT].body.h);
        last = h;
    }
    assert_true(last >= 3);
}

static void focus_order(void **state)
{
    (void)state;
    struct layout l;
    layout_compute(80, 24, LAYOUT_BALANCED, PANE_INPUT, false, 1, &l);
    static const enum pane_id order[] = {PANE_SESSIONS, PANE_CHAT,  PANE_QUEUE, PANE_BATCH,
                                         PANE_KV,       PANE_RATES, PANE_INPUT};
    enum pane_id at = PANE_INPUT;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        enum pane_id next = layout_next(&l, at, 1);
        assert_int_equal(next, order[i]);
        assert_int_equal(layout_next(&l, next, -1), at);
        at = next;
    }
    /* From a pane that this layout doesn't show. */
    assert_int_equal(layout_next(&l, PANE_LATENCY, 1), PANE_INPUT);
}

static void names(void **state)
{
    (void)state;
    for (int p = 0; p < LAYOUT_PRESET_COUNT; p++) {
        enum layout_preset back = LAYOUT_PRESET_COUNT;
        assert_true(layout_preset_parse(layout_preset_name((enum layout_preset)p), &back));
        assert_int_equal(back, p);
    }
    enum layout_preset same = LAYOUT_KV;
    assert_false(layout_preset_parse("tabs", &same));
    assert_int_equal(same, LAYOUT_KV);
    for (int p = 0; p < PANE_COUNT; p++)
        assert_non_null(pane_name((enum pane_id)p));
    assert_null(pane_name(PANE_COUNT));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),  cmocka_unit_test(usual_sizes), cmocka_unit_test(zoom),
        cmocka_unit_test(input_grows), cmocka_unit_test(focus_order), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
