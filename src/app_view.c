#include "src/app_demo.h"
#include "src/app_record.h"

#include <string.h>

#include "engine/base/clock.h"
#include "ui/term/editor.h"

/* Frames while something moves by itself but needs no more: loading, and graphs that run out after the last
 * token. */
enum { LOADING_FRAME_US = 100 * 1000, FADING_FRAME_US = 500 * 1000 };

static void fill_session(const struct session *s, struct view_session *out)
{
    *out = (struct view_session){
        .number = s->number,
        .title = s->title,
        .prio = s->prio,
        .busy = session_busy(s),
        .paused = s->paused,
        .failed = s->failed,
        .unread = s->unread,
        .n_unread = s->n_unread,
        .n_queued = (uint32_t)s->n_queue,
        .branch = s->branch_of || *s->fork_of,
        .branch_of = s->branch_of,
        .transcript = s->transcript,
        .last_ttft_ms = s->last_ttft_ms,
        .last_tps = s->last_tps,
    };
}

static bool command_prefix(const struct editor_view *e)
{
    return e->len && e->text[0] == '/' && !(e->len > 1 && e->text[1] == '/') &&
           !memchr(e->text, '\n', e->len);
}

size_t app_find_completions(struct app *a)
{
    const struct action_info *rows[ACTION_COUNT];
    struct editor_view line, *e = &line;
    editor_get(e);
    size_t word = strcspn(e->text, " "), n = 0;
    if (a->completion_hidden || a->focus != PANE_INPUT || a->overlay.kind != OVERLAY_NONE || e->prompt ||
        !command_prefix(e))
        return 0;
    if (word == e->len) {
        size_t found = keymap_complete(e->text, e->len, rows, ACTION_COUNT);
        for (; n < found && n < ACTION_COUNT; n++)
            a->completions[n] = (struct view_item){.label = rows[n]->slash, .detail = rows[n]->help};
        if (n == 1 && strlen(rows[0]->slash) == e->len) /* complete already: tell what follows */
            a->completions[0].key = rows[0]->args;
    } else {
        enum action action = keymap_slash(e->text, word);
        const char *args = e->text + word + 1;
        size_t typed = e->len - word - 1;
        for (size_t i = 0; n < APP_ITEMS_MAX; i++) {
            const char *detail, *name = app_argument(a, action, i, &detail);
            if (!name)
                break;
            if (typed <= strlen(name) && memcmp(name, args, typed) == 0)
                a->completions[n++] = (struct view_item){.label = name, .detail = detail};
        }
    }
    return n;
}

/* The popup over the input line. */
static void fill_completions(struct app *a, struct view_overlay *out)
{
    size_t n = app_find_completions(a);
    if (n)
        *out = (struct view_overlay){
            .kind = OVERLAY_COMPLETE, .items = a->completions, .n_items = n, .selected = a->completion - 1};
}

static const char *input_hint(const struct app *a)
{
    switch (a->state) {
    case ENGINE_FAILED: return "the engine failed to start; the reason is above";
    case ENGINE_INITIALIZING:
    case ENGINE_LOADING:
    case ENGINE_WARMING: return "type ahead: it waits until the model is ready";
    default: break;
    }
    if (app_session(a)->paused)
        return "paused: what you send waits, /resume goes on";
    if (app_session(a)->n_queue)
        return "Up takes back the message that waits";
    return session_busy(app_session(a)) ? "type on: Enter queues your message"
                                        : "Enter sends · / for commands";
}

/* What readline shows, or that the message being typed takes another's place. */
static const char *input_prompt(const struct app *a, const struct editor_view *e)
{
    return !e->prompt && app_session(a)->edits ? "instead: " : e->prompt;
}

static void fill_view(struct app *a, struct view *v)
{
    struct editor_view e;
    editor_get(&e);
    for (size_t i = 0; i < a->n_sessions; i++)
        fill_session(a->sessions[i], &a->rows[i]);
    *v = (struct view){
        .snap = a->snap,
        .past = app_past(a),
        .theme = &a->theme,
        .graph = (enum graph_mode)a->cfg->ui.graph,
        .ascii = !term_utf8(a->term),
        .mono = term_colours(a->term) == 0,
        .sessions = a->rows,
        .n_sessions = a->n_sessions,
        .active = a->active,
        .preset = a->preset,
        .focus = a->focus,
        .zoom = a->zoom,
        .sessions_cursor = a->sessions_cursor,
        .toast = {a->toast, a->toast_text},
        .caption = app_demo_caption(a),
        .recording = app_recording(a),
    };
    memcpy(v->scroll, a->scroll, sizeof v->scroll);
    if (!a->overlay.draft) /* else the line being edited is the overlay's */
        v->input = (struct view_input){input_prompt(a, &e), e.text, e.len, e.point, input_hint(a)};
    if (a->overlay.kind != OVERLAY_NONE)
        overlay_view(a, &v->overlay);
    else
        fill_completions(a, &v->overlay);
}

void app_layout(struct app *a, struct layout *out)
{
    struct view v;
    int w, h;
    fill_view(a, &v);
    term_size(a->term, &w, &h);
    view_layout(&v, w, h, out);
}

struct view_hit app_hit(struct app *a, int x, int y)
{
    struct view v;
    int w, h;
    fill_view(a, &v);
    term_size(a->term, &w, &h);
    return view_hit(&v, w, h, x, y);
}

bool app_draw(struct app *a, bool always)
{
    struct view v;
    int w, h;
    if (!engine_snapshot_update(a->engine, a->snap) && !always)
        return false;
    app_past_tick(a);
    app_session(a)->unread = false;
    app_session(a)->n_unread = 0;
    fill_view(a, &v);
    term_size(a->term, &w, &h);
    if ((a->grid.w != w || a->grid.h != h) && !grid_resize(&a->grid, w, h))
        return false;
    view_draw(&v, &a->grid); /* all of it */
    term_present(a->term, &a->grid, &a->theme);
    return true;
}

/* Whether the graphs still show something that moves out of them. */
static bool graphs_fade(const struct snapshot *s)
{
    for (uint32_t i = 0; i < s->n_rates; i++)
        if (s->rates[i].prefill_tps > 0 || s->rates[i].decode_tps > 0 || s->rates[i].depth > 0)
            return true;
    return false;
}

int64_t app_frame_interval(const struct app *a)
{
    bool busy = app_demo_moves(a);
    if (a->snap->state < a->state) /* the event came before the snapshot that shows it */
        return LOADING_FRAME_US;
    for (size_t i = 0; i < a->n_sessions && !busy; i++)
        busy = session_busy(a->sessions[i]);
    if (a->state >= ENGINE_STOPPED)
        return 0;
    if (a->state < ENGINE_READY || (a->frozen && busy)) /* frozen: a step by hand changes what is shown */
        return LOADING_FRAME_US;
    if (busy)
        return 1000000 / a->cfg->ui.fps;
    return graphs_fade(a->snap) ? FADING_FRAME_US : 0;
}
