/*
 * Finds out which tiles (tiles.h) each of the model's products is fastest with on this device, while the engine has nothing
 * else to do: one product is launched alone, with each variant in turn, over the model's own matrices and made-up rows.
 *
 * A start reads what an earlier one found, and measures nothing; the file's name in the kernel cache is a hash of all that
 * the answer depends on: device, driver, cores, kernels, precision, matrices, limits. A variant whose bits differ from the
 * first one's is logged and never used (DESIGN, rule 3). One thread, the executor's.
 */
#ifndef WEFT_EXEC_TUNER_H
#define WEFT_EXEC_TUNER_H

#include "engine/exec/crew.h"

struct tuner;

/* Sets f->tiles where they are known (dir_fd: the kernel cache, or -1). NULL: there is nothing to find out, or no memory
 * for it, which does no harm. `f`, `crew`, `cache_dir` (NULL: none) must outlive it. Takes no device memory yet. */
struct tuner *tuner_create(struct forward *f, const struct crew *crew, const struct batch_limits *limits,
                           const char *cache_dir, int dir_fd);
/* Goes on for about 5 ms; what is on the device for the last step stands. False: done; f->tiles and the file are as found. */
bool tuner_slice(struct tuner *t);
void tuner_destroy(struct tuner *t); /* NULL allowed */

#endif
