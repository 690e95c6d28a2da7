/*
 * What the console costs: the whole program in a pseudo-terminal, 32 sessions streaming at once, at 80 × 24 and at
 * 200 × 60. One table: frame times, bytes a frame, key to screen, processor time while streaming and while idle.
 *
 * The simulated executor stands for an engine of 30 steps a second, so that what is measured is the console's own. Then the
 * real engine with all cores busy, for the time from a key to the screen and for what the console takes beside the kernels; that part is left out
 * where there is no model (an argument names another than the default one; "sim": without).
 *
 * Frame times are the program's own, from its log: processor time of a frame (snapshot, drawing, writing), and time by
 * the clock, which on a busy machine includes that of others. All else is seen from outside.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/streams.h"

enum {
    STREAM_MS = 8000,
    IDLE_MS = 5000,
    KEYS = 200,
    KEY_MS = 23, /* between two keys: no multiple of a frame or a step */
    PATIENCE_MS = 60000,
    SAMPLES_MAX = 4096
};

static const struct screen {
    int cols, rows;
} screens[] = {{80, 24}, {200, 60}};
enum { SCREENS = sizeof screens / sizeof *screens };

/* Values to take percentiles of. */
struct samples {
    double value[SAMPLES_MAX];
    size_t n;
};

/* Share of a core, in per cent. */
struct load {
    double console, all;
};

/* A column of the table. */
struct figures {
    struct frame_times frames;
    double bytes_mean, bytes_p99;
    double key_ms[2], real_key_ms[2]; /* p50, p99 */
    struct load idle, streaming, real;
    double idle_bytes;
};

static struct console con;
static const char *model; /* NULL: the default; "sim": none */

/* ---- samples ---- */

