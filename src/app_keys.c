#include "src/app_state.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "ui/term/editor.h"

static bool typing_command(const struct editor_view *e)
{
    return e->len && e->text[0] == '/' && !(e->len > 1 && e->text[1] == '/');
}

/* Enter was typed: a command, or a message. Two slashes stand for one that is part of the message. */
static void on_line(struct app *a, const char *line)
{
    const char *text = line + strspn(line, " \t\n");
    if (!*text)
        return;
    app_store_input(a, line);
    if (text[0] == '/' && text[1] != '/')
        slash_run(a, text);
    else
        app_say(a, text[0] == '/' ? text + 1 : line, strlen(text[0] == '/' ? text + 1 : line));
}

/* Passes a key on to readline as it was typed. */
static void feed(struct app *a, const struct decoder_event *ev)
{
    const char *bytes = ev->bytes;
    size_t n = ev->n;
    while (n) {
        size_t used;
        char *line = NULL;
        if (editor_feed(bytes, n, &used, &line)) {
            on_line(a, line);
            mem_free(line);
        }
        bytes += used;
        n -= used;
    }
    a->completion_hidden = false;
    a->completion = 0;
}

void app_edit_message(const char *text)
{
    editor_set(text, strlen(text));
    if (text[0] == '/') { /* else it would be a command */
        editor_set("/", 1);
        editor_insert(text, strlen(text));
    }
}

/* Up on an empty line takes back the message that was queued last, to be edited or thrown away. */
static bool take_back_queued(struct app *a, ui_key key)
{
    struct editor_view e;
    editor_get(&e);
    struct session *s = app_session(a);
    char *text = key == UI_KEY_UP && !e.len && s->n_queue ? session_unqueue(s) : NULL;
    if (!text)
        return false;
    app_edit_message(text);
    mem_free(text);
    app_toast(a, TOAST_INFO, "taken back from the queue: edit it and press Enter, or clear it");
    return true;
}

/* Up and Down choose in the popup over the input line, Enter and Tab take what is chosen. False: the key isn't for it. */
static bool choose_completion(struct app *a, ui_key key)
{
    size_t n = app_find_completions(a), word;
    struct editor_view e;
    char line[256];
    if (n < 2) /* no choice: Up and Down are history's */
        a->completion = 0;
    else if (key == UI_KEY_DOWN)
        a->completion = a->completion % n + 1;
    else if (key == UI_KEY_UP)
        a->completion = a->completion > 1 ? a->completion - 1 : n;
    if (n > 1 && (key == UI_KEY_DOWN || key == UI_KEY_UP))
        return true;
    if (!a->completion || a->completion > n || (key != UI_KEY_ENTER && key != UI_KEY_TAB))
        return false;
    editor_get(&e);
    word = strcspn(e.text, " ");
    word = word == e.len ? 0 : word + 1;
    snprintf(line, sizeof line, "%.*s%s ", (int)word, e.text, a->completions[a->completion - 1].label);
    editor_set(line, strlen(line));
    a->completion = 0;
    return true;
}

/* A key in the input line. True: it is readline's, whatever else it may mean. */
static bool is_editors(const struct app *a, ui_key key)
{
    struct editor_view e;
    editor_get(&e);
    switch (key) {
    case UI_KEY_TAB: return typing_command(&e) && !a->completion_hidden;
    case UI_KEY_ESC: return editor_vi();
    case UI_KEY_ENTER:
    case UI_KEY_ENTER | UI_MOD_ALT:
    case 'j' | UI_MOD_CTRL: return true;
    default: return editor_busy() && key < 0x110000; /* what is searched for, a digit of an argument … */
    }
}

