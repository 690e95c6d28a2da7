/* The input line: readline fed by hand, its drafts, histories and our own commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <readline/readline.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "ui/term/editor.h"

#define UP    "\x1b[A"
#define DOWN  "\x1b[B"
#define LEFT  "\x1b[D"
#define HOME  "\x1b[H"
#define ENTER "\r"

/* readline drops an undo record now and then when commands are cut short (8.2); the sanitizer is to look at ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libreadline";
}

static const char *candidate(void *ctx, const char *line, size_t n, size_t start, size_t index)
{
    static const char *const words[] = {"/stats", "/stop", "/system", NULL};
    (void)ctx;
    for (size_t i = 0; start == 0 && words[i]; i++)
        if (strncmp(words[i], line, n) == 0 && index-- == 0)
            return words[i];
    return NULL;
}

static struct editor_draft *one, *two;

static int open_editor(void **state)
{
    (void)state;
    const struct editor_hooks hooks = {candidate, NULL};
    setenv("INPUTRC", "/dev/null", 1);
    struct weft_err err;
    if (editor_open(&hooks, &err) != WEFT_OK)
        return -1;
    one = editor_draft_create();
    two = editor_draft_create();
    editor_edit(one);
    return 0;
}

static int close_editor(void **state)
{
    (void)state;
    editor_draft_free(one);
    editor_draft_free(two);
    editor_close();
    return 0;
}

/* Types; returns the line when one was entered (the caller frees), else NULL. */
static char *type(const char *keys)
{
    size_t used;
    char *line = NULL;
    editor_feed(keys, strlen(keys), &used, &line);
    return line;
}

static void enter(const char *text)
{
    char *line = type(text);
    assert_null(line);
    line = type(ENTER);
    assert_non_null(line);
    assert_string_equal(line, text);
    mem_free(line);
}

static void assert_line(const char *text, size_t point)
{
    struct editor_view v;
    editor_get(&v);
    assert_int_equal(v.len, strlen(text));
    assert_memory_equal(v.text, text, v.len);
    assert_int_equal(v.point, point);
}

static void line_by_line(void **state)
{
    (void)state;
    enter("hello");
    assert_line("", 0);
    type("caf\xc3\xa9 \xe4\xb8\xad" LEFT "x");
    assert_line("caf\xc3\xa9 x\xe4\xb8\xad", 7);
    type("\x15"); /* Ctrl-U */
    type("\x0b"); /* Ctrl-K */
    assert_line("", 0);
    assert_null(type("\x04")); /* Ctrl-D on an empty line is nothing */
    assert_line("", 0);
}

static void what_follows_enter_is_left(void **state)
{
    (void)state;
    size_t used;
    char *line = NULL;
    assert_true(editor_feed("ab\rcd", 5, &used, &line));
    assert_int_equal(used, 3);
    assert_string_equal(line, "ab");
    mem_free(line);
    assert_line("", 0);
}

static void several_lines(void **state)
{
    (void)state;
    type("first\nsecond");
    type("\x1b\r"
         "3rd");
    assert_line("first\nsecond\n3rd", 16);
    type(UP);
    assert_line("first\nsecond\n3rd", 9);
    type(UP);
    assert_line("first\nsecond\n3rd", 3);
    type(DOWN DOWN);
    assert_line("first\nsecond\n3rd", 16);
    type(HOME);
    assert_line("first\nsecond\n3rd", 13);
    char *line = type(ENTER);
    assert_string_equal(line, "first\nsecond\n3rd");
    mem_free(line);
    type(UP); /* one entry of history, not three */
    assert_line("first\nsecond\n3rd", 16);
}

static void paste_is_one_change(void **state)
{
    (void)state;
    type("ab" LEFT);
    editor_paste_begin(); /* in two pieces, as it may arrive */
    assert_int_equal(editor_insert("1\n2", 3), 3);
    editor_paste_begin();
    assert_int_equal(editor_insert("\n3", 2), 2);
    editor_paste_end();
    assert_line("a1\n2\n3b", 6);
    type("\x1f"); /* Ctrl-_: undo */
    assert_line("ab", 1);
}

static void history_and_draft_of_each(void **state)
{
    (void)state;
    enter("to one");
    type("half" LEFT);
    editor_edit(two);
    assert_line("", 0);
    type(UP);
    assert_line("", 0); /* no history here */
    enter("to two");
    type(UP);
    assert_line("to two", 6);
    editor_edit(one);
    assert_line("half", 3);
    type(UP);
    assert_line("to one", 6);
    type(DOWN);
    assert_line("half", 4);
    type(UP "X"); /* an edited entry, left behind */
    editor_edit(two);
    assert_line("to two", 6);
    type(DOWN);
    assert_line("to two", 6); /* not the line that was saved in the other session */
    editor_edit(one);
    assert_line("to oneX", 7); /* as it was left; the entry itself is unchanged */
    type(UP);
    assert_line("to one", 6);
    type("\x1f\x1f\x1f");
    editor_edit(NULL);
    assert_null(type("dropped"));
    editor_edit(one);
    editor_set("", 0);
}

static void repeated_lines_are_kept_once(void **state)
{
    (void)state;
    enter("a");
    enter("b");
    enter("b");
    editor_keep_history(false);
    enter("c");
    editor_keep_history(true);
    type(UP);
    assert_line("b", 1);
    type(UP);
    assert_line("a", 1);
}

