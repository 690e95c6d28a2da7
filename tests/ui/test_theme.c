/* Themes: those that ship, and what is said of mistakes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "tests/support/ui_scene.h"

static const char *const shipped[] = {"default", "light", "contrast", "colourblind", "mono"};
enum { N_SHIPPED = sizeof shipped / sizeof shipped[0] };
static const int depths[] = {256, 88, 16, 8, 0};

/* No cell can ever have equal colours, and the terminal's background shows through all but what must stand out. */
static void pain_03_shipped_themes(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHIPPED; i++) {
        struct theme t;
        scene_theme(&t, TEST_SOURCE_DIR, shipped[i]);
        assert_string_equal(t.name, shipped[i]);
        for (int r = 0; r < ROLE_COUNT; r++) {
            for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++) {
                for (int sel = 0; sel < 2; sel++) {
                    struct theme_style s =
                        theme_style(&t, (style_t)(r | (sel ? STYLE_SELECTED : 0)), depths[d]);
                    assert_true(s.fg < (depths[d] ? depths[d] : 1) && s.bg < (depths[d] ? depths[d] : 1));
                    assert_true(s.fg < 0 || s.fg != s.bg);
                    if (depths[d] == 0)
                        assert_true(s.fg == -1 && s.bg == -1);
                    if (!sel && r != ROLE_SELECTED && r != ROLE_SEARCH)
                        assert_int_equal(s.bg, -1);
                }
                /* A chosen row is told apart at any depth, also where there is no colour. */
                struct theme_style chosen = theme_style(&t, ROLE_TEXT | STYLE_SELECTED, depths[d]);
                assert_true(chosen.bg >= 0 || chosen.attrs & ATTR_REVERSE);
            }
        }
    }
}

/* At least eight sessions have a colour of their own, at 256 and still at 16. */
static void session_colours_differ(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHIPPED - 1; i++) { /* not mono */
        struct theme t;
        scene_theme(&t, TEST_SOURCE_DIR, shipped[i]);
        for (uint32_t a = 1; a <= 8; a++)
            for (uint32_t b = 1; b < a; b++)
                assert_int_not_equal(theme_style(&t, theme_session_role(a), 256).fg,
                                     theme_style(&t, theme_session_role(b), 256).fg);
        for (uint32_t a = 1; a <= 8; a++)
            for (uint32_t b = 1; b < a; b++)
                assert_int_not_equal(theme_style(&t, theme_session_role(a), 16).fg,
                                     theme_style(&t, theme_session_role(b), 16).fg);
    }
    assert_int_equal(theme_session_role(0), ROLE_TEXT);
    assert_int_equal(theme_session_role(1), theme_session_role(1 + THEME_SESSION_COLOURS));
    assert_int_equal(theme_session_char(1), '1');
    assert_int_equal(theme_session_char(10), 'a');
    assert_int_equal(theme_session_char(0), '?');
}

/* Text on the terminal's own background: never black in a dark theme, nor white in a light one. */
static void few_colours_stay_readable(void **state)
{
    (void)state;
    struct theme t;
    scene_theme(&t, TEST_SOURCE_DIR, "default");
    for (int r = 0; r < ROLE_COUNT; r++)
        for (int d = 8; d <= 16; d += 8)
            if (theme_style(&t, (style_t)r, d).bg < 0)
                assert_int_not_equal(theme_style(&t, (style_t)r, d).fg, 0);
    scene_theme(&t, TEST_SOURCE_DIR, "light");
    for (int r = 0; r < ROLE_COUNT; r++) {
        assert_int_not_equal(theme_style(&t, (style_t)r, 16).fg, 15);
        assert_int_not_equal(theme_style(&t, (style_t)r, 8).fg, 7);
    }
}

#define SESSIONS "sessions: [1, 2, 3, 4, 5, 6, 7, 8]\n"
#define HEAD     "name: t\nbackground: dark\n"
#define DEEP     "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["

