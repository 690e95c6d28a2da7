/*
 * weft's console in a pseudo-terminal, in directories of its own: what the tests in tests/pty start from. The
 * state and configuration directories are fresh and removed at the end; models and compiled kernels are the
 * user's.
 */
#ifndef TEST_SUPPORT_CONSOLE_H
#define TEST_SUPPORT_CONSOLE_H

#include "tests/support/pty.h"

#define KEY_F1        "\x1bOP"
#define KEY_F2        "\x1bOQ"
#define KEY_F3        "\x1bOR"
#define KEY_F4        "\x1bOS"
#define KEY_F5        "\x1b[15~"
#define KEY_F7        "\x1b[18~"
#define KEY_F8        "\x1b[19~"
#define KEY_F9        "\x1b[20~"
#define KEY_F10       "\x1b[21~"
#define KEY_ENTER     "\r"
#define KEY_ESC       "\x1b"
#define KEY_TAB       "\t"
#define KEY_BACKTAB   "\x1b[Z"
#define KEY_UP        "\x1b[A"
#define KEY_DOWN      "\x1b[B"
#define KEY_HOME      "\x1b[H"
#define KEY_END       "\x1b[F"
#define KEY_PGUP      "\x1b[5~"
#define KEY_PGDN      "\x1b[6~"
#define KEY_ALT(c)    "\x1b" c
#define KEY_ALT_ENTER "\x1b\r"
#define KEY_CTRL_C    "\x03"
#define KEY_CTRL_J    "\n"
#define KEY_CTRL_L    "\x0c"
#define KEY_CTRL_R    "\x12"
#define KEY_CTRL_U    "\x15"
#define KEY_CTRL_Z    "\x1a"

struct console {
    struct pty pty;
    char dir[64]; /* state and configuration */
};

struct console_options {
    const char *program;     /* the binary under test: CONSOLE_PROGRAM */
    int rows, cols;          /* 0: 24 × 80 */
    const char *const *args; /* NULL-terminated; NULL: none */
    const char *const *env;  /* as in struct pty_options, after what console_start sets itself */
    bool shell; /* under a shell with job control, which says "stopped" when weft stops, and then continues it
                 */
};
/* $WEFT_TEST_PROGRAM, or the one this build made. */
#define CONSOLE_PROGRAM (getenv("WEFT_TEST_PROGRAM") ? getenv("WEFT_TEST_PROGRAM") : TEST_BINARY_DIR "/weft")

/* Starts it; fails the test when that can't be done. */
void console_launch(struct console *c, const struct console_options *options);
/* The same, and waits for READY. */
void console_start(struct console *c, const struct console_options *options);
/* Ends it if it still runs, removes its directories. */
void console_end(struct console *c);

/* Types and waits until it is on the screen. */
void console_type(struct console *c, const char *text);
void console_key(struct console *c, const char *bytes);
/* Fails the test, screen printed, when it isn't so in time. */
void console_sees(struct console *c, const char *text);
void console_loses(struct console *c, const char *text);
/* Whether it is on the screen now. */
bool console_shows(struct console *c, const char *text);
/* Waits for the end and checks that the terminal is as before: modes, alternate screen, cursor, paste and
 * mouse modes. */
void console_ends(struct console *c);
#endif
