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
#include <dirent.h>
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

#include "tests/support/console.h"

enum {
    STREAMS = 32,
    STREAM_MS = 8000,
    IDLE_MS = 5000,
    KEYS = 200,
    KEY_MS = 23,      /* between two keys: no multiple of a frame or a step */
    FRAME_GAP_MS = 5, /* bytes that come closer to one another are of the same frame */
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
    double console, engine, all;
};

/* A column of the table. */
struct figures {
    double frame_cpu_ms[2], frame_ms[2]; /* p50, p99 */
    double bytes_mean, bytes_p99;
    double key_ms[2], real_key_ms[2]; /* p50, p99 */
    struct load idle, streaming, real;
    size_t idle_bytes;
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

/* Seconds that threads have run: the first one (the console), the engine's, all. */
static struct load ran(void)
{
    char path[128], name[32];
    struct load sum = {pty_cpu_seconds(&con.pty, true), 0, pty_cpu_seconds(&con.pty, false)};
    snprintf(path, sizeof path, "/proc/%d/task", (int)con.pty.pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *t; tasks && (t = readdir(tasks));) {
        unsigned long long ns = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/comm", (int)con.pty.pid, t->d_name);
        FILE *f = fopen(path, "r");
        bool engine = f && fgets(name, sizeof name, f) && strcmp(name, "weft-engine\n") == 0;
        if (f)
            fclose(f);
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/schedstat", (int)con.pty.pid, t->d_name);
        f = engine ? fopen(path, "r") : NULL;
        if (f && fscanf(f, "%llu", &ns) == 1)
            sum.engine += (double)ns / 1e9;
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static struct load load_since(const struct load *before, double since_ms)
{
    struct load now = ran();
    double k = 100e3 / (pty_now_ms() - since_ms);
    return (struct load){k * (now.console - before->console), k * (now.engine - before->engine),
                         k * (now.all - before->all)};
}

/* ---- the program ---- */

/* The console with STREAMS sessions that all stream. */
static void start_streams(const struct screen *s, const char *const *args)
{
    const struct console_options options = {
        .program = CONSOLE_PROGRAM, .rows = s->rows, .cols = s->cols, .args = args};
    char batch[32];
    console_start(&con, &options);
    for (int i = 0; i < STREAMS; i++) {
        if (i)
            console_key(&con, KEY_F2);
        console_key(&con, "Write a long story about the sea, the wind and a ship that never comes home.\r");
    }
    snprintf(batch, sizeof batch, "batch %d/%d", STREAMS, STREAMS);
    assert_true(pty_wait_text(&con.pty, batch, PATIENCE_MS));
}

/* What the program wrote about its frames when it ended. */
static void read_frame_times(struct figures *f)
{
    static const char format[] =
        "frames: %*u; the last minute's took p50 %lf ms, p99 %lf ms of the processor, p50 %lf ms, p99 %lf ms";
    char path[160], line[512];
    int found = 0;
    snprintf(path, sizeof path, "%s/weft/weft.log", con.dir);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    while (found < 4 && fgets(line, sizeof line, log)) {
        const char *at = strstr(line, "frames: ");
        if (at)
            found = sscanf(at, format, &f->frame_cpu_ms[0], &f->frame_cpu_ms[1], &f->frame_ms[0],
                           &f->frame_ms[1]);
    }
    fclose(log);
    assert_int_equal(found, 4);
}

static void quit(void)
{
    console_key(&con, KEY_F10);
    console_ends(&con);
}

/* ---- what is measured ---- */

/* Bytes of each frame, seen as bursts, and processor time meanwhile. */
static void watch_streams(struct figures *f)
{
    struct samples bytes = {.n = 0};
    double burst = 0, last = 0, from = pty_now_ms(), now = from;
    struct load before = ran();
    for (; now < from + STREAM_MS; now = pty_now_ms()) {
        ssize_t n = pty_pump(&con.pty, 20);
        assert_true(n >= 0);
        if (n == 0)
            continue;
        if (burst > 0 && now - last > FRAME_GAP_MS) {
            add(&bytes, burst);
            burst = 0;
        }
        burst += (double)n;
        last = pty_now_ms();
    }
    f->streaming = load_since(&before, from);
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
        double from = pty_now_ms();
        console_key(&con, typed);
        while (!console_shows(&con, seen))
            assert_true(pty_pump(&con.pty, PATIENCE_MS) > 0);
        add(&ms, pty_now_ms() - from);
        console_key(&con, "\x7f");
        double until = pty_now_ms() + KEY_MS;
        while (console_shows(&con, seen) || pty_now_ms() < until)
            pty_pump(&con.pty, 1);
    }
    out[0] = quantile(&ms, 0.5);
    out[1] = quantile(&ms, 0.99);
}

static void watch_idle(const struct screen *s, const char *const *args, struct figures *f)
{
    const struct console_options options = {
        .program = CONSOLE_PROGRAM, .rows = s->rows, .cols = s->cols, .args = args};
    console_start(&con, &options);
    pty_settle(&con.pty, 500, PATIENCE_MS);
    size_t bytes = vt_bytes(con.pty.vt);
    struct load before = ran();
    double from = pty_now_ms();
    while (pty_now_ms() < from + IDLE_MS)
        pty_pump(&con.pty, 200);
    f->idle = load_since(&before, from);
    f->idle_bytes = vt_bytes(con.pty.vt) - bytes;
    quit();
    console_end(&con);
}

static void measure_simulated(const struct screen *s, struct figures *f)
{
    static const char *const args[] = {"--sim", "--fresh",
                                       "--set", "scheduler.max_batch_size=32",
                                       "--set", "sampling.max_tokens=5000",
                                       "--set", "sim.step_us=33000",
                                       "--set", "sim.prefill_us=0",
                                       "--set", "sim.decode_us=0",
                                       "--set", "sim.context_us=0",
                                       "--set", "sim.blocks=1600",
                                       NULL};
    watch_idle(s, args, f);
    start_streams(s, args);
    watch_streams(f);
    watch_keys(f->key_ms);
    quit();
    read_frame_times(f);
    console_end(&con);
}

static void measure_real(const struct screen *s, struct figures *f)
{
    const char *args[] = {
        "--fresh", "--set", "scheduler.max_batch_size=32", "--set", "sampling.max_tokens=5000", "-m",
        model,     NULL};
    if (!model)
        args[5] = NULL;
    start_streams(s, args);
    struct load before = ran();
    double from = pty_now_ms();
    watch_keys(f->real_key_ms);
    f->real = load_since(&before, from);
    quit();
    console_end(&con);
}

/* ---- the table ---- */

static void row(const char *what, const char *unit, const struct figures *f, size_t at, size_t second)
{
    char cell[SCREENS][32];
    for (size_t i = 0; i < SCREENS; i++) {
        double a = *(const double *)((const char *)&f[i] + at),
               b = *(const double *)((const char *)&f[i] + second);
        int n = snprintf(cell[i], sizeof cell[i], "%.2f", a);
        if (second != at)
            snprintf(cell[i] + n, sizeof cell[i] - (size_t)n, " / %.2f", b);
    }
    print_message("| %-52s | %15s | %15s | %s\n", what, cell[0], cell[1], unit);
}

#define ROW(what, unit, f, field)                                                                            \
    row(what, unit, f, offsetof(struct figures, field), offsetof(struct figures, field))
#define ROW2(what, unit, f, field, second)                                                                   \
    row(what, unit, f, offsetof(struct figures, field), offsetof(struct figures, second))

static void print_table(const struct figures f[SCREENS], bool real)
{
    print_message("| %d streams | 80x24 | 200x60 |\n|---|---|---|\n", STREAMS);
    ROW2("a frame, p50 / p99: processor time", "ms", f, frame_cpu_ms[0], frame_cpu_ms[1]);
    ROW2("the same by the clock", "ms", f, frame_ms[0], frame_ms[1]);
    ROW2("bytes a frame, mean / p99", "bytes", f, bytes_mean, bytes_p99);
    ROW2("key to screen, p50 / p99", "ms", f, key_ms[0], key_ms[1]);
    if (real)
        ROW2("key to screen, all cores busy, p50 / p99", "ms", f, real_key_ms[0], real_key_ms[1]);
    ROW("console's thread", "% of a core", f, streaming.console);
    ROW("engine's thread, without kernels", "% of a core", f, streaming.engine);
    ROW("process, without kernels", "% of a core", f, streaming.all);
    if (real)
        ROW2("console's thread / process, all cores busy", "% of a core", f, real.console, real.all);
    ROW2("idle: console's thread / process", "% of a core", f, idle.console, idle.all);
    for (size_t i = 0; i < SCREENS; i++)
        print_message("idle at %dx%d: %zu bytes written\n", screens[i].cols, screens[i].rows,
                      f[i].idle_bytes);
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
