/* Disks that fail: the Nth open, read, write, truncate, fsync, rename, unlink or allocation, once or from then on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "src/store.h"
#include "tests/support/store_rig.h"
#include "tests/support/store_rig_io.h"

static const struct store_settings defaults = {
    .title = "session 1", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 512};
static const struct store_footer footer = {"stop", 82.5, 41.25, 3, 318, 96, 2};

static char top[64], dir[96], bystander_id[STORE_ID_MAX], old_id[STORE_ID_MAX];
static struct weft_err err;
static struct store_rig_io rig;
static struct buf bystander = BUF_INIT;

static struct store *open_store(const struct store_io *io, bool threaded, int64_t retry_ms)
{
    struct store *st = NULL;
    const struct store_options options = {.dir = dir, .io = io, .no_thread = !threaded, .retry_ms = retry_ms};
    if (store_open(&options, &st, &err) != WEFT_OK)
        return NULL;
    return st;
}

/* False when out of memory, and then nothing has changed. */
static bool answer(struct store *st, struct store_session *s, const char *question, const char *text)
{
    if (!store_user(s, question, strlen(question)) || !store_reply(s, text, strlen(text)))
        return false;
    store_tick(st, clock_now_us() + 10000000);
    if (!store_reply(s, ".", 1))
        return false;
    store_reply_end(s, &footer);
    return true;
}

static void path_of(const char *id, char out[256])
{
    snprintf(out, 256, "%s/%s.jsonl", dir, id);
}

/* A directory with two sessions: one that is left alone, one that is worked on. */
static int setup(void **state)
{
    (void)state;
    char path[256];
    store_rig_make(top);
    snprintf(dir, sizeof dir, "%s/sessions", top);
    store_rig_io_init(&rig);
    struct store *st = open_store(NULL, false, 1000);
    char *const ids[] = {bystander_id, old_id};
    for (int i = 0; i < 2; i++) {
        struct store_session *s = store_session_create(st, &defaults, NULL);
        snprintf(ids[i], STORE_ID_MAX, "%s", store_session_chat(s)->id);
        answer(st, s, "old question", "old answer");
    }
    store_close(st, 5000);
    path_of(bystander_id, path);
    buf_clear(&bystander);
    return store_rig_read(path, &bystander) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    mem_fail_at(0);
    buf_free(&bystander);
    store_rig_remove(top);
    return 0;
}

