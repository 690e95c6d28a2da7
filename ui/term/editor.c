#include "ui/term/editor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/readline.h>
#include <readline/history.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "ui/term/editor_commands.h"

/* What readline reads when it asks for more than was fed: Ctrl-G gives up whatever it is in the middle of.
 * (EOF would end the line for good.) */
enum { KEY_ABORT = 'G' & 0x1f };

struct editor_draft {
    char *text;
    size_t point;
    HISTORY_STATE *history; /* NULL while this draft is the one being edited, and before it first is */
};

/* As readline itself: one a process. */
static struct {
    bool open, keep_history, listing, pasting;
    struct editor_hooks hooks;
    struct editor_draft *draft;
    const char *bytes; /* being fed */
    size_t n_bytes;
    char *submitted; /* by the callback, during editor_feed; malloc'd by readline */
    bool got_line;
    FILE *nowhere; /* readline's output */
    char *prompt;  /* rl_display_prompt without its invisible marks */
    size_t cap_prompt;
} ed;

/* --- what readline calls --- */

static int next_byte(FILE *in)
{
    (void)in;
    editor_commands_got_byte();
    if (!ed.n_bytes)
        return KEY_ABORT;
    ed.n_bytes--;
    return (unsigned char)*ed.bytes++;
}

static int byte_waits(void)
{
    return ed.n_bytes != 0;
}

static void draw_nothing(void)
{
}

static void leave_terminal(void)
{
}

static void leave_terminal_meta(int meta)
{
    (void)meta;
}

static void take_line(char *line)
{
    ed.submitted = line; /* NULL for end of file: Ctrl-D on an empty line */
    ed.got_line = true;
}

static void show_matches(char **matches, int n, int longest)
{
    (void)matches, (void)n, (void)longest;
    ed.listing = true;
}

static size_t completion_start;

static char *next_candidate(const char *word, int state)
{
    static size_t index;
    (void)word;
    if (state == 0)
        index = 0;
    const char *s =
        ed.hooks.complete(ed.hooks.ctx, rl_line_buffer, (size_t)rl_point, completion_start, index++);
    return s ? strdup(s) : NULL;
}

static char **complete(const char *word, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* never file names */
    completion_start = (size_t)start;
    return ed.hooks.complete ? rl_completion_matches(word, next_candidate) : NULL;
}

/* --- life --- */

enum weft_rc editor_open(const struct editor_hooks *hooks, struct weft_err *err)
{
    if (ed.open)
        return weft_err_set(err, WEFT_INTERNAL_ERROR, "an editor is open already: there is one in a process");
    FILE *nowhere = fopen("/dev/null", "r+");
    if (!nowhere)
        return weft_err_set(err, WEFT_INTERNAL_ERROR, "cannot open /dev/null for readline's output");
    memset(&ed, 0, sizeof ed);
    ed.hooks = *hooks;
    ed.nowhere = nowhere;
    ed.keep_history = true;
    rl_readline_name = "weft";
    rl_instream = rl_outstream = nowhere;
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_prep_term_function = leave_terminal_meta;
    rl_deprep_term_function = leave_terminal;
    rl_getc_function = next_byte;
    rl_input_available_hook = byte_waits;
    rl_redisplay_function = draw_nothing;
    rl_attempted_completion_function = complete;
    rl_completion_display_matches_hook = show_matches;
    rl_completer_word_break_characters = (char *)(size_t) " \t\n";
    rl_basic_word_break_characters = " \t\n";
    rl_initialize();
    rl_variable_bind("bell-style", "none");            /* a bell would go to the terminal behind our back */
    rl_variable_bind("enable-bracketed-paste", "off"); /* decoded before readline */
    rl_variable_bind("show-all-if-ambiguous", "on");
    rl_variable_bind("horizontal-scroll-mode", "off");
    editor_commands_bind();
    using_history();
    stifle_history(EDITOR_HISTORY_MAX);
    rl_callback_handler_install("", take_line);
    ed.open = true;
    return WEFT_OK;
}

struct editor_draft *editor_draft_create(void)
{
    return mem_calloc(1, sizeof(struct editor_draft));
}

static void free_history(HISTORY_STATE *h)
{
    if (!h)
        return;
    for (int i = 0; i < h->length; i++)
        free(free_history_entry(h->entries[i])); /* its undo list is none of a line that was put away */
    free(h->entries);
    free(h);
}

