#include "tests/support/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>
#include <unistd.h>

#include <cmocka.h>

/* Long enough for a busy machine; nothing waits this long when all is well. */
enum { PATIENCE_MS = 20000, START_MS = 60000, ARGS_MAX = 64 };

void console_launch(struct console *c, const struct console_options *o)
{
    static const char script[] = "\"$0\" \"$@\"; echo stopped; fg; echo done";
    static const char *const job_control[] = {"bash", "--norc", "-m", "-c", script};
    const char *argv[ARGS_MAX], *env[ARGS_MAX];
    size_t n = 0, n_env = 0;
    char state[96], config[96], leaks[160], path[96];
    memset(c, 0, sizeof *c);
    snprintf(c->dir, sizeof c->dir, "/tmp/weft-pty-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    snprintf(state, sizeof state, "XDG_STATE_HOME=%s", c->dir);
    snprintf(config, sizeof config, "XDG_CONFIG_HOME=%s/config", c->dir);
    /* Not for the leak sanitizer: readline drops an undo record now and then when commands are cut short (8.2), ncurses
     * what it allocated for a terminal that it doesn't know. */
    snprintf(path, sizeof path, "%s/suppressions", c->dir);
    snprintf(leaks, sizeof leaks, "LSAN_OPTIONS=suppressions=%s:print_suppressions=0", path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("leak:libreadline\nleak:libncurses\nleak:libtinfo\n", f);
    fclose(f);
    for (size_t i = 0; o->shell && i < sizeof job_control / sizeof *job_control; i++)
        argv[n++] = job_control[i];
    argv[n++] = o->program;
    for (const char *const *arg = o->args; arg && *arg; arg++) {
        assert_true(n < ARGS_MAX - 1);
        argv[n++] = *arg;
    }
    argv[n] = NULL;
    const char *const usual[] = {
        state,      leaks,   config,    "TERM=xterm-256color", "LC_ALL=C.UTF-8", "COLORTERM",
        "NO_COLOR", "LINES", "COLUMNS", "INPUTRC=/dev/null"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        env[n_env++] = usual[i];
    for (const char *const *e = o->env; e && *e; e++) {
        assert_true(n_env < ARGS_MAX - 1);
        env[n_env++] = *e;
    }
    env[n_env] = NULL;
    const struct pty_options options = {
        .argv = argv, .env = env, .rows = o->rows ? o->rows : 24, .cols = o->cols ? o->cols : 80};
    assert_int_equal(pty_start(&c->pty, &options), 0);
}

void console_start(struct console *c, const struct console_options *options)
{
    console_launch(c, options);
    assert_true(pty_wait_text(&c->pty, "READY", START_MS));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void console_end(struct console *c)
{
    pty_end(&c->pty);
    if (*c->dir)
        nftw(c->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    *c->dir = 0;
}

void console_key(struct console *c, const char *bytes)
{
    /* A test goes on when what Esc closes is gone. Half a frame may not show it yet, and the next key would follow at
     * once, which makes it Alt: so the frame is waited for. While a reply streams it never settles. */
    enum { WHOLE_FRAME_MS = 50, STREAMING_MS = 500 };
    if (bytes[0] == '\x1b' && !bytes[1])
        pty_settle(&c->pty, WHOLE_FRAME_MS, STREAMING_MS);
    pty_type(&c->pty, bytes);
}

void console_type(struct console *c, const char *text)
{
    pty_type(&c->pty, text);
    console_sees(c, text);
}

void console_sees(struct console *c, const char *text)
{
    assert_true(pty_wait_text(&c->pty, text, PATIENCE_MS));
}

void console_loses(struct console *c, const char *text)
{
    assert_true(pty_wait_gone(&c->pty, text, PATIENCE_MS));
}

bool console_shows(struct console *c, const char *text)
{
    return vt_find(c->pty.vt, text, NULL) >= 0;
}

void console_ends(struct console *c)
{
    static const int modes[] = {1049, 2004, 1000, 1002, 1006};
    assert_true(pty_wait_exit(&c->pty, PATIENCE_MS));
    assert_true(pty_modes_restored(&c->pty));
    assert_true(vt_cursor_visible(c->pty.vt));
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        assert_false(vt_mode(c->pty.vt, modes[i]));
}
