#include "ui/term/editor_commands.h"

#include <stdio.h>

#include <readline/readline.h>

#include "engine/base/utf8.h"

/* As readline itself: one a process. */
static enum editor_awaits awaits;

enum editor_awaits editor_commands_awaits(void)
{
    return awaits;
}

void editor_commands_got_byte(void)
{
    awaits = AWAITS_NOTHING;
}

static int insert_newline(int count, int key)
{
    (void)key;
    for (int i = 0; i < count; i++)
        rl_insert_text("\n");
    return 0;
}

/* Commands that take the next character: readline has no state that tells, so that editor_abort knows. */
static int quote_next(int count, int key)
{
    awaits = AWAITS_QUOTED;
    return rl_quoted_insert(count, key);
}

static int seek_next(int count, int key)
{
    awaits = AWAITS_SOUGHT;
    return rl_char_search(count, key);
}

static int seek_next_back(int count, int key)
{
    awaits = AWAITS_SOUGHT;
    return rl_backward_char_search(count, key);
}

static int line_start(int at)
{
    while (at > 0 && rl_line_buffer[at - 1] != '\n')
        at--;
    return at;
}

static int line_end(int at)
{
    while (at < rl_end && rl_line_buffer[at] != '\n')
        at++;
    return at;
}

/* Columns from `from` to `to`. */
static int columns(int from, int to)
{
    int w = 0;
    for (int i = from; i < to;) {
        uint32_t cp;
        size_t n = utf8_decode(rl_line_buffer + i, (size_t)(rl_end - i), &cp);
        w += utf8_width(cp);
        i += n ? (int)n : 1;
    }
    return w;
}

/* The place on the line that starts at `start` that is nearest below column w. */
static int at_column(int start, int w)
{
    int at = start, end = line_end(start);
    while (at < end && w > 0) {
        uint32_t cp;
        size_t n = utf8_decode(rl_line_buffer + at, (size_t)(rl_end - at), &cp);
        w -= utf8_width(cp);
        at += n ? (int)n : 1;
    }
    return at;
}

static int up(int count, int key)
{
    int start = line_start(rl_point);
    if (start == 0)
        return rl_get_previous_history(count, key);
    rl_point = at_column(line_start(start - 1), columns(start, rl_point));
    return 0;
}

static int down(int count, int key)
{
    int start = line_start(rl_point), end = line_end(rl_point);
    if (end == rl_end)
        return rl_get_next_history(count, key);
    rl_point = at_column(end + 1, columns(start, rl_point));
    return 0;
}

/* Home and End as people know them from multi-line fields. */
static int to_line_start(int count, int key)
{
    (void)count, (void)key;
    rl_point = line_start(rl_point);
    return 0;
}

static int to_line_end(int count, int key)
{
    (void)count, (void)key;
    rl_point = line_end(rl_point);
    return 0;
}

/* Puts our command where readline's own stands, so that what the user bound in inputrc stays. */
static void rebind(const char *sequence, rl_command_func_t *usual, rl_command_func_t *ours)
{
    Keymap maps[] = {rl_get_keymap_by_name("emacs"), rl_get_keymap_by_name("vi-insert"),
                     rl_get_keymap_by_name("vi-command")};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        int type;
        rl_command_func_t *now = rl_function_of_keyseq(sequence, maps[i], &type);
        if ((type == ISFUNC && now == usual) || (!now && i < 2))
            rl_bind_keyseq_in_map(sequence, ours, maps[i]);
    }
}

void editor_commands_bind(void)
{
    static const struct {
        const char *sequence;
        rl_command_func_t *usual, *ours;
    } commands[] = {
        {"\\C-j", rl_newline, insert_newline},
        {"\\C-v", rl_quoted_insert, quote_next},
        {"\\C-q", rl_quoted_insert, quote_next},
        {"\\C-]", rl_char_search, seek_next},
        {"\\e\\C-]", rl_backward_char_search, seek_next_back},
        {"\\e\\C-m", rl_vi_editing_mode, insert_newline},
        {"\\e\\C-j", rl_vi_editing_mode, insert_newline},
        {"\\e[A", rl_get_previous_history, up},
        {"\\eOA", rl_get_previous_history, up},
        {"\\e[B", rl_get_next_history, down},
        {"\\eOB", rl_get_next_history, down},
        {"\\e[H", rl_beg_of_line, to_line_start},
        {"\\eOH", rl_beg_of_line, to_line_start},
        {"\\e[1~", rl_beg_of_line, to_line_start},
        {"\\e[F", rl_end_of_line, to_line_end},
        {"\\eOF", rl_end_of_line, to_line_end},
        {"\\e[4~", rl_end_of_line, to_line_end},
        {"\\e[3~", rl_delete, rl_delete},
        {"\\e[", NULL, rl_skip_csi_sequence}, /* sequences that nobody bound are no text */
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        rebind(commands[i].sequence, commands[i].usual, commands[i].ours);
    /* Recording macros isn't for callback mode: one that calls itself, or ends within a command, crashes readline 8.2. */
    rl_command_func_t *const macros[] = {rl_start_kbd_macro, rl_end_kbd_macro, rl_call_last_kbd_macro};
    static const char *const maps[] = {"emacs", "emacs-meta", "emacs-ctlx", "vi-insert", "vi-command"};
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        for (size_t k = 0; k < sizeof maps / sizeof *maps; k++)
            rl_unbind_function_in_map(macros[i], rl_get_keymap_by_name(maps[k]));
}
