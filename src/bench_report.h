/*
 * What `weft bench` tells: figures derived from the records of a run, as a table for people and as JSON.
 *
 * Pure but for printing; any thread. A row's peaks are the higher of those measured just before and just after it: they are
 * limits, and whatever else runs on the machine only lowers them.
 */
#ifndef WEFT_BENCH_REPORT_H
#define WEFT_BENCH_REPORT_H

#include <jansson.h>

#include "engine/model/model.h"
#include "src/bench_exec.h"

/* What a token costs with this model: enough to know the least time that a step could take. */
struct bench_cost {
    double layer_weights, output_weights; /* elements of the matrices that a token is multiplied with */
    double weight_bytes;                  /* of those matrices, as stored */
    double attention_operations;          /* a position of context */
    double kv_bytes;                      /* of K and V, a position of context */
};
struct bench_cost bench_cost_of(const struct model *m, const struct exec_info *info);

/* One row of the run. */
struct bench_row {
    uint32_t prompt, gen, batch; /* tokens of each prompt, tokens generated a stream, streams */
    struct bench_record record;
    struct exec_cl_peaks peaks;
};

struct bench_report {
    const char *device, *model, *precision;
    bool profile;
    struct bench_cost cost;
    const struct bench_row *rows;
    size_t n_rows;
};

/* The document that --json prints; NULL when out of memory. */
json_t *bench_report_json(const struct bench_report *r);
/* The same for people, on standard output. */
void bench_report_print(const struct bench_report *r);

#endif
