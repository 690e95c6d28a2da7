/*
 * Property simulation: random requests and commands on tiny pools (mostly 1–8 blocks of 1–4 tokens), every
 * feature on or off by the seed. After every step all invariants hold (sim_check, check_plan); at the end
 * every request has ended once, in the way it should, with the tokens that it makes alone, and all blocks are
 * back.
 *
 * Each operation draws from a generator of its own, so that a run can leave some out: on a failure the run is
 * shrunk to the operations that it takes, and these are printed. What was found so stays as a test by name in
 * the file that it concerns, since a seed means something else once the draws change.
 *
 * In the environment: WEFT_SEEDS=n runs seeds 1…n (default 1000; a long run: 1000000), WEFT_SEED=n that one
 * alone, WEFT_DROP=a,b-c,… without these operations.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/hash.h"
#include "tests/support/sim_rig.h"

enum { MAX_OPS = 100 };

static bool trace;

/* What the seeds together must have brought about, or the simulation proves less than it claims. */
static struct {
    uint32_t parked, dropped, restored, recomputed, cached, forked, timeouts, failures, cancels,
        evicted_waiters, prefix_waits;
} seen;

#define SAY(...)                                                                                             \
    do {                                                                                                     \
        if (trace)                                                                                           \
            print_message(__VA_ARGS__);                                                                      \
    } while (0)

static uint32_t below(struct rng *rng, uint32_t n)
{
    return (uint32_t)rng_below(rng, n);
}

/* Any configuration that is legal, small enough that everything collides. */
static void draw_config(struct sim *g, struct rng *rng)
{
    struct sched_config *c = &g->cfg;
    c->n_blocks = below(rng, 8) ? 1 + below(rng, 8) : 9 + below(rng, 24); /* now and then room for a crowd */
    c->block_tokens = 1 + below(rng, 4);
    c->max_batch_size = 1 + below(rng, 5);
    c->max_batch_tokens = c->max_batch_size + below(rng, 12);
    c->fifo = below(rng, 5) == 0;
    c->one_at_a_time = below(rng, 8) == 0;
    c->aging_rate = (double)below(rng, 3) * 50; /* steps take about 1 ms */
    c->max_depth = below(rng, 4) ? 1000 : 1 + below(rng, 4);
    c->reject_when_full = below(rng, 2);
    c->preemption = (enum sched_preemption)below(rng, 4);
    c->max_preemptions = below(rng, 4);
    c->n_park_slots = below(rng, 3) ? below(rng, 10) : 0;
    c->prefix_cache = below(rng, 3) > 0;
    c->min_batch_size = below(rng, 4);
    c->batch_timeout_us = below(rng, 5000);
    c->adaptive_timeout = below(rng, 2);
    c->itl_target_us = below(rng, 4) ? 0 : 900 + below(rng, 300);
    c->max_logits = below(rng, 4) ? 0 : c->max_batch_size + below(rng, 4);
    g->sim.park_us = below(rng, 60);
    g->sim.n_vocab = 500;
}

struct run {
    struct sim g;
    struct rng rng; /* of the present operation */
    uint32_t n_made;
    bool dropped[MAX_OPS];
};

static struct request *random_live(struct run *run)
{
    struct sim *g = &run->g;
    for (int tries = 0; tries < 8 && g->n_reqs; tries++) {
        struct request *r = g->reqs[below(&run->rng, (uint32_t)g->n_reqs)];
        if (r->arrival && !req_is_over(r))
            return r;
    }
    return NULL;
}

/* Prompts are drawn so that beginnings are often shared, up to any point. */
static void draw_prompt(struct run *run, struct request *r)
{
    struct sim *g = &run->g;
    if (below(&run->rng, 3) == 0)
        return; /* keep what sim_make drew: unlike any other */
    const struct request *like =
        below(&run->rng, 2) ? random_live(run) : g->reqs[below(&run->rng, (uint32_t)g->n_reqs)];
    uint32_t differs = below(&run->rng, 2 * r->n_prompt);
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        r->ids[i] = like && i < like->n_ids ? like->ids[i] : i % 3;
        if (i == differs)
            r->ids[i] = 400 + below(&run->rng, 3);
    }
    if (like && below(&run->rng, 3))
        r->fork_of = like->id;
}

