/* labels: unit pty */
/* weft demo, /demo and /record: a workload plays with its captions, and what happened becomes one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/support/console.h"
#include "tests/support/proc.h"

static struct console_file own;

/* What a demonstration is to show, quick enough for a test: a token each 20 ms. */
static const char workload[] =
    "name: small\n"
    "set: {sim.decode_us: 20000, scheduler.max_batch_size: 2}\n"
    "captions:\n"
    "  - {at_ms: 0, show: first, text: \"Look at the first one.\"}\n"
    "  - {at_ms: 1500, show: second, text: \"And at the second.\"}\n"
    "  - {at_ms: 4000, text: \"\"}\n"
    "requests:\n"
    "  - {id: first, at_ms: 100, text: \"What is that?\", max_tokens: 4000}\n"
    "  - id: second\n"
    "    at_ms: 300\n"
    "    max_tokens: 4000\n"
    "    messages: [{role: system, content: \"Be brief.\"}, {role: user, content: \"Old question\"},\n"
    "               {role: assistant, content: \"Old answer\"}, {role: user, content: \"New question\"}]\n"
    "  - {id: gone, at_ms: 500, prompt_tokens: 40, max_tokens: 4000, priority: high, cancel_at_ms: 2500,\n"
    "     set_priority: {at_ms: 2000, to: critical}}\n";

static void start(const char *const *args)
{
    console_start(&own.con, &(struct console_options){.args = args, .rows = 36, .cols = 120});
}

