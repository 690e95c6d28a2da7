/*
 * From a configuration to a running engine: the one place that knows models, executors and engine at once.
 * The console and the commands use it alike.
 */
#ifndef WEFT_ENGINE_SETUP_H
#define WEFT_ENGINE_SETUP_H

#include <stdbool.h>

#include "engine/engine.h"
#include "engine/exec/exec_cl.h"
#include "src/config.h"

struct engine_setup_options {
    bool sim;        /* the simulated executor: no model file, no device */
    bool all_logits; /* steps may return logits of every prompt position: for requests with `score` */
    enum exec_cl_profile_mode profile;
    int nice; /* of the engine, as in engine_config */
    /* Called on the engine thread when the executor has been made, before the engine sees it; may be NULL. It
     * may replace *x by an executor of its own that wraps it; on failure *x stays the caller's to destroy.
     * `model` is NULL under simulation. */
    enum weft_rc (*loaded)(void *ctx, const struct model *model, struct exec **x, struct weft_err *err);
    void *ctx;
    const struct engine_observer *observer; /* NULL: none; in place until engine_destroy has returned */
};

/*
 * Finds the configured models (src/models.h), the first of which is the default, then starts an engine that
 * loads them on its own thread; failures of loading come as ENGINE_STATE events. *cfg and *options (NULL: all
 * off) must stay in place until the engine is READY or FAILED. Errors here: what models_resolve says,
 * CONFIG_INVALID when there are too many models or two files of one name, INTERNAL_ERROR. A model that is configured
 * twice is loaded once; several share kv.memory_mb and kv.park_mb equally, and each has kv.blocks where those are given.
 */
enum weft_rc engine_setup(const struct weft_config *cfg, const struct engine_setup_options *options,
                          struct engine **out, struct weft_err *err);

/* The simulated executor as `sim:` and `kv:` configure it; exec_destroy. */
enum weft_rc engine_setup_sim(const struct weft_config *cfg, struct exec **out, struct weft_err *err);
/* What scheduler.preemption says, as the scheduler takes it. */
enum sched_preemption engine_setup_preemption(const struct weft_config *cfg);
/* What requests call the model that is configured as `name`: a known name, else the file's base name without
 * its ending. */
void engine_setup_model_name(const char *name, char *out, size_t size);
/* The sampling settings of the configuration, as a request takes them. */
struct sampling engine_setup_sampling(const struct weft_config *cfg);

#endif
