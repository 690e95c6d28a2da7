/*
 * weft's console in a pseudo-terminal, in directories of its own: what the tests in tests/pty start from. The
 * state and configuration directories are fresh and removed at the end; models and compiled kernels are the
 * user's.
 *
 * The words a test is made of are keys and what they do. All of them look at whole frames, poll until a deadline that
 * a busy machine can bear, and fail the test with the screen. A wait must prove something: console_sees fails when the
 * text was on the screen before the last key and is there still, and console_loses when it wasn't on it at all; and a key right behind Esc,
 * which would make it Alt, fails until something that Esc did has been seen.
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
#define KEY_ALT_UP    "\x1b[1;3A"
#define KEY_ALT_DOWN  "\x1b[1;3B"
#define KEY_ALT_RIGHT "\x1b[1;3C"
#define KEY_ALT_LEFT  "\x1b[1;3D"
#define KEY_HOME      "\x1b[H"
#define KEY_END       "\x1b[F"
#define KEY_DELETE    "\x1b[3~"
#define KEY_PGUP      "\x1b[5~"
#define KEY_PGDN      "\x1b[6~"
#define KEY_BACKSPACE "\x7f"
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
    char *before; /* the screen when the last key was typed; NULL: no key yet, or all was drawn anew since */
    bool killed;  /* by the test, with a deadly signal: a sanitizer's report of that is as it should be */
    bool escaped; /* Esc was typed, and nothing that it did has been seen yet */
};

struct console_options {
    const char *program; /* the binary under test; NULL: CONSOLE_PROGRAM */
    int rows,
        cols; /* 0: 24 × 120, wide enough for all that a busy machine adds to the figures under a reply */
    const char *const *args; /* NULL-terminated; NULL: none */
    const char *const *env;  /* as in struct pty_options, after what console_start sets itself */
    /* Under a shell with job control, which says "stopped" when weft stops, continues it after Enter, and says "done". */
    bool shell;
};
/* $WEFT_TEST_PROGRAM, or the one this build made. */
#define CONSOLE_PROGRAM (getenv("WEFT_TEST_PROGRAM") ? getenv("WEFT_TEST_PROGRAM") : TEST_BINARY_DIR "/weft")

/* Arguments for the simulated executor: a token every 20 ms, slow enough to watch and quick enough to wait for; and
 * replies of 64 tokens in a moment. */
extern const char *const console_slow[], *const console_fast[];

/* Limits of CPU time are for a program as it is released; a sanitizer makes it so many times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONSOLE_SLACK 10
#else
#define CONSOLE_SLACK 1
#endif

/* Starts it; fails the test when that can't be done. */
void console_launch(struct console *c, const struct console_options *options);
/* The same, and waits for READY. */
void console_start(struct console *c, const struct console_options *options);
/* The same, with nothing else. */
void console_open(struct console *c, const char *const *args);
/* Ends it if it still runs, removes its directories. */
void console_end(struct console *c);
/* For cmocka: ends the console that *state points to. */
int console_tear_down(void **state);
#define CONSOLE_TEST(f, console) cmocka_unit_test_prestate_setup_teardown(f, NULL, console_tear_down, console)

/* For tests that hand the program a file: a console, a directory, and a file in it. */
struct console_file {
    struct console con;
    char dir[64], file[96]; /* file: DIR/w.yaml, not made */
};
/* For cmocka: *state points to one. Makes the directory; ends the console, and removes directory and file. */
int console_file_set_up(void **state);
int console_file_tear_down(void **state);
#define CONSOLE_FILE_TEST(f, own)                                                                            \
    cmocka_unit_test_prestate_setup_teardown(f, console_file_set_up, console_file_tear_down, own)

/* --- keys --- */

/* Types keys when the frame that is being drawn is whole. */
void console_key(struct console *c, const char *bytes);
/* Types keys and waits until `effect`, which wasn't there before, is on the screen. */
void console_does(struct console *c, const char *bytes, const char *effect);
/* Types keys and waits until `text`, which was there before, is gone. */
void console_undoes(struct console *c, const char *bytes, const char *text);
/* Types text and Enter, as one key: what Enter does isn't there before, not even in the input line. */
void console_say(struct console *c, const char *text);
/* Types text and waits until it is on the screen once more than before. */
void console_type(struct console *c, const char *text);
/* Gives the terminal another size. Nothing that was drawn before counts as seen afterwards. */
void console_resize(struct console *c, int rows, int cols);

/* --- what they do --- */

/* Waits until it is on the screen; when it was before the last key, console_loses comes first. */
void console_sees(struct console *c, const char *text);
/* Waits until it is gone; it must have been there when the last key was typed, or be there now. */
void console_loses(struct console *c, const char *text);
/* Whether it is on the screen now, which is a whole frame. */
bool console_shows(struct console *c, const char *text);
/* How often. */
int console_count(struct console *c, const char *text);
/* Waits until condition(c, ctx) holds; `what` it is, for the message. */
void console_wait(struct console *c, bool (*condition)(struct console *c, void *ctx), void *ctx,
                  const char *what);
/* The number behind "step " in the top line; 0: there is none. */
long console_step(struct console *c);
/* Waits until the top line tells of at least `step`. */
void console_wait_step(struct console *c, long step);

/* How long keys take to be on the screen, in milliseconds: as a person sees it, and less what the kernel counts as waiting
 * for a processor (pty_waited_ms), which is what the program can do about it. */
struct console_key_times {
    double p50, p99, own_p50, own_p99;
};
/* Types 200 keys into the empty input line, each seen and deleted before the next. Prints the figures. */
void console_time_keys(struct console *c, struct console_key_times *out);

/* Waits for the end and checks that no sanitizer brought it about, and that the terminal is as before: modes, alternate
 * screen, cursor, paste and mouse modes. */
void console_ends(struct console *c);
/* After the end: the exit status, or minus the signal. */
int console_exit_status(const struct console *c);

#endif