/* The session nobody worked on is the same, byte for byte; the other one reads as it was or further. */
static void assert_old_files_intact(size_t at_least)
{
    char path[256];
    struct buf now = BUF_INIT;
    struct store_chat c;
    struct store_report report;
    path_of(bystander_id, path);
    assert_true(store_rig_read(path, &now));
    assert_int_equal(now.len, bystander.len);
    assert_memory_equal(now.data, bystander.data, now.len);
    buf_free(&now);
    struct store *st = open_store(NULL, false, 1000);
    if (store_peek(st, old_id, &defaults, &c, &report, &err) != WEFT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(report.damaged, 0);
    assert_true(c.n_messages >= at_least);
    if (c.n_messages) {
        const char *first = buf_str(&c.messages[0].text);
        assert_true(strcmp(first, "old question") == 0 || strcmp(first, "after clear") == 0);
    }
    store_chat_deinit(&c);
    assert_true(store_close(st, 5000));
}

/* All that a console does with sessions. *s: the old one, if it could be opened; *fresh: a new one. */
static void work(struct store *st, struct store_session **s, struct store_session **fresh)
{
    struct store_entry *entries;
    struct store_settings settings = defaults;
    size_t n;
    if (store_list(st, &entries, &n, &err) == WEFT_OK)
        mem_free(entries);
    if (store_session_open(st, old_id, &defaults, false, s, NULL, &err) != WEFT_OK)
        *s = NULL;
    *fresh = store_session_create(st, &defaults, NULL);
    struct store_session *both[] = {*s, *fresh};
    for (int i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        answer(st, both[i], "question", "answer");
        settings.title = "renamed";
        store_set(both[i], &settings);
        store_input(both[i], "/clear", 6);
        store_keep(both[i], 1);
        store_keep(both[i], 0);
        answer(st, both[i], "after clear", "last");
        store_draft(both[i], "draft", 5);
    }
    struct store_session *gone = store_session_create(st, &defaults, NULL);
    if (gone) {
        answer(st, gone, "to be", "deleted");
        store_session_delete(gone);
    }
}

static void assert_complete(const struct store_chat *c)
{
    assert_int_equal(c->n_messages, 2);
    assert_string_equal(buf_str(&c->messages[0].text), "after clear");
    assert_string_equal(buf_str(&c->messages[1].text), "last.");
    assert_string_equal(c->messages[1].footer.reason, "stop");
    assert_string_equal(c->settings.title, "renamed");
    assert_string_equal(c->draft, "draft");
}

static void assert_saved(const char *id)
{
    struct store_chat c;
    struct store_report report;
    struct store *st = open_store(NULL, false, 1000);
    if (store_peek(st, id, &defaults, &c, &report, &err) != WEFT_OK)
        fail_msg("%s", err.message);
    assert_int_equal(report.damaged, 0);
    assert_false(report.torn);
    assert_complete(&c);
    store_chat_deinit(&c);
    assert_true(store_close(st, 5000));
}

/* One call fails, once: it is tried again, and then everything is there. */
static void once(enum store_rig_call which, bool half)
{
    for (unsigned n = 1;; n++) {
        char fresh_id[STORE_ID_MAX];
        struct store_session *s = NULL, *fresh = NULL;
        store_rig_io_init(&rig);
        rig.which = which;
        rig.half = half;
        rig.fail_at = n;
        rig.error = n % 2 ? ENOSPC : EIO;
        struct store *st = open_store(&rig.io, false, 1000000);
        assert_non_null(st);
        work(st, &s, &fresh);
        bool opened = s != NULL;
        snprintf(fresh_id, sizeof fresh_id, "%s", store_session_chat(fresh)->id);
        if (!store_drain(st, 1000) && !store_drain(st, 1000)) { /* the first may be what fails */
            struct store_news news;
            store_news(st, &news);
            fail_msg("call %u of kind %d: %s", n, (int)which, news.why.message);
        }
        assert_complete(store_session_chat(fresh));
        assert_true(store_close(st, 1000));
        bool reached = rig.calls >= n;
        if (opened)
            assert_saved(old_id);
        assert_saved(fresh_id);
        assert_old_files_intact(2);
        assert_int_equal(store_rig_count(dir, ".jsonl", NULL), 3);
        assert_int_equal(store_rig_count(dir, ".tmp", NULL), 0);
        teardown(NULL);
        assert_int_equal(setup(NULL), 0);
        if (!reached) {
            assert_true(n > 1);
            break;
        }
    }
}

static void each_call_fails_once(void **state)
{
    (void)state;
    for (enum store_rig_call which = RIG_OPEN; which < RIG_ALL; which++) {
        if (which == RIG_TRUNCATE) /* nothing is torn here: see below */
            continue;
        once(which, false);
    }
    once(RIG_WRITE, true);
}

/* From the Nth call on nothing works: what was on disk stays readable, and the console is told once. */
static void everything_fails_from_some_call_on(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct store_session *s = NULL, *fresh = NULL;
        struct store_news news;
        store_rig_io_init(&rig);
        rig.fail_at = n;
        rig.go_on = rig.half = true;
        struct store *st = open_store(&rig.io, false, 1000000);
        assert_non_null(st);
        work(st, &s, &fresh);
        bool reached = rig.calls >= n;
        if (store_news(st, &news)) {
            assert_true(reached);
            assert_true(news.offline);
            assert_non_null(strstr(news.why.message, dir));
            assert_false(store_news(st, &news)); /* once */
        } else {
            assert_false(reached);
        }
        bool saved = store_close(st, 1000);
        reached = rig.calls >= n;
        assert_int_equal(saved, !reached);
        assert_old_files_intact(0);
        teardown(NULL);
        assert_int_equal(setup(NULL), 0);
        if (!reached)
            break;
    }
}