static void on_key(struct app *a, const struct decoder_event *ev)
{
    a->key = ev->key;
    if (a->overlay.kind != OVERLAY_NONE) {
        overlay_key(a, ev);
        return;
    }
    bool in_input = a->focus == PANE_INPUT;
    if (!in_input) {
        enum action action = keymap_lookup(ev->key, false);
        if (action != ACTION_NONE)
            app_act(a, action, NULL);
        return;
    }
    if (choose_completion(a, ev->key))
        return;
    if (is_editors(a, ev->key)) {
        feed(a, ev);
        return;
    }
    if (ev->key == UI_KEY_ESC && editor_busy()) {
        editor_abort();
        return;
    }
    struct editor_view e;
    editor_get(&e);
    if (ev->key == UI_KEY_ESC && typing_command(&e) && !a->completion_hidden) {
        a->completion_hidden = true;
        a->completion = 0;
        return;
    }
    enum action action = keymap_lookup(ev->key, true);
    if (a->past_step && ev->key == UI_KEY_END) /* as the top line promises; else it is readline's */
        app_past_leave(a);
    else if (action != ACTION_NONE)
        app_act(a, action, NULL);
    else if (!take_back_queued(a, ev->key))
        feed(a, ev);
}

/* A piece of a paste: line ends as newlines, controls filtered, all of it text to readline. A paste while a
 * list or the panes have the keys goes nowhere but into what is being typed. */
static void on_paste(struct app *a, const struct decoder_event *ev)
{
    struct buf lines = BUF_INIT, clean = BUF_INIT;
    for (size_t i = 0; i < ev->n; i++) {
        char c = ev->bytes[i];
        if (c == '\n' && a->paste_cr) /* CR LF is one line end, also across pieces */
            a->paste_cr = false;
        else
            buf_addc(&lines, c == '\r' ? '\n' : c);
        if (c != '\n')
            a->paste_cr = c == '\r';
    }
    text_filter(&a->paste, buf_str(&lines), lines.len, &clean);
    bool typed = a->overlay.kind == OVERLAY_NONE || a->overlay.draft;
    if (a->overlay.kind == OVERLAY_NONE)
        app_focus(a, PANE_INPUT);
    editor_paste_begin();
    if (typed && clean.len && editor_insert(buf_str(&clean), clean.len) < clean.len)
        app_toast(a, TOAST_WARN, "the paste was cut: a message holds at most %d bytes", EDITOR_TEXT_MAX);
    if (a->overlay.draft)
        overlay_filter(a);
    a->completion_hidden = false;
    buf_free(&lines);
    buf_free(&clean);
}

void app_input(struct app *a, bool timed_out)
{
    struct decoder_event ev;
    while (!a->quit && decoder_next(term_decoder(a->term), timed_out, &ev)) {
        switch (ev.type) {
        case DECODER_KEY: on_key(a, &ev); break;
        case DECODER_PASTE: on_paste(a, &ev); break;
        case DECODER_MOUSE: app_mouse(a, &ev); break;
        case DECODER_PASTE_END:
            editor_paste_end();
            a->paste = (struct text_filter){{0}, 0};
            a->paste_cr = false;
            break;
        }
        timed_out = false;
    }
    app_store_settings(a);
    a->urgent = true;
}

/* Row i of the slash commands that begin with the n bytes at `prefix`. */
static const char *nth_command(const char *prefix, size_t n, size_t i)
{
    const struct action_info *rows[ACTION_COUNT];
    size_t found = keymap_complete(prefix, n, rows, ACTION_COUNT);
    return i < found && i < ACTION_COUNT ? rows[i]->slash : NULL;
}

const char *app_complete(void *app, const char *line, size_t n, size_t start, size_t index)
{
    struct app *a = app;
    if (!n || line[0] != '/' || a->overlay.kind != OVERLAY_NONE)
        return NULL;
    if (start == 0)
        return nth_command(line, n, index);
    enum action action = keymap_slash(line, strcspn(line, " \t\n"));
    /* Only the first word behind the command is a name that weft knows. */
    size_t word = strcspn(line, " \t\n");
    word += strspn(line + word, " \t\n");
    if (action == ACTION_NONE || start != word)
        return NULL;
    for (size_t i = 0;; i++) {
        const char *detail, *candidate = app_argument(a, action, i, &detail);
        if (!candidate || (strncmp(candidate, line + start, n - start) == 0 && index-- == 0))
            return candidate;
    }
}