static void op_submit(struct run *run)
{
    struct sim *g = &run->g;
    char id[16];
    struct weft_err err = {0};
    uint32_t pool = g->cfg.n_blocks * g->cfg.block_tokens;
    uint32_t n_prompt = 1 + below(&run->rng, pool), max_tokens = below(&run->rng, pool + 2 - n_prompt);
    snprintf(id, sizeof id, "r%u", run->n_made++);
    struct request *r =
        sim_make(g, id, (enum prio)((int)below(&run->rng, 4) - 1), n_prompt, max_tokens, rng_u64(&run->rng));
    r->all_logits = !max_tokens;
    r->preemptible = below(&run->rng, 5) > 0;
    r->salt = below(&run->rng, 6) == 0;
    r->timeout_us = below(&run->rng, 5) ? 0 : 1 + below(&run->rng, 40000);
    draw_prompt(run, r);
    enum weft_rc rc = sim_offer(g, r, &err);
    SAY("%lld submit %s %s prompt %u max %u%s%s%s: %s\n", (long long)g->now_us, r->id, prio_name(r->base),
        n_prompt, max_tokens, r->preemptible ? "" : " kept", r->fork_of ? " fork of " : "",
        r->fork_of ? r->fork_of : "", weft_rc_name(rc));
    if (n_prompt + max_tokens > pool)
        assert_int_equal(rc, WEFT_INVALID_REQUEST);
    else
        assert_true(rc == WEFT_OK || rc == WEFT_QUEUE_FULL);
}

static void op_cancel(struct run *run)
{
    struct request *r = random_live(run);
    if (!r)
        return;
    bool in_plan = r->in_plan;
    SAY("%lld cancel %s (%s%s)\n", (long long)run->g.now_us, r->id, req_state_name(r->state),
        in_plan ? ", in a step" : "");
    sched_cancel(run->g.s, r, run->g.now_us);
    assert_true(in_plan ? r->cancelled : r->state == REQ_CANCELLED); /* at once, or with the step */
    assert_int_equal(sched_find(run->g.s, r->id) != NULL, in_plan);
}

static void op_priority(struct run *run)
{
    struct request *r = random_live(run);
    enum prio to = (enum prio)((int)below(&run->rng, 4) - 1);
    if (r)
        sched_set_priority(run->g.s, r, to, run->g.now_us);
}

/* Commands that come while the device works. */
static void mid_step(void *ctx)
{
    struct run *run = ctx;
    uint32_t what = below(&run->rng, 40);
    if (what == 0)
        op_cancel(run);
    else if (what == 1)
        op_priority(run);
    else if (what == 2)
        op_submit(run);
    else if (what == 3 && below(&run->rng, 10) == 0)
        sched_cancel_all(run->g.s, run->g.now_us);
}

static void op_configure(struct run *run)
{
    struct sim *g = &run->g;
    struct sched_config c = g->cfg;
    c.max_batch_size = 1 + below(&run->rng, 5);
    c.max_batch_tokens = c.max_batch_size + below(&run->rng, 12);
    c.fifo = below(&run->rng, 2);
    c.preemption = (enum sched_preemption)below(&run->rng, 4);
    SAY("%lld configure size %u tokens %u preemption %d\n", (long long)g->now_us, c.max_batch_size,
        c.max_batch_tokens, c.preemption);
    sched_configure(g->s, &c, g->now_us);
    g->cfg = c;
}

static void op_step(struct run *run)
{
    struct sim *g = &run->g;
    if (below(&run->rng, 40) == 0)
        exec_sim_fail_at(g->x, 1);
    uint64_t failed = g->steps_failed;
    if (!sim_step(g))
        g->now_us += 500;
    struct sched_counts c;
    sched_counts(g->s, &c);
    seen.prefix_waits += c.waiting_by_reason[WAIT_PREFIX];
    exec_sim_fail_at(g->x, 0);
    if (g->steps_failed > failed) {
        SAY("%lld step failed\n", (long long)g->now_us);
        if (below(&run->rng, 3) == 0)
            sched_kv_lost(g->s, g->now_us);
        assert_true(sim_check(g));
    }
}

