/* /why: the whole sentence for each state that a session can be in, from made-up snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "ui/why.h"

static struct snapshot snap;

static int set_up(void **state)
{
    (void)state;
    memset(&snap, 0, sizeof snap);
    snap.state = ENGINE_READY;
    snap.now_us = 100 * 1000000;
    snap.step = 500;
    snap.max_batch_size = 4;
    snap.max_batch_tokens = 256;
    snap.aging_rate = 0.1;
    snap.block_tokens = 16;
    snap.kv_total = 128;
    snap.kv_free = 3;
    snap.kv_cached = 2;
    return 0;
}

static struct snap_request *add_waiter(uint32_t tag, enum prio base, double waited_s, enum wait_reason why)
{
    struct snap_request *rq = &snap.queue[snap.n_queue++];
    *rq = (struct snap_request){.tag = tag,
                                .arrival = tag,
                                .base = base,
                                .effective = (double)base - waited_s * snap.aging_rate,
                                .state = REQ_WAITING,
                                .wait_reason = why,
                                .waited_us = (int64_t)(waited_s * 1e6),
                                .n_prompt = 100,
                                .max_tokens = 64};
    snprintf(rq->id, sizeof rq->id, "job-%u", (unsigned)tag);
    snap.queue_total = snap.n_queue;
    return rq;
}

static struct snap_request *add_running(uint32_t tag, enum prio base, double effective)
{
    struct snap_request *rq = &snap.running[snap.n_running++];
    *rq = (struct snap_request){.tag = tag,
                                .arrival = 100 + tag,
                                .base = base,
                                .effective = effective,
                                .state = REQ_RUNNING,
                                .n_prompt = 100,
                                .n_computed = 110,
                                .n_generated = 10,
                                .max_tokens = 64,
                                .tps = 41};
    return rq;
}

static struct snap_event *add_event(enum snap_event_kind kind, uint32_t tag, double ago_s)
{
    struct snap_event *ev = &snap.events[snap.n_events++];
    *ev = (struct snap_event){.kind = (uint8_t)kind,
                              .tag = tag,
                              .arrival = tag,
                              .step = 480,
                              .t_us = snap.now_us - (int64_t)(ago_s * 1e6)};
    return ev;
}

static void expect(uint32_t tag, const char *want)
{
    struct buf got = BUF_INIT;
    assert_true(why_explain(&snap, tag, &got));
    assert_string_equal(buf_str(&got), want);
    buf_free(&got);
}

static void expect_part(uint32_t tag, const char *part, bool there)
{
    struct buf got = BUF_INIT;
    assert_true(why_explain(&snap, tag, &got));
    if ((strstr(buf_str(&got), part) != NULL) != there)
        fail_msg("%s%s in: %s", part, there ? " isn't" : " is", buf_str(&got));
    buf_free(&got);
}

static void head_without_a_place(void **state)
{
    (void)state;
    add_waiter(3, PRIO_LOW, 16, WAIT_SLOTS);
    for (uint32_t i = 0; i < 4; i++)
        add_running(10 + i, PRIO_NORMAL, 1);
    expect(3,
           "Session 3 has waited 16s. It is number 1 of 1 in the queue. The batch is full: 4 of 4 places are "
           "taken. "
           "It is the head of the queue: nobody is admitted before it. From low (2.0), 16s of waiting at "
           "0.1/s have "
           "brought it to 0.4. All who wait age alike, so it passes none of them, but in 4.0s it goes before "
           "newcomers of high. Nobody who runs has a worse base priority and a worse rank, so nobody is "
           "preempted for "
           "it.");
}

static void behind_others(void **state)
{
    (void)state;
    add_waiter(8, PRIO_CRITICAL, 0.1, WAIT_BLOCKS);
    add_waiter(0, PRIO_LOW, 30, WAIT_BLOCKS);
    add_waiter(5, PRIO_NORMAL, 5, WAIT_BLOCKS);
    add_waiter(6, PRIO_NORMAL, 5, WAIT_BLOCKS);
    add_waiter(7, PRIO_NORMAL, 5, WAIT_BLOCKS);
    expect(7, "Session 7 has waited 5.0s. It is number 5 of 5 in the queue. KV memory is short: 5 of 128 "
              "blocks are free "
              "or only cached, one is kept for each running sequence, and its 100 tokens take up to 7. Ahead "
              "of it: "
              "session 8 (critical, 0.1s, now -1.0: better base), job-0 (low, 30s, now -1.0: waited longer), "
              "session 5 "
              "(normal, 5.0s, now 0.5: came earlier) and 1 more. The head is never overtaken. From normal "
              "(1.0), 5.0s of "
              "waiting at 0.1/s have brought it to 0.5. All who wait age alike, so it passes none of them, "
              "but in 5.0s "
              "it goes before newcomers of high.");
    expect_part(6, "more", false); /* three are ahead of it, and named */
}

static void other_needs(void **state)
{
    (void)state;
    struct snap_request *rq = add_waiter(1, PRIO_NORMAL, 35, WAIT_PREFIX);
    expect_part(1, "just computing the same beginning", true);
    expect_part(1, "No newcomer of any priority", true);
    rq->wait_reason = WAIT_COALESCING;
    expect_part(1, "start together", true);
    expect_part(1, "preempted for it", false);
    snap.aging_rate = 0;
    expect_part(1, "Aging is off", true);
    snap.state = ENGINE_WARMING;
    expect(1, "Session 1 has waited 35s: the engine is WARMING, and begins with it when it is READY.");
}

