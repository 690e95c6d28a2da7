/* The console and its sessions on disk: opening those of last time, saving, and what is said when that fails. */
#include "src/app_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/engine_setup.h"
#include "src/store.h"
#include "ui/term/editor.h"

enum {
    RESTORED_MAX = 32, /* sessions opened at the start: those used last; /load opens others */
    SAVE_MS = 5000     /* how long the end of the program waits for the disk */
};

void app_store_defaults(const struct app *a, struct store_settings *out)
{
    *out = (struct store_settings){
        .title = "",
        .system = a->cfg->session.system,
        .prio = (enum prio)(a->cfg->session.priority - 1),
        .sampling = engine_setup_sampling(a->cfg),
        .max_tokens = (uint32_t)a->cfg->sampling.max_tokens,
    };
}

void app_store_begin(struct app *a, struct session *s)
{
    struct store_settings settings;
    session_settings(s, &settings);
    s->saved = a->store ? store_session_create(a->store, &settings, NULL) : NULL;
}

void app_store_delete(struct session *s)
{
    if (s->saved)
        store_session_delete(s->saved);
    s->saved = NULL;
}

void app_store_draft(struct app *a)
{
    struct editor_view e;
    struct session *s = a->n_sessions ? app_session(a) : NULL;
    if (!s || !s->saved || editor_draft() != s->draft)
        return;
    editor_get(&e);
    store_draft(s->saved, e.text, e.len);
}

void app_store_input(struct app *a, const char *line)
{
    struct session *s = app_session(a);
    if (s->saved)
        store_input(s->saved, line, strlen(line));
}

/* The session in front has just been made: it becomes the one that was saved. */
static void restore(struct app *a, struct store_session *saved, const struct store_report *report)
{
    struct session *s = app_session(a);
    const struct store_chat *c = store_session_chat(saved);
    if (s->saved)
        store_session_close(s->saved); /* nothing has happened in it: it left no file */
    s->saved = saved;
    if (!session_restore(s, c))
        app_toast(a, TOAST_ERROR, "out of memory for session %u: some of it isn't shown", s->number);
    for (size_t i = 0; i < c->n_inputs; i++)
        editor_remember(c->inputs[i]);
    if (c->draft)
        editor_set(c->draft, strlen(c->draft));
    if (report->damaged)
        session_note(
            s, "%zu places of this session's file are damaged and were left out, the first in line %llu",
            report->damaged, (unsigned long long)report->damaged_line);
}

/* Opens a session; one that another console has is left to it, or (`copy`) copied. Whether it is in front now. */
static bool open_one(struct app *a, const char *id, bool copy)
{
    struct store_settings defaults;
    struct store_session *saved;
    struct store_report report;
    struct weft_err err;
    app_store_defaults(a, &defaults);
    if (store_session_open(a->store, id, &defaults, copy, &saved, &report, &err) != WEFT_OK) {
        log_msg(LOG_WARN, "session %s: %s", id, err.message);
        app_toast(a, TOAST_WARN, "a session can't be opened: %s", err.message);
    } else if (saved && app_new_session(a)) {
        restore(a, saved, &report);
        return true;
    } else if (saved) {
        store_session_close(saved);
    }
    return false;
}

/* A branch knows its session by the file; on the screen it is a number. */
static void link_branches(struct app *a)
{
    for (size_t i = 0; i < a->n_sessions; i++) {
        struct session *s = a->sessions[i];
        for (size_t k = 0; *s->fork_of && !s->branch_of && k < a->n_sessions; k++) {
            const struct store_session *other = a->sessions[k]->saved;
            if (other && strcmp(store_session_chat(other)->id, s->fork_of) == 0)
                s->branch_of = a->sessions[k]->number;
        }
    }
}

bool app_store_show(struct app *a, const char *id)
{
    if (!open_one(a, id, true))
        return false;
    link_branches(a);
    if (strcmp(store_session_chat(app_session(a)->saved)->id, id) != 0)
        session_note(app_session(a), "another weft has this session open: this is a copy of it");
    return true;
}

void app_store_import(struct app *a, struct session *s, const struct store_chat *chat)
{
    if (s->saved)
        store_session_close(s->saved);
    s->saved = store_session_create(a->store, &chat->settings, chat);
    if (!s->saved || !session_restore(s, chat))
        app_toast(a, TOAST_ERROR, "out of memory for session %u: it isn't whole", s->number);
    s->paused = s->cut = false; /* it may have been where it comes from */
    if (chat->draft)
        editor_set(chat->draft, strlen(chat->draft));
}

