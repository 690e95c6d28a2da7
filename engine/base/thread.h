/*
 * How the scheduler of the system is to treat the calling thread. Hints: where it knows none of this, nothing happens.
 */
#ifndef WEFT_BASE_THREAD_H
#define WEFT_BASE_THREAD_H

/* Computing that gives way: raises the thread's niceness by so much (0 … 19; 0: none), and that of threads that it makes later.
 * Can't be taken back. */
void thread_give_way(int nice);
/* Little work that should begin at once: asks for short turns, for which a thread on its longer one is interrupted (Linux
 * 6.12 and later). The thread's share of the processor stays the same; threads that it makes are as usual. */
void thread_be_prompt(void);

#endif
