/*
 * The resource manager: memory measured against two limits. It measures nothing itself: whoever owns it calls
 * resource_update every check_interval_ms with the process's resident memory (plus device buffers that aren't
 * host memory).
 *
 *                            │
 *   refuses everything       │  MEMORY_LIMIT_EXCEEDED
 *                  critical ─┤
 *   refuses LOW              │  RESOURCE_LIMIT_EXCEEDED; under pressure from here …
 *                      soft ─┤
 *   accepts everything       │
 *                soft − 5 % ─┤  … until below here
 *   accepts everything       │
 *
 * Pure; one owner; several schedulers of that owner may read it.
 */
#ifndef WEFT_SCHED_RESOURCE_H
#define WEFT_SCHED_RESOURCE_H

#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/sched/request.h"

struct resource {
    double max_memory_mb;      /* soft limit */
    double critical_memory_mb; /* hard limit */
    double memory_mb;          /* as last measured */
    bool under_pressure;
};

/* Limits in MB; 0 stands for 70 % and 85 % of machine_mb. CONFIG_INVALID when the soft one is over the hard one. */
enum weft_rc resource_init(struct resource *m, double max_memory_mb, double critical_memory_mb,
                           double machine_mb, struct weft_err *err);
/* Takes a measurement. True when the state of pressure changed with it. */
bool resource_update(struct resource *m, double memory_mb);
/* WEFT_OK when a request of that priority may come in; else the reason, with memory_mb and limit_mb as context. */
enum weft_rc resource_accepts(const struct resource *m, enum prio p, struct weft_err *err);

#endif
