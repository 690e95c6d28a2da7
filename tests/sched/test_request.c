/* The request's life cycle: every edge of the diagram, no other, and the times booked on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/request.h"

static bool go_admit(struct request *r)
{
    return req_admit(r, 100);
}
static bool go_run(struct request *r)
{
    return req_run(r, 100);
}
static bool go_preempt(struct request *r)
{
    return req_preempt(r, 100);
}
static bool go_resume(struct request *r)
{
    return req_resume(r, 100);
}
static bool go_complete(struct request *r)
{
    return req_end(r, REQ_COMPLETED, 100);
}
static bool go_cancel(struct request *r)
{
    return req_end(r, REQ_CANCELLED, 100);
}
static bool go_fail(struct request *r)
{
    return req_end(r, REQ_FAILED, 100);
}
static bool go_time_out(struct request *r)
{
    return req_end(r, REQ_TIMEOUT, 100);
}

/* For each transition, the states that it may be taken from, in the order of enum req_state, and where it leads. */
static const struct {
    bool (*go)(struct request *);
    const char *from; /* one character a state: 'y' legal */
    enum req_state to;
} transitions[] = {
    /*              WPRPCCFT  (waiting prefilling running preempted completed cancelled failed timeout) */
    {go_admit, "y.......", REQ_PREFILLING},   {go_run, ".y......", REQ_RUNNING},
    {go_preempt, ".yy.....", REQ_PREEMPTED},  {go_resume, "...y....", REQ_PREFILLING},
    {go_complete, ".yy.....", REQ_COMPLETED}, {go_cancel, "yyyy....", REQ_CANCELLED},
    {go_fail, "yyyy....", REQ_FAILED},        {go_time_out, "yyyy....", REQ_TIMEOUT},
};

static void test_every_transition(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof transitions / sizeof transitions[0]; t++) {
        for (int from = 0; from < REQ_STATE_COUNT; from++) {
            struct request r = {.n_prompt = 3}, before;
            req_begin(&r, 1, 0);
            r.state = (enum req_state)from;
            before = r;
            bool legal = transitions[t].from[from] == 'y';
            assert_int_equal(transitions[t].go(&r), legal);
            if (legal)
                assert_int_equal(r.state, transitions[t].to);
            else
                assert_memory_equal(&r, &before, sizeof r);
        }
    }
}

static void test_no_end_is_not_an_end(void **state)
{
    (void)state;
    struct request r = {.n_prompt = 1};
    req_begin(&r, 1, 0);
    assert_false(req_end(&r, REQ_PREFILLING, 1));
    assert_false(req_end(&r, REQ_PREEMPTED, 1));
    assert_int_equal(r.state, REQ_WAITING);
}

static void test_times(void **state)
{
    (void)state;
    struct request r = {.n_prompt = 5, .base = PRIO_LOW};
    req_begin(&r, 7, 1000000);
    assert_int_equal(r.n_ids, 5);
    assert_int_equal(r.scheduled_us, -1);
    assert_float_equal(req_effective(&r, 0.1, 11000000), 1.0, 1e-12);
    assert_true(req_admit(&r, 11000000));
    assert_int_equal(r.scheduled_us, 11000000);
    assert_true(req_run(&r, 13000000));
    assert_float_equal(req_waited_s(&r, 99000000), 10, 1e-12); /* running doesn't count */
    assert_true(req_preempt(&r, 14000000));
    assert_float_equal(req_waited_s(&r, 15000000), 11, 1e-12);
    assert_true(req_resume(&r, 19000000));
    assert_int_equal(r.scheduled_us, 11000000); /* the first admission */
    assert_true(req_run(&r, 20000000));
    assert_true(req_end(&r, REQ_COMPLETED, 22000000));
    assert_int_equal(r.arrival, 7);
    assert_int_equal(r.finish_us, 22000000);
    assert_int_equal(r.waited_us, 15000000);
    assert_int_equal(r.preempted_us, 5000000);
    assert_int_equal(r.preemptions, 1);
    const int64_t spent[REQ_STATE_COUNT] = {[REQ_WAITING] = 10000000,
                                            [REQ_PREFILLING] = 3000000,
                                            [REQ_RUNNING] = 3000000,
                                            [REQ_PREEMPTED] = 5000000};
    assert_memory_equal(r.state_us, spent, sizeof spent);
    assert_true(req_is_over(&r));
}

static void test_names(void **state)
{
    (void)state;
    enum prio p;
    for (int i = PRIO_CRITICAL; i <= PRIO_LOW; i++) {
        assert_true(prio_parse(prio_name((enum prio)i), &p));
        assert_int_equal(p, i);
    }
    p = PRIO_HIGH;
    assert_false(prio_parse("urgent", &p));
    assert_false(prio_parse("", &p));
    assert_int_equal(p, PRIO_HIGH);
    assert_string_equal(prio_name((enum prio)7), "?");
    assert_string_equal(prio_name((enum prio) - 2), "?");
    assert_string_equal(req_state_name(REQ_PREEMPTED), "preempted");
    assert_string_equal(req_state_name(REQ_STATE_COUNT), "?");
    assert_string_equal(finish_reason_name(FINISH_LENGTH), "length");
    assert_string_equal(wait_reason_name(WAIT_COALESCING), "coalescing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_transition),
        cmocka_unit_test(test_no_end_is_not_an_end),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
