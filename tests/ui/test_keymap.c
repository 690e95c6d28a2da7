/* The table of actions and keys, and the entry line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ui/entry.h"
#include "ui/keymap.h"

static void table_is_sound(void **state)
{
    (void)state;
    for (int a = 1; a < ACTION_COUNT; a++) {
        const struct action_info *info = keymap_action((enum action)a);
        assert_int_equal(info->id, a);
        assert_true(info->group < GROUP_COUNT);
        assert_true(info->help && *info->help);
        assert_true(strlen(info->help) <= 42); /* fits the help screen at 80 columns */
        assert_true(!info->args || info->slash);
        for (int b = 1; b < a; b++) {
            const struct action_info *other = keymap_action((enum action)b);
            assert_string_not_equal(info->name, other->name);
            assert_true(!info->slash || !other->slash || strcmp(info->slash, other->slash) != 0);
        }
        char keys[64];
        assert_true(info->slash || *keymap_keys((enum action)a, keys, sizeof keys)); /* some way to call it */
    }
    assert_null(keymap_action(ACTION_NONE));
    assert_null(keymap_action(ACTION_COUNT));
}

static void keys_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < keymap_n_bindings; i++) {
        for (size_t k = 0; k < i; k++) {
            const struct key_binding *a = &keymap_bindings[i], *b = &keymap_bindings[k];
            bool meet = a->scope == b->scope || a->scope == SCOPE_ANY || b->scope == SCOPE_ANY;
            assert_false(meet && a->key == b->key);
        }
        /* In the input line, letters are text. */
        if (keymap_bindings[i].scope != SCOPE_PANES)
            assert_true(keymap_bindings[i].key < 0x20 || keymap_bindings[i].key >= 0x110000);
    }
}

