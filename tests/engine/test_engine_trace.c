/* What a snapshot tells of the past: events in their order, and the mark of a preemption in the step that caused it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/engine_rig.h"

enum { PROMPT = 10, GEN = 30 };

static bool generated_some(const struct snapshot *s, const void *arg)
{
    return s->n_running == 1 && s->running[0].n_generated >= *(const uint32_t *)arg;
}

/* The last event is the end of a request of this session: a snapshot may be a little older than what an inbox tells. */
static bool ended_last(const struct snapshot *s, const void *arg)
{
    const struct snap_event *ev = s->n_events ? &s->events[s->n_events - 1] : NULL;
    return ev && ev->kind == SNAP_EVENT_FINISH && ev->tag == *(const uint32_t *)arg;
}

static bool one_preempted(const struct snapshot *s, const void *arg)
{
    (void)arg;
    return s->n_queue == 1 && s->queue[0].state == REQ_PREEMPTED && s->queue_total == 1;
}

static struct engine_request request(const uint32_t *prompt, uint32_t tag, enum prio prio)
{
    struct engine_request rq = rig_request(prompt, PROMPT, GEN);
    rq.tag = tag;
    rq.has_priority = true;
    rq.priority = prio;
    return rq;
}

static const struct snap_event *find(const struct snapshot *s, enum snap_event_kind kind, uint32_t tag)
{
    for (uint32_t i = 0; i < s->n_events; i++)
        if (s->events[i].kind == kind && s->events[i].tag == tag)
            return &s->events[i];
    fail_msg("no event of kind %d of %u", (int)kind, (unsigned)tag);
    return NULL;
}

/* A batch of one: a LOW request runs, its priority changes within what can be preempted, a HIGH one takes its place. */
static void test_preemption_is_told(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT], three = 3;
    char low[REQ_ID_MAX], high[REQ_ID_MAX];
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    r.cfg.max_batch_size = 1;
    r.cfg.preemption = SCHED_PREEMPT_RECOMPUTE;
    r.cfg.max_preemptions = 3;
    fake_exec_gate(r.fake, true);
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    rig_ids(1, prompt, PROMPT);
    struct engine_request rq = request(prompt, 3, PRIO_LOW);
    rig_submit(&r, &rq, low);
    fake_exec_permit(r.fake, 5);
    rig_wait_snapshot(&r, generated_some, &three);
    engine_set_priority(r.engine, low, PRIO_NORMAL);
    rq = request(prompt, 2, PRIO_HIGH);
    rig_submit(&r, &rq, high);
    rig_pump(&r, 20); /* the engine has taken both before the step under way ends */
    fake_exec_permit(r.fake, 2);
    rig_wait_snapshot(&r, one_preempted, NULL); /* listed, and counted once */
    fake_exec_gate(r.fake, false);
    rig_wait_end(&r, high);
    rig_wait_end(&r, low);
    rig_wait_snapshot(&r, ended_last, &(uint32_t){3});
    engine_snapshot(r.engine, s);

    const struct snap_event *lost = find(s, SNAP_EVENT_PREEMPT, 3), *in = find(s, SNAP_EVENT_ADMIT, 2);
    const struct snap_event *first = find(s, SNAP_EVENT_ADMIT, 3), *back = find(s, SNAP_EVENT_RESUME, 3);
    const struct snap_event *moved = find(s, SNAP_EVENT_PRIORITY, 3), *ended = find(s, SNAP_EVENT_FINISH, 2);
    assert_true(first < moved && moved < lost && lost < in && in < ended && ended < back);
    assert_int_equal(moved->from, PRIO_LOW);
    assert_int_equal(moved->to, PRIO_NORMAL);
    assert_int_equal(lost->by_tag, 2);
    assert_int_equal(lost->arrival, 1);
    assert_int_equal(lost->by_arrival, 2);
    assert_string_equal(lost->id, low);
    assert_false(lost->parked);
    assert_true(lost->blocks > 0 && back->tokens > 0); /* dropped, and computed again */
    assert_int_equal(ended->code, FINISH_LENGTH);
    assert_int_equal(ended->tokens, GEN);
    assert_int_equal(s->events[0].kind, SNAP_EVENT_STATE);
    assert_int_equal(s->events[0].to, ENGINE_LOADING);
    for (uint32_t i = 1; i < s->n_events; i++)
        assert_true(s->events[i].t_us >= s->events[i - 1].t_us);

    uint32_t marks = 0;
    for (uint32_t i = 0; i < s->n_steps; i++) {
        const struct snap_step *step = snapshot_step(s, i);
        marks += step->n_preempted;
        if (!step->n_preempted)
            continue;
        assert_int_equal(step->preempted[0].tag, 3);
        assert_int_equal(step->preempted[0].arrival, 1);
        assert_int_equal(step->preempted[0].slot,
                         snapshot_step(s, 0)->items[0].slot); /* the row that it had */
        assert_int_equal(step->items[0].tag, 2);
        assert_int_equal(step->step, lost->step + 1);
    }
    assert_int_equal(marks, 1);
    rig_stop(&r);
    rig_free(&r);
    snapshot_free(s);
    free(s);
}

/* Refusals by the engine itself, and cancelling; and only the latest are kept. */
static void test_ends_are_told(void **state)
{
    (void)state;
    struct rig r;
    uint32_t prompt[PROMPT];
    char id[REQ_ID_MAX];
    struct snapshot *s = calloc(1, sizeof *s);
    rig_init(&r);
    rig_start(&r);
    rig_wait_state(&r, ENGINE_READY);
    rig_ids(2, prompt, PROMPT);
    struct engine_request rq = request(prompt, 5, PRIO_NORMAL);
    rq.model = "another";
    rig_submit(&r, &rq, id);
    rig_wait_end(&r, id);
    fake_exec_gate(r.fake, true);
    rq = request(prompt, 6, PRIO_NORMAL);
    rig_submit(&r, &rq, id);
    rig_wait_admit(&r, id);
    engine_cancel(r.engine, id);
    fake_exec_gate(r.fake, false);
    rig_wait_end(&r, id);
    rig_wait_snapshot(&r, ended_last, &(uint32_t){6});
    engine_snapshot(r.engine, s);
    assert_int_equal(find(s, SNAP_EVENT_REJECT, 5)->code, WEFT_MODEL_NOT_LOADED);
    assert_int_equal(find(s, SNAP_EVENT_FINISH, 6)->code, FINISH_CANCELLED);

    for (uint32_t i = 0; i < SNAP_EVENTS; i++) {
        rq = request(prompt, 7, PRIO_NORMAL);
        rq.max_tokens = 1;
        rig_submit(&r, &rq, id);
        rig_wait_end(&r, id);
    }
    rig_wait_snapshot(&r, ended_last, &(uint32_t){7});
    engine_snapshot(r.engine, s);
    assert_int_equal(s->n_events, SNAP_EVENTS);
    for (uint32_t i = 0; i < s->n_events; i++)
        assert_int_equal(s->events[i].tag, 7);
    rig_stop(&r);
    rig_free(&r);
    snapshot_free(s);
    free(s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preemption_is_told),
        cmocka_unit_test(test_ends_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
