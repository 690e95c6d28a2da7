/*
 * The real program in a pseudo-terminal: a child process whose terminal is a struct vt. Every wait polls until a
 * condition holds or a deadline passes; nothing here sleeps a fixed time. Output is read only while one of these
 * functions runs.
 */
#ifndef TEST_SUPPORT_PTY_H
#define TEST_SUPPORT_PTY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

#include "tests/support/vt.h"

struct pty {
    pid_t pid; /* the child; 0 once reaped */
    int master;
    int hold; /* our own descriptor of the terminal side, so that its modes can be read after the child ended */
    struct vt *vt;
    struct termios before; /* modes when the child was started */
    int status;            /* of waitpid, once reaped */
    const char *record;    /* a file that gets every byte read, or NULL */
    char unseen[65536];    /* bytes that were read, of frames behind the one on the screen */
    size_t at, n_unseen;
};

struct pty_options {
    const char *const *argv; /* NULL-terminated */
    const char *const
        *env; /* "NAME=value" added to (or replacing in) the environment; "NAME" removes it; NULL: none */
    const char *cwd; /* NULL: the caller's */
    int rows, cols;
};

/* 0, or -1 with errno. */
int pty_start(struct pty *p, const struct pty_options *options);
/* Kills what still runs, closes, frees the screen. */
void pty_end(struct pty *p);

void pty_send(struct pty *p, const char *bytes, size_t n);
void pty_type(struct pty *p, const char *text); /* NUL-terminated */
void pty_resize(struct pty *p, int rows, int cols);

/* Reads what comes within timeout_ms, returning at the first bytes and never beyond the end of a frame, so that none goes by
 * unseen; the number of bytes, 0 on timeout, -1 when the terminal is closed. */
ssize_t pty_pump(struct pty *p, int timeout_ms);
/* Reads for that long, where a time is what the test is about. */
void pty_read_for(struct pty *p, double ms);
/* Reads until the program has written nothing for quiet_ms; false when it still writes after timeout_ms. For "nothing more is
 * written"; what a test waits for is a condition, below. */
bool pty_settle(struct pty *p, int quiet_ms, int timeout_ms);
/* Reads what is there, and on to the end of the frame that was begun (vt_in_frame); false when that doesn't come. */
bool pty_whole_frame(struct pty *p, int timeout_ms);
/* Reads until condition(p, ctx) holds, asked of whole frames only: what is on the screen was drawn together. False, with the
 * screen printed to stderr, when it doesn't within timeout_ms. */
bool pty_wait(struct pty *p, bool (*condition)(struct pty *p, void *ctx), void *ctx, int timeout_ms);
/* … until `text` is on the screen, or is not on it any more. */
bool pty_wait_text(struct pty *p, const char *text, int timeout_ms);
bool pty_wait_gone(struct pty *p, const char *text, int timeout_ms);
/* Reads until the child has ended; false when it still runs after timeout_ms. */
bool pty_wait_exit(struct pty *p, int timeout_ms);
/* Whether the terminal's modes are those from before the start. */
bool pty_modes_restored(struct pty *p);
/* CPU seconds that the child's threads have used (those that still live), or its first thread alone. */
double pty_cpu_seconds(const struct pty *p, bool first_alone);
/* Milliseconds that the child's threads and this one have been ready to run, and no processor was free for them: next to
 * nothing on a machine that has nothing else to do. (All threads, as one may hold what another waits for.) */
double pty_waited_ms(const struct pty *p);
/* Monotonic milliseconds. */
double pty_now_ms(void);

#endif
