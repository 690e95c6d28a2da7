/* labels: unit pty */
/*
 * Every key and every slash command, once each, in a console of its own. The tables are checked against the program's: a key
 * bound in ui/keymap.c or a command named there that has no row here fails the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/console.h"
#include "ui/keymap.h"
#include "ui/term/decoder.h"

static struct console con;

/* Keys, and what they do: text that comes or text that goes. Neither: nothing to be seen by itself; the next step shows it. */
struct step {
    const char *keys, *sees, *loses;
};

/* clang-format off */
#define SEES(keys, text)  {keys, text, NULL}
#define LOSES(keys, text) {keys, NULL, text}
#define KEYS(keys)        {keys, NULL, NULL} /* as the last step: they end the program */
#define NONE              {{NULL, NULL, NULL}}
/* clang-format on */

static const char *const scroll_args[] = {"--sim", "--set", "sampling.max_tokens=200", NULL};

/* What a row begins with. */
enum scene { EMPTY, REPLY, STREAM, TWO, NINE, TALL, SHELL };
static const struct {
    const char *const *args;
    struct step steps[2];
} scenes[] = {
    [EMPTY] = {console_fast, NONE},
    [REPLY] = {console_fast, {SEES("hello\r", "64 tokens")}},
    [STREAM] = {console_slow, {SEES("hello\r", "RUNNING")}},
    [TWO] = {console_fast, {SEES(KEY_F2, "SESSIONS 2")}},
    [NINE] = {console_fast, {SEES(KEY_F2 KEY_F2 KEY_F2 KEY_F2 KEY_F2 KEY_F2 KEY_F2 KEY_F2, "SESSIONS 9")}},
    /* More than the screen holds; and the chat is the pane before the input line. */
    [TALL] = {scroll_args, {SEES("hello\r", " 200 tokens"), SEES("/layout chat\r", "layout: chat")}},
    [SHELL] = {console_fast, NONE},
};

static void take(const struct step *s)
{
    console_key(&con, s->keys);
    if (s->sees)
        console_sees(&con, s->sees);
    if (s->loses)
        console_loses(&con, s->loses);
}

static void begin(enum scene scene)
{
    console_start(&con, &(struct console_options){
                            .args = scenes[scene].args, .shell = scene == SHELL, .rows = 24, .cols = 100});
    for (size_t i = 0; i < sizeof scenes->steps / sizeof *scenes->steps && scenes[scene].steps[i].keys; i++)
        take(&scenes[scene].steps[i]);
}

/* --- keys --- */

#define WITH_CTRL(c) ((ui_key)(c) | UI_MOD_CTRL)
#define WITH_ALT(c)  ((ui_key)(c) | UI_MOD_ALT)
#define F(n)         ((ui_key)(UI_KEY_F1 + (n)-1))
#define TO_PANE      KEY_BACKTAB /* the one before the input line */
#define TO_LIST      KEY_TAB     /* the one behind it: the sessions */

