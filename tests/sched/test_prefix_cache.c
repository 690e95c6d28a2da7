/* The prefix cache and forks as the scheduler uses them: what is shared, what is waited for, and that nobody
 * notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sim_rig.h"

static void setup(struct sim *g)
{
    sim_init(g);
    g->cfg.prefix_cache = true;
    g->cfg.block_tokens = 16;
    g->cfg.n_blocks = 256;
    g->cfg.max_batch_tokens = 128;
}

/* A request whose first n_shared prompt tokens are those of every other made with the same seed. */
static struct request *make(struct sim *g, const char *id, uint32_t n_shared, uint32_t n_own,
                            uint32_t max_tokens, uint64_t seed)
{
    struct request *r = sim_make(g, id, PRIO_NORMAL, n_shared + n_own, max_tokens, seed);
    for (uint32_t i = 0; i < n_own; i++)
        r->ids[n_shared + i] = (uint32_t)(strlen(id) * 31 + (unsigned char)id[0] * 7 + i) % 1000;
    return r;
}

static struct request *submit(struct sim *g, const char *id, uint32_t n_shared, uint32_t n_own,
                              uint32_t max_tokens, uint64_t seed)
{
    struct request *r = make(g, id, n_shared, n_own, max_tokens, seed);
    assert_int_equal(sim_offer(g, r, NULL), WEFT_OK);
    return r;
}

static void check_all_alone(const struct sim *g)
{
    for (size_t i = 0; i < g->n_reqs; i++)
        assert_true(sim_same_alone(g, g->reqs[i], true));
}

static uint32_t prefill_tokens(const struct sim *g)
{
    uint32_t n = 0;
    const struct sim_event *e;
    for (uint32_t i = 0; (e = sim_event(g, SCHED_STEP, NULL, i)); i++)
        n += e->n_prefill_tokens;
    return n;
}

/* cached_tokens: the largest multiple of the block size below the prompt's length that the cache holds. */
static void test_cached_tokens(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_prompt, cached;
    } cases[] = {{64, 48}, {65, 64}, {63, 48}, {16, 0}, {17, 16}, {1, 0}, {100, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sim g;
        setup(&g);
        sim_start(&g);
        submit(&g, "first", 64, 5, 2, 1); /* computes 70: 4 full blocks, all shared */
        sim_run(&g, 10);
        uint32_t shared = cases[i].n_prompt < 64 ? cases[i].n_prompt : 64;
        struct request *r = submit(&g, "second", shared, cases[i].n_prompt - shared, 3, 1);
        sim_run(&g, 10);
        assert_int_equal(r->cached_tokens, cases[i].cached);
        assert_int_equal(sim_event(&g, SCHED_ADMIT, r, 0)->cached_tokens, cases[i].cached);
        check_all_alone(&g);
        sim_deinit(&g);
    }
}