static void check_ends(const struct sim *g)
{
    struct sched_counts c;
    sched_counts(g->s, &c);
    assert_int_equal(c.blocks_used, 0);
    assert_int_equal(c.blocks_parked, 0);
    assert_int_equal(c.waiting + c.running, 0);
    for (size_t i = 0; i < g->n_reqs; i++) {
        const struct request *r = g->reqs[i];
        bool submitted = sim_count(g, SCHED_SUBMIT, r) == 1;
        assert_int_equal(sim_count(g, SCHED_REJECT, r), !submitted);
        assert_int_equal(sim_count(g, SCHED_FINISH, r), submitted);
        if (!submitted)
            continue;
        assert_true(req_is_over(r));
        assert_true(r->state != REQ_FAILED || r->error.code == WEFT_BATCH_FAILED ||
                    r->error.code == WEFT_QUEUE_FULL);
        assert_true(r->preemptions <= g->cfg.max_preemptions || g->steps_failed ||
                    sim_count(g, SCHED_PREEMPT, r) == r->preemptions);
        if (!sim_same_alone(g, r, r->state == REQ_COMPLETED))
            fail_msg("the tokens of %s depend on its company", r->id);
    }
}

static void note_events(const struct sim *g)
{
    for (size_t i = 0; i < g->n_events; i++) {
        const struct sim_event *e = &g->events[i];
        seen.parked += e->type == SCHED_PREEMPT && e->parked;
        seen.dropped += e->type == SCHED_PREEMPT && !e->parked;
        seen.restored += e->type == SCHED_RESUME ? e->blocks : 0;
        seen.recomputed += e->type == SCHED_RESUME ? e->tokens : 0;
        seen.cached += e->cached_tokens;
        seen.forked += e->cached_tokens % g->cfg.block_tokens != 0;
        seen.timeouts += e->type == SCHED_TIMEOUT;
        seen.cancels += e->type == SCHED_CANCEL;
        seen.evicted_waiters += e->type == SCHED_FINISH && e->req->error.code == WEFT_QUEUE_FULL;
    }
    seen.failures += (uint32_t)g->steps_failed;
}

/* One draw in 16 cancels: most requests are to live long enough to get in each other's way. */
static void (*const ops[])(struct run *) = {op_submit, op_submit, op_submit,   op_submit,   op_step, op_step,
                                            op_step,   op_step,   op_step,     op_step,     op_step, op_step,
                                            op_step,   op_cancel, op_priority, op_configure};

static void run_seed(uint64_t seed, const bool *dropped)
{
    struct run run = {0};
    rng_seed(&run.rng, mix64(seed));
    memcpy(run.dropped, dropped, sizeof run.dropped);
    sim_init(&run.g);
    draw_config(&run.g, &run.rng);
    run.g.mid_step = mid_step;
    run.g.mid_ctx = &run;
    sim_start(&run.g);
    sched_set_costs(run.g.s, run.g.sim.park_us, below(&run.rng, 3) * 20);
    SAY("seed %llu: %u blocks of %u, batch %u, %u tokens, preemption %d cap %u, %u slots, cache %d\n",
        (unsigned long long)seed, run.g.cfg.n_blocks, run.g.cfg.block_tokens, run.g.cfg.max_batch_size,
        run.g.cfg.max_batch_tokens, (int)run.g.cfg.preemption, run.g.cfg.max_preemptions,
        run.g.cfg.n_park_slots, run.g.cfg.prefix_cache);
    uint32_t n = 40 + below(&run.rng, MAX_OPS - 40);
    for (uint32_t i = 0; i < n; i++) {
        rng_seed(&run.rng, mix64(seed) + mix64(i + 1));
        if (run.dropped[i])
            continue;
        SAY("[%u] ", i);
        ops[below(&run.rng, sizeof ops / sizeof ops[0])](&run);
        SAY("\n");
        assert_true(sim_check(&run.g));
    }
    run.g.mid_step = NULL;
    sim_run(&run.g, 20000); /* with no more faults everything ends, and within a bound */
    check_ends(&run.g);
    note_events(&run.g);
    sim_deinit(&run.g);
}

static uint64_t env(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v ? strtoull(v, NULL, 10) : otherwise;
}

/* "3,10-14" → dropped[3], dropped[10] … dropped[14]. */
static void parse_drops(const char *text, bool *dropped)
{
    while (text && *text) {
        char *end;
        unsigned long from = strtoul(text, &end, 10), to = *end == '-' ? strtoul(end + 1, &end, 10) : from;
        for (unsigned long i = from; i <= to && i < MAX_OPS; i++)
            dropped[i] = true;
        text = *end == ',' ? end + 1 : NULL;
    }
}

static void format_drops(const bool *dropped, char *text, size_t size)
{
    size_t len = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < MAX_OPS && len + 16 < size; i++) {
        if (!dropped[i])
            continue;
        uint32_t from = i;
        while (i + 1 < MAX_OPS && dropped[i + 1])
            i++;
        len += (size_t)snprintf(text + len, size - len, "%s%u-%u", len ? "," : "", from, i);
    }
}