static void mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        int line;
        const char *key, *value;
    } rows[] = {
        {HEAD "roles: {text: 7}\n" SESSIONS, 0, NULL, NULL}, /* right */
        {HEAD "roles:\n  text: 256\n" SESSIONS, 4, "text", "256"},
        {HEAD "roles:\n  text: '#12345'\n" SESSIONS, 4, "text", "#12345"},
        {HEAD "roles:\n  text: purple\n" SESSIONS, 4, "text", "purple"},
        {HEAD "roles:\n  text: [1]\n" SESSIONS, 4, "text", "a list"},
        {HEAD "roles:\n  txet: 7\n" SESSIONS, 4, "roles", "txet"},
        {HEAD "roles:\n  dim: {fg: 7, attrs: blink}\n" SESSIONS, 4, "dim.attrs", "blink"},
        {HEAD "roles:\n  dim: {fg: 7, attrs: [bold, {}]}\n" SESSIONS, 4, "dim.attrs", "a mapping"},
        {HEAD "roles:\n  dim: {fore: 7}\n" SESSIONS, 4, "dim", "fore"},
        {HEAD "roles:\n  dim: 7\n  dim: 8\n" SESSIONS, 5, "dim", "given twice"},
        {HEAD "roles: 7\n" SESSIONS, 3, "roles", "a scalar"},
        {HEAD "roles:\n  selected: {fg: 3, bg: 3}\n" SESSIONS, 4, "selected",
         "colour 3 on itself with 256 colours"},
        {HEAD "roles:\n  selected: {fg: 196, bg: 197}\n" SESSIONS, 4, "selected",
         "colour 9 on itself with 16 colours"},
        {HEAD "roles:\n  selected: {fg: red, bg: bright-red}\n" SESSIONS, 4, "selected",
         "colour 1 on itself with 8 colours"},
        {HEAD "roles: {}\nsessions: [1, 2]\n", 4, "sessions", "2 colours"},
        {HEAD "roles: {}\nsessions: [1, 2, 3, x, 5, 6, 7, 8]\n", 4, "sessions[3]", "x"},
        {HEAD "roles: {}\nsessions: none\n", 4, "sessions", "a scalar"},
        {HEAD "roles: {}\n" SESSIONS "colours: 3\n", 5, "colours", "unknown key"},
        {HEAD "name: u\nroles: {}\n" SESSIONS, 3, "name", "given twice"},
        {"name: t\nbackground: grey\nroles: {}\n" SESSIONS, 2, "background", "grey"},
        {"background: dark\nroles: {}\n" SESSIONS, 1, "name", "missing"},
        {"name: ''\nbackground: dark\nroles: {}\n" SESSIONS, 1, "name", ""},
        {"name: a name that is far too long for a theme\n", 1, "name",
         "a name that is far too long for a theme"},
        {"- 1\n", 1, "theme", "a list"},
        {"", 1, "theme", "nothing"},
        {HEAD "roles:\n\ttext: 7\n", 4, "theme",
         "not YAML: found character that cannot start any token while scanning for the next token"},
        {HEAD "roles: {text: 7\n", 4, "theme",
         "not YAML: did not find expected ',' or '}' while parsing a flow mapping"},
        {HEAD "roles: {}\n" SESSIONS "---\n" HEAD, 6, "theme", "a second document"},
        {HEAD "roles: " DEEP, 3, "theme", "nested too deeply"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct theme t, before;
        memset(&t, 0x5a, sizeof t);
        before = t;
        struct weft_err err = {0};
        enum weft_rc rc = theme_parse(rows[i].yaml, strlen(rows[i].yaml), "my.yaml", &t, &err);
        if (!rows[i].key) {
            assert_int_equal(rc, WEFT_OK);
            continue;
        }
        assert_int_equal(rc, WEFT_CONFIG_INVALID);
        assert_memory_equal(&t, &before, sizeof t); /* nothing changed */
        char want[64];
        snprintf(want, sizeof want, "my.yaml:%d: %s: ", rows[i].line, rows[i].key);
        if (strncmp(err.message, want, strlen(want)) != 0)
            fail_msg("row %zu: %s, expected %s", i, err.message, want);
        json_t *json = weft_err_json(&err);
        const json_t *context = json_object_get(json, "context");
        assert_string_equal(json_string_value(json_object_get(context, "file")), "my.yaml");
        assert_string_equal(json_string_value(json_object_get(context, "key")), rows[i].key);
        assert_string_equal(json_string_value(json_object_get(context, "value")), rows[i].value);
        assert_true(json_is_string(json_object_get(context, "allowed")));
        assert_int_equal((int)json_number_value(json_object_get(context, "line")), rows[i].line);
        json_decref(json);
    }
    assert_int_equal(theme_parse("", 0, "x", &(struct theme){.light = false}, NULL), WEFT_CONFIG_INVALID);
}