/* `panes`: the keys go to a pane, else to the input line. */
static const struct key_row {
    ui_key key;
    bool panes;
    enum scene scene;
    struct step first[3];
    struct step does;
} key_rows[] = {
    {F(1), false, EMPTY, NONE, SEES(KEY_F1, "Alt-1 ... 9")},
    {'?', true, EMPTY, {KEYS(TO_PANE)}, SEES("?", "Alt-1 ... 9")},
    {F(2), false, EMPTY, NONE, SEES(KEY_F2, "SESSIONS 2")},
    {F(3), false, EMPTY, NONE, SEES(KEY_F3, "new-session")},
    {':', true, EMPTY, {KEYS(TO_PANE)}, SEES(":", "new-session")},
    {F(4), false, EMPTY, NONE, SEES(KEY_F4, "FROZEN")},
    {F(5), false, EMPTY, NONE, SEES(KEY_F5, "F4 freezes")},
    {F(7), false, EMPTY, NONE, SEES(KEY_F7, "1 new HIGH")},
    {F(8), false, EMPTY, NONE, SEES(KEY_F8, "1 new LOW")},
    {F(9), false, STREAM, NONE, SEES(KEY_F9, "stopped · ")},
    {F(10), false, EMPTY, NONE, KEYS(KEY_F10)},
    {'q', true, EMPTY, {KEYS(TO_PANE)}, KEYS("q")},
    {UI_KEY_ESC, false, STREAM, NONE, SEES(KEY_ESC, "stopped · ")},
    {WITH_CTRL('c'), false, STREAM, NONE, SEES(KEY_CTRL_C, "stopped · ")},
    {WITH_CTRL('z'), false, SHELL, NONE, SEES(KEY_CTRL_Z, "stopped")},
    {WITH_CTRL('l'), false, EMPTY, NONE, SEES(KEY_CTRL_L, "Welcome")},
    {WITH_ALT(UI_KEY_LEFT), false, STREAM, NONE, SEES(KEY_ALT_LEFT, "◀ step")},
    {WITH_ALT(UI_KEY_RIGHT), false, STREAM, NONE, SEES(KEY_ALT_RIGHT, "this is the present")},
    {'w', true, EMPTY, {KEYS(TO_PANE)}, SEES("w", "asks for nothing")},
    {UI_KEY_TAB, false, TWO, NONE, SEES(KEY_TAB, "p layout")},
    {UI_KEY_BACKTAB, false, TWO, NONE, SEES(KEY_BACKTAB, "p layout")},
    {WITH_ALT('1'), false, NINE, NONE, SEES(KEY_ALT("1"), "1 new NORMAL")},
    {WITH_ALT('2'), false, NINE, NONE, SEES(KEY_ALT("2"), "2 new NORMAL")},
    {WITH_ALT('3'), false, NINE, NONE, SEES(KEY_ALT("3"), "3 new NORMAL")},
    {WITH_ALT('4'), false, NINE, NONE, SEES(KEY_ALT("4"), "4 new NORMAL")},
    {WITH_ALT('5'), false, NINE, NONE, SEES(KEY_ALT("5"), "5 new NORMAL")},
    {WITH_ALT('6'), false, NINE, NONE, SEES(KEY_ALT("6"), "6 new NORMAL")},
    {WITH_ALT('7'), false, NINE, NONE, SEES(KEY_ALT("7"), "7 new NORMAL")},
    {WITH_ALT('8'), false, NINE, NONE, SEES(KEY_ALT("8"), "8 new NORMAL")},
    {WITH_ALT('9'), false, NINE, {SEES(KEY_ALT("1"), "1 new NORMAL")}, SEES(KEY_ALT("9"), "9 new NORMAL")},
    {WITH_ALT(UI_KEY_DOWN),
     false,
     NINE,
     {SEES(KEY_ALT("1"), "1 new NORMAL")},
     SEES(KEY_ALT_DOWN, "2 new NORMAL")},
    {WITH_ALT(UI_KEY_UP), false, NINE, NONE, SEES(KEY_ALT_UP, "8 new NORMAL")},
    {'r', true, EMPTY, {KEYS(TO_PANE)}, SEES("r", "Rename session 1")},
    {'d', true, EMPTY, {KEYS(TO_PANE)}, SEES("d", "Delete session 1")},
    {UI_KEY_DELETE, true, EMPTY, {KEYS(TO_PANE)}, SEES(KEY_DELETE, "Delete session 1")},
    {'+', true, EMPTY, {KEYS(TO_PANE)}, LOSES("+", "QUEUE")},
    {'_', true, EMPTY, {KEYS(TO_PANE), LOSES("+", "QUEUE")}, SEES("_", "QUEUE")},
    {'p', true, EMPTY, {KEYS(TO_PANE)}, SEES("p", "layout: scheduler")},
    {'P', true, EMPTY, {KEYS(TO_PANE)}, SEES("P", "layout: chat")},
    {'t', true, EMPTY, {KEYS(TO_PANE)}, SEES("t", "in use")},
    {'/', true, EMPTY, {KEYS(TO_PANE)}, SEES("/", "Find in this chat")},
    {'n',
     true,
     EMPTY,
     {KEYS(TO_PANE), SEES("/", "Find in this chat"), SEES("absent\r", "not found")},
     SEES("n", "no more of: absent")},
    {'N',
     true,
     EMPTY,
     {KEYS(TO_PANE), SEES("/", "Find in this chat"), SEES("absent\r", "not found")},
     SEES("N", "no more of: absent")},
    {UI_KEY_UP,
     true,
     TALL,
     {SEES(TO_PANE KEY_HOME, "Welcome to"), LOSES("j", "Welcome to")},
     SEES(KEY_UP, "Welcome to")},
    {'k',
     true,
     TALL,
     {SEES(TO_PANE KEY_HOME, "Welcome to"), LOSES("j", "Welcome to")},
     SEES("k", "Welcome to")},
    {UI_KEY_DOWN, true, TALL, {SEES(TO_PANE KEY_HOME, "Welcome to")}, LOSES(KEY_DOWN, "Welcome to")},
    {'j', true, TALL, {SEES(TO_PANE KEY_HOME, "Welcome to")}, LOSES("j", "Welcome to")},
    {UI_KEY_PGUP, false, TALL, NONE, LOSES(KEY_PGUP, " 200 tokens")},
    {UI_KEY_PGDN, false, TALL, {LOSES(KEY_PGUP, " 200 tokens")}, SEES(KEY_PGDN, " 200 tokens")},
    {UI_KEY_HOME, true, TALL, {KEYS(TO_PANE)}, SEES(KEY_HOME, "Welcome to")},
    {UI_KEY_END, true, TALL, {SEES(TO_PANE KEY_HOME, "Welcome to")}, LOSES(KEY_END, "Welcome to")},
    {UI_KEY_ENTER, true, TWO, {KEYS(TO_LIST "k")}, SEES(KEY_ENTER, "1 new NORMAL")},
    {UI_KEY_ENTER, false, EMPTY, {SEES("hello", "› hello")}, SEES(KEY_ENTER, "you  ▏hello")},
    {WITH_ALT(UI_KEY_ENTER), false, EMPTY, {SEES("alpha", "› alpha")}, SEES(KEY_ALT_ENTER "beta", "  beta")},
    {WITH_CTRL('j'), false, EMPTY, {SEES("alpha", "› alpha")}, SEES(KEY_CTRL_J "beta", "  beta")},
};
enum { N_KEY_ROWS = sizeof key_rows / sizeof *key_rows };

