#include "src/session.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/store.h"
#include "ui/text.h"

enum { AUTO_TITLE_COLUMNS = 24 };

struct session *session_create(uint32_t number, const struct session_defaults *defaults)
{
    struct session *s = mem_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->number = number;
    s->prio = defaults->prio;
    s->sampling = defaults->sampling;
    s->max_tokens = defaults->max_tokens;
    s->last_ttft_ms = s->last_tps = -1;
    s->system = mem_strdup(defaults->system);
    s->transcript = transcript_create();
    s->draft = editor_draft_create();
    session_set_title(s, "");
    if (!s->system || !s->transcript || !s->draft) {
        session_destroy(s);
        return NULL;
    }
    return s;
}

static void free_turns(struct session *s, size_t from)
{
    for (size_t i = from; i < s->n_turns; i++)
        mem_free(s->turns[i].text);
    s->n_turns = from;
    if (s->first_turn > from)
        s->first_turn = from;
}

static void free_queue(struct session *s)
{
    for (size_t i = 0; i < s->n_queue; i++)
        mem_free(s->queue[i].text);
    s->n_queue = 0;
}

void session_destroy(struct session *s)
{
    if (!s)
        return;
    free_turns(s, 0);
    free_queue(s);
    mem_free(s->turns);
    mem_free(s->queue);
    mem_free(s->system);
    buf_free(&s->reply);
    transcript_destroy(s->transcript);
    editor_draft_free(s->draft);
    mem_free(s);
}

void session_set_title(struct session *s, const char *title)
{
    struct text_filter filter = {{0}, 0};
    struct buf clean = BUF_INIT;
    text_filter(&filter, title, strlen(title), &clean);
    size_t n = 0;
    for (size_t i = 0; i < clean.len; i++) /* one line, no blanks doubled or in front */
        if (clean.data[i] != '\n' && clean.data[i] != '\t' && clean.data[i] != ' ')
            clean.data[n++] = clean.data[i];
        else if (n && clean.data[n - 1] != ' ')
            clean.data[n++] = ' ';
    while (n && clean.data[n - 1] == ' ')
        n--;
    if (n > SESSION_TITLE_MAX - 1)
        n = utf8_whole(clean.data, SESSION_TITLE_MAX - 1);
    if (n)
        snprintf(s->title, sizeof s->title, "%.*s", (int)n, clean.data);
    else
        snprintf(s->title, sizeof s->title, "session %u", s->number);
    buf_free(&clean);
}

/* Names a session by the first words of its first message. */
static void title_from(struct session *s, const char *text, size_t n)
{
    const char *line_end = memchr(text, '\n', n);
    if (line_end)
        n = (size_t)(line_end - text);
    size_t fits = text_fit(text, n, AUTO_TITLE_COLUMNS, NULL), cut = fits;
    if (fits < n)
        while (cut > 0 && text[cut] != ' ')
            cut--;
    if (!cut)
        cut = fits;
    char *title = mem_memdup(text, cut);
    if (title)
        session_set_title(s, title);
    mem_free(title);
}

bool session_set_system(struct session *s, const char *text)
{
    char *copy = mem_strdup(text);
    if (!copy)
        return false;
    mem_free(s->system);
    s->system = copy;
    return true;
}

bool session_add_turn(struct session *s, enum session_role role, const char *text, size_t n, size_t shown)
{
    char *copy = mem_memdup(text, n);
    if (!copy || mem_grow(&s->turns, &s->cap_turns, s->n_turns + 1, sizeof *s->turns) != 0) {
        mem_free(copy);
        return false;
    }
    s->turns[s->n_turns++] = (struct session_turn){role, copy, n, shown};
    return true;
}

/* A question becomes a turn, and goes into the session's file. */
static bool add_question(struct session *s, const char *text, size_t n)
{
    if (!session_add_turn(s, SESSION_USER, text, n, SIZE_MAX))
        return false;
    if (!s->saved || store_user(s->saved, text, n))
        return true;
    free_turns(s, s->n_turns - 1);
    return false;
}

