/*
 * The actions of keymap.h, each a function of one shape: `args` is what stood behind the slash command, or NULL when a key or
 * the palette asked for it. A new action is a row in ui/keymap.c, a function in one of the files below, and its line in
 * app_actions.c's table. On the console's thread, like all of app_state.h.
 */
#ifndef WEFT_APP_ACTIONS_H
#define WEFT_APP_ACTIONS_H

#include "src/app_state.h"

typedef void app_action_fn(struct app *a, const char *args);

/* app_act_sessions.c: sessions */
app_action_fn act_new, act_fork, act_rename, act_delete, act_clear, act_goto, act_next, act_previous, act_select,
    act_system, act_set, act_show, act_model;

/* app_act_files.c: what is kept */
app_action_fn act_export, act_save, act_load, act_search;

/* app_act_chat.c: the chat's end */
app_action_fn act_regen, act_continue, act_edit, act_pause, act_resume, act_queue;
/* Gives up an edit that was begun; false: none was. */
bool act_leave_edit(struct app *a);

/* app_act_requests.c: requests and engine */
app_action_fn act_prio_up, act_prio_down, act_prio, act_stop, act_cancel, act_interrupt, act_freeze, act_step,
    act_stats;

/* app_act_reading.c: reading */
app_action_fn act_find, act_find_next, act_find_previous, act_up, act_down, act_page_up, act_page_down,
    act_home, act_end, act_newline;
/* Moves in a pane: lines of the chat, the cursor of the sessions, the first row of the others. */
void act_scroll(struct app *a, enum pane_id pane, int lines);

/* app_act_text.c: in and out; app_mouse.c */
app_action_fn act_read, act_copy, act_mouse;
/* The N behind a command that counts replies, or whatever it is, from the end; 1 when there is none, and 0, said on the
 * screen, when it is no such number. */
enum { APP_NTH_MAX = 999999 };
size_t act_nth(struct app *a, const char *what, const char *args);

/* app_act_screen.c: screen */
app_action_fn act_focus_next, act_focus_previous, act_zoom, act_unzoom, act_layout_next, act_layout_previous,
    act_layout, act_theme, act_redraw;

/* app_past.c: moments gone by */
app_action_fn act_past_back, act_past_forward, act_why;

/* app_demo.c, app_record.c: workloads */
app_action_fn act_demo, act_record;

/* The session that an action is about: the row under the cursor where that is what the keys move, else the one in front. */
size_t act_chosen(const struct app *a);
struct session *act_chosen_session(const struct app *a);

/* Rows of the lists that an action without arguments opens; also its completions. */
app_item_fn act_prio_item, act_layout_item, act_theme_item, act_queue_item, act_mouse_item, act_model_item,
    act_demo_item;

#endif