static void inheritance(void **state)
{
    (void)state;
    static const char yaml[] = HEAD "roles: {dim: {fg: 8, attrs: dim}, warn: yellow}\n" SESSIONS;
    struct theme t;
    assert_int_equal(theme_parse(yaml, sizeof yaml - 1, "x", &t, NULL), WEFT_OK);
    assert_int_equal(theme_style(&t, ROLE_BORDER_FOCUS, 256).fg, 8); /* border.focus → border → dim */
    assert_int_equal(theme_style(&t, ROLE_NOTE, 256).attrs, ATTR_DIM);
    assert_int_equal(theme_style(&t, ROLE_PRIO_CRITICAL, 256).fg, 3); /* → error → warn */
    /* The ninth session looks like the first where eight are given. */
    assert_int_equal(theme_style(&t, theme_session_role(9), 256).fg,
                     theme_style(&t, theme_session_role(1), 256).fg);
    /* Parents come before their children in the table, or they couldn't be applied in one pass. */
    static const int parents[] = {
#define X(id, key, parent, text) ROLE_##parent,
        THEME_ROLES(X)
#undef X
    };
    for (int r = 1; r < ROLE_SESSION_FIRST; r++)
        assert_true(parents[r] < r);
}

static void colours(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int at256, at16, at8;
    } rows[] = {
        {"default", -1, -1, -1}, {"red", 1, 1, 1},       {"bright-red", 9, 9, 1}, {"gray", 8, 8, -1},
        {"196", 196, 9, 1},      {"#ff0000", 196, 9, 1}, {"#FF0000", 196, 9, 1},  {"#808080", 244, 8, -1},
        {"0", 0, 0, 0},          {"255", 255, 7, 7},     {"#000000", 16, 0, 0},   {"#ffffff", 231, 15, 7},
        {"21", 21, 12, 4},
    };
    struct colour c;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(colour_parse(rows[i].text, &c));
        assert_int_equal(colour_at(&c, 256), rows[i].at256);
        assert_int_equal(colour_at(&c, 16), rows[i].at16);
        assert_int_equal(colour_at(&c, 8), rows[i].at8);
    }
    static const char *const bad[] = {"",    "-1",      "256",      "1000", "0x10", "#",
                                      "#12", "#12345g", "#1234567", "Red",  "1 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(colour_parse(bad[i], &c));
}

/* On a chosen row everything can still be read. */
static void selected_is_readable(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHIPPED; i++) {
        struct theme t;
        scene_theme(&t, TEST_SOURCE_DIR, shipped[i]);
        for (int r = 0; r < ROLE_COUNT; r++) {
            for (int d = 16; d <= 256; d += 240) {
                struct theme_style s = theme_style(&t, (style_t)r | STYLE_SELECTED, d);
                if (s.fg >= 0 && s.bg >= 0)
                    assert_true(colour_contrast(s.fg, s.bg) >= 3);
            }
        }
    }
    assert_true(colour_contrast(16, 231) > 20.9 && colour_contrast(16, 231) < 21.1);
    assert_true(colour_contrast(1, 1) == 1);
}

/* docs/themes.md has a row for each role, with its parent. */
static void documented(void **state)
{
    (void)state;
    static const int parents[] = {
#define X(id, key, parent, text) ROLE_##parent,
        THEME_ROLES(X)
#undef X
    };
    struct buf doc = BUF_INIT;
    int fd = open(TEST_SOURCE_DIR "/docs/themes.md", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(buf_read_fd(&doc, fd, 1 << 20), 0);
    close(fd);
    for (int r = 1; r < ROLE_SESSION_FIRST; r++) {
        char row[96];
        snprintf(row, sizeof row, "| `%s` | `%s` |", theme_role_key((enum role)r),
                 theme_role_key((enum role)parents[r]));
        if (!strstr(buf_str(&doc), row))
            fail_msg("docs/themes.md lacks %s", row);
    }
    buf_free(&doc);
}

static void plain(void **state)
{
    (void)state;
    struct theme t;
    theme_plain(&t);
    for (int r = 0; r < ROLE_COUNT; r++) {
        struct theme_style s = theme_style(&t, (style_t)r, 256);
        assert_true(s.fg == -1 && s.bg == -1);
    }
    assert_true(theme_style(&t, ROLE_TEXT | STYLE_SELECTED, 0).attrs & ATTR_REVERSE);
    assert_true(theme_style(&t, ROLE_TEXT | STYLE_BOLD | STYLE_UNDERLINE, 0).attrs ==
                (ATTR_BOLD | ATTR_UNDERLINE));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(pain_03_shipped_themes),
        cmocka_unit_test(session_colours_differ),
        cmocka_unit_test(few_colours_stay_readable),
        cmocka_unit_test(mistakes),
        cmocka_unit_test(inheritance),
        cmocka_unit_test(colours),
        cmocka_unit_test(selected_is_readable),
        cmocka_unit_test(documented),
        cmocka_unit_test(plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
