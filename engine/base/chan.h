/*
 * A queue between threads: any number of producers, one consumer, unbounded, order kept.
 *
 * Nodes are intrusive and belong to the producer until pushed, to the queue until popped, then to the consumer. The
 * consumer waits either on a condition variable (chan_wait) or, with `use_eventfd`, by poll on chan_fd: that descriptor
 * is readable while nodes may be queued. No lock is held while either side works on a node, so a producer is never
 * kept waiting by a slow consumer for longer than a pointer's move.
 */
#ifndef WEFT_BASE_CHAN_H
#define WEFT_BASE_CHAN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct chan_node {
    struct chan_node *next;
};

struct chan {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct chan_node *head, *tail;
    int fd;     /* eventfd, or -1 */
    bool woken; /* chan_wake was called and not yet seen */
};

/* 0, or -1 with errno. */
int chan_init(struct chan *c, bool use_eventfd);
/* The queue must be empty and without waiters. */
void chan_deinit(struct chan *c);
/* Any thread. Never blocks on the consumer. */
void chan_push(struct chan *c, struct chan_node *n);
/* Consumer: takes everything queued, as a list in order; NULL when empty. Clears the eventfd. */
struct chan_node *chan_take_all(struct chan *c);
/* Consumer: waits until something is queued, chan_wake is called, or timeout_us passed (-1: no limit; 0: not at all). */
void chan_wait(struct chan *c, int64_t timeout_us);
/* Any thread: makes the current or next chan_wait return. */
void chan_wake(struct chan *c);
/* The descriptor to poll, or -1. */
int chan_fd(const struct chan *c);

#endif
