/* Errors, buffers, UTF-8, hashes, channels: the pieces that everything stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/chan.h"
#include "engine/base/err.h"
#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"

static void error_names_value_and_context(void **state)
{
    (void)state;
    struct weft_err e;
    assert_int_equal(weft_err_set(&e, WEFT_QUEUE_FULL, "depth %d, limit %d\x1b[2J", 7, 7), WEFT_QUEUE_FULL);
    assert_string_equal(e.message, "depth 7, limit 7\\x1b[2J");
    weft_err_num(&e, "depth", 7);
    weft_err_str(&e, "where", "here\n");
    weft_err_prefix(&e, "file %s: ", "x");
    assert_string_equal(e.message, "file x: depth 7, limit 7\\x1b[2J");
    json_t *j = weft_err_json(&e);
    assert_string_equal(json_string_value(json_object_get(j, "code")), "QUEUE_FULL");
    json_t *c = json_object_get(j, "context");
    assert_true(json_is_integer(json_object_get(c, "depth")));
    assert_string_equal(json_string_value(json_object_get(c, "where")), "here\\x0a");
    json_decref(j);
    assert_int_equal(weft_rc_exit_status(WEFT_NO_DEVICE), 4);
    assert_int_equal(weft_err_set(NULL, WEFT_USAGE, "no place"), WEFT_USAGE);
}

static void error_message_is_cut_at_a_character(void **state)
{
    (void)state;
    char big[2000];
    for (size_t i = 0; i + 2 < sizeof big; i += 2)
        memcpy(big + i, "\xc3\xa9", 2);
    for (size_t shift = 0; shift < 2; shift++) {
        struct weft_err e;
        big[sizeof big - 2] = 0;
        weft_err_set(&e, WEFT_USAGE, "%s%s", shift ? "x" : "", big);
        assert_true(utf8_valid(e.message, strlen(e.message)));
        assert_true(strlen(e.message) > 700);
    }
}

static void buffers_grow_and_report_failure(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 1000; i++)
        assert_true(buf_addf(&b, "%d,", i));
    assert_int_equal(b.len, 3890);
    assert_int_equal(strlen(buf_str(&b)), b.len);
    buf_free(&b);
    mem_fail_at(1);
    assert_false(buf_adds(&b, "x"));
    mem_fail_at(0);
    assert_true(b.failed);
    assert_false(buf_adds(&b, "y"));
    assert_null(buf_take(&b, NULL));
    assert_true(buf_adds(&b, "z"));
    buf_free(&b);
}

static void utf8_follows_rfc_3629(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xc3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        char s[4];
        uint32_t back;
        size_t n = utf8_encode(cp, s);
        assert_int_equal(utf8_decode(s, n, &back), n);
        assert_int_equal(back, cp);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_decode(s, cut, &back), 0);
            assert_int_equal(utf8_whole(s, cut), 0);
        }
        assert_int_equal(utf8_whole(s, n), n);
    }
    assert_int_equal(utf8_whole("ab\xe2\x82", 4), 2);
    assert_int_equal(utf8_whole("\x80\x80\x80\x80", 4), 4);
    assert_int_equal(utf8_width(0x4e2d), 2);
    assert_int_equal(utf8_width(0x301), 0);
}

static void hashes_match_published_values(void **state)
{
    (void)state;
    /* From the FNV reference: "", "a", "foobar". */
    assert_true(fnv1a64(FNV1A64_INIT, "", 0) == 0xcbf29ce484222325ull);
    assert_true(fnv1a64(FNV1A64_INIT, "a", 1) == 0xaf63dc4c8601ec8cull);
    assert_true(fnv1a64(FNV1A64_INIT, "foobar", 6) == 0x85944171f73967e8ull);
    struct rng r;
    rng_seed(&r, 1234567);
    assert_true(rng_u64(&r) == 6457827717110365317ull); /* SplitMix64's published first outputs */
    assert_true(rng_u64(&r) == 3203168211198807973ull);
    for (int i = 0; i < 1000; i++) {
        double u = rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        assert_true(rng_below(&r, 7) < 7);
    }
}

enum { PRODUCERS = 4, EACH = 5000 };
struct item {
    struct chan_node node;
    int producer, n;
};

static void *produce(void *arg)
{
    struct chan *c = ((void **)arg)[0];
    int who = *(int *)((void **)arg)[1];
    for (int i = 0; i < EACH; i++) {
        struct item *it = mem_alloc(sizeof *it);
        it->producer = who;
        it->n = i;
        chan_push(c, &it->node);
    }
    return NULL;
}

static void channel_keeps_each_producers_order(void **state)
{
    (void)state;
    struct chan c;
    assert_int_equal(chan_init(&c, true), 0);
    pthread_t t[PRODUCERS];
    int who[PRODUCERS], seen[PRODUCERS] = {0}, total = 0;
    void *args[PRODUCERS][2];
    for (int i = 0; i < PRODUCERS; i++) {
        who[i] = i;
        args[i][0] = &c;
        args[i][1] = &who[i];
        pthread_create(&t[i], NULL, produce, args[i]);
    }
    while (total < PRODUCERS * EACH) {
        chan_wait(&c, 1000000);
        for (struct chan_node *n = chan_take_all(&c), *next; n; n = next) {
            struct item *it = (struct item *)n;
            next = n->next;
            assert_int_equal(it->n, seen[it->producer]++);
            total++;
            mem_free(it);
        }
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(t[i], NULL);
    chan_wake(&c);
    chan_wait(&c, -1); /* returns because of the wake */
    assert_null(chan_take_all(&c));
    chan_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_names_value_and_context),
        cmocka_unit_test(error_message_is_cut_at_a_character),
        cmocka_unit_test(buffers_grow_and_report_failure),
        cmocka_unit_test(utf8_follows_rfc_3629),
        cmocka_unit_test(hashes_match_published_values),
        cmocka_unit_test(channel_keeps_each_producers_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