/* The messages that wait go into the session's file. */
static void save_queue(struct session *s)
{
    const char **texts = s->saved ? mem_calloc(s->n_queue + 1, sizeof *texts) : NULL;
    for (size_t i = 0; i < s->n_queue && texts; i++)
        texts[i] = s->queue[i].text;
    if (texts)
        store_waiting(s->saved, texts, s->n_queue);
    mem_free(texts);
}

bool session_wait(struct session *s, const char *text, size_t n)
{
    char *copy = mem_memdup(text, n);
    if (!copy || mem_grow(&s->queue, &s->cap_queue, s->n_queue + 1, sizeof *s->queue) != 0) {
        mem_free(copy);
        return false;
    }
    size_t shown = transcript_add(s->transcript, MSG_QUEUED, text, n);
    s->queue[s->n_queue++] = (struct session_queued){copy, n, shown};
    return true;
}

bool session_say(struct session *s, const char *text, size_t n)
{
    bool waits = session_busy(s) || s->n_queue || s->paused;
    if (!waits) {
        if (!add_question(s, text, n))
            return false;
        if (s->n_turns == 1 && !s->titled)
            title_from(s, text, n);
        s->turns[s->n_turns - 1].shown = transcript_add(s->transcript, MSG_USER, text, n);
        return true;
    }
    if (!session_wait(s, text, n))
        return false;
    save_queue(s);
    return true;
}

/* Takes the queued messages from index `from` on off the transcript: they stand at its end, after what came
 * before them. */
static void hide_queue(struct session *s, size_t from)
{
    for (size_t i = s->n_queue; i-- > from;) {
        size_t gone = s->queue[i].shown;
        transcript_remove(s->transcript, gone);
        if (s->reply_shown > gone && session_busy(s))
            s->reply_shown--;
        for (size_t k = 0; k < s->n_queue; k++)
            if (s->queue[k].shown > gone && s->queue[k].shown != SIZE_MAX)
                s->queue[k].shown--;
        s->queue[i].shown = SIZE_MAX;
    }
}

static void show_queue(struct session *s)
{
    for (size_t i = 0; i < s->n_queue; i++)
        s->queue[i].shown = transcript_add(s->transcript, MSG_QUEUED, s->queue[i].text, s->queue[i].len);
}

bool session_next(struct session *s)
{
    if (!s->n_queue || session_busy(s) || !add_question(s, s->queue[0].text, s->queue[0].len))
        return false;
    /* The question goes to the end of the chat, those behind it follow once its reply has a place
     * (session_ask). */
    hide_queue(s, 0);
    s->turns[s->n_turns - 1].shown =
        transcript_add(s->transcript, MSG_USER, s->queue[0].text, s->queue[0].len);
    mem_free(s->queue[0].text);
    memmove(s->queue, s->queue + 1, --s->n_queue * sizeof *s->queue);
    save_queue(s);
    return true;
}

char *session_unqueue(struct session *s)
{
    if (!s->n_queue)
        return NULL;
    hide_queue(s, s->n_queue - 1);
    char *text = s->queue[--s->n_queue].text;
    save_queue(s);
    return text;
}

void session_drop_queue(struct session *s)
{
    hide_queue(s, 0);
    free_queue(s);
    save_queue(s);
}

/* A request is out: its reply stands in the transcript at `shown`. */
static void begin_reply(struct session *s, const char *id, size_t shown)
{
    snprintf(s->request, sizeof s->request, "%s", id);
    s->reply_shown = shown;
    s->stopping = s->failed = s->cut = false;
}

bool session_ask(struct session *s, const char *id)
{
    hide_queue(s, 0);
    size_t shown = transcript_add(s->transcript, MSG_ASSISTANT, "", 0);
    if (shown != SIZE_MAX) {
        begin_reply(s, id, shown);
        buf_clear(&s->reply);
        s->reply_from = 0;
    }
    show_queue(s);
    return shown != SIZE_MAX;
}