static void play(const char *text)
{
    const char *const args[] = {"demo", own.file, "--sim", NULL};
    FILE *f = fopen(own.file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    start(args);
}

static void live(void)
{
    static const char *const args[] = {"--sim", "--fresh",          "--set", "sim.decode_us=20000",
                                       "--set", "sampling.top_k=7", NULL};
    start(args);
}

static bool has_no_caption(struct console *c, void *ctx)
{
    (void)ctx;
    return !console_shows(c, "And at the second.");
}

static void captions_and_chats_follow_the_workload(void **state)
{
    (void)state;
    play(workload);
    console_sees(&own.con, "Look at the first one.");
    console_sees(&own.con, "▸ 2 first");
    console_sees(&own.con, "▏What is that?");
    console_sees(&own.con, "And at the second.");
    assert_false(console_shows(&own.con, "Look at the first one."));
    console_sees(&own.con, "▸ 3 second");
    console_sees(&own.con, "▏Old question");
    console_sees(&own.con, "▏Old answer");
    console_sees(&own.con, "▏New question");
    console_sees(&own.con, "system prompt: Be brief.");
    console_sees(&own.con, "batch 2/2"); /* the workload's own setting */
    console_does(&own.con, KEY_ALT("4"), "a prompt of 40 pseudo-random tokens");
    console_sees(&own.con, "stopped");
    console_sees(&own.con, "gone CRITICAL");
    console_wait(&own.con, has_no_caption, NULL, "the end of the captions");
    console_key(&own.con, KEY_F10);
    console_ends(&own.con);
    char kept[128]; /* nothing */
    snprintf(kept, sizeof kept, "%s/weft/sessions", own.con.dir);
    struct stat st;
    assert_int_not_equal(stat(kept, &st), 0);
}

static void a_frozen_engine_keeps_the_workload_waiting(void **state)
{
    (void)state;
    play("captions: [{at_ms: 0, text: before}, {at_ms: 4000, text: after}]\n"
         "requests: [{id: a, text: hello, max_tokens: 4000}]\n");
    console_sees(&own.con, "before");
    console_does(&own.con, KEY_F4, "FROZEN");
    pty_read_for(&own.con.pty, 4500);
    assert_true(console_shows(&own.con, "before"));
    assert_false(console_shows(&own.con, "after"));
    console_does(&own.con, KEY_F4, "after");
}

/* Sixteen at most are in the list; those behind them run all the same, and one that is over makes room. */
static void many_requests_share_the_list(void **state)
{
    (void)state;
    play("set: {scheduler.max_batch_size: 32}\n"
         "requests:\n"
         "  - {id: long, repeat: 20, text: hello, max_tokens: 4000, cancel_at_ms: 3000}\n"
         "  - {id: late, at_ms: 6000, text: hello, max_tokens: 4000}\n");
    console_sees(&own.con, "SESSIONS 17, 16 busy");
    console_sees(&own.con, "batch 20/32");
    console_sees(&own.con, "SESSIONS 17, 1 busy");
    console_sees(&own.con, "late");
    assert_false(console_shows(&own.con, "long.0"));
    assert_true(console_shows(&own.con, "long.1"));
}

static void demo_plays_in_a_running_console(void **state)
{
    (void)state;
    live();
    console_does(&own.con, "/demo nonsense\r", "/demo nonsense: there is no such workload");
    console_does(&own.con, "/demo\r", "two minutes of everything");
    console_undoes(&own.con, "tour", "a low request passes");
    console_does(&own.con, KEY_ENTER, "One chat, alone");
    console_sees(&own.con, "2 alone");
    console_sees(&own.con, "a weaver");
    console_does(&own.con, "/demo aging\r", "One seat."); /* in its place */
    assert_false(console_shows(&own.con, "One chat, alone"));
    console_does(&own.con, KEY_ALT("2"), "▏stopped");
}

/* Runs the file through weft replay: what it says of it. */
static json_t *replayed(void)
{
    const char *const argv[] = {CONSOLE_PROGRAM, "replay", own.file, "--sim", "--json", NULL};
    const struct proc_options options = {.in = NULL};
    struct proc_result r;
    proc_run(argv, &options, &r);
    if (r.status != 0)
        fail_msg("replay: %d: %s", r.status, r.err);
    json_t *result = json_loads(r.out, 0, NULL);
    assert_non_null(result);
    proc_free(&r);
    return result;
}

static char *contents(void)
{
    static char text[16384];
    FILE *f = fopen(own.file, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static void record(void)
{
    char command[128];
    snprintf(command, sizeof command, "/record %s\r", own.file);
    console_does(&own.con, command, "recording; /record again");
}

static const char *word(json_t *result, size_t i, const char *key)
{
    json_t *request = json_array_get(json_object_get(result, "requests"), i);
    assert_non_null(request);
    return json_string_value(json_object_get(request, key));
}

static void what_happened_becomes_a_workload(void **state)
{
    (void)state;
    struct stat st;
    live();
    console_does(&own.con, "not recorded\r", "RUNNING");
    record();
    console_does(&own.con, KEY_F2, "SESSIONS 2");
    console_does(&own.con, "say \"hi\" \\ {to: me}\r", "RUNNING");
    console_does(&own.con, "/prio high\r", "HIGH · RUNNING");
    console_does(&own.con, KEY_ESC, "stopped");
    console_does(&own.con, "and again\r", "HIGH · RUNNING");
    console_does(&own.con, "/record\r", "2 requests recorded");
    assert_int_equal(stat(own.file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    const char *text = contents();
    assert_non_null(strstr(text, "set: {"));
    assert_non_null(strstr(text, "sampling.top_k: 7"));
    assert_null(strstr(text, "sim."));
    assert_null(strstr(text, "not recorded"));
    assert_non_null(strstr(text, "content: \"say \\\"hi\\\" \\\\ {to: me}\"}]"));
    assert_non_null(strstr(text, "{role: assistant, content: ")); /* the second has all that was said */
    json_t *result = replayed();
    assert_int_equal(json_array_size(json_object_get(result, "requests")), 2);
    assert_string_equal(json_string_value(json_object_get(result, "name")), "w");
    assert_string_equal(word(result, 0, "priority"), "high"); /* set while it ran */
    assert_string_equal(word(result, 0, "state"), "cancelled");
    assert_string_equal(word(result, 1, "state"), "completed");
    assert_memory_equal(word(result, 0, "id"), "s2-", 3);
    json_decref(result);
}

static void a_file_that_is_there_stays(void **state)
{
    (void)state;
    char command[160];
    FILE *f = fopen(own.file, "w");
    assert_non_null(f);
    fputs("mine", f);
    fclose(f);
    live();
    snprintf(command, sizeof command, "/record %s\r", own.file);
    console_does(&own.con, command, "is there already");
    snprintf(command, sizeof command, "/record %s/missing/w.yaml\r", own.dir);
    console_does(&own.con, command, "recording; /record again");
    console_does(&own.con, "hello\r", "RUNNING");
    console_does(&own.con, "/record\r", "No such file or directory");
    assert_string_equal(contents(), "mine");
    unlink(own.file);
    snprintf(command, sizeof command, "/record %s\r", own.file); /* nothing is lost */
    console_does(&own.con, command, "1 request recorded");
    json_decref(replayed());
}

static void a_reply_gone_on_with_is_recorded(void **state)
{
    (void)state;
    live();
    record();
    console_does(&own.con, "tell me more\r", "weft ▏");
    console_does(&own.con, "/pause\r", "stopped");
    console_does(&own.con, "/resume\r", "RUNNING");
    console_loses(&own.con, "stopped");
    console_does(&own.con, "/record\r", "2 requests recorded");
    const char *question = strstr(contents(), "content: \"tell me more\"}");
    assert_non_null(question);
    assert_non_null(strstr(question + 1, "content: \"tell me more\"}, {role: assistant, content: "));
    json_t *result = replayed();
    assert_string_equal(word(result, 0, "state"), "cancelled");
    assert_int_equal(json_array_size(json_object_get(result, "requests")), 2);
    json_decref(result);
}

static void quitting_writes_what_was_recorded(void **state)
{
    (void)state;
    live();
    record();
    console_does(&own.con, "hello\r", "RUNNING");
    console_key(&own.con, KEY_F10);
    console_ends(&own.con);
    json_t *result = replayed();
    assert_int_equal(json_array_size(json_object_get(result, "requests")), 1);
    json_decref(result);
}

static void nothing_asked_leaves_no_file(void **state)
{
    (void)state;
    live();
    record();
    console_does(&own.con, "/record\r", "nothing was asked");
    assert_int_not_equal(access(own.file, F_OK), 0);
}

int main(void)
{
#define TEST(f) CONSOLE_FILE_TEST(f, &own)
    static const struct CMUnitTest tests[] = {
        TEST(captions_and_chats_follow_the_workload), TEST(a_frozen_engine_keeps_the_workload_waiting),
        TEST(many_requests_share_the_list),           TEST(demo_plays_in_a_running_console),
        TEST(what_happened_becomes_a_workload),       TEST(a_file_that_is_there_stays),
        TEST(a_reply_gone_on_with_is_recorded),       TEST(quitting_writes_what_was_recorded),
        TEST(nothing_asked_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