void editor_draft_free(struct editor_draft *d)
{
    if (!d)
        return;
    if (d == ed.draft)
        editor_edit(NULL);
    free_history(d->history);
    mem_free(d->text);
    mem_free(d);
}

static int by_address(const void *a, const void *b)
{
    const UNDO_LIST *x = *(UNDO_LIST *const *)a, *y = *(UNDO_LIST *const *)b;
    return x < y ? -1 : x > y;
}

/*
 * Forgets all undo lists: the line's, and those of history entries that were edited and left. They can't outlive a change of line from
 * outside. Lists may share their tails (an edited entry keeps the list as it was when the entry was left, and readline goes
 * on from there), so nodes are collected first and freed once each. When memory is out they are leaked.
 */
static void drop_undo(void)
{
    HIST_ENTRY **entries = history_list();
    UNDO_LIST **nodes = NULL;
    size_t n = 0, cap = 0;
    bool collected = true;
    for (int i = -1; i < 0 || (entries && entries[i]); i++) {
        UNDO_LIST *list = i < 0 ? rl_undo_list : (UNDO_LIST *)entries[i]->data;
        for (; list; list = list->next) {
            if (mem_grow(&nodes, &cap, n + 1, sizeof *nodes) != 0) {
                collected = false;
                break;
            }
            nodes[n++] = list;
        }
        if (i >= 0)
            entries[i]->data = NULL;
    }
    rl_undo_list = NULL;
    if (n)
        qsort(nodes, n, sizeof *nodes, by_address);
    for (size_t i = 0; collected && i < n; i++) {
        if (i && nodes[i] == nodes[i - 1])
            continue;
        if (nodes[i]->what == UNDO_DELETE)
            free(nodes[i]->text);
        free(nodes[i]);
    }
    mem_free(nodes);
}

/* Back from a history entry to the line that was begun, which is then the only one with an undo list that readline holds on to;
 * the entry becomes what it was, as after Enter. */
static void leave_history(void)
{
    if (where_history() < history_length) {
        rl_revert_line(1, 0);
        rl_end_of_history(1, 0);
    }
    drop_undo();
}

static void put_away(struct editor_draft *d)
{
    mem_free(d->text);
    d->text = mem_memdup(rl_line_buffer, (size_t)rl_end);
    d->point = (size_t)rl_point;
    leave_history();
    d->history = history_get_history_state();
}

static void take_up(struct editor_draft *d)
{
    HISTORY_STATE none = {.flags = HS_STIFLED}, *h = d ? d->history : NULL;
    history_set_history_state(h ? h : &none);
    if (d)
        d->history = NULL;
    stifle_history(EDITOR_HISTORY_MAX);
    rl_initialize(); /* an empty line, at the end of this history, without a line saved from the other one */
    free(h);
    if (rl_editing_mode == 0)
        rl_vi_insertion_mode(1, 'i');
    if (d && d->text) {
        rl_replace_line(d->text, 1);
        rl_point = d->point <= (size_t)rl_end ? (int)d->point : rl_end;
    }
}

void editor_edit(struct editor_draft *d)
{
    if (!ed.open || d == ed.draft)
        return;
    editor_paste_end();
    editor_abort();
    if (ed.draft)
        put_away(ed.draft);
    take_up(d);
    ed.draft = d;
    ed.listing = false;
}

struct editor_draft *editor_draft(void)
{
    return ed.draft;
}

void editor_close(void)
{
    if (!ed.open)
        return;
    editor_edit(NULL);
    rl_callback_handler_remove();
    rl_instream = rl_outstream = NULL;
    fclose(ed.nowhere);
    mem_free(ed.prompt);
    memset(&ed, 0, sizeof ed);
}

/* --- keys and text --- */

static void remember(const char *line)
{
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (*line && !(last && strcmp(last->line, line) == 0))
        add_history(line);
    using_history(); /* readline was ready for the next line before this one was added */
}

enum {
    BUSY = RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_NUMERICARG | RL_STATE_MULTIKEY | RL_STATE_METANEXT |
           RL_STATE_CHARSEARCH | RL_STATE_VIMOTION
};

/* Ends what readline is in the middle of. One thing is forgotten a call, and an argument may stand in the middle of a
 * sequence. */
static void forget(void)
{
    do
        rl_callback_sigcleanup();
    while (RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_NUMERICARG | RL_STATE_MULTIKEY |
                      RL_STATE_VIMOTION));
    RL_UNSETSTATE(BUSY);
}

