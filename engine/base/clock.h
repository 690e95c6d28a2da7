/* The real clocks. Pure modules take time as an argument and never include this. Any thread. */
#ifndef WEFT_BASE_CLOCK_H
#define WEFT_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_now_us(void);    /* monotonic, microseconds since an arbitrary start */
int64_t clock_now_ns(void);    /* the same in nanoseconds: for what takes only some of them */
int64_t clock_thread_us(void); /* processor time that the calling thread has used, µs */
int64_t clock_unix_ms(void);   /* wall clock, milliseconds since 1970 */

#endif