static void add(struct samples *s, double value)
{
    if (s->n < SAMPLES_MAX)
        s->value[s->n++] = value;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; NaN of nothing. Sorts. */
static double quantile(struct samples *s, double q)
{
    if (!s->n)
        return NAN;
    qsort(s->value, s->n, sizeof *s->value, ascending);
    size_t rank = (size_t)ceil(q * (double)s->n);
    return s->value[rank ? rank - 1 : 0];
}

static double mean(const struct samples *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum += s->value[i];
    return sum / (double)s->n;
}

/* ---- processor time ---- */

/* Seconds that threads have run: the first one, which is the console's, and all. */
static struct load ran(void)
{
    return (struct load){pty_cpu_seconds(&con.pty, true), pty_cpu_seconds(&con.pty, false)};
}

static struct load load_since(const struct load *before, double since_ms)
{
    struct load now = ran();
    double k = 100e3 / (pty_now_ms() - since_ms);
    return (struct load){k * (now.console - before->console), k * (now.all - before->all)};
}

/* ---- what is measured ---- */

/* Bytes of each frame, and processor time meanwhile. */
static void watch_streams(struct figures *f)
{
    struct samples bytes = {.n = 0};
    const struct vt *vt = con.pty.vt;
    pty_whole_frame(&con.pty, PATIENCE_MS);
    size_t before = vt_bytes(vt);
    unsigned frames = vt_frames(vt);
    struct load ran_before = ran();
    double from = pty_now_ms();
    while (pty_now_ms() < from + STREAM_MS) {
        assert_true(pty_pump(&con.pty, 20) >= 0); /* never beyond the end of a frame */
        if (vt_frames(vt) == frames)
            continue;
        add(&bytes, (double)(vt_bytes(vt) - before));
        before = vt_bytes(vt);
        frames = vt_frames(vt);
    }
    f->streaming = load_since(&ran_before, from);
    f->bytes_mean = mean(&bytes);
    f->bytes_p99 = quantile(&bytes, 0.99);
}

/* From a key's way into the terminal to its character's way out, p50 and p99. */
static void watch_keys(double out[2])
{
    struct samples ms = {.n = 0};
    for (int i = 0; i < KEYS; i++) {
        char typed[] = {(char)('A' + i % 26), 0}, seen[16];
        snprintf(seen, sizeof seen, "\xe2\x80\xba %s ", typed);
        double from = pty_now_ms(), at = from;
        pty_type(&con.pty, typed);
        for (; vt_find(con.pty.vt, seen, NULL) < 0; at = pty_now_ms())
            assert_true(pty_pump(&con.pty, PATIENCE_MS) > 0);
        add(&ms, at - from);
        pty_type(&con.pty, "\x7f");
        double until = pty_now_ms() + KEY_MS;
        while (vt_find(con.pty.vt, seen, NULL) >= 0 || pty_now_ms() < until)
            pty_pump(&con.pty, 1);
    }
    out[0] = quantile(&ms, 0.5);
    out[1] = quantile(&ms, 0.99);
}

static void watch_idle(const struct screen *s, struct figures *f)
{
    const struct console_options options = {
        .program = CONSOLE_PROGRAM, .rows = s->rows, .cols = s->cols, .args = streams_simulated};
    console_start(&con, &options);
    pty_settle(&con.pty, 500, PATIENCE_MS);
    size_t bytes = vt_bytes(con.pty.vt);
    struct load before = ran();
    double from = pty_now_ms();
    while (pty_now_ms() < from + IDLE_MS)
        pty_pump(&con.pty, 200);
    f->idle = load_since(&before, from);
    f->idle_bytes = (double)(vt_bytes(con.pty.vt) - bytes);
    console_key(&con, KEY_F10);
    console_ends(&con);
    console_end(&con);
}

static void measure_simulated(const struct screen *s, struct figures *f)
{
    watch_idle(s, f);
    streams_start(&con, s->cols, s->rows, streams_simulated);
    watch_streams(f);
    watch_keys(f->key_ms);
    streams_quit(&con, &f->frames);
    console_end(&con);
}

static void measure_real(const struct screen *s, struct figures *f)
{
    const char *args[] = {
        "--fresh", "--set", "scheduler.max_batch_size=32", "--set", "sampling.max_tokens=5000", "-m",
        model,     NULL};
    if (!model)
        args[5] = NULL;
    streams_start(&con, s->cols, s->rows, args);
    struct load before = ran();
    double from = pty_now_ms();
    while (pty_now_ms() < from + STREAM_MS)
        pty_pump(&con.pty, 20);
    f->real = load_since(&before, from);
    watch_keys(f->real_key_ms);
    console_key(&con, KEY_F10);
    console_ends(&con);
    console_end(&con);
}

/* ---- the table ---- */

#define FIELD(name) offsetof(struct figures, name)
#define BOTH(name)  FIELD(name[0]), FIELD(name[1])
#define ONE(name)   FIELD(name), 0

/* Rows: one figure or two (`second` 0: one); `real` ones need a model. */
static const struct table_row {
    const char *what;
    size_t first, second;
    bool real;
} table[] = {
    {"a frame, ms of the processor: p50 / p99", FIELD(frames.processor_p50), FIELD(frames.processor_p99),
     false},
    {"a frame, ms by the clock: p50 / p99", FIELD(frames.clock_p50), FIELD(frames.clock_p99), false},
    {"bytes a frame: mean / p99", FIELD(bytes_mean), FIELD(bytes_p99), false},
    {"key to screen, ms: p50 / p99", BOTH(key_ms), false},
    {"key to screen, ms, kernels on all cores: p50 / p99", BOTH(real_key_ms), true},
    {"console's thread, % of a core", ONE(streaming.console), false},
    {"process without kernels, % of a core", ONE(streaming.all), false},
    {"console's thread, kernels on all cores, % of a core", ONE(real.console), true},
    {"idle: process, % of a core", ONE(idle.all), false},
    {"idle: bytes written", ONE(idle_bytes), false},
};

static int print_figure(char *to, size_t size, const struct figures *f, size_t at)
{
    double v;
    memcpy(&v, (const char *)f + at, sizeof v);
    return snprintf(to, size, "%.*f", v == floor(v) || v >= 100 ? 0 : 2, v);
}

static void print_table(const struct figures f[SCREENS], bool real)
{
    print_message("| %d sessions stream |", STREAMS);
    for (size_t k = 0; k < SCREENS; k++)
        print_message(" %d \xc3\x97 %d |", screens[k].cols, screens[k].rows);
    print_message("\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct table_row *r = &table[i];
        if (r->real && !real)
            continue;
        print_message("| %s |", r->what);
        for (size_t k = 0; k < SCREENS; k++) {
            char a[32], b[32] = "";
            print_figure(a, sizeof a, &f[k], r->first);
            if (r->second)
                print_figure(b, sizeof b, &f[k], r->second);
            print_message(" %s%s%s |", a, *b ? " / " : "", b);
        }
        print_message("\n");
    }
}

static void figures_of_the_console(void **state)
{
    (void)state;
    static struct figures f[SCREENS];
    bool real = !model || strcmp(model, "sim") != 0;
    for (size_t i = 0; i < SCREENS; i++) {
        measure_simulated(&screens[i], &f[i]);
        if (real)
            measure_real(&screens[i], &f[i]);
    }
    print_table(f, real);
}

int main(int argc, char **argv)
{
    model = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures_of_the_console)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
