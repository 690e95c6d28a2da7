/* Search: what is found in one text, and over all sessions on disk and open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "src/search.h"
#include "src/search_text.h"
#include "tests/support/store_rig.h"

static const struct store_settings defaults = {
    .title = "session 1", .system = "", .prio = PRIO_NORMAL, .sampling = SAMPLING_DEFAULT, .max_tokens = 512};
static const struct store_footer footer = {"stop", 1, 1, 1, 1, 0, 0};

/* "at+len at+len …" of all matches. */
static const char *find(const char *needle, const char *text)
{
    static char out[256];
    struct search_text s;
    size_t at, len, n = 0;
    assert_true(search_text_init(&s, needle, strlen(needle)));
    assert_true(search_text_in(&s, text, strlen(text)));
    *out = 0;
    while (search_text_next(&s, &at, &len))
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%zu+%zu", n ? " " : "", at, len);
    search_text_deinit(&s);
    return out;
}

static void case_does_not_matter(void **state)
{
    (void)state;
    assert_string_equal(find("hello", "Say HeLLo, hello!"), "4+5 11+5");
    assert_string_equal(find("HELLO", "hell o"), "");
    assert_string_equal(find("aa", "aaaaa"), "0+2 2+2");
    assert_string_equal(find("@[`{", "x@[`{"), "1+4"); /* what lies beside the letters */
    assert_string_equal(find("`", "@"), "");
    assert_string_equal(find("\xc3\x84pfel", "die \xc3\xa4PFEL"), "4+6");                     /* Äpfel */
    assert_string_equal(find("\xd0\xbc\xd0\xb8\xd1\x80", "\xd0\x9c\xd0\x98\xd0\xa0"), "0+6"); /* МИР */
    assert_string_equal(find("\xcf\x83", "\xce\xa3 \xcf\x82"), "0+2 3+2"); /* sigma, also final */
    assert_string_equal(find("\xe4\xb8\xad", "\xe4\xb8\xad\xe6\x96\x87"), "0+3");
}

static void matches_are_whole_characters(void **state)
{
    (void)state;
    assert_string_equal(find("strasse", "Stra\xc3\x9f"
                                        "e"),
                        "0+7");
    assert_string_equal(find("stra\xc3\x9f"
                             "e",
                             "STRASSE"),
                        "0+7");
    assert_string_equal(find("s", "\xc3\x9f"), "");      /* half of it */
    assert_string_equal(find("ss", "s\xc3\x9f"), "1+2"); /* one and a half are not two */
    assert_string_equal(find("e", "\xc3\xa9"), "");      /* é */
    assert_string_equal(find("e", "e\xcc\x81"), "");     /* the same in two code points */
    assert_string_equal(find("\xc3\xa9", "e\xcc\x81"), "0+3");
    assert_string_equal(find("e\xcc\x81", "caf\xc3\xa9 e"), "3+2");
    assert_string_equal(find("e", "\xc3\xa9 e e\xcc\x81"
                                  "e"),
                        "3+1 8+1");
}

/* Against the plain way of searching, on texts of a few letters, with all their coincidences. */
static void random_texts_agree_with_a_plain_search(void **state)
{
    (void)state;
    static const char *const letters[] = {"a", "A", "b", "\xc3\xa4", "\xc3\x84", "\xe2\x82\xac"};
    static const char *const folded[] = {"a", "a", "b", "\xc3\xa4", "\xc3\xa4", "\xe2\x82\xac"};
    struct rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 5000; round++) {
        char text[256] = "", needle[64] = "", want[512] = "";
        unsigned t[40], q[3], n = (unsigned)rng_below(&r, 40), m = (unsigned)rng_below(&r, 3) + 1;
        size_t at[41] = {0}, len = 0;
        for (unsigned i = 0; i < n; i++) {
            strcat(text, letters[t[i] = (unsigned)rng_below(&r, 6)]);
            at[i + 1] = strlen(text);
        }
        for (unsigned i = 0; i < m; i++) {
            strcat(needle, letters[q[i] = (unsigned)rng_below(&r, 6)]);
        }
        for (unsigned i = 0; i + m <= n; i++) {
            unsigned k = 0;
            while (k < m && strcmp(folded[t[i + k]], folded[q[k]]) == 0)
                k++;
            if (k < m)
                continue;
            len += (size_t)snprintf(want + len, sizeof want - len, "%s%zu+%zu", len ? " " : "", at[i],
                                    at[i + m] - at[i]);
            i += m - 1;
        }
        if (len < 250)
            assert_string_equal(find(needle, text), want);
    }
}