/* Does the terminal's byte sequence at the start of a row mean the key that the row is about? */
static bool means(const char *bytes, ui_key key)
{
    struct decoder d;
    struct decoder_event ev;
    size_t room, n = strlen(bytes);
    decoder_init(&d);
    char *to = decoder_room(&d, &room);
    assert_true(n <= room);
    memcpy(to, bytes, n);
    decoder_fed(&d, n);
    return decoder_next(&d, true, &ev) && ev.type == DECODER_KEY && ev.key == key;
}

static void every_key_has_a_row(void **state)
{
    (void)state;
    char name[KEY_NAME_MAX];
    for (size_t i = 0; i < keymap_n_bindings; i++) {
        const struct key_binding *b = &keymap_bindings[i];
        bool found = false;
        for (size_t k = 0; k < N_KEY_ROWS && !found; k++)
            found = key_rows[k].key == b->key && keymap_lookup(b->key, !key_rows[k].panes) == b->action;
        if (!found)
            fail_msg("%s (%s) is bound in ui/keymap.c and has no row in this file", key_name(b->key, name),
                     keymap_action(b->action)->name);
    }
    for (size_t k = 0; k < N_KEY_ROWS; k++)
        if (!means(key_rows[k].does.keys, key_rows[k].key))
            fail_msg("row %zu: these bytes aren't %s", k, key_name(key_rows[k].key, name));
}

static void every_key_acts(void **state)
{
    (void)state;
    char name[KEY_NAME_MAX];
    for (size_t k = 0; k < N_KEY_ROWS; k++) {
        const struct key_row *row = &key_rows[k];
        print_message("%s\n", key_name(row->key, name));
        begin(row->scene);
        for (size_t i = 0; i < sizeof row->first / sizeof *row->first && row->first[i].keys; i++)
            take(&row->first[i]);
        if (row->key == WITH_CTRL('l'))
            vt_wipe(con.pty.vt); /* as a stray program would have */
        take(&row->does);
        if (!row->does.sees && !row->does.loses) /* the end */
            console_ends(&con);
        console_end(&con);
    }
}

/* --- slash commands --- */

