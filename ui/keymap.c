#include "ui/keymap.h"

#include <stdio.h>
#include <string.h>

#define CTRL(c) ((ui_key)(c) | UI_MOD_CTRL)
#define ALT(c)  ((ui_key)(c) | UI_MOD_ALT)
#define F(n)    ((ui_key)(UI_KEY_F1 + (n)-1))

/* In the order of enum action. A row without slash command, brief label or keys has none. */
const struct action_info keymap_actions[] = {
    {ACTION_HELP, GROUP_PROGRAM, "help", "/help", NULL, "help", "show all keys and commands"},
    {ACTION_NEW, GROUP_SESSIONS, "new-session", "/new", "[TITLE]", "new", "open a new session"},
    {ACTION_PALETTE, GROUP_PROGRAM, "palette", NULL, NULL, "palette", "choose among all actions"},
    {ACTION_FREEZE, GROUP_REQUESTS, "freeze", NULL, NULL, "freeze", "freeze the engine, or let it go on"},
    {ACTION_STEP, GROUP_REQUESTS, "step", NULL, NULL, "step", "one step of the frozen engine"},
    {ACTION_PRIO_UP, GROUP_REQUESTS, "priority-up", NULL, NULL, "prio up",
     "raise the session's priority, at once"},
    {ACTION_PRIO_DOWN, GROUP_REQUESTS, "priority-down", NULL, NULL, "prio down",
     "lower the session's priority, at once"},
    {ACTION_PRIO, GROUP_REQUESTS, "priority", "/prio", "[LEVEL]", NULL,
     "priority: critical, high, normal or low"},
    {ACTION_STOP, GROUP_REQUESTS, "stop", "/stop", NULL, "stop",
     "stop the reply; what was made so far stays"},
    {ACTION_CANCEL, GROUP_REQUESTS, "cancel", NULL, NULL, "cancel",
     "cancel the request of the chosen session"},
    {ACTION_INTERRUPT, GROUP_REQUESTS, "interrupt", NULL, NULL, NULL, "stop the reply; twice quits"},
    {ACTION_QUIT, GROUP_PROGRAM, "quit", "/quit", NULL, "quit", "quit weft"},
    {ACTION_SUSPEND, GROUP_PROGRAM, "suspend", NULL, NULL, NULL, "suspend; fg brings weft back"},
    {ACTION_FOCUS_NEXT, GROUP_SCREEN, "focus-next", NULL, NULL, "focus", "go to the next pane"},
    {ACTION_FOCUS_PREV, GROUP_SCREEN, "focus-previous", NULL, NULL, NULL, "go to the previous pane"},
    {ACTION_SESSION_GOTO, GROUP_SESSIONS, "session", NULL, NULL, NULL, "go to session 1 ... 9"},
    {ACTION_SESSION_NEXT, GROUP_SESSIONS, "next-session", NULL, NULL, NULL, "go to the next session"},
    {ACTION_SESSION_PREV, GROUP_SESSIONS, "previous-session", NULL, NULL, NULL, "go to the previous session"},
    {ACTION_RENAME, GROUP_SESSIONS, "rename", "/rename", "[TITLE]", NULL, "rename the session"},
    {ACTION_DELETE, GROUP_SESSIONS, "delete", "/delete", NULL, NULL, "delete the session (asks first)"},
    {ACTION_CLEAR, GROUP_SESSIONS, "clear", "/clear", NULL, NULL, "forget the session's messages"},
    {ACTION_EXPORT, GROUP_SESSIONS, "export", "/export", "[md|json] [PATH]", NULL,
     "write the chat to a file"},
    {ACTION_SAVE, GROUP_SESSIONS, "save", "/save", "[PATH]", NULL, "write the chat as JSON, for /load"},
    {ACTION_LOAD, GROUP_SESSIONS, "load", "/load", "[PATH]", NULL, "open a kept session or an exported chat"},
    {ACTION_SEARCH, GROUP_SESSIONS, "search", "/search", "[TEXT]", NULL, "find text in all sessions"},
    {ACTION_ZOOM_IN, GROUP_SCREEN, "zoom", NULL, NULL, "zoom", "let the focused pane fill the screen"},
    {ACTION_ZOOM_OUT, GROUP_SCREEN, "unzoom", NULL, NULL, NULL, "show all panes again"},
    {ACTION_LAYOUT_NEXT, GROUP_SCREEN, "next-layout", NULL, NULL, "layout", "the next arrangement of panes"},
    {ACTION_LAYOUT_PREV, GROUP_SCREEN, "previous-layout", NULL, NULL, NULL,
     "the previous arrangement of panes"},
    {ACTION_LAYOUT, GROUP_SCREEN, "layout", "/layout", "[NAME]", NULL,
     "panes: chat, balanced, scheduler or kv"},
    {ACTION_THEME, GROUP_SCREEN, "theme", "/theme", "[NAME]", NULL, "choose a theme"},
    {ACTION_SYSTEM, GROUP_SESSIONS, "system", "/system", "[TEXT]", NULL,
     "set the system prompt, or remove it"},
    {ACTION_SET, GROUP_SESSIONS, "set", "/set", "NAME VALUE", NULL, "set a sampling value: temperature 0.2"},
    {ACTION_SHOW, GROUP_SESSIONS, "show", "/show", NULL, NULL, "show the session's settings"},
    {ACTION_STATS, GROUP_REQUESTS, "stats", "/stats", NULL, NULL, "show the engine's figures"},
    {ACTION_FIND, GROUP_READING, "find", NULL, NULL, "find", "find text in the chat"},
    {ACTION_FIND_NEXT, GROUP_READING, "find-next", NULL, NULL, NULL, "the next place found"},
    {ACTION_FIND_PREV, GROUP_READING, "find-previous", NULL, NULL, NULL, "the previous place found"},
    {ACTION_UP, GROUP_READING, "up", NULL, NULL, NULL, "up a line"},
    {ACTION_DOWN, GROUP_READING, "down", NULL, NULL, NULL, "down a line"},
    {ACTION_PAGE_UP, GROUP_READING, "page-up", NULL, NULL, "scroll", "up a page"},
    {ACTION_PAGE_DOWN, GROUP_READING, "page-down", NULL, NULL, NULL, "down a page"},
    {ACTION_HOME, GROUP_READING, "home", NULL, NULL, NULL, "to the beginning"},
    {ACTION_END, GROUP_READING, "end", NULL, NULL, NULL, "to the end, and follow it again"},
    {ACTION_SELECT, GROUP_SCREEN, "select", NULL, NULL, "open", "open the chosen row"},
    {ACTION_NEWLINE, GROUP_READING, "newline", NULL, NULL, NULL, "a new line in the message"},
    {ACTION_SEND, GROUP_READING, "send", NULL, NULL, "send", "send the message"},
    {ACTION_REDRAW, GROUP_SCREEN, "redraw", NULL, NULL, NULL, "draw the screen afresh"},
    {ACTION_PAST_BACK, GROUP_REQUESTS, "step-back", NULL, NULL, "past", "show the step before, as it was"},
    {ACTION_PAST_FORWARD, GROUP_REQUESTS, "step-forward", NULL, NULL, NULL,
     "the step after, up to the present"},
    {ACTION_WHY, GROUP_REQUESTS, "why", "/why", NULL, NULL, "say why the session waits, or is that fast"},
    {ACTION_REGEN, GROUP_SESSIONS, "regenerate", "/regen", NULL, NULL, "make the last reply anew"},
    {ACTION_CONTINUE, GROUP_SESSIONS, "continue", "/continue", NULL, NULL, "go on with the last reply"},
    {ACTION_EDIT, GROUP_SESSIONS, "edit", "/edit", "[N]", NULL,
     "ask the last message (Nth last) anew"},
    {ACTION_PAUSE, GROUP_REQUESTS, "pause", "/pause", NULL, NULL,
     "hold the session's reply and messages back"},
    {ACTION_RESUME, GROUP_REQUESTS, "resume", "/resume", NULL, NULL, "go on where the pause began"},
    {ACTION_QUEUE, GROUP_REQUESTS, "queue", "/queue", "[clear]", NULL, "drop the messages that wait"},
    {ACTION_READ, GROUP_READING, "read", "/read", "[FILE]", NULL, "put a text file into the message"},
    {ACTION_COPY, GROUP_READING, "copy", "/copy", "[N]", NULL, "copy the last reply, or the Nth last"},
    {ACTION_MOUSE, GROUP_SCREEN, "mouse", "/mouse", "[on|off]", NULL, "take the mouse, or give it back"},
    {ACTION_MODEL, GROUP_SESSIONS, "model", "/model", "[NAME]", NULL, "choose the session's model"},
    {ACTION_DEMO, GROUP_PROGRAM, "demo", "/demo", "[NAME]", NULL, "play a workload, with captions"},
    {ACTION_RECORD, GROUP_PROGRAM, "record", "/record", "[PATH]", NULL,
     "record a workload; again: write its file"},
    {ACTION_FORK, GROUP_SESSIONS, "fork", "/fork", "[TITLE]", NULL, "branch the chat off into a new session"},
};

