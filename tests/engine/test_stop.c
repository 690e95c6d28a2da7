/* Stop strings against a naive search, however the text is cut; and replies, which hold back what may be one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine_internal.h"
#include "engine/stop.h"

/* By definition: the string that is complete first; of several at the same byte the longest. Returns where it
 * begins, or SIZE_MAX. */
static size_t naive_stop(const char *text, size_t n, const char *const *stops, size_t n_stops)
{
    for (size_t end = 1; end <= n; end++) {
        size_t best = 0;
        for (size_t i = 0; i < n_stops; i++) {
            size_t len = strlen(stops[i]);
            if (len <= end && len > best && !memcmp(text + end - len, stops[i], len))
                best = len;
        }
        if (best)
            return end - best;
    }
    return SIZE_MAX;
}

/* The longest end of the text that is a proper beginning of a stop string. */
static size_t naive_held(const char *text, size_t n, const char *const *stops, size_t n_stops)
{
    size_t held = 0;
    for (size_t i = 0; i < n_stops; i++)
        for (size_t k = 1; k < strlen(stops[i]) && k <= n; k++)
            if (k > held && !memcmp(text + n - k, stops[i], k))
                held = k;
    return held;
}

static void test_random_against_naive(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 3);
    for (int round = 0; round < 20000; round++) {
        char text[40], word[4][8];
        const char *stops[4];
        size_t n = rng_below(&r, sizeof text), n_stops = 1 + rng_below(&r, 4), at = 0, found = SIZE_MAX;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + rng_below(&r, 2));
        for (size_t i = 0; i < n_stops; i++) {
            size_t len = 1 + rng_below(&r, 7);
            for (size_t k = 0; k < len; k++)
                word[i][k] = (char)('a' + rng_below(&r, 2));
            word[i][len] = 0;
            stops[i] = word[i];
        }
        struct stop_set s;
        assert_int_equal(stop_init(&s, stops, n_stops, NULL), WEFT_OK);
        while (at < n && found == SIZE_MAX) {
            size_t piece = 1 + rng_below(&r, n - at), end, len;
            if (stop_feed(&s, text + at, piece, &end, &len)) {
                found = at + end - len;
            } else {
                at += piece;
                assert_int_equal(stop_held(&s), naive_held(text, at, stops, n_stops));
            }
        }
        assert_int_equal(found, naive_stop(text, n, stops, n_stops));
        stop_deinit(&s);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static char longest[STOP_LEN_MAX + 2];
    memset(longest, 'x', STOP_LEN_MAX + 1);
    const char *too_long[] = {longest}, *empty[] = {"a", ""}, *broken[] = {"\xff"}, *many[STOP_MAX + 1];
    struct weft_err err;
    for (int i = 0; i <= STOP_MAX; i++)
        many[i] = "a";
    assert_int_equal(stop_check(too_long, 1, &err), WEFT_INVALID_REQUEST);
    assert_string_equal(err.context[0].text, "stop");
    assert_int_equal(stop_check(empty, 2, &err), WEFT_INVALID_REQUEST);
    assert_int_equal(stop_check(broken, 1, &err), WEFT_INVALID_REQUEST);
    assert_int_equal(stop_check(many, STOP_MAX + 1, &err), WEFT_INVALID_REQUEST);
    longest[STOP_LEN_MAX] = 0;
    assert_int_equal(stop_check(too_long, 1, &err), WEFT_OK);
    assert_int_equal(stop_check(NULL, 0, &err), WEFT_OK);
}

/* ---- replies, of pseudo-words ---- */

static void push(struct reply *r, uint32_t id)
{
    struct sampler_out token = {.id = id, .finite = true};
    assert_int_equal(reply_push(r, &token, NULL), WEFT_OK);
}

/* A stop string made of the middle of words 1 and 2: it begins in one token and ends in the next. */
static void test_reply_across_tokens(void **state)
{
    (void)state;
    char w1[16], w2[16], stop[32];
    size_t n1 = reply_pseudo_word(1, w1);
    reply_pseudo_word(2, w2);
    memcpy(stop, w1 + 2, n1 - 2);
    memcpy(stop + n1 - 2, w2, 3);
    stop[n1 + 1] = 0;
    const char *stops[] = {stop};

    struct reply r;
    assert_true(reply_init(&r));
    reply_set_tokenizer(&r, NULL);
    assert_int_equal(stop_init(&r.stop, stops, 1, NULL), WEFT_OK);
    push(&r, 7);
    assert_int_equal(reply_n_ready(&r), 1);
    push(&r, 1); /* its end may begin the stop string */
    assert_false(r.stopped);
    assert_int_equal(reply_n_ready(&r), 1);
    push(&r, 2);
    assert_true(r.stopped);
    assert_int_equal(r.n_tokens, 3);
    assert_int_equal(reply_n_ready(&r), 3);
    char expect[32];
    size_t n7 = reply_pseudo_word(7, expect);
    memcpy(expect + n7, w1, 2);
    expect[n7 + 2] = 0;
    assert_string_equal(r.text.data,
                        expect); /* the text ends before it; the ids with the token that completed it */
    assert_int_equal(r.tokens[0].text_end, n7);
    assert_int_equal(r.tokens[1].text_end, n7 + 2);
    assert_int_equal(r.tokens[2].text_end, n7 + 2);
    reply_deinit(&r);

    /* What only looked like it comes out with the next token, or at the end. */
    assert_true(reply_init(&r));
    reply_set_tokenizer(&r, NULL);
    assert_int_equal(stop_init(&r.stop, stops, 1, NULL), WEFT_OK);
    push(&r, 1);
    assert_int_equal(reply_n_ready(&r), 0);
    push(&r, 3);
    assert_int_equal(reply_n_ready(&r), 2);
    push(&r, 1);
    assert_int_equal(reply_n_ready(&r), 2);
    reply_end(&r);
    assert_false(r.stopped);
    assert_int_equal(reply_n_ready(&r), 3);
    reply_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_against_naive),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_reply_across_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
