/* Actions on what is kept: export, load, search over all sessions. */
#include "src/app_actions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/export.h"
#include "src/search.h"
#include "src/store.h"
#include "ui/text.h"
#include "ui/term/editor.h"

enum {
    LISTED_MAX = 200,              /* rows of a list */
    PEEK_BYTES = 1 << 20,          /* the title of a larger file isn't looked up */
    SEARCH_STEP_BYTES = 256 * 1024 /* between two frames */
};

/* Rows of a list: what is shown, and the session behind it. */
struct row {
    char *label, *detail; /* mem_free */
    char id[STORE_ID_MAX];
};

struct app_kept {
    /* waiting for a yes to overwrite */
    enum export_format format;
    char path[1024];

    struct search *search; /* under way; NULL: none */
    char needle[SEARCH_NEEDLE_MAX + 1];
    bool jump; /* the rows are places found: the needle is looked for in the session that is chosen */

    struct row rows[LISTED_MAX];
    size_t n_rows;
};

static struct app_kept *kept(struct app *a)
{
    if (!a->kept && !(a->kept = mem_calloc(1, sizeof *a->kept)))
        app_toast(a, TOAST_ERROR, "out of memory");
    return a->kept;
}

/* Whether there is a store; says so when there is none. */
static bool have_store(struct app *a)
{
    if (!a->store)
        app_toast(a, TOAST_ERROR, "sessions aren't saved: the log says why");
    return a->store != NULL;
}

static void drop_rows(struct app_kept *k)
{
    for (size_t i = 0; i < k->n_rows; i++) {
        mem_free(k->rows[i].label);
        mem_free(k->rows[i].detail);
    }
    k->n_rows = 0;
}

void app_kept_free(struct app *a)
{
    if (!a->kept)
        return;
    search_destroy(a->kept->search);
    drop_rows(a->kept);
    mem_free(a->kept);
    a->kept = NULL;
}

/* Adds a row; foreign text is filtered here. False when the list is full, or memory. */
static bool add_row(struct app_kept *k, const char *id, const char *title, const char *detail)
{
    struct text_filter filter = {{0}, 0}, detail_filter = {{0}, 0};
    struct buf label = BUF_INIT, more = BUF_INIT;
    if (k->n_rows == LISTED_MAX)
        return false;
    struct row *r = &k->rows[k->n_rows];
    buf_addf(&label, "%zu  ", k->n_rows + 1);
    text_filter(&filter, title, strlen(title), &label);
    text_filter(&detail_filter, detail, strlen(detail), &more);
    *r = (struct row){.label = buf_take(&label, NULL), .detail = buf_take(&more, NULL)};
    snprintf(r->id, sizeof r->id, "%s", id);
    if (!r->label || !r->detail) {
        mem_free(r->label);
        mem_free(r->detail);
        return false;
    }
    k->n_rows++;
    return true;
}

static bool row_item(struct app *a, size_t i, struct view_item *out)
{
    if (i >= a->kept->n_rows)
        return false;
    *out = (struct view_item){.label = a->kept->rows[i].label, .detail = a->kept->rows[i].detail};
    return true;
}

/* --- export --- */

static void export_to(struct app *a, enum export_format format, const char *path, bool overwrite)
{
    struct session *s = act_chosen_session(a);
    struct buf written = BUF_INIT;
    struct weft_err err;
    if (!s->saved) {
        app_toast(a, TOAST_ERROR, "session %u isn't kept, so there is nothing to export", s->number);
        return;
    }
    enum weft_rc rc = export_write(store_session_chat(s->saved), format, path, overwrite, &written, &err);
    if (rc == WEFT_OK)
        session_note(s, "written: %s", buf_str(&written));
    else
        app_toast_error(a, &err);
    buf_free(&written);
}

static void overwrite_it(struct app *a, const char *answer)
{
    (void)answer;
    export_to(a, a->kept->format, a->kept->path, true);
}

/* Exports, asking first where there is a file already. */
static void export_asking(struct app *a, enum export_format format, const char *path)
{
    struct app_kept *k = kept(a);
    char question[1200];
    if (!k)
        return;
    if (strlen(path) >= sizeof k->path) {
        app_toast(a, TOAST_ERROR, "the path has %zu bytes, the limit is %zu", strlen(path),
                  sizeof k->path - 1);
        return;
    }
    if (!export_exists(path)) {
        export_to(a, format, path, false);
        return;
    }
    k->format = format;
    snprintf(k->path, sizeof k->path, "%s", path);
    snprintf(question, sizeof question, "%s exists. Overwrite it?", path);
    overlay_confirm(a, question, overwrite_it);
}

void act_export(struct app *a, const char *args)
{
    enum export_format format = EXPORT_MARKDOWN;
    char word[16] = "";
    size_t n = args ? strcspn(args, " \t") : 0;
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), args ? args : "");
    if (*word && !export_format_parse(word, &format)) {
        app_toast(a, TOAST_ERROR, "/export: %s isn't one of md|json", word);
        return;
    }
    export_asking(a, format, args ? args + n + strspn(args + n, " \t") : "");
}

void act_save(struct app *a, const char *args)
{
    export_asking(a, EXPORT_JSON, args ? args : "");
}

/* --- load --- */