/* `does.keys`: the line, in which DIR stands for the console's own directory. */
static const struct command_row {
    const char *slash;
    enum scene scene;
    struct step first[2];
    struct step does;
} command_rows[] = {
    {"/help", EMPTY, NONE, SEES("/help", "Alt-1 ... 9")},
    {"/new", EMPTY, NONE, SEES("/new poet", "2 poet NORMAL")},
    {"/rename", EMPTY, NONE, SEES("/rename poet", "1 poet NORMAL")},
    {"/delete", EMPTY, NONE, SEES("/delete", "Delete session 1")},
    {"/clear", REPLY, NONE, LOSES("/clear", "64 tokens")},
    {"/system", EMPTY, NONE, SEES("/system Be brief.", "from the next message on: Be brief.")},
    {"/set", EMPTY, NONE, SEES("/set top_k 7", "top_k = 7")},
    {"/show", EMPTY, NONE, SEES("/show", "repeat_penalty")},
    {"/save", REPLY, NONE, SEES("/save DIR/chat.json", "written: ")},
    {"/load", REPLY, {SEES("/save DIR/chat.json\r", "written: ")}, SEES("/load DIR/chat.json", "SESSIONS 2")},
    {"/read", EMPTY, NONE, SEES("/read " TEST_SOURCE_DIR "/tests/support/leaks.supp", "leak:libpocl")},
    {"/regen", REPLY, {SEES("/set max_tokens 3\r", "max_tokens = 3")}, SEES("/regen", " 3 tokens")},
    {"/continue", REPLY, {SEES("/set max_tokens 5\r", "max_tokens = 5")}, SEES("/continue", " 5 tokens")},
    {"/edit", REPLY, NONE, SEES("/edit", "instead: hello")},
    {"/copy", REPLY, NONE, SEES("/copy", "clipboard")},
    {"/export", REPLY, NONE, SEES("/export md DIR/chat.md", "written: ")},
    {"/fork", REPLY, NONE, SEES("/fork", "branched off session 1")},
    {"/prio", EMPTY, NONE, SEES("/prio critical", "1 new CRITICAL")},
    {"/pause", STREAM, NONE, SEES("/pause", "PAUSED")},
    {"/resume", STREAM, {SEES("/pause\r", "stopped · ")}, SEES("/resume", "RUNNING")},
    {"/stop", STREAM, NONE, SEES("/stop", "stopped · ")},
    {"/model", EMPTY, NONE, SEES("/model sim", "sim answers from the next message on")},
    {"/queue", STREAM, {SEES("later\r", "next ▏later")}, LOSES("/queue clear", "next ▏later")},
    {"/search", REPLY, NONE, SEES("/search hello", "Found: ")},
    {"/stats", EMPTY, NONE, SEES("/stats", "time to first token")},
    {"/why", EMPTY, NONE, SEES("/why", "asks for nothing")},
    {"/layout", EMPTY, NONE, SEES("/layout kv", "layout: kv")},
    {"/theme", EMPTY, NONE, SEES("/theme light", "theme: light")},
    {"/mouse", EMPTY, NONE, SEES("/mouse on", "mouse on")},
    {"/demo", EMPTY, NONE, SEES("/demo", "two minutes of everything")},
    {"/record", EMPTY, NONE, SEES("/record DIR/w.yaml", "recording; ")},
    {"/quit", EMPTY, NONE, KEYS("/quit")},
};
enum { N_COMMAND_ROWS = sizeof command_rows / sizeof *command_rows };

static void every_command_has_a_row(void **state)
{
    (void)state;
    for (enum action a = ACTION_NONE + 1; a < ACTION_COUNT; a++) {
        const char *slash = keymap_action(a)->slash;
        bool found = !slash;
        for (size_t i = 0; i < N_COMMAND_ROWS && !found; i++)
            found = strcmp(command_rows[i].slash, slash) == 0;
        if (!found)
            fail_msg("%s is a command in ui/keymap.c and has no row in this file", slash);
    }
}

/* `line` with the console's directory for DIR, and Enter. */
static void enter(const char *line, char *out, size_t size)
{
    const char *dir = strstr(line, "DIR");
    int before = dir ? (int)(dir - line) : (int)strlen(line);
    snprintf(out, size, "%.*s%s%s%s", before, line, dir ? con.dir : "", dir ? dir + strlen("DIR") : "",
             strchr(line, '\r') ? "" : KEY_ENTER);
}

static void every_command_acts(void **state)
{
    (void)state;
    char keys[256];
    for (size_t k = 0; k < N_COMMAND_ROWS; k++) {
        const struct command_row *row = &command_rows[k];
        print_message("%s\n", row->slash);
        begin(row->scene);
        for (size_t i = 0; i < sizeof row->first / sizeof *row->first && row->first[i].keys; i++) {
            enter(row->first[i].keys, keys, sizeof keys);
            take(&(struct step){keys, row->first[i].sees, row->first[i].loses});
        }
        enter(row->does.keys, keys, sizeof keys);
        take(&(struct step){keys, row->does.sees, row->does.loses});
        if (!row->does.sees && !row->does.loses)
            console_ends(&con);
        console_end(&con);
    }
}

int main(void)
{
#define TEST(f) CONSOLE_TEST(f, &con)
    static const struct CMUnitTest tests[] = {
        TEST(every_key_has_a_row),
        TEST(every_key_acts),
        TEST(every_command_has_a_row),
        TEST(every_command_acts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
