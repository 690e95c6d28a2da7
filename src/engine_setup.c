#include "src/engine_setup.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/exec/exec_cl.h"
#include "engine/exec/exec_sim.h"
#include "src/config_paths.h"
#include "src/models.h"

#define MIB (1024.0 * 1024.0)

/* What the engine's thread needs to load one model: lives from engine_setup until the engine releases it. */
struct load {
    const struct weft_config *cfg;
    struct engine_setup_options options;
    char *model_path;  /* NULL under simulation */
    uint32_t n_models; /* that share the memory for KV */
    struct engine *engine;
    const char *phase; /* of loading, as told last; NULL: none */
    int64_t phase_us;  /* when it began */
};

/* engine_model_config.release */
static void load_free(void *ctx)
{
    struct load *l = ctx;
    mem_free(l->model_path);
    mem_free(l);
}

/* Notes how long the phase took that this one ends; NULL: the last was the last. */
static void begin_phase(struct load *l, const char *what)
{
    const int64_t now_us = clock_now_us();
    if (what && l->phase && strcmp(what, l->phase) == 0)
        return;
    if (l->phase)
        log_msg(LOG_DEBUG, "%s: %s took %.1f ms", l->model_path, l->phase,
                (double)(now_us - l->phase_us) / 1e3);
    l->phase = what;
    l->phase_us = now_us;
}

/* exec_cl_config.progress; `what` is a literal of the executor's */
static void progress(void *ctx, const char *what, double fraction)
{
    struct load *l = ctx;
    begin_phase(l, what);
    engine_progress(l->engine, what, fraction);
}

/* Where compiled kernels go; "" without a cache. */
static const char *cache_directory(const struct weft_config *cfg, struct buf *dir)
{
    if (!cfg->device.cache || !paths_of(PATH_CACHE, "kernels", dir))
        return NULL;
    if (paths_make(buf_str(dir)) == 0)
        return buf_str(dir);
    log_msg(LOG_WARN, "%s: %s: kernels are compiled at each start", buf_str(dir), strerror(errno));
    return NULL;
}

static enum weft_rc create_cl(struct load *l, const struct model *model, struct exec **out,
                              struct weft_err *err)
{
    const struct weft_config *cfg = l->cfg;
    struct buf dir = BUF_INIT;
    uint32_t max_tokens = (uint32_t)cfg->scheduler.max_batch_tokens;
    uint32_t max_seqs = (uint32_t)cfg->scheduler.max_batch_size;
    struct exec_cl_config cl = {
        .device = cfg->device.select,
        .precision = config_choice("device.precision", cfg->device.precision),
        .cache_dir = cache_directory(cfg, &dir),
        .cache_bytes = (uint64_t)cfg->device.cache_mb << 20,
        .threads = (uint32_t)cfg->device.threads,
        .n_ctx = (uint32_t)cfg->model.context,
        .block_tokens = (uint32_t)cfg->kv.block_tokens,
        .n_blocks = (uint32_t)cfg->kv.blocks,
        .kv_bytes = (uint64_t)((double)cfg->kv.memory_mb * MIB / l->n_models),
        .park_bytes = (uint64_t)((double)cfg->kv.park_mb * MIB / l->n_models),
        .max_tokens = max_tokens,
        .max_seqs = max_seqs,
        .max_logits = l->options.all_logits ? max_tokens : max_seqs,
        .profile = l->options.profile,
        .progress = progress,
        .progress_ctx = l,
    };
    enum weft_rc rc = exec_cl_create(model, &cl, out, err);
    buf_free(&dir);
    return rc;
}

enum weft_rc engine_setup_sim(const struct weft_config *cfg, struct exec **out, struct weft_err *err)
{
    uint64_t block_bytes = (uint64_t)(cfg->sim.block_kb * 1024);
    double slots =
        block_bytes ? (double)cfg->kv.park_mb * MIB / (double)block_bytes : (double)cfg->sim.blocks;
    struct exec_sim_config sim = {
        .step_us = cfg->sim.step_us,
        .prefill_us = cfg->sim.prefill_us,
        .decode_us = cfg->sim.decode_us,
        .context_us = cfg->sim.context_us,
        .park_us = cfg->sim.park_us,
        .n_vocab = (uint32_t)cfg->sim.vocab,
        .n_ctx = (uint32_t)cfg->sim.context,
        .block_tokens = (uint32_t)cfg->kv.block_tokens,
        .n_blocks = (uint32_t)(cfg->kv.blocks ? cfg->kv.blocks : cfg->sim.blocks),
        .n_park_slots = (uint32_t)(slots < UINT32_MAX ? slots : UINT32_MAX),
        .block_bytes = block_bytes,
    };
    return exec_sim_create(&sim, out, err);
}

