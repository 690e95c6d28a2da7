/* The pool and the prefix cache by themselves: counts, order of eviction, comparison of what hashes only suggest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/base/mem.h"
#include "engine/sched/prefix.h"

enum { SIZE = 4 };

struct fixture {
    struct blocks pool;
    struct prefix cache;
};

static struct fixture *make(uint32_t n)
{
    static struct fixture f;
    assert_true(blocks_init(&f.pool, n));
    assert_true(prefix_init(&f.cache, &f.pool, SIZE));
    return &f;
}

static void end(struct fixture *f)
{
    prefix_deinit(&f->cache);
    blocks_deinit(&f->pool);
}

static void expect(const struct fixture *f, uint32_t n_free, uint32_t used, uint32_t cached)
{
    assert_int_equal(f->pool.n_free, n_free);
    assert_int_equal(blocks_used(&f->pool), used);
    assert_int_equal(f->pool.n_cached, cached);
}

static void test_all_or_nothing(void **state)
{
    (void)state;
    struct fixture *f = make(5);
    uint32_t got[5] = {9, 9, 9, 9, 9};
    assert_true(blocks_alloc(&f->pool, 3, got));
    assert_false(blocks_alloc(&f->pool, 3, got + 3));
    assert_int_equal(got[3], 9);
    expect(f, 2, 3, 0);
    assert_true(blocks_alloc(&f->pool, 0, got));
    assert_true(blocks_alloc(&f->pool, 2, got + 3));
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(got[i], got[j]);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(blocks_unref(&f->pool, got[i]));
    expect(f, 5, 0, 0);
    assert_int_equal(f->pool.peak_used, 5);
    end(f);
}

static void test_reservations(void **state)
{
    (void)state;
    struct fixture *f = make(5);
    uint32_t got[5];
    assert_true(blocks_reserve(&f->pool, 3));
    assert_int_equal(blocks_available(&f->pool), 2);
    assert_false(blocks_reserve(&f->pool, 3));
    assert_false(blocks_alloc(&f->pool, 3, got));
    assert_true(blocks_alloc(&f->pool, 2, got));
    got[2] = blocks_take_reserved(&f->pool);
    assert_int_equal(f->pool.n_reserved, 2);
    expect(f, 2, 3, 0);
    blocks_unreserve(&f->pool, 2);
    assert_int_equal(blocks_available(&f->pool), 2);
    end(f);
}

static void test_owners(void **state)
{
    (void)state;
    struct fixture *f = make(2);
    uint32_t b;
    assert_true(blocks_alloc(&f->pool, 1, &b));
    blocks_ref(&f->pool, b);
    assert_false(blocks_unref(&f->pool, b));
    expect(f, 1, 1, 0);
    assert_true(blocks_unref(&f->pool, b));
    expect(f, 2, 0, 0);
    end(f);
}

/* Computes a chain of n full blocks of tokens first, first+1, … and makes it known. */
static void chain(struct fixture *f, uint64_t salt, uint32_t first, uint32_t n, uint32_t *out)
{
    assert_true(blocks_alloc(&f->pool, n, out));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tokens[SIZE];
        for (uint32_t j = 0; j < SIZE; j++)
            tokens[j] = first + i * SIZE + j;
        assert_int_equal(prefix_insert(&f->cache, i ? out[i - 1] : BLOCK_NONE, salt, tokens, out[i]), out[i]);
    }
}

static void leave(struct fixture *f, const uint32_t *blocks, uint32_t n)
{
    while (n-- > 0)
        blocks_unref(&f->pool, blocks[n]);
}

static uint32_t match(struct fixture *f, uint64_t salt, uint32_t first, uint32_t n, uint32_t *out)
{
    uint32_t tokens[16 * SIZE];
    for (uint32_t i = 0; i < n * SIZE; i++)
        tokens[i] = first + i;
    return prefix_match(&f->cache, salt, tokens, n, out);
}

static void test_hits_and_salt(void **state)
{
    (void)state;
    struct fixture *f = make(10);
    uint32_t a[4], hit[6];
    chain(f, 0, 100, 4, a);
    leave(f, a, 4);
    expect(f, 6, 0, 4);
    assert_int_equal(match(f, 0, 100, 6, hit), 4);
    assert_memory_equal(hit, a, sizeof a);
    assert_int_equal(match(f, 0, 100, 2, hit), 2);
    assert_int_equal(match(f, 1, 100, 4, hit), 0); /* another salt */
    assert_int_equal(match(f, 0, 104, 3, hit), 0); /* the same tokens, but not at the start */
    for (uint32_t i = 0; i < 4; i++)
        blocks_ref(&f->pool, a[i]); /* taken again */
    expect(f, 6, 4, 0);
    leave(f, a, 4);
    prefix_clear(&f->cache);
    expect(f, 10, 0, 0);
    assert_int_equal(match(f, 0, 100, 4, hit), 0);
    end(f);
}