/* Does a run of this program with that seed and those operations left out fail? */
static bool fails(uint64_t seed, const bool *dropped, bool quiet)
{
    char drops[1024], number[32];
    format_drops(dropped, drops, sizeof drops);
    snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    pid_t child = fork();
    if (child == 0) {
        setenv("WEFT_SEED", number, 1);
        setenv("WEFT_DROP", drops, 1);
        if (quiet && (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)))
            _exit(0);
        execl("/proc/self/exe", "property", (char *)NULL);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Leaves out ever smaller runs of operations as long as it still fails, then shows what is left. */
static void shrink(uint64_t seed)
{
    bool dropped[MAX_OPS] = {false};
    for (uint32_t size = MAX_OPS / 2; size > 0; size /= 2) {
        for (uint32_t from = 0; from < MAX_OPS; from += size) {
            bool kept[MAX_OPS];
            memcpy(kept, dropped, sizeof kept);
            for (uint32_t i = from; i < from + size && i < MAX_OPS; i++)
                dropped[i] = true;
            if (!fails(seed, dropped, true))
                memcpy(dropped, kept, sizeof kept);
        }
    }
    char drops[1024];
    format_drops(dropped, drops, sizeof drops);
    print_error("property simulation: seed %llu fails. Shrunk: WEFT_SEED=%llu WEFT_DROP=%s\n",
                (unsigned long long)seed, (unsigned long long)seed, drops);
    fails(seed, dropped, false);
}

static uint64_t current_seed;

static void test_random_operations(void **state)
{
    (void)state;
    uint64_t one = env("WEFT_SEED", 0), n = env("WEFT_SEEDS", 1000);
    bool dropped[MAX_OPS] = {false};
    parse_drops(getenv("WEFT_DROP"), dropped);
    trace = one != 0;
    for (current_seed = one ? one : 1; current_seed <= (one ? one : n); current_seed++)
        run_seed(current_seed, dropped);
    current_seed = 0;
    print_message("parked %u, dropped %u, blocks restored %u, tokens recomputed %u, cached %u, part blocks "
                  "copied %u, waits for "
                  "a prefix %u, timeouts %u, cancels %u, dropped from a full queue %u, failed steps %u\n",
                  seen.parked, seen.dropped, seen.restored, seen.recomputed, seen.cached, seen.forked,
                  seen.prefix_waits, seen.timeouts, seen.cancels, seen.evicted_waiters, seen.failures);
    if (!one && n >= 1000)
        assert_true(seen.parked && seen.dropped && seen.restored && seen.recomputed && seen.cached &&
                    seen.forked && seen.prefix_waits && seen.timeouts && seen.cancels &&
                    seen.evicted_waiters && seen.failures);
}

static int after(void **state)
{
    (void)state;
    if (current_seed && !getenv("WEFT_SEED"))
        shrink(current_seed);
    return 0;
}

/* A failed assert of the scheduler's own. */
static void on_abort(int signal_number)
{
    (void)signal_number;
    if (current_seed && !getenv("WEFT_SEED"))
        shrink(current_seed);
    _exit(1);
}

/* The proof that the comparison can fail: one swapped entry in one table changes the text. */
static void test_swapped_table_entry_is_caught(void **state)
{
    (void)state;
    for (uint64_t step = 2; step < 8; step++) {
        uint32_t ids[2][20];
        for (int swapped = 0; swapped <= 1; swapped++) {
            struct sim g;
            sim_init(&g);
            sim_start(&g);
            struct request *r = sim_submit(&g, "r", PRIO_NORMAL, 11, 9, step);
            exec_sim_swap_at(g.x, swapped ? step : 0);
            sim_run(&g, 100);
            assert_int_equal(r->n_ids, 20);
            memcpy(ids[swapped], r->ids, sizeof ids[swapped]);
            sim_deinit(&g);
        }
        assert_memory_not_equal(ids[0], ids[1], sizeof ids[0]);
    }
}

int main(void)
{
    signal(SIGABRT, on_abort);
    if (getenv("WEFT_SEED")) { /* one run alone, as the shrinker does it: its status says whether it failed */
        const struct CMUnitTest one[] = {cmocka_unit_test_teardown(test_random_operations, after)};
        return cmocka_run_group_tests_name("one seed", one, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_random_operations, after),
        cmocka_unit_test(test_swapped_table_entry_is_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