bool session_can_go_on(const struct session *s)
{
    return !session_busy(s) && s->n_turns && s->turns[s->n_turns - 1].role == SESSION_ASSISTANT;
}

bool session_ask_on(struct session *s, const char *id)
{
    const struct session_turn *last = &s->turns[s->n_turns - 1];
    size_t shown = last->shown;
    buf_clear(&s->reply);
    if (!buf_add(&s->reply, last->text, last->len) ||
        !transcript_reopen(s->transcript, shown, last->text, last->len))
        return false;
    free_turns(s, s->n_turns - 1);
    if (s->saved) { /* the file's copy grows too: the end that it has is taken back */
        store_keep(s->saved, s->n_turns);
        store_reply(s->saved, s->reply.data, s->reply.len);
    }
    s->reply_from = s->reply.len;
    begin_reply(s, id, shown);
    return true;
}

size_t session_question(const struct session *s, size_t nth)
{
    for (size_t i = s->n_turns; i-- > 0;)
        if (s->turns[i].role == SESSION_USER && --nth == 0)
            return i;
    return SIZE_MAX;
}

void session_rewind(struct session *s, size_t n)
{
    if (n >= s->n_turns)
        return;
    hide_queue(s, 0);
    /* From the first of them on all goes: what was remarked on them, too. One that memory was short for isn't shown. */
    size_t from = SIZE_MAX;
    for (size_t i = n; i < s->n_turns && from == SIZE_MAX; i++)
        from = s->turns[i].shown;
    for (size_t i = transcript_count(s->transcript); i-- > from;)
        transcript_remove(s->transcript, i);
    free_turns(s, n);
    if (s->saved)
        store_keep(s->saved, n);
    s->cut = false;
    show_queue(s);
}

bool session_reply(struct session *s, const char *text, size_t n)
{
    return buf_add(&s->reply, text, n) && transcript_append(s->transcript, s->reply_shown, text, n) &&
           (!s->saved || store_reply(s->saved, text, n));
}

/* The last turn, a question nobody answered, is taken back. */
static void take_back_question(struct session *s)
{
    if (s->n_turns && s->turns[s->n_turns - 1].role == SESSION_USER)
        free_turns(s, s->n_turns - 1);
    if (s->saved)
        store_keep(s->saved, s->n_turns);
}

/* A figure that there isn't (NaN) as the screen wants it. */
static double or_none(double v)
{
    return isfinite(v) ? v : -1;
}

const char *session_ended(enum finish_reason reason)
{
    static const char *const ended[] = {
        [FINISH_NONE] = NULL,           [FINISH_STOP] = NULL,         [FINISH_LENGTH] = "length",
        [FINISH_CANCELLED] = "stopped", [FINISH_TIMEOUT] = "timeout", [FINISH_ERROR] = "failed",
    };
    return ended[reason];
}

void session_end(struct session *s, const struct engine_event *finish)
{
    /* The event has the whole text: what the stream lacked, if anything, is added. */
    size_t came = s->reply.len - s->reply_from;
    if (finish->text_len > came)
        session_reply(s, finish->text + came, finish->text_len - came);
    s->cut = s->cut && finish->reason == FINISH_CANCELLED;
    if (s->reply.len)
        session_add_turn(s, SESSION_ASSISTANT, s->reply.data, s->reply.len, s->reply_shown);
    else if (!s->cut)
        take_back_question(s);
    struct reply_stats stats = {
        .ttft_ms = or_none(finish->timing.ttft_ms),
        .tps = or_none(finish->timing.decode_tps),
        .queue_ms = or_none(finish->timing.queue_ms),
        .tokens = finish->n_tokens,
        .cached_tokens = finish->cached_tokens,
        .preemptions = finish->preemptions,
        .ended = session_ended(finish->reason),
    };
    if (s->reply.len)
        session_save_end(s, &stats, finish->reason);
    session_save(s); /* whether a pause cut it off */
    transcript_end(s->transcript, s->reply_shown, &stats);
    s->last_ttft_ms = stats.ttft_ms;
    s->last_tps = stats.tps;
    s->request[0] = 0;
    s->failed = finish->error.code != WEFT_OK;
    if (s->failed)
        session_error(s, &finish->error);
}