/* Tokenizer and template, read on a thread of their own. */
struct text_reader {
    struct model *m;
    pthread_t thread;
    bool running;
    enum weft_rc rc;
    struct weft_err err;
};

static void *read_text(void *arg)
{
    struct text_reader *t = arg;
    t->rc = model_read_text(t->m, &t->err);
    return NULL;
}

/* Opens the model, and makes its executor while the tokenizer is being read: each takes a part of the time to READY. */
static enum weft_rc load_cl(struct load *l, struct model **model, struct exec **exec, struct weft_err *err)
{
    struct text_reader text = {.rc = WEFT_OK};
    progress(l, "reading the model", -1);
    enum weft_rc rc = model_open_tensors(l->model_path, model, err);
    if (rc)
        return rc;
    text.m = *model;
    text.running = pthread_create(&text.thread, NULL, read_text, &text) == 0;
    if (!text.running)
        read_text(&text);
    if (text.running || !text.rc)
        rc = create_cl(l, *model, exec, err);
    if (text.running) {
        begin_phase(l, "waiting for the tokenizer");
        pthread_join(text.thread, NULL);
    }
    begin_phase(l, NULL);
    if (text.rc && err) /* the file's own fault first */
        *err = text.err;
    return text.rc ? text.rc : rc;
}

/* engine_load_fn: on the engine thread, once. */
static enum weft_rc load(void *ctx, struct engine *e, struct model **model, struct exec **exec,
                         struct weft_err *err)
{
    struct load *l = ctx;
    l->engine = e;
    struct model *m = NULL;
    struct exec *x = NULL;
    enum weft_rc rc = l->options.sim ? engine_setup_sim(l->cfg, &x, err) : load_cl(l, &m, &x, err);
    if (rc == WEFT_OK && l->options.loaded)
        rc = l->options.loaded(l->options.ctx, m, &x, err);
    if (rc) {
        exec_destroy(x);
        model_close(m);
    } else {
        *model = m;
        *exec = x;
    }
    return rc;
}

void engine_setup_model_name(const char *name, char *out, size_t size)
{
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    size_t n = strlen(base), ending = sizeof ".gguf" - 1;
    if (n > ending && strcmp(base + n - ending, ".gguf") == 0)
        n -= ending;
    snprintf(out, size, "%.*s", (int)(n < size ? n : size - 1), base);
}

enum sched_preemption engine_setup_preemption(const struct weft_config *cfg)
{
    static const enum sched_preemption preemptions[] = {
        [CONFIG_PREEMPTION_AUTO] = SCHED_PREEMPT_AUTO,
        [CONFIG_PREEMPTION_PARK] = SCHED_PREEMPT_PARK,
        [CONFIG_PREEMPTION_RECOMPUTE] = SCHED_PREEMPT_RECOMPUTE,
        [CONFIG_PREEMPTION_OFF] = SCHED_PREEMPT_OFF,
    };
    return preemptions[cfg->scheduler.preemption];
}

static struct engine_config engine_config_of(const struct weft_config *cfg)
{
    return (struct engine_config){
        .warm = cfg->model.warm,
        .warm_timeout_ms = cfg->model.warm_timeout_ms,
        .fifo = cfg->scheduler.policy == CONFIG_POLICY_FIFO,
        .batching = cfg->batching.enabled,
        .aging_rate = cfg->scheduler.aging_rate,
        .max_batch_size = (uint32_t)cfg->scheduler.max_batch_size,
        .max_batch_tokens = (uint32_t)cfg->scheduler.max_batch_tokens,
        .max_depth = (uint32_t)cfg->queue.max_depth,
        .reject_when_full = cfg->queue.reject_when_full,
        .queue_timeout_ms = cfg->queue.timeout_ms,
        .stop_ms = cfg->batching.stop_ms,
        .preemption = engine_setup_preemption(cfg),
        .max_preemptions = (uint32_t)cfg->scheduler.max_preemptions,
        .prefix_cache = cfg->kv.prefix_cache,
        .min_batch_size = (uint32_t)cfg->batching.min_batch_size,
        .batch_timeout_ms = cfg->batching.batch_timeout_ms,
        .adaptive_timeout = cfg->batching.adaptive_timeout,
        .itl_target_ms = cfg->scheduler.itl_target_ms,
        .limit_memory = true,
        .max_memory_mb = (double)cfg->resources.max_memory_mb,
        .critical_memory_mb = (double)cfg->resources.critical_memory_mb,
        .memory_check_ms = cfg->resources.check_interval_ms,
    };
}

