#include "tests/support/streams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ALL_RUN_MS = 60000 };

const char *const streams_simulated[] = {"--sim", "--fresh",
                                         "--set", "scheduler.max_batch_size=32",
                                         "--set", "sampling.max_tokens=5000",
                                         "--set", "sim.step_us=33000",
                                         "--set", "sim.prefill_us=0",
                                         "--set", "sim.decode_us=0",
                                         "--set", "sim.context_us=0",
                                         "--set", "sim.blocks=1600",
                                         NULL};

void streams_start(struct console *c, int cols, int rows, const char *const *args)
{
    const struct console_options options = {
        .program = CONSOLE_PROGRAM, .rows = rows, .cols = cols, .args = args};
    char batch[32];
    console_start(c, &options);
    for (int i = 0; i < STREAMS; i++) {
        if (i)
            console_key(c, KEY_F2);
        console_key(c,
                    "Write a long story about the sea, the wind and a ship that never comes home." KEY_ENTER);
    }
    snprintf(batch, sizeof batch, "batch %d/%d", STREAMS, STREAMS);
    assert_true(pty_wait_text(&c->pty, batch, ALL_RUN_MS));
}

void streams_quit(struct console *c, struct frame_times *out)
{
    static const char format[] =
        "frames: %u; the last minute's took p50 %lf ms, p99 %lf ms of the processor, "
        "p50 %lf ms, p99 %lf ms by the clock";
    char path[160], line[512];
    int found = 0;
    console_key(c, KEY_F10);
    console_ends(c);
    snprintf(path, sizeof path, "%s/weft/weft.log", c->dir);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    while (fgets(line, sizeof line, log)) {
        const char *at = strstr(line, "frames: ");
        if (at)
            found = sscanf(at, format, &out->drawn, &out->processor_p50, &out->processor_p99, &out->clock_p50,
                           &out->clock_p99);
    }
    fclose(log);
    assert_int_equal(found, 5);
}
