/* System calls of which the Nth fails: for tests that link the store. */
#ifndef WEFT_TEST_STORE_RIG_IO_H
#define WEFT_TEST_STORE_RIG_IO_H

#include <stdatomic.h>
#include <stdbool.h>

#include "src/store_file.h"

enum store_rig_call {
    RIG_OPEN,
    RIG_READ,
    RIG_WRITE,
    RIG_TRUNCATE,
    RIG_SYNC,
    RIG_RENAME,
    RIG_UNLINK,
    RIG_ALL
};

/* The system's calls, of which some fail. */
struct store_rig_io {
    struct store_io io;
    enum store_rig_call which; /* RIG_ALL: any of them counts */
    atomic_uint fail_at;       /* the Nth of these from now on; 0: none */
    bool go_on;                /* and all after it */
    int error;                 /* errno of a failure */
    unsigned calls;            /* of these, so far */
    bool half;                 /* a write that fails first writes half of what it should */
};
void store_rig_io_init(struct store_rig_io *r);

#endif
