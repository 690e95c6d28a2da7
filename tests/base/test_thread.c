/* Hints to the system's scheduler: each is about the calling thread, and changes nothing else. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "engine/base/thread.h"

enum { MOST = 19 };

/* What a thread is: its own niceness and policy, and those of one that it makes. */
struct seen {
    int ask; /* how far to give way */
    bool prompt;
    int nice, policy, child_nice, child_policy;
};

static void look(int *nice, int *policy)
{
    errno = 0;
    *nice = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(errno, 0);
    *policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
}

static void *child(void *arg)
{
    struct seen *s = arg;
    look(&s->child_nice, &s->child_policy);
    return NULL;
}

static void *ask(void *arg)
{
    struct seen *s = arg;
    pthread_t t;
    if (s->prompt)
        thread_be_prompt();
    thread_give_way(s->ask);
    look(&s->nice, &s->policy);
    if (pthread_create(&t, NULL, child, s) == 0)
        pthread_join(t, NULL);
    return NULL;
}

static struct seen asked(int nice, bool prompt)
{
    struct seen s = {.ask = nice, .prompt = prompt, .child_nice = -100};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, ask, &s), 0);
    pthread_join(t, NULL);
    return s;
}

static int at_most_19(int nice)
{
    return nice < MOST ? nice : MOST;
}

static void a_thread_gives_way(void **state)
{
    (void)state;
    int own, policy;
    look(&own, &policy);
    for (int nice = 0; nice <= MOST; nice += 5) {
        struct seen s = asked(nice, false);
        assert_int_equal(s.nice, at_most_19(own + nice));
        assert_int_equal(s.child_nice, s.nice); /* as the driver's threads do */
    }
    int now, policy_now;
    look(&now, &policy_now);
    assert_int_equal(now, own); /* the one that made it doesn't */
}

static void being_prompt_is_no_priority(void **state)
{
    (void)state;
    int own, policy;
    look(&own, &policy);
    struct seen s = asked(0, true);
    assert_int_equal(s.nice, own);
    assert_int_equal(s.policy, policy);
    assert_int_equal(s.child_nice, own);
    assert_int_equal(s.child_policy, policy);
    s = asked(3, true); /* both at once */
    assert_int_equal(s.nice, at_most_19(own + 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_gives_way),
        cmocka_unit_test(being_prompt_is_no_priority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
