/*
 * The real console on the real model, in a pseudo-terminal: two sessions stream at once, the panes move, a priority changes under
 * way, the terminal is resized, and quitting leaves it as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/console.h"

#define GUTTER "\xe2\x96\x8f" /* left of each line of a chat */

static struct console con;

static void start(const char *const *args)
{
    console_start(&con, &(struct console_options){.rows = 36, .cols = 120, .args = args});
}

/* The chat in front: what stands right of the gutter. */
static void chat_text(char *to, size_t size)
{
    size_t n = 0;
    for (int row = 2; row < 18; row++) {
        const char *line = strstr(vt_row(con.pty.vt, row), GUTTER);
        n += (size_t)snprintf(to + n, size - n, "%s\n", line ? line : "");
    }
}

/* Reads until the chat in front differs from `before`; false when it doesn't within ten seconds. */
static bool chat_moves(const char *before)
{
    static char now[16384];
    double until = pty_now_ms() + 10000;
    do {
        chat_text(now, sizeof now);
        if (strcmp(now, before) != 0)
            return true;
        pty_pump(&con.pty, 20);
    } while (pty_now_ms() < until);
    return false;
}

static uint32_t cell_at(int row, int col)
{
    struct vt_cell cell;
    vt_cell(con.pty.vt, row, col, &cell);
    return cell.chars[0];
}

/* Whether the KV pane's map has a block of each of sessions 1 and 2. Blocks of two that grow together alternate. */
static bool map_shows_both(struct console *c, void *ctx)
{
    (void)c, (void)ctx;
    int rows, cols, top = vt_find(con.pty.vt, " KV ", NULL), left = 0;
    vt_size(con.pty.vt, &rows, &cols);
    while (top >= 0 && left + 2 < cols && !(cell_at(top, left) == 'K' && cell_at(top, left + 1) == 'V'))
        left++;
    bool one = false, two = false;
    for (int row = top + 1; top >= 0 && row < rows - 1; row++) {
        for (int col = left - 1; col < cols && cell_at(row, col) != 0x2502; col++) { /* up to the frame, │ */
            one |= cell_at(row, col) == '1';
            two |= cell_at(row, col) == '2';
        }
    }
    return one && two;
}

static void two_sessions_at_once(void **state)
{
    (void)state;
    static char first[16384], second[16384];
    const char *const args[] = {"--set", "sampling.max_tokens=1500", "--set", "sampling.temperature=0", NULL};
    start(args);
    console_does(&con, "Tell me a long story about a river and the town beside it.\r", "RUNNING");
    console_does(&con, KEY_F2, "SESSIONS 2");
    console_does(&con, "Explain in detail how bread is made, step by step.\r", "batch 2/16");
    /* Both make tokens: each chat grows while it is in front, one right after the other, with two in the batch. */
    chat_text(second, sizeof second);
    assert_true(chat_moves(second));
    double apart = 1e9;
    for (int i = 0; i < 5 && apart >= 1000; i++) { /* again, should the machine have been busy */
        console_key(&con, KEY_ALT("1"));
        console_sees(&con, GUTTER "Tell me a long story");
        pty_settle(&con.pty, 5, 1000); /* all of this frame */
        chat_text(first, sizeof first);
        assert_true(chat_moves(first));
        double from = pty_now_ms();
        console_key(&con, KEY_ALT("2"));
        console_sees(&con, GUTTER "Explain in detail");
        pty_settle(&con.pty, 5, 1000);
        chat_text(second, sizeof second);
        assert_true(chat_moves(second));
        apart = pty_now_ms() - from;
    }
    print_message("tokens of both within %.0f ms\n", apart);
    assert_true(apart < 1000);
    assert_true(console_shows(&con, "batch 2/16"));

    /* The panes: who is in the batch, whose blocks these are. */
    assert_true(console_shows(&con, "BATCH 2/16"));
    console_wait(&con, map_shows_both, NULL, "blocks of both in the KV map");
    console_wait_step(&con, console_step(&con) + 3);

    console_does(&con, KEY_F7, "HIGH");
    console_resize(&con, 24, 80);
    console_sees(&con, "F1 help");
    console_sees(&con, "HIGH");
    console_resize(&con, 60, 200);
    console_sees(&con, "LATENCY");
    /* A fast engine may have come to the end of the reply by itself: there is another to stop, running or next. */
    console_does(&con, "And how is cheese made? Explain each step at length.\r", "cheese");
    console_does(&con, KEY_ESC, "stopped");
    console_key(&con, KEY_F10);
    console_ends(&con);
    assert_int_equal(console_exit_status(&con), 0);
}