static void test_same_tokens_after_another_parent(void **state)
{
    (void)state;
    struct fixture *f = make(10);
    uint32_t a[2], b[1], c, tokens[SIZE] = {7, 7, 7, 7};
    chain(f, 0, 100, 1, a);
    chain(f, 0, 200, 1, b);
    assert_true(blocks_alloc(&f->pool, 1, &a[1]));
    assert_true(blocks_alloc(&f->pool, 1, &c));
    assert_int_equal(prefix_insert(&f->cache, a[0], 0, tokens, a[1]), a[1]);
    assert_int_equal(prefix_find(&f->cache, b[0], 0, tokens), BLOCK_NONE);
    assert_int_equal(prefix_insert(&f->cache, b[0], 0, tokens, c), c);
    assert_int_equal(prefix_find(&f->cache, a[0], 0, tokens), a[1]);
    end(f);
}

static void test_known_content_has_one_block(void **state)
{
    (void)state;
    struct fixture *f = make(10);
    uint32_t a[1], twin, tokens[SIZE] = {100, 101, 102, 103};
    chain(f, 0, 100, 1, a);
    assert_true(blocks_alloc(&f->pool, 1, &twin));
    assert_int_equal(prefix_insert(&f->cache, BLOCK_NONE, 0, tokens, twin), a[0]);
    assert_true(blocks_unref(&f->pool, twin));
    expect(f, 9, 1, 0); /* the twin is free, not cached */
    end(f);
}

/* A hash that says yes is not believed: two entries forced to one hash are told apart by their tokens. */
static void test_tokens_are_compared(void **state)
{
    (void)state;
    struct fixture *f = make(4);
    uint32_t a[1], b[1], hit[1];
    chain(f, 0, 100, 1, a);
    chain(f, 0, 200, 1, b);
    uint32_t bucket_a = (uint32_t)(f->cache.hash[a[0]] & (f->cache.n_buckets - 1));
    uint32_t bucket_b = (uint32_t)(f->cache.hash[b[0]] & (f->cache.n_buckets - 1));
    f->cache.hash[b[0]] = f->cache.hash[a[0]]; /* b now answers to a's hash, and comes first */
    f->cache.bucket[bucket_b] = BLOCK_NONE;
    f->cache.next[b[0]] = a[0];
    f->cache.next[a[0]] = BLOCK_NONE;
    f->cache.bucket[bucket_a] = b[0];
    assert_int_equal(match(f, 0, 100, 1, hit), 1);
    assert_int_equal(hit[0], a[0]);
    end(f);
}

static void test_eviction_oldest_and_tail_first(void **state)
{
    (void)state;
    struct fixture *f = make(6);
    uint32_t a[3], b[3], got[6], hit[3];
    chain(f, 0, 100, 3, a);
    chain(f, 0, 200, 3, b);
    leave(f, a, 3);
    leave(f, b, 3);
    for (uint32_t n = 1; n <= 6; n++) { /* a goes first, from its tail; the heads stay longest */
        assert_true(blocks_alloc(&f->pool, 1, &got[n - 1]));
        assert_int_equal(match(f, 0, 100, 3, hit), n < 3 ? 3 - n : 0);
        assert_int_equal(match(f, 0, 200, 3, hit), n < 3 ? 3 : 6 - n);
    }
    assert_false(blocks_alloc(&f->pool, 1, got));
    expect(f, 0, 6, 0);
    end(f);
}

static void test_recently_used_stays(void **state)
{
    (void)state;
    struct fixture *f = make(4);
    uint32_t a[2], b[2], got[2], hit[2];
    chain(f, 0, 100, 2, a);
    chain(f, 0, 200, 2, b);
    leave(f, a, 2);
    leave(f, b, 2);
    assert_int_equal(match(f, 0, 100, 2, hit), 2); /* a is used once more */
    blocks_ref(&f->pool, a[0]);
    blocks_ref(&f->pool, a[1]);
    leave(f, a, 2);
    assert_true(blocks_alloc(&f->pool, 2, got));
    assert_int_equal(match(f, 0, 100, 2, hit), 2);
    assert_int_equal(match(f, 0, 200, 2, hit), 0);
    end(f);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t k = 1; k <= 4; k++) {
        struct blocks b;
        mem_fail_at(k);
        assert_false(blocks_init(&b, 8));
        mem_fail_at(0);
        blocks_deinit(&b);
    }
    for (size_t k = 1; k <= 7; k++) {
        struct blocks b;
        struct prefix p;
        assert_true(blocks_init(&b, 8));
        mem_fail_at(k);
        assert_false(prefix_init(&p, &b, SIZE));
        mem_fail_at(0);
        prefix_deinit(&p);
        blocks_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_reservations),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_hits_and_salt),
        cmocka_unit_test(test_same_tokens_after_another_parent),
        cmocka_unit_test(test_known_content_has_one_block),
        cmocka_unit_test(test_tokens_are_compared),
        cmocka_unit_test(test_eviction_oldest_and_tail_first),
        cmocka_unit_test(test_recently_used_stays),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