static void a_torn_end_that_cannot_be_cut_waits(void **state)
{
    (void)state;
    char path[256];
    struct store_session *s;
    struct store_report report;
    struct store_news news;
    struct buf file = BUF_INIT;
    path_of(old_id, path);
    assert_true(store_rig_read(path, &file));
    buf_adds(&file,
             "{\"type\":\"draft\",\"text\":\"torn, and longer than what is written next, which must not lie "
             "in front of its rest, since that would be a damaged line then\"");
    store_rig_write(path, file.data, file.len);
    buf_free(&file);
    rig.which = RIG_TRUNCATE;
    rig.fail_at = 1;
    struct store *st = open_store(&rig.io, false, 1000000);
    assert_int_equal(store_session_open(st, old_id, &defaults, false, &s, &report, &err), WEFT_OK);
    assert_true(report.torn);
    assert_true(store_input(s, "x", 1));
    assert_true(store_news(st, &news) && news.offline);
    assert_non_null(strstr(news.why.message, "truncating"));
    assert_true(store_drain(st, 1000));
    assert_true(store_news(st, &news) && !news.offline);
    assert_true(store_close(st, 1000));
    st = open_store(NULL, false, 1000);
    assert_int_equal(store_session_open(st, old_id, &defaults, false, &s, &report, &err), WEFT_OK);
    assert_int_equal(report.damaged, 0);
    assert_false(report.torn);
    assert_int_equal(store_session_chat(s)->n_inputs, 1);
    assert_true(store_close(st, 1000));
}

/* The disk is full for a while; chatting goes on, and later all of it is on disk. By the thread, as in a console. */
static void a_full_disk_is_said_once_and_made_good(void **state)
{
    (void)state;
    struct store *st;
    struct store_session *s;
    struct store_news news;
    char id[STORE_ID_MAX];
    rig.which = RIG_WRITE;
    rig.fail_at = 1;
    rig.go_on = rig.half = true;
    st = open_store(&rig.io, true, 10);
    struct pollfd fd = {store_fd(st), POLLIN, 0};
    s = store_session_create(st, &defaults, NULL);
    snprintf(id, sizeof id, "%s", store_session_chat(s)->id);
    for (int i = 0; i < 20; i++)
        assert_true(answer(st, s, "question", "answer"));
    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_true(store_news(st, &news));
    assert_true(news.offline);
    assert_non_null(strstr(news.why.message, "No space left on device"));
    for (int i = 0; i < 20; i++)
        assert_true(answer(st, s, "question", "answer"));
    assert_int_equal(poll(&fd, 1, 50), 0); /* tried again several times, and said no more */
    assert_false(store_drain(st, 100));
    rig.fail_at = 0; /* there is room again */
    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_true(store_news(st, &news));
    assert_false(news.offline);
    assert_true(store_close(st, 5000));
    struct store_chat c;
    struct store_report report;
    st = open_store(NULL, false, 10);
    assert_int_equal(store_peek(st, id, &defaults, &c, &report, &err), WEFT_OK);
    assert_int_equal(c.n_messages, 80);
    assert_int_equal(report.damaged, 0);
    store_chat_deinit(&c);
    assert_true(store_close(st, 1000));
}