static void completion(void **state)
{
    (void)state;
    struct editor_view v;
    type("/sy\t");
    assert_line("/system ", 8);
    type("\x15/st\t");
    assert_line("/st", 3);
    editor_get(&v);
    assert_true(v.listing);
    type("o");
    editor_get(&v);
    assert_false(v.listing);
    type("\t");
    assert_line("/stop ", 6);
    type("x\t"); /* nothing known there, and no file names */
    assert_line("/stop x", 7);
}

static void search_backwards(void **state)
{
    (void)state;
    struct editor_view v;
    enter("apples");
    enter("pears");
    type("\x12pp");
    assert_true(editor_busy());
    editor_get(&v);
    assert_non_null(v.prompt);
    assert_non_null(strstr(v.prompt, "i-search"));
    assert_non_null(strstr(v.prompt, "pp"));
    assert_line("apples", 1);
    editor_abort();
    assert_false(editor_busy());
    editor_get(&v);
    assert_null(v.prompt);
    assert_line("apples", 1); /* what was found stays, as with readline's own Esc */
    editor_set("", 0);
    type("\x12pea");
    editor_edit(two); /* a search doesn't survive the change of session */
    assert_false(editor_busy());
    editor_edit(one);
    type("\x12pp");
    char *line = type(ENTER);
    assert_string_equal(line, "apples");
    mem_free(line);
}

static void a_command_that_waits_for_a_key(void **state)
{
    (void)state;
    static const char *const starts[] = {"\x16",
                                         "\x18",
                                         "\x12",
                                         "\x1b"
                                         "5",
                                         "\x1d",
                                         "\x1b",
                                         "\x18\x1b",
                                         "\x1b\x1d",
                                         "\x1b"
                                         "5\x1b",
                                         "\x1b"
                                         "5\x18",
                                         "\x12\x1b",
                                         "\x12\x18"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        type("ab");
        type(starts[i]);
        editor_edit(two);
        type("x");
        assert_line("x", 1);
        type(starts[i]);
        editor_set("y", 1);
        type("z");
        assert_line("yz", 2);
        type(starts[i]);
        editor_insert("p", 1);
        editor_set("", 0);
        editor_edit(one);
        editor_set("", 0);
    }
}

static void anything_at_all(void **state)
{
    (void)state;
    static const char *const keys[] = {UP,
                                       DOWN,
                                       LEFT,
                                       HOME,
                                       "\x1b[3~",
                                       "\x1b",
                                       "\x12",
                                       "\x13",
                                       "\x16",
                                       "\x18",
                                       "\x1d",
                                       "\x1f",
                                       "\x19",
                                       "\x1b\x19",
                                       "\x1by",
                                       "\x1b"
                                       "7",
                                       "\x14",
                                       "/st\t",
                                       "\t",
                                       "\r",
                                       "\n",
                                       "\x1b\r",
                                       "\x07",
                                       "\x04",
                                       "\x0f",
                                       "\x1b.",
                                       "\x1b<",
                                       "\x1b>",
                                       "\x18\x18",
                                       "\x18\x15",
                                       "\x18(",
                                       "\x18)",
                                       "\x18"
                                       "e",
                                       "\x1b#",
                                       "\x1b-",
                                       "\x1b?",
                                       "\x1b*"};
    struct rng rng;
    rng_seed(&rng, 11);
    for (int i = 0; i < 30000; i++) {
        char random[] = {(char)rng_below(&rng, 256), 0};
        struct editor_view v;
        switch (rng_below(&rng, 16)) {
        case 0: editor_edit(two); break;
        case 1: editor_edit(one); break;
        case 2:
            editor_paste_begin();
            editor_insert("pasted\ntext", 11);
            editor_paste_end();
            break;
        case 3: editor_set("replaced", 8); break;
        case 4: editor_edit(NULL); break;
        case 5: mem_free(type(random)); break;
        default: mem_free(type(keys[rng_below(&rng, sizeof keys / sizeof *keys)])); break;
        }
        editor_get(&v);
        assert_true(v.point <= v.len && v.len <= EDITOR_TEXT_MAX);
        if (v.len > 1000)
            editor_set("", 0);
    }
    editor_edit(one);
    editor_set("", 0);
}

static void unknown_sequences_leave_the_line_alone(void **state)
{
    (void)state;
    type("ab");
    type("\x1b[99~");
    type("\x1b[?1;2c");
    type("\x1b[1;6R");
    assert_line("ab", 2);
}

static void vi_mode(void **state)
{
    (void)state;
    char path[] = "/tmp/weft-inputrc-XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "w");
    fputs("set editing-mode vi\n", f);
    fclose(f);
    rl_read_init_file(path); /* readline reads inputrc by itself once a process only */
    remove(path);
    assert_true(editor_vi());
    editor_edit(two);
    type("abc");
    type("\x1b");
    type("0x");
    assert_line("bc", 0);
    type("i\nZ"); /* Ctrl-J is a new line here too */
    assert_line("\nZbc", 2);
    editor_set("", 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_editor, close_editor)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(line_by_line),
        TEST(what_follows_enter_is_left),
        TEST(several_lines),
        TEST(paste_is_one_change),
        TEST(history_and_draft_of_each),
        TEST(repeated_lines_are_kept_once),
        TEST(completion),
        TEST(search_backwards),
        TEST(a_command_that_waits_for_a_key),
        TEST(anything_at_all),
        TEST(unknown_sequences_leave_the_line_alone),
        TEST(vi_mode), /* last: the mode stays */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