void app_store_branch(struct app *a, struct session *s, const struct session *from)
{
    struct store_settings settings;
    app_store_delete(s); /* nothing has happened in it: there is no file */
    if (!from->saved)
        return;
    const struct store_chat *c = store_session_chat(from->saved);
    snprintf(s->fork_of, sizeof s->fork_of, "%s", c->id);
    session_settings(s, &settings);
    s->saved = store_session_create(a->store, &settings, c);
    if (!s->saved) {
        app_toast(a, TOAST_ERROR, "out of memory: session %u isn't saved", s->number);
        return;
    }
    bool so_far = session_busy(from) && from->reply.len;
    store_keep(s->saved, s->n_turns - so_far); /* a reply under way has no end there: here it has one */
    if (so_far) {
        const struct session_turn *reply = &s->turns[s->n_turns - 1];
        store_reply(s->saved, reply->text, reply->len);
        session_save_end(s, &(struct reply_stats){.ttft_ms = -1, .tps = -1, .queue_ms = -1},
                         FINISH_CANCELLED);
    }
    for (size_t i = 0; i < c->n_inputs; i++)
        editor_remember(c->inputs[i]);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct store_entry *)a)->id, ((const struct store_entry *)b)->id);
}

/* Opens the sessions used last, the oldest of them first, and shows the one used last of all. */
static void open_last(struct app *a)
{
    struct store_entry *entries;
    char newest[STORE_ID_MAX] = "";
    struct weft_err err;
    size_t n;
    if (store_list(a->store, &entries, &n, &err) != WEFT_OK) {
        log_msg(LOG_WARN, "sessions: %s", err.message);
        return;
    }
    n = n < RESTORED_MAX ? n : RESTORED_MAX;
    if (n) {
        memcpy(newest, entries[0].id, sizeof newest);
        qsort(entries, n, sizeof *entries, by_id);
    }
    for (size_t i = 0; i < n; i++)
        open_one(a, entries[i].id, false);
    mem_free(entries);
    link_branches(a);
    for (size_t i = 0; i < a->n_sessions; i++) {
        const struct store_session *saved = a->sessions[i]->saved;
        if (saved && strcmp(store_session_chat(saved)->id, newest) == 0)
            app_show_session(a, i);
    }
}

void app_store_open(struct app *a)
{
    const struct store_options options = {.dir = NULL};
    struct weft_err err;
    if (store_open(&options, &a->store, &err) != WEFT_OK)
        app_toast(a, TOAST_WARN, "sessions aren't saved: %s", err.message);
    else if (!a->options->fresh)
        open_last(a);
}

int app_store_fd(const struct app *a)
{
    return a->store ? store_fd(a->store) : -1;
}

int64_t app_store_tick(struct app *a, int64_t now_us)
{
    if (app_search_step(a))
        return 0;
    return a->store ? store_tick(a->store, now_us) : -1;
}

void app_store_news(struct app *a)
{
    struct store_news news;
    if (!store_news(a->store, &news))
        return;
    if (news.offline) {
        session_note(app_session(a), "nothing can be saved: %s. The chat goes on, and weft tries again.",
                     news.why.message);
        app_toast(a, TOAST_WARN, "nothing can be saved: %s", news.why.message);
    } else {
        session_note(app_session(a), "everything is saved again");
        app_toast(a, TOAST_INFO, "everything is saved again");
    }
    a->dirty = true;
}

void app_store_settings(struct app *a)
{
    for (size_t i = 0; i < a->n_sessions; i++)
        session_save(a->sessions[i]);
}

void app_store_close(struct app *a)
{
    app_kept_free(a);
    if (!a->store)
        return;
    struct store_news news = {.offline = false};
    for (size_t i = 0; i < a->n_sessions; i++)
        a->sessions[i]->saved = NULL; /* closed by the store */
    bool saved = store_drain(a->store, SAVE_MS);
    bool told = store_news(a->store, &news) || news.offline;
    saved = store_close(a->store, saved ? SAVE_MS : 0) && saved;
    a->store = NULL;
    if (!saved)
        fprintf(stderr, "weft: not everything could be saved: %s\n",
                told && news.offline ? news.why.message : "the disk doesn't answer");
}
