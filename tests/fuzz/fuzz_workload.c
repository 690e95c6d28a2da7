/* libFuzzer entry: any bytes as a workload file, parsed, applied and, where it isn't too much, expanded. */
#include <stddef.h>
#include <stdint.h>

#include "src/workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Would it expand to little enough to go on with? */
static bool is_small(const struct workload *w)
{
    double n = 0;
    for (size_t i = 0; i < w->n_entries; i++) {
        const struct workload_entry *e = &w->entries[i];
        n += e->rate_per_s > 0 ? e->rate_per_s * (double)(e->until_us - e->at_us) / 1e6 : e->repeat;
    }
    return n < 10000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct workload *w = NULL;
    struct weft_config cfg;
    if (config_init(&cfg, NULL))
        return 0;
    if (workload_parse("fuzz.yaml", (const char *)data, size, &w, NULL) == WEFT_OK) {
        workload_configure(w, &cfg, NULL);
        if (is_small(w))
            workload_expand(w, 1, &cfg, NULL);
        workload_destroy(w);
    }
    config_deinit(&cfg);
    return 0;
}
