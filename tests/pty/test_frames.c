/* labels: unit pty */
/* What frames cost, when there are none, and who gives way to whom. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "tests/support/streams.h"

static struct console con;

/* Of the processor's time, as the machine may be busy; the benchmark tells the clock's, too. Where it is so busy that program and
 * test wait for a processor, caches are cold after each wait, and the worst frames may take three times as long. There are so
 * many frames that the first, which draws all, isn't the worst 1 % alone. */
static void a_frame_at_200x60_takes_2_ms(void **state)
{
    (void)state;
    enum { FRAMES = 300, LONG_MS = 120000, WHEN_BUSY = 3 };
    const double a_busy_share = 0.05;
    struct frame_times t;
    streams_start(&con, 200, 60, streams_simulated);
    unsigned from = vt_frames(con.pty.vt);
    const double waited = pty_waited_ms(&con.pty), begun = pty_now_ms();
    for (double until = pty_now_ms() + LONG_MS; vt_frames(con.pty.vt) < from + FRAMES;) {
        assert_true(pty_now_ms() < until);
        pty_pump(&con.pty, 50);
    }
    const double busy = (pty_waited_ms(&con.pty) - waited) / (pty_now_ms() - begun);
    streams_quit(&con, &t);
    print_message("%u frames at 200x60: p50 %.2f ms, p99 %.2f ms of the processor; %.0f %% of the time was "
                  "waited for one\n",
                  t.drawn, t.processor_p50, t.processor_p99, busy * 100);
    assert_true(t.processor_p50 <= 2 * CONSOLE_SLACK);
    assert_true(t.processor_p99 <= 2 * CONSOLE_SLACK * (busy > a_busy_share ? WHEN_BUSY : 1));
}

/* A step takes half a second, and the engine tells of its beginning and its end: there is nothing to draw between. */
static void without_news_no_frame(void **state)
{
    (void)state;
    enum { SECONDS = 4, A_STEP = 2, STEPS_A_SECOND = 2, STARTING = 30 };
    static const char *const args[] = {"--sim", "--fresh", "--set", "sim.step_us=500000", NULL};
    struct frame_times t;
    console_open(&con, args);
    console_key(&con, "hello" KEY_ENTER);
    console_sees(&con, "RUNNING");
    double until = pty_now_ms() + SECONDS * 1000;
    while (pty_now_ms() < until)
        pty_pump(&con.pty, 50);
    streams_quit(&con, &t);
    print_message("%u frames in all\n", t.drawn);
    assert_in_range(t.drawn, SECONDS,
                    STARTING + 2 * SECONDS * A_STEP * STEPS_A_SECOND); /* 120 at 30 a second */
}

/* How much nicer the engine's thread is than the console's. */
static int niceness_of_the_engine(void)
{
    char path[64], name[32] = "";
    int engine = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)con.pty.pid);
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    for (const struct dirent *t; !engine && (t = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/comm", (int)con.pty.pid, t->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(name, sizeof name, f) && strcmp(name, "weft-engine\n") == 0)
            engine = atoi(t->d_name);
        if (f)
            fclose(f);
    }
    closedir(tasks);
    assert_true(engine > 0);
    return getpriority(PRIO_PROCESS, (id_t)engine) - getpriority(PRIO_PROCESS, (id_t)con.pty.pid);
}

static void the_engine_gives_way(void **state)
{
    (void)state;
    enum { NICEST = 19, DEFAULT = 5 };
    static const char *const as_it_is[] = {"--sim", "--fresh", NULL};
    static const char *const equal[] = {"--sim", "--fresh", "--set", "ui.nice=0", NULL};
    int room = NICEST - getpriority(PRIO_PROCESS, 0); /* these tests may run as background work themselves */
    console_open(&con, as_it_is);
    assert_int_equal(niceness_of_the_engine(), DEFAULT < room ? DEFAULT : room);
    console_end(&con);
    console_open(&con, equal);
    assert_int_equal(niceness_of_the_engine(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONSOLE_TEST(a_frame_at_200x60_takes_2_ms, &con),
        CONSOLE_TEST(without_news_no_frame, &con),
        CONSOLE_TEST(the_engine_gives_way, &con),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
