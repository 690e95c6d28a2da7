/* The table of configuration keys. config/weft.yaml says the same in prose; tests/src/test_config.c holds
 * them together. */
#include <stdio.h>
#include <string.h>

#include "src/config_internal.h"

/* Order = the enums of config.h, and of the modules that take the index (layout.h, grid.h, log.h; prio is
 * index - 1). */
static const char *const precisions[] = {"auto", "fp32", "int8", "bf16", NULL};
static const char *const policies[] = {"priority", "fifo", NULL};
static const char *const preemptions[] = {"auto", "park", "recompute", "off", NULL};
static const char *const priorities[] = {"critical", "high", "normal", "low", NULL};
static const char *const layouts[] = {"chat", "balanced", "scheduler", "kv", NULL};
static const char *const graphs[] = {"braille", "block", "ascii", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

/* clang-format off */
#define FIELD(s, n)                             #s "." #n
#define AT(s, n)                                offsetof(struct weft_config, s.n)
#define BOOL(s, n, preset, live, help)          {FIELD(s, n), CONFIG_BOOL, AT(s, n), preset, 0, 0, false, NULL, live, help}
#define INT(s, n, preset, min, max, live, help) {FIELD(s, n), CONFIG_INT, AT(s, n), preset, min, max, false, NULL, live, help}
#define REAL(s, n, preset, min, max, live, help) \
    {FIELD(s, n), CONFIG_REAL, AT(s, n), preset, min, max, false, NULL, live, help}
#define ABOVE(s, n, preset, min, max, live, help) \
    {FIELD(s, n), CONFIG_REAL, AT(s, n), preset, min, max, true, NULL, live, help}
#define CHOICE(s, n, preset, words, live, help) \
    {FIELD(s, n), CONFIG_CHOICE, AT(s, n), preset, 0, 0, false, words, live, help}
#define TEXT(s, n, preset, min, max, live, help) \
    {FIELD(s, n), CONFIG_TEXT, AT(s, n), preset, min, max, false, NULL, live, help}
#define LIST(s, n, preset, max, live, help) \
    {FIELD(s, n), CONFIG_LIST, AT(s, n), preset, 1, max, false, NULL, live, help}
/* clang-format on */

enum { RESTART = false, LIVE = true };

#define DAY_MS   86400000.0
#define MB_MAX   16777216.0         /* 16 TiB in MiB */
#define SEED_MAX 9007199254740991.0 /* 2^53 - 1: exact in any JSON reader */
#define COST_MAX 1e9

static const struct config_key table[] = {
    LIST(model, path, "smollm2", CONFIG_MODELS_MAX, RESTART,
         "the model's name or file; a list loads several, the first is the default"),
    INT(model, context, "0", 0, 16777216, RESTART,
        "most tokens of a sequence; 0: what the model was trained for"),
    BOOL(model, warm, "true", RESTART, "run steps of each shape before the first request"),
    INT(model, warm_timeout_ms, "30000", 1, DAY_MS, RESTART, "time that warming may take"),

    TEXT(device, select, "auto", 1, 255, RESTART,
         "auto, a number of `weft devices`, or part of a device's or platform's name"),
    CHOICE(device, precision, "auto", precisions, RESTART,
           "arithmetic: fp32 is the reference, int8 and bf16 are faster, auto is the fastest here"),
    BOOL(device, cache, "true", RESTART, "keep compiled kernels for the next start"),
    INT(device, cache_mb, "128", 0, 1048576, RESTART,
        "MiB that compiled kernels may take, those unused for longest going first; 0: no limit"),
    INT(device, threads, "0", 0, 1024, RESTART,
        "cores that a CPU device may use; 0, or more than it has: all"),

    INT(kv, blocks, "0", 0, 16777216, RESTART, "KV blocks of each model; 0: as many as memory_mb holds"),
    INT(kv, block_tokens, "16", 1, 256, RESTART, "tokens in a block"),
    INT(kv, memory_mb, "512", 1, MB_MAX, RESTART,
        "MiB for the KV blocks of all models together, where blocks is 0"),
    BOOL(kv, prefix_cache, "true", RESTART, "keep the blocks of ended requests for prompts that begin alike"),
    INT(kv, park_mb, "512", 0, MB_MAX, RESTART,
        "MiB of host memory for the KV of preempted sequences, of all models together"),

    CHOICE(scheduler, policy, "priority", policies, RESTART,
           "priority: by aged priority; fifo: in order of arrival, never preempting"),
    REAL(scheduler, aging_rate, "0.1", 0, 1000, RESTART,
         "priority levels that a waiting request gains in a second"),
    CHOICE(scheduler, preemption, "auto", preemptions, RESTART,
           "what becomes of a victim's KV: parked, recomputed, the cheaper of both; or no preemption"),
    INT(scheduler, max_preemptions, "3", 0, 1000, RESTART, "how often one request can be preempted"),
    INT(scheduler, max_batch_size, "16", 1, 1024, RESTART, "most sequences in a step"),
    INT(scheduler, max_batch_tokens, "256", 1, 65536, RESTART,
        "most tokens in a step; at least max_batch_size"),
    REAL(scheduler, itl_target_ms, "0", 0, 60000, RESTART,
         "inter-token latency to hold by smaller prefill chunks; 0: none"),

    BOOL(batching, enabled, "true", RESTART, "false: one request at a time, to its end"),
    INT(batching, min_batch_size, "1", 1, 1024, RESTART,
        "requests that an idle engine waits for; at most scheduler.max_batch_size"),
    REAL(batching, batch_timeout_ms, "50", 0, 60000, RESTART, "how long it waits for them"),
    BOOL(batching, adaptive_timeout, "true", RESTART, "scale that wait with the queue's recent depth"),
    INT(batching, stop_ms, "2000", 0, 600000, RESTART,
        "time to drain when stopping, before what runs is cancelled"),

    INT(queue, max_depth, "1000", 1, 10000000, RESTART, "most requests that were never scheduled yet"),
    BOOL(queue, reject_when_full, "true", RESTART,
         "true: refuse the newcomer; false: drop the oldest of the worst priority"),
    INT(queue, timeout_ms, "0", 0, DAY_MS, RESTART,
        "time a request has from its arrival, where it names none; 0: no limit"),

    INT(resources, max_memory_mb, "0", 0, MB_MAX, RESTART,
        "soft limit: above it LOW requests are refused; 0: 70 % of the machine's memory"),
    INT(resources, critical_memory_mb, "0", 0, MB_MAX, RESTART,
        "hard limit: above it all are refused; 0: 85 %; not below max_memory_mb"),
    INT(resources, check_interval_ms, "1000", 10, 3600000, RESTART, "how often memory is measured"),

    REAL(sampling, temperature, "0.7", 0, 100, LIVE, "0: always the likeliest token"),
    INT(sampling, top_k, "40", 0, 16777216, LIVE, "sample from the k likeliest tokens; 0: all"),
    ABOVE(sampling, top_p, "0.95", 0, 1, LIVE,
          "sample from the likeliest tokens that hold this much probability; 1: off"),
    REAL(sampling, min_p, "0.05", 0, 1, LIVE,
         "leave out tokens less likely than this fraction of the likeliest; 0: off"),
    ABOVE(sampling, repeat_penalty, "1.1", 0, 10, LIVE,
          "how much tokens of the last 64 are discouraged; 1: off"),
    INT(sampling, max_tokens, "512", 1, 16777216, LIVE, "most tokens of a reply"),
    INT(sampling, seed, "-1", -1, SEED_MAX, LIVE,
        "-1: another one for each request, reported with the result"),

    CHOICE(session, priority, "normal", priorities, LIVE, "priority of a new session"),
    TEXT(session, system, "", 0, CONFIG_FILE_LIMIT, LIVE, "system message of a new session"),

    REAL(sim, step_us, "300", 0, COST_MAX, RESTART, "simulated cost of a step"),
    REAL(sim, prefill_us, "500", 0, COST_MAX, RESTART, "the same for each prefill token in it"),
    REAL(sim, decode_us, "900", 0, COST_MAX, RESTART, "the same for each decode"),
    REAL(sim, context_us, "40", 0, COST_MAX, RESTART, "the same for each 1000 tokens of context read"),
    REAL(sim, park_us, "20", 0, COST_MAX, RESTART, "the same for each block parked or restored"),
    INT(sim, context, "1000000", 1, 1e9, RESTART, "most tokens of a sequence"),
    INT(sim, blocks, "1024", 1, 16777216, RESTART, "KV blocks"),
    INT(sim, vocab, "49152", 2, 16777216, RESTART, "token ids"),
    REAL(sim, memory_base_mb, "200", 0, MB_MAX, RESTART,
         "memory that the simulated process takes without KV"),
    REAL(sim, block_kb, "720", 0, MB_MAX, RESTART, "memory of a KV block"),

    TEXT(ui, theme, "default", 1, 255, LIVE, "a theme's name or file"),
    CHOICE(ui, layout, "balanced", layouts, LIVE, "which panes are shown"),
    CHOICE(ui, graph, "braille", graphs, RESTART, "what graphs are drawn with"),
    INT(ui, fps, "30", 1, 120, RESTART, "most frames drawn in a second"),
    INT(ui, nice, "5", 0, 19, RESTART,
        "how far the engine under the console gives way, so that keys show at once; 0: not at all"),
    BOOL(ui, mouse, "false", RESTART, "take the mouse; selecting text then needs Shift"),

    CHOICE(log, level, "info", levels, RESTART, "least severe messages that are kept"),
    TEXT(log, file, "", 0, 4095, RESTART,
         "file to append to; empty: the state directory's weft.log for the console, else standard error"),
};

_Static_assert(sizeof table / sizeof table[0] <= CONFIG_KEYS_MAX, "raise CONFIG_KEYS_MAX");

const struct config_key *config_keys(size_t *n)
{
    *n = sizeof table / sizeof table[0];
    return table;
}

size_t config_key_index(const struct config_key *key)
{
    return (size_t)(key - table);
}

const struct config_key *config_key_find(const char *path)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].path, path) == 0)
            return &table[i];
    return NULL;
}

