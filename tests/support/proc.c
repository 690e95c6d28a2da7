#include "tests/support/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

enum { DEFAULT_TIMEOUT_MS = 240000, IN = 0, OUT = 1, ERR = 2 };

const char proc_leaks[] =
    "LSAN_OPTIONS=suppressions=" TEST_SOURCE_DIR "/tests/support/leaks.supp:print_suppressions=0";

static void set_environment(const char *const *env)
{
    putenv((char *)(size_t)proc_leaks);
    for (; env && *env; env++) {
        const char *equals = strchr(*env, '=');
        if (equals)
            putenv((char *)*env); /* the child's copy: exec comes next */
        else
            unsetenv(*env);
    }
}

/* In the child: never returns. */
static void become(const char *const *argv, const struct proc_options *o, int pipes[3][2])
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(pipes[IN][0], 0);
    dup2(pipes[OUT][1], 1);
    dup2(pipes[ERR][1], 2);
    set_environment(o->env);
    if (o->cwd && chdir(o->cwd))
        _exit(127);
    execv(argv[0], (char *const *)argv);
    _exit(127);
}

static void drain(struct pollfd *p, struct buf *into)
{
    char chunk[16384];
    ssize_t n = read(p->fd, chunk, sizeof chunk);
    if (n > 0) {
        assert_true(buf_add(into, chunk, (size_t)n));
    } else if (n == 0 || errno != EINTR) {
        close(p->fd);
        p->fd = -1;
    }
}

static void feed(struct pollfd *p, const char **in, size_t *left)
{
    ssize_t n = *left ? write(p->fd, *in, *left) : 0;
    if (n > 0) {
        *in += n;
        *left -= (size_t)n;
    }
    if (*left == 0 ||
        (n < 0 && errno != EINTR && errno != EAGAIN)) { /* all given, or nobody reads any more */
        close(p->fd);
        p->fd = -1;
    }
}

/* Feeds and reads until the child has closed its output, or its time is up. */
static void converse(pid_t pid, const struct proc_options *o, struct pollfd fds[3], struct proc_result *r)
{
    struct buf bufs[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    const char *in = o->in ? o->in : "";
    size_t left = o->in_len ? o->in_len : strlen(in);
    int64_t deadline = clock_now_us() + (int64_t)(o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS) * 1000;
    bool signalled = false;
    while (fds[OUT].fd >= 0 || fds[ERR].fd >= 0) {
        int64_t rest_ms = (deadline - clock_now_us()) / 1000;
        if (rest_ms <= 0 && !r->timed_out) {
            r->timed_out = true;
            kill(pid, SIGKILL);
        }
        poll(fds, 3, rest_ms > 0 ? (int)rest_ms : 100);
        if (fds[IN].fd >= 0 && fds[IN].revents)
            feed(&fds[IN], &in, &left);
        for (int i = OUT; i <= ERR; i++)
            if (fds[i].fd >= 0 && fds[i].revents)
                drain(&fds[i], &bufs[i]);
        if (o->signal && !signalled && strstr(buf_str(&bufs[OUT]), o->signal_when)) {
            kill(pid, o->signal);
            signalled = true;
        }
    }
    r->out = buf_take(&bufs[OUT], &r->out_len);
    r->err = buf_take(&bufs[ERR], &r->err_len);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void proc_run(const char *const *argv, const struct proc_options *options, struct proc_result *r)
{
    static const struct proc_options plain = {0};
    const struct proc_options *o = options ? options : &plain;
    int pipes[3][2];
    *r = (struct proc_result){.status = -1};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become(argv, o, pipes);
    close(pipes[IN][0]);
    close(pipes[OUT][1]);
    close(pipes[ERR][1]);
    fcntl(pipes[IN][1], F_SETFL, O_NONBLOCK);
    struct pollfd fds[3] = {{.fd = pipes[IN][1], .events = POLLOUT},
                            {.fd = pipes[OUT][0], .events = POLLIN},
                            {.fd = pipes[ERR][0], .events = POLLIN}};
    converse(pid, o, fds, r);
    if (fds[IN].fd >= 0)
        close(fds[IN].fd);
    int status;
    struct rusage usage;
    while (wait4(pid, &status, 0, &usage) < 0)
        assert_int_equal(errno, EINTR);
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r->peak_kb = usage.ru_maxrss;
    r->cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void proc_free(struct proc_result *r)
{
    mem_free(r->out);
    mem_free(r->err);
    *r = (struct proc_result){.status = -1};
}