static void test_four_at_once_prefill_once(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    char id[2] = "a";
    for (; id[0] < 'e'; id[0]++)
        submit(&g, id, 512, 40, 8, 3);
    sim_step(&g);
    struct sched_counts c;
    sched_counts(g.s, &c);
    assert_int_equal(c.waiting_by_reason[WAIT_PREFIX], 3);
    sim_run(&g, 100);
    assert_int_equal(prefill_tokens(&g), 512 + 4 * 40);
    sched_counts(g.s, &c);
    assert_int_equal(c.prefix_query_tokens, 4 * 552);
    assert_int_equal(c.prefix_hit_tokens, 3 * 512);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* The one that is waited for goes away: the waiters go on by themselves. */
static void test_awaited_one_is_cancelled(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    struct request *a = submit(&g, "a", 512, 40, 8, 3), *b = submit(&g, "b", 512, 40, 8, 3);
    sim_step(&g);
    assert_int_equal(b->wait_reason, WAIT_PREFIX);
    sched_cancel(g.s, a, g.now_us);
    sim_run(&g, 100);
    assert_int_equal(b->state, REQ_COMPLETED);
    assert_int_equal(b->cached_tokens, 128); /* what a had computed */
    assert_true(sim_same_alone(&g, b, true));
    sim_deinit(&g);
}

/* Who is waited for gets its share of the budget as if it had the waiter's priority. */
static void test_awaited_one_inherits_priority(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    struct request *low = make(&g, "low", 512, 10, 4, 3);
    low->base = PRIO_LOW;
    assert_int_equal(sim_offer(&g, low, NULL), WEFT_OK);
    sim_step(&g);
    struct request *normal =
        sim_submit(&g, "normal", PRIO_NORMAL, 600, 4, 9); /* would take the whole budget for itself */
    sim_step(&g);
    assert_int_equal(normal->n_computed, 128);
    struct request *vip = make(&g, "vip", 512, 10, 4, 3);
    vip->base = PRIO_CRITICAL;
    assert_int_equal(sim_offer(&g, vip, NULL), WEFT_OK);
    for (int i = 0; i < 4; i++)
        sim_step(&g);
    assert_int_equal(normal->n_computed, 128 + 128 - 10); /* the prefix was served first */
    assert_int_equal(vip->cached_tokens, 512);
    sim_run(&g, 100);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* With all seats taken: who will wait for a prefix anyway sends nobody away for it before it is there. */
static void test_no_seat_is_taken_just_to_wait(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    g.cfg.max_batch_size = 2;
    g.cfg.preemption = SCHED_PREEMPT_RECOMPUTE;
    g.cfg.max_preemptions = 3;
    sim_start(&g);
    struct request *chat = sim_make(&g, "chat", PRIO_LOW, 10, 100, 9);
    assert_int_equal(sim_offer(&g, chat, NULL), WEFT_OK);
    sim_step(&g);
    struct request *book = make(&g, "book", 512, 10, 40, 3);
    assert_int_equal(sim_offer(&g, book, NULL), WEFT_OK);
    sim_step(&g);
    struct request *vip = make(&g, "vip", 512, 10, 4, 3);
    vip->base = PRIO_CRITICAL;
    assert_int_equal(sim_offer(&g, vip, NULL), WEFT_OK);
    while (book->state == REQ_PREFILLING) {
        assert_int_equal(chat->state, REQ_RUNNING);
        sim_step(&g);
        assert_int_equal(vip->wait_reason, WAIT_PREFIX);
    }
    sim_step(&g);
    assert_int_equal(chat->state, REQ_PREEMPTED); /* now there is use for the seat */
    assert_int_equal(vip->cached_tokens, 512);
    sim_run(&g, 300);
    check_all_alone(&g);
    sim_deinit(&g);
}

static void test_salt_separates(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    submit(&g, "a", 64, 5, 2, 1);
    sim_run(&g, 10);
    struct request *b = make(&g, "b", 64, 5, 2, 1);
    b->salt = 42;
    assert_int_equal(sim_offer(&g, b, NULL), WEFT_OK);
    sim_run(&g, 10);
    struct request *c = make(&g, "c", 64, 5, 2, 1);
    c->salt = 42;
    assert_int_equal(sim_offer(&g, c, NULL), WEFT_OK);
    sim_run(&g, 10);
    assert_int_equal(b->cached_tokens, 0);
    assert_int_equal(c->cached_tokens, 64);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* A chat's second message: its own first turn, prompt and reply, is not computed again. */
static void test_own_earlier_turn(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    struct request *one = sim_submit(&g, "one", PRIO_NORMAL, 100, 60, 1);
    sim_run(&g, 100);
    struct request *two = sim_make(&g, "two", PRIO_NORMAL, 160 + 20, 10, 2);
    memcpy(two->ids, one->ids, 160 * sizeof(uint32_t));
    assert_int_equal(sim_offer(&g, two, NULL), WEFT_OK);
    sim_run(&g, 100);
    assert_int_equal(two->cached_tokens, 144); /* 159 computed: 9 full blocks */
    check_all_alone(&g);
    sim_deinit(&g);
}

static void test_scoring_reads_no_cache(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    sim_start(&g);
    submit(&g, "a", 64, 5, 2, 1);
    sim_run(&g, 10);
    struct request *s = make(&g, "score", 64, 5, 0, 1);
    s->all_logits = true;
    assert_int_equal(sim_offer(&g, s, NULL), WEFT_OK);
    uint32_t before = prefill_tokens(&g);
    sim_run(&g, 10);
    assert_int_equal(s->cached_tokens, 0);
    assert_int_equal(prefill_tokens(&g) - before, 69);
    sim_deinit(&g);
}

/* A fork of a running sequence: full blocks shared, the part-filled one copied by the child, nobody's text
 * disturbed. */
static void test_fork(void **state)
{
    (void)state;
    for (int cache = 0; cache <= 1; cache++) {
        struct sim g;
        setup(&g);
        g.cfg.prefix_cache = cache;
        sim_start(&g);
        struct request *parent = sim_submit(&g, "parent", PRIO_NORMAL, 40, 60, 1);
        for (int i = 0; i < 11; i++)
            sim_step(&g); /* 11 generated, 50 computed */
        assert_int_equal(parent->n_computed, 50);
        struct request *child[2];
        for (uint32_t i = 0; i < 2; i++) {
            child[i] = sim_make(&g, i ? "same" : "other", PRIO_NORMAL, i ? 51 : 53, 30, 2);
            memcpy(child[i]->ids, parent->ids, 51 * sizeof(uint32_t));
            child[i]->fork_of = "parent";
            assert_int_equal(sim_offer(&g, child[i], NULL), WEFT_OK);
        }
        uint32_t before = prefill_tokens(&g);
        sim_step(&g);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(child[i]->cached_tokens, 50);
            for (uint32_t b = 0; b < 3; b++)
                assert_int_equal(child[i]->blocks[b], parent->blocks[b]);
            assert_int_not_equal(child[i]->blocks[3], parent->blocks[3]);
        }
        assert_int_equal(prefill_tokens(&g) - before, 3 + 1);
        uint64_t owner[256];
        sched_block_owners(g.s, owner, 256);
        assert_int_equal(owner[parent->blocks[0]], SCHED_OWNER_SHARED);
        assert_int_equal(owner[parent->blocks[3]], parent->arrival);
        sim_run(&g, 200);
        check_all_alone(&g);
        assert_memory_equal(child[1]->ids, parent->ids,
                            81 * sizeof(uint32_t)); /* the same beginning, the same text */
        sim_deinit(&g);
    }
}

static void test_fork_outlives_its_parent(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    g.cfg.prefix_cache = false;
    sim_start(&g);
    struct request *parent = sim_submit(&g, "parent", PRIO_NORMAL, 40, 60, 1);
    sim_step(&g);
    struct request *child = sim_make(&g, "child", PRIO_NORMAL, 45, 30, 2);
    memcpy(child->ids, parent->ids, 40 * sizeof(uint32_t));
    child->fork_of = "parent";
    assert_int_equal(sim_offer(&g, child, NULL), WEFT_OK);
    sim_step(&g);
    sched_cancel(g.s, parent, g.now_us);
    assert_true(sim_check(&g));
    sim_run(&g, 100);
    assert_true(sim_same_alone(&g, child, true));
    struct request *orphan =
        sim_make(&g, "orphan", PRIO_NORMAL, 45, 5, 2); /* the parent is gone: computed like any other */
    orphan->fork_of = "parent";
    assert_int_equal(sim_offer(&g, orphan, NULL), WEFT_OK);
    sim_run(&g, 100);
    assert_int_equal(orphan->cached_tokens, 0);
    assert_true(sim_same_alone(&g, orphan, true));
    sim_deinit(&g);
}

/* A fork that ends in the very step that copied its part-filled block, and its parent with it: what they
 * leave is evicted in good order, children before parents. */
static void test_fork_ends_with_its_parent(void **state)
{
    (void)state;
    struct sim g;
    setup(&g);
    g.cfg.block_tokens = 3;
    g.cfg.n_blocks = 4;
    sim_start(&g);
    struct request *parent = sim_submit(&g, "parent", PRIO_NORMAL, 8, 2, 1);
    sim_step(&g);
    struct request *child = sim_make(&g, "child", PRIO_NORMAL, 5, 1, 2);
    memcpy(child->ids, parent->ids, 5 * sizeof(uint32_t));
    child->fork_of = "parent";
    assert_int_equal(sim_offer(&g, child, NULL), WEFT_OK);
    sim_step(&g);
    assert_true(req_is_over(parent) && req_is_over(child));
    assert_int_equal(child->cached_tokens, 4);
    struct request *next = sim_submit(&g, "next", PRIO_NORMAL, 8, 3, 3); /* takes the whole pool */
    sim_run(&g, 20);
    assert_int_equal(next->state, REQ_COMPLETED);
    check_all_alone(&g);
    sim_deinit(&g);
}

/* Under preemption too: what the cache still has is taken, the rest restored or recomputed. */
static void test_resume_from_the_cache(void **state)
{
    (void)state;
    for (int mode = SCHED_PREEMPT_PARK; mode <= SCHED_PREEMPT_RECOMPUTE; mode++) {
        struct sim g;
        setup(&g);
        g.cfg.max_batch_size = 1;
        g.cfg.preemption = (enum sched_preemption)mode;
        g.cfg.max_preemptions = 3;
        g.cfg.n_park_slots = 32;
        sim_start(&g);
        struct request *low = sim_submit(&g, "low", PRIO_LOW, 100, 60, 1);
        for (int i = 0; i < 10; i++)
            sim_step(&g); /* 109 computed: 6 full blocks and 13 tokens */
        sim_submit(&g, "vip", PRIO_HIGH, 20, 5, 2);
        sim_run(&g, 200);
        const struct sim_event *e = sim_event(&g, SCHED_RESUME, low, 0);
        assert_int_equal(e->cached_tokens, 96);
        assert_int_equal(e->blocks, mode == SCHED_PREEMPT_PARK);
        assert_int_equal(e->tokens, mode == SCHED_PREEMPT_PARK ? 0 : 13);
        check_all_alone(&g);
        sim_deinit(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cached_tokens),
        cmocka_unit_test(test_four_at_once_prefill_once),
        cmocka_unit_test(test_awaited_one_is_cancelled),
        cmocka_unit_test(test_awaited_one_inherits_priority),
        cmocka_unit_test(test_no_seat_is_taken_just_to_wait),
        cmocka_unit_test(test_salt_separates),
        cmocka_unit_test(test_own_earlier_turn),
        cmocka_unit_test(test_scoring_reads_no_cache),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fork_outlives_its_parent),
        cmocka_unit_test(test_fork_ends_with_its_parent),
        cmocka_unit_test(test_resume_from_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
