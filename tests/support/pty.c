#include "tests/support/pty.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

double pty_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void run_child(int terminal, const struct pty_options *o)
{
    login_tty(terminal); /* new session, controlling terminal, descriptors 0 to 2 */
    for (const char *const *e = o->env; e && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (!equals) {
            unsetenv(*e);
            continue;
        }
        char *name = strndup(*e, (size_t)(equals - *e));
        setenv(name, equals + 1, 1);
        free(name);
    }
    signal(SIGPIPE, SIG_DFL);
    if (o->cwd && chdir(o->cwd))
        _exit(126);
    execvp(o->argv[0], (char *const *)(void *)o->argv);
    fprintf(stderr, "cannot run %s: %s\n", o->argv[0], strerror(errno));
    _exit(127);
}

int pty_start(struct pty *p, const struct pty_options *o)
{
    *p = (struct pty){.master = -1, .hold = -1};
    struct winsize size = {.ws_row = (unsigned short)o->rows, .ws_col = (unsigned short)o->cols};
    if (openpty(&p->master, &p->hold, NULL, NULL, &size) != 0)
        return -1;
    fcntl(p->master, F_SETFD, FD_CLOEXEC);
    fcntl(p->hold, F_SETFD, FD_CLOEXEC);
    tcgetattr(p->hold, &p->before);
    p->vt = vt_create(o->rows, o->cols);
    p->pid = fork();
    if (p->pid < 0)
        return -1;
    if (p->pid == 0)
        run_child(p->hold, o);
    return 0;
}

static bool reap(struct pty *p)
{
    if (p->pid && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->pid = 0;
    return !p->pid;
}

void pty_end(struct pty *p)
{
    if (p->pid && !reap(p)) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, &p->status, 0);
        p->pid = 0;
    }
    if (p->master >= 0)
        close(p->master);
    if (p->hold >= 0)
        close(p->hold);
    vt_destroy(p->vt);
    *p = (struct pty){.master = -1, .hold = -1};
}

/* Writes everything; reads meanwhile, so that a full output buffer can't lock both sides. */
void pty_send(struct pty *p, const char *bytes, size_t n)
{
    while (n) {
        struct pollfd f = {p->master, POLLOUT | POLLIN, 0};
        if (poll(&f, 1, 10000) <= 0)
            return;
        if (f.revents & POLLIN)
            pty_pump(p, 0);
        if (f.revents & POLLOUT) {
            ssize_t w = write(p->master, bytes, n < 512 ? n : 512);
            if (w < 0)
                return;
            bytes += w;
            n -= (size_t)w;
        } else if (f.revents & (POLLHUP | POLLERR)) {
            return;
        }
    }
}

void pty_type(struct pty *p, const char *text)
{
    pty_send(p, text, strlen(text));
}

void pty_resize(struct pty *p, int rows, int cols)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    vt_resize(p->vt, rows, cols);
    ioctl(p->master, TIOCSWINSZ, &size);
}

/* Reads more bytes; as pty_pump. */
static ssize_t refill(struct pty *p, int timeout_ms)
{
    struct pollfd f = {p->master, POLLIN, 0};
    if (poll(&f, 1, timeout_ms) <= 0 || !(f.revents & (POLLIN | POLLHUP)))
        return 0;
    ssize_t n = read(p->master, p->unseen, sizeof p->unseen);
    if (n <= 0)
        return -1;
    p->at = 0;
    p->n_unseen = (size_t)n;
    FILE *record = p->record ? fopen(p->record, "ab") : NULL;
    if (record) {
        fwrite(p->unseen, 1, p->n_unseen, record);
        fclose(record);
    }
    return n;
}

ssize_t pty_pump(struct pty *p, int timeout_ms)
{
    ssize_t n = p->at < p->n_unseen ? 1 : refill(p, timeout_ms);
    if (n <= 0)
        return n;
    size_t fed = vt_feed(p->vt, p->unseen + p->at, p->n_unseen - p->at);
    p->at += fed;
    return (ssize_t)fed;
}

void pty_read_for(struct pty *p, double ms)
{
    const double end = pty_now_ms() + ms;
    for (double left = ms; left > 0; left = end - pty_now_ms())
        if (pty_pump(p, (int)left + 1) < 0)
            return; /* the program has ended */
}

bool pty_settle(struct pty *p, int quiet_ms, int timeout_ms)
{
    double end = pty_now_ms() + timeout_ms;
    while (pty_now_ms() < end)
        if (pty_pump(p, quiet_ms) <= 0)
            return true;
    return false;
}