/* What a failed fsync may have dropped from the page cache is written again. */
static void after_a_failed_fsync_the_same_bytes_are_written_again(void **state)
{
    (void)state;
    char path[256];
    struct buf now = BUF_INIT;
    rig.which = RIG_SYNC;
    struct store *st = open_store(&rig.io, false, 1000000);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    path_of(store_session_chat(s)->id, path);
    assert_true(answer(st, s, "one", "two"));
    rig.calls = 0;
    rig.fail_at = 1;
    assert_true(store_user(s, "lost in the page cache", 22));
    /* The kernel marked those pages clean, and threw them away. */
    assert_true(store_rig_read(path, &now));
    char *lost = strstr(now.data, "{\"type\":\"message\",\"id\":3");
    assert_non_null(lost);
    memset(lost, 0, strlen(lost));
    store_rig_write(path, now.data, now.len);
    buf_clear(&now);
    assert_true(store_drain(st, 1000));
    assert_true(store_rig_read(path, &now));
    assert_int_equal(strlen(now.data), now.len);
    assert_non_null(strstr(now.data, "lost in the page cache"));
    assert_true(store_close(st, 1000));
    buf_free(&now);
}

/* No directory can be made where a file is in the way; then it is gone, and all is saved. */
static void a_directory_that_cannot_be_made_is_news(void **state)
{
    (void)state;
    struct store_news news;
    struct store_entry *entries;
    size_t n;
    char id[STORE_ID_MAX];
    store_rig_remove(dir);
    store_rig_write(dir, "in the way", 10);
    struct store *st = open_store(NULL, false, 1000000);
    assert_non_null(st);
    assert_int_not_equal(store_list(st, &entries, &n, &err), WEFT_OK);
    struct store_session *s = store_session_create(st, &defaults, NULL);
    snprintf(id, sizeof id, "%s", store_session_chat(s)->id);
    assert_true(answer(st, s, "question", "answer"));
    assert_true(store_news(st, &news) && news.offline);
    assert_non_null(strstr(news.why.message, dir));
    assert_int_equal(unlink(dir), 0);
    assert_true(store_drain(st, 1000));
    assert_true(store_news(st, &news) && !news.offline);
    assert_true(store_close(st, 1000));
    st = open_store(NULL, false, 1000);
    struct store_chat c;
    assert_int_equal(store_peek(st, id, &defaults, &c, NULL, &err), WEFT_OK);
    assert_int_equal(c.n_messages, 2);
    store_chat_deinit(&c);
    assert_true(store_close(st, 1000));
}

/* The Nth allocation fails: nothing crashes or leaks, and what was taken is what is saved. */
static void each_allocation_fails_once(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct store_session *s = NULL, *fresh = NULL;
        char id[STORE_ID_MAX] = "";
        struct store_chat saved;
        bool have = false;
        mem_fail_at(0);
        mem_fail_at(n);
        struct store *st = open_store(NULL, false, 1000000);
        if (st) {
            work(st, &s, &fresh);
            if (fresh) {
                snprintf(id, sizeof id, "%s", store_session_chat(fresh)->id);
                have = store_session_chat(fresh)->n_messages > 0;
            }
        }
        bool reached = mem_fail_at(0) >= n;
        if (st)
            assert_true(store_drain(st, 1000));
        if (have) { /* the file says what the mirror says */
            assert_int_equal(store_peek(st, id, &defaults, &saved, NULL, &err), WEFT_OK);
            const struct store_chat *mirror = store_session_chat(fresh);
            assert_int_equal(saved.n_messages, mirror->n_messages);
            for (size_t i = 0; i < saved.n_messages; i++)
                assert_string_equal(buf_str(&saved.messages[i].text), buf_str(&mirror->messages[i].text));
            assert_string_equal(saved.settings.title, mirror->settings.title);
            store_chat_deinit(&saved);
        }
        if (st)
            assert_true(store_close(st, 1000));
        assert_old_files_intact(0);
        teardown(NULL);
        assert_int_equal(setup(NULL), 0);
        if (!reached)
            break;
        assert_true(n < 5000);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_call_fails_once),
        TEST(everything_fails_from_some_call_on),
        TEST(a_torn_end_that_cannot_be_cut_waits),
        TEST(a_full_disk_is_said_once_and_made_good),
        TEST(after_a_failed_fsync_the_same_bytes_are_written_again),
        TEST(a_directory_that_cannot_be_made_is_news),
        TEST(each_allocation_fails_once),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
