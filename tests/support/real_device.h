/*
 * The default model and its executor on a real device: made once, as loading is what takes long, and lent to one engine
 * after the other. One for each process; for group fixtures.
 */
#ifndef WEFT_TESTS_REAL_DEVICE_H
#define WEFT_TESTS_REAL_DEVICE_H

#include "engine/exec/exec.h"
#include "engine/exec/exec_cl.h"

/* Makes it. The device is the one that users get, compiled kernels are kept with the build, all else is as in *cfg. 0, or
 * -1 after a word about what is missing. */
int real_device_open(const struct exec_cl_config *cfg);
void real_device_close(void);
const struct exec_info *real_device_info(void);

/*
 * For an engine_load_fn: the model anew, and an executor that outlives its engine, whose scheduler is told of the first
 * n_blocks blocks only. Both become the engine's.
 */
enum weft_rc real_device_lend(uint32_t n_blocks, struct model **model, struct exec **exec,
                              struct weft_err *err);

#endif
