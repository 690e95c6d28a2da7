/* The queue: order against a sorted reference under random operations, aging to the microsecond, FIFO, age of
 * the worst. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "engine/sched/rqueue.h"

enum { N = 300 };

struct bench {
    struct rqueue q;
    struct request reqs[N];
    bool queued[N];
    uint64_t arrivals;
    int64_t now_us;
};

static void setup(struct bench *b, bool fifo, double rate)
{
    memset(b, 0, sizeof *b);
    rqueue_init(&b->q, fifo, rate);
    assert_true(rqueue_reserve(&b->q, N));
}

static struct request *push(struct bench *b, uint32_t i, enum prio base)
{
    struct request *r = &b->reqs[i];
    r->base = base;
    r->n_prompt = 1;
    req_begin(r, ++b->arrivals, b->now_us);
    rqueue_push(&b->q, r, b->now_us);
    b->queued[i] = true;
    return r;
}

/* Does x go before y? By effective priority in whole µs of waiting (rate 0.1: 10⁷ µs a level), then by arrival. */
static bool goes_before(const struct bench *b, const struct request *x, const struct request *y)
{
    int64_t ex = x->base * INT64_C(10000000) - (x->waited_us + b->now_us - x->state_since_us);
    int64_t ey = y->base * INT64_C(10000000) - (y->waited_us + b->now_us - y->state_since_us);
    if (b->q.fifo || ex == ey)
        return x->arrival < y->arrival;
    return ex < ey;
}

static struct request *reference_first(struct bench *b)
{
    struct request *first = NULL;
    for (uint32_t i = 0; i < N; i++)
        if (b->queued[i] && (!first || goes_before(b, &b->reqs[i], first)))
            first = &b->reqs[i];
    return first;
}

static struct request *reference_oldest_of_worst(struct bench *b)
{
    struct request *found = NULL;
    for (uint32_t i = 0; i < N; i++) {
        struct request *r = &b->reqs[i];
        if (!b->queued[i] || r->scheduled_us >= 0)
            continue;
        bool worse = found && !b->q.fifo && r->base > found->base;
        bool same = found && (b->q.fifo || r->base == found->base);
        if (!found || worse || (same && r->arrival < found->arrival))
            found = r;
    }
    return found;
}

static void run_random(uint64_t seed, bool fifo)
{
    static struct bench b;
    struct rng rng;
    rng_seed(&rng, seed);
    setup(&b, fifo, 0.1);
    for (int op = 0; op < 3000; op++) {
        uint32_t i = (uint32_t)rng_below(&rng, N);
        struct request *r = &b.reqs[i];
        b.now_us += (int64_t)rng_below(&rng, 3) * 500000; /* coarse, so that ties are common */
        switch (rng_below(&rng, 5)) {
        case 0:
        case 1:
            if (!b.queued[i] && r->state == REQ_PREFILLING) { /* a running one comes back */
                req_preempt(r, b.now_us);
                rqueue_push(&b.q, r, b.now_us);
                b.queued[i] = true;
            } else if (!b.queued[i]) {
                push(&b, i, (enum prio)((int)rng_below(&rng, 4) - 1));
            }
            break;
        case 2:
            assert_ptr_equal(rqueue_cancel(&b.q, r), b.queued[i] ? r : NULL);
            if (b.queued[i] && r->state == REQ_WAITING && rng_below(&rng, 2))
                req_admit(r, b.now_us);
            b.queued[i] = false;
            break;
        case 3:
            if (b.queued[i])
                rqueue_set_base(&b.q, r, (enum prio)((int)rng_below(&rng, 4) - 1), b.now_us);
            break;
        default:
            r = reference_first(&b);
            assert_ptr_equal(rqueue_next(&b.q), r);
            if (r)
                b.queued[r - b.reqs] = false;
        }
        assert_ptr_equal(rqueue_peek(&b.q), reference_first(&b));
        assert_ptr_equal(rqueue_oldest_of_worst(&b.q), reference_oldest_of_worst(&b));
        if (op % 100 == 0) { /* the whole order, looked at and not changed */
            struct request *list[N];
            uint32_t n = rheap_list(&b.q.by_key, list, N);
            assert_int_equal(n, rqueue_count(&b.q));
            for (uint32_t k = 1; k < n; k++)
                assert_true(goes_before(&b, list[k - 1], list[k]));
            struct request *few[5];
            n = rheap_list(&b.q.by_key, few, 5);
            assert_memory_equal(few, list, n * sizeof list[0]);
        }
    }
    while (rqueue_next(&b.q))
        ;
    assert_int_equal(rqueue_depth(&b.q), 0);
    rqueue_deinit(&b.q);
}