bool editor_feed(const char *bytes, size_t n, size_t *used, char **line)
{
    *used = n;
    if (!ed.draft)
        return false;
    ed.listing = false;
    ed.bytes = bytes;
    ed.n_bytes = n;
    while (ed.n_bytes && !ed.got_line) {
        /* A key that begins a sequence ends a search and then does what it does. readline means the same, but reads on in a
         * freed context when the sequence turns out to be longer (8.2). */
        if (RL_ISSTATE(RL_STATE_ISEARCH) && rl_get_keymap()[(unsigned char)*ed.bytes].type == ISKMAP)
            forget();
        rl_callback_read_char();
    }
    *used = n - ed.n_bytes;
    ed.n_bytes = 0;
    if (!ed.got_line)
        return false;
    ed.got_line = false;
    if (!ed.submitted) /* end of file means nothing here */
        return false;
    if (ed.keep_history)
        remember(ed.submitted);
    *line = mem_strdup(ed.submitted);
    free(ed.submitted);
    ed.submitted = NULL;
    return *line != NULL;
}

void editor_remember(const char *line)
{
    if (ed.draft)
        remember(line);
}

void editor_keep_history(bool keep)
{
    ed.keep_history = keep;
}

void editor_paste_begin(void)
{
    if (!ed.draft || ed.pasting)
        return;
    editor_abort();
    rl_begin_undo_group();
    ed.pasting = true;
}

void editor_paste_end(void)
{
    if (ed.pasting)
        rl_end_undo_group();
    ed.pasting = false;
}

size_t editor_insert(const char *text, size_t n)
{
    if (!ed.draft)
        return 0;
    size_t room = (size_t)rl_end < EDITOR_TEXT_MAX ? EDITOR_TEXT_MAX - (size_t)rl_end : 0;
    if (n > room)
        n = utf8_whole(text, room);
    char *copy = mem_memdup(text, n);
    if (!copy)
        return 0;
    editor_abort();
    rl_insert_text(copy);
    mem_free(copy);
    ed.listing = false;
    return n;
}

void editor_set(const char *text, size_t n)
{
    char *copy = ed.draft ? mem_memdup(text, n) : NULL;
    if (!copy)
        return;
    editor_paste_end();
    editor_abort();
    leave_history();
    rl_replace_line(copy, 1);
    rl_point = rl_end;
    mem_free(copy);
}

/* readline marks what takes no columns in a prompt; none of it is for the screen. */
static const char *visible_prompt(void)
{
    const char *from = rl_display_prompt;
    if (!from || from == rl_prompt || !*from)
        return NULL;
    /* Grown only, so that what an earlier editor_get gave stays valid while the prompt is the same. */
    if (mem_grow(&ed.prompt, &ed.cap_prompt, strlen(from) + 1, 1))
        return NULL;
    char *to = ed.prompt;
    for (; *from; from++)
        if (*from != RL_PROMPT_START_IGNORE && *from != RL_PROMPT_END_IGNORE)
            *to++ = *from;
    *to = 0;
    return ed.prompt;
}

void editor_get(struct editor_view *out)
{
    *out = (struct editor_view){.text = ""};
    if (!ed.draft)
        return;
    out->text = rl_line_buffer;
    out->len = (size_t)rl_end;
    out->point = (size_t)rl_point;
    out->prompt = visible_prompt();
    out->listing = ed.listing;
}

bool editor_busy(void)
{
    return ed.draft && RL_ISSTATE(BUSY);
}

static void feed_one(char c)
{
    ed.bytes = &c;
    ed.n_bytes = 1;
    rl_callback_read_char();
    ed.bytes = NULL;
    ed.n_bytes = 0;
}

void editor_abort(void)
{
    if (!ed.draft)
        return;
    /* readline can't forget these without a leak: they get a character, one that is taken back or found in no line. */
    if (editor_commands_awaits() == AWAITS_QUOTED) {
        feed_one(' ');
        rl_rubout(1, 0);
    } else if (editor_commands_awaits() == AWAITS_SOUGHT) {
        feed_one(KEY_ABORT);
    }
    if (RL_ISSTATE(RL_STATE_NUMERICARG)) {
        rl_restore_prompt();
        rl_clear_message();
    }
    forget();
    rl_clear_pending_input();
}

bool editor_vi(void)
{
    return rl_editing_mode == 0;
}

void editor_resized(int rows, int cols)
{
    rl_set_screen_size(rows, cols);
}
