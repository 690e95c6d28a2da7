#include "src/app_state.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What /set changes: a field of the session's sampling, or its max_tokens. */
static const struct setting {
    const char *name;
    enum { REAL, COUNT, SEED, MAX_TOKENS } type;
    size_t offset; /* in struct sampling */
    const char *help;
} settings[] = {
    {"temperature", REAL, offsetof(struct sampling, temperature), "0: always the likeliest token"},
    {"top_k", COUNT, offsetof(struct sampling, top_k), "only the k likeliest; 0: all"},
    {"top_p", REAL, offsetof(struct sampling, top_p), "only the likeliest that make up p; 1: off"},
    {"min_p", REAL, offsetof(struct sampling, min_p), "at least p as likely as the best; 0: off"},
    {"repeat_penalty", REAL, offsetof(struct sampling, repeat_penalty), "against repetition; 1: off"},
    {"presence_penalty", REAL, offsetof(struct sampling, presence_penalty), "against what was said; 0: off"},
    {"frequency_penalty", REAL, offsetof(struct sampling, frequency_penalty),
     "… the more, the oftener; 0: off"},
    {"seed", SEED, offsetof(struct sampling, seed), "-1: another one for each reply"},
    {"max_tokens", MAX_TOKENS, 0, "most tokens of a reply"},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings, MAX_TOKENS_LIMIT = 16777216 };

const char *slash_setting(size_t i, const char **help)
{
    *help = i < N_SETTINGS ? settings[i].help : NULL;
    return i < N_SETTINGS ? settings[i].name : NULL;
}

void slash_run(struct app *a, const char *line)
{
    size_t word = strcspn(line, " \t\n");
    const char *args = line + word + strspn(line + word, " \t\n");
    enum action action = keymap_slash(line, word);
    char trimmed[4096];
    if (action == ACTION_NONE) {
        app_toast(a, TOAST_ERROR, "unknown command %.*s: /help lists them, // begins a message with /",
                  (int)(word < 64 ? word : 64), line);
        return;
    }
    size_t n = strlen(args);
    while (n && strchr(" \t\n", args[n - 1]))
        n--;
    if (n >= sizeof trimmed) {
        app_toast(a, TOAST_ERROR, "%.*s: %zu bytes behind it, the limit is %zu", (int)word, line, n,
                  sizeof trimmed - 1);
        return;
    }
    memcpy(trimmed, args, n);
    trimmed[n] = 0;
    char problem[256];
    if (keymap_check_args(action, trimmed, problem, sizeof problem))
        app_act(a, action, trimmed);
    else
        app_toast(a, TOAST_ERROR, "%s", problem);
}

/* Reads `word` into the session's copies; false when it isn't a number of the right kind. */
static bool parse_value(const struct setting *s, const char *word, struct sampling *sampling,
                        uint32_t *max_tokens)
{
    char *end, *field = (char *)sampling + s->offset;
    errno = 0;
    if (s->type == REAL) {
        double v = strtod(word, &end);
        memcpy(field, &v, sizeof v);
        return *word && !*end && isfinite(v);
    }
    long long v = strtoll(word, &end, 10);
    bool whole = *word && !*end && errno == 0;
    if (s->type == SEED) {
        int64_t seed = v;
        memcpy(field, &seed, sizeof seed);
        return whole && v >= -1;
    }
    uint32_t count = v >= 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
    if (s->type == COUNT)
        memcpy(field, &count, sizeof count);
    else
        *max_tokens = count;
    return whole && v >= 0 && v <= UINT32_MAX;
}

void slash_set(struct app *a, const char *args)
{
    struct session *session = app_session(a);
    size_t n = strcspn(args, " \t=");
    const char *value = args + n + strspn(args + n, " \t=");
    const struct setting *s = NULL;
    for (size_t i = 0; i < N_SETTINGS && !s; i++)
        if (strlen(settings[i].name) == n && memcmp(settings[i].name, args, n) == 0)
            s = &settings[i];
    if (!s) {
        app_toast(a, TOAST_ERROR, "/set: there is no setting %.*s; /show lists them", (int)(n < 64 ? n : 64),
                  args);
        return;
    }
    struct sampling sampling = session->sampling;
    uint32_t max_tokens = session->max_tokens;
    struct weft_err err;
    if (!parse_value(s, value, &sampling, &max_tokens)) {
        app_toast(a, TOAST_ERROR, "/set %s: \"%.64s\" is no value for it (%s)", s->name, value, s->help);
    } else if (max_tokens < 1 || max_tokens > MAX_TOKENS_LIMIT) {
        app_toast(a, TOAST_ERROR, "/set max_tokens: %u, it is 1 … %d", max_tokens, MAX_TOKENS_LIMIT);
    } else if (sampling_check(&sampling, &err) != WEFT_OK) {
        app_toast_error(a, &err);
    } else {
        session->sampling = sampling;
        session->max_tokens = max_tokens;
        app_toast(a, TOAST_INFO, "%s = %s, from the next reply on", s->name, value);
    }
}

