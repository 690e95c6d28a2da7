#include "engine/sched/resource.h"

/* Pressure ends this far below the soft limit, so that it doesn't flicker. */
#define RELIEF 0.95

enum weft_rc resource_init(struct resource *m, double max_memory_mb, double critical_memory_mb,
                           double machine_mb, struct weft_err *err)
{
    double soft = max_memory_mb > 0 ? max_memory_mb : 0.70 * machine_mb;
    double hard = critical_memory_mb > 0 ? critical_memory_mb : 0.85 * machine_mb;
    if (soft > hard) {
        weft_err_set(err, WEFT_CONFIG_INVALID,
                     "resources.max_memory_mb is %.0f, over resources.critical_memory_mb, which is %.0f",
                     soft, hard);
        weft_err_str(err, "key", "resources.max_memory_mb");
        weft_err_num(err, "value", soft);
        weft_err_num(err, "limit", hard);
        return WEFT_CONFIG_INVALID;
    }
    *m = (struct resource){.max_memory_mb = soft, .critical_memory_mb = hard};
    return WEFT_OK;
}

bool resource_update(struct resource *m, double memory_mb)
{
    bool before = m->under_pressure;
    m->memory_mb = memory_mb;
    if (memory_mb >= m->max_memory_mb)
        m->under_pressure = true;
    else if (memory_mb < RELIEF * m->max_memory_mb)
        m->under_pressure = false;
    return m->under_pressure != before;
}

static enum weft_rc refuse(struct weft_err *err, enum weft_rc code, const char *what, double memory_mb,
                           double limit)
{
    weft_err_set(err, code, "%s: %.0f MB in use, limit %.0f MB", what, memory_mb, limit);
    weft_err_num(err, "memory_mb", memory_mb);
    weft_err_num(err, "limit_mb", limit);
    return code;
}

enum weft_rc resource_accepts(const struct resource *m, enum prio p, struct weft_err *err)
{
    if (m->memory_mb >= m->critical_memory_mb)
        return refuse(err, WEFT_MEMORY_LIMIT_EXCEEDED, "memory is at the critical limit", m->memory_mb,
                      m->critical_memory_mb);
    if (p == PRIO_LOW && m->memory_mb >= m->max_memory_mb)
        return refuse(err, WEFT_RESOURCE_LIMIT_EXCEEDED, "memory is at the soft limit, priority is low",
                      m->memory_mb, m->max_memory_mb);
    return WEFT_OK;
}