static void test_order_against_reference(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_random(seed, seed % 4 == 0);
}

/* A LOW waits from time 0 on. Against each better base: passed by one that comes a moment before its age
 * makes up the difference, and by none that comes then or later. */
static void test_aging_exactly(void **state)
{
    (void)state;
    static struct bench b;
    static const int64_t offsets[] = {0, 1, 123456789, INT64_C(1) << 40,
                                      3600000000}; /* wherever the clock stands */
    for (size_t k = 0; k < sizeof offsets / sizeof offsets[0]; k++) {
        for (int base = PRIO_CRITICAL; base < PRIO_LOW; base++) {
            int64_t seconds = 10 * (PRIO_LOW - base);
            for (int64_t off = -1; off <= 1; off++) {
                setup(&b, false, 0.1);
                b.now_us = offsets[k];
                struct request *low = push(&b, 0, PRIO_LOW);
                b.now_us += seconds * 1000000 + off;
                struct request *other = push(&b, 1, (enum prio)base);
                assert_ptr_equal(rqueue_peek(&b.q), off < 0 ? other : low);
                rqueue_deinit(&b.q);
            }
        }
    }
}

static void test_order_stays_while_waiting(void **state)
{
    (void)state;
    static struct bench b;
    setup(&b, false, 0.1);
    struct request *first = push(&b, 0, PRIO_NORMAL);
    b.now_us = 5000000;
    struct request *second = push(&b, 1, PRIO_HIGH); /* 0 against 0.5 */
    for (; b.now_us < 500000000; b.now_us += 7000000)
        assert_ptr_equal(rqueue_peek(&b.q), second);
    rqueue_next(&b.q);
    assert_ptr_equal(rqueue_next(&b.q), first);
    assert_null(rqueue_next(&b.q));
    assert_null(rqueue_peek(&b.q));
    rqueue_deinit(&b.q);
}

static void test_running_does_not_age(void **state)
{
    (void)state;
    static struct bench b;
    setup(&b, false, 0.1);
    struct request *low = push(&b, 0, PRIO_LOW);
    b.now_us = 4000000;
    rqueue_next(&b.q);
    req_admit(low, b.now_us);
    b.now_us = 60000000; /* runs for 56 s */
    req_preempt(low, b.now_us);
    rqueue_push(&b.q, low, b.now_us);
    assert_int_equal(rqueue_depth(&b.q), 0); /* it was scheduled once */
    assert_int_equal(rqueue_count(&b.q), 1);
    b.now_us = 65999999; /* waited 4 s + 5.999999 s */
    struct request *n = push(&b, 1, PRIO_NORMAL);
    assert_ptr_equal(rqueue_peek(&b.q), n);
    rqueue_cancel(&b.q, n);
    b.now_us = 66000000;
    push(&b, 1, PRIO_NORMAL);
    assert_ptr_equal(rqueue_peek(&b.q), low);
    rqueue_deinit(&b.q);
}

static void test_policy_and_rate_change_live(void **state)
{
    (void)state;
    static struct bench b;
    setup(&b, false, 0.1);
    struct request *low = push(&b, 0, PRIO_LOW);
    b.now_us = 11000000;
    struct request *normal = push(&b, 1, PRIO_NORMAL);
    assert_ptr_equal(rqueue_peek(&b.q), low);
    rqueue_configure(&b.q, false, 0, b.now_us); /* no aging: bases decide */
    assert_ptr_equal(rqueue_peek(&b.q), normal);
    struct request *high = push(&b, 2, PRIO_HIGH);
    assert_ptr_equal(rqueue_peek(&b.q), high);
    rqueue_configure(&b.q, true, 0.1, b.now_us);
    assert_ptr_equal(rqueue_peek(&b.q), low);
    rqueue_configure(&b.q, false, 1, b.now_us); /* LOW made 11 levels good */
    assert_ptr_equal(rqueue_peek(&b.q), low);
    rqueue_deinit(&b.q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_against_reference),     cmocka_unit_test(test_aging_exactly),
        cmocka_unit_test(test_order_stays_while_waiting),   cmocka_unit_test(test_running_does_not_age),
        cmocka_unit_test(test_policy_and_rate_change_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
