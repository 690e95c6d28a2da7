/*
 * The console with many sessions that stream at once, and what it writes about its frames when it ends: for measurements.
 */
#ifndef TEST_SUPPORT_STREAMS_H
#define TEST_SUPPORT_STREAMS_H

#include "tests/support/console.h"

enum { STREAMS = 32 };

/* Arguments for the simulated executor in place of a real engine: a step each 33 ms, whatever is in it, and room for
 * STREAMS of them. */
extern const char *const streams_simulated[];

/* Starts the console (at its first size) with STREAMS sessions, and waits until all of them run. Fails the test when they
 * don't. */
void streams_start(struct console *c, int cols, int rows, const char *const *args);

/* Frames that were drawn; and, in ms and of the last minute, what they took of the processor and by the clock. */
struct frame_times {
    unsigned drawn;
    double processor_p50, processor_p99, clock_p50, clock_p99;
};
/* Quits the console and reads its log. */
void streams_quit(struct console *c, struct frame_times *out);

#endif