/* The chat from the question on, up to the figures under its reply. */
static void reply_text(const char *question, char *to, size_t size)
{
    int rows, cols;
    size_t n = 0;
    vt_size(con.pty.vt, &rows, &cols);
    for (int row = vt_find(con.pty.vt, question, NULL); row >= 0 && row < rows; row++) {
        const char *line = strstr(vt_row(con.pty.vt, row), GUTTER);
        if (line && strstr(line, "TTFT"))
            break;
        n += (size_t)snprintf(to + n, size - n, "%s\n", line ? line : "");
    }
    assert_true(n > 0 && n < size);
}

static bool is_idle(struct console *c, void *ctx)
{
    (void)ctx;
    return !console_shows(c, "1 busy");
}

static void the_model_answers(void **state)
{
    (void)state;
    static char reply[16384];
    const char *const args[] = {"--set", "sampling.max_tokens=48", "--set", "sampling.temperature=0", NULL};
    start(args);
    console_does(&con, "What is the capital of France?\r", "Paris");
    console_wait(&con, is_idle, NULL, "the end of the first reply");
    console_does(&con, "What is the population of that country?\r", GUTTER "What is the population");
    console_wait(&con, is_idle, NULL, "the end of the reply");
    reply_text(GUTTER "What is the population", reply, sizeof reply);
    if (!strstr(reply, "France"))
        fail_msg("it has forgotten what it was asked: %s\n%s", reply, vt_text(con.pty.vt));
}

/* A reply cut off by its limit and gone on with is the one that it would have been in one piece. */
static void a_continued_reply_is_the_same(void **state)
{
    (void)state;
    static char whole[16384], pieces[16384];
    const char *const args[] = {"--set", "sampling.max_tokens=48", "--set", "sampling.temperature=0", NULL};
    start(args);
    console_does(&con, "Explain how bread is made.\r", "· 48 tokens");
    reply_text(GUTTER "Explain how", whole, sizeof whole);
    console_key(&con, "/set max_tokens 13\r");
    console_does(&con, "/regen\r", "· 13 tokens");
    reply_text(GUTTER "Explain how", pieces, sizeof pieces);
    assert_true(strlen(pieces) < strlen(whole));
    console_key(&con, "/set max_tokens 35\r");
    console_does(&con, "/continue\r", "· 35 tokens");
    reply_text(GUTTER "Explain how", pieces, sizeof pieces);
    assert_string_equal(pieces, whole);
}

/* Four chats keep every core busy with the model. */
static void pain_11_keys_show_while_the_model_computes(void **state)
{
    (void)state;
    enum { CHATS = 4 };
    const char *const args[] = {"--set", "sampling.max_tokens=2000", NULL};
    struct console_key_times times;
    start(args);
    for (int i = 1; i <= CHATS; i++) {
        char message[64], batch[32];
        snprintf(message, sizeof message, "Tell me a story with %d people in it.\r", i);
        snprintf(batch, sizeof batch, "batch %d/16", i);
        console_does(&con, message, batch);
        if (i < CHATS)
            console_does(&con, KEY_F2, "new NORMAL");
    }
    console_time_keys(&con, &times);
    assert_true(console_shows(&con, "batch 4/16"));
    assert_true(times.own_p99 <= 10);
}

static void a_model_that_fails_is_said_on_the_screen(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "/tmp/weft-bad-%d.gguf", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("GGUF, but not really", f);
    fclose(f);
    const char *const args[] = {"-m", path, NULL};
    console_launch(&con, &(struct console_options){.rows = 30, .cols = 110, .args = args});
    console_sees(&con, "FAILED");
    console_sees(&con, "FILE_INVALID");
    console_type(&con, "what I was typing"); /* stays */
    console_does(&con, KEY_ENTER, "MODEL");
    console_key(&con, KEY_F10);
    console_ends(&con);
    remove(path);
}

#define TEST(name) CONSOLE_TEST(name, &con)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_sessions_at_once),
        TEST(the_model_answers),
        TEST(a_continued_reply_is_the_same),
        TEST(pain_11_keys_show_while_the_model_computes),
        TEST(a_model_that_fails_is_said_on_the_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