static void hostile_text_is_survived(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 9);
    for (int round = 0; round < 3000; round++) {
        char text[65], needle[4] = "";
        for (size_t i = 0; i < 64; i++)
            text[i] = (char)(rng_u64(&r) | 1);
        text[64] = 0;
        utf8_encode((uint32_t)rng_below(&r, 0xd7ff) + 1, needle);
        struct search_text s;
        size_t at, len, end = 0;
        assert_true(search_text_init(&s, needle, strnlen(needle, 4)));
        assert_true(search_text_in(&s, text, 64));
        while (search_text_next(&s, &at, &len)) {
            assert_true(at >= end && len && at + len <= 64);
            end = at + len;
        }
        search_text_deinit(&s);
    }
}

/* --- over sessions --- */

static char top[64], dir[96];
static struct weft_err err;

static int setup(void **state)
{
    (void)state;
    store_rig_make(top);
    snprintf(dir, sizeof dir, "%s/sessions", top);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_rig_remove(top);
    return 0;
}

static struct store *open_store(void)
{
    struct store *st = NULL;
    const struct store_options options = {.dir = dir, .no_thread = true};
    assert_int_equal(store_open(&options, &st, &err), WEFT_OK);
    return st;
}

static struct store_session *chat(struct store *st, const char *title, const char *question,
                                  const char *reply)
{
    struct store_settings settings = defaults;
    settings.title = title;
    settings.titled = true;
    struct store_session *s = store_session_create(st, &settings, NULL);
    assert_true(store_user(s, question, strlen(question)));
    for (const char *p = reply; *p; p++) { /* in the smallest of pieces, each a record */
        assert_true(store_reply(s, p, 1));
        store_tick(st, clock_now_us() + 10000000);
    }
    store_reply_end(s, &footer);
    return s;
}

static struct search *run(struct store *st, const char *needle)
{
    struct search *s;
    if (search_create(st, needle, &s, &err) != WEFT_OK)
        fail_msg("%s", err.message);
    int steps = 0;
    while (search_step(s, 1, &err))
        assert_true(++steps < 1000);
    return s;
}

static void sessions_are_found_on_disk_and_open(void **state)
{
    (void)state;
    struct store *st = open_store();
    size_t n;
    store_session_close(chat(st, "planner", "Plan three days in Lisbon.",
                             "Day 1:\n\tstart at the River, then a river boat."));
    chat(st, "Rivers of the world", "Name one", "The Nile");
    struct search *s = run(st, "RIVER");
    const struct search_hit *h = search_hits(s, &n);
    assert_int_equal(n, 2);
    assert_true(h[0].in_title); /* the open one first */
    assert_string_equal(h[0].title, "Rivers of the world");
    assert_int_equal(h[0].at, 0);
    assert_false(h[1].in_title);
    assert_string_equal(h[1].title, "planner");
    assert_int_equal(h[1].message, 1);
    assert_int_equal(h[1].role, STORE_ASSISTANT);
    assert_int_equal(h[1].count, 2);
    assert_int_equal(h[1].at, 21);
    assert_string_equal(h[1].snippet, "Day 1: start at the River, then a river boat.");
    assert_memory_equal(h[1].snippet + h[1].mark, "River", h[1].mark_len);
    struct search_progress p = search_progress(s);
    assert_int_equal(p.sessions, 2);
    assert_int_equal(p.bytes, p.n_bytes);
    assert_int_equal(p.unreadable, 0);
    search_destroy(s);
    s = run(st, "ocean");
    search_hits(s, &n);
    assert_int_equal(n, 0);
    search_destroy(s);
    assert_true(store_close(st, 5000));
}

static void what_was_removed_is_not_found(void **state)
{
    (void)state;
    struct store *st = open_store();
    size_t n;
    struct store_session *s = chat(st, "a", "a secret question", "a secret answer");
    store_keep(s, 1);
    store_session_close(s);
    struct search *found = run(st, "secret");
    const struct search_hit *h = search_hits(found, &n);
    assert_int_equal(n, 1);
    assert_int_equal(h[0].message, 0);
    search_destroy(found);
    assert_true(store_close(st, 5000));
}

static void long_messages_give_short_snippets(void **state)
{
    (void)state;
    struct store *st = open_store();
    struct buf text = BUF_INIT;
    size_t n;
    for (int i = 0; i < 500; i++)
        buf_adds(&text, "\xe2\x82\xac ");
    buf_adds(&text, "needle");
    for (int i = 0; i < 500; i++)
        buf_adds(&text, "\xe2\x82\xac\n\n\n");
    struct store_session *c = store_session_create(st, &defaults, NULL);
    assert_true(store_user(c, text.data, text.len));
    struct search *s = run(st, "Needle");
    const struct search_hit *h = search_hits(s, &n);
    assert_int_equal(n, 1);
    assert_true(strlen(h->snippet) < 400);
    assert_true(utf8_valid(h->snippet, strlen(h->snippet)));
    assert_null(strpbrk(h->snippet, "\n\t"));
    assert_memory_equal(h->snippet, "…", 3);
    assert_memory_equal(h->snippet + h->mark, "needle", 6);
    assert_int_equal(h->mark_len, 6);
    search_destroy(s);
    buf_free(&text);
    assert_true(store_close(st, 5000));
}

