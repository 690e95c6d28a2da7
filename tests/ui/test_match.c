/* Fuzzy matching: what is found, and what comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "ui/match.h"

static int score(const char *pattern, const char *text)
{
    return match_score(pattern, strlen(pattern), text);
}

static void found_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool found;
    } rows[] = {
        {"", "anything", true},
        {"prd", "priority-down", true},
        {"PD", "priority-down", true},
        {"pdr", "priority-down", false},
        {"next l", "next-layout", true},
        {"zz", "freeze", false},
        {"e", "", false},
        {"freezee", "freeze", false},
        {"eee", "freeze", true},
        {"eeee", "freeze", false},
        {"日", "日本", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((score(rows[i].pattern, rows[i].text) >= 0) != rows[i].found)
            fail_msg("%s in %s", rows[i].pattern, rows[i].text);
}

static void better_looks_better(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *better, *worse;
    } rows[] = {
        {"the", "theme", "other"},          /* the beginning */
        {"pd", "priority-down", "updated"}, /* beginnings of words */
        {"stat", "stats", "set-that"},      /* a run */
        {"fn", "find-next", "freeze-on"},   /* both */
        {"lay", "layout", "play"},          /* the beginning against the middle */
        {"ne", "next-layout", "previous-one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (score(rows[i].pattern, rows[i].better) <= score(rows[i].pattern, rows[i].worse))
            fail_msg("%s: %s %d, %s %d", rows[i].pattern, rows[i].better,
                     score(rows[i].pattern, rows[i].better), rows[i].worse,
                     score(rows[i].pattern, rows[i].worse));
}

/* Found exactly when the characters occur in order, however the score comes about. */
static void finds_subsequences(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        char pattern[5] = "", text[24] = "";
        size_t n = rng_below(&rng, sizeof pattern), len = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < n; i++)
            pattern[i] = (char)('a' + rng_below(&rng, 3));
        for (size_t i = 0; i < len; i++)
            text[i] = "abc-AB"[rng_below(&rng, 6)];
        size_t at = 0;
        for (size_t i = 0; i < len && at < n; i++)
            at += (text[i] | 0x20) == pattern[at];
        assert_int_equal(match_score(pattern, n, text) >= 0, at == n);
    }
}

static void lists(void **state)
{
    (void)state;
    struct view_item items[] = {
        {.label = "new-session", .detail = "open a new session"},
        {.label = "next-session", .detail = "go on"},
        {.label = "session", .detail = "go to session 1 ... 9"},
        {.label = "theme", .detail = "choose a theme"},
        {.label = "redraw", .detail = "draw the session afresh"},
    };
    size_t n = match_items("session", 7, items, 5);
    assert_int_equal(n, 4);
    assert_string_equal(items[0].label, "session");
    assert_string_equal(items[1].label, "new-session"); /* equals keep their order */
    assert_string_equal(items[2].label, "next-session");
    assert_string_equal(items[3].label, "redraw"); /* by what it is about */
    assert_int_equal(match_items("xyz", 3, items, 4), 0);
    assert_int_equal(match_items("", 0, items, 4), 4);
}

static void long_texts(void **state)
{
    (void)state;
    char text[3 * MATCH_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    text[MATCH_TEXT_MAX - 1] = 'a';
    text[MATCH_TEXT_MAX] = 'b';
    assert_true(score("a", text) >= 0);
    assert_true(score("b", text) < 0); /* not looked at any more */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_or_not),       cmocka_unit_test(better_looks_better),
        cmocka_unit_test(finds_subsequences), cmocka_unit_test(lists),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