static enum weft_rc refuse_models(const char *value, const char *allowed, const char *problem,
                                  struct weft_err *err)
{
    weft_err_set(err, WEFT_CONFIG_INVALID, "model.path: \"%s\" %s; allowed: %s", value, problem, allowed);
    weft_err_str(err, "key", "model.path");
    weft_err_str(err, "value", value);
    weft_err_str(err, "allowed", allowed);
    return WEFT_CONFIG_INVALID;
}

/* Adds the model that is configured as `name` to those of the engine, its file found; nothing when that is among
 * them. Under simulation there is no file, and a name only where there are several. */
static enum weft_rc add_model(const struct weft_config *cfg, const struct engine_setup_options *options,
                              const char *name, struct engine_config *ec, struct weft_err *err)
{
    struct engine_model_config m = {.load = load, .release = load_free};
    struct buf path = BUF_INIT;
    enum weft_rc rc = ec->sim ? WEFT_OK : models_resolve(name, &path, err);
    if (rc)
        goto out;
    if (!ec->sim || cfg->model.path.n > 1)
        engine_setup_model_name(name, m.name, sizeof m.name);
    for (uint32_t i = 0; i < ec->n_models; i++) {
        const struct load *other = ec->models[i].load_ctx;
        if (strcmp(ec->models[i].name, m.name) != 0)
            continue;
        if (!ec->sim && strcmp(other->model_path, buf_str(&path)) != 0)
            rc = refuse_models(name, "one file for each name", "has the name of another model", err);
        goto out;
    }
    if (ec->n_models == ENGINE_MODELS_MAX) {
        rc = refuse_models(name, "8 models", "is one model too many", err);
        goto out;
    }
    struct load *l = mem_calloc(1, sizeof *l);
    if (!l) {
        rc = weft_err_nomem(err, "engine_setup", sizeof *l);
        goto out;
    }
    l->cfg = cfg;
    l->options = *options;
    m.load_ctx = l;
    ec->models[ec->n_models++] = m;
    if (!ec->sim && !(l->model_path = buf_take(&path, NULL)))
        rc = weft_err_nomem(err, "engine_setup", path.len);
out:
    buf_free(&path);
    return rc;
}

enum weft_rc engine_setup(const struct weft_config *cfg, const struct engine_setup_options *options,
                          struct engine **out, struct weft_err *err)
{
    static const struct engine_setup_options none = {.sim = false};
    options = options ? options : &none;
    struct engine_config ec = engine_config_of(cfg);
    ec.sim = options->sim;
    ec.observer = options->observer;
    ec.nice = options->nice;
    ec.max_logits =
        (uint32_t)(options->all_logits ? cfg->scheduler.max_batch_tokens : cfg->scheduler.max_batch_size);
    *out = NULL;
    enum weft_rc rc = WEFT_OK;
    for (unsigned i = 0; i < cfg->model.path.n && rc == WEFT_OK; i++)
        rc = add_model(cfg, options, cfg->model.path.item[i], &ec, err);
    for (uint32_t i = 0; i < ec.n_models; i++)
        ((struct load *)ec.models[i].load_ctx)->n_models = ec.n_models;
    if (rc == WEFT_OK)
        rc = engine_create(&ec, out, err);
    for (uint32_t i = 0; rc && i < ec.n_models; i++)
        load_free(ec.models[i].load_ctx);
    return rc;
}

struct sampling engine_setup_sampling(const struct weft_config *cfg)
{
    struct sampling s = SAMPLING_DEFAULT;
    s.temperature = cfg->sampling.temperature;
    s.top_k = (uint32_t)cfg->sampling.top_k;
    s.top_p = cfg->sampling.top_p;
    s.min_p = cfg->sampling.min_p;
    s.repeat_penalty = cfg->sampling.repeat_penalty;
    s.seed = cfg->sampling.seed;
    return s;
}
