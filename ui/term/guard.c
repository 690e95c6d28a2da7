#include "ui/term/guard.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
enum { N_FATAL = sizeof fatal_signals / sizeof *fatal_signals, STACK_BYTES = 64 * 1024 };

/* `armed` is what the handlers look at first: everything else is complete before it is set. */
static struct {
    volatile sig_atomic_t armed;
    int fd, saved_stderr; /* saved_stderr: a copy of the original descriptor 2, or -1 */
    struct termios modes;
    char restore[GUARD_RESTORE_MAX];
    size_t n_restore;
    struct sigaction before[N_FATAL];
    stack_t stack_before;
    bool exit_hooked;
} guard = {.fd = -1, .saved_stderr = -1};

/* A stack of its own, so that a stack overflow can be reported too. */
static char handler_stack[STACK_BYTES];

static void restore_terminal(void)
{
    if (!guard.armed)
        return;
    guard.armed = 0;
    ssize_t ignored = write(guard.fd, guard.restore, guard.n_restore);
    (void)ignored;
    tcsetattr(guard.fd, TCSANOW, &guard.modes);
}

static void on_fatal(int sig, siginfo_t *info, void *context)
{
    (void)context;
    static const char says[] = "weft: INTERNAL_ERROR: crashed; the log has the last messages\n";
    bool was_armed = guard.armed;
    restore_terminal();
    guard_stderr_back();
    if (was_armed) {
        ssize_t ignored = write(STDERR_FILENO, says, sizeof says - 1);
        (void)ignored;
    }
    for (int i = 0; i < N_FATAL; i++)
        if (fatal_signals[i] == sig)
            sigaction(sig, &guard.before[i], NULL); /* a sanitizer's handler, or the default */
    /* A fault comes again by itself when this returns, and a core file or a sanitizer then sees where it was; what was sent
     * (kill, abort) doesn't. */
    if (info->si_code <= 0 || sig == SIGABRT)
        raise(sig);
}

static void on_exit_call(void)
{
    restore_terminal();
}

static void release_handlers(void)
{
    guard.armed = 0;
    for (int i = 0; i < N_FATAL; i++)
        sigaction(fatal_signals[i], &guard.before[i], NULL);
    sigaltstack(&guard.stack_before, NULL);
}

void guard_arm(int fd, const struct termios *modes, const char *restore, size_t n)
{
    if (guard.armed)
        release_handlers();
    guard.modes = *modes;
    guard.fd = fd;
    guard.n_restore = n < GUARD_RESTORE_MAX ? n : GUARD_RESTORE_MAX;
    memcpy(guard.restore, restore, guard.n_restore);
    if (!guard.exit_hooked)
        guard.exit_hooked = atexit(on_exit_call) == 0;
    stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
    sigaltstack(&stack, &guard.stack_before);
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_FATAL; i++)
        sigaction(fatal_signals[i], &action, &guard.before[i]);
    guard.armed = 1;
}

void guard_disarm(void)
{
    if (!guard.armed)
        return;
    release_handlers();
    tcsetattr(guard.fd, TCSADRAIN, &guard.modes);
}

bool guard_stderr_to(int fd)
{
    int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (saved < 0)
        return false;
    if (dup2(fd, STDERR_FILENO) < 0) {
        close(saved);
        return false;
    }
    guard.saved_stderr = saved;
    return true;
}

void guard_stderr_back(void)
{
    if (guard.saved_stderr < 0)
        return;
    dup2(guard.saved_stderr, STDERR_FILENO);
    close(guard.saved_stderr);
    guard.saved_stderr = -1;
}
