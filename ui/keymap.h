/*
 * What the console can do, in one table: the name, the keys, the slash command and the help of each action.
 * Help screen, key bar, palette and completion are made from it; adding an action is one row in keymap.c and
 * one id here. Pure.
 */
#ifndef WEFT_UI_KEYMAP_H
#define WEFT_UI_KEYMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A key: a Unicode character, or one of UI_KEY_…, with modifiers. Control characters are the letter with
 * UI_MOD_CTRL ('l' | UI_MOD_CTRL); Tab, Enter, Esc and Backspace have codes of their own.
 */
typedef uint32_t ui_key;
enum {
    UI_KEY_NONE = 0,
    UI_KEY_F1 = 0x110000, /* F1 … F12 follow each other */
    UI_KEY_F12 = UI_KEY_F1 + 11,
    UI_KEY_UP,
    UI_KEY_DOWN,
    UI_KEY_LEFT,
    UI_KEY_RIGHT,
    UI_KEY_PGUP,
    UI_KEY_PGDN,
    UI_KEY_HOME,
    UI_KEY_END,
    UI_KEY_INSERT,
    UI_KEY_DELETE,
    UI_KEY_TAB,
    UI_KEY_BACKTAB,
    UI_KEY_ENTER,
    UI_KEY_ESC,
    UI_KEY_BACKSPACE,
    UI_KEY_LIMIT,
    UI_MOD_ALT = 1 << 28,
    UI_MOD_CTRL = 1 << 29,
    UI_MOD_SHIFT = 1 << 30
};
#define UI_KEY_MASK 0x0fffffffu

enum action {
    ACTION_NONE,
    ACTION_HELP,
    ACTION_NEW,
    ACTION_PALETTE,
    ACTION_FREEZE,
    ACTION_STEP,
    ACTION_PRIO_UP,
    ACTION_PRIO_DOWN,
    ACTION_PRIO,
    ACTION_STOP,
    ACTION_CANCEL,
    ACTION_INTERRUPT,
    ACTION_QUIT,
    ACTION_SUSPEND,
    ACTION_FOCUS_NEXT,
    ACTION_FOCUS_PREV,
    ACTION_SESSION_GOTO,
    ACTION_SESSION_NEXT,
    ACTION_SESSION_PREV,
    ACTION_RENAME,
    ACTION_DELETE,
    ACTION_CLEAR,
    ACTION_EXPORT,
    ACTION_SAVE,
    ACTION_LOAD,
    ACTION_SEARCH,
    ACTION_ZOOM_IN,
    ACTION_ZOOM_OUT,
    ACTION_LAYOUT_NEXT,
    ACTION_LAYOUT_PREV,
    ACTION_LAYOUT,
    ACTION_THEME,
    ACTION_SYSTEM,
    ACTION_SET,
    ACTION_SHOW,
    ACTION_STATS,
    ACTION_FIND,
    ACTION_FIND_NEXT,
    ACTION_FIND_PREV,
    ACTION_UP,
    ACTION_DOWN,
    ACTION_PAGE_UP,
    ACTION_PAGE_DOWN,
    ACTION_HOME,
    ACTION_END,
    ACTION_SELECT,
    ACTION_NEWLINE,
    ACTION_SEND,
    ACTION_REDRAW,
    ACTION_PAST_BACK,
    ACTION_PAST_FORWARD,
    ACTION_WHY,
    ACTION_REGEN,
    ACTION_CONTINUE,
    ACTION_EDIT,
    ACTION_PAUSE,
    ACTION_RESUME,
    ACTION_QUEUE,
    ACTION_READ,
    ACTION_COPY,
    ACTION_MOUSE,
    ACTION_MODEL,
    ACTION_DEMO,
    ACTION_RECORD,
    ACTION_FORK,
    ACTION_COUNT
};

/* Where a key acts. */
enum key_scope {
    SCOPE_ANY,   /* also in the input line */
    SCOPE_PANES, /* outside the input line only */
    SCOPE_INPUT  /* in the input line only; readline does most of that */
};

enum action_group { GROUP_SESSIONS, GROUP_REQUESTS, GROUP_READING, GROUP_SCREEN, GROUP_PROGRAM, GROUP_COUNT };
const char *action_group_name(enum action_group g); /* a heading of the help screen */

struct action_info {
    enum action id;
    enum action_group group;
    const char *name;  /* "new-session": the palette's, and the action's in tests */
    const char *slash; /* "/new"; NULL: none */
    const char *args;  /* of the slash command, for the help: "TITLE", "[NAME]"; NULL: none */
    const char *brief; /* two words at most, for the key bar; NULL: not there */
    const char *help;  /* one line */
};

/* Every action that exists, ACTION_COUNT - 1 rows in the order of the enum (row i has id i + 1). */
extern const struct action_info keymap_actions[];
const struct action_info *keymap_action(enum action a); /* NULL for ACTION_NONE and out of range */

struct key_binding {
    ui_key key;
    enum action action;
    enum key_scope scope;
};
extern const struct key_binding keymap_bindings[];
extern const size_t keymap_n_bindings;

/* What a key does; ACTION_NONE: nothing of weft's (in the input line: readline's). Alt-1…9 all give
 * ACTION_SESSION_GOTO; the number is keymap_digit(key). */
enum action keymap_lookup(ui_key key, bool in_input);
/* 1–9 for Alt-1 … Alt-9, else 0. */
int keymap_digit(ui_key key);
/* The action of a slash command's word, with its slash ("/new"); ACTION_NONE: unknown. */
enum action keymap_slash(const char *word, size_t n);
/* The slash commands that begin with `prefix`, in table order: up to `max` rows into out; returns how many
 * there are. */
size_t keymap_complete(const char *prefix, size_t n, const struct action_info **out, size_t max);

/* Whether `args`, what stood behind a slash command (NULL or blank: nothing), fits its row's `args`: a word in brackets
 * may be left out, the last one takes all that is left, and "a|b" is one of these words. False: `out` says what is
 * wrong and how it goes: "/prio needs LEVEL: /prio LEVEL". */
bool keymap_check_args(enum action a, const char *args, char *out, size_t size);

enum { KEY_NAME_MAX = 24 };
/* "F7", "Alt-1", "Ctrl-L", "Shift-Tab", "p"; returns out. */
const char *key_name(ui_key key, char out[KEY_NAME_MAX]);
/* All keys of an action, ", " between them: "F1, ?"; "" when it has none. Returns out. */
const char *keymap_keys(enum action a, char *out, size_t size);

#endif