static void add_value(struct buf *b, const struct setting *s, const struct session *session)
{
    const char *field = (const char *)&session->sampling + s->offset;
    char word[32] = "";
    double real;
    uint32_t count;
    int64_t seed;
    switch (s->type) {
    case REAL:
        memcpy(&real, field, sizeof real);
        snprintf(word, sizeof word, "%g", real);
        break;
    case COUNT:
        memcpy(&count, field, sizeof count);
        snprintf(word, sizeof word, "%u", count);
        break;
    case SEED:
        memcpy(&seed, field, sizeof seed);
        snprintf(word, sizeof word, "%" PRId64, seed);
        break;
    case MAX_TOKENS: snprintf(word, sizeof word, "%u", session->max_tokens); break;
    }
    buf_addf(b, "%-18s %-8s %s\n", s->name, word, s->help);
}

void slash_show(struct app *a)
{
    const struct session *s = app_session(a);
    struct buf text = BUF_INIT;
    char title[96];
    buf_addf(&text, "%-18s %s\n", "title", s->title);
    buf_addf(&text, "%-18s %s\n", "priority", prio_name(s->prio));
    buf_addf(&text, "%-18s %s\n", "model", *s->model ? s->model : *a->snap->model ? a->snap->model : "-");
    buf_addf(&text, "%-18s %s\n", "system prompt", *s->system ? s->system : "(the template's own)");
    if (s->branch_of)
        buf_addf(&text, "%-18s session %u\n", "branch of", s->branch_of);
    else if (*s->fork_of)
        buf_addf(&text, "%-18s a session that isn't open (/load %s)\n", "branch of", s->fork_of);
    buf_addf(&text, "%-18s %zu\n\n", "turns", s->n_turns);
    if (s->first_turn)
        buf_addf(&text, "the %zu oldest turns no longer fit the context and are left out\n\n", s->first_turn);
    for (size_t i = 0; i < N_SETTINGS; i++)
        add_value(&text, &settings[i], s);
    buf_adds(&text, "\n/set NAME VALUE changes one, /system TEXT the system prompt, /prio the priority\n");
    snprintf(title, sizeof title, "Session %u", s->number);
    overlay_text(a, title, buf_str(&text));
    buf_free(&text);
}

void slash_system(struct app *a, const char *args)
{
    struct session *s = app_session(a);
    if (!session_set_system(s, args))
        app_toast(a, TOAST_ERROR, "out of memory for the system prompt");
    else if (*args)
        session_note(s, "system prompt, from the next message on: %s", args);
    else
        session_note(s, "no system prompt of the session's own from the next message on");
}

static void add_ms(struct buf *b, const char *name, const struct snap_percentiles *p)
{
    if (isfinite(p->p50))
        buf_addf(b, "%-22s p50 %.1f ms   p99 %.1f ms   over the last minute\n", name, p->p50, p->p99);
    else
        buf_addf(b, "%-22s -\n", name);
}

void slash_stats(struct app *a)
{
    const struct snapshot *s = a->snap;
    struct buf text = BUF_INIT;
    buf_addf(&text, "%-22s %s%s\n", "engine", engine_state_name(s->state), s->frozen ? ", frozen" : "");
    buf_addf(&text, "%-22s %s, %s\n", "model", s->model, s->precision);
    buf_addf(&text, "%-22s %s (%s)\n", "device", s->device, s->exec_name);
    buf_addf(&text, "%-22s %.0f s\n\n", "up for", (double)s->uptime_us / 1e6);
    buf_addf(&text, "%-22s %" PRIu64 " (%" PRIu64 " completed, %" PRIu64 " failed, %" PRIu64 " refused)\n",
             "requests", s->total_requests, s->completed, s->failed, s->rejected);
    buf_addf(&text, "%-22s %.0f ms\n", "mean request", s->avg_latency_ms);
    buf_addf(&text, "%-22s %u of %u\n", "waiting", s->queue_depth, s->max_depth);
    buf_addf(&text, "%-22s %u of %u\n", "running", s->n_running, s->max_batch_size);
    buf_addf(&text, "%-22s %" PRIu64 "\n", "steps", s->total_batches);
    buf_addf(&text, "%-22s %.2f (%.2f over the last 10 s)\n\n", "mean batch", s->avg_batch_size,
             s->avg_batch_size_10s);
    buf_addf(&text, "%-22s %.0f tok/s\n", "prefill", s->prefill_tps);
    buf_addf(&text, "%-22s %.0f tok/s\n", "decode", s->decode_tps);
    add_ms(&text, "time to first token", &s->ttft);
    add_ms(&text, "between tokens", &s->itl);
    buf_addf(&text, "\n%-22s %u used, %u cached, %u free, of %u blocks of %u tokens\n", "KV", s->kv_used,
             s->kv_cached, s->kv_free, s->kv_total, s->block_tokens);
    buf_addf(&text, "%-22s %.0f MB\n", "memory", s->memory_mb);
    overlay_text(a, "Statistics", buf_str(&text));
    buf_free(&text);
}