void session_fail(struct session *s, const struct weft_err *err)
{
    bool going_on = session_busy(s) && s->reply_from;
    if (going_on) {
        s->request[0] = 0;
        hide_queue(s, 0);
        transcript_end(s->transcript, s->reply_shown, NULL);
        session_add_turn(s, SESSION_ASSISTANT, s->reply.data, s->reply.len, s->reply_shown);
        session_save_end(s, &(struct reply_stats){.ttft_ms = -1, .tps = -1, .queue_ms = -1}, FINISH_ERROR);
    } else if (session_busy(s)) {
        size_t gone = s->reply_shown;
        s->request[0] = 0;
        hide_queue(s, 0);
        transcript_remove(s->transcript, gone);
    } else {
        hide_queue(s, 0);
    }
    if (!going_on)
        take_back_question(s);
    s->cut = false;
    s->failed = true;
    session_error(s, err);
    show_queue(s);
}

void session_note(struct session *s, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    transcript_add(s->transcript, MSG_NOTE, line, utf8_whole(line, strlen(line)));
}

void session_error(struct session *s, const struct weft_err *err)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "%s: %s", weft_rc_name(err->code), err->message);
    transcript_add(s->transcript, MSG_ERROR, buf_str(&text), text.len);
    buf_free(&text);
}

void session_clear(struct session *s)
{
    free_turns(s, 0);
    free_queue(s);
    save_queue(s);
    if (s->saved)
        store_keep(s->saved, 0);
    transcript_clear(s->transcript);
    s->request[0] = 0;
    s->first_turn = s->edits = s->reply_from = 0;
    s->failed = s->unread = s->cut = s->paused = false;
    s->n_unread = 0;
    s->last_ttft_ms = s->last_tps = -1;
    buf_clear(&s->reply);
}

/* The turns from `first` on as messages, after the system message. */
static size_t fill(const struct session *s, size_t first, struct chat_message *to)
{
    static const char *const roles[] = {[SESSION_USER] = "user", [SESSION_ASSISTANT] = "assistant"};
    size_t n = 0;
    if (*s->system)
        to[n++] = (struct chat_message){"system", s->system, strlen(s->system)};
    for (size_t i = first; i < s->n_turns; i++)
        to[n++] = (struct chat_message){roles[s->turns[i].role], s->turns[i].text, s->turns[i].len};
    return n;
}

/* The next question after turn `at`: where a shorter prompt may begin; n_turns when there is none. */
static size_t next_question(const struct session *s, size_t at)
{
    do
        at++;
    while (at < s->n_turns && s->turns[at].role != SESSION_USER);
    return at;
}

bool session_prompt(struct session *s, session_count_fn *count, void *ctx, size_t limit,
                    struct session_prompt *out)
{
    *out = (struct session_prompt){.max_tokens = s->max_tokens};
    struct chat_message *messages = mem_calloc(s->n_turns + 1, sizeof *messages);
    if (!messages)
        return false;
    size_t first = s->first_turn, n = fill(s, first, messages);
    size_t tokens = limit && count ? count(ctx, messages, n) : 0;
    while (limit && tokens + s->max_tokens > limit) {
        size_t next = next_question(s, first);
        if (next >= s->n_turns)
            break;
        first = next;
        n = fill(s, first, messages);
        tokens = count(ctx, messages, n);
    }
    if (limit && tokens && tokens + s->max_tokens > limit)
        out->max_tokens = tokens < limit ? (uint32_t)(limit - tokens) : 1;
    out->left_out = first - s->first_turn;
    s->first_turn = first;
    out->messages = messages;
    out->n_messages = n;
    return true;
}
