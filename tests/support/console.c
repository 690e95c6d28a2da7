#include "tests/support/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ftw.h>
#include <glob.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "tests/support/proc.h"

/* Long enough for a busy machine; nothing waits this long when all is well. */
enum { PATIENCE_MS = 30000, START_MS = 90000, ARGS_MAX = 64 };

/* The sanitizers' reports, in the console's folder; .PID follows. */
#define SANITIZER "sanitizer"

const char *const console_slow[] = {"--sim", "--set", "sim.decode_us=20000", NULL};
const char *const console_fast[] = {"--sim", "--set", "sampling.max_tokens=64", NULL};

void console_launch(struct console *c, const struct console_options *o)
{
    static const char script[] = "\"$0\" \"$@\"; echo stopped; read -r; fg; echo done";
    static const char *const job_control[] = {"bash", "--norc", "-m", "-c", script};
    const char *argv[ARGS_MAX], *env[ARGS_MAX];
    size_t n = 0, n_env = 0;
    char state[96], config[96], reports[128];
    memset(c, 0, sizeof *c);
    snprintf(c->dir, sizeof c->dir, "/tmp/weft-pty-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    snprintf(state, sizeof state, "XDG_STATE_HOME=%s", c->dir);
    snprintf(config, sizeof config, "XDG_CONFIG_HOME=%s/config", c->dir);
    snprintf(reports, sizeof reports, "ASAN_OPTIONS=log_path=%s/" SANITIZER, c->dir);
    for (size_t i = 0; o->shell && i < sizeof job_control / sizeof *job_control; i++)
        argv[n++] = job_control[i];
    argv[n++] = o->program ? o->program : CONSOLE_PROGRAM;
    for (const char *const *arg = o->args; arg && *arg; arg++) {
        assert_true(n < ARGS_MAX - 1);
        argv[n++] = *arg;
    }
    argv[n] = NULL;
    const char *const usual[] = {
        state,      proc_leaks, config,    "TERM=xterm-256color", "LC_ALL=C.UTF-8", "COLORTERM",
        "NO_COLOR", "LINES",    "COLUMNS", "INPUTRC=/dev/null",   reports};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        env[n_env++] = usual[i];
    for (const char *const *e = o->env; e && *e; e++) {
        assert_true(n_env < ARGS_MAX - 1);
        env[n_env++] = *e;
    }
    env[n_env] = NULL;
    /* In its own folder, where what it writes (/record, /export) goes with it at the end. */
    const struct pty_options options = {.argv = argv,
                                        .env = env,
                                        .cwd = c->dir,
                                        .rows = o->rows ? o->rows : 24,
                                        .cols = o->cols ? o->cols : 120};
    assert_int_equal(pty_start(&c->pty, &options), 0);
}

void console_start(struct console *c, const struct console_options *options)
{
    console_launch(c, options);
    assert_true(pty_wait_text(&c->pty, "READY", START_MS));
}

void console_open(struct console *c, const char *const *args)
{
    console_start(c, &(struct console_options){.args = args});
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
    free(c->before);
    c->before = NULL;
    c->escaped = false;
}

int console_tear_down(void **state)
{
    console_end(*state);
    return 0;
}

int console_file_set_up(void **state)
{
    struct console_file *f = *state;
    *f = (struct console_file){.dir = "/tmp/weft-console-XXXXXX"};
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->file, sizeof f->file, "%s/w.yaml", f->dir);
    return 0;
}

int console_file_tear_down(void **state)
{
    struct console_file *f = *state;
    console_end(&f->con);
    unlink(f->file);
    rmdir(f->dir);
    return 0;
}

/* --- keys --- */

void console_key(struct console *c, const char *bytes)
{
    size_t n = strlen(bytes);
    if (c->escaped)
        fail_msg("a key right behind Esc would be Alt: first wait for what Esc does");
    pty_whole_frame(&c->pty, PATIENCE_MS);
    free(c->before);
    c->before = strdup(vt_text(c->pty.vt));
    assert_non_null(c->before);
    c->escaped = n && bytes[n - 1] == '\x1b';
    pty_type(&c->pty, bytes);
}

void console_say(struct console *c, const char *text)
{
    struct buf keys = BUF_INIT;
    buf_addf(&keys, "%s" KEY_ENTER, text);
    assert_false(keys.failed);
    console_key(c, buf_str(&keys));
    buf_free(&keys);
}

void console_does(struct console *c, const char *bytes, const char *effect)
{
    console_key(c, bytes);
    console_sees(c, effect);
}

void console_undoes(struct console *c, const char *bytes, const char *text)
{
    console_key(c, bytes);
    console_loses(c, text);
}

struct typed {
    const char *text;
    int before; /* how often it was on the screen */
};

static bool shows_once_more(struct console *c, void *ctx)
{
    const struct typed *t = ctx;
    return console_count(c, t->text) > t->before;
}

void console_type(struct console *c, const char *text)
{
    struct typed t = {text, console_count(c, text)};
    console_key(c, text);
    console_wait(c, shows_once_more, &t, text);
}

