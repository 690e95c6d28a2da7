/* Sessions on disk, with the real file system: what is saved, when, how, and by whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/store.h"
#include "tests/support/store_rig.h"

static const struct store_settings defaults = {
    .title = "session 1", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 512};
static const struct store_footer footer = {"stop", 82.5, 41.25, 3, 318, 96, 2};

static char top[64], dir[96];
static struct weft_err err;

static int setup(void **state)
{
    (void)state;
    store_rig_make(top);
    snprintf(dir, sizeof dir, "%s/state/weft/sessions", top);
    memset(&err, 0, sizeof err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_rig_remove(top);
    return 0;
}

static struct store *open_store(bool threaded)
{
    struct store *st = NULL;
    const struct store_options options = {.dir = dir, .no_thread = !threaded, .retry_ms = 20};
    assert_int_equal(store_open(&options, &st, &err), WEFT_OK);
    return st;
}

static void ask_and_answer(struct store_session *s, const char *question, const char *answer)
{
    assert_true(store_user(s, question, strlen(question)));
    assert_true(store_reply(s, answer, strlen(answer) / 2));
    assert_true(store_reply(s, answer + strlen(answer) / 2, strlen(answer) - strlen(answer) / 2));
    store_reply_end(s, &footer);
}

static void assert_text(const struct store_chat *c, size_t i, const char *text)
{
    assert_true(i < c->n_messages);
    assert_string_equal(buf_str(&c->messages[i].text), text);
}

static size_t count_sessions(struct store *st)
{
    struct store_entry *entries;
    size_t n;
    assert_int_equal(store_list(st, &entries, &n, &err), WEFT_OK);
    mem_free(entries);
    return n;
}

/* Opens the only session there is. */
static struct store_session *reopen(struct store *st, struct store_report *report)
{
    struct store_entry *entries;
    struct store_session *s;
    size_t n;
    assert_int_equal(store_list(st, &entries, &n, &err), WEFT_OK);
    assert_int_equal(n, 1);
    if (store_session_open(st, entries[0].id, &defaults, false, &s, report, &err) != WEFT_OK)
        fail_msg("%s", err.message);
    assert_non_null(s);
    mem_free(entries);
    return s;
}

static void a_session_comes_back(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++) {
        struct store *st = open_store(threaded);
        struct store_settings settings = defaults;
        struct store_session *s = store_session_create(st, &settings, NULL);
        ask_and_answer(s, "Plan three days.", "Day 1: the river.");
        settings.title = "planner";
        settings.prio = PRIO_HIGH;
        settings.sampling.temperature = 0;
        assert_true(store_set(s, &settings));
        assert_true(store_input(s, "/prio high", 10));
        assert_true(store_user(s, "And then?", 9));
        assert_true(store_reply(s, "Day 2", 5)); /* never ends */
        assert_true(store_draft(s, "typing", 6));
        assert_true(store_close(st, 5000));

        st = open_store(threaded);
        struct store_report report;
        s = reopen(st, &report);
        const struct store_chat *c = store_session_chat(s);
        assert_int_equal(report.damaged, 0);
        assert_string_equal(c->settings.title, "planner");
        assert_int_equal(c->settings.prio, PRIO_HIGH);
        assert_true(c->settings.sampling.temperature == 0);
        assert_int_equal(c->n_messages, 4);
        assert_text(c, 0, "Plan three days.");
        assert_text(c, 1, "Day 1: the river.");
        assert_text(c, 2, "And then?");
        assert_text(c, 3, "Day 2");
        assert_string_equal(c->messages[1].footer.reason, "stop");
        assert_true(c->messages[1].footer.ttft_ms == 82.5);
        assert_string_equal(c->messages[3].footer.reason, "");
        assert_string_equal(c->draft, "typing");
        assert_int_equal(c->n_inputs, 1);
        assert_string_equal(c->inputs[0], "/prio high");
        /* It goes on, and the second time too nothing is lost. */
        assert_true(store_draft(s, "", 0));
        ask_and_answer(s, "More.", "Day 3");
        assert_true(store_close(st, 5000));
        st = open_store(threaded);
        s = reopen(st, &report);
        c = store_session_chat(s);
        assert_int_equal(c->n_messages, 6);
        assert_text(c, 5, "Day 3");
        assert_null(c->draft);
        store_session_delete(s);
        assert_true(store_close(st, 5000));
        assert_int_equal(store_rig_count(dir, "", NULL), 2); /* . and .. */
    }
}

