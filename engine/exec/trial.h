/*
 * One matrix product alone, as the pass makes it (by the crew, or by a launch of its own): timed, and its bits compared. For
 * tuner.c. The matrices are the model's, the rows are made up, the results go to a buffer of the trial's own. One thread.
 */
#ifndef WEFT_EXEC_TRIAL_H
#define WEFT_EXEC_TRIAL_H

#include "engine/exec/crew.h"

struct trial {
    const struct forward *f;
    const struct crew *crew;
    struct ocl_buf x, codes, factors, y;
    struct crew_product by_crew;
    float *kept; /* what trial_compare kept of y */
};

struct trial_run {
    enum product product;
    uint32_t layer, n_groups, n_tokens, tiles;
};

/* The matrix of a product in a layer: gate for PRODUCT_FF, the first of several for PRODUCT_QKV. */
const struct matrix *trial_matrix(const struct forward *f, enum product p, uint32_t layer);

/* Takes memory for runs of up to n_tokens. `f` and `crew` must outlive it. On failure *out is zeroed. */
enum weft_rc trial_init(const struct forward *f, const struct crew *crew, uint32_t n_tokens,
                        struct trial *out, struct weft_err *err);
void trial_deinit(struct trial *t); /* zeroed struct allowed */

/* How many groups of the product's matrix a run may have, if so many are wanted. */
uint32_t trial_groups(const struct trial *t, enum product p, uint32_t n_tokens, int64_t wanted);
/* Runs and waits; *ns: how long that took. */
enum weft_rc trial_time(struct trial *t, const struct trial_run *r, int64_t *ns, struct weft_err *err);
/* Runs into cleared memory, so that a row left out shows; keep: keeps the result, else *same: whether it is what was kept. */
enum weft_rc trial_compare(struct trial *t, const struct trial_run *r, bool keep, bool *same, int64_t *ns,
                           struct weft_err *err);

#endif
