/* Time. Monotonic nanoseconds for durations and deadlines, wall clock only for showing. Tests replace the source. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

uint64_t clock_now_ns(void);    /* CLOCK_MONOTONIC, comparable between processes of one machine */
uint64_t clock_thread_ns(void); /* processor time of this thread; with a replaced source: that one's time */
uint64_t clock_wall_ms(void);   /* since 1970 */
void clock_set_source(uint64_t (*now_ns)(void)); /* NULL: the real one */
/* "2026-11-25T14:39:00.123Z"; out has at least 25 bytes. */
void clock_format(uint64_t wall_ms, char *out, size_t out_size);

#endif