static void only_the_user_may_look(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct stat s;
    struct buf path = BUF_INIT;
    umask(0);
    ask_and_answer(store_session_create(st, &defaults, NULL), "q", "a");
    assert_int_equal(stat(dir, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
    assert_int_equal(store_rig_count(dir, ".jsonl", &path), 1);
    assert_int_equal(stat(buf_str(&path), &s), 0);
    assert_int_equal(s.st_mode & 07777, 0600);
    assert_true(store_close(st, 5000));
    /* What somebody opened up is closed again. */
    assert_int_equal(chmod(buf_str(&path), 0644) | chmod(dir, 0755), 0);
    st = open_store(false);
    reopen(st, NULL);
    assert_int_equal(stat(buf_str(&path), &s), 0);
    assert_int_equal(s.st_mode & 07777, 0600);
    assert_int_equal(stat(dir, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
    assert_true(store_close(st, 5000));
    buf_free(&path);
    umask(022);
}

static void what_waits_comes_back_as_it_was_last(void **state)
{
    (void)state;
    static const char *const all[] = {"one", "two", "three"};
    struct store *st = open_store(false);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    assert_true(store_waiting(s, all, 0));
    assert_int_equal(count_sessions(st), 0); /* nothing waits: nothing to keep */
    assert_true(store_waiting(s, all, 3));
    assert_int_equal(count_sessions(st), 1); /* of a paused session, perhaps, in which nothing was said yet */
    assert_true(store_waiting(s, all + 1, 2)); /* the first was sent */
    store_session_close(s);
    s = reopen(st, NULL);
    const struct store_chat *c = store_session_chat(s);
    assert_int_equal(c->n_waiting, 2);
    assert_string_equal(buf_str(&c->waiting[0]), "two");
    assert_string_equal(buf_str(&c->waiting[1]), "three");
    assert_true(store_waiting(s, all + 1, 1)); /* the last was taken back */
    store_keep(s, 0);
    store_session_close(s);
    s = reopen(st, NULL);
    assert_int_equal(store_session_chat(s)->n_waiting, 1);
    assert_true(store_waiting(s, NULL, 0));
    store_session_close(s);
    s = reopen(st, NULL);
    assert_int_equal(store_session_chat(s)->n_waiting, 0);
    assert_true(store_close(st, 5000));
}

static void a_session_without_content_leaves_no_file(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct store_settings settings = defaults;
    struct store_session *s = store_session_create(st, &settings, NULL);
    settings.prio = PRIO_LOW;
    assert_true(store_set(s, &settings));
    assert_true(store_input(s, "/help", 5));
    assert_true(store_draft(s, "", 0));
    store_keep(s, 0);
    assert_int_equal(count_sessions(st), 0);
    assert_true(store_user(s, "now", 3));
    assert_int_equal(count_sessions(st), 1);
    store_session_close(s);
    s = reopen(st, NULL);
    assert_int_equal(store_session_chat(s)->settings.prio, PRIO_LOW);
    assert_int_equal(store_session_chat(s)->n_inputs, 1);
    assert_true(store_close(st, 5000));
}

static void pieces_are_written_within_the_interval(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    struct store_chat seen;
    const char *id = store_session_chat(s)->id;
    assert_true(store_user(s, "q", 1));
    int64_t wait = store_tick(st, clock_now_us());
    assert_int_equal(wait, -1); /* nothing to come back for */
    assert_true(store_reply(s, "one ", 4));
    int64_t now = clock_now_us();
    wait = store_tick(st, now);
    assert_in_range(wait, 1, STORE_FLUSH_MS * 1000);
    assert_int_equal(store_peek(st, id, &defaults, &seen, NULL, &err), WEFT_OK);
    assert_int_equal(seen.n_messages, 1);
    store_chat_deinit(&seen);
    assert_int_equal(store_tick(st, now + wait), -1);
    assert_true(store_reply(s, "two ", 4));
    assert_int_equal(store_peek(st, id, &defaults, &seen, NULL, &err), WEFT_OK);
    assert_text(&seen, 1, "one ");
    store_chat_deinit(&seen);
    store_tick(st, now + 10 * 1000000);
    assert_int_equal(store_peek(st, id, &defaults, &seen, NULL, &err), WEFT_OK);
    assert_text(&seen, 1, "one two ");
    store_chat_deinit(&seen);
    assert_true(store_close(st, 5000));
}

/* What a process that is killed without warning leaves: all but the last second. */
static void kill_9_costs_less_than_a_second(void **state)
{
    (void)state;
    enum { TOKEN_US = 5000, RUN_US = 1500 * 1000 };
    struct shared {
        volatile int64_t made_us[1000];
        volatile unsigned n;
    } *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct store *st = open_store(true);
        struct store_session *s = store_session_create(st, &defaults, NULL);
        store_user(s, "count", 5);
        for (unsigned i = 0; i < 1000; i++) {
            store_reply(s, "x", 1);
            shared->made_us[i] = clock_now_us();
            shared->n = i + 1;
            store_tick(st, clock_now_us());
            usleep(TOKEN_US);
        }
        _exit(0);
    }
    usleep(RUN_US);
    int64_t killed_us = clock_now_us();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    unsigned due = 0;
    while (due < shared->n && shared->made_us[due] < killed_us - 1000000)
        due++;
    assert_true(due > 10);
    struct store *st = open_store(true);
    struct store_session *s = reopen(st, NULL);
    const struct store_chat *c = store_session_chat(s);
    assert_int_equal(c->n_messages, 2);
    print_message("%u made, %u of them a second ago, %zu saved\n", shared->n, due, c->messages[1].text.len);
    assert_true(c->messages[1].text.len >= due);
    assert_true(store_close(st, 5000));
    munmap(shared, sizeof *shared);
}

static void a_torn_file_is_gone_on_with(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    struct buf path = BUF_INIT, whole = BUF_INIT;
    ask_and_answer(s, "first", "second");
    assert_true(store_close(st, 5000));
    assert_int_equal(store_rig_count(dir, ".jsonl", &path), 1);
    assert_true(store_rig_read(buf_str(&path), &whole));
    const char *end_record = strstr(whole.data, "{\"type\":\"end\"");
    for (size_t cut = (size_t)(end_record - whole.data) + 1; cut <= whole.len; cut++) {
        struct store_report report;
        store_rig_write(buf_str(&path), whole.data, cut);
        st = open_store(false);
        s = reopen(st, &report);
        assert_int_equal(report.torn, cut < whole.len - 1);
        assert_true(store_user(s, "third", 5));
        assert_true(store_close(st, 5000));
        st = open_store(false);
        s = reopen(st, &report);
        assert_int_equal(report.damaged, 0);
        assert_false(report.torn);
        assert_int_equal(store_session_chat(s)->n_messages, 3);
        assert_text(store_session_chat(s), 1, "second");
        assert_text(store_session_chat(s), 2, "third");
        assert_true(store_close(st, 5000));
    }
    buf_free(&path);
    buf_free(&whole);
}

static void a_session_in_use_elsewhere_is_left_alone(void **state)
{
    (void)state;
    struct store *mine = open_store(true), *theirs = open_store(true);
    struct store_session *s = store_session_create(mine, &defaults, NULL), *other;
    char id[STORE_ID_MAX];
    ask_and_answer(s, "question", "answer");
    snprintf(id, sizeof id, "%s", store_session_chat(s)->id);
    assert_true(store_drain(mine, 5000));
    assert_int_equal(store_session_open(theirs, id, &defaults, false, &other, NULL, &err), WEFT_OK);
    assert_null(other);
    assert_int_equal(store_session_open(theirs, id, &defaults, true, &other, NULL, &err), WEFT_OK);
    assert_non_null(other);
    assert_string_not_equal(store_session_chat(other)->id, id);
    assert_int_equal(count_sessions(mine), 1); /* a copy that was only looked at leaves no file */
    ask_and_answer(other, "copied question", "copied answer");
    ask_and_answer(s, "next question", "next answer");
    store_keep(s, 0); /* replaces the file: the lock must be on the new one at once */
    ask_and_answer(s, "after clear", "empty");
    assert_true(store_drain(mine, 5000) && store_drain(theirs, 5000));
    struct store_session *third;
    assert_int_equal(store_session_open(theirs, id, &defaults, false, &third, NULL, &err), WEFT_OK);
    assert_null(third);
    struct store_chat c;
    assert_int_equal(store_peek(theirs, id, &defaults, &c, NULL, &err), WEFT_OK);
    assert_int_equal(c.n_messages, 2);
    assert_text(&c, 0, "after clear");
    store_chat_deinit(&c);
    assert_int_equal(store_peek(mine, store_session_chat(other)->id, &defaults, &c, NULL, &err), WEFT_OK);
    assert_int_equal(c.n_messages, 4);
    assert_text(&c, 1, "answer");
    assert_text(&c, 3, "copied answer");
    store_chat_deinit(&c);
    assert_true(store_close(mine, 5000)); /* now it is free */
    assert_int_equal(store_session_open(theirs, id, &defaults, false, &third, NULL, &err), WEFT_OK);
    assert_non_null(third);
    assert_true(store_close(theirs, 5000));
}

/* Two consoles, as processes, at once on one directory: each has its sessions, and all of them are whole. */
static void two_consoles_at_once(void **state)
{
    (void)state;
    enum { CONSOLES = 2, SESSIONS = 8, ROUNDS = 10 };
    pid_t child[CONSOLES];
    for (int k = 0; k < CONSOLES; k++)
        if ((child[k] = fork()) == 0) {
            struct store *st = open_store(true);
            struct store_session *s[SESSIONS];
            char text[64];
            for (int i = 0; i < SESSIONS; i++)
                s[i] = store_session_create(st, &defaults, NULL);
            for (int round = 0; round < ROUNDS; round++)
                for (int i = 0; i < SESSIONS; i++) {
                    snprintf(text, sizeof text, "console %d session %d round %d", k, i, round);
                    ask_and_answer(s[i], text, text);
                    if (round == ROUNDS / 2)
                        store_keep(s[i], 0);
                }
            _exit(store_close(st, 20000) ? 0 : 1);
        }
    for (int k = 0; k < CONSOLES; k++) {
        int status;
        waitpid(child[k], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct store *st = open_store(false);
    struct store_entry *entries;
    size_t n;
    assert_int_equal(store_list(st, &entries, &n, &err), WEFT_OK);
    assert_int_equal(n, CONSOLES * SESSIONS);
    for (size_t i = 0; i < n; i++) {
        struct store_chat c;
        struct store_report report;
        assert_int_equal(store_peek(st, entries[i].id, &defaults, &c, &report, &err), WEFT_OK);
        assert_int_equal(report.damaged, 0);
        assert_false(report.torn);
        assert_int_equal(c.n_messages, 2 * (ROUNDS - ROUNDS / 2 - 1));
        assert_memory_equal(buf_str(&c.messages[0].text), buf_str(&c.messages[2].text), 19);
        store_chat_deinit(&c);
    }
    mem_free(entries);
    assert_true(store_close(st, 5000));
}

static void what_is_cleared_is_gone_from_the_disk(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    struct buf path = BUF_INIT, text = BUF_INIT;
    ask_and_answer(s, "my secret", "I keep it");
    ask_and_answer(s, "and another", "that one too");
    store_keep(s, 2); /* an edit: the file only grows */
    assert_int_equal(store_rig_count(dir, ".jsonl", &path), 1);
    assert_true(store_rig_read(buf_str(&path), &text));
    assert_non_null(strstr(text.data, "another"));
    store_keep(s, 0);
    buf_clear(&text);
    assert_true(store_rig_read(buf_str(&path), &text));
    assert_null(strstr(text.data, "secret"));
    assert_null(strstr(text.data, "another"));
    ask_and_answer(s, "new", "again");
    store_session_close(s);
    s = reopen(st, NULL);
    assert_int_equal(store_session_chat(s)->n_messages, 2);
    assert_true(store_close(st, 5000));
    buf_free(&path);
    buf_free(&text);
}

static void foreign_files_are_refused(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    char from[160], to[160];
    static const char newer[] = "{\"type\":\"session\",\"schema\":9,\"id\":\"a\",\"created_ms\":1}\n";
    ask_and_answer(s, "q", "a");
    snprintf(from, sizeof from, "%s/outside", top);
    store_rig_write(from, "{\"type\":\"draft\",\"text\":\"x\"}\n", 28);
    snprintf(to, sizeof to, "%s/link.jsonl", dir);
    assert_int_equal(symlink(from, to), 0);
    assert_int_not_equal(store_session_open(st, "link", &defaults, false, &s, NULL, &err), WEFT_OK);
    snprintf(to, sizeof to, "%s/fifo.jsonl", dir);
    assert_int_equal(mkfifo(to, 0600), 0);
    assert_int_equal(store_session_open(st, "fifo", &defaults, false, &s, NULL, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "must be a regular file"));
    snprintf(to, sizeof to, "%s/newer.jsonl", dir);
    store_rig_write(to, newer, sizeof newer - 1);
    assert_int_equal(store_session_open(st, "newer", &defaults, true, &s, NULL, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "newer.jsonl: written by a newer weft"));
    snprintf(to, sizeof to, "%s/noise.jsonl", dir);
    store_rig_write(to, "\0\1\2\3", 4);
    assert_int_equal(store_session_open(st, "noise", &defaults, true, &s, NULL, &err), WEFT_FILE_INVALID);
    static const char *const ids[] = {"../outside",
                                      "",
                                      ".",
                                      "a/b",
                                      "-rf",
                                      "a.b",
                                      "0123456789012345678901234567890123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        assert_int_equal(store_session_open(st, ids[i], &defaults, true, &s, NULL, &err), WEFT_FILE_INVALID);
    assert_int_not_equal(store_session_open(st, "absent", &defaults, true, &s, NULL, &err), WEFT_OK);
    assert_true(store_close(st, 5000));
    struct buf text = BUF_INIT;
    snprintf(to, sizeof to, "%s/newer.jsonl", dir);
    assert_true(store_rig_read(to, &text));
    assert_string_equal(text.data, newer);
    buf_free(&text);
}

static void another_users_directory_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("only root can give a directory away\n");
        return;
    }
    struct store *st = open_store(false);
    struct store_entry *entries;
    size_t n;
    store_rig_remove(dir);
    char parents[96];
    snprintf(parents, sizeof parents, "%s/state", top);
    mkdir(parents, 0700);
    snprintf(parents, sizeof parents, "%s/state/weft", top);
    mkdir(parents, 0700);
    store_close(st, 1000);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_int_equal(chown(dir, 12345, 12345), 0);
    st = open_store(false);
    assert_int_equal(store_list(st, &entries, &n, &err), WEFT_FILE_INVALID);
    assert_non_null(strstr(err.message, "owner is 12345"));
    ask_and_answer(store_session_create(st, &defaults, NULL), "q", "a");
    assert_int_equal(store_rig_count(dir, ".jsonl", NULL), 0);
    assert_false(store_close(st, 1000));
}

static void what_a_killed_weft_left_is_swept(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    char path[160];
    ask_and_answer(store_session_create(st, &defaults, NULL), "q", "a");
    assert_true(store_close(st, 5000));
    snprintf(path, sizeof path, "%s/20260131-120000-abc.jsonl.tmp", dir);
    store_rig_write(path, "half", 4);
    st = open_store(false);
    assert_int_equal(store_rig_count(dir, ".tmp", NULL), 0);
    assert_int_equal(count_sessions(st), 1);
    assert_true(store_close(st, 5000));
}

static void newest_first_and_only_sessions(void **state)
{
    (void)state;
    struct store *st = open_store(false);
    char path[160];
    struct store_entry *entries;
    size_t n;
    mkdir(dir, 0700);
    for (int i = 0; i < 5; i++) {
        const struct timespec times[2] = {{1000 + i * 10 % 30, 0}, {1000 + i * 10 % 30, 0}};
        snprintf(path, sizeof path, "%s/s%d.jsonl", dir, i);
        ask_and_answer(store_session_create(st, &defaults, NULL), "q", "a");
        store_rig_write(path, "x\n", 2);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    snprintf(path, sizeof path, "%s/empty.jsonl", dir);
    store_rig_write(path, "", 0);
    snprintf(path, sizeof path, "%s/notes.txt", dir);
    store_rig_write(path, "x", 1);
    snprintf(path, sizeof path, "%s/dir.jsonl", dir);
    mkdir(path, 0700);
    assert_int_equal(store_list(st, &entries, &n, &err), WEFT_OK);
    assert_int_equal(n, 10);
    for (size_t i = 1; i < n; i++)
        assert_true(entries[i - 1].changed_ms >= entries[i].changed_ms);
    mem_free(entries);
    assert_true(store_close(st, 5000));
}

static void the_writer_thread_keeps_order_under_load(void **state)
{
    (void)state;
    enum { SESSIONS = 6, ROUNDS = 30 };
    struct store *st = open_store(true);
    struct store_session *s[SESSIONS];
    char ids[SESSIONS][STORE_ID_MAX];
    for (int i = 0; i < SESSIONS; i++) {
        s[i] = store_session_create(st, &defaults, NULL);
        snprintf(ids[i], sizeof ids[i], "%s", store_session_chat(s[i])->id);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SESSIONS; i++) {
            char text[32];
            snprintf(text, sizeof text, "%d.%d", i, round);
            ask_and_answer(s[i], text, text);
            store_tick(st, clock_now_us() + 10000000);
            if (round == 10 && i == 0) {
                assert_true(store_drain(st, 10000));
                store_session_delete(s[0]);
                s[0] = store_session_create(st, &defaults, NULL);
            }
        }
    struct store_news news;
    assert_false(store_news(st, &news));
    assert_true(store_close(st, 20000));
    st = open_store(false);
    for (int i = 1; i < SESSIONS; i++) {
        struct store_chat c;
        char text[32];
        assert_int_equal(store_peek(st, ids[i], &defaults, &c, NULL, &err), WEFT_OK);
        assert_int_equal(c.n_messages, 2 * ROUNDS);
        snprintf(text, sizeof text, "%d.%d", i, ROUNDS - 1);
        assert_text(&c, 2 * ROUNDS - 1, text);
        store_chat_deinit(&c);
    }
    struct store_chat c;
    assert_int_not_equal(store_peek(st, ids[0], &defaults, &c, NULL, &err), WEFT_OK);
    assert_true(store_close(st, 5000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_session_comes_back),
        TEST(only_the_user_may_look),
        TEST(a_session_without_content_leaves_no_file),
        TEST(what_waits_comes_back_as_it_was_last),
        TEST(pieces_are_written_within_the_interval),
        TEST(kill_9_costs_less_than_a_second),
        TEST(a_torn_file_is_gone_on_with),
        TEST(a_session_in_use_elsewhere_is_left_alone),
        TEST(two_consoles_at_once),
        TEST(what_is_cleared_is_gone_from_the_disk),
        TEST(foreign_files_are_refused),
        TEST(another_users_directory_is_refused),
        TEST(what_a_killed_weft_left_is_swept),
        TEST(newest_first_and_only_sessions),
        TEST(the_writer_thread_keeps_order_under_load),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