void console_resize(struct console *c, int rows, int cols)
{
    pty_whole_frame(&c->pty, PATIENCE_MS);
    free(c->before);
    c->before = NULL;
    pty_resize(&c->pty, rows, cols);
    vt_wipe(c->pty.vt);
}

/* --- what they do --- */

/* A wait that can't fail is a mistake in the test. */
static void refuse(const char *text, const char *why, const char *screen)
{
    fprintf(stderr, "%s\n", screen);
    fail_msg("waiting for \"%s\" proves nothing: %s", text, why);
}

void console_sees(struct console *c, const char *text)
{
    if (c->before && strstr(c->before, text) && console_shows(c, text))
        refuse(text, "it was there before the key", c->before);
    assert_true(pty_wait_text(&c->pty, text, PATIENCE_MS));
    c->escaped = false;
}

void console_loses(struct console *c, const char *text)
{
    if (!(c->before && strstr(c->before, text)) && vt_find(c->pty.vt, text, NULL) < 0)
        refuse(text, "it isn't there, and wasn't before the key", vt_text(c->pty.vt));
    assert_true(pty_wait_gone(&c->pty, text, PATIENCE_MS));
    c->escaped = false;
}

bool console_shows(struct console *c, const char *text)
{
    pty_whole_frame(&c->pty, PATIENCE_MS);
    return vt_find(c->pty.vt, text, NULL) >= 0;
}

int console_count(struct console *c, const char *text)
{
    int n = 0;
    pty_whole_frame(&c->pty, PATIENCE_MS);
    for (const char *p = vt_text(c->pty.vt); (p = strstr(p, text)); p += strlen(text))
        n++;
    return n;
}

struct condition {
    struct console *c;
    bool (*holds)(struct console *c, void *ctx);
    void *ctx;
};

static bool holds(struct pty *p, void *ctx)
{
    const struct condition *k = ctx;
    (void)p;
    return k->holds(k->c, k->ctx);
}

void console_wait(struct console *c, bool (*condition)(struct console *c, void *ctx), void *ctx,
                  const char *what)
{
    struct condition k = {c, condition, ctx};
    if (!pty_wait(&c->pty, holds, &k, PATIENCE_MS))
        fail_msg("waited in vain: %s", what);
    c->escaped = false;
}

long console_step(struct console *c)
{
    const char *p = strstr(vt_row(c->pty.vt, 0), "step ");
    long step = 0;
    for (p = p ? p + strlen("step ") : "";
         (*p >= '0' && *p <= '9') || (*p == ' ' && p[1] >= '0' && p[1] <= '9'); p++)
        if (*p != ' ') /* between thousands */
            step = step * 10 + (*p - '0');
    return step;
}

static bool has_run(struct console *c, void *step)
{
    return console_step(c) >= *(const long *)step;
}

void console_wait_step(struct console *c, long step)
{
    console_wait(c, has_run, &step, "steps of the engine");
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void console_time_keys(struct console *c, struct console_key_times *out)
{
    enum { KEYS = 200, P50 = KEYS / 2, P99 = KEYS - 1 - KEYS / 100 };
    double ms[KEYS], own[KEYS];
    for (int i = 0; i < KEYS; i++) {
        char typed[] = {(char)('0' + i % 10), 0}, seen[16];
        snprintf(seen, sizeof seen, "› %s", typed);
        pty_whole_frame(&c->pty, PATIENCE_MS);
        const double waited = pty_waited_ms(&c->pty), from = pty_now_ms();
        console_does(c, typed, seen);
        ms[i] = pty_now_ms() - from;
        own[i] = ms[i] - (pty_waited_ms(&c->pty) - waited);
        console_undoes(c, "\x7f", seen);
    }
    qsort(ms, KEYS, sizeof *ms, compare);
    qsort(own, KEYS, sizeof *own, compare);
    *out = (struct console_key_times){ms[P50], ms[P99], own[P50], own[P99]};
    print_message("key to screen: p50 %.2f ms, p99 %.2f ms; less waiting for a processor %.2f, %.2f\n",
                  out->p50, out->p99, out->own_p50, out->own_p99);
}

/* A sanitizer's report of the console, which ended for it, fails the test with what it says. */
static void check_reports(const struct console *c)
{
    glob_t found;
    char pattern[96], text[8192];
    snprintf(pattern, sizeof pattern, "%s/" SANITIZER ".*", c->dir);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    FILE *f = fopen(found.gl_pathv[0], "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    globfree(&found);
    fprintf(stderr, "%s\n", text); /* longer than cmocka's own messages may be */
    fail_msg("the console was ended by a sanitizer");
}

void console_ends(struct console *c)
{
    static const int modes[] = {1049, 2004, 1000, 1002, 1006, 2026};
    assert_true(pty_wait_exit(&c->pty, PATIENCE_MS));
    if (!c->killed)
        check_reports(c);
    assert_true(pty_modes_restored(&c->pty));
    assert_true(vt_cursor_visible(c->pty.vt));
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (vt_mode(c->pty.vt, modes[i]))
            fail_msg("mode %d is still on", modes[i]);
}

int console_exit_status(const struct console *c)
{
    int status = c->pty.status;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