/* Each model has its own queue and batch. */
static void several_models(void **state)
{
    (void)state;
    snap.n_models = 2;
    add_waiter(3, PRIO_HIGH, 9, WAIT_SLOTS);
    add_waiter(4, PRIO_NORMAL, 2, WAIT_SLOTS)->model = 1;
    add_running(5, PRIO_LOW, 2);
    expect_part(
        4, "It is number 1 of 1 in the queue. All places in the batch of its model are taken. It is the head",
        true);
    expect_part(4, "nobody is preempted for it", true);
    expect_part(3, "It may take the place of session 5 (low)", true);
}

/* Whom it may push out: a strictly worse base, and a worse rank. */
static void seats(void **state)
{
    (void)state;
    add_waiter(1, PRIO_HIGH, 0.5, WAIT_SLOTS);
    struct snap_request *victim = add_running(4, PRIO_LOW, 1.5);
    expect_part(1, "It may take the place of session 4 (low)", true);
    victim->effective = -0.5; /* it had waited so long that it ranks before */
    expect_part(1, "nobody is preempted for it", true);
    victim->effective = 1;
    victim->base = PRIO_HIGH;
    expect_part(1, "nobody is preempted for it", true);
}

static void preempted(void **state)
{
    (void)state;
    struct snap_request *rq = add_waiter(3, PRIO_LOW, 20, WAIT_SLOTS);
    rq->state = REQ_PREEMPTED;
    rq->n_generated = 12;
    struct snap_event *ev = add_event(SNAP_EVENT_PREEMPT, 3, 8.1);
    ev->by_tag = 2;
    ev->by_arrival = 9;
    ev->blocks = 14;
    ev->parked = true;
    add_event(SNAP_EVENT_PREEMPT, 3, 1)->arrival = 99; /* another request of the session */
    expect_part(
        3,
        "Session 3 was preempted by session 2, 8.1s ago, after step 480. Its 14 blocks were parked in host "
        "memory, "
        "to be copied back. The 12 tokens made so far stay, and it goes on as if nothing had happened. It is "
        "number 1 of 1 in the queue.",
        true);
    ev->parked = false;
    ev->by_arrival = ev->arrival;
    expect_part(3, "it needed another block, none was free, and nobody else could give one up, 8.1s ago",
                true);
    expect_part(3, "dropped, to be computed again", true);
    snap.n_events = 0; /* so long ago that it isn't known any more */
    expect_part(3, "Session 3 was preempted. The 12 tokens", true);
}

static void in_the_batch(void **state)
{
    (void)state;
    struct snap_request *rq = add_running(2, PRIO_NORMAL, 1);
    struct snap_step *step = &snap.step_ring[snap.n_steps++];
    *step =
        (struct snap_step){.step = 500, .budget = 256, .n_items = 3, .n_decodes = 2, .n_prefill_tokens = 64};
    step->items[0] = (struct snap_step_item){.arrival = 102, .tag = 2, .n_tokens = 1};
    step->items[1] = (struct snap_step_item){.arrival = 103, .tag = 3, .n_tokens = 1};
    step->items[2] = (struct snap_step_item){.arrival = 104, .tag = 4, .n_tokens = 64, .prefill = true};
    expect(2, "Session 2 is running at 41 tok/s, a token each step: 10 of at most 64. Of step 500 it has 1 "
              "of 66 tokens "
              "(budget 256), beside 2 other sequences: 2 decode, 64 tokens are prefill.");
    rq->waited_us = 1500000;
    rq->preemptions = 2;
    expect_part(2, " It waited 1.5s in all, and was preempted 2 times.", true);
    snap.frozen = true;
    expect_part(2, "frozen", true);
    rq = add_running(4, PRIO_NORMAL, 1);
    rq->state = REQ_PREFILLING;
    rq->n_computed = 50;
    rq->cached_tokens = 32;
    expect(4, "Session 4 is reading its prompt: 50 of 100 tokens are computed (50%), 32 of them from blocks "
              "that were "
              "cached or shared. Of "
              "step 500 it has 64 of 66 tokens (budget 256), beside 2 other sequences: 2 decode, 64 tokens "
              "are prefill. "
              "Decodes come first in every step; prompts share what is left of the budget.");
    step->n_items = 1;
    expect_part(4, "It has no part in the present step.", true);
}

static void idle(void **state)
{
    (void)state;
    expect(6, "Session 6 asks for nothing at present.");
    struct snap_event *ev = add_event(SNAP_EVENT_FINISH, 6, 12);
    ev->code = FINISH_LENGTH;
    ev->tokens = 64;
    expect(6,
           "Session 6 asks for nothing at present. Its last request ended 12s ago (length) with 64 tokens.");
    add_event(SNAP_EVENT_REJECT, 6, 2)->code = WEFT_QUEUE_FULL;
    expect(6, "Session 6 asks for nothing at present. Its last request was refused 2.0s ago: QUEUE_FULL.");
}

static void out_of_memory(void **state)
{
    (void)state;
    struct buf got = BUF_INIT;
    mem_fail_at(1);
    assert_false(why_explain(&snap, 6, &got));
    mem_fail_at(0);
    buf_free(&got);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(head_without_a_place), TEST(behind_others), TEST(other_needs),  TEST(seats),
        TEST(several_models),       TEST(preempted),     TEST(in_the_batch), TEST(idle),
        TEST(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
