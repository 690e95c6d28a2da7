/*
 * The terminal's life line: whatever ends the process, the terminal is left as it was found.
 *
 * While armed, SIGSEGV, SIGBUS, SIGABRT, SIGFPE and SIGILL write a prepared byte string to the terminal, put
 * its modes back and let the signal kill the process as it would have; exit() does the same. Only
 * async-signal-safe calls are made. Signals that ask (SIGTERM, SIGHUP, SIGINT) aren't handled here: the
 * console ends in order on them.
 *
 * This is process-wide state by nature (signal handlers have no context), so there is one guard, and one
 * thread uses it.
 */
#ifndef WEFT_UI_TERM_GUARD_H
#define WEFT_UI_TERM_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

enum { GUARD_RESTORE_MAX = 512 };

/* Remembers the modes that terminal `fd` is to have again and what to write to put its screen right (at most
 * GUARD_RESTORE_MAX bytes count), and arms. Calling it again replaces both. */
void guard_arm(int fd, const struct termios *modes, const char *restore, size_t n);
/* Puts the modes back and disarms; the caller has restored the screen. Harmless when not armed. */
void guard_disarm(void);

/*
 * Sends descriptor 2 to `fd` (borrowed), so that what OpenCL libraries print doesn't scribble on the screen;
 * a crash puts it back first, as guard_stderr_back does. False with errno, and nothing changed.
 */
bool guard_stderr_to(int fd);
void guard_stderr_back(void);

#endif