static void lookups(void **state)
{
    (void)state;
    static const struct {
        ui_key key;
        enum action pane, input;
    } rows[] = {
        {UI_KEY_F1, ACTION_HELP, ACTION_HELP},
        {'?', ACTION_HELP, ACTION_NONE},
        {UI_KEY_F1 + 6, ACTION_PRIO_UP, ACTION_PRIO_UP},
        {'q', ACTION_QUIT, ACTION_NONE},
        {'/', ACTION_FIND, ACTION_NONE},
        {'l' | UI_MOD_CTRL, ACTION_REDRAW, ACTION_REDRAW},
        {'3' | UI_MOD_ALT, ACTION_SESSION_GOTO, ACTION_SESSION_GOTO},
        {UI_KEY_ENTER, ACTION_SELECT, ACTION_SEND},
        {UI_KEY_HOME, ACTION_HOME, ACTION_NONE}, /* readline's */
        {UI_KEY_PGUP, ACTION_PAGE_UP, ACTION_PAGE_UP},
        {'p' | UI_MOD_CTRL, ACTION_NONE, ACTION_NONE}, /* history is readline's */
        {'x', ACTION_NONE, ACTION_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(keymap_lookup(rows[i].key, false), rows[i].pane);
        assert_int_equal(keymap_lookup(rows[i].key, true), rows[i].input);
    }
    assert_int_equal(keymap_digit('3' | UI_MOD_ALT), 3);
    assert_int_equal(keymap_digit('3'), 0);
    assert_int_equal(keymap_digit('0' | UI_MOD_ALT), 0);
    assert_int_equal(keymap_digit('3' | UI_MOD_ALT | UI_MOD_CTRL), 0);
}

static void names(void **state)
{
    (void)state;
    static const struct {
        ui_key key;
        const char *name;
    } rows[] = {{UI_KEY_F12, "F12"},
                {'l' | UI_MOD_CTRL, "Ctrl-L"},
                {'1' | UI_MOD_ALT, "Alt-1"},
                {UI_KEY_BACKTAB, "Shift-Tab"},
                {UI_KEY_ENTER | UI_MOD_ALT, "Alt-Enter"},
                {'?', "?"}};
    char name[KEY_NAME_MAX], keys[64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(key_name(rows[i].key, name), rows[i].name);
    assert_string_equal(keymap_keys(ACTION_HELP, keys, sizeof keys), "F1, ?");
    assert_string_equal(keymap_keys(ACTION_SET, keys, sizeof keys), "");
}

static void slash(void **state)
{
    (void)state;
    static const char *const promised[] = {
        "/help",  "/new",    "/rename", "/delete", "/clear",    "/system", "/set",    "/show",
        "/prio",  "/stop",   "/theme",  "/layout", "/stats",    "/quit",   "/export", "/save",
        "/load",  "/search", "/why",    "/regen",  "/continue", "/edit",   "/pause",  "/resume",
        "/queue", "/read",   "/copy",   "/mouse",  "/model",    "/fork",   "/demo",   "/record"};
    for (size_t i = 0; i < sizeof promised / sizeof promised[0]; i++)
        assert_int_not_equal(keymap_slash(promised[i], strlen(promised[i])), ACTION_NONE);
    assert_int_equal(keymap_slash("/ne", 3), ACTION_NONE);
    assert_int_equal(keymap_slash("/newer", 6), ACTION_NONE);
    const struct action_info *found[4];
    assert_int_equal(keymap_complete("/s", 2, found, 4),
                     7); /* system, set, show, save, search, stop, stats */
    assert_int_equal(keymap_complete("/sys", 4, found, 4), 1);
    assert_int_equal(found[0]->id, ACTION_SYSTEM);
    assert_int_equal(keymap_complete("/zz", 3, found, 4), 0);
}

/* What is missing, or too much, behind a command. */
static void arguments(void **state)
{
    (void)state;
    static const struct {
        enum action action;
        const char *args, *want; /* NULL: in order */
    } rows[] = {
        {ACTION_HELP, NULL, NULL},
        {ACTION_HELP, "  ", NULL},
        {ACTION_HELP, "me", "/help takes nothing behind it"},
        {ACTION_NEW, "", NULL},
        {ACTION_NEW, "three little words", NULL}, /* the last takes the rest */
        {ACTION_PRIO, "", NULL},
        {ACTION_PRIO, "high", NULL},
        {ACTION_SET, "", "/set needs NAME: /set NAME VALUE"},
        {ACTION_SET, "seed", "/set needs VALUE: /set NAME VALUE"},
        {ACTION_SET, " seed  1", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char why[128] = "";
        assert_int_equal(keymap_check_args(rows[i].action, rows[i].args, why, sizeof why),
                         rows[i].want == NULL);
        assert_string_equal(why, rows[i].want ? rows[i].want : "");
    }
    char why[128];
    assert_true(keymap_check_args(ACTION_EXPORT, "", why, sizeof why));
    assert_true(keymap_check_args(ACTION_EXPORT, "json", why, sizeof why));
    assert_true(keymap_check_args(ACTION_EXPORT, "md my notes.md", why, sizeof why));
    assert_false(keymap_check_args(ACTION_EXPORT, "html", why, sizeof why));
    assert_string_equal(why, "/export: html isn't one of md|json");
}

/* ── the entry line ── */

static void expect_entry(const char *text, size_t cursor, int w, int h, int x, int y, const char *want)
{
    struct grid g = {0};
    struct buf got = BUF_INIT;
    struct view_input in = {.text = text, .len = strlen(text), .cursor = cursor};
    assert_true(grid_resize(&g, w, h));
    entry_draw(&in, &g, (struct rect){0, 0, w, h}, true);
    assert_true(grid_dump(&g, &got));
    assert_string_equal(buf_str(&got), want);
    assert_int_equal(g.cursor_x, x);
    assert_int_equal(g.cursor_y, y);
    buf_free(&got);
    grid_free(&g);
}

static void entry(void **state)
{
    (void)state;
    expect_entry("", 0, 8, 1, 2, 0, "›       \n");
    expect_entry("abc", 1, 8, 1, 3, 0, "› abc   \n");
    expect_entry("日本", 3, 8, 1, 4, 0, "› 日本  \n");             /* the cursor is in columns, not bytes */
    expect_entry("abcdef", 6, 8, 2, 2, 1, "› abcdef\n        \n"); /* behind a full row: on the next */
    expect_entry("abcdefgh", 8, 8, 2, 4, 1, "› abcdef\n  gh    \n");
    expect_entry("a\nb", 2, 8, 2, 2, 1, "› a     \n  b     \n");
    expect_entry("a\nb\nc", 0, 8, 2, 2, 0, "› a     \n  b     \n"); /* the cursor's row is always seen */
    expect_entry("a\nb\nc", 5, 8, 2, 3, 1, "  b     \n  c     \n");
    expect_entry("abcde日", 5, 8, 2, 2, 1, "› abcde \n  日    \n");
    struct view_input in = {.text = "one\ntwo\nthree", .len = 13};
    assert_int_equal(entry_rows(&in, 20), 3);
    in = (struct view_input){.prompt = "(reverse-i-search)`x': ", .text = "xyz", .len = 3};
    assert_int_equal(entry_rows(&in, 24), 2);
    assert_int_equal(entry_rows(&in, 1) > 1, true);
}

/* The manual has every command. */
static void manual(void **state)
{
    (void)state;
    static char text[64 * 1024];
    FILE *f = fopen(TEST_SOURCE_DIR "/docs/weft.1", "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    assert_true(n > 0 && n < sizeof text - 1);
    for (int a = 1; a < ACTION_COUNT; a++) {
        char command[32];
        const char *slash_command = keymap_action((enum action)a)->slash;
        snprintf(command, sizeof command, "\\fB%s\\fR", slash_command ? slash_command : "");
        if (slash_command && !strstr(text, command))
            fail_msg("%s isn't in docs/weft.1", slash_command);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_sound), cmocka_unit_test(keys_are_unique), cmocka_unit_test(lookups),
        cmocka_unit_test(names),          cmocka_unit_test(slash),           cmocka_unit_test(arguments),
        cmocka_unit_test(entry),          cmocka_unit_test(manual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
