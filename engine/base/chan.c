#include "engine/base/chan.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int chan_init(struct chan *c, bool use_eventfd)
{
    pthread_condattr_t attr;
    *c = (struct chan){.fd = -1};
    if (use_eventfd && (c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return -1;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->ready, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

void chan_deinit(struct chan *c)
{
    if (c->fd >= 0)
        close(c->fd);
    pthread_cond_destroy(&c->ready);
    pthread_mutex_destroy(&c->lock);
}

static void signal_fd(const struct chan *c)
{
    if (c->fd >= 0) {
        uint64_t one = 1;
        while (write(c->fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
}

void chan_push(struct chan *c, struct chan_node *n)
{
    n->next = NULL;
    pthread_mutex_lock(&c->lock);
    bool was_empty = !c->head;
    if (c->tail)
        c->tail->next = n;
    else
        c->head = n;
    c->tail = n;
    if (was_empty)
        pthread_cond_signal(&c->ready);
    pthread_mutex_unlock(&c->lock);
    if (was_empty)
        signal_fd(c);
}

struct chan_node *chan_take_all(struct chan *c)
{
    if (c->fd >= 0) { /* before the list is taken: a push after this re-arms it */
        uint64_t n;
        while (read(c->fd, &n, sizeof n) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_lock(&c->lock);
    struct chan_node *list = c->head;
    c->head = c->tail = NULL;
    pthread_mutex_unlock(&c->lock);
    return list;
}

void chan_wait(struct chan *c, int64_t timeout_us)
{
    struct timespec until;
    if (timeout_us > 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_us / 1000000;
        until.tv_nsec += timeout_us % 1000000 * 1000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    pthread_mutex_lock(&c->lock);
    while (!c->head && !c->woken && timeout_us != 0) {
        if (timeout_us < 0)
            pthread_cond_wait(&c->ready, &c->lock);
        else if (pthread_cond_timedwait(&c->ready, &c->lock, &until) == ETIMEDOUT)
            break;
    }
    c->woken = false;
    pthread_mutex_unlock(&c->lock);
}

void chan_wake(struct chan *c)
{
    pthread_mutex_lock(&c->lock);
    c->woken = true;
    pthread_cond_signal(&c->ready);
    pthread_mutex_unlock(&c->lock);
    signal_fd(c);
}

int chan_fd(const struct chan *c)
{
    return c->fd;
}