/* Brings a session to the front, opening it if it isn't open. False: it can't be. */
static bool show_kept(struct app *a, const char *id)
{
    for (size_t i = 0; i < a->n_sessions; i++) {
        const struct store_session *saved = a->sessions[i]->saved;
        if (saved && strcmp(store_session_chat(saved)->id, id) == 0) {
            app_show_session(a, i);
            return true;
        }
    }
    return app_store_show(a, id);
}

static void load_file(struct app *a, const char *path)
{
    struct store_settings defaults;
    struct store_chat chat;
    struct weft_err err;
    app_store_defaults(a, &defaults);
    if (export_read(path, &defaults, &chat, &err) != WEFT_OK) {
        app_toast_error(a, &err);
        return;
    }
    if (app_new_session(a)) {
        struct session *s = app_session(a);
        app_store_import(a, s, &chat);
        session_note(s, "loaded: %s", path);
    }
    store_chat_deinit(&chat);
}

static void take_row(struct app *a, const char *label)
{
    struct app_kept *k = a->kept;
    size_t i = (size_t)strtoul(label, NULL, 10) - 1;
    if (i >= k->n_rows || !show_kept(a, k->rows[i].id) || !k->jump)
        return;
    struct transcript *t = app_session(a)->transcript;
    snprintf(a->search, sizeof a->search, "%.127s", k->needle);
    transcript_search(t, a->search);
    transcript_home(t);
    transcript_search_next(t, 1);
}

/* Rows for the sessions on disk that aren't open here, the one changed last first. */
static void list_kept(struct app *a, struct app_kept *k)
{
    struct store_settings defaults;
    struct store_entry *entries;
    struct weft_err err;
    size_t n;
    drop_rows(k);
    app_store_defaults(a, &defaults);
    if (store_list(a->store, &entries, &n, &err) != WEFT_OK) {
        app_toast_error(a, &err);
        return;
    }
    for (size_t i = 0; i < n && k->n_rows < LISTED_MAX; i++) {
        struct store_chat c;
        const char *title = entries[i].id;
        char detail[96];
        bool open = false;
        for (size_t j = 0; j < a->n_sessions && !open; j++)
            open = a->sessions[j]->saved &&
                   strcmp(store_session_chat(a->sessions[j]->saved)->id, entries[i].id) == 0;
        if (open)
            continue;
        bool peeked = entries[i].bytes <= PEEK_BYTES &&
                      store_peek(a->store, entries[i].id, &defaults, &c, NULL, &err) == WEFT_OK;
        if (peeked && *c.settings.title)
            title = c.settings.title;
        snprintf(detail, sizeof detail, "%.15s, %.1f kB", entries[i].id, (double)entries[i].bytes / 1e3);
        add_row(k, entries[i].id, title, detail);
        if (peeked)
            store_chat_deinit(&c);
    }
    mem_free(entries);
}

void act_load(struct app *a, const char *args)
{
    struct app_kept *k = kept(a);
    if (!k || !have_store(a))
        return;
    if (args && *args) {
        if (!store_id_valid(args) || !show_kept(a, args))
            load_file(a, args);
        return;
    }
    list_kept(a, k);
    k->jump = false;
    if (k->n_rows)
        overlay_list(a, "Open a session", row_item, take_row);
    else
        app_toast(a, TOAST_INFO, "all sessions there are are open; /load PATH reads an exported chat");
}

/* --- search --- */

static void begin_search(struct app *a, const char *needle)
{
    struct app_kept *k = kept(a);
    struct weft_err err;
    if (!k || !have_store(a))
        return;
    search_destroy(k->search);
    k->search = NULL;
    if (search_create(a->store, needle, &k->search, &err) != WEFT_OK) {
        app_toast_error(a, &err);
        return;
    }
    snprintf(k->needle, sizeof k->needle, "%s", needle);
    if (search_progress(k->search).n_bytes > 16 * SEARCH_STEP_BYTES)
        app_toast(a, TOAST_INFO, "searching …");
}

void act_search(struct app *a, const char *args)
{
    if (args && *args)
        begin_search(a, args);
    else
        overlay_prompt(a, "Search all sessions", kept(a) ? a->kept->needle : "", begin_search);
}

/* Shows what was found, and ends the search. */
static void show_found(struct app *a)
{
    struct app_kept *k = a->kept;
    struct search_progress p = search_progress(k->search);
    size_t n;
    const struct search_hit *h = search_hits(k->search, &n);
    char title[96];
    drop_rows(k);
    for (size_t i = 0; i < n && add_row(k, h[i].id, h[i].title, h[i].in_title ? "the title" : h[i].snippet);
         i++)
        ;
    if (n > k->n_rows)
        snprintf(title, sizeof title, "Found: %s%zu, the first %zu", p.cut ? "over " : "", n, k->n_rows);
    else
        snprintf(title, sizeof title, "Found: %zu", n);
    search_destroy(k->search);
    k->search = NULL;
    k->jump = true;
    if (k->n_rows)
        overlay_list(a, title, row_item, take_row);
    else
        app_toast(a, TOAST_WARN, "found in no session: %.200s", k->needle);
    a->urgent = true;
}

bool app_search_step(struct app *a)
{
    struct weft_err err = {.code = WEFT_OK};
    if (!a->kept || !a->kept->search)
        return false;
    bool more = search_step(a->kept->search, SEARCH_STEP_BYTES, &err);
    if (err.code != WEFT_OK)
        app_toast_error(a, &err);
    if (more)
        return true;
    if (a->overlay.kind == OVERLAY_NONE) /* else once that is closed */
        show_found(a);
    return false;
}