size_t config_section_length(const struct config_key *key)
{
    return strcspn(key->path, ".");
}

const struct config_key *config_section_find(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (config_section_length(&table[i]) == n && memcmp(table[i].path, name, n) == 0)
            return &table[i];
    return NULL;
}

/* "a|b|c" */
static void join_choices(const struct config_key *key, char *out, size_t size)
{
    size_t n = 0;
    for (const char *const *c = key->choices; *c && n < size; c++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", c == key->choices ? "" : "|", *c);
}

void config_allowed(const struct config_key *key, char *out, size_t size)
{
    switch (key->type) {
    case CONFIG_BOOL: snprintf(out, size, "true or false"); break;
    case CONFIG_CHOICE: join_choices(key, out, size); break;
    case CONFIG_INT: snprintf(out, size, "%.0f … %.0f", key->min, key->max); break;
    case CONFIG_REAL:
        snprintf(out, size, "%s%.10g … %.10g", key->above_min ? "above " : "", key->min, key->max);
        break;
    case CONFIG_TEXT: snprintf(out, size, "text of %.0f … %.0f bytes", key->min, key->max); break;
    case CONFIG_LIST: snprintf(out, size, "one word or a list of %.0f … %.0f", key->min, key->max); break;
    }
}

const char *config_choice(const char *path, int value)
{
    const struct config_key *key = config_key_find(path);
    if (!key || key->type != CONFIG_CHOICE || value < 0)
        return "?";
    for (int i = 0; key->choices[i]; i++)
        if (i == value)
            return key->choices[i];
    return "?";
}
