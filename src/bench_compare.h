/* weft bench --compare: weft and its peers side by side, by the embedded script tests/bench/peers.py. */
#ifndef WEFT_BENCH_COMPARE_H
#define WEFT_BENCH_COMPARE_H

#include "src/cli.h"

/*
 * Becomes that script (exec), run by the Python of the environment that it installs the peers into, with the command's
 * model, precision, --prompt, --gen, --batch, --rounds and --json; so it returns only when it can't. The script runs this
 * program again for weft's part. FILE_INVALID (path, field, value, limit) when there is no such environment, USAGE for
 * several prompt lengths, what models_resolve says, INTERNAL_ERROR.
 */
enum weft_rc bench_compare(struct cli *cli, struct weft_err *err);

#endif
