/* What goes wrong: each allocation failing once, and themes with random damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "tests/support/ui_scene.h"

/* A chat from beginning to end, drawn. What fails must say so and leave the rest whole. */
static void chat(void)
{
    struct grid g = {0};
    struct transcript *t = transcript_create();
    if (!t)
        return;
    if (grid_resize(&g, 60, 20)) {
        transcript_add(t, MSG_USER, "a question", 10);
        size_t i = transcript_add(t, MSG_ASSISTANT, "", 0);
        for (int k = 0; i != SIZE_MAX && k < 20; k++) {
            size_t before, after;
            const char *text = transcript_text(t, i, &before);
            char kept[512];
            assert_true(before < sizeof kept);
            memcpy(kept, text, before);
            bool added = transcript_append(t, i, "some **words** and\n", 19);
            text = transcript_text(t, i, &after);
            assert_int_equal(after, added ? before + 19 : before);
            assert_memory_equal(text, kept, before);
            transcript_draw(t, &g, (struct rect){0, 0, 60, 20}, true);
        }
        transcript_search(t, "words");
        transcript_search_next(t, 1);
        transcript_end(t, i, NULL);
        transcript_set_text(t, 0, "another", 7);
        transcript_draw(t, &g, (struct rect){0, 0, 40, 20}, false);
    } else {
        assert_int_equal(g.w * g.h, 0);
    }
    grid_free(&g);
    transcript_destroy(t);
}

static void out_of_memory(void **state)
{
    (void)state;
    mem_fail_at(SIZE_MAX); /* counts, and never fails */
    chat();
    size_t allocations = mem_fail_at(0);
    assert_true(allocations > 10);
    for (size_t n = 1; n <= allocations; n++) {
        mem_fail_at(n);
        chat();
        mem_fail_at(0);
    }
}

/* Bytes of a good theme changed, dropped and doubled: it is read or refused with file and line, and nothing else happens. */
static void damaged_themes(void **state)
{
    (void)state;
    static const char good[] =
        "name: t\nbackground: dark\nroles:\n  text: default\n  dim: {fg: 8, attrs: [dim, bold]}\n"
        "  selected: &s {fg: '#ffffff', bg: 237}\n  search: *s\n"
        "sessions: [75, 215, 114, 176, 222, 80, 210, {fg: 149}]\n";
    struct rng rng;
    rng_seed(&rng, 77);
    int refused = 0, rounds = 5000;
    for (int i = 0; i < rounds; i++) {
        char yaml[sizeof good + 64];
        size_t n = sizeof good - 1;
        memcpy(yaml, good, n);
        for (uint64_t k = 1 + rng_below(&rng, 3); k; k--) {
            size_t at = rng_below(&rng, n);
            switch (rng_below(&rng, 3)) {
            case 0: yaml[at] = (char)rng_below(&rng, 256); break;
            case 1: memmove(yaml + at, yaml + at + 1, --n - at); break;
            default: {
                size_t len = rng_below(&rng, 16);
                len = len < n - at ? len : n - at;
                memmove(yaml + at + len, yaml + at, n - at);
                n += len;
            }
            }
        }
        struct theme t;
        struct weft_err err = {0};
        enum weft_rc rc = theme_parse(yaml, n, "t.yaml", &t, &err);
        assert_true(rc == WEFT_OK || rc == WEFT_CONFIG_INVALID);
        if (rc) {
            refused++;
            int line;
            assert_int_equal(sscanf(err.message, "t.yaml:%d:", &line), 1);
            assert_true(line >= 1);
        }
    }
    assert_true(refused > rounds / 4 && refused < rounds);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(damaged_themes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