static void needles_and_files_that_cannot_be_used(void **state)
{
    (void)state;
    struct store *st = open_store();
    struct search *s;
    char path[160], big[SEARCH_NEEDLE_MAX + 2];
    size_t n;
    assert_int_equal(search_create(st, "", &s, &err), WEFT_INVALID_REQUEST);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(search_create(st, big, &s, &err), WEFT_INVALID_REQUEST);
    assert_non_null(strstr(err.message, "1001"));
    store_session_close(chat(st, "a", "a question", "an answer"));
    snprintf(path, sizeof path, "%s/noise.jsonl", dir);
    store_rig_write(path, "an answer that is no session", 28);
    s = run(st, "answer");
    search_hits(s, &n);
    assert_int_equal(n, 1);
    assert_int_equal(search_progress(s).unreadable, 1);
    search_destroy(s);
    assert_true(store_close(st, 5000));
}

static void too_many_hits_are_cut(void **state)
{
    (void)state;
    struct store *st = open_store();
    struct store_session *c = store_session_create(st, &defaults, NULL);
    size_t n;
    for (int i = 0; i < SEARCH_HITS_MAX + 10; i++)
        assert_true(store_user(c, "x", 1));
    struct search *s = run(st, "x");
    search_hits(s, &n);
    assert_int_equal(n, SEARCH_HITS_MAX);
    assert_true(search_progress(s).cut);
    search_destroy(s);
    assert_true(store_close(st, 5000));
}

/* Some ten megabytes, a step at a time; the figure is printed. */
static void many_megabytes_are_streamed(void **state)
{
    (void)state;
    enum { SESSIONS = 10, MESSAGES = 50, BYTES = 20000 };
    struct store *st = open_store();
    char *text = malloc(BYTES);
    static const char words[] = "the quick brown fox jumps over a lazy dog; ";
    for (size_t i = 0; i < BYTES; i++)
        text[i] = words[i % (sizeof words - 1)];
    for (int i = 0; i < SESSIONS; i++) {
        struct store_session *c = store_session_create(st, &defaults, NULL);
        for (int m = 0; m < MESSAGES; m++)
            assert_true(store_user(c, text, BYTES));
        if (i == 3)
            assert_true(store_user(c, "Here It Is", 10));
        store_session_close(c);
    }
    free(text);
    struct search *s;
    size_t n;
    assert_int_equal(search_create(st, "here it is", &s, &err), WEFT_OK);
    int64_t longest = 0;
    clock_t begun = clock();
    for (bool more = true; more;) {
        int64_t before = clock_now_us();
        more = search_step(s, STORE_READ_BYTES, &err);
        int64_t took = clock_now_us() - before;
        longest = took > longest ? took : longest;
    }
    double ms = (double)(clock() - begun) * 1000 / CLOCKS_PER_SEC; /* of this processor, however busy it is */
    double mb = (double)search_progress(s).n_bytes / 1e6;
    print_message("%.1f MB in %.0f ms of processor time: %.0f MB/s; the longest step %.1f ms\n", mb, ms,
                  mb / ms * 1000, (double)longest / 1000);
    search_hits(s, &n);
    assert_int_equal(n, 1);
    search_destroy(s);
    assert_true(store_close(st, 5000));
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    struct store *st = open_store();
    store_session_close(chat(st,
                             "stra\xc3\x9f"
                             "e",
                             "needle", "needle"));
    for (size_t n = 1;; n++) {
        struct search *s = NULL;
        mem_fail_at(0);
        mem_fail_at(n);
        err.code = WEFT_OK;
        if (search_create(st, "needle", &s, &err) == WEFT_OK)
            while (search_step(s, 1, &err))
                ;
        bool reached = mem_fail_at(0) >= n;
        size_t hits = 0;
        if (s)
            search_hits(s, &hits);
        if (!reached)
            assert_int_equal(hits, 2);
        search_destroy(s);
        if (!reached)
            break;
        assert_true(n < 1000);
    }
    assert_true(store_close(st, 5000));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_does_not_matter),
        cmocka_unit_test(matches_are_whole_characters),
        cmocka_unit_test(random_texts_agree_with_a_plain_search),
        cmocka_unit_test(hostile_text_is_survived),
        TEST(sessions_are_found_on_disk_and_open),
        TEST(what_was_removed_is_not_found),
        TEST(long_messages_give_short_snippets),
        TEST(needles_and_files_that_cannot_be_used),
        TEST(too_many_hits_are_cut),
        TEST(many_megabytes_are_streamed),
        TEST(each_allocation_fails_once),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