bool pty_whole_frame(struct pty *p, int timeout_ms)
{
    enum { REST_MS = 50 };
    double end = pty_now_ms() + timeout_ms;
    ssize_t n;
    do
        n = pty_pump(p, vt_in_frame(p->vt) ? REST_MS : 0);
    while (n >= 0 && (n > 0 || vt_in_frame(p->vt)) && pty_now_ms() < end);
    return !vt_in_frame(p->vt);
}

bool pty_wait(struct pty *p, bool (*condition)(struct pty *p, void *ctx), void *ctx, int timeout_ms)
{
    enum {
        LOOK_MS = 50,
        LAST_MS = 100
    }; /* conditions may be of more than the screen: look again now and then */
    double end = pty_now_ms() + timeout_ms;
    for (;;) {
        if (!vt_in_frame(p->vt) && condition(p, ctx))
            return true;
        double left = end - pty_now_ms();
        bool quiet = pty_pump(p, left < LOOK_MS ? left > 0 ? (int)left + 1 : 0 : LOOK_MS) <= 0;
        bool ended = quiet && reap(p) && pty_pump(p, LAST_MS) <= 0;
        if (!ended && (!quiet || left > 0))
            continue;
        if (condition(p, ctx)) /* of a program that was killed, half a frame is all there will be */
            return true;
        fprintf(stderr, "not seen within %d ms%s; the screen:\n%s\n", timeout_ms,
                p->pid ? "" : ", and the program has ended", vt_text(p->vt));
        return false;
    }
}

static bool has_text(struct pty *p, void *text)
{
    return vt_find(p->vt, text, NULL) >= 0;
}

static bool lacks_text(struct pty *p, void *text)
{
    return vt_find(p->vt, text, NULL) < 0;
}

bool pty_wait_text(struct pty *p, const char *text, int timeout_ms)
{
    bool seen = pty_wait(p, has_text, (void *)(size_t)text, timeout_ms);
    if (!seen)
        fprintf(stderr, "wanted: %s\n", text);
    return seen;
}

bool pty_wait_gone(struct pty *p, const char *text, int timeout_ms)
{
    bool gone = pty_wait(p, lacks_text, (void *)(size_t)text, timeout_ms);
    if (!gone)
        fprintf(stderr, "still there: %s\n", text);
    return gone;
}

bool pty_wait_exit(struct pty *p, int timeout_ms)
{
    double end = pty_now_ms() + timeout_ms;
    while (!reap(p)) {
        if (pty_now_ms() >= end) {
            if (timeout_ms)
                fprintf(stderr, "still runs after %d ms; the screen:\n%s\n", timeout_ms, vt_text(p->vt));
            return false;
        }
        pty_pump(p, 10);
    }
    while (pty_pump(p, 100) > 0) /* the kernel hands over the last of it a little later */
        ;
    return true;
}

bool pty_modes_restored(struct pty *p)
{
    struct termios now;
    if (tcgetattr(p->hold, &now) != 0)
        return false;
    return now.c_iflag == p->before.c_iflag && now.c_oflag == p->before.c_oflag &&
           now.c_cflag == p->before.c_cflag && now.c_lflag == p->before.c_lflag &&
           memcmp(now.c_cc, p->before.c_cc, sizeof now.c_cc) == 0;
}

/* Nanoseconds by the kernel's count of a thread: run, and waited for a processor. */
static bool schedule_of(const char *path, unsigned long long *ran, unsigned long long *waited)
{
    FILE *f = fopen(path, "r");
    bool read = f && fscanf(f, "%llu %llu", ran, waited) == 2;
    if (f)
        fclose(f);
    return read;
}

/* Both for the child: all its threads that still live, or the first alone. */
static void schedule_of_child(const struct pty *p, bool first_alone, double *ran_ns, double *waited_ns)
{
    char path[300];
    *ran_ns = *waited_ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)p->pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *t; tasks && (t = readdir(tasks));) {
        unsigned long long ran, waited;
        if (t->d_name[0] == '.' || (first_alone && atoi(t->d_name) != (int)p->pid))
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.32s/schedstat", (int)p->pid, t->d_name);
        if (schedule_of(path, &ran, &waited)) {
            *ran_ns += (double)ran;
            *waited_ns += (double)waited;
        }
    }
    if (tasks)
        closedir(tasks);
}

double pty_cpu_seconds(const struct pty *p, bool first_alone)
{
    double ran, waited;
    schedule_of_child(p, first_alone, &ran, &waited);
    return ran / 1e9;
}

double pty_waited_ms(const struct pty *p)
{
    unsigned long long our_ran, ours = 0;
    double ran, theirs;
    schedule_of_child(p, false, &ran, &theirs);
    schedule_of("/proc/self/schedstat", &our_ran, &ours);
    return (theirs + (double)ours) / 1e6;
}