_Static_assert(sizeof keymap_actions / sizeof keymap_actions[0] == ACTION_COUNT - 1, "a row for each action");

const struct key_binding keymap_bindings[] = {
    {F(1), ACTION_HELP, SCOPE_ANY},
    {'?', ACTION_HELP, SCOPE_PANES},
    {F(2), ACTION_NEW, SCOPE_ANY},
    {F(3), ACTION_PALETTE, SCOPE_ANY},
    {':', ACTION_PALETTE, SCOPE_PANES},
    {F(4), ACTION_FREEZE, SCOPE_ANY},
    {F(5), ACTION_STEP, SCOPE_ANY},
    {F(7), ACTION_PRIO_UP, SCOPE_ANY},
    {F(8), ACTION_PRIO_DOWN, SCOPE_ANY},
    {F(9), ACTION_CANCEL, SCOPE_ANY},
    {F(10), ACTION_QUIT, SCOPE_ANY},
    {'q', ACTION_QUIT, SCOPE_PANES},
    {UI_KEY_ESC, ACTION_STOP, SCOPE_ANY},
    {CTRL('c'), ACTION_INTERRUPT, SCOPE_ANY},
    {CTRL('z'), ACTION_SUSPEND, SCOPE_ANY},
    {CTRL('l'), ACTION_REDRAW, SCOPE_ANY},
    {ALT(UI_KEY_LEFT), ACTION_PAST_BACK, SCOPE_ANY},
    {ALT(UI_KEY_RIGHT), ACTION_PAST_FORWARD, SCOPE_ANY},
    {'w', ACTION_WHY, SCOPE_PANES},
    {UI_KEY_TAB, ACTION_FOCUS_NEXT, SCOPE_ANY},
    {UI_KEY_BACKTAB, ACTION_FOCUS_PREV, SCOPE_ANY},
    {ALT('1'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('2'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('3'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('4'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('5'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('6'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('7'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('8'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT('9'), ACTION_SESSION_GOTO, SCOPE_ANY},
    {ALT(UI_KEY_DOWN), ACTION_SESSION_NEXT, SCOPE_ANY},
    {ALT(UI_KEY_UP), ACTION_SESSION_PREV, SCOPE_ANY},
    {'r', ACTION_RENAME, SCOPE_PANES},
    {'d', ACTION_DELETE, SCOPE_PANES},
    {UI_KEY_DELETE, ACTION_DELETE, SCOPE_PANES},
    {'+', ACTION_ZOOM_IN, SCOPE_PANES},
    {'_', ACTION_ZOOM_OUT, SCOPE_PANES},
    {'p', ACTION_LAYOUT_NEXT, SCOPE_PANES},
    {'P', ACTION_LAYOUT_PREV, SCOPE_PANES},
    {'t', ACTION_THEME, SCOPE_PANES},
    {'/', ACTION_FIND, SCOPE_PANES},
    {'n', ACTION_FIND_NEXT, SCOPE_PANES},
    {'N', ACTION_FIND_PREV, SCOPE_PANES},
    {UI_KEY_UP, ACTION_UP, SCOPE_PANES},
    {'k', ACTION_UP, SCOPE_PANES},
    {UI_KEY_DOWN, ACTION_DOWN, SCOPE_PANES},
    {'j', ACTION_DOWN, SCOPE_PANES},
    {UI_KEY_PGUP, ACTION_PAGE_UP, SCOPE_ANY},
    {UI_KEY_PGDN, ACTION_PAGE_DOWN, SCOPE_ANY},
    {UI_KEY_HOME, ACTION_HOME, SCOPE_PANES},
    {UI_KEY_END, ACTION_END, SCOPE_PANES},
    {UI_KEY_ENTER, ACTION_SELECT, SCOPE_PANES},
    {UI_KEY_ENTER, ACTION_SEND, SCOPE_INPUT},
    {ALT(UI_KEY_ENTER), ACTION_NEWLINE, SCOPE_INPUT},
    {CTRL('j'), ACTION_NEWLINE, SCOPE_INPUT},
};
const size_t keymap_n_bindings = sizeof keymap_bindings / sizeof keymap_bindings[0];

const struct action_info *keymap_action(enum action a)
{
    return a > ACTION_NONE && a < ACTION_COUNT ? &keymap_actions[a - 1] : NULL;
}

const char *action_group_name(enum action_group g)
{
    static const char *const names[GROUP_COUNT] = {[GROUP_SESSIONS] = "Sessions",
                                                   [GROUP_REQUESTS] = "Requests and engine",
                                                   [GROUP_READING] = "Reading and writing",
                                                   [GROUP_SCREEN] = "Screen",
                                                   [GROUP_PROGRAM] = "Program"};
    return (unsigned)g < GROUP_COUNT ? names[g] : NULL;
}

enum action keymap_lookup(ui_key key, bool in_input)
{
    for (size_t i = 0; i < keymap_n_bindings; i++) {
        const struct key_binding *b = &keymap_bindings[i];
        if (b->key == key && b->scope != (in_input ? SCOPE_PANES : SCOPE_INPUT))
            return b->action;
    }
    return ACTION_NONE;
}

int keymap_digit(ui_key key)
{
    ui_key base = key & UI_KEY_MASK;
    return key == ALT(base) && base >= '1' && base <= '9' ? (int)(base - '0') : 0;
}

enum action keymap_slash(const char *word, size_t n)
{
    for (size_t i = 0; i < ACTION_COUNT - 1; i++) {
        const char *slash = keymap_actions[i].slash;
        if (slash && strlen(slash) == n && memcmp(slash, word, n) == 0)
            return keymap_actions[i].id;
    }
    return ACTION_NONE;
}

size_t keymap_complete(const char *prefix, size_t n, const struct action_info **out, size_t max)
{
    size_t found = 0;
    for (size_t i = 0; i < ACTION_COUNT - 1; i++) {
        const char *slash = keymap_actions[i].slash;
        if (!slash || strlen(slash) < n || memcmp(slash, prefix, n) != 0)
            continue;
        if (found < max)
            out[found] = &keymap_actions[i];
        found++;
    }
    return found;
}

/* One of "a|b|c"? */
static bool is_choice(const char *choices, size_t n, const char *word, size_t word_n)
{
    for (size_t i = 0; i < n;) {
        size_t len = 0;
        while (i + len < n && choices[i + len] != '|')
            len++;
        if (len == word_n && memcmp(choices + i, word, len) == 0)
            return true;
        i += len + 1;
    }
    return false;
}

static const char blanks[] = " \t\n";

bool keymap_check_args(enum action a, const char *args, char *out, size_t size)
{
    const struct action_info *info = keymap_action(a);
    const char *spec = info && info->args ? info->args : "", *given = args ? args : "";
    const char *slash = info && info->slash ? info->slash : "";
    given += strspn(given, blanks);
    if (!*spec && *given) {
        snprintf(out, size, "%s takes nothing behind it", slash);
        return false;
    }
    while (*spec) {
        size_t n = strcspn(spec, blanks), word = strcspn(given, blanks);
        bool optional = *spec == '[';
        const char *name = spec + optional;
        size_t name_n = n - 2 * (size_t)optional;
        if (!word && !optional) {
            snprintf(out, size, "%s needs %.*s: %s %s", slash, (int)name_n, name, slash, info->args);
            return false;
        }
        if (word && memchr(name, '|', name_n) && !is_choice(name, name_n, given, word)) {
            snprintf(out, size, "%s: %.*s isn't one of %.*s", slash, (int)word, given, (int)name_n, name);
            return false;
        }
        given += word + strspn(given + word, blanks);
        spec += n + strspn(spec + n, blanks);
    }
    return true;
}

const char *key_name(ui_key key, char out[KEY_NAME_MAX])
{
    static const char *const names[] = {"Up",   "Down",      "Left",  "Right",  "PgUp",
                                        "PgDn", "Home",      "End",   "Insert", "Delete",
                                        "Tab",  "Shift-Tab", "Enter", "Esc",    "Backspace"};
    _Static_assert(sizeof names / sizeof names[0] == UI_KEY_LIMIT - UI_KEY_UP, "a name for each key");
    ui_key base = key & UI_KEY_MASK;
    const char *mods = key & UI_MOD_ALT ? "Alt-" : "";
    const char *ctrl = key & UI_MOD_CTRL ? "Ctrl-" : "";
    const char *shift = key & UI_MOD_SHIFT ? "Shift-" : "";
    if (base >= UI_KEY_UP && base < UI_KEY_LIMIT) {
        snprintf(out, KEY_NAME_MAX, "%s%s%s%s", mods, ctrl, shift, names[base - UI_KEY_UP]);
    } else if (base >= UI_KEY_F1 && base <= UI_KEY_F12) {
        snprintf(out, KEY_NAME_MAX, "%s%s%sF%u", mods, ctrl, shift, (unsigned)(base - UI_KEY_F1 + 1));
    } else {
        char c = base > 0x20 && base < 0x7f ? (char)base : '?';
        if (key & UI_MOD_CTRL && c >= 'a' && c <= 'z')
            c = (char)(c - 32); /* written Ctrl-L */
        snprintf(out, KEY_NAME_MAX, "%s%s%s%c", mods, ctrl, shift, c);
    }
    return out;
}

const char *keymap_keys(enum action a, char *out, size_t size)
{
    char name[KEY_NAME_MAX];
    size_t n = 0;
    out[0] = 0;
    if (a == ACTION_SESSION_GOTO) {
        snprintf(out, size, "Alt-1 ... 9"); /* nine bindings, one line */
        return out;
    }
    for (size_t i = 0; i < keymap_n_bindings && n < size; i++) {
        if (keymap_bindings[i].action != a)
            continue;
        int added =
            snprintf(out + n, size - n, "%s%s", n ? ", " : "", key_name(keymap_bindings[i].key, name));
        n += added > 0 ? (size_t)added : 0;
    }
    return out;
}
